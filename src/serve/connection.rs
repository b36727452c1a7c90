//! Clients of the API server. Each names the replica and what it is for in its user agent, notices a
//! dead connection soon, and may be bound to a permit: then not a byte is written to any of its
//! connections once that is over. Asking at the socket leaves no gap: a request may wait for a
//! connection, a token or its turn, and its process may be paused meanwhile.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use http::header::{HeaderValue, USER_AGENT};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tokio::net::TcpStream;
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder};

use crate::executor::Permit;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// A silent connection is asked whether it lives: dead ones, watches among them, are given up after
/// half a minute.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The pause between two questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// So many missing answers mean that it is dead.
const KEEPALIVE_TRIES: u32 = 3;

/// A client for one purpose of this replica.
pub fn client(config: &Config, identity: &str, purpose: &str, permit: Permit) -> anyhow::Result<Client> {
    let mut config = config.clone();
    let agent = format!("bricklayer/{} ({identity}; {purpose})", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_str(&agent)?));
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
    let tls = config.rustls_https_connector_with_connector(Permitting { tcp, permit })?;
    let mut timed = TimeoutConnector::new(tls);
    timed.set_connect_timeout(Some(CONNECT));
    timed.set_read_timeout(config.read_timeout);
    timed.set_write_timeout(config.write_timeout);
    let http: legacy::Client<_, Body> = legacy::Builder::new(TokioExecutor::new()).build(timed);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// Makes connections that are bound to a permit.
#[derive(Clone)]
struct Permitting {
    tcp: HttpConnector,
    permit: Permit,
}

impl Service<Uri> for Permitting {
    type Response = PermittedStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<PermittedStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(BoxError::from)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, permit) = (self.tcp.call(to), self.permit.clone());
        Box::pin(async move { Ok(PermittedStream { stream: connecting.await?, permit }) })
    }
}

/// A connection to which nothing is written when the permit is over.
struct PermittedStream {
    stream: TokioIo<TcpStream>,
    permit: Permit,
}

impl PermittedStream {
    fn check(&self) -> std::io::Result<()> {
        if self.permit.holds() {
            return Ok(());
        }
        Err(std::io::Error::other("this replica does not hold the lease any more, and writes nothing"))
    }
}

impl Connection for PermittedStream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for PermittedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for PermittedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.check()?;
        Poll::Ready(ready!(Pin::new(&mut self.stream).poll_write(cx, bytes)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
