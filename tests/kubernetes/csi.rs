//! The operator with CSI's Controller service: it serves who asks there, and leaves claims to sidecars.

use std::path::PathBuf;

use bricklayer::csi::proto::csi::{
    CapacityRange, ControllerExpandVolumeRequest, ControllerExpandVolumeResponse,
};
use tonic::Code;

use super::csi_client::{Client, ask, code};
use super::expansion::ask as larger;
use super::fixture::Server;
use super::{World, wait_for};

/// An operator that serves CSI, and its socket.
fn operator(world: &World) -> (Server, PathBuf) {
    let socket = world.data.path().join("csi.sock");
    let endpoint = format!("unix://{}", socket.display());
    let words = ["operator", "--listen", "127.0.0.1:0", "--allow-simulated", "--data", world.data()];
    let words = [&words[..], &["--csi-endpoint", &endpoint]].concat();
    let env = [("KUBECONFIG", world.kubeconfig.to_str().unwrap())];
    let mut operator = Server::start(None, &words, &env, &world.data.path().join("csi.log"));
    operator.wait_for_output("operator works", 40);
    (operator, socket)
}

/// Does something as a client.
fn with_client<T>(socket: &std::path::Path, work: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(Client::connect(socket).await).await })
}

pub fn sidecars_instead(world: &World) {
    let (csi, socket) = operator(world);
    world.topology();
    world.claims(&["waits".into()], "gluster", "1Gi");
    // Kubernetes has handed the claim over to whoever provisions.
    let annotation = r"{.metadata.annotations.volume\.kubernetes\.io/storage-provisioner}";
    wait_for("the claim to be handed over", 30, || {
        (world.cluster.value(&["pvc/waits"], annotation) == "gluster.bricklayer.dev").then_some(())
    });

    let asked = async |client: Client| client.create(ask("asked by a sidecar", 2)).await.unwrap();
    let made = with_client(&socket, asked);
    let volumes = world.cluster.value(&["gvol"], "{.items[*].metadata.name}");
    assert_eq!(volumes, made.volume_id, "the claim has no volume: nobody else provisions");
    assert_eq!(world.cluster.value(&["pvc/waits"], "{.status.phase}"), "Pending");
    let said = csi.output();
    assert!(said.contains("the built-in provisioner does not run"), "{said}");
    with_client(&socket, async |client| {
        client.delete(&made.volume_id).await.unwrap();
        assert_eq!(client.list("", 0).await.unwrap().0, []);
    });
    csi.stop();

    // Without the service the same claim is served as ever.
    let operator = world.operator();
    wait_for("the claim to be bound", 90, || (world.bound() == 1).then_some(()));
    super::classes::clear(world);
    world.audit(operator, 0);
}

/// A cluster changes over to sidecars: what the provisioner has made is theirs to delete, and not before
/// its claim is gone.
pub fn changed_over(world: &World) {
    let before = world.operator();
    world.topology();
    world.claims(&["data".into()], "gluster", "1Gi");
    wait_for("the claim to be bound", 90, || (world.bound() == 1).then_some(()));
    let volume = world.cluster.value(&["pvc/data"], "{.spec.volumeName}");
    before.stop();

    let (csi, socket) = operator(world);
    // More is asked for: that is the sidecar's to see to.
    larger(world, "data", "3Gi");
    with_client(&socket, async |client| {
        let (listed, _) = client.list("", 0).await.unwrap();
        assert_eq!(listed.iter().map(|seen| &seen.volume_id).collect::<Vec<_>>(), [&volume]);
        let driver = r#"{.spec.csi.volumeAttributes['volume','servers']}"#;
        let told = format!("{} {}", listed[0].volume_context["volume"], listed[0].volume_context["servers"]);
        assert_eq!(world.cluster.value(&["pv", &volume], driver), told, "told as it stands in the volume");
        assert_eq!(code(client.delete(&volume).await), Code::FailedPrecondition);
    });
    assert_eq!(world.cluster.value(&["gvol", &volume], "{.metadata.deletionTimestamp}"), "");
    let size = || world.cluster.value(&["gvol", &volume], "{.spec.size}");
    assert_eq!(size(), "1Gi", "nobody else resizes");
    with_client(&socket, async |client| {
        let asked = ControllerExpandVolumeRequest {
            volume_id: volume.clone(),
            capacity_range: Some(CapacityRange { required_bytes: 3 << 30, limit_bytes: 0 }),
            ..ControllerExpandVolumeRequest::default()
        };
        let grown: ControllerExpandVolumeResponse =
            client.call("ControllerExpandVolume", asked).await.unwrap();
        assert_eq!(grown.capacity_bytes, 3 << 30);
    });
    assert_eq!(size(), "3Gi", "when it is asked for it");

    world.cluster.run(&["delete", "pvc", "data", "--timeout=60s"]);
    wait_for("the PersistentVolume to be released", 60, || {
        (world.cluster.value(&["pv", &volume], "{.status.phase}") == "Released").then_some(())
    });
    with_client(&socket, async |client| client.delete(&volume).await.unwrap());
    assert_eq!(world.cluster.value(&["gvol"], "{.items[*].metadata.name}"), "");
    // The sidecar takes its finalizer away and deletes the object.
    world.cluster.run(&["patch", "pv", &volume, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    world.cluster.run(&["delete", "pv", &volume, "--timeout=60s"]);
    world.nothing_left();
    world.audit(csi, 0);
}
