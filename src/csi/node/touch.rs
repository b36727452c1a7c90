//! Touching mounts without being held by one that hangs. A call on a FUSE mount whose client does not
//! answer comes back when it likes. So each happens in a thread of its own, with a deadline after which
//! nobody waits for it any more, and never twice at once.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use rustix::fs::StatVfs;
use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Status;

use super::client::running;
use super::mounts::Table;

/// How long a look at a mount may take before it is said to hang.
pub const LOOKING: Duration = Duration::from_secs(5);
/// How long a system call that changes mounts may take.
const CHANGING: Duration = Duration::from_secs(20);

/// Which volumes are being worked on.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Taken>);

#[derive(Debug, Default)]
struct Taken {
    handles: Mutex<HashSet<String>>,
    ended: Notify,
}

/// The turn of one call at a volume. It ends when the last clone is dropped: a thread that hangs in a
/// system call keeps it, so that the next call does not make another one hang.
#[derive(Clone, Debug)]
pub struct Turn {
    _kept: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    turns: Turns,
    handle: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.turns.0.handles.lock().remove(&self.handle);
        self.turns.0.ended.notify_waiters();
    }
}

impl Turns {
    /// The turn at a volume; none while somebody else has it.
    pub fn take(&self, handle: &str) -> Option<Turn> {
        let free = self.0.handles.lock().insert(handle.to_owned());
        free.then(|| Turn { _kept: Arc::new(Kept { turns: self.clone(), handle: handle.to_owned() }) })
    }

    /// The turn at a volume; none when somebody else has it for so long. Most who have it are about to end: a thread
    /// of the call before, or a look whether the mounts are alive.
    pub async fn take_within(&self, handle: &str, limit: Duration) -> Option<Turn> {
        let until = Instant::now() + limit;
        loop {
            let mut ended = std::pin::pin!(self.0.ended.notified());
            ended.as_mut().enable();
            if let Some(turn) = self.take(handle) {
                return Some(turn);
            }
            if tokio::time::timeout_at(until, ended).await.is_err() {
                return self.take(handle);
            }
        }
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Untouched {
    /// It was not done in time. It may be later.
    #[error("it hangs: not done within {0:?}")]
    Hangs(Duration),
    /// The system refused.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

impl Untouched {
    /// The answer to a call, with what was to be done.
    pub fn status(self, what: impl std::fmt::Display) -> Status {
        let text = format!("{what}: {self}");
        match self {
            Self::Hangs(_) => Status::deadline_exceeded(text),
            Self::Failed(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                Status::failed_precondition(format!(
                    "{text}: something on this node still uses it (fuser -m shows it)"
                ))
            }
            Self::Failed(_) => Status::internal(text),
        }
    }
}

/// Does something that may hang, while this call has its turn.
pub async fn within<T: Send + 'static>(
    turn: &Turn,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Untouched> {
    before(CHANGING, turn, work).await
}

async fn before<T: Send + 'static>(
    limit: Duration,
    turn: &Turn,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Untouched> {
    let turn = turn.clone();
    let working = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    match tokio::time::timeout(limit, working).await {
        Ok(Ok(done)) => Ok(done?),
        Ok(Err(error)) => Err(io::Error::other(error).into()),
        Err(_) => Err(Untouched::Hangs(limit)),
    }
}

/// What a file system says of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// In bytes.
    pub bytes: Room,
    /// In inodes.
    pub inodes: Room,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// All of it.
    pub total: u64,
    /// What is taken.
    pub used: u64,
    /// What is left for everybody.
    pub available: u64,
}

impl From<StatVfs> for Sizes {
    fn from(said: StatVfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(said.f_frsize);
        let used = |total: u64, free: u64| total.saturating_sub(free);
        Self {
            bytes: Room {
                total: bytes(said.f_blocks),
                used: bytes(used(said.f_blocks, said.f_bfree)),
                available: bytes(said.f_bavail),
            },
            inodes: Room {
                total: said.f_files,
                used: used(said.f_files, said.f_ffree),
                available: said.f_favail,
            },
        }
    }
}

/// What a look at a mount has seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// It answers.
    Alive(Sizes),
    /// Its client is gone.
    Dead,
    /// It does not answer.
    Hangs,
    /// It answers with an error.
    Refuses(String),
}

impl Seen {
    /// What is wrong with the mount, for people; nothing when it is alive.
    pub fn wrong(&self) -> Option<String> {
        match self {
            Self::Alive(_) => None,
            Self::Dead => Some("its GlusterFS client has ended: transport endpoint is not connected".into()),
            Self::Hangs => Some(format!("its GlusterFS client did not answer within {LOOKING:?}")),
            Self::Refuses(error) => Some(format!("its GlusterFS client answers: {error}")),
        }
    }
}

/// Looks at mounts, at each once at a time: who comes meanwhile waits for the same answer.
#[derive(Clone, Default)]
pub struct Looks(Arc<Mutex<Outstanding>>);

type Outstanding = HashMap<PathBuf, Shared<BoxFuture<'static, Seen>>>;

impl Looks {
    /// Looks at what is mounted at a path.
    pub async fn at(&self, path: &Path) -> Seen {
        let look = self.look(path);
        tokio::time::timeout(LOOKING, look).await.unwrap_or(Seen::Hangs)
    }

    fn look(&self, path: &Path) -> Shared<BoxFuture<'static, Seen>> {
        let mut outstanding = self.0.lock();
        if let Some(look) = outstanding.get(path) {
            return look.clone();
        }
        let (looks, at) = (self.clone(), path.to_owned());
        let looking = tokio::task::spawn_blocking(move || {
            let own = || rustix::fs::lstat(at.join(CLIENTS_OWN)).map(|_| ());
            let seen = seen(rustix::fs::statvfs(&at), own, || is_served(&at));
            looks.0.lock().remove(&at);
            seen
        });
        let look = looking.map(|seen| seen.unwrap_or_else(|error| Seen::Refuses(error.to_string()))).boxed();
        outstanding.entry(path.to_owned()).or_insert(look.shared()).clone()
    }
}

/// A directory in every GlusterFS mount that the client itself serves.
const CLIENTS_OWN: &str = ".meta";

/// What the looks mean. The client says "not connected" too, as long as it reaches no brick; it is alive
/// then and goes on by itself, with its open files. So what it serves itself is looked at as well. But on the way there
/// the kernel asks who may enter the volume's root, and only for a second after it was told the last time it does
/// without: so the process itself is looked for before it is said to have ended.
fn seen(
    looked: rustix::io::Result<StatVfs>,
    own: impl FnOnce() -> rustix::io::Result<()>,
    is_served: impl Fn() -> bool,
) -> Seen {
    match looked {
        Ok(said) => Seen::Alive(said.into()),
        Err(error @ (Errno::NOTCONN | Errno::CONNABORTED)) => match own() {
            Err(Errno::NOTCONN | Errno::CONNABORTED) if !is_served() => Seen::Dead,
            _ => Seen::Refuses(format!("{error}: none of the volume's bricks can be reached")),
        },
        Err(error) => Seen::Refuses(error.to_string()),
    }
}

/// Whether the client of what is mounted at a path runs. Without the mount table nobody knows, and what may
/// run is left alone.
fn is_served(at: &Path) -> bool {
    Table::read().map_or(true, |table| running::serves(&table, at))
}

/// Whether the client of what is mounted at a path has ended. Blocks, and may hang.
pub fn is_dead(at: &Path) -> bool {
    matches!(rustix::fs::lstat(at.join(CLIENTS_OWN)), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_its_threads() {
        let turns = Turns::default();
        let turn = turns.take("a").unwrap();
        assert!(turns.take("a").is_none());
        let _other = turns.take("b").unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let working = tokio::spawn(async move { within(&turn, move || Ok(held.recv().is_ok())).await });
        tokio::task::yield_now().await;
        assert!(turns.take("a").is_none());
        release.send(()).unwrap();
        assert!(working.await.unwrap().unwrap());
        assert!(turns.take("a").is_some());
    }

    #[tokio::test]
    async fn a_turn_that_ends_soon_is_waited_for() {
        let turns = Turns::default();
        let first = turns.take("a").unwrap();
        let limit = Duration::from_millis(20);
        assert!(turns.take_within("a", limit).await.is_none(), "it does not end");
        let (second, ()) = tokio::join!(turns.take_within("a", limit * 1000), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert!(second.is_some());
        assert!(turns.take("a").is_none());
    }

    #[tokio::test]
    async fn what_hangs_is_left_to_itself() {
        let turns = Turns::default();
        let turn = turns.take("a").unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (done, ended) = tokio::sync::oneshot::channel::<()>();
        let hangs = before(Duration::from_millis(20), &turn, move || {
            let _ = held.recv();
            Ok(done)
        });
        let error = hangs.await.err().unwrap();
        assert!(matches!(error, Untouched::Hangs(_)), "{error}");
        assert_eq!(error.status("unmount /x").code(), tonic::Code::DeadlineExceeded);
        drop(turn);
        assert!(turns.take("a").is_none(), "the thread still has its turn");
        drop(release);
        ended.await.unwrap_err(); // its result went nowhere: the thread has ended
        while turns.take("a").is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_a_look_means() {
        let folder = tempfile::tempdir().unwrap();
        let looks = Looks::default();
        let (one, two) = tokio::join!(looks.at(folder.path()), looks.at(folder.path()));
        assert!(one.wrong().is_none() && two.wrong().is_none());
        assert!(looks.0.lock().is_empty());
        assert!(matches!(looks.at(&folder.path().join("x")).await, Seen::Refuses(_)));
        let gone = || Err(Errno::NOTCONN);
        assert!(seen(Err(Errno::NOTCONN), gone, || false).wrong().unwrap().contains("has ended"));
        assert!(seen(Err(Errno::IO), gone, || false).wrong().unwrap().contains("nput/output error"));
        for bricks_away in
            [seen(Err(Errno::NOTCONN), || Ok(()), || false), seen(Err(Errno::NOTCONN), gone, || true)]
        {
            assert!(matches!(&bricks_away, Seen::Refuses(why) if why.contains("bricks")), "{bricks_away:?}");
        }
    }
}
