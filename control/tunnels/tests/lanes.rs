//! Several pairs of one tunnel side by side: who opens them, how each is renewed, and what a peer that counts otherwise
//! does to them.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use support::scripted::Scripted;
use support::world::{World, config, millis, seconds};
use warren_ike::Role;
use warren_policy::RuleId;
use warren_seam::{Event, SaId};
use warren_tunnels::{Negotiator, Notice, PairStatus, Start, State, TunnelsConfig};

const RULE: RuleId = RuleId(0);
/// The first side opens, the other one answers.
const ONE_OPENS: [Start; 2] = [Start::Immediately, Start::OnTraffic];
const BOTH_OPEN: [Start; 2] = [Start::Immediately, Start::Immediately];

fn lanes_of(mut config: TunnelsConfig, lanes: u16) -> TunnelsConfig {
    config.tunnels.iter_mut().for_each(|own| own.parallel = NonZeroU16::new(lanes).unwrap());
    config
}

fn world(lanes: [u16; 2], starts: [Start; 2], seed: u64) -> World<Scripted> {
    World::scripted_with([0, 1].map(|side| lanes_of(config(side, 1, starts[side]), lanes[side])), seed)
}

fn pairs<N: Negotiator>(world: &World<N>, side: usize) -> Vec<PairStatus> {
    world.sides[side].tunnels.status()[0].pairs.clone()
}

/// Lanes that are bound, by the side's own count.
fn bound<N: Negotiator>(world: &World<N>, side: usize) -> BTreeSet<u16> {
    let engine = &world.sides[side].engine;
    let beside = engine.beside.get(&RULE).into_iter().flatten();
    engine.bound.get(&RULE).into_iter().chain(beside).map(|sa| engine.lanes[sa]).collect()
}

fn all_of(lanes: u16) -> BTreeSet<u16> {
    (0..lanes).collect()
}

/// Exactly so many pairs, both sides the same, each bound and in a lane of its own.
fn assert_lanes<N: Negotiator>(world: &World<N>, lanes: u16, what: &str) {
    world.assert_same_pairs(0, usize::from(lanes));
    for side in 0..2 {
        assert_eq!(bound(world, side), all_of(lanes), "side {side}, {what}");
        assert!(pairs(world, side).iter().all(|pair| pair.bound && pair.inbound.lane == pair.outbound.lane));
    }
    world.assert_no_orphans();
}

fn assert_no_packet_lost<N: Negotiator>(world: &World<N>, what: &str) {
    for side in &world.sides {
        assert_eq!((side.dropped, side.refused), (0, 0), "{what}");
        assert_eq!(side.sent, side.arrived, "{what}");
    }
}

fn soft_limit<N: Negotiator>(world: &mut World<N>, side: usize, sa: SaId) {
    world.sides[side].tunnels.handle_event(world.now, Event::SoftExpire(sa));
    world.drain(side);
}

fn opened(world: &World<Scripted>) -> [usize; 2] {
    world.sides.each_ref().map(|side| side.tunnels.negotiator().opened)
}

#[test] // F-17, NT-13
fn whoever_began_opens_every_lane_one_after_the_other_and_the_other_side_none() {
    for lanes in [2, 4, 64] {
        let mut world = world([lanes; 2], ONE_OPENS, 1);
        world.run(millis(100));
        assert_eq!(bound(&world, 0), all_of(1), "the first one carries traffic at once");
        world.run(seconds(20));
        assert_lanes(&world, lanes, "in the end");
        assert_eq!(opened(&world), [usize::from(lanes), 0]);
        let further = |notice: &&Notice| matches!(notice, Notice::LaneUp { .. });
        for side in &world.sides {
            assert_eq!(side.notices.iter().filter(further).count(), usize::from(lanes) - 1);
        }
    }
}

#[test] // F-24
fn traffic_that_wants_the_tunnel_brings_up_all_of_it() {
    let mut world = world([3, 3], [Start::OnTraffic, Start::OnTraffic], 2);
    world.run(seconds(10));
    assert_eq!(opened(&world), [0, 0]);
    world.packet(1, 0);
    world.run(seconds(3));
    assert_lanes(&world, 3, "after a packet");
    assert_eq!(opened(&world), [0, 3]);
}

#[test] // F-24
fn both_sides_starting_at_once_end_with_as_many_pairs_as_are_wanted_and_not_twice_as_many() {
    for seed in 0..200 {
        let lanes = 2 + (seed % 3) as u16;
        let mut world = world([lanes; 2], BOTH_OPEN, seed);
        // Also where the way is longer than lanes wait for each other.
        (world.delay, world.delay_spread) = (millis([10, 80, 300][seed as usize % 3]), millis(30));
        world.run_with_traffic(seconds(70), millis(100));
        world.assert_same_pairs(0, usize::from(lanes));
        // Where both opened more before they heard of each other, two may share a lane until the next is renewed.
        world.run_with_traffic(seconds(150), millis(100));
        world.run(seconds(20));
        assert_lanes(&world, lanes, &format!("seed {seed}"));
        assert_eq!(world.sides.each_ref().map(|side| side.refused), [0, 0], "seed {seed}");
    }
}

#[test] // F-24
fn each_lane_is_renewed_for_itself_and_no_packet_is_lost() {
    for seed in 0..20 {
        let mut world = world([3, 3], ONE_OPENS, seed);
        world.delay_spread = millis(20);
        world.run(seconds(2));
        world.run_with_traffic(seconds(600), millis(50));
        world.run(seconds(15));
        assert_no_packet_lost(&world, &format!("seed {seed}"));
        assert_lanes(&world, 3, &format!("seed {seed}"));
        assert_eq!(opened(&world)[1], 0, "the initiator renews first");
        let count = opened(&world)[0];
        assert!((18..=24).contains(&count), "{count}: none is renewed for another's sake");
        let begun_here = |pair: &PairStatus| pair.role == Role::Initiator;
        assert!(pairs(&world, 0).iter().all(begun_here) && !pairs(&world, 1).iter().any(begun_here));
    }
}

#[test] // F-24
fn a_renewed_pair_has_the_lane_of_its_predecessor_at_both_sides() {
    let mut world = world([4, 4], ONE_OPENS, 5);
    world.run(seconds(2));
    world.run_with_traffic(seconds(80), millis(100));
    let lane_of = |world: &World<Scripted>, side: usize| -> Vec<_> {
        pairs(world, side)
            .iter()
            .map(|pair| (pair.inbound.lane, pair.inbound.spi, pair.outbound.spi))
            .collect()
    };
    // Where the peer has a lane of ours is found out by the SPIs.
    let map = |world: &World<Scripted>| {
        let theirs = lane_of(world, 1);
        let mut map: Vec<(u16, u16)> = lane_of(world, 0)
            .into_iter()
            .map(|(lane, inbound, _)| (lane, theirs.iter().find(|own| own.2 == inbound).unwrap().0))
            .collect();
        map.sort_unstable();
        map
    };
    let before = map(&world);
    world.run_with_traffic(seconds(50), millis(100));
    assert_lanes(&world, 4, "after a round");
    assert!(opened(&world)[0] >= 8, "all of them were renewed");
    assert_eq!(map(&world), before);
}

#[test] // F-18, F-24
fn a_soft_limit_renews_the_pair_that_reached_it_whatever_the_peer_takes_it_for() {
    for seed in 0..60 {
        let mut world = world([4, 4], ONE_OPENS, seed);
        world.run(seconds(2));
        world.run_with_traffic(seconds(3), millis(20));
        let lane = (seed % 4) as u16;
        let old = pairs(&world, 0).into_iter().find(|pair| pair.outbound.lane == lane).unwrap();
        soft_limit(&mut world, 0, old.outbound.id);
        world.run_with_traffic(seconds(40), millis(20));
        world.run(seconds(1));
        assert_no_packet_lost(&world, &format!("seed {seed}"));
        assert_eq!(opened(&world), [5, 0], "seed {seed}");
        let own = pairs(&world, 0);
        assert_eq!(own.len(), 4);
        assert!(own.iter().all(|pair| pair.outbound.id != old.outbound.id), "seed {seed}");
        world.assert_same_pairs(0, 4);
        // The peer may have taken it for the successor of another: with the next round all is as it was.
        world.run_with_traffic(seconds(120), millis(50));
        world.run(seconds(15));
        assert_lanes(&world, 4, &format!("seed {seed}"));
        assert_no_packet_lost(&world, &format!("seed {seed}"));
    }
}

#[test] // F-24
fn both_sides_renewing_at_once_converge_without_loss() {
    for seed in 0..100 {
        let mut world = world([3, 3], ONE_OPENS, seed);
        world.run(seconds(2));
        world.run_with_traffic(seconds(5), millis(100));
        for side in [1, 0] {
            let at = world.chance.below(3) as usize;
            let sa = pairs(&world, side)[at].inbound.id;
            let patience = warren_tunnels::limits::RESPONDER_PATIENCE;
            soft_limit(&mut world, side, sa);
            let pause = if side == 1 { patience + millis(seed) - millis(50) } else { millis(0) };
            world.run_with_traffic(pause, millis(10));
        }
        world.run_with_traffic(seconds(200), millis(50));
        world.run(seconds(40));
        assert_no_packet_lost(&world, &format!("seed {seed}"));
        assert_lanes(&world, 3, &format!("seed {seed}"));
    }
}

#[test] // F-24
fn a_further_lane_that_fails_is_tried_ever_more_seldom_and_takes_nothing_down() {
    let mut world = world([3, 3], ONE_OPENS, 7);
    world.run(millis(100));
    // Nothing but ESP gets through: the peer does not answer any more.
    world.loss = 1000;
    world.run_with_traffic(seconds(55), millis(50));
    assert_eq!(bound(&world, 0), all_of(1));
    assert!((2..=6).contains(&opened(&world)[0]), "{:?}", opened(&world));
    assert!(world.is_up(0, 0) && world.sides[0].tunnels.status()[0].last_failure.is_some());
    assert!(world.sides[0].tunnels.status()[0].failures > 0);
    let failed = |notice: &Notice| matches!(notice, Notice::Failed { up: true, .. });
    assert!(world.sides[0].notices.iter().any(failed));
    assert_no_packet_lost(&world, "while it fails");
    world.loss = 0;
    world.run_with_traffic(seconds(150), millis(50));
    world.run(seconds(15));
    assert_lanes(&world, 3, "when the peer answers again");
    assert_no_packet_lost(&world, "afterwards");
}

#[test] // F-24
fn a_lane_that_the_peer_closes_or_lets_expire_comes_back() {
    for expires in [false, true] {
        let mut world = world([3, 3], ONE_OPENS, 8);
        world.run(seconds(2));
        world.run_with_traffic(seconds(3), millis(50));
        let gone = pairs(&world, 1)[1].clone();
        if expires {
            world.sides[1].tunnels.handle_event(world.now, Event::HardExpire(gone.outbound.id));
        } else {
            // As an operator of another make would, or a lost message.
            world.sides[0].tunnels.handle_event(world.now, Event::HardExpire(pairs(&world, 0)[1].inbound.id));
            world.drain(0);
        }
        world.drain(1);
        assert!(pairs(&world, usize::from(expires)).len() == 2 && world.is_up(0, 0));
        world.run_with_traffic(seconds(20), millis(50));
        assert_lanes(&world, 3, "in the end");
        assert_eq!(opened(&world), [4, 0], "one more was enough");
        assert_eq!(world.sides.each_ref().map(|side| side.dropped), [0, 0], "the others carried all");
    }
}

#[test] // F-24
fn the_peers_own_number_may_be_smaller_without_loss_and_without_a_storm() {
    for seed in 0..10 {
        let mut world = world([4, 1], ONE_OPENS, seed);
        world.run(seconds(1));
        world.run_with_traffic(seconds(1800), millis(250));
        world.run(seconds(1));
        assert_no_packet_lost(&world, &format!("seed {seed}"));
        assert!(pairs(&world, 1).len() <= 8, "seed {seed}: {}", pairs(&world, 1).len());
        assert_eq!(bound(&world, 1).len(), 1, "it sends by one, as it was told to");
        // Twenty renewals of the first, and what the others cost.
        let count = opened(&world)[0];
        assert!((20..=90).contains(&count), "seed {seed}: {count}");
        assert_eq!(opened(&world)[1], 0);
    }
}

#[test] // F-24
fn a_peer_without_parallel_has_the_one_pair_that_it_began_renewed_as_ever() {
    for seed in 0..20 {
        let mut world = world([1, 4], ONE_OPENS, seed);
        world.run(seconds(2));
        world.run_with_traffic(seconds(600), millis(50));
        world.run(seconds(15));
        assert_no_packet_lost(&world, &format!("seed {seed}"));
        assert_eq!(opened(&world)[1], 0, "who began it says how many");
        world.assert_same_pairs(0, 1);
        assert_eq!((bound(&world, 0).len(), bound(&world, 1).len()), (1, 1));
        // A Delete that is lost leaves nothing to send into: the newest pair is the one that is bound.
        soft_limit_unheard(&mut world);
    }
}

/// The first side renews late in the life of its pair, and none of its Deletes arrives.
fn soft_limit_unheard(world: &mut World<Scripted>) {
    let before = pairs(world, 0)[0].clone();
    let half = before.expires_at - seconds(55);
    world.run_with_traffic(half.saturating_sub(world.now), millis(200));
    let sa = pairs(world, 0).last().unwrap().outbound.id;
    soft_limit(world, 0, sa);
    while pairs(world, 1).iter().filter(|pair| pair.bound).all(|pair| pair.outbound.spi == before.inbound.spi)
    {
        world.run(millis(10));
    }
    world.loss = 1000;
    assert_eq!(bound(world, 1).len(), 1, "nothing is bound to what the peer renewed");
    world.run_with_traffic(seconds(8), millis(50));
    world.loss = 0;
    assert_eq!(world.sides[1].refused, 0, "and so nothing is sent into a hole");
}

#[test] // F-24
fn fewer_lanes_are_closed_without_loss_and_more_are_opened_without_touching_what_is_up() {
    let mut world = world([4, 4], ONE_OPENS, 9);
    world.run(seconds(2));
    world.run_with_traffic(seconds(3), millis(20));
    let kept: Vec<SaId> =
        pairs(&world, 0).iter().filter(|pair| pair.inbound.lane < 2).map(|pair| pair.inbound.id).collect();
    for (side, start) in ONE_OPENS.into_iter().enumerate() {
        let wanted = lanes_of(config(side, 1, start), 2);
        world.sides[side].tunnels.reconfigure(world.now, wanted);
        world.drain(side);
        assert_eq!(bound(&world, side), all_of(2));
        world.run_with_traffic(seconds(5), millis(20));
    }
    world.run(seconds(10));
    assert_lanes(&world, 2, "two are enough");
    assert_eq!(opened(&world), [4, 0], "nothing was negotiated for that");
    let now: Vec<SaId> = pairs(&world, 0).iter().map(|pair| pair.inbound.id).collect();
    assert_eq!(now, kept, "what stays is what was there");
    for side in [1, 0] {
        let wanted = lanes_of(config(side, 1, ONE_OPENS[side]), 5);
        world.sides[side].tunnels.reconfigure(world.now, wanted);
        world.drain(side);
        world.run_with_traffic(seconds(2), millis(20));
    }
    world.run(seconds(10));
    assert_lanes(&world, 5, "five are wanted");
    assert!(kept.iter().all(|id| pairs(&world, 0).iter().any(|pair| pair.inbound.id == *id)));
    assert_no_packet_lost(&world, "in all of that");
    // Down to one it is a tunnel as any other.
    for (side, start) in ONE_OPENS.into_iter().enumerate() {
        let wanted = lanes_of(config(side, 1, start), 1);
        world.sides[side].tunnels.reconfigure(world.now, wanted);
        world.drain(side);
    }
    world.run_with_traffic(seconds(10), millis(20));
    world.run(seconds(5));
    assert_lanes(&world, 1, "one is enough");
    assert_no_packet_lost(&world, "to the end");
}

#[test] // F-24
fn a_lane_that_is_not_wanted_any_more_when_it_is_complete_goes_again() {
    let configs = [0, 1].map(|side| lanes_of(config(side, 1, ONE_OPENS[side]), 3));
    let mut world = World::over_ike_with(configs, 11);
    while pairs(&world, 0).is_empty() {
        world.run(millis(1));
    }
    world.run(warren_tunnels::limits::FURTHER_SPACING + world.delay);
    assert_eq!(pairs(&world, 0).len(), 1, "the second is being negotiated");
    let wanted = lanes_of(config(0, 1, ONE_OPENS[0]), 1);
    world.sides[0].tunnels.reconfigure(world.now, wanted);
    world.drain(0);
    world.run(millis(100));
    let up = |notice: &Notice| matches!(notice, Notice::LaneUp { lane: 1, .. });
    assert!(world.sides[0].notices.iter().any(up), "it came all the same");
    world.run_with_traffic(seconds(30), millis(50));
    world.run(seconds(2));
    assert_eq!((bound(&world, 0), bound(&world, 1)), (all_of(1), all_of(1)));
    world.assert_same_pairs(0, 1);
    assert_no_packet_lost(&world, "by that");
}

#[test] // F-24, Q-22
fn when_the_last_lane_is_gone_the_tunnel_is_down_as_any_other() {
    let mut world = world([3, 3], ONE_OPENS, 10);
    world.run_with_traffic(seconds(20), millis(100));
    // All of them at once, as after dead peer detection.
    world.sides[1].tunnels.shutdown(world.now);
    while world.sides[1].tunnels.poll_output().is_some() {}
    world.sides[0].tunnels.negotiator().peer_lost.set(true);
    world.sides[0].tunnels.handle_timeout(world.now);
    world.drain(0);
    assert!(world.sides[0].engine.is_empty() && world.sides[0].engine.beside.is_empty());
    assert!(matches!(world.state(0, 0), State::HoldDown { .. }));
    let down = |notice: &&Notice| matches!(notice, Notice::Down { .. });
    assert_eq!(world.sides[0].notices.iter().filter(down).count(), 1, "it is said once");
    assert!(world.sides[0].tunnels.down(world.now, RULE));
    world.drain(0);
    world.run(seconds(60));
    assert_eq!((world.state(0, 0), pairs(&world, 0).len()), (State::Closed, 0), "no lane of a closed tunnel");
}

#[test] // F-24, F-28
fn whatever_happens_no_bound_sa_is_removed_and_in_the_end_every_lane_is_there() {
    for seed in 0..200 {
        let lanes = 2 + (seed % 3) as u16;
        let mut world = world([lanes; 2], [BOTH_OPEN, ONE_OPENS][seed as usize % 2], seed);
        world.lossy_esp = true;
        for _ in 0..200 {
            disturb(&mut world, lanes);
            let pause = millis(world.chance.below(4000));
            world.run(pause);
        }
        (world.loss, world.duplication) = (0, 0);
        for (side, start) in ONE_OPENS.into_iter().enumerate() {
            let wanted = lanes_of(config(side, 1, start), lanes);
            world.sides[side].tunnels.reconfigure(world.now, wanted);
            world.sides[side].tunnels.up(world.now, RULE);
            world.drain(side);
        }
        world.run_with_traffic(seconds(900), millis(500));
        let before = world.sides.each_ref().map(|side| (side.dropped, side.refused));
        world.run_with_traffic(seconds(60), millis(500));
        assert_eq!(before, world.sides.each_ref().map(|side| (side.dropped, side.refused)), "seed {seed}");
        let count = pairs(&world, 0).iter().filter(|pair| pair.bound).count();
        assert_eq!(count, usize::from(lanes), "seed {seed}");
        world.shutdown();
    }
}

fn disturb<N: Negotiator>(world: &mut World<N>, lanes: u16) {
    let side = world.chance.below(2) as usize;
    let engine = &world.sides[side].engine;
    let installed: Vec<SaId> = engine.inbound.keys().chain(engine.outbound.keys()).copied().collect();
    let some = installed.get(world.chance.below(installed.len().max(1) as u64) as usize).copied();
    let now = world.now;
    if let Some(sa) = some {
        match world.chance.below(8) {
            0 | 1 => world.sides[side].tunnels.handle_event(now, Event::SoftExpire(sa)),
            2 => world.sides[side].tunnels.handle_event(now, Event::HardExpire(sa)),
            _ => {}
        }
    }
    match world.chance.below(12) {
        0 => world.loss = [0, 100, 500, 1000][world.chance.below(4) as usize],
        1 => world.duplication = [0, 200][world.chance.below(2) as usize],
        2 => drop(world.sides[side].tunnels.up(now, RULE)),
        3 => drop(world.sides[side].tunnels.down(now, RULE)),
        4 => {
            let number = 1 + world.chance.below(u64::from(lanes) + 1) as u16;
            let wanted = lanes_of(config(side, 1, Start::OnTraffic), number);
            world.sides[side].tunnels.reconfigure(now, wanted);
        }
        _ => world.packet(side, 0),
    }
    world.drain(side);
}

#[test] // F-24
fn over_ike_itself_lanes_come_up_are_renewed_and_lose_nothing() {
    for seed in 0..3 {
        let configs = [0, 1].map(|side| lanes_of(config(side, 1, ONE_OPENS[side]), 4));
        let mut world = World::over_ike_with(configs, seed);
        world.delay_spread = millis(20);
        world.run(seconds(3));
        assert_lanes(&world, 4, "over IKE");
        world.run_with_traffic(seconds(400), millis(100));
        world.run(seconds(15));
        assert_no_packet_lost(&world, &format!("seed {seed}"));
        assert_lanes(&world, 4, &format!("seed {seed}"));
        world.shutdown();
    }
}
