//! Simulated nodes in a process of their own, as real ones are: several processes send them commands
//! through a socket, and none of them holds the state. A connection carries one batch: a line of JSON
//! there, a line of JSON back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Sim;
use crate::executor::{Batch, Reply, Transport, TransportError};

/// Longest line in bytes.
const MAX_LINE: u64 = 16 << 20;
/// How long a line may take to arrive.
const LINE: Duration = Duration::from_secs(30);
/// How much longer than the nodes a client waits.
const GRACE: Duration = Duration::from_secs(5);

/// What a client asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// To run a batch; `by` tells who asks.
    Run { by: String, host: String, batch: Batch },
    /// To take these names for one node.
    Introduce { names: Vec<String> },
}

/// The way to simulated nodes of another process.
#[derive(Clone, Debug)]
pub struct SimSocket {
    path: PathBuf,
    by: String,
}

impl SimSocket {
    /// The way through a socket; `by` says who sends.
    pub fn new(path: impl Into<PathBuf>, by: impl Into<String>) -> Self {
        Self { path: path.into(), by: by.into() }
    }

    /// Says that these are names of one node: see [`Sim::introduce`].
    pub async fn introduce(&self, names: &[&str]) -> Result<(), String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let stream = UnixStream::connect(&self.path).await.map_err(|error| error.to_string())?;
        let asked = ask::<Result<(), String>>(stream, &Question::Introduce { names }, LINE).await;
        asked.map_err(|error| error.to_string())?
    }
}

#[async_trait]
impl Transport for SimSocket {
    async fn run(&self, host: &str, batch: &Batch) -> Result<Reply, TransportError> {
        let stream = UnixStream::connect(&self.path).await;
        let unreached = |error: std::io::Error| TransportError::Unreached {
            host: host.into(),
            cause: format!("nobody simulates it at {}: {error}", self.path.display()),
        };
        let stream = stream.map_err(unreached)?;
        let question = Question::Run { by: self.by.clone(), host: host.into(), batch: batch.clone() };
        let answer: std::io::Result<Result<Reply, TransportError>> =
            ask(stream, &question, batch.deadline + GRACE).await;
        let unknown =
            |error: std::io::Error| TransportError::Unknown { host: host.into(), cause: error.to_string() };
        answer.map_err(unknown)?
    }
}

async fn ask<A: serde::de::DeserializeOwned>(
    mut stream: UnixStream,
    question: &Question,
    patience: Duration,
) -> std::io::Result<A> {
    write_line(&mut stream, question).await?;
    read_line(&mut stream, patience).await
}

async fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

async fn read_line<A: serde::de::DeserializeOwned>(
    stream: &mut UnixStream,
    patience: Duration,
) -> std::io::Result<A> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_LINE));
    let read = tokio::time::timeout(patience, reader.read_line(&mut line)).await;
    let read = read.map_err(|_| std::io::Error::other("no answer in time"))??;
    if read == 0 {
        return Err(std::io::Error::other("the connection was closed before the answer was complete"));
    }
    Ok(serde_json::from_str(&line)?)
}

/// Lets others use these nodes through a socket, until the process ends. A batch that has begun is
/// done, whether or not its sender still waits.
pub async fn serve(sim: Sim, path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let sim = sim.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(sim, stream).await {
                tracing::debug!(%error, "a client of simulated nodes was not answered");
            }
        });
    }
}

async fn answer(sim: Sim, mut stream: UnixStream) -> std::io::Result<()> {
    match read_line(&mut stream, LINE).await? {
        Question::Run { by, host, batch } => {
            let reply = sim.run_for(Some(&by), &host, &batch).await;
            write_line(&mut stream, &reply).await
        }
        Question::Introduce { names } => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let done = sim.introduce(&names).map_err(|error| error.to_string());
            write_line(&mut stream, &done).await
        }
    }
}
