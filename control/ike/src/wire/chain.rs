//! Writes payloads one behind the other and fixes what each says about its successor.

use super::iana::PayloadType;
use super::limits::PAYLOAD_OCTETS_MAX;
use super::payload::GENERIC_OCTETS;
use zeroize::Zeroize;

/// Payloads on their way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    first: Option<PayloadType>,
    octets: Vec<u8>,
    /// Where the last payload starts: the octet that will name its successor.
    last: usize,
}

/// A user's password may have been in it (REQUIREMENTS F-33).
impl Drop for Chain {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl Chain {
    /// No payloads.
    #[must_use]
    pub const fn new() -> Self {
        Self { first: None, octets: Vec::new(), last: 0 }
    }

    /// The chain with one more payload at its end.
    #[must_use]
    pub fn with(mut self, kind: PayloadType, body: &[u8]) -> Self {
        self.push(kind, body);
        self
    }

    /// Appends a payload.
    ///
    /// # Panics
    /// When the body does not fit the 16-bit length field: bodies that long are never built.
    pub fn push(&mut self, kind: PayloadType, body: &[u8]) {
        if self.first.is_some() {
            if let Some(next) = self.octets.get_mut(self.last) {
                *next = kind.0;
            }
        } else {
            self.first = Some(kind);
        }
        self.last = self.octets.len();
        append(&mut self.octets, PayloadType::NONE, body);
    }

    /// The chain with a payload in front, for a HASH that is computed over everything behind it.
    ///
    /// # Panics
    /// Like [`Chain::push`].
    #[must_use]
    pub fn with_front(self, kind: PayloadType, body: &[u8]) -> Self {
        let mut octets = Vec::with_capacity(GENERIC_OCTETS + body.len() + self.octets.len());
        append(&mut octets, self.first(), body);
        let last = if self.first.is_some() { octets.len() + self.last } else { 0 };
        octets.extend_from_slice(&self.octets);
        Self { first: Some(kind), octets, last }
    }

    /// The type of the first payload, for the header; `NONE` while there is none.
    #[must_use]
    pub fn first(&self) -> PayloadType {
        self.first.unwrap_or(PayloadType::NONE)
    }

    /// All payloads with their generic headers.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// Appends one payload whose successor is known.
pub(super) fn append(octets: &mut Vec<u8>, next: PayloadType, body: &[u8]) {
    let length = GENERIC_OCTETS + body.len();
    assert!(length <= PAYLOAD_OCTETS_MAX, "a payload of {length} octets cannot be written");
    octets.extend_from_slice(&[next.0, 0]);
    octets.extend_from_slice(&(length as u16).to_be_bytes());
    octets.extend_from_slice(body);
}
