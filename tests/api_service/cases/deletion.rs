//! Deletion, finalizers, preconditions.

use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::response::StatusSummary;
use serde_json::json;

use crate::cases;
use crate::harness::{Case, Context, invalid, refused, version};
use crate::widget::Widget;

const FINALIZER: &str = "conformance.bricklayer.dev/hold";

pub fn cases() -> Vec<Case> {
    cases![
        delete_answers_with_a_status,
        delete_of_nothing,
        finalizers_hold_the_object,
        the_last_finalizer_lets_go,
        deletion_is_marked_once,
        no_new_finalizers_while_deleting,
        spec_and_status_can_change_while_deleting,
        deletion_time_cannot_be_written,
        preconditions,
        a_new_object_of_the_same_name_is_another,
    ]
}

async fn held(c: &Context, what: &str) -> Widget {
    let mut widget = c.widget(what, json!({ "size": 1 }));
    widget.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    c.widgets().create(&PostParams::default(), &widget).await.unwrap()
}

async fn delete_answers_with_a_status(c: Context) {
    let made = c.made("a").await;
    let answer = c.widgets().delete(&made.name_any(), &DeleteParams::default()).await.unwrap();
    let status = answer.right().expect("a status");
    assert_eq!(status.status, Some(StatusSummary::Success));
    let details = status.details.expect("details");
    assert_eq!(details.name, made.name_any());
    assert_eq!(Some(details.uid), made.uid());
    assert!(c.widgets().get_opt(&made.name_any()).await.unwrap().is_none());
}

async fn delete_of_nothing(c: Context) {
    refused(c.widgets().delete(&c.name("none"), &DeleteParams::default()).await, 404, "NotFound");
}

async fn finalizers_hold_the_object(c: Context) {
    let made = held(&c, "a").await;
    let answer = c.widgets().delete(&made.name_any(), &DeleteParams::default()).await.unwrap();
    let marked = answer.left().expect("the object");
    assert!(marked.metadata.deletion_timestamp.is_some());
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(0));
    assert_eq!(marked.metadata.generation, Some(2));
    assert!(version(&marked) > version(&made));
    let read = c.widgets().get(&made.name_any()).await.unwrap();
    assert_eq!(version(&read), version(&marked));
    c.remove(&made).await;
    assert!(c.widgets().get_opt(&made.name_any()).await.unwrap().is_none());
}

async fn the_last_finalizer_lets_go(c: Context) {
    let made = held(&c, "a").await;
    let name = made.name_any();
    c.widgets().delete(&name, &DeleteParams::default()).await.unwrap();
    let mut new = c.widgets().get(&name).await.unwrap();
    new.metadata.finalizers = None;
    let last = c.widgets().replace(&name, &PostParams::default(), &new).await.unwrap();
    assert!(last.finalizers().is_empty());
    assert!(c.widgets().get_opt(&name).await.unwrap().is_none());
}

async fn deletion_is_marked_once(c: Context) {
    let made = held(&c, "a").await;
    let name = made.name_any();
    let first = c.widgets().delete(&name, &DeleteParams::default()).await.unwrap().left().unwrap();
    let second = c.widgets().delete(&name, &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(version(&first), version(&second));
    assert_eq!(first.metadata.deletion_timestamp, second.metadata.deletion_timestamp);
    c.remove(&made).await;
}

async fn no_new_finalizers_while_deleting(c: Context) {
    let made = held(&c, "a").await;
    let name = made.name_any();
    c.widgets().delete(&name, &DeleteParams::default()).await.unwrap();
    let more = json!({ "metadata": { "finalizers": [FINALIZER, "conformance.bricklayer.dev/more"] } });
    let result = c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&more)).await;
    invalid(result, &["metadata.finalizers"]);
    c.remove(&made).await;
}

async fn spec_and_status_can_change_while_deleting(c: Context) {
    let made = held(&c, "a").await;
    let name = made.name_any();
    c.widgets().delete(&name, &DeleteParams::default()).await.unwrap();
    let grow = json!({ "spec": { "size": 2 } });
    let after = c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&grow)).await.unwrap();
    assert_eq!(after.metadata.generation, Some(3));
    let status = json!({ "status": { "phase": "Going" } });
    let after =
        c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert!(after.metadata.deletion_timestamp.is_some());
    assert_eq!(after.status.unwrap().phase.as_deref(), Some("Going"));
    c.remove(&made).await;
}

async fn deletion_time_cannot_be_written(c: Context) {
    let made = held(&c, "a").await;
    let name = made.name_any();
    let patch = json!({ "metadata": { "deletionTimestamp": "2020-01-01T00:00:00Z" } });
    let result = c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    invalid(result, &["metadata.deletionTimestamp"]);
    c.widgets().delete(&name, &DeleteParams::default()).await.unwrap();
    let patch = json!({ "metadata": { "deletionTimestamp": null } });
    let after = c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert!(after.metadata.deletion_timestamp.is_some());
    c.remove(&made).await;
}

async fn preconditions(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let on = |uid: Option<String>, resource_version: Option<String>| DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version }),
        ..Default::default()
    };
    let other = Some("11111111-2222-3333-4444-555555555555".to_owned());
    refused(c.widgets().delete(&name, &on(other, None)).await, 409, "Conflict");
    let grow = json!({ "spec": { "size": 2 } });
    c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&grow)).await.unwrap();
    refused(c.widgets().delete(&name, &on(None, made.resource_version())).await, 409, "Conflict");
    let now = c.widgets().get(&name).await.unwrap();
    c.widgets().delete(&name, &on(now.uid(), now.resource_version())).await.unwrap();
    assert!(c.widgets().get_opt(&name).await.unwrap().is_none());
}

async fn a_new_object_of_the_same_name_is_another(c: Context) {
    let made = c.made("a").await;
    c.widgets().delete(&made.name_any(), &DeleteParams::default()).await.unwrap();
    let again = c.made("a").await;
    assert_ne!(again.uid(), made.uid());
    assert!(version(&again) > version(&made));
    let result = c.widgets().replace(&made.name_any(), &PostParams::default(), &made).await;
    refused(result, 409, "Conflict");
    c.remove(&again).await;
}
