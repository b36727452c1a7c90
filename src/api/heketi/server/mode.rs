//! `/admin`: who may change things.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{Method, StatusCode};

use super::super::Face;
use super::super::answer::{self, Answer, Refused};
use super::super::json;
use super::super::wire::ServerMode;
use crate::intent::mode::{self, Mode};

/// Refuses a request that would change something when the mode says so. `peer` is who has sent it, if that
/// is known; what proxies say about others is not looked at.
pub async fn check(face: &Face, method: &Method, peer: Option<SocketAddr>) -> Result<(), Refused> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let local = peer.is_some_and(|peer| loopback.contains(&peer.ip().to_canonical()));
    match current(face).await? {
        Mode::Normal => Ok(()),
        Mode::LocalClient if local => Ok(()),
        Mode::ReadOnly | Mode::LocalClient => {
            Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "Service disabled for maintenance"))
        }
    }
}

async fn current(face: &Face) -> Result<Mode, Refused> {
    let found = mode::read(&face.intent, &face.options.namespace).await?;
    Ok(found.unwrap_or(face.options.default_mode))
}

/// `GET /admin`
pub async fn get(face: &Face) -> Result<Answer, Refused> {
    let state = current(face).await?.word().to_owned();
    Ok(answer::json(StatusCode::OK, &ServerMode { state }))
}

/// `POST /admin`: 204. A body that is no request is refused with 400 here, unlike elsewhere.
pub async fn set(face: &Face, body: &[u8]) -> Result<Answer, Refused> {
    let request: ServerMode = json::read(body).map_err(|_| Refused::unparsable_because(body))?;
    let told = |what: &str| Refused::bad(format!("validation failed: state: {what}."));
    if request.state.is_empty() {
        return Err(told("cannot be blank"));
    }
    let wanted = request.state.parse().map_err(|_| told("must be a valid value"))?;
    mode::write(&face.intent, &face.options.namespace, wanted).await?;
    tracing::info!(mode = request.state, "the mode of the server was set");
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
