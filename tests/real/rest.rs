//! placeholder
use crate::fixture::Lab;
pub fn volume_to_bytes(_: &Lab) {}
pub fn killed_while_creating(_: &Lab) {}
pub fn killed_while_deleting(_: &Lab) {}
pub fn node_restarts(_: &Lab) {}
pub fn node_is_down(_: &Lab) {}
