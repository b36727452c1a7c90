//! Real nodes: volumes, and pods that mount them.

use std::fmt::Write as _;

use crate::figure::Figure;

/// A volume, by us and by hand.
pub fn volume() -> String {
    let mut text = String::from(
        "## A volume on real nodes\n
Replica 3, 1 GiB, on three virtual nodes with real LVM, XFS and glusterd: by us over REST with ssh connections that are
open already, and by a script with the plain commands, which looks at nothing first (`tests/lab/by-hand`). In turns; the median.

| | ms | least | rounds | load | others |
|---|---|---|---|---|---|
",
    );
    let mut ratio = String::from("not measured");
    for (name, shown) in [("real_create", "Bricklayer"), ("real_create_by_hand", "by hand")] {
        let row = Figure::read(name).map_or("not measured | | | | ".to_owned(), |f| {
            if f.more.contains_key("ratio_to_by_hand") {
                ratio = f.also("ratio_to_by_hand");
            }
            format!("**{}** | {} | {} | {} | {}", f.value, f.also("least"), f.n, f.load, f.others)
        });
        writeln!(text, "| {shown} | {row} |").unwrap();
    }
    writeln!(text, "\nThe median of the ratios, ours to the one by hand: **{ratio}**. Heketi took 8,700 ms, the script of").unwrap();
    writeln!(text, "that day 7,100 ms: 1.23.").unwrap();
    text
}

/// From a claim to a pod that runs.
pub fn pods() -> String {
    let mut text = String::from(
        "## Pods\n
On a whole cluster of this machine (kubelet, containerd) with three virtual storage nodes, replica 3, 1 GiB: from the
claim to a pod that is Ready; what kubelet's calls to the driver took of that, one of each for a pod (by its own
counters, read before and after); and `mount -t glusterfs` by hand in the plugin's container. Memory is that of the
plugin, and of the one client of a volume.

| | | p50 | p99 | n | load | others |
|---|---|---|---|---|---|---|
",
    );
    for (name, shown) in [
        ("claim_to_running", "from a claim to a pod that runs"),
        ("stage", "NodeStageVolume"),
        ("publish", "NodePublishVolume"),
        ("plain_mount", "a mount by hand"),
        ("plugin_memory", "memory of the plugin"),
        ("client_memory", "memory of a client"),
    ] {
        let row = Figure::read(name).map_or("not measured | | | | | ".to_owned(), |f| {
            format!(
                "**{} {}** | {} | {} | {} | {} | {}",
                f.value, f.unit, f.p50, f.p99, f.n, f.load, f.others
            )
        });
        writeln!(text, "| {shown} | {row} |").unwrap();
    }
    text
}
