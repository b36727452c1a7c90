//! The gluster command: peers and volumes. Answers are read from its XML.

use super::answer::{Answer, PeerRow, VolumeRow};
use crate::executor::{Argv, Batch, GLUSTER_DEADLINE, LOOK_DEADLINE, Output, Step};
use crate::units::{Bytes, Id};

/// The option that carries the Heketi id, as Heketi itself sets it.
pub const HEKETI_ID_OPTION: &str = "user.heketi.id";
/// The option that says that a volume is ours.
pub const OWNER_OPTION: &str = "user.bricklayer.id";

/// The gluster command with these words.
pub(super) fn gluster<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Argv {
    let head = ["gluster", "--mode=script", "--timeout=600"].map(String::from);
    Argv::new(head.into_iter().chain(words.into_iter().map(Into::into)))
}

/// The gluster command with these words, answered in XML.
pub(super) fn xml<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Argv {
    gluster(words.into_iter().map(Into::into).chain(["--xml".to_owned()]))
}

/// A member of the trusted pool, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The uuid of its glusterd.
    pub uuid: String,
    /// Its name as it was probed; `localhost` for the node that was asked.
    pub host: String,
    /// Whether it is connected.
    pub connected: bool,
}

/// A volume as `volume info` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Whether it is started.
    pub started: bool,
    /// Its bricks as `host:path`, in set order.
    pub bricks: Vec<String>,
    /// Its options.
    pub options: Vec<(String, String)>,
}

/// What the sets of a volume are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sets {
    /// One brick each.
    Single,
    /// So many bricks with the same content.
    Replica(usize),
    /// Three bricks, the third of which is an arbiter.
    Arbiter,
    /// So many bricks over which the content is cut, and so many that may be lost.
    Disperse {
        /// Bricks whose content is needed.
        data: usize,
        /// Bricks that may be lost.
        redundancy: usize,
    },
}

/// A volume to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// What its sets are.
    pub sets: Sets,
    /// The bricks as `host:path`, set after set.
    pub bricks: Vec<String>,
}

/// The members of the pool.
pub fn pool_list() -> Batch {
    Batch::one(xml(["pool", "list"]), LOOK_DEADLINE)
}

/// Takes a host into the pool.
pub fn peer_probe(host: &str) -> Batch {
    Batch::one(gluster(["peer", "probe", host]), GLUSTER_DEADLINE)
}

/// Takes a host out of the pool.
pub fn peer_detach(host: &str) -> Batch {
    Batch::one(gluster(["peer", "detach", host]), GLUSTER_DEADLINE)
}

/// One volume: exit 0 with the volume in it, or with an error in the XML when there is none.
pub fn volume_info(name: &str) -> Batch {
    Batch::one(xml(["volume", "info", name]), LOOK_DEADLINE)
}

/// All volumes.
pub fn all_volumes() -> Batch {
    Batch::one(list_volumes(), LOOK_DEADLINE)
}

/// The command of [`all_volumes`].
pub(super) fn list_volumes() -> Argv {
    xml(["volume", "info", "all"])
}

/// Makes a volume out of its bricks.
pub fn create_volume(volume: &NewVolume) -> Argv {
    let mut words = vec!["volume".to_owned(), "create".into(), volume.name.clone()];
    match volume.sets {
        Sets::Single => {}
        Sets::Replica(count) => words.extend(["replica".to_owned(), count.to_string()]),
        Sets::Arbiter => words.extend(["replica", "3", "arbiter", "1"].map(str::to_owned)),
        Sets::Disperse { data, redundancy } => words.extend([
            "disperse-data".to_owned(),
            data.to_string(),
            "redundancy".into(),
            redundancy.to_string(),
        ]),
    }
    words.extend(volume.bricks.iter().cloned());
    gluster(words)
}

/// Sets one or more options at once, given as pairs of key and value.
pub fn set_options(name: &str, options: &[(String, String)]) -> Argv {
    let pairs = options.iter().flat_map(|(key, value)| [key.clone(), value.clone()]);
    gluster(["volume".to_owned(), "set".into(), name.into()].into_iter().chain(pairs))
}

/// Starts a volume.
pub fn start_volume(name: &str) -> Argv {
    gluster(["volume", "start", name])
}

/// Starts the brick processes of a started volume that do not run.
pub fn restart_bricks(name: &str) -> Batch {
    Batch::one(gluster(["volume", "start", name, "force"]), GLUSTER_DEADLINE).locked("gluster")
}

/// Stops a volume and deletes it; its bricks stay.
pub fn delete_volume(name: &str, started: bool) -> Batch {
    let stop = started.then(|| Step::always(gluster(["volume", "stop", name, "force"])));
    let delete = Step::always(gluster(["volume", "delete", name]));
    Batch::new(stop.into_iter().chain([delete]), GLUSTER_DEADLINE)
}

/// Adds sets of bricks, given as `host:path`, to a volume. Clients see the space at once.
pub fn add_bricks(name: &str, bricks: &[String]) -> Batch {
    let words = ["volume".to_owned(), "add-brick".into(), name.into()];
    Batch::one(gluster(words.into_iter().chain(bricks.iter().cloned())), GLUSTER_DEADLINE).locked("gluster")
}

/// Begins to move data to where it belongs after bricks were added. The command waits about ten seconds
/// for the processes that do it.
pub fn rebalance_start(name: &str) -> Batch {
    Batch::one(xml(["volume", "rebalance", name, "start"]), GLUSTER_DEADLINE).locked("gluster")
}

/// How far a rebalance has come. It ends with exit 1, and XML, when there is none.
pub fn rebalance_status(name: &str) -> Batch {
    Batch::one(xml(["volume", "rebalance", name, "status"]), LOOK_DEADLINE)
}

/// The options that mark a volume as ours.
pub fn owner_options(id: Id) -> [(String, String); 2] {
    [(OWNER_OPTION.into(), id.to_string()), (HEKETI_ID_OPTION.into(), id.to_string())]
}

/// A rebalance as GlusterFS sees it, all nodes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// How far it has come.
    pub state: RebalanceState,
    /// How many files were moved.
    pub files: u64,
    /// How much data was moved.
    pub size: Bytes,
    /// How many files could not be moved.
    pub failures: u64,
    /// How many files were left where they are.
    pub skipped: u64,
}

/// How far a rebalance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceState {
    /// It has not begun.
    NotStarted,
    /// Files are moved, on one node at least.
    Running,
    /// Somebody has stopped it.
    Stopped,
    /// It has come to its end.
    Completed,
    /// It has ended early.
    Failed,
}

/// Reads the answer of [`rebalance_start`]: nothing when it was begun or goes on already, else why it was
/// refused.
pub fn parse_rebalance_start(output: &Output) -> Result<Option<String>, String> {
    let answer = Answer::read(output)?;
    let begun = answer.op_ret == 0 || answer.op_errstr.contains("already started");
    Ok((!begun).then_some(answer.op_errstr))
}

/// Reads the answer of [`rebalance_status`]. A rebalance is over when it is on all nodes: the aggregate of
/// GlusterFS says so.
pub fn parse_rebalance(output: &Output) -> Result<Rebalance, String> {
    let answer = Answer::read(output)?;
    let none = ["Rebalance not started", "not a distribute volume"];
    let not_started = answer.op_ret != 0 && none.iter().any(|text| answer.op_errstr.contains(text));
    if answer.op_ret != 0 && !not_started {
        return Err(answer.op_errstr);
    }
    // A node that was away when it was begun knows of none, and has moved nothing.
    let missed = not_started && answer.op_errstr.contains("Pre Validation failed");
    let nodes = answer.vol_rebalance.unwrap_or_default();
    let row = nodes.aggregate.unwrap_or_default();
    // The numbers of glusterd: fix-layout has its own, and is not used here.
    let state = match row.status {
        _ if missed => RebalanceState::Failed,
        0 => RebalanceState::NotStarted,
        1 | 5 => RebalanceState::Running,
        2 | 6 => RebalanceState::Stopped,
        3 | 7 => RebalanceState::Completed,
        _ => RebalanceState::Failed,
    };
    let (files, failures, skipped) = (row.files, row.failures, row.skipped);
    Ok(Rebalance { state, files, size: Bytes(row.size), failures, skipped })
}

/// Reads the answer of [`pool_list`].
pub fn parse_pool(output: &Output) -> Result<Vec<Peer>, String> {
    let rows = Answer::read(output)?.done()?.peer_status.ok_or("the answer has no peers")?.peer;
    let peer = |row: PeerRow| Peer { uuid: row.uuid, host: row.hostname, connected: row.connected == 1 };
    Ok(rows.into_iter().map(peer).collect())
}

/// Reads the answer of [`volume_info`] or [`all_volumes`]; an absent volume is an empty list.
pub fn parse_volumes(output: &Output) -> Result<Vec<Volume>, String> {
    Ok(volume_rows(output)?.into_iter().map(Volume::from).collect())
}

/// The volumes of an answer, as GlusterFS describes them.
pub(super) fn volume_rows(output: &Output) -> Result<Vec<VolumeRow>, String> {
    let answer = Answer::read(output)?;
    if answer.op_errstr.contains("does not exist") {
        return Ok(vec![]);
    }
    // Nothing in it would say that a volume is gone, and its bricks could go.
    Ok(answer.done()?.vol_info.ok_or("the answer has no volumes")?.volumes.volume)
}

impl From<VolumeRow> for Volume {
    fn from(row: VolumeRow) -> Self {
        let options = row.options.map(|rows| rows.option).unwrap_or_default();
        Self {
            name: row.name,
            started: row.status_str == "Started",
            bricks: row.bricks.brick.into_iter().map(|brick| brick.name).collect(),
            options: options.into_iter().map(|option| (option.name, option.value)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::ops::captured::output;

    fn pool(name: &str) -> Vec<(String, bool)> {
        let peers = parse_pool(&output(name)).unwrap();
        assert!(peers.iter().all(|peer| peer.uuid.len() == 36));
        peers.into_iter().map(|peer| (peer.host, peer.connected)).collect()
    }

    #[test]
    fn peers_are_read() {
        let up = |host: &str| (host.to_owned(), true);
        assert_eq!(pool("gluster-pool-list-alone"), [up("localhost")]);
        let mut all = pool("gluster-pool-list");
        all.sort();
        assert_eq!(all, [up("10.77.0.12"), up("10.77.0.13"), up("localhost")]);
        assert!(pool("gluster-pool-list-node-down").contains(&("10.77.0.13".to_owned(), false)));
        assert!(parse_pool(&output("gluster-without-glusterd")).is_err());
    }

    #[test]
    fn volumes_are_read() {
        for none in ["gluster-volume-info-none", "gluster-volume-info-absent"] {
            assert_eq!(parse_volumes(&output(none)), Ok(vec![]), "{none}");
        }
        let brick = |node: u8| {
            let vg = format!("vg_d000000000000000000000000000000{node}");
            let brick = format!("brick_a100000000000000000000000000000{node}");
            format!("10.77.0.1{node}:/var/lib/heketi/mounts/{vg}/{brick}/brick")
        };
        let created = &parse_volumes(&output("gluster-volume-info-one-created")).unwrap()[0];
        assert!(!created.started);
        let volumes = parse_volumes(&output("gluster-volume-info-one")).unwrap();
        assert_eq!(volumes.len(), 1);
        let volume = &volumes[0];
        assert_eq!(volume.name, "vol_a1000000000000000000000000000000");
        assert!(volume.started);
        assert_eq!(volume.bricks, [brick(1), brick(2), brick(3)]);
        let mark = (OWNER_OPTION.to_owned(), "a1000000000000000000000000000000".to_owned());
        assert_eq!((volume.options.len(), volume.options.contains(&mark)), (8, true));
    }

    #[test]
    fn several_volumes_are_read() {
        let volumes = parse_volumes(&output("gluster-volume-info-several")).unwrap();
        let bricks: Vec<usize> = volumes.iter().map(|volume| volume.bricks.len()).collect();
        assert_eq!(bricks, [3, 3, 3, 2]);
        let large = parse_volumes(&output("gluster-volume-info-distributed-replicate")).unwrap();
        assert_eq!(large[0].bricks.len(), 6);
    }

    #[test]
    fn the_words_of_an_expansion_are_those_that_were_captured() {
        let volume = "vol_b0000000000000000000000000000000";
        for (batch, name) in [
            (rebalance_start(volume), "gluster-volume-rebalance-start-xml"),
            (rebalance_status(volume), "gluster-volume-rebalance-status-running"),
        ] {
            let plain = |words: &[String]| {
                let mut words: Vec<String> =
                    words.iter().filter(|w| !w.starts_with("--timeout")).cloned().collect();
                words.sort();
                words
            };
            let real = crate::executor::ops::captured::read(name).argv.0;
            assert_eq!(plain(&batch.steps[0].run.0), plain(&real), "{name}");
        }
        let real = crate::executor::ops::captured::read("gluster-volume-add-brick-grown").argv.0;
        let ours = add_bricks(volume, &real[real.len() - 3..]);
        assert_eq!(ours.steps[0].run.0[3..], real[3..]);
    }

    #[test]
    fn a_rebalance_is_read() {
        let state = |name: &str| parse_rebalance(&output(name)).map(|seen| seen.state);
        for (name, seen) in [
            ("none", RebalanceState::NotStarted),
            ("not-distributed", RebalanceState::NotStarted),
            ("running", RebalanceState::Running),
            ("completed", RebalanceState::Completed),
            ("stopped", RebalanceState::NotStarted),
            ("node-down", RebalanceState::Running),
            ("node-back", RebalanceState::Failed),
        ] {
            assert_eq!(state(&format!("gluster-volume-rebalance-status-{name}")), Ok(seen), "{name}");
        }
        assert!(state("gluster-volume-rebalance-status-volume-stopped").is_err());
        assert_eq!(state("gluster-volume-rebalance-stop"), Ok(RebalanceState::Stopped));
        let moved = parse_rebalance(&output("gluster-volume-rebalance-status-completed")).unwrap();
        assert_eq!((moved.files, moved.size, moved.failures), (32, Bytes(2_097_152), 0));
    }

    #[test]
    fn a_rebalance_is_begun_once() {
        let begun =
            |name: &str| parse_rebalance_start(&output(&format!("gluster-volume-rebalance-{name}"))).unwrap();
        for name in ["start-xml", "start-running", "start-again", "start-node-down"] {
            assert_eq!(begun(name), None, "{name}");
        }
        for (name, why) in [
            ("absent-xml", "does not exist"),
            ("not-distributed-xml", "not a distribute volume"),
            ("start-volume-stopped", "needs to be started"),
        ] {
            assert!(begun(name).is_some_and(|text| text.contains(why)), "{name}");
        }
    }

    /// Taken for a list of nothing, it would say that whatever is asked for is gone.
    #[test]
    fn an_answer_about_nothing_is_none() {
        for stdout in ["<cliOutput/>", "<cliOutput><opRet>0</opRet></cliOutput>", ""] {
            let output = Output { exit: 0, stdout: stdout.into(), stderr: String::new() };
            assert!(parse_pool(&output).is_err() && parse_volumes(&output).is_err(), "{stdout}");
            assert!(super::super::heal::parse_heal(&output).is_err(), "{stdout}");
        }
    }

    #[test]
    fn a_refusal_in_xml_is_an_error() {
        let refused = output("gluster-volume-create-brick-used-xml");
        assert!(parse_volumes(&refused).unwrap_err().contains("not available"));
    }
}
