//! Rules that discover: from a packet without a tunnel to a gateway, and to a tunnel for what both sides protect
//! (REQUIREMENTS TED-1 … TED-7, TED-56 … TED-59).
//!
//! ```text
//! Acquire ─► Ted ─► probe …  Found ─► peer under the rule's template ─► rule in front ─► IKE ─► up | over
//! a peer under the template asks for a part of the rule ─► rule in front ─► IKE goes on ─► up | over
//! over: the last pair is gone, whatever the reason ─► its rule goes, its traffic meets the rule that discovers again
//! ```
//!
//! A discovered tunnel is a rule of its own, right in front of the one that it is a part of: what earlier rules say is
//! not touched by it, and without it the later one drops what it protected.

use crate::config::{Start, TunnelConfig, TunnelsConfig};
use crate::limits::{DISCOVERED_MAX, GRANT_PATIENCE};
use crate::negotiator::Negotiator;
use crate::notice::Notice;
use crate::status::DiscoveredStatus;
use crate::tunnel::Tunnel;
use crate::tunnels::{Output, Tunnels};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use warren_ike::ted::{DiscoverRule, InFlight, Resting, Ted, TedConfig, TedOutput, Unasked};
use warren_ike::{Asked, ChildConfig, Entropy, PeerConfig};
use warren_policy::{FiveTuple, Gateway, Pad, PeerId, Proxy, RuleId, RuleSet, Selector, TunnelRule, Verdict};
use warren_seam::{Command, SaId};

/// A tunnel that discovery brought, on either side of it.
pub(crate) struct Discovered {
    /// The rule that it is a part of.
    pub(crate) within: RuleId,
    peer: PeerId,
    gateway: IpAddr,
    /// Whether we found it; otherwise we were found.
    is_ours: bool,
    since: Duration,
    /// When its traffic was last seen, in either direction.
    active: Duration,
    /// Packets whose discovery ended here and which is to be told how.
    waiting: Vec<(RuleId, FiveTuple)>,
}

/// All of discovery that tunnels know of.
pub(crate) struct Discovery {
    ted: Ted,
    tunnels: BTreeMap<RuleId, Discovered>,
    /// Tunnels whose last pair is gone, or that never got one.
    over: Vec<RuleId>,
    /// Tunnels that a peer asked for, until they have had their time to come up; in order of time.
    granted: VecDeque<(Duration, RuleId)>,
    settings: Settings,
}

/// What the configuration says of discovery.
struct Settings {
    ted: TedConfig,
    idle: Duration,
    /// Templates: our address towards what is found under them, and who is authorised for what.
    templates: BTreeMap<PeerId, (IpAddr, Arc<Pad>)>,
    /// Rules that never ask.
    concealed: BTreeSet<RuleId>,
}

impl Settings {
    /// `rules` are those of the configuration, in its order, by the identifiers that they have here.
    fn new(config: &TunnelsConfig, rules: &RuleSet) -> Self {
        let template = |peer: &PeerConfig| Some((peer.id, (peer.local, peer.pad.clone()?)));
        let concealed = |at: &RuleId| rules.tunnel.get(at.0 as usize).map(|rule| rule.id);
        Self {
            ted: config.ted.clone(),
            idle: config.discovered_idle,
            templates: config.peers.iter().filter_map(template).collect(),
            concealed: config.concealed.iter().filter_map(concealed).collect(),
        }
    }

    /// What discovery has to know of the rules that are in use: those that discover, each with those of the same peer that
    /// follow it directly, for no other rule comes between them (REQUIREMENTS TED-53).
    fn discover_rules(&self, rules: &RuleSet, in_use: impl Fn(RuleId) -> bool) -> Vec<DiscoverRule> {
        let discovers = |rule: &TunnelRule| rule.gateway == Gateway::Discover && in_use(rule.id);
        let run = |at: usize| {
            let first = &rules.tunnel[at];
            let run = rules.tunnel[at..].iter().take_while(|rule| discovers(rule) && rule.peer == first.peer);
            run.filter_map(|rule| Proxy::from_selector(&rule.selector)).collect::<Vec<_>>()
        };
        let places = (0..rules.tunnel.len()).filter(|at| discovers(&rules.tunnel[*at]));
        let known = places.filter_map(|at| {
            let rule = &rules.tunnel[at];
            let (local, pad) = self.templates.get(&rule.peer)?;
            Some(DiscoverRule {
                rule: rule.id,
                proxies: run(at),
                local: *local,
                pad: Arc::clone(pad),
                is_concealed: self.concealed.contains(&rule.id),
            })
        });
        known.collect()
    }
}

/// Why the operator's question is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeRefused {
    /// No rule discovers a gateway for it.
    #[error("no rule discovers a gateway for {0}")]
    NoRule(FiveTuple),
    /// There is a tunnel for it.
    #[error("it has a tunnel: {0}")]
    HasTunnel(String),
    /// The rule is closed.
    #[error("{0} is closed by the operator")]
    Closed(String),
    /// Discovery itself does not ask.
    #[error(transparent)]
    Unasked(#[from] Unasked),
}

impl Discovery {
    pub(crate) fn new(config: &TunnelsConfig, entropy: Box<dyn Entropy>) -> Self {
        // The identifiers in a configuration are places, and so are those that its rules get at first.
        let settings = Settings::new(config, &config.rules);
        let rules = settings.discover_rules(&config.rules, |_| true);
        Self {
            ted: Ted::new(config.ted.clone(), rules, entropy),
            tunnels: BTreeMap::new(),
            over: Vec::new(),
            granted: VecDeque::new(),
            settings,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        let granted = self.granted.front().map(|(until, _)| *until);
        self.ted.poll_timeout().into_iter().chain(granted).min()
    }

    /// Rules of discovered tunnels, and what each is a part of.
    pub(crate) fn rules(&self) -> impl Iterator<Item = RuleId> {
        self.tunnels.keys().copied()
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.tunnels.values().map(|own| own.peer)
    }

    /// The rule that discovered a rule.
    pub(crate) fn within(&self, rule: RuleId) -> Option<RuleId> {
        self.tunnels.get(&rule).map(|own| own.within)
    }

    /// Where the peer is, and of which rule its tunnels are parts.
    pub(crate) fn whereabouts(&self, peer: PeerId) -> Option<(RuleId, IpAddr)> {
        self.tunnels.values().find(|own| own.peer == peer).map(|own| (own.within, own.gateway))
    }
}

impl<N: Negotiator> Tunnels<N> {
    /// Which addresses are ours.
    pub fn set_own_addresses(&mut self, own: Vec<IpAddr>) {
        self.discovery.ted.set_own_addresses(own);
    }

    /// Whether probes of ours may be on their way.
    pub fn ted_asks(&self) -> bool {
        self.discovery.ted.asks()
    }

    /// Discoveries under way.
    #[must_use]
    pub fn ted_in_flight(&self) -> Vec<InFlight> {
        self.discovery.ted.in_flight()
    }

    /// What is left alone for a while.
    #[must_use]
    pub fn ted_resting(&self) -> Vec<Resting> {
        self.discovery.ted.resting()
    }

    /// The discovery that such a packet of a rule would wait for.
    #[must_use]
    pub fn ted_in_flight_for(&self, rule: RuleId, packet: &FiveTuple) -> Option<InFlight> {
        self.discovery.ted.in_flight_for(rule, packet)
    }

    /// The rest that such a packet of a rule would meet.
    #[must_use]
    pub fn ted_resting_for(&self, rule: RuleId, packet: &FiveTuple) -> Option<Resting> {
        self.discovery.ted.resting_for(rule, packet)
    }

    /// What discovery counted.
    #[must_use]
    pub fn ted_counters(&self) -> Vec<(&'static str, u64)> {
        self.discovery.ted.counters().named()
    }

    /// Tunnels that discovery brought.
    #[must_use]
    pub fn discovered(&self) -> Vec<DiscoveredStatus> {
        let status = |(rule, own): (&RuleId, &Discovered)| DiscoveredStatus {
            rule: *rule,
            within: own.within,
            peer: own.peer,
            gateway: own.gateway,
            selector: self.tunnels[rule].config.child.selector,
            is_ours: own.is_ours,
            since: own.since,
        };
        self.discovery.tunnels.iter().map(status).collect()
    }

    /// The rule that would discover a gateway for the packet.
    ///
    /// # Errors
    /// When no discovery would begin, whatever else is under way.
    pub fn discover_rule(&self, packet: &FiveTuple) -> Result<RuleId, ProbeRefused> {
        let Verdict::Protect(rule) = warren_policy::evaluate(&self.rules, packet) else {
            return Err(ProbeRefused::NoRule(*packet));
        };
        if self.tunnels.get(&rule).is_some_and(|tunnel| tunnel.closed) {
            return Err(ProbeRefused::Closed(self.name(rule)));
        }
        match self.discovers(rule) {
            true => Ok(rule),
            false if self.discovery.tunnels.contains_key(&rule) => {
                Err(ProbeRefused::HasTunnel(self.name(rule)))
            }
            false => Err(ProbeRefused::NoRule(*packet)),
        }
    }

    /// The operator wants a gateway for the packet, as if it had come. Returns the rule that discovers.
    ///
    /// # Errors
    /// Why nothing is asked.
    pub fn ted_probe(&mut self, now: Duration, packet: FiveTuple) -> Result<RuleId, ProbeRefused> {
        let rule = self.discover_rule(&packet)?;
        self.discovery.ted.probe(now, rule, packet)?;
        self.settle(now);
        Ok(rule)
    }

    /// The rule and the probe that [`Tunnels::ted_probe`] would send, as an IP packet. Nothing is sent.
    ///
    /// # Errors
    /// Why nothing would be asked.
    pub fn ted_preview(&self, now: Duration, packet: FiveTuple) -> Result<(RuleId, Vec<u8>), ProbeRefused> {
        let rule = self.discover_rule(&packet)?;
        Ok((rule, self.discovery.ted.preview(now, rule, packet)?))
    }

    /// Packets left by this outbound SA since the last call.
    pub fn outbound_activity(&mut self, now: Duration, sa: SaId) {
        self.note_traffic(now, sa);
    }

    pub(crate) fn note_traffic(&mut self, now: Duration, sa: SaId) {
        let rule = self.owner(sa);
        if let Some(own) = rule.and_then(|rule| self.discovery.tunnels.get_mut(&rule)) {
            own.active = now;
        }
        if let Some(stack) = rule.and_then(|rule| self.stacks.get_mut(&rule)) {
            stack.active = now;
        }
    }

    /// Whether the rule is one that discovers.
    pub(crate) fn discovers(&self, rule: RuleId) -> bool {
        self.own_rules.tunnel_rule(rule).is_some_and(|rule| rule.gateway == Gateway::Discover)
    }

    /// A packet wants a gateway. It may be from before its tunnel came up.
    pub(crate) fn discover(&mut self, now: Duration, rule: RuleId, packet: FiveTuple) {
        let of_rule = |(tunnel, own): (&RuleId, &Discovered)| (own.within == rule).then_some(*tunnel);
        let mut parts = self.discovery.tunnels.iter().filter_map(of_rule);
        let has_tunnel = parts.any(|part| self.tunnels[&part].config.child.selector.contains(&packet));
        let is_closed = self.tunnels.get(&rule).is_none_or(|tunnel| tunnel.closed);
        if !has_tunnel && !is_closed {
            self.discovery.ted.acquire(now, rule, packet);
        }
    }

    pub(crate) fn caught(&mut self, now: Duration, caught: warren_seam::Caught) {
        self.discovery.ted.handle_caught(now, caught);
    }

    pub(crate) fn discovery_message(&mut self, now: Duration, path: warren_ike::Path, octets: &[u8]) {
        self.discovery.ted.handle_message(now, path, octets);
    }

    pub(crate) fn discovery_due(&mut self, now: Duration) {
        self.discovery.ted.handle_timeout(now);
        while let Some((until, rule)) = self.discovery.granted.front().copied() {
            if until > now {
                return;
            }
            self.discovery.granted.pop_front();
            if self.tunnels.get(&rule).is_some_and(|tunnel| tunnel.pairs.is_empty()) {
                self.discovery.over.push(rule);
            }
        }
    }

    /// Does what discovery wants done. Whether there was anything.
    pub(crate) fn settle_discovery(&mut self, now: Duration) -> bool {
        let mut any = false;
        while let Some(output) = self.discovery.ted.poll_output() {
            any = true;
            match output {
                TedOutput::Inject(packet) => self.command(Command::Inject(Box::new(packet))),
                TedOutput::Transmit { path, octets } => self.output(Output::Transmit { path, octets }),
                TedOutput::Found { rule, packet, gateway, selector } => {
                    self.found(now, (rule, packet), gateway, selector);
                }
                TedOutput::Log(notice) => self.log(Notice::Ted(notice)),
            }
        }
        let over = std::mem::take(&mut self.discovery.over);
        let removed = self.remove_discovered(now, over);
        any || removed
    }

    /// A gateway says that it protects the far side (REQUIREMENTS TED-56).
    fn found(
        &mut self,
        now: Duration,
        (within, packet): (RuleId, FiveTuple),
        gateway: IpAddr,
        selector: Selector,
    ) {
        let template = self.own_rules.tunnel_rule(within).map(|rule| rule.peer);
        let peer = template.and_then(|template| self.negotiator.find_peer(template, gateway));
        let rule = peer.and_then(|peer| self.discovered_rule(now, (within, peer, gateway), selector, true));
        let Some(rule) = rule else {
            return self.discovery.ted.conclude(now, within, &packet, false);
        };
        if let Some(own) = self.discovery.tunnels.get_mut(&rule) {
            own.waiting.push((within, packet));
        }
        match self.tunnels[&rule].best() {
            Some(_) => self.discovered_up(now, rule),
            None => {
                self.settle_ways(now);
                self.want(now, rule);
            }
        }
    }

    /// A peer under a template asks for a part of a rule, and is authorised to.
    pub(crate) fn asked_for(
        &mut self,
        now: Duration,
        (peer, within): (PeerId, RuleId),
        selector: Selector,
        asked: Asked,
    ) {
        let template = self.own_rules.tunnel_rule(within).map(|rule| rule.peer);
        let is_closed = self.tunnels.get(&within).is_none_or(|tunnel| tunnel.closed);
        let gateway = asked.path.remote.ip();
        // The peer stays as long as it has a tunnel, whatever becomes of its ISAKMP SA.
        let held = template.and_then(|template| self.negotiator.find_peer(template, gateway));
        let rule = if is_closed || held != Some(peer) {
            None
        } else {
            self.discovered_rule(now, (within, peer, gateway), selector, false)
        };
        let is_timed = |rule: &RuleId| self.discovery.granted.iter().any(|(_, own)| own == rule);
        if let Some(rule) = rule.filter(|rule| self.tunnels[rule].pairs.is_empty() && !is_timed(rule)) {
            self.discovery.granted.push_back((now + GRANT_PATIENCE, rule));
        }
        // Without a child for it, the peer is told that there is none.
        self.negotiator.grant_child(now, asked);
        if held == Some(peer) && self.discovery.peers().all(|own| own != peer) {
            self.negotiator.forget_peer(now, peer);
        }
    }

    /// The discovered tunnel for that traffic through that peer: the one that is there, or a new one.
    fn discovered_rule(
        &mut self,
        now: Duration,
        (within, peer, gateway): (RuleId, PeerId, IpAddr),
        selector: Selector,
        is_ours: bool,
    ) -> Option<RuleId> {
        let same = |(rule, own): (&RuleId, &Discovered)| {
            (own.peer == peer && self.tunnels[rule].config.child.selector == selector).then_some(*rule)
        };
        let known = self.discovery.tunnels.iter().find_map(same);
        if known.is_some() {
            return known;
        }
        if self.discovery.tunnels.len() >= DISCOVERED_MAX {
            return None;
        }
        let whole = &self.tunnels.get(&within)?.config;
        let child = whole.child.clone();
        let rule = self.identifiers.take_dynamic()?;
        let child = ChildConfig { rule, peer, selector, is_divisible: false, ..child };
        let name = format!("{}/{gateway}", self.name(within));
        let config =
            TunnelConfig { child: child.clone(), start: Start::OnTraffic, parallel: NonZeroU16::MIN };
        self.tunnels.insert(rule, Tunnel::new(now, name, config));
        let own = Discovered { within, peer, gateway, is_ours, since: now, active: now, waiting: Vec::new() };
        self.discovery.tunnels.insert(rule, own);
        self.renew_rules();
        self.negotiator.add_child(now, child);
        // The identifier may have been another rule's, which had asked for SAs.
        self.command(Command::Rearm(rule));
        self.touched.push(rule);
        Some(rule)
    }

    /// It has a pair: whoever waits for it is told.
    pub(crate) fn discovered_up(&mut self, now: Duration, rule: RuleId) {
        let Some(own) = self.discovery.tunnels.get_mut(&rule) else { return };
        own.active = now;
        for (within, packet) in std::mem::take(&mut own.waiting) {
            self.discovery.ted.conclude(now, within, &packet, true);
        }
    }

    /// It has no pair any more, and is not being negotiated. `true` when it was a discovered tunnel, which then goes.
    pub(crate) fn discovered_over(&mut self, rule: RuleId) -> bool {
        let is_discovered = self.discovery.tunnels.contains_key(&rule);
        let is_closed = self.tunnels.get(&rule).is_some_and(|tunnel| tunnel.closed);
        // What the operator closed stays closed: gone, it would be found again.
        if is_discovered && !is_closed {
            self.discovery.over.push(rule);
        }
        is_discovered
    }

    /// Whether a tunnel is not worth another pair.
    pub(crate) fn is_idle(&self, now: Duration, rule: RuleId) -> bool {
        let idle = |own: &Discovered| now.saturating_sub(own.active) >= self.discovery.settings.idle;
        self.discovery.tunnels.get(&rule).is_some_and(idle)
    }

    /// Takes discovered tunnels out: their traffic is dropped by the rules that they were parts of.
    pub(crate) fn remove_discovered(&mut self, now: Duration, rules: Vec<RuleId>) -> bool {
        let mut going = Vec::new();
        let mut peers = Vec::new();
        for rule in rules {
            let Some(own) = self.discovery.tunnels.remove(&rule) else { continue };
            for (within, packet) in own.waiting {
                self.discovery.ted.conclude(now, within, &packet, false);
            }
            going.push(rule);
            peers.push(own.peer);
        }
        if going.is_empty() {
            return false;
        }
        self.discovery.granted.retain(|(_, rule)| !going.contains(rule));
        self.take_out_of_use(now, &going);
        self.renew_rules();
        self.remove_dynamic(now, &going);
        peers.sort_unstable();
        peers.dedup();
        peers.retain(|peer| self.discovery.peers().all(|other| other != *peer));
        for peer in peers {
            self.negotiator.forget_peer(now, peer);
        }
        self.drain(now);
        true
    }

    /// Rules that go, or are closed, take what was discovered for them along.
    pub(crate) fn remove_parts(&mut self, now: Duration, of: &[RuleId]) {
        let parts = self.discovery.tunnels.iter().filter(|(_, own)| of.contains(&own.within));
        let parts = parts.map(|(rule, _)| *rule).collect();
        self.remove_discovered(now, parts);
    }

    /// The configuration, and the rules as they are now in force, are what discovery works with.
    pub(crate) fn reconfigure_discovery(&mut self, now: Duration, config: &TunnelsConfig) {
        self.discovery.settings = Settings::new(config, &self.own_rules);
        self.renew_discovery(now);
    }

    /// What the operator closed asks for nothing and answers nobody.
    pub(crate) fn renew_discovery(&mut self, now: Duration) {
        let in_use = |rule| self.tunnels.get(&rule).is_none_or(|tunnel| !tunnel.closed);
        let settings = &self.discovery.settings;
        let rules = settings.discover_rules(&self.own_rules, in_use);
        self.discovery.ted.reconfigure(now, settings.ted.clone(), rules);
    }

    /// Discovered tunnels in front of the rule that they are parts of: the smallest first, and of equals the youngest, for a
    /// gateway that took another one's place is younger.
    pub(crate) fn parts_of(&self, within: RuleId) -> Vec<TunnelRule> {
        let mut parts: Vec<_> =
            self.discovery.tunnels.iter().filter(|(_, own)| own.within == within).collect();
        let pinned = |rule: &RuleId| {
            Proxy::from_selector(&self.tunnels[rule].config.child.selector).map_or(0, |proxy| proxy.pinned())
        };
        parts.sort_by_cached_key(|(rule, own)| (Reverse(pinned(rule)), Reverse(own.since), **rule));
        let rule = |(id, own): (&RuleId, &Discovered)| {
            let tunnel = &self.tunnels[id];
            let (name, selector) = (tunnel.name.clone(), tunnel.config.child.selector);
            TunnelRule { id: *id, name, selector, peer: own.peer, gateway: own.gateway.into() }
        };
        parts.into_iter().map(rule).collect()
    }
}
