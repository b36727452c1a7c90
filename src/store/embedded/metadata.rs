//! Names, labels, annotations, finalizers and owners: the rules that hold for every kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::status::Cause;

/// All annotations of one object together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The letters of generated names: no vowels, so no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The name that `generateName` makes of `prefix`, with the randomness given.
pub(super) fn generated_name(prefix: &str, random: u64) -> String {
    const MAX_PREFIX: usize = 58;
    let mut name: String = prefix.chars().take(MAX_PREFIX).collect();
    let mut random = random;
    for _ in 0..5 {
        let letter = LETTERS[(random % LETTERS.len() as u64) as usize];
        name.push(char::from(letter));
        random /= LETTERS.len() as u64;
    }
    name
}

/// Makes empty collections absent, as the API server does, and drops what is not kept.
pub(super) fn tidy(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.self_link = None;
    metadata.labels = metadata.labels.take().filter(|m| !m.is_empty());
    metadata.annotations = metadata.annotations.take().filter(|m| !m.is_empty());
    metadata.finalizers = metadata.finalizers.take().filter(|v| !v.is_empty());
    metadata.owner_references = metadata.owner_references.take().filter(|v| !v.is_empty());
    metadata.generate_name = metadata.generate_name.take().filter(|v| !v.is_empty());
    if let Some(finalizers) = &mut metadata.finalizers {
        let mut seen = std::collections::BTreeSet::new();
        finalizers.retain(|f| seen.insert(f.clone()));
    }
}

/// What is wrong with the metadata that a client may write.
pub(super) fn check(metadata: &ObjectMeta) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if !is_subdomain(name) {
        const WHY: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                           '-' or '.', and must start and end with an alphanumeric character";
        causes.push(Cause::invalid("metadata.name", &format!("\"{name}\""), WHY));
    }
    for (key, value) in metadata.labels.iter().flatten() {
        if let Some(why) = qualified_name_fault(key) {
            causes.push(Cause::invalid("metadata.labels", &format!("\"{key}\""), why));
        }
        if let Some(why) = label_value_fault(value) {
            causes.push(Cause::invalid("metadata.labels", &format!("\"{value}\""), why));
        }
    }
    let mut size = 0;
    for (key, value) in metadata.annotations.iter().flatten() {
        size += key.len() + value.len();
        if let Some(why) = qualified_name_fault(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &format!("\"{key}\""), why));
        }
    }
    if size > MAX_ANNOTATIONS {
        let message = format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes");
        let field = "metadata.annotations".to_owned();
        causes.push(Cause { reason: "FieldValueTooLong", field, message });
    }
    for finalizer in metadata.finalizers.iter().flatten() {
        if let Some(why) = qualified_name_fault(finalizer) {
            causes.push(Cause::invalid("metadata.finalizers", &format!("\"{finalizer}\""), why));
        }
    }
    causes.extend(check_owners(metadata));
    causes
}

fn check_owners(metadata: &ObjectMeta) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut controllers = 0;
    for owner in metadata.owner_references.iter().flatten() {
        let parts = [
            ("apiVersion", &owner.api_version),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", &owner.uid),
        ];
        for (part, value) in parts {
            if value.is_empty() {
                let field = format!("metadata.ownerReferences.{part}");
                causes.push(Cause::invalid(field, "\"\"", format!("{part} must not be empty")));
            }
        }
        controllers += usize::from(owner.controller == Some(true));
    }
    if controllers > 1 {
        let why = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid("metadata.ownerReferences", "\"object\"", why));
    }
    causes
}

/// RFC 1123 subdomain: at most 253 characters, labels of lower-case letters, digits and dashes.
pub(super) fn is_subdomain(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |part: &str| {
        let bytes = part.as_bytes();
        match (bytes.first(), bytes.last()) {
            (Some(first), Some(last)) => {
                fits(*first) && fits(*last) && bytes.iter().all(|c| fits(*c) || *c == b'-')
            }
            _ => false,
        }
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Why `key` is not a label key (`[prefix/]name`), if so.
pub(super) fn qualified_name_fault(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix
        && !is_subdomain(prefix)
    {
        return Some(format!("prefix part \"{prefix}\" must be a lowercase RFC 1123 subdomain"));
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes".to_owned());
    }
    (!is_word(name)).then(|| {
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
         alphanumeric character"
            .to_owned()
    })
}

/// Why `value` is not a label value, if so.
pub(super) fn label_value_fault(value: &str) -> Option<&'static str> {
    if value.len() > 63 {
        return Some("must be no more than 63 bytes");
    }
    (!value.is_empty() && !is_word(value)).then_some(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
         start and end with an alphanumeric character",
    )
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(inner)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdomains() {
        for name in ["a", "a-b.c-d", "0", "vol-1", &"x".repeat(253)] {
            assert!(is_subdomain(name), "{name}");
        }
        for name in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a.", "a b", "\u{e4}", &"x".repeat(254)] {
            assert!(!is_subdomain(name), "{name}");
        }
    }

    #[test]
    fn qualified_names_and_label_values() {
        for key in ["a", "A_b.c-D", "example.com/k", "a/B"] {
            assert_eq!(qualified_name_fault(key), None, "{key}");
        }
        for key in ["", "/a", "a/", "A/b", "a/b/c", "-a", "a-", "a b", &"x".repeat(64)] {
            assert!(qualified_name_fault(key).is_some(), "{key}");
        }
        for (value, good) in [("", true), ("a", true), ("A.b_c-d", true), ("-a", false), ("a ", false)] {
            assert_eq!(label_value_fault(value).is_none(), good, "{value}");
        }
    }

    #[test]
    fn generated_names_are_short_enough_and_differ() {
        let long = generated_name(&"x".repeat(80), 12345);
        assert_eq!(long.len(), 63);
        assert!(is_subdomain(&long));
        assert_ne!(generated_name("a-", 1), generated_name("a-", 2));
    }
}
