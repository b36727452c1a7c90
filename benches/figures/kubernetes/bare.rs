//! A provisioner with nothing in it: for each claim the writes that a stored volume takes (made, placed, ready, its
//! PersistentVolume), with what ours writes, and no decision, node, event or memory. Nobody who stores volumes in the API
//! server can be faster than this on the same machine.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bricklayer::resources::GlusterVolume;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// The class of its claims, and the name that it goes by.
pub const CLASS: &str = "bare";
pub const PROVISIONER: &str = "bare.bench.bricklayer.dev";
/// How many claims are under way at once, as with ours.
const AT_ONCE: usize = 16;
/// Without it the status of a volume is not to be written by others than ours.
const UNGUARDED: &str = "bricklayer.dev/unguarded";

/// What ours has made for a claim: what the bare one writes is like it.
pub struct Like {
    volume: GlusterVolume,
    persistent: PersistentVolume,
}

impl Like {
    /// The objects of a claim of ours that is Bound.
    pub async fn of(admin: &Path, claim: &str) -> Self {
        let client = client(admin).await;
        let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), "default");
        let name = claims.get(claim).await.unwrap().spec.unwrap().volume_name.unwrap();
        let mut volume = Api::<GlusterVolume>::all(client.clone()).get(&name).await.unwrap();
        let mut persistent = Api::<PersistentVolume>::all(client).get(&name).await.unwrap();
        for metadata in [&mut volume.metadata, &mut persistent.metadata] {
            (metadata.resource_version, metadata.uid, metadata.managed_fields) = (None, None, None);
            (metadata.finalizers, metadata.creation_timestamp) = (None, None);
            let annotations = metadata.annotations.get_or_insert_default();
            annotations.insert(UNGUARDED.into(), "true".into());
            annotations.remove("pv.kubernetes.io/bound-by-controller");
        }
        persistent.status = None;
        Self { volume, persistent }
    }
}

/// The running provisioner.
pub struct Bare(JoinHandle<()>);

impl Bare {
    pub async fn start(admin: &Path, like: Like) -> Self {
        let client = client(admin).await;
        Self(tokio::spawn(async move { serve(client, Arc::new(like)).await }))
    }

    pub fn end(self) {
        self.0.abort();
    }
}

async fn client(admin: &Path) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(admin).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

async fn serve(client: Client, like: Arc<Like>) {
    let claims = Api::<PersistentVolumeClaim>::all(client.clone());
    let volumes = Api::<PersistentVolume>::all(client.clone());
    let mut claims = std::pin::pin!(watcher(claims, watcher::Config::default()).applied_objects());
    let mut volumes = std::pin::pin!(watcher(volumes, watcher::Config::default()).applied_objects());
    let (mut begun, mut ended) = (HashSet::new(), HashSet::new());
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        tokio::select! {
            Some(Ok(claim)) = claims.next() => {
                let handed = claim.annotations().values().any(|value| value == PROVISIONER);
                if handed && begun.insert(claim.uid().unwrap()) {
                    let (client, like, room) = (client.clone(), like.clone(), room.clone());
                    tokio::spawn(async move {
                        let _turn = room.acquire().await.unwrap();
                        make(&client, &like, &claim).await;
                    });
                }
            }
            Some(Ok(volume)) = volumes.next() => {
                let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
                let is_ours = volume.spec.as_ref().is_some_and(|spec| spec.storage_class_name.as_deref() == Some(CLASS));
                if is_ours && phase == Some("Released") && ended.insert(volume.name_any()) {
                    let client = client.clone();
                    tokio::spawn(async move { take_away(&client, &volume.name_any()).await });
                }
            }
        }
    }
}

async fn make(client: &Client, like: &Like, claim: &PersistentVolumeClaim) {
    let (uid, params) = (claim.uid().unwrap(), PostParams::default());
    let name = format!("pvc-{uid}");
    let volumes = Api::<GlusterVolume>::all(client.clone());
    let mut volume = like.volume.clone();
    volume.metadata.name = Some(name.clone());
    if let Some(made_for) = volume.spec.claim_ref.as_mut() {
        made_for.uid.clone_from(&uid);
    }
    let status = volume.status.take().unwrap();
    let mut made = volumes.create(&params, &volume).await.unwrap();
    let mut placed = status.clone();
    (placed.size, placed.mount, placed.observed) = (None, None, None);
    placed.conditions.truncate(1);
    made.status = Some(placed);
    let mut made = volumes.replace_status(&name, &params, &made).await.unwrap();
    made.status = Some(status);
    volumes.replace_status(&name, &params, &made).await.unwrap();
    let mut persistent = like.persistent.clone();
    persistent.metadata.name = Some(name);
    let spec = persistent.spec.as_mut().unwrap();
    spec.storage_class_name = Some(CLASS.into());
    let of = spec.claim_ref.as_mut().unwrap();
    (of.name, of.uid, of.resource_version) = (Some(claim.name_any()), Some(uid), None);
    Api::<PersistentVolume>::all(client.clone()).create(&params, &persistent).await.unwrap();
}

async fn take_away(client: &Client, name: &str) {
    Api::<PersistentVolume>::all(client.clone()).delete(name, &DeleteParams::default()).await.unwrap();
    Api::<GlusterVolume>::all(client.clone()).delete(name, &DeleteParams::default()).await.unwrap();
}
