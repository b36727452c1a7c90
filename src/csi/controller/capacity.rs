//! GetCapacity: what could be made now, by what the clusters' statuses say. Pure.
//!
//! Free space says little about that: a volume needs room on several nodes at once. So both numbers are
//! made of the largest volumes that fit.

use std::sync::Arc;

use kube::ResourceExt;

use crate::csi::proto::csi::GetCapacityResponse;
use crate::intent::class::ClassParameters;
use crate::intent::volume::SMALLEST;
use crate::resources::GlusterCluster;
use crate::units::{Bytes, GIB};

/// What could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fits {
    /// The largest volume.
    largest: Bytes,
    /// The largest volumes of all clusters together.
    all: Bytes,
}

/// What could be made with these parameters, in the clusters of these names, or in any when there are none;
/// nothing when no volume fits.
pub fn of(known: &[Arc<GlusterCluster>], clusters: &[String], parameters: &ClassParameters) -> Option<Fits> {
    let is_wanted = |cluster: &&Arc<GlusterCluster>| {
        let wanted = clusters.is_empty() || clusters.contains(&cluster.name_any());
        wanted && cluster.metadata.deletion_timestamp.is_none()
    };
    let largest = |cluster: &Arc<GlusterCluster>| {
        let capacity = cluster.status.as_ref()?.capacity?;
        let plain = capacity.largest.of(&parameters.durability);
        Some(with_room_for_snapshots(plain, parameters.snapshot_factor)).filter(|size| *size >= SMALLEST)
    };
    let found: Vec<Bytes> = known.iter().filter(is_wanted).filter_map(largest).collect();
    let fits = Fits { largest: found.iter().copied().max()?, all: found.into_iter().sum() };
    Some(fits)
}

/// What is left for the volume when its pools are larger than its bricks, in whole GiB.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a number of GiB that is divided by at least 1 and rounded down"
)]
fn with_room_for_snapshots(size: Bytes, factor: f64) -> Bytes {
    Bytes::from_gib(((size.0 / GIB) as f64 / factor.max(1.0)) as u64)
}

/// The answer.
pub fn told(fits: Option<Fits>) -> GetCapacityResponse {
    let bytes = |size: Bytes| i64::try_from(size.0).unwrap_or(i64::MAX);
    GetCapacityResponse {
        available_capacity: fits.map_or(0, |fits| bytes(fits.all)),
        maximum_volume_size: Some(fits.map_or(0, |fits| bytes(fits.largest))),
        minimum_volume_size: Some(bytes(SMALLEST)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::intent::class;
    use serde_json::json;

    #[test]
    fn parameters_choose_what_counts() {
        let cluster = |name: &str, largest: serde_json::Value| -> Arc<GlusterCluster> {
            let cluster = json!({
                "apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterCluster", "metadata": {"name": name},
                "spec": {"transport": {"simulated": {}}},
                "status": {"capacity": {"total": "100Gi", "free": "90Gi", "largest": largest}}
            });
            Arc::new(serde_json::from_value(cluster).unwrap())
        };
        let known = [
            cluster("a", json!({"none": "90Gi", "replicate2": "40Gi", "replicate3": "20Gi"})),
            cluster("b", json!({"none": "10Gi", "replicate2": "0", "replicate3": "0"})),
            cluster("new", json!({})),
        ];
        for (clusters, parameters, largest, all) in [
            (&[][..], &[][..], 20, 20),
            (&[], &[("volumetype", "none")], 90, 100),
            (&[], &[("volumetype", "none"), ("snapfactor", "4")], 22, 24),
            (&["b"], &[("volumetype", "none")], 10, 10),
            (&["b"], &[], 0, 0),
            (&["unknown"], &[("volumetype", "none")], 0, 0),
            (&[], &[("snapfactor", "100")], 0, 0),
        ] {
            let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let class = class::read(&parameters.iter().map(pair).collect()).unwrap();
            let clusters: Vec<String> = clusters.iter().map(|name| (*name).to_owned()).collect();
            let answer = told(of(&known, &clusters, &class));
            let gib = |gib: i64| gib << 30;
            assert_eq!(
                (answer.maximum_volume_size, answer.available_capacity),
                (Some(gib(largest)), gib(all)),
                "{clusters:?} {parameters:?}"
            );
        }
    }
}
