//! Commands over SSH: one kept connection for each host, with several batches on it at once.
//!
//! A batch is one `exec` of a shell that reads a script from its input: so no limit of the node's
//! argument lists applies, and the login shell never sees an argument.

mod connection;
mod known_hosts;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use russh::keys::{Algorithm, PrivateKey, PublicKey, decode_secret_key, ssh_key};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::script::Script;
use super::shell::{self, LANES};
use crate::executor::{Batch, Permit, Reply, Transport, TransportError, not_permitted};
use connection::{Connection, Login};
use known_hosts::KnownHosts;

/// What [`Ssh`] needs to reach nodes.
#[derive(Clone, Debug)]
pub struct SshOptions {
    /// The user to log in as.
    pub user: String,
    /// The TCP port of sshd on the nodes.
    pub port: u16,
    /// Whether the commands run through `sudo -n`.
    pub sudo: bool,
    /// The private key to log in with.
    pub key: KeyPem,
    /// Lines in the format of OpenSSH's known_hosts.
    pub known_hosts: Vec<String>,
    /// Whether the key that an unknown host shows first is trusted from then on.
    pub pin_first_contact: bool,
    /// The keys that hosts have shown at first contact: `ALGORITHM BASE64` for each host.
    pub pins: HashMap<String, String>,
}

/// A private key in PEM. It never shows in debug output.
#[derive(Clone)]
pub struct KeyPem(pub String);

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPem(..)")
    }
}

/// Why the options are no good.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The private key cannot be read.
    #[error("the private key cannot be read: expected an OpenSSH or PEM key without a passphrase")]
    Key(#[source] russh::keys::Error),
    /// The private key is of a kind that is not supported.
    #[error("the private key is {0}, which is not supported: make one with `ssh-keygen -t ed25519`")]
    KeyKind(String),
    /// A line of the known hosts cannot be read.
    #[error("line {line} of the known hosts cannot be read")]
    KnownHosts {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: ssh_key::Error,
    },
    /// A pinned key cannot be read.
    #[error("the pinned host key of {host} cannot be read")]
    Pin {
        /// The host it is for.
        host: String,
        /// What is wrong with it.
        #[source]
        source: ssh_key::Error,
    },
}

/// The way to nodes over SSH.
pub struct Ssh {
    login: Arc<Login>,
    nodes: Mutex<HashMap<String, Arc<Node>>>,
    permit: Permit,
}

impl Ssh {
    /// Checks the options; connects to nothing yet.
    pub fn new(options: SshOptions) -> Result<Self, SshError> {
        let key = decode_secret_key(&options.key.0, None).map_err(SshError::Key)?;
        if let kind @ (Algorithm::Rsa { .. } | Algorithm::Dsa) = key.algorithm() {
            return Err(SshError::KeyKind(kind.to_string()));
        }
        let login = Login {
            user: options.user,
            port: options.port,
            sudo: options.sudo,
            key: Arc::new(key),
            known: KnownHosts::parse(&options.known_hosts)?,
            pin_first_contact: options.pin_first_contact,
            pins: Mutex::new(read_pins(&options.pins)?),
        };
        Ok(Self { login: Arc::new(login), nodes: Mutex::default(), permit: Permit::default() })
    }

    /// The same way, which asks for the permit after it has connected and waited its turn, right
    /// before it sends a batch.
    #[must_use]
    pub fn permitted(self, permit: Permit) -> Self {
        Self { permit, ..self }
    }

    /// The pinned host keys, given ones and those accepted at first contact since, for the caller
    /// to remember: `ALGORITHM BASE64` for each host.
    pub fn pins(&self) -> HashMap<String, String> {
        let pins = self.login.pins.lock();
        let line = |key: &PublicKey| key.to_openssh().unwrap_or_default();
        pins.iter().map(|(host, key)| (host.clone(), line(key))).collect()
    }

    fn node(&self, host: &str) -> Arc<Node> {
        let new = || {
            Arc::new(Node {
                host: host.into(),
                login: self.login.clone(),
                lanes: Arc::new(Semaphore::new(LANES)),
                permit: self.permit.clone(),
                slot: tokio::sync::Mutex::default(),
            })
        };
        self.nodes.lock().entry(host.into()).or_insert_with(new).clone()
    }
}

#[async_trait]
impl Transport for Ssh {
    async fn run(&self, host: &str, batch: &Batch) -> Result<Reply, TransportError> {
        let node = self.node(host);
        let script = Script::new(batch).map_err(|cause| node.unreached(cause))?;
        let lane = timeout(batch.deadline, node.lanes.clone().acquire_owned()).await;
        let Ok(Ok(lane)) = lane else {
            return Err(node.unreached(format!("all {LANES} lanes to it were busy for {:?}", batch.deadline)));
        };
        // A task of its own: who gives up waiting must neither leave an open channel behind nor
        // free the lane while the node is still at work.
        let (deadline, at_work) = (batch.deadline, node.clone());
        let work = tokio::spawn(async move {
            let result = at_work.exchange(script, deadline).await;
            drop(lane);
            result
        });
        work.await.unwrap_or_else(|error| Err(node.unknown(error.to_string())))
    }
}

/// A host, its lanes and the connection that they share.
struct Node {
    host: String,
    login: Arc<Login>,
    lanes: Arc<Semaphore>,
    permit: Permit,
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    open: Option<Arc<Connection>>,
    /// When connecting failed last, and why.
    failure: Option<(Instant, String)>,
}

impl Node {
    async fn exchange(&self, script: Script, deadline: Duration) -> Result<Reply, TransportError> {
        let (_connection, channel) = self.channel().await?;
        let seconds = shell::seconds(deadline);
        let command = self.login.command(seconds);
        let patience = shell::patience(seconds);
        let text = script.text.clone();
        if !self.permit.holds() {
            return Err(not_permitted(&self.host));
        }
        let is_all = |stdout: &[u8], stderr: &[u8]| script.read(stdout, stderr).is_some();
        let ending = connection::exec(channel, &command, text, patience, is_all).await;
        shell::judge(&self.host, &script, ending, |code, said| self.login.not_begun(&self.host, code, said))
    }

    /// A channel on the kept connection. A node that refuses one, or whose connection turns out to
    /// be dead, gets one more try on a new connection: nothing was sent yet.
    async fn channel(&self) -> Result<(Arc<Connection>, russh::Channel<russh::client::Msg>), TransportError> {
        let mut refused: Option<(Arc<Connection>, String)> = None;
        for _ in 0..2 {
            let connection = self.connection(refused.as_ref().map(|(c, _)| c)).await?;
            match connection.open().await {
                Ok(channel) => return Ok((connection, channel)),
                Err(cause) => refused = Some((connection, cause)),
            }
        }
        let cause = refused.map(|(_, cause)| cause).unwrap_or_default();
        Err(self.unreached(cause))
    }

    /// The kept connection, or a new one if there is none or it is the one `not` to be used.
    async fn connection(&self, not: Option<&Arc<Connection>>) -> Result<Arc<Connection>, TransportError> {
        let asked = Instant::now();
        let mut slot = self.slot.lock().await;
        let usable =
            |c: &&Arc<Connection>| !c.is_closed() && not.is_none_or(|refused| !Arc::ptr_eq(c, refused));
        if let Some(connection) = slot.open.as_ref().filter(usable) {
            return Ok(connection.clone());
        }
        // Who waited while another one failed shares that failure, instead of waiting as long again.
        if let Some((at, cause)) = &slot.failure
            && *at >= asked
        {
            return Err(self.unreached(cause.clone()));
        }
        slot.open = None;
        match Connection::new(&self.host, &self.login).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                slot.open = Some(connection.clone());
                Ok(connection)
            }
            Err(cause) => {
                slot.failure = Some((Instant::now(), cause.clone()));
                Err(self.unreached(cause))
            }
        }
    }

    fn unreached(&self, cause: String) -> TransportError {
        shell::unreached(&self.host, cause)
    }

    fn unknown(&self, cause: String) -> TransportError {
        shell::unknown(&self.host, cause)
    }
}

fn read_pins(pins: &HashMap<String, String>) -> Result<HashMap<String, PublicKey>, SshError> {
    let read = |(host, line): (&String, &String)| match PublicKey::from_openssh(line.trim()) {
        Ok(key) => Ok((host.clone(), key)),
        Err(source) => Err(SshError::Pin { host: host.clone(), source }),
    };
    pins.iter().map(read).collect()
}
