//! The Lease that says which replica works. client-go's rule: a candidate trusts its own clock
//! only, and takes a lease whose version has not moved for the whole duration.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};

/// How long a lease holds after it was last renewed.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long gives up: before anybody else may take the lease.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// The pause between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// A candidate for a lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The version of somebody else's lease, and when it was first seen by our clock.
    seen: Option<(String, Instant)>,
    /// When the lease was asked for that is ours now.
    acquired: Option<Instant>,
}

impl Candidate {
    /// A candidate with a name of its own.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.into(),
            identity,
            seen: None,
            acquired: None,
        }
    }

    /// Waits until the lease is ours.
    pub async fn acquire(&mut self) {
        loop {
            let asked = Instant::now();
            match self.try_once().await {
                Ok(true) => {
                    self.acquired = Some(asked);
                    return;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the lease cannot be read or written"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Renews the lease for as long as that goes well. When it returns, the lease is lost.
    pub async fn hold(&mut self) {
        let mut renewed = self.acquired.unwrap_or_else(Instant::now);
        while renewed.elapsed() < RENEW_WITHIN {
            tokio::time::sleep(EVERY).await;
            // The lease holds from when the renewal was written, which may be long before its answer.
            let asked = Instant::now();
            match tokio::time::timeout(RENEW_WITHIN.saturating_sub(renewed.elapsed()), self.try_once()).await
            {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
                Err(_) => return,
            }
        }
    }

    /// Gives the lease back, so that the next one need not wait for it to run out.
    pub async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let Some(spec) =
            lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
        else {
            return;
        };
        spec.holder_identity = Some(String::new());
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::warn!(%error, "the lease could not be given back; it runs out by itself");
        }
    }

    /// One look: true when the lease is ours now.
    async fn try_once(&mut self) -> kube::Result<bool> {
        let Some(found) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(0)) };
            return written(self.api.create(&PostParams::default(), &lease).await);
        };
        let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        if holder != self.identity && !holder.is_empty() && !self.has_run_out(&found) {
            return Ok(false);
        }
        let changes = found.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
        let mut taken = found;
        let old = taken.spec.replace(self.spec(changes + i32::from(holder != self.identity)));
        if holder == self.identity {
            let acquired = old.and_then(|old| old.acquire_time);
            taken.spec = taken
                .spec
                .map(|spec| LeaseSpec { acquire_time: acquired.or(spec.acquire_time.clone()), ..spec });
        }
        written(self.api.replace(&self.name, &PostParams::default(), &taken).await)
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
            lease_duration_seconds: Some(15),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// A conflict means that somebody else was quicker.
fn written(done: kube::Result<Lease>) -> kube::Result<bool> {
    match done {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
