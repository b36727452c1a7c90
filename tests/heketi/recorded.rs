//! The recorded answers of the original Heketi, request by request, against ours. What differs on purpose
//! stands in exceptions.txt with its reason; an exception that no longer differs is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::compare::difference;
use crate::http::{Answer, Token, ask, finished, send};
use crate::server::Server;

const RECORDED: &str = include_str!("recorded.jsonl");
const EXCEPTIONS: &str = include_str!("exceptions.txt");

#[derive(Deserialize)]
struct Pair {
    section: String,
    name: String,
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(rename = "as")]
    role: Option<String>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Our ids by the names that the recording has for its ids.
struct Ids(HashMap<String, String>);

impl Ids {
    /// The text with our ids; nothing when it names one that we never got.
    fn filled(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("<id") {
            let (number, after) = after.split_once('>')?;
            out.push_str(before);
            out.push_str(self.0.get(number)?);
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }

    /// Learns from an answer where it says something new: the place it names, its id, its devices.
    fn learn(&mut self, wanted: &Response, got: &Answer) {
        let place = |headers: &BTreeMap<String, String>| {
            headers.get("location").and_then(|place| Some(place.rsplit_once('/')?.1.to_owned()))
        };
        if let (Some(name), Some(id)) = (place(&wanted.headers), place(&got.headers)) {
            self.put(&name, &id);
        }
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let (wanted, got) = (json(&wanted.body), json(&got.body));
        self.put(wanted["id"].as_str().unwrap_or_default(), got["id"].as_str().unwrap_or_default());
        let none = vec![];
        let mut devices = got["devices"].as_array().unwrap_or(&none).clone();
        for wanted in wanted["devices"].as_array().unwrap_or(&none) {
            if let Some(at) = devices.iter().position(|device| device["name"] == wanted["name"]) {
                let device = devices.swap_remove(at);
                self.put(wanted["id"].as_str().unwrap(), device["id"].as_str().unwrap());
            }
        }
    }

    fn put(&mut self, name: &str, id: &str) {
        let number = name.strip_prefix("<id").and_then(|rest| rest.strip_suffix('>'));
        if let Some(number) = number.filter(|_| id.len() >= 32) {
            self.0.entry(number.to_owned()).or_insert_with(|| id.to_owned());
        }
    }
}

/// The header of a case in the section about tokens; its name says what is wrong.
fn special_token(name: &str) -> Option<String> {
    let good = || Token::admin("GET", "/clusters");
    let text = match name {
        "no token" => return None,
        "empty header" => String::new(),
        "no scheme" => good().text(),
        "basic scheme" => "Basic eDp5".into(),
        "not a token" => "bearer x.y.z".into(),
        "capital Bearer" => format!("Bearer {}", good().text()),
        "wrong key" => Token { key: "wrong", ..good() }.bearer(),
        "alg none" => Token { algorithm: "none", ..good() }.bearer(),
        "HS512" => Token { algorithm: "HS512", ..good() }.bearer(),
        "expired" => Token { issued: -600, expires: -300, ..good() }.bearer(),
        "issued in 10 minutes" => Token { issued: 600, expires: 900, ..good() }.bearer(),
        "issued in 60 s" => Token { issued: 60, expires: 900, ..good() }.bearer(),
        "unknown issuer" => Token { issuer: "root", ..good() }.bearer(),
        "no issuer" => Token { without: "iss", ..good() }.bearer(),
        "no qsh" => Token { without: "qsh", ..good() }.bearer(),
        "no exp" => Token { without: "exp", ..good() }.bearer(),
        "no iat" => Token { without: "iat", ..good() }.bearer(),
        "qsh of another path" => Token::admin("GET", "/volumes").bearer(),
        "qsh of another method" => Token::admin("POST", "/clusters").bearer(),
        other => panic!("{other} is no known case of a token"),
    };
    Some(text)
}

/// What the recording kept of an answer whose whole body would differ from run to run.
fn kept(name: &str, mut answer: Answer) -> Answer {
    match name {
        "metrics" => {
            let word = |line: &str| match line.strip_prefix('#') {
                Some(_) => line.split(' ').take(4).collect::<Vec<_>>().join(" "),
                None => line.split(['{', ' ']).next().unwrap().to_owned(),
            };
            let lines = answer.body.lines().filter(|line| line.contains("heketi")).map(word);
            answer.body = lines.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("\n");
        }
        "db dump" => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(&answer.body).unwrap();
            answer.body = format!("<keys> {}", keys.into_keys().collect::<Vec<_>>().join(", "));
        }
        _ => {}
    }
    answer
}

async fn replayed(server: &Server, pair: &Pair, ids: &mut Ids) -> Result<Answer, String> {
    if pair.name == "queue, first read" {
        // The recording does not have the request that this is the answer to.
        let made = ask(server.address, "POST", "/volumes", Some("{\"size\":10}")).await;
        finished(server.address, &made.headers["location"]).await;
        let name = pair.request.path.rsplit('/').next().unwrap();
        ids.put(name, made.headers["location"].rsplit('/').next().unwrap());
    }
    let unknown = || "it needs an id that an earlier answer did not give".to_owned();
    let request = &pair.request;
    let path = ids.filled(&request.path).ok_or_else(unknown)?;
    let body = match request.body.as_deref() {
        None => None,
        Some("<3000000 bytes>") => Some("x".repeat(3_000_000)),
        // The recording has the long name of this case in full.
        Some(text) => Some(ids.filled(text).ok_or_else(unknown)?),
    };
    if pair.name.ends_with(", done") {
        return Ok(finished(server.address, &path).await);
    }
    let authorization = match request.role.as_deref() {
        Some("admin") => return Ok(ask(server.address, &request.method, &path, body.as_deref()).await),
        Some("user") => Some(Token::user(&request.method, &path).bearer()),
        Some("<token>") => special_token(&pair.name),
        Some(other) => panic!("{other} is no known role"),
        None => None,
    };
    let bytes = body.as_deref().map(str::as_bytes);
    Ok(send(server.address, &request.method, &path, authorization.as_deref(), bytes).await)
}

/// Exceptions and their reasons: `section / name #n :: reason`, where n counts cases of the same name.
fn exceptions() -> BTreeMap<&'static str, &'static str> {
    let lines = EXCEPTIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let all: Vec<_> = lines.map(|line| line.split_once(" :: ").expect("case :: reason")).collect();
    let map: BTreeMap<_, _> = all.iter().copied().collect();
    assert_eq!(map.len(), all.len(), "an exception stands twice");
    assert!(map.values().all(|reason| reason.trim().len() > 10), "every exception has a reason");
    map
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_answers_are_given_word_for_word() {
    let server = Server::start(8).await;
    let mut ids = Ids(HashMap::from([("1".to_owned(), "0".repeat(32))]));
    let exceptions = exceptions();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let (mut total, mut differing, mut faults) = (0, BTreeSet::new(), vec![]);
    for line in RECORDED.lines() {
        let pair: Pair = serde_json::from_str(line).unwrap();
        let name = format!("{} / {}", pair.section, pair.name);
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        let case = format!("{name} #{count}");
        total += 1;
        let wanted = &pair.response;
        let why = match replayed(&server, &pair, &mut ids).await.map(|got| kept(&pair.name, got)) {
            Ok(got) => {
                ids.learn(wanted, &got);
                difference(
                    (wanted.status, &wanted.headers, &wanted.body),
                    (got.status, &got.headers, &got.body),
                )
            }
            Err(why) => Some(why),
        };
        if let Some(why) = why {
            if !exceptions.contains_key(case.as_str()) {
                faults.push(format!("{case}: {why}"));
            }
            differing.insert(case);
        }
    }
    for case in exceptions.keys().filter(|case| !differing.contains(**case)) {
        faults.push(format!("{case}: stands in exceptions.txt and does not differ"));
    }
    println!(
        "recorded answers: {} of {total} as the original gave them, {} exceptions with a reason",
        total - differing.len(),
        exceptions.len()
    );
    assert!(faults.is_empty(), "{} answers are wrong:\n{}", faults.len(), faults.join("\n"));
}
