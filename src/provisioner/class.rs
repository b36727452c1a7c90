//! What a StorageClass says about its volumes. Pure.

use std::collections::BTreeMap;

use crate::resources::{Durability, DurabilityType};
use crate::units::check_option;

/// The parameters of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassParameters {
    /// How the data is kept safe.
    pub durability: Durability,
    /// The clusters that may hold it; any when empty.
    pub clusters: Vec<String>,
    /// Options for `gluster volume set`, each written as `key value`.
    pub options: Vec<String>,
}

/// The keys that are understood, with what they accept.
const KEYS: [(&str, &str); 3] = [
    ("volumetype", "none or replicate:2 or replicate:3"),
    ("clusters", "names of GlusterClusters, with commas between them"),
    ("volumeoptions", "options as `key value`, with commas between them"),
];

/// Reads the parameters. An unknown key or value is an error that names it and what is accepted.
pub fn read(parameters: &BTreeMap<String, String>) -> Result<ClassParameters, String> {
    let list = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let mut class = ClassParameters { durability: Durability::default(), clusters: vec![], options: vec![] };
    for (key, value) in parameters {
        match key.as_str() {
            "volumetype" => class.durability = durability(value)?,
            "clusters" => class.clusters = list(value),
            "volumeoptions" => {
                class.options = list(value);
                for option in &class.options {
                    check_option(option).map_err(|error| format!("StorageClass parameter {key}: {error}"))?;
                }
            }
            _ => {
                let known: Vec<String> = KEYS.iter().map(|(key, what)| format!("{key} ({what})")).collect();
                return Err(format!(
                    "unknown StorageClass parameter {key:?}; known are: {}",
                    known.join("; ")
                ));
            }
        }
    }
    Ok(class)
}

fn durability(text: &str) -> Result<Durability, String> {
    let replicate = |replicas| Ok(Durability { type_: DurabilityType::Replicate, replicas: Some(replicas) });
    match text {
        "none" => Ok(Durability { type_: DurabilityType::None, replicas: None }),
        "replicate" | "replicate:3" => replicate(3),
        "replicate:2" => replicate(2),
        _ => Err(format!("StorageClass parameter volumetype is {text:?}; accepted are {}", KEYS[0].1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn known_keys_are_read() {
        let class = read(&parameters(&[
            ("volumetype", "replicate:2"),
            ("clusters", "a, b"),
            ("volumeoptions", "performance.cache-size 256MB"),
        ]));
        let class = class.unwrap();
        assert_eq!(class.durability.set_size(), 2);
        assert_eq!(class.clusters, ["a", "b"]);
        assert_eq!(class.options, ["performance.cache-size 256MB"]);
        assert_eq!(read(&parameters(&[])).unwrap().durability.set_size(), 3);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (key, value) in [("volumtype", "none"), ("volumetype", "replicate:4"), ("resturl", "http://x")] {
            let text = read(&parameters(&[(key, value)])).unwrap_err();
            assert!(text.contains(key) && text.contains("replicate:3"), "{text}");
        }
        assert!(read(&parameters(&[("volumeoptions", "a.b --log-file=/x")])).is_err());
    }
}
