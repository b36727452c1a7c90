//! Create, read, replace, patch; versions and generations.

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cases;
use crate::harness::{Case, Context, invalid, refusal, refused, version, widget_path};
use crate::widget::{Color, Widget, WidgetStatus};

pub fn cases() -> Vec<Case> {
    cases![
        create_fills_in_the_metadata,
        create_keeps_nothing_that_is_not_the_clients,
        create_twice_is_already_exists,
        create_with_generate_name,
        create_without_a_name,
        create_with_a_version,
        create_in_the_wrong_place,
        get_of_nothing,
        replace_needs_the_version,
        replace_with_a_stale_version,
        replace_with_another_uid,
        replace_of_nothing,
        replace_cannot_touch_what_is_the_servers,
        replace_under_another_name,
        a_write_that_changes_nothing,
        generation_counts_changes_of_spec,
        merge_patch,
        merge_patch_with_a_stale_version,
        patch_of_the_metadata_alone,
        json_patch,
        json_patch_that_does_not_fit,
        patch_of_nothing,
        patch_of_the_name,
        races_have_one_winner,
        unversioned_patches_all_arrive,
    ]
}

async fn create_fills_in_the_metadata(c: Context) {
    let made = c.made("a").await;
    let meta = &made.metadata;
    assert!(meta.uid.as_ref().is_some_and(|u| u.len() == 36), "{meta:?}");
    assert!(meta.creation_timestamp.is_some());
    assert_eq!(meta.generation, Some(1));
    assert!(version(&made) > 0);
    let read = c.widgets().get(&made.name_any()).await.unwrap();
    assert_eq!(read.metadata.uid, made.metadata.uid);
    assert_eq!(version(&read), version(&made));
    assert_eq!(read.spec, made.spec);
    c.remove(&made).await;
}

async fn create_keeps_nothing_that_is_not_the_clients(c: Context) {
    let mut widget = c.widget("a", json!({ "size": 2 }));
    widget.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    widget.metadata.generation = Some(77);
    widget.metadata.deletion_timestamp = None;
    widget.status = Some(WidgetStatus { phase: Some("Forged".to_owned()), ..Default::default() });
    let made = c.widgets().create(&PostParams::default(), &widget).await.unwrap();
    assert_ne!(made.metadata.uid, widget.metadata.uid);
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(made.status, None);
    c.remove(&made).await;
}

async fn create_twice_is_already_exists(c: Context) {
    let made = c.made("a").await;
    let again = c.widgets().create(&PostParams::default(), &c.widget("a", json!({ "size": 1 }))).await;
    let status = refused(again, 409, "AlreadyExists");
    let name = made.name_any();
    assert_eq!(status.message, format!("widgets.conformance.bricklayer.dev \"{name}\" already exists"));
    let details = status.details.unwrap();
    assert_eq!((details.name, details.group), (name, "conformance.bricklayer.dev".to_owned()));
    assert_eq!(details.kind, "widgets");
    c.remove(&made).await;
}

async fn create_with_generate_name(c: Context) {
    let mut widget = c.widget("", json!({ "size": 1 }));
    widget.metadata.name = None;
    widget.metadata.generate_name = Some(c.name("gen-"));
    let one = c.widgets().create(&PostParams::default(), &widget).await.unwrap();
    let two = c.widgets().create(&PostParams::default(), &widget).await.unwrap();
    for made in [&one, &two] {
        let name = made.name_any();
        let suffix = name.strip_prefix(&c.name("gen-")).expect("the prefix is kept");
        assert_eq!(suffix.len(), 5, "{name}");
        assert_eq!(made.metadata.generate_name, Some(c.name("gen-")));
    }
    assert_ne!(one.name_any(), two.name_any());
    c.remove(&one).await;
    c.remove(&two).await;
}

async fn create_without_a_name(c: Context) {
    let mut widget = c.widget("", json!({ "size": 1 }));
    widget.metadata.name = None;
    let result = c.widgets().create(&PostParams::default(), &widget).await;
    invalid(result, &["metadata.name"]);
}

async fn create_with_a_version(c: Context) {
    let mut widget = c.widget("a", json!({ "size": 1 }));
    widget.metadata.resource_version = Some("1".to_owned());
    let status = refusal(c.widgets().create(&PostParams::default(), &widget).await);
    assert!(
        status.message.contains("resourceVersion should not be set on objects to be created"),
        "{status:?}"
    );
}

async fn create_in_the_wrong_place(c: Context) {
    let body = json!({
        "apiVersion": "conformance.bricklayer.dev/v2", "kind": "Widget",
        "metadata": { "name": c.name("a") }, "spec": { "size": 1 },
    });
    let (code, status) = c.raw("POST", &widget_path(""), "application/json", body.to_string()).await;
    assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{status}");
    let body = json!({
        "apiVersion": "conformance.bricklayer.dev/v1", "kind": "Gadget",
        "metadata": { "name": c.name("a") }, "spec": { "size": 1 },
    });
    let (code, status) = c.raw("POST", &widget_path(""), "application/json", body.to_string()).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{status}");
}

async fn get_of_nothing(c: Context) {
    let name = c.name("none");
    let status = refused(c.widgets().get(&name).await, 404, "NotFound");
    assert_eq!(status.message, format!("widgets.conformance.bricklayer.dev \"{name}\" not found"));
    assert!(c.widgets().get_opt(&name).await.unwrap().is_none());
}

async fn replace_needs_the_version(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.metadata.resource_version = None;
    new.spec.size = 5;
    let result = c.widgets().replace(&made.name_any(), &PostParams::default(), &new).await;
    invalid(result, &["metadata.resourceVersion"]);
    c.remove(&made).await;
}

async fn replace_with_a_stale_version(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.spec.size = 5;
    let replaced = c.widgets().replace(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    assert!(version(&replaced) > version(&made));
    new.spec.size = 6;
    let status =
        refused(c.widgets().replace(&made.name_any(), &PostParams::default(), &new).await, 409, "Conflict");
    assert!(status.message.contains("the object has been modified"), "{}", status.message);
    assert_eq!(c.widgets().get(&made.name_any()).await.unwrap().spec.size, 5);
    c.remove(&made).await;
}

async fn replace_with_another_uid(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    new.spec.size = 5;
    refused(c.widgets().replace(&made.name_any(), &PostParams::default(), &new).await, 409, "Conflict");
    c.remove(&made).await;
}

async fn replace_of_nothing(c: Context) {
    let mut widget = c.widget("none", json!({ "size": 1 }));
    widget.metadata.resource_version = Some("1".to_owned());
    let result = c.widgets().replace(&widget.name_any(), &PostParams::default(), &widget).await;
    refused(result, 404, "NotFound");
}

async fn replace_cannot_touch_what_is_the_servers(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.metadata.generation = Some(40);
    new.metadata.creation_timestamp = None;
    new.metadata.uid = None;
    new.metadata.annotations = Some([("a/b".to_owned(), "c".to_owned())].into());
    new.status = Some(WidgetStatus { phase: Some("Forged".to_owned()), ..Default::default() });
    let replaced = c.widgets().replace(&made.name_any(), &PostParams::default(), &new).await.unwrap();
    assert_eq!(replaced.metadata.generation, Some(1));
    assert_eq!(replaced.metadata.creation_timestamp, made.metadata.creation_timestamp);
    assert_eq!(replaced.metadata.uid, made.metadata.uid);
    assert_eq!(replaced.status, None);
    assert_eq!(replaced.annotations()["a/b"], "c");
    c.remove(&made).await;
}

async fn replace_under_another_name(c: Context) {
    let made = c.made("a").await;
    let mut new = made.clone();
    new.metadata.name = Some(c.name("b"));
    refused(c.widgets().replace(&made.name_any(), &PostParams::default(), &new).await, 400, "BadRequest");
    c.remove(&made).await;
}

async fn a_write_that_changes_nothing(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let same = c.widgets().replace(&name, &PostParams::default(), &made).await.unwrap();
    assert_eq!(version(&same), version(&made));
    let patch = json!({ "spec": { "size": 1 }, "metadata": { "labels": { "case": c.tag } } });
    let same = c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(version(&same), version(&made));
    let with = WidgetStatus { phase: Some("Ready".to_owned()), ..Default::default() };
    let mut new = made.clone();
    new.status = Some(with);
    let once = c.widgets().replace_status(&name, &PostParams::default(), &new).await.unwrap();
    assert!(version(&once) > version(&made));
    let twice = c.widgets().replace_status(&name, &PostParams::default(), &once).await.unwrap();
    assert_eq!(version(&twice), version(&once));
    c.remove(&made).await;
}

async fn generation_counts_changes_of_spec(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let api = c.widgets();
    let label = json!({ "metadata": { "labels": { "other": "x" } } });
    let after = api.patch(&name, &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    assert_eq!(after.metadata.generation, Some(1));
    let grow = json!({ "spec": { "size": 9 } });
    let after = api.patch(&name, &PatchParams::default(), &Patch::Merge(&grow)).await.unwrap();
    assert_eq!(after.metadata.generation, Some(2));
    let status = json!({ "status": { "phase": "Ready" } });
    let after = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(after.metadata.generation, Some(2));
    c.remove(&made).await;
}

async fn merge_patch(c: Context) {
    let made = c.made_with("a", json!({ "size": 1, "note": "short", "owner": "me" })).await;
    let patch =
        json!({ "spec": { "note": null, "color": "Green" }, "metadata": { "annotations": { "x/y": "z" } } });
    let patched: Widget =
        c.widgets().patch(&made.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(patched.spec.note, None);
    assert_eq!(patched.spec.color, Color::Green);
    assert_eq!(patched.spec.owner.as_deref(), Some("me"));
    assert_eq!(patched.labels()["case"], c.tag);
    c.remove(&made).await;
}

async fn merge_patch_with_a_stale_version(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let grow = json!({ "spec": { "size": 3 } });
    c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&grow)).await.unwrap();
    let stale = json!({ "metadata": { "resourceVersion": made.resource_version() }, "spec": { "size": 4 } });
    let result = c.widgets().patch(&name, &PatchParams::default(), &Patch::Merge(&stale)).await;
    refused(result, 409, "Conflict");
    c.remove(&made).await;
}

async fn patch_of_the_metadata_alone(c: Context) {
    let made = c.made_with("a", json!({ "size": 1, "note": "short", "owner": "me" })).await;
    let (name, api) = (made.name_any(), c.widgets());
    let status = Patch::Merge(json!({ "status": { "phase": "Ready" } }));
    let before = api.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
    let add = Patch::Merge(json!({ "metadata": { "annotations": { "x/y": "z" } } }));
    let after = api.patch(&name, &PatchParams::default(), &add).await.unwrap();
    assert_eq!(after.annotations()["x/y"], "z");
    assert_eq!(after.labels()["case"], c.tag);
    let rest = |widget: &Widget| serde_json::to_value((&widget.spec, &widget.status)).unwrap();
    assert_eq!(rest(&after), rest(&before));
    assert_eq!(rest(&after)[1]["phase"], "Ready");
    let again = api.patch(&name, &PatchParams::default(), &add).await.unwrap();
    assert_eq!(version(&again), version(&after), "nothing has changed");
    let stale = json!({ "metadata": { "resourceVersion": made.resource_version(), "annotations": null } });
    refused(api.patch(&name, &PatchParams::default(), &Patch::Merge(&stale)).await, 409, "Conflict");
    let without = Patch::Merge(json!({ "metadata": { "annotations": null } }));
    let without = api.patch(&name, &PatchParams::default(), &without).await.unwrap();
    assert!(without.annotations().is_empty());
    assert_eq!(rest(&without), rest(&before));
    c.remove(&made).await;
}

fn operations(list: serde_json::Value) -> Patch<()> {
    Patch::Json(serde_json::from_value(list).expect("a JSON patch"))
}

async fn json_patch(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let first = operations(json!([
        { "op": "test", "path": "/metadata/finalizers", "value": null },
        { "op": "add", "path": "/metadata/finalizers", "value": ["conformance.bricklayer.dev/f"] },
        { "op": "replace", "path": "/spec/size", "value": 7 },
    ]));
    let patched = c.widgets().patch(&name, &PatchParams::default(), &first).await.unwrap();
    assert_eq!(patched.spec.size, 7);
    assert_eq!(patched.finalizers(), ["conformance.bricklayer.dev/f"]);
    let second = operations(json!([
        { "op": "test", "path": "/metadata/finalizers/0", "value": "conformance.bricklayer.dev/f" },
        { "op": "remove", "path": "/metadata/finalizers/0" },
    ]));
    let patched = c.widgets().patch(&name, &PatchParams::default(), &second).await.unwrap();
    assert!(patched.finalizers().is_empty());
    c.remove(&made).await;
}

async fn json_patch_that_does_not_fit(c: Context) {
    let made = c.made("a").await;
    let name = made.name_any();
    let failing = operations(json!([
        { "op": "replace", "path": "/spec/size", "value": 8 },
        { "op": "test", "path": "/metadata/name", "value": "other" },
    ]));
    let status = refusal(c.widgets().patch(&name, &PatchParams::default(), &failing).await);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{status:?}");
    let missing = operations(json!([{ "op": "remove", "path": "/spec/nothing" }]));
    let status = refusal(c.widgets().patch(&name, &PatchParams::default(), &missing).await);
    assert_eq!(status.code, 422, "{status:?}");
    assert_eq!(version(&c.widgets().get(&name).await.unwrap()), version(&made));
    c.remove(&made).await;
}

async fn patch_of_nothing(c: Context) {
    let patch = json!({ "spec": { "size": 3 } });
    let result = c.widgets().patch(&c.name("none"), &PatchParams::default(), &Patch::Merge(&patch)).await;
    refused(result, 404, "NotFound");
}

async fn patch_of_the_name(c: Context) {
    let made = c.made("a").await;
    let patch = json!({ "metadata": { "name": c.name("b") } });
    let status =
        refusal(c.widgets().patch(&made.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await);
    assert_eq!(status.code, 400, "{status:?}");
    c.remove(&made).await;
}

async fn races_have_one_winner(c: Context) {
    let made = c.made("a").await;
    let attempts = (0..8).map(|n| {
        let (api, mut new) = (c.widgets(), made.clone());
        new.spec.size = 10 + n;
        async move { api.replace(&new.name_any(), &PostParams::default(), &new).await }
    });
    let results = futures::future::join_all(attempts).await;
    let mut won = 0;
    for result in results {
        match result {
            Ok(_) => won += 1,
            Err(kube::Error::Api(status)) => {
                assert_eq!((status.code, &*status.reason), (409, "Conflict"))
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 1);
    c.remove(&made).await;
}

async fn unversioned_patches_all_arrive(c: Context) {
    let made = c.made("a").await;
    let attempts = (0..12).map(|n| {
        let (api, name) = (c.widgets(), made.name_any());
        async move {
            let patch = json!({ "metadata": { "annotations": { format!("k{n}"): "v" } } });
            // Kubernetes gives up after a few lost races; a client tries again.
            loop {
                match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                    Ok(_) => return,
                    Err(kube::Error::Api(status)) if status.is_conflict() => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    });
    futures::future::join_all(attempts).await;
    assert_eq!(c.widgets().get(&made.name_any()).await.unwrap().annotations().len(), 12);
    c.remove(&made).await;
}
