//! Random choices of whom to evict from a full set (REQUIREMENTS F-32). Their quality matters little, their being unknown
//! outside does.

/// xorshift64 (Marsaglia 2003).
pub(crate) struct Draw(u64);

impl Draw {
    /// From a seed that is unknown to whoever sends packets.
    #[must_use]
    pub(crate) const fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % end
    }
}
