//! From a request line to what is asked: kind, object, verb, options. What is not served ends here.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::Query;
use http::{HeaderMap, Method, header, request::Parts};

use super::kind::{Kind, Kinds};
use super::status::Refusal;

/// The verbs served. A GET of a collection is `List` or `Watch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Replace,
    Patch,
    Delete,
}

/// How objects are to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Full,
    /// `PartialObjectMetadata`.
    Metadata,
}

/// A request for objects, understood.
#[derive(Debug)]
pub(super) struct Asked<'k> {
    pub(super) kind: &'k Arc<Kind>,
    pub(super) verb: Verb,
    pub(super) namespace: Option<String>,
    /// Empty for collections and creates.
    pub(super) name: String,
    pub(super) status: bool,
    pub(super) shape: Shape,
    pub(super) query: Options,
}

impl Asked<'_> {
    /// `namespace/name`, as the shelves have it.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.namespace.as_deref().unwrap_or_default(), self.name)
    }
}

/// The query string.
#[derive(Clone, Debug, Default)]
pub(super) struct Options(HashMap<String, String>);

impl Options {
    /// A parameter that is present and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.0.get(name).map(String::as_str) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("" | "false" | "0") => Ok(Some(false)),
            Some(other) => {
                Err(Refusal::bad_request(format!("{name}: \"{other}\" is neither true nor false")))
            }
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let parse = |v: &str| {
            v.parse()
                .map_err(|_| Refusal::bad_request(format!("{name}: Invalid value: \"{v}\": not a number")))
        };
        self.text(name).map(parse).transpose()
    }

    /// Whether unknown fields are to be refused.
    pub(super) fn strict(&self) -> Result<bool, Refusal> {
        match self.text("fieldValidation") {
            Some("Strict") => Ok(true),
            None | Some("Ignore" | "Warn") => Ok(false),
            Some(other) => Err(Refusal::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Target<'k> {
    Objects(Asked<'k>),
    /// `/version`, `/api`, `/apis`, ...: the segments.
    Discovery(Vec<String>),
}

/// Understands a request line.
pub(super) fn parse<'k>(kinds: &'k Kinds, parts: &Parts) -> Result<Target<'k>, Refusal> {
    let segments: Vec<&str> = parts.uri.path().split('/').filter(|s| !s.is_empty()).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ if parts.method == Method::GET => {
            return Ok(Target::Discovery(segments.into_iter().map(str::to_owned).collect()));
        }
        _ => return Err(Refusal::no_such_path()),
    };
    let (namespace, plural, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..] if *plural != "status" && *plural != "finalize" => {
            (Some(*namespace), *plural, rest)
        }
        [plural, rest @ ..] => (None, *plural, rest),
        [] => return Err(Refusal::no_such_path()),
    };
    let kind = kinds.find(group, version, plural).ok_or_else(Refusal::no_such_path)?;
    let (name, status) = match rest {
        [] => ("", false),
        [name] => (*name, false),
        [name, "status"] if kind.has_status => (*name, true),
        _ => return Err(Refusal::no_such_path()),
    };
    if kind.namespaced != namespace.is_some() && !(namespace.is_none() && name.is_empty()) {
        return Err(Refusal::no_such_path());
    }
    let query = Query::try_from_uri(&parts.uri).map(|Query(q)| Options(q));
    let query = query.map_err(|e| Refusal::bad_request(format!("the query string: {e}")))?;
    if query.text("dryRun").is_some() {
        return Err(Refusal::bad_request("dryRun is not served here"));
    }
    let verb = verb(&parts.method, name.is_empty(), status, query.flag("watch")?)?;
    if kind.namespaced && namespace.is_none() && verb == Verb::Create {
        return Err(Refusal::not_allowed());
    }
    Ok(Target::Objects(Asked {
        kind,
        verb,
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        status,
        shape: shape(&parts.headers)?,
        query,
    }))
}

fn verb(method: &Method, collection: bool, status: bool, watch: Option<bool>) -> Result<Verb, Refusal> {
    match (method, collection) {
        (&Method::GET, true) if watch == Some(true) => Ok(Verb::Watch),
        (&Method::GET, true) => Ok(Verb::List),
        (&Method::GET, false) => Ok(Verb::Get),
        (&Method::POST, true) => Ok(Verb::Create),
        (&Method::PUT, false) => Ok(Verb::Replace),
        (&Method::PATCH, false) => Ok(Verb::Patch),
        (&Method::DELETE, false) if !status => Ok(Verb::Delete),
        _ => Err(Refusal::not_allowed()),
    }
}

/// The first form in `Accept` that is served. `as=Table` is not: the next entry counts.
fn shape(headers: &HeaderMap) -> Result<Shape, Refusal> {
    let Some(accept) = headers.get(header::ACCEPT) else {
        return Ok(Shape::Full);
    };
    let accept = accept.to_str().map_err(|_| Refusal::not_acceptable())?;
    for entry in accept.split(',') {
        let mut words = entry.split(';').map(str::trim);
        if !matches!(words.next(), Some("application/json" | "application/*" | "*/*" | "")) {
            continue;
        }
        match words.find_map(|w| w.strip_prefix("as=")) {
            None => return Ok(Shape::Full),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                return Ok(Shape::Metadata);
            }
            Some(_) => {}
        }
    }
    Err(Refusal::not_acceptable())
}

/// The media type of the body, without parameters; JSON when nothing is said.
pub(super) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    value.split(';').next().unwrap_or_default().trim()
}
