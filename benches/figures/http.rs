//! A client that keeps its connection and adds next to nothing to what is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long a client waits before it asks again for what is not done yet. Ours says so only after a wait of its own.
const PAUSE: Duration = Duration::from_millis(2);

/// One connection to a server.
pub struct Client {
    address: String,
    stream: BufReader<TcpStream>,
}

/// What was answered.
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub pending: bool,
    pub body: Vec<u8>,
}

impl Client {
    /// Connects; `None` when nobody listens.
    pub fn connect(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Some(Self { address: address.to_owned(), stream: BufReader::new(stream) })
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let host = &self.address;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let line = self.line();
        let status =
            line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap();
        let mut answer = Answer { status, location: None, pending: false, body: vec![] };
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => length = value.parse().unwrap(),
                ("transfer-encoding", "chunked") => is_chunked = true,
                ("location", value) => answer.location = Some(value.to_owned()),
                ("x-pending", value) => answer.pending = value == "true",
                _ => {}
            }
        }
        if is_chunked {
            self.chunks(&mut answer.body);
        } else {
            self.append(&mut answer.body, length);
        }
        answer
    }

    /// Reads a body that comes in pieces, each after a line with its length.
    fn chunks(&mut self, body: &mut Vec<u8>) {
        loop {
            let line = self.line();
            let length = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no length in {line:?}"));
            self.append(body, length);
            assert_eq!(self.line(), "");
            if length == 0 {
                return;
            }
        }
    }

    fn append(&mut self, body: &mut Vec<u8>, length: usize) {
        let from = body.len();
        body.resize(from + length, 0);
        self.stream.read_exact(&mut body[from..]).unwrap();
    }

    /// Begins something and waits for its end; `None` when the server has too much to do.
    pub fn job(&mut self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let begun = self.ask(method, path, body);
        if begun.status == 429 {
            return None;
        }
        assert_eq!(begun.status, 202, "{method} {path}: {}", String::from_utf8_lossy(&begun.body));
        let queue = begun.location.unwrap();
        loop {
            let answer = self.ask("GET", &queue, "");
            if !answer.pending {
                let text = String::from_utf8_lossy(&answer.body);
                assert!([204, 303].contains(&answer.status), "{method} {path}: {} {text}", answer.status);
                return Some(answer);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The same, begun again and again until the server takes it.
    pub fn insist(&mut self, method: &str, path: &str, body: &str) -> Answer {
        loop {
            match self.job(method, path, body) {
                Some(answer) => return answer,
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Begins something and insists that it ends well.
    pub fn done(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.job(method, path, body).expect("a server with little to do")
    }

    /// Asks for JSON.
    pub fn json(&mut self, path: &str) -> Value {
        let answer = self.ask("GET", path, "");
        assert_eq!(answer.status, 200, "{path}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
