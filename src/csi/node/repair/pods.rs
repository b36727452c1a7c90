//! Telling pods about their volumes, by events that `kubectl describe pod` shows.

use std::path::Path;

use k8s_openapi::api::core::v1::ObjectReference;

use super::containers::pod_of;
use crate::csi::node::record::{Pod, Record};
use crate::store::{Events, News};

/// A volume does not answer in a pod, and the driver does not mend it.
const LOST: &str = "VolumeMountLost";
/// It did not answer for a while.
const REPAIRED: &str = "VolumeMountRepaired";

/// The pods of this node.
pub struct Pods {
    events: Events,
}

impl Pods {
    /// Pods that are told so.
    pub fn new(events: Events) -> Self {
        Self { events }
    }

    /// The client of a volume has ended, and could not be started anew.
    pub fn are_without(&self, record: &Record, why: &str) {
        for target in record.targets.keys() {
            let note = format!(
                "The GlusterFS client of volume {} has ended and cannot be started anew yet; this is tried again: {why}",
                record.handle
            );
            self.tell(record, target, News::warning(LOST, note));
        }
    }

    /// A volume works again, but not in a running container.
    pub fn keeps_dead(&self, record: &Record, target: &Path, why: &str) {
        let note = format!(
            "The GlusterFS client of volume {} has ended. It was started anew, but the mount inside a running \
             container could not be replaced: delete the pod, so that it starts again. {why}",
            record.handle
        );
        self.tell(record, target, News::warning(LOST, note));
    }

    /// A volume works again.
    pub fn has_it_again(&self, record: &Record, target: &Path) {
        let note = format!(
            "The GlusterFS client of volume {} had ended and was started anew. Files that were open then have to be \
             opened again.",
            record.handle
        );
        self.tell(record, target, News::warning(REPAIRED, note));
    }

    fn tell(&self, record: &Record, target: &Path, news: News) {
        match record.pods.get(target) {
            Some(pod) => self.events.tell(reference(pod), news),
            // Without podInfoOnMount in the CSIDriver object nobody tells us the pod's name.
            None => {
                let pod = pod_of(target).unwrap_or("unknown");
                tracing::warn!(pod, target = %target.display(), news = news.note, "a pod cannot be told: its name is not known");
            }
        }
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}
