//! Refusals: the `Status` objects with which the service says no.
//!
//! Clients branch on `reason` before `code`, so each constructor fixes both, and the wording follows the
//! Kubernetes API server where people grep for it.

use bytes::Bytes;
use http::StatusCode;
use kube::core::response::{Status, StatusCause, StatusDetails, StatusSummary, reason};
use serde_json::{Value, json};

use super::kind::Kind;

/// A `Status` of failure, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Refusal(Box<Status>);

/// One field that is wrong: becomes an entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) reason: &'static str,
    /// Dotted path, `spec.items[2].name`.
    pub(super) field: String,
    /// What is wrong, without the field's name.
    pub(super) message: String,
}

impl Cause {
    pub(super) fn invalid(field: impl Into<String>, value: &str, why: impl AsRef<str>) -> Cause {
        let message = format!("Invalid value: {value}: {}", why.as_ref());
        Cause { reason: "FieldValueInvalid", field: field.into(), message }
    }

    pub(super) fn required(field: impl Into<String>, why: &str) -> Cause {
        let message =
            if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Cause { reason: "FieldValueRequired", field: field.into(), message }
    }

    pub(super) fn forbidden(field: impl Into<String>, why: &str) -> Cause {
        Cause { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {why}") }
    }
}

impl Refusal {
    fn new(code: StatusCode, reason: &str, message: impl Into<String>) -> Refusal {
        Refusal(Box::new(Status {
            status: Some(StatusSummary::Failure),
            code: code.as_u16(),
            message: message.into(),
            metadata: None,
            reason: reason.to_owned(),
            details: None,
        }))
    }

    fn about(mut self, kind: &Kind, name: &str) -> Refusal {
        self.0.details = Some(details(kind, name));
        self
    }

    /// 404: no such path or kind.
    pub(super) fn no_such_path() -> Refusal {
        Refusal::new(
            StatusCode::NOT_FOUND,
            reason::NOT_FOUND,
            "the server could not find the requested resource",
        )
    }

    /// 404: no such object.
    pub(super) fn not_found(kind: &Kind, name: &str) -> Refusal {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Refusal::new(StatusCode::NOT_FOUND, reason::NOT_FOUND, message).about(kind, name)
    }

    /// 404: the namespace is not one of the served ones.
    pub(super) fn no_such_namespace(name: &str) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, reason::NOT_FOUND, format!("namespaces \"{name}\" not found"))
    }

    /// 405: the path exists, the verb does not.
    pub(super) fn not_allowed() -> Refusal {
        Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            reason::METHOD_NOT_ALLOWED,
            "the server does not allow this method on the requested resource",
        )
    }

    /// 400.
    pub(super) fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, reason::BAD_REQUEST, message)
    }

    /// 406: the client accepts nothing that we speak.
    pub(super) fn not_acceptable() -> Refusal {
        let message = "only the following media types are accepted: application/json";
        Refusal::new(StatusCode::NOT_ACCEPTABLE, reason::NOT_ACCEPTABLE, message)
    }

    /// 415: a body in a form that is not served; `served` lists those that are.
    pub(super) fn unsupported_media(got: &str, served: &str) -> Refusal {
        let message = format!(
            "the body of the request was in an unknown format ({got}) - accepted media types include: {served}"
        );
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// 413.
    pub(super) fn too_large(limit: usize) -> Refusal {
        let message = format!("Request entity too large: limit is {limit}");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason::REQUEST_ENTITY_TOO_LARGE, message)
    }

    /// 409: create of something that is there.
    pub(super) fn already_exists(kind: &Kind, name: &str) -> Refusal {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Refusal::new(StatusCode::CONFLICT, reason::ALREADY_EXISTS, message).about(kind, name)
    }

    /// 409: the object is not in the state the client took for granted.
    pub(super) fn conflict(kind: &Kind, name: &str, why: impl std::fmt::Display) -> Refusal {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Refusal::new(StatusCode::CONFLICT, reason::CONFLICT, message).about(kind, name)
    }

    /// 409: another writer was first.
    pub(super) fn stale(kind: &Kind, name: &str) -> Refusal {
        const WHY: &str =
            "the object has been modified; please apply your changes to the latest version and try again";
        Refusal::conflict(kind, name, WHY)
    }

    /// 422 with its causes. `causes` must not be empty.
    pub(super) fn invalid(kind: &Kind, name: &str, causes: Vec<Cause>) -> Refusal {
        let mut lines: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let all = if lines.len() == 1 { lines.remove(0) } else { format!("[{}]", lines.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {all}", kind.qualified_kind());
        let mut refusal =
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, reason::INVALID, message).about(kind, name);
        if let Some(details) = &mut refusal.0.details {
            details.kind = kind.kind.clone();
            details.causes = causes
                .into_iter()
                .map(|c| StatusCause { reason: c.reason.to_owned(), message: c.message, field: c.field })
                .collect();
        }
        refusal
    }

    /// 422 without causes: a patch that does not fit the object.
    pub(super) fn unprocessable(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, reason::INVALID, message)
    }

    /// 403: known, and on purpose not served.
    pub(super) fn forbidden(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, reason::FORBIDDEN, message)
    }

    /// 410: the version asked for is no longer kept. A watch sends it as an event, a list as the answer.
    pub(super) fn expired(asked: u64, oldest: u64) -> Refusal {
        let message = format!("too old resource version: {asked} ({oldest})");
        Refusal::new(StatusCode::GONE, reason::EXPIRED, message)
    }

    /// 504: a version from the future.
    pub(super) fn too_new(asked: u64, head: u64) -> Refusal {
        let message = format!("Too large resource version: {asked}, current: {head}");
        let mut refusal = Refusal::new(StatusCode::GATEWAY_TIMEOUT, reason::TIMEOUT, message);
        refusal.0.details = Some(StatusDetails {
            causes: vec![StatusCause {
                reason: "ResourceVersionTooLarge".to_owned(),
                message: "Too large resource version".to_owned(),
                field: String::new(),
            }],
            ..no_details()
        });
        refusal
    }

    /// 500: the write did not reach the disk.
    pub(super) fn storage(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason::INTERNAL_ERROR, message)
    }

    /// 503: read-only after a storage error, or shutting down.
    pub(super) fn unavailable(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason::SERVICE_UNAVAILABLE, message)
    }

    /// The HTTP code.
    pub(super) fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The `Status` object as JSON.
    pub(super) fn to_json(&self) -> Value {
        typed(&self.0)
    }

    /// The `Status` object as a response body.
    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::from(self.to_json().to_string())
    }
}

/// The `Status` that a completed delete answers with.
pub(super) fn deleted(kind: &Kind, name: &str, uid: &str) -> Bytes {
    let mut status = Status::success();
    status.details = Some(StatusDetails { uid: uid.to_owned(), ..details(kind, name) });
    Bytes::from(typed(&status).to_string())
}

fn details(kind: &Kind, name: &str) -> StatusDetails {
    StatusDetails {
        name: name.to_owned(),
        group: kind.group.clone(),
        kind: kind.plural.clone(),
        ..no_details()
    }
}

fn no_details() -> StatusDetails {
    StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    }
}

/// `Status` as kube has it carries no type of its own; on the wire it must.
fn typed(status: &Status) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_else(|_| json!({}));
    value["apiVersion"] = json!("v1");
    value["kind"] = json!("Status");
    if value["metadata"].is_null() {
        value["metadata"] = json!({});
    }
    value
}
