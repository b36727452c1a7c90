//! A client that sends exactly what it is told, and Heketi's tokens, good and bad.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{ADMIN_KEY, USER_KEY};

/// What a server answered. Names of headers are in lower case.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// Sends one request over a connection of its own.
pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    body: Option<&[u8]>,
) -> Answer {
    try_send(address, method, path, authorization, body).await.unwrap()
}

/// The same to a server that may not be there, or may end before it has answered.
pub async fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    body: Option<&[u8]>,
) -> std::io::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some(authorization) = authorization {
        head.push_str(&format!("Authorization: {authorization}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.unwrap_or_default()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes =
        tokio::time::timeout(Duration::from_secs(60), exchange).await.expect("an answer within a minute")?;
    let whole = bytes.windows(4).any(|four| four == b"\r\n\r\n");
    if whole { Ok(parsed(&bytes)) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

fn parsed(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of the headers");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    assert!(!headers.contains_key("transfer-encoding"), "answers have a length");
    let body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
    if let Some(length) = headers.get("content-length") {
        assert_eq!(length.parse::<usize>().unwrap(), body.len(), "{head}");
    }
    Answer { status, headers, body }
}

/// A token with everything that can be wrong about it.
pub struct Token {
    pub issuer: &'static str,
    pub key: &'static str,
    pub algorithm: &'static str,
    pub issued: i64,
    pub expires: i64,
    /// In how many seconds it becomes valid, if it says so.
    pub valid_from: Option<i64>,
    pub signed_for: String,
    pub without: &'static str,
}

impl Token {
    /// A good one for an administrator.
    pub fn admin(method: &str, path: &str) -> Self {
        Self {
            issuer: "admin",
            key: ADMIN_KEY,
            algorithm: "HS256",
            issued: 0,
            expires: 300,
            valid_from: None,
            signed_for: format!("{method}&{path}"),
            without: "",
        }
    }

    /// A good one for a user.
    pub fn user(method: &str, path: &str) -> Self {
        Self { issuer: "user", key: USER_KEY, ..Self::admin(method, path) }
    }

    /// The token as it is sent.
    pub fn text(&self) -> String {
        let now = jiff::Timestamp::now().as_second();
        let qsh: String = {
            use sha2::{Digest, Sha256};
            Sha256::digest(self.signed_for.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let mut claims = json!({
            "iss": self.issuer,
            "iat": now + self.issued,
            "exp": now + self.expires,
            "qsh": qsh,
        });
        if let Some(seconds) = self.valid_from {
            claims["nbf"] = (now + seconds).into();
        }
        claims.as_object_mut().unwrap().remove(self.without);
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(json!({"alg": self.algorithm, "typ": "JWT"})), part(claims));
        let algorithm = match self.algorithm {
            "HS512" => Algorithm::HS512,
            "none" => return format!("{text}."),
            _ => Algorithm::HS256,
        };
        let key = EncodingKey::from_secret(self.key.as_bytes());
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, algorithm).unwrap();
        format!("{text}.{signature}")
    }

    /// The header with the token.
    pub fn bearer(&self) -> String {
        format!("bearer {}", self.text())
    }
}

/// Sends a request as an administrator.
pub async fn ask(address: SocketAddr, method: &str, path: &str, body: Option<&str>) -> Answer {
    let plain = path.split('?').next().unwrap();
    let token = Token::admin(method, plain).bearer();
    send(address, method, path, Some(&token), body.map(str::as_bytes)).await
}

/// Sends a request as an administrator and waits for the end of what it has begun.
pub async fn job(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let accepted = ask(address, method, path, Some(body)).await;
    assert_eq!(accepted.status, 202, "{method} {path}: {accepted:?}");
    finished(address, &accepted.headers["location"]).await
}

/// Waits until a queue entry is no longer pending.
pub async fn finished(address: SocketAddr, queue: &str) -> Answer {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask(address, "GET", queue, None).await;
        if answer.headers.get("x-pending").map(String::as_str) != Some("true") {
            return answer;
        }
        assert!(tokio::time::Instant::now() < until, "{queue} is pending for a minute");
    }
}
