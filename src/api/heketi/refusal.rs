//! What the placing task said, in Heketi's words: pure.

use super::answer::Refused;
use crate::resources::{EXPANDED, GlusterVolume, Limits, Refusal, condition};
use crate::units::Bytes;

/// The answer to a request for a volume that found no place.
pub fn told(refusals: &[Refusal], volume_name: &str) -> Refused {
    let because = |refused: Refused| refused.because(explanation(refusals));
    if let Some(only) = refusals.first().filter(|_| refusals.len() == 1) {
        match only.reason.as_str() {
            "NoClusters" => return because(Refused::bad("No clusters configured")),
            "UnknownCluster" => {
                let id = only.cluster.map(|id| id.to_string()).unwrap_or_default();
                return because(Refused::bad(format!("Cluster id {id} not found")));
            }
            "Expired" => return because(Refused::unavailable(only.message.clone())),
            _ => {}
        }
    }
    let text = reasons(refusals, volume_name);
    because(Refused::failed(format!("Failed to allocate new volume: {text}")))
}

/// The answer to a request for a volume to grow that found no place.
pub fn not_grown(volume: &GlusterVolume, by: Bytes, limits: &Limits) -> Refused {
    let refusals = volume.status.as_ref().map_or(&[][..], |status| &status.refusals);
    let text = match refusals.first().map(|refusal| refusal.reason.as_str()) {
        Some("NoOnlineDevices") => "No online storage devices in cluster",
        _ => limit_met(volume, by, limits),
    };
    let why = condition(volume.conditions(), EXPANDED).map(|expanded| expanded.message.clone());
    Refused::failed(format!("Failed to allocate volume expansion: {text}")).because(why.unwrap_or_default())
}

/// Heketi doubles the sets until one of its limits is met, whatever is in the way; that limit is what it
/// tells.
fn limit_met(volume: &GlusterVolume, by: Bytes, limits: &Limits) -> &'static str {
    let placement = volume.status.as_ref().and_then(|status| status.placement.as_ref());
    let there = placement.map_or(0, |placement| placement.active().count());
    let mut sets = 1;
    loop {
        let brick = Bytes::from_kib(by.kib() / sets as u64);
        if brick < limits.brick_min || brick == Bytes(0) {
            return "Minimum brick size limit reached.  Out of space.";
        }
        let bricks = there + sets * volume.spec.durability.set_size();
        if brick <= limits.brick_max && bricks > limits.bricks_per_volume as usize {
            return "Maximum number of bricks reached.";
        }
        sets *= 2;
    }
}

/// Clusters that cannot be meant are left aside first; only when none is left do they count.
fn reasons(refusals: &[Refusal], volume_name: &str) -> String {
    let tried: Vec<&Refusal> = refusals.iter().filter(|one| !is_left_aside(one)).collect();
    let (title, counted) = if tried.is_empty() {
        ("No eligible cluster for volume", refusals.iter().collect())
    } else {
        ("Unable to create volume on any cluster:", tried)
    };
    match counted.as_slice() {
        [] => "No space".into(),
        [one] => reason(one, volume_name),
        several => {
            let mut lines: Vec<String> = several
                .iter()
                .map(|one| {
                    let id = one.cluster.map(|id| id.to_string()).unwrap_or_default();
                    format!("Cluster {id}: {}", reason(one, volume_name))
                })
                .collect();
            lines.sort_unstable();
            format!("{title}\n{}", lines.join("\n"))
        }
    }
}

fn is_left_aside(refusal: &Refusal) -> bool {
    matches!(refusal.reason.as_str(), "AllKindsDisabled" | "KindNotOffered" | "NameInUse" | "ClusterFull")
}

fn reason(refusal: &Refusal, volume_name: &str) -> String {
    match refusal.reason.as_str() {
        "NoSpace" => "No space".into(),
        "NoNodes" => "No nodes in cluster".into(),
        "NoOnlineDevices" => "No online storage devices in cluster".into(),
        "NameInUse" => format!("Volume name '{volume_name}' already in use"),
        "AllKindsDisabled" => "Cluster has disabled all volume types".into(),
        "KindNotOffered" => "Cluster does not support requested volume type".into(),
        "ClusterFull" => format!(
            "Cluster has {} volumes and limit is {}",
            refusal.count.unwrap_or_default(),
            refusal.limit.unwrap_or_default()
        ),
        _ => refusal.message.clone(),
    }
}

fn explanation(refusals: &[Refusal]) -> String {
    let messages: Vec<&str> = refusals.iter().map(|one| one.message.as_str()).collect();
    messages.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(cluster: u8, reason: &str) -> Refusal {
        Refusal {
            cluster: Some(format!("{cluster:032x}").parse().unwrap()),
            reason: reason.into(),
            message: format!("why {reason}"),
            count: Some(3),
            limit: Some(2),
        }
    }

    fn text(refusals: &[Refusal]) -> String {
        reasons(refusals, "v")
    }

    #[test]
    fn one_cluster_gives_its_reason() {
        for (reason, wanted) in [
            ("NoSpace", "No space"),
            ("NoNodes", "No nodes in cluster"),
            ("NoOnlineDevices", "No online storage devices in cluster"),
            ("NameInUse", "Volume name 'v' already in use"),
            ("ClusterFull", "Cluster has 3 volumes and limit is 2"),
            ("AllKindsDisabled", "Cluster has disabled all volume types"),
            ("KindNotOffered", "Cluster does not support requested volume type"),
            ("Other", "why Other"),
        ] {
            assert_eq!(text(&[refusal(1, reason)]), wanted);
        }
    }

    #[test]
    fn a_cluster_that_cannot_be_meant_is_not_mentioned_beside_one_that_was_tried() {
        let both = [refusal(1, "AllKindsDisabled"), refusal(2, "NoSpace")];
        assert_eq!(text(&both), "No space");
    }

    #[test]
    fn several_clusters_are_listed() {
        let aside = [refusal(2, "NameInUse"), refusal(1, "AllKindsDisabled")];
        let one = format!("Cluster {:032x}", 1);
        let two = format!("Cluster {:032x}", 2);
        assert_eq!(
            text(&aside),
            format!(
                "No eligible cluster for volume\n{one}: Cluster has disabled all volume types\n{two}: Volume name 'v' already in use"
            )
        );
        let tried = [refusal(1, "NoSpace"), refusal(2, "NoNodes")];
        assert_eq!(
            text(&tried),
            format!("Unable to create volume on any cluster:\n{one}: No space\n{two}: No nodes in cluster")
        );
    }

    #[test]
    fn a_volume_that_cannot_grow_meets_one_of_two_limits() {
        let spec = serde_json::from_value(serde_json::json!({"size": "1Gi"})).unwrap();
        let volume = GlusterVolume::new("v", spec);
        let told = |gib, bricks_per_volume| {
            limit_met(&volume, Bytes::from_gib(gib), &Limits { bricks_per_volume, ..Limits::default() })
        };
        assert_eq!(told(1_000_000, 32), "Maximum number of bricks reached.");
        assert_eq!(told(20, 6), "Maximum number of bricks reached.");
        assert_eq!(told(3, 32), "Minimum brick size limit reached.  Out of space.");
    }

    #[test]
    fn some_refusals_are_no_failures() {
        let because = |refused: Refused| refused.because("why NoClusters");
        assert_eq!(told(&[refusal(1, "NoClusters")], "v"), because(Refused::bad("No clusters configured")));
        let expired = told(&[refusal(1, "Expired")], "v");
        assert_eq!(expired, Refused::unavailable("why Expired").because("why Expired"));
    }
}
