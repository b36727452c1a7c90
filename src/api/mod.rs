//! The REST faces. A face reads status and asks [`crate::intent`]; it never picks a device and never
//! runs a command.

pub mod heketi;
