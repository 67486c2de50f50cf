//! Two gateways' tunnels talk on a virtual clock, over a scripted negotiator.

#![allow(clippy::unwrap_used)]

mod support;

use support::world::{World, config, millis, seconds};
use warren_policy::{Lifetime, RuleId};
use warren_seam::Event;
use warren_tunnels::limits::RESPONDER_PATIENCE;
use warren_tunnels::{Negotiator, Notice, Start, State};

const TRAFFIC: [Start; 2] = [Start::OnTraffic, Start::OnTraffic];
const RULE: RuleId = RuleId(0);

#[test] // F-24, TED-5
fn the_first_packet_is_dropped_and_starts_exactly_one_negotiation() {
    let mut world = World::scripted(1, TRAFFIC, 1);
    for _ in 0..100 {
        world.packet(0, 0);
    }
    assert_eq!(world.state(0, 0), State::Negotiating);
    assert_eq!(world.sides[0].sent, 0);
    world.run(seconds(1));
    assert_eq!(world.sides[0].tunnels.negotiator().opened, 1);
    assert!(world.is_up(0, 0) && world.is_up(1, 0));
    world.packet(0, 0);
    world.packet(1, 0);
    world.run(seconds(1));
    assert_eq!((world.sides[0].arrived, world.sides[1].arrived), (1, 1));
    world.assert_same_pairs(0, 1);
}

#[test] // F-24
fn a_rekey_loses_no_packet() {
    for seed in 0..20 {
        let mut world = World::scripted(1, [Start::Immediately, Start::OnTraffic], seed);
        world.delay_spread = millis(20);
        world.run(seconds(2));
        world.run_with_traffic(seconds(600), millis(50));
        world.run(seconds(1));
        for side in &world.sides {
            assert_eq!((side.dropped, side.refused), (0, 0), "seed {seed}");
            assert_eq!(side.sent, side.arrived);
        }
        let rekeys = |notice: &&Notice| matches!(notice, Notice::Rekeyed { .. });
        assert!(world.sides[1].notices.iter().filter(rekeys).count() >= 5);
        assert_eq!(world.sides[1].tunnels.negotiator().opened, 0, "the initiator rekeys first");
    }
}

#[test] // F-24: the third message is lost and only its repetition arrives
fn a_rekey_over_a_bad_network_ends_with_traffic_passing() {
    for seed in 0..50 {
        let mut world = World::scripted(2, [Start::Immediately, Start::Immediately], seed);
        (world.loss, world.duplication, world.delay_spread) = (300, 100, millis(200));
        world.run_with_traffic(seconds(700), millis(500));
        world.loss = 0;
        world.duplication = 0;
        // A Delete that was lost leaves one side with an SA that the other has not: its lifetime ends that.
        world.run_with_traffic(seconds(400), millis(500));
        let before: Vec<_> = world.sides.iter().map(|side| (side.dropped, side.refused)).collect();
        world.run_with_traffic(seconds(30), millis(100));
        world.run(seconds(1));
        let after: Vec<_> = world.sides.iter().map(|side| (side.dropped, side.refused)).collect();
        assert_eq!(before, after, "seed {seed}");
        world.shutdown();
    }
}

#[test] // F-24
fn an_unreachable_peer_is_tried_again_ever_more_seldom_until_it_answers() {
    let mut world = World::scripted(1, TRAFFIC, 3);
    world.loss = 1000;
    world.run_with_traffic(seconds(1200), millis(100));
    let tries = world.sides[0].tunnels.negotiator().opened;
    assert!((8..=25).contains(&tries), "{tries}");
    assert_eq!(world.sides[0].sent, 0, "nothing leaves without an SA");
    world.loss = 0;
    world.run_with_traffic(seconds(400), millis(100));
    assert!(world.is_up(0, 0) && world.is_up(1, 0));
    world.run_with_traffic(seconds(30), millis(100));
    assert_eq!(world.sides[0].tunnels.status()[0].last_failure, None);
    world.run(seconds(10));
    world.assert_no_orphans();
}

#[test]
fn both_sides_starting_at_once_converge_on_one_pair() {
    for seed in 0..200 {
        let mut world = World::scripted(1, [Start::Immediately, Start::Immediately], seed);
        world.delay_spread = millis(30);
        world.run_with_traffic(seconds(40), millis(100));
        world.assert_same_pairs(0, 1);
        assert!(world.is_up(0, 0) && world.is_up(1, 0), "seed {seed}");
        world.assert_no_orphans();
        let dropped = world.sides.each_ref().map(|side| side.dropped);
        assert!(dropped[0] < 3 && dropped[1] < 3, "{dropped:?}");
        assert_eq!(world.sides.each_ref().map(|side| side.refused), [0, 0]);
    }
}

#[test]
fn both_sides_rekeying_at_once_converge_on_one_pair_without_loss() {
    let mut collisions = 0;
    for seed in 0..200 {
        let mut world = World::scripted(1, [Start::Immediately, Start::OnTraffic], seed);
        world.run_with_traffic(seconds(20), millis(100));
        let dropped = world.sides.each_ref().map(|side| side.dropped);
        let opened = world.sides[1].tunnels.negotiator().opened;
        // From apart to exactly together: the overlap that only one side sees is among them.
        for (side, pause) in [(1, RESPONDER_PATIENCE + millis(seed % 100) - millis(50)), (0, millis(0))] {
            let State::Up { inbound, .. } = world.state(side, 0) else { panic!("not up") };
            world.sides[side].tunnels.handle_event(world.now, Event::SoftExpire(inbound));
            world.drain(side);
            world.run_with_traffic(pause, millis(1));
        }
        world.run_with_traffic(seconds(60), millis(10));
        world.assert_same_pairs(0, 1);
        world.assert_no_orphans();
        assert_eq!(dropped, world.sides.each_ref().map(|side| side.dropped), "seed {seed}");
        assert_eq!(world.sides.each_ref().map(|side| side.refused), [0, 0]);
        collisions += world.sides[1].tunnels.negotiator().opened - opened;
    }
    assert!((50..=190).contains(&collisions), "{collisions}");
}

#[test]
fn a_peer_that_deletes_every_pair_at_once_is_not_asked_in_a_storm() {
    let mut world = World::scripted(1, [Start::Immediately, Start::OnTraffic], 5);
    world.sides[1].tunnels.down(seconds(0), RULE);
    world.drain(1);
    world.run_with_traffic(seconds(600), millis(20));
    let opened = world.sides[0].tunnels.negotiator().opened;
    assert!((5..=20).contains(&opened), "{opened}");
    assert_eq!(world.sides[1].tunnels.negotiator().opened, 0, "closed means closed");
    assert_eq!(world.sides[1].sent, 0);
    world.assert_no_orphans();
    world.sides[1].tunnels.up(world.now, RULE);
    world.drain(1);
    world.run_with_traffic(seconds(20), millis(20));
    assert!(world.is_up(0, 0) && world.is_up(1, 0));
}

#[test] // F-18, F-24
fn at_the_hard_limit_traffic_is_cut_first_and_then_acquires_again() {
    let mut world = World::scripted(1, TRAFFIC, 6);
    world.run_with_traffic(seconds(20), millis(100));
    world.loss = 1000;
    world.run(seconds(200));
    assert!(world.sides.iter().all(|side| side.engine.is_empty()), "nothing outlives its lifetime");
    world.packet(0, 0);
    world.packet(1, 0);
    assert_eq!(world.sides.each_mut().map(|side| side.engine.send(RULE).is_ok()), [false, false]);
    world.loss = 0;
    world.run_with_traffic(seconds(600), millis(100));
    assert!(world.is_up(0, 0));
}

#[test] // F-18
fn an_sa_that_used_up_its_volume_is_replaced() {
    let mut world = World::scripted(1, TRAFFIC, 7);
    world.run_with_traffic(seconds(20), millis(100));
    let State::Up { outbound, .. } = world.state(0, 0) else { panic!("not up") };
    world.sides[0].tunnels.handle_event(world.now, Event::HardExpire(outbound));
    assert!(world.sides[0].tunnels.status()[0].pairs.is_empty());
    world.drain(0);
    assert!(world.sides[0].engine.is_empty());
    world.run_with_traffic(seconds(5), millis(100));
    assert!(world.is_up(0, 0));
    let State::Up { outbound: new, .. } = world.state(0, 0) else { panic!("not up") };
    assert_ne!(new, outbound);
}

#[test]
fn a_tunnel_that_was_taken_down_stays_down_whatever_traffic_wants() {
    let mut world = World::scripted(2, TRAFFIC, 8);
    world.run_with_traffic(seconds(20), millis(100));
    assert!(world.sides[0].tunnels.down(world.now, RULE));
    assert!(!world.sides[0].tunnels.down(world.now, RuleId(9)), "there is no such rule");
    world.drain(0);
    let opened = world.sides[0].tunnels.negotiator().opened;
    for _ in 0..100 {
        world.packet(0, 0);
        world.packet(0, 1);
        world.run(millis(100));
    }
    assert_eq!(world.state(0, 0), State::Closed);
    assert_eq!(world.sides[0].tunnels.negotiator().opened, opened);
    assert!(world.is_up(0, 1), "the other tunnel is not touched");
    assert!(world.sides[0].tunnels.up(world.now, RULE));
    world.drain(0);
    world.run(seconds(2));
    assert!(world.is_up(0, 0) && world.is_up(1, 0));
}

#[test]
fn a_dead_peer_takes_every_tunnel_down_and_immediate_ones_come_back() {
    let mut world = World::scripted(3, [Start::Immediately, Start::OnTraffic], 9);
    world.run(seconds(20));
    let before = world.sides[0].engine.installs;
    world.sides[1].tunnels.shutdown(world.now);
    world.run(seconds(1));
    // The Deletes were never drained onto the wire: the other side vanished silently.
    lose_peer(&mut world);
    assert!(world.sides[0].engine.is_empty());
    assert!(matches!(world.state(0, 0), State::HoldDown { .. }));
    for rule in 0..3 {
        world.sides[1].tunnels.up(world.now, RuleId(rule));
    }
    world.drain(1);
    world.run(seconds(20));
    assert!((0..3).all(|rule| world.is_up(0, rule)));
    assert!(world.sides[0].engine.installs >= before + 3);
}

fn lose_peer(world: &mut World<support::scripted::Scripted>) {
    let side = &mut world.sides[0].tunnels;
    side.negotiator().peer_lost.set(true);
    side.handle_timeout(world.now);
    world.drain(0);
}

#[test]
fn a_reload_keeps_what_did_not_change_and_closes_the_rest() {
    let mut world = World::scripted(3, TRAFFIC, 10);
    world.run_with_traffic(seconds(20), millis(100));
    let bound = world.sides[0].engine.bound.clone();
    let mut changed = config(0, 2, Start::OnTraffic);
    changed.tunnels[1].child.lifetime = Lifetime { seconds: 90, kilobytes: None };
    let old_name = std::mem::replace(&mut changed.rules.tunnel[1].name, "renamed".to_owned());
    world.sides[0].notices.clear();
    world.sides[0].tunnels.reconfigure(world.now, changed);
    world.drain(0);
    assert_eq!(world.sides[0].engine.bound.get(&RULE), bound.get(&RULE), "unchanged: the same SA again");
    assert_eq!(world.sides[0].engine.bound.len(), 1);
    assert_eq!(world.sides[0].engine.outbound.len(), 1);
    assert_eq!(world.sides[0].engine.inbound.len(), 1);
    let goes = |notice: &Notice| matches!(notice, Notice::Down { tunnel, .. } if *tunnel == old_name);
    assert!(world.sides[0].notices.iter().any(goes), "what goes is logged under the name it had");
    world.run(seconds(1));
    for _ in 0..50 {
        world.packet(0, 1);
        world.run(millis(100));
    }
    assert!(world.is_up(0, 1), "the changed one is negotiated anew when traffic wants it");
    world.assert_no_orphans();
}

#[test] // F-24, F-28
fn whatever_happens_no_bound_sa_is_removed_and_at_the_end_none_is_left() {
    for seed in 0..300 {
        let mut world = World::scripted(2, [Start::Immediately, Start::OnTraffic], seed);
        world.lossy_esp = true;
        for _ in 0..300 {
            disturb(&mut world);
            let pause = millis(world.chance.below(4000));
            world.run(pause);
        }
        (world.loss, world.duplication) = (0, 0);
        for side in 0..2 {
            for rule in 0..2 {
                world.sides[side].tunnels.up(world.now, RuleId(rule));
                world.drain(side);
            }
        }
        world.run_with_traffic(seconds(900), millis(500));
        let before = world.sides.each_ref().map(|side| (side.dropped, side.refused));
        world.run_with_traffic(seconds(60), millis(500));
        assert_eq!(before, world.sides.each_ref().map(|side| (side.dropped, side.refused)), "seed {seed}");
        world.shutdown();
    }
}

fn disturb<N: Negotiator>(world: &mut World<N>) {
    let side = world.chance.below(2) as usize;
    let rule = RuleId(world.chance.below(2) as u32);
    let installed: Vec<_> = world.sides[side]
        .engine
        .inbound
        .keys()
        .chain(world.sides[side].engine.outbound.keys())
        .copied()
        .collect();
    let some = installed.get(world.chance.below(installed.len().max(1) as u64) as usize).copied();
    let now = world.now;
    if let Some(sa) = some {
        let remote = "203.0.113.9:4500".parse().unwrap();
        match world.chance.below(8) {
            0 => world.sides[side].tunnels.handle_event(now, Event::SoftExpire(sa)),
            1 => world.sides[side].tunnels.handle_event(now, Event::HardExpire(sa)),
            2 => world.sides[side].tunnels.handle_event(now, Event::PeerMoved { sa, remote }),
            _ => {}
        }
    }
    match world.chance.below(9) {
        0 => world.loss = [0, 100, 500, 1000][world.chance.below(4) as usize],
        1 => world.duplication = [0, 200][world.chance.below(2) as usize],
        2 => drop(world.sides[side].tunnels.up(now, rule)),
        3 => drop(world.sides[side].tunnels.down(now, rule)),
        4 => world.sides[side].tunnels.reconfigure(now, config(side, 2, Start::OnTraffic)),
        _ => world.packet(side, rule.0),
    }
    world.drain(side);
}

#[test] // F-24
fn a_pair_that_the_peer_renewed_is_no_fallback_when_its_successor_ends() {
    let mut world = World::scripted(1, [Start::Immediately, Start::OnTraffic], 7);
    world.run_with_traffic(seconds(20), millis(100));
    let State::Up { inbound, .. } = world.state(0, 0) else { panic!("not up") };
    world.sides[0].tunnels.handle_event(world.now, Event::SoftExpire(inbound));
    world.drain(0);
    while world.sides[1].tunnels.status()[0].pairs.len() < 2 {
        world.run(millis(10));
    }
    // Some peers never delete what they renewed; a lost Delete looks the same.
    world.loss = 1000;
    let pairs = world.sides[1].tunnels.status()[0].pairs.clone();
    let successor = pairs.iter().find(|pair| pair.bound).unwrap().inbound.id;
    world.sides[1].tunnels.handle_event(world.now, Event::HardExpire(successor));
    world.drain(1);
    assert!(world.sides[1].engine.bound.is_empty(), "traffic is dropped until a negotiation has ended");
    world.loss = 0;
    world.run_with_traffic(seconds(60), millis(100));
    assert!(world.is_up(0, 0) && world.is_up(1, 0));
}
