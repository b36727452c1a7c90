//! A volume that is asked for by CSI, and taken away again, while the process is killed: whoever asks again
//! gets the same one, and nothing of it stays that nobody asks for.

use std::collections::BTreeSet;

use bricklayer::csi::controller::Volumes;
use bricklayer::csi::proto::csi::controller_server::Controller;
use bricklayer::csi::proto::csi::volume_capability::access_mode::Mode;
use bricklayer::csi::proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use bricklayer::csi::proto::csi::{
    CapacityRange, CreateVolumeRequest, DeleteVolumeRequest, VolumeCapability,
};
use bricklayer::resources::READY;
use bricklayer::resources::condition_is;
use tonic::Request;

use crate::rig::Rig;
use crate::scenarios::{nothing_remains, say};

/// Asks for a volume; gives back its id.
async fn create(volumes: &Volumes) -> String {
    let capability = VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::MultiNodeMultiWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    };
    let asked = CreateVolumeRequest {
        name: "pvc-1".into(),
        capacity_range: Some(CapacityRange { required_bytes: 3 << 30, limit_bytes: 0 }),
        volume_capabilities: vec![capability],
        ..CreateVolumeRequest::default()
    };
    let made = volumes.create_volume(Request::new(asked)).await.expect("a volume");
    made.into_inner().volume.expect("a volume").volume_id
}

async fn delete(volumes: &Volumes, id: &str) {
    let asked = DeleteVolumeRequest { volume_id: id.into(), ..DeleteVolumeRequest::default() };
    volumes.delete_volume(Request::new(asked)).await.expect("it goes");
}

/// What is asked for.
pub async fn create_and_delete(rig: &Rig) {
    let volumes = Volumes::new(rig.intent.clone());
    let made = create(&volumes).await;
    say(&made);
    delete(&volumes, &made).await;
    say("deleted");
}

/// What has to be true afterwards.
pub async fn asked_again(rig: &Rig, acknowledged: &BTreeSet<String>) {
    let volumes = Volumes::new(rig.intent.clone());
    let made = create(&volumes).await;
    assert!(acknowledged.iter().all(|said| said == "deleted" || *said == made), "{acknowledged:?}: {made}");
    let stored = rig.caches.volumes.get(&made).expect("the volume");
    assert!(condition_is(stored.conditions(), READY), "{stored:#?}");
    assert_eq!(rig.agrees().await, 9);
    delete(&volumes, &made).await;
    assert_eq!(rig.agrees().await, 6);
    nothing_remains(rig).await;
}
