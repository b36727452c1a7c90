//! Sizes, ids, names and what nodes say: the words that every room shares. Imports nothing of ours and does no I/O.

mod id;
mod names;
mod network;
pub mod seen;
mod size;
mod tags;

pub use id::{Id, ParseIdError};
pub use names::{
    BRICK_MOUNTS, MAX_OPTION, NameError, OPTION_PATTERN, brick_path, check_device_path, check_hostname,
    check_option, check_volume_name, device_node, lv_name, mount_point, pool_name, vg_name,
};
pub use network::{ALLOWED_PATTERN, Allowed, NODES, Prefix};
pub use size::{Bytes, GIB, KIB, MIB, ParseSizeError};
pub use tags::{TAG_RULE_PATTERN, TagRule};
