//! What becomes of one packet: rule by rule how it comes to its stack of tunnels, what is performed in which order, what
//! that costs in octets, and how each level stands. `dpctl explain` shows it; nothing here knows files or tunnels.
//!
//! ```text
//! rules, packet ──> the walk of figure 7 ──┐
//! what only the asker knows (closures) ────┴──> Explanation, as JSON or for `dpctl` to render
//! ```
//!
//! Everything that is said of the rules comes out of one [`Walk`]: nothing is decided here a second time.

use crate::limits::RULES_SHOWN_MAX;
use crate::rows::TunnelState;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use warren_policy::stack::{Next, walk_within};
use warren_policy::{
    Action, EspTransform, FiveTuple, Outcome, Overhead, PeerId, PendingStack, Protection, Rematch,
    Rematching, Round, RuleId, RuleSet, Selector, Stop, TransportAction, Verdict, Walk, loops,
};

/// What is explained: rules, and what the rules alone do not say.
pub struct Subject<'a> {
    /// The rules.
    pub rules: &'a RuleSet,
    /// As what a packet is looked up again.
    pub rematching: Rematching,
    /// Our address towards a peer, where it is known.
    pub local: &'a dyn Fn(PeerId) -> Option<IpAddr>,
    /// The rule that discovered a rule.
    pub within: &'a dyn Fn(RuleId) -> Option<RuleId>,
    /// A peer's name.
    pub peer: &'a dyn Fn(PeerId) -> String,
    /// How a level seals: as was agreed, or as is offered first.
    pub sealing: &'a dyn Fn(Place) -> Option<Sealing>,
    /// How a level stands; `None` where nobody knows, such as of a file.
    pub live: &'a dyn Fn(Place) -> Option<Live>,
}

/// How a level seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// With what.
    pub transform: EspTransform,
    /// Inside UDP, because of a NAT; before there is an SA nobody knows.
    pub in_udp: bool,
}

impl From<EspTransform> for Sealing {
    fn from(transform: EspTransform) -> Self {
        Self { transform, in_udp: false }
    }
}

/// As what a packet is looked up again once it is inside a tunnel, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// [`Rematching::Destination`].
    Destination,
    /// [`Rematching::Wire`].
    Wire,
}

impl From<Matching> for Rematching {
    fn from(matching: Matching) -> Self {
        match matching {
            Matching::Destination => Self::Destination,
            Matching::Wire => Self::Wire,
        }
    }
}

/// Which level of a stack is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The rule that wants the level; of a base rule that protects, the identifier of its SAs.
    pub rule: RuleId,
    /// The same of the level directly inside; `None` for the innermost.
    pub inside: Option<RuleId>,
    /// The same of the innermost level: to that one the packet's traffic is bound.
    pub innermost: RuleId,
}

/// All that is known about one packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The packet.
    pub packet: String,
    /// `destination` or `wire`.
    pub rematch: String,
    /// Transport rules, asked once.
    pub transport: Asked,
    /// One for each time that the tunnel rules were asked.
    pub tunnel: Vec<Asked>,
    /// `no-rule`, `discard`, `clear`, `protect`, `discover` or `refused`.
    pub outcome: String,
    /// The tunnel rule, or base rule, that protects the packet itself, whatever becomes of the levels above.
    pub protected_by: Option<String>,
    /// In the order in which it is performed; the transport action last.
    pub performed: Vec<Level>,
    /// Octets of the largest packet on the path.
    pub mtu: usize,
    /// Octets of the largest packet that fits into all levels; 0 when none does, `None` where nothing is protected.
    pub inner_mtu: Option<usize>,
    /// Rules that lead through their own gateways, by name.
    pub circles: Vec<Vec<String>>,
    /// Too many rules lead to gateways: such rules were not looked for.
    pub circles_unknown: bool,
    /// Levels that are not up, in the order in which they are performed; empty where nobody knows.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What would happen to a packet that comes now, in words; none where nobody knows.
    #[serde(default)]
    pub next: Option<String>,
    /// The whole in a sentence.
    pub says: String,
}

/// Rules of one class, asked once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// About which packet.
    pub about: String,
    /// How many were tried: the last of them matched, if one did.
    pub tried: usize,
    /// Those that did not match, the first [`RULES_SHOWN_MAX`].
    pub missed: Vec<Missed>,
    /// The one that did.
    pub matched: Option<Matched>,
    /// What followed.
    pub says: String,
}

/// A rule that does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Its name.
    pub rule: String,
    /// What it speaks of.
    pub traffic: String,
    /// The first field that differs.
    pub because: String,
}

/// The rule that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matched {
    /// Its name.
    pub rule: String,
    /// What it speaks of.
    pub traffic: String,
    /// What it says.
    pub does: String,
}

/// One action of the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The rule that wants it.
    pub rule: String,
    /// What is performed: `permit`, `bypass`, `protect` or `tunnel`.
    pub action: String,
    /// With whom.
    pub peer: Option<String>,
    /// Where it ends.
    pub gateway: Option<IpAddr>,
    /// What it is about.
    pub traffic: String,
    /// What it costs; none for what adds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esp: Option<EspCost>,
    /// How it stands; none without a daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
}

/// What one level adds to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EspCost {
    /// For example `aes256gcm16`.
    pub transform: String,
    /// Inside UDP, because of a NAT.
    #[serde(default)]
    pub in_udp: bool,
    /// Without any padding.
    pub overhead_octets_min: usize,
    /// With all of it.
    pub overhead_octets_max: usize,
    /// Octets of the largest packet that fits into this level, inside all that carry it.
    pub inner_mtu: usize,
}

/// How a level stands in a running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// How its tunnel stands, in the words of [`crate::TunnelState`].
    pub state: String,
    /// Where its SAs really end, which may be behind a NAT.
    pub gateway: Option<String>,
    /// SPI of the inbound SA, eight hexadecimal digits.
    pub spi_in: Option<String>,
    /// SPI of the outbound SA.
    pub spi_out: Option<String>,
    /// The worker that has the inbound SA.
    pub worker: Option<usize>,
    /// Where it has several pairs side by side, of which a flow takes one: all of them, instead of one pair and its worker.
    #[serde(default)]
    pub lanes: Vec<crate::Lane>,
    /// Stacks that use it.
    pub users: usize,
    /// Seconds for which nothing is built after a failure.
    #[serde(default)]
    pub rests_s: Option<u64>,
    /// Why its last negotiation failed, in words.
    #[serde(default)]
    pub last_error: Option<String>,
}

impl Live {
    /// Whether packets pass it.
    fn is_up(&self) -> bool {
        [TunnelState::Up, TunnelState::Rekeying].iter().any(|state| state.word() == self.state)
    }

    fn is(&self, state: TunnelState) -> bool {
        self.state == state.word()
    }
}

impl Subject<'_> {
    /// What becomes of that packet, on a path whose largest packet has `mtu` octets.
    #[must_use]
    pub fn explanation(&self, packet: &FiveTuple, mtu: usize) -> Explanation {
        let rematch = match self.rematching {
            Rematching::Destination => Rematch::Destination,
            Rematching::Wire => Rematch::Wire(self.local),
        };
        let walked = walk_within(self.rules, packet, rematch, self.within);
        let performed = match &walked.outcome {
            Outcome::Stack(pending) => self.levels(pending, mtu),
            _ => Vec::new(),
        };
        let innermost = performed.iter().rev().find_map(|level| level.esp.as_ref());
        let inner_mtu = innermost.map(|cost| cost.inner_mtu);
        let found = loops(self.rules, rematch);
        let name = |rule: &RuleId| self.name(*rule);
        Explanation {
            packet: packet.to_string(),
            rematch: rematch.word().to_owned(),
            transport: self.transport(&walked),
            tunnel: walked.rounds.iter().map(|round| self.tunnel(round)).collect(),
            outcome: word(&walked.outcome).to_owned(),
            protected_by: match walked.verdict() {
                Verdict::Protect(rule) => Some(self.name(rule)),
                Verdict::NoRule | Verdict::Discard | Verdict::Clear => None,
            },
            mtu,
            inner_mtu,
            circles: found.circles.iter().map(|circle| circle.iter().map(name).collect()).collect(),
            circles_unknown: found.is_partial,
            missing: missing(&performed).map(|(_, level, _)| level.rule.clone()).collect(),
            next: next(&performed),
            performed,
            says: self.verdict(&walked.outcome),
        }
    }

    fn transport(&self, walked: &Walk) -> Asked {
        let rules = &self.rules.transport;
        let tried = walked.transport.map_or(rules.len(), |at| at + 1);
        let missed = rules[..walked.transport.unwrap_or(tried)].iter();
        let matched = walked.transport.map(|at| &rules[at]);
        Asked {
            about: walked.packet.to_string(),
            tried,
            missed: missed
                .take(RULES_SHOWN_MAX)
                .map(|rule| missed_by(&rule.name, &rule.selector, &walked.packet))
                .collect(),
            matched: matched.map(|rule| Matched {
                rule: rule.name.clone(),
                traffic: rule.selector.to_string(),
                does: match rule.action {
                    TransportAction::Protect(Protection { peer, host, .. }) => {
                        format!("protect, as far as {} {host}", (self.peer)(peer))
                    }
                    other => action(other).to_owned(),
                },
            }),
            says: match matched.map(|rule| rule.action) {
                None => "no transport rule matches: no stack is built",
                Some(TransportAction::Protect(_)) => {
                    "protected from end to end; tunnel rules decide how that passes"
                }
                Some(TransportAction::Permit) => "tunnel rules decide how it passes",
                Some(TransportAction::Discard) => "no stack is built",
                Some(TransportAction::Bypass) => "tunnel rules are not asked",
            }
            .to_owned(),
        }
    }

    fn tunnel(&self, round: &Round) -> Asked {
        let rules = &self.rules.tunnel;
        let missed = rules[..round.matched.map_or(rules.len(), |matched| matched.at)].iter();
        let matched = round.matched.map(|matched| &rules[matched.at]);
        Asked {
            about: round.asked.to_string(),
            tried: round.matched.map_or(rules.len(), |matched| matched.at + 1),
            missed: missed
                .take(RULES_SHOWN_MAX)
                .map(|rule| missed_by(&rule.name, &rule.selector, &round.asked))
                .collect(),
            matched: matched.map(|rule| Matched {
                rule: rule.name.clone(),
                traffic: rule.selector.to_string(),
                does: match rule.gateway.address() {
                    Some(gateway) => format!("through {} {gateway}", (self.peer)(rule.peer)),
                    None => "through a gateway to be discovered".to_owned(),
                },
            }),
            says: match round.next {
                Next::Pushed(outer) => format!("pushed; the destination is now {}", outer.destination),
                Next::Stopped(stop) => why(stop),
            },
        }
    }

    /// From the top of the stack down: what carries a level decides how much room it has.
    fn levels(&self, pending: &PendingStack, mtu: usize) -> Vec<Level> {
        let identifiers: Vec<_> = pending.bottom_to_top().iter().filter_map(identifier).collect();
        let mut room = mtu;
        let mut outside_of = identifiers.len();
        let level = |action: &Action| {
            let place = identifier(action).map(|rule| {
                outside_of -= 1;
                let inside = outside_of.checked_sub(1).map(|at| identifiers[at]);
                Place { rule, inside, innermost: identifiers[0] }
            });
            self.level(action, place, &mut room)
        };
        pending.performed().map(level).collect()
    }

    /// `room`: octets of the largest packet that what carries this level takes, and afterwards that it takes itself.
    fn level(&self, performed: &Action, place: Option<Place>, room: &mut usize) -> Level {
        let (rule, word, end, overhead): (_, _, _, fn(EspTransform, bool) -> Overhead) = match *performed {
            Action::Transport { at, action: says, .. } => {
                let end = match says {
                    TransportAction::Protect(Protection { peer, host, .. }) => Some((peer, host)),
                    _ => None,
                };
                (self.rules.transport[at].name.clone(), action(says), end, Overhead::transport)
            }
            Action::Tunnel { rule, peer, gateway, .. } => {
                (self.name(rule), "tunnel", Some((peer, gateway)), Overhead::new)
            }
        };
        let sealing = place.and_then(self.sealing);
        let esp = sealing.zip(end).map(|(Sealing { transform, in_udp }, (_, gateway))| {
            let overhead = overhead(transform, gateway.is_ipv6());
            let overhead = if in_udp { overhead.in_udp() } else { overhead };
            *room = overhead.inner_max(*room);
            EspCost {
                transform: transform.to_string(),
                in_udp,
                overhead_octets_min: overhead.fixed_octets,
                overhead_octets_max: overhead.octets_max(),
                inner_mtu: *room,
            }
        });
        Level {
            rule,
            action: word.to_owned(),
            peer: end.map(|(peer, _)| (self.peer)(peer)),
            gateway: end.map(|(_, gateway)| gateway),
            traffic: performed.selector().to_string(),
            esp,
            live: place.and_then(self.live),
        }
    }

    fn verdict(&self, outcome: &Outcome) -> String {
        let pending = match outcome {
            Outcome::NoRule => return "dropped: no transport rule speaks of it".to_owned(),
            Outcome::Discard => {
                return "dropped, by rule or because it hides the ports that decide".to_owned();
            }
            Outcome::Discover { rule, destination, .. } => {
                return format!(
                    "passes through a gateway that is yet to be discovered in front of {destination} for `{}`, or not \
                     at all",
                    self.name(*rule)
                );
            }
            Outcome::Refused(error) => return format!("dropped: {error}"),
            Outcome::Stack(pending) => pending,
        };
        let is_protected = identifier(&pending.bottom_to_top()[0]).is_some();
        match (is_protected, pending.depth()) {
            (false, 0) => "passes in clear".to_owned(),
            (true, 0) => "passes in transport mode, or not at all".to_owned(),
            (false, 1) => "passes inside one tunnel, or not at all".to_owned(),
            (true, 1) => "passes in transport mode inside one tunnel, or not at all".to_owned(),
            (false, depth) => format!("passes inside {depth} tunnels, or not at all"),
            (true, depth) => format!("passes in transport mode inside {depth} tunnels, or not at all"),
        }
    }

    /// Of a tunnel rule, or of a base rule that protects.
    fn name(&self, rule: RuleId) -> String {
        let protection =
            || self.rules.protections().find(|(_, own)| own.rule == rule).map(|(rule, _)| &rule.name);
        let tunnel = self.rules.tunnel_rule(rule).map(|rule| &rule.name);
        tunnel.or_else(protection).cloned().unwrap_or_default()
    }
}

/// Levels that are known not to be up, with their places from 1.
fn missing(performed: &[Level]) -> impl Iterator<Item = (usize, &Level, &Live)> {
    let known = performed.iter().zip(1..).filter_map(|(level, at)| Some((at, level, level.live.as_ref()?)));
    known.filter(|(_, _, live)| !live.is_up())
}

/// What becomes of a packet that comes now. The first level that is missing decides, because the others are built through
/// it; but nothing is begun at all while a level further in has to rest.
fn next(performed: &[Level]) -> Option<String> {
    let through = |level: &Level| match &level.peer {
        Some(peer) if level.action == "tunnel" => format!("{} through {peer}", level.rule),
        Some(peer) => format!("{} with {peer}", level.rule),
        None => level.rule.clone(),
    };
    if !performed.iter().any(|level| level.live.is_some()) {
        return None;
    }
    let Some((first, level, live)) = missing(performed).next() else {
        return Some("passes: every level is up".to_owned());
    };
    if let Some((at, level, seconds)) =
        missing(performed).find_map(|(at, level, live)| Some((at, level, live.rests_s?)))
    {
        return Some(format!("dropped: level {at}, {}, is held down for {seconds} s more", through(level)));
    }
    if let Some((at, level, _)) = missing(performed).find(|(_, _, live)| live.is(TunnelState::Closed)) {
        let name = &level.rule;
        return Some(format!("dropped: level {at}, {name}, is closed until `dpctl tunnel up {name}`"));
    }
    if live.is(TunnelState::Negotiating) {
        let named = through(level);
        return Some(format!("dropped until it is up: level {first}, {named}, is being negotiated"));
    }
    let levels: Vec<_> = missing(performed).map(|(_, level, _)| through(level)).collect();
    Some(format!("dropped; the first packet would build: {}", levels.join(", then ")))
}

/// Under which identifier the SAs of an action are; `None` for one that has none.
const fn identifier(action: &Action) -> Option<RuleId> {
    match action {
        Action::Tunnel { rule, .. } => Some(*rule),
        Action::Transport { action: TransportAction::Protect(protection), .. } => Some(protection.rule),
        Action::Transport { .. } => None,
    }
}

const fn action(action: TransportAction) -> &'static str {
    match action {
        TransportAction::Permit => "permit",
        TransportAction::Bypass => "bypass",
        TransportAction::Discard => "discard",
        TransportAction::Protect(_) => "protect",
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::NoRule => "no-rule",
        Outcome::Discard => "discard",
        Outcome::Stack(pending)
            if pending.depth() == 0 && identifier(&pending.bottom_to_top()[0]).is_none() =>
        {
            "clear"
        }
        Outcome::Stack(_) => "protect",
        Outcome::Discover { .. } => "discover",
        Outcome::Refused(_) => "refused",
    }
}

fn why(stop: Stop) -> String {
    match stop {
        Stop::NoMatch => "no tunnel rule matches: the stack is whole".to_owned(),
        Stop::OtherFamily => {
            "source and destination are of different families, and no rule matches that: the stack is whole"
                .to_owned()
        }
        Stop::OwnGateway => "it leads to where the packet goes already: the stack is whole".to_owned(),
        Stop::Discover => "its gateway is to be discovered first".to_owned(),
        Stop::HiddenPorts => "no tunnel rule matches, but with some ports one would: dropped".to_owned(),
        Stop::Refused(error) => format!("no stack: {error}"),
    }
}

fn missed_by(rule: &str, selector: &Selector, packet: &FiveTuple) -> Missed {
    let because = if !selector.source.contains(packet.source) {
        "source"
    } else if !selector.destination.contains(packet.destination) {
        "destination"
    } else if !selector.protocol.contains(packet.protocol) {
        "protocol"
    } else if !selector.source_port.contains(packet.source_port) {
        "source port"
    } else {
        "destination port"
    };
    Missed { rule: rule.to_owned(), traffic: selector.to_string(), because: because.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_policy::limits::STACK_DEPTH_MAX;
    use warren_policy::stack::walk;
    use warren_policy::{AddressRange, Gateway, PortRange, Protocol, TransportRule, TunnelRule, evaluate};

    fn subject<'a>(rules: &'a RuleSet, sealing: &'a dyn Fn(Place) -> Option<Sealing>) -> Subject<'a> {
        Subject {
            rules,
            rematching: Rematching::Destination,
            local: &|_| None,
            within: &|_| None,
            peer: &|peer| format!("p{}", peer.0),
            sealing,
            live: &|_| None,
        }
    }

    /// SplitMix64: the same numbers for the same seed.
    struct Seeded(u64);

    impl Seeded {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % limit
        }

        fn one_in(&mut self, many: u64) -> bool {
            self.below(many) == 0
        }

        fn address(&mut self) -> IpAddr {
            IpAddr::from([10, 0, 0, self.below(20) as u8])
        }

        fn range(&mut self, wide: u64) -> AddressRange {
            if self.one_in(wide) {
                return AddressRange::any(false);
            }
            let (a, b) = (self.address(), self.address());
            if self.one_in(4) {
                AddressRange::new(a.min(b), a.max(b)).unwrap()
            } else {
                AddressRange::single(a)
            }
        }

        fn port(&mut self) -> PortRange {
            if self.one_in(6) { PortRange::new(443, 443).unwrap() } else { PortRange::ANY }
        }

        fn selector(&mut self, wide: u64) -> Selector {
            let source = if self.one_in(6) { 2 } else { 1 };
            let protocol = if self.one_in(5) { Protocol::Is(6) } else { Protocol::Any };
            Selector {
                source: self.range(source),
                destination: self.range(wide),
                protocol,
                source_port: self.port(),
                destination_port: self.port(),
            }
        }

        fn rules(&mut self) -> RuleSet {
            let actions = [TransportAction::Permit, TransportAction::Bypass, TransportAction::Discard];
            let mut rules = RuleSet::default();
            for at in 0..self.below(4) {
                let which = if self.one_in(4) { self.below(3) as usize } else { 0 };
                let (name, selector) = (format!("base{at}"), self.selector(2));
                rules.transport.push(TransportRule { name, selector, action: actions[which] });
            }
            for at in 0..self.below(30) as u32 {
                let gateway =
                    if self.one_in(30) { Gateway::Discover } else { Gateway::Address(self.address()) };
                let (name, selector) = (format!("t{at}"), self.selector(12));
                rules.tunnel.push(TunnelRule { id: RuleId(at), name, selector, peer: PeerId(at), gateway });
            }
            rules
        }

        fn packet(&mut self) -> FiveTuple {
            let protocol = if self.one_in(3) { 17 } else { 6 };
            let (source, destination) = (self.address(), self.address());
            let mut port = || (!self.one_in(6)).then(|| if self.one_in(2) { 443 } else { 80 });
            FiveTuple { source, destination, protocol, source_port: port(), destination_port: port() }
        }
    }

    /// Names of the tunnel rules in the order in which they match, by looking at nothing but [`evaluate`]: each level
    /// is a packet of its own under a transport rule that permits everything.
    fn by_evaluate(rules: &RuleSet, packet: &FiveTuple) -> Result<Vec<String>, &'static str> {
        let base = TransportRule {
            name: String::new(),
            selector: Selector::between(AddressRange::any(false), AddressRange::any(false)).unwrap(),
            action: TransportAction::Permit,
        };
        let (mut names, mut seen) = (Vec::new(), Vec::new());
        let mut asked = *packet;
        let mut level = rules.clone();
        loop {
            match evaluate(&level, &asked) {
                Verdict::NoRule => return Err("no-rule"),
                Verdict::Discard => return Err("discard"),
                Verdict::Clear => return Ok(names),
                Verdict::Protect(rule) => {
                    let rule = rules.tunnel_rule(rule).unwrap();
                    match rule.gateway {
                        Gateway::Discover => return Err("discover"),
                        Gateway::Address(gateway) if seen.last() == Some(&gateway) => return Ok(names),
                        Gateway::Address(gateway)
                            if seen.contains(&gateway) || names.len() == STACK_DEPTH_MAX =>
                        {
                            return Err("refused");
                        }
                        Gateway::Address(gateway) => {
                            names.push(rule.name.clone());
                            seen.push(gateway);
                            asked.destination = gateway;
                        }
                    }
                    // What hides its ports stays at a gateway that no rule with another one could mean.
                    let decides = |rule: &&TunnelRule| {
                        rule.selector.contains(&asked) || rule.gateway.address() != seen.last().copied()
                    };
                    let tunnel = rules.tunnel.iter().filter(decides).cloned().collect();
                    level = RuleSet { transport: vec![base.clone()], tunnel };
                }
            }
        }
    }

    #[test] // NT-4, NT-6, NT-7, NT-8, NT-11, Q-16, Q-17
    fn a_hundred_thousand_explanations_say_what_the_rules_say() {
        let mut seeded = Seeded(1999);
        let (mut nested, mut refused, mut words) = (0, 0, std::collections::BTreeMap::new());
        for _ in 0..10_000 {
            let rules = seeded.rules();
            let transform =
                |_| "aes128gcm16".parse::<warren_policy::EspProposal>().ok().map(|esp| esp.transform.into());
            let subject = subject(&rules, &transform);
            for _ in 0..10 {
                let packet = seeded.packet();
                let said = subject.explanation(&packet, 1500);
                let protected_by = match evaluate(&rules, &packet) {
                    Verdict::Protect(rule) => Some(subject.name(rule)),
                    Verdict::NoRule | Verdict::Discard | Verdict::Clear => None,
                };
                assert_eq!(said.protected_by, protected_by, "{packet} {rules:?}");
                match by_evaluate(&rules, &packet) {
                    Ok(mut names) => {
                        names.reverse();
                        nested += usize::from(names.len() > 1);
                        assert_eq!(said.outcome, if names.is_empty() { "clear" } else { "protect" });
                        let (last, tunnels) = said.performed.split_last().unwrap();
                        let performed: Vec<_> = tunnels.iter().map(|level| level.rule.clone()).collect();
                        assert_eq!(performed, names, "{packet} {rules:?}");
                        assert!(last.gateway.is_none() && last.rule.starts_with("base"));
                    }
                    Err(word) => {
                        refused += usize::from(word == "refused");
                        assert_eq!(
                            (said.outcome.as_str(), said.performed.len()),
                            (word, 0),
                            "{packet} {rules:?}"
                        );
                    }
                }
                let same = walk(&rules, &packet, Rematch::Destination);
                assert_eq!(
                    (said.tunnel.len(), said.outcome.as_str()),
                    (same.rounds.len(), word(&same.outcome))
                );
                *words.entry(said.outcome).or_insert(0) += 1;
            }
        }
        // Each kind of end was really met.
        assert_eq!(words.len(), 6, "{words:?}");
        assert!(nested > 1000 && refused > 1000, "{nested} {refused} {words:?}");
    }

    #[test] // NT-33
    fn octets_add_up_from_the_nearest_gateway_to_the_packet() {
        let mut seeded = Seeded(6_636_520);
        for _ in 0..2000 {
            let rules = seeded.rules();
            let transforms = ["aes128gcm16", "aes256-sha256", "aes128-sha512"]
                .map(|text| text.parse::<warren_policy::EspProposal>().unwrap().transform);
            let transform = |rule: RuleId| transforms[rule.0 as usize % 3];
            let known = |place: Place| Some(transform(place.rule).into());
            let subject = subject(&rules, &known);
            let packet = seeded.packet();
            let said = subject.explanation(&packet, 1500);
            let Outcome::Stack(pending) = walk(&rules, &packet, Rematch::Destination).outcome else {
                continue;
            };
            // The other way round: a packet is put into one tunnel after the other.
            let on_the_path = |inner: usize| {
                pending.bottom_to_top()[1..].iter().fold(inner, |octets, action| match action {
                    Action::Tunnel { rule, .. } => Overhead::new(transform(*rule), false).protected(octets),
                    Action::Transport { .. } => unreachable!(),
                })
            };
            let inner = said.inner_mtu.unwrap_or(1500);
            assert!(on_the_path(inner) <= 1500 && on_the_path(inner + 1) > 1500, "{pending:?}");
            assert_eq!(said.inner_mtu.is_none(), pending.depth() == 0);
        }
    }

    #[test] // V-12
    fn what_was_not_looked_for_is_not_said_to_be_absent() {
        let everything = Selector::between(AddressRange::any(false), AddressRange::any(false)).unwrap();
        let rule = |at: u32| TunnelRule {
            id: RuleId(at),
            name: format!("t{at}"),
            selector: everything,
            peer: PeerId(0),
            gateway: Gateway::Address([10, 0, 0, 1].into()),
        };
        for (count, unknown) in [(2, false), (1025, true)] {
            let rules = RuleSet { transport: Vec::new(), tunnel: (0..count).map(rule).collect() };
            let subject = subject(&rules, &|_| None);
            let said = subject.explanation(&Seeded(7).packet(), 1500);
            assert_eq!(said.circles_unknown, unknown);
        }
    }

    #[test]
    fn many_rules_that_do_not_match_are_counted_and_not_listed() {
        let mut seeded = Seeded(7);
        let elsewhere = Selector {
            destination: AddressRange::single([192, 0, 2, 1].into()),
            ..Selector::between(AddressRange::any(false), AddressRange::any(false)).unwrap()
        };
        let rule =
            TransportRule { name: "r".to_owned(), selector: elsewhere, action: TransportAction::Permit };
        let rules = RuleSet { transport: vec![rule; 1000], tunnel: Vec::new() };
        let subject = subject(&rules, &|_| None);
        let said = subject.explanation(&seeded.packet(), 1500);
        assert_eq!((said.transport.tried, said.transport.missed.len()), (1000, RULES_SHOWN_MAX));
    }

    fn level(rule: &str, peer: &str, live: Option<Live>) -> Level {
        Level {
            rule: rule.to_owned(),
            action: "tunnel".to_owned(),
            peer: Some(peer.to_owned()),
            gateway: None,
            traffic: String::new(),
            esp: None,
            live,
        }
    }

    fn live(state: TunnelState) -> Option<Live> {
        Some(Live { state: state.word().to_owned(), ..Live::default() })
    }

    /// Three levels in the order in which they are performed, and the base rule that only permits.
    fn stack(states: [Option<Live>; 3]) -> Vec<Level> {
        let names = [("to-sg2", "sg1"), ("to-sg3", "sg2"), ("sites", "sg3")];
        let mut levels: Vec<_> =
            names.into_iter().zip(states).map(|((rule, peer), live)| level(rule, peer, live)).collect();
        levels.push(Level { peer: None, ..level("all", "", None) });
        levels
    }

    #[test] // NT-10, NT-11, Q-22
    fn what_would_happen_next_is_decided_by_the_first_level_that_is_missing_unless_one_has_to_rest() {
        use TunnelState::{Closed, Down, HeldDown, Negotiating, Rekeying, Up};
        let said = |states: [Option<Live>; 3]| next(&stack(states)).unwrap();
        assert_eq!(next(&stack([None, None, None])), None, "a file knows nothing of that");
        assert_eq!(said([live(Up), live(Rekeying), live(Up)]), "passes: every level is up");
        assert_eq!(
            said([live(Down), live(Down), live(Down)]),
            "dropped; the first packet would build: to-sg2 through sg1, then to-sg3 through sg2, then sites through sg3"
        );
        assert_eq!(
            said([live(Up), live(Down), live(Down)]),
            "dropped; the first packet would build: to-sg3 through sg2, then sites through sg3"
        );
        assert_eq!(
            said([live(Up), live(Negotiating), live(Down)]),
            "dropped until it is up: level 2, to-sg3 through sg2, is being negotiated"
        );
        let rests = Some(Live { rests_s: Some(12), ..live(HeldDown).unwrap() });
        assert_eq!(
            said([live(Down), live(Down), rests]),
            "dropped: level 3, sites through sg3, is held down for 12 s more"
        );
        assert_eq!(
            said([live(Down), live(Closed), live(Down)]),
            "dropped: level 2, to-sg3, is closed until `dpctl tunnel up to-sg3`"
        );
        let levels = stack([live(Up), live(Down), live(Negotiating)]);
        let names: Vec<_> = missing(&levels).map(|(at, level, _)| (at, level.rule.as_str())).collect();
        assert_eq!(names, [(2, "to-sg3"), (3, "sites")]);
    }

    #[test] // NT-33
    fn inside_udp_a_level_adds_eight_octets_and_all_further_in_have_eight_less() {
        let any = AddressRange::any(false);
        let rule = |at: u32, to: [u8; 4], through: [u8; 4]| TunnelRule {
            id: RuleId(at),
            name: format!("t{at}"),
            selector: Selector::between(any, AddressRange::single(to.into())).unwrap(),
            peer: PeerId(at),
            gateway: Gateway::Address(through.into()),
        };
        let base = TransportRule {
            name: "all".to_owned(),
            selector: Selector::between(any, any).unwrap(),
            action: TransportAction::Permit,
        };
        let (near, far, host) = ([10, 9, 0, 2], [10, 9, 0, 3], [10, 2, 0, 1]);
        let rules = RuleSet { transport: vec![base], tunnel: vec![rule(0, host, far), rule(1, far, near)] };
        let packet = FiveTuple { destination: host.into(), source_port: Some(80), ..Seeded(7).packet() };
        let explained = |in_udp: &dyn Fn(Place) -> bool| {
            let transform = "aes128gcm16".parse::<warren_policy::EspProposal>().unwrap().transform;
            let sealing = |place| Some(Sealing { transform, in_udp: in_udp(place) });
            subject(&rules, &sealing).explanation(&packet, 1500)
        };
        let (raw, udp) = (explained(&|_| false), explained(&|place| place.inside == Some(RuleId(0))));
        let cost = |of: &Explanation, at: usize| of.performed[at].esp.clone().unwrap();
        assert!(cost(&udp, 0).in_udp && !cost(&raw, 0).in_udp && !cost(&udp, 1).in_udp);
        assert_eq!(cost(&udp, 0).overhead_octets_min, cost(&raw, 0).overhead_octets_min + 8);
        assert_eq!((raw.inner_mtu, udp.inner_mtu), (Some(1390), Some(1382)));
    }
}
