//! The operator with CSI's Controller service: it serves who asks there, and leaves claims to sidecars.

use super::csi_client::{Client, ask};
use super::fixture::Server;
use super::{World, wait_for};

pub fn sidecars_instead(world: &World) {
    let socket = world.data.path().join("csi.sock");
    let endpoint = format!("unix://{}", socket.display());
    let words = ["operator", "--listen", "127.0.0.1:0", "--allow-simulated", "--data", world.data()];
    let words = [&words[..], &["--csi-endpoint", &endpoint]].concat();
    let env = [("KUBECONFIG", world.kubeconfig.to_str().unwrap())];
    let log = world.data.path().join("csi.log");
    let mut operator = Server::start(None, &words, &env, &log);
    operator.wait_for_output("operator works", 40);
    world.topology();
    world.claims(&["waits".into()], "gluster", "1Gi");
    // Kubernetes has handed the claim over to whoever provisions.
    let annotation = r"{.metadata.annotations.volume\.kubernetes\.io/storage-provisioner}";
    wait_for("the claim to be handed over", 30, || {
        (world.cluster.value(&["pvc/waits"], annotation) == "gluster.bricklayer.dev").then_some(())
    });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = runtime.block_on(async {
        let client = Client::connect(&socket).await;
        client.create(ask("asked by a sidecar", 2)).await.unwrap()
    });
    let volumes = world.cluster.value(&["gvol"], "{.items[*].metadata.name}");
    assert_eq!(volumes, made.volume_id, "the claim has no volume: nobody else provisions");
    assert_eq!(world.cluster.value(&["pvc/waits"], "{.status.phase}"), "Pending");
    let said = operator.output();
    assert!(said.contains("the built-in provisioner does not run"), "{said}");
    runtime.block_on(async {
        let client = Client::connect(&socket).await;
        client.delete(&made.volume_id).await.unwrap();
        assert_eq!(client.list("", 0).await.unwrap().0, []);
    });
    operator.stop();

    // Without the service the same claim is served as ever.
    let operator = world.operator();
    wait_for("the claim to be bound", 90, || (world.bound() == 1).then_some(()));
    super::classes::clear(world);
    world.audit(operator, 0);
}
