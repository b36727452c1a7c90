//! A gRPC client on a unix socket.

#![allow(dead_code, reason = "each program takes what it needs")]

use std::path::Path;
use std::time::Duration;

use bricklayer::csi::proto::csi::volume_capability::access_mode::Mode;
use bricklayer::csi::proto::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use bricklayer::csi::proto::csi::{CapacityRange, CreateVolumeRequest, Volume, VolumeCapability};
use bricklayer::csi::proto::csi::{CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse};
use bricklayer::csi::proto::csi::{ListVolumesRequest, ListVolumesResponse};
use http::uri::PathAndQuery;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// No call takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Clone)]
pub struct Client(SendRequest<Body>);

impl Client {
    pub async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Calls a method of the Controller service.
    pub async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        self.call_within("csi.v1.Controller", method, request, PATIENCE).await
    }

    /// Calls a method and tells the server how long the client waits for it.
    pub async fn call_within<Q, A>(
        &self,
        service: &str,
        method: &str,
        request: Q,
        patience: Duration,
    ) -> Result<A, Status>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let sender = self.0.clone();
        let service_fn = tower::service_fn(move |request: http::Request<Body>| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        });
        let origin = http::Uri::from_static("http://localhost");
        let mut grpc = Grpc::with_origin(service_fn, origin);
        let path: PathAndQuery = format!("/{service}/{method}").parse().unwrap();
        let mut request = Request::new(request);
        request.set_timeout(patience);
        let answered = grpc.unary(request, path, ProstCodec::<Q, A>::default());
        let answered = tokio::time::timeout(patience + Duration::from_secs(5), answered).await;
        let answered = answered.expect("an answer in time").map(tonic::Response::into_inner);
        if let Err(status) = &answered {
            assert!(!status.message().is_empty(), "{method}: a refusal without a text: {status:?}");
            assert!(status.details().is_empty(), "{method}: details have to be empty: {status:?}");
        }
        answered
    }

    pub async fn create(&self, request: CreateVolumeRequest) -> Result<Volume, Status> {
        let made: CreateVolumeResponse = self.call("CreateVolume", request).await?;
        Ok(made.volume.expect("a volume"))
    }

    pub async fn delete(&self, id: &str) -> Result<(), Status> {
        let request = DeleteVolumeRequest { volume_id: id.into(), ..DeleteVolumeRequest::default() };
        self.call::<_, DeleteVolumeResponse>("DeleteVolume", request).await.map(drop)
    }

    pub async fn list(&self, token: &str, most: i32) -> Result<(Vec<Volume>, String), Status> {
        let request = ListVolumesRequest { max_entries: most, starting_token: token.into() };
        let list: ListVolumesResponse = self.call("ListVolumes", request).await?;
        let volumes = list.entries.into_iter().map(|entry| entry.volume.expect("a volume"));
        Ok((volumes.collect(), list.next_token))
    }
}

/// The code of a refusal; panics with the answer when it is none.
pub fn code<A: std::fmt::Debug>(answer: Result<A, Status>) -> Code {
    answer.expect_err("a refusal").code()
}

/// A mount that many nodes write to.
pub fn mount() -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::MultiNodeMultiWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

/// A block device.
pub fn block() -> VolumeCapability {
    VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..mount() }
}

pub fn gib(gib: i64) -> i64 {
    gib << 30
}

pub fn sizes(required: i64, limit: i64) -> Option<CapacityRange> {
    Some(CapacityRange { required_bytes: required, limit_bytes: limit })
}

/// A volume of so many GiB.
pub fn ask(name: &str, size: i64) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: sizes(gib(size), 0),
        volume_capabilities: vec![mount()],
        ..CreateVolumeRequest::default()
    }
}

/// The same with a parameter.
pub fn with(mut request: CreateVolumeRequest, key: &str, value: &str) -> CreateVolumeRequest {
    request.parameters.insert(key.into(), value.into());
    request
}
