//! One rule bound to several stacks: flows spread over them, and each keeps to one.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod lab;

use lab::*;
use std::collections::{BTreeMap, BTreeSet};
use warren_engine::packet::protocol;
use warren_engine::{DropReason, Settings, Tally, WorkerId};
use warren_policy::RuleId;
use warren_seam::{Command, Event, OutboundSa, SaId, Spi};

const WORKERS: usize = 3;
const SPI: u32 = 0x5000;

fn lane(lane: u16) -> OutboundSa {
    let like = outbound(Scheme::default(), 1, 0);
    let spi = Spi(SPI + u32::from(lane));
    OutboundSa {
        id: SaId(100 + u64::from(lane)),
        spi,
        lane,
        keys: keys(like.transform, 50 + lane as u8),
        ..like
    }
}

fn stack(number: u16) -> Vec<SaId> {
    vec![lane(number).id]
}

/// A gateway with so many lanes of rule 0.
fn spread(workers: usize, lanes: u16) -> Gateway {
    let mut gateway = Gateway::new(workers, &Settings::default());
    gateway.submit(Command::Forwarding(table(1)));
    gateway.submit(Command::Rules(rules(1)));
    for number in 0..lanes {
        gateway.submit(Command::InstallOutbound(Box::new(lane(number))));
    }
    gateway.submit(Command::Spread { rule: RuleId(0), stacks: (0..lanes).map(stack).collect() });
    gateway.poll();
    gateway
}

/// One TCP packet of a flow. What comes to the wire at once is told by the SPIs that protect it.
fn send(gateway: &mut Gateway, worker: usize, port: u16) -> Vec<u16> {
    let mut segment = vec![0; 40];
    segment[..2].copy_from_slice(&port.to_be_bytes());
    segment[12] = 0x50;
    let packet = ip_packet(&Udp::default(), protocol::TCP, &segment);
    assert!(gateway.links[worker][INSIDE].send(&frame(mac(1, INSIDE), &packet)));
    gateway.poll();
    let lane = |packet: Vec<u8>| u32::from_be_bytes(packet[20..24].try_into().unwrap()) - SPI;
    gateway.receive(OUTSIDE).into_iter().map(|packet| lane(packet) as u16).collect()
}

#[test] // DESIGN 2
fn with_a_lane_for_each_worker_nothing_is_handed_over_and_every_worker_seals() {
    let mut gateway = spread(WORKERS, WORKERS as u16);
    for port in 1..40 {
        for worker in 0..WORKERS {
            assert_eq!(send(&mut gateway, worker, port), [worker as u16]);
        }
    }
    assert_eq!(gateway.tally(Tally::Handed), 0);
    gateway.assert_drops(&[]);
}

#[test] // DESIGN 2
fn both_directions_of_a_lane_belong_to_one_worker_and_neighbours_to_others() {
    let gateway = Gateway::new(WORKERS, &Settings::default());
    let owners =
        |rule| (0..4).map(|lane| gateway.handle.owner_of_lane(RuleId(rule), lane).0).collect::<Vec<_>>();
    assert_eq!((owners(0), owners(2)), (vec![0, 1, 2, 0], vec![2, 0, 1, 2]));
    assert_eq!(gateway.handle.owner(RuleId(2)), WorkerId(2));
}

#[test]
fn without_a_lane_of_its_own_a_worker_spreads_flows_over_all_and_each_keeps_to_one() {
    let mut gateway = spread(WORKERS, 2);
    let mut seen: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
    for _ in 0..3 {
        for port in 1..60 {
            let lanes = send(&mut gateway, 2, port);
            assert_eq!(lanes.len(), 1);
            seen.entry(port).or_default().extend(lanes);
        }
    }
    assert!(seen.values().all(|lanes| lanes.len() == 1), "{seen:?}");
    let on = |lane| seen.values().filter(|lanes| lanes.contains(&lane)).count();
    assert!(on(0) > 15 && on(1) > 15, "{} and {}", on(0), on(1));
    assert_eq!(gateway.tally(Tally::Handed), 177);
}

#[test]
fn several_lanes_of_one_worker_share_its_flows() {
    let mut gateway = spread(1, 4);
    let used: BTreeSet<_> = (1..100).flat_map(|port| send(&mut gateway, 0, port)).collect();
    assert_eq!(used, (0..4).collect());
}

#[test]
fn fragments_keep_to_the_lane_of_their_flow() {
    let mut gateway = spread(1, 4);
    let lanes = |gateway: &mut Gateway, packet: &[u8]| {
        gateway.send_and_poll(1, INSIDE, packet);
        let spis = gateway.receive(OUTSIDE).into_iter().map(|packet| packet[20..24].to_vec());
        spis.collect::<BTreeSet<_>>()
    };
    for host in 2..30 {
        let from = format!("10.1.0.{host}");
        let whole = Udp { from: &from, payload: 64, ..Udp::default() }.packet();
        let mut later = whole.clone();
        // 800 octets into a datagram, and its end: it shows no ports.
        warren_engine::packet::ipv4::set_fragment(&mut later, whole.len(), 800, false);
        let large = Udp { from: &from, payload: 1440, dont_fragment: false, ..Udp::default() }.packet();
        let expected = lanes(&mut gateway, &whole);
        assert_eq!(expected.len(), 1);
        assert_eq!(lanes(&mut gateway, &later), expected);
        assert_eq!(lanes(&mut gateway, &large), expected);
    }
    assert!(gateway.tally(Tally::Fragmented) > 0);
}

#[test] // F-24
fn a_lane_that_is_not_whole_carries_nothing_and_costs_nothing() {
    let mut gateway = spread(WORKERS, WORKERS as u16);
    gateway.submit(Command::Remove(lane(1).id));
    gateway.poll();
    let through: BTreeSet<_> = (1..40).flat_map(|port| send(&mut gateway, 1, port)).collect();
    assert_eq!(through, [0, 2].into(), "the others carry it");
    gateway.assert_drops(&[]);
    // It comes back without being bound again.
    gateway.submit(Command::InstallOutbound(Box::new(lane(1))));
    gateway.poll();
    assert_eq!(send(&mut gateway, 1, 7), [1]);
    for number in 0..3 {
        gateway.submit(Command::Remove(lane(number).id));
    }
    gateway.poll();
    assert!(send(&mut gateway, 1, 7).is_empty());
    assert!(matches!(gateway.take_events()[..], [Event::Acquire { rule: RuleId(0), .. }]));
    gateway.assert_drops(&[(DropReason::NoSa, 1)]);
}

#[test] // F-24
fn spreading_over_nothing_unbinds() {
    let mut gateway = spread(1, 2);
    gateway.submit(Command::Spread { rule: RuleId(0), stacks: vec![Vec::new(), Vec::new()] });
    gateway.poll();
    assert!(send(&mut gateway, 0, 7).is_empty());
    gateway.assert_drops(&[(DropReason::NoSa, 1)]);
}
