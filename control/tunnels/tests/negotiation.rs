//! Two gateways' tunnels talk on a virtual clock, over IKE itself.
#![allow(clippy::unwrap_used)]

mod support;

use support::world::{World, millis, seconds};
use warren_ike::Endpoint;
use warren_policy::RuleId;
use warren_seam::Event;
use warren_tunnels::{Notice, Start, State};

const TRAFFIC: [Start; 2] = [Start::OnTraffic, Start::OnTraffic];

fn both_up(world: &World<Endpoint>, rules: usize) -> bool {
    (0..rules).all(|rule| world.is_up(0, rule) && world.is_up(1, rule))
}

#[test] // F-24, TED-5
fn the_first_packet_negotiates_and_the_next_ones_pass() {
    let mut world = World::over_ike(3, TRAFFIC, 1);
    for rule in 0..3 {
        world.packet(0, rule);
    }
    world.run(seconds(2));
    assert!(both_up(&world, 3));
    world.run_with_traffic(seconds(5), millis(50));
    world.run(seconds(1));
    for side in &world.sides {
        assert_eq!((side.sent, side.refused), (side.arrived, 0));
    }
    for rule in 0..3 {
        world.assert_same_pairs(rule, 1);
    }
    world.shutdown();
}

#[test] // F-24
fn a_rekey_loses_no_packet() {
    for seed in 0..3 {
        let mut world = World::over_ike(1, [Start::Immediately, Start::OnTraffic], seed);
        world.delay_spread = millis(20);
        world.run(seconds(2));
        world.run_with_traffic(seconds(400), millis(100));
        world.run(seconds(1));
        for side in &world.sides {
            assert_eq!((side.dropped, side.refused), (0, 0), "seed {seed}");
            assert_eq!(side.sent, side.arrived);
        }
        let rekeys = |notice: &&Notice| matches!(notice, Notice::Rekeyed { .. });
        assert!(world.sides[1].notices.iter().filter(rekeys).count() >= 3);
        world.shutdown();
    }
}

#[test]
fn both_sides_starting_at_once_converge_on_one_pair() {
    for seed in 0..20 {
        let mut world = World::over_ike(1, [Start::Immediately, Start::Immediately], seed);
        world.delay_spread = millis(30);
        world.run_with_traffic(seconds(40), millis(100));
        world.assert_same_pairs(0, 1);
        assert!(both_up(&world, 1), "seed {seed}");
        world.assert_no_orphans();
        assert_eq!(world.sides.each_ref().map(|side| side.refused), [0, 0]);
        world.shutdown();
    }
}

#[test] // F-24
fn a_bad_network_delays_traffic_and_nothing_else() {
    for seed in 0..10 {
        let mut world = World::over_ike(2, [Start::Immediately, Start::OnTraffic], seed);
        (world.loss, world.duplication, world.delay_spread) = (300, 100, millis(200));
        world.run_with_traffic(seconds(400), millis(500));
        (world.loss, world.duplication) = (0, 0);
        world.run_with_traffic(seconds(400), millis(500));
        let before = world.sides.each_ref().map(|side| (side.dropped, side.refused));
        world.run_with_traffic(seconds(60), millis(100));
        world.run(seconds(1));
        assert_eq!(before, world.sides.each_ref().map(|side| (side.dropped, side.refused)), "seed {seed}");
        world.shutdown();
    }
}

#[test] // F-24
fn a_peer_that_vanishes_is_found_dead_and_found_again() {
    let mut world = World::over_ike(2, [Start::Immediately, Start::OnTraffic], 4);
    world.run_with_traffic(seconds(5), millis(100));
    assert!(both_up(&world, 2));
    world.loss = 1000;
    world.run_with_traffic(seconds(70), millis(200));
    let down = |notice: &&Notice| matches!(notice, Notice::Down { .. });
    assert_eq!(world.sides[0].notices.iter().filter(down).count(), 2, "both tunnels went with the peer");
    assert!(world.sides[0].engine.bound.is_empty(), "nothing is sent into the void");
    world.loss = 0;
    world.run_with_traffic(seconds(400), millis(200));
    assert!(both_up(&world, 2));
    world.shutdown();
}

#[test]
fn a_tunnel_that_is_down_here_stays_down_whatever_the_peer_does() {
    let mut world = World::over_ike(1, TRAFFIC, 5);
    world.run_with_traffic(seconds(5), millis(100));
    world.sides[1].tunnels.down(world.now, RuleId(0));
    world.drain(1);
    world.run_with_traffic(seconds(60), millis(100));
    assert_eq!(world.state(1, 0), State::Closed);
    assert!(world.sides[1].engine.bound.is_empty());
    world.sides[1].tunnels.up(world.now, RuleId(0));
    world.drain(1);
    world.run_with_traffic(seconds(40), millis(100));
    assert!(both_up(&world, 1));
    world.assert_no_orphans();
}

#[test] // F-18
fn a_soft_limit_by_volume_replaces_the_pair_without_loss() {
    let mut world = World::over_ike(1, TRAFFIC, 6);
    world.packet(0, 0);
    world.run(seconds(2));
    let State::Up { outbound, .. } = world.state(0, 0) else { panic!("not up") };
    world.sides[0].tunnels.handle_event(world.now, Event::SoftExpire(outbound));
    world.drain(0);
    world.run_with_traffic(seconds(30), millis(10));
    world.run(seconds(1));
    let State::Up { outbound: new, .. } = world.state(0, 0) else { panic!("not up") };
    assert_ne!(new, outbound);
    for side in &world.sides {
        assert_eq!((side.sent, side.refused), (side.arrived, 0));
    }
    world.assert_same_pairs(0, 1);
}
