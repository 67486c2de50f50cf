//! Policy whose sets lie inside each other (REQUIREMENTS NT-36): what is taken, with whom it is negotiated, and what is
//! refused. How the tunnels come up one inside the other is told elsewhere.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::IpAddr;
use std::time::{Duration, Instant};
use support::configured::*;
use support::puppet::{Call, Theatre};
use support::world::seconds;
use warren_ike::wire::{ConfigAttribute, SetMessage};
use warren_ike::{ConfigExchange, ConfigMode, Output, PeerConfig, Remote};
use warren_policy::limits::STACK_DEPTH_MAX;
use warren_policy::{PeerId, PolicySet, RuleId, TunnelRule};
use warren_tunnels::{SetStanding, Start, TunnelConfig, TunnelsConfig};

const LEASE: &str = "10.99.0.7/32";
const SERVER: &str = "198.51.100.2";

/// A client of one server that may call gateways at these addresses too.
fn knowing(gateways: &[&str]) -> TunnelsConfig {
    let mut config = client();
    for (at, gateway) in gateways.iter().enumerate() {
        let peer = PeerConfig {
            id: PeerId(at as u32 + 1),
            name: format!("gateway-{gateway}"),
            remote: Remote::Host(ip(gateway)),
            config_mode: ConfigMode::Off,
            ..config.peers[0].clone()
        };
        config.peers.push(peer);
    }
    config
}

/// A tunnel of the operator's own.
fn own_tunnel(config: &mut TunnelsConfig, peer: u32, gateway: &str, to: &str) {
    let mut one = support::world::config(0, 1, Start::OnTraffic);
    let (mut tunnel, mut rule): (TunnelConfig, TunnelRule) =
        (one.tunnels.remove(0), one.rules.tunnel.remove(0));
    let selector = warren_policy::Selector::between(range(LEASE), range(to)).unwrap();
    (tunnel.child.peer, tunnel.child.selector) = (PeerId(peer), selector);
    (rule.peer, rule.selector, rule.gateway) = (PeerId(peer), selector, ip(gateway).into());
    config.tunnels.push(tunnel);
    config.rules.tunnel.push(rule);
}

fn theatre(config: TunnelsConfig) -> Theatre {
    let mut theatre = Theatre::new(config, Vec::new());
    theatre.stage.borrow_mut().come(PEER, None, "right.test", &server_address());
    theatre.say(Output::Configurable { peer: PEER, speaks_policy: true, user: None });
    theatre.calls();
    theatre
}

fn inside(parent: u16, gateway: &str, set: PolicySet) -> PolicySet {
    PolicySet { parent: Some(parent), ..at(gateway, set) }
}

fn at(gateway: &str, set: PolicySet) -> PolicySet {
    PolicySet { gateway: Some(ip(gateway)), ..set }
}

fn gives(theatre: &mut Theatre, sets: Vec<PolicySet>) {
    let sets = sets.into_iter().map(offered);
    let attributes = [leased("10.99.0.7")].into_iter().chain(sets).collect();
    theatre.say(Output::ConfigReceived { peer: PEER, exchange: None, attributes });
}

fn taken(theatre: &Theatre) -> Vec<(u16, SetStanding)> {
    let status = theatre.tunnels.clients().remove(0);
    status.sets.iter().map(|set| (set.id, set.standing)).collect()
}

fn refused(theatre: &Theatre) -> Vec<(u16, String)> {
    let status = theatre.tunnels.clients().remove(0);
    status.refused.into_iter().map(|set| (set.id.unwrap(), set.reason)).collect()
}

/// With whom the rules in force are negotiated that are new, each once: what is only around others is left out.
fn added(theatre: &mut Theatre) -> Vec<PeerId> {
    let mut seen = std::collections::BTreeSet::new();
    let children = theatre.calls().into_iter().filter_map(|call| match call {
        Call::Add(child) => Some(child),
        _ => None,
    });
    let children: Vec<_> = children.collect();
    let in_force = |rule: RuleId| theatre.tunnels.rules().tunnel_rule(rule).is_some();
    let new = children.iter().filter(|child| in_force(child.rule) && seen.insert(child.rule));
    new.map(|child| child.peer).collect()
}

/// Where the rules of a set lead, with which peer.
fn leads(theatre: &Theatre, id: u16) -> Vec<(PeerId, IpAddr)> {
    let status = theatre.tunnels.clients().remove(0);
    let set = status.sets.iter().find(|set| set.id == id).unwrap();
    let rule = |rule: &RuleId| theatre.tunnels.rules().tunnel_rule(*rule).unwrap();
    set.rules.iter().map(rule).map(|rule| (rule.peer, rule.gateway.address().unwrap())).collect()
}

fn three_levels() -> Vec<PolicySet> {
    vec![
        inside(2, "10.3.0.1", set(3, LEASE, "10.5.0.0/16")),
        set(1, LEASE, "10.2.0.0/16"),
        inside(1, "10.2.0.1", set(2, LEASE, "10.3.0.0/16")),
    ]
}

#[test] // NT-36, DC-23
fn a_set_inside_another_is_negotiated_with_the_peer_at_its_gateway() {
    let mut theatre = theatre(knowing(&["10.3.0.1", "10.2.0.1"]));
    gives(&mut theatre, three_levels());
    assert_eq!(refused(&theatre), []);
    let standing = [(3, SetStanding::Nested), (1, SetStanding::Executed), (2, SetStanding::Nested)];
    assert_eq!(taken(&theatre), standing);
    assert_eq!(added(&mut theatre), [PeerId(1), PEER, PeerId(2)]);
    assert_eq!(leads(&theatre, 1), [(PEER, ip(SERVER))]);
    assert_eq!(leads(&theatre, 2), [(PeerId(2), ip("10.2.0.1"))]);
    assert_eq!(leads(&theatre, 3), [(PeerId(1), ip("10.3.0.1"))]);
}

#[test] // NT-36
fn a_set_for_another_gateway_needs_no_parent_and_nests_where_the_rules_say_so() {
    let mut theatre = theatre(knowing(&["203.0.113.9", "10.2.0.1"]));
    gives(
        &mut theatre,
        vec![
            at("203.0.113.9", set(1, LEASE, "10.1.0.0/16")),
            set(2, LEASE, "10.2.0.0/16"),
            at("10.2.0.1", set(3, LEASE, "10.3.0.0/16")),
            at(SERVER, set(4, LEASE, "10.4.0.0/16")),
        ],
    );
    assert_eq!(refused(&theatre), []);
    let elsewhere = |id| (id, SetStanding::Elsewhere);
    let executed = |id| (id, SetStanding::Executed);
    assert_eq!(taken(&theatre), [elsewhere(1), executed(2), elsewhere(3), executed(4)]);
    assert_eq!(added(&mut theatre), [PeerId(1), PEER, PeerId(2), PEER]);
}

#[test] // NT-36, DC-25
fn each_set_that_is_out_of_place_is_refused_alone_with_its_reason() {
    let mut config = knowing(&["10.2.0.1", "10.2.0.2", "203.0.113.9"]);
    config.peers[2].local = ip("192.0.2.77");
    let mut theatre = theatre(config);
    gives(
        &mut theatre,
        vec![
            set(1, LEASE, "10.2.0.0/16"),
            inside(1, "10.2.0.1", set(2, LEASE, "10.12.0.0/16")),
            inside(1, "10.2.0.9", set(3, LEASE, "10.13.0.0/16")),
            inside(1, "10.2.0.2", set(4, LEASE, "10.14.0.0/16")),
            inside(3, "10.2.0.1", set(5, LEASE, "10.15.0.0/16")),
            inside(1, "203.0.113.9", set(6, LEASE, "10.16.0.0/16")),
            inside(2, "10.2.0.1", set(7, LEASE, "10.17.0.0/16")),
            PolicySet { parent: Some(1), ..set(8, LEASE, "10.18.0.0/16") },
            inside(7, "203.0.113.9", set(9, LEASE, "10.19.0.0/16")),
        ],
    );
    assert_eq!(taken(&theatre), [(1, SetStanding::Executed), (2, SetStanding::Nested)]);
    let expected = [
        (3, "no peer of ours is at its gateway 10.2.0.9"),
        (4, "no peer of ours is at its gateway 10.2.0.2"),
        (5, "its parent 3 is refused"),
        (6, "the way to its gateway 203.0.113.9 does not lead through its parent 1"),
        (7, "the way to its gateway 10.2.0.1 does not lead through its parent 2"),
        (8, "the way to its gateway 198.51.100.2 does not lead through its parent 1"),
        (9, "the way to its gateway 203.0.113.9 does not lead through its parent 7"),
    ];
    assert_eq!(refused(&theatre), expected.map(|(id, reason)| (id, reason.to_owned())));
}

#[test] // NT-36, NT-8
fn sets_that_would_carry_each_other_are_refused_and_the_others_are_not() {
    let mut theatre = theatre(knowing(&["10.2.0.1", "10.3.0.1"]));
    gives(
        &mut theatre,
        vec![
            set(1, LEASE, "10.1.0.0/16"),
            at("10.2.0.1", set(2, LEASE, "10.3.0.0/16")),
            at("10.3.0.1", set(3, LEASE, "10.2.0.0/16")),
        ],
    );
    assert_eq!(taken(&theatre), [(1, SetStanding::Executed)]);
    let reasons = refused(&theatre);
    assert_eq!(reasons.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 3]);
    assert!(reasons.iter().all(|(_, reason)| reason.starts_with("there is no way to its gateway: ")));
    // Through a set that says that it lies inside them, too.
    gives(
        &mut theatre,
        vec![
            set(1, LEASE, "10.1.0.0/16"),
            inside(1, "10.2.0.1", set(2, LEASE, "10.3.0.0/16")),
            inside(2, "10.3.0.1", set(3, LEASE, "10.2.0.0/16")),
        ],
    );
    assert_eq!(taken(&theatre), [(1, SetStanding::Executed)]);
    assert_eq!(refused(&theatre).len(), 2);
}

#[test] // NT-36, F-11
fn no_set_carries_what_the_operators_own_tunnels_send() {
    let mut config = knowing(&["10.2.0.1"]);
    own_tunnel(&mut config, 1, "10.2.0.1", "10.50.0.0/16");
    let mut theatre = theatre(config);
    gives(
        &mut theatre,
        vec![
            set(1, LEASE, "10.2.0.0/16"),
            inside(1, "10.2.0.1", set(2, LEASE, "10.3.0.0/16")),
            // Beside it, with the same peer, it may be negotiated; not for what has a tunnel already.
            at("10.2.0.1", set(3, LEASE, "10.4.0.0/16")),
            at("10.2.0.1", set(4, LEASE, "10.50.0.0/16")),
        ],
    );
    assert_eq!(taken(&theatre), [(3, SetStanding::Elsewhere)]);
    let expected = [
        (4, "the traffic 10.99.0.7/32 -> 10.50.0.0/16 has a tunnel already"),
        (1, "it would carry what goes to 10.2.0.1, the gateway of another tunnel or server"),
        (2, "its parent 1 is refused"),
    ];
    assert_eq!(refused(&theatre), expected.map(|(id, reason)| (id, reason.to_owned())));
}

#[test] // NT-36
fn the_operators_rules_may_be_around_a_set_but_are_no_parent() {
    let mut config = knowing(&["203.0.113.1", "10.2.0.1"]);
    own_tunnel(&mut config, 1, "203.0.113.1", "10.2.0.0/16");
    let mut theatre = theatre(config);
    gives(
        &mut theatre,
        vec![
            set(1, LEASE, "10.1.0.0/16"),
            at("10.2.0.1", set(2, LEASE, "10.3.0.0/16")),
            inside(1, "10.2.0.1", set(3, LEASE, "10.4.0.0/16")),
        ],
    );
    assert_eq!(taken(&theatre), [(1, SetStanding::Executed), (2, SetStanding::Elsewhere)]);
    assert_eq!(refused(&theatre)[0].0, 3);
}

#[test] // NT-36, DC-8
fn who_pushes_is_told_of_each_set_why_it_is_refused() {
    let mut theatre = theatre(knowing(&["10.2.0.1"]));
    let sets = [
        set(1, LEASE, "10.2.0.0/16"),
        inside(1, "10.2.0.1", set(2, LEASE, "10.3.0.0/16")),
        inside(1, "10.2.0.2", set(3, LEASE, "10.4.0.0/16")),
    ];
    let attributes = [leased("10.99.0.7")].into_iter().chain(sets.map(offered)).collect();
    theatre.say(Output::ConfigReceived { peer: PEER, exchange: Some(ConfigExchange(5)), attributes });
    let verdict = |id, refusal: Option<&str>| {
        ConfigAttribute::PolicySet(SetMessage::Acknowledged { id, refusal: refusal.map(str::to_owned) })
    };
    let said = vec![
        ConfigAttribute::Ip4Address(None),
        verdict(1, None),
        verdict(2, None),
        verdict(3, Some("no peer of ours is at its gateway 10.2.0.2")),
    ];
    assert!(theatre.calls().contains(&Call::Acknowledge(PEER, ConfigExchange(5), said)));
}

#[test] // NT-36, DC-26
fn the_same_again_changes_nothing_and_another_gateway_is_another_tunnel() {
    let mut theatre = theatre(knowing(&["10.2.0.1", "10.3.0.1", "10.2.0.5"]));
    gives(&mut theatre, three_levels());
    theatre.run(seconds(1));
    theatre.calls();
    theatre.effects();
    gives(&mut theatre, three_levels());
    theatre.run(seconds(1));
    assert_eq!((theatre.calls(), theatre.effects()), (vec![], vec![]));
    let mut moved = three_levels();
    moved[2].gateway = Some(ip("10.2.0.5"));
    gives(&mut theatre, moved);
    assert_eq!(refused(&theatre), []);
    // The moved one is another tunnel, and what lies inside of it has another one around it now; the first stays.
    assert_eq!(added(&mut theatre), [PeerId(3), PeerId(2)]);
}

#[test] // NT-36
fn a_peer_that_is_configured_later_or_no_more_decides_anew() {
    let mut theatre = theatre(knowing(&[]));
    gives(&mut theatre, three_levels());
    assert_eq!(taken(&theatre), [(1, SetStanding::Executed)]);
    let now = theatre.now;
    theatre.tunnels.reconfigure(now, knowing(&["10.2.0.1", "10.3.0.1"]));
    theatre.play();
    assert_eq!(taken(&theatre).len(), 3);
    assert_eq!(leads(&theatre, 2), [(PeerId(1), ip("10.2.0.1"))]);
    // The one in the middle goes, and what stands on it.
    theatre.tunnels.reconfigure(now, knowing(&["10.3.0.1"]));
    theatre.play();
    assert_eq!(taken(&theatre), [(1, SetStanding::Executed)]);
    assert_eq!(theatre.tunnels.status().len(), 1);
    let reasons: Vec<u16> = refused(&theatre).iter().map(|(id, _)| *id).collect();
    assert_eq!(reasons, [3, 2]);
}

#[test] // NT-36, NT-8
fn a_chain_of_parents_is_taken_to_the_depth_of_a_stack_and_no_deeper() {
    let chain = |depth: usize| -> (Vec<String>, Vec<PolicySet>) {
        let gateways: Vec<String> = (1..depth).map(|level| format!("10.{level}.0.1")).collect();
        let mut sets = vec![set(1, LEASE, "10.1.0.0/16")];
        for (at, gateway) in gateways.iter().enumerate() {
            let level = at as u16 + 2;
            sets.push(inside(level - 1, gateway, set(level, LEASE, &format!("10.{level}.0.0/16"))));
        }
        (gateways, sets)
    };
    for (depth, expected) in [(STACK_DEPTH_MAX, STACK_DEPTH_MAX), (STACK_DEPTH_MAX + 1, STACK_DEPTH_MAX)] {
        let (gateways, sets) = chain(depth);
        let gateways: Vec<&str> = gateways.iter().map(String::as_str).collect();
        let mut theatre = theatre(knowing(&gateways));
        gives(&mut theatre, sets);
        assert_eq!(taken(&theatre).len(), expected, "{depth}: {:?}", refused(&theatre));
        assert_eq!(refused(&theatre).len(), depth - expected);
    }
    // A chain that breaks at its outermost link falls as a whole, in one message.
    let (gateways, mut sets) = chain(STACK_DEPTH_MAX);
    let gateways: Vec<&str> = gateways.iter().map(String::as_str).collect();
    let mut theatre = theatre(knowing(&gateways));
    sets[0].remote = vec![end("10.200.0.0/16")];
    gives(&mut theatre, sets);
    assert_eq!(taken(&theatre), [(1, SetStanding::Executed)]);
}

#[test] // NT-36, F-11
fn thousands_of_entangled_sets_cost_little_and_leave_nothing_behind() {
    let mut config = knowing(&["10.2.0.1", "10.3.0.1", "10.4.0.1"]);
    config.clients[0].ceiling.sas_max = 4096;
    let mut theatre = theatre(config);
    let begun = Instant::now();
    for round in 0..3u16 {
        let sets = (1..=4096u16).map(|id| {
            let [high, low] = (id - 1).to_be_bytes();
            let one = match id {
                1 => set(id, LEASE, "10.2.0.0/16"),
                2 => set(id, LEASE, "10.3.0.0/24"),
                _ => set(id, LEASE, &format!("10.{}.{low}.0/24", 64 + high)),
            };
            match (id + round) % 4 {
                0 => inside(1, "10.2.0.1", one),
                1 => inside(2, "10.3.0.1", one),
                2 => inside(id / 2 + 1, "10.4.0.1", one),
                _ => one,
            }
        });
        gives(&mut theatre, sets.collect());
        theatre.run(seconds(1));
        let status = theatre.tunnels.clients().remove(0);
        assert_eq!(status.sets.len() + status.refused_total, 4096);
        assert_eq!(theatre.tunnels.rules().tunnel.len(), status.sets.len());
        theatre.calls();
        theatre.effects();
        theatre.notices.clear();
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    gives(&mut theatre, Vec::new());
    assert!(theatre.tunnels.status().is_empty() && theatre.tunnels.rules().tunnel.is_empty());
}
