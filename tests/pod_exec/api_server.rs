//! As much of an API server as the transport needs: lists of pods, and `exec` over a websocket with
//! the channels of v5.channel.k8s.io. The command runs here, as in a pod.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// What the server does with an exec instead of running it to its end.
pub enum Instead {
    /// Drops the connection a moment after the script came; the command goes on.
    CutAfterScript,
    /// Closes the websocket in good order at that moment; the command goes on.
    CloseAfterScript,
    /// Runs nothing and tells this failure.
    Status(&'static str),
    /// Runs nothing and tells this exit code.
    Exit(i32),
    /// Answers 404.
    NotFound,
}

#[derive(Default)]
struct Seen {
    pods: Mutex<Vec<String>>,
    instead: Mutex<VecDeque<Instead>>,
    execs: Mutex<Vec<String>>,
    lists: Mutex<Vec<String>>,
    running: AtomicUsize,
    peak: AtomicUsize,
}

/// The server, for as long as its runtime lives.
pub struct ApiServer {
    port: u16,
    seen: Arc<Seen>,
}

impl ApiServer {
    pub async fn start(pods: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let server = Self { port, seen: seen.clone() };
        server.pods(pods);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone()));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The pods that there are from now on.
    pub fn pods(&self, names: &[&str]) {
        *self.seen.pods.lock() = names.iter().map(|name| (*name).to_owned()).collect();
    }

    /// What the next exec meets.
    pub fn next(&self, instead: Instead) {
        self.seen.instead.lock().push_back(instead);
    }

    pub fn last_exec(&self) -> String {
        self.seen.execs.lock().last().cloned().unwrap_or_default()
    }

    pub fn last_list(&self) -> String {
        self.seen.lists.lock().last().cloned().unwrap_or_default()
    }

    pub fn lists(&self) -> usize {
        self.seen.lists.lock().len()
    }

    pub fn peak(&self) -> usize {
        self.seen.peak.load(Ordering::SeqCst)
    }
}

/// Serves requests on a connection until one of them turns it into a websocket.
async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    loop {
        let Some(target) = peek(&stream).await else { return };
        if !target.contains("/exec?") {
            seen.lists.lock().push(target);
            let pods = seen.pods.lock().clone();
            let pods: Vec<_> = pods.iter().map(|name| pod(name)).collect();
            let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods});
            answer(&mut stream, "200 OK", &list.to_string()).await;
            continue;
        }
        let name = target.split("/pods/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let is_there = seen.pods.lock().iter().any(|pod| pod == name);
        seen.execs.lock().push(target);
        let instead = seen.instead.lock().pop_front();
        if !is_there || matches!(instead, Some(Instead::NotFound)) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "pod not found", "reason": "NotFound", "code": 404});
            answer(&mut stream, "404 Not Found", &status.to_string()).await;
            continue;
        }
        let mut target = String::new();
        #[expect(clippy::result_large_err, reason = "the shape that the library wants")]
        let speak = |request: &Request, mut response: Response| {
            target = request.uri().to_string();
            let protocol = "v5.channel.k8s.io".parse().unwrap();
            response.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, speak).await.unwrap();
        exec(socket, &target, instead, &seen).await;
        return;
    }
}

/// What a request asks for, without taking it off the connection.
async fn peek(stream: &TcpStream) -> Option<String> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = stream.peek(&mut buffer).await.ok().filter(|count| *count > 0)?;
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if text.contains("\r\n\r\n") {
            return Some(text.split(' ').nth(1)?.to_owned());
        }
        tokio::task::yield_now().await;
    }
}

async fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let mut request = vec![];
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await.unwrap();
}

fn pod(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "gluster", "uid": name},
        "spec": {"nodeName": "worker-1", "containers": [{"name": "glusterd"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// Counts a command for as long as it runs.
struct Running<'a>(&'a Seen);

impl<'a> Running<'a> {
    fn new(seen: &'a Seen) -> Self {
        let now = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.peak.fetch_max(now, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn exec(mut socket: WebSocketStream<TcpStream>, target: &str, instead: Option<Instead>, seen: &Seen) {
    let failure = |message: &str, causes: serde_json::Value| json!({"metadata": {}, "status": "Failure", "message": message, "details": {"causes": causes}});
    let ended = |code: i32| match code {
        0 => json!({"metadata": {}, "status": "Success"}),
        code => failure("it failed", json!([{"reason": "ExitCode", "message": code.to_string()}])),
    };
    match &instead {
        Some(Instead::Status(message)) => return tell(&mut socket, failure(message, json!([]))).await,
        Some(Instead::Exit(code)) => return tell(&mut socket, ended(*code)).await,
        _ => {}
    }
    let words: Vec<String> = url_words(target);
    let _running = Running::new(seen);
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut send, mut receive) = socket.split();
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        tokio::select! {
            message = receive.next() => match message {
                Some(Ok(Message::Binary(data))) if data.first() == Some(&0) => {
                    input.write_all(&data[1..]).await.unwrap();
                    let is_all = data.ends_with(b"exit 0\n");
                    match &instead {
                        Some(Instead::CutAfterScript) if is_all => {
                            tokio::spawn(go_on(child, input, out, err));
                            return;
                        }
                        Some(Instead::CloseAfterScript) if is_all => {
                            send.close().await.unwrap();
                            tokio::spawn(go_on(child, input, out, err));
                            return;
                        }
                        _ => {}
                    }
                }
                Some(Ok(_)) => {}
                // Who asked has gone; as in a pod, the command goes on.
                Some(Err(_)) | None => {
                    tokio::spawn(go_on(child, input, out, err));
                    return;
                }
            },
            chunk = read(&mut out), if out_open => match chunk {
                Some(chunk) => if send.send(channel(1, &chunk)).await.is_err() { return },
                None => out_open = false,
            },
            chunk = read(&mut err), if err_open => match chunk {
                Some(chunk) => if send.send(channel(2, &chunk)).await.is_err() { return },
                None => err_open = false,
            },
        }
    }
    let status = child.wait().await.unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
    let mut socket = send.reunite(receive).unwrap();
    tell(&mut socket, ended(code)).await;
}

/// A command that nobody listens to any more.
async fn go_on(mut child: Child, input: ChildStdin, mut out: ChildStdout, mut err: ChildStderr) {
    let mut sink = tokio::io::sink();
    let mut other = tokio::io::sink();
    let _ = tokio::join!(tokio::io::copy(&mut out, &mut sink), tokio::io::copy(&mut err, &mut other));
    drop(input);
    child.wait().await.unwrap();
}

async fn tell(socket: &mut WebSocketStream<TcpStream>, status: serde_json::Value) {
    // Who asked may have gone.
    let _ = socket.send(channel(3, status.to_string().as_bytes())).await;
    let _ = socket.close(None).await;
}

fn channel(number: u8, data: &[u8]) -> Message {
    let mut message = vec![number];
    message.extend_from_slice(data);
    Message::binary(message)
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut chunk = vec![0; 8 << 10];
    let count = from.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
    chunk.truncate(count);
    Some(chunk)
}

/// The words of the command in a request.
fn url_words(target: &str) -> Vec<String> {
    let query = target.split('?').nth(1).unwrap_or_default();
    let words = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
    words.map(|word| word.replace("%2F", "/")).collect()
}
