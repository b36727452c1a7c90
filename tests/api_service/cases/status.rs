//! The status subresource.

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cases;
use crate::harness::{Case, Context, invalid, refused, version};
use crate::widget::WidgetStatus;

pub fn cases() -> Vec<Case> {
    cases![
        status_touches_status_alone,
        the_object_does_not_touch_status,
        status_can_be_cleared,
        status_with_a_stale_version,
        status_without_a_version,
        status_is_validated,
        status_is_pruned,
        status_can_be_read_and_patched,
        status_of_nothing,
        conditions_have_one_of_each_type,
    ]
}

fn phase(text: &str) -> Option<WidgetStatus> {
    Some(WidgetStatus { phase: Some(text.to_owned()), ..Default::default() })
}

async fn status_touches_status_alone(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.status = phase("Ready");
    new.spec.size = 50;
    new.metadata.labels = None;
    new.metadata.annotations = Some([("a/b".to_owned(), "c".to_owned())].into());
    let after = c.widgets().replace_status(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    assert_eq!(after.status, phase("Ready"));
    assert_eq!(after.spec, made.spec);
    assert_eq!(after.labels(), made.labels());
    assert!(after.annotations().is_empty());
    assert_eq!(after.metadata.generation, Some(1));
    c.remove(&made).await;
}

async fn the_object_does_not_touch_status(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.status = phase("Ready");
    let with = c.widgets().replace_status(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    let mut new = with.clone();
    new.status = None;
    new.spec.size = 3;
    let after = c.widgets().replace(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    assert_eq!(after.status, phase("Ready"));
    assert_eq!(after.spec.size, 3);
    let patch = json!({ "status": { "phase": "Forged" } });
    let after =
        c.widgets().patch(&made.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(after.status, phase("Ready"));
    c.remove(&made).await;
}

async fn status_can_be_cleared(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.status = Some(WidgetStatus { count: Some(3), ..phase("Ready").unwrap() });
    let with = c.widgets().replace_status(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    let mut new = with.clone();
    new.status = phase("Lost");
    let after = c.widgets().replace_status(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    assert_eq!(after.status, phase("Lost"));
    c.remove(&made).await;
}

async fn status_with_a_stale_version(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.status = phase("One");
    c.widgets().replace_status(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    new.status = phase("Two");
    let result = c.widgets().replace_status(&made.name_any(), &PostParams::default(), &new).await;
    refused(result, 409, "Conflict");
    c.remove(&made).await;
}

async fn status_without_a_version(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.metadata.resource_version = None;
    new.status = phase("One");
    let result = c.widgets().replace_status(&made.name_any(), &PostParams::default(), &new).await;
    invalid(result, &["metadata.resourceVersion"]);
    c.remove(&made).await;
}

async fn status_is_validated(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let mut new = made.clone();
    new.status = Some(WidgetStatus { count: Some(-1), ..Default::default() });
    let result = c.widgets().replace_status(&name, &PostParams::default(), &new).await;
    invalid(result, &["status.count"]);
    let patch = json!({ "status": { "phase": 7 } });
    let result = c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    invalid(result, &["status.phase"]);
    c.remove(&made).await;
}

async fn status_is_pruned(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let patch = json!({ "status": { "phase": "Ready", "invented": 1 } });
    let after =
        c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let again =
        c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(version(&after), version(&again));
    let (_, raw) = c.raw("GET", &crate::harness::widget_path(&name), "application/json", "").await;
    assert_eq!(raw["status"], json!({ "phase": "Ready" }));
    c.remove(&made).await;
}

async fn status_can_be_read_and_patched(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let patch = json!({ "status": { "observedGeneration": 1 }, "spec": { "size": 99 } });
    let after =
        c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(after.spec.size, 1);
    let read = c.widgets().get_status(&name).await.unwrap();
    assert_eq!(read.status, after.status);
    assert_eq!(read.spec, after.spec);
    assert_eq!(version(&read), version(&after));
    c.remove(&made).await;
}

async fn status_of_nothing(c: Context) {
    let mut widget = c.widget("none", json!({ "size": 1 }));
    widget.metadata.resource_version = Some("1".to_owned());
    let result = c.widgets().replace_status(&widget.name_any(), &PostParams::default(), &widget).await;
    refused(result, 404, "NotFound");
}

async fn conditions_have_one_of_each_type(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "Because", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        })
    };
    let good = json!({ "status": { "conditions": [condition("Ready"), condition("Placed")] } });
    let after = c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&good)).await.unwrap();
    assert_eq!(after.status.unwrap().conditions.len(), 2);
    let twice = json!({ "status": { "conditions": [condition("Ready"), condition("Ready")] } });
    let result = c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&twice)).await;
    let status = invalid(result, &["status.conditions[1]"]);
    assert_eq!(status.details.unwrap().causes[0].reason, "FieldValueDuplicate");
    let mut late = condition("Ready");
    late["lastTransitionTime"] = json!("yesterday");
    let late = json!({ "status": { "conditions": [late] } });
    let result = c.widgets().patch_status(&name, &PatchParams::default(), &Patch::Merge(&late)).await;
    invalid(result, &["status.conditions[0].lastTransitionTime"]);
    c.remove(&made).await;
}
