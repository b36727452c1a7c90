//! What a request must say, and the texts when it does not: pure. The fields that are wrong are told
//! in alphabetical order.

use std::collections::BTreeMap;

use super::answer::Refused;
use super::wire::{
    BlockRestriction, CleanUp, DeviceAdd, NodeAdd, StateChange, TagsChange, VolumeCreate, VolumeExpand,
};
use crate::resources::{Durability, State};
use crate::units::{MAX_OPTION, check_device_path, check_hostname, check_volume_name};

/// The most marks that one request may carry.
const MAX_TAGS: usize = 32;
/// The most ids of operations that one request may carry.
const MAX_IDS: usize = 32;
const MAX_TAG_NAME: usize = 32;
const MAX_TAG_VALUE: usize = 64;

/// Longest volume name. Heketi has no limit; GlusterFS does.
const MAX_VOLUME_NAME: usize = 200;

/// Longest path of a device. Heketi has no limit; the resource has.
const MAX_DEVICE_PATH: usize = 255;

/// Group ids end below this.
const MAX_GID: i64 = 2_147_483_647;

const BLANK: &str = "cannot be blank";
const FORMAT: &str = "must be in a valid format";

/// How the marks of a node or device change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// All are replaced.
    Set,
    /// Those given are added.
    Update,
    /// Those named are taken away.
    Delete,
}

/// How the data of a volume is kept safe, after the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// Each byte once.
    None,
    /// Each byte on 2 or 3 nodes.
    Replicate(u32),
    /// Each file cut over bricks that hold data, with more that may be lost.
    Disperse(u32, u32),
}

/// The wrong fields of an object and what is wrong with them.
#[derive(Default)]
struct Wrong(BTreeMap<&'static str, String>);

impl Wrong {
    fn add(&mut self, field: &'static str, message: Option<String>) {
        if let Some(message) = message {
            self.0.insert(field, message);
        }
    }

    /// `field: message; field: message.`
    fn told(self) -> Option<String> {
        let fields: Vec<String> =
            self.0.into_iter().map(|(field, message)| format!("{field}: {message}")).collect();
        (!fields.is_empty()).then(|| format!("{}.", fields.join("; ")))
    }

    fn done(self) -> Result<(), Refused> {
        match self.told() {
            Some(told) => Err(invalid(&told)),
            None => Ok(()),
        }
    }
}

fn invalid(told: &str) -> Refused {
    Refused::bad(format!("validation failed: {told}"))
}

/// Checks `POST /nodes`.
pub fn node_add(request: &NodeAdd) -> Result<(), Refused> {
    let mut hostnames = Wrong::default();
    hostnames.add("manage", hosts(&request.hostnames.manage, "manage"));
    hostnames.add("storage", hosts(&request.hostnames.storage, "storage"));
    let mut wrong = Wrong::default();
    let hostnames = hostnames.told().map(|told| format!("({told})"));
    wrong.add("hostnames", hostnames);
    wrong.add("cluster", uuid(&request.cluster));
    wrong.add("tags", tags(&request.tags));
    let too_large = "must be no greater than 2147483647";
    wrong.add(
        "zone",
        match request.zone {
            0 => Some(BLANK.into()),
            zone if zone < 1 => Some("must be no less than 1".into()),
            zone if zone > i64::from(i32::MAX) => Some(too_large.into()),
            _ => None,
        },
    );
    wrong.done()
}

/// Checks `POST /devices`.
pub fn device_add(request: &DeviceAdd) -> Result<(), Refused> {
    let mut wrong = Wrong::default();
    let name = request.name.as_str();
    wrong.add(
        "name",
        if name.is_empty() {
            Some(BLANK.into())
        } else if name.len() > MAX_DEVICE_PATH {
            Some(format!("the length must be no more than {MAX_DEVICE_PATH}"))
        } else {
            check_device_path(name).err().map(|_| FORMAT.into())
        },
    );
    wrong.add("node", uuid(&request.node));
    wrong.add("tags", tags(&request.tags));
    wrong.done()
}

/// Checks a change of state and reads the state.
pub fn state_change(request: &StateChange) -> Result<State, Refused> {
    let healcheck = request.healcheck.as_str();
    if !matches!(healcheck, "" | "enable" | "disable") {
        let message = format!("{healcheck} is not valid heal info check");
        return Err(invalid(&format!("healcheck: {message}.")));
    }
    match request.state.as_str() {
        "online" => Ok(State::Online),
        "offline" => Ok(State::Offline),
        "failed" => Ok(State::Failed),
        "" => Err(invalid(&format!("state: {BLANK}."))),
        other => Err(invalid(&format!("state: {other} is not valid state."))),
    }
}

/// Checks a change of marks and reads its kind.
pub fn tags_change(request: &TagsChange) -> Result<TagChange, Refused> {
    let change = match request.change_type.as_str() {
        "set" => Ok(TagChange::Set),
        "update" => Ok(TagChange::Update),
        "delete" => Ok(TagChange::Delete),
        "" => Err(BLANK),
        _ => Err("must be a valid value"),
    };
    let mut wrong = Wrong::default();
    wrong.add("tags", tags(&request.tags));
    match change {
        Ok(change) => wrong.done().map(|()| change),
        Err(message) => {
            wrong.add("change_type", Some(message.into()));
            Err(invalid(&wrong.told().unwrap_or_default()))
        }
    }
}

/// The marks after a change.
pub fn changed_tags(
    mut had: BTreeMap<String, String>,
    change: TagChange,
    tags: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    match change {
        TagChange::Set => tags.clone(),
        TagChange::Update => {
            had.extend(tags.clone());
            had
        }
        TagChange::Delete => {
            had.retain(|name, _| !tags.contains_key(name));
            had
        }
    }
}

/// Checks `POST /volumes` as far as that can be done without looking at clusters, in Heketi's order,
/// and reads how the data is kept safe.
pub fn volume_create(request: &VolumeCreate) -> Result<Safety, Refused> {
    let mut wrong = Wrong::default();
    wrong.add("name", volume_name(&request.name));
    wrong.add("size", positive(request.size));
    wrong.add("glustervolumeoptions", options(request));
    wrong.done()?;
    if request.gid < 0 {
        return Err(Refused::bad("Bad group id less than zero"));
    }
    if request.gid >= MAX_GID {
        let text = "Bad group id equal or greater than 2**32";
        return Err(Refused::bad(text));
    }
    let kind = request.durability.kind.as_str();
    if !matches!(kind, "" | "none" | "replicate" | "disperse") {
        return Err(Refused::bad("Unknown durability type"));
    }
    let factor = request.snapshot.factor;
    if request.snapshot.enable && !(1.0..=100.0).contains(&factor) {
        return Err(Refused::bad("Invalid snapshot factor"));
    }
    match kind {
        "replicate" => match request.durability.replicate.replica {
            1 => Ok(Safety::None),
            0 | 2 => Ok(Safety::Replicate(2)),
            3 => Ok(Safety::Replicate(3)),
            _ => Err(Refused::bad("Invalid replica value")),
        },
        "disperse" => {
            let disperse = &request.durability.disperse;
            let asked = (disperse.data, disperse.redundancy);
            let found = Durability::DISPERSED
                .into_iter()
                .find(|(data, more)| asked == ((*data).into(), (*more).into()));
            let unknown = || Refused::bad(format!("Invalid dispersion combination: {}+{}", asked.0, asked.1));
            found.map(|(data, more)| Safety::Disperse(data, more)).ok_or_else(unknown)
        }
        _ => Ok(Safety::None),
    }
}

/// Checks `POST /volumes/{id}/expand`.
pub fn volume_expand(request: &VolumeExpand) -> Result<(), Refused> {
    let mut wrong = Wrong::default();
    wrong.add("expand_size", positive(request.expand_size));
    wrong.done()
}

/// Checks `POST /volumes/{id}/block-restriction` and says whether the volume is to be locked.
pub fn block_restriction(request: &BlockRestriction) -> Result<bool, Refused> {
    match request.restriction.as_str() {
        "" => Ok(false),
        "locked" => Ok(true),
        _ => Err(invalid("restriction: must be a valid value.")),
    }
}

/// Checks `POST /operations/pending/cleanup`.
pub fn clean_up(request: &CleanUp) -> Result<(), Refused> {
    let ids = &request.operations;
    let mut wrong = Wrong::default();
    wrong.add(
        "operations",
        if ids.len() > MAX_IDS {
            Some(format!("too many ids specified ({}), up to {MAX_IDS} supported", ids.len()))
        } else {
            ids.iter().find_map(|id| uuid(id))
        },
    );
    wrong.done()
}

/// A size in GiB that has to be given.
fn positive(size: i64) -> Option<String> {
    match size {
        0 => Some(BLANK.into()),
        size if size < 1 => Some("must be no less than 1".into()),
        _ => None,
    }
}

/// Heketi takes anything and lets GlusterFS fail. GlusterFS's command line reads any word that begins
/// with two dashes as an option of its own, a log file for example, wherever it stands.
fn options(request: &VolumeCreate) -> Option<String> {
    let bad = request.glustervolumeoptions.iter().any(|option| !is_option(option));
    bad.then(|| FORMAT.into())
}

/// Nothing, or `key value` on one line.
fn is_option(option: &str) -> bool {
    let option = option.trim();
    if option.is_empty() {
        return true;
    }
    let Some((key, value)) = option.split_once(char::is_whitespace) else {
        return false;
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    key.starts_with(|c: char| c.is_ascii_alphanumeric())
        && key.bytes().all(good)
        && !value.trim().starts_with("--")
        && option.len() <= MAX_OPTION
        && !option.contains(char::is_control)
}

fn volume_name(name: &str) -> Option<String> {
    if name.is_empty() {
        None
    } else if name.len() > MAX_VOLUME_NAME {
        Some(format!("the length must be no more than {MAX_VOLUME_NAME}"))
    } else {
        check_volume_name(name).err().map(|_| FORMAT.into())
    }
}

fn uuid(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(BLANK.into());
    }
    let good = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    (!good).then(|| format!("{text} is not a valid UUID"))
}

fn hosts(hosts: &[String], kind: &str) -> Option<String> {
    if hosts.is_empty() {
        return Some(BLANK.into());
    }
    let bad = hosts.iter().any(|host| check_hostname(host).is_err());
    bad.then(|| format!("[{}] is not a valid {kind} hostname", hosts.join(" ")))
}

fn tags(tags: &BTreeMap<String, String>) -> Option<String> {
    if tags.len() > MAX_TAGS {
        let count = tags.len();
        let text = format!("too many tags specified ({count}), up to {MAX_TAGS} supported");
        return Some(text);
    }
    tags.iter().find_map(|(name, value)| tag(name, value))
}

fn tag(name: &str, value: &str) -> Option<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.is_empty() {
        Some("tag names may not be empty".into())
    } else if name.len() > MAX_TAG_NAME {
        Some(format!("tag name {name}: the length must be between 1 and {MAX_TAG_NAME}"))
    } else if value.len() > MAX_TAG_VALUE {
        Some(format!("value of tag {name}: the length must be no more than {MAX_TAG_VALUE}"))
    } else if !name.bytes().all(good) {
        Some(format!("invalid characters in tag name {name}"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::heketi::json;

    fn told<T>(result: Result<T, Refused>) -> Refused {
        match result {
            Ok(_) => panic!("was taken"),
            Err(refused) => refused,
        }
    }

    fn node(body: &str) -> Result<(), Refused> {
        node_add(&json::read(body.as_bytes()).unwrap())
    }

    fn volume(body: &str) -> Result<Safety, Refused> {
        volume_create(&json::read(body.as_bytes()).unwrap())
    }

    #[test]
    fn wrong_fields_are_told_in_order() {
        let text = "cluster: cannot be blank; hostnames: (manage: cannot be blank; storage: cannot be blank.); zone: cannot be blank.";
        assert_eq!(told(node("{}")), invalid(text));
        let change =
            TagsChange { change_type: "x".into(), tags: BTreeMap::from([(String::new(), String::new())]) };
        let text = "change_type: must be a valid value; tags: tag names may not be empty.";
        assert_eq!(told(tags_change(&change)), invalid(text));
    }

    #[test]
    fn limits_of_tags() {
        let many = |n: usize| (0..n).map(|i| (format!("t{i}"), String::new())).collect();
        assert_eq!(tags(&many(32)), None);
        let text = "too many tags specified (33), up to 32 supported";
        assert_eq!(tags(&many(33)).as_deref(), Some(text));
        assert_eq!(tag(&"k".repeat(32), &"v".repeat(64)), None);
        assert!(tag(&"k".repeat(33), "").is_some());
        assert!(tag("k", &"v".repeat(65)).is_some());
    }

    #[test]
    fn tags_change_as_asked() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<BTreeMap<_, _>>()
        };
        let had = map(&[("a", "1"), ("b", "2")]);
        let given = map(&[("b", "3"), ("c", "4")]);
        assert_eq!(changed_tags(had.clone(), TagChange::Set, &given), given);
        assert_eq!(
            changed_tags(had.clone(), TagChange::Update, &given),
            map(&[("a", "1"), ("b", "3"), ("c", "4")])
        );
        assert_eq!(changed_tags(had, TagChange::Delete, &given), map(&[("a", "1")]));
    }

    #[test]
    fn volumes_are_checked_in_the_original_order() {
        for (body, text) in [
            (r#"{"size":0,"gid":-1}"#, "validation failed: size: cannot be blank."),
            (
                r#"{"size":-1,"name":"a b"}"#,
                "validation failed: name: must be in a valid format; size: must be no less than 1.",
            ),
            (r#"{"size":1,"name":"-rf"}"#, "validation failed: name: must be in a valid format."),
            (
                r#"{"size":1,"glustervolumeoptions":["a\nb"]}"#,
                "validation failed: glustervolumeoptions: must be in a valid format.",
            ),
            (r#"{"size":1,"gid":-1,"durability":{"type":"x"}}"#, "Bad group id less than zero"),
            (r#"{"size":1,"gid":2147483647}"#, "Bad group id equal or greater than 2**32"),
            (r#"{"size":1,"durability":{"type":"x"},"snapshot":{"enable":true}}"#, "Unknown durability type"),
            (
                r#"{"size":1,"snapshot":{"enable":true},"durability":{"type":"replicate","replicate":{"replica":9}}}"#,
                "Invalid snapshot factor",
            ),
            (
                r#"{"size":1,"durability":{"type":"replicate","replicate":{"replica":-1}}}"#,
                "Invalid replica value",
            ),
            (
                r#"{"size":1,"durability":{"type":"disperse","disperse":{"data":3,"redundancy":1}}}"#,
                "Invalid dispersion combination: 3+1",
            ),
        ] {
            assert_eq!(told(volume(body)), Refused::bad(text), "{body}");
        }
    }

    #[test]
    fn options_are_a_key_and_a_value() {
        for good in
            ["", " ", "a.b-c_1 on", "performance.cache-size  256MB", "auth.allow 10.0.0.1,a b", "x -1"]
        {
            assert!(is_option(good), "{good}");
        }
        for bad in ["a", "--xml x", "-a x", "a;b x", "a --log-file=/etc/passwd", "a x\ny", "a x\0", "$(id) x"]
        {
            assert!(!is_option(bad), "{bad}");
        }
        assert!(!is_option(&format!("a {}", "x".repeat(MAX_OPTION))), "longer than glusterd can keep");
    }

    #[test]
    fn replica_counts() {
        let kind = |body: &str| volume(&format!(r#"{{"size":1,"durability":{body}}}"#)).unwrap();
        assert_eq!(kind("{}"), Safety::None);
        assert_eq!(kind(r#"{"type":"none","replicate":{"replica":3}}"#), Safety::None);
        assert_eq!(kind(r#"{"type":"replicate"}"#), Safety::Replicate(2));
        assert_eq!(kind(r#"{"type":"replicate","replicate":{"replica":1}}"#), Safety::None);
        assert_eq!(kind(r#"{"type":"replicate","replicate":{"replica":3}}"#), Safety::Replicate(3));
        assert_eq!(
            kind(r#"{"type":"disperse","disperse":{"data":4,"redundancy":2}}"#),
            Safety::Disperse(4, 2)
        );
    }

    #[test]
    fn states_and_heal_checks() {
        let change = |state: &str, healcheck: &str| {
            state_change(&StateChange { state: state.into(), healcheck: healcheck.into() })
        };
        assert_eq!(change("failed", "disable"), Ok(State::Failed));
        assert_eq!(told(change("bad", "maybe")), invalid("healcheck: maybe is not valid heal info check."));
        assert_eq!(told(change("bad", "")), invalid("state: bad is not valid state."));
        assert_eq!(told(change("", "")), invalid("state: cannot be blank."));
    }
}
