//! Wishes about places that Heketi takes in the clothes of volume options (`user.heketi.*`). Pure.

use crate::resources::{Durability, DurabilityType, Zones};
use crate::units::{Bytes, TagRule};

/// What options say about places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementOptions {
    /// Whether the third brick of each set is an arbiter, and how large a file is on average.
    arbiter: bool,
    average_file: Option<Bytes>,
    /// How sets lie in zones, if the options say it.
    pub zones: Option<Zones>,
    /// The rule about tags of devices, if there is one.
    pub device_tags: Option<String>,
}

/// Reads the options, each written as `key value`. Of several with the same key the last one counts. The error
/// names the option and what is accepted.
pub fn read<'a>(options: impl IntoIterator<Item = &'a String>) -> Result<PlacementOptions, String> {
    let mut read = PlacementOptions::default();
    for option in options {
        let (key, value) = option.trim().split_once(char::is_whitespace).unwrap_or((option.trim(), ""));
        let value = value.trim();
        let bad = |accepted: &str| Err(format!("option {key} is {value:?}; accepted is {accepted}"));
        match key {
            "user.heketi.arbiter" => match value {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => read.arbiter = true,
                "0" | "f" | "F" | "FALSE" | "false" | "False" | "" => read.arbiter = false,
                _ => return bad("true or false"),
            },
            "user.heketi.average-file-size" => {
                let kib = value.parse().ok().filter(|kib: &u64| *kib > 0);
                read.average_file = kib.map(Bytes::from_kib);
            }
            "user.heketi.zone-checking" => match value {
                "none" => read.zones = Some(Zones::None),
                "soft" => read.zones = Some(Zones::Soft),
                "strict" => read.zones = Some(Zones::Strict),
                _ => return bad("none, soft or strict"),
            },
            "user.heketi.device-tag-match" => match value.parse::<TagRule>() {
                Ok(rule) => read.device_tags = Some(rule.to_string()),
                Err(error) => return Err(format!("option {key}: {error}")),
            },
            _ => {}
        }
    }
    Ok(read)
}

impl PlacementOptions {
    /// The durability with the arbiter that the options ask for, `average_file` being how large a file is on average
    /// when they do not say. Heketi takes an arbiter with any durability and makes what GlusterFS then refuses.
    pub fn durability(&self, of: Durability, average_file: Bytes) -> Result<Durability, String> {
        if !self.arbiter {
            return Ok(of);
        }
        if of.type_ != DurabilityType::Replicate || of.replicas != Some(3) {
            return Err(
                "option user.heketi.arbiter: an arbiter is the third of three replicas: ask for 3".into()
            );
        }
        Ok(Durability::arbiter(self.average_file.unwrap_or(average_file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::AVERAGE_FILE;

    fn of(options: &[&str]) -> Result<PlacementOptions, String> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        read(&options)
    }

    #[test]
    fn the_last_one_counts() {
        let read = of(&[
            "performance.cache-size 256MB",
            "user.heketi.zone-checking strict",
            " user.heketi.zone-checking  none ",
            "user.heketi.device-tag-match disk!=ssd",
        ])
        .unwrap();
        assert_eq!((read.zones, read.device_tags.as_deref()), (Some(Zones::None), Some("disk!=ssd")));
        assert_eq!(read.durability(Durability::none(), AVERAGE_FILE), Ok(Durability::none()));
    }

    #[test]
    fn an_arbiter_is_the_third_of_three() {
        let plain = of(&["user.heketi.arbiter T"]).unwrap();
        assert_eq!(
            plain.durability(Durability::replicate(3), AVERAGE_FILE),
            Ok(Durability::arbiter(AVERAGE_FILE))
        );
        assert!(plain.durability(Durability::replicate(2), AVERAGE_FILE).is_err());
        assert!(plain.durability(Durability::disperse(2, 1), AVERAGE_FILE).is_err());
        for (size, kib) in [("128", 128), ("0", 64), ("large", 64)] {
            let sized = format!("user.heketi.average-file-size {size}");
            let read = of(&["user.heketi.arbiter true", &sized]).unwrap();
            let wanted = Durability::arbiter(Bytes::from_kib(kib));
            assert_eq!(read.durability(Durability::replicate(3), AVERAGE_FILE), Ok(wanted), "{size}");
        }
        let off = of(&["user.heketi.arbiter true", "user.heketi.arbiter false"]).unwrap();
        assert_eq!(off.durability(Durability::replicate(3), AVERAGE_FILE), Ok(Durability::replicate(3)));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (option, text) in [
            ("user.heketi.arbiter maybe", "user.heketi.arbiter is \"maybe\"; accepted is true or false"),
            ("user.heketi.zone-checking hard", "accepted is none, soft or strict"),
            (
                "user.heketi.device-tag-match ssd",
                "user.heketi.device-tag-match: \"ssd\" is no rule about tags",
            ),
        ] {
            let error = of(&[option]).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
