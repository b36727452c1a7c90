//! The words of `gluster volume create`, `add-brick` and `set`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{gluster::Refusal, state::Brick};

/// Beginnings of options that glusterd knows.
const KNOWN_OPTIONS: [&str; 24] = [
    "auth.",
    "changelog.",
    "client.",
    "cluster.",
    "config.",
    "ctime.",
    "debug.",
    "delay-gen.",
    "dht.",
    "diagnostics.",
    "disperse.",
    "features.",
    "geo-replication.",
    "locks.",
    "network.",
    "nfs.",
    "performance.",
    "rebalance.",
    "server.",
    "ssl.",
    "storage.",
    "transport.",
    "user.",
    "nufa.",
];
/// Sets of options that glusterd comes with.
const GROUPS: [&str; 8] = [
    "db-workload",
    "distributed-virt",
    "gluster-block",
    "metadata-cache",
    "nl-cache",
    "samba",
    "virt",
    "none",
];

/// The words after the name of a volume that is to be made.
#[derive(Default)]
pub(super) struct Layout {
    pub(super) replica: u16,
    pub(super) arbiter: u16,
    pub(super) disperse: u16,
    pub(super) redundancy: u16,
    pub(super) bricks: Vec<Brick>,
    pub(super) force: bool,
}

impl Layout {
    pub(super) fn read(words: &[&str]) -> Result<Self, Refusal> {
        let mut read = Self { replica: 1, ..Self::default() };
        let mut data = 0;
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let mut number = || {
                let value = rest.next().and_then(|value| value.parse::<u16>().ok());
                value.ok_or_else(|| Refusal::from(format!("{word} count should be a number")))
            };
            match *word {
                "replica" => read.replica = number()?,
                "arbiter" => read.arbiter = number()?,
                "disperse" => read.disperse = number()?,
                "disperse-data" => data = number()?,
                "redundancy" => read.redundancy = number()?,
                "transport" => _ = rest.next(),
                "force" => read.force = true,
                brick => read.bricks.push(brick_of(brick)?),
            }
        }
        if read.arbiter > 0 && read.replica == 2 {
            read.replica = 3;
        }
        if data > 0 {
            read.disperse = data + read.redundancy;
        }
        Ok(read)
    }

    /// Bricks in a set.
    pub(super) fn set(&self) -> usize {
        usize::from(self.replica.max(self.disperse).max(1))
    }
}

pub(super) fn brick_of(word: &str) -> Result<Brick, Refusal> {
    match word.split_once(":/") {
        Some((host, path)) if !host.is_empty() => {
            Ok(Brick { host: host.into(), path: format!("/{path}").as_str().into() })
        }
        _ => Err(format!("Wrong brick type: {word}, use <HOSTNAME>:<export-dir-abs-path>").into()),
    }
}

pub(super) fn check_option(key: &str, value: &str) -> Result<(), Refusal> {
    if key == "group" {
        if GROUPS.contains(&value) {
            return Ok(());
        }
        let why = format!(
            "Unable to open file '/var/lib/glusterd/groups/{value}'. Error: No such file or directory"
        );
        return Err(why.into());
    }
    let known = KNOWN_OPTIONS.iter().find_map(|start| key.strip_prefix(start));
    if known.is_none_or(str::is_empty) {
        return Err(format!("option : {key} does not exist").into());
    }
    let time = !key.starts_with("user.") && key.ends_with("-timeout");
    if time && !value.starts_with(|first: char| first.is_ascii_digit()) {
        let option = key.rsplit('.').next().unwrap_or(key);
        return Err(format!("invalid time format \"{value}\" in \"option {option}\"").into());
    }
    Ok(())
}

/// Checks the addresses of auth.allow and auth.reject as glusterd does: whatever could be a name passes,
/// prefixes of IPv6 do not. It names the option as the first brick would have it.
pub(super) fn check_addresses(key: &str, value: &str, brick: Option<&Brick>) -> Result<(), Refusal> {
    let Some(list @ ("allow" | "reject")) = key.strip_prefix("auth.") else { return Ok(()) };
    let good = |word: &str| match word.split_once('/') {
        Some((address, bits)) => {
            address.parse::<Ipv4Addr>().is_ok() && bits.parse().is_ok_and(|bits| (1..=32).contains(&bits))
        }
        None if word.contains(':') => {
            word.parse::<Ipv6Addr>().is_ok_and(|six| six.to_ipv4_mapped().is_none())
        }
        None => true,
    };
    if value.split(',').all(good) {
        return Ok(());
    }
    let path = brick.map(|brick| brick.path.to_string()).unwrap_or_default();
    Err(format!("option auth.addr.{path}.{list} {value}: '{value}' is not a valid internet-address-list")
        .into())
}
