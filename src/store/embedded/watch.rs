//! Watches: a cursor into the log, turned into lines of JSON.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::kind::Kind;
use super::object::Stored;
use super::route::{Asked, Shape};
use super::selector::Filter;
use super::service::Shared;
use super::show::{shown, type_of};
use super::status::Refusal;

/// A watch that names no end is closed after this.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Changes looked at, or objects sent, per chunk: keeps one busy watch from holding the lock or the memory.
const CHUNK: usize = 256;

/// One running watch.
pub(super) struct Watch {
    shared: Arc<Shared>,
    kind: Arc<Kind>,
    filter: Filter,
    shape: Shape,
    head: watch::Receiver<u64>,
    /// Everything up to here has been looked at.
    cursor: u64,
    /// Objects still to be sent as the initial state.
    initial: VecDeque<Arc<Stored>>,
    /// A bookmark that says "that was the initial state" is due.
    announce: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    over: bool,
    _counted: Counted,
}

impl Watch {
    /// Understands a watch request and fixes its starting point.
    pub(super) fn start(shared: &Arc<Shared>, asked: &Asked<'_>) -> Result<Watch, Refusal> {
        let query = &asked.query;
        let filter = super::list::filter(asked)?;
        let version = query.number("resourceVersion")?.filter(|v| *v > 0);
        let stream_list = query.flag("sendInitialEvents")?;
        match (stream_list, query.text("resourceVersionMatch")) {
            (None, None) | (Some(_), Some("NotOlderThan")) => {}
            (None, Some(_)) => {
                return Err(forbidden(
                    asked,
                    "resourceVersionMatch",
                    "is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            (Some(_), _) => {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                return Err(forbidden(asked, "resourceVersionMatch", why));
            }
        }
        let head = shared.head.clone();
        let mut initial = VecDeque::new();
        let image = shared.image.read();
        let from_now = stream_list == Some(true) || (version.is_none() && stream_list.is_none());
        if let Some(wanted) = version.filter(|v| stream_list == Some(true) && *v > image.head()) {
            return Err(Refusal::too_new(wanted, image.head()));
        }
        if from_now {
            let all = image.shelf(asked.kind.shelf).filter(|(path, object)| filter.matches(path, object));
            initial.extend(all.map(|(_, object)| object.clone()));
        }
        let cursor = if from_now { image.head() } else { version.unwrap_or(image.head()) };
        drop(image);
        let seconds = query.number("timeoutSeconds")?.filter(|s| *s > 0).map(Duration::from_secs);
        let now = Instant::now();
        Ok(Watch {
            shared: shared.clone(),
            kind: asked.kind.clone(),
            filter,
            shape: asked.shape,
            head,
            cursor,
            initial,
            announce: stream_list == Some(true),
            bookmarks: query.flag("allowWatchBookmarks")? == Some(true),
            next_bookmark: now + shared.bookmark_every,
            deadline: now + seconds.unwrap_or(LONGEST).min(LONGEST),
            over: false,
            _counted: Counted::new(shared),
        })
    }

    /// The body of the answer: lines of JSON, until the deadline.
    pub(super) fn into_stream(self) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let chunk = watch.next().await?;
            Some((Ok(Frame::data(chunk)), watch))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if let Some(chunk) = self.initial_state() {
            return Some(chunk);
        }
        loop {
            // Looked at first: on a busy store the changes below are always ready.
            let now = Instant::now();
            if now >= self.deadline {
                self.over = true;
                return self.bookmarks.then(|| self.bookmark(false));
            }
            if self.bookmarks && now >= self.next_bookmark {
                return Some(self.bookmark(false));
            }
            self.head.borrow_and_update();
            if let Some(chunk) = self.read_log() {
                return Some(chunk);
            }
            tokio::select! {
                biased;
                changed = self.head.changed() => {
                    if changed.is_err() {
                        return None; // the store is shut down
                    }
                }
                () = sleep_until(self.deadline) => {}
                () = sleep_until(self.next_bookmark), if self.bookmarks => {}
            }
        }
    }

    fn initial_state(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::new();
        let most = self.initial.len().min(CHUNK);
        for object in self.initial.drain(..most) {
            line(&mut chunk, "ADDED", &shown(&self.kind, self.shape, &object));
        }
        if self.initial.is_empty() && std::mem::take(&mut self.announce) {
            chunk.extend_from_slice(&self.bookmark(true));
        }
        (!chunk.is_empty()).then(|| Bytes::from(chunk))
    }

    /// The matching changes after the cursor; `None` when there are none. Moves the cursor.
    fn read_log(&mut self) -> Option<Bytes> {
        loop {
            let mut seen = 0;
            let mut matched: Vec<(&'static str, Arc<Stored>, u64)> = Vec::new();
            {
                let image = self.shared.image.read();
                let Some(changes) = image.since(self.cursor) else {
                    let gone = Refusal::expired(self.cursor, image.floor());
                    self.over = true;
                    let mut chunk = Vec::new();
                    line(&mut chunk, "ERROR", &gone.to_bytes());
                    return Some(Bytes::from(chunk));
                };
                for change in changes.take(CHUNK) {
                    seen += 1;
                    self.cursor = change.version;
                    if change.shelf != self.kind.shelf {
                        continue;
                    }
                    let passes = |object: &&Arc<Stored>| self.filter.matches(&change.path, object);
                    let before = change.before.as_ref().filter(passes);
                    let after = change.after.as_ref().filter(passes);
                    match (before, after) {
                        (None, Some(new)) => matched.push(("ADDED", new.clone(), change.version)),
                        (Some(_), Some(new)) => matched.push(("MODIFIED", new.clone(), change.version)),
                        (Some(old), None) => matched.push(("DELETED", old.clone(), change.version)),
                        (None, None) => {}
                    }
                }
            }
            if seen == 0 {
                return None;
            }
            if matched.is_empty() {
                continue;
            }
            let mut chunk = Vec::new();
            for (what, object, version) in matched {
                if object.version == version {
                    line(&mut chunk, what, &shown(&self.kind, self.shape, &object));
                } else {
                    line(&mut chunk, what, &shown(&self.kind, self.shape, &object.with_version(version)));
                }
            }
            return Some(Bytes::from(chunk));
        }
    }

    fn bookmark(&mut self, initial_end: bool) -> Bytes {
        self.next_bookmark = Instant::now() + self.shared.bookmark_every;
        let mut metadata = json!({ "resourceVersion": self.cursor.to_string(), "creationTimestamp": null });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (kind, api_version) = type_of(&self.kind, self.shape, false);
        let object = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        let mut chunk = Vec::new();
        line(&mut chunk, "BOOKMARK", object.to_string().as_bytes());
        Bytes::from(chunk)
    }
}

fn forbidden(asked: &Asked<'_>, field: &str, why: &str) -> Refusal {
    let cause = super::status::Cause::forbidden(field, why);
    Refusal::invalid(asked.kind, "", vec![cause])
}

fn line(into: &mut Vec<u8>, what: &str, object: &[u8]) {
    into.extend_from_slice(b"{\"type\":\"");
    into.extend_from_slice(what.as_bytes());
    into.extend_from_slice(b"\",\"object\":");
    into.extend_from_slice(object);
    into.extend_from_slice(b"}\n");
}

/// Counts the running watches.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(shared: &Shared) -> Counted {
        shared.watches.fetch_add(1, Ordering::Relaxed);
        Counted(shared.watches.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
