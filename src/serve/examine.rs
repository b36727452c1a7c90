//! How Heketi's face looks at nodes, which it has no way to itself.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::api::heketi::Examiner;
use crate::controllers::examine::examine;
use crate::controllers::transports::Transports;

/// The ways to the nodes, for looking at them.
///
/// They ask nobody for a permit: a replica that does not hold the lease looks too when it is the one that a client
/// has reached. Without that, most answers of several replicas would be a refusal that no client of Heketi tries
/// again. A look changes nothing, so it cannot be in the way of whoever works.
#[derive(Clone)]
pub struct Ways(Arc<RwLock<Arc<Transports>>>);

impl Ways {
    /// The ways that there are from the start.
    pub fn new(transports: Transports) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(transports))))
    }

    /// Takes others from now on.
    pub fn replace(&self, transports: Transports) {
        *self.0.write() = Arc::new(transports);
    }

    /// Whoever looks by them.
    pub fn examiner(&self) -> Examiner {
        let ways = self.clone();
        Examiner::new(move |wanted| {
            let transports = ways.0.read().clone();
            Box::pin(async move { examine(&wanted, &transports).await })
        })
    }
}
