//! The way to the server: signed requests, and operations that are waited for.

use std::{io, thread, time::Duration, time::Instant};

use indicatif::{ProgressBar, ProgressFinish};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::{Method, Request, Response, header};

use super::{CliError, ClientArgs, Secret, curl};

/// The address when none is given.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// How long one request may take. A create is answered within 10 s.
const REQUEST: Duration = Duration::from_secs(60);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The first and the longest pause between two looks at an operation.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));
/// How long the server may be gone while an operation is waited for: it may be restarting.
const GONE: Duration = Duration::from_secs(30);
/// How often a busy server is asked again, and the longest pause before that.
const RETRIES: (u32, Duration) = (6, Duration::from_secs(30));
/// The largest answer that is read, in bytes.
const MAX_BODY: u64 = 256 << 20;
/// How long a token is valid.
const TOKEN_SECONDS: i64 = 300;

/// A server and who speaks to it.
#[derive(Clone)]
pub(super) struct Server {
    base: String,
    credentials: Option<(String, Secret)>,
    agent: ureq::Agent,
    /// How long to wait for an operation.
    patience: Duration,
    progress: bool,
    /// Requests are printed and not sent.
    curl: bool,
    /// What is begun is not waited for.
    no_wait: bool,
}

/// What came back.
struct Answer {
    status: u16,
    location: Option<String>,
    pending: bool,
    retry_after: Option<u64>,
    body: String,
    /// Why it was refused, for people, where the server knows more than Heketi says.
    explanation: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
    exp: i64,
    qsh: String,
}

impl Server {
    /// The server that the options name.
    pub fn new(args: &ClientArgs, progress: bool) -> Result<Self, CliError> {
        let named = args.server.as_ref().or(args.heketi_cli_server.as_ref());
        let base = named.map_or(DEFAULT_SERVER, String::as_str);
        let base = base.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            return Err(CliError::Usage(format!(
                "--server {base:?} is not supported: write http://HOST:PORT"
            )));
        }
        let user = args.user.clone().unwrap_or_else(|| "admin".into());
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A redirect is ours to follow: its request needs a token of its own.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(REQUEST))
            .timeout_connect(Some(CONNECT))
            .proxy(None);
        Ok(Self {
            base,
            credentials: args.secret.clone().map(|secret| (user, secret)),
            agent: config.build().new_agent(),
            patience: args.timeout,
            progress,
            curl: args.curl,
            no_wait: args.no_wait,
        })
    }

    /// The same server, whose operations are waited for in any case.
    pub fn waiting(mut self) -> Self {
        self.no_wait = false;
        self
    }

    /// The same server, asked although requests are to be printed: for what a change is to be about, so that the change
    /// itself can be printed.
    pub fn looking(&self) -> Self {
        Self { curl: false, ..self.clone() }
    }

    /// Reads one thing.
    pub fn get(&self, what: &str, path: &str) -> Result<Value, CliError> {
        let answer = self.patiently(&Method::GET, path, None)?;
        match answer.status {
            200 => parse(what, &answer.body),
            _ => Err(refused(what, answer)),
        }
    }

    /// Asks for something that is done at once.
    pub fn post(&self, what: &str, path: &str, body: &Value) -> Result<Value, CliError> {
        let answer = self.patiently(&Method::POST, path, Some(body))?;
        match answer.status {
            200 | 201 => parse(what, &answer.body),
            _ => Err(refused(what, answer)),
        }
    }

    /// Asks for a change that is made at once, and about which there is nothing to say.
    pub fn change(&self, what: &str, path: &str, body: &Value) -> Result<(), CliError> {
        let answer = self.patiently(&Method::POST, path, Some(body))?;
        match answer.status {
            200 | 204 => Ok(()),
            _ => Err(refused(what, answer)),
        }
    }

    /// Removes something that is gone at once.
    pub fn delete(&self, what: &str, path: &str) -> Result<(), CliError> {
        let answer = self.patiently(&Method::DELETE, path, None)?;
        match answer.status {
            200 | 204 => Ok(()),
            _ => Err(refused(what, answer)),
        }
    }

    /// Starts an operation and waits for its end: what it has made, if it has made anything.
    pub fn operate(
        &self,
        what: &str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<Value>, CliError> {
        let _spinner = self.spinner(what);
        let started = self.patiently(method, path, body)?;
        let queue = match (started.status, &started.location) {
            (202, Some(location)) => bare_path(what, location)?.to_owned(),
            _ => return Err(refused(what, started)),
        };
        if self.no_wait {
            return Err(CliError::Instead(format!("{}{queue}", self.base)));
        }
        let ended = self.wait(what, &queue)?;
        match (ended.status, &ended.location) {
            (303, Some(location)) => self.get(what, bare_path(what, location)?).map(Some),
            (200 | 204, _) => Ok(None),
            (404, _) => Err(CliError::Refused {
                what: what.into(),
                status: 0,
                text: "the server has forgotten the operation".into(),
            }),
            _ => Err(refused(what, ended)),
        }
    }

    /// Looks at an operation until it has ended.
    fn wait(&self, what: &str, queue: &str) -> Result<Answer, CliError> {
        let (started, mut pause) = (Instant::now(), PAUSES.0);
        let mut seen = started;
        while started.elapsed() < self.patience {
            match self.request(&Method::GET, queue, None) {
                Ok(answer) if answer.pending => seen = Instant::now(),
                Ok(answer) if matches!(answer.status, 429 | 503) => seen = Instant::now(),
                Err(CliError::Unreachable { .. }) if seen.elapsed() < GONE => {}
                ended => return ended,
            }
            thread::sleep(pause);
            pause = (pause * 3 / 2).min(PAUSES.1);
        }
        Err(CliError::Slow { what: what.into(), seconds: self.patience.as_secs() })
    }

    /// Sends a request; when the server is busy, sends it again after the pause it asks for.
    fn patiently(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answer, CliError> {
        for _ in 0..RETRIES.0 {
            let answer = self.request(method, path, body)?;
            match (answer.status, answer.retry_after) {
                (429 | 503, Some(seconds)) => {
                    thread::sleep(Duration::from_secs(seconds).min(RETRIES.1));
                }
                _ => return Ok(answer),
            }
        }
        self.request(method, path, body)
    }

    fn request(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answer, CliError> {
        let uri = format!("{}{path}", self.base);
        let token = self.token(method, path)?;
        if self.curl {
            return Err(CliError::Instead(curl::command(method, &uri, token.as_deref(), body)));
        }
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let usage = |error: ureq::http::Error| CliError::Usage(format!("--server: {error}"));
        let response = match body {
            None => self.agent.run(request.body(()).map_err(usage)?),
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                let request = request.body(body.to_string()).map_err(usage)?;
                self.agent.run(request)
            }
        };
        response.and_then(answer).map_err(|error| self.unreachable(&error))
    }

    fn token(&self, method: &Method, path: &str) -> Result<Option<String>, CliError> {
        let Some((user, secret)) = &self.credentials else {
            return Ok(None);
        };
        let now = jiff::Timestamp::now().as_second();
        let qsh = Sha256::digest(format!("{method}&{path}"));
        let claims = Claims {
            iss: user,
            iat: now,
            exp: now + TOKEN_SECONDS,
            qsh: qsh.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let key = EncodingKey::from_secret(secret.0.as_bytes());
        encode(&Header::default(), &claims, &key)
            .map(Some)
            .map_err(|error| CliError::Usage(format!("no token can be made: {error}")))
    }

    fn unreachable(&self, error: &ureq::Error) -> CliError {
        let cause = match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused".into()
            }
            ureq::Error::HostNotFound => "no such host".into(),
            ureq::Error::Timeout(_) => format!("no answer within {} s", REQUEST.as_secs()),
            other => other.to_string(),
        };
        let server = self.base.clone();
        CliError::Unreachable { server, cause }
    }

    /// Shows on a terminal that something is under way; elsewhere nothing.
    fn spinner(&self, what: &str) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        let spinner = spinner.with_finish(ProgressFinish::AndClear);
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    }
}

fn answer(mut response: Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (location, retry_after) = (header("location"), header("retry-after"));
    let explanation = header("bricklayer-explanation");
    let pending = header("x-pending").is_some_and(|value| value == "true");
    let status = response.status().as_u16();
    let body = response.body_mut().with_config();
    Ok(Answer {
        status,
        location,
        pending,
        retry_after: retry_after.and_then(|seconds| seconds.parse().ok()),
        explanation,
        body: body.limit(MAX_BODY).lossy_utf8(true).read_to_string()?,
    })
}

fn parse(what: &str, body: &str) -> Result<Value, CliError> {
    serde_json::from_str(body)
        .map_err(|error| CliError::Strange { what: what.into(), cause: error.to_string() })
}

/// Only this server is asked: a token must not travel elsewhere.
fn bare_path<'a>(what: &str, location: &'a str) -> Result<&'a str, CliError> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok(location);
    }
    Err(CliError::Strange { what: what.into(), cause: format!("it points to {location:?}") })
}

fn refused(what: &str, answer: Answer) -> CliError {
    if answer.status < 400 {
        let cause = format!("it came with status {}", answer.status);
        return CliError::Strange { what: what.into(), cause };
    }
    let text = answer.body.trim();
    let text = match text {
        "" => format!("the server answered with status {}", answer.status),
        text => text.chars().take(4096).collect(),
    };
    let text = match answer.explanation {
        Some(why) => format!("{text}\nwhy: {why}"),
        None => text,
    };
    CliError::Refused { what: what.into(), status: answer.status, text }
}
