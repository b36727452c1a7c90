//! Simulated nodes, below the command.
use async_trait::async_trait;

use crate::executor::{Batch, Reply, Transport, TransportError};

/// Stand-in.
#[derive(Clone)]
pub struct Sim;

#[async_trait]
impl Transport for Sim {
    async fn run(&self, host: &str, _: &Batch) -> Result<Reply, TransportError> {
        Err(TransportError::Unreached { host: host.into(), cause: String::new() })
    }
}
