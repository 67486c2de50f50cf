//! Bytes that must not be seen: wiped when dropped, no `Debug`, no serialisation (REQUIREMENTS F-33).

use zeroize::Zeroizing;

/// A pre-shared key or a traffic key. Reading it is spelled out (`expose`) so that a review finds every place.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `octets`; the caller's copy is this one.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}
