//! The control protocol (`control/api`).

#[path = "../../../control/api/tests/common/exercise.rs"]
mod exercise;

/// One line, taken for a request and for a response.
pub fn line(octets: &[u8]) {
    exercise::request(octets);
    exercise::response(octets);
}
