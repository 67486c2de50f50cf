//! The compiled rules against the linear model.

mod sets;

use super::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::evaluate::{evaluate, evaluate_inbound};
use warren_policy::{AddressRange, PeerId, PortRange, Protection, Protocol, TransportRule, TunnelRule};

fn address(ipv6: bool, low: u8) -> IpAddr {
    if ipv6 { Ipv6Addr::from(u128::from(low)).into() } else { Ipv4Addr::new(10, 0, 0, low).into() }
}

fn selectors() -> impl Strategy<Value = Selector> {
    let span = || (0u8..16, 0u8..16);
    let ports = || prop::sample::select(vec![(0u16, u16::MAX), (1, u16::MAX), (0, 100), (53, 53), (80, 90)]);
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

/// Networks inside each other, as real rules have them: the highest bits and the lowest, of both families.
fn nested_selectors() -> impl Strategy<Value = Selector> {
    let network = |ipv6: bool| {
        (0u32..4, 0u32..3, prop::sample::select(vec![0u8, 1, 8, 15, 16, 24, 31, 32])).prop_map(
            move |(high, low, length)| {
                let (host, length) = (high << 30 | low, if ipv6 { length * 4 } else { length });
                AddressRange::from_prefix(wide_address(ipv6, host), length).unwrap()
            },
        )
    };
    let ports = || {
        let some = prop::sample::select(vec![(1024u16, u16::MAX), (0, 1023), (22, 22), (8000, 8999)]);
        prop_oneof![2 => Just((0u16, u16::MAX)), 1 => some, 1 => (0u16..64).prop_map(|port| (port, port))]
    };
    let protocols = prop_oneof![Just(Protocol::Any), (0u8..64).prop_map(Protocol::Is), Just(Protocol::Is(6))];
    any::<bool>().prop_flat_map(move |ipv6| {
        (network(ipv6), network(ipv6), ports(), ports(), protocols.clone()).prop_map(
            |(source, destination, source_port, destination_port, protocol)| Selector {
                source,
                destination,
                protocol,
                source_port: PortRange::new(source_port.0, source_port.1).unwrap(),
                destination_port: PortRange::new(destination_port.0, destination_port.1).unwrap(),
            },
        )
    })
}

/// With the upper bits of an IPv6 address where those of an IPv4 address are, and its lowest where they are.
fn wide_address(ipv6: bool, bits: u32) -> IpAddr {
    let upper = u128::from(bits & 0xffff_0000) << 96;
    if ipv6 { Ipv6Addr::from(upper | u128::from(bits & 0xffff)).into() } else { Ipv4Addr::from(bits).into() }
}

fn wide_packets() -> impl Strategy<Value = FiveTuple> {
    let ports =
        || prop_oneof![1 => Just(None), 4 => (0u16..64).prop_map(Some), 2 => any::<u16>().prop_map(Some)];
    let bits = || (0u32..4, 0u32..3).prop_map(|(high, low)| high << 30 | low);
    let protocol = prop_oneof![2 => Just(6u8), 1 => 0u8..64, 1 => Just(60u8)];
    (any::<bool>(), bits(), bits(), protocol, ports(), ports()).prop_map(
        |(ipv6, source, destination, protocol, source_port, destination_port)| FiveTuple {
            source: wide_address(ipv6, source),
            destination: wide_address(ipv6, destination),
            protocol,
            source_port,
            destination_port,
        },
    )
}

fn rule_sets() -> impl Strategy<Value = RuleSet> {
    prop_oneof![2 => rule_sets_of(selectors().boxed(), 12), 1 => rule_sets_of(nested_selectors().boxed(), 120)]
}

fn rule_sets_of(selectors: BoxedStrategy<Selector>, rules_max: usize) -> impl Strategy<Value = RuleSet> {
    let action = prop::sample::select(vec![
        TransportAction::Permit,
        TransportAction::Permit,
        TransportAction::Bypass,
        TransportAction::Discard,
        TransportAction::Protect(Protection { rule: RuleId(99), peer: PeerId(1), host: address(false, 2) }),
    ]);
    let transport = prop::collection::vec((selectors.clone(), action), 0..rules_max);
    let tunnel = prop::collection::vec(selectors, 0..rules_max);
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
        rules in rule_sets(), packets in prop::collection::vec(prop_oneof![packets(), wide_packets()], 1..150),
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
