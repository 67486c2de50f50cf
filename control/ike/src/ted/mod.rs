//! Tunnel Endpoint Discovery: finding the gateway in front of a packet's destination, and being found (REQUIREMENTS
//! TED-1 … TED-62).
//!
//! ```text
//! acquire  ─► one discovery for each rule and destination granule ─► probe 240 in the name of A, 1 s, 2 s, 4 s
//! response 241 ─► cookie, outstanding, sender ─► intersection ─► holds the packet? authorisable? ─► Found
//! nothing  ─► rest, 30 s doubling to 10 min
//! probe of another ─► rates, prefixes, mirrored rules ─► answered with 241 | goes on untouched; no state is kept
//! ```
//!
//! Sans IO, like everything here. An answer says only where a negotiation may begin; who the gateway is and what it may
//! protect is for phase 1 and the [`Pad`](warren_policy::Pad) to decide (REQUIREMENTS TED-59, F-7).

mod config;
mod status;

pub use config::{DiscoverRule, Granularity, ProbeSport, TedConfig};
pub use status::{InFlight, NotFound, Resting, Stage, TedCounters, TedNotice, Unasked};

use crate::{Entropy, Path};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{FiveTuple, RuleId, Selector};
use warren_seam::{Caught, Injected};

/// Something to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TedOutput {
    /// A packet for a worker: a probe of ours, or a caught packet that goes on.
    Inject(Injected),
    /// A datagram from port 500 of one of our addresses.
    Transmit {
        /// From where to where.
        path: Path,
        /// The datagram.
        octets: Vec<u8>,
    },
    /// A gateway says that it protects the other side of the packet (REQUIREMENTS TED-56). `conclude` ends it.
    Found {
        /// The rule that the packet wants.
        rule: RuleId,
        /// The packet that was remembered; it lies inside `selector` (REQUIREMENTS TED-55).
        packet: FiveTuple,
        /// Where a negotiation may begin.
        gateway: IpAddr,
        /// The largest common subset; source is our side.
        selector: Selector,
    },
    /// Something that an operator may want to read.
    Log(TedNotice),
}

/// Discovery, both roles.
pub struct Ted {}

impl Ted {
    /// Discovery for these rules, in the order in which they are tried; `entropy` is its only source of randomness.
    #[must_use]
    pub fn new(config: TedConfig, rules: Vec<DiscoverRule>, entropy: Box<dyn Entropy>) -> Self {
        let _ = (config, rules, entropy);
        todo!()
    }

    /// Replaces the configuration. Discoveries and rests of rules that are gone or different are forgotten.
    pub fn reconfigure(&mut self, now: Duration, config: TedConfig, rules: Vec<DiscoverRule>) {
        let _ = (now, config, rules);
        todo!()
    }

    /// Which addresses are ours: nobody else may name them.
    pub fn set_own_addresses(&mut self, own: Vec<IpAddr>) {
        let _ = own;
        todo!()
    }

    /// A packet wants this rule, which has no tunnel for it (REQUIREMENTS TED-3 … TED-7). Begins a discovery, or counts
    /// why not.
    pub fn acquire(&mut self, now: Duration, rule: RuleId, packet: FiveTuple) {
        let _ = (now, rule, packet);
        todo!()
    }

    /// The operator wants it: as `acquire`, but a rest is over at once.
    ///
    /// # Errors
    /// Why there is no probe.
    pub fn probe(&mut self, now: Duration, rule: RuleId, packet: FiveTuple) -> Result<(), Unasked> {
        let _ = (now, rule, packet);
        todo!()
    }

    /// The probe that `probe` would send now, as an IP packet, with a cookie of zeros; nothing is sent and nothing changes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn preview(&self, now: Duration, rule: RuleId, packet: FiveTuple) -> Result<Vec<u8>, Unasked> {
        let _ = (now, rule, packet);
        todo!()
    }

    /// A message of exchange type 240 or 241 and major version 1 that came to one of our own addresses, port 500.
    pub fn handle_message(&mut self, now: Duration, path: Path, octets: &[u8]) {
        let _ = (now, path, octets);
        todo!()
    }

    /// A packet that a worker caught. Unless it ends here, it comes back as `TedOutput::Inject`.
    pub fn handle_caught(&mut self, now: Duration, caught: Caught) {
        let _ = (now, caught);
        todo!()
    }

    /// What became of `TedOutput::Found`: a tunnel, or a failure, after which the granule rests.
    pub fn conclude(&mut self, now: Duration, rule: RuleId, packet: &FiveTuple, is_up: bool) {
        let _ = (now, rule, packet, is_up);
        todo!()
    }

    /// The time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        todo!()
    }

    /// The next effect, strictly in order.
    pub fn poll_output(&mut self) -> Option<TedOutput> {
        todo!()
    }

    /// What workers have to look out for, `answers` excepted: that names ports, which are not known here.
    #[must_use]
    pub fn asks(&self) -> bool {
        todo!()
    }

    /// Discoveries under way, oldest first.
    #[must_use]
    pub fn in_flight(&self) -> Vec<InFlight> {
        todo!()
    }

    /// Granules that rest, soonest to be asked again first.
    #[must_use]
    pub fn resting(&self) -> Vec<Resting> {
        todo!()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &TedCounters {
        todo!()
    }
}

/// Whether a datagram to our own port 500 is one for [`Ted::handle_message`]: exchange type 240 or 241 of major version 1
/// (REQUIREMENTS TED-62).
#[must_use]
pub fn is_discovery(octets: &[u8]) -> bool {
    let _ = octets;
    todo!()
}
