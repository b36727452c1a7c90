//! What to run on a node, and how to read what it prints. Pure: builds commands, parses output.
//!
//! The commands are Heketi's, with our marks as LVM tags and `user.bricklayer.*` volume options.

pub mod brick;
pub mod gluster;
pub mod lvm;
pub mod mount;
