//! One SSH connection to one host: the key exchange with its check of the host key, the login, and
//! the exchange of a script for its output on a channel.

use std::{collections::HashMap, convert::Infallible, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use russh::client::{self, Msg};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Preferred};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PrivateKey;
use super::known_hosts::{KnownHosts, Verdict};
use crate::executor::transport::shell::{self, DRAIN, Ending, Exit, KILLED, MAX_OUTPUT};

/// How long connecting may take: name look-up, key exchange and login together.
const CONNECT: Duration = Duration::from_secs(10);
/// How long opening a channel may take.
const OPEN: Duration = Duration::from_secs(10);
/// How often a silent node is asked whether it lives; at the fourth missing answer the connection
/// is given up.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Who logs in, and which hosts are trusted.
pub(super) struct Login {
    pub user: String,
    pub port: u16,
    pub sudo: bool,
    pub key: Arc<PrivateKey>,
    pub known: KnownHosts,
    pub pin_first_contact: bool,
    pub pins: Mutex<HashMap<String, PublicKey>>,
}

/// An open connection, logged in.
pub(super) struct Connection(client::Handle<Gate>);

impl Connection {
    /// Connects and logs in, or says why not and what to do.
    pub async fn new(host: &str, login: &Arc<Login>) -> Result<Self, String> {
        let connecting = timeout(CONNECT, connect(host, login));
        connecting.await.unwrap_or_else(|_| {
            Err(format!(
                "no answer on port {} within {CONNECT:?}: is the node up, and is the port open for us?",
                login.port
            ))
        })
    }

    /// Whether it is of no more use.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Opens a channel, or says why not.
    pub async fn open(&self) -> Result<Channel<Msg>, String> {
        match timeout(OPEN, self.0.channel_open_session()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                Err(format!("sshd refused a session ({reason:?}): raise MaxSessions in its sshd_config"))
            }
            Ok(Err(error)) => Err(format!("the connection broke: {error}")),
            Err(_) => Err(format!("no session was opened within {OPEN:?}")),
        }
    }
}

impl Login {
    /// The command that takes a script. With sudo the watch over its deadline runs as root too: an
    /// ordinary user could not end what root runs.
    pub fn command(&self, seconds: u64) -> String {
        let sudo = if self.sudo { "sudo -n " } else { "" };
        format!("{sudo}{}", shell::command(seconds).join(" "))
    }

    /// Why the script did not even begin, and what to do.
    pub fn not_begun(&self, host: &str, code: u32, said: &str) -> String {
        let said: String = said.chars().take(1024).collect();
        let advice = match code {
            127 => "install coreutils (timeout) and util-linux (flock) there, and sudo if it is to be used"
                .into(),
            _ if self.sudo => format!(
                "let {} use sudo without a password on {host} (NOPASSWD), or log in as root",
                self.user
            ),
            _ => format!("check the login shell of {} there", self.user),
        };
        format!("no command could be started ({code}: {said}): {advice}")
    }
}

async fn connect(host: &str, login: &Arc<Login>) -> Result<Connection, String> {
    let port = login.port;
    let stream = TcpStream::connect((host, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens on port {port}: is sshd running there?")
        }
        _ => format!("port {port}: {error}"),
    })?;
    // A small packet must not wait for the answer to the one before it.
    let _ = stream.set_nodelay(true);
    let gate = Gate { host: host.into(), login: login.clone() };
    let mut handle =
        client::connect_stream(config(host, login), stream, gate).await.map_err(|refusal| match refusal {
            Refusal::HostKey(cause) => cause,
            Refusal::Ssh(error) => {
                format!("no SSH connection on port {port}: {error}: is it an SSH server?")
            }
        })?;
    let key = PrivateKeyWithHashAlg::new(login.key.clone(), None);
    match handle.authenticate_publickey(&login.user, key).await {
        Ok(result) if result.success() => Ok(Connection(handle)),
        Ok(_) => Err(format!(
            "it refuses the key of {user}: add `{key}` to the authorized_keys of {user} there",
            user = login.user,
            key = login.key.public_key().to_openssh().unwrap_or_default(),
        )),
        Err(error) => Err(format!("the login broke off: {error}")),
    }
}

fn config(host: &str, login: &Login) -> Arc<client::Config> {
    let pinned = login.pins.lock().get(host).map(PublicKey::algorithm);
    let known = login.known.keys(host, login.port);
    let known: Vec<_> = known.map(PublicKey::algorithm).chain(pinned).collect();
    // A node with several keys is asked for one that we know.
    let mut kinds = Preferred::DEFAULT.key.to_vec();
    kinds.sort_by_key(|kind| !known.contains(kind));
    Arc::new(client::Config {
        keepalive_interval: Some(KEEPALIVE),
        preferred: Preferred { key: kinds.into(), ..Preferred::DEFAULT },
        ..Default::default()
    })
}

/// Checks the key of the host.
struct Gate {
    host: String,
    login: Arc<Login>,
}

#[derive(Debug)]
enum Refusal {
    Ssh(russh::Error),
    HostKey(String),
}

impl From<russh::Error> for Refusal {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for Gate {
    type Error = Refusal;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Refusal> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Err(Refusal::HostKey(format!(
                "{} shows a certificate as its host key, which is not supported",
                self.host
            )));
        };
        self.check(key).map(|()| true).map_err(Refusal::HostKey)
    }
}

impl Gate {
    fn check(&self, shown: &PublicKey) -> Result<(), String> {
        let (host, login) = (&self.host, &*self.login);
        let print = shown.fingerprint(HashAlg::Sha256);
        match login.known.judge(host, login.port, shown) {
            Verdict::Known => return Ok(()),
            Verdict::Revoked => return Err(format!("the host key of {host} ({print}) is revoked")),
            Verdict::Other => {
                return Err(format!(
                    "the host key of {host} is not the known one, it shows {print}: if the node \
                     was installed anew, correct its line in the known hosts; else somebody \
                     stands in between"
                ));
            }
            Verdict::Strange => {}
        }
        let mut pins = login.pins.lock();
        match pins.get(host) {
            Some(pinned) if pinned.key_data() == shown.key_data() => Ok(()),
            Some(pinned) => Err(format!(
                "the host key of {host} has changed, from {} to {print}: if the node was \
                 installed anew, remove its pinned key; else somebody stands in between",
                pinned.fingerprint(HashAlg::Sha256)
            )),
            None if login.pin_first_contact => {
                let key = PublicKey::new(shown.key_data().clone(), "");
                pins.insert(host.clone(), key);
                Ok(())
            }
            None => Err(format!(
                "the host key of {host} is not among the known hosts: add it (`ssh-keyscan -p {} \
                 {host}` shows it, its fingerprint must be {print}), or set hostKeys: \
                 PinFirstContact",
                login.port
            )),
        }
    }
}

/// Runs a command on a channel, gives it its input, and collects what comes back within the time.
/// `is_all` tells whether both streams have everything that is needed.
pub(super) async fn exec(
    channel: Channel<Msg>,
    command: &str,
    input: String,
    patience: Duration,
    is_all: impl Fn(&[u8], &[u8]) -> bool,
) -> Ending {
    let (mut answer, ask) = channel.split();
    let feeding = async {
        // When this fails the channel is gone, and the other half sees that.
        let _ = feed(&ask, command, input).await;
        std::future::pending::<Infallible>().await
    };
    let ending = tokio::select! {
        ending = timeout(patience, collect(&mut answer, is_all)) => ending.unwrap_or(Ending::Silent),
        never = feeding => match never {},
    };
    // The node may have closed it already.
    let _ = ask.close().await;
    ending
}

async fn feed(ask: &ChannelWriteHalf<Msg>, command: &str, input: String) -> Result<(), russh::Error> {
    ask.exec(true, command).await?;
    ask.data_bytes(input.into_bytes()).await?;
    ask.eof().await
}

async fn collect(answer: &mut ChannelReadHalf, is_all: impl Fn(&[u8], &[u8]) -> bool) -> Ending {
    let (mut stdout, mut stderr) = (vec![], vec![]);
    let mut code = None;
    let whole = loop {
        let message = match code {
            None => answer.wait().await,
            Some(_) => match timeout(DRAIN, answer.wait()).await {
                Ok(message) => message,
                Err(_) => break false,
            },
        };
        match message {
            Some(ChannelMsg::Data { data }) => stdout.extend_from_slice(&data),
            Some(ChannelMsg::ExtendedData { data, ext: 1 }) => stderr.extend_from_slice(&data),
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                code = Some(exit_status);
                if is_all(&stdout, &stderr) {
                    break true;
                }
            }
            Some(ChannelMsg::ExitSignal { .. }) => code = Some(KILLED),
            Some(ChannelMsg::Failure) => {
                let cause =
                    "sshd refused to run a command: check ForceCommand and the login shell of the user";
                return Ending::Refused(cause.into());
            }
            Some(ChannelMsg::Close) => break true,
            None => break false,
            Some(_) => {}
        }
        if stdout.len() + stderr.len() > MAX_OUTPUT {
            return Ending::TooMuch;
        }
    };
    match code {
        Some(code) => Ending::Exit(Exit { code, stdout, stderr, whole }),
        None => Ending::Lost,
    }
}
