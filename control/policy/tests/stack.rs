//! The walk of figure 7 against a slow model of it, and against what one level says.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use std::net::IpAddr;
use warren_policy::limits::STACK_DEPTH_MAX;
use warren_policy::stack::{Next, walk};
use warren_policy::{
    Action, AddressRange, FiveTuple, Gateway, Outcome, PeerId, PortRange, Protocol, Rematch, RuleId, RuleSet,
    Selector, StackError, Stop, TransportAction, TransportRule, TunnelRule, Verdict, evaluate, loops,
};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(text: &str) -> AddressRange {
    let (network, length) = text.split_once('/').unwrap();
    AddressRange::from_prefix(address(network), length.parse().unwrap()).unwrap()
}

fn selector(source: &str, destination: &str) -> Selector {
    Selector::between(range(source), range(destination)).unwrap()
}

fn permit(selector: Selector) -> TransportRule {
    TransportRule { name: "base".to_owned(), selector, action: TransportAction::Permit }
}

fn tunnel(id: u32, selector: Selector, gateway: &str) -> TunnelRule {
    let gateway = gateway.parse().unwrap();
    TunnelRule { id: RuleId(id), name: format!("t{id}"), selector, peer: PeerId(id), gateway }
}

fn packet(destination: &str) -> FiveTuple {
    FiveTuple {
        source: address("10.1.0.1"),
        destination: address(destination),
        protocol: 6,
        source_port: Some(50000),
        destination_port: Some(443),
    }
}

const SG1: &str = "192.0.2.1";
const SG2: &str = "198.51.100.2";
const SG3: &str = "203.0.113.3";

/// V-9, with an order of rules that helps nobody.
fn three_gateways() -> RuleSet {
    let to = |gateway: &str| selector("10.1.0.0/16", &format!("{gateway}/32"));
    RuleSet {
        transport: vec![permit(selector("10.1.0.0/16", "10.2.0.0/16"))],
        tunnel: vec![
            tunnel(2, to(SG2), SG1),
            tunnel(1, to(SG3), SG2),
            tunnel(0, selector("10.1.0.0/16", "10.2.0.0/16"), SG3),
        ],
    }
}

/// Gateways from the bottom of the stack to its top.
fn gateways(outcome: &Outcome) -> Vec<String> {
    let pending = match outcome {
        Outcome::Stack(pending) | Outcome::Discover { pending, .. } => pending,
        other => panic!("{other:?}"),
    };
    assert!(matches!(pending.bottom_to_top()[0], Action::Transport { .. }), "NT-5");
    pending.bottom_to_top().iter().filter_map(Action::gateway).map(|gateway| gateway.to_string()).collect()
}

#[test] // V-9, NT-5, NT-6, NT-7, NT-8, NT-9, NT-11, Q-20, Q-21
fn three_rules_that_lead_to_each_other_become_one_stack_with_the_nearest_gateway_on_top() {
    let rules = three_gateways();
    let walked = walk(&rules, &packet("10.2.0.7"), Rematch::Destination);
    assert_eq!(walked.transport, Some(0));
    assert_eq!(gateways(&walked.outcome), [SG3, SG2, SG1]);
    let Outcome::Stack(pending) = &walked.outcome else { panic!("{:?}", walked.outcome) };
    assert_eq!(pending.depth(), 3);
    let performed: Vec<_> = pending.performed().map(Action::gateway).collect();
    assert_eq!(performed, [Some(address(SG1)), Some(address(SG2)), Some(address(SG3)), None]);
    let named: Vec<_> = pending
        .performed()
        .filter_map(|action| match action {
            Action::Tunnel { rule, peer, .. } => Some((*rule, *peer)),
            Action::Transport { .. } => None,
        })
        .collect();
    assert_eq!(named, [2, 1, 0].map(|id| (RuleId(id), PeerId(id))));
}

#[test] // NT-7, NT-8, NT-10, Q-19
fn every_round_says_what_was_asked_what_matched_and_what_followed() {
    let rules = three_gateways();
    let first = packet("10.2.0.7");
    let walked = walk(&rules, &first, Rematch::Destination);
    let to = |gateway: &str| FiveTuple { destination: address(gateway), ..first };
    let asked: Vec<_> = walked.rounds.iter().map(|round| round.asked).collect();
    assert_eq!(asked, [first, to(SG3), to(SG2), to(SG1)]);
    let places: Vec<_> = walked.rounds.iter().map(|round| round.matched.map(|matched| matched.at)).collect();
    assert_eq!(places, [Some(2), Some(1), Some(0), None]);
    let next: Vec<_> = walked.rounds.iter().map(|round| round.next).collect();
    assert_eq!(
        next,
        [Next::Pushed(to(SG3)), Next::Pushed(to(SG2)), Next::Pushed(to(SG1)), Next::Stopped(Stop::NoMatch)]
    );
}

#[test] // NT-3, NT-4, NT-5, Q-17
fn without_a_transport_rule_there_is_no_stack_and_each_action_ends_as_it_says() {
    let mut rules = three_gateways();
    let elsewhere = FiveTuple { source: address("10.9.0.1"), ..packet("10.2.0.7") };
    rules.tunnel[2].selector.source = range("0.0.0.0/0");
    let walked = walk(&rules, &elsewhere, Rematch::Destination);
    assert_eq!((walked.transport, walked.rounds.len(), &walked.outcome), (None, 0, &Outcome::NoRule));
    rules.transport[0].action = TransportAction::Discard;
    let walked = walk(&rules, &packet("10.2.0.7"), Rematch::Destination);
    assert_eq!((walked.rounds.len(), &walked.outcome), (0, &Outcome::Discard));
    // A bypass is a stack of one action that always succeeds, whatever the tunnel rules say.
    rules.transport[0].action = TransportAction::Bypass;
    let walked = walk(&rules, &packet("10.2.0.7"), Rematch::Destination);
    assert_eq!(gateways(&walked.outcome), [""; 0]);
    // So is a permit that no tunnel rule speaks of, but they were asked.
    let rules = RuleSet { tunnel: Vec::new(), ..three_gateways() };
    let walked = walk(&rules, &packet("10.2.0.7"), Rematch::Destination);
    assert_eq!((walked.rounds.len(), gateways(&walked.outcome).len()), (1, 0));
}

#[test] // NT-3
fn each_field_of_the_five_tuple_decides_in_both_classes_of_rules() {
    let mut rules = three_gateways();
    let exact = Selector {
        protocol: Protocol::Is(6),
        source_port: PortRange::new(50000, 50000).unwrap(),
        destination_port: PortRange::new(443, 443).unwrap(),
        ..selector("10.1.0.1/32", "10.2.0.7/32")
    };
    rules.transport[0].selector = exact;
    rules.tunnel[2].selector = exact;
    let right = packet("10.2.0.7");
    let wrong = [
        FiveTuple { source: address("10.1.0.2"), ..right },
        FiveTuple { destination: address("10.2.0.8"), ..right },
        FiveTuple { protocol: 17, ..right },
        FiveTuple { source_port: Some(50001), ..right },
        FiveTuple { destination_port: Some(444), ..right },
    ];
    assert_eq!(gateways(&walk(&rules, &right, Rematch::Destination).outcome).len(), 3);
    let all = permit(selector("0.0.0.0/0", "0.0.0.0/0"));
    let permitted = RuleSet { transport: vec![all], tunnel: rules.tunnel.clone() };
    for packet in wrong {
        assert_eq!(walk(&rules, &packet, Rematch::Destination).outcome, Outcome::NoRule, "{packet}");
        assert_eq!(gateways(&walk(&permitted, &packet, Rematch::Destination).outcome).len(), 0, "{packet}");
    }
}

#[test] // V-12, NT-28, F-26, Q-16
fn a_rule_that_matches_its_own_gateway_is_one_level_and_worth_a_warning() {
    let all = selector("0.0.0.0/0", "0.0.0.0/0");
    let rules = RuleSet { transport: vec![permit(all)], tunnel: vec![tunnel(7, all, SG1)] };
    for destination in ["10.2.0.7", SG1] {
        let walked = walk(&rules, &packet(destination), Rematch::Destination);
        assert_eq!(gateways(&walked.outcome), [SG1]);
        assert_eq!(walked.rounds[1].next, Next::Stopped(Stop::OwnGateway));
        assert_eq!(walked.verdict(), Verdict::Protect(RuleId(7)));
    }
    let found = loops(&rules, Rematch::Destination);
    assert_eq!((found.own_gateway, found.circles, found.is_partial), (vec![RuleId(7)], vec![], false));
}

#[test] // NT-28, F-26, V-12
fn two_gateways_that_lead_to_each_other_are_a_loop_with_a_name() {
    let all = selector("0.0.0.0/0", "0.0.0.0/0");
    let mut rules = RuleSet {
        transport: vec![permit(all)],
        tunnel: vec![tunnel(0, selector("0.0.0.0/0", "192.0.2.1/32"), SG2), tunnel(1, all, SG1)],
    };
    let walked = walk(&rules, &packet("10.2.0.7"), Rematch::Destination);
    assert_eq!(walked.outcome, Outcome::Refused(StackError::Loop(address(SG1))));
    assert_eq!(walked.rounds.len(), 3);
    assert_eq!(walked.verdict(), Verdict::Protect(RuleId(1)));
    let found = loops(&rules, Rematch::Destination);
    assert_eq!(found.circles, [vec![RuleId(0), RuleId(1)]]);
    // Without the second gateway in its destination the default rule nests, and nothing is left to warn of but itself.
    let below = AddressRange::new(address("0.0.0.0"), address("198.51.100.1")).unwrap();
    rules.tunnel[1].selector.destination = below;
    assert_eq!(gateways(&walk(&rules, &packet("10.2.0.7"), Rematch::Destination).outcome), [SG1, SG2]);
    let found = loops(&rules, Rematch::Destination);
    assert_eq!((found.circles.len(), found.own_gateway), (0, vec![RuleId(1)]));
}

#[test] // NT-28, V-12
fn rules_whose_traffic_has_nothing_in_common_form_no_circle() {
    let mut rules = RuleSet {
        transport: Vec::new(),
        tunnel: vec![
            tunnel(0, selector("10.1.0.0/16", "192.0.2.1/32"), SG2),
            tunnel(1, selector("10.9.0.0/16", "198.51.100.2/32"), SG1),
        ],
    };
    assert_eq!(loops(&rules, Rematch::Destination), loops(&RuleSet::default(), Rematch::Destination));
    rules.tunnel[1].selector.source = range("10.0.0.0/8");
    assert_eq!(loops(&rules, Rematch::Destination).circles.len(), 1);
    // On the wire the source is ours, which neither speaks of.
    let local = |_| Some(address("192.0.2.99"));
    assert_eq!(loops(&rules, Rematch::Wire(&local)).circles.len(), 0);
    rules.tunnel.iter_mut().for_each(|rule| rule.selector.source = range("192.0.2.99/32"));
    assert_eq!(loops(&rules, Rematch::Wire(&local)).circles.len(), 1);
}

#[test] // NT-28
fn a_thousand_rules_of_which_each_leads_to_all_behind_it_form_no_circle() {
    let gateway = |at: u32| IpAddr::from(std::net::Ipv4Addr::from(0xc633_6400 + at));
    let rule = |at: u32| {
        let before = AddressRange::new(gateway(0), gateway(at.saturating_sub(1))).unwrap();
        let selector = Selector { destination: before, ..selector("0.0.0.0/0", "0.0.0.0/0") };
        tunnel(at, selector, &gateway(at).to_string())
    };
    let mut rules = RuleSet { transport: Vec::new(), tunnel: (0..1024).map(rule).collect() };
    rules.tunnel[0].selector.destination = AddressRange::single(gateway(0));
    let found = loops(&rules, Rematch::Destination);
    assert_eq!((found.circles.len(), found.is_partial), (0, false));
    // One arrow back, and all of them are within reach of a circle.
    rules.tunnel[1000].selector.destination = AddressRange::new(gateway(0), gateway(1001)).unwrap();
    let found = loops(&rules, Rematch::Destination);
    assert_eq!(found.circles, [vec![RuleId(1000), RuleId(1001)]]);
}

#[test] // NT-28
fn too_many_rules_through_gateways_are_not_looked_at_and_it_is_said() {
    let all = selector("0.0.0.0/0", "0.0.0.0/0");
    let rules = RuleSet { transport: Vec::new(), tunnel: (0..1025).map(|id| tunnel(id, all, SG1)).collect() };
    let found = loops(&rules, Rematch::Destination);
    assert_eq!((found.is_partial, found.own_gateway.len()), (true, 1025));
}

/// Rules 0 … `length` - 1: to 10.2.0.0/16 by gateway 1, to gateway 1 by gateway 2, and so on.
fn chain(length: u32) -> RuleSet {
    let gateway = |at: u32| format!("192.0.2.{at}");
    let destination =
        |at: u32| if at == 0 { "10.2.0.0/16".to_owned() } else { format!("{}/32", gateway(at)) };
    let rule = |at: u32| tunnel(at, selector("10.1.0.0/16", &destination(at)), &gateway(at + 1));
    RuleSet {
        transport: vec![permit(selector("10.1.0.0/16", "10.2.0.0/16"))],
        tunnel: (0..length).map(rule).collect(),
    }
}

#[test] // NT-28, F-26
fn a_stack_may_be_as_deep_as_the_limit_and_not_one_deeper() {
    for depth in 0..12 {
        let walked = walk(&chain(depth), &packet("10.2.0.7"), Rematch::Destination);
        if depth as usize <= STACK_DEPTH_MAX {
            assert_eq!(gateways(&walked.outcome).len(), depth as usize);
        } else {
            assert_eq!(walked.outcome, Outcome::Refused(StackError::TooDeep));
            assert_eq!(walked.rounds.len(), STACK_DEPTH_MAX + 1);
        }
    }
}

#[test] // NT-35
fn a_gateway_that_must_be_discovered_ends_the_walk_and_says_in_front_of_what() {
    let mut rules = three_gateways();
    rules.tunnel[1].gateway = Gateway::Discover;
    let walked = walk(&rules, &packet("10.2.0.7"), Rematch::Destination);
    assert_eq!(gateways(&walked.outcome), [SG3]);
    let Outcome::Discover { rule, destination, .. } = walked.outcome else { panic!("{walked:?}") };
    assert_eq!((rule, destination), (RuleId(1), address(SG3)));
    rules.tunnel[2].gateway = Gateway::Discover;
    let walked = walk(&rules, &packet("10.2.0.7"), Rematch::Destination);
    assert_eq!(walked.verdict(), Verdict::Protect(RuleId(0)));
    assert_eq!(loops(&rules, Rematch::Destination).circles.len(), 0);
}

#[test] // NT-7
fn by_the_letter_a_rule_for_a_port_matches_at_every_level_and_on_the_wire_at_none() {
    let mut rules = three_gateways();
    rules.tunnel[1].selector.protocol = Protocol::Is(6);
    rules.tunnel[1].selector.destination_port = PortRange::new(443, 443).unwrap();
    let https = packet("10.2.0.7");
    let dns = FiveTuple { protocol: 17, destination_port: Some(53), ..https };
    assert_eq!(gateways(&walk(&rules, &https, Rematch::Destination).outcome), [SG3, SG2, SG1]);
    assert_eq!(gateways(&walk(&rules, &dns, Rematch::Destination).outcome), [SG3]);
    let local = |_| Some(address("10.1.255.1"));
    assert_eq!(gateways(&walk(&rules, &https, Rematch::Wire(&local)).outcome), [SG3]);
    // What the wire shows is ESP from our own address.
    rules.tunnel[1].selector =
        Selector { protocol: Protocol::Is(50), ..selector("10.1.255.1/32", "203.0.113.3/32") };
    assert_eq!(gateways(&walk(&rules, &https, Rematch::Destination).outcome), [SG3]);
    let walked = walk(&rules, &https, Rematch::Wire(&local));
    assert_eq!(gateways(&walked.outcome), [SG3, SG2, SG1]);
    // All tunnels start here, whatever lies between.
    for round in &walked.rounds[1..] {
        assert_eq!((round.asked.source, round.asked.protocol), (address("10.1.255.1"), 50));
    }
    let unknown = walk(&rules, &https, Rematch::Wire(&|_| None));
    assert_eq!(unknown.outcome, Outcome::Refused(StackError::NoSource(address(SG3))));
}

#[test] // NT-25, Q-19
fn a_tunnel_of_another_family_is_the_last_level_by_the_letter_and_nests_on_the_wire() {
    let inner = selector("2001:db8:1::/48", "2001:db8:2::/48");
    let mut rules = three_gateways();
    rules.transport.push(permit(inner));
    rules.tunnel.push(tunnel(9, inner, SG3));
    let packet = FiveTuple {
        source: address("2001:db8:1::1"),
        destination: address("2001:db8:2::1"),
        ..packet("10.2.0.7")
    };
    let walked = walk(&rules, &packet, Rematch::Destination);
    assert_eq!(gateways(&walked.outcome), [SG3]);
    assert_eq!(walked.rounds[1].next, Next::Stopped(Stop::OtherFamily));
    let local = |_| Some(address("10.1.255.1"));
    assert_eq!(gateways(&walk(&rules, &packet, Rematch::Wire(&local)).outcome), [SG3, SG2, SG1]);
}

#[test] // F-24, F-30, NT-8, RFC 4301 §7
fn a_later_fragment_does_not_take_a_shallower_stack_than_its_first_one() {
    let mut rules = three_gateways();
    rules.tunnel[1].selector.protocol = Protocol::Is(6);
    rules.tunnel[1].selector.destination_port = PortRange::new(443, 443).unwrap();
    let whole = packet("10.2.0.7");
    let later = FiveTuple { source_port: None, destination_port: None, ..whole };
    assert_eq!(gateways(&walk(&rules, &whole, Rematch::Destination).outcome), [SG3, SG2, SG1]);
    let walked = walk(&rules, &later, Rematch::Destination);
    assert_eq!(walked.outcome, Outcome::Discard);
    assert_eq!(walked.rounds[1].next, Next::Stopped(Stop::HiddenPorts));
    // A rule that would only lead to where the packet goes already decides nothing.
    rules.tunnel[1].gateway = SG3.parse().unwrap();
    assert_eq!(gateways(&walk(&rules, &later, Rematch::Destination).outcome), [SG3]);
}

// The model: recursion instead of rounds, all rules that match instead of the first, fields compared by hand.

const WHOLE: &str = "whole";

fn matches_by_hand(selector: &Selector, asked: &FiveTuple) -> bool {
    let inside = |first: IpAddr, last: IpAddr, address: IpAddr| match (first, last, address) {
        (IpAddr::V4(first), IpAddr::V4(last), IpAddr::V4(address)) => {
            first.to_bits() <= address.to_bits() && address.to_bits() <= last.to_bits()
        }
        _ => false,
    };
    let port = |range: PortRange, port: Option<u16>| match port {
        Some(port) => (range.first()..=range.last()).contains(&port),
        None => range.first() == 0 && range.last() == u16::MAX,
    };
    inside(selector.source.first(), selector.source.last(), asked.source)
        && inside(selector.destination.first(), selector.destination.last(), asked.destination)
        && (selector.protocol == Protocol::Any || selector.protocol == Protocol::Is(asked.protocol))
        && port(selector.source_port, asked.source_port)
        && port(selector.destination_port, asked.destination_port)
}

/// With every pair of ports that it could have had, as far as the rules of these tests can tell them apart.
fn unhidden(asked: &FiveTuple) -> Vec<FiveTuple> {
    let ports = |port: Option<u16>| match port {
        None if asked.protocol == 6 || asked.protocol == 17 => vec![Some(80), Some(443), Some(9)],
        port => vec![port],
    };
    let mut all = Vec::new();
    for source_port in ports(asked.source_port) {
        for destination_port in ports(asked.destination_port) {
            all.push(FiveTuple { source_port, destination_port, ..*asked });
        }
    }
    all
}

fn may_match_by_hand(selector: &Selector, asked: &FiveTuple) -> bool {
    unhidden(asked).iter().any(|packet| matches_by_hand(selector, packet))
}

/// What a packet is once it goes to a gateway.
type Outer<'a> = &'a dyn Fn(&FiveTuple, IpAddr) -> FiveTuple;

/// The gateways above `path`, and how it ended.
fn levels(
    rules: &RuleSet,
    asked: &FiveTuple,
    path: &[IpAddr],
    outer: Outer<'_>,
) -> (Vec<IpAddr>, &'static str) {
    let all: Vec<_> = rules.tunnel.iter().filter(|rule| matches_by_hand(&rule.selector, asked)).collect();
    let Some(rule) = all.first() else {
        let here = path.last().copied();
        let decides = |rule: &&TunnelRule| here.is_none() || rule.gateway.address() != here;
        let hidden = rules.tunnel.iter().filter(decides).any(|rule| may_match_by_hand(&rule.selector, asked));
        return (path.to_vec(), if hidden { "discard" } else { WHOLE });
    };
    let Gateway::Address(gateway) = rule.gateway else { return (path.to_vec(), "discover") };
    match path.iter().rposition(|seen| *seen == gateway) {
        Some(at) if at + 1 == path.len() => (path.to_vec(), WHOLE),
        Some(_) => (path.to_vec(), "loop"),
        None if path.len() == 8 => (path.to_vec(), "deep"),
        None => {
            let above = [path, &[gateway]].concat();
            levels(rules, &outer(asked, gateway), &above, outer)
        }
    }
}

fn by_the_letter(asked: &FiveTuple, gateway: IpAddr) -> FiveTuple {
    FiveTuple { destination: gateway, ..*asked }
}

/// ESP from the one address that is ours in the small world of these tests.
fn on_the_wire(_: &FiveTuple, gateway: IpAddr) -> FiveTuple {
    FiveTuple {
        source: small(3),
        destination: gateway,
        protocol: 50,
        source_port: None,
        destination_port: None,
    }
}

fn model(rules: &RuleSet, packet: &FiveTuple, outer: Outer<'_>) -> (Vec<IpAddr>, &'static str) {
    let all: Vec<_> =
        rules.transport.iter().enumerate().filter(|(_, r)| matches_by_hand(&r.selector, packet)).collect();
    match all.first().map(|(at, rule)| (*at, rule.action)) {
        None => (Vec::new(), "no rule"),
        Some((_, TransportAction::Discard)) => (Vec::new(), "discard"),
        Some((_, TransportAction::Permit | TransportAction::Protect(_))) => levels(rules, packet, &[], outer),
        Some((at, TransportAction::Bypass)) => {
            let permits = rules.transport[..at].iter().any(|rule| {
                rule.action == TransportAction::Permit && may_match_by_hand(&rule.selector, packet)
            });
            let protects = rules.tunnel.iter().any(|rule| may_match_by_hand(&rule.selector, packet));
            (Vec::new(), if permits && protects { "discard" } else { WHOLE })
        }
    }
}

fn summary(outcome: &Outcome) -> (Vec<IpAddr>, &'static str) {
    let tunnels = |pending: &warren_policy::PendingStack| {
        pending.bottom_to_top().iter().filter_map(Action::gateway).collect::<Vec<_>>()
    };
    match outcome {
        Outcome::NoRule => (Vec::new(), "no rule"),
        Outcome::Discard => (Vec::new(), "discard"),
        Outcome::Stack(pending) => (tunnels(pending), WHOLE),
        Outcome::Discover { pending, .. } => (tunnels(pending), "discover"),
        Outcome::Refused(StackError::Loop(_)) => (Vec::new(), "loop"),
        Outcome::Refused(StackError::TooDeep) => (Vec::new(), "deep"),
        Outcome::Refused(StackError::NoSource(_)) => (Vec::new(), "source"),
    }
}

fn small(at: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, at])
}

fn small_range() -> impl Strategy<Value = AddressRange> {
    prop_oneof![
        3 => (0u8..24).prop_map(|at| AddressRange::single(small(at))),
        1 => (0u8..24, 0u8..24).prop_map(|(a, b)| AddressRange::new(small(a.min(b)), small(a.max(b))).unwrap()),
    ]
}

fn small_selector(destination: impl Strategy<Value = AddressRange>) -> impl Strategy<Value = Selector> {
    let source = prop_oneof![3 => Just(AddressRange::any(false)), 1 => small_range()];
    let protocol =
        prop_oneof![4 => Just(Protocol::Any), 1 => Just(Protocol::Is(6)), 1 => Just(Protocol::Is(17))];
    let port = || {
        prop_oneof![
            6 => Just(PortRange::ANY),
            1 => Just(PortRange::new(443, 443).unwrap()),
            1 => Just(PortRange::new(80, 443).unwrap())
        ]
    };
    (source, destination, protocol, port(), port()).prop_map(
        |(source, destination, protocol, source_port, destination_port)| Selector {
            source,
            destination,
            protocol,
            source_port,
            destination_port,
        },
    )
}

fn rule_sets() -> impl Strategy<Value = RuleSet> {
    let action = prop_oneof![
        6 => Just(TransportAction::Permit),
        1 => Just(TransportAction::Bypass),
        1 => Just(TransportAction::Discard)
    ];
    let wide = prop_oneof![3 => Just(AddressRange::any(false)), 1 => small_range()];
    let transport = (small_selector(wide), action).prop_map(|(selector, action)| TransportRule {
        name: String::new(),
        selector,
        action,
    });
    let gateway =
        prop_oneof![12 => (0u8..24).prop_map(|at| Gateway::Address(small(at))), 1 => Just(Gateway::Discover)];
    let tunnel = (small_selector(small_range()), gateway);
    (prop::collection::vec(transport, 0..4), prop::collection::vec(tunnel, 0..40)).prop_map(
        |(transport, tunnels)| {
            let tunnel = tunnels.into_iter().enumerate().map(|(at, (selector, gateway))| TunnelRule {
                id: RuleId(at as u32),
                name: format!("t{at}"),
                selector,
                peer: PeerId(0),
                gateway,
            });
            RuleSet { transport, tunnel: tunnel.collect() }
        },
    )
}

fn packets() -> impl Strategy<Value = FiveTuple> {
    let port = || prop_oneof![4 => prop::sample::select(vec![Some(80), Some(443), Some(9)]), 1 => Just(None)];
    (0u8..24, 0u8..24, prop::sample::select(vec![6, 17]), port(), port()).prop_map(
        |(source, destination, protocol, source_port, destination_port)| FiveTuple {
            source: small(source),
            destination: small(destination),
            protocol,
            source_port,
            destination_port,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test] // NT-3, NT-4, NT-5, NT-6, NT-7, NT-8, NT-28, Q-16, Q-17, Q-19
    fn the_walk_ends_where_the_model_does(rules in rule_sets(), packet in packets()) {
        let ours = |_| Some(small(3));
        let readings: [(Rematch<'_>, Outer<'_>); 2] =
            [(Rematch::Destination, &by_the_letter), (Rematch::Wire(&ours), &on_the_wire)];
        for (rematch, outer) in readings {
            let walked = walk(&rules, &packet, rematch);
            let (path, end) = model(&rules, &packet, outer);
            let said = summary(&walked.outcome);
            prop_assert_eq!(said.1, end);
            if matches!(end, WHOLE | "discover") {
                prop_assert_eq!(&said.0, &path);
            }
            let pushed = walked.rounds.iter().filter(|round| matches!(round.next, Next::Pushed(_)));
            prop_assert_eq!(pushed.count(), path.len());
            prop_assert!(walked.rounds.len() <= STACK_DEPTH_MAX + 1);
        }
    }

    #[test] // NT-4, NT-6, F-24
    fn the_first_level_is_what_evaluate_says_of_every_rule_set(rules in rule_sets(), packet in packets()) {
        let walked = walk(&rules, &packet, Rematch::Destination);
        prop_assert_eq!(walked.verdict(), evaluate(&rules, &packet));
    }

    #[test] // NT-6, NT-8
    fn where_no_gateway_is_matched_by_another_rule_the_stack_is_what_evaluate_says(
        rules in rule_sets(),
        packet in packets(),
    ) {
        // Gateways that no tunnel rule speaks of.
        let away = |rule: &TunnelRule| {
            let Gateway::Address(IpAddr::V4(gateway)) = rule.gateway else { return rule.clone() };
            let gateway = IpAddr::from([192, 0, 2, gateway.octets()[3]]);
            TunnelRule { gateway: gateway.into(), ..rule.clone() }
        };
        let rules = RuleSet { tunnel: rules.tunnel.iter().map(away).collect(), ..rules };
        let verdict = match walk(&rules, &packet, Rematch::Destination).outcome {
            Outcome::NoRule => Verdict::NoRule,
            Outcome::Discard => Verdict::Discard,
            Outcome::Discover { rule, .. } => Verdict::Protect(rule),
            Outcome::Stack(pending) => match pending.bottom_to_top() {
                [_] => Verdict::Clear,
                [_, Action::Tunnel { rule, .. }] => Verdict::Protect(*rule),
                other => panic!("{other:?}"),
            },
            Outcome::Refused(error) => panic!("{error}"),
        };
        prop_assert_eq!(verdict, evaluate(&rules, &packet));
    }

    #[test] // NT-10
    fn what_a_round_says_of_the_rules_is_true(rules in rule_sets(), packet in packets()) {
        let walked = walk(&rules, &packet, Rematch::Destination);
        for round in &walked.rounds {
            let tried = round.matched.map_or(rules.tunnel.len(), |matched| matched.at);
            let missed = rules.tunnel[..tried].iter().all(|rule| !matches_by_hand(&rule.selector, &round.asked));
            prop_assert!(missed, "{:?}", round);
            if let Some(matched) = round.matched {
                prop_assert!(matches_by_hand(&rules.tunnel[matched.at].selector, &round.asked));
                prop_assert_eq!(rules.tunnel[matched.at].id, matched.rule);
            }
        }
        let stops = walked.rounds.iter().filter(|round| matches!(round.next, Next::Stopped(_))).count();
        prop_assert_eq!(stops, usize::from(!walked.rounds.is_empty()));
    }

    #[test] // V-12, NT-28, F-26
    fn what_the_walk_refuses_as_a_loop_was_found_without_a_packet(rules in rule_sets(), packet in packets()) {
        let ours = |_| Some(small(3));
        let wire = walk(&rules, &packet, Rematch::Wire(&ours)).outcome;
        let is_loop = matches!(wire, Outcome::Refused(StackError::Loop(_)));
        prop_assert!(!is_loop || !loops(&rules, Rematch::Wire(&ours)).circles.is_empty());
        let walked = walk(&rules, &packet, Rematch::Destination);
        let found = loops(&rules, Rematch::Destination);
        match walked.outcome {
            Outcome::Refused(StackError::Loop(_)) => prop_assert!(!found.circles.is_empty()),
            _ if walked.rounds.last().is_some_and(|round| round.next == Next::Stopped(Stop::OwnGateway)) => {
                let first = walked.rounds.last().and_then(|round| round.matched).unwrap();
                // Two rules to one gateway end there as well; only a rule that matches its own one is listed.
                let pushed = walked.rounds[walked.rounds.len() - 2].matched.unwrap();
                prop_assert!(first.rule != pushed.rule || found.own_gateway.contains(&first.rule));
            }
            _ => {}
        }
        for circle in &found.circles {
            prop_assert!(circle.len() > 1);
            for (at, rule) in circle.iter().enumerate() {
                let rule = rules.tunnel_rule(*rule).unwrap();
                let next = rules.tunnel_rule(circle[(at + 1) % circle.len()]).unwrap();
                prop_assert!(next.selector.destination.contains(rule.gateway.address().unwrap()));
            }
        }
    }
}
