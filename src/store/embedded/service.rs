//! The tower service: one request in, one answer out.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use jiff::Timestamp;
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Map;
use tokio::sync::watch;

use super::admission::{self, Birth, Decision, Part, Preconditions, Terms};
use super::image::Image;
use super::kind::Kinds;
use super::object::{Object, Stored};
use super::patch::Patch;
use super::route::{self, Asked, Target, Verb};
use super::show::{as_kept, as_shown, shown};
use super::status::{Refusal, deleted};
use super::watch::Watch;
use super::write::{Content, NotWritten, Queue, Write};
use super::{discovery, list};

/// A request body may be this large, in bytes.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// A write that loses this many races in a row is answered 409.
const MAX_RACES: usize = 64;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kinds: Kinds,
    pub(super) namespaces: Vec<String>,
    pub(super) image: Arc<RwLock<Image>>,
    /// Version of the newest visible write.
    pub(super) head: watch::Receiver<u64>,
    pub(super) queue: Queue,
    pub(super) bookmark_every: Duration,
    /// Running watches.
    pub(super) watches: Arc<AtomicUsize>,
}

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The API as a tower service. Cloning is cheap; `call` only builds a future.
#[derive(Clone, Debug)]
pub struct ApiService {
    pub(super) shared: Arc<Shared>,
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            Ok(match answer(&shared, request).await {
                Ok(response) => response,
                Err(refusal) => json(refusal.code(), refusal.to_bytes()),
            })
        })
    }
}

async fn answer<B>(shared: &Arc<Shared>, request: Request<B>) -> Result<Response<Body>, Refusal>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let asked = match route::parse(&shared.kinds, &parts)? {
        Target::Objects(asked) => asked,
        Target::Discovery(path) => {
            let found = discovery::answer(&shared.kinds, &path).ok_or_else(Refusal::no_such_path)?;
            return Ok(json(StatusCode::OK, Bytes::from(found.to_string())));
        }
    };
    let writes = !matches!(asked.verb, Verb::Get | Verb::List | Verb::Watch);
    if writes && asked.kind.read_only {
        let kind = asked.kind.qualified();
        return Err(Refusal::forbidden(format!("{kind} are a fixed set here and cannot be written")));
    }
    match asked.verb {
        Verb::Get => get(shared, &asked).map(|bytes| json(StatusCode::OK, bytes)),
        Verb::List => list::list(&shared.image, &asked).map(|bytes| json(StatusCode::OK, bytes)),
        Verb::Watch => {
            let body = StreamBody::new(Watch::start(shared, &asked)?.into_stream()).boxed_unsync();
            Ok(response(StatusCode::OK, body))
        }
        Verb::Create => {
            let object = read_object(&asked, &parts.headers, body).await?;
            create(shared, &asked, object).await
        }
        Verb::Replace => {
            let object = read_object(&asked, &parts.headers, body).await?;
            change(shared, &asked, &Wish::Object(Box::new(object))).await
        }
        Verb::Patch => {
            let body = read(body).await?;
            let patch = Patch::parse(route::content_type(&parts.headers), &body)?;
            change(shared, &asked, &Wish::Patch(patch)).await
        }
        Verb::Delete => {
            let wanted = delete_options(&asked, &read(body).await?)?;
            change(shared, &asked, &Wish::Gone(wanted)).await
        }
    }
}

fn get(shared: &Shared, asked: &Asked<'_>) -> Result<Bytes, Refusal> {
    let image = shared.image.read();
    if let Some(wanted) = asked.query.number("resourceVersion")?.filter(|v| *v > image.head()) {
        return Err(Refusal::too_new(wanted, image.head()));
    }
    let object = image.get(asked.kind.shelf, &asked.path()).cloned();
    drop(image);
    let object = object.ok_or_else(|| Refusal::not_found(asked.kind, &asked.name))?;
    Ok(shown(asked.kind, asked.shape, &object))
}

async fn create(shared: &Shared, asked: &Asked<'_>, object: Object) -> Result<Response<Body>, Refusal> {
    let kind = asked.kind;
    if let Some(namespace) = &asked.namespace
        && !shared.namespaces.contains(namespace)
    {
        return Err(Refusal::no_such_namespace(namespace));
    }
    let strict = asked.query.strict()?;
    let named = object.metadata.name.as_ref().is_some_and(|n| !n.is_empty());
    for _ in 0..MAX_RACES {
        let uid = uuid::Uuid::new_v4();
        let birth = Birth { now: Timestamp::now(), uid: uid.to_string(), random: uid.as_u64_pair().0 };
        let (name, draft) =
            admission::create(kind, asked.namespace.as_deref(), object.clone(), strict, &birth)?;
        let path = format!("{}/{name}", asked.namespace.as_deref().unwrap_or_default());
        let write = Write { shelf: kind.shelf, path, expected: None, content: Content::Put(draft) };
        match shared.queue.write(write).await {
            Ok(stored) => return Ok(json(StatusCode::CREATED, shown(kind, asked.shape, &stored))),
            Err(NotWritten::Raced) if named => return Err(Refusal::already_exists(kind, &name)),
            Err(NotWritten::Raced) => {} // the generated name is taken: another one
            Err(other) => return Err(not_written(other)),
        }
    }
    Err(Refusal::already_exists(kind, object.metadata.generate_name.as_deref().unwrap_or_default()))
}

/// What is to become of an existing object.
enum Wish {
    Object(Box<Object>),
    Patch(Patch),
    Gone(Preconditions),
}

/// Decides on the visible state, submits, and begins anew when another writer was first.
async fn change(shared: &Shared, asked: &Asked<'_>, wish: &Wish) -> Result<Response<Body>, Refusal> {
    let kind = asked.kind;
    let path = asked.path();
    for _ in 0..MAX_RACES {
        let current = shared.image.read().get(kind.shelf, &path).cloned();
        let current = current.ok_or_else(|| Refusal::not_found(kind, &asked.name))?;
        let content = match decide(asked, wish, &current)? {
            Decision::Same => return Ok(json(StatusCode::OK, shown(kind, asked.shape, &current))),
            Decision::Put(draft) => Content::Put(draft),
            Decision::Remove(last) => Content::Remove(last),
        };
        let gone = matches!((&content, wish), (Content::Remove(_), Wish::Gone(_)));
        let write = Write { shelf: kind.shelf, path: path.clone(), expected: Some(current.version), content };
        match shared.queue.write(write).await {
            Ok(stored) if gone => return Ok(json(StatusCode::OK, gone_status(asked, &stored))),
            Ok(stored) => return Ok(json(StatusCode::OK, shown(kind, asked.shape, &stored))),
            Err(NotWritten::Raced) => {}
            Err(other) => return Err(not_written(other)),
        }
    }
    Err(Refusal::stale(kind, &asked.name))
}

fn decide(asked: &Asked<'_>, wish: &Wish, current: &Stored) -> Result<Decision, Refusal> {
    let kind = asked.kind;
    let unreadable = |e: serde_json::Error| Refusal::storage(format!("the stored object: {e}"));
    let old = Object::parse(&current.bytes()).map_err(unreadable)?;
    let part = match wish {
        _ if asked.status => Part::Status,
        Wish::Patch(patch) if patch.is_of_metadata() => Part::Metadata,
        _ => Part::Main,
    };
    let terms = Terms {
        part,
        strict: asked.query.strict()?,
        patched: matches!(wish, Wish::Patch(_)),
        now: Timestamp::now(),
    };
    match wish {
        Wish::Object(object) => admission::update(kind, &old, (**object).clone(), terms),
        Wish::Patch(patch) => {
            // What a patch leaves alone need not be shown to it.
            let rest = if part == Part::Metadata { Map::new() } else { old.rest.clone() };
            let mut document = as_shown(kind, old.metadata.clone(), rest);
            patch.apply(&mut document)?;
            let mut new: Object = serde_json::from_value(document)
                .map_err(|e| Refusal::unprocessable(format!("the patched object: {e}")))?;
            as_kept(kind, &mut new);
            admission::update(kind, &old, new, terms)
        }
        Wish::Gone(wanted) => admission::delete(kind, old, wanted, terms.now),
    }
}

fn gone_status(asked: &Asked<'_>, last: &Stored) -> Bytes {
    let uid = Object::parse(&last.bytes()).ok().and_then(|o| o.metadata.uid).unwrap_or_default();
    deleted(asked.kind, &asked.name, &uid)
}

fn not_written(why: NotWritten) -> Refusal {
    match why {
        NotWritten::Storage(_) => Refusal::storage(why.to_string()),
        NotWritten::ReadOnly | NotWritten::Stopped => Refusal::unavailable(why.to_string()),
        NotWritten::Raced => Refusal::storage(why.to_string()), // handled before: a race is no answer
    }
}

/// `DeleteOptions`, as far as they are served.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteOptions {
    preconditions: Option<SentPreconditions>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    dry_run: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentPreconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

fn delete_options(asked: &Asked<'_>, body: &[u8]) -> Result<Preconditions, Refusal> {
    let sent: DeleteOptions = if body.is_empty() {
        DeleteOptions::default()
    } else {
        serde_json::from_slice(body).map_err(|e| Refusal::bad_request(format!("DeleteOptions: {e}")))?
    };
    if sent.dry_run.is_some_and(|d| !d.is_empty()) {
        return Err(Refusal::bad_request("dryRun is not served here"));
    }
    let policy = sent.propagation_policy.as_deref().or(asked.query.text("propagationPolicy"));
    if policy.is_some_and(|p| p != "Background") || sent.orphan_dependents == Some(true) {
        return Err(Refusal::bad_request("only propagationPolicy Background is served here"));
    }
    let wanted = sent.preconditions.unwrap_or_default();
    Ok(Preconditions { uid: wanted.uid, version: wanted.resource_version })
}

async fn read_object<B>(asked: &Asked<'_>, headers: &http::HeaderMap, body: B) -> Result<Object, Refusal>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let form = route::content_type(headers);
    if form != "application/json" {
        return Err(Refusal::unsupported_media(form, "application/json"));
    }
    let body = read(body).await?;
    let mut object = Object::parse(&body).map_err(|e| {
        Refusal::bad_request(format!(
            "{} in version \"{}\" cannot be handled: {e}",
            asked.kind.kind, asked.kind.version
        ))
    })?;
    as_kept(asked.kind, &mut object);
    Ok(object)
}

async fn read<B>(body: B) -> Result<Bytes, Refusal>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(Refusal::too_large(MAX_BODY)),
        Err(e) => Err(Refusal::bad_request(format!("the body could not be read: {e}"))),
    }
}

fn json(code: StatusCode, bytes: Bytes) -> Response<Body> {
    response(code, Full::new(bytes).boxed_unsync())
}

fn response(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
