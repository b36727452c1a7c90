//! The bytes of a kept object. What changed lately is as it goes out on the wire; what rests is packed against an
//! object of its kind, since objects of a kind differ in little: a volume takes a fifth of its size that way, and
//! a microsecond to read. Whoever packs a text that somebody has packed already shares it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

/// Texts shorter than this many bytes are left as they are: there is little to gain.
pub(crate) const WORTH_IT: usize = 512;

/// A text, plain or packed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Plain(Bytes),
    Packed(Arc<Packed>),
}

/// A packed text.
#[derive(Debug)]
pub(crate) struct Packed {
    packed: Box<[u8]>,
    /// Of the plain text, in bytes.
    length: usize,
    /// What it was packed against.
    like: Arc<[u8]>,
    /// By which it is found again.
    hash: u64,
}

/// The packed texts of this process: a store and those who watch it keep the same ones.
#[derive(Default)]
struct Known {
    hasher: RandomState,
    texts: Mutex<HashMap<u64, Weak<Packed>>>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);

impl Text {
    /// The plain text.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Plain(bytes) => bytes.clone(),
            Self::Packed(packed) => {
                let plain = packed.unpacked().unwrap_or_else(|| {
                    // Packing has made sure that it comes back: this is memory that has gone bad.
                    tracing::error!(
                        "a stored object in memory cannot be read any more; a new start reads it from disk"
                    );
                    vec![]
                });
                plain.into()
            }
        }
    }

    /// Its length when it is plain, in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Packed(packed) => packed.length,
        }
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Packed(packed) => packed.packed.len(),
        }
    }

    /// The same text packed, if that is worth it.
    pub(crate) fn packed(&self, like: &Arc<[u8]>) -> Option<Text> {
        match self {
            Self::Plain(bytes) => Packed::of(bytes, like).map(Self::Packed),
            Self::Packed(_) => None,
        }
    }
}

impl Packed {
    /// A text, packed, if that is worth it.
    pub(crate) fn of(plain: &[u8], like: &Arc<[u8]>) -> Option<Arc<Self>> {
        if plain.len() < WORTH_IT {
            return None;
        }
        let hash = KNOWN.hasher.hash_one(plain);
        let known = KNOWN.texts.lock().get(&hash).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.is(plain)) {
            return Some(known);
        }
        let packed = lz4_flex::block::compress_with_dict(plain, like).into_boxed_slice();
        let packed = Self { packed, length: plain.len(), like: like.clone(), hash };
        if !packed.is(plain) {
            return None;
        }
        let packed = Arc::new(packed);
        KNOWN.texts.lock().insert(hash, Arc::downgrade(&packed));
        Some(packed)
    }

    fn unpacked(&self) -> Option<Vec<u8>> {
        lz4_flex::block::decompress_with_dict(&self.packed, self.length, &self.like).ok()
    }

    fn is(&self, plain: &[u8]) -> bool {
        self.unpacked().is_some_and(|unpacked| unpacked == plain)
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        let mut texts = KNOWN.texts.lock();
        // Another one may have come under this hash since.
        if texts.get(&self.hash).is_some_and(|known| known.strong_count() == 0) {
            texts.remove(&self.hash);
        }
        if texts.len() < texts.capacity() / 4 {
            texts.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(number: u32) -> Bytes {
        let fields: Vec<String> = (0..40).map(|n| format!("\"field{n}\":\"value {n}\"")).collect();
        format!("{{\"number\":{number},{}}}", fields.join(",")).into()
    }

    #[test]
    fn what_is_packed_comes_back() {
        let like: Arc<[u8]> = Arc::from(&object(1)[..]);
        let plain = Text::Plain(object(2));
        let packed = plain.packed(&like).unwrap();
        assert_eq!((packed.bytes(), packed.len()), (object(2), plain.len()));
        assert!(packed.weight() < plain.weight() / 5, "{} of {}", packed.weight(), plain.weight());
        assert!(packed.packed(&like).is_none(), "nothing is packed twice");
    }

    #[test]
    fn the_same_text_is_kept_once_and_forgotten_with_the_last_who_has_it() {
        let (like, other): (Arc<[u8]>, Arc<[u8]>) = (Arc::from(&object(1)[..]), Arc::from(&object(9)[..]));
        let own = object(7_000_001);
        let (one, two) = (Packed::of(&own, &like).unwrap(), Packed::of(&own, &other).unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        let hash = one.hash;
        assert!(KNOWN.texts.lock().contains_key(&hash));
        drop((one, two));
        assert!(!KNOWN.texts.lock().contains_key(&hash));
    }

    #[test]
    fn what_is_like_nothing_else_comes_back_too() {
        let noise: Bytes = (0..4000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for like in [Arc::from(&[][..]), Arc::from(&noise[..64])] {
            let packed = Text::Plain(noise.clone()).packed(&like).unwrap();
            assert_eq!(packed.bytes(), noise);
        }
        assert!(Text::Plain(Bytes::from_static(b"{}")).packed(&Arc::from(&[][..])).is_none());
    }
}
