//! Where randomness comes from: an argument, so that a seed reproduces a run.

/// A source of unpredictable octets: `getrandom` in the daemon, a seeded generator in tests.
pub trait Entropy: Send {
    /// Fills all of `octets`. There is no failure: a gateway without randomness must not run.
    fn fill(&mut self, octets: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// `N` octets.
    pub(crate) fn octets<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.fill(&mut octets);
        octets
    }

    /// A number that is not zero: message IDs and cookies reserve zero.
    pub(crate) fn nonzero_u32(&mut self) -> u32 {
        loop {
            let number = u32::from_be_bytes(self.octets());
            if number != 0 {
                return number;
            }
        }
    }
}
