//! A server's insides with the service on a socket.

use std::path::Path;

use bricklayer::serve::csi::{Csi, CsiArgs};
use bricklayer::units::Bytes;

use crate::client::Client;
use crate::rig::{Rig, RigOptions, directory, volume_remains};

/// What runs.
pub struct World {
    pub rig: Rig,
    pub client: Client,
    pub csi: Option<Csi>,
    pub directory: tempfile::TempDir,
}

impl World {
    /// Three nodes with one disk each.
    pub async fn start() -> Self {
        let options = RigOptions { device_size: Bytes::from_gib(500), ..RigOptions::default() };
        let world = Self::open(directory(), options).await;
        world.rig.make_topology(3, 1).await;
        world
    }

    /// What a directory has in it.
    pub async fn open(directory: tempfile::TempDir, options: RigOptions) -> Self {
        let rig = Rig::open(directory.path(), options).await;
        let socket = directory.path().join("csi.sock");
        let csi = serve(&rig, &socket).await;
        let client = Client::connect(&socket).await;
        Self { rig, client, csi, directory }
    }

    /// Insists that objects and nodes agree and that nothing is left of any volume.
    pub async fn nothing_left(&self) {
        assert_eq!(self.rig.agrees().await, 0);
        assert_eq!(volume_remains(&self.rig.sim.snapshot()), Vec::<String>::new());
        let left = self.rig.store.list::<bricklayer::resources::GlusterVolume>().await.unwrap();
        assert!(left.is_empty(), "{left:#?}");
    }
}

/// Serves a rig on a socket.
pub async fn serve(rig: &Rig, socket: &Path) -> Option<Csi> {
    let args = CsiArgs { csi_endpoint: Some(format!("unix://{}", socket.display())) };
    Csi::start(&args, rig.intent.clone()).await.unwrap()
}
