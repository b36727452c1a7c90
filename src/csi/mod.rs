//! CSI, the Container Storage Interface: how orchestrators have volumes made and mounted. gRPC on unix
//! sockets; what may be said on them stands in the specification, <https://github.com/container-storage-interface/spec>.
//!
//! Two programs speak it: `bricklayer node` mounts on the machine it runs on, and `--csi-endpoint` of
//! the servers makes volumes for orchestrators without our provisioner.

pub mod controller;
pub mod identity;
pub mod node;
pub mod proto;
pub mod socket;

/// The name of the driver. It is also the provisioner's, and stands in every PersistentVolume.
pub const DRIVER: &str = "gluster.bricklayer.dev";
