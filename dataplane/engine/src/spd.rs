//! The security policy database (RFC 4301 §4.4.1) as an immutable snapshot: what the rules say about a batch of
//! packets. `warren_policy::evaluate` is the model it must agree with.

use std::net::IpAddr;
use warren_policy::{FiveTuple, Protocol, RuleId, RuleSet, Selector, TransportAction, Verdict};

/// From which side a packet is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It leaves our side (SPD-O).
    Outbound,
    /// It came in clear from the far side (SPD-I): the same rules, mirrored.
    Inbound,
}

/// The compiled rules. A search from the first rule on, over rows that hold numbers and nothing else.
#[derive(Default)]
pub struct Spd {
    ipv4: Family<u32>,
    ipv6: Family<u128>,
}

/// The rules of one address family.
struct Family<A> {
    transport: Vec<Row<A, TransportAction>>,
    tunnel: Vec<Row<A, RuleId>>,
}

impl<A> Default for Family<A> {
    fn default() -> Self {
        Self { transport: Vec::new(), tunnel: Vec::new() }
    }
}

/// One rule. Ports go up to [`NO_PORT`], protocols up to 255.
struct Row<A, T> {
    source: (A, A),
    destination: (A, A),
    source_port: (u32, u32),
    destination_port: (u32, u32),
    protocol: (u8, u8),
    outcome: T,
}

/// What stands for a port that cannot be seen: only the range of every port reaches so far.
const NO_PORT: u32 = 0x1_0000;

/// What one packet looks like to the rows.
#[derive(Clone, Copy)]
struct Probe<A> {
    source: A,
    destination: A,
    source_port: u32,
    destination_port: u32,
    protocol: u8,
    hides_ports: bool,
    hides_protocol: bool,
}

impl Spd {
    /// Compiles a rule set.
    #[must_use]
    pub fn new(rules: &RuleSet) -> Self {
        let mut spd = Self::default();
        for rule in &rules.transport {
            spd.push(
                &rule.selector,
                |family| &mut family.transport,
                |family| &mut family.transport,
                rule.action,
            );
        }
        for rule in &rules.tunnel {
            spd.push(&rule.selector, |family| &mut family.tunnel, |family| &mut family.tunnel, rule.id);
        }
        spd
    }

    fn push<T>(
        &mut self,
        selector: &Selector,
        ipv4: impl Fn(&mut Family<u32>) -> &mut Vec<Row<u32, T>>,
        ipv6: impl Fn(&mut Family<u128>) -> &mut Vec<Row<u128, T>>,
        outcome: T,
    ) {
        let source = (selector.source.first(), selector.source.last());
        let destination = (selector.destination.first(), selector.destination.last());
        if let (Some(source), Some(destination)) = (both_ipv4(source), both_ipv4(destination)) {
            ipv4(&mut self.ipv4).push(Row::new(selector, source, destination, outcome));
        } else if let (Some(source), Some(destination)) = (both_ipv6(source), both_ipv6(destination)) {
            ipv6(&mut self.ipv6).push(Row::new(selector, source, destination, outcome));
        }
    }

    /// Judges a batch: `verdicts` gets one entry for each packet, in their order.
    pub fn classify(&self, direction: Direction, packets: &[FiveTuple], verdicts: &mut Vec<Verdict>) {
        verdicts.clear();
        verdicts.extend(packets.iter().map(|packet| self.judge(direction, packet)));
    }

    fn judge(&self, direction: Direction, packet: &FiveTuple) -> Verdict {
        match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4.judge(Probe::new(packet, source.into(), destination.into(), direction))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6.judge(Probe::new(packet, source.into(), destination.into(), direction))
            }
            _ => Verdict::NoRule,
        }
    }
}

fn both_ipv4(range: (IpAddr, IpAddr)) -> Option<(u32, u32)> {
    match range {
        (IpAddr::V4(first), IpAddr::V4(last)) => Some((first.into(), last.into())),
        _ => None,
    }
}

fn both_ipv6(range: (IpAddr, IpAddr)) -> Option<(u128, u128)> {
    match range {
        (IpAddr::V6(first), IpAddr::V6(last)) => Some((first.into(), last.into())),
        _ => None,
    }
}

impl<A: Copy + Ord> Family<A> {
    fn judge(&self, probe: Probe<A>) -> Verdict {
        let Some(at) = first_match(&self.transport, &probe) else { return Verdict::NoRule };
        let action = self.transport[at].outcome;
        match action {
            TransportAction::Discard => return Verdict::Discard,
            TransportAction::Protect(protection) => return Verdict::Protect(protection.rule),
            TransportAction::Permit | TransportAction::Bypass => {}
        }
        // A tunnel would carry it only to its gateway, and from there it would be in clear.
        if probe.hides_ports && may_be_protected(&self.transport[..at], &probe) {
            return Verdict::Discard;
        }
        if action == TransportAction::Permit
            && let Some(at) = first_match(&self.tunnel, &probe)
        {
            return Verdict::Protect(self.tunnel[at].outcome);
        }
        if probe.hides_ports && self.may_protect(&self.transport[..=at], &probe) {
            return Verdict::Discard;
        }
        Verdict::Clear
    }

    /// Whether a packet that hides its ports would be protected if it had some of them: it must not leave in clear
    /// (RFC 4301 §7).
    fn may_protect(&self, transport: &[Row<A, TransportAction>], probe: &Probe<A>) -> bool {
        let permits =
            |row: &Row<A, TransportAction>| row.outcome == TransportAction::Permit && row.may_contain(probe);
        transport.iter().any(permits) && self.tunnel.iter().any(|row| row.may_contain(probe))
    }
}

/// Whether a packet that hides its ports would be protected from end to end if it had some of them.
fn may_be_protected<A: Copy + Ord>(before: &[Row<A, TransportAction>], probe: &Probe<A>) -> bool {
    before.iter().any(|row| row.outcome.protection().is_some() && row.may_contain(probe))
}

fn first_match<A: Copy + Ord, T>(rows: &[Row<A, T>], probe: &Probe<A>) -> Option<usize> {
    rows.iter().position(|row| row.contains(probe))
}

impl<A: Copy + Ord, T> Row<A, T> {
    fn new(selector: &Selector, source: (A, A), destination: (A, A), outcome: T) -> Self {
        let ports = |range: warren_policy::PortRange| {
            let last = if range == warren_policy::PortRange::ANY { NO_PORT } else { range.last().into() };
            (u32::from(range.first()), last)
        };
        Self {
            source,
            destination,
            source_port: ports(selector.source_port),
            destination_port: ports(selector.destination_port),
            protocol: match selector.protocol {
                Protocol::Any => (0, u8::MAX),
                Protocol::Is(number) => (number, number),
            },
            outcome,
        }
    }

    fn contains(&self, probe: &Probe<A>) -> bool {
        let within = |range: (A, A), value: A| range.0 <= value && value <= range.1;
        let reaches = |range: (u32, u32), port: u32| range.0 <= port && port <= range.1;
        within(self.destination, probe.destination)
            && within(self.source, probe.source)
            && reaches(self.source_port, probe.source_port)
            && reaches(self.destination_port, probe.destination_port)
            && self.protocol.0 <= probe.protocol
            && probe.protocol <= self.protocol.1
    }

    /// Whether a packet that hides its ports could match.
    fn may_contain(&self, probe: &Probe<A>) -> bool {
        let within = |range: (A, A), value: A| range.0 <= value && value <= range.1;
        let may_reach = |range: (u32, u32), port: u32| port == NO_PORT || range.0 <= port && port <= range.1;
        within(self.destination, probe.destination)
            && within(self.source, probe.source)
            && may_reach(self.source_port, probe.source_port)
            && may_reach(self.destination_port, probe.destination_port)
            && (probe.hides_protocol
                || self.protocol.0 <= probe.protocol && probe.protocol <= self.protocol.1)
    }
}

impl<A: Copy> Probe<A> {
    fn new(packet: &FiveTuple, source: A, destination: A, direction: Direction) -> Self {
        let port = |port: Option<u16>| port.map_or(NO_PORT, u32::from);
        let (source_port, destination_port) = (port(packet.source_port), port(packet.destination_port));
        let probe = Self {
            source,
            destination,
            source_port,
            destination_port,
            protocol: packet.protocol,
            hides_ports: packet.hides_ports(),
            hides_protocol: packet.hides_protocol(),
        };
        match direction {
            Direction::Outbound => probe,
            Direction::Inbound => Self {
                source: probe.destination,
                destination: probe.source,
                source_port: destination_port,
                destination_port: source_port,
                ..probe
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use warren_policy::evaluate::{evaluate, evaluate_inbound};
    use warren_policy::{AddressRange, PeerId, PortRange, Protection, TransportRule, TunnelRule};

    fn address(ipv6: bool, low: u8) -> IpAddr {
        if ipv6 { Ipv6Addr::from(u128::from(low)).into() } else { Ipv4Addr::new(10, 0, 0, low).into() }
    }

    fn selectors() -> impl Strategy<Value = Selector> {
        let span = || (0u8..16, 0u8..16);
        let ports =
            || prop::sample::select(vec![(0u16, u16::MAX), (1, u16::MAX), (0, 100), (53, 53), (80, 90)]);
        let protocols =
            prop::sample::select(vec![Protocol::Any, Protocol::Is(6), Protocol::Is(17), Protocol::Is(0)]);
        (any::<bool>(), span(), span(), ports(), ports(), protocols).prop_map(
            |(ipv6, a, b, source_port, destination_port, protocol)| {
                let range = |(x, y): (u8, u8)| {
                    AddressRange::new(address(ipv6, x.min(y)), address(ipv6, x.max(y))).unwrap()
                };
                Selector {
                    source: range(a),
                    destination: range(b),
                    protocol,
                    source_port: PortRange::new(source_port.0, source_port.1).unwrap(),
                    destination_port: PortRange::new(destination_port.0, destination_port.1).unwrap(),
                }
            },
        )
    }

    fn rule_sets() -> impl Strategy<Value = RuleSet> {
        let action = prop::sample::select(vec![
            TransportAction::Permit,
            TransportAction::Permit,
            TransportAction::Bypass,
            TransportAction::Discard,
            TransportAction::Protect(Protection {
                rule: RuleId(99),
                peer: PeerId(1),
                host: address(false, 2),
            }),
        ]);
        let transport = prop::collection::vec((selectors(), action), 0..12);
        let tunnel = prop::collection::vec(selectors(), 0..12);
        (transport, tunnel).prop_map(|(transport, tunnel)| RuleSet {
            transport: transport
                .into_iter()
                .map(|(selector, action)| TransportRule { name: String::new(), selector, action })
                .collect(),
            tunnel: tunnel
                .into_iter()
                .enumerate()
                .map(|(at, selector)| TunnelRule {
                    id: RuleId(at as u32),
                    name: String::new(),
                    selector,
                    peer: PeerId(0),
                    gateway: address(false, 1).into(),
                })
                .collect(),
        })
    }

    fn packets() -> impl Strategy<Value = FiveTuple> {
        let ports = || prop::sample::select(vec![None, Some(0u16), Some(53), Some(85), Some(u16::MAX)]);
        let protocol = prop::sample::select(vec![0u8, 1, 6, 17, 60, 255]);
        (any::<bool>(), 0u8..16, 0u8..16, protocol, ports(), ports()).prop_map(
            |(ipv6, a, b, protocol, source_port, destination_port)| FiveTuple {
                source: address(ipv6, a),
                destination: address(ipv6, b),
                protocol,
                source_port,
                destination_port,
            },
        )
    }

    proptest! {
        #[test] // NT-3, NT-4, F-24
        fn it_says_what_the_linear_model_says(
            rules in rule_sets(), packets in prop::collection::vec(packets(), 1..40),
        ) {
            let spd = Spd::new(&rules);
            let mut verdicts = Vec::new();
            spd.classify(Direction::Outbound, &packets, &mut verdicts);
            let expected: Vec<_> = packets.iter().map(|packet| evaluate(&rules, packet)).collect();
            prop_assert_eq!(&verdicts, &expected);
            spd.classify(Direction::Inbound, &packets, &mut verdicts);
            let expected: Vec<_> = packets.iter().map(|packet| evaluate_inbound(&rules, packet)).collect();
            prop_assert_eq!(&verdicts, &expected);
        }
    }
}
