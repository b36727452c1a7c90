//! Lists: pages, selectors, versions.

use kube::ResourceExt as _;
use kube::api::{GetParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cases;
use crate::harness::{Case, Context, refused, widget_path};
use crate::widget::Widget;

pub fn cases() -> Vec<Case> {
    let mut cases = cases![
        a_list_carries_a_version,
        pages_show_one_moment,
        label_selectors,
        field_selectors,
        selectable_fields,
        unknown_field_selector,
        bad_label_selector,
        bad_continue_token,
        versions_of_lists,
        a_version_from_the_future,
        metadata_only,
    ];
    cases.extend(cases![embedded only: an_exact_version_in_the_window]);
    cases
}

fn names(list: &[Widget]) -> Vec<String> {
    list.iter().map(kube::ResourceExt::name_any).collect()
}

async fn several(c: &Context, count: usize) -> Vec<Widget> {
    let mut all = Vec::new();
    for n in 0..count {
        all.push(c.made(n).await);
    }
    all
}

async fn remove_all(c: &Context, all: &[Widget]) {
    for widget in all {
        c.remove(widget).await;
    }
}

async fn a_list_carries_a_version(c: Context) {
    let made = c.made("a").await;
    let list = c.widgets().list(&ListParams::default().labels(&c.label())).await.unwrap();
    assert_eq!(names(&list.items), [made.name_any()]);
    let at: u64 = list.metadata.resource_version.unwrap().parse().unwrap();
    assert!(at >= crate::harness::version(&made));
    let (_, raw) = c.raw("GET", &widget_path(""), "application/json", "").await;
    assert_eq!(
        (&raw["kind"], &raw["apiVersion"]),
        (&json!("WidgetList"), &json!("conformance.bricklayer.dev/v1"))
    );
    c.remove(&made).await;
}

async fn pages_show_one_moment(c: Context) {
    let all = several(&c, 5).await;
    let params = ListParams::default().labels(&c.label()).limit(2);
    let first = c.widgets().list(&params).await.unwrap();
    assert_eq!(names(&first.items), [c.name(0), c.name(1)]);
    let version = first.metadata.resource_version.clone().unwrap();

    // Between the pages: one goes, one changes, one comes.
    c.widgets().delete(&c.name(2), &Default::default()).await.unwrap();
    let grow = json!({ "spec": { "size": 9 } });
    c.widgets().patch(&c.name(3), &PatchParams::default(), &Patch::Merge(&grow)).await.unwrap();
    let late = c.made("3a").await;

    let token = first.metadata.continue_.clone().unwrap();
    let second = c.widgets().list(&params.clone().continue_token(&token)).await.unwrap();
    assert_eq!(second.metadata.resource_version.as_ref(), Some(&version));
    assert_eq!(names(&second.items), [c.name(2), c.name(3)]);
    assert_eq!(second.items[1].spec.size, 1);
    let token = second.metadata.continue_.clone().unwrap();
    let third = c.widgets().list(&params.clone().continue_token(&token)).await.unwrap();
    assert_eq!(third.metadata.resource_version.as_ref(), Some(&version));
    assert_eq!(names(&third.items), [c.name(4)]);
    assert_eq!(third.metadata.continue_.unwrap_or_default(), "");
    remove_all(&c, &all).await;
    c.remove(&late).await;
}

async fn label_selectors(c: Context) {
    let all = several(&c, 3).await;
    for (widget, tier) in all.iter().zip(["gold", "silver"]) {
        let patch = json!({ "metadata": { "labels": { "tier": tier } } });
        c.widgets().patch(&widget.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
    for (selector, expected) in [
        ("tier=gold", vec![0]),
        ("tier==gold", vec![0]),
        ("tier!=gold", vec![1, 2]),
        ("tier in (gold,silver)", vec![0, 1]),
        ("tier notin (gold)", vec![1, 2]),
        ("tier", vec![0, 1]),
        ("!tier", vec![2]),
        ("tier,tier!=silver", vec![0]),
    ] {
        let both = format!("{},{selector}", c.label());
        let list = c.widgets().list(&ListParams::default().labels(&both)).await.unwrap();
        let expected: Vec<String> = expected.into_iter().map(|n| c.name(n)).collect();
        assert_eq!(names(&list.items), expected, "{selector}");
    }
    remove_all(&c, &all).await;
}

async fn field_selectors(c: Context) {
    let all = several(&c, 2).await;
    let by_name = format!("metadata.name={}", c.name(1));
    let list = c.widgets().list(&ListParams::default().fields(&by_name)).await.unwrap();
    assert_eq!(names(&list.items), [c.name(1)]);
    let not = format!("metadata.name!={}", c.name(1));
    let list = c.widgets().list(&ListParams::default().fields(&not).labels(&c.label())).await.unwrap();
    assert_eq!(names(&list.items), [c.name(0)]);
    remove_all(&c, &all).await;
}

async fn selectable_fields(c: Context) {
    let mine = c.made_with("a", json!({ "size": 1, "owner": c.tag })).await;
    let other = c.made_with("b", json!({ "size": 1, "owner": "somebody" })).await;
    let selector = format!("spec.owner={}", c.tag);
    let list = c.widgets().list(&ListParams::default().fields(&selector)).await.unwrap();
    assert_eq!(names(&list.items), [mine.name_any()]);
    remove_all(&c, &[mine, other]).await;
}

async fn unknown_field_selector(c: Context) {
    let list = c.widgets().list(&ListParams::default().fields("spec.size=1")).await;
    let status = refused(list, 400, "BadRequest");
    assert!(status.message.contains("field label not supported: spec.size"), "{}", status.message);
}

async fn bad_label_selector(c: Context) {
    refused(c.widgets().list(&ListParams::default().labels("a in b")).await, 400, "BadRequest");
}

async fn bad_continue_token(c: Context) {
    let list = c.widgets().list(&ListParams::default().limit(1).continue_token("nonsense")).await;
    refused(list, 400, "BadRequest");
}

async fn versions_of_lists(c: Context) {
    let made = c.made("a").await;
    let params = ListParams::default().labels(&c.label());
    // First what is not older than the object: the server waits until its cache has it (`Context::cached`).
    for at in [made.resource_version().unwrap(), "0".to_owned()] {
        let list = c.widgets().list(&params.clone().at(&at)).await.unwrap();
        assert_eq!(names(&list.items), [made.name_any()], "at {at}");
    }
    assert_eq!(names(&c.widgets().list(&params.clone().match_any()).await.unwrap().items), [made.name_any()]);
    c.remove(&made).await;
}

async fn a_version_from_the_future(c: Context) {
    let made = c.made("a").await;
    let get = c.widgets().get_with(&made.name_any(), &GetParams::at("999999999999")).await;
    refused(get, 504, "Timeout");
    c.remove(&made).await;
}

/// Kubernetes can do this too, as long as etcd was not compacted.
async fn an_exact_version_in_the_window(c: Context) {
    use kube::core::params::VersionMatch;
    let made = c.made("a").await;
    let grow = json!({ "spec": { "size": 2 } });
    c.widgets().patch(&made.name_any(), &PatchParams::default(), &Patch::Merge(&grow)).await.unwrap();
    let at = ListParams::default().labels(&c.label()).at(&made.resource_version().unwrap());
    let list = c.widgets().list(&at.matching(VersionMatch::Exact)).await.unwrap();
    assert_eq!(list.items[0].spec.size, 1);
    c.remove(&made).await;
}

async fn metadata_only(c: Context) {
    let made = c.made("a").await;
    let read = c.widgets().get_metadata(&made.name_any()).await.unwrap();
    assert_eq!(read.types.as_ref().unwrap().kind, "PartialObjectMetadata");
    assert_eq!(read.metadata.uid, made.metadata.uid);
    let list = c.widgets().list_metadata(&ListParams::default().labels(&c.label())).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].metadata.resource_version, made.metadata.resource_version);
    c.remove(&made).await;
}
