//! The Controller service: volumes for orchestrators that do not use our provisioner, such as Nomad, or
//! Kubernetes with its sidecars. It asks as every face does, by writing objects and waiting for what becomes
//! of them; so every replica of the operator may serve it.

mod calls;
mod capacity;
mod create;
mod delete;
mod expand;
mod list;
mod refusal;
mod wish;

use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::proto::csi as rpc;
use super::proto::csi::controller_server::Controller;
use super::proto::csi::controller_service_capability::rpc::Type;
use super::proto::csi::controller_service_capability::{Rpc, Type as Capability};
use super::proto::csi::list_volumes_response::Entry;
use super::proto::csi::validate_volume_capabilities_response::Confirmed;
use crate::intent::{Intent, cluster, volume};
use crate::resources::GlusterVolume;
use calls::Calls;
use wish::Range;

/// What is offered.
const CAPABILITIES: [Type; 5] = [
    Type::CreateDeleteVolume,
    Type::ListVolumes,
    Type::GetCapacity,
    Type::ExpandVolume,
    Type::SingleNodeMultiWriter,
];

/// Makes, grows, lists and removes volumes. Cheap to clone.
#[derive(Clone)]
pub struct Volumes {
    intent: Intent,
    calls: Calls,
}

impl Volumes {
    /// The service over a way to ask.
    pub fn new(intent: Intent) -> Self {
        Self { intent, calls: Calls::default() }
    }
}

/// The time that is left.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// A volume as it is stored now, by its id.
async fn live(intent: &Intent, id: &str) -> Result<GlusterVolume, Status> {
    if !wish::is_object_name(id) {
        return Err(refusal::no_volume(id));
    }
    let found = intent.store.get::<GlusterVolume>(id).await.map_err(|error| refusal::of_store(&error))?;
    let found = found.filter(|found| found.metadata.deletion_timestamp.is_none());
    found.ok_or_else(|| refusal::no_volume(id))
}

/// A volume as the interface tells it.
fn told(volume: &GlusterVolume) -> rpc::Volume {
    let size = volume.size().unwrap_or(volume.spec.size);
    rpc::Volume {
        volume_id: volume.name_any(),
        capacity_bytes: i64::try_from(size.0).unwrap_or(i64::MAX),
        volume_context: volume::attributes(volume).into_iter().collect(),
        ..rpc::Volume::default()
    }
}

/// What is not offered: the answer to a call that the capabilities do not name.
fn not_offered<T>(what: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("{what} is not offered: see ControllerGetCapabilities")))
}

#[tonic::async_trait]
impl Controller for Volumes {
    async fn create_volume(
        &self,
        request: Request<rpc::CreateVolumeRequest>,
    ) -> Result<Response<rpc::CreateVolumeResponse>, Status> {
        let until = calls::until(&request);
        let wish = wish::create(request.get_ref())?;
        let _call = self.calls.begin_about(&wish.object_name)?;
        let made = create::create(&self.intent, &wish, until).await;
        match &made {
            Ok(volume) => {
                tracing::info!(name = wish.name, volume = volume.name_any(), unused = ?wish.unused(), "a volume was made");
            }
            Err(refused) => tracing::warn!(
                name = wish.name,
                code = ?refused.code(),
                why = refused.message(),
                "a volume was not made"
            ),
        }
        Ok(Response::new(rpc::CreateVolumeResponse { volume: Some(told(&made?)) }))
    }

    async fn delete_volume(
        &self,
        request: Request<rpc::DeleteVolumeRequest>,
    ) -> Result<Response<rpc::DeleteVolumeResponse>, Status> {
        let until = calls::until(&request);
        let request = request.into_inner();
        let id = wish::volume_id(&request.volume_id)?;
        wish::check_map("secrets", &request.secrets)?;
        // What can be no volume is gone as every other one that is not there.
        if wish::is_object_name(id) {
            let _call = self.calls.begin_about(id)?;
            delete::delete(&self.intent, id, until).await?;
            tracing::info!(volume = id, "a volume was removed, or was gone");
        }
        Ok(Response::new(rpc::DeleteVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<rpc::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<rpc::ValidateVolumeCapabilitiesResponse>, Status> {
        let _call = self.calls.begin()?;
        let request = request.into_inner();
        let id = wish::volume_id(&request.volume_id)?;
        if request.volume_capabilities.is_empty() {
            return Err(Status::invalid_argument("volume_capabilities are missing"));
        }
        let volume = live(&self.intent, id).await?;
        let said = |message: String| {
            Ok(Response::new(rpc::ValidateVolumeCapabilitiesResponse { confirmed: None, message }))
        };
        if let Err(why) = wish::check_capabilities(&request.volume_capabilities) {
            return said(why);
        }
        let named = request.volume_context.get("volume");
        if named.is_some_and(|named| *named != volume.volume_name()) {
            return said(format!("volume_context.volume is not {:?}", volume.volume_name()));
        }
        if !request.parameters.is_empty() && !wish::is_made_with(&volume, &request.parameters) {
            return said("the volume was made with other parameters".into());
        }
        if !request.mutable_parameters.is_empty() {
            return said(
                "nothing about a volume can be changed yet: mutable_parameters are not known".into(),
            );
        }
        let confirmed = Confirmed {
            volume_context: request.volume_context,
            volume_capabilities: request.volume_capabilities,
            parameters: request.parameters,
            mutable_parameters: request.mutable_parameters,
        };
        let response = rpc::ValidateVolumeCapabilitiesResponse {
            confirmed: Some(confirmed),
            ..rpc::ValidateVolumeCapabilitiesResponse::default()
        };
        Ok(Response::new(response))
    }

    async fn list_volumes(
        &self,
        request: Request<rpc::ListVolumesRequest>,
    ) -> Result<Response<rpc::ListVolumesResponse>, Status> {
        let _call = self.calls.begin()?;
        let request = request.into_inner();
        let (page, next_token) =
            list::page(self.intent.volumes.each(), &request.starting_token, request.max_entries)?;
        let entry = |volume: &GlusterVolume| Entry { volume: Some(told(volume)), status: None };
        let page = page.iter().filter_map(|name| self.intent.volumes.get(name));
        let entries = page.map(|volume| entry(&volume)).collect();
        Ok(Response::new(rpc::ListVolumesResponse { entries, next_token }))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<rpc::ControllerExpandVolumeRequest>,
    ) -> Result<Response<rpc::ControllerExpandVolumeResponse>, Status> {
        let until = calls::until(&request);
        let request = request.into_inner();
        let id = wish::volume_id(&request.volume_id)?;
        wish::check_map("secrets", &request.secrets)?;
        let range = request.capacity_range.as_ref();
        let range = Range::read(range.ok_or_else(|| Status::invalid_argument("capacity_range is missing"))?)?;
        if let Some(capability) = &request.volume_capability {
            wish::check_capability(capability).map_err(Status::invalid_argument)?;
        }
        let _call = self.calls.begin_about(id)?;
        let size = expand::expand(&self.intent, id, range, until).await?;
        tracing::info!(volume = id, %size, "a volume was expanded, or was as large");
        Ok(Response::new(rpc::ControllerExpandVolumeResponse {
            capacity_bytes: i64::try_from(size.0).unwrap_or(i64::MAX),
            node_expansion_required: false,
        }))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<rpc::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<rpc::ControllerGetCapabilitiesResponse>, Status> {
        let capability = |offered: Type| rpc::ControllerServiceCapability {
            r#type: Some(Capability::Rpc(Rpc { r#type: offered.into() })),
        };
        let capabilities = CAPABILITIES.map(capability).into();
        Ok(Response::new(rpc::ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn get_capacity(
        &self,
        request: Request<rpc::GetCapacityRequest>,
    ) -> Result<Response<rpc::GetCapacityResponse>, Status> {
        let _call = self.calls.begin()?;
        let request = request.into_inner();
        let parameters = wish::parameters(&request.parameters)?;
        let wanted = &request.volume_capabilities;
        let can_be_used = wanted.is_empty() || wish::check_capabilities(wanted).is_ok();
        let clusters = cluster::names(&self.intent, &parameters.clusters);
        let known = self.intent.clusters.list();
        let fits = capacity::of(&known, &clusters, &parameters).filter(|_| can_be_used);
        Ok(Response::new(capacity::told(fits)))
    }

    async fn controller_publish_volume(
        &self,
        _: Request<rpc::ControllerPublishVolumeRequest>,
    ) -> Result<Response<rpc::ControllerPublishVolumeResponse>, Status> {
        not_offered("ControllerPublishVolume")
    }

    async fn controller_unpublish_volume(
        &self,
        _: Request<rpc::ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<rpc::ControllerUnpublishVolumeResponse>, Status> {
        not_offered("ControllerUnpublishVolume")
    }

    async fn controller_list_volume_health(
        &self,
        _: Request<rpc::ControllerListVolumeHealthRequest>,
    ) -> Result<Response<rpc::ControllerListVolumeHealthResponse>, Status> {
        not_offered("ControllerListVolumeHealth")
    }

    async fn controller_get_volume_health(
        &self,
        _: Request<rpc::ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<rpc::ControllerGetVolumeHealthResponse>, Status> {
        not_offered("ControllerGetVolumeHealth")
    }

    async fn create_snapshot(
        &self,
        _: Request<rpc::CreateSnapshotRequest>,
    ) -> Result<Response<rpc::CreateSnapshotResponse>, Status> {
        not_offered("CreateSnapshot")
    }

    async fn delete_snapshot(
        &self,
        _: Request<rpc::DeleteSnapshotRequest>,
    ) -> Result<Response<rpc::DeleteSnapshotResponse>, Status> {
        not_offered("DeleteSnapshot")
    }

    async fn list_snapshots(
        &self,
        _: Request<rpc::ListSnapshotsRequest>,
    ) -> Result<Response<rpc::ListSnapshotsResponse>, Status> {
        not_offered("ListSnapshots")
    }

    async fn get_snapshot(
        &self,
        _: Request<rpc::GetSnapshotRequest>,
    ) -> Result<Response<rpc::GetSnapshotResponse>, Status> {
        not_offered("GetSnapshot")
    }

    async fn controller_get_volume(
        &self,
        _: Request<rpc::ControllerGetVolumeRequest>,
    ) -> Result<Response<rpc::ControllerGetVolumeResponse>, Status> {
        not_offered("ControllerGetVolume")
    }

    async fn controller_modify_volume(
        &self,
        _: Request<rpc::ControllerModifyVolumeRequest>,
    ) -> Result<Response<rpc::ControllerModifyVolumeResponse>, Status> {
        not_offered("ControllerModifyVolume")
    }
}
