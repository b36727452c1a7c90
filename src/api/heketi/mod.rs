//! Heketi's REST interface, so that its clients work against us as they are. Paths, statuses, texts
//! and shapes are Heketi's; no Heketi word leaves this folder.
//!
//! A request goes the way that it goes in Heketi: the path is cleaned, `/hello` and `/metrics` are open, the
//! token is checked, then the mode of the server, then the route is looked up.

mod answer;
mod change_state;
mod check;
mod cluster;
mod device;
mod find;
mod json;
mod node;
mod queue;
mod refusal;
mod route;
mod server;
mod state;
mod ticket;
mod view;
mod volume;
mod volume_index;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt;

use crate::auth::{self, Keys};
use crate::intent::Intent;
use crate::intent::mode::Mode;
use crate::resources::{GlusterDevice, GlusterNode, Limits, TransportSpec, Zones};
use crate::units;
use answer::{Answer, Refused};
use change_state::change_state;
use route::{Route, Target};
pub use server::examine::Examiner;
pub use server::logging::{Log, LogLevel};
use ticket::Tickets;
use volume_index::VolumeIndex;

/// Largest body of a request in bytes; Heketi has no limit, its clients send a few KiB.
const MAX_BODY: usize = 1 << 20;

/// How much of a body that is too large is still read, so that its sender gets to see the answer.
const MAX_DRAINED: usize = 32 << 20;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client waits at most; what it has asked for goes on. Nothing takes so long unless the store
/// does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How the face is set up.
#[derive(Clone, Debug)]
pub struct HeketiOptions {
    /// The keys of tokens; without them everybody may do everything.
    pub auth: Option<Keys>,
    /// How the nodes of new clusters are reached; without it clients cannot make clusters.
    pub transport: Option<TransportSpec>,
    /// The limits of new clusters.
    pub limits: Limits,
    /// How many volumes may be made or deleted at a time.
    pub max_inflight: usize,
    /// Options set before those of a request, separated by commas.
    pub pre_request_volume_options: String,
    /// Options set after those of a request, separated by commas.
    pub post_request_volume_options: String,
    /// Options of volumes that host block volumes, set before those of a request, separated by commas.
    pub block_hosting_volume_options: String,
    /// Where bricks may lie when a request does not say.
    pub zones: Option<Zones>,
    /// How large a file is on average when a request does not say; it decides how large arbiters are.
    pub average_file: units::Bytes,
    /// The namespace where the mode of the server is kept.
    pub namespace: String,
    /// The mode as long as none was set.
    pub default_mode: Mode,
    /// How much is logged.
    pub log: Log,
    /// Looks at the nodes.
    pub examiner: Examiner,
}

/// What all handlers share.
struct Face {
    intent: Intent,
    options: HeketiOptions,
    tickets: Tickets,
    volumes: Arc<VolumeIndex>,
}

/// A service that answers Heketi's clients.
pub fn router(intent: Intent, options: HeketiOptions) -> Router {
    let index = VolumeIndex::new(&intent.volumes, options.max_inflight);
    let tickets = Tickets::new(options.auth.as_ref());
    let face = Face { intent, options, tickets, volumes: Arc::new(index) };
    Router::new().fallback(serve).with_state(Arc::new(face))
}

/// Answers one request. A client that hangs up does not stop what it has asked for, and a panic ends
/// no more than its request.
async fn serve(State(face): State<Arc<Face>>, request: Request) -> Answer {
    match tokio::time::timeout(ANSWER_TIMEOUT, tokio::spawn(answered(face, request))).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::error!(%error, "a request was not answered");
            Refused::failed("internal error: see the server's log").into()
        }
        Err(_) => Refused::unavailable("no answer in time; what was asked for may still be done").into(),
    }
}

async fn answered(face: Arc<Face>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let Some(path) = route::decoded(parts.uri.path()) else {
        return Refused::bad("Bad Request").into();
    };
    let clean = route::cleaned(&path);
    if clean != path {
        return answer::moved(&with_query(&clean, &parts), false);
    }
    match (&parts.method, path.as_str()) {
        (&Method::GET, "/hello") => return answer::hello(),
        (&Method::GET, "/metrics") => return server::figures::get(&face).unwrap_or_else(Answer::from),
        _ => {}
    }
    let done = async {
        authorized(&face, &parts, &path)?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
        server::mode::check(&face, &parts.method, peer).await?;
        routed(&face, &parts, &path, body).await
    };
    done.await.unwrap_or_else(Answer::from)
}

fn authorized(face: &Face, parts: &Parts, path: &str) -> Result<(), Refused> {
    let Some(keys) = &face.options.auth else {
        return Ok(());
    };
    let header = parts.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let now = jiff::Timestamp::now().as_second();
    match auth::heketi_jwt::check(header, parts.method.as_str(), path, keys, now) {
        Ok(_) => Ok(()),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::UNAUTHORIZED);
            Err(Refused::new(status, refusal.text))
        }
    }
}

async fn routed(face: &Face, parts: &Parts, path: &str, body: Body) -> Result<Answer, Refused> {
    match route::find(&parts.method, path) {
        Route::Known(target) => handled(face, parts, target, body).await,
        Route::Slash => {
            let bare = path.trim_end_matches('/');
            let page = parts.method == Method::GET;
            Ok(answer::moved(&with_query(bare, parts), page))
        }
        Route::WrongMethod => Ok(answer::empty(StatusCode::METHOD_NOT_ALLOWED)),
        Route::Unknown => Err(Refused::missing("Invalid path or request")),
    }
}

async fn handled(face: &Face, parts: &Parts, target: Target, body: Body) -> Result<Answer, Refused> {
    // A body is read where it says something: Python's client sends one with every request.
    let post = parts.method == Method::POST;
    let delete = parts.method == Method::DELETE;
    match target {
        Target::Clusters if post => cluster::create(face, &received(body).await?).await,
        Target::Clusters => cluster::list(face).await,
        Target::Cluster(id) if delete => cluster::delete(face, &id).await,
        Target::Cluster(id) => cluster::info(face, &id).await,
        Target::ClusterFlags(id) => cluster::set_flags(face, &id, &received(body).await?).await,
        Target::Nodes => node::create(face, &received(body).await?).await,
        Target::Node(id) if delete => node::delete(face, &id).await,
        Target::Node(id) => node::info(face, &id).await,
        Target::NodeState(id) => change_state::<GlusterNode>(face, &id, &received(body).await?).await,
        Target::NodeTags(id) => node::set_tags(face, &id, &received(body).await?).await,
        Target::Devices => device::create(face, &received(body).await?).await,
        Target::Device(id) if delete => device::delete(face, &id, &received(body).await?).await,
        Target::Device(id) => device::info(face, &id).await,
        Target::DeviceState(id) => change_state::<GlusterDevice>(face, &id, &received(body).await?).await,
        Target::DeviceResync(id) => device::resync(face, &id).await,
        Target::DeviceTags(id) => device::set_tags(face, &id, &received(body).await?).await,
        Target::Volumes if post => volume::create(face, &received(body).await?).await,
        Target::Volumes => volume::list(face).await,
        Target::VolumePlan => volume::plan(face, &received(body).await?).await,
        Target::Volume(id) if delete => volume::delete(face, &id).await,
        Target::Volume(id) => volume::info(face, &id).await,
        Target::VolumeExpand(id) => volume::expand(face, &id, &received(body).await?).await,
        Target::BlockRestriction(id) => volume::restrict(face, &id, &received(body).await?).await,
        Target::Queue(id) => queue::get(face, &id).await,
        Target::Operations => Ok(server::operations::counts(face)),
        Target::PendingOperations => Ok(server::operations::list(face)),
        Target::PendingOperation(id) => server::operations::info(face, &id),
        Target::CleanUp => server::operations::clean_up(face, &received(body).await?),
        Target::Admin if post => server::mode::set(face, &received(body).await?).await,
        Target::Admin => server::mode::get(face).await,
        Target::Logging if post => server::logging::set(face, &received(body).await?),
        Target::Logging => Ok(server::logging::get(face)),
        Target::Dump => server::dump::get(face).await,
        Target::Consistency => Ok(server::consistency::get(face)),
        Target::Backup => server::dump::backup(face).await,
        Target::Examination => server::examine::get(face).await,
    }
}

/// The whole body, if it is not too large and arrives in time.
async fn received(mut body: Body) -> Result<Bytes, Refused> {
    let read = async {
        let (mut kept, mut size) = (Vec::new(), 0usize);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { break };
            let Some(data) = frame.data_ref() else { continue };
            size = size.saturating_add(data.len());
            if size <= MAX_BODY {
                kept.extend_from_slice(data);
            } else if size > MAX_DRAINED {
                break;
            }
        }
        (kept, size)
    };
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok((kept, size)) if size <= MAX_BODY => Ok(kept.into()),
        Ok(_) => Err(Refused::unparsable()),
        Err(_) => {
            let text = "the request did not arrive in time";
            Err(Refused::new(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

fn with_query(path: &str, parts: &Parts) -> String {
    let path = route::encoded(path);
    match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}
