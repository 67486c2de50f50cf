//! The compiled rules against the linear model.

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
