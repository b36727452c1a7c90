//! The Identity service: who answers here, and what it can do.

use tonic::{Request, Response, Status};

use super::DRIVER;
use super::proto::csi::identity_server::Identity;
use super::proto::csi::plugin_capability::{Service, VolumeExpansion, service, volume_expansion};
use super::proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    PluginCapability, ProbeRequest, ProbeResponse, plugin_capability,
};

/// What is served beside it on the same socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// The Node service.
    Node,
    /// The Controller service.
    Controller,
}

/// Answers who we are.
#[derive(Clone, Copy, Debug)]
pub struct Plugin(pub Beside);

#[tonic::async_trait]
impl Identity for Plugin {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: DRIVER.into(),
            vendor_version: env!("CARGO_PKG_VERSION").into(),
            ..GetPluginInfoResponse::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let capability = |type_| PluginCapability { r#type: Some(type_) };
        let serves = Service { r#type: service::Type::ControllerService.into() };
        let grows = VolumeExpansion { r#type: volume_expansion::Type::Online.into() };
        let controller = [
            capability(plugin_capability::Type::Service(serves)),
            capability(plugin_capability::Type::VolumeExpansion(grows)),
        ];
        let capabilities = match self.0 {
            Beside::Node => Vec::new(),
            Beside::Controller => controller.into(),
        };
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    /// Whoever can answer is ready: the socket is served only once everything behind it is there.
    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(true) }))
    }
}
