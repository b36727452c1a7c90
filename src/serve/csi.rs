//! Serving CSI's Controller service on a unix socket, beside the REST face: for Nomad, and for clusters
//! that run the sidecars of Kubernetes in our provisioner's place.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Server;

use crate::csi::controller::Volumes;
use crate::csi::identity::{Beside, Plugin};
use crate::csi::proto::csi::controller_server::ControllerServer;
use crate::csi::proto::csi::identity_server::IdentityServer;
use crate::csi::socket::Socket;
use crate::intent::Intent;

/// How long answers under way may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// Calls on one connection at a time. What is more waits for its turn.
const STREAMS: u32 = 512;

/// Where CSI is served.
#[derive(Clone, Debug, Default, Args)]
pub struct CsiArgs {
    /// Serve CSI's Identity and Controller services on this socket: for Nomad, and for Kubernetes with its
    /// sidecars in the place of the built-in provisioner
    #[arg(long, value_name = "unix:///PATH.sock")]
    pub csi_endpoint: Option<String>,
}

/// The service while it is served.
pub struct Csi {
    /// Where.
    pub path: String,
    end: oneshot::Sender<()>,
    work: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Csi {
    /// Listens and serves as a task, when an endpoint is given.
    pub async fn start(args: &CsiArgs, intent: Intent) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &args.csi_endpoint else { return Ok(None) };
        let socket = Socket::listen(endpoint).await.context("--csi-endpoint")?;
        let path = socket.path().display().to_string();
        let (end, ended) = oneshot::channel::<()>();
        let router = Server::builder()
            .max_concurrent_streams(STREAMS)
            .add_service(IdentityServer::new(Plugin(Beside::Controller)))
            .add_service(ControllerServer::new(Volumes::new(intent)));
        let serving = router.serve_with_incoming_shutdown(socket, async {
            // It ends when it is told to, or when nobody could tell it any more.
            let _ = ended.await;
        });
        Ok(Some(Self { path, end, work: tokio::spawn(serving) }))
    }

    /// Waits for an end that nobody has asked for; for ever when nothing is served.
    pub async fn ended(csi: &mut Option<Self>) -> anyhow::Error {
        match csi {
            Some(csi) => {
                let ended = (&mut csi.work).await;
                anyhow::anyhow!("the CSI server ended: {ended:?}")
            }
            None => std::future::pending().await,
        }
    }

    /// Takes no more calls, and waits a moment for answers under way.
    pub async fn stop(csi: Option<Self>) {
        let Some(Self { end, mut work, .. }) = csi else { return };
        drop(end);
        if tokio::time::timeout(FAREWELL, &mut work).await.is_err() {
            work.abort();
        }
    }
}
