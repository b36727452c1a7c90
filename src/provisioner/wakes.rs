//! What wakes the loops. Claims whose volume is not asked for yet stand in a queue, so that they are
//! begun in the order in which they came; everything else is looked at when something changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::admission::Ticket;
use super::ours::{self, Verdict};
use super::{Provisioner, object_name};
use crate::resources::GlusterVolume;
use crate::store::spawn_vital;

/// How often the queue is looked at when nobody moves in it: who takes too long is passed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many claims may be on their way to their passes.
const ON_THEIR_WAY: usize = 1024;

/// The claims to look at.
pub fn claims(provisioner: Arc<Provisioner>) -> impl Stream<Item = ObjectRef<PersistentVolumeClaim>> + Send {
    let (send, receive) = mpsc::channel(ON_THEIR_WAY);
    spawn_vital(async move { dispatch(&provisioner, send).await });
    stream::unfold(receive, |mut receive| async move { Some((receive.recv().await?, receive)) })
}

/// Volumes of claims: when they change, and when their claims do.
pub fn orphans(provisioner: &Provisioner) -> impl Stream<Item = ObjectRef<GlusterVolume>> + Send + use<> {
    let of_claims = provisioner
        .claims
        .changes()
        .stream()
        .flat_map(|claim| stream::iter(claim.extra.uid.map(|uid| ObjectRef::new(&object_name(&uid)))));
    stream::select(provisioner.intent.volumes.changes().stream(), of_claims)
}

/// PersistentVolumes: when they change, and when their volumes do.
pub fn volumes(provisioner: &Provisioner) -> impl Stream<Item = ObjectRef<PersistentVolume>> + Send + use<> {
    let of_volumes = provisioner.intent.volumes.changes().stream().map(|volume| ObjectRef::new(&volume.name));
    stream::select(provisioner.volumes.changes().stream(), of_volumes)
}

/// Sends claims to their passes until nobody takes them any more.
async fn dispatch(provisioner: &Provisioner, send: mpsc::Sender<ObjectRef<PersistentVolumeClaim>>) {
    let (claims, classes) = (provisioner.claims.changes(), provisioner.classes.changes());
    let volumes = provisioner.intent.volumes.changes();
    let mut look = tokio::time::interval(LOOK_EVERY);
    // All claims that are there are looked at first. A class that is there already concerns none beside them: one that
    // it woke again would be begun twice while its volume is not seen yet.
    classes.drain();
    let mut changed: Vec<_> = claims.drain().into_iter().collect();
    loop {
        let mut awake: Vec<_> =
            changed.into_iter().filter(|claim| !provisioner.stands_in_queue(claim)).collect();
        awake.extend(std::iter::from_fn(|| provisioner.next_in_turn()));
        for claim in awake {
            if send.send(claim).await.is_err() {
                return;
            }
        }
        changed = tokio::select! {
            changed = claims.next() => changed.into_iter().collect(),
            changed = volumes.next() => {
                changed.iter().filter_map(|volume| provisioner.claim_of(&volume.name)).collect()
            }
            _ = classes.next() => provisioner.unbound(),
            () = provisioner.moved.notified() => vec![],
            _ = look.tick() => vec![],
        };
    }
}

impl Provisioner {
    fn claim_of(&self, volume: &str) -> Option<ObjectRef<PersistentVolumeClaim>> {
        let claim = self.intent.volumes.get(volume)?.spec.claim_ref.clone();
        claim.map(|claim| ObjectRef::new(&claim.name).within(&claim.namespace))
    }

    /// The claims that a change of a class may concern. One that is under way goes on without being woken:
    /// it would be begun twice while its volume is not seen yet.
    fn unbound(&self) -> Vec<ObjectRef<PersistentVolumeClaim>> {
        let claims = self.claims.list();
        let admission = self.admission.lock();
        let begun = |claim: &PersistentVolumeClaim| admission.is_under_way(&claim.uid().unwrap_or_default());
        let unbound = claims.iter().filter(|claim| ours::is_unbound(claim) && !begun(claim));
        unbound.map(|claim| ObjectRef::from_obj(claim.as_ref())).collect()
    }

    /// Whether a claim has to wait for its turn; from now on it does. Who went away leaves the queue.
    fn stands_in_queue(&self, reference: &ObjectRef<PersistentVolumeClaim>) -> bool {
        let seen = self.claims.get_ref(reference);
        let uid = reference.extra.uid.as_ref();
        if let Some(uid) =
            uid.filter(|uid| seen.as_ref().is_none_or(|seen| seen.uid().as_ref() != Some(*uid)))
        {
            self.done_with(uid);
        }
        let Some(claim) = seen else { return true };
        let name = object_name(&claim.uid().unwrap_or_default());
        let asked_for = self.intent.volumes.get(&name).is_some() || self.volumes.get(&name).is_some();
        if asked_for || !matches!(self.judge(&claim), Verdict::Serve(_)) {
            return false;
        }
        !self.has_its_turn(&claim)
    }

    /// Whether it is a claim's turn. If not, it stands in the queue from now on.
    pub(super) fn has_its_turn(&self, claim: &PersistentVolumeClaim) -> bool {
        let uid = claim.uid().unwrap_or_default();
        let mut admission = self.admission.lock();
        if admission.is_under_way(&uid) {
            return true;
        }
        let created = claim.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let version = claim.resource_version().and_then(|version| version.parse().ok());
        admission.queue(Ticket {
            namespace: claim.namespace().unwrap_or_default(),
            name: claim.name_any(),
            came: (created, version.unwrap_or_default()),
            uid: uid.clone(),
        });
        drop(admission);
        self.waits_since(&uid);
        self.moved.notify_one();
        false
    }

    /// The next claim whose turn it is and that is still there.
    fn next_in_turn(&self) -> Option<ObjectRef<PersistentVolumeClaim>> {
        loop {
            let ticket = self.admission.lock().next(Instant::now())?;
            let reference = ObjectRef::new(&ticket.name).within(&ticket.namespace);
            let seen = self.claims.get_ref(&reference);
            if seen.is_some_and(|seen| seen.uid().as_ref() == Some(&ticket.uid)) {
                return Some(reference);
            }
            self.done_with(&ticket.uid);
        }
    }
}
