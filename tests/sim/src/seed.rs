//! Everything that a run draws by lot comes from its seed, each stream of lots independent of the others.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use warren_ike::Entropy;

/// The number from which a whole run follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream of lots with that name: adding a stream does not change what the others draw.
    #[must_use]
    pub(crate) fn stream(self, name: &str) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.0.to_le_bytes());
        for (at, octet) in name.bytes().enumerate() {
            key[8 + at % 24] ^= octet;
        }
        ChaCha8Rng::from_seed(key)
    }
}

/// A gateway's randomness.
pub(crate) struct Lots(pub(crate) ChaCha8Rng);

impl Entropy for Lots {
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill_bytes(octets);
    }
}

/// One of `choices`.
///
/// # Panics
/// Without choices.
pub(crate) fn pick<T: Copy>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[rng.next_u32() as usize % choices.len()]
}

/// A number below `bound`.
pub(crate) fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    rng.next_u64() % bound
}
