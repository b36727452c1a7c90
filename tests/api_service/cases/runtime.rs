//! kube's runtime, unchanged, on the server: watcher, reflector, controller, finalizer, recorder, discovery.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::events::v1::Event as StoredEvent;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Error as FinalizerError, Event as Finalizing, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use crate::cases;
use crate::harness::{Case, Context};
use crate::widget::{Widget, WidgetStatus};

pub fn cases() -> Vec<Case> {
    cases![
        watcher_by_list_and_watch,
        watcher_by_streaming_list,
        reflector_follows,
        controller_with_finalizer_and_status,
        recorder_writes_and_counts,
        await_condition_sees_status_and_deletion,
        entry_gets_or_creates,
        discovery,
    ]
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("in time")
}

/// Initial state, then a change, then a deletion.
async fn follow(c: &Context, config: watcher::Config) {
    let (one, two) = (c.made("a").await, c.made("b").await);
    c.cached(&two).await; // a streaming list begins at version "0"
    let mut stream = watcher(c.widgets(), config.labels(&c.label())).boxed();
    let mut initial = Vec::new();
    loop {
        match in_time(stream.try_next()).await.unwrap().unwrap() {
            watcher::Event::Init => initial.clear(),
            watcher::Event::InitApply(o) => initial.push(o.name_any()),
            watcher::Event::InitDone => break,
            other => panic!("{other:?}"),
        }
    }
    initial.sort();
    assert_eq!(initial, [one.name_any(), two.name_any()]);
    let grow = json!({ "spec": { "size": 3 } });
    c.widgets().patch(&one.name_any(), &PatchParams::default(), &Patch::Merge(&grow)).await.unwrap();
    match in_time(stream.try_next()).await.unwrap().unwrap() {
        watcher::Event::Apply(o) => assert_eq!((o.name_any(), o.spec.size), (one.name_any(), 3)),
        other => panic!("{other:?}"),
    }
    c.remove(&two).await;
    match in_time(stream.try_next()).await.unwrap().unwrap() {
        watcher::Event::Delete(o) => assert_eq!(o.name_any(), two.name_any()),
        other => panic!("{other:?}"),
    }
    c.remove(&one).await;
}

async fn watcher_by_list_and_watch(c: Context) {
    follow(&c, watcher::Config::default().page_size(1)).await;
}

async fn watcher_by_streaming_list(c: Context) {
    follow(&c, watcher::Config::default().streaming_lists()).await;
}

async fn reflector_follows(c: Context) {
    let made = c.made("a").await;
    let (reader, writer) = reflector::store::<Widget>();
    let config = watcher::Config::default().labels(&c.label());
    let stream = watcher(c.widgets(), config).reflect(writer).applied_objects();
    let task = tokio::spawn(async move { stream.for_each(|_| async {}).await });
    in_time(reader.wait_until_ready()).await.unwrap();
    assert!(reader.get(&reflector::ObjectRef::from_obj(&made)).is_some());
    task.abort();
    c.remove(&made).await;
}

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("the API")]
    Api(#[from] kube::Error),
    #[error("the finalizer")]
    Finalizer(#[source] Box<FinalizerError<ReconcileError>>),
}

struct Controlled {
    api: Api<Widget>,
    cleaned: AtomicUsize,
}

async fn reconcile(widget: Arc<Widget>, context: Arc<Controlled>) -> Result<Action, ReconcileError> {
    const NAME: &str = "conformance.bricklayer.dev/controller";
    let api = context.api.clone();
    let step = |event: Finalizing<Widget>| {
        let context = context.clone();
        async move {
            match event {
                Finalizing::Apply(widget) => {
                    let status = WidgetStatus {
                        phase: Some("Ready".to_owned()),
                        observed_generation: widget.metadata.generation,
                        ..Default::default()
                    };
                    if widget.status.as_ref() == Some(&status) {
                        return Ok(Action::await_change());
                    }
                    let mut new = Arc::unwrap_or_clone(widget);
                    new.status = Some(status);
                    match context.api.replace_status(&new.name_any(), &PostParams::default(), &new).await {
                        Err(kube::Error::Api(status)) if status.is_conflict() => {
                            Ok(Action::requeue(Duration::from_millis(20)))
                        }
                        other => other.map(|_| Action::await_change()).map_err(ReconcileError::Api),
                    }
                }
                Finalizing::Cleanup(_) => {
                    context.cleaned.fetch_add(1, Ordering::SeqCst);
                    Ok(Action::await_change())
                }
            }
        }
    };
    finalizer(&api, NAME, widget, step).await.map_err(|e| ReconcileError::Finalizer(Box::new(e)))
}

async fn controller_with_finalizer_and_status(c: Context) {
    let context = Arc::new(Controlled { api: c.widgets(), cleaned: AtomicUsize::new(0) });
    let config = watcher::Config::default().labels(&c.label());
    let controller = Controller::new(c.widgets(), config)
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(50)), context.clone())
        .for_each(|_| async {});
    let task = tokio::spawn(controller);
    let made = c.made("a").await;
    let name = made.name_any();
    let ready = |generation: i64| {
        move |w: Option<&Widget>| {
            let status = w.and_then(|w| w.status.as_ref());
            status.is_some_and(|s| s.observed_generation == Some(generation))
        }
    };
    in_time(await_condition(c.widgets(), &name, ready(1))).await.unwrap();
    let grow = json!({ "spec": { "size": 3 } });
    c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&grow)).await.unwrap();
    in_time(await_condition(c.widgets(), &name, ready(2))).await.unwrap();
    c.widgets().delete(&name, &Default::default()).await.unwrap();
    in_time(await_condition(c.widgets(), &name, conditions::is_deleted(&made.uid().unwrap()))).await.unwrap();
    assert_eq!(context.cleaned.load(Ordering::SeqCst), 1);
    task.abort();
}

async fn recorder_writes_and_counts(c: Context) {
    let made = c.made("a").await;
    let reporter =
        Reporter { controller: "conformance.bricklayer.dev/tests".to_owned(), instance: Some(c.tag.clone()) };
    let recorder = Recorder::new(c.client.clone(), reporter);
    let event = Event {
        type_: EventType::Normal,
        reason: "Tested".to_owned(),
        note: Some("once more".to_owned()),
        action: "Testing".to_owned(),
        secondary: None,
    };
    for _ in 0..3 {
        recorder.publish(&event, &made.object_ref(&())).await.unwrap();
    }
    let api: Api<StoredEvent> = Api::namespaced(c.client.clone(), "default");
    let all = api.list(&ListParams::default().fields("reason=Tested")).await.unwrap();
    let mine: Vec<_> = all.items.iter().filter(|e| e.reporting_instance.as_ref() == Some(&c.tag)).collect();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0].series.as_ref().unwrap().count, 3);
    api.delete(&mine[0].name_any(), &Default::default()).await.unwrap();
    c.remove(&made).await;
}

async fn await_condition_sees_status_and_deletion(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let seen = await_condition(c.widgets(), &name, |w: Option<&Widget>| {
        w.and_then(|w| w.status.as_ref()).is_some_and(|s| s.phase.as_deref() == Some("Ready"))
    });
    let write = async {
        let patch = json!({ "status": { "phase": "Ready" } });
        c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    };
    let (seen, ()) = in_time(futures::future::join(seen, write)).await;
    seen.unwrap();
    let uid = made.uid().unwrap();
    let gone = await_condition(c.widgets(), &name, conditions::is_deleted(&uid));
    let (gone, ()) = in_time(futures::future::join(gone, c.remove(&made))).await;
    gone.unwrap();
}

async fn entry_gets_or_creates(c: Context) {
    let (api, name) = (c.widgets(), c.name("a"));
    for expected in [1, 2] {
        let fresh = c.widget("a", json!({ "size": 1 }));
        let entry = api.entry(&name).await.unwrap().or_insert(|| fresh);
        let mut entry = entry.and_modify(|w| w.spec.size = expected);
        entry.commit(&PostParams::default()).await.unwrap();
        assert_eq!(c.widgets().get(&name).await.unwrap().spec.size, expected);
    }
    c.widgets().delete(&name, &Default::default()).await.unwrap();
}

async fn discovery(c: Context) {
    let found = kube::Discovery::new(c.client.clone())
        .filter(&["conformance.bricklayer.dev", "coordination.k8s.io"])
        .run()
        .await
        .unwrap();
    let (resource, capabilities) = found
        .resolve_gvk(&kube::core::GroupVersionKind::gvk("conformance.bricklayer.dev", "v1", "Widget"))
        .unwrap();
    assert_eq!(resource.plural, "widgets");
    assert_eq!(capabilities.scope, kube::discovery::Scope::Cluster);
    assert!(
        capabilities.subresources.iter().any(|(r, _)| r.plural == "status"),
        "{:?}",
        capabilities.subresources
    );
    assert!(found.has_group("coordination.k8s.io"));
    assert_eq!(c.client.apiserver_version().await.unwrap().major, "1");
}
