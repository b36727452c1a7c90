use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use super::*;

fn object(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    }
}

fn cache() -> Cache<ConfigMap> {
    Cache::by_hand()
}

#[test]
fn what_is_not_understood_is_named_and_the_rest_goes_on() {
    let cache = cache();
    let read = |data: serde_json::Value| {
        let value = serde_json::json!({"metadata": {"name": "a", "uid": "u"}, "data": data});
        serde_json::from_value::<Guarded<ConfigMap>>(value).unwrap()
    };
    let good = || read(serde_json::json!({"key": "value"}));
    let bad = || read(serde_json::json!("no map"));
    let feed_guarded = |event| {
        if let Some(event) = cache.shared.understood(event) {
            cache.shared.take_in(event);
        }
    };
    feed_guarded(watcher::Event::Init);
    feed_guarded(watcher::Event::InitApply(bad()));
    feed_guarded(watcher::Event::InitDone);
    assert!(cache.get("a").is_none(), "nothing was ever understood of it");
    assert_eq!(cache.unreadable().borrow()["/a"].uid.as_deref(), Some("u"));
    feed_guarded(watcher::Event::Apply(good()));
    let seen = cache.get("a").unwrap();
    assert!(!cache.is_unreadable(&seen) && cache.unreadable().borrow().is_empty());
    feed_guarded(watcher::Event::Apply(bad()));
    assert_eq!(cache.get("a").unwrap().data, seen.data, "what was last understood stays");
    assert!(cache.is_unreadable(&seen));
    for event in [watcher::Event::Init, watcher::Event::InitApply(bad()), watcher::Event::InitDone] {
        feed_guarded(event);
    }
    assert!(cache.get("a").is_some() && cache.is_unreadable(&seen));
    let changes = cache.changes();
    changes.drain();
    feed_guarded(watcher::Event::Delete(bad()));
    assert!(cache.get("a").is_none() && cache.unreadable().borrow().is_empty());
    assert_eq!(changes.drain().len(), 1, "its end is told");
}

#[test]
fn what_went_away_while_a_watch_was_down_is_told() {
    let cache = cache();
    for event in [watcher::Event::Init, watcher::Event::InitDone] {
        cache.feed(event);
    }
    for name in ["stays", "goes"] {
        cache.feed(watcher::Event::Apply(object(name)));
    }
    let changes = cache.changes();
    assert_eq!(changes.drain().len(), 2);
    for event in [watcher::Event::Init, watcher::Event::InitApply(object("stays")), watcher::Event::InitDone]
    {
        cache.feed(event);
    }
    let told: HashSet<String> = changes.drain().into_iter().map(|reference| reference.name).collect();
    assert_eq!(told, HashSet::from(["stays".to_owned(), "goes".to_owned()]));
    assert!(cache.get("goes").is_none() && cache.get("stays").is_some());
}

#[test]
fn what_is_noted_is_so_of_what_is_there() {
    let cache = cache();
    let marked = |name: &str, mark: &str| ConfigMap {
        data: Some([("mark".to_owned(), mark.to_owned())].into()),
        ..object(name)
    };
    cache.feed(watcher::Event::Apply(marked("before", "yes")));
    let noted = cache.note(|object| object.data.as_ref().is_some_and(|data| data["mark"] == "yes"));
    assert!(noted.is_any(), "what was there is noted");
    cache.feed(watcher::Event::Apply(marked("other", "yes")));
    cache.feed(watcher::Event::Apply(marked("before", "no")));
    assert!(noted.is_any(), "another one is left");
    cache.feed(watcher::Event::Delete(object("other")));
    assert!(!noted.is_any());
}

/// An observer is told of the end of each object that it was told of, also of one that only a list has shown which was
/// cut off.
#[test]
fn observers_know_what_is_there() {
    let cache = cache();
    let known: Arc<Mutex<HashSet<String>>> = Arc::default();
    let noted = known.clone();
    cache.observe(move |name, object| {
        match object {
            Some(_) => noted.lock().insert(name.to_string()),
            None => noted.lock().remove(&**name),
        };
    });
    let is_known = |names: &[&str]| {
        assert_eq!(*known.lock(), names.iter().map(ToString::to_string).collect::<HashSet<_>>());
    };
    cache.feed(watcher::Event::Init);
    cache.feed(watcher::Event::InitApply(object("ghost")));
    let late: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = late.clone();
    cache.observe(move |name, _| told.lock().push(name.to_string()));
    assert_eq!(*late.lock(), ["ghost"], "who comes in the middle of a list hears of what has come");
    for _ in 0..2 {
        cache.feed(watcher::Event::Init);
        cache.feed(watcher::Event::InitApply(object("stays")));
    }
    cache.feed(watcher::Event::InitDone);
    is_known(&["stays"]);
    cache.feed(watcher::Event::Apply(object("new")));
    is_known(&["new", "stays"]);
    cache.feed(watcher::Event::Delete(object("stays")));
    is_known(&["new"]);
    cache.feed(watcher::Event::Init);
    cache.feed(watcher::Event::InitDone);
    is_known(&[]);
}

/// Whoever has been told of an object asks for the changes next, and must find it among them.
#[test]
fn who_sees_an_object_finds_it_among_the_changes() {
    let cache = cache();
    for event in [watcher::Event::Init, watcher::Event::InitDone] {
        cache.feed(event);
    }
    let (changes, told) = (cache.changes(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (cache, told) = (&cache, &told);
        scope.spawn(move || {
            for n in 0..5000 {
                cache.feed(watcher::Event::Apply(object(&n.to_string())));
                while told.load(Ordering::Acquire) == n {
                    std::hint::spin_loop();
                }
            }
        });
        for n in 0..5000 {
            let name = n.to_string();
            while cache.get(&name).is_none() {
                std::hint::spin_loop();
            }
            let found = changes.drain().into_iter().any(|reference| reference.name == name);
            told.store(if found { n + 1 } else { usize::MAX }, Ordering::Release);
            assert!(found, "{name}");
        }
    });
}

#[tokio::test]
async fn nobody_is_left_waiting() {
    let cache = cache();
    cache.feed(watcher::Event::Init);
    cache.feed(watcher::Event::InitDone);
    let never = cache.wait("absent", Duration::from_millis(1), |seen| seen.map(|_| ()));
    assert_eq!(never.await, None);
    assert!(cache.shared.waiting.lock().is_empty());
}

/// The watch is cut and comes back before anybody notices; what was written meanwhile is seen.
#[tokio::test]
async fn a_refresh_shows_what_was_written_before_it() {
    use crate::resources::{GlusterVolume, GlusterVolumeSpec, definitions};
    use crate::store::embedded::{Embedded, Options};

    let directory = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(Options::new(directory.path().join("store.redb")), definitions()).unwrap();
    let store = Store::new(embedded.client());
    let (cache, fill) = Cache::<GlusterVolume>::start(&store);
    tokio::spawn(fill);
    cache.synced().await;
    let spec: GlusterVolumeSpec = serde_json::from_value(serde_json::json!({"size": "1Gi"})).unwrap();
    for n in 0..20 {
        let name = format!("volume-{n}");
        store.create(&GlusterVolume::new(&name, spec.clone())).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), cache.refresh()).await.unwrap();
        assert!(cache.get(&name).is_some(), "{name}");
    }
    assert_eq!(cache.list().len(), 20);
}
