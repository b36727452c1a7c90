//! How kubelet learns of the driver: it finds our socket in its folder of plugins and asks on it who we
//! are; then it speaks CSI with the socket that we name.

use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::csi::DRIVER;
use crate::csi::proto::registration::registration_server::Registration;
use crate::csi::proto::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};

/// The versions of kubelet's plugin interface that we speak; not those of CSI.
const VERSIONS: [&str; 1] = ["1.0.0"];

/// Answers kubelet.
#[derive(Debug)]
pub struct Registrar {
    endpoint: String,
    refused: mpsc::Sender<String>,
}

impl Registrar {
    /// Names the path of the CSI socket as kubelet sees it. Why kubelet refused the driver comes out of
    /// the receiver: then the process should end, since kubelet asks a new one again.
    pub fn new(endpoint: String) -> (Self, mpsc::Receiver<String>) {
        let (refused, why) = mpsc::channel(1);
        (Self { endpoint, refused }, why)
    }
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".into(),
            name: DRIVER.into(),
            endpoint: self.endpoint.clone(),
            supported_versions: VERSIONS.map(str::to_owned).into(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!("kubelet has registered the driver");
        } else {
            tracing::error!(why = status.error, "kubelet has refused the driver");
            // Full means that it was told already.
            let _ = self.refused.try_send(status.error);
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
