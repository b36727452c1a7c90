//! Lists: one moment, in pages.
//!
//! All pages of a list show the version of the first one; what changed since is undone from the log. When
//! the log no longer reaches back, the token has expired and the client starts anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::json;

use super::image::{Image, Path};
use super::object::Stored;
use super::route::Asked;
use super::selector::Filter;
use super::show::{shown, type_of};
use super::status::Refusal;

/// The filter that a list or watch asks for.
pub(super) fn filter(asked: &Asked<'_>) -> Result<Filter, Refusal> {
    let text = |name: &str| asked.query.text(name);
    Filter::parse(asked.kind, asked.namespace.as_deref(), text("labelSelector"), text("fieldSelector"))
        .map_err(Refusal::bad_request)
}

/// One page.
struct Page {
    version: u64,
    items: Vec<Arc<Stored>>,
    /// First path of the next page.
    next: Option<Path>,
    remaining: usize,
}

/// Answers a list.
pub(super) fn list(image: &parking_lot::RwLock<Image>, asked: &Asked<'_>) -> Result<Bytes, Refusal> {
    let filter = filter(asked)?;
    if asked.query.text("sendInitialEvents").is_some() {
        return Err(Refusal::bad_request("sendInitialEvents is forbidden for list"));
    }
    let limit = asked.query.number("limit")?.filter(|l| *l > 0);
    let limit = limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
    let page = {
        let image = image.read();
        let (version, start) = start_of(&image, asked)?;
        page(&image, asked.kind.shelf, &filter, version, &start, limit)?
    };
    Ok(write(asked, &filter, &page))
}

/// Version to be shown, and the path to start from.
fn start_of(image: &Image, asked: &Asked<'_>) -> Result<(u64, String), Refusal> {
    let query = &asked.query;
    let head = image.head();
    let version = query.number("resourceVersion")?;
    if let Some(token) = query.text("continue") {
        if version.is_some_and(|v| v != 0) {
            return Err(Refusal::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return decode(token).ok_or_else(|| Refusal::bad_request("continue key is not valid"));
    }
    let start = asked.namespace.as_ref().map_or_else(String::new, |n| format!("{n}/"));
    match (version, query.text("resourceVersionMatch")) {
        (None, Some(_)) => {
            Err(Refusal::bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        }
        (Some(0), Some("Exact")) => {
            Err(Refusal::bad_request("resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\""))
        }
        (Some(wanted), _) if wanted > head => Err(Refusal::too_new(wanted, head)),
        (Some(wanted), Some("Exact")) => Ok((wanted, start)),
        (_, None | Some("NotOlderThan")) => Ok((head, start)),
        (_, Some(other)) => Err(Refusal::bad_request(format!(
            "resourceVersionMatch: Unsupported value: \"{other}\": supported values: \"Exact\", \"NotOlderThan\""
        ))),
    }
}

fn page(
    image: &Image,
    shelf: usize,
    filter: &Filter,
    version: u64,
    start: &str,
    limit: usize,
) -> Result<Page, Refusal> {
    let past = image.undo_to(shelf, version).ok_or_else(|| Refusal::expired(version, image.floor()))?;
    let inside = |path: &str| match &filter.namespace {
        Some(namespace) => path.strip_prefix(namespace.as_str()).is_some_and(|rest| rest.starts_with('/')),
        None => true,
    };
    // Objects that are gone by now are in the past only; the ordered map puts them back in their place.
    let revived: BTreeMap<&Path, &Arc<Stored>> = past
        .iter()
        .filter_map(|(path, object)| object.as_ref().map(|o| (path, o)))
        .filter(|(path, _)| &***path >= start && inside(path))
        .collect();
    let mut revived = revived.into_iter().peekable();
    let mut kept = image
        .from(shelf, start)
        .take_while(|(path, _)| inside(path))
        .filter(|(path, _)| !past.contains_key(*path))
        .peekable();
    let merged = std::iter::from_fn(|| match (kept.peek(), revived.peek()) {
        (Some((a, _)), Some((b, _))) if a > b => revived.next(),
        (None, Some(_)) => revived.next(),
        (_, _) => kept.next(),
    });
    let mut page = Page { version, items: Vec::new(), next: None, remaining: 0 };
    for (path, object) in merged.filter(|(path, object)| filter.matches(path, object)) {
        if page.items.len() < limit {
            page.items.push(object.clone());
        } else {
            page.next.get_or_insert_with(|| path.clone());
            page.remaining += 1;
        }
    }
    Ok(page)
}

fn write(asked: &Asked<'_>, filter: &Filter, page: &Page) -> Bytes {
    let mut metadata = json!({ "resourceVersion": page.version.to_string() });
    if let Some(next) = &page.next {
        metadata["continue"] = json!(encode(page.version, next));
        if filter.takes_all() {
            metadata["remainingItemCount"] = json!(page.remaining);
        }
    }
    let (kind, api_version) = type_of(asked.kind, asked.shape, true);
    let head = format!(
        r#"{{"kind":{},"apiVersion":{},"metadata":{metadata},"items":["#,
        json!(kind),
        json!(api_version)
    );
    let size: usize = page.items.iter().map(|i| i.len() + 1).sum();
    let mut bytes = Vec::with_capacity(head.len() + size + 2);
    bytes.extend_from_slice(head.as_bytes());
    for (at, object) in page.items.iter().enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&shown(asked.kind, asked.shape, object));
    }
    bytes.extend_from_slice(b"]}");
    Bytes::from(bytes)
}

fn encode(version: u64, path: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{version} {path}"))
}

fn decode(token: &str) -> Option<(u64, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (version, path) = text.split_once(' ')?;
    Some((version.parse().ok()?, path.to_owned()))
}
