//! Which node of the Kubernetes cluster a GlusterNode is. It is found once, by name or by labels;
//! what it says about address and zone is kept from then on, since bricks are addressed by it.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::controllers::Context;
use crate::resources::{ACCEPTED, GlusterNode, Hostnames, KubernetesNode, condition_is};
use crate::store::{StoreError, explained};

/// The label that tells the zone of a Kubernetes node.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// How many names a condition lists when the labels fit several nodes.
const NAMED: u32 = 10;

/// What a Kubernetes node says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its name.
    pub name: String,
    /// Its InternalIP.
    pub address: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
}

/// Why there is no such node: one word, and a text for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing(pub &'static str, pub String);

/// Which Kubernetes node to look for. Once one was found, it is that one, whatever gets its labels
/// later.
pub fn wanted(node: &GlusterNode) -> Option<KubernetesNode> {
    let wanted = node.spec.kubernetes_node.as_ref()?;
    let found = node.status.as_ref().and_then(|status| status.kubernetes_node.clone());
    Some(match found.filter(|_| condition_is(node.conditions(), ACCEPTED)) {
        Some(name) => KubernetesNode { name: Some(name), ..KubernetesNode::default() },
        None => wanted.clone(),
    })
}

/// Looks for the Kubernetes node that is wanted.
pub async fn find(
    context: &Context,
    wanted: &KubernetesNode,
) -> Result<Result<Located, Missing>, StoreError> {
    let api = context.store.all::<Node>();
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => {
            let labels: Vec<String> =
                wanted.match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let labels = labels.join(",");
            let params = ListParams::default().labels(&labels).limit(NAMED + 1);
            let names = match api.list_metadata(&params).await {
                Ok(list) => list.items.iter().map(|node| node.name_any()).collect(),
                Err(error) => match explained(error, "Node", &labels) {
                    StoreError::NotFound(_) => vec![],
                    StoreError::Invalid(text) => return Ok(Err(Missing("BadLabels", text))),
                    other => return Err(other),
                },
            };
            match only(&labels, names) {
                Ok(name) => name,
                Err(missing) => return Ok(Err(missing)),
            }
        }
    };
    match api.get_opt(&name).await {
        Ok(Some(node)) => Ok(Ok(described(&node))),
        Ok(None) => {
            let text =
                format!("there is no Kubernetes node {name:?}: correct kubernetesNode, or add the node");
            Ok(Err(Missing("KubernetesNodeMissing", text)))
        }
        Err(error) => Err(explained(error, "Node", &name)),
    }
}

/// The only one of the names.
fn only(labels: &str, mut names: Vec<String>) -> Result<String, Missing> {
    names.sort_unstable();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => {
            let text =
                format!("no Kubernetes node has the labels {labels}: label one, or correct matchLabels");
            Err(Missing("KubernetesNodeMissing", text))
        }
        several => {
            let many = if several.len() > NAMED as usize { "or more " } else { "" };
            let text = format!(
                "{} {many}Kubernetes nodes have the labels {labels}, and exactly one is expected: {}",
                several.len(),
                several.join(", ")
            );
            Err(Missing("KubernetesNodeAmbiguous", text))
        }
    }
}

fn described(node: &Node) -> Located {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let internal = addresses.into_iter().flatten().find(|address| address.type_ == "InternalIP");
    Located {
        name: node.name_any(),
        address: internal.map(|address| address.address.clone()),
        zone: node.labels().get(ZONE_LABEL).cloned(),
    }
}

impl Located {
    /// The node with what was found written into its status, if that is enough to go on with.
    pub fn into(self, node: &GlusterNode) -> Result<GlusterNode, Missing> {
        let mut node = node.clone();
        let spec_names = node.spec.hostnames.clone();
        let status = node.status.get_or_insert_default();
        status.hostnames = match self.address {
            _ if !spec_names.is_empty() => Some(spec_names),
            Some(address) => Some(Hostnames { manage: vec![address.clone()], storage: vec![address] }),
            None => {
                let text =
                    format!("Kubernetes node {:?} has no InternalIP: give hostnames in the spec", self.name);
                return Err(Missing("NoAddress", text));
            }
        };
        status.kubernetes_node = Some(self.name);
        status.zone_name = self.zone;
        Ok(node)
    }

    /// What of it is no longer as it was when it was taken over.
    pub fn changed(&self, node: &GlusterNode) -> Option<Missing> {
        let name = &self.name;
        if let Some(address) = &self.address
            && node.spec.hostnames.is_empty()
            && node.manage_host() != address
        {
            let text = format!(
                "Kubernetes node {name} has the address {address} now, and bricks are addressed by {}: give it \
                 its address back, or empty and delete this GlusterNode and make a new one",
                node.manage_host()
            );
            return Some(Missing("AddressChanged", text));
        }
        let known = node.status.as_ref().and_then(|status| status.zone_name.as_deref());
        if node.spec.zone.is_none() && known != self.zone.as_deref() {
            let said =
                |zone: Option<&str>| zone.map_or("no zone".to_owned(), |zone| format!("zone {zone:?}"));
            let text = format!(
                "Kubernetes node {name} is in {} now, and bricks were placed as in {}: set spec.zone to say which counts",
                said(self.zone.as_deref()),
                said(known)
            );
            return Some(Missing("ZoneChanged", text));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> GlusterNode {
        let spec = json!({"cluster": "c", "kubernetesNode": {"matchLabels": {"a": "b"}}});
        GlusterNode::new("n", serde_json::from_value(spec).unwrap())
    }

    fn located(address: Option<&str>, zone: Option<&str>) -> Located {
        Located { name: "k1".into(), address: address.map(Into::into), zone: zone.map(Into::into) }
    }

    #[test]
    fn exactly_one_has_to_fit() {
        assert_eq!(only("a=b", vec!["k1".into()]), Ok("k1".into()));
        assert_eq!(only("a=b", vec![]).unwrap_err().0, "KubernetesNodeMissing");
        let Missing(reason, text) = only("a=b", vec!["k2".into(), "k1".into()]).unwrap_err();
        assert_eq!(reason, "KubernetesNodeAmbiguous");
        assert_eq!(text, "2 Kubernetes nodes have the labels a=b, and exactly one is expected: k1, k2");
    }

    #[test]
    fn what_was_found_once_is_kept() {
        let taken = located(Some("10.0.0.1"), Some("east")).into(&node()).unwrap();
        assert_eq!((taken.manage_host(), taken.storage_host()), ("10.0.0.1", "10.0.0.1"));
        assert_eq!(located(Some("10.0.0.1"), Some("east")).changed(&taken), None);
        let Missing(reason, text) = located(Some("10.0.0.2"), Some("east")).changed(&taken).unwrap();
        assert_eq!(reason, "AddressChanged");
        assert!(text.contains("10.0.0.2") && text.contains("10.0.0.1"), "{text}");
        assert_eq!(located(Some("10.0.0.1"), Some("west")).changed(&taken).unwrap().0, "ZoneChanged");
        assert_eq!(located(None, None).into(&node()).unwrap_err().0, "NoAddress");
    }

    #[test]
    fn what_the_spec_says_wins() {
        let mut named = node();
        named.spec.hostnames = Hostnames { manage: vec!["m".into()], storage: vec!["s".into()] };
        named.spec.zone = Some(7);
        let taken = located(None, Some("east")).into(&named).unwrap();
        assert_eq!((taken.manage_host(), taken.storage_host(), taken.zone()), ("m", "s", 7));
        assert_eq!(located(Some("10.0.0.9"), None).changed(&taken), None);
    }
}
