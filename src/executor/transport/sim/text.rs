//! Short names in little memory: 32 hexadecimal digits become 16 bytes, a known word before them one.
//!
//! With tens of thousands of bricks, names of volume groups, logical volumes, mount points and tags
//! are most of what the simulation holds; nearly all are a known word and an id.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name, packed. Equal texts are equal values; the order is total but not alphabetical.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Text(Packed);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Packed {
    Short(u8, [u8; SHORT]),
    Long(Arc<[u8]>),
}

/// As many bytes as fit without an allocation.
const SHORT: usize = 22;
/// The digits of an id.
const DIGITS: usize = 32;
/// The byte that stands for `WORDS[0]` and an id; the next one for `WORDS[1]`, and so on. Such
/// bytes never occur in UTF-8.
const FIRST_MARK: u8 = 0xF5;
/// Words that come before ids; a word must come before the words that it ends with.
const WORDS: [&str; 11] = [
    "/var/lib/heketi/mounts/vg_",
    "/dev/mapper/vg_",
    "bricklayer.volume=",
    "bricklayer.device=",
    "bricklayer.brick=",
    "/brick_",
    "-brick_",
    "brick_",
    "tp_",
    "vg_",
    "",
];

impl Text {
    /// Whether it is the empty text.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// False only if `part` is surely not in it, beginning after the start or a comma: a quick look
    /// without unpacking.
    pub(super) fn may_contain(&self, part: &Text) -> bool {
        let (mut rest, part) = (self.bytes(), part.bytes());
        while !rest.starts_with(part) {
            let Some(comma) = rest.iter().position(|byte| *byte == b',') else { return false };
            rest = &rest[comma + 1..];
        }
        true
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Packed::Short(length, bytes) => &bytes[..usize::from(*length)],
            Packed::Long(bytes) => bytes,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from("")
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let packed = pack(text.as_bytes());
        if packed.len() <= SHORT {
            let mut bytes = [0; SHORT];
            bytes[..packed.len()].copy_from_slice(&packed);
            return Self(Packed::Short(packed.len() as u8, bytes));
        }
        Self(Packed::Long(packed.into()))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&unpack(self.bytes()))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", unpack(self.bytes()))
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&unpack(self.bytes()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from(text.as_ref()))
    }
}

/// The device of a mount. Where a brick is mounted tells its device, so that is not held again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device(Text);

impl Device {
    pub(super) fn new(device: &str, dir: &str) -> Self {
        let usual = usual_device(dir).is_some_and(|usual| usual == device);
        Self(Text::from(if usual { "" } else { device }))
    }

    /// Its path, when it is mounted on `dir`.
    pub(super) fn path(&self, dir: &str) -> String {
        match usual_device(dir) {
            Some(usual) if self.0.is_empty() => usual,
            _ => self.0.to_string(),
        }
    }
}

/// The device of the brick that is mounted on a directory.
fn usual_device(dir: &str) -> Option<String> {
    let (vg, lv) = dir.strip_prefix("/var/lib/heketi/mounts/")?.split_once('/')?;
    Some(format!("/dev/mapper/{vg}-{lv}"))
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn pack(text: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(text.len());
    // Where the plain bytes begin that no mark stands for.
    let mut plain = 0;
    let mut run = 0;
    for byte in text {
        packed.push(*byte);
        run = if digit(*byte).is_some() { run + 1 } else { 0 };
        if run < DIGITS {
            continue;
        }
        let id = packed.split_off(packed.len() - DIGITS);
        let word = WORDS
            .iter()
            .position(|word| packed[plain..].ends_with(word.as_bytes()))
            .unwrap_or(WORDS.len() - 1);
        packed.truncate(packed.len() - WORDS[word].len());
        packed.push(FIRST_MARK + word as u8);
        let value = |digit_at: usize| digit(id[digit_at]).unwrap_or_default();
        packed.extend((0..DIGITS / 2).map(|i| value(2 * i) << 4 | value(2 * i + 1)));
        plain = packed.len();
        run = 0;
    }
    packed
}

fn unpack(packed: &[u8]) -> String {
    let mut text = Vec::with_capacity(2 * packed.len() + 16);
    let mut rest = packed;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let word = byte.checked_sub(FIRST_MARK).map(usize::from);
        let id = word.and_then(|word| Some((WORDS.get(word)?, rest.split_at_checked(DIGITS / 2)?)));
        let Some((word, (id, after))) = id else {
            text.push(*byte);
            continue;
        };
        text.extend_from_slice(word.as_bytes());
        for byte in id {
            let digits = b"0123456789abcdef";
            text.extend([digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
        rest = after;
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let id = "0123456789abcdef0123456789abcdef";
        for text in [
            String::new(),
            "node-1.example.com".into(),
            "größer".into(),
            id.into(),
            format!("{id}{id}"),
            format!("{id}a"),
            format!("a{id}"),
            format!("tp_{id}"),
            format!("/var/lib/heketi/mounts/vg_{id}/brick_{id}/brick"),
            format!("/dev/mapper/vg_{id}-brick_{id}"),
            format!("bricklayer.brick={id},bricklayer.volume={id}"),
            "ABCDEF0123456789ABCDEF0123456789".into(),
        ] {
            let packed = Text::from(text.as_str());
            assert_eq!(packed.to_string(), text);
            assert_eq!(packed, Text::from(text.as_str()));
        }
    }

    #[test]
    fn parts_are_found_without_unpacking() {
        let id = |digit: char| digit.to_string().repeat(32);
        let tags =
            Text::from(format!("bricklayer.brick={},x,bricklayer.volume={}", id('a'), id('b')).as_str());
        for tag in [
            "x".to_owned(),
            format!("bricklayer.brick={}", id('a')),
            format!("bricklayer.volume={}", id('b')),
        ] {
            assert!(tags.may_contain(&Text::from(tag.as_str())), "{tag}");
        }
        assert!(!tags.may_contain(&Text::from(format!("bricklayer.brick={}", id('b')).as_str())));
    }

    #[test]
    fn devices_come_back() {
        for (device, dir) in [
            ("/dev/mapper/vg_1-brick_2", "/var/lib/heketi/mounts/vg_1/brick_2"),
            ("/dev/mapper/vg_1-brick_3", "/var/lib/heketi/mounts/vg_1/brick_2"),
            ("/dev/mapper/a-b", "/mnt"),
        ] {
            assert_eq!(Device::new(device, dir).path(dir), device);
        }
    }

    #[test]
    fn ids_take_little_room() {
        let id = "0123456789abcdef0123456789abcdef";
        let length = |text: String| Text::from(text.as_str()).bytes().len();
        assert_eq!(length(format!("brick_{id}")), 17);
        assert_eq!(length(format!("/dev/mapper/vg_{id}-brick_{id}")), 34);
        assert_eq!(size_of::<Option<Text>>(), 24);
    }
}
