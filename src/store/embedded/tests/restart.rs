//! Closing and opening: what stays, what is brought up to date, who may open.

use std::os::unix::fs::PermissionsExt as _;

use super::super::object::{Draft, Object};
use super::super::write::{Content, Write};
use super::super::{Embedded, OpenError};
use super::*;

#[tokio::test]
async fn objects_and_versions_stay() {
    let place = Place::new();
    let store = place.open();
    let (_, a) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    send(&store, "POST", THINGS, Some(&thing("b", 2))).await;
    send(&store, "DELETE", &format!("{THINGS}/b"), None).await;
    let (_, before) = send(&store, "GET", THINGS, None).await;
    store.shutdown().await;

    let store = place.open();
    let (_, after) = send(&store, "GET", THINGS, None).await;
    assert_eq!(after, before);
    assert_eq!(after["items"][0], a);
    // The deletion was the newest write: the next one must not get its number again.
    let (_, c) = send(&store, "POST", THINGS, Some(&thing("c", 3))).await;
    assert_eq!(version(&c), version(&before) + 1);
    store.shutdown().await;
}

#[tokio::test]
async fn a_watch_from_before_a_restart_is_lost_unless_nothing_happened() {
    let place = Place::new();
    let store = place.open();
    let (_, a) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    let (_, b) = send(&store, "POST", THINGS, Some(&thing("b", 1))).await;
    store.shutdown().await;
    let store = place.open();
    let old = format!("{THINGS}?watch=true&timeoutSeconds=1&resourceVersion={}", version(&a));
    let events = watch(&store, &old).await;
    assert_eq!(events[0]["object"]["code"], 410, "{events:?}");
    let newest = format!("{THINGS}?watch=true&timeoutSeconds=1&resourceVersion={}", version(&b));
    assert_eq!(watch(&store, &newest).await, Vec::<Value>::new());
    store.shutdown().await;
}

#[tokio::test]
async fn the_file_is_private_and_locked() {
    let place = Place::new();
    let path = place.options().path;
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = place.open();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Embedded::open(place.options(), vec![]);
    assert!(matches!(second, Err(OpenError::Locked)), "{second:?}");
    store.shutdown().await;
    Embedded::open(place.options(), vec![]).unwrap().shutdown().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let place = Place::new();
    std::fs::write(place.options().path, "this is not a database").unwrap();
    assert!(matches!(Embedded::open(place.options(), vec![]), Err(OpenError::Database(_))));
}

#[tokio::test]
async fn a_new_schema_brings_its_defaults_and_keeps_what_it_does_not_know() {
    let place = Place::new();
    let with_old = vec![things(json!({ "old": { "type": "string" } }))];
    let store = Embedded::open(place.options(), with_old).unwrap();
    let mut body = thing("a", 1);
    body["spec"]["old"] = json!("kept");
    let (_, before) = send(&store, "POST", THINGS, Some(&body)).await;
    store.shutdown().await;

    let new = json!({ "mode": { "type": "string", "default": "fast" } });
    let store = Embedded::open(place.options(), vec![things(new.clone())]).unwrap();
    let path = format!("{THINGS}/a");
    let (_, after) = send(&store, "GET", &path, None).await;
    assert_eq!(after["spec"], json!({ "size": 1, "old": "kept", "mode": "fast" }));
    assert!(version(&after) > version(&before));
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    store.shutdown().await;

    // It is written once; and the next write of the object drops what is unknown.
    let store = Embedded::open(place.options(), vec![things(new)]).unwrap();
    let (_, again) = send(&store, "GET", &path, None).await;
    assert_eq!(again, after);
    let (_, grown) = send(&store, "PATCH", &path, Some(&json!({ "spec": { "size": 2 } }))).await;
    assert_eq!(grown["spec"], json!({ "size": 2, "mode": "fast" }));
    store.shutdown().await;
}

#[tokio::test]
async fn an_object_that_no_longer_fits_is_served_and_its_next_write_is_checked() {
    let place = Place::new();
    let store = place.open();
    send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    store.shutdown().await;
    let strict = json!({ "size": { "type": "integer", "minimum": 10 } });
    let store = Embedded::open(place.options(), vec![things(strict)]).unwrap();
    let path = format!("{THINGS}/a");
    assert_eq!(send(&store, "GET", &path, None).await.0, 200);
    // What does not touch the spec still goes: a finalizer must be removable.
    let label = json!({ "metadata": { "labels": { "k": "v" } } });
    assert_eq!(send(&store, "PATCH", &path, Some(&label)).await.0, 200);
    assert_eq!(send(&store, "PATCH", &path, Some(&json!({ "spec": { "size": 2 } }))).await.0, 422);
    assert_eq!(send(&store, "PATCH", &path, Some(&json!({ "spec": { "size": 12 } }))).await.0, 200);
    store.shutdown().await;
}

#[tokio::test]
async fn objects_of_kinds_no_longer_served_are_not_lost() {
    let place = Place::new();
    let store = place.open();
    let (_, a) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    store.shutdown().await;
    let store = Embedded::open(place.options(), vec![]).unwrap();
    assert_eq!(send(&store, "GET", THINGS, None).await.0, 404);
    store.shutdown().await;
    let store = place.open();
    assert_eq!(send(&store, "GET", &format!("{THINGS}/a"), None).await, (200, a));
    store.shutdown().await;
}

#[tokio::test]
async fn after_shutdown_writes_are_refused_and_watches_end() {
    let place = Place::new();
    let store = place.open();
    let running = tokio::spawn({
        let store = store.clone();
        async move { watch(&store, &format!("{THINGS}?watch=true")).await }
    });
    while store.figures().watches == 0 {
        tokio::task::yield_now().await;
    }
    store.clone().shutdown().await;
    assert_eq!(running.await.unwrap(), Vec::<Value>::new());
    let (code, status) = send(&store, "POST", THINGS, Some(&thing("a", 1))).await;
    assert_eq!((code, &status["reason"]), (503, &json!("ServiceUnavailable")));
}

/// Writes an event that expires at `expires`, past admission.
async fn event(store: &Embedded, name: &str, expires: i64) {
    let kind = store.shared.kinds.find("events.k8s.io", "v1", "events").unwrap();
    let object = json!({ "metadata": { "name": name, "namespace": "default" }, "note": "x" });
    let object: Object = serde_json::from_value(object).unwrap();
    let content = Content::Put(Draft::new(kind, object, Some(expires)));
    let path = format!("default/{name}");
    store.shared.queue.write(Write { shelf: kind.shelf, path, expected: None, content }).await.unwrap();
}

#[tokio::test]
async fn events_expire_and_the_oldest_go_first() {
    let place = Place::new();
    let mut options = place.options();
    options.events = 3;
    options.sweep_every = std::time::Duration::from_millis(20);
    let store = Embedded::open(options, vec![]).unwrap();
    let now = jiff::Timestamp::now().as_second();
    event(&store, "past", now - 1).await;
    for (name, left) in [("second", 2000), ("first", 1000), ("third", 3000), ("fourth", 4000)] {
        event(&store, name, now + left).await;
    }
    let list = "/apis/events.k8s.io/v1/namespaces/default/events";
    let names = loop {
        let (_, events) = send(&store, "GET", list, None).await;
        let items = events["items"].as_array().unwrap();
        if items.len() <= 3 {
            break items
                .iter()
                .map(|e| e["metadata"]["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(names, ["fourth", "second", "third"]);
    store.shutdown().await;
}

#[tokio::test]
async fn an_event_lives_an_hour_after_it_was_last_seen() {
    use super::super::admission::expiry;
    let place = Place::new();
    let store = Embedded::open(place.options(), vec![]).unwrap();
    let kind = store.shared.kinds.find("events.k8s.io", "v1", "events").unwrap();
    let now: jiff::Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let at = |more: Value| {
        let mut object = json!({ "metadata": { "creationTimestamp": "2026-01-01T10:00:00Z" } });
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let object: Object = serde_json::from_value(object).unwrap();
        let seconds = expiry(kind, &object, now).unwrap();
        jiff::Timestamp::from_second(seconds).unwrap().to_string()
    };
    assert_eq!(at(json!({})), "2026-01-01T11:00:00Z");
    let seen = json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T10:30:00.000001Z" } });
    assert_eq!(at(seen), "2026-01-01T11:30:00Z");
    let future = json!({ "deprecatedLastTimestamp": "2036-01-01T00:00:00Z" });
    assert_eq!(at(future), "2026-01-01T13:00:00Z");
    store.shutdown().await;
}
