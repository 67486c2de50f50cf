//! `dpctl explain`: rule by rule, how a packet comes to its stack of tunnels, what is performed in which order, and
//! what that costs in octets. Needs no daemon.
//!
//! ```text
//! file ──> rules ─┐
//! packet ─────────┴─> the walk of figure 7 ──> explanation ──> JSON, or tables and words
//! ```
//!
//! Everything that is said comes out of one [`Walk`]: nothing is decided here a second time.

use crate::arguments::Format;
use crate::limits::{MTU_MAX, MTU_MIN, RULES_SHOWN_MAX};
use crate::output::{Failure, Output};
use crate::table::{Left, Right, table};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::net::IpAddr;
use std::path::PathBuf;
use warren_config::Config;
use warren_policy::stack::{Next, walk};
use warren_policy::{
    Action, EspTransform, FiveTuple, Outcome, Overhead, PeerId, PendingStack, Rematch, Round, RuleId,
    RuleSet, Selector, Stop, TransportAction, Verdict, Walk, loops,
};

/// The packet, and how it is judged.
#[derive(Debug, Args)]
pub(crate) struct Question {
    /// Source address, of our side
    #[arg(value_name = "SRC")]
    source: IpAddr,
    /// Destination address, of the same family
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `gre`, or a number
    #[arg(value_name = "PROTO", value_parser = protocol)]
    protocol: u8,
    /// Source port; without ports the packet is one whose ports cannot be seen, such as a later fragment
    #[arg(value_name = "SPORT", requires = "destination_port")]
    source_port: Option<u16>,
    /// Destination port
    #[arg(value_name = "DPORT")]
    destination_port: Option<u16>,
    /// The configuration file whose rules are asked
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As what a packet is looked up once it is inside a tunnel: with only its destination replaced by the gateway, or
    /// as the ESP packet that it then is
    #[arg(long, value_enum, default_value = "destination")]
    rematch: Matching,
    /// Octets of the largest packet on the path to the nearest gateway
    #[arg(long, value_name = "OCTETS", default_value = "1500", value_parser = clap::value_parser!(u16).range(MTU_MIN..=MTU_MAX))]
    mtu: u16,
    #[command(flatten)]
    format: Format,
}

/// [`Rematch`] as it is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Matching {
    Destination,
    Wire,
}

fn protocol(text: &str) -> Result<u8, String> {
    match text {
        "tcp" => Ok(6),
        "udp" => Ok(17),
        "icmp" => Ok(1),
        "icmpv6" => Ok(58),
        "sctp" => Ok(132),
        "gre" => Ok(47),
        number => number.parse().map_err(|_| "a protocol is a name or 0 to 255".to_owned()),
    }
}

/// Answers one question.
pub(crate) fn explain(question: &Question, output: &mut Output) -> Result<(), Failure> {
    let said = |message: &str| Failure::Said(message.to_owned());
    let Some(file) = &question.config else {
        return Err(said(
            "the rules of a running daemon cannot be explained yet; `--config FILE` explains those of a file",
        ));
    };
    if question.source.is_ipv6() != question.destination.is_ipv6() {
        return Err(said("source and destination are addresses of one family"));
    }
    let config = warren_config::load_to_explain(file).map_err(|diagnostics| {
        Failure::Said(format!("{} cannot be used\n\n{diagnostics}", file.display()))
    })?;
    let packet = FiveTuple {
        source: question.source,
        destination: question.destination,
        protocol: question.protocol,
        source_port: question.source_port,
        destination_port: question.destination_port,
    };
    let local = |peer| local_address(&config, peer);
    let rematch = match question.rematch {
        Matching::Destination => Rematch::Destination,
        Matching::Wire => Rematch::Wire(&local),
    };
    let subject = Subject {
        rules: &config.rules,
        peer: &|peer| config.peer(peer).map_or_else(String::new, |peer| peer.name.clone()),
        transform: &|rule| first_transform(&config, rule),
    };
    let explanation = subject.explanation(&packet, rematch, usize::from(question.mtu));
    if question.format.json {
        let json = serde_json::to_string_pretty(&explanation);
        return Ok(output.write(&json.map_err(|error| Failure::Said(error.to_string()))?)?);
    }
    let width = output.width();
    Ok(output.write(&explanation.text(width))?)
}

/// Ours towards the peer, as far as the file says.
fn local_address(config: &Config, peer: PeerId) -> Option<IpAddr> {
    config.peer(peer).filter(|peer| !peer.is_local_open()).map(|peer| peer.local)
}

/// What a tunnel is offered with first; what comes of it is negotiated.
fn first_transform(config: &Config, rule: RuleId) -> Option<EspTransform> {
    let tunnel = config.tunnels.get(rule.0 as usize)?;
    tunnel.esp.first().map(|proposal| proposal.transform)
}

/// What is explained: rules, and what the rules alone do not say.
struct Subject<'a> {
    rules: &'a RuleSet,
    peer: &'a dyn Fn(PeerId) -> String,
    transform: &'a dyn Fn(RuleId) -> Option<EspTransform>,
}

/// All that is known about one packet.
#[derive(Debug, Serialize)]
struct Explanation {
    packet: String,
    rematch: &'static str,
    transport: Asked,
    /// One for each time that the tunnel rules were asked.
    tunnel: Vec<Asked>,
    /// `no-rule`, `discard`, `clear`, `protect`, `discover` or `refused`.
    outcome: &'static str,
    /// The tunnel rule that protects the packet itself, whatever becomes of the levels above.
    protected_by: Option<String>,
    /// In the order in which it is performed; the transport action last.
    performed: Vec<Level>,
    /// Octets of the largest packet on the path.
    mtu: usize,
    /// Octets of the largest packet that fits into all tunnels; 0 when none does.
    inner_mtu: Option<usize>,
    /// Rules of this file that lead through their own gateways, by name.
    circles: Vec<Vec<String>>,
    /// Too many rules lead to gateways: such rules were not looked for.
    circles_unknown: bool,
    says: String,
}

/// Rules of one class, asked once.
#[derive(Debug, Serialize)]
struct Asked {
    about: String,
    /// How many were tried: the last of them matched, if one did.
    tried: usize,
    /// Those that did not match, the first [`RULES_SHOWN_MAX`].
    missed: Vec<Missed>,
    matched: Option<Matched>,
    says: String,
}

#[derive(Debug, Serialize)]
struct Missed {
    rule: String,
    traffic: String,
    /// The first field that differs.
    because: &'static str,
}

#[derive(Debug, Serialize)]
struct Matched {
    rule: String,
    traffic: String,
    does: String,
}

#[derive(Debug, Serialize)]
struct Level {
    rule: String,
    /// What is performed: `permit`, `bypass` or `tunnel`.
    action: &'static str,
    peer: Option<String>,
    gateway: Option<IpAddr>,
    traffic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    esp: Option<EspCost>,
}

/// What one tunnel adds to a packet.
#[derive(Debug, Serialize)]
struct EspCost {
    transform: String,
    overhead_octets_min: usize,
    overhead_octets_max: usize,
    /// Octets of the largest packet that fits into this tunnel, inside all that carry it.
    inner_mtu: usize,
}

impl Subject<'_> {
    fn explanation(&self, packet: &FiveTuple, rematch: Rematch<'_>, mtu: usize) -> Explanation {
        let walked = walk(self.rules, packet, rematch);
        let performed = match &walked.outcome {
            Outcome::Stack(pending) => self.levels(pending, mtu),
            _ => Vec::new(),
        };
        let innermost = performed.iter().rev().find_map(|level| level.esp.as_ref());
        let inner_mtu = innermost.map(|cost| cost.inner_mtu);
        let found = loops(self.rules, rematch);
        let name = |rule: &RuleId| self.tunnel_name(*rule);
        Explanation {
            packet: packet.to_string(),
            rematch: rematch.word(),
            transport: self.transport(&walked),
            tunnel: walked.rounds.iter().map(|round| self.tunnel(round)).collect(),
            outcome: word(&walked.outcome),
            protected_by: match walked.verdict() {
                Verdict::Protect(rule) => Some(self.tunnel_name(rule)),
                Verdict::NoRule | Verdict::Discard | Verdict::Clear => None,
            },
            performed,
            mtu,
            inner_mtu,
            circles: found.circles.iter().map(|circle| circle.iter().map(name).collect()).collect(),
            circles_unknown: found.is_partial,
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
                does: action(rule.action).to_owned(),
            }),
            says: match matched.map(|rule| rule.action) {
                None => "no transport rule matches: no stack is built".to_owned(),
                Some(TransportAction::Protect(_)) => {
                    "protected from end to end; tunnel rules decide how that passes".to_owned()
                }
                Some(TransportAction::Permit) => "tunnel rules decide how it passes".to_owned(),
                Some(TransportAction::Discard) => "no stack is built".to_owned(),
                Some(TransportAction::Bypass) => "tunnel rules are not asked".to_owned(),
            },
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

    fn levels(&self, pending: &PendingStack, mtu: usize) -> Vec<Level> {
        let mut room = mtu;
        let level = |action: &Action| self.level(action, &mut room);
        pending.performed().map(level).collect()
    }

    /// `room`: octets of the largest packet that what carries this level takes, and afterwards that it takes itself.
    fn level(&self, performed: &Action, room: &mut usize) -> Level {
        let traffic = performed.selector().to_string();
        match *performed {
            Action::Transport { at, action: says, .. } => {
                let rule = self.rules.transport[at].name.clone();
                Level { rule, action: action(says), peer: None, gateway: None, traffic, esp: None }
            }
            Action::Tunnel { rule, peer, gateway, .. } => {
                let esp = (self.transform)(rule).map(|transform| {
                    let overhead = Overhead::new(transform, gateway.is_ipv6());
                    *room = overhead.inner_max(*room);
                    EspCost {
                        transform: transform.to_string(),
                        overhead_octets_min: overhead.fixed_octets,
                        overhead_octets_max: overhead.octets_max(),
                        inner_mtu: *room,
                    }
                });
                let (rule, peer) = (self.tunnel_name(rule), Some((self.peer)(peer)));
                Level { rule, action: "tunnel", peer, gateway: Some(gateway), traffic, esp }
            }
        }
    }

    fn verdict(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::NoRule => "dropped: no transport rule speaks of it".to_owned(),
            Outcome::Discard => "dropped, by rule or because it hides the ports that decide".to_owned(),
            Outcome::Stack(pending) if pending.depth() == 0 => "passes in clear".to_owned(),
            Outcome::Stack(pending) if pending.depth() == 1 => {
                "passes inside one tunnel, or not at all".to_owned()
            }
            Outcome::Stack(pending) => format!(
                "passes inside {} tunnels, or not at all; warrend builds no tunnel inside a tunnel yet",
                pending.depth()
            ),
            Outcome::Discover { rule, destination, .. } => format!(
                "passes through a gateway that is yet to be discovered in front of {destination} for `{}`, or not at \
                 all",
                self.tunnel_name(*rule)
            ),
            Outcome::Refused(error) => format!("dropped: {error}"),
        }
    }

    fn tunnel_name(&self, rule: RuleId) -> String {
        self.rules.tunnel_rule(rule).map_or_else(String::new, |rule| rule.name.clone())
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

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::NoRule => "no-rule",
        Outcome::Discard => "discard",
        Outcome::Stack(pending) if pending.depth() == 0 => "clear",
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
    Missed { rule: rule.to_owned(), traffic: selector.to_string(), because }
}

impl Explanation {
    fn text(&self, width: u16) -> String {
        let mut text = format!("{}\nrematch = {}\n", self.packet, self.rematch);
        text += &self.transport.text("transport", width);
        for asked in &self.tunnel {
            text += &asked.text("tunnel", width);
        }
        if !self.performed.is_empty() {
            text += "\nperformed in this order\n";
            text += &levels(&self.performed, width);
        }
        if let Some(inner_mtu) = self.inner_mtu {
            let costs = || self.performed.iter().filter_map(|level| level.esp.as_ref());
            let least: usize = costs().map(|cost| cost.overhead_octets_min).sum();
            let most: usize = costs().map(|cost| cost.overhead_octets_max).sum();
            text += &format!(
                "\n{least} to {most} octets are added in all; of {} octets on the path, {inner_mtu} are left for a \
                 packet\n",
                self.mtu
            );
        }
        for circle in &self.circles {
            text += &format!("\nrules that may lead through their own gateways: {}\n", circle.join(", "));
        }
        if self.circles_unknown {
            text += "\ntoo many rules lead to gateways to look for some that lead through their own\n";
        }
        text + &format!("\n{}\n", self.says)
    }
}

impl Asked {
    fn text(&self, class: &str, width: u16) -> String {
        let row =
            |rule: &str, traffic: &str, result: String| vec![rule.to_owned(), traffic.to_owned(), result];
        let mut rows: Vec<_> = self
            .missed
            .iter()
            .map(|missed| row(&missed.rule, &missed.traffic, format!("no: {}", missed.because)))
            .collect();
        let left_out = self.tried - usize::from(self.matched.is_some()) - self.missed.len();
        if left_out > 0 {
            rows.push(row("…", &format!("{left_out} more rules"), "no".to_owned()));
        }
        if let Some(matched) = &self.matched {
            rows.push(row(&matched.rule, &matched.traffic, format!("yes: {}", matched.does)));
        }
        let rules = table(&[Left("RULE"), Left("TRAFFIC"), Left("MATCHES")], &rows, width);
        format!("\n{class} rules are asked about {}\n{rules}=> {}\n", self.about, self.says)
    }
}

fn levels(performed: &[Level], width: u16) -> String {
    let row = |(at, level): (usize, &Level)| {
        let gateway = match (&level.peer, level.gateway) {
            (Some(peer), Some(gateway)) => format!("{peer} {gateway}"),
            _ => String::new(),
        };
        let (esp, adds, inner) = level.esp.as_ref().map_or_else(Default::default, |cost| {
            let adds = format!("{}-{}", cost.overhead_octets_min, cost.overhead_octets_max);
            (cost.transform.clone(), adds, cost.inner_mtu.to_string())
        });
        let number = (at + 1).to_string();
        vec![number, level.action.to_owned(), level.rule.clone(), gateway, esp, adds, inner]
    };
    let columns = [
        Right("#"),
        Left("ACTION"),
        Left("RULE"),
        Left("GATEWAY"),
        Left("ESP"),
        Right("ADDS"),
        Right("INNER MTU"),
    ];
    table(&columns, &performed.iter().enumerate().map(row).collect::<Vec<_>>(), width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_policy::limits::STACK_DEPTH_MAX;
    use warren_policy::{AddressRange, Gateway, PortRange, Protocol, TransportRule, TunnelRule, evaluate};

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
            let subject = Subject {
                rules: &rules,
                peer: &|peer| format!("p{}", peer.0),
                transform: &|_| {
                    "aes128gcm16".parse::<warren_policy::EspProposal>().ok().map(|esp| esp.transform)
                },
            };
            for _ in 0..10 {
                let packet = seeded.packet();
                let said = subject.explanation(&packet, Rematch::Destination, 1500);
                let protected_by = match evaluate(&rules, &packet) {
                    Verdict::Protect(rule) => Some(subject.tunnel_name(rule)),
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
                        assert_eq!((said.outcome, said.performed.len()), (word, 0), "{packet} {rules:?}");
                    }
                }
                let same = walk(&rules, &packet, Rematch::Destination);
                assert_eq!((said.tunnel.len(), said.outcome), (same.rounds.len(), word(&same.outcome)));
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
            let subject =
                Subject { rules: &rules, peer: &|_| String::new(), transform: &|rule| Some(transform(rule)) };
            let packet = seeded.packet();
            let said = subject.explanation(&packet, Rematch::Destination, 1500);
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
            let subject = Subject { rules: &rules, peer: &|_| String::new(), transform: &|_| None };
            let said = subject.explanation(&Seeded(7).packet(), Rematch::Destination, 1500);
            assert_eq!(said.text(100).contains("too many rules lead to gateways"), unknown);
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
        let subject = Subject { rules: &rules, peer: &|_| String::new(), transform: &|_| None };
        let said = subject.explanation(&seeded.packet(), Rematch::Destination, 1500);
        assert_eq!((said.transport.tried, said.transport.missed.len()), (1000, RULES_SHOWN_MAX));
        assert!(said.text(100).contains("980 more rules"));
    }
}
