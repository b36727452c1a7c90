//! Watches, read as raw events: what kube's watcher builds upon.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::cases;
use crate::harness::{Case, Context, version, widget_path};
use crate::widget::Widget;

pub fn cases() -> Vec<Case> {
    let mut cases = cases![
        events_arrive_in_order,
        a_watch_from_a_version_misses_nothing,
        a_watch_without_a_version_begins_with_what_is_there,
        deleted_carries_the_version_of_the_deletion,
        labels_come_and_go,
        selectable_fields_come_and_go,
        streaming_list,
        streaming_list_needs_the_right_match,
        a_watch_ends_at_its_timeout,
        a_lost_window_is_an_event,
        watch_of_metadata,
        watch_of_one_name,
        finalizer_release_is_one_deletion,
    ];
    cases.extend(cases![embedded only: a_version_from_the_future_is_lost_too]);
    cases
}

type Events = Pin<Box<dyn Stream<Item = WatchEvent<Widget>> + Send>>;

fn params(c: &Context) -> WatchParams {
    WatchParams::default().labels(&c.label()).timeout(40)
}

async fn watch(c: &Context, params: &WatchParams, from: &str) -> Events {
    c.widgets().watch(params, from).await.unwrap().map(|e| e.expect("an event")).boxed()
}

/// The next event that is no bookmark, as (type, name, version).
async fn next(events: &mut Events) -> (&'static str, String, u64) {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
        match event.expect("in time").expect("an event") {
            WatchEvent::Added(o) => return ("ADDED", o.name_any(), version(&o)),
            WatchEvent::Modified(o) => return ("MODIFIED", o.name_any(), version(&o)),
            WatchEvent::Deleted(o) => return ("DELETED", o.name_any(), version(&o)),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => panic!("{status}"),
        }
    }
}

async fn patched(c: &Context, widget: &Widget, patch: serde_json::Value) -> Widget {
    c.widgets().patch(&widget.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap()
}

async fn now(c: &Context) -> String {
    let list = c.widgets().list(&ListParams::default().limit(1)).await.unwrap();
    list.metadata.resource_version.unwrap()
}

async fn events_arrive_in_order(c: Context) {
    let mut events = watch(&c, &params(&c), &now(&c).await).await;
    let made = c.made("a").await;
    let grown = patched(&c, &made, json!({ "spec": { "size": 2 } })).await;
    let ready = json!({ "status": { "phase": "Ready" } });
    let ready = c
        .widgets()
        .patch_status(&made.name_any(), &PatchParams::default(), &Patch::Merge(&ready))
        .await
        .unwrap();
    c.remove(&made).await;
    assert_eq!(next(&mut events).await, ("ADDED", made.name_any(), version(&made)));
    assert_eq!(next(&mut events).await, ("MODIFIED", made.name_any(), version(&grown)));
    assert_eq!(next(&mut events).await, ("MODIFIED", made.name_any(), version(&ready)));
    let (what, name, at) = next(&mut events).await;
    assert_eq!((what, name), ("DELETED", made.name_any()));
    assert!(at > version(&ready));
}

async fn a_watch_from_a_version_misses_nothing(c: Context) {
    let first = c.made("a").await;
    let second = c.made("b").await;
    let mut events = watch(&c, &params(&c), &first.resource_version().unwrap()).await;
    assert_eq!(next(&mut events).await, ("ADDED", second.name_any(), version(&second)));
    c.remove(&first).await;
    c.remove(&second).await;
}

async fn a_watch_without_a_version_begins_with_what_is_there(c: Context) {
    let made = c.made("a").await;
    for from in ["", "0"] {
        let mut events = watch(&c, &params(&c), from).await;
        assert_eq!(next(&mut events).await, ("ADDED", made.name_any(), version(&made)), "from '{from}'");
    }
    c.remove(&made).await;
}

async fn deleted_carries_the_version_of_the_deletion(c: Context) {
    let made = c.made("a").await;
    let mut events = watch(&c, &params(&c), &made.resource_version().unwrap()).await;
    c.remove(&made).await;
    let (what, _, at) = next(&mut events).await;
    assert_eq!(what, "DELETED");
    assert!(at > version(&made));
    // It can be resumed from: what came before is not repeated.
    let mut events = watch(&c, &params(&c), &at.to_string()).await;
    let again = c.made("b").await;
    assert_eq!(next(&mut events).await, ("ADDED", again.name_any(), version(&again)));
    c.remove(&again).await;
}

async fn labels_come_and_go(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let gold = params(&c).labels(&format!("{},tier=gold", c.label()));
    let mut events = watch(&c, &gold, &made.resource_version().unwrap()).await;
    patched(&c, &made, json!({ "spec": { "size": 2 } })).await;
    let came = patched(&c, &made, json!({ "metadata": { "labels": { "tier": "gold" } } })).await;
    let changed = patched(&c, &made, json!({ "spec": { "size": 3 } })).await;
    let went = patched(&c, &made, json!({ "metadata": { "labels": { "tier": "lead" } } })).await;
    patched(&c, &made, json!({ "spec": { "size": 4 } })).await;
    let back = patched(&c, &made, json!({ "metadata": { "labels": { "tier": "gold" } } })).await;
    assert_eq!(next(&mut events).await, ("ADDED", name.clone(), version(&came)));
    assert_eq!(next(&mut events).await, ("MODIFIED", name.clone(), version(&changed)));
    assert_eq!(next(&mut events).await, ("DELETED", name.clone(), version(&went)));
    assert_eq!(next(&mut events).await, ("ADDED", name, version(&back)));
    c.remove(&made).await;
}

async fn selectable_fields_come_and_go(c: Context) {
    let made = c.made("a").await;
    let mine = params(&c).fields(&format!("spec.owner={}", c.tag));
    let mut events = watch(&c, &mine, &made.resource_version().unwrap()).await;
    let came = patched(&c, &made, json!({ "spec": { "owner": c.tag } })).await;
    let went = patched(&c, &made, json!({ "spec": { "owner": null } })).await;
    assert_eq!(next(&mut events).await, ("ADDED", made.name_any(), version(&came)));
    assert_eq!(next(&mut events).await, ("DELETED", made.name_any(), version(&went)));
    c.remove(&made).await;
}

async fn streaming_list(c: Context) {
    let one = c.made("a").await;
    let two = c.made("b").await;
    let params = params(&c).initial_events();
    let mut events = watch(&c, &params, &two.resource_version().unwrap()).await;
    let mut seen = Vec::new();
    let end = loop {
        match events.next().await.expect("an event") {
            WatchEvent::Added(o) => seen.push(o.name_any()),
            WatchEvent::Bookmark(b) => break b,
            other => panic!("{other:?}"),
        }
    };
    seen.sort();
    assert_eq!(seen, [one.name_any(), two.name_any()]);
    assert_eq!(end.metadata.annotations["k8s.io/initial-events-end"], "true");
    let at: u64 = end.metadata.resource_version.parse().unwrap();
    assert!(at >= version(&two));
    c.remove(&one).await;
    let (what, name, _) = next(&mut events).await;
    assert_eq!((what, name), ("DELETED", one.name_any()));
    c.remove(&two).await;
}

async fn streaming_list_needs_the_right_match(c: Context) {
    let path = format!("{}?watch=true&sendInitialEvents=true", widget_path(""));
    let (code, status) = c.raw("GET", &path, "application/json", "").await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{status}");
}

async fn a_watch_ends_at_its_timeout(c: Context) {
    let started = Instant::now();
    let params = params(&c).timeout(2);
    let mut events = watch(&c, &params, &now(&c).await).await;
    while let Some(event) = events.next().await {
        assert!(matches!(event, WatchEvent::Bookmark(_)), "{event:?}");
    }
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(15), "{took:?}");
}

async fn a_lost_window_is_an_event(c: Context) {
    c.made("a").await;
    let mut events = c.widgets().watch(&params(&c), "1").await.unwrap().boxed();
    match events.next().await.expect("an event") {
        Ok(WatchEvent::Error(status)) => assert_eq!(status.code, 410, "{status}"),
        other => panic!("{other:?}"),
    }
    c.widgets().delete(&c.name("a"), &Default::default()).await.unwrap();
}

/// Kubernetes waits and answers 504; kube's watcher would then ask the same for ever. A version from the
/// future means a restored database: the client has to list again.
async fn a_version_from_the_future_is_lost_too(c: Context) {
    let mut events = c.widgets().watch(&params(&c), "999999999999").await.unwrap().boxed();
    match events.next().await.expect("an event") {
        Ok(WatchEvent::Error(status)) => assert_eq!(status.code, 410, "{status}"),
        other => panic!("{other:?}"),
    }
}

async fn watch_of_metadata(c: Context) {
    let made = c.made("a").await;
    c.cached(&made).await;
    let mut events = c.widgets().watch_metadata(&params(&c), "0").await.unwrap().boxed();
    match events.try_next().await.unwrap().expect("an event") {
        WatchEvent::Added(o) => {
            assert_eq!(o.types.as_ref().unwrap().kind, "PartialObjectMetadata");
            assert_eq!(o.metadata.uid, made.metadata.uid);
        }
        other => panic!("{other:?}"),
    }
    c.remove(&made).await;
}

async fn watch_of_one_name(c: Context) {
    let mine = c.made("a").await;
    let one = WatchParams::default().fields(&format!("metadata.name={}", mine.name_any())).timeout(40);
    let mut events = watch(&c, &one, &mine.resource_version().unwrap()).await;
    let other = c.made("b").await;
    let grown = patched(&c, &mine, json!({ "spec": { "size": 2 } })).await;
    assert_eq!(next(&mut events).await, ("MODIFIED", mine.name_any(), version(&grown)));
    c.remove(&mine).await;
    c.remove(&other).await;
}

async fn finalizer_release_is_one_deletion(c: Context) {
    let mut widget = c.widget("a", json!({ "size": 1 }));
    widget.metadata.finalizers = Some(vec!["conformance.bricklayer.dev/hold".to_owned()]);
    let made = c.widgets().create(&Default::default(), &widget).await.unwrap();
    let mut events = watch(&c, &params(&c), &made.resource_version().unwrap()).await;
    c.widgets().delete(&made.name_any(), &Default::default()).await.unwrap();
    patched(&c, &made, json!({ "metadata": { "finalizers": null } })).await;
    let after = c.made("b").await;
    assert_eq!(next(&mut events).await.0, "MODIFIED");
    assert_eq!(next(&mut events).await.0, "DELETED");
    assert_eq!(next(&mut events).await, ("ADDED", after.name_any(), version(&after)));
    c.remove(&after).await;
}
