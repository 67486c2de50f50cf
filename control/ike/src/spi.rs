//! Names for SAs: SPIs that nobody can guess and that do not come back soon, and identifiers that never do.

use crate::Entropy;
use crate::limits::SPI_QUARANTINE_MAX;
use std::collections::{HashSet, VecDeque};
use warren_seam::{SaId, Spi};

/// SPIs below this are reserved (RFC 4303 §2.1).
const SPI_MIN: u32 = 256;

/// Gives out inbound SPIs and SA identifiers.
pub(crate) struct SaNames {
    last: u64,
    in_use: HashSet<Spi>,
    quarantine: VecDeque<Spi>,
    quarantined: HashSet<Spi>,
}

impl SaNames {
    pub(crate) fn new() -> Self {
        Self { last: 0, in_use: HashSet::new(), quarantine: VecDeque::new(), quarantined: HashSet::new() }
    }

    pub(crate) const fn sa_id(&mut self) -> SaId {
        self.last += 1;
        SaId(self.last)
    }

    /// A random SPI that no SA of ours has, or had recently (REQUIREMENTS F-20).
    pub(crate) fn spi(&mut self, entropy: &mut dyn Entropy) -> Spi {
        loop {
            let spi = Spi(u32::from_be_bytes(entropy.octets()));
            if spi.0 >= SPI_MIN && !self.quarantined.contains(&spi) && self.in_use.insert(spi) {
                return spi;
            }
        }
    }

    /// How many SPIs are given out and not released.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.len()
    }

    /// The SA is gone; packets for it may still be under way.
    pub(crate) fn release(&mut self, spi: Spi) {
        if !self.in_use.remove(&spi) {
            return;
        }
        if self.quarantine.len() >= SPI_QUARANTINE_MAX
            && let Some(oldest) = self.quarantine.pop_front()
        {
            self.quarantined.remove(&oldest);
        }
        self.quarantine.push_back(spi);
        self.quarantined.insert(spi);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says every number twice, and begins with reserved ones.
    struct Stuttering(u32);

    impl Entropy for Stuttering {
        fn fill(&mut self, octets: &mut [u8]) {
            octets.copy_from_slice(&(self.0 / 2).to_be_bytes());
            self.0 += 1;
        }
    }

    #[test] // F-20
    fn spis_are_not_reserved_and_not_in_use_and_not_recent() {
        let mut names = SaNames::new();
        let mut entropy = Stuttering(0);
        let first = names.spi(&mut entropy);
        assert_eq!(first, Spi(256));
        assert_eq!(names.spi(&mut entropy), Spi(257));
        names.release(first);
        assert_eq!(names.spi(&mut Stuttering(512)), Spi(258));
    }

    #[test] // F-20
    fn the_quarantine_is_bounded() {
        let mut names = SaNames::new();
        let mut entropy = Stuttering(0);
        for _ in 0..2 * SPI_QUARANTINE_MAX {
            let spi = names.spi(&mut entropy);
            names.release(spi);
        }
        assert_eq!(
            (names.quarantine.len(), names.quarantined.len()),
            (SPI_QUARANTINE_MAX, SPI_QUARANTINE_MAX)
        );
    }
}
