//! Who may mount a volume, as GlusterFS is told: the value of auth.allow. Pure.

use std::collections::BTreeSet;

use super::roster::Nodes;
use crate::resources::GlusterVolume;
use crate::units::{Allowed, MAX_OPTION, NODES, Prefix};

/// The option that says whose connections a volume takes.
pub const OPTION: &str = "auth.allow";
/// The value that lets everybody in.
const EVERYBODY: &str = "*";
/// How long a value may be, in bytes.
const LONGEST: usize = MAX_OPTION - OPTION.len() - 1;
/// To how many bits the addresses of nodes are cut, one after the other, until the list is short enough.
const WIDTHS: [u8; 3] = [24, 16, 8];

/// What is to be done about auth.allow of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing: everybody may mount it, or its options say who.
    Free,
    /// It cannot be said who may mount it, so what is set stays: one word, and a text for people.
    Unknown(&'static str, String),
    /// It is to be this.
    List(List),
}

/// A value of auth.allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Addresses and beginnings of addresses (`10.0.3.*`), sorted, each once, with commas between; or `*`.
    pub value: String,
    /// To how many bits the addresses of nodes were cut, if the list would be too long otherwise.
    pub cut: Option<u8>,
}

/// Who may mount a volume. `nodes` are the nodes of the Kubernetes cluster, as far as they are known.
pub fn wanted(volume: &GlusterVolume, nodes: Option<&Nodes>) -> Wanted {
    let set = volume.status.as_ref().and_then(|status| status.allow.as_deref());
    if volume.spec.options.iter().any(|option| option.split_whitespace().next() == Some(OPTION)) {
        return Wanted::Free;
    }
    if volume.spec.allow.is_empty() {
        let everybody = || Wanted::List(List { value: EVERYBODY.into(), cut: None });
        return set.map_or(Wanted::Free, |_| everybody());
    }
    let (mut named, mut with_nodes) = (BTreeSet::new(), false);
    for word in &volume.spec.allow {
        match word.parse() {
            Ok(Allowed::Nodes) => with_nodes = true,
            Ok(Allowed::Prefix(prefix)) => _ = named.insert(prefix),
            Err(error) => return Wanted::Unknown("BadAddress", format!("spec.allow: {error}")),
        }
    }
    let nodes = match nodes {
        _ if !with_nodes => BTreeSet::new(),
        None => {
            let text = format!(
                "spec.allow says {NODES}, and they are not known here (no Kubernetes cluster, or no right to watch its \
                 nodes): nothing was changed"
            );
            return Wanted::Unknown("NodesUnknown", text);
        }
        Some(nodes) if nodes.addresses.is_empty() => {
            let text = "no node of the Kubernetes cluster has an address so far: nothing was changed";
            return Wanted::Unknown("NoNodes", text.into());
        }
        Some(nodes) => kept(nodes, set),
    };
    list(&named, &nodes)
}

/// The nodes, and who was let in before as long as nobody can say whether those have only just left.
fn kept(nodes: &Nodes, set: Option<&str>) -> BTreeSet<Prefix> {
    let before = set.filter(|_| !nodes.settled).into_iter().flat_map(|set| set.split(','));
    let before = before.filter_map(Prefix::of_pattern);
    before.chain(nodes.addresses.iter().copied().map(Prefix::from)).collect()
}

/// The shortest cut of the nodes that fits; what was named stays as it is.
fn list(named: &BTreeSet<Prefix>, nodes: &BTreeSet<Prefix>) -> Wanted {
    for cut in std::iter::once(None).chain(WIDTHS.map(Some)) {
        let nodes = nodes.iter().map(|node| cut.map_or(*node, |bits| node.widened(bits)));
        let all = Prefix::outermost(&nodes.chain(named.iter().copied()).collect());
        let value = all.iter().flat_map(|prefix| prefix.patterns()).collect::<Vec<_>>().join(",");
        if value.len() <= LONGEST {
            return Wanted::List(List { value, cut });
        }
    }
    let text = format!(
        "the list of those who may mount it would have more than the {LONGEST} bytes that GlusterFS is given: name \
         prefixes in spec.allow"
    );
    Wanted::Unknown("TooLong", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::IpAddr;

    fn volume(allow: &[&str], options: &[&str], set: Option<&str>) -> GlusterVolume {
        let spec = json!({"size": "1Gi", "allow": allow, "options": options});
        let mut volume = GlusterVolume::new("v", serde_json::from_value(spec).unwrap());
        volume.status.get_or_insert_default().allow = set.map(Into::into);
        volume
    }

    fn nodes(addresses: &[&str]) -> Nodes {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Nodes { addresses, settled: true }
    }

    fn value(wanted: &Wanted) -> &str {
        let Wanted::List(list) = wanted else { panic!("no list: {wanted:?}") };
        &list.value
    }

    #[test]
    fn nodes_and_names_are_one_sorted_list() {
        let known = nodes(&["10.0.0.20", "10.0.0.3", "fd00::3", "10.0.0.3"]);
        let wanted = |allow: &[&str]| wanted(&volume(allow, &[], None), Some(&known));
        assert_eq!(value(&wanted(&["nodes"])), "10.0.0.3,10.0.0.20,fd00::3");
        assert_eq!(
            value(&wanted(&["192.168.0.0/16", "nodes", "10.0.0.4"])),
            "10.0.0.3,10.0.0.4,10.0.0.20,192.168.*,fd00::3"
        );
        assert_eq!(value(&wanted(&["10.0.0.0/24", "nodes"])), "10.0.0.*,fd00::3");
        assert_eq!(value(&wanted(&["10.9.0.1"])), "10.9.0.1");
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let reason = |allow: &[&str], known: Option<&Nodes>| match wanted(
            &volume(allow, &[], Some("10.0.0.1")),
            known,
        ) {
            Wanted::Unknown(reason, _) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&["nodes", "10.0.0.0/8"], None), "NodesUnknown");
        assert_eq!(reason(&["nodes"], Some(&nodes(&[]))), "NoNodes");
        assert_eq!(reason(&["10.0.0.1/8"], None), "BadAddress");
        assert_eq!(value(&wanted(&volume(&["10.0.0.0/8"], &[], None), None)), "10.*");
    }

    #[test]
    fn everybody_is_said_only_to_take_a_list_back() {
        let known = nodes(&["10.0.0.3"]);
        assert_eq!(wanted(&volume(&[], &[], None), Some(&known)), Wanted::Free);
        assert_eq!(value(&wanted(&volume(&[], &[], Some("10.0.0.3")), Some(&known))), "*");
    }

    #[test]
    fn options_that_the_user_has_given_win() {
        let known = nodes(&["10.0.0.3"]);
        for option in ["auth.allow 10.*", "auth.allow\t*"] {
            assert_eq!(
                wanted(&volume(&["nodes"], &["a.b c", option], Some("10.0.0.3")), Some(&known)),
                Wanted::Free
            );
        }
        assert_eq!(
            value(&wanted(&volume(&["nodes"], &["auth.allow-insecure on"], None), Some(&known))),
            "10.0.0.3"
        );
    }

    #[test]
    fn who_was_let_in_stays_until_it_is_known_who_has_left() {
        let mut known = nodes(&["10.0.0.3"]);
        known.settled = false;
        let before = volume(&["nodes"], &[], Some("10.0.0.2,10.0.0.3,10.0.1.*"));
        assert_eq!(value(&wanted(&before, Some(&known))), "10.0.0.2,10.0.0.3,10.0.1.*");
        assert_eq!(value(&wanted(&volume(&["nodes"], &[], Some("*")), Some(&known))), "10.0.0.3");
        known.settled = true;
        assert_eq!(value(&wanted(&before, Some(&known))), "10.0.0.3");
    }

    #[test]
    fn a_list_that_is_too_long_becomes_prefixes() {
        let many = |count: u32, step: u32| {
            let address = |n: u32| IpAddr::from((0x0a00_0000 + n * step).to_be_bytes());
            Nodes { addresses: (0..count).map(address).collect(), settled: true }
        };
        let list = |known: &Nodes| match wanted(&volume(&["nodes", "192.168.0.1"], &[], None), Some(known)) {
            Wanted::List(list) => list,
            other => panic!("{other:?}"),
        };
        assert_eq!(list(&many(200, 1)).cut, None);
        let cut = list(&many(2000, 1));
        assert_eq!(
            (cut.cut, cut.value.as_str()),
            (Some(24), "10.0.0.*,10.0.1.*,10.0.2.*,10.0.3.*,10.0.4.*,10.0.5.*,10.0.6.*,10.0.7.*,192.168.0.1")
        );
        assert_eq!(list(&many(5000, 300)).cut, Some(16), "each is in a network of its own of 24 bits");
        let sixes: Vec<String> = (0..1000).map(|n| format!("fd00:0:0:{n:x}::1")).collect();
        let sixes = nodes(&sixes.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(matches!(
            wanted(&volume(&["nodes"], &[], None), Some(&sixes)),
            Wanted::Unknown("TooLong", _)
        ));
    }
}
