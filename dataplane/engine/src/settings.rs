//! What an operator can choose about the engine.

use crate::limits::SAMPLE_EVERY;
use warren_aead::Backend;

/// What the outer header of IPv4 says about fragmentation (RFC 4301 §8.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OuterFragmentation {
    /// What the inner header says; IPv6 inside counts as *don't*.
    #[default]
    CopyDontFragment,
    /// Never: paths that are narrower than the first link lose packets instead of fragmenting them.
    SetDontFragment,
    /// Always allowed, for paths that swallow ICMP.
    ClearDontFragment,
}

/// Settings of all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whose AEAD code runs.
    pub backend: Backend,
    /// Lower the maximum segment size in TCP SYNs to what the tunnel takes.
    pub mss_clamp: bool,
    /// The DF bit of outer headers.
    pub outer_fragmentation: OuterFragmentation,
    /// Keys the flow cache's hash; unknown to whoever sends packets (REQUIREMENTS F-32).
    pub hash_seed: u64,
    /// Flows of plain packets take the short way; without it every packet goes through all stages.
    pub fast_path: bool,
    /// One turn in so many has its stages measured; 0: none.
    pub sample_every: u32,
    /// Workers without work turn on instead of sleeping: lowest latency, one core each.
    pub busy: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: Backend::best(),
            mss_clamp: true,
            outer_fragmentation: OuterFragmentation::default(),
            hash_seed: 0,
            fast_path: true,
            sample_every: SAMPLE_EVERY,
            busy: false,
        }
    }
}
