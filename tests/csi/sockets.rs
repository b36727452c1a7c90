//! The two sockets: who we are, how kubelet learns of us, and how the process comes and goes.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use bricklayer::csi::proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    ProbeRequest, ProbeResponse, node_service_capability,
};
use bricklayer::csi::proto::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};

use crate::caller::{Caller, called_by_path};
use crate::fixture::{BINARY, run};
use crate::{Machine, World};

pub fn identity(world: &World) {
    let machine = world.machine();
    let caller = &machine.caller;
    let info: GetPluginInfoResponse =
        caller.call("/csi.v1.Identity/GetPluginInfo", GetPluginInfoRequest {}).unwrap();
    assert_eq!(info.name, "gluster.bricklayer.dev");
    let can: GetPluginCapabilitiesResponse =
        caller.call("/csi.v1.Identity/GetPluginCapabilities", GetPluginCapabilitiesRequest {}).unwrap();
    assert_eq!(can.capabilities, [], "no controller, no topology");
    let probe: ProbeResponse = caller.call("/csi.v1.Identity/Probe", ProbeRequest {}).unwrap();
    assert_eq!(probe.ready, Some(true));
    let node: NodeGetInfoResponse = caller.call("/csi.v1.Node/NodeGetInfo", NodeGetInfoRequest {}).unwrap();
    let NodeGetInfoResponse { node_id, max_volumes_per_node, accessible_topology } = node;
    assert_eq!((node_id.as_str(), max_volumes_per_node, accessible_topology), ("node-a", 32, None));
    let can: NodeGetCapabilitiesResponse =
        caller.call("/csi.v1.Node/NodeGetCapabilities", NodeGetCapabilitiesRequest {}).unwrap();
    let can: Vec<i32> = can
        .capabilities
        .into_iter()
        .map(|capability| match capability.r#type {
            Some(node_service_capability::Type::Rpc(rpc)) => rpc.r#type,
            None => panic!("a capability without a type"),
        })
        .collect();
    // STAGE_UNSTAGE_VOLUME, GET_VOLUME_STATS, SINGLE_NODE_MULTI_WRITER, GET_VOLUME_HEALTH.
    assert_eq!(can, [1, 2, 5, 7]);
    let help = run(Command::new(BINARY).args(["node", "--help"]));
    for word in ["--node-id", "--kubelet-dir", "--registration-socket", "--clients", "NODE_NAME"] {
        assert!(help.contains(word), "{help}");
    }
    // The client's verbs stand beside it, and need no name of a node.
    let verbs =
        Command::new(BINARY).args(["node", "list", "--server", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(verbs.status.code(), Some(3), "no server there: {verbs:?}");
    let nameless = Command::new(BINARY).arg("node").env_remove("NODE_NAME").output().unwrap();
    assert!(String::from_utf8_lossy(&nameless.stderr).contains("--node-id"), "{nameless:?}");
    machine.clean_sockets();
}

pub fn registration(world: &World) {
    let machine = world.machine();
    let socket = machine.folder.join("kubelet/plugins_registry/gluster.bricklayer.dev-reg.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let answer = called_by_path(&socket, "/pluginregistration.Registration/GetInfo", "CSIPlugin");
    assert!(String::from_utf8_lossy(&answer).contains("gluster.bricklayer.dev"));
    let kubelet = Caller::new(&socket);
    let info: PluginInfo = kubelet.call("/pluginregistration.Registration/GetInfo", InfoRequest {}).unwrap();
    let csi = machine.folder.join("kubelet/plugins/gluster.bricklayer.dev/csi.sock");
    assert_eq!(info.endpoint, csi.to_str().unwrap());
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "gluster.bricklayer.dev"));
    assert_eq!(info.supported_versions, ["1.0.0"]);
    // The CSI socket too is called by clients that name a path.
    called_by_path(&csi, "/csi.v1.Identity/GetPluginInfo", "gluster.bricklayer.dev");

    let notify = |plugin_registered: bool, error: &str| -> RegistrationStatusResponse {
        let status = RegistrationStatus { plugin_registered, error: error.into() };
        kubelet.call("/pluginregistration.Registration/NotifyRegistrationStatus", status).unwrap()
    };
    notify(true, "");
    notify(false, "no such driver wanted");
    let (code, output) = machine.server.ended(10);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("kubelet refuses the driver: no such driver wanted"), "{output}");
    assert!(!socket.exists());
}

pub fn come_and_go(world: &World) {
    let machine = world.machine();
    let volume = machine.volume("a");
    volume.stage(&machine.caller).unwrap();
    let registration = machine.folder.join("kubelet/plugins_registry/gluster.bricklayer.dev-reg.sock");
    // A killed process leaves its sockets; the next one takes them over.
    let machine = machine.again();
    assert!(registration.exists());
    volume.stage(&machine.caller).unwrap();
    // A second process does not.
    let (code, output) = second(&machine).ended(10);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("another process serves this socket"), "{output}");
    volume.stage(&machine.caller).unwrap();
    // SIGTERM: the sockets go, the mounts stay.
    let Machine { folder, server, .. } = machine;
    server.stop();
    assert!(!registration.exists());
    assert!(!folder.join("kubelet/plugins/gluster.bricklayer.dev/csi.sock").exists());
    let machine = Machine::start(folder);
    assert_eq!(machine.mounts().len(), 1);
    volume.unstage(&machine.caller).unwrap();
    machine.clean();
}

fn second(machine: &Machine) -> crate::fixture::Server {
    let kubelet = machine.folder.join("kubelet");
    let words = ["node", "--node-id", "x", "--kubelet-dir", kubelet.to_str().unwrap()];
    crate::fixture::Server::start(None, &words, &[], &machine.folder.join("second.log"))
}

impl Machine {
    /// Ends a node that has mounted nothing.
    fn clean_sockets(self) {
        assert_eq!(self.mounts(), []);
        self.server.stop();
    }
}
