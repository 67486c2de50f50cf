//! The configuration file (`control/config`).

#[path = "../../../control/config/tests/common/exercise.rs"]
mod exercise;

/// A whole file. What is not UTF-8 is refused before anything looks at it.
pub fn file(octets: &[u8]) {
    if let Ok(text) = std::str::from_utf8(octets) {
        exercise::configuration(text);
    }
}
