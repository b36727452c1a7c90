//! Where a volume is: its name for GlusterFS and its servers. The GlusterVolume's status is the truth;
//! what the PersistentVolume says was right when it was made.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Status;

use super::client::words::{check_server, check_volume};
use crate::resources::GlusterVolume;
use crate::store::Store;

/// How long the API server is asked before the request itself is believed.
const ASKING: Duration = Duration::from_secs(5);
/// How long a server may take to take a connection.
const DIALLING: Duration = Duration::from_secs(2);
/// How long the other servers may take once one has answered.
const MOMENT: Duration = Duration::from_millis(300);
/// Where glusterd listens.
const PORT: u16 = 24007;
/// More servers than any volume names.
const MOST_SERVERS: usize = 64;

/// A volume that GlusterFS serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The volume as GlusterFS names it.
    pub volume: String,
    /// Its servers, in order of preference.
    pub servers: Vec<String>,
}

/// Finds a volume: in the API when there is one and it answers, else in the context of the request.
///
/// # Errors
/// NOT_FOUND when the API knows no such volume, UNAVAILABLE when it is not served yet,
/// INVALID_ARGUMENT when nobody says where it is.
pub async fn find(
    store: Option<&Store>,
    handle: &str,
    context: &HashMap<String, String>,
) -> Result<Source, Status> {
    let why = match store {
        None => "there is no Kubernetes API here".to_owned(),
        Some(_) if !is_name(handle) => return Err(unknown(handle)),
        Some(store) => match tokio::time::timeout(ASKING, store.all::<GlusterVolume>().get(handle)).await {
            Ok(Ok(volume)) => return of_object(&volume),
            Ok(Err(kube::Error::Api(status))) if speaks_of(&status, handle) => return Err(unknown(handle)),
            Ok(Err(error)) => format!("the API does not say: {error}"),
            Err(_) => format!("the API did not answer within {ASKING:?}"),
        },
    };
    let found = of_context(context)
        .map_err(|missing| Status::invalid_argument(format!("volume {handle}: {missing}, and {why}")))?;
    if store.is_some() {
        tracing::warn!(handle, why, "the volume's servers are taken from the request");
    }
    Ok(found)
}

fn unknown(handle: &str) -> Status {
    Status::not_found(format!("there is no GlusterVolume {handle}"))
}

/// Whether an object can be called so: only such a name is put into the path of a request.
fn is_name(handle: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let bytes = handle.as_bytes();
    handle.bytes().all(good) && ends(bytes.first()) && ends(bytes.last())
}

/// Whether a refusal says that this object is not there: a server that does not have the kind answers 404 too.
fn speaks_of(status: &kube::core::Status, handle: &str) -> bool {
    status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == handle)
}

/// What the object says.
fn of_object(object: &GlusterVolume) -> Result<Source, Status> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let servers = status.mount.map(|mount| mount.servers).unwrap_or_default();
    match status.volume_name {
        Some(volume) if !servers.is_empty() => checked(Source { volume, servers })
            .map_err(|why| Status::internal(format!("GlusterVolume {name}: {why}"))),
        _ => Err(Status::unavailable(format!("GlusterVolume {name} is not served yet: see its conditions"))),
    }
}

/// What the context of a request says, or what is missing.
fn of_context(context: &HashMap<String, String>) -> Result<Source, String> {
    let get = |key: &str| context.get(key).filter(|value| !value.is_empty());
    let (Some(volume), Some(servers)) = (get("volume"), get("servers")) else {
        return Err("volume_context lacks `volume` or `servers`".into());
    };
    let servers = servers.split(',').map(|server| server.trim().to_owned()).collect();
    checked(Source { volume: volume.clone(), servers }).map_err(|why| format!("volume_context: {why}"))
}

fn checked(source: Source) -> Result<Source, String> {
    check_volume(&source.volume)?;
    if source.servers.len() > MOST_SERVERS {
        return Err(format!("more than {MOST_SERVERS} servers"));
    }
    source.servers.iter().try_for_each(|server| check_server(server))?;
    Ok(source)
}

/// The servers, those first that take a connection now. A client goes through its list one by one, and
/// waits long for each that is down. Once one has answered, the others get a moment more and no longer: a
/// mount should not wait for a server that is down.
///
/// # Errors
/// UNAVAILABLE when none does; names each and why.
pub async fn by_reach(servers: &[String]) -> Result<Vec<String>, Status> {
    let dial = |at: usize| async move {
        let connected = TcpStream::connect((servers[at].as_str(), PORT)).await;
        (at, connected.err().map(|error| error.to_string()))
    };
    let mut dialled: FuturesUnordered<_> = (0..servers.len()).map(dial).collect();
    let mut failures = vec![Some(format!("no answer within {DIALLING:?}")); servers.len()];
    let mut until = Instant::now() + DIALLING;
    while let Ok(Some((at, failure))) = tokio::time::timeout_at(until, dialled.next()).await {
        if failure.is_none() {
            until = until.min(Instant::now() + MOMENT);
        }
        failures[at] = failure;
    }
    ordered(servers, &failures)
}

/// The servers that had no failure, in their order, then the others.
fn ordered(servers: &[String], failures: &[Option<String>]) -> Result<Vec<String>, Status> {
    let both = || servers.iter().zip(failures);
    let (up, down): (Vec<_>, Vec<_>) = both().partition(|(_, failure)| failure.is_none());
    if up.is_empty() {
        let each: Vec<String> = both()
            .map(|(server, why)| format!("{server}:{PORT}: {}", why.as_deref().unwrap_or_default()))
            .collect();
        return Err(Status::unavailable(format!(
            "no server of the volume can be reached: {}",
            each.join("; ")
        )));
    }
    Ok(up.into_iter().chain(down).map(|(server, _)| server.clone()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn context(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[tokio::test]
    async fn without_an_api_the_context_is_believed() {
        let full = context(&[("volume", "vol_1"), ("servers", "10.0.0.1, 10.0.0.2")]);
        let found = find(None, "pvc-1", &full).await.unwrap();
        assert_eq!(
            (found.volume.as_str(), found.servers.as_slice()),
            ("vol_1", &["10.0.0.1".into(), "10.0.0.2".into()][..])
        );
        for bad in [
            context(&[]),
            context(&[("volume", "v")]),
            context(&[("volume", "v"), ("servers", "")]),
            context(&[("volume", "v;id"), ("servers", "a")]),
            context(&[("volume", "v"), ("servers", "a,,b")]),
            context(&[("volume", "v"), ("servers", "a,-o")]),
        ] {
            let status = find(None, "pvc-1", &bad).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
            assert!(status.message().contains("no Kubernetes API"), "{status}");
        }
    }

    #[test]
    fn an_object_says_where_it_is_once_it_is_served() {
        let object = |status: serde_json::Value| -> GlusterVolume {
            serde_json::from_value(
                serde_json::json!({"apiVersion": "bricklayer.dev/v1alpha1", "kind": "GlusterVolume",
                "metadata": {"name": "x"}, "spec": {"size": "1Gi"}, "status": status}),
            )
            .unwrap()
        };
        let served = object(serde_json::json!({"volumeName": "vol_1", "mount": {"servers": ["a", "b"]}}));
        assert_eq!(
            of_object(&served).unwrap(),
            Source { volume: "vol_1".into(), servers: vec!["a".into(), "b".into()] }
        );
        for status in
            [serde_json::json!({}), serde_json::json!({"volumeName": "vol_1", "mount": {"servers": []}})]
        {
            assert_eq!(of_object(&object(status)).unwrap_err().code(), tonic::Code::Unavailable);
        }
    }

    #[test]
    fn only_names_are_asked_for() {
        assert!(is_name("pvc-43a5d976-ee7d.x"));
        for bad in ["", "a/b", "..", "a?b", "A", "-a", "a%2f"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn who_answers_goes_first_and_silence_is_named() {
        let servers: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        let down = || Some("refused".to_owned());
        assert_eq!(ordered(&servers, &[down(), None, None]).unwrap(), ["b", "c", "a"]);
        assert_eq!(ordered(&servers, &[None, None, None]).unwrap(), servers);
        let none = ordered(&servers, &[down(), down(), down()]).unwrap_err();
        assert_eq!(none.code(), tonic::Code::Unavailable);
        for server in &servers {
            assert!(none.message().contains(&format!("{server}:24007: refused")), "{none}");
        }
        ordered(&[], &[]).unwrap_err();
    }
}
