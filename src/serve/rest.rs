//! Serving a REST face: with TLS or without, with limits of time for slow clients, and with an end
//! that lets answers under way be sent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use clap::Args;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinHandle;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take to arrive, and how long a connection may wait for one.
const HEAD: Duration = Duration::from_secs(30);
/// How long answers under way may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often the files of the certificate are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Largest file of a certificate or key in bytes.
const MAX_FILE: u64 = 1 << 20;

/// How connections are protected.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsArgs {
    /// Serve HTTPS with this certificate (PEM, with its intermediates); it is read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// A face that is being served.
pub struct Rest {
    /// Where, as a URL.
    pub url: String,
    handle: Handle<SocketAddr>,
    work: JoinHandle<std::io::Result<()>>,
}

impl Rest {
    /// Listens and serves as a task.
    pub async fn start(address: &str, tls: &TlsArgs, router: Router) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener
            .with_context(|| format!("cannot listen on {address}: is the port taken?"))?
            .into_std()?;
        let at = listener.local_addr()?;
        let handle = Handle::new();
        let server = limited(axum_server::from_tcp(listener)?.handle(handle.clone()));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let (scheme, work) = match (&tls.tls_cert, &tls.tls_key) {
            (Some(certificate), Some(key)) => {
                let pair = Pair { certificate: certificate.clone(), key: key.clone() };
                let seen = pair.read().await?;
                let config = RustlsConfig::from_config(Arc::new(server_config(&seen)?));
                tokio::spawn(keep_up(pair, seen, config.clone()));
                let acceptor = RustlsAcceptor::new(config).handshake_timeout(HANDSHAKE);
                ("https", tokio::spawn(server.acceptor(acceptor).serve(service)))
            }
            _ => ("http", tokio::spawn(server.serve(service))),
        };
        Ok(Self { url: format!("{scheme}://{at}"), handle, work })
    }

    /// Waits for an end that nobody has asked for.
    pub async fn ended(&mut self) -> anyhow::Error {
        let ended = (&mut self.work).await;
        anyhow::anyhow!("the REST server ended: {ended:?}")
    }

    /// Takes no more connections, and waits a moment for answers under way.
    pub async fn stop(self) {
        self.handle.graceful_shutdown(Some(FAREWELL));
        // Whatever it says, it has ended.
        let _ = self.work.await;
    }
}

/// Without keys nobody is asked who he is: then only this machine is served, unless the command line
/// says otherwise.
pub fn refuse_open(address: &str, has_keys: bool, disable_auth: bool, give_keys: &str) -> anyhow::Result<()> {
    let is_local =
        address.starts_with("127.") || address.starts_with("[::1]:") || address.starts_with("localhost:");
    if !has_keys && !disable_auth && !is_local {
        bail!(
            "{address} is reachable from elsewhere and there are no keys: {give_keys}, or say --disable-auth"
        );
    }
    Ok(())
}

/// Heketi's clients speak HTTP/1.1.
fn limited(server: Server<SocketAddr>) -> Server<SocketAddr> {
    let mut server = server.http1_only().first_request_timeout(HEAD);
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    server
}

/// The files of a certificate and its key.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// What they hold.
#[derive(PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    async fn read(&self) -> anyhow::Result<Pem> {
        Ok(Pem { certificate: contents(&self.certificate).await?, key: contents(&self.key).await? })
    }
}

async fn contents(path: &Path) -> anyhow::Result<Vec<u8>> {
    let unreadable = || format!("{} cannot be read", path.display());
    let size = tokio::fs::metadata(path).await.with_context(unreadable)?.len();
    if size > MAX_FILE {
        bail!("{} has {size} bytes; {MAX_FILE} are the most", path.display());
    }
    tokio::fs::read(path).await.with_context(unreadable)
}

fn server_config(pem: &Pem) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(&pem.certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.context("the certificate is no PEM file of certificates")?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).context("the key is no PEM file of a private key")?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.context("certificate and key cannot be used together")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Uses a new certificate soon after its files have changed. While they are no pair, as in the middle
/// of a change, the old one stays in use.
async fn keep_up(pair: Pair, mut seen: Pem, config: RustlsConfig) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let changed = match pair.read().await {
            Ok(now) if now == seen => continue,
            Ok(now) => {
                seen = now;
                server_config(&seen)
            }
            Err(error) => Err(error),
        };
        match changed {
            Ok(changed) => {
                config.reload_from_config(Arc::new(changed));
                tracing::info!(file = %pair.certificate.display(), "the certificate was changed and is in use");
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the certificate was not changed"),
        }
    }
}
