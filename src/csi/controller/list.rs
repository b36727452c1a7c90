//! ListVolumes: the oldest first, so that what is made while somebody pages comes at the end. Pure.

use std::sync::Arc;

use kube::ResourceExt;
use tonic::Status;

use super::wish::is_object_name;
use crate::intent::visible;
use crate::resources::GlusterVolume;

/// The most volumes in an answer: gRPC clients take 4 MiB by default.
const MOST: usize = 2000;

/// Where a page ends: the time at which its last volume was made, in seconds, and its name. A volume that
/// goes meanwhile changes nothing for the next page.
type Place = (i64, String);

/// The names of a page of volumes, and the token of the next one; it is empty when there is none.
///
/// # Errors
/// ABORTED for a token that is none of ours: the list has to be begun anew. INVALID_ARGUMENT for a count
/// below zero.
pub fn page(
    volumes: impl IntoIterator<Item = Arc<GlusterVolume>>,
    token: &str,
    max_entries: i32,
) -> Result<(Vec<String>, String), Status> {
    let most = usize::try_from(max_entries)
        .map_err(|_| Status::invalid_argument("max_entries is below zero: give a number of volumes, or 0"))?;
    let most = if most == 0 { MOST } else { most.min(MOST) };
    let after = (!token.is_empty()).then(|| place_of(token)).transpose()?;
    let listed = volumes.into_iter().filter(|volume| is_listed(volume)).map(|volume| place(&volume));
    let mut places: Vec<Place> =
        listed.filter(|place| after.as_ref().is_none_or(|after| place > after)).collect();
    places.sort_unstable();
    let is_last = places.len() <= most;
    places.truncate(most);
    let next = places.last().filter(|_| !is_last).map(|(time, name)| format!("{time}/{name}"));
    Ok((places.into_iter().map(|(_, name)| name).collect(), next.unwrap_or_default()))
}

/// Whether a volume is one that can be used, under an id that fits.
pub fn is_listed(volume: &GlusterVolume) -> bool {
    volume.size().is_some()
        && visible(volume, volume.spec.on_refusal, volume.conditions())
        && is_object_name(&volume.name_any())
}

fn place(volume: &GlusterVolume) -> Place {
    let made = volume.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    (made, volume.name_any())
}

fn place_of(token: &str) -> Result<Place, Status> {
    let read = || {
        let (time, name) = token.split_once('/')?;
        is_object_name(name).then_some((time.parse().ok()?, name.to_owned()))
    };
    read().ok_or_else(|| Status::aborted("starting_token is none that was given out: begin the list anew"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use serde_json::json;

    fn volume(name: &str, second: u32, size: Option<&str>) -> Arc<GlusterVolume> {
        let volume = json!({
            "apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume",
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"size": "1Gi"}, "status": {"size": size}
        });
        Arc::new(serde_json::from_value(volume).unwrap())
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let of = |left_out: &str| {
            let all =
                [("c", 1), ("b", 2), ("a", 2), ("d", 3)].map(|(name, at)| volume(name, at, Some("1Gi")));
            all.into_iter().filter(|volume| volume.name_any() != left_out).collect::<Vec<_>>()
        };
        let (first, token) = page(of(""), "", 2).unwrap();
        assert_eq!(first, ["c", "a"]);
        let (rest, end) = page(of(""), &token, 2).unwrap();
        assert_eq!((rest, end), (vec!["b".to_owned(), "d".to_owned()], String::new()));
        let (rest, _) = page(of("a"), &token, 0).unwrap();
        assert_eq!(rest, ["b", "d"], "the last one of a page may go");
    }

    #[test]
    fn what_nobody_can_use_is_not_listed() {
        let (listed, _) = page(vec![volume("a", 1, None), volume("b", 1, Some("1Gi"))], "", 0).unwrap();
        assert_eq!(listed, ["b"]);
    }

    #[test]
    fn a_token_of_somebody_else_aborts_the_list() {
        for token in ["invalid-token", "1", "x/y", "1/", "1/a/b", "1/A", "/"] {
            assert_eq!(page(vec![], token, 0).unwrap_err().code(), tonic::Code::Aborted, "{token}");
        }
        assert_eq!(page(vec![], "", -1).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
