use super::*;
use crate::resources::definitions;
use crate::store::embedded::{Embedded, Options};

/// An API server, and candidates for one lease of it.
struct Place {
    embedded: Embedded,
    _directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(Options::new(directory.path().join("store.redb")), definitions());
        Self { embedded: embedded.unwrap(), _directory: directory }
    }

    fn candidate(&self, identity: &str) -> Candidate {
        let tenure = Tenure::default();
        Candidate::new(self.embedded.client(), "default", "lease", identity.into(), tenure)
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.embedded.client(), "default")
    }
}

fn taken(by: &str) -> Look {
    Look::Taken(by.into())
}

#[tokio::test]
async fn one_holds_it_and_gives_it_back() {
    let place = Place::new();
    let (mut a, mut b) = (place.candidate("a"), place.candidate("b"));
    assert!(!a.tenure.holds());
    a.acquire().await;
    assert!(a.tenure.holds());
    assert_eq!(b.look().await.unwrap(), taken("a"));
    a.release().await;
    assert!(!a.tenure.holds(), "first nothing is sent any more");
    b.acquire().await;
    assert_eq!(a.look().await.unwrap(), taken("b"));
    assert_eq!(a.hold().await, "b", "who finds another holder is told who it is");
    assert!(!a.tenure.holds() && b.tenure.holds());
    a.release().await;
    assert_eq!(b.look().await.unwrap(), Look::Held, "nobody gives back what is not his");
}

#[tokio::test]
async fn a_lease_that_is_left_alone_stays_ours() {
    let place = Place::new();
    let (mut a, mut b) = (place.candidate("a"), place.candidate("b"));
    a.acquire().await;
    let first = place.leases().get("lease").await.unwrap().spec.unwrap();
    // As after an outage: the tenure has run out, and nobody was there to take the lease.
    a.tenure.end();
    assert_eq!(a.look().await.unwrap(), Look::Held);
    let then = place.leases().get("lease").await.unwrap().spec.unwrap();
    assert_eq!((then.acquire_time, then.lease_transitions), (first.acquire_time, first.lease_transitions));
    assert_ne!(then.renew_time, first.renew_time);
    // Somebody deletes it: whoever is first has it.
    place.leases().delete("lease", &kube::api::DeleteParams::default()).await.unwrap();
    assert_eq!(a.look().await.unwrap(), Look::Held);
    place.leases().delete("lease", &kube::api::DeleteParams::default()).await.unwrap();
    assert_eq!(b.look().await.unwrap(), Look::Held);
    assert_eq!(a.look().await.unwrap(), taken("b"));
}

#[tokio::test]
async fn a_process_that_starts_again_takes_its_lease_back_from_its_old_self() {
    let place = Place::new();
    let (mut old, mut new) = (place.candidate("pod"), place.candidate("pod"));
    old.acquire().await;
    assert_eq!(new.look().await.unwrap(), Look::Held, "its name is held by a process that was");
    assert_eq!(old.look().await.unwrap(), taken("pod"), "and if it still is, it ends");
    assert_eq!(new.look().await.unwrap(), Look::Held);
}

#[tokio::test]
async fn time_counts_only_while_the_lease_does_not_move() {
    let place = Place::new();
    let (mut a, mut b) = (place.candidate("a"), place.candidate("b"));
    a.acquire().await;
    assert_eq!(b.look().await.unwrap(), taken("a"));
    let long_ago = |b: &mut Candidate| {
        let seen = b.seen.as_mut().unwrap();
        seen.1 -= DURATION + Duration::from_millis(1);
    };
    long_ago(&mut b);
    assert_eq!(a.look().await.unwrap(), Look::Held);
    assert_eq!(b.look().await.unwrap(), taken("a"), "it was renewed meanwhile");
    long_ago(&mut b);
    b.unseen("an outage");
    assert_eq!(b.look().await.unwrap(), taken("a"), "the holder could not renew either");
    long_ago(&mut b);
    assert_eq!(b.look().await.unwrap(), Look::Held);
    assert_eq!(a.look().await.unwrap(), taken("b"));
}
