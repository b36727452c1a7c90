//! Many clients at once: each gets an answer, or is told when to ask again; nobody waits for long, and nothing is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::http::{Answer, ask, finished};
use crate::server::Server;

const CLIENTS: usize = 64;
/// How many volumes each of them makes and deletes.
const VOLUMES: usize = 4;
/// How many operations the server takes at a time.
const AT_ONCE: usize = 8;
/// No answer takes longer, however many ask.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a client asks again that was told to come later.
const TRIES: usize = 2000;

/// Asks until the server takes it, and waits for its end. Counts how often it was told to ask again.
async fn taken(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&str>,
    busy: &AtomicUsize,
) -> Answer {
    for _ in 0..TRIES {
        let answer = tokio::time::timeout(ANSWER, ask(address, method, path, body)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method} {path}: no answer in {ANSWER:?}"));
        match answer.status {
            202 => return finished(address, &answer.headers["location"]).await,
            429 => {
                let later: u64 = answer.headers["retry-after"].parse().unwrap();
                assert!((1..=60).contains(&later), "{answer:?}");
                busy.fetch_add(1, Ordering::Relaxed);
                // Sooner than asked for, so that there is a crowd.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => panic!("{method} {path}: {answer:?}"),
        }
    }
    panic!("{method} {path} was never taken")
}

async fn client(address: SocketAddr, busy: &AtomicUsize) {
    for _ in 0..VOLUMES {
        let made = taken(address, "POST", "/volumes", Some(r#"{"size":1}"#), busy).await;
        assert_eq!(made.status, 303, "{made:?}");
        let path = &made.headers["location"];
        for path in [path.as_str(), "/volumes"] {
            let seen = tokio::time::timeout(ANSWER, ask(address, "GET", path, None)).await;
            assert_eq!(seen.expect("an answer in time").status, 200);
        }
        assert_eq!(taken(address, "DELETE", path, None, busy).await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_served_or_told_when_to_ask_again() {
    let server = Server::start(AT_ONCE).await;
    server.furnish(3, 2).await;
    let before = server.wishes().await;
    let busy = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, busy) = (server.address, busy.clone());
            tokio::spawn(async move { client(address, &busy).await })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let busy = busy.load(Ordering::Relaxed);
    println!(
        "{CLIENTS} clients made and deleted {VOLUMES} volumes each, and were told {busy} times to ask again"
    );
    assert!(busy > 0, "there was no crowd");
    server.unchanged_since(&before).await;
}
