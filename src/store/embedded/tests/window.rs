//! The edges of what is remembered: watches that fall behind, pages that come too late, bookmarks.

use std::time::Duration;

use super::super::Embedded;
use super::*;

fn small(place: &Place, changes: usize, bytes: usize) -> Embedded {
    let mut options = place.options();
    options.event_window = changes;
    options.event_window_bytes = bytes;
    options.bookmark_every = Duration::from_millis(100);
    Embedded::open(options, vec![things(json!({}))]).unwrap()
}

async fn grow(store: &Embedded, times: i64) {
    for size in 2..2 + times {
        let (code, _) =
            send(store, "PATCH", &format!("{THINGS}/a"), Some(&json!({ "spec": { "size": size } }))).await;
        assert_eq!(code, 200);
    }
}

#[tokio::test]
async fn a_watch_that_falls_behind_gets_410_as_an_event() {
    let place = Place::new();
    let store = small(&place, 4, usize::MAX);
    let (_, a) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    grow(&store, 4).await;
    let from = |v: u64| format!("{THINGS}?watch=true&timeoutSeconds=1&resourceVersion={v}");
    let whole = watch(&store, &from(version(&a))).await;
    assert_eq!(whole.len(), 4);
    grow(&store, 5).await;
    let lost = watch(&store, &from(version(&a))).await;
    assert_eq!(lost.len(), 1);
    assert_eq!((&lost[0]["type"], &lost[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(lost[0]["object"]["reason"], json!("Expired"));
    store.shutdown().await;
}

#[tokio::test]
async fn a_running_watch_that_is_not_read_gets_410_too() {
    let place = Place::new();
    let store = small(&place, 4, usize::MAX);
    let (_, a) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    let path = format!("{THINGS}?watch=true&timeoutSeconds=20&resourceVersion={}", version(&a));
    let slow = request(&store, "GET", &path, "application/json", None).await;
    grow(&store, 9).await;
    let events = lines(slow.into_body()).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["object"]["code"], 410);
    store.shutdown().await;
}

#[tokio::test]
async fn the_window_is_bounded_in_bytes() {
    let place = Place::new();
    let store = small(&place, usize::MAX, 2000);
    send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    grow(&store, 100).await;
    assert!(store.figures().log < 20, "{:?}", store.figures());
    store.shutdown().await;
}

#[tokio::test]
async fn a_page_that_comes_too_late_is_410() {
    let place = Place::new();
    let store = small(&place, 4, usize::MAX);
    for name in ["a", "b", "c"] {
        send(&store, "POST", THINGS, Some(&thing(name, 1))).await;
    }
    let (_, first) = send(&store, "GET", &format!("{THINGS}?limit=1"), None).await;
    assert_eq!(first["metadata"]["remainingItemCount"], json!(2));
    let token = first["metadata"]["continue"].as_str().unwrap();
    let next = format!("{THINGS}?limit=1&continue={token}");
    assert_eq!(send(&store, "GET", &next, None).await.0, 200);
    grow(&store, 6).await;
    let (code, status) = send(&store, "GET", &next, None).await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
    store.shutdown().await;
}

#[tokio::test]
async fn bookmarks_pass_over_what_does_not_match() {
    let place = Place::new();
    let store = small(&place, 100, usize::MAX);
    let (_, a) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    let path = format!(
        "{THINGS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&labelSelector=k&resourceVersion={}",
        version(&a)
    );
    let running = request(&store, "GET", &path, "application/json", None).await;
    grow(&store, 3).await;
    let events = lines(running.into_body()).await;
    assert!(events.len() >= 3, "{events:?}");
    assert!(events.iter().all(|e| e["type"] == "BOOKMARK"), "{events:?}");
    let last = &events[events.len() - 1]["object"];
    assert_eq!(version(last), version(&a) + 3);
    assert_eq!((&last["kind"], &last["apiVersion"]), (&json!("Thing"), &json!("test.example/v1")));
    store.shutdown().await;
}

#[tokio::test]
async fn many_watches_see_every_change_once_and_in_order() {
    let place = Place::new();
    let store = place.open();
    let (_, a) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    let path = format!("{THINGS}?watch=true&resourceVersion={}", version(&a));
    let watches: Vec<_> = (0..20)
        .map(|_| {
            let (store, path) = (store.clone(), path.clone());
            tokio::spawn(async move { watch(&store, &path).await })
        })
        .collect();
    while store.figures().watches < 20 {
        tokio::task::yield_now().await;
    }
    let writers = (0..4).map(|w| {
        let store = store.clone();
        async move {
            for n in 0..50 {
                let (code, _) = send(&store, "POST", THINGS, Some(&thing(&format!("w{w}-{n}"), n))).await;
                assert_eq!(code, 201);
            }
        }
    });
    futures::future::join_all(writers).await;
    let head = store.shared.image.read().head();
    store.clone().shutdown().await;
    for events in watches {
        let seen: Vec<u64> = events.await.unwrap().iter().map(|e| version(&e["object"])).collect();
        assert_eq!(seen, (version(&a) + 1..=head).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_a_busy_store_ends_in_time_and_gets_its_bookmarks() {
    let place = Place::new();
    let store = small(&place, 1000, usize::MAX);
    let (_, a) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    let busy = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0.. {
                let body = json!({ "metadata": { "annotations": { "n": n.to_string() } } });
                send(&store, "PATCH", &format!("{THINGS}/a"), Some(&body)).await;
            }
        }
    });
    let watches = ["", "no=match"].map(|selector| {
        let path = format!(
            "{THINGS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={}&labelSelector={selector}",
            version(&a)
        );
        let store = store.clone();
        tokio::time::timeout(Duration::from_secs(20), async move { watch(&store, &path).await })
    });
    for events in futures::future::join_all(watches).await {
        let events = events.expect("the watch ends");
        let bookmarks = events.iter().filter(|e| e["type"] == "BOOKMARK").count();
        assert!(bookmarks >= 3, "{bookmarks} bookmarks in {} events", events.len());
        assert_eq!(events[events.len() - 1]["type"], "BOOKMARK");
        let versions: Vec<u64> = events.iter().map(|e| version(&e["object"])).collect();
        assert!(versions.is_sorted(), "{versions:?}");
    }
    // A store that is shut down answers at once: a writer that never waits could not be aborted then.
    busy.abort();
    assert!(busy.await.is_err_and(|ended| ended.is_cancelled()));
    store.shutdown().await;
}
