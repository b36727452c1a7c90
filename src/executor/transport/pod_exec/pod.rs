//! Which pod of a node takes commands. Pure.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// A pod that takes commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its name.
    pub name: String,
    /// Its uid: a pod that was made again under the same name is another one.
    pub uid: String,
    /// The container to run in.
    pub container: String,
}

/// Chooses among the pods of a node that have the labels, or says why none is of use. While one pod
/// takes over from another, the ready one is taken; of several, the oldest.
pub(super) fn choose(
    pods: &[Pod],
    container: Option<&str>,
    node: &str,
    labels: &str,
) -> Result<Chosen, String> {
    if pods.is_empty() {
        return Err(format!(
            "no pod with the labels {labels} runs on node {node}: is GlusterFS deployed there, and is the \
             namespace right?"
        ));
    }
    let mut ready: Vec<&Pod> = pods.iter().filter(|pod| problem(pod).is_none()).collect();
    ready.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.name_any()));
    let Some(pod) = ready.first() else {
        let problems: Vec<String> = pods
            .iter()
            .take(4)
            .filter_map(|pod| Some(format!("{} {}", pod.name_any(), problem(pod)?)))
            .collect();
        return Err(format!("no pod on node {node} is ready: {}", problems.join("; ")));
    };
    let names: Vec<&str> =
        pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| container.name.as_str()).collect();
    let chosen = match container {
        Some(wanted) => names.iter().find(|name| **name == wanted),
        None => names.first(),
    };
    let Some(chosen) = chosen else {
        let wanted = container.unwrap_or_default();
        return Err(format!(
            "pod {} has no container {wanted:?}, it has {}: correct the container of the transport",
            pod.name_any(),
            names.join(", ")
        ));
    };
    Ok(Chosen { name: pod.name_any(), uid: pod.uid().unwrap_or_default(), container: (*chosen).to_owned() })
}

/// Why a pod takes no commands.
fn problem(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".into());
    }
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
    if phase != "Running" {
        return Some(format!("is {phase}"));
    }
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => {
            let why = ready.message.clone().or_else(|| ready.reason.clone()).unwrap_or_default();
            Some(format!("is not ready: {why}"))
        }
        None => Some("is not ready".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, phase: &str, ready: &str, going: bool) -> Pod {
        let gone = going.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "deletionTimestamp": gone},
            "spec": {"containers": [{"name": "glusterd"}, {"name": "exporter"}]},
            "status": {"phase": phase, "conditions": [
                {"type": "Ready", "status": ready, "message": "containers with unready status: [glusterd]"}]},
        }))
        .unwrap()
    }

    fn chosen(pods: &[Pod], container: Option<&str>) -> Result<String, String> {
        choose(pods, container, "k1", "app=gluster").map(|pod| format!("{}/{}", pod.name, pod.container))
    }

    #[test]
    fn the_ready_pod_is_chosen() {
        let pods = [
            pod("old", "Running", "True", true),
            pod("new", "Running", "True", false),
            pod("coming", "Pending", "False", false),
        ];
        assert_eq!(chosen(&pods, None), Ok("new/glusterd".into()));
        assert_eq!(chosen(&pods, Some("exporter")), Ok("new/exporter".into()));
        let refused = chosen(&pods, Some("nginx")).unwrap_err();
        assert!(refused.contains("has no container \"nginx\", it has glusterd, exporter"), "{refused}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let refused = chosen(&[], None).unwrap_err();
        assert!(refused.contains("no pod with the labels app=gluster runs on node k1"), "{refused}");
        let pods = [pod("a", "Running", "False", false), pod("b", "Pending", "False", false)];
        let refused = chosen(&pods, None).unwrap_err();
        let text = "a is not ready: containers with unready status: [glusterd]; b is Pending";
        assert!(refused.contains(text), "{refused}");
    }
}
