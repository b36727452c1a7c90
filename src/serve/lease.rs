//! The Lease that says which replica works. client-go's rule: a candidate trusts its own clock
//! only, and takes a lease whose version has not moved for the whole duration.
//!
//! A holder that cannot reach the API server stands still when its [`Tenure`] has run out, and goes on
//! when it finds its lease untouched: the count of transitions shows that nobody else has held it in
//! between. So an outage of the API server, however long, costs nobody a restart.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::timeout;

use super::tenure::{Moment, RENEW_WITHIN, Tenure};

/// How long a lease holds after it was last renewed.
const DURATION: Duration = Duration::from_secs(12);
/// The pause between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// The pause between two looks of a candidate. It takes over at most 13 s after the holder was killed,
/// and needs a moment for that: so writes go on within 20 s also where all is slow.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A candidate for a lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    tenure: Tenure,
    /// The version of somebody else's lease, and when it was first seen by our clock.
    seen: Option<(String, Instant)>,
    /// The transition that has made the lease ours.
    ours: Option<i32>,
}

/// What one look has found, or done.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// The lease is ours, and renewed.
    Held,
    /// Somebody else holds it.
    Taken(String),
    /// Somebody else has written it at the same time: look again.
    Contested,
}

impl Candidate {
    /// A candidate with a name of its own, which keeps the tenure up to date.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String, tenure: Tenure) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.into(), identity, tenure, seen: None, ours: None }
    }

    /// Waits until the lease is ours.
    pub async fn acquire(&mut self) {
        loop {
            let asked = Moment::now();
            match timeout(PATIENCE, self.look()).await {
                Ok(Ok(Look::Held)) => {
                    self.tenure.renew(asked);
                    return;
                }
                Ok(Ok(Look::Taken(_) | Look::Contested)) => {}
                Ok(Err(error)) => self.unseen(&error.to_string()),
                Err(_) => self.unseen("no answer in time"),
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// Renews the lease for as long as it is ours, also through an outage. Returns who has it now.
    pub async fn hold(&mut self) -> String {
        let mut still = false;
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            // The lease holds from when the renewal was written, which may be long before its answer.
            let asked = Moment::now();
            match timeout(PATIENCE, self.look()).await {
                Ok(Ok(Look::Held)) => {
                    self.tenure.renew(asked);
                    if std::mem::take(&mut still) {
                        tracing::info!("nobody else has held the lease meanwhile: the work goes on");
                    }
                }
                Ok(Ok(Look::Taken(by))) => {
                    self.tenure.end();
                    return by;
                }
                Ok(Ok(Look::Contested)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
                Err(_) => tracing::warn!("the lease could not be renewed: no answer in time"),
            }
            if !still && !self.tenure.holds() {
                still = true;
                tracing::warn!("the lease could not be renewed for {RENEW_WITHIN:?}: the work stands still");
            }
        }
    }

    /// Ends the tenure and gives the lease back, so that the next one need not wait for it to run out.
    pub async fn release(&mut self) {
        self.tenure.end();
        let Ok(Ok(Some(mut lease))) = timeout(PATIENCE, self.api.get_opt(&self.name)).await else { return };
        if !self.is_ours(&lease) {
            return;
        }
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = Some(String::new());
        }
        match timeout(PATIENCE, self.api.replace(&self.name, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => {}
            _ => tracing::warn!("the lease could not be given back; it runs out by itself"),
        }
    }

    /// Time only counts against a holder while the API server answers: after an outage it gets its
    /// chance to renew.
    fn unseen(&mut self, cause: &str) {
        tracing::warn!(cause, "the lease cannot be read or written");
        self.seen = None;
    }

    /// Until the next look: when the lease that was seen runs out, but not long.
    fn pause(&self) -> Duration {
        let left = self.seen.as_ref().map(|(_, since)| DURATION.saturating_sub(since.elapsed()));
        let left = left.filter(|left| !left.is_zero()).unwrap_or(LOOK_EVERY);
        LOOK_EVERY.min(left + Duration::from_millis(10))
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        let spec = lease.spec.as_ref();
        spec.and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity)
            && self.ours.is_some_and(|ours| transitions(lease) == ours)
    }

    async fn look(&mut self) -> kube::Result<Look> {
        let Some(found) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            // When somebody has deleted the lease under its holder, the count goes on.
            let count = self.ours.unwrap_or(0);
            let lease = Lease { metadata, spec: Some(self.spec(count)) };
            let done = self.api.create(&PostParams::default(), &lease).await;
            return self.written(done, count);
        };
        let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let ours = self.is_ours(&found);
        if self.ours.is_some() && !ours {
            return Ok(Look::Taken(holder));
        }
        // A holder of our name that is not this process was one before a restart.
        if !ours && holder != self.identity && !holder.is_empty() && !self.has_run_out(&found) {
            return Ok(Look::Taken(holder));
        }
        let count = transitions(&found).saturating_add(i32::from(!ours));
        let mut taken = found;
        let acquired = taken.spec.as_ref().filter(|_| ours).and_then(|spec| spec.acquire_time.clone());
        let spec = self.spec(count);
        taken.spec = Some(LeaseSpec { acquire_time: acquired.or(spec.acquire_time.clone()), ..spec });
        let done = self.api.replace(&self.name, &PostParams::default(), &taken).await;
        self.written(done, count)
    }

    /// A conflict means that somebody else was quicker, or that an earlier try of ours has arrived.
    fn written(&mut self, done: kube::Result<Lease>, count: i32) -> kube::Result<Look> {
        match done {
            Ok(_) => {
                self.ours = Some(count);
                Ok(Look::Held)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Look::Contested),
            Err(error) => Err(error),
        }
    }

    /// Whether somebody else's lease has not moved for its whole duration, by our own clock.
    fn has_run_out(&mut self, lease: &Lease) -> bool {
        let version = lease.resource_version().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() > DURATION,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn transitions(lease: &Lease) -> i32 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default()
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
