//! Randomness from the kernel, and from nowhere else (REQUIREMENTS F-21).

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use warren_ike::Entropy;

/// `getrandom(2)`; waits until the kernel's generator is seeded.
pub(crate) struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn fill(&mut self, octets: &mut [u8]) {
        let mut filled = 0;
        while filled < octets.len() {
            match getrandom(&mut octets[filled..], GetRandomFlags::empty()) {
                Ok(more) => filled += more,
                Err(Errno::INTR) => {}
                Err(error) => panic!("a gateway without randomness must not run: getrandom: {error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // F-21
    fn all_octets_are_filled() {
        let mut octets = [0; 1024];
        KernelEntropy.fill(&mut octets);
        assert!(octets.chunks(64).all(|chunk| chunk.iter().any(|octet| *octet != 0)));
    }
}
