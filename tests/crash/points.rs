//! The moments at which a process can be killed: before and after every durable write and every
//! node command. A moment has a name that is the same in every run, whatever the order in which
//! nodes are served: what is done, where, and for the how-manieth time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bricklayer::executor::transport::sim;
use bricklayer::store::embedded::{self, Moment, Verdict, WritePoint};
use parking_lot::Mutex;

/// What is done at the moments.
pub enum Task {
    /// They are listed.
    List,
    /// The process is killed at the one of that name.
    Kill(String),
    /// The process is killed at the how-manieth, counted from 1.
    KillNth(u64),
}

/// The moments of a process. Clones are the same.
#[derive(Clone)]
pub struct Points(Arc<Inner>);

struct Inner {
    task: Task,
    armed: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    all: u64,
    counts: HashMap<String, u32>,
    names: Vec<String>,
}

impl Points {
    /// Moments that count from [`Points::arm`] on.
    pub fn new(task: Task) -> Self {
        Self(Arc::new(Inner { task, armed: AtomicBool::new(false), seen: Mutex::default() }))
    }

    /// From now on moments count.
    pub fn arm(&self) {
        self.0.armed.store(true, Ordering::SeqCst);
    }

    /// The names of all moments so far.
    pub fn names(&self) -> Vec<String> {
        self.0.seen.lock().names.clone()
    }

    /// The hook for the store.
    pub fn write_hook(&self) -> embedded::Hook {
        let points = self.clone();
        Arc::new(move |point: &WritePoint| {
            let side = if point.moment == Moment::Before { "before" } else { "after" };
            points.meet(&format!("{side} {:?} of {} {}", point.verb, point.resource, point.name));
            Verdict::Continue
        })
    }

    /// The hook for the nodes.
    pub fn command_hook(&self) -> sim::Hook {
        let points = self.clone();
        Arc::new(move |point: &sim::Point<'_>| {
            let side = if point.when == sim::When::Before { "before" } else { "after" };
            points.meet(&format!("{side} `{}` on {}", point.argv.shown(), point.host));
        })
    }

    fn meet(&self, what: &str) {
        if !self.0.armed.load(Ordering::SeqCst) {
            return;
        }
        let mut seen = self.0.seen.lock();
        seen.all += 1;
        let all = seen.all;
        let count = seen.counts.entry(what.to_owned()).or_default();
        *count += 1;
        let name = format!("{what} #{count}");
        match &self.0.task {
            Task::List => seen.names.push(name),
            Task::Kill(wanted) if *wanted == name => die(),
            Task::KillNth(wanted) if *wanted == all => die(),
            Task::Kill(_) | Task::KillNth(_) => {}
        }
    }
}

/// Ends this process as `kill -9` does: nothing is flushed, closed or told.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}
