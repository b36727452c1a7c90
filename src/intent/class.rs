//! What a StorageClass says about its volumes. Pure.
//!
//! The keys are those of the provisioner that Kubernetes had for Heketi, read without regard to case
//! as that one did, and some of our own. A class cannot be edited, so a mistake in it is named with
//! the key and what is accepted.

use std::collections::{BTreeMap, BTreeSet};

use super::placement_options;
use crate::resources::{AVERAGE_FILE, Durability, Growth, Zones};
use crate::units::{Allowed, NODES, TagRule, check_option};

/// The parameters of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassParameters {
    /// How the data is kept safe.
    pub durability: Durability,
    /// How the bricks of a set lie in zones.
    pub zones: Zones,
    /// A rule about the tags of devices.
    pub device_tags: Option<String>,
    /// The clusters that may hold it, by name or id; any when empty.
    pub clusters: Vec<String>,
    /// Options for `gluster volume set`, each written as `key value`.
    pub options: Vec<String>,
    /// Who may mount it, as spec.allow of a volume says it; everybody when empty.
    pub allow: Vec<String>,
    /// What the names of the volumes begin with; they are named by their ids when it is not given.
    pub name_prefix: Option<String>,
    /// The groups that volumes are given to, one for each; none when volumes stay root's.
    pub gids: Option<GidRange>,
    /// How much larger than the brick its thin pool is.
    pub snapshot_factor: f64,
    /// How volumes grow.
    pub growth: Growth,
    /// How pods find the volume.
    pub source: PvSource,
    /// Keys that are there and mean nothing here, in the user's spelling.
    pub unused: Vec<String>,
}

/// Groups, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GidRange {
    /// The lowest.
    pub min: i64,
    /// The highest.
    pub max: i64,
}

/// How the PersistentVolume says where its data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PvSource {
    /// By our CSI driver.
    Csi,
    /// By the plugin that kubelets had before Kubernetes 1.26, with Endpoints of this prefix in the
    /// claim's namespace.
    Glusterfs {
        /// What the names of the Endpoints begin with.
        endpoints_prefix: String,
    },
}

/// The keys that are understood, with what they accept.
const KEYS: [(&str, &str); 15] = [
    (
        "volumetype",
        "none, replicate:2, replicate:3, disperse:2:1, disperse:4:2, disperse:8:3 or disperse:8:4",
    ),
    ("clusters", "names of GlusterClusters, with commas between them"),
    ("clusterid", "names or ids of GlusterClusters, with commas between them"),
    ("volumeoptions", "options as `key value`, with commas between them"),
    ("allow", "any, or nodes, addresses and prefixes of IPv4 (10.0.0.0/24), with commas between them"),
    ("volumenameprefix", "1 to 60 letters, digits and '-', beginning with a letter or digit"),
    ("gidMin", "a number from 2000 to 2147483646"),
    ("gidMax", "a number from 2000 to 2147483646"),
    ("snapfactor", "a number from 1 to 100"),
    ("growth", "auto, inPlace or sets"),
    ("zoneChecking", "none, soft or strict"),
    ("deviceTags", "a rule about the tags of devices: key=value or key!=value"),
    ("pvSource", "csi or glusterfs"),
    ("customepnameprefix", "1 to 26 lower-case letters, digits and '-', with pvSource glusterfs"),
    ("csi.storage.k8s.io/fstype", "nothing: leave it out"),
];

/// Keys that say where Heketi's server is and who asks it. Volumes are made by us, so that nobody is
/// asked; a class that was written for Heketi works as it is.
const OF_HEKETI: [&str; 6] =
    ["resturl", "restauthenabled", "restuser", "restuserkey", "secretname", "secretnamespace"];

/// Keys that every CSI provisioner knows and that name Secrets; a GlusterFS volume needs none.
const SECRETS: [&str; 8] = [
    "",
    "provisioner-",
    "controller-publish-",
    "node-stage-",
    "node-publish-",
    "controller-expand-",
    "node-expand-",
    "controller-modify-",
];

/// The longest name of a GlusterFS volume that we make.
const LONGEST_NAME: usize = 200;
const LOWEST_GID: i64 = 2000;
/// The highest group; GlusterFS knows no higher one than what fits 31 bits, and -1 is no group.
const HIGHEST_GID: i64 = 2_147_483_646;
/// What the Endpoints of a volume are called when the class does not say, as the old plugin did.
const ENDPOINTS_PREFIX: &str = "glusterfs-dynamic";

impl Default for ClassParameters {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            zones: Zones::default(),
            device_tags: None,
            clusters: vec![],
            options: vec![],
            allow: vec![NODES.into()],
            name_prefix: None,
            gids: None,
            snapshot_factor: 1.0,
            growth: Growth::default(),
            source: PvSource::Csi,
            unused: vec![],
        }
    }
}

impl ClassParameters {
    /// The name of a GlusterFS volume as the old provisioner made it, when the class has a prefix for it: the
    /// prefix, `words` (the namespace and the name of a claim) and what keeps it apart from all others. What
    /// GlusterFS takes in no name becomes a dash; a long name is cut before `unique`.
    pub fn volume_name(&self, words: &[&str], unique: &str) -> Option<String> {
        let mut name = self.name_prefix.clone()?;
        for word in words {
            name.push('_');
            name += &word.replace(|other: char| !other.is_ascii_alphanumeric() && other != '-', "-");
        }
        name.truncate(LONGEST_NAME.saturating_sub(unique.len() + 1));
        Some(format!("{name}_{unique}"))
    }
}

/// Reads the parameters. An unknown key or value is an error that names it and what is accepted.
pub fn read(parameters: &BTreeMap<String, String>) -> Result<ClassParameters, String> {
    let mut class = ClassParameters::default();
    let (mut seen, mut gids, mut endpoints_prefix) = (BTreeSet::new(), (None, None), None);
    let (mut zones, mut device_tags) = (None, None);
    for (key, value) in parameters {
        let lower = key.to_ascii_lowercase();
        if !seen.insert(lower.clone()) {
            return Err(format!("StorageClass parameter {key:?} is given twice"));
        }
        let bad = || refused(&lower, key, value);
        match lower.as_str() {
            "volumetype" => class.durability = durability(value).ok_or_else(bad)?,
            "clusters" | "clusterid" if seen.contains("clusters") && seen.contains("clusterid") => {
                return Err(
                    "StorageClass parameters clusterid and clusters say the same: give one of them".into()
                );
            }
            "clusters" | "clusterid" => class.clusters = list(value),
            "volumeoptions" => class.options = options(key, value)?,
            "allow" => class.allow = allow(value).ok_or_else(bad)?,
            "volumenameprefix" => class.name_prefix = Some(name_prefix(value).ok_or_else(bad)?),
            "gidmin" => gids.0 = Some(gid(value).ok_or_else(bad)?),
            "gidmax" => gids.1 = Some(gid(value).ok_or_else(bad)?),
            "snapfactor" => class.snapshot_factor = factor(value).ok_or_else(bad)?,
            "growth" => class.growth = growth(value).ok_or_else(bad)?,
            "zonechecking" => zones = Some(zone_checking(value).ok_or_else(bad)?),
            "devicetags" => {
                device_tags = Some(value.parse::<TagRule>().map_err(|_| bad())?.to_string());
            }
            "pvsource" => match value.as_str() {
                "csi" => class.source = PvSource::Csi,
                "glusterfs" => {
                    class.source = PvSource::Glusterfs { endpoints_prefix: ENDPOINTS_PREFIX.into() }
                }
                _ => return Err(bad()),
            },
            "customepnameprefix" => {
                endpoints_prefix = Some((key.clone(), endpoints_name(value).ok_or_else(bad)?));
            }
            heketi if OF_HEKETI.contains(&heketi) => class.unused.push(key.clone()),
            _ => return Err(unknown(key)),
        }
    }
    match (&mut class.source, endpoints_prefix) {
        (PvSource::Glusterfs { endpoints_prefix }, Some((_, prefix))) => *endpoints_prefix = prefix,
        (PvSource::Csi, Some((key, _))) => class.unused.push(key),
        (_, None) => {}
    }
    class.gids = gid_range(gids, &class.source)?;
    let in_options = |error: String| format!("StorageClass parameter volumeoptions: {error}");
    let places = placement_options::read(&class.options).map_err(in_options)?;
    class.durability = places.durability(class.durability, AVERAGE_FILE).map_err(in_options)?;
    class.zones = zones.or(places.zones).unwrap_or_default();
    class.device_tags = device_tags.or(places.device_tags);
    Ok(class)
}

fn unknown(key: &str) -> String {
    if let Some(of_csi) = key.strip_prefix("csi.storage.k8s.io/") {
        if of_csi == "fstype" {
            return format!(
                "StorageClass parameter {key}: a GlusterFS volume has one file system: leave it out"
            );
        }
        let secret = |rest: &str| rest == "secret-name" || rest == "secret-namespace";
        if SECRETS.iter().any(|prefix| of_csi.strip_prefix(prefix).is_some_and(secret)) {
            return format!("StorageClass parameter {key}: GlusterFS volumes need no Secret: leave it out");
        }
    }
    let known: Vec<String> = KEYS.iter().map(|(key, what)| format!("{key} ({what})")).collect();
    format!("unknown StorageClass parameter {key:?}; known are: {}", known.join("; "))
}

fn refused(lower: &str, key: &str, value: &str) -> String {
    let known = KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(lower));
    let accepted = known.map_or("nothing", |(_, accepted)| accepted);
    let value: String = value.chars().take(64).collect();
    format!("StorageClass parameter {key} is {value:?}; accepted is {accepted}")
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn durability(text: &str) -> Option<Durability> {
    Some(match text {
        "none" => Durability::none(),
        "replicate" | "replicate:3" => Durability::replicate(3),
        "replicate:2" => Durability::replicate(2),
        "disperse" => Durability::disperse(4, 2),
        other => {
            let (data, redundancy) = other.strip_prefix("disperse:")?.split_once(':')?;
            let pair = (data.parse().ok()?, redundancy.parse().ok()?);
            let known =
                Durability::DISPERSED.contains(&pair) && other == format!("disperse:{}:{}", pair.0, pair.1);
            return known.then(|| Durability::disperse(pair.0, pair.1));
        }
    })
}

fn options(key: &str, text: &str) -> Result<Vec<String>, String> {
    let options = list(text);
    for option in &options {
        check_option(option).map_err(|error| format!("StorageClass parameter {key}: {error}"))?;
    }
    Ok(options)
}

fn allow(text: &str) -> Option<Vec<String>> {
    if text.trim() == "any" {
        return Some(vec![]);
    }
    let words = list(text);
    let good = words.iter().all(|word| word.parse::<Allowed>().is_ok());
    (good && (1..=64).contains(&words.len())).then_some(words)
}

fn name_prefix(text: &str) -> Option<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let fits = (1..=60).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('-');
    fits.then(|| text.to_owned())
}

fn endpoints_name(text: &str) -> Option<String> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // A Service's name begins with a letter.
    let fits = (1..=26).contains(&text.len()) && text.bytes().all(good);
    (fits && text.starts_with(|first: char| first.is_ascii_lowercase())).then(|| text.to_owned())
}

fn gid(text: &str) -> Option<i64> {
    text.parse().ok().filter(|gid| (LOWEST_GID..=HIGHEST_GID).contains(gid))
}

/// The old plugin gave every volume a group; pods that are not root could not write otherwise. With
/// CSI the pod's own fsGroup does that, so volumes have a group only when the class says which.
fn gid_range(given: (Option<i64>, Option<i64>), source: &PvSource) -> Result<Option<GidRange>, String> {
    if given == (None, None) && *source == PvSource::Csi {
        return Ok(None);
    }
    let range = GidRange { min: given.0.unwrap_or(LOWEST_GID), max: given.1.unwrap_or(HIGHEST_GID) };
    if range.min > range.max {
        return Err(format!(
            "StorageClass parameter gidMin is {} and gidMax is {}: accepted is a gidMin not above gidMax",
            range.min, range.max
        ));
    }
    Ok(Some(range))
}

fn factor(text: &str) -> Option<f64> {
    text.parse().ok().filter(|factor| (1.0..=100.0).contains(factor))
}

fn growth(text: &str) -> Option<Growth> {
    match text {
        "auto" => Some(Growth::Auto),
        "inPlace" => Some(Growth::InPlace),
        "sets" => Some(Growth::Sets),
        _ => None,
    }
}

fn zone_checking(text: &str) -> Option<Zones> {
    match text {
        "none" => Some(Zones::None),
        "soft" => Some(Zones::Soft),
        "strict" => Some(Zones::Strict),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn known_keys_are_read() {
        let class = read(&parameters(&[
            ("volumetype", "replicate:2"),
            ("clusters", "a, b"),
            ("volumeoptions", "performance.cache-size 256MB, user.heketi.zone-checking none"),
            ("allow", "nodes, 10.0.0.0/24"),
            ("volumenameprefix", "team-a"),
            ("gidMin", "3000"),
            ("snapfactor", "1.5"),
            ("growth", "sets"),
            ("zoneChecking", "strict"),
            ("deviceTags", "disk!=hdd"),
        ]))
        .unwrap();
        assert_eq!(class.durability.set_size(), 2);
        assert_eq!(class.growth, Growth::Sets);
        assert_eq!((class.zones, class.device_tags.as_deref()), (Zones::Strict, Some("disk!=hdd")));
        assert_eq!(class.clusters, ["a", "b"]);
        assert_eq!(class.options, ["performance.cache-size 256MB", "user.heketi.zone-checking none"]);
        assert_eq!(class.allow, ["nodes", "10.0.0.0/24"]);
        assert_eq!(class.name_prefix.as_deref(), Some("team-a"));
        assert_eq!(class.gids, Some(GidRange { min: 3000, max: HIGHEST_GID }));
        assert!((class.snapshot_factor - 1.5).abs() < f64::EPSILON);
        let plain = read(&parameters(&[])).unwrap();
        assert_eq!(plain.allow, ["nodes"]);
        assert!(read(&parameters(&[("allow", "any")])).unwrap().allow.is_empty());
        assert_eq!((plain.durability.set_size(), plain.gids, plain.source), (3, None, PvSource::Csi));
    }

    #[test]
    fn every_durability_is_offered() {
        let of = |pairs: &[(&str, &str)]| read(&parameters(pairs)).unwrap();
        assert_eq!(of(&[("volumetype", "none")]).durability, Durability::none());
        assert_eq!(of(&[("volumetype", "disperse:8:3")]).durability, Durability::disperse(8, 3));
        let options = "user.heketi.arbiter true, user.heketi.average-file-size 1024";
        let arbiter = of(&[("volumetype", "replicate:3"), ("volumeoptions", options)]);
        assert_eq!(arbiter.durability, Durability::arbiter(Bytes::from_kib(1024)));
        let two =
            read(&parameters(&[("volumetype", "replicate:2"), ("volumeoptions", options)])).unwrap_err();
        assert!(two.contains("third of three replicas"), "{two}");
    }

    #[test]
    fn a_class_written_for_heketi_works_and_says_what_is_not_used() {
        let class = read(&parameters(&[
            ("resturl", "http://10.0.0.1:8080"),
            ("restuser", "admin"),
            ("secretNamespace", "default"),
            ("secretName", "heketi-secret"),
            ("customEpNamePrefix", "dbstorage"),
            ("volumetype", "replicate:3"),
            ("GIDMIN", "40000"),
            ("gidMax", "50000"),
        ]))
        .unwrap();
        assert_eq!(
            class.unused,
            ["resturl", "restuser", "secretName", "secretNamespace", "customEpNamePrefix"]
        );
        assert_eq!(class.gids, Some(GidRange { min: 40000, max: 50000 }));
    }

    #[test]
    fn the_old_source_has_endpoints_and_groups() {
        let old = |more: &[(&str, &str)]| {
            read(&parameters(&[&[("pvSource", "glusterfs")], more].concat())).unwrap()
        };
        let named = |name: &str| PvSource::Glusterfs { endpoints_prefix: name.into() };
        assert_eq!(old(&[]).source, named("glusterfs-dynamic"));
        assert_eq!(old(&[]).gids, Some(GidRange { min: 2000, max: HIGHEST_GID }));
        assert_eq!(old(&[("customepnameprefix", "db")]).source, named("db"));
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_is_accepted() {
        for (key, value, accepted) in [
            ("volumtype", "none", "replicate:3"),
            ("volumetype", "replicate:4", "replicate:3"),
            ("volumetype", "disperse:3:1", "disperse:4:2"),
            ("gidMin", "1999", "2000 to 2147483646"),
            ("gidMax", "many", "2000 to 2147483646"),
            ("snapfactor", "0.5", "1 to 100"),
            ("snapfactor", "NaN", "1 to 100"),
            ("growth", "up", "accepted is auto, inPlace or sets"),
            ("zoneChecking", "maybe", "accepted is none, soft or strict"),
            ("deviceTags", "ssd", "key=value or key!=value"),
            ("pvSource", "nfs", "csi or glusterfs"),
            ("customepnameprefix", "Upper", "26 lower-case"),
            ("customepnameprefix", "1digit", "26 lower-case"),
            ("allow", "", "any, or nodes"),
            ("allow", "*", "any, or nodes"),
            ("allow", "any,10.0.0.1", "any, or nodes"),
            ("allow", "10.0.0.1/8", "prefixes of IPv4"),
            ("allow", "fd00::/64", "prefixes of IPv4"),
            ("volumenameprefix", "a_b", "letters, digits and '-'"),
            ("volumenameprefix", "$(id)", "letters, digits and '-'"),
            ("volumeoptions", "a.b --log-file=/x", "does not begin with `--`"),
            ("volumeoptions", "user.heketi.arbiter perhaps", "accepted is true or false"),
            ("volumeoptions", "user.heketi.zone-checking hard", "accepted is none, soft or strict"),
            ("csi.storage.k8s.io/fstype", "xfs", "leave it out"),
            ("csi.storage.k8s.io/node-stage-secret-name", "x", "need no Secret"),
            ("csi.storage.k8s.io/secret-name", "x", "need no Secret"),
            ("csi.storage.k8s.io/typo", "x", "unknown StorageClass parameter"),
        ] {
            let text = read(&parameters(&[(key, value)])).unwrap_err();
            assert!(text.contains(key) && text.contains(accepted), "{key} {value}: {text}");
        }
    }

    #[test]
    fn keys_that_contradict_each_other_are_refused() {
        for pairs in [
            &[("gidMin", "5000"), ("gidMax", "4000")],
            &[("clusters", "a"), ("clusterid", "b")],
            &[("gidMin", "5000"), ("gidmin", "5000")],
        ] {
            let text = read(&parameters(pairs)).unwrap_err();
            assert!(text.to_lowercase().contains("gidmin") || text.contains("clusterid"), "{text}");
        }
    }
}
