//! Calls CSI as an orchestrator does: gRPC on a unix socket.

#![allow(dead_code, reason = "each test uses its own part of this")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bricklayer::csi::proto::csi::volume_capability::access_mode::Mode;
use bricklayer::csi::proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use bricklayer::csi::proto::csi::{
    NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse, VolumeCapability,
};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A connection to a socket.
pub struct Caller {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

/// A runtime with two threads.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A connection that is made at the first call.
pub fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

/// How a volume is to be used.
pub fn capability(mode: Mode, flags: &[&str]) -> VolumeCapability {
    let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let mount = MountVolume { mount_flags, ..MountVolume::default() };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}

impl Caller {
    /// Connects at the first call.
    pub fn new(socket: &Path) -> Self {
        let runtime = runtime();
        let inside = runtime.enter();
        let channel = channel(socket);
        drop(inside);
        Self { runtime, channel }
    }

    /// Makes a call, such as `/csi.v1.Node/NodeGetInfo`, and checks what holds for every answer.
    pub fn call<Q, A>(&self, method: &'static str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let answer = self.runtime.block_on(Self::asked(self.channel.clone(), method, question));
        if let Err(status) = &answer {
            assert!(status.details().is_empty() && !status.message().is_empty(), "{status:?}");
        }
        answer
    }

    /// Makes a call whose answer comes later.
    pub fn begin<Q, A>(&self, method: &'static str, question: Q) -> Begun<'_, A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        Begun { caller: self, task: self.runtime.spawn(Self::asked(self.channel.clone(), method, question)) }
    }

    async fn asked<Q, A>(channel: Channel, method: &'static str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let mut request = Request::new(question);
        request.set_timeout(Duration::from_secs(120));
        let codec = tonic_prost::ProstCodec::default();
        let path = http::uri::PathAndQuery::from_static(method);
        client.unary(request, path, codec).await.map(tonic::Response::into_inner)
    }
}

/// A call whose answer has not come.
pub struct Begun<'a, A> {
    caller: &'a Caller,
    task: tokio::task::JoinHandle<Result<A, Status>>,
}

impl<A> Begun<'_, A> {
    /// Waits for the answer.
    pub fn answer(self) -> Result<A, Status> {
        self.caller.runtime.block_on(self.task).unwrap()
    }
}

/// A volume and where an orchestrator has it.
#[derive(Clone)]
pub struct Volume {
    pub handle: String,
    pub staging: PathBuf,
    pub context: HashMap<String, String>,
    pub capability: VolumeCapability,
}

impl Volume {
    fn at(&self, path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }

    pub fn stage_request(&self) -> NodeStageVolumeRequest {
        NodeStageVolumeRequest {
            volume_id: self.handle.clone(),
            staging_target_path: self.at(&self.staging),
            volume_capability: Some(self.capability.clone()),
            volume_context: self.context.clone(),
            ..Default::default()
        }
    }

    pub fn publish_request(&self, target: &Path, readonly: bool) -> NodePublishVolumeRequest {
        NodePublishVolumeRequest {
            volume_id: self.handle.clone(),
            staging_target_path: self.at(&self.staging),
            target_path: self.at(target),
            volume_capability: Some(self.capability.clone()),
            volume_context: self.context.clone(),
            readonly,
            ..Default::default()
        }
    }

    pub fn stage(&self, caller: &Caller) -> Result<NodeStageVolumeResponse, Status> {
        caller.call("/csi.v1.Node/NodeStageVolume", self.stage_request())
    }

    pub fn publish(
        &self,
        caller: &Caller,
        target: &Path,
        readonly: bool,
    ) -> Result<NodePublishVolumeResponse, Status> {
        caller.call("/csi.v1.Node/NodePublishVolume", self.publish_request(target, readonly))
    }

    pub fn unpublish(&self, caller: &Caller, target: &Path) -> Result<NodeUnpublishVolumeResponse, Status> {
        let request =
            NodeUnpublishVolumeRequest { volume_id: self.handle.clone(), target_path: self.at(target) };
        caller.call("/csi.v1.Node/NodeUnpublishVolume", request)
    }

    pub fn unstage(&self, caller: &Caller) -> Result<NodeUnstageVolumeResponse, Status> {
        let (volume_id, staging_target_path) = (self.handle.clone(), self.at(&self.staging));
        let request = NodeUnstageVolumeRequest { volume_id, staging_target_path };
        caller.call("/csi.v1.Node/NodeUnstageVolume", request)
    }

    pub fn stats(&self, caller: &Caller, path: &Path) -> Result<NodeGetVolumeStatsResponse, Status> {
        let request = NodeGetVolumeStatsRequest {
            volume_id: self.handle.clone(),
            volume_path: self.at(path),
            staging_target_path: String::new(),
        };
        caller.call("/csi.v1.Node/NodeGetVolumeStats", request)
    }

    /// What is wrong with it, in one word each.
    pub fn health(&self, caller: &Caller) -> Vec<String> {
        let request = NodeGetVolumeHealthRequest { volume_id: self.handle.clone(), ..Default::default() };
        let answer: NodeGetVolumeHealthResponse =
            caller.call("/csi.v1.Node/NodeGetVolumeHealth", request).unwrap();
        answer.volume_health.unwrap().health_statuses.into_iter().map(|entry| entry.reason).collect()
    }
}

/// Calls a method without arguments in the way of kubelet's registration: the path of the socket, in
/// percent form, as `:authority`. Returns all bytes of the answer, once `wanted` is among them.
pub fn called_by_path(socket: &Path, method: &str, wanted: &str) -> Vec<u8> {
    let literal = |index: u8, text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127);
        [&[0x40 | index, length][..], text.as_bytes()].concat()
    };
    let named = |name: &str, value: &str| {
        let length = u8::try_from(name.len()).unwrap();
        let value_length = u8::try_from(value.len()).unwrap();
        [&[0x40, length][..], name.as_bytes(), &[value_length], value.as_bytes()].concat()
    };
    let authority = socket.to_str().unwrap().replace('/', "%2F");
    // :method POST, :scheme http, :path, :authority; indices of RFC 7541, appendix A.
    let fields = [
        vec![0x83, 0x86],
        literal(4, method),
        literal(1, &authority),
        named("content-type", "application/grpc"),
        named("te", "trailers"),
    ]
    .concat();
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[length[1], length[2], length[3], kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let mut connection = UnixStream::connect(socket).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    connection.write_all(&frame(4, 0, 0, &[])).unwrap();
    connection.write_all(&frame(1, 4, 1, &fields)).unwrap();
    connection.write_all(&frame(0, 1, 1, &[0; 5])).unwrap();
    let (mut got, begun) = (Vec::new(), Instant::now());
    while !got.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", String::from_utf8_lossy(&got));
        let mut some = [0; 4096];
        let length = connection.read(&mut some).unwrap();
        assert!(length > 0, "it hung up after {}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&some[..length]);
    }
    got
}
