//! The simulated nodes against what real ones printed: the captured runs of `tests/captured` are
//! repeated in the order in which they were made, and compared word by word.

use super::*;
use crate::executor::{Batch, LOOK_DEADLINE, Output, Transport, ops::captured};
use crate::units::Bytes;

/// `= FILE`: the captured run has the same exit code and prints the same. `~ FILE`: the same, but for
/// standard output. `! NODE WORDS`: a command in between. `brick NODE ID VOLUME`: makes a brick of 512
/// MiB as `tests/lab/capture` does. `renew ID`: makes the
/// directories of bricks anew. Other words act on the nodes themselves.
const ORDER: &str = "
down 10.77.0.99
down no-such-host
= gluster-pool-list-alone
= gluster-peer-status-alone
= gluster-volume-info-none
= gluster-volume-list-none
= gluster-volume-info-absent
= gluster-volume-info-absent-text
= gluster-volume-heal-absent
= gluster-volume-heal-info-absent
= gluster-volume-delete-absent
= gluster-volume-delete-absent-xml
= gluster-volume-stop-absent
= gluster-volume-start-absent
= gluster-volume-set-absent
= gluster-peer-probe-new
= gluster-peer-probe-new-xml
= gluster-peer-probe-again
= gluster-peer-probe-again-xml
= gluster-peer-probe-self
= gluster-peer-probe-unreachable
= gluster-peer-probe-unreachable-xml
= gluster-peer-probe-unknown-name
= gluster-peer-detach-stranger
= gluster-peer-detach-self
up 10.77.0.99
up no-such-host
= gluster-pool-list
= gluster-pool-list-from-node2
= gluster-peer-status
= gluster-peer-status-from-node2

~ lvm-version
= lvm-pvs-empty-disk
= lvm-pvs-none
= lvm-vgs-none
= lvm-lvs-none
= blkid-empty-disk
! node1 mkfs.xfs -q -f /dev/vdc
= pvcreate-over-xfs
= lvm-pvs-disk-with-xfs
= blkid-disk-with-xfs
= wipefs-all-disk-with-xfs
! node1 mkfs.ext4 -q -F /dev/vdc
= pvcreate-over-ext4
! node1 wipefs --all /dev/vdc
= pvcreate
= lvm-pvs-without-vg
= pvcreate-over-pv-without-vg
= vgcreate
= vgcreate-existing
= vgcreate-over-used-pv
= pvcreate-over-used-pv
= pvremove-in-vg
= pvremove-no-pv
= lvm-pvs-used-disk
= lvm-pvs-all-columns
= lvm-vgs-empty-vg
= lvm-vgs-absent
= lvm-vgdisplay
= lvm-lvs-empty-vg
= lvm-lvs-absent-vg
= lvm-lvs-absent-lv
= blkid-pv
= vgremove-absent
! node2 lvm pvcreate -qq --metadatasize=128M --dataalignment=256K /dev/vdb
! node2 lvm vgcreate -qq --autobackup=n vg_d0000000000000000000000000000002 /dev/vdb
! node3 lvm pvcreate -qq --metadatasize=128M --dataalignment=256K /dev/vdb
! node3 lvm vgcreate -qq --autobackup=n vg_d0000000000000000000000000000003 /dev/vdb

= lvcreate
= lvm-lvs-tags-after-lvcreate
= lvchange-addtag
= lvchange-addtag-again
= lvm-lvs-tags-after-lvchange
= lvm-lvs-select-tag
= lvm-lvs-select-nothing
= lvm-lvs-thin-count
= lvcreate-existing
= lvcreate-existing-lv-new-pool
= lvm-lvs-after-existing-lv-new-pool
! node1 lvm lvremove -qq -f vg_d0000000000000000000000000000001/tp_b0000000000000000000000000000002
= lvcreate-no-space
= lvcreate-absent-vg
= lvcreate-too-little-metadata
! node1 lvm lvremove -qq -f vg_d0000000000000000000000000000001/tp_small
= lvcreate-pool-only
= lvcreate-thin-in-pool
= lvm-lvs-tags-after-two-steps
= lvremove-select-tag
= lvremove-select-nothing
= lvremove-select-nothing-long
= lvremove-select-absent-vg
= lvremove-named-and-selected
= lvremove-absent
= lvremove-absent-vg

= mkfs-no-such-device
= mount-no-filesystem
= blkid-empty-lv
~ mkfs
= mkfs-again
! node1 lvm lvcreate -qq -L 200M -n small vg_d0000000000000000000000000000001
= mkfs-too-small
! node1 lvm lvremove -qq -f vg_d0000000000000000000000000000001/small
= blkid-brick
= mount-no-mountpoint
= umount-no-such-path
! node1 mkdir -p /var/lib/heketi/mounts/vg_d0000000000000000000000000000001/brick_b0000000000000000000000000000001
= umount-not-mounted
= mount-no-such-device
= mount
= mount-again
= proc-mounts-one-brick
= mkfs-mounted
= mkdir-brick
= mkdir-brick-again
= lvremove-in-use
= lvremove-pool-in-use
= lvremove-select-in-use
= vgremove-with-lvs
= wipefs-all-busy
= rmdir-mounted
= umount
= lvremove
= lvm-lvs-pool-left
= lvm-lvs-thin-count-zero
= lvm-lvs-thin-count-absent
= lvremove-pool
= rmdir
= rmdir-absent

brick node1 a1000000000000000000000000000001 a1000000000000000000000000000000
brick node2 a1000000000000000000000000000002 a1000000000000000000000000000000
brick node3 a1000000000000000000000000000003 a1000000000000000000000000000000
= gluster-volume-create
= gluster-volume-info-one-created
= gluster-volume-create-existing
= gluster-volume-create-brick-used
= gluster-volume-create-brick-used-xml
= gluster-volume-create-no-directory
= gluster-volume-create-on-root
= gluster-volume-create-same-node
= gluster-volume-create-stranger
= gluster-volume-create-wrong-count
= gluster-volume-heal-not-started
= gluster-volume-heal-info-not-started
= gluster-volume-set
= gluster-volume-set-mark
= gluster-volume-set-two
= gluster-volume-set-unknown
= gluster-volume-set-bad-value
= gluster-volume-set-allow
= gluster-volume-set-allow-bad
= gluster-volume-set-allow-bits
= gluster-volume-reset-allow
= gluster-volume-reset
= gluster-volume-stop-stopped
= gluster-volume-stop-stopped-force
= gluster-volume-start
= gluster-volume-start-started
= gluster-volume-start-started-force
= gluster-volume-delete-started
= gluster-volume-info-one
= gluster-volume-heal
= gluster-volume-heal-info
= gluster-peer-detach-with-bricks

brick node1 a2000000000000000000000000000001 a2000000000000000000000000000000
brick node2 a2000000000000000000000000000002 a2000000000000000000000000000000
brick node3 a2000000000000000000000000000003 a2000000000000000000000000000000
brick node1 a3000000000000000000000000000001 a3000000000000000000000000000000
brick node2 a3000000000000000000000000000002 a3000000000000000000000000000000
brick node3 a3000000000000000000000000000003 a3000000000000000000000000000000
brick node1 a4000000000000000000000000000001 a4000000000000000000000000000000
brick node2 a4000000000000000000000000000002 a4000000000000000000000000000000
brick node3 a4000000000000000000000000000003 a4000000000000000000000000000000
= gluster-volume-create-arbiter
= gluster-volume-create-arbiter-old-words
= gluster-volume-create-disperse
= gluster-volume-create-distribute
! node1 gluster volume start vol_a2000000000000000000000000000000
! node1 gluster volume start vol_a3000000000000000000000000000000
! node1 gluster volume start vol_a4000000000000000000000000000000
= gluster-volume-add-brick-distribute
= gluster-volume-rebalance-start
~ gluster-volume-rebalance-status
= gluster-volume-rebalance-not-distributed
= gluster-volume-info-several
= gluster-volume-list
= lvm-pvs-with-bricks
= lvm-vgs-with-bricks
= lvm-lvs-with-bricks
= lvm-lvs-all-columns
= proc-mounts-with-bricks
= etc-fstab-with-bricks
brick node1 a5000000000000000000000000000001 a5000000000000000000000000000000
brick node2 a5000000000000000000000000000002 a5000000000000000000000000000000
brick node3 a5000000000000000000000000000003 a5000000000000000000000000000000
= gluster-volume-add-brick
= gluster-volume-add-brick-used
= gluster-volume-info-distributed-replicate
brick node3 a6000000000000000000000000000003 a1000000000000000000000000000000
= gluster-volume-replace-brick
= gluster-volume-replace-brick-absent

down node3
= gluster-pool-list-node-down
= gluster-peer-status-node-down
= gluster-volume-set-node-down
= gluster-volume-stop-node-down
= gluster-volume-delete-node-down
= gluster-volume-create-node-down
up node3
restart node3
= proc-mounts-after-restart
! node1 gluster volume stop vol_a1000000000000000000000000000000 force
= gluster-volume-delete
= gluster-volume-delete-again
= gluster-volume-create-brick-marked

brick node1 b0000000000000000000000000000001 b0000000000000000000000000000000
brick node2 b0000000000000000000000000000002 b0000000000000000000000000000000
brick node3 b0000000000000000000000000000003 b0000000000000000000000000000000
brick node1 b1000000000000000000000000000001 b0000000000000000000000000000000
brick node2 b1000000000000000000000000000002 b0000000000000000000000000000000
brick node3 b1000000000000000000000000000003 b0000000000000000000000000000000
brick node1 b2000000000000000000000000000001 b0000000000000000000000000000000
brick node2 b2000000000000000000000000000002 b0000000000000000000000000000000
brick node3 b2000000000000000000000000000003 b0000000000000000000000000000000
! node1 gluster volume create vol_b0000000000000000000000000000000 replica 3 10.77.0.11:/var/lib/heketi/mounts/vg_d0000000000000000000000000000001/brick_b0000000000000000000000000000001/brick 10.77.0.12:/var/lib/heketi/mounts/vg_d0000000000000000000000000000002/brick_b0000000000000000000000000000002/brick 10.77.0.13:/var/lib/heketi/mounts/vg_d0000000000000000000000000000003/brick_b0000000000000000000000000000003/brick
! node1 gluster volume start vol_b0000000000000000000000000000000
= gluster-volume-rebalance-absent-xml
= gluster-volume-rebalance-not-distributed-xml
= gluster-volume-rebalance-status-not-distributed
! node3 umount /var/lib/heketi/mounts/vg_d0000000000000000000000000000003/brick_b1000000000000000000000000000003
= gluster-volume-add-brick-no-mount
! node3 mount /dev/mapper/vg_d0000000000000000000000000000003-brick_b1000000000000000000000000000003 /var/lib/heketi/mounts/vg_d0000000000000000000000000000003/brick_b1000000000000000000000000000003
= gluster-volume-add-brick-marked
renew b1
= gluster-volume-add-brick-same-node
= gluster-volume-add-brick-wrong-count
= gluster-volume-add-brick-grown
= gluster-volume-rebalance-status-none
= gluster-volume-rebalance-start-xml
= gluster-volume-rebalance-start-running
= gluster-volume-add-brick-rebalancing
= gluster-volume-stop-rebalancing
~ gluster-volume-rebalance-status-running
~ gluster-volume-rebalance-status-completed
= gluster-volume-info-grown
= gluster-volume-rebalance-start-again
~ gluster-volume-rebalance-stop
= gluster-volume-rebalance-status-stopped
down node3
= gluster-volume-add-brick-node-down
= gluster-volume-rebalance-start-node-down
~ gluster-volume-rebalance-status-node-down
up node3
! node1 gluster volume stop vol_b0000000000000000000000000000000 force
= gluster-volume-rebalance-status-volume-stopped
= gluster-volume-rebalance-start-volume-stopped

brick node1 e1000000000000000000000000000001 e1000000000000000000000000000000
brick node2 e1000000000000000000000000000002 e1000000000000000000000000000000
brick node3 e1000000000000000000000000000003 e1000000000000000000000000000000
! node1 gluster volume create vol_e1000000000000000000000000000000 disperse-data 2 redundancy 1 10.77.0.11:/var/lib/heketi/mounts/vg_d0000000000000000000000000000001/brick_e1000000000000000000000000000001/brick 10.77.0.12:/var/lib/heketi/mounts/vg_d0000000000000000000000000000002/brick_e1000000000000000000000000000002/brick 10.77.0.13:/var/lib/heketi/mounts/vg_d0000000000000000000000000000003/brick_e1000000000000000000000000000003/brick
! node1 gluster volume start vol_e1000000000000000000000000000000
= getfattr-root-absent
= find-root-absent
= getfattr-root-written
= find-root-written
brick node3 e2000000000000000000000000000003 e1000000000000000000000000000000
= gluster-volume-replace-brick-disperse
= gluster-volume-heal-info-disperse-exchanged
= getfattr-root-exchanged
= find-root-exchanged
= gluster-volume-heal-full
= getfattr-root-healed
= find-root-healed

! node2 lvm pvcreate -qq --metadatasize=128M --dataalignment=256K /dev/vdc
! node2 lvm vgcreate -qq --autobackup=n --physicalextentsize=4M vg_d0000000000000000000000000000005 /dev/vdc
! node2 lvm lvcreate -qq --autobackup=n --poolmetadatasize 8192K --chunksize 256K --size 524288K --thinpool vg_d0000000000000000000000000000005/tp_c0000000000000000000000000000001
! node2 lvm lvcreate -qq --autobackup=n --thin --virtualsize 524288K --name brick_c0000000000000000000000000000001 vg_d0000000000000000000000000000005/tp_c0000000000000000000000000000001
! node2 mkfs.xfs -q /dev/mapper/vg_d0000000000000000000000000000005-brick_c0000000000000000000000000000001
! node2 mkdir -p /var/lib/heketi/mounts/vg_d0000000000000000000000000000005/brick_c0000000000000000000000000000001
! node2 mount /dev/mapper/vg_d0000000000000000000000000000005-brick_c0000000000000000000000000000001 /var/lib/heketi/mounts/vg_d0000000000000000000000000000005/brick_c0000000000000000000000000000001
= lvextend-metadata
= lvextend-metadata-again
= lvextend-metadata-smaller
= lvextend-pool
= lvextend-pool-again
= lvextend-pool-smaller
= lvextend-thin
= lvextend-thin-again
= lvextend-absent
= lvm-vgs-after-lvextend
= lvm-lvs-after-lvextend
~ xfs-growfs
~ xfs-growfs-again
= xfs-growfs-not-mounted
";

/// The text without what is different in every run, or what a simulated node leaves out.
fn plain(text: &str) -> String {
    // mkfs.xfs explains itself at length; the first lines are enough.
    let text = text.split("Usage: mkfs.xfs").next().unwrap_or(text);
    let lines = text.lines().filter(|line| {
        let advice = ["Did you mean", "  WARNING: Chunk size is smaller", "mkfs.xfs: small data volume"];
        !advice.iter().any(|start| line.starts_with(start))
    });
    let mut words = vec![];
    for line in lines {
        // A pool is not seen to be open, or to have been.
        let line = line.replace("twi-a-tz--", "twi-aotz--");
        let split = line.split_inclusive([' ', '"', '<', '>', ':', '=', ',', '\'']);
        words.extend(split.map(|word| {
            let bare = word.trim_end_matches([' ', '"', '<', '>', ':', '=', ',', '\'']);
            let id = bare.len() >= 36 && bare.matches('-').count() >= 4 && !bare.contains('/');
            let measured = bare.contains('.') && bare.len() == 5 && bare.starts_with("1");
            let unlike = id || measured;
            if unlike { word.replace(bare, if id { "ID" } else { "" }) } else { word.to_owned() }
        }));
        words.push("\n".to_owned());
    }
    words.concat()
}

async fn command(sim: &Sim, node: &str, argv: &Argv) -> Output {
    let batch = Batch::one(argv.clone(), LOOK_DEADLINE);
    sim.run(node, &batch).await.unwrap().outputs.remove(0)
}

/// Makes a brick as the captured ones were made.
async fn make_brick(sim: &Sim, node: &str, id: &str, volume: &str) {
    let vg = format!("vg_d000000000000000000000000000000{}", &node[4..]);
    let device = format!("/dev/mapper/{vg}-brick_{id}");
    let dir = format!("/var/lib/heketi/mounts/{vg}/brick_{id}");
    let tags = format!("--addtag bricklayer.brick={id} --addtag bricklayer.volume={volume}");
    let sizes = "--poolmetadatasize 8192K --chunksize 256K --size 524288K";
    for line in [
        format!("mkdir -p {dir}"),
        format!("lvm lvcreate {tags} {sizes} --thin {vg}/tp_{id} --virtualsize 524288K --name brick_{id}"),
        format!("lvm lvchange {tags} {vg}/brick_{id}"),
        format!("mkfs.xfs -q {device}"),
        format!("sh -c x bricklayer-fstab-add /etc/fstab {device} {dir} rw,inode64,noatime,nouuid"),
        format!("mount {device} {dir}"),
        format!("mkdir {dir}/brick"),
    ] {
        let output = command(sim, node, &Argv::new(line.split(' '))).await;
        assert!(output.ok(), "{line}: {output:?}");
    }
}

/// Does what each line of an order says.
async fn follow(sim: &Sim, order: &str) {
    let mut wrong = vec![];
    for line in order.lines().filter(|line| !line.is_empty()) {
        let (verb, rest) = line.split_once(' ').unwrap();
        let words: Vec<&str> = rest.split(' ').collect();
        match verb {
            "down" => sim.faults().down(rest),
            "up" => sim.faults().up(rest),
            "restart" => sim.restart(rest).unwrap(),
            "renew" => {
                for n in 1..4 {
                    let vg = format!("vg_d000000000000000000000000000000{n}");
                    let id = format!("{rest}00000000000000000000000000000{n}");
                    let dir = format!("/var/lib/heketi/mounts/{vg}/brick_{id}/brick");
                    for line in
                        [format!("rmdir {dir}/.glusterfs"), format!("rmdir {dir}"), format!("mkdir {dir}")]
                    {
                        // Only a directory that was marked has another one in it.
                        let _ = command(sim, &format!("node{n}"), &Argv::new(line.split(' '))).await;
                    }
                }
            }
            "brick" => make_brick(sim, words[0], words[1], words[2]).await,
            "!" => {
                let output = command(sim, words[0], &Argv::new(words[1..].iter().copied())).await;
                assert!(output.ok(), "{line}: {output:?}");
            }
            _ => wrong.extend(compare(sim, rest, verb == "=").await),
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// Repeats a captured run; tells how it differs, if it does.
async fn compare(sim: &Sim, name: &str, stdout_too: bool) -> Option<String> {
    let real = captured::read(name);
    let shown = |output: &Output| {
        let stdout = if stdout_too { plain(&output.stdout) } else { String::new() };
        format!("{}\n{stdout}{}", output.exit, plain(&output.stderr))
    };
    let simulated = shown(&command(sim, &real.node, &real.argv).await);
    let expected = shown(&real.output);
    (simulated != expected).then(|| format!("== {name}\n-- real {expected}-- simulated {simulated}"))
}

/// The three nodes of the lab.
fn lab() -> (tempfile::TempDir, Sim) {
    let directory = tempfile::tempdir().unwrap();
    let options = SimOptions { device_size: Bytes::from_gib(8), ..SimOptions::new(directory.path()) };
    let sim = Sim::open(options).unwrap();
    for number in 1..4 {
        sim.introduce(&[&format!("node{number}"), &format!("10.77.0.1{number}")]).unwrap();
    }
    (directory, sim)
}

#[tokio::test]
async fn simulated_nodes_answer_as_real_ones_did() {
    let (_directory, sim) = lab();
    follow(&sim, ORDER).await;
}

#[tokio::test]
async fn a_whole_life_is_as_it_really_was() {
    let (_directory, sim) = lab();
    let path = format!("{}/tests/captured/life", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    let mut order = "! node1 gluster peer probe node2\n! node1 gluster peer probe node3\n".to_owned();
    for name in names.iter().filter_map(|name| name.strip_suffix(".txt")) {
        // The status of brick processes is not simulated, mkfs.xfs says nothing, and a simulated disk
        // has no stripes that `/proc/mounts` could tell of.
        match name {
            name if name.contains("volume-status") => {}
            name if name.contains("mkfs") || name.contains("proc-mounts") => {
                order += &format!("~ life/{name}\n")
            }
            name => order += &format!("= life/{name}\n"),
        }
    }
    follow(&sim, &order).await;
    assert!(sim.snapshot().hosts.values().all(|host| host.vgs.is_empty()));
}
