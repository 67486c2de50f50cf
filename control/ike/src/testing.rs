//! What the tests of this crate share: seeded randomness and the vectors of the repository.

use crate::Entropy;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Randomness that a seed reproduces.
pub(crate) struct Seeded(ChaCha8Rng);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill_bytes(octets);
    }
}

fn path(name: &str) -> String {
    format!("{}/../../tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// One file of the vectors, as octets.
pub(crate) fn vector_octets(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// One JSON file of the vectors.
pub(crate) fn vector(name: &str) -> serde_json::Value {
    serde_json::from_slice(&vector_octets(name)).unwrap()
}

/// One file of JSON lines.
pub(crate) fn vector_lines(name: &str) -> Vec<serde_json::Value> {
    let octets = vector_octets(name);
    let text = std::str::from_utf8(&octets).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
