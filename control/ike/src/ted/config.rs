//! What the operator chose about discovery.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{AddressRange, Pad, Proxy, RuleId};

/// The UDP source port of a probe (REQUIREMENTS Q-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeSport {
    /// That of the packet which wants the tunnel, or 500 where it has none.
    #[default]
    Packet,
    /// 500.
    Isakmp,
}

/// What a probe tells of the packet (REQUIREMENTS Q-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// Its addresses; protocol and ports only as far as the rule names them.
    #[default]
    Policy,
    /// Its protocol and ports too: a tunnel for each flow (RFC 4301 §4.4.1.2, PFP).
    Packet,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TedConfig {
    /// Source port of our probes.
    pub probe_sport: ProbeSport,
    /// What they tell.
    pub granularity: Granularity,
    /// Prefix lengths, IPv4 and IPv6, of the destinations that are one to discovery (REQUIREMENTS TED-7).
    pub granule: (u8, u8),
    /// Wait for the answer to the first probe; it doubles with each further one (REQUIREMENTS Q-14).
    pub first_wait: Duration,
    /// Probes in all.
    pub tries: u32,
    /// Pause after a discovery that found nothing; it doubles each time.
    pub rest_min: Duration,
    /// The longest pause.
    pub rest_max: Duration,
    /// Discoveries under way at a time.
    pub in_flight_max: usize,
    /// Probes in a second.
    pub probes_per_second: u32,
    /// Where gateways may live; empty is anywhere (REQUIREMENTS F-7).
    pub gateways: Vec<AddressRange>,
    /// Gateways that are answered; empty is any public address (REQUIREMENTS F-8).
    pub accept_from: Vec<AddressRange>,
    /// What an answer may tell of our side; empty is all of the matching rule (REQUIREMENTS F-9).
    pub disclose: Vec<AddressRange>,
    /// Whether a probe is only answered when its sender has shown that it hears us (REQUIREMENTS F-8).
    pub cookie_echo: bool,
    /// Answers in a second.
    pub answers_per_second: u32,
}

impl Default for TedConfig {
    fn default() -> Self {
        Self {
            probe_sport: ProbeSport::default(),
            granularity: Granularity::default(),
            granule: (32, 128),
            first_wait: Duration::from_secs(1),
            tries: 3,
            rest_min: Duration::from_secs(30),
            rest_max: Duration::from_secs(600),
            in_flight_max: 10_000,
            probes_per_second: 200,
            gateways: Vec::new(),
            accept_from: Vec::new(),
            disclose: Vec::new(),
            cookie_echo: false,
            answers_per_second: 200,
        }
    }
}

/// A rule that discovers, and answers who discovers us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverRule {
    /// Its identifier.
    pub rule: RuleId,
    /// What it protects, source being our side; then what directly following rules of the same peer protect, in their
    /// order (REQUIREMENTS TED-53).
    pub proxies: Vec<Proxy>,
    /// Our address, for the Identification payload.
    pub local: IpAddr,
    /// What the gateways that it finds may protect.
    pub pad: Arc<Pad>,
    /// Probes are never sent for it, for they tell in clear what is to be protected; it only answers (REQUIREMENTS F-10).
    pub is_concealed: bool,
}
