//! Answers that never came: clients that hang up, two that ask at once, two replicas, a server that goes.

use std::time::Duration;

use bricklayer::csi::proto::csi as rpc;
use bricklayer::executor::transport::sim::{Fault, Rule};
use bricklayer::resources::GlusterVolume;
use tonic::{Code, Status};

use crate::client::{Client, ask, code, gib, sizes};
use crate::rig::{RigOptions, in_runtime, volume_remains};
use crate::world::{World, serve};

/// How long a slow node takes, and how long a client waits that is not patient.
const SLOW: Duration = Duration::from_millis(1500);
const IMPATIENT: Duration = Duration::from_millis(500);

async fn hastily<Q, A>(client: &Client, method: &str, request: Q) -> Result<A, Status>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    client.call_within("csi.v1.Controller", method, request, IMPATIENT).await
}

/// Asks again as orchestrators do, as long as the answer is that it goes on.
async fn again<A>(asked: impl AsyncFn() -> Result<A, Status>) -> A {
    let until = tokio::time::Instant::now() + crate::rig::PATIENCE;
    loop {
        match asked().await {
            Ok(answer) => return answer,
            Err(status) if status.code() == Code::Aborted && tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(status) => panic!("{status:?}"),
        }
    }
}

#[test]
fn who_hangs_up_and_asks_again_finds_what_he_asked_for() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let slow = |command: &str| world.rig.sim.faults().add(Rule::once(command, Fault::Slow(SLOW)));

        slow("volume create");
        let refused = hastily::<_, rpc::CreateVolumeResponse>(client, "CreateVolume", ask("v", 1)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Aborted, "an answer before the client's own deadline: {refused:?}");
        assert!(refused.message().contains("still being made"), "{refused:?}");
        let made = again(async || client.create(ask("v", 1)).await).await;
        assert_eq!(client.list("", 0).await.unwrap().0, std::slice::from_ref(&made));

        slow("lvextend");
        let grow = || rpc::ControllerExpandVolumeRequest {
            volume_id: made.volume_id.clone(),
            capacity_range: sizes(gib(3), 0),
            ..rpc::ControllerExpandVolumeRequest::default()
        };
        type Grown = rpc::ControllerExpandVolumeResponse;
        let refused = hastily::<_, Grown>(client, "ControllerExpandVolume", grow()).await;
        assert_eq!(code(refused), Code::Aborted);
        let grown = again(async || client.call::<_, Grown>("ControllerExpandVolume", grow()).await).await;
        assert_eq!(grown.capacity_bytes, gib(3));

        slow("volume delete");
        let delete = || rpc::DeleteVolumeRequest {
            volume_id: made.volume_id.clone(),
            ..rpc::DeleteVolumeRequest::default()
        };
        let refused = hastily::<_, rpc::DeleteVolumeResponse>(client, "DeleteVolume", delete()).await;
        assert_eq!(code(refused), Code::Aborted);
        again(async || client.delete(&made.volume_id).await).await;
        world.nothing_left().await;
    });
}

#[test]
fn one_call_about_a_volume_at_a_time() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let made = client.create(ask("v", 1)).await.unwrap();
        world.rig.sim.faults().add(Rule::once("volume delete", Fault::Slow(SLOW)));
        let deleting = tokio::spawn({
            let (client, id) = (client.clone(), made.volume_id.clone());
            async move { client.delete(&id).await }
        });
        let goes = |seen: Option<&GlusterVolume>| seen?.metadata.deletion_timestamp.as_ref().map(drop);
        world.rig.until(&world.rig.caches.volumes, &made.volume_id, "goes", goes).await;
        assert_eq!(code(client.create(ask("v", 1)).await), Code::Aborted);
        assert_eq!(code(client.delete(&made.volume_id).await), Code::Aborted);
        client.create(ask("other", 1)).await.expect("others are not held up");
        deleting.await.unwrap().unwrap();
        assert_eq!(client.create(ask("v", 1)).await.unwrap().volume_id, made.volume_id);
    });
}

#[test]
fn replicas_that_are_asked_at_once_make_one_volume() {
    in_runtime(async {
        let world = World::start().await;
        let socket = world.directory.path().join("other.sock");
        let _other = serve(&world.rig, &socket).await;
        let other = Client::connect(&socket).await;
        for n in 0..10 {
            let name = format!("v{n}");
            let (one, two) = tokio::join!(world.client.create(ask(&name, 1)), other.create(ask(&name, 1)));
            assert_eq!(one.unwrap(), two.unwrap());
        }
        let (listed, _) = other.list("", 0).await.unwrap();
        assert_eq!(listed.len(), 10);
        for volume in listed {
            let id = &volume.volume_id;
            let (one, two) = tokio::join!(world.client.delete(id), other.delete(id));
            one.unwrap();
            two.unwrap();
        }
        world.nothing_left().await;
    });
}

#[test]
fn what_cannot_be_made_leaves_nothing_and_may_be_asked_for_again() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let fault = Fault::FailBefore { exit: 1, stderr: "refused by a test".into() };
        world.rig.sim.faults().add(Rule::always("volume create", fault));
        let refused = client.create(ask("v", 1)).await.unwrap_err();
        assert!([Code::Internal, Code::ResourceExhausted].contains(&refused.code()), "{refused:?}");
        assert!(refused.message().contains("refused by a test"), "{refused:?}");
        let gone = async || {
            let left = world.rig.store.list::<GlusterVolume>().await.unwrap();
            left.is_empty() && volume_remains(&world.rig.sim.snapshot()).is_empty()
        };
        let until = tokio::time::Instant::now() + crate::rig::PATIENCE;
        while !gone().await {
            assert!(tokio::time::Instant::now() < until, "what was refused stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // An orchestrator may ask again before the rest of the last try is gone.
        let refused = client.create(ask("v", 1)).await.unwrap_err();
        assert!(refused.message().contains("refused by a test"), "{refused:?}");
        world.rig.sim.faults().clear();
        client.create(ask("v", 1)).await.unwrap();
        assert_eq!(world.rig.agrees().await, 3);
    });
}

#[test]
fn a_server_that_starts_again_knows_what_it_was_asked() {
    in_runtime(async {
        let world = World::start().await;
        let made = world.client.create(ask("v", 1)).await.unwrap();
        let World { rig, directory, csi, client } = world;
        drop(client);
        bricklayer::serve::csi::Csi::stop(csi).await;
        assert!(!directory.path().join("csi.sock").exists(), "the socket goes with the server");
        rig.close().await;
        let copy = crate::rig::directory();
        crate::rig::copy(directory.path(), copy.path());
        let world = World::open(copy, RigOptions::default()).await;
        assert_eq!(world.client.create(ask("v", 1)).await.unwrap(), made);
        world.client.delete(&made.volume_id).await.unwrap();
        world.nothing_left().await;
    });
}
