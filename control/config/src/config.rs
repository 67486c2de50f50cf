//! The whole configuration, validated.

use crate::diagnostic::Diagnostic;
use crate::gateway::Gateway;
use crate::peer::Peer;
use crate::port::PortConfig;
use crate::stack::Stack;
use crate::ted::Ted;
use crate::tunnel::TunnelPolicy;
use crate::user::User;
use warren_policy::{PeerId, Pool, RuleId, RuleSet, ServedPolicy, TransportRule, TunnelRule};

/// What one file says. Only this crate makes values of it, and only without errors.
#[derive(Clone, Debug)]
pub struct Config {
    /// The daemon itself.
    pub gateway: Gateway,
    /// In the order of the file; empty with `automatic_ports`.
    pub ports: Vec<PortConfig>,
    /// The file names no port: the interfaces by which the kernel reaches the peers are the outside ports.
    pub automatic_ports: bool,
    /// In the order of the file; [`PeerId`] indexes it.
    pub peers: Vec<Peer>,
    /// Both classes of rules, lists expanded.
    pub rules: RuleSet,
    /// What the rules alone do not say; one for each tunnel rule, [`RuleId`] indexes it.
    pub tunnels: Vec<TunnelPolicy>,
    /// The same for base rules that protect by themselves, in their order; their identifiers follow those of `tunnels`.
    pub protections: Vec<TunnelPolicy>,
    /// Tunnels inside tunnels; the defaults where the file has no `[stack]`.
    pub stack: Stack,
    /// What is served; [`crate::Serves::policy`] indexes it.
    pub policies: Vec<ServedPolicy>,
    /// What is leased; [`ServedPolicy::pools`] indexes it.
    pub pools: Vec<Pool>,
    /// Who extended authentication believes.
    pub users: Vec<User>,
    /// Discovery; the defaults where the file has no `[ted]`.
    pub ted: Ted,
    /// Whether discovery messages that pass through are recognised: there is a `[ted]`, or a tunnel is discovered.
    pub is_ted_on: bool,
    /// To be logged at start-up: each names something weak, deprecated or without effect.
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// The peer with that identifier.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.0 as usize)
    }

    /// Each tunnel rule, and what the rule alone does not say.
    pub fn tunnel_rules(&self) -> impl Iterator<Item = (&TunnelRule, &TunnelPolicy)> {
        self.rules.tunnel.iter().zip(&self.tunnels)
    }

    /// Each base rule that protects by itself, and what the rule alone does not say.
    pub fn protected(&self) -> impl Iterator<Item = (&TransportRule, &TunnelPolicy)> {
        self.rules.protections().map(|(rule, _)| rule).zip(&self.protections)
    }

    /// What the SAs of a rule are, a tunnel rule or a base rule that protects.
    #[must_use]
    pub fn policy(&self, rule: RuleId) -> Option<&TunnelPolicy> {
        let at = rule.0 as usize;
        self.tunnels.get(at).or_else(|| self.protections.get(at.checked_sub(self.tunnels.len())?))
    }

    /// The tunnel rules that `dpctl tunnel up NAME` means: the one of that name, or all parts `NAME#1`, `NAME#2`, …
    /// of a rule with lists. Empty when there is none.
    #[must_use]
    pub fn tunnels_named(&self, name: &str) -> Vec<RuleId> {
        let part =
            |rule: &str| rule.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'));
        let rules = self.rules.tunnel.iter().enumerate();
        rules.filter(|(_, rule)| part(&rule.name)).map(|(at, _)| RuleId(at as u32)).collect()
    }
}
