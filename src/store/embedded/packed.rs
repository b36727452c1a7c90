//! The bytes of a kept object. What changed lately is as it goes out on the wire; what rests is packed against an
//! object of its kind, since objects of a kind differ in little: a volume takes a fifth of its size that way, and
//! a microsecond to read.

use std::sync::Arc;

use bytes::Bytes;

/// Texts shorter than this many bytes are left as they are: there is little to gain.
pub(crate) const WORTH_IT: usize = 512;

/// A text, plain or packed.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Plain(Bytes),
    Packed {
        packed: Box<[u8]>,
        /// Of the plain text, in bytes.
        length: usize,
        /// What it was packed against.
        like: Arc<[u8]>,
    },
}

impl Text {
    /// The plain text.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Plain(bytes) => bytes.clone(),
            Self::Packed { packed, length, like } => {
                let plain = unpack(packed, *length, like).unwrap_or_else(|| {
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
            Self::Packed { length, .. } => *length,
        }
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Packed { packed, .. } => packed.len(),
        }
    }

    /// The same text packed, if that is worth it.
    pub(crate) fn packed(&self, like: &Arc<[u8]>) -> Option<Text> {
        let Self::Plain(bytes) = self else { return None };
        if bytes.len() < WORTH_IT {
            return None;
        }
        let packed = lz4_flex::block::compress_with_dict(bytes, like);
        let comes_back = unpack(&packed, bytes.len(), like).is_some_and(|plain| plain == *bytes);
        let (packed, length, like) = (packed.into_boxed_slice(), bytes.len(), like.clone());
        comes_back.then_some(Self::Packed { packed, length, like })
    }
}

fn unpack(packed: &[u8], length: usize, like: &[u8]) -> Option<Vec<u8>> {
    lz4_flex::block::decompress_with_dict(packed, length, like).ok()
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
    fn what_is_like_nothing_else_comes_back_too() {
        let noise: Bytes = (0..4000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for like in [Arc::from(&[][..]), Arc::from(&noise[..64])] {
            let packed = Text::Plain(noise.clone()).packed(&like).unwrap();
            assert_eq!(packed.bytes(), noise);
        }
        assert!(Text::Plain(Bytes::from_static(b"{}")).packed(&Arc::from(&[][..])).is_none());
    }
}
