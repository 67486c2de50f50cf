//! What a server gives us (REQUIREMENTS DC-1…DC-16, DC-24…DC-26): asked for, checked, in force, withdrawn.
//!
//! ```text
//! connect ──> Configurable ──> pull, or wait for a push ──> ceiling, set by set ──> addresses, rules, children
//! PeerDown ──> unbound ──> rules out, a shield in their place ──> SAs removed ──> addresses gone ── pause ──> connect
//! ```

use crate::config::ClientConfig;
use crate::offer::Offer;
use crate::status::{ClientState, ClientStatus, RefusedSet, SetStatus};
use std::net::IpAddr;
use std::time::Duration;
use warren_ike::Failure;
use warren_policy::AddressRange;

/// How far a client is. What it waits for besides is [`Client::held_until`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No ISAKMP SA, and none under way.
    Apart,
    Connecting,
    /// The configuration exchange is possible, and has not brought anything yet.
    Waiting,
    Configured,
}

/// One server that we receive from.
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
    /// The operator's name for the peer.
    pub(crate) name: String,
    pub(crate) server: IpAddr,
    pub(crate) phase: Phase,
    pub(crate) since: Duration,
    /// Nothing is begun before that time; then what the phase asks for.
    pub(crate) held_until: Option<Duration>,
    /// Closed by the operator.
    pub(crate) closed: bool,
    pub(crate) failures: u32,
    pub(crate) last_failure: Option<Failure>,
    pub(crate) speaks_policy: bool,
    pub(crate) offer: Offer,
    /// Addresses that are our own because of it.
    pub(crate) addresses: Vec<IpAddr>,
    /// Sets that were accepted.
    pub(crate) sets: Vec<SetStatus>,
    pub(crate) refused: Vec<RefusedSet>,
    pub(crate) refused_total: usize,
    pub(crate) shield: Vec<AddressRange>,
}

impl Client {
    pub(crate) fn new(now: Duration, config: ClientConfig, name: String, server: IpAddr) -> Self {
        Self {
            config,
            name,
            server,
            phase: Phase::Apart,
            since: now,
            held_until: Some(now),
            closed: false,
            failures: 0,
            last_failure: None,
            speaks_policy: false,
            offer: Offer::default(),
            addresses: Vec::new(),
            sets: Vec::new(),
            refused: Vec::new(),
            refused_total: 0,
            shield: Vec::new(),
        }
    }

    fn state(&self) -> ClientState {
        match (self.closed, self.phase, self.held_until) {
            (true, _, _) => ClientState::Closed,
            (false, Phase::Configured, _) => ClientState::Configured,
            (false, _, Some(until)) => ClientState::Resting { until },
            (false, Phase::Waiting, None) => ClientState::Waiting,
            (false, Phase::Apart | Phase::Connecting, None) => ClientState::Connecting,
        }
    }

    pub(crate) fn status(&self) -> ClientStatus {
        ClientStatus {
            peer: self.config.peer,
            name: self.name.clone(),
            state: self.state(),
            since: self.since,
            failures: self.failures,
            last_failure: self.last_failure,
            server: self.server,
            speaks_policy: self.speaks_policy,
            addresses: self.addresses.clone(),
            dns: self.offer.dns.clone(),
            domain: self.offer.domain.clone(),
            split_dns: self.offer.split_dns.clone(),
            banner: self.offer.banner.clone(),
            error: self.offer.error.clone(),
            sets: self.sets.clone(),
            refused: self.refused.clone(),
            refused_total: self.refused_total,
            shielded: self.shield.clone(),
        }
    }
}
