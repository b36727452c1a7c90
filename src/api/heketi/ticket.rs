//! Ids of work that leaves no object with the id: a delete, a change of state, a refusal that Heketi
//! tells late. Such an id says itself what it is about, so every replica can answer for it, and after a
//! restart too. It is sealed, so that an id that nobody was given stays unknown.

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use crate::auth::Keys;
use crate::units::Id;

/// Length of the seal in bytes.
const SEAL: usize = 16;

/// Longest text of a failure in bytes: an id is part of a URL.
const MAX_TEXT: usize = 1500;

/// The kinds whose objects are deleted in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Noun {
    /// A node.
    Node,
    /// A device.
    Device,
    /// A volume.
    Volume,
}

/// Work that was answered with 202.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ticket {
    /// The volume with this name and uid grows; the id is that of the ask.
    Expand(String, Option<String>, Id),
    /// The device with this name and uid is looked at; the id is that of the ask.
    Look(String, Option<String>, Id),
    /// The node or device with this name and uid is given up; the id is that of the ask.
    GiveUp(Noun, String, Option<String>, Id),
    /// The object with this name and uid is deleted.
    Delete(Noun, String, Option<String>),
    /// It is done.
    Done,
    /// It is done, and this is the path of the result.
    Made(String),
    /// It was refused or failed.
    Failed(String),
}

/// Writes and reads ids.
pub struct Tickets(hmac::Key);

impl Tickets {
    /// Sealed with the key that all replicas have. Without keys everybody may do everything, and the
    /// seal only tells our ids from others.
    pub fn new(keys: Option<&Keys>) -> Self {
        let secret = keys.map_or(&b""[..], Keys::admin_secret);
        let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"bricklayer queue ids");
        Self(hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()))
    }

    /// The id of some work: hexadecimal, longer than the id of an object. No two are the same.
    pub fn write(&self, ticket: &Ticket) -> String {
        let shortened = match ticket {
            Ticket::Failed(text) => Ticket::Failed(cut(text).to_owned()),
            other => other.clone(),
        };
        // A ticket is made of texts: it can always be written.
        let said = serde_json::to_vec(&(nonce(), shortened)).unwrap_or_default();
        let seal = hmac::sign(&self.0, &said);
        let sealed = seal.as_ref().iter().take(SEAL).chain(&said);
        sealed.map(|byte| format!("{byte:02x}")).collect()
    }

    /// What an id that was written by [`Tickets::write`] says.
    pub fn read(&self, id: &str) -> Option<Ticket> {
        let bytes = bytes(id)?;
        let (seal, said) = bytes.split_at_checked(SEAL)?;
        let right = hmac::sign(&self.0, said);
        // The time that this takes tells nothing that helps: ids are no secrets.
        if right.as_ref().get(..SEAL) != Some(seal) {
            return None;
        }
        serde_json::from_slice::<(u32, Ticket)>(said).ok().map(|(_, ticket)| ticket)
    }
}

fn nonce() -> u32 {
    let [a, b, c, d, ..] = uuid::Uuid::new_v4().into_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_TEXT).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Ticket> {
        vec![
            Ticket::Done,
            Ticket::Made("/volumes/1".into()),
            Ticket::Look("d".into(), None, Id::from_uid("ask")),
            Ticket::GiveUp(Noun::Node, "n".into(), None, Id::from_uid("ask")),
            Ticket::Failed("Device must be offline\nbefore \u{e9}".into()),
            Ticket::Expand(
                "v".into(),
                Some("b2b4c1a8-7d2d-4ad2-a97c-3e02e1d5b2ad".into()),
                Id::from_uid("ask"),
            ),
            Ticket::Delete(Noun::Volume, "0".repeat(32), Some("b2b4c1a8-7d2d-4ad2-a97c-3e02e1d5b2ad".into())),
            Ticket::Delete(Noun::Device, "a.name-that-kubectl.gave".repeat(10), None),
        ]
    }

    #[test]
    fn every_replica_reads_what_one_has_written() {
        let keys = Keys::new("a", "u", 120);
        for keys in [None, Some(&keys)] {
            for ticket in all() {
                let id = Tickets::new(keys).write(&ticket);
                assert!(id.len() > 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
                assert_eq!(Tickets::new(keys).read(&id), Some(ticket));
            }
        }
    }

    #[test]
    fn what_nobody_was_given_is_unknown() {
        let tickets = Tickets::new(Some(&Keys::new("a", "u", 120)));
        for ticket in all() {
            let id = tickets.write(&ticket);
            assert_ne!(id, tickets.write(&ticket), "no two are the same");
            assert_eq!(Tickets::new(Some(&Keys::new("b", "u", 120))).read(&id), None);
            for at in [0, 31, 32, id.len() - 1] {
                let mut other = id.clone();
                let digit = if other.ends_with('0') || &other[at..=at] == "0" { "1" } else { "0" };
                other.replace_range(at..=at, digit);
                assert!(other == id || tickets.read(&other).is_none(), "{other}");
            }
            assert_eq!(tickets.read(&id[..id.len() - 2]), None);
            assert_eq!(tickets.read(&id.to_uppercase()), None);
        }
        for id in ["", "0", "zz", &"0".repeat(32), &"0".repeat(100), &"\u{e9}".repeat(30)] {
            assert_eq!(tickets.read(id), None, "{id}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let tickets = Tickets::new(None);
        let id = tickets.write(&Ticket::Failed("\u{e9}".repeat(5000)));
        assert!(id.len() < 2 * (MAX_TEXT + 100), "{}", id.len());
        assert_eq!(tickets.read(&id), Some(Ticket::Failed("\u{e9}".repeat(MAX_TEXT / 2))));
    }
}
