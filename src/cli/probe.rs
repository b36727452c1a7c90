//! `bricklayer probe`: whether a server answers. The image has no shell and no curl; `helm test` asks
//! with this.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;

use super::out::Out;
use super::{CliError, duration};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// The largest answer that is read, in bytes.
const MAX_BODY: u64 = 64 << 10;

/// What is asked.
#[derive(Debug, Args)]
pub struct Probe {
    /// Such as http://HOST:8081/readyz
    pub url: String,
    /// How long to try until the answer is a good one, such as 30s or 2m
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
}

/// Asks until the answer is a good one (200 to 299), and prints it. The error is that of the last try.
pub(super) fn run(probe: &Probe, out: &mut Out<'_>) -> Result<(), CliError> {
    if !probe.url.starts_with("http://") {
        return Err(CliError::Usage(format!(
            "{:?} is not supported: write http://HOST:PORT/PATH",
            probe.url
        )));
    }
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(REQUEST))
        .proxy(None)
        .build()
        .new_agent();
    let until = Instant::now() + probe.timeout;
    loop {
        match ask(&agent, &probe.url) {
            Ok(body) => return Ok(out.write_all(body.as_bytes())?),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn ask(agent: &ureq::Agent, url: &str) -> Result<String, CliError> {
    let unreachable =
        |error: ureq::Error| CliError::Unreachable { server: url.to_owned(), cause: error.to_string() };
    let mut response = agent.get(url).call().map_err(unreachable)?;
    let body = response.body_mut().with_config().limit(MAX_BODY).lossy_utf8(true);
    let body = body.read_to_string().map_err(unreachable)?;
    match response.status() {
        status if status.is_success() => Ok(body),
        status => Err(CliError::Refused {
            what: url.to_owned(),
            status: status.as_u16(),
            text: format!("answered with status {}: {}", status.as_u16(), body.trim()),
        }),
    }
}
