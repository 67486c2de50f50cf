//! The whole configuration, validated.

use crate::diagnostic::Diagnostic;
use crate::gateway::Gateway;
use crate::peer::Peer;
use crate::port::PortConfig;
use crate::tunnel::TunnelPolicy;
use warren_policy::{PeerId, RuleId, RuleSet};

/// What one file says. Only this crate makes values of it, and only without errors.
#[derive(Clone, Debug)]
pub struct Config {
    /// The daemon itself.
    pub gateway: Gateway,
    /// In the order of the file; at least one.
    pub ports: Vec<PortConfig>,
    /// In the order of the file; [`PeerId`] indexes it.
    pub peers: Vec<Peer>,
    /// Both classes of rules, lists expanded.
    pub rules: RuleSet,
    /// What the rules alone do not say; one for each tunnel rule, [`RuleId`] indexes it.
    pub tunnels: Vec<TunnelPolicy>,
    /// To be logged at start-up: each names something weak, deprecated or without effect.
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// The peer with that identifier.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.0 as usize)
    }

    /// The tunnel rule of that name, as `dpctl tunnel up` names it.
    #[must_use]
    pub fn tunnel_named(&self, name: &str) -> Option<RuleId> {
        self.rules.tunnel.iter().position(|rule| rule.name == name).map(|at| RuleId(at as u32))
    }
}
