//! Rules that discover: over a puppet, what is wanted of the negotiator and in which order the rules change; over IKE
//! itself, two gateways that do not know each other.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use support::configured::{PEER, esp, range};
use support::puppet::{Call, FOUND, Theatre};
use support::world::{World, address, caught, config, seconds};
use warren_ike::ted::{NotFound, Stage, TedConfig};
use warren_ike::{Asked, ChildConfig, Down, Endpoint, Failure, Output as Ike, Path, Remote, RemoteIdentity};
use warren_policy::{
    EspProposal, FiveTuple, Gateway, Pad, PadEntry, Protocol, RuleId, Selector, TransportAction,
    TransportRule, TunnelRule,
};
use warren_seam::{Catch, Entry, Event};
use warren_tunnels::{DiscoveredStatus, ProbeRefused, Start, State, TunnelConfig, TunnelsConfig};

const ESP: &str = "aes128gcm16-esn";

fn between(local: &str, remote: &str) -> Selector {
    Selector::between(range(local), range(remote)).unwrap()
}

fn flow(source: &str, destination: &str) -> FiveTuple {
    FiveTuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: 17,
        source_port: Some(4000),
        destination_port: Some(5000),
    }
}

/// A side with one rule that discovers for each selector, and a template that authorises everybody for `theirs`.
fn discoverer(side: usize, selectors: &[Selector], theirs: &[&str]) -> TunnelsConfig {
    let mut config = config(side, 0, Start::OnTraffic);
    let peer = &mut config.peers[0];
    (peer.remote, peer.remote_identity) = (Remote::Any, RemoteIdentity::Any);
    let networks = theirs.iter().map(|text| range(text)).collect();
    peer.pad = Some(Arc::new(Pad::new(vec![PadEntry { identity: None, networks }])));
    let proposals: Vec<EspProposal> = vec![esp(ESP)];
    for (at, selector) in selectors.iter().enumerate() {
        let rule = RuleId(at as u32);
        config.rules.tunnel.push(TunnelRule {
            id: rule,
            name: format!("far-{at}"),
            selector: *selector,
            peer: PEER,
            gateway: Gateway::Discover,
        });
        config.tunnels.push(TunnelConfig {
            child: ChildConfig {
                rule,
                peer: PEER,
                selector: *selector,
                proposals: proposals.clone(),
                lifetime: support::world::LIFETIME,
                window_packets: 4096,
                is_divisible: true,
                mode: warren_policy::SaMode::Tunnel,
                carrier: warren_seam::Carrier::Network,
            },
            start: Start::OnTraffic,
            parallel: std::num::NonZeroU16::MIN,
        });
    }
    let permit =
        |selector| TransportRule { name: "all".to_owned(), selector, action: TransportAction::Permit };
    config.rules.transport = vec![permit(between("0.0.0.0/0", "0.0.0.0/0"))];
    config.ted = TedConfig::default();
    config.discovered_idle = seconds(600);
    config
}

fn left() -> TunnelsConfig {
    discoverer(0, &[between("10.1.0.0/16", "10.0.0.0/8")], &["10.2.0.0/16"])
}

fn right() -> TunnelsConfig {
    discoverer(1, &[between("10.2.0.0/16", "10.1.0.0/24")], &["10.1.0.0/16"])
}

fn world(seed: u64) -> World<Endpoint> {
    World::over_ike_with([left(), right()], seed)
}

fn found(world: &World<Endpoint>, side: usize) -> Vec<DiscoveredStatus> {
    world.sides[side].tunnels.discovered()
}

/// Sends one packet a second until one leaves. How many did not.
fn until_sent(world: &mut World<Endpoint>, side: usize, packet: FiveTuple) -> usize {
    for tried in 0..60 {
        if world.send(side, packet) {
            return tried;
        }
        world.run(seconds(1));
    }
    panic!("no tunnel within a minute");
}

#[test] // TED-1, TED-3, TED-4, TED-5, TED-51, TED-54, TED-56, TED-58
fn two_gateways_that_do_not_know_each_other_get_a_tunnel_for_exactly_what_both_protect() {
    for seed in 0..10 {
        let mut world = world(seed);
        let packet = flow("10.1.0.7", "10.2.3.4");
        assert!(!world.send(0, packet), "the packet is dropped, not sent in clear and not kept");
        world.run(seconds(2));
        assert!(world.send(0, packet), "the next one like it has a tunnel");
        let (ours, theirs) = (found(&world, 0), found(&world, 1));
        let ([ours], [theirs]) = (&ours[..], &theirs[..]) else { panic!("one tunnel on each side") };
        let common = between("10.1.0.0/24", "10.2.0.0/16");
        assert_eq!((ours.selector, theirs.selector), (common, common.mirrored()));
        assert_eq!((ours.gateway, theirs.gateway), (address(1), address(0)));
        assert!(ours.is_ours && !theirs.is_ours);
        assert!(world.sides[0].tunnels.ted_in_flight().is_empty());
        // Both directions, and nothing besides it.
        assert!(world.send(1, flow("10.2.9.9", "10.1.0.250")));
        assert!(!world.send(0, flow("10.1.1.1", "10.2.3.4")), "the far side does not protect that");
        world.run(seconds(1));
        assert_eq!(found(&world, 0).len(), 1);
        world.assert_same_pairs(0, 1);
        world.shutdown();
    }
}

#[test] // TED-57, TED-26
fn a_tunnel_for_one_protocol_and_one_port_carries_nothing_else() {
    let mut web = between("10.2.0.0/16", "10.1.0.0/16");
    (web.protocol, web.source_port) = (Protocol::Is(6), warren_policy::PortRange::new(443, 443).unwrap());
    let mut world = World::over_ike_with([left(), discoverer(1, &[web], &["10.1.0.0/16"])], 1);
    let to_web = FiveTuple { protocol: 6, destination_port: Some(443), ..flow("10.1.0.7", "10.2.3.4") };
    until_sent(&mut world, 0, to_web);
    assert_eq!(found(&world, 0)[0].selector, web.mirrored());
    let other = FiveTuple { destination_port: Some(80), ..to_web };
    assert!(!world.send(0, other) && !world.send(0, flow("10.1.0.7", "10.2.3.4")));
    world.run(seconds(20));
    assert!(!world.send(0, other));
    assert_eq!(found(&world, 0).len(), 1);
}

#[test] // TED-55
fn an_answer_that_does_not_contain_the_packet_brings_no_tunnel() {
    let narrow = discoverer(1, &[between("10.2.5.0/24", "10.1.0.0/16")], &["10.1.0.0/16"]);
    let mut world = World::over_ike_with([left(), narrow], 1);
    for _ in 0..10 {
        assert!(!world.send(0, flow("10.1.0.7", "10.2.9.9")));
        world.run(seconds(1));
    }
    assert!(found(&world, 0).is_empty());
    assert_eq!(world.sides[0].tunnels.ted_resting()[0].why, NotFound::NoAnswer);
    until_sent(&mut world, 0, flow("10.1.0.7", "10.2.5.6"));
}

#[test] // TED-59, F-7
fn who_is_not_authorised_for_what_it_claims_gets_no_tunnel_on_either_side() {
    // We trust nobody with 10.2/16: nothing is even begun.
    let wary = discoverer(0, &[between("10.1.0.0/16", "10.0.0.0/8")], &["10.9.0.0/16"]);
    let mut world = World::over_ike_with([wary, right()], 1);
    for _ in 0..10 {
        assert!(!world.send(0, flow("10.1.0.7", "10.2.3.4")));
        world.run(seconds(1));
    }
    assert!(found(&world, 0).is_empty() && found(&world, 1).is_empty());
    assert_eq!(world.sides[0].tunnels.ted_resting()[0].why, NotFound::NotAuthorisable);
    // The far side does not trust us with 10.1/16: phase 1 succeeds, and nothing after it.
    let wary = discoverer(1, &[between("10.2.0.0/16", "10.1.0.0/24")], &["10.9.0.0/16"]);
    let mut world = World::over_ike_with([left(), wary], 1);
    for _ in 0..30 {
        assert!(!world.send(0, flow("10.1.0.7", "10.2.3.4")));
        world.run(seconds(1));
    }
    assert!(found(&world, 0).is_empty() && found(&world, 1).is_empty());
    assert_eq!(world.sides[0].tunnels.ted_resting()[0].why, NotFound::NotNegotiated);
    assert!(world.sides.iter().all(|side| side.engine.is_empty()));
}

#[test] // TED-7, Q-14, F-24
fn a_bad_network_delays_a_discovered_tunnel_and_leaks_nothing() {
    for seed in 0..20 {
        let mut world = world(seed);
        (world.loss, world.duplication, world.delay_spread) = (200, 100, Duration::from_millis(200));
        for _ in 0..900 {
            world.send(0, flow("10.1.0.7", "10.2.3.4"));
            world.send(1, flow("10.2.3.4", "10.1.0.7"));
            world.run(seconds(1));
        }
        (world.loss, world.duplication) = (0, 0);
        for _ in 0..700 {
            world.send(0, flow("10.1.0.7", "10.2.3.4"));
            world.send(1, flow("10.2.3.4", "10.1.0.7"));
            world.run(seconds(1));
        }
        for side in 0..2 {
            let up = |own: &DiscoveredStatus| {
                let status = world.sides[side].tunnels.status();
                status
                    .iter()
                    .any(|tunnel| tunnel.rule == own.rule && matches!(tunnel.state, State::Up { .. }))
            };
            assert!(found(&world, side).iter().any(up), "seed {seed}, side {side}");
        }
        // It leaves nothing behind in either engine.
        world.shutdown();
    }
}

#[test] // TED-6, TED-56
fn both_sides_may_discover_each_other_at_once() {
    for seed in 0..20 {
        let mut world = world(seed);
        world.send(0, flow("10.1.0.7", "10.2.3.4"));
        world.send(1, flow("10.2.3.4", "10.1.0.7"));
        world.run(seconds(10));
        assert!(world.send(0, flow("10.1.0.7", "10.2.3.4")) && world.send(1, flow("10.2.3.4", "10.1.0.7")));
        assert!(found(&world, 0).len() == 1 && found(&world, 1).len() == 1, "one gateway is one peer");
        world.run(seconds(60));
        world.assert_no_orphans();
        world.shutdown();
    }
}

#[test] // TED-5, TED-7
fn a_tunnel_without_traffic_ends_and_traffic_discovers_again() {
    let (mut left, mut right) = (left(), right());
    (left.discovered_idle, right.discovered_idle) = (seconds(30), seconds(30));
    let mut world = World::over_ike_with([left, right], 3);
    until_sent(&mut world, 0, flow("10.1.0.7", "10.2.3.4"));
    world.run(seconds(400));
    assert!(found(&world, 0).is_empty() && found(&world, 1).is_empty());
    assert!(world.sides.iter().all(|side| side.engine.is_empty()));
    until_sent(&mut world, 0, flow("10.1.0.7", "10.2.3.4"));
}

#[test] // TED-5
fn a_tunnel_in_use_is_renewed() {
    let mut world = world(4);
    until_sent(&mut world, 0, flow("10.1.0.7", "10.2.3.4"));
    let before = found(&world, 0);
    for _ in 0..400 {
        assert!(world.send(0, flow("10.1.0.7", "10.2.3.4")), "no packet is lost to a renewal");
        world.run(seconds(1));
    }
    assert_eq!(found(&world, 0), before);
}

// The rest is over the puppet.

/// The cookie of the last probe.
fn cookie(theatre: &Theatre) -> [u8; 8] {
    let packet = &theatre.engine.injected.last().unwrap().packet;
    packet[28..36].try_into().unwrap()
}

fn wants(theatre: &mut Theatre, rule: u32, packet: FiveTuple) {
    theatre.tunnels.handle_event(theatre.now, Event::Acquire { rule: RuleId(rule), packet });
    theatre.drain();
}

/// A gateway answers the last probe: it protects `local` towards `remote`, as it sees it.
fn answers(theatre: &mut Theatre, gateway: &str, local: &str, remote: &str) {
    use warren_ike::wire::ted::Response;
    use warren_policy::Proxy;
    let gateway: IpAddr = gateway.parse().unwrap();
    let entries = vec![Proxy::from_selector(&between(local, remote)).unwrap()];
    let (initiator, responder) = (cookie(theatre), [9; 8]);
    let octets =
        Response { initiator, responder, capabilities: 0, gateway, entries, challenge: None }.encode();
    let path = Path { local: (address(0), 500).into(), remote: (gateway, 500).into() };
    theatre.tunnels.handle_datagram(theatre.now, path, &octets);
    theatre.drain();
}

fn names(theatre: &Theatre) -> Vec<&str> {
    theatre.tunnels.rules().tunnel.iter().map(|rule| rule.name.as_str()).collect()
}

#[test] // TED-2, TED-12, TED-13, TED-27
fn a_probe_enters_the_data_plane_in_the_name_of_the_host_and_ike_begins_at_the_gateway() {
    let mut theatre = Theatre::new(left(), Vec::new());
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    let [probe] = &theatre.engine.injected[..] else { panic!("one probe") };
    assert_eq!(probe.entry, Entry::Originate);
    assert_eq!((&probe.packet[12..16], &probe.packet[16..20]), (&[10, 1, 0, 7][..], &[10, 2, 3, 4][..]));
    assert!(matches!(theatre.tunnels.ted_in_flight()[0].stage, Stage::Probing { sent: 1 }));
    answers(&mut theatre, "203.0.113.9", "10.2.0.0/16", "10.1.0.0/24");
    let gateway: IpAddr = "203.0.113.9".parse().unwrap();
    let calls = theatre.calls();
    let [Call::Find(template, at), Call::Add(child), Call::Open(rule)] = &calls[..] else {
        panic!("{calls:?}")
    };
    assert_eq!((*template, *at, child.rule), (PEER, gateway, *rule));
    assert_eq!((child.peer.0, child.selector), (FOUND, between("10.1.0.0/24", "10.2.0.0/16")));
    assert!(!child.is_divisible && theatre.engine.bound.contains_key(rule));
    assert_eq!(names(&theatre), ["far-0/203.0.113.9", "far-0"]);
    let states: Vec<_> = theatre.tunnels.status().iter().map(|tunnel| tunnel.state).collect();
    assert!(matches!(states[..], [State::Up { .. }, State::Discovers]));
}

#[test] // TED-53
fn smaller_parts_come_before_larger_ones_and_static_rules_keep_their_places() {
    let mut config = left();
    let mut fixed = support::world::config(0, 1, Start::OnTraffic);
    fixed.peers[0].id = warren_policy::PeerId(1);
    let (mut rule, mut tunnel) = (fixed.rules.tunnel.remove(0), fixed.tunnels.remove(0));
    (rule.id, rule.peer, tunnel.child.rule, tunnel.child.peer) =
        (RuleId(0), fixed.peers[0].id, RuleId(0), fixed.peers[0].id);
    (config.rules.tunnel[0].id, config.tunnels[0].child.rule) = (RuleId(1), RuleId(1));
    config.rules.tunnel.insert(0, rule);
    config.tunnels.insert(0, tunnel);
    config.peers.push(fixed.peers.remove(0));
    let mut theatre = Theatre::new(config, Vec::new());
    wants(&mut theatre, 1, flow("10.1.0.7", "10.2.3.4"));
    answers(&mut theatre, "203.0.113.9", "10.2.0.0/16", "10.1.0.0/16");
    wants(&mut theatre, 1, flow("10.1.0.7", "10.2.128.1"));
    assert_eq!(theatre.engine.injected.len(), 1, "that has a tunnel already");
    // A packet that the first part does not hold, and a smaller part.
    theatre
        .tunnels
        .handle_event(theatre.now, Event::Acquire { rule: RuleId(1), packet: flow("10.1.0.7", "10.3.0.1") });
    theatre.drain();
    assert_eq!(names(&theatre), ["net-0", "far-0/203.0.113.9", "far-0"]);
}

#[test] // TED-56, Q-22
fn a_negotiation_that_fails_takes_its_rule_along_and_the_destination_rests() {
    let mut theatre = Theatre::new(left(), Vec::new());
    theatre.stage.borrow_mut().refuses = Some(Failure::NoAnswer);
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    answers(&mut theatre, "203.0.113.9", "10.2.0.0/16", "10.1.0.0/24");
    assert_eq!(names(&theatre), ["far-0"]);
    let calls = theatre.calls();
    assert!(matches!(calls[..], [.., Call::Remove(_), Call::Forget(_)]), "{calls:?}");
    let resting = theatre.tunnels.ted_resting();
    assert_eq!((resting.len(), resting[0].why), (1, NotFound::NotNegotiated));
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    assert_eq!(theatre.engine.injected.len(), 1, "nothing is asked while it rests");
    theatre.run(seconds(31));
    theatre.stage.borrow_mut().refuses = None;
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    answers(&mut theatre, "203.0.113.9", "10.2.0.0/16", "10.1.0.0/24");
    assert_eq!(names(&theatre), ["far-0/203.0.113.9", "far-0"]);
    assert!(theatre.tunnels.ted_resting().is_empty());
}

#[test] // TED-5, F-24
fn a_gateway_that_dies_takes_its_rule_along_and_traffic_discovers_again() {
    let mut theatre = Theatre::new(left(), Vec::new());
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    answers(&mut theatre, "203.0.113.9", "10.2.0.0/16", "10.1.0.0/24");
    theatre.calls();
    theatre.stage.borrow_mut().lose(warren_policy::PeerId(FOUND), Down::DeadPeer);
    theatre.play();
    assert_eq!(names(&theatre), ["far-0"]);
    assert!(theatre.engine.is_empty());
    assert!(theatre.calls().contains(&Call::Forget(warren_policy::PeerId(FOUND))));
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    assert_eq!(theatre.engine.injected.len(), 2, "another probe, at once");
}

fn asks(theatre: &mut Theatre, gateway: &str, selector: Selector) {
    let path =
        Path { local: (address(0), 500).into(), remote: (gateway.parse::<IpAddr>().unwrap(), 500).into() };
    theatre.say(Ike::ChildAsked {
        peer: warren_policy::PeerId(FOUND),
        within: RuleId(0),
        selector,
        asked: Asked { path, message: b"first message".to_vec() },
    });
}

#[test] // TED-30, TED-56
fn a_part_that_a_peer_asks_for_becomes_a_rule_before_its_negotiation_goes_on() {
    let mut theatre = Theatre::new(left(), Vec::new());
    let part = between("10.1.0.0/24", "10.2.0.0/16");
    asks(&mut theatre, "203.0.113.9", part);
    let calls = theatre.calls();
    let [Call::Find(..), Call::Add(child), Call::Grant(message)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((child.selector, &message[..]), (part, &b"first message"[..]));
    assert_eq!(names(&theatre), ["far-0/203.0.113.9", "far-0"]);
    // Asked again, it is the same one.
    asks(&mut theatre, "203.0.113.9", part);
    let calls = theatre.calls();
    assert!(matches!(calls[..], [Call::Find(..), Call::Grant(_)]), "{calls:?}");
    // It never came up: it goes when its time is over.
    theatre.run(warren_tunnels::limits::GRANT_PATIENCE + seconds(1));
    assert_eq!(names(&theatre), ["far-0"]);
    assert!(theatre.calls().contains(&Call::Forget(warren_policy::PeerId(FOUND))));
}

#[test] // F-12
fn peers_that_ask_for_ever_more_parts_come_to_an_end() {
    let mut theatre = Theatre::new(left(), Vec::new());
    let most = warren_tunnels::limits::DISCOVERED_MAX;
    for at in 0..300_u32 {
        let part = between(&format!("10.1.0.{}/32", at % 256), &format!("10.2.{}.0/24", at / 256));
        asks(&mut theatre, "203.0.113.9", part);
    }
    assert!(theatre.tunnels.discovered().len() == 300 && most >= 300);
    theatre.run(warren_tunnels::limits::GRANT_PATIENCE + seconds(1));
    assert!(theatre.tunnels.discovered().is_empty());
}

#[test] // TED-7
fn the_operator_closes_a_rule_and_everything_that_was_found_for_it() {
    let mut theatre = Theatre::new(left(), Vec::new());
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    answers(&mut theatre, "203.0.113.9", "10.2.0.0/16", "10.1.0.0/24");
    assert!(theatre.tunnels.down(theatre.now, RuleId(0)));
    theatre.drain();
    assert_eq!(names(&theatre), ["far-0"]);
    assert!(theatre.engine.is_empty());
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    asks(&mut theatre, "203.0.113.9", between("10.1.0.0/24", "10.2.0.0/16"));
    assert_eq!((theatre.engine.injected.len(), names(&theatre)), (1, vec!["far-0"]));
    let refused = theatre.tunnels.ted_probe(theatre.now, flow("10.1.0.7", "10.2.3.4"));
    assert_eq!(refused, Err(ProbeRefused::Closed("far-0".to_owned())));
    assert_eq!(answered(&mut theatre), 0, "nor is anybody told what it protects");
    assert!(theatre.tunnels.up(theatre.now, RuleId(0)));
    assert_eq!(theatre.tunnels.ted_probe(theatre.now, flow("10.1.0.7", "10.2.3.4")), Ok(RuleId(0)));
    theatre.drain();
    let own = theatre.engine.injected.iter().filter(|packet| packet.entry == Entry::Originate);
    assert_eq!(own.count(), 2);
    assert_eq!(answered(&mut theatre), 1);
}

/// Another gateway's probe for a host of ours; how many answers it gets.
fn answered(theatre: &mut Theatre) -> u64 {
    let mut other = Theatre::new(right(), Vec::new());
    // Both have the same randomness: the cookies of the first ones could be our own.
    for host in 1..8 {
        wants(&mut other, 0, flow("10.2.3.4", &format!("10.1.0.{host}")));
    }
    let probe = other.engine.injected.pop().unwrap().packet;
    theatre.tunnels.handle_event(theatre.now, caught(Catch::Probe, probe));
    theatre.drain();
    theatre.tunnels.ted_counters().iter().find(|(name, _)| *name == "responses-sent").unwrap().1
}

#[test] // TED-2, F-10
fn the_operator_is_told_why_nothing_is_asked() {
    let mut config = left();
    config.rules.tunnel[0].selector = between("10.1.0.0/16", "10.2.0.0/16");
    config.tunnels[0].child.selector = between("10.1.0.0/16", "10.2.0.0/16");
    let mut theatre = Theatre::new(config.clone(), Vec::new());
    let outside = flow("10.1.0.7", "10.7.0.1");
    assert_eq!(theatre.tunnels.discover_rule(&outside), Err(ProbeRefused::NoRule(outside)));
    let packet = flow("10.1.0.7", "10.2.3.4");
    let (rule, preview) = theatre.tunnels.ted_preview(theatre.now, packet).unwrap();
    assert_eq!((rule, preview[9], theatre.engine.injected.len()), (RuleId(0), 17, 0), "nothing is sent");
    wants(&mut theatre, 0, packet);
    answers(&mut theatre, "203.0.113.9", "10.2.0.0/16", "10.1.0.0/16");
    let refused = theatre.tunnels.ted_probe(theatre.now, packet);
    assert_eq!(refused, Err(ProbeRefused::HasTunnel("far-0/203.0.113.9".to_owned())));
    config.concealed = vec![RuleId(0)];
    let mut concealed = Theatre::new(config, Vec::new());
    assert!(matches!(concealed.tunnels.ted_probe(concealed.now, packet), Err(ProbeRefused::Unasked(_))));
    assert!(!concealed.tunnels.ted_asks());
    wants(&mut concealed, 0, packet);
    assert!(concealed.engine.injected.is_empty());
}

#[test] // TED-7
fn a_reload_keeps_what_was_found_for_a_rule_that_stays_and_drops_the_rest() {
    let two = [between("10.1.0.0/16", "10.2.0.0/16"), between("10.1.0.0/16", "10.3.0.0/16")];
    let config = |selectors: &[Selector]| discoverer(0, selectors, &["10.0.0.0/8"]);
    let mut theatre = Theatre::new(config(&two), Vec::new());
    wants(&mut theatre, 0, flow("10.1.0.7", "10.2.3.4"));
    answers(&mut theatre, "203.0.113.9", "10.2.0.0/16", "10.1.0.0/24");
    wants(&mut theatre, 1, flow("10.1.0.7", "10.3.3.4"));
    answers(&mut theatre, "203.0.113.10", "10.3.0.0/16", "10.1.0.0/24");
    let before = theatre.engine.bound.clone();
    assert_eq!(names(&theatre), ["far-0/203.0.113.9", "far-0", "far-1/203.0.113.10", "far-1"]);
    theatre.tunnels.reconfigure(theatre.now, config(&two[1..]));
    theatre.drain();
    assert_eq!(names(&theatre), ["far-1/203.0.113.10", "far-0"]);
    assert_eq!(theatre.engine.bound.len(), 1);
    assert!(theatre.engine.bound.iter().all(|(rule, sa)| before.get(rule) == Some(sa)), "the same SAs");
    // And the rule that stays goes on discovering.
    wants(&mut theatre, 1, flow("10.1.9.7", "10.3.3.4"));
    assert_eq!(theatre.engine.injected.len(), 3);
}
