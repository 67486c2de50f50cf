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

mod address;
mod answer;
mod around;
mod config;
mod initiator;
mod packet;
mod rates;
mod responder;
mod rest;
mod sent;
mod status;

pub use config::{DiscoverRule, Granularity, ProbeSport, TedConfig};
pub use status::{InFlight, NotFound, Resting, Stage, TedCount, TedCounters, TedNotice, Unasked};

use crate::path::PORT_ISAKMP;
use crate::wire::ted::number;
use crate::wire::{HEADER_OCTETS, Header};
use crate::{Entropy, Path};
use around::Around;
use initiator::Initiator;
use packet::Quotation;
use responder::{Heard, Responder, Verdict};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{FiveTuple, RuleId, Selector};
use warren_seam::{Catch, Caught, Entry, Injected};

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
pub struct Ted {
    around: Around,
    initiator: Initiator,
    responder: Responder,
    /// The latest time that was seen.
    clock: Duration,
}

impl Ted {
    /// Discovery for these rules, in the order in which they are tried; `entropy` is its only source of randomness.
    #[must_use]
    pub fn new(config: TedConfig, rules: Vec<DiscoverRule>, entropy: Box<dyn Entropy>) -> Self {
        let mut around = Around::new(config, rules, entropy);
        let responder = Responder::new(&mut around);
        let initiator = Initiator::new(around.config.probes_per_second);
        Self { around, initiator, responder, clock: Duration::ZERO }
    }

    /// Replaces the configuration. Discoveries and rests of rules that are gone or different are forgotten; all are, where
    /// it changes what is one to discovery.
    pub fn reconfigure(&mut self, now: Duration, config: TedConfig, rules: Vec<DiscoverRule>) {
        self.see(now);
        let old = &self.around.config;
        let is_same = (old.granule, old.granularity) == (config.granule, config.granularity);
        let (probes, answers) = (config.probes_per_second, config.answers_per_second);
        let mut stays = self.around.replace(config, rules);
        if !is_same {
            stays.clear();
        }
        self.initiator.retain(now, probes, &stays);
        self.responder.set_rate(answers);
    }

    /// Which addresses are ours: nobody else may name them.
    pub fn set_own_addresses(&mut self, own: Vec<IpAddr>) {
        self.around.own = own.into_iter().collect();
    }

    /// A packet wants this rule, which has no tunnel for it (REQUIREMENTS TED-3 … TED-7). Begins a discovery, or counts
    /// why not.
    pub fn acquire(&mut self, now: Duration, rule: RuleId, packet: FiveTuple) {
        self.see(now);
        self.initiator.acquire(now, &mut self.around, rule, packet);
    }

    /// The operator wants it: as `acquire`, but a rest is over at once.
    ///
    /// # Errors
    /// Why there is no probe.
    pub fn probe(&mut self, now: Duration, rule: RuleId, packet: FiveTuple) -> Result<(), Unasked> {
        self.see(now);
        self.initiator.probe(now, &mut self.around, rule, packet)
    }

    /// The probe that `probe` would send now, as an IP packet, with a cookie of zeros; nothing is sent and nothing changes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn preview(&self, now: Duration, rule: RuleId, packet: FiveTuple) -> Result<Vec<u8>, Unasked> {
        self.initiator.preview(now, &self.around, rule, &packet)
    }

    /// A message of exchange type 240 or 241 and major version 1 that came to one of our own addresses, port 500.
    pub fn handle_message(&mut self, now: Duration, path: Path, octets: &[u8]) {
        self.see(now);
        match exchange(octets) {
            Some(number::RESPONSE) => {
                self.initiator.handle_response(now, &mut self.around, path, octets);
            }
            Some(number::PROBE) => {
                // REQUIREMENTS TED-6: we are the end host. Nobody is behind us to whom it could go on.
                let (source, destination) = (path.remote.ip(), path.local.ip());
                let length = packet::packet_octets(source.is_ipv6(), octets.len());
                self.hear(now, (source, destination), length, octets);
            }
            _ => self.around.count(TedCount::MessagesUnexpected),
        }
    }

    /// A packet that a worker caught. Unless it ends here, it comes back as `TedOutput::Inject`.
    pub fn handle_caught(&mut self, now: Duration, caught: Caught) {
        self.see(now);
        match caught.catch {
            Catch::Probe => self.handle_probe(now, caught),
            Catch::Stray => self.handle_stray(caught),
        }
    }

    /// A probe in transit (REQUIREMENTS TED-29 … TED-31).
    fn handle_probe(&mut self, now: Duration, caught: Caught) {
        let datagram = packet::datagram(&caught.packet, caught.tuple.protocol, usize::from(caught.upper_at))
            .filter(|datagram| datagram.destination_port == PORT_ISAKMP && datagram.is_intact);
        let verdict = match datagram {
            Some(heard) => {
                let addresses = (heard.source, heard.destination);
                self.hear(now, addresses, heard.packet_octets, heard.payload)
            }
            None => {
                self.around.count(TedCount::ProbesReceived);
                self.around.count(TedCount::ProbeMalformed);
                Verdict::PassOn
            }
        };
        if verdict == Verdict::PassOn {
            self.around.count(TedCount::ProbesPassed);
            self.around.inject(Entry::Resume(caught.port), caught.packet);
        }
    }

    fn hear(
        &mut self,
        now: Duration,
        (source, destination): (IpAddr, IpAddr),
        packet_octets: usize,
        octets: &[u8],
    ) -> Verdict {
        self.around.count(TedCount::ProbesReceived);
        match responder::decode(octets) {
            Ok(probe) if self.initiator.is_own(probe.cookie) => {
                // REQUIREMENTS F-14: the network sends it in circles, or nobody is behind B.
                self.around.count(TedCount::OwnProbes);
                Verdict::Consumed
            }
            Ok(probe) => {
                let heard = Heard { source, destination, packet_octets, probe };
                self.responder.handle(now, &mut self.around, &heard)
            }
            Err(count) => {
                self.around.count(count);
                Verdict::PassOn
            }
        }
    }

    /// An error or a message that may be about a probe of ours (REQUIREMENTS TED-28).
    fn handle_stray(&mut self, caught: Caught) {
        let (protocol, upper_at) = (caught.tuple.protocol, usize::from(caught.upper_at));
        let error = packet::quotation(&caught.packet, protocol, upper_at);
        if error.is_some_and(|quoted| self.initiator.has_sent(&quoted)) {
            return self.around.count(TedCount::ErrorsSwallowed);
        }
        let message = packet::datagram(&caught.packet, protocol, upper_at).and_then(in_answer_to);
        if message.is_some_and(|quoted| self.initiator.has_sent(&quoted)) {
            return self.around.count(TedCount::MessagesSwallowed);
        }
        self.around.count(TedCount::StraysPassed);
        self.around.inject(Entry::Judge(caught.port), caught.packet);
    }

    /// What became of `TedOutput::Found`: a tunnel, or a failure, after which the granule rests.
    pub fn conclude(&mut self, now: Duration, rule: RuleId, packet: &FiveTuple, is_up: bool) {
        self.see(now);
        self.initiator.conclude(now, &mut self.around, rule, packet, is_up);
    }

    /// The time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.see(now);
        self.initiator.handle_timeout(now, &mut self.around);
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.initiator.poll_timeout()
    }

    /// The next effect, strictly in order.
    pub fn poll_output(&mut self) -> Option<TedOutput> {
        self.around.outputs.pop_front()
    }

    /// What workers have to look out for, `answers` excepted: that names ports, which are not known here. True from the
    /// first probe until [`ENDED_DISCOVERY_LIFE`](crate::limits::ENDED_DISCOVERY_LIFE) after the last discovery.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.initiator.asks()
    }

    /// Discoveries under way, oldest first.
    #[must_use]
    pub fn in_flight(&self) -> Vec<InFlight> {
        self.initiator.in_flight()
    }

    /// Granules that rest, soonest to be asked again first, as of the latest input.
    #[must_use]
    pub fn resting(&self) -> Vec<Resting> {
        self.initiator.resting(self.clock)
    }

    /// The discovery under way that such a packet of the rule would wait for (REQUIREMENTS TED-7).
    #[must_use]
    pub fn in_flight_for(&self, rule: RuleId, packet: &FiveTuple) -> Option<InFlight> {
        self.initiator.in_flight_for(&self.around, rule, packet)
    }

    /// The rest that such a packet of the rule would meet, as of the latest input.
    #[must_use]
    pub fn resting_for(&self, rule: RuleId, packet: &FiveTuple) -> Option<Resting> {
        self.initiator.resting_for(self.clock, &self.around, rule, packet)
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &TedCounters {
        &self.around.counters
    }

    fn see(&mut self, now: Duration) {
        self.clock = self.clock.max(now);
    }
}

/// Whether a datagram to our own port 500 is one for [`Ted::handle_message`]: exchange type 240 or 241 of major version 1
/// (REQUIREMENTS TED-62).
#[must_use]
pub fn is_discovery(octets: &[u8]) -> bool {
    matches!(exchange(octets), Some(number::PROBE | number::RESPONSE))
}

/// The exchange type of a message of version 1.
fn exchange(octets: &[u8]) -> Option<u8> {
    // The header's own length does not matter yet: a message that lies about it is a malformed one of its kind.
    let header = octets.first_chunk::<HEADER_OCTETS>()?;
    let [version, exchange] = [header[17], header[18]];
    (version >> 4 == 1).then_some(exchange)
}

/// The probe that an IKE message from port 500 would answer, were it one of ours: B speaks to A and says CKY-I.
fn in_answer_to(datagram: packet::Datagram<'_>) -> Option<Quotation> {
    let (header, _) = Header::decode(datagram.payload).ok()?;
    let is_other = !matches!(header.exchange.0, number::PROBE | number::RESPONSE);
    (datagram.source_port == PORT_ISAKMP && is_other).then_some(Quotation {
        source: datagram.destination,
        destination: datagram.source,
        source_port: datagram.destination_port,
        cookie: Some(header.cookie_i),
    })
}

#[cfg(test)]
mod tests;
