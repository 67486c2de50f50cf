//! What the operator wants, as far as tunnels are concerned.

use warren_ike::{ChildConfig, PeerConfig};
use warren_policy::RuleSet;

/// When a tunnel is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// When the first packet wants it.
    OnTraffic,
    /// At once, and again whenever it is lost.
    Immediately,
}

/// One tunnel rule's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelConfig {
    /// What is negotiated.
    pub child: ChildConfig,
    /// When.
    pub start: Start,
}

/// All of it.
#[derive(Clone, Default)]
pub struct TunnelsConfig {
    /// Peers in the order of their identifiers.
    pub peers: Vec<PeerConfig>,
    /// One for each tunnel rule, in the order of `rules.tunnel`.
    pub tunnels: Vec<TunnelConfig>,
    /// What the engine classifies by.
    pub rules: RuleSet,
}

impl TunnelsConfig {
    pub(crate) fn children(&self) -> Vec<ChildConfig> {
        self.tunnels.iter().map(|tunnel| tunnel.child.clone()).collect()
    }

    /// Whether `tunnels` and `rules.tunnel` speak of the same rules in the same order.
    pub(crate) fn is_consistent(&self) -> bool {
        self.tunnels.len() == self.rules.tunnel.len()
            && self.tunnels.iter().enumerate().all(|(at, tunnel)| tunnel.child.rule.0 as usize == at)
    }
}
