//! Storage errors, and the points at which the process may die.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::super::database::Database;
use super::super::{Embedded, Moment, Verb, Verdict, WritePoint};
use super::*;

/// A disk that begins to fail when told.
#[derive(Debug)]
struct Disk {
    memory: InMemoryBackend,
    broken: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::SeqCst) { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check().and_then(|()| self.memory.set_len(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check().and_then(|()| self.memory.sync_data())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check().and_then(|()| self.memory.write(offset, data))
    }
}

#[tokio::test]
async fn a_storage_error_leaves_no_trace_and_stops_all_writing() {
    let place = Place::new();
    let broken = Arc::new(AtomicBool::new(false));
    let disk = Disk { memory: InMemoryBackend::new(), broken: broken.clone() };
    let database = Database::on(disk).unwrap();
    let store = Embedded::on(database, place.options(), &[things(json!({}))]).unwrap();
    send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    let (_, before) = send(&store, "GET", THINGS, None).await;

    broken.store(true, Ordering::SeqCst);
    let (code, status) = send(&store, "POST", THINGS, Some(&thing("b", 1))).await;
    assert_eq!((code, &status["reason"]), (500, &json!("InternalError")), "{status}");
    assert!(store.figures().read_only);
    store.ended().await;
    let (_, after) = send(&store, "GET", THINGS, None).await;
    assert_eq!(after, before, "reads go on, and show nothing of the failed write");

    // The disk is back, but what it did with the failed write is unknown: no more writes.
    broken.store(false, Ordering::SeqCst);
    for (method, path, body) in [
        ("POST", THINGS.to_owned(), Some(thing("b", 1))),
        ("PATCH", format!("{THINGS}/a"), Some(json!({ "spec": { "size": 2 } }))),
        ("DELETE", format!("{THINGS}/a"), None),
    ] {
        let (code, status) = send(&store, method, &path, body.as_ref()).await;
        assert_eq!((code, &status["reason"]), (503, &json!("ServiceUnavailable")), "{method}: {status}");
    }
    store.shutdown().await;
}

#[tokio::test]
async fn every_write_of_a_failed_batch_is_refused() {
    let place = Place::new();
    let broken = Arc::new(AtomicBool::new(false));
    let disk = Disk { memory: InMemoryBackend::new(), broken: broken.clone() };
    let store = Embedded::on(Database::on(disk).unwrap(), place.options(), &[things(json!({}))]).unwrap();
    broken.store(true, Ordering::SeqCst);
    let bodies: Vec<Value> = (0..20).map(|n| thing(&format!("t{n}"), n)).collect();
    let all = bodies.iter().map(|body| send(&store, "POST", THINGS, Some(body)));
    for (code, status) in futures::future::join_all(all).await {
        assert!(code == 500 || code == 503, "{code} {status}");
    }
    let (_, list) = send(&store, "GET", THINGS, None).await;
    assert_eq!(list["items"], json!([]));
    store.shutdown().await;
}

type Points = Arc<Mutex<Vec<(u64, Moment, Verb, String)>>>;

/// Opens with a hook that notes every point and halts at number `halt` of them.
fn hooked(place: &Place, halt: Option<usize>) -> (Embedded, Points) {
    let points = Points::default();
    let noted = points.clone();
    let mut options = place.options();
    options.hook = Some(Arc::new(move |point: &WritePoint| {
        let mut noted = noted.lock();
        noted.push((point.nth, point.moment, point.verb, format!("{} {}", point.resource, point.name)));
        if Some(noted.len()) == halt { Verdict::Halt } else { Verdict::Continue }
    }));
    (Embedded::open(options, vec![things(json!({}))]).unwrap(), points)
}

#[tokio::test]
async fn the_hook_sees_both_sides_of_every_write() {
    let place = Place::new();
    let (store, points) = hooked(&place, None);
    send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    send(&store, "PATCH", &format!("{THINGS}/a"), Some(&json!({ "spec": { "size": 2 } }))).await;
    send(&store, "PATCH", &format!("{THINGS}/a"), Some(&json!({ "spec": { "size": 2 } }))).await;
    send(&store, "DELETE", &format!("{THINGS}/a"), None).await;
    store.shutdown().await;
    let a = "test.example/things /a".to_owned();
    let expected = [(1, Verb::Create), (2, Verb::Update), (3, Verb::Delete)];
    let expected: Vec<_> = expected
        .into_iter()
        .flat_map(|(n, verb)| [(n, Moment::Before, verb, a.clone()), (n, Moment::After, verb, a.clone())])
        .collect();
    assert_eq!(*points.lock(), expected);
}

/// Dies at every point of a little history, and looks at what a restart finds.
#[tokio::test]
async fn a_halt_before_forgets_and_a_halt_after_remembers() {
    for halt in 1..=6 {
        let place = Place::new();
        let (store, _) = hooked(&place, Some(halt));
        let path = format!("{THINGS}/a");
        let grow = json!({ "spec": { "size": 2 } });
        let mut answered = Vec::new();
        answered.push(send(&store, "POST", THINGS, Some(&thing("a", 1))).await.0);
        answered.push(send(&store, "PATCH", &path, Some(&grow)).await.0);
        answered.push(send(&store, "DELETE", &path, None).await.0);
        store.shutdown().await;

        let whole = (halt - 1) / 2; // writes before the one that was struck
        let durable = halt / 2; // writes on disk
        for (at, code) in answered.iter().enumerate() {
            // The write that was struck, and all after it, are not answered as done.
            assert_eq!(*code < 300, at < whole, "halt at {halt}: {answered:?}");
        }
        let store = place.open();
        let (code, found) = send(&store, "GET", &path, None).await;
        match durable {
            0 | 3 => assert_eq!(code, 404, "halt at {halt}"),
            n => assert_eq!(found["spec"]["size"], json!(n), "halt at {halt}"),
        }
        store.shutdown().await;
    }
}
