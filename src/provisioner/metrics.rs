//! Figures about claims, under the names that dashboards know from other provisioners.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Provision {
    class: String,
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Deletion {
    class: String,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Counts and durations. Cheap to clone; clones share the figures.
#[derive(Clone)]
pub struct ClaimFigures {
    provisioned: Family<Provision, Counter>,
    not_provisioned: Family<Provision, Counter>,
    provision_seconds: Durations<Provision>,
    deleted: Family<Deletion, Counter>,
    not_deleted: Family<Deletion, Counter>,
    delete_seconds: Durations<Deletion>,
}

impl Default for ClaimFigures {
    fn default() -> Self {
        Self {
            provisioned: Family::default(),
            not_provisioned: Family::default(),
            provision_seconds: Family::new_with_constructor(buckets),
            deleted: Family::default(),
            not_deleted: Family::default(),
            delete_seconds: Family::new_with_constructor(buckets),
        }
    }
}

fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.05, 2.0, 14))
}

impl ClaimFigures {
    /// Names everything in a registry.
    pub fn register(&self, registry: &mut Registry) {
        let prefix = registry.sub_registry_with_prefix("controller");
        let text = "Volumes provisioned for claims";
        prefix.register("persistentvolumeclaim_provision", text, self.provisioned.clone());
        let text = "Claims that could not be served when it was tried";
        prefix.register("persistentvolumeclaim_provision_failed", text, self.not_provisioned.clone());
        let text = "Seconds from the first look at a claim to its PersistentVolume";
        prefix.register(
            "persistentvolumeclaim_provision_duration_seconds",
            text,
            self.provision_seconds.clone(),
        );
        let text = "Volumes deleted with their PersistentVolumes";
        prefix.register("persistentvolume_delete", text, self.deleted.clone());
        let text = "Volumes that could not be deleted when it was tried";
        prefix.register("persistentvolume_delete_failed", text, self.not_deleted.clone());
        let text = "Seconds from the first look at a released PersistentVolume to its end";
        prefix.register("persistentvolume_delete_duration_seconds", text, self.delete_seconds.clone());
    }

    /// A claim of a class got its volume.
    pub fn provisioned(&self, class: &str, took: Duration) {
        let labels = provision(class);
        self.provisioned.get_or_create(&labels).inc();
        self.provision_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A claim of a class could not be served.
    pub fn not_provisioned(&self, class: &str) {
        self.not_provisioned.get_or_create(&provision(class)).inc();
    }

    /// A volume of a class is gone.
    pub fn deleted(&self, class: &str, took: Duration) {
        let labels = Deletion { class: class.into() };
        self.deleted.get_or_create(&labels).inc();
        self.delete_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A volume of a class could not be deleted.
    pub fn not_deleted(&self, class: &str) {
        self.not_deleted.get_or_create(&Deletion { class: class.into() }).inc();
    }
}

/// Volumes are made from nothing as yet: the source is empty.
fn provision(class: &str) -> Provision {
    Provision { class: class.into(), source: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_those_that_dashboards_know() {
        let (figures, mut registry) = (ClaimFigures::default(), Registry::default());
        figures.register(&mut registry);
        figures.provisioned("gluster", Duration::from_millis(300));
        figures.not_provisioned("typo");
        figures.deleted("gluster", Duration::from_secs(1));
        figures.not_deleted("gluster");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "controller_persistentvolumeclaim_provision_total{class=\"gluster\",source=\"\"} 1",
            "controller_persistentvolumeclaim_provision_failed_total{class=\"typo\",source=\"\"} 1",
            "controller_persistentvolumeclaim_provision_duration_seconds_count{class=\"gluster\",source=\"\"} 1",
            "controller_persistentvolume_delete_total{class=\"gluster\"} 1",
            "controller_persistentvolume_delete_failed_total{class=\"gluster\"} 1",
            "controller_persistentvolume_delete_duration_seconds_count{class=\"gluster\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
