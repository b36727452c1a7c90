//! Of which objects something is so, for those who ask often: nobody has to look at all objects for it.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Cache, Key};
use crate::store::Kind;

/// The names of the objects of which it is so.
pub struct Noted(Arc<Mutex<HashSet<Key>>>);

impl Noted {
    /// Whether there are any.
    pub fn is_any(&self) -> bool {
        !self.0.lock().is_empty()
    }
}

impl<K: Kind> Cache<K> {
    /// Notes of which objects this is so, now and from now on.
    pub fn note(&self, is_so: fn(&K) -> bool) -> Noted {
        let names: Arc<Mutex<HashSet<Key>>> = Arc::default();
        let known = names.clone();
        self.observe(move |name, object| {
            let mut known = known.lock();
            if object.is_some_and(is_so) {
                known.insert(name.clone())
            } else {
                known.remove(name)
            };
        });
        Noted(names)
    }
}
