//! What the operator wants, as far as tunnels are concerned.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;
use warren_ike::ted::TedConfig;
use warren_ike::{ChildConfig, PeerConfig};
use warren_policy::selector::AddressRange;
use warren_policy::{
    Ceiling, EspProposal, Lifetime, PeerId, Pool, Rematching, RuleId, RuleSet, ServedPolicy,
};

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
    /// Pairs of SAs side by side, each in a lane of its own; more than
    /// [`STACKS_MAX`](warren_seam::limits::STACKS_MAX) carry nothing.
    pub parallel: NonZeroU16,
}

/// A peer that we receive policy from (`config_mode` is `Client`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The peer.
    pub peer: PeerId,
    /// We wait for its CFG_SET instead of asking.
    pub is_pushed: bool,
    /// Networks behind a server that names none.
    pub remote_networks: Vec<AddressRange>,
    /// What it may at most give.
    pub ceiling: Ceiling,
    /// For SAs of a server that sends no sets; strongest first.
    pub proposals: Vec<EspProposal>,
    /// The same.
    pub lifetime: Lifetime,
    /// Anti-replay window of inbound SAs.
    pub window_packets: u32,
}

/// A peer, mostly a template, that we give policy to (`config_mode` is `Server`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The peer.
    pub peer: PeerId,
    /// Place of its policy.
    pub policy: usize,
    /// We push as soon as phase 1 is over.
    pub pushes: bool,
}

/// An address that was leased: what outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The pool's name.
    pub pool: String,
    /// Whose it is, as [`warren_policy::Identity`] is written, or `user:` and the name of an XAuth user.
    pub holder: String,
    /// The address.
    pub address: IpAddr,
    /// Grows with each use: the smallest gives way when a pool has no address left.
    pub used: u64,
}

/// All of it.
#[derive(Clone, Default)]
pub struct TunnelsConfig {
    /// Peers in the order of their identifiers.
    pub peers: Vec<PeerConfig>,
    /// One for each tunnel rule, in the order of `rules.tunnel`; here the rules' identifiers are their places.
    pub tunnels: Vec<TunnelConfig>,
    /// What the engine classifies by.
    pub rules: RuleSet,
    /// Peers that we receive policy from.
    pub clients: Vec<ClientConfig>,
    /// Peers that we give policy to.
    pub servers: Vec<ServerConfig>,
    /// What we give.
    pub policies: Vec<ServedPolicy>,
    /// Out of which addresses are leased.
    pub pools: Vec<Pool>,
    /// Discovery, for rules whose gateway is [`warren_policy::Gateway::Discover`].
    pub ted: TedConfig,
    /// Rules that answer and never ask (REQUIREMENTS F-10).
    pub concealed: Vec<RuleId>,
    /// How long a discovered tunnel may be without traffic before it is not renewed any more.
    pub discovered_idle: Duration,
    /// Networks that we are attached to: policy from elsewhere may not take them over.
    pub attached: Vec<AddressRange>,
    /// One for each base rule that protects by itself, in their order; their identifiers follow those of `tunnels`.
    pub protections: Vec<TunnelConfig>,
    /// As what a packet is looked up once it is inside a tunnel (REQUIREMENTS Q-19).
    pub rematch: Rematching,
    /// How long a stack of tunnels may be without traffic before it is taken down (REQUIREMENTS NT-27).
    pub stack_idle: Duration,
}

impl TunnelsConfig {
    pub(crate) fn children(&self) -> Vec<ChildConfig> {
        self.of_rules().map(|tunnel| tunnel.child.clone()).collect()
    }

    /// What is negotiated for tunnel rules, then for base rules that protect.
    pub(crate) fn of_rules(&self) -> impl Iterator<Item = &TunnelConfig> {
        self.tunnels.iter().chain(&self.protections)
    }

    /// Whether `tunnels` and `protections` speak of the same rules as `rules`, in the same order.
    pub(crate) fn is_consistent(&self) -> bool {
        let protected = self.rules.protections().map(|(_, own)| own.rule);
        self.tunnels.len() == self.rules.tunnel.len()
            && protected.eq(self.protections.iter().map(|own| own.child.rule))
            && self.of_rules().enumerate().all(|(at, tunnel)| tunnel.child.rule.0 as usize == at)
    }
}
