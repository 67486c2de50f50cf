//! Discoveries under way (REQUIREMENTS TED-1 … TED-28, TED-54 … TED-60).
//!
//! ```text
//!            ┌ further packets: counted; they are why a probe is repeated
//! Probing ───┤ wait over: repeated, 1 s, 2 s, 4 s ─► rest
//!    │       └ unacceptable response: counted, and the discovery goes on, for anybody can send one
//!    ▼ first acceptable response
//! Negotiating ─► up | failed or forgotten: rest
//! ```

use super::around::Around;
use super::config::{DiscoverRule, Granularity, ProbeSport, TedConfig};
use super::packet::{self, Quotation};
use super::rates::Bucket;
use super::rest::Rests;
use super::sent::{Asked, Sent};
use super::status::{InFlight, NotFound, Resting, Stage, TedCount, TedNotice, Unasked};
use super::{TedOutput, address, answer};
use crate::Path;
use crate::limits::{
    CHALLENGES_PER_DISCOVERY_MAX, DISCOVERY_NEGOTIATION_MAX, IN_FLIGHT_PER_SOURCE_MAX,
    PROBES_PER_DISCOVERY_MAX,
};
use crate::path::PORT_ISAKMP;
use crate::timers::Timers;
use crate::wire::Cookie;
use crate::wire::ted::{ENTRIES_MAX, Echo, Probe, Response, Summary, number};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{FiveTuple, Protocol, RuleId, Selector};
use warren_seam::Entry;

/// What we can do, in every message.
pub(super) const CAPABILITIES: u32 = number::IPV6 | number::COOKIE_ECHO | number::SEVERAL;

/// What is one to discovery (REQUIREMENTS TED-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Granule {
    pub(super) rule: RuleId,
    /// The first address of the granule.
    pub(super) destination: IpAddr,
    /// Source, protocol and ports, where each flow is to have its own tunnel.
    pub(super) flow: Option<(IpAddr, u8, Option<u16>, Option<u16>)>,
}

struct Discovery {
    granule: Granule,
    /// P itself is dropped; this is what stays of it (REQUIREMENTS Q-13).
    packet: FiveTuple,
    /// Of its probes.
    source_port: u16,
    since: Duration,
    waiting: u64,
    /// Probes sent.
    sent: u32,
    /// Waits that have begun.
    waits: u32,
    /// Whether a packet came since the last probe.
    has_traffic: bool,
    /// Whether the operator wants it, and with him its probes are repeated without traffic.
    is_wanted: bool,
    /// What the next probe says again, and how often it was asked to.
    echo: Option<Echo>,
    challenges: u32,
    /// What it comes to if nothing better comes.
    why: NotFound,
    found: Option<(IpAddr, Selector)>,
}

/// Why a packet begins no discovery.
struct Refused(TedCount, Unasked);

pub(super) struct Initiator {
    discoveries: BTreeMap<Cookie, Discovery>,
    by_granule: BTreeMap<Granule, Cookie>,
    /// How many are under way for each source host.
    by_source: BTreeMap<IpAddr, u32>,
    timers: Timers<Cookie>,
    sent: Sent,
    rests: Rests,
    probes: Bucket,
}

impl Initiator {
    pub(super) fn new(probes_per_second: u32) -> Self {
        Self {
            discoveries: BTreeMap::new(),
            by_granule: BTreeMap::new(),
            by_source: BTreeMap::new(),
            timers: Timers::new(),
            sent: Sent::default(),
            rests: Rests::default(),
            probes: Bucket::new(probes_per_second),
        }
    }

    /// Forgets what belongs to rules that do not stay.
    pub(super) fn retain(&mut self, now: Duration, probes_per_second: u32, stays: &BTreeSet<RuleId>) {
        self.probes.set_rate(probes_per_second);
        self.rests.retain(|rule| stays.contains(&rule));
        let gone = |(cookie, discovery): (&Cookie, &Discovery)| {
            (!stays.contains(&discovery.granule.rule)).then_some(*cookie)
        };
        for cookie in self.discoveries.iter().filter_map(gone).collect::<Vec<_>>() {
            self.end(now, cookie);
        }
    }

    /// A packet wants a tunnel.
    pub(super) fn acquire(&mut self, now: Duration, around: &mut Around, rule: RuleId, packet: FiveTuple) {
        around.count(TedCount::Acquired);
        let granule = granule(&around.config, rule, &packet);
        if let Some(cookie) = self.by_granule.get(&granule) {
            around.count(TedCount::Waiting);
            if let Some(discovery) = self.discoveries.get_mut(cookie) {
                discovery.waiting += 1;
                discovery.has_traffic = true;
            }
        } else if self.rests.is_resting(now, &granule) {
            around.count(TedCount::Rested);
        } else {
            match self.begin(now, around, granule, packet) {
                Ok(discovery) => discovery.waiting = 1,
                Err(Refused(count, _)) => around.count(count),
            }
        }
    }

    /// The operator wants one.
    pub(super) fn probe(
        &mut self,
        now: Duration,
        around: &mut Around,
        rule: RuleId,
        packet: FiveTuple,
    ) -> Result<(), Unasked> {
        let granule = granule(&around.config, rule, &packet);
        if self.by_granule.contains_key(&granule) {
            return Err(Unasked::UnderWay);
        }
        self.begin(now, around, granule, packet).map_err(|Refused(count, unasked)| {
            around.count(count);
            unasked
        })?;
        self.rests.cut_short(now, &granule);
        let own = self.by_granule.get(&granule).and_then(|cookie| self.discoveries.get_mut(cookie));
        if let Some(discovery) = own {
            discovery.is_wanted = true;
        }
        Ok(())
    }

    /// What `probe` would send, with a cookie of zeros.
    pub(super) fn preview(
        &self,
        now: Duration,
        around: &Around,
        rule: RuleId,
        packet: &FiveTuple,
    ) -> Result<Vec<u8>, Unasked> {
        if self.by_granule.contains_key(&granule(&around.config, rule, packet)) {
            return Err(Unasked::UnderWay);
        }
        let rule = self.may_begin(now, around, rule, packet).map_err(|Refused(_, unasked)| unasked)?;
        let port = source_port(around.config.probe_sport, packet);
        written(around.config.granularity, rule, packet, port, [0; 8], None).ok_or(Unasked::Outside)
    }

    /// The rule, if a discovery for the packet may begin now. Cheap and lasting reasons come first.
    fn may_begin<'a>(
        &self,
        now: Duration,
        around: &'a Around,
        rule: RuleId,
        packet: &FiveTuple,
    ) -> Result<&'a DiscoverRule, Refused> {
        let rule = around.rule(rule).ok_or(Refused(TedCount::NotDiscovering, Unasked::NotDiscovering))?;
        let is_busy =
            (self.by_source.get(&packet.source)).is_some_and(|count| *count >= IN_FLIGHT_PER_SOURCE_MAX);
        if rule.is_concealed {
            Err(Refused(TedCount::Concealed, Unasked::Concealed))
        } else if !around.is_askable(packet.source, packet.destination) || around.is_own(packet.destination) {
            Err(Refused(TedCount::Unaskable, Unasked::Unaskable))
        } else if !rule.proxies.iter().any(|proxy| proxy.contains(packet)) {
            Err(Refused(TedCount::Outside, Unasked::Outside))
        } else if self.discoveries.len() >= around.config.in_flight_max {
            Err(Refused(TedCount::InFlightFull, Unasked::TooMany))
        } else if is_busy {
            Err(Refused(TedCount::SourceFull, Unasked::TooMany))
        } else if !self.probes.has_one(now) {
            Err(Refused(TedCount::ProbesOverRate, Unasked::TooMany))
        } else {
            Ok(rule)
        }
    }

    fn begin(
        &mut self,
        now: Duration,
        around: &mut Around,
        granule: Granule,
        packet: FiveTuple,
    ) -> Result<&mut Discovery, Refused> {
        self.may_begin(now, around, granule.rule, &packet)?;
        self.sent.expire(now);
        let mut cookie = around.cookie();
        // Two of one name would answer for each other; among so few of 2^64 that never happens twice.
        while self.discoveries.contains_key(&cookie) || self.sent.is_ended(cookie) {
            cookie = around.cookie();
        }
        let discovery = Discovery {
            granule,
            packet,
            source_port: source_port(around.config.probe_sport, &packet),
            since: now,
            waiting: 0,
            sent: 0,
            waits: 0,
            has_traffic: false,
            is_wanted: false,
            echo: None,
            challenges: 0,
            why: NotFound::NoAnswer,
            found: None,
        };
        self.sent.insert(discovery.asked(cookie));
        self.by_granule.insert(granule, cookie);
        *self.by_source.entry(packet.source).or_default() += 1;
        self.discoveries.insert(cookie, discovery);
        self.send(now, around, cookie);
        self.wait(now, around, cookie);
        Ok(self.discoveries.get_mut(&cookie).expect("it was just inserted"))
    }

    /// One more probe, if the rate allows it.
    fn send(&mut self, now: Duration, around: &mut Around, cookie: Cookie) -> bool {
        let Some(discovery) = self.discoveries.get_mut(&cookie) else { return false };
        let Some(rule) = around.rule(discovery.granule.rule) else { return false };
        let (granularity, port) = (around.config.granularity, discovery.source_port);
        let octets = written(granularity, rule, &discovery.packet, port, cookie, discovery.echo);
        let Some(octets) = octets else { return false };
        if !self.probes.take(now) {
            around.count(TedCount::ProbesOverRate);
            return false;
        }
        discovery.sent += 1;
        discovery.has_traffic = false;
        around.count(TedCount::ProbesSent);
        around.inject(Entry::Originate, octets);
        true
    }

    /// The next wait begins, twice as long as the last.
    fn wait(&mut self, now: Duration, around: &Around, cookie: Cookie) {
        let Some(discovery) = self.discoveries.get_mut(&cookie) else { return };
        let wait = around.config.first_wait.saturating_mul(1 << discovery.waits.min(30));
        discovery.waits += 1;
        self.timers.set(cookie, Some(now.saturating_add(wait)));
    }

    /// A message of exchange type 241 that came to one of our own addresses. Anybody can send one: what is not acceptable
    /// moves nothing (REQUIREMENTS TED-60, F-7).
    pub(super) fn handle_response(&mut self, now: Duration, around: &mut Around, path: Path, octets: &[u8]) {
        let Ok(response) = Response::decode(octets) else {
            return around.count(TedCount::ResponseMalformed);
        };
        let cookie = response.initiator;
        let Some(discovery) = self.discoveries.get_mut(&cookie) else {
            let is_late = self.sent.is_ended(cookie);
            return around.count(if is_late { TedCount::ResponseLate } else { TedCount::ResponseUnknown });
        };
        if discovery.found.is_some() {
            return around.count(TedCount::ResponseLate);
        }
        let Some(rule) = around.rule(discovery.granule.rule) else { return };
        if let Some(count) = distrust(around, rule, path, response.gateway) {
            return around.count(count);
        }
        if response.entries.is_empty() {
            return self.say_again(now, around, cookie, response.challenge);
        }
        match answer::common(rule, &response.entries, &discovery.packet) {
            Ok(selector) => self.found(now, around, cookie, response.gateway, selector),
            Err(why) => {
                discovery.why = why;
                around.count(match why {
                    NotFound::NothingInCommon => TedCount::ResponseNothingInCommon,
                    NotFound::MaskNoPrefix => TedCount::ResponseMask,
                    NotFound::NotAuthorisable => TedCount::ResponseNotAuthorisable,
                    NotFound::PacketOutside | NotFound::NoAnswer | NotFound::NotNegotiated => {
                        TedCount::ResponsePacketOutside
                    }
                });
            }
        }
    }

    /// The responder wants to know that we hear it (REQUIREMENTS F-8).
    fn say_again(&mut self, now: Duration, around: &mut Around, cookie: Cookie, challenge: Option<Echo>) {
        let Some(discovery) = self.discoveries.get_mut(&cookie) else { return };
        if discovery.challenges >= CHALLENGES_PER_DISCOVERY_MAX {
            return around.count(TedCount::ChallengesExceeded);
        }
        discovery.challenges += 1;
        discovery.echo = challenge;
        // Should the rate not allow it now, the next repetition is wanted.
        discovery.has_traffic = true;
        if self.send(now, around, cookie) {
            around.count(TedCount::ProbesEchoed);
        }
    }

    fn found(
        &mut self,
        now: Duration,
        around: &mut Around,
        cookie: Cookie,
        gateway: IpAddr,
        selector: Selector,
    ) {
        let Some(discovery) = self.discoveries.get_mut(&cookie) else { return };
        discovery.found = Some((gateway, selector));
        let (rule, packet) = (discovery.granule.rule, discovery.packet);
        self.timers.set(cookie, Some(now + DISCOVERY_NEGOTIATION_MAX));
        around.count(TedCount::Found);
        around.log(now, TedNotice::Answered { rule, gateway, selector });
        around.outputs.push_back(TedOutput::Found { rule, packet, gateway, selector });
    }

    /// What became of the gateway that was found.
    pub(super) fn conclude(
        &mut self,
        now: Duration,
        around: &mut Around,
        rule: RuleId,
        packet: &FiveTuple,
        is_up: bool,
    ) {
        let granule = granule(&around.config, rule, packet);
        let cookie = self.by_granule.get(&granule).copied();
        if is_up {
            // Also when it took so long that the granule rests, or is asked about again: it has its tunnel now.
            self.rests.forget(&granule);
            if cookie.and_then(|cookie| self.end(now, cookie)).is_some() {
                around.count(TedCount::TunnelsUp);
            }
            return;
        }
        let is_negotiating =
            |cookie: &Cookie| self.discoveries.get(cookie).is_some_and(|discovery| discovery.found.is_some());
        if let Some(cookie) = cookie.filter(is_negotiating) {
            around.count(TedCount::NegotiationsFailed);
            self.rest(now, around, cookie, NotFound::NotNegotiated);
        }
    }

    /// The discovery is over. What is on its way may still arrive.
    fn end(&mut self, now: Duration, cookie: Cookie) -> Option<Discovery> {
        let discovery = self.discoveries.remove(&cookie)?;
        self.timers.set(cookie, None);
        self.by_granule.remove(&discovery.granule);
        if let Some(count) = self.by_source.get_mut(&discovery.packet.source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&discovery.packet.source);
            }
        }
        self.sent.end(now, discovery.asked(cookie));
        Some(discovery)
    }

    fn rest(&mut self, now: Duration, around: &mut Around, cookie: Cookie, why: NotFound) {
        let Some(Discovery { granule, packet, .. }) = self.end(now, cookie) else { return };
        let bounds = (around.config.rest_min, around.config.rest_max);
        let pause = self.rests.fail(now, granule, (packet, why), bounds, &mut *around.entropy);
        if pause.has_evicted {
            around.count(TedCount::RestsEvicted);
        }
        around.count(TedCount::NotFound);
        around.log(now, TedNotice::NotFound { rule: granule.rule, packet, why, rest: pause.rest });
    }

    pub(super) fn handle_timeout(&mut self, now: Duration, around: &mut Around) {
        self.sent.expire(now);
        let tries = around.config.tries.clamp(1, PROBES_PER_DISCOVERY_MAX);
        // No timer is set to now or earlier but by a configuration without waits, and such a one ends after its tries.
        while let Some(cookie) = self.timers.take_due(now) {
            let Some(discovery) = self.discoveries.get(&cookie) else { continue };
            if discovery.found.is_some() {
                around.count(TedCount::NegotiationsAbandoned);
                self.rest(now, around, cookie, NotFound::NotNegotiated);
            } else if discovery.waits >= tries {
                around.count(TedCount::Unanswered);
                let why = discovery.why;
                self.rest(now, around, cookie, why);
            } else {
                self.repeat(now, around, cookie);
            }
        }
    }

    /// A wait is over without an answer.
    fn repeat(&mut self, now: Duration, around: &mut Around, cookie: Cookie) {
        let has_reason = |discovery: &Discovery| discovery.has_traffic || discovery.is_wanted;
        if !self.discoveries.get(&cookie).is_some_and(has_reason) {
            around.count(TedCount::ProbesSpared);
        } else if self.send(now, around, cookie) {
            around.count(TedCount::ProbesRepeated);
        }
        self.wait(now, around, cookie);
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        [self.timers.next(), self.sent.next_expiry()].into_iter().flatten().min()
    }

    /// Whether something that comes may be about a probe of ours.
    pub(super) fn asks(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether the probe of that cookie is one of ours.
    pub(super) fn is_own(&self, cookie: Cookie) -> bool {
        self.discoveries.contains_key(&cookie) || self.sent.is_ended(cookie)
    }

    /// Whether that packet to port 500 was one of ours.
    pub(super) fn has_sent(&self, quoted: &Quotation) -> bool {
        self.sent.has_quoted(quoted)
    }

    pub(super) fn in_flight(&self) -> Vec<InFlight> {
        let mut in_flight: Vec<_> =
            self.discoveries.iter().map(|(cookie, discovery)| discovery.status(*cookie)).collect();
        in_flight.sort_by_key(|discovery| discovery.since);
        in_flight
    }

    /// The discovery that the packet would wait for.
    pub(super) fn in_flight_for(
        &self,
        around: &Around,
        rule: RuleId,
        packet: &FiveTuple,
    ) -> Option<InFlight> {
        let cookie = self.by_granule.get(&granule(&around.config, rule, packet))?;
        self.discoveries.get(cookie).map(|discovery| discovery.status(*cookie))
    }

    /// The rest that the packet would meet.
    pub(super) fn resting_for(
        &self,
        now: Duration,
        around: &Around,
        rule: RuleId,
        packet: &FiveTuple,
    ) -> Option<Resting> {
        self.rests.resting_at(now, &granule(&around.config, rule, packet))
    }

    pub(super) fn resting(&self, now: Duration) -> Vec<Resting> {
        self.rests.resting(now)
    }
}

impl Discovery {
    fn status(&self, cookie: Cookie) -> InFlight {
        InFlight {
            rule: self.granule.rule,
            packet: self.packet,
            cookie,
            since: self.since,
            waiting: self.waiting,
            stage: match self.found {
                Some((gateway, selector)) => Stage::Negotiating { gateway, selector },
                None => Stage::Probing { sent: self.sent },
            },
        }
    }

    fn asked(&self, cookie: Cookie) -> Asked {
        Asked {
            source: self.packet.source,
            destination: self.packet.destination,
            source_port: self.source_port,
            cookie,
        }
    }
}

/// Why an answer from there is not looked at.
fn distrust(around: &Around, rule: &DiscoverRule, path: Path, gateway: IpAddr) -> Option<TedCount> {
    let gateways = &around.config.gateways;
    if path.remote.ip() != gateway {
        Some(TedCount::ResponseSource)
    } else if path.local.ip() != rule.local {
        Some(TedCount::ResponseElsewhere)
    } else if !address::is_host(gateway) {
        Some(TedCount::ResponseNotUnicast)
    } else if around.is_own(gateway) {
        Some(TedCount::ResponseOwnAddress)
    } else if !gateways.is_empty() && !address::is_in(gateways, gateway) {
        Some(TedCount::ResponseNotAllowed)
    } else {
        None
    }
}

fn granule(config: &TedConfig, rule: RuleId, packet: &FiveTuple) -> Granule {
    let flow = (packet.source, packet.protocol, packet.source_port, packet.destination_port);
    Granule {
        rule,
        destination: address::masked(packet.destination, config.granule),
        flow: (config.granularity == Granularity::Packet).then_some(flow),
    }
}

/// REQUIREMENTS Q-1: as the packet's, or 500 where it has none. Port zero is none: nothing could be quoted from it.
fn source_port(probe_sport: ProbeSport, packet: &FiveTuple) -> u16 {
    match probe_sport {
        ProbeSport::Packet => packet.source_port.filter(|port| *port != 0).unwrap_or(PORT_ISAKMP),
        ProbeSport::Isakmp => PORT_ISAKMP,
    }
}

/// The probe as an IP packet; `None` where the rule does not protect the packet.
fn written(
    granularity: Granularity,
    rule: &DiscoverRule,
    packet: &FiveTuple,
    source_port: u16,
    cookie: Cookie,
    echo: Option<Echo>,
) -> Option<Vec<u8>> {
    let proxy = rule.proxies.iter().find(|proxy| proxy.contains(packet))?;
    let (protocol, from, to) = match granularity {
        Granularity::Policy => (proxy.protocol(), proxy.source_port(), proxy.destination_port()),
        Granularity::Packet => (Protocol::Is(packet.protocol), packet.source_port, packet.destination_port),
    };
    let probe = Probe {
        cookie,
        capabilities: CAPABILITIES,
        gateway: rule.local,
        source: Some((*proxy.source(), proxy.protocol(), proxy.source_port())),
        summary: Summary {
            source: packet.source,
            destination: packet.destination,
            protocol,
            source_port: from,
            destination_port: to,
        },
        echo,
    };
    packet::build(packet.source, packet.destination, source_port, &probe.encode(ENTRIES_MAX))
}
