//! Probes and figures: whether the process runs, whether it serves, and what it works on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::metrics::{self, Figures};

/// Whether the process is ready, and where it says so.
pub struct Readiness {
    ready: Arc<AtomicBool>,
    figures: Arc<OnceLock<Figures>>,
    address: SocketAddr,
}

impl Readiness {
    /// From now on the process is ready.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// From now on /metrics has all figures: before, it says that this replica waits.
    pub fn show(&self, figures: Figures) {
        // Set once: a second call changes nothing, the first figures stay right.
        let _ = self.figures.set(figures);
    }

    /// Where the probes are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves /healthz, /readyz and /metrics as a task.
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
    let figures = Arc::new(OnceLock::<Figures>::new());
    let shown = figures.clone();
    let figures_now = move || async move { told(shown.get()) };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures_now));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the probes ended");
        }
    });
    Ok(Readiness { ready, figures, address })
}

fn told(figures: Option<&Figures>) -> Response {
    match figures.map_or_else(metrics::waiting, Figures::text) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(axum::http::header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
