//! What the operator wants of a peer and of a child SA, already validated and sorted.

use crate::Credentials;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use warren_policy::{
    EspProposal, Identity, IkeProposal, Lifetime, Pad, PeerId, RuleId, SaMode, Secret, Selector,
};
use warren_seam::Carrier;

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

/// Where a peer may speak from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// One address. Only such a peer can be initiated to.
    Host(IpAddr),
    /// Any address: a template. Each peer that authenticates under it becomes a peer of its own.
    Any,
}

impl Remote {
    /// The address, where there is one.
    #[must_use]
    pub const fn host(&self) -> Option<IpAddr> {
        match self {
            Self::Host(address) => Some(*address),
            Self::Any => None,
        }
    }
}

/// Who a peer must prove to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteIdentity {
    /// Exactly this one (REQUIREMENTS F-22).
    Exactly(Identity),
    /// Whoever holds the secret, or a certificate of our authorities: a template.
    Any,
}

impl RemoteIdentity {
    /// Whether the peer may be `identity`.
    #[must_use]
    pub fn accepts(&self, identity: &Identity) -> bool {
        match self {
            Self::Exactly(own) => own == identity,
            Self::Any => true,
        }
    }
}

/// The exchange of phase 1 (RFC 2409 §5, draft-ietf-ipsec-ike-base-mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Identity protection, six messages.
    #[default]
    Main,
    /// Three messages, identities in clear.
    Aggressive,
    /// Four messages, identities in clear, no Diffie-Hellman before the address is proved.
    Base,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "main mode",
            Self::Aggressive => "aggressive mode",
            Self::Base => "base mode",
        })
    }
}

/// Extended authentication after phase 1 (draft-beaulieu-ike-xauth).
#[derive(Clone)]
pub enum Xauth {
    /// None.
    Off,
    /// We answer for this user.
    Client {
        /// The user.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// The peer must be one of these users, who know their passwords.
    Server(Arc<BTreeMap<String, Secret>>),
}

impl Xauth {
    /// Whether who asks and who answers is as before. Users may come and go: they are asked once for each SA.
    fn is_unchanged(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Off, Self::Off) | (Self::Server(_), Self::Server(_)) => true,
            (Self::Client { user, password }, Self::Client { user: other, password: theirs }) => {
                user == other && bool::from(password.expose().ct_eq(theirs.expose()))
            }
            _ => false,
        }
    }
}

/// Which part we take in the configuration exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfigMode {
    /// None.
    #[default]
    Off,
    /// We receive: pulled, or pushed to us.
    Client,
    /// We give: asked, or by pushing.
    Server,
}

/// How phase 1 authenticates (RFC 2409 §5.1, §5.4).
#[derive(Clone)]
pub enum Authentication {
    /// A pre-shared key.
    PreSharedKey(Secret),
    /// Signatures with certificates.
    Signature(Arc<Credentials>),
}

impl Authentication {
    /// The pre-shared key, where that is the method.
    #[must_use]
    pub const fn secret(&self) -> Option<&Secret> {
        match self {
            Self::PreSharedKey(secret) => Some(secret),
            Self::Signature(_) => None,
        }
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
    pub remote: Remote,
    /// Who we say we are.
    pub local_identity: Identity,
    /// Who it must say it is.
    pub remote_identity: RemoteIdentity,
    /// The exchange of phase 1.
    pub mode: Mode,
    /// How both sides prove who they are.
    pub authentication: Authentication,
    /// Extended authentication.
    pub xauth: Xauth,
    /// Our part in the configuration exchange.
    pub config_mode: ConfigMode,
    /// Whether long messages are sent in IKE fragments when the peer understands them.
    pub fragmentation: bool,
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
    /// What gateways under this template may protect, where discovery finds them: it makes the peer a template that
    /// tells its peers apart by their addresses, for one address is one gateway (REQUIREMENTS Q-15).
    pub pad: Option<Arc<Pad>>,
}

impl PeerConfig {
    /// Whether both peers have the same pre-shared key, or the same certificate and authorities.
    pub(crate) fn shares_secret_with(&self, other: &Self) -> bool {
        let same = |own: &Secret, other: &Secret| own.expose().ct_eq(other.expose()).into();
        match (&self.authentication, &other.authentication) {
            (Authentication::PreSharedKey(own), Authentication::PreSharedKey(other)) => same(own, other),
            (Authentication::Signature(own), Authentication::Signature(other)) => {
                Arc::ptr_eq(own, other) || own.is_same(other)
            }
            _ => false,
        }
    }

    /// Whether whoever authenticates under it becomes a peer of its own. A server that we are a client of is one
    /// peer, whatever it calls itself.
    pub(crate) fn is_template(&self) -> bool {
        let anybody = self.remote == Remote::Any || self.remote_identity == RemoteIdentity::Any;
        anybody && self.config_mode != ConfigMode::Client
    }

    /// Whether SAs negotiated under `self` would have been negotiated under `other` too.
    pub(crate) fn is_unchanged(&self, other: &Self) -> bool {
        self.shares_secret_with(other)
            && self.id == other.id
            && self.local == other.local
            && self.remote == other.remote
            && self.mode == other.mode
            && self.config_mode == other.config_mode
            && self.xauth.is_unchanged(&other.xauth)
            && self.local_identity == other.local_identity
            && self.remote_identity == other.remote_identity
            && self.proposals == other.proposals
            && self.lifetime == other.lifetime
            && self.nat_traversal == other.nat_traversal
            && self.pad == other.pad
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
    /// Tunnel mode, or transport mode between the two hosts themselves.
    pub mode: SaMode,
    /// What the packets of the inbound SA come out of: the tunnel around this one, if there is one (REQUIREMENTS NT-34).
    pub carrier: Carrier,
    /// It stands for all its parts and is never negotiated itself: a part that a peer of its template asks for becomes
    /// a child of its own (`Output::ChildAsked`).
    pub is_divisible: bool,
}
