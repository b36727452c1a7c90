//! Requests that are almost right: those of the corpus, changed at random. None ends in a panic, and one that is
//! refused changes nothing.
//!
//! BRICKLAYER_TEST_FUZZ says how many; `seed` of a run that failed is printed, and BRICKLAYER_TEST_SEED repeats it. What
//! was found once belongs into `corpus/`: a file is a request line, and a body after it.

use axum::body::{Body, to_bytes};
use http::{HeaderValue, Request, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tower::ServiceExt;

use crate::http::{Token, ask};
use crate::server::Server;

/// How many requests are tried when nobody says.
const REQUESTS: usize = 6_000;
/// What is drawn from when nobody says; `make test-long` draws another one.
const SEED: u64 = 11;
/// After how many refusals it is looked whether something has changed.
const LOOK_EVERY: usize = 250;

/// Pieces that parsers trip over.
const PIECES: [&str; 36] = [
    "null",
    "true",
    "-1",
    "0",
    "1e9",
    "1.5",
    "9223372036854775808",
    "\"\"",
    "[]",
    "{}",
    "[[[[",
    "}}",
    ",",
    ":",
    "\\",
    "\\u0000",
    "\\ud800",
    "\"",
    "\u{0}",
    "\n",
    "\u{2028}",
    "é",
    "..",
    "/",
    "%00",
    "%2f",
    "%",
    "?",
    "#",
    "--",
    "$(id)",
    ";",
    "*",
    "failed",
    "disperse",
    "ffffffffffffffffffffffffffffffff",
];

struct Dice(StdRng);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit.max(1))
    }

    /// Changes a text in one to four places.
    fn changed(&mut self, text: &str, others: &[String]) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(7) {
                0 => drop(bytes.drain(at..end)),
                1 => drop(bytes.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
                2 => drop(bytes.splice(at..end, PIECES[self.below(PIECES.len())].bytes())),
                3 => {
                    let copy = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, copy.repeat(1 + self.below(40))));
                }
                4 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                5 => bytes.truncate(at),
                _ => {
                    let other = others[self.below(others.len())].as_bytes();
                    let from = self.below(other.len());
                    drop(bytes.splice(at..end, other[from..].iter().copied().take(40)));
                }
            }
        }
        bytes
    }
}

/// The requests to begin with: method, path and body.
fn corpus(names: &[(&str, &str)]) -> Vec<(String, String, String)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/heketi/corpus");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let request = |path: &std::path::PathBuf| {
        let mut text = std::fs::read_to_string(path).unwrap();
        for (name, id) in names {
            text = text.replace(name, id);
        }
        let (line, body) = text.split_once('\n').expect("a request line");
        let (method, path) = line.split_once(' ').expect("a method and a path");
        (method.to_owned(), path.to_owned(), body.to_owned())
    };
    files.iter().map(request).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_almost_right_do_no_harm() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("BRICKLAYER_TEST_FUZZ").map_or(REQUESTS, |count| usize::try_from(count).unwrap());
    let seed = number("BRICKLAYER_TEST_SEED").unwrap_or(SEED);
    println!("seed {seed}: {count} requests");
    // Without a slot no volume is made, however good the request.
    let server = Server::start(0).await;
    let (cluster, nodes) = server.furnish(2, 1).await;
    let node = ask(server.address, "GET", &format!("/nodes/{}", nodes[0]), None).await;
    let node: serde_json::Value = serde_json::from_str(&node.body).unwrap();
    let device = node["devices"][0]["id"].as_str().unwrap();
    let seeds = corpus(&[("CLUSTER", &cluster), ("NODE", &nodes[0]), ("DEVICE", device)]);
    assert!(seeds.len() > 20, "{seeds:?}");
    let bodies: Vec<String> =
        seeds.iter().map(|(_, _, body)| body.clone()).filter(|body| !body.is_empty()).collect();
    let mut dice = Dice(StdRng::seed_from_u64(seed));
    let (mut before, mut refused, mut taken) = (server.wishes().await, 0, 0);
    for n in 0..count {
        let (method, path, body) = &seeds[dice.below(seeds.len())];
        let path = if dice.below(8) == 0 { dice.changed(path, &bodies) } else { path.clone().into_bytes() };
        let body = dice.changed(body, &bodies);
        let Ok(request) =
            Request::builder().method(method.as_str()).uri(path.as_slice()).body(Body::from(body.clone()))
        else {
            continue;
        };
        let (mut parts, sent) = request.into_parts();
        let token = Token::admin(method, parts.uri.path()).bearer();
        let mangled = dice.below(16) == 0;
        let header = if mangled { dice.changed(&token, &bodies) } else { token.clone().into_bytes() };
        if let Ok(value) = HeaderValue::from_bytes(&header) {
            parts.headers.insert("authorization", value);
        }
        let shown =
            || format!("seed {seed}, request {n}: {method} {} {}", parts.uri, String::from_utf8_lossy(&body));
        let answer = server.router.clone().oneshot(Request::from_parts(parts.clone(), sent)).await.unwrap();
        let status = answer.status();
        let text = to_bytes(answer.into_body(), 1 << 24).await.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!text.contains("internal error"), "{}: {status} {text}", shown());
        assert_ne!(status, StatusCode::REQUEST_TIMEOUT, "{}", shown());
        if mangled && !is_same_token(&header, &token) {
            let fits = status.is_client_error() || status.is_redirection() || text == "Hello from Heketi";
            assert!(fits, "a broken token was taken: {}: {status} {text}", shown());
        }
        if status.is_success() && method != "GET" {
            taken += 1;
            server.settled().await;
            before = server.wishes().await;
            // The next requests are to be judged by what they say, not by the mode.
            if parts.uri.path() == "/admin" {
                let normal = bricklayer::intent::mode::Mode::Normal;
                bricklayer::intent::mode::write(&server.intent, "bricklayer", normal).await.unwrap();
            }
            continue;
        }
        refused += 1;
        if refused % LOOK_EVERY == 0 {
            assert_eq!(server.wishes().await, before, "since the last look, up to {}", shown());
        }
    }
    println!("{refused} were refused, {taken} were taken");
    assert!(refused > count / 4 && taken > 0, "the changes are too small or too large");
}

/// Whether a header says the same in another way: blanks, capitals of the scheme, and the last two bits of a signature
/// mean nothing.
fn is_same_token(header: &[u8], token: &str) -> bool {
    let words = |text: &str| {
        let mut words: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        if let Some(scheme) = words.first_mut() {
            scheme.make_ascii_lowercase();
        }
        words.last_mut().and_then(String::pop);
        words
    };
    std::str::from_utf8(header).is_ok_and(|header| words(header) == words(token))
}
