//! What a volume still has to heal, and the exchange of one brick for another.

use super::answer::{Answer, HealRow};
use super::gluster::{gluster, xml};
use crate::executor::{Argv, Batch, GLUSTER_DEADLINE, LOOK_DEADLINE, Output, Step};

/// A brick as `volume heal NAME info summary` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealBrick {
    /// It as `host:path`.
    pub address: String,
    /// Whether it answers.
    pub connected: bool,
    /// How many files and directories it knows to be missing or stale on other bricks of its set; nothing
    /// when it does not answer.
    pub entries: Option<u64>,
}

/// The root directory of a brick of a dispersed set. Heal info says that nothing is to be healed for one that has just
/// taken another one's place, until its root is healed: each name in it is noted as to be healed before it is made, and so
/// on down the tree. The root counts as healed, with the version of the others, only after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// How often it was changed, in hex: names in it first, then its own attributes. Nothing when no change of names was
    /// ever counted: a client counts some seconds after it has made one, and not at all when it ends before.
    pub version: Option<String>,
    /// Whether there is any name in it.
    pub named: bool,
}

/// What is looked at of a root directory. Each brick that a process has ever served has a gfid: without it the answer is
/// that of somebody who may not see such attributes, or of a directory that is no brick.
const ROOT_ATTRIBUTES: &str = r"^trusted\.(gfid|ec\.version)$";

/// The attributes of the root directory of a brick, and one of its names.
pub fn root(path: &str) -> Batch {
    let attributes = ["getfattr", "--absolute-names", "-d", "-m", ROOT_ATTRIBUTES, "-e", "hex", path];
    let name =
        ["find", path, "-mindepth", "1", "-maxdepth", "1", "!", "-name", ".glusterfs*", "-print", "-quit"];
    Batch::new([Argv::new(attributes), Argv::new(name)].map(Step::always), LOOK_DEADLINE)
}

/// Reads the answer of [`root`]; nothing when there is no such directory, or it cannot be read. That the node cannot look
/// is an error.
pub fn parse_root(outputs: &[Output]) -> Result<Option<Root>, String> {
    if let Some(failed) = outputs.iter().find(|output| !output.ok()) {
        return if failed.exit == 1 { Ok(None) } else { Err(failed.stderr.trim().to_owned()) };
    }
    let [attributes, name] = outputs else {
        return Err(format!("{} of 2 steps were answered", outputs.len()));
    };
    let value =
        |name: &str| attributes.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("=0x"));
    value("trusted.gfid").ok_or("the attributes of the brick are not shown")?;
    let counted =
        |version: &&str| version.get(..16).is_some_and(|names| names.bytes().any(|digit| digit != b'0'));
    let version = value("trusted.ec.version").filter(counted).map(str::to_owned);
    Ok(Some(Root { version, named: !name.stdout.is_empty() }))
}

/// How much is to be healed. GlusterFS looks through its lists on all bricks for that: it takes longer the more there is.
/// Without `summary` it would print every name.
pub fn heal_info(name: &str) -> Batch {
    Batch::one(xml(["volume", "heal", name, "info", "summary"]), GLUSTER_DEADLINE)
}

/// Has GlusterFS heal what is to be healed now. By itself it looks every ten minutes (cluster.heal-timeout), and misses
/// a brick that has just taken another one's place.
pub fn launch_heal(name: &str) -> Batch {
    Batch::one(gluster(["volume", "heal", name]), GLUSTER_DEADLINE).locked("gluster")
}

/// Has GlusterFS look through all of a volume for what is to be healed, from the root on, and heal it.
pub fn launch_full_heal(name: &str) -> Batch {
    Batch::one(gluster(["volume", "heal", name, "full"]), GLUSTER_DEADLINE).locked("gluster")
}

/// Puts a new brick, given as `host:path`, in the place of an old one. The new one is filled from the others of
/// its set.
pub fn replace_brick(name: &str, old: &str, new: &str) -> Batch {
    let words = ["volume", "replace-brick", name, old, new, "commit", "force"];
    Batch::one(gluster(words), GLUSTER_DEADLINE).locked("gluster")
}

/// Reads the answer of [`heal_info`].
pub fn parse_heal(output: &Output) -> Result<Vec<HealBrick>, String> {
    let rows = Answer::read(output)?.done()?.heal_info.ok_or("the answer has no bricks")?.bricks.brick;
    let brick = |row: HealRow| HealBrick {
        address: row.name,
        connected: row.status == "Connected",
        entries: row.total_number_of_entries.trim().parse().ok(),
    };
    Ok(rows.into_iter().map(brick).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::ops::captured;

    /// What both steps have said.
    fn seen(situation: &str) -> Result<Option<Root>, String> {
        let outputs =
            ["getfattr", "find"].map(|program| captured::output(&format!("{program}-root-{situation}")));
        parse_root(&outputs)
    }

    #[test]
    fn roots_are_asked_for_as_it_was_captured() {
        let real = ["getfattr", "find"].map(|program| captured::read(&format!("{program}-root-healed")).argv);
        let steps = root(real[0].0.last().unwrap()).steps;
        assert!(steps.iter().map(|step| &step.run).eq(&real), "{steps:?}");
    }

    /// What heal info hides: the new brick has nothing of what the others have.
    #[test]
    fn a_new_brick_differs_until_its_root_is_healed() {
        let heal = parse_heal(&captured::output("gluster-volume-heal-info-disperse-exchanged")).unwrap();
        assert!(heal.len() == 3 && heal.iter().all(|brick| brick.entries == Some(0)), "{heal:?}");
        let others = seen("written").unwrap().unwrap();
        assert!(others.named && others.version.is_some(), "{others:?}");
        let empty = Some(Root { version: None, named: false });
        assert_eq!(seen("exchanged").unwrap(), empty);
        assert_eq!(seen("never-used").unwrap(), empty);
        assert_eq!(seen("healed").unwrap(), Some(others));
    }

    /// The client ended too early: nobody can tell such a root from one that has nothing.
    #[test]
    fn what_was_not_counted_has_no_version() {
        assert_eq!(seen("uncounted").unwrap(), Some(Root { version: None, named: true }));
        let mut outputs = ["getfattr-root-written", "find-root-written"].map(captured::output);
        outputs[0].stdout =
            "trusted.ec.version=0x00000000000000000000000000000003\ntrusted.gfid=0x01\n".into();
        let seen = parse_root(&outputs).unwrap().unwrap();
        assert_eq!(seen.version, None, "only its own attributes were changed");
    }

    #[test]
    fn what_cannot_be_seen_is_not_nothing() {
        assert_eq!(parse_root(&[captured::output("getfattr-root-absent")]), Ok(None));
        let said = |exit: i32, stderr: &str| Output { exit, stdout: String::new(), stderr: stderr.into() };
        assert!(parse_root(&[said(127, "sh: 1: getfattr: not found")]).unwrap_err().contains("not found"));
        assert!(parse_root(&[said(0, ""), said(0, "")]).is_err(), "it was not permitted to see them");
        assert!(parse_root(&[]).is_err());
    }
}
