//! Probes: whether the process runs and whether it serves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

/// Whether the process is ready, and where it says so.
pub struct Readiness {
    ready: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Readiness {
    /// From now on the process is ready.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Where the probes are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves /healthz and /readyz as a task.
pub async fn serve(listen: &str) -> anyhow::Result<Readiness> {
    let listener = tokio::net::TcpListener::bind(listen).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {listen}: is the port taken? Try --listen"))?;
    let address = listener.local_addr()?;
    let ready = Arc::new(AtomicBool::new(false));
    let seen = ready.clone();
    let readyz = move || async move {
        if seen.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not yet\n")
        }
    };
    let router = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(readyz));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the probes ended");
        }
    });
    Ok(Readiness { ready, address })
}
