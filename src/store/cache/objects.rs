//! The objects that a cache holds. Those that changed last are open; the others rest, packed against one of their
//! kind: a volume takes a fifth of its size that way, and some microseconds to open.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use parking_lot::RwLock;
use serde_json::value::RawValue;

use crate::store::Kind;
use crate::store::embedded::packed::{Packed, Text, WORTH_IT};
use crate::store::guard::Read;

/// `namespace/name`, or the name alone when the kind has no namespaces.
pub type Key = Arc<str>;

/// The key of what a reference names.
pub fn key<K: Kind>(reference: &ObjectRef<K>) -> Key {
    match reference.namespace.as_deref() {
        Some(namespace) => format!("{namespace}/{}", reference.name).into(),
        None => reference.name.as_str().into(),
    }
}

/// What a key names.
pub fn reference<K: Kind>(key: &str) -> ObjectRef<K> {
    match key.split_once('/') {
        Some((namespace, name)) => ObjectRef::new(name).within(namespace),
        None => ObjectRef::new(key),
    }
}

/// All objects of a kind that were seen.
pub(super) struct Objects<K> {
    held: RwLock<Held<K>>,
    /// How many stay open, at the most; all of them when it is nothing.
    most_open: Option<usize>,
}

struct Held<K> {
    all: HashMap<Key, Form<K>>,
    /// Those of a list that is under way: they count once it is complete.
    coming: HashMap<Key, Form<K>>,
    /// Those of lists that were cut off and that were not there before: observers were told of them.
    cut_off: HashSet<Key>,
    /// The open ones by their numbers, the one that changed first in front, with some that have changed since.
    open: VecDeque<(Key, u64)>,
    /// The number of the last change.
    changes: u64,
    /// What the resting ones are packed against: the first one of them.
    like: Option<Arc<[u8]>>,
}

enum Form<K> {
    /// With what it was read from, if it is to rest one day.
    Open(u64, Arc<K>, Option<Box<RawValue>>),
    Resting(Arc<Packed>),
}

impl<K: Kind> Objects<K> {
    pub(super) fn new(most_open: Option<usize>) -> Self {
        let held = Held {
            all: HashMap::new(),
            coming: HashMap::new(),
            cut_off: HashSet::new(),
            open: VecDeque::new(),
            changes: 0,
            like: None,
        };
        Self { held: RwLock::new(held), most_open }
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<K>> {
        let packed = match self.held.read().all.get(key)? {
            Form::Open(_, object, _) => return Some(object.clone()),
            Form::Resting(packed) => packed.clone(),
        };
        Some(opened(key, packed))
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.held.read().all.keys().cloned().collect()
    }

    /// References to all of them. Those that rest do without uid and version.
    pub(super) fn references(&self) -> Vec<ObjectRef<K>> {
        self.held.read().all.iter().map(|(key, form)| form.reference(key)).collect()
    }

    /// One after the other, in no order.
    pub(super) fn each(&self) -> impl Iterator<Item = Arc<K>> {
        self.keys().into_iter().filter_map(|key| self.get(&key))
    }

    pub(super) fn put(&self, key: Key, read: Read<K>) {
        let mut held = self.held.write();
        let (number, form) = held.form(read, self.most_open.is_some());
        if self.most_open.is_some() {
            held.open.push_back((key.clone(), number));
        }
        held.all.insert(key, form);
    }

    pub(super) fn remove(&self, key: &str) {
        self.held.write().all.remove(key);
    }

    /// A list begins anew: what came of one that was cut off is forgotten.
    pub(super) fn begin(&self) {
        let mut held = self.held.write();
        let held = &mut *held;
        let came = std::mem::take(&mut held.coming).into_keys();
        held.cut_off.extend(came.filter(|key| !held.all.contains_key(key)));
    }

    /// What has come of the list that is under way.
    pub(super) fn come_so_far(&self) -> Vec<(Key, Arc<K>)> {
        let held = self.held.read();
        let opened = held.coming.iter().map(|(key, form)| (key.clone(), form.object(key)));
        opened.collect()
    }

    /// An object of the list that is under way. Once as many have come as may be open, the others rest at once: a list
    /// of very many needs no more memory than they take afterwards.
    pub(super) fn come(&self, key: Key, read: Read<K>) {
        let mut held = self.held.write();
        let rests = self.most_open.is_some_and(|most| held.coming.len() >= most);
        let packed = if rests { packed(&read.text, &mut held.like) } else { None };
        let form = packed.map_or_else(|| held.form(read, self.most_open.is_some()).1, Form::Resting);
        held.coming.insert(key, form);
    }

    /// Those that are there, or came in a list that was cut off, and are not in the list that has come.
    pub(super) fn going(&self) -> Vec<Key> {
        let held = self.held.read();
        let known = held.all.keys().chain(&held.cut_off);
        known.filter(|key| !held.coming.contains_key(*key)).cloned().collect()
    }

    /// Takes the list that has come instead of what was there; gives back references to all that is in either.
    pub(super) fn complete(&self) -> Vec<ObjectRef<K>> {
        let mut held = self.held.write();
        let held = &mut *held;
        let before = std::mem::replace(&mut held.all, std::mem::take(&mut held.coming));
        held.cut_off = HashSet::new();
        held.open.clear();
        if self.most_open.is_some() {
            let numbers = held.all.iter().filter_map(|(key, form)| Some((key.clone(), form.number()?)));
            held.open.extend(numbers);
        }
        let gone = before.iter().filter(|(key, _)| !held.all.contains_key(*key));
        held.all.iter().chain(gone).map(|(key, form)| form.reference(key)).collect()
    }

    /// Packs so many of those that are to rest, at the most. Only the one who fills the cache may call it.
    pub(super) fn pack(&self, at_once: usize) {
        let Some(most_open) = self.most_open else { return };
        let (resting, mut like) = {
            let mut held = self.held.write();
            (held.next_to_rest(at_once, most_open), held.like.clone())
        };
        if resting.is_empty() {
            return;
        }
        let packed: Vec<_> = resting
            .into_iter()
            .filter_map(|(key, number, text)| Some((key, number, packed(&text, &mut like)?)))
            .collect();
        let mut held = self.held.write();
        held.like = like;
        for (key, number, text) in packed {
            if let Some(form) = held.all.get_mut(&key).filter(|form| form.number() == Some(number)) {
                *form = Form::Resting(text);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn resting(&self) -> usize {
        self.held.read().all.values().filter(|form| matches!(form, Form::Resting(_))).count()
    }
}

impl<K: Kind> Held<K> {
    fn form(&mut self, Read { mut object, text }: Read<K>, rests: bool) -> (u64, Form<K>) {
        self.changes += 1;
        strip(object.meta_mut());
        (self.changes, Form::Open(self.changes, Arc::new(object), rests.then_some(text)))
    }

    /// Takes those that changed first out of the queue of open ones, as long as it is too long.
    fn next_to_rest(&mut self, at_once: usize, most_open: usize) -> Vec<(Key, u64, Box<RawValue>)> {
        let mut found = vec![];
        while self.open.len() > most_open && found.len() < at_once {
            let Some((key, number)) = self.open.pop_front() else { break };
            if let Some(Form::Open(now, _, Some(text))) = self.all.get(&key)
                && *now == number
            {
                found.push((key, number, text.clone()));
            }
        }
        if self.open.len() < self.open.capacity() / 4 {
            self.open.shrink_to(most_open);
        }
        found
    }
}

impl<K: Kind> Form<K> {
    fn object(&self, key: &str) -> Arc<K> {
        match self {
            Self::Open(_, object, _) => object.clone(),
            Self::Resting(packed) => opened(key, packed.clone()),
        }
    }

    /// Its number, if it is open.
    fn number(&self) -> Option<u64> {
        match self {
            Self::Open(number, ..) => Some(*number),
            Self::Resting(_) => None,
        }
    }

    /// A reference to it. One that rests does without uid and version.
    fn reference(&self, key: &str) -> ObjectRef<K> {
        match self {
            Self::Open(_, object, _) => ObjectRef::from_obj(object.as_ref()),
            Self::Resting(_) => reference(key),
        }
    }
}

/// The text of an object, packed. One that is short stays open.
fn packed(text: &RawValue, like: &mut Option<Arc<[u8]>>) -> Option<Arc<Packed>> {
    let bytes = text.get().as_bytes();
    if bytes.len() < WORTH_IT {
        return None;
    }
    Packed::of(bytes, like.get_or_insert_with(|| Arc::from(bytes)))
}

fn opened<K: Kind>(key: &str, packed: Arc<Packed>) -> Arc<K> {
    match serde_json::from_slice::<K>(&Text::Packed(packed).bytes()) {
        Ok(mut object) => {
            strip(object.meta_mut());
            Arc::new(object)
        }
        Err(error) => {
            // It was understood when it came: this is memory that has gone bad, and nobody can tell what else is
            // wrong. To go on would be to take a volume for one that is gone.
            tracing::error!(kind = %K::kind(&()), key, %error, "an object in memory cannot be read any more: the process ends, a new one reads it anew");
            std::process::abort();
        }
    }
}

/// Annotations longer than this many bytes are kept by their writers for themselves, and read live.
const LONG_ANNOTATION: usize = 128;

/// Drops what is only ever read live and what would double the memory of a large cache.
fn strip(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = metadata.annotations.as_mut() {
        annotations.retain(|_, value| value.len() <= LONG_ANNOTATION);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;
    use proptest::prelude::*;

    use super::*;

    /// An object of that name and content; large enough to be worth packing.
    fn object(name: u8, content: u16) -> ConfigMap {
        let data = (0..20).map(|n| (format!("key-{n}"), format!("value {n} of {content}, and more of it")));
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(format!("object-{name}")),
                namespace: Some("default".into()),
                uid: Some(format!("uid-{name}")),
                ..ObjectMeta::default()
            },
            data: Some(data.collect()),
            ..ConfigMap::default()
        }
    }

    fn put(objects: &Objects<ConfigMap>, object: ConfigMap) {
        let (key, read) = read(object);
        objects.put(key, read);
    }

    fn come(objects: &Objects<ConfigMap>, object: ConfigMap) {
        let (key, read) = read(object);
        objects.come(key, read);
    }

    fn read(object: ConfigMap) -> (Key, Read<ConfigMap>) {
        let text = serde_json::value::to_raw_value(&object).unwrap();
        (key(&ObjectRef::from_obj(&object)), Read { object, text })
    }

    fn contents(objects: &Objects<ConfigMap>) -> BTreeMap<String, ConfigMap> {
        let all = objects.each();
        all.map(|object| (object.metadata.name.clone().unwrap(), object.as_ref().clone())).collect()
    }

    #[test]
    fn those_that_changed_last_are_open_and_the_others_come_back() {
        let objects = Objects::new(Some(4));
        (0..20).for_each(|n| put(&objects, object(n, u16::from(n))));
        objects.pack(10);
        assert_eq!(objects.resting(), 10, "no more at once than was allowed");
        objects.pack(10);
        objects.pack(10);
        assert_eq!(objects.resting(), 16);
        for n in 0..20 {
            let found = objects.get(&format!("default/object-{n}")).unwrap();
            assert_eq!(found.as_ref(), &object(n, u16::from(n)));
        }
        assert_eq!(objects.resting(), 16, "to look at one does not open it for others");
        put(&objects, object(0, 99));
        assert_eq!(objects.resting(), 15);
        objects.pack(10);
        assert_eq!(contents(&objects)["object-0"], object(0, 99));
        assert!(objects.held.read().open.len() <= 4);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u16),
        Remove(u8),
        /// A list with these objects; the watch is cut in the middle of it first if that is said.
        List(Vec<(u8, u16)>, bool),
        Pack(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..12_u8, any::<u16>()).prop_map(|(name, content)| Step::Put(name, content)),
            1 => (0..12_u8).prop_map(Step::Remove),
            1 => (prop::collection::vec((0..12_u8, any::<u16>()), 0..10), any::<bool>())
                .prop_map(|(objects, cut)| Step::List(objects, cut)),
            3 => (0..6_usize).prop_map(Step::Pack),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_held_is_what_was_put(steps in prop::collection::vec(step(), 1..60)) {
            let objects = Objects::new(Some(3));
            let mut model: BTreeMap<String, ConfigMap> = BTreeMap::new();
            let named = |name: u8| format!("object-{name}");
            for step in steps {
                match step {
                    Step::Put(name, content) => {
                        put(&objects, object(name, content));
                        model.insert(named(name), object(name, content));
                    }
                    Step::Remove(name) => {
                        objects.remove(&format!("default/{}", named(name)));
                        model.remove(&named(name));
                    }
                    Step::List(list, cut) => {
                        let before: Vec<String> = model.keys().cloned().collect();
                        objects.begin();
                        if cut {
                            come(&objects, object(99, 0));
                            objects.begin();
                        }
                        model.clear();
                        for (name, content) in list {
                            come(&objects, object(name, content));
                            model.insert(named(name), object(name, content));
                        }
                        let gone = before.iter().filter(|name| !model.contains_key(*name)).count();
                        prop_assert_eq!(objects.going().len(), gone + usize::from(cut));
                        let told = objects.complete();
                        let mut told: Vec<String> = told.into_iter().map(|told| told.name).collect();
                        let mut concerned: Vec<String> = model.keys().cloned().chain(before).collect();
                        told.sort();
                        concerned.sort();
                        concerned.dedup();
                        prop_assert_eq!(told, concerned);
                    }
                    Step::Pack(at_once) => objects.pack(at_once),
                }
                prop_assert_eq!(&contents(&objects), &model);
            }
            for _ in 0..20 {
                objects.pack(6);
            }
            prop_assert!(objects.resting() >= model.len().saturating_sub(3));
            prop_assert!(objects.held.read().open.len() <= 3);
            prop_assert_eq!(&contents(&objects), &model);
        }
    }
}
