//! Endpoints and Service of a volume whose PersistentVolume has a `glusterfs` source: kubelets before
//! Kubernetes 1.26 find its servers by them, in the namespace of the claim. The PersistentVolume owns
//! both, so they go with it. They are looked at now and then: people delete them, and servers change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, PersistentVolume, Service, ServicePort,
    ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use kube::{Resource, ResourceExt};

use super::events::Tone;
use super::{PassError, Provisioner, live_volume};
use crate::store::{Kind, StoreError, explained};

/// How often Endpoints and Service are looked at when nothing changes.
pub const LOOK_EVERY: Duration = Duration::from_secs(300);
/// The old plugin never used the port; a port has to be there.
const PORT: i32 = 1;
/// Names the claim, as the old provisioner did.
const FOR_CLAIM: &str = "gluster.kubernetes.io/provisioned-for-pvc";

/// What the Endpoints and the Service of a claim's volume are called.
pub fn name(prefix: &str, claim_uid: &str) -> String {
    format!("{prefix}-{claim_uid}")
}

/// Makes the Endpoints and the Service of a PersistentVolume, or makes them right again.
pub async fn keep(provisioner: &Provisioner, volume: &PersistentVolume) -> Result<(), PassError> {
    let source = volume.spec.as_ref().and_then(|spec| spec.glusterfs.as_ref());
    let namespace = source.and_then(|source| source.endpoints_namespace.clone());
    let (Some(source), Some(namespace)) = (source, namespace) else { return Ok(()) };
    let Some(live) = live_volume(&provisioner.intent, &volume.name_any()).await? else { return Ok(()) };
    let servers = live.status.and_then(|status| status.mount).unwrap_or_default().servers;
    let addresses = addresses(&servers);
    if addresses.is_empty() {
        let text = format!(
            "Endpoints take addresses and no host names: give the nodes of the volume addresses as storage host \
             names instead of {}, or make the class without pvSource glusterfs",
            servers.join(", ")
        );
        provisioner.events.tell(volume, Tone::Warning, "EndpointsFailed", &text).await;
        return Ok(());
    }
    let metadata = metadata(volume, &source.endpoints);
    let (endpoints, service) = wanted(metadata, addresses);
    let store = &provisioner.intent.store;
    ensure(&store.within::<Endpoints>(&namespace), endpoints, |found, wanted| {
        found.subsets == wanted.subsets
    })
    .await?;
    // What a Service has got from the API server by now is not ours to change.
    ensure(&store.within::<Service>(&namespace), service, |_, _| true).await?;
    Ok(())
}

/// The servers that Endpoints can name.
fn addresses(servers: &[String]) -> Vec<EndpointAddress> {
    let plain = servers.iter().filter(|server| server.parse::<IpAddr>().is_ok());
    plain.map(|server| EndpointAddress { ip: server.clone(), ..EndpointAddress::default() }).collect()
}

fn metadata(volume: &PersistentVolume, name: &str) -> ObjectMeta {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let claim = claim.and_then(|claim| claim.name.clone()).unwrap_or_default();
    // A label takes 63 bytes, and must not end in what is no letter or digit.
    let mut label: String = claim.chars().take(63).collect();
    label.truncate(label.trim_end_matches(['.', '-']).len());
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(BTreeMap::from([(FOR_CLAIM.to_owned(), label)])),
        owner_references: Some(vec![OwnerReference {
            api_version: PersistentVolume::api_version(&()).into(),
            kind: PersistentVolume::kind(&()).into(),
            name: volume.name_any(),
            uid: volume.uid().unwrap_or_default(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    }
}

fn wanted(metadata: ObjectMeta, addresses: Vec<EndpointAddress>) -> (Endpoints, Service) {
    let port = EndpointPort { port: PORT, protocol: Some("TCP".into()), ..EndpointPort::default() };
    let subset =
        EndpointSubset { addresses: Some(addresses), ports: Some(vec![port]), ..EndpointSubset::default() };
    let endpoints = Endpoints { metadata: metadata.clone(), subsets: Some(vec![subset]) };
    let port = ServicePort { port: PORT, protocol: Some("TCP".into()), ..ServicePort::default() };
    let spec = ServiceSpec { ports: Some(vec![port]), ..ServiceSpec::default() };
    (endpoints, Service { metadata, spec: Some(spec), ..Service::default() })
}

/// Makes an object, or puts it right where it is not `same`. One of that name which is not owned by
/// the same PersistentVolume stays as it is.
async fn ensure<K>(api: &Api<K>, mut wanted: K, same: impl Fn(&K, &K) -> bool) -> Result<(), StoreError>
where
    K: Kind + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let name = wanted.name_any();
    let failed = |error| explained(error, K::kind(&()).as_ref(), &name);
    let Some(found) = api.get_opt(&name).await.map_err(failed)? else {
        return api.create(&PostParams::default(), &wanted).await.map(drop).map_err(failed);
    };
    let owner = |object: &K| object.owner_references().first().map(|owner| owner.uid.clone());
    if owner(&found) != owner(&wanted) || same(&found, &wanted) {
        return Ok(());
    }
    wanted.meta_mut().resource_version = found.resource_version();
    api.replace(&name, &PostParams::default(), &wanted).await.map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_named() {
        let servers = ["10.0.0.1", "storage.example.com", "fd00::1"].map(str::to_owned);
        let named: Vec<String> = addresses(&servers).into_iter().map(|address| address.ip).collect();
        assert_eq!(named, ["10.0.0.1", "fd00::1"]);
    }
}
