//! Servers that say nothing while a client is started. GlusterFS goes on without a brick as soon as its
//! connection has failed, and Linux lets a connection that nobody answers fail after two minutes. Replication stops
//! waiting after ten seconds.
//!
//! GlusterFS has an option for it (`transport.tcp-user-timeout`), but that holds for as long as the client lives, for connections
//! that are there as well: a node that is cut off for longer than that gets errors instead of a pause. So only
//! the connections that are being made while a volume is mounted get that timeout, from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{set_tcp_user_timeout, tcp_user_timeout};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::running;

/// How long after the client's start is looked first, and how long after each look again: most are mounted by then.
const LOOKING: Duration = Duration::from_millis(500);
/// How long a server may take to answer, in milliseconds. Linux asks it again after one second.
const PATIENCE: u32 = 3000;
/// The state of a connection that is not answered yet, as /proc/net/tcp writes it.
const SYN_SENT: &str = "02";

/// Lets what is mounting at a path give up connections that nobody answers. It ends when it is dropped, and then
/// the connections are as they were.
pub async fn given_up(at: &Path) -> Infallible {
    let mut given = Given::default();
    loop {
        tokio::time::sleep(LOOKING).await;
        let path = [at.to_owned()];
        let looked = tokio::task::spawn_blocking(move || {
            for pid in running::at(&path) {
                if let Err(error) = given.look(pid) {
                    // The mount takes longer then, no more.
                    tracing::debug!(pid, %error, "the connections of a client cannot be looked at");
                }
            }
            given
        });
        // A panic there is told by whoever has made it.
        given = looked.await.unwrap_or_default();
    }
}

/// The connections that have the timeout, by their inodes, and what they had before.
#[derive(Default)]
struct Given(BTreeMap<u64, (OwnedFd, u32)>);

impl Given {
    /// Gives the timeout to what a process connects to now. Connections that have one already keep it: somebody has
    /// set that on purpose.
    fn look(&mut self, pid: i32) -> io::Result<()> {
        let about = PathBuf::from(format!("/proc/{pid}"));
        let mut waiting = BTreeSet::new();
        for table in ["net/tcp", "net/tcp6"] {
            // Without IPv6 there is no table for it.
            waiting.extend(unanswered(&std::fs::read_to_string(about.join(table)).unwrap_or_default()));
        }
        waiting.retain(|inode| !self.0.contains_key(inode));
        if waiting.is_empty() {
            return Ok(());
        }
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        for entry in std::fs::read_dir(about.join("fd"))? {
            let entry = entry?;
            let Some(inode) = inode(&entry.path()).filter(|inode| waiting.contains(inode)) else { continue };
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
            // The number may be another's by now.
            if self::inode(Path::new(&format!("/proc/self/fd/{}", socket.as_raw_fd()))) != Some(inode) {
                continue;
            }
            let before = tcp_user_timeout(&socket)?;
            if before == 0 {
                set_tcp_user_timeout(&socket, PATIENCE)?;
                self.0.insert(inode, (socket, before));
            }
        }
        Ok(())
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for (socket, before) in self.0.values() {
            // One that has been made meanwhile must not be lost when its server pauses.
            if let Err(error) = set_tcp_user_timeout(socket, *before) {
                tracing::warn!(%error, "a connection of a client keeps a timeout of {PATIENCE} ms");
            }
        }
    }
}

/// The inode of the socket that a link in /proc/PID/fd shows, such as `socket:[4711]`.
fn inode(link: &Path) -> Option<u64> {
    let shown = std::fs::read_link(link).ok()?;
    shown.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inodes of the connections that nobody has answered yet, by a table such as /proc/net/tcp.
fn unanswered(table: &str) -> impl Iterator<Item = u64> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(3);
        (fields.next()? == SYN_SENT).then(|| fields.nth(5)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Instant;

    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
    };

    use super::*;

    /// A look takes in all connections of the process: one test at a time.
    static ALONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

    fn pid() -> i32 {
        std::process::id().try_into().unwrap()
    }

    fn new(flags: SocketFlags) -> OwnedFd {
        socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
    }

    /// Listens, and answers nobody any more: the one place of its queue is taken.
    fn silent() -> (OwnedFd, OwnedFd, std::net::SocketAddr) {
        let listener = new(SocketFlags::empty());
        bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&listener, 0).unwrap();
        let at = std::net::SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let first = new(SocketFlags::empty());
        connect(&first, &at).unwrap();
        (listener, first, at)
    }

    /// A connection to it, which waits for an answer.
    fn waits(at: std::net::SocketAddr) -> OwnedFd {
        let socket = new(SocketFlags::NONBLOCK);
        assert_eq!(connect(&socket, &at).unwrap_err(), rustix::io::Errno::INPROGRESS);
        socket
    }

    #[test]
    fn a_connection_that_nobody_answers_fails() {
        let _alone = ALONE.lock();
        let (_listener, first, at) = silent();
        let waiting = waits(at);
        let begun = Instant::now();
        let mut given = Given::default();
        given.look(pid()).unwrap();
        given.look(pid()).unwrap();
        assert_eq!(tcp_user_timeout(&waiting).unwrap(), PATIENCE);
        assert_eq!(tcp_user_timeout(&first).unwrap(), 0, "this one is there already");
        let error = loop {
            if let Err(error) = rustix::net::sockopt::socket_error(&waiting).unwrap() {
                break error;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "it still waits");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(error, rustix::io::Errno::TIMEDOUT);
    }

    #[test]
    fn afterwards_connections_are_as_before() {
        let _alone = ALONE.lock();
        let (_listener, _first, at) = silent();
        let (ours, theirs) = (waits(at), waits(at));
        set_tcp_user_timeout(&theirs, 20_000).unwrap();
        let mut given = Given::default();
        given.look(pid()).unwrap();
        assert_eq!(
            (tcp_user_timeout(&ours).unwrap(), tcp_user_timeout(&theirs).unwrap()),
            (PATIENCE, 20_000)
        );
        drop(given);
        assert_eq!((tcp_user_timeout(&ours).unwrap(), tcp_user_timeout(&theirs).unwrap()), (0, 20_000));
    }

    #[test]
    fn only_unanswered_connections_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 01004D0A:C350 0B004D0A:5DC7 02 00000001:00000000 01:00000051 00000001     0        0 12 2 0 800 0 0 1 7
   2: 01004D0A:C351 0C004D0A:5DC7 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 20 4 30 10 -1
   3: half a
";
        assert_eq!(unanswered(table).collect::<Vec<_>>(), [12]);
    }
}
