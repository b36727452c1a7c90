//! Answers as Heketi gives them: statuses, headers, bodies.

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::json;
use crate::intent::AskError;
use crate::store::StoreError;

/// An answer to a client.
pub type Answer = Response<Body>;

/// The header with what a refusal means, device by device. Heketi has no such header and its clients
/// do not look at it.
const EXPLANATION: HeaderName = HeaderName::from_static("bricklayer-explanation");
const X_PENDING: HeaderName = HeaderName::from_static("x-pending");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Longest explanation in bytes: clients and proxies limit headers.
const MAX_EXPLANATION: usize = 4096;

/// When to ask again after an answer 503 or 429.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// A request that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    text: String,
    explanation: Option<String>,
    /// Whether it may be taken when it is sent again.
    again: bool,
}

impl Refused {
    /// A refusal with its status and text, without line end.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), explanation: None, again: false }
    }

    /// A semantic mistake: 400.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// Something that does not exist: 404.
    pub fn missing(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// An id that does not exist.
    pub fn unknown_id() -> Self {
        Self::missing("Id not found")
    }

    /// Something that is in the way: 409.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    /// A body that is no request: 422.
    pub fn unparsable() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "request unable to be parsed")
    }

    /// A body that is no request, where the original says why and answers 400.
    pub fn unparsable_because(body: &[u8]) -> Self {
        let why = match serde_json::from_slice::<serde_json::Value>(body) {
            Ok(_) => "a value has the wrong type".to_owned(),
            Err(error) => error.to_string(),
        };
        Self::bad(format!("request unable to be parsed: {why}"))
    }

    /// What Heketi calls a failure, though it refuses: 500.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// Too much is being done: 429.
    pub fn busy() -> Self {
        let text = "Server busy. Retry operation later.";
        Self { again: true, ..Self::new(StatusCode::TOO_MANY_REQUESTS, text) }
    }

    /// Nobody can do it now: 503.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self { again: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    /// Adds why, for a person who reads headers.
    pub fn because(mut self, explanation: impl Into<String>) -> Self {
        self.explanation = Some(explanation.into());
        self
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(_) => Self::unknown_id(),
            StoreError::Invalid(text) => Self::bad(text),
            StoreError::Conflict(_) | StoreError::Unavailable(_) => Self::unavailable(error.to_string()),
            StoreError::Exists(_) => Self::failed("Id already exists"),
        }
    }
}

impl From<AskError> for Refused {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Store(error) => error.into(),
            AskError::Undecided => Self::unavailable(error.to_string()),
            AskError::InUse(text) => Self::conflict(text),
        }
    }
}

impl From<json::Unparsable> for Refused {
    fn from(json::Unparsable: json::Unparsable) -> Self {
        Self::unparsable()
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let mut answer = text(refused.status, &refused.text);
        if refused.again {
            answer.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if let Some(explanation) = refused.explanation {
            let line = one_line(&explanation);
            if let Ok(value) = HeaderValue::from_str(&line) {
                answer.headers_mut().insert(EXPLANATION, value);
            }
        }
        answer
    }
}

/// A plain text and a line end.
pub fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = empty(status);
    *answer.body_mut() = Body::from(format!("{text}\n"));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

/// Nothing but a status.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A JSON value.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match json::write(value) {
        Ok(body) => json_body(status, Body::from(body)),
        Err(error) => Refused::failed(error.to_string()).into(),
    }
}

/// A JSON value that was written before.
pub fn written(status: StatusCode, value: Bytes) -> Answer {
    json_body(status, Body::from(value))
}

/// The answer to a change of flags: called JSON, but empty.
pub fn empty_json() -> Answer {
    json_body(StatusCode::OK, Body::empty())
}

/// A JSON value for people and files: indented by four.
pub fn indented_json(value: &impl Serialize) -> Answer {
    match json::write_indented(value) {
        Ok(body) => json_body(StatusCode::OK, Body::from(body)),
        Err(error) => Refused::failed(error.to_string()).into(),
    }
}

/// `GET /backup/db`: a file to be kept.
pub fn attachment(name: &str, content: String) -> Answer {
    let mut answer = empty(StatusCode::OK);
    *answer.body_mut() = Body::from(content);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    answer
}

/// The work has begun, told to those who have asked with GET: as [`accepted`], with a page.
pub fn accepted_page(id: &str) -> Answer {
    let mut answer = accepted(id);
    *answer.body_mut() = Body::from(format!("<a href=\"/queue/{id}\">Accepted</a>.\n\n"));
    answer.headers_mut().insert(CONTENT_TYPE, HTML);
    answer
}

fn json_body(status: StatusCode, body: Body) -> Answer {
    let mut answer = empty(status);
    *answer.body_mut() = body;
    let kind = HeaderValue::from_static("application/json; charset=UTF-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// `GET /hello`: the only text without a line end.
pub fn hello() -> Answer {
    let mut answer = empty(StatusCode::OK);
    *answer.body_mut() = Body::from("Hello from Heketi");
    let plain = HeaderValue::from_static("text/plain; charset=UTF-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

/// The work has begun; its progress is told under `/queue/{id}`.
pub fn accepted(id: &str) -> Answer {
    located(StatusCode::ACCEPTED, &format!("/queue/{id}"))
}

/// The work goes on.
pub fn pending() -> Answer {
    let mut answer = empty(StatusCode::OK);
    let yes = HeaderValue::from_static("true");
    answer.headers_mut().insert(X_PENDING, yes);
    answer
}

/// The work is done; its result is there.
pub fn see_other(path: &str) -> Answer {
    let mut answer = located(StatusCode::SEE_OTHER, path);
    *answer.body_mut() = Body::from(format!("<a href=\"{path}\">See Other</a>.\n\n"));
    answer.headers_mut().insert(CONTENT_TYPE, HTML);
    answer
}

/// The path has another spelling; `with_body` for those who show pages.
pub fn moved(location: &str, with_body: bool) -> Answer {
    let mut answer = located(StatusCode::MOVED_PERMANENTLY, location);
    if with_body {
        let shown = location
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;");
        let page = format!("<a href=\"{shown}\">Moved Permanently</a>.\n\n");
        *answer.body_mut() = Body::from(page);
        answer.headers_mut().insert(CONTENT_TYPE, HTML);
    }
    answer
}

fn located(status: StatusCode, location: &str) -> Answer {
    let mut answer = empty(status);
    match HeaderValue::from_str(location) {
        Ok(location) => {
            answer.headers_mut().insert(LOCATION, location);
            answer
        }
        Err(_) => text(StatusCode::BAD_REQUEST, "Bad Request"),
    }
}

/// One line of printable ASCII.
fn one_line(text: &str) -> String {
    let printable = |c: char| match c {
        ' '..='~' => c,
        '\n' | '\r' | '\t' => ' ',
        _ => '?',
    };
    text.chars().take(MAX_EXPLANATION).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_one_line_of_ascii() {
        let refused = Refused::failed("No space").because("a\nb\u{e9}\r\nX: y");
        let answer = Answer::from(refused);
        assert_eq!(answer.headers()[EXPLANATION], "a b?  X: y");
        assert_eq!(answer.status(), 500);
    }

    #[test]
    fn a_page_does_not_carry_markup_from_the_path() {
        let answer = moved("/a?<script>", true);
        assert_eq!(answer.headers()[LOCATION], "/a?<script>");
        assert_eq!(answer.headers()[CONTENT_TYPE], HTML);
    }

    #[test]
    fn a_conflict_in_the_store_says_when_to_ask_again() {
        let answer = Answer::from(Refused::from(StoreError::Conflict("x".into())));
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[RETRY_AFTER], "5");
    }
}
