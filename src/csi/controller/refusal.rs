//! Refusals as gRPC tells them: a code that a program acts on, and a text for people. Details stay empty,
//! as the specification wants it.

use tonic::Status;

use crate::intent::AskError;
use crate::store::StoreError;

/// The longest text in bytes: it travels in a header.
const LONGEST: usize = 4096;

/// A text that is not too long for a header.
pub fn short(text: &str) -> String {
    let most = LONGEST.min(text.len());
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    if end < text.len() { format!("{} ...", &text[..end]) } else { text.to_owned() }
}

/// What the store did not do. Nothing is lost by asking again.
pub fn of_store(error: &StoreError) -> Status {
    let text = short(&error.to_string());
    match error {
        StoreError::Conflict(_) | StoreError::Exists(_) => Status::aborted(format!("{text}: ask again")),
        StoreError::NotFound(_) => Status::not_found(text),
        StoreError::Invalid(_) => Status::invalid_argument(text),
        StoreError::Unavailable(_) => Status::unavailable(text),
    }
}

/// An ask that was not taken.
pub fn of_ask(error: &AskError) -> Status {
    match error {
        AskError::Store(error) => of_store(error),
        AskError::Undecided => Status::unavailable(error.to_string()),
        AskError::InUse(text) => Status::failed_precondition(short(text)),
    }
}

/// There is no such volume.
pub fn no_volume(id: &str) -> Status {
    let id: String = id.chars().take(super::wish::LONGEST_TEXT).collect();
    Status::not_found(format!("there is no volume {id:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(short("no room"), "no room");
        let long = short(&"ß".repeat(5000));
        assert_eq!(long.len(), LONGEST + " ...".len());
        let odd = short(&format!("a{}", "ß".repeat(5000)));
        assert_eq!(odd.len(), LONGEST - 1 + " ...".len());
    }
}
