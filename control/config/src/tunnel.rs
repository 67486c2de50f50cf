//! `[[tunnel]]`: what is protected, through which peer and how.

use warren_policy::{EspProposal, Lifetime, PeerId, RuleId};

/// When the tunnel is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// When the first packet wants it.
    OnTraffic,
    /// As soon as the daemon runs, and again whenever it is lost.
    Immediately,
}

/// What a tunnel rule alone does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPolicy {
    /// The rule, by its place in `RuleSet::tunnel`.
    pub rule: RuleId,
    /// Whose tunnel it is; the same as the rule's.
    pub peer: PeerId,
    /// For phase 2, in the order in which they are offered; never empty.
    pub esp: Vec<EspProposal>,
    /// Hard limits of each SA.
    pub lifetime: Lifetime,
    /// Anti-replay window in packets, a multiple of 64.
    pub window_packets: u32,
    /// When it is negotiated.
    pub start: Start,
}
