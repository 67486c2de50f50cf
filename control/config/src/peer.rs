//! `[[peer]]`: another gateway, how it is known and what is agreed with it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{Identity, IkeProposal, PeerId, Secret};

/// Which exchange opens the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IkeMode {
    /// IKEv1 main mode (RFC 2409 §5).
    Main,
}

/// Dead peer detection (RFC 3706).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpd {
    /// Silence after which the peer is asked.
    pub delay: Duration,
    /// Silence after which it is taken for dead; longer than `delay`.
    pub timeout: Duration,
}

/// Whether ESP travels inside UDP (RFC 3947, RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatTraversal {
    /// When a NAT is found on the path.
    Auto,
    /// Always.
    Force,
    /// Never.
    Off,
}

/// How often a message without an answer is sent again; the interval doubles each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// Time to the first repetition.
    pub first: Duration,
    /// Repetitions before the negotiation is given up.
    pub tries: u32,
}

/// Another gateway.
#[derive(Clone)]
pub struct Peer {
    /// Its place in the file.
    pub id: PeerId,
    /// The operator's name for it.
    pub name: String,
    /// Our address towards it.
    pub local: IpAddr,
    /// Its address, of the same family.
    pub address: IpAddr,
    /// Who we say we are.
    pub local_identity: Identity,
    /// Who it must prove to be.
    pub identity: Identity,
    /// The pre-shared key.
    pub secret: Secret,
    /// How negotiation begins.
    pub mode: IkeMode,
    /// For phase 1, in the order in which they are offered; never empty.
    pub proposals: Vec<IkeProposal>,
    /// Lifetime of the ISAKMP SA in seconds.
    pub lifetime_s: u32,
    /// `None` when switched off.
    pub dpd: Option<Dpd>,
    /// Whether ESP travels inside UDP.
    pub nat_traversal: NatTraversal,
    /// Patience with lost messages.
    pub retransmit: Retransmit,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("local", &self.local)
            .field("address", &self.address)
            .field("local_identity", &self.local_identity)
            .field("identity", &self.identity)
            .field("mode", &self.mode)
            .field("proposals", &self.proposals)
            .field("lifetime_s", &self.lifetime_s)
            .field("dpd", &self.dpd)
            .field("nat_traversal", &self.nat_traversal)
            .field("retransmit", &self.retransmit)
            .finish_non_exhaustive()
    }
}
