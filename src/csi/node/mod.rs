//! `bricklayer node`: CSI's Node service, which mounts volumes on the machine it runs on. One GlusterFS
//! client a volume stands at its staging path; pods get bind mounts of it.
//!
//! Every call may come again, and may meet what one that was cut off has left. Nothing waits for a mount
//! that hangs: [`touch`] has the deadlines, and lets one call at a time work on a volume.

pub mod client;
pub mod mounts;
mod publish;
pub mod record;
pub mod registration;
pub mod repair;
mod request;
mod source;
mod stage;
mod stats;
pub mod touch;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::proto::csi::node_server::Node as Service;
use super::proto::csi::node_service_capability::{Rpc, Type, rpc};
use super::proto::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodeGetStorageHealthRequest,
    NodeGetStorageHealthResponse, NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest, NodeStageVolumeResponse,
    NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse,
};
use crate::store::Store;
use client::Clients;
use mounts::{Away, Table};
use record::{Pod, Record, Records, Target};
use touch::{Looks, Seen, Turn, Turns, within};

/// How long a call works before it is answered that it is late; less than kubelet waits, two minutes.
const CALL: Duration = Duration::from_secs(110);
/// How long a call waits for its turn at a volume before it is refused: kubelet asks again after half a second at the
/// least, and what is about to end takes less.
const TURN: Duration = Duration::from_secs(1);
/// More mounts at one path than ever come about.
const MOST_AT_ONE_PATH: usize = 64;

/// What this node is called, and what it takes.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The id of the node, 256 bytes at the most. In Kubernetes, the name of the Node.
    pub node_id: String,
    /// How many volumes may be staged here; 0 leaves it to the orchestrator.
    pub max_volumes: u32,
}

/// The Node service. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    identity: Identity,
    /// The API, where there is one: it knows the servers of volumes.
    store: Option<Store>,
    clients: Clients,
    state: PathBuf,
    records: Records,
    turns: Turns,
    looks: Looks,
}

impl Node {
    /// A node with its records and logs below a directory.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(identity: Identity, store: Option<Store>, clients: Clients, state: &Path) -> io::Result<Self> {
        let records = Records::open(state)?;
        let (turns, looks) = (Turns::default(), Looks::default());
        Ok(Self { identity, store, clients, state: state.to_owned(), records, turns, looks })
    }

    /// Works on a volume, alone, to the end: also when the caller has gone, or when it takes too long
    /// for an answer.
    async fn alone<T, W>(
        &self,
        handle: &str,
        work: impl FnOnce(Self, Turn) -> W,
    ) -> Result<Response<T>, Status>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let busy = || format!("another call for volume {handle} is under way on this node");
        let turn = self.turns.take_within(handle, TURN).await.ok_or_else(|| Status::aborted(busy()))?;
        let working = tokio::spawn(work(self.clone(), turn));
        match tokio::time::timeout(CALL, working).await {
            Ok(Ok(done)) => done.map(Response::new),
            Ok(Err(error)) => Err(Status::internal(error.to_string())),
            Err(_) => Err(Status::deadline_exceeded(format!("volume {handle}: not done within {CALL:?}"))),
        }
    }

    /// The mounts as they are now.
    async fn table(&self, turn: &Turn) -> Result<Table, Status> {
        within(turn, Table::read).await.map_err(|error| error.status("the mount table"))
    }

    /// The mounts as they are now, and what is recorded for a staging path.
    async fn known(&self, turn: &Turn, staging: &Path) -> Result<(Table, Option<Record>), Status> {
        let (records, path) = (self.records.clone(), staging.to_owned());
        let read = within(turn, move || Ok((Table::read()?, records.staged_at(&path)?)));
        read.await.map_err(|error| error.status("what is staged"))
    }

    /// Writes a record.
    async fn write(&self, turn: &Turn, record: Record) -> Result<(), Status> {
        let records = self.records.clone();
        let written = within(turn, move || records.write(&record));
        written.await.map_err(|error| error.status("the record of a staged volume"))
    }

    /// A path in the mount table's words; none when there is nothing that could lead to it.
    async fn there(&self, turn: &Turn, path: &Path) -> Result<Option<PathBuf>, Status> {
        let asked = path.to_owned();
        let resolved = within(turn, move || match mounts::resolved(&asked) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            resolved => resolved.map(Some),
        });
        resolved.await.map_err(|error| error.status(at(path)))
    }

    /// Takes away all mounts at a path; those that are dead or hang at once, however it is asked.
    async fn clear(&self, turn: &Turn, path: &Path, how: Away) -> Result<(), Status> {
        for _ in 0..MOST_AT_ONE_PATH {
            if self.table(turn).await?.top(path).is_none() {
                return Ok(());
            }
            let how = match self.looks.at(path).await {
                Seen::Dead | Seen::Hangs => Away::AtOnce,
                Seen::Alive(_) | Seen::Refuses(_) => how,
            };
            let mounted = path.to_owned();
            let unmounted = within(turn, move || mounts::unmount(&mounted, how));
            unmounted.await.map_err(|error| error.status(format!("unmount {}", path.display())))?;
        }
        Err(Status::internal(format!("{}: mounts come back as fast as they are taken away", path.display())))
    }
}

/// How a path is named in an error.
fn at(path: &Path) -> String {
    path.display().to_string()
}

#[tonic::async_trait]
impl Service for Node {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        let handle = request::handle(&request.volume_id)?;
        let staging = request::path("staging_target_path", &request.staging_target_path)?;
        let access = request::access(request.volume_capability.as_ref())?;
        request::map("publish_context", &request.publish_context)?;
        request::map("volume_context", &request.volume_context)?;
        request::map("secrets", &request.secrets)?;
        request::not_ephemeral(&request.volume_context)?;
        client::words::check_path(&staging).map_err(Status::invalid_argument)?;
        let context = request.volume_context;
        let ask = stage::Ask { handle: handle.to_owned(), staging, options: access.flags, context };
        let work = |node: Self, turn| async move {
            stage::stage(&node, &turn, ask).await.map(|()| NodeStageVolumeResponse {})
        };
        self.alone(handle, work).await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        let handle = request::handle(&request.volume_id)?.to_owned();
        let staging = request::path("staging_target_path", &request.staging_target_path)?;
        let work = |node: Self, turn| async move {
            let unstaged = stage::unstage(&node, &turn, &request.volume_id, staging).await;
            unstaged.map(|()| NodeUnstageVolumeResponse {})
        };
        self.alone(&handle, work).await
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let handle = request::handle(&request.volume_id)?;
        let target = request::path("target_path", &request.target_path)?;
        let access = request::access(request.volume_capability.as_ref())?;
        request::map("publish_context", &request.publish_context)?;
        request::map("volume_context", &request.volume_context)?;
        request::map("secrets", &request.secrets)?;
        request::not_ephemeral(&request.volume_context)?;
        if request.staging_target_path.is_empty() {
            return Err(Status::failed_precondition(
                "staging_target_path is missing: stage the volume first",
            ));
        }
        let staging = request::path("staging_target_path", &request.staging_target_path)?;
        let readonly = request.readonly || access.only_reads();
        let how = Target { readonly, mode: access.mode.into() };
        let pod = Pod::of_context(&request.volume_context);
        let ask = publish::Ask { handle: handle.to_owned(), staging, target, how, pod };
        let work = |node: Self, turn| async move {
            publish::publish(&node, &turn, ask).await.map(|()| NodePublishVolumeResponse {})
        };
        self.alone(handle, work).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let handle = request::handle(&request.volume_id)?;
        let target = request::path("target_path", &request.target_path)?;
        let work = |node: Self, turn| async move {
            publish::unpublish(&node, &turn, target).await.map(|()| NodeUnpublishVolumeResponse {})
        };
        self.alone(handle, work).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        let handle = request::handle(&request.volume_id)?;
        if request.volume_path.is_empty() {
            return Err(Status::invalid_argument("volume_path is missing"));
        }
        stats::stats(self, handle, &request.volume_path).await.map(Response::new)
    }

    async fn node_get_volume_health(
        &self,
        request: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        let handle = request::handle(&request.volume_id)?;
        stats::health(self, handle, &request.volume_publish_path).await.map(Response::new)
    }

    async fn node_get_storage_health(
        &self,
        _: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        Err(Status::unimplemented("the health of storage is told by GlusterClusters, not by this node"))
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented("nothing is to be done on a node: its client sees the new size by itself"))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let capability = |type_: rpc::Type| NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: type_.into() })),
        };
        let can = [
            rpc::Type::StageUnstageVolume,
            rpc::Type::GetVolumeStats,
            rpc::Type::SingleNodeMultiWriter,
            rpc::Type::GetVolumeHealth,
        ];
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities: can.map(capability).into() }))
    }

    /// No topology: a node that reaches the servers reaches every volume, and one that does not, none.
    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.identity.node_id.clone(),
            max_volumes_per_node: self.identity.max_volumes.into(),
            accessible_topology: None,
        }))
    }
}
