//! `bricklayer node`: CSI's Node service, which mounts volumes on the machine it runs on.

pub mod client;
pub mod mounts;
pub mod record;
