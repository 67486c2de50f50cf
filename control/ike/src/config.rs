//! What the operator wants of a peer and of a child SA, already validated and sorted.

use std::net::IpAddr;
use std::time::Duration;
use subtle::ConstantTimeEq;
use warren_policy::{EspProposal, Identity, IkeProposal, Lifetime, PeerId, RuleId, Secret, Selector};

/// Whether ESP travels in UDP (RFC 3947).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatTraversal {
    /// When a NAT is found on the path.
    #[default]
    Auto,
    /// Always: our NAT-D payload names a wrong address, so that both sides believe in a NAT.
    Force,
    /// Never.
    Off,
}

/// Dead peer detection (RFC 3706).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpd {
    /// Silence after which we ask.
    pub delay: Duration,
    /// Silence after the first question at which the peer is dead.
    pub timeout: Duration,
}

/// How a message without an answer is repeated: after `first`, then twice as long each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// Time to the first repetition.
    pub first: Duration,
    /// Repetitions before the negotiation has failed.
    pub tries: u32,
}

impl Default for Retransmit {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), tries: 6 }
    }
}

/// A peer gateway.
#[derive(Clone)]
pub struct PeerConfig {
    /// Its place in the configuration.
    pub id: PeerId,
    /// The operator's name for it.
    pub name: String,
    /// Our address towards it; unspecified (`0.0.0.0`, `::`) accepts any of ours.
    pub local: IpAddr,
    /// Its address.
    pub remote: IpAddr,
    /// Who we say we are.
    pub local_identity: Identity,
    /// Who it must say it is, exactly (REQUIREMENTS F-22).
    pub remote_identity: Identity,
    /// The pre-shared key.
    pub secret: Secret,
    /// Strongest first.
    pub proposals: Vec<IkeProposal>,
    /// Seconds that an ISAKMP SA lives.
    pub lifetime: u32,
    /// Dead peer detection; `None` only answers.
    pub dpd: Option<Dpd>,
    /// ESP in UDP.
    pub nat_traversal: NatTraversal,
    /// Repetition of messages.
    pub retransmit: Retransmit,
}

impl PeerConfig {
    /// Whether both peers have the same pre-shared key.
    pub(crate) fn shares_secret_with(&self, other: &Self) -> bool {
        self.secret.expose().ct_eq(other.secret.expose()).into()
    }

    /// Whether SAs negotiated under `self` would have been negotiated under `other` too.
    pub(crate) fn is_unchanged(&self, other: &Self) -> bool {
        self.shares_secret_with(other)
            && self.id == other.id
            && self.local == other.local
            && self.remote == other.remote
            && self.local_identity == other.local_identity
            && self.remote_identity == other.remote_identity
            && self.proposals == other.proposals
            && self.lifetime == other.lifetime
            && self.nat_traversal == other.nat_traversal
    }
}

/// A pair of ESP SAs that protects the traffic of one tunnel rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildConfig {
    /// The tunnel rule.
    pub rule: RuleId,
    /// Through which peer.
    pub peer: PeerId,
    /// What it protects, outbound: source is our side.
    pub selector: Selector,
    /// Strongest first.
    pub proposals: Vec<EspProposal>,
    /// How long a pair lives.
    pub lifetime: Lifetime,
    /// Anti-replay window of the inbound SA.
    pub window_packets: u32,
}
