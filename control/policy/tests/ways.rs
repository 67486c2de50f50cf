//! The way to each gateway against the walk of figure 7, packet by packet.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;
use warren_policy::limits::STACK_DEPTH_MAX;
use warren_policy::stack::walk_within;
use warren_policy::ways::Known;
use warren_policy::{
    Action, AddressRange, FiveTuple, Gateway, Outcome, Outer, PeerId, PortRange, Protection, Protocol,
    Rematch, Rematching, RuleId, RuleSet, Selector, TransportAction, TransportRule, TunnelRule, WayError,
    Ways, ways,
};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(text: &str) -> AddressRange {
    match text.split_once('/') {
        Some((network, length)) => {
            AddressRange::from_prefix(address(network), length.parse().unwrap()).unwrap()
        }
        None => AddressRange::single(address(text)),
    }
}

fn selector(source: &str, destination: &str) -> Selector {
    Selector::between(range(source), range(destination)).unwrap()
}

fn tunnel(id: u32, selector: Selector, gateway: &str) -> TunnelRule {
    let gateway = gateway.parse().unwrap();
    TunnelRule { id: RuleId(id), name: format!("t{id}"), selector, peer: PeerId(id), gateway }
}

fn protect(id: u32, source: &str, host: &str) -> TransportRule {
    let protection = Protection { rule: RuleId(id), peer: PeerId(id), host: address(host) };
    let action = TransportAction::Protect(protection);
    TransportRule { name: "own".to_owned(), selector: selector(source, host), action }
}

fn permit_all() -> Vec<TransportRule> {
    let all = |family: &str| TransportRule {
        name: "all".to_owned(),
        selector: selector(family, family),
        action: TransportAction::Permit,
    };
    vec![all("0.0.0.0/0"), all("::/0")]
}

const OURS: &str = "192.0.2.1";
const SG1: &str = "192.0.2.254";
const SG2: &str = "198.51.100.2";
const SG3: &str = "203.0.113.3";
const BOTH: [Rematching; 2] = [Rematching::Destination, Rematching::Wire];

/// Of rules whose peers are all met from one address of ours.
fn found(rules: &RuleSet, rematching: Rematching) -> Ways {
    ways(rules, &Known { rematching, local: &|_| Some(address(OURS)), within: &|_| None })
}

fn names(outers: &[Outer]) -> Vec<u32> {
    outers.iter().map(|outer| outer.rule.0).collect()
}

/// Rules 0 to 2: to the sites by SG3, to that by SG2, to that by SG1, in an order that helps nobody.
fn three_gateways() -> RuleSet {
    let to = |gateway: &str| selector("0.0.0.0/0", gateway);
    let tunnel = vec![
        tunnel(2, to(SG2), SG1),
        tunnel(1, to(SG3), SG2),
        tunnel(0, selector("0.0.0.0/0", "10.2.0.0/16"), SG3),
    ];
    RuleSet { transport: permit_all(), tunnel }
}

fn errors(rules: &RuleSet, rematching: Rematching) -> Vec<WayError> {
    found(rules, rematching).errors().collect()
}

#[test] // V-9, NT-7, NT-8, NT-9, Q-19
fn each_gateway_has_the_ways_of_those_in_front_of_it_around_it() {
    for rematching in BOTH {
        let ways = found(&three_gateways(), rematching);
        let to = |gateway: &str| ways.to(address(OURS), address(gateway)).unwrap();
        assert_eq!(names(&to(SG3).levels), [1, 2], "{rematching:?}");
        assert_eq!(names(&to(SG2).levels), [2]);
        assert!(to(SG1).levels.is_empty() && to("10.2.0.1").levels.is_empty());
        assert_eq!(ways.nested().count(), 2);
        assert_eq!(ways.errors().count(), 0);
        let (peers, gateways): (Vec<_>, Vec<_>) =
            to(SG3).levels.iter().map(|outer| (outer.peer.0, outer.gateway.to_string())).unzip();
        assert_eq!((peers, gateways), (vec![1, 2], vec![SG2.to_owned(), SG1.to_owned()]));
        // From another address of ours nothing was asked for.
        assert!(ways.to(address("192.0.2.2"), address(SG3)).unwrap().levels.is_empty());
    }
    let flat = RuleSet { tunnel: vec![three_gateways().tunnel.remove(2)], ..RuleSet::default() };
    assert!(found(&flat, Rematching::Destination).is_empty());
}

#[test] // NT-7, NT-24, Q-18, Q-19
fn a_level_carries_esp_and_ike_between_our_address_and_the_gateway_inside() {
    let mut rules = three_gateways();
    // By the letter the source stays the host's, and the negotiated one must be ours.
    rules.tunnel.iter_mut().for_each(|rule| rule.selector.source = range("10.1.0.0/16"));
    let hosts = found(&rules, Rematching::Destination);
    let around = hosts.to(address(OURS), address(SG3)).unwrap();
    assert_eq!(around.levels[0].selector, selector(OURS, SG3));
    assert!(around.levels.iter().all(|outer| !outer.is_own));
    // On the wire nothing of the hosts' is left, and the same rules nest nothing.
    assert!(found(&rules, Rematching::Wire).is_empty());
    // A rule that says it all is one tunnel for both.
    let any = found(&three_gateways(), Rematching::Destination);
    let around = any.to(address(OURS), address(SG3)).unwrap();
    assert!(around.levels.iter().all(|outer| outer.is_own));
    assert_eq!(around.levels[0].selector, selector("0.0.0.0/0", SG3));
    // A rule for a port matches at every level (G-1), and what goes through has none.
    let mut https = three_gateways();
    let port = PortRange::new(443, 443).unwrap();
    for rule in &mut https.tunnel {
        rule.selector = Selector { protocol: Protocol::Is(6), destination_port: port, ..rule.selector };
    }
    let ways = found(&https, Rematching::Destination);
    assert_eq!(ways.to(address(OURS), address(SG3)).unwrap().levels[0].selector, selector(OURS, SG3));
}

#[test] // NT-25, Q-19
fn a_tunnel_of_another_family_is_the_outermost_by_the_letter_and_nests_on_the_wire() {
    let mut rules = three_gateways();
    rules.tunnel[2].selector = selector("2001:db8:1::/48", "2001:db8:2::/48");
    assert!(
        found(&rules, Rematching::Destination).to(address(OURS), address(SG3)).unwrap().levels.is_empty()
    );
    let wire = found(&rules, Rematching::Wire);
    assert_eq!(names(&wire.to(address(OURS), address(SG3)).unwrap().levels), [1, 2]);
    // Both families to one gateway are two ways by the letter.
    rules.tunnel.push(tunnel(3, selector("0.0.0.0/0", "10.2.0.0/16"), SG3));
    let gateway = address(SG3);
    let two = WayError::TwoWays { rule: RuleId(3), gateway, other: RuleId(0) };
    assert_eq!(errors(&rules, Rematching::Destination), [two]);
    assert_eq!(errors(&rules, Rematching::Wire), []);
}

#[test] // V-12, NT-28, F-26
fn a_rule_that_takes_what_goes_to_its_own_gateway_carries_nothing_of_it() {
    for rematching in BOTH {
        let all = RuleSet {
            transport: permit_all(),
            tunnel: vec![tunnel(0, selector("0.0.0.0/0", "0.0.0.0/0"), SG1)],
        };
        assert!(found(&all, rematching).is_empty());
        // Nor where another rule would lead on behind it; in front of it, it does.
        let mut rules = three_gateways();
        rules.tunnel.insert(0, tunnel(7, selector("0.0.0.0/0", "203.0.113.0/24"), SG3));
        let ways = found(&rules, rematching);
        assert!(ways.to(address(OURS), address(SG3)).unwrap().levels.is_empty(), "{rematching:?}");
        rules.tunnel.rotate_left(1);
        let ways = found(&rules, rematching);
        assert_eq!(names(&ways.to(address(OURS), address(SG3)).unwrap().levels), [1, 2]);
        assert_eq!(ways.errors().count(), 0);
    }
}

#[test] // NT-28, F-26
fn gateways_that_lead_to_each_other_are_refused_for_each_of_them() {
    for rematching in BOTH {
        let mut rules = three_gateways();
        rules.tunnel.push(tunnel(3, selector("0.0.0.0/0", SG1), SG3));
        let ways = found(&rules, rematching);
        for gateway in [SG1, SG2, SG3] {
            let error = ways.to(address(OURS), address(gateway)).unwrap_err();
            assert!(matches!(error, WayError::Loop { .. }), "{gateway} {error:?}");
        }
        assert_eq!(ways.errors().count(), 3);
        assert_eq!(ways.nested().count(), 0);
    }
}

#[test] // NT-28, F-26
fn levels_inside_each_other_are_counted_with_the_innermost() {
    let gateway = |at: usize| format!("198.51.100.{at}");
    let rule = |at: usize| tunnel(at as u32, selector("0.0.0.0/0", &gateway(at)), &gateway(at + 1));
    for rematching in BOTH {
        for depth in 1..=STACK_DEPTH_MAX + 2 {
            let mut rules = RuleSet { transport: permit_all(), tunnel: (0..depth).map(rule).collect() };
            let is_too_deep = |rules: &RuleSet| {
                errors(rules, rematching).iter().any(|error| matches!(error, WayError::TooDeep { .. }))
            };
            assert_eq!(is_too_deep(&rules), depth > STACK_DEPTH_MAX, "{depth}");
            // What is protected from end to end inside is one more.
            rules.transport.insert(0, protect(99, OURS, &gateway(0)));
            assert_eq!(is_too_deep(&rules), depth + 1 > STACK_DEPTH_MAX, "{depth}");
        }
    }
}

#[test] // NT-7, F-26
fn a_rule_that_takes_only_a_part_of_what_goes_to_a_gateway_is_refused_by_the_letter() {
    let narrow = [
        Selector { source: range("10.1.0.0/24"), ..selector("0.0.0.0/0", SG3) },
        Selector { protocol: Protocol::Is(6), ..selector("0.0.0.0/0", SG3) },
        Selector { destination_port: PortRange::new(1, 443).unwrap(), ..selector("0.0.0.0/0", SG3) },
        Selector { source_port: PortRange::new(1, u16::MAX).unwrap(), ..selector("0.0.0.0/0", SG3) },
    ];
    let gateway = address(SG3);
    for part in narrow {
        let mut rules = three_gateways();
        rules.tunnel[1].selector = part;
        let ambiguous = WayError::Ambiguous { rule: RuleId(0), gateway, other: RuleId(1) };
        assert_eq!(errors(&rules, Rematching::Destination), [ambiguous], "{part}");
        // The rest in a rule of its own does not help: those would be two tunnels.
        rules.tunnel.push(tunnel(4, selector("0.0.0.0/0", SG3), SG2));
        assert_eq!(errors(&rules, Rematching::Destination), [ambiguous], "{part}");
        // In front of it, it does: then that one takes all.
        rules.tunnel.rotate_right(1);
        assert_eq!(errors(&rules, Rematching::Destination), [], "{part}");
    }
    // A range that is no prefix can take all of another one.
    let mut rules = three_gateways();
    let some = AddressRange::new(address("10.1.0.1"), address("10.1.0.9")).unwrap();
    rules.tunnel[2].selector.source = some;
    rules.tunnel[1].selector.source = AddressRange::new(address("10.1.0.0"), address("10.1.0.10")).unwrap();
    assert_eq!(errors(&rules, Rematching::Destination), []);
}

#[test] // NT-7, F-26
fn two_rules_to_one_gateway_agree_on_its_way_whichever_comes_first() {
    let mut rules = three_gateways();
    // Only what comes from 10.1.0.0/16 is taken on by the second gateway, and two rules lead to the third.
    rules.tunnel[1].selector.source = range("10.1.0.0/16");
    rules.tunnel[2].selector.source = range("10.1.0.0/16");
    assert_eq!(errors(&rules, Rematching::Destination), []);
    rules.tunnel.push(tunnel(3, selector("10.7.0.0/16", "10.2.0.0/16"), SG3));
    let gateway = address(SG3);
    for _ in 0..rules.tunnel.len() {
        let [WayError::TwoWays { rule, gateway: to, other }] = errors(&rules, Rematching::Destination)[..]
        else {
            panic!("{:?}", errors(&rules, Rematching::Destination))
        };
        assert_eq!((to, BTreeSet::from([rule, other])), (gateway, BTreeSet::from([RuleId(0), RuleId(3)])));
        rules.tunnel.rotate_right(1);
    }
    // What leads through a gateway without a way has none either.
    rules.tunnel.push(tunnel(5, selector("0.0.0.0/0", "10.5.0.0/16"), "10.2.0.9"));
    rules.tunnel.push(tunnel(6, selector("10.1.0.0/16", "10.2.0.9"), SG3));
    let ways = found(&rules, Rematching::Destination);
    assert!(ways.to(address(OURS), address("10.2.0.9")).is_err());
}

#[test] // F-26
fn what_takes_esp_takes_ike_too_or_is_refused_on_the_wire() {
    let gateway = address(SG3);
    let mut rules = three_gateways();
    rules.tunnel[1].selector.protocol = Protocol::Is(50);
    let without = |rule: u32| [WayError::WithoutIke { rule: RuleId(rule), gateway }];
    assert_eq!(errors(&rules, Rematching::Wire), without(1));
    // Some of IKE is another rule's.
    for port in [500, 4500] {
        let mut rules = three_gateways();
        let ports = PortRange::new(port, port).unwrap();
        let ike =
            Selector { protocol: Protocol::Is(17), destination_port: ports, ..selector("0.0.0.0/0", SG3) };
        rules.tunnel.insert(0, tunnel(8, ike, SG1));
        assert_eq!(errors(&rules, Rematching::Wire), without(1));
    }
    // Another port is none of its business.
    let ports = PortRange::new(53, 53).unwrap();
    let dns = Selector { protocol: Protocol::Is(17), destination_port: ports, ..selector("0.0.0.0/0", SG3) };
    let mut rules = three_gateways();
    rules.tunnel.insert(0, tunnel(8, dns, SG1));
    assert_eq!(errors(&rules, Rematching::Wire), []);
}

#[test] // NT-35
fn an_outer_level_is_discovered_by_what_is_on_the_wire_and_not_by_the_letter() {
    let mut rules = three_gateways();
    rules.tunnel[0].gateway = Gateway::Discover;
    let ways = found(&rules, Rematching::Wire);
    let way = ways.to(address(OURS), address(SG3)).unwrap();
    assert_eq!((names(&way.levels), way.discovers), (vec![1], Some(RuleId(2))));
    let way = ways.to(address(OURS), address(SG2)).unwrap();
    assert_eq!((names(&way.levels), way.discovers), (vec![], Some(RuleId(2))));
    let gateway = address(SG2);
    let unnamed = WayError::DiscoverByTheLetter { rule: RuleId(2), gateway };
    assert_eq!(errors(&rules, Rematching::Destination), [unnamed]);
    // What it found is a rule in front of it, and it does not look for the way there.
    let found_rule = tunnel(9, selector("0.0.0.0/0", SG2), "198.51.100.9");
    rules.tunnel[0].selector.destination = range("198.51.100.0/24");
    rules.tunnel.insert(0, found_rule);
    for rematching in BOTH {
        let within = |rule| (rule == RuleId(9)).then_some(RuleId(2));
        let known = Known { rematching, local: &|_| Some(address(OURS)), within: &within };
        let found = ways_of(&rules, &known);
        assert_eq!(found.errors().collect::<Vec<_>>(), []);
        assert_eq!(names(&found.to(address(OURS), address(SG3)).unwrap().levels), [1, 9]);
        assert!(found.to(address(OURS), address("198.51.100.9")).unwrap().levels.is_empty());
    }
    let unknown = errors(&rules, Rematching::Destination);
    assert!(unknown.iter().any(|error| matches!(error, WayError::DiscoverByTheLetter { .. })), "{unknown:?}");
}

fn ways_of(rules: &RuleSet, known: &Known<'_>) -> Ways {
    ways(rules, known)
}

#[test] // NT-7, NT-19, Q-17
fn what_is_protected_from_end_to_end_shares_the_tunnels_of_what_passes_through() {
    for rematching in BOTH {
        let mut rules = three_gateways();
        rules.transport.insert(0, protect(3, OURS, "10.2.0.7"));
        let ways = found(&rules, rematching);
        let way = ways.to(address(OURS), address("10.2.0.7")).unwrap();
        assert_eq!(names(&way.levels), [0, 1, 2]);
        assert!(way.levels.iter().all(|outer| outer.is_own));
        assert_eq!(ways.errors().count(), 0);
        // The host may be a gateway too. Its tunnel is then not around its own SAs.
        rules.tunnel.push(tunnel(4, selector("0.0.0.0/0", "10.0.0.0/8"), "10.2.0.7"));
        assert_eq!(errors(&rules, rematching), []);
        let packet = FiveTuple {
            source: address(OURS),
            destination: address("10.2.0.7"),
            protocol: 6,
            source_port: Some(50000),
            destination_port: Some(443),
        };
        rules.tunnel.rotate_right(1);
        let local = |_| Some(address(OURS));
        let rematch = match rematching {
            Rematching::Destination => Rematch::Destination,
            Rematching::Wire => Rematch::Wire(&local),
        };
        let walked = walk_within(&rules, &packet, rematch, &|_| None);
        let Outcome::Stack(pending) = walked.outcome else { panic!("{walked:?}") };
        assert_eq!(pending.depth(), 0);
        assert!(found(&rules, rematching).to(address(OURS), address("10.2.0.7")).unwrap().levels.is_empty());
    }
}

#[test]
fn without_an_address_of_ours_nobody_says_what_is_around() {
    let known = |rematching| Known {
        rematching,
        local: &|peer| (peer.0 != 1).then(|| address(OURS)),
        within: &|_| None,
    };
    for rematching in BOTH {
        let ways = ways_of(&three_gateways(), &known(rematching));
        let gateway = address(SG3);
        assert!(matches!(ways.to(address(OURS), gateway), Err(WayError::NoSource { rule: RuleId(1), .. })));
        // A gateway that nothing leads on from needs none.
        let flat = RuleSet { tunnel: vec![three_gateways().tunnel.remove(1)], ..RuleSet::default() };
        assert!(ways_of(&flat, &known(rematching)).is_empty());
    }
}

/// Address number `at` of a block that is large enough for all tests here.
fn at(block: u32, at: u32) -> String {
    IpAddr::from(std::net::Ipv4Addr::from(block + at)).to_string()
}

#[test] // NT-28
fn the_ways_of_a_hundred_thousand_rules_are_found_soon_or_given_up() {
    let (hosts, gateways, sites) = (0x0a00_0000, 0xc612_0000, 0x6440_0000);
    let any = "0.0.0.0/0";
    let many = |rule: &dyn Fn(u32) -> TunnelRule| RuleSet {
        transport: Vec::new(),
        tunnel: (0..100_000).map(rule).collect(),
    };
    let named = |id: u32, peer: u32, selector, gateway: &str| TunnelRule {
        peer: PeerId(peer),
        ..tunnel(id, selector, gateway)
    };
    // Each site its own gateway, and one rule behind all others takes all gateways on.
    let mut one_for_all = many(&|id| named(id, id, selector(any, &at(sites, id)), &at(gateways, id)));
    one_for_all.tunnel[99_999] = tunnel(99_999, selector(any, "198.0.0.0/8"), SG1);
    // Default routes of as many tenants as gateways, each with its own source.
    let tenants = many(&|id| named(id, id % 5000, selector(&at(hosts, id), any), &at(gateways, id % 5000)));
    // The same through one hub and another one.
    let hubs =
        many(&|id| named(id, id % 2, selector(&at(hosts, id), any), if id % 2 == 0 { SG1 } else { SG2 }));
    for (name, rules, are_nested, is_right) in [
        ("one for all", one_for_all, true, true),
        ("tenants", tenants, false, true),
        ("hubs", hubs, false, true),
    ] {
        for rematching in BOTH {
            let begin = Instant::now();
            let ways = found(&rules, rematching);
            println!("{name} {rematching:?}: {:?}", begin.elapsed());
            assert!(begin.elapsed().as_secs() < 20, "{name} {rematching:?} {:?}", begin.elapsed());
            let first = ways.errors().next();
            assert_eq!(first.is_none(), is_right, "{name} {rematching:?} {first:?}");
            assert_eq!(ways.nested().next().is_some(), are_nested, "{name} {rematching:?}");
        }
    }
    // Every rule could take a part of what goes to every gateway, and every one leads to where it goes already.
    let part = |id: u32| Selector {
        source_port: PortRange::new(1, 1 + (id % 60_000) as u16).unwrap(),
        ..selector(any, any)
    };
    let mut worst = many(&|id| named(id, id, part(id), SG1));
    worst.tunnel[99_999] = tunnel(99_999, selector(any, any), SG2);
    let begin = Instant::now();
    let ways = found(&worst, Rematching::Destination);
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    println!("worst: {:?}", begin.elapsed());
    assert!(ways.errors().next().is_some());
}

// Random rules in a small world.

const HOSTS: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"];
const GATEWAYS: [&str; 7] =
    ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "fd00::2", "fd00::3"];
/// Our address towards the peers, by their numbers; those of hosts follow those of gateways.
fn local_of(peer: PeerId) -> Option<IpAddr> {
    let end = GATEWAYS.iter().chain(&HOSTS).nth(peer.0 as usize)?;
    Some(address(if end.contains(':') { "fd00::9" } else { "10.0.0.1" }))
}

#[derive(Clone, Debug)]
struct World {
    rules: RuleSet,
    /// The rule that discovered a rule.
    within: Vec<(RuleId, RuleId)>,
}

impl World {
    fn within(&self, rule: RuleId) -> Option<RuleId> {
        self.within.iter().find(|(found, _)| *found == rule).map(|(_, by)| *by)
    }

    fn ways(&self, rematching: Rematching) -> Ways {
        let within = |rule| self.within(rule);
        ways(&self.rules, &Known { rematching, local: &local_of, within: &within })
    }

    fn walk(&self, rematching: Rematching, packet: &FiveTuple) -> Outcome {
        let rematch = match rematching {
            Rematching::Destination => Rematch::Destination,
            Rematching::Wire => Rematch::Wire(&local_of),
        };
        walk_within(&self.rules, packet, rematch, &|rule| self.within(rule)).outcome
    }

    fn tunnel_rule(&self, rule: RuleId) -> Option<&TunnelRule> {
        self.rules.tunnel_rule(rule)
    }
}

fn spans(ends: &'static [&'static str], wide: u32) -> impl Strategy<Value = AddressRange> {
    let single = prop::sample::select(ends.to_vec()).prop_map(|end| AddressRange::single(address(end)));
    let several = prop::sample::select(vec!["10.0.0.0/30", "10.0.1.0/30", "10.0.0.0/23", "fd00::/126"]);
    let any = prop::sample::select(vec!["0.0.0.0/0", "::/0"]);
    prop_oneof![4 => single, 1 => several.prop_map(range), wide => any.prop_map(range)]
}

/// `sensible`: ports only where the protocol has some, as in a configuration file.
fn selectors(to: &'static [&'static str], wide: u32, sensible: bool) -> impl Strategy<Value = Selector> {
    let protocol = prop_oneof![16 => Just(Protocol::Any), 1 => Just(Protocol::Is(6)), 1 => Just(Protocol::Is(17)),
        1 => Just(Protocol::Is(60))];
    let port = || {
        prop_oneof![30 => Just(PortRange::ANY), 1 => Just(PortRange::new(443, 443).unwrap()),
        1 => Just(PortRange::new(1, u16::MAX).unwrap())]
    };
    (spans(&HOSTS, 12), spans(to, wide), protocol, port(), port()).prop_map(
        move |(source, destination, protocol, source_port, destination_port)| {
            let source = if source.is_ipv6() == destination.is_ipv6() {
                source
            } else {
                AddressRange::any(destination.is_ipv6())
            };
            // Nothing of a protocol without ports has a port to match.
            let has_none = protocol == Protocol::Is(60) || sensible && protocol == Protocol::Any;
            let ports = |ports| if has_none { PortRange::ANY } else { ports };
            let (source_port, destination_port) = (ports(source_port), ports(destination_port));
            Selector { source, destination, protocol, source_port, destination_port }
        },
    )
}

/// A few rules to hosts and more to gateways, in any order; with `discovers`, one that discovers and what it has found.
fn worlds(sensible: bool) -> impl Strategy<Value = World> {
    let gateway = || 0..GATEWAYS.len();
    let to_hosts = prop::collection::vec((selectors(&HOSTS, 1, sensible), gateway()), 1..4);
    let to_gateways = prop::collection::vec((selectors(&GATEWAYS, 1, sensible), gateway()), 0..3);
    let all = || prop::sample::select(vec!["0.0.0.0/0", "10.0.0.0/23"]);
    let chain = (0usize..4, prop::collection::vec(all(), 4)).prop_map(|(length, sources)| {
        let rule = |at: usize| (selector(sources[at], GATEWAYS[at]), at + 1);
        (0..length).map(rule).collect::<Vec<_>>()
    });
    let to_gateways = (to_gateways, chain).prop_map(|(mut rules, chain)| {
        rules.extend(chain);
        rules
    });
    let protects = prop::collection::vec(0..HOSTS.len(), 0..3);
    let base = prop::collection::vec((selectors(&HOSTS, 2, sensible), 0u8..4), 0..2);
    let discovers = prop::option::weighted(
        0.3,
        (selectors(&GATEWAYS, 2, sensible), prop::option::of((selectors(&GATEWAYS, 0, sensible), gateway()))),
    );
    (to_hosts, to_gateways, protects, base, discovers, any::<prop::sample::Index>()).prop_shuffled()
}

trait Shuffled: Strategy {
    fn prop_shuffled(self) -> BoxedStrategy<World>;
}

type Drawn = (
    Vec<(Selector, usize)>,
    Vec<(Selector, usize)>,
    Vec<usize>,
    Vec<(Selector, u8)>,
    Option<(Selector, Option<(Selector, usize)>)>,
    prop::sample::Index,
);

impl<S: Strategy<Value = Drawn> + 'static> Shuffled for S {
    fn prop_shuffled(self) -> BoxedStrategy<World> {
        let ordered = self.prop_flat_map(|(hosts, gateways, protects, base, discovers, place)| {
            let rules: Vec<_> = hosts.into_iter().chain(gateways).collect();
            (Just(rules).prop_shuffle(), Just((protects, base, discovers, place)))
        });
        ordered
            .prop_map(|(ruled, (protects, base, discovers, place))| {
                world(ruled, &protects, &base, discovers, place)
            })
            .boxed()
    }
}

fn world(
    ruled: Vec<(Selector, usize)>,
    protects: &[usize],
    base: &[(Selector, u8)],
    discovers: Option<(Selector, Option<(Selector, usize)>)>,
    place: prop::sample::Index,
) -> World {
    let rule = |id: u32, selector, gateway: usize| TunnelRule {
        peer: PeerId(gateway as u32),
        ..tunnel(id, selector, GATEWAYS[gateway])
    };
    let mut tunnel: Vec<_> = ruled
        .into_iter()
        .enumerate()
        .map(|(id, (selector, gateway))| rule(id as u32, selector, gateway))
        .collect();
    let mut within = Vec::new();
    if let Some((selector, found)) = discovers {
        let at = place.index(tunnel.len() + 1);
        tunnel.insert(at, TunnelRule { gateway: Gateway::Discover, ..rule(50, selector, 0) });
        if let Some((selector, gateway)) = found {
            tunnel.insert(at, rule(51, selector, gateway));
            within.push((RuleId(51), RuleId(50)));
        }
    }
    let mut transport = Vec::new();
    for (selector, action) in base {
        let action = match action {
            0 => TransportAction::Bypass,
            1 => TransportAction::Discard,
            _ => TransportAction::Permit,
        };
        transport.push(TransportRule { name: "base".to_owned(), selector: *selector, action });
    }
    for (at, host) in protects.iter().enumerate() {
        let peer = PeerId((GATEWAYS.len() + host) as u32);
        let host = address(HOSTS[*host]);
        let source = AddressRange::single(local_of(peer).unwrap());
        let protection = Protection { rule: RuleId(60 + at as u32), peer, host };
        let selector = Selector::between(source, AddressRange::single(host)).unwrap();
        let action = TransportAction::Protect(protection);
        transport.push(TransportRule { name: "own".to_owned(), selector, action });
    }
    transport.extend(permit_all());
    World { rules: RuleSet { transport, tunnel }, within }
}

/// Every packet that differs to the rules of the small world.
fn packets() -> Vec<FiveTuple> {
    let ends: Vec<IpAddr> = HOSTS.iter().chain(&GATEWAYS).map(|end| address(end)).collect();
    let ports = [None, Some(0), Some(80), Some(443)];
    let shapes: Vec<_> = [1, 6, 17, 60]
        .into_iter()
        .flat_map(|protocol| {
            let pairs =
                ports.iter().flat_map(|source| ports.iter().map(move |destination| (*source, *destination)));
            pairs
                .filter(move |pair| matches!(protocol, 6 | 17) || *pair == (None, None))
                .map(move |pair| (protocol, pair))
        })
        .collect();
    let mut packets = Vec::new();
    let (ours, strange) = (address("fd00::9"), address("10.9.9.8"));
    for source in
        ends.iter().take(HOSTS.len()).chain([&ours, &strange, &address("10.0.1.0"), &address("fd00:9::8")])
    {
        for destination in ends.iter().filter(|end| end.is_ipv6() == source.is_ipv6()) {
            packets.extend(shapes.iter().map(|(protocol, (source_port, destination_port))| FiveTuple {
                source: *source,
                destination: *destination,
                protocol: *protocol,
                source_port: *source_port,
                destination_port: *destination_port,
            }));
        }
    }
    packets
}

/// The innermost level of a stack, as a rule and what it leads to, and the rules around.
fn split(pending: &[Action]) -> Option<(RuleId, PeerId, IpAddr, Vec<RuleId>)> {
    let mut levels = pending.iter().filter_map(|action| match *action {
        Action::Tunnel { rule, peer, gateway, .. } => Some((rule, peer, gateway)),
        Action::Transport { action, .. } => action.protection().map(|own| (own.rule, own.peer, own.host)),
    });
    let (rule, peer, end) = levels.next()?;
    Some((rule, peer, end, levels.map(|(rule, ..)| rule).collect()))
}

/// One packet: whether the walk and the ways say the same. Gives how many levels there are, and 0 for none.
fn agree(
    world: &World,
    rematching: Rematching,
    found: &Ways,
    packet: &FiveTuple,
) -> Result<usize, TestCaseError> {
    let outcome = world.walk(rematching, packet);
    let (pending, discovers) = match &outcome {
        Outcome::Stack(pending) => (pending, None),
        Outcome::Discover { rule, pending, .. } => (pending, Some(*rule)),
        Outcome::Refused(error) => {
            // Whose first tunnel it would be is found as evaluate finds it.
            let verdict = warren_policy::evaluate(&world.rules, packet);
            let warren_policy::Verdict::Protect(first) = verdict else { panic!("{verdict:?}") };
            let (peer, end) = end_of(world, first);
            let wrong = found.to(local_of(peer).unwrap(), end);
            prop_assert!(wrong.is_err(), "{packet}: {error}, and there is a way");
            return Ok(0);
        }
        Outcome::NoRule => return Ok(0),
        Outcome::Discard => {
            // What hides its ports is dropped at its base rule, or there is no way.
            if let warren_policy::Verdict::Protect(first) = warren_policy::evaluate(&world.rules, packet) {
                let (peer, end) = end_of(world, first);
                prop_assert!(
                    found.to(local_of(peer).unwrap(), end).is_err(),
                    "{packet}: dropped, and there is a way"
                );
            }
            return Ok(0);
        }
    };
    let Some((rule, peer, end, around)) = split(pending.bottom_to_top()) else { return Ok(0) };
    let Ok(way) = found.to(local_of(peer).unwrap(), end) else { return Ok(0) };
    let expected: Vec<_> = way.levels.iter().map(|outer| outer.rule).collect();
    prop_assert_eq!(&around, &expected, "{} by {:?}", packet, rule);
    prop_assert_eq!(discovers, way.discovers, "{}", packet);
    // Each level carries what is inside.
    let mut inside = (local_of(peer).unwrap(), end);
    for outer in &way.levels {
        for (protocol, ports) in [(50, None), (17, Some(500)), (17, Some(4500))] {
            let (source, destination) = inside;
            let carried =
                FiveTuple { source, destination, protocol, source_port: ports, destination_port: ports };
            prop_assert!(outer.selector.contains(&carried), "{outer:?} {carried}");
        }
        let own = world.tunnel_rule(outer.rule).unwrap();
        prop_assert_eq!((own.peer, own.gateway), (outer.peer, Gateway::Address(outer.gateway)));
        prop_assert!(!outer.is_own || own.selector == outer.selector);
        inside = (local_of(outer.peer).unwrap(), outer.gateway);
        // Its own way is the rest of this one.
        let rest = found.to(inside.0, inside.1);
        prop_assert!(rest.is_ok_and(|rest| way.levels.ends_with(&rest.levels)), "{outer:?} {rest:?}");
    }
    Ok(1 + around.len())
}

fn end_of(world: &World, rule: RuleId) -> (PeerId, IpAddr) {
    if let Some(rule) = world.tunnel_rule(rule) {
        // A rule that discovers has no end, and the walk of its packets is never refused.
        return (rule.peer, rule.gateway.address().unwrap());
    }
    let (_, own) = world.rules.protections().find(|(_, own)| own.rule == rule).unwrap();
    (own.peer, own.host)
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test] // NT-7, NT-8, NT-25, NT-26, NT-28, NT-35, Q-19, F-26
fn where_there_is_a_way_each_packet_takes_it_and_where_the_walk_is_refused_there_is_none() {
    let every = packets();
    for rematching in BOTH {
        let (total, nested, wrong, deep) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
        let cases = runner(800).run(&worlds(false), |world| {
            let found = world.ways(rematching);
            let mut deepest = 0;
            for packet in &every {
                deepest = deepest.max(agree(&world, rematching, &found, packet)?);
            }
            total.set(total.get() + 1);
            nested.set(nested.get() + u32::from(deepest > 1));
            deep.set(deep.get() + u32::from(deepest > 2));
            wrong.set(wrong.get() + u32::from(found.errors().next().is_some()));
            Ok(())
        });
        cases.unwrap();
        let share = |of: &Cell<u32>| f64::from(of.get()) / f64::from(total.get());
        println!("{rematching:?}: nested {} deep {} wrong {}", share(&nested), share(&deep), share(&wrong));
        assert!(share(&nested) > 0.25 && share(&deep) > 0.04, "{} {}", share(&nested), share(&deep));
        assert!((0.05..0.8).contains(&share(&wrong)), "{}", share(&wrong));
    }
}

/// The ways from the gateway on that packets of the rule take, whether or not a rule in front would take them first.
fn ways_taken(world: &World, rule: RuleId, gateway: IpAddr, every: &[FiveTuple]) -> BTreeSet<String> {
    let own = match world.tunnel_rule(rule) {
        Some(own) => own.selector,
        None => world.rules.protections().find(|(_, own)| own.rule == rule).unwrap().0.selector,
    };
    let mut taken = BTreeSet::new();
    for packet in every.iter().filter(|packet| packet.source.is_ipv6() == own.source.is_ipv6()) {
        let inside = FiveTuple { destination: own.destination.first(), ..*packet };
        if !own.contains(&inside) {
            continue;
        }
        // One rule that leads to the gateway, and nothing in front.
        let mut alone = world.clone();
        let base = Selector { protocol: Protocol::Is(packet.protocol), ..own };
        alone.rules.transport =
            vec![TransportRule { name: String::new(), selector: base, action: TransportAction::Permit }];
        let lead = TunnelRule { selector: own, ..tunnel(70, own, &gateway.to_string()) };
        // The first rule matches wherever its packet goes; asked again, it leads to where that goes already.
        let nowhere = if own.source.is_ipv6() { "fd00::7777" } else { "10.9.9.9" };
        let start = FiveTuple { destination: address(nowhere), ..*packet };
        alone.rules.transport[0].selector.destination = range(nowhere);
        let lead = TunnelRule { selector: Selector { destination: range(nowhere), ..own }, ..lead };
        alone.rules.tunnel.insert(0, lead);
        if let Some(by) = world.within(rule) {
            alone.within.push((RuleId(70), by));
        }
        taken.insert(match alone.walk(Rematching::Destination, &start) {
            Outcome::Stack(pending) => format!("{:?}", split(pending.bottom_to_top()).unwrap().3),
            other => format!("{other:?}").chars().take(8).collect(),
        });
    }
    taken
}

#[test] // NT-7, F-26
fn what_is_refused_for_two_ways_has_packets_that_take_two_ways() {
    let every = packets();
    let (judged, conservative) = (Cell::new(0), Cell::new(0));
    let cases = runner(800).run(&worlds(true), |world| {
        for error in world.ways(Rematching::Destination).errors() {
            let (rules, gateway, other) = match error {
                WayError::Ambiguous { rule, gateway, other } => (vec![rule], gateway, Some(other)),
                WayError::TwoWays { rule, gateway, other } => (vec![rule, other], gateway, None),
                _ => continue,
            };
            judged.set(judged.get() + 1);
            // An error of a level further out is about the packets of whoever is inside as well.
            let taken: BTreeSet<_> =
                rules.iter().flat_map(|rule| ways_taken(&world, *rule, gateway, &every)).collect();
            // Where all of them end in a circle, or discover, that is reason enough.
            if taken.len() < 2 && !taken.iter().any(|way| !way.starts_with("[")) {
                // Rules that lead to the gateway itself take all of it together.
                let leads_there =
                    |other| world.tunnel_rule(other).and_then(|rule| rule.gateway.address()) == Some(gateway);
                let stopping = world
                    .rules
                    .tunnel
                    .iter()
                    .filter(|rule| {
                        rule.gateway.address() == Some(gateway) && rule.selector.destination.contains(gateway)
                    })
                    .count();
                prop_assert!(stopping > 0 || other.is_some_and(leads_there), "{error:?}: {taken:?}");
                conservative.set(conservative.get() + 1);
            }
        }
        Ok(())
    });
    cases.unwrap();
    println!("{} judged, {} conservative", judged.get(), conservative.get());
    assert!(
        judged.get() > 100 && conservative.get() * 20 < judged.get(),
        "{} {}",
        judged.get(),
        conservative.get()
    );
}

#[test] // NT-28, F-26
fn rules_that_have_no_packet_in_common_have_the_same_ways_in_any_order() {
    let nested = Cell::new(0);
    let strategy = worlds(false).prop_flat_map(|world| {
        let mut apart: Vec<TunnelRule> = Vec::new();
        for rule in &world.rules.tunnel {
            let meets = |other: &TunnelRule| {
                let (a, b) = (&rule.selector, &other.selector);
                a.source.overlaps(&b.source) && a.destination.overlaps(&b.destination)
            };
            if !apart.iter().any(meets) {
                apart.push(rule.clone());
            }
        }
        let rules = RuleSet { tunnel: apart.clone(), ..world.rules.clone() };
        (Just(World { rules, within: world.within.clone() }), Just(apart).prop_shuffle())
    });
    let cases = runner(800).run(&strategy, |(world, shuffled)| {
        let other = World {
            rules: RuleSet { tunnel: shuffled, ..world.rules.clone() },
            within: world.within.clone(),
        };
        for rematching in BOTH {
            let (a, b) = (world.ways(rematching), other.ways(rematching));
            for (local, gateway) in ["10.0.0.1", "fd00::9"].iter().flat_map(|local| {
                GATEWAYS.iter().chain(&HOSTS).map(move |end| (address(local), address(end)))
            }) {
                let (a, b) = (a.to(local, gateway), b.to(local, gateway));
                prop_assert_eq!(a.ok(), b.ok(), "{} {:?} {:?}", gateway, a, b);
                nested.set(nested.get() + u32::from(a.is_ok_and(|way| !way.levels.is_empty())));
            }
        }
        Ok(())
    });
    cases.unwrap();
    assert!(nested.get() > 300, "{}", nested.get());
}
