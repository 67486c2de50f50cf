//! A client and a server talk on a virtual clock, over IKE itself: policy is pulled, pushed, changed and lost.
#![allow(clippy::unwrap_used)]

mod support;

use support::configured::*;
use support::world::{World, millis, seconds};
use warren_ike::{Dpd, Endpoint};
use warren_policy::{RuleId, ServedSet};
use warren_tunnels::{ClientState, Notice, SetStanding, State, TunnelsConfig};

fn office() -> Vec<ServedSet> {
    vec![served("office", &["10.1.0.0/16"]), served("lab", &["10.2.0.0/16"])]
}

/// The server of one client that it knows.
fn known(sets: Vec<ServedSet>) -> TunnelsConfig {
    let mut config = server(sets, "10.99.0.0/24");
    let own = support::world::config(1, 0, warren_tunnels::Start::OnTraffic).peers.remove(0);
    (config.peers[0].remote, config.peers[0].remote_identity) = (own.remote, own.remote_identity);
    config.peers[0].dpd = Some(Dpd { delay: seconds(10), timeout: seconds(30) });
    config
}

fn world(sets: Vec<ServedSet>, seed: u64) -> World<Endpoint> {
    World::over_ike_with([client(), known(sets)], seed)
}

fn state(world: &World<Endpoint>) -> ClientState {
    world.sides[0].tunnels.clients()[0].state
}

fn all_up(world: &World<Endpoint>, side: usize, rules: usize) -> bool {
    let status = world.sides[side].tunnels.status();
    status.len() == rules && status.iter().all(|tunnel| matches!(tunnel.state, State::Up { .. }))
}

/// One packet each way for each of these rules, every now and then.
fn traffic(world: &mut World<Endpoint>, rules: &[u32], rounds: usize) {
    for _ in 0..rounds {
        for rule in rules {
            world.packet(0, *rule);
            world.packet(1, *rule);
        }
        world.run(millis(50));
    }
    world.run(seconds(1));
}

fn assert_no_loss(world: &World<Endpoint>) {
    for side in &world.sides {
        assert_eq!((side.dropped, side.refused, side.sent), (0, 0, side.arrived));
    }
}

#[test] // DC-1, DC-2, DC-4, DC-6, DC-7, DC-10, DC-11, DC-12, DC-13, DC-14, DC-15, DC-16, DC-22
fn a_peer_and_a_secret_bring_up_working_tunnels() {
    for seed in 0..10 {
        let mut world = world(office(), seed);
        world.run(seconds(5));
        let status = world.sides[0].tunnels.clients().remove(0);
        assert_eq!((status.state, status.speaks_policy), (ClientState::Configured, true));
        assert_eq!(world.sides[0].addresses, [ip("10.99.0.1")]);
        assert_eq!(status.dns, [ip("10.1.0.53")]);
        assert_eq!(
            (status.domain.as_deref(), status.banner.as_deref()),
            (Some("corp.test"), Some("welcome"))
        );
        assert!(all_up(&world, 0, 2) && all_up(&world, 1, 2));
        traffic(&mut world, &[0, 1], 20);
        assert_no_loss(&world);
        assert_eq!(world.sides[0].sent, 40);
        for rule in 0..2 {
            world.assert_same_pairs(rule, 1);
        }
        let served = world.sides[1].tunnels.served().remove(0);
        assert_eq!((served.identity.to_string().as_str(), served.error), ("left.test", None));
        assert_eq!(world.sides[1].leases.len(), 1);
        world.shutdown();
        assert!(world.sides[0].addresses.is_empty());
    }
}

#[test] // F-24
fn a_bad_network_delays_policy_and_nothing_else() {
    for seed in 0..10 {
        let mut world = world(office(), seed);
        (world.loss, world.duplication, world.delay_spread) = (300, 100, millis(200));
        world.run(seconds(400));
        (world.loss, world.duplication) = (0, 0);
        world.run(seconds(400));
        assert_eq!(state(&world), ClientState::Configured, "seed {seed}");
        assert!(all_up(&world, 0, 2) && all_up(&world, 1, 2), "seed {seed}");
        world.shutdown();
    }
}

#[test] // DC-8
fn a_server_that_pushes_needs_no_question() {
    let (mut pushed, mut pushing) = (client(), known(office()));
    pushed.clients[0].is_pushed = true;
    pushing.servers[0].pushes = true;
    let mut world = World::over_ike_with([pushed, pushing], 3);
    world.run(seconds(5));
    assert!(all_up(&world, 0, 2) && all_up(&world, 1, 2));
    traffic(&mut world, &[0, 1], 5);
    assert_no_loss(&world);
}

#[test] // DC-26
fn a_reload_of_the_server_changes_what_differs_and_costs_no_packet_of_the_rest() {
    let mut world = world(office(), 4);
    world.run(seconds(5));
    let bound = world.sides.each_ref().map(|side| side.engine.bound.get(&RuleId(0)).copied().unwrap());
    let mut sets = office();
    sets[1] = served("store", &["10.3.0.0/16", "10.4.0.0/16"]);
    world.sides[1].tunnels.reconfigure(world.now, known(sets));
    world.drain(1);
    traffic(&mut world, &[0], 40);
    assert_no_loss(&world);
    let now = world.sides.each_ref().map(|side| side.engine.bound.get(&RuleId(0)).copied().unwrap());
    assert_eq!(now, bound, "the same SAs");
    assert!(all_up(&world, 0, 3));
    let names: Vec<_> = world.sides[0].tunnels.clients()[0].sets.iter().map(|set| set.name.clone()).collect();
    assert_eq!(names, ["office", "store"]);
    // What is not given any more is gone on both sides.
    let lab = range("10.2.0.0/16");
    for side in &world.sides {
        let rules = &side.tunnels.rules().tunnel;
        assert!(rules.iter().all(|rule| rule.selector.destination != lab && rule.selector.source != lab));
    }
    world.assert_no_orphans();
}

#[test] // DC-26
fn a_renewed_isakmp_sa_brings_the_same_policy_and_no_packet_is_lost() {
    let (mut short, mut served) = (client(), known(office()));
    (short.peers[0].lifetime, served.peers[0].lifetime) = (60, 60);
    let mut world = World::over_ike_with([short, served], 5);
    world.run(seconds(5));
    traffic(&mut world, &[0, 1], 20 * 300);
    assert_no_loss(&world);
    let in_force = |notice: &&Notice| matches!(notice, Notice::PolicyInForce { .. });
    let pulls = world.sides[0].notices.iter().filter(in_force).count();
    assert!(pulls >= 4, "{pulls}");
    let changes = |notice: &&Notice| matches!(notice, Notice::PolicyInForce { added, removed, .. } if added + removed > 0);
    assert_eq!(world.sides[0].notices.iter().filter(changes).count(), 1);
}

#[test] // DC-26, F-24
fn a_lost_server_takes_its_policy_with_it_and_brings_it_back() {
    let mut world = world(office(), 6);
    world.run(seconds(5));
    traffic(&mut world, &[0, 1], 5);
    world.loss = 1000;
    world.run(seconds(120));
    assert_ne!(state(&world), ClientState::Configured);
    assert!(world.sides.iter().all(|side| side.engine.is_empty()));
    assert!(world.sides[0].addresses.is_empty());
    assert_eq!(world.sides[0].tunnels.shielded(), [range("10.1.0.0/16"), range("10.2.0.0/16")]);
    assert!(world.sides[1].tunnels.rules().tunnel.is_empty(), "the server forgets the rules too");
    assert!(!world.sides[1].tunnels.leases()[0].active);
    world.loss = 0;
    world.run(seconds(600));
    assert_eq!(state(&world), ClientState::Configured);
    assert_eq!(world.sides[0].addresses, [ip("10.99.0.1")], "the same address");
    assert!(all_up(&world, 0, 2) && all_up(&world, 1, 2));
    assert!(world.sides[0].tunnels.shielded().is_empty());
    world.assert_no_orphans();
}

#[test] // DC-25, F-11
fn a_hostile_server_gets_nothing_but_what_the_ceiling_allows_and_hears_why() {
    let mut sets = vec![
        served("everything", &["0.0.0.0/0"]),
        served("internet", &["203.0.113.0/24"]),
        served("own", &["198.51.100.0/24"]),
        served("office", &["10.1.0.0/16"]),
    ];
    let mut weak = served("weak", &["10.2.0.0/16"]);
    weak.proposals = vec![esp("aes128-sha1")];
    let mut inner = served("inner", &["10.5.0.0/16"]);
    inner.parent = Some(3);
    sets.extend([weak, inner]);
    let (mut pushed, mut pushing) = (client(), known(sets));
    pushed.clients[0].is_pushed = true;
    pushing.servers[0].pushes = true;
    let mut world = World::over_ike_with([pushed, pushing], 7);
    world.run(seconds(5));
    let status = world.sides[0].tunnels.clients().remove(0);
    let standing: Vec<_> = status.sets.iter().map(|set| (set.name.as_str(), set.standing)).collect();
    assert_eq!(standing, [("office", SetStanding::Executed)]);
    assert_eq!(status.refused_total, 5);
    let refused = world.sides[1].tunnels.served().remove(0).refused;
    let reasons: Vec<_> = refused.iter().map(|set| (set.name.as_str(), set.reason.as_str())).collect();
    assert_eq!(reasons[0], ("everything", "0.0.0.0/0 is a default route"));
    assert_eq!(reasons[3], ("weak", "aes128-sha1 is weaker than aes128-sha256"));
    assert_eq!(reasons[4].0, "inner", "its parent is not around it");
    assert_eq!(reasons.len(), 5);
    assert_eq!(world.sides[0].engine.bound.len(), 1);
}

#[test] // DC-24
fn a_server_without_an_address_left_says_so_and_gives_one_later() {
    let mut full = known(office());
    full.pools[0].statics = vec![("other.test".parse().unwrap(), ip("10.99.0.1"))];
    full.pools[0].addresses = range("10.99.0.1/32");
    let mut world = World::over_ike_with([client(), full.clone()], 8);
    world.run(seconds(5));
    let status = world.sides[0].tunnels.clients().remove(0);
    assert_eq!(status.error.as_deref(), Some("pool road has no address left"));
    assert!(world.sides[1].tunnels.pools()[0].exhausted >= 1);
    full.pools[0].statics.clear();
    world.sides[1].tunnels.reconfigure(world.now, full);
    world.drain(1);
    world.run(seconds(20));
    assert!(all_up(&world, 0, 2) && all_up(&world, 1, 2));
}

#[test] // F-24
fn a_client_that_is_closed_says_goodbye_and_comes_back_when_it_is_wanted() {
    let mut world = world(office(), 9);
    world.run(seconds(5));
    assert!(world.sides[0].tunnels.close_client(world.now, PEER));
    world.drain(0);
    world.run(seconds(60));
    assert_eq!(state(&world), ClientState::Closed);
    assert!(world.sides.iter().all(|side| side.engine.is_empty()));
    assert!(world.sides[1].tunnels.served().is_empty());
    assert!(world.sides[0].tunnels.pull_again(world.now, PEER));
    world.drain(0);
    world.run(seconds(5));
    assert!(all_up(&world, 0, 2) && all_up(&world, 1, 2));
}

/// The server of anybody who holds the secret.
fn anybody(sets: Vec<ServedSet>) -> TunnelsConfig {
    server(sets, "10.99.0.0/24")
}

#[test] // DC-2, DC-15, DC-16, DC-22
fn whoever_holds_the_secret_of_a_template_gets_its_policy_and_leaves_nothing_behind() {
    for seed in 0..5 {
        let mut world = World::over_ike_with([client(), anybody(office())], seed);
        world.run(seconds(5));
        assert!(all_up(&world, 0, 2) && all_up(&world, 1, 2));
        traffic(&mut world, &[0, 1], 10);
        assert_no_loss(&world);
        let served = world.sides[1].tunnels.served().remove(0);
        assert_eq!((served.server, served.name.as_str()), (PEER, "other"));
        assert_ne!(served.peer, PEER, "the template is nobody");
        assert_eq!(world.sides[1].tunnels.peer_name(served.peer), "other/left.test");
        // What changes is pushed; what does not stays, although the file speaks of the template only.
        let bound = world.sides[1].engine.bound.get(&RuleId(0)).copied();
        let mut sets = office();
        sets[1] = served_store();
        world.sides[1].tunnels.reconfigure(world.now, reloaded(anybody(sets)));
        world.drain(1);
        traffic(&mut world, &[0], 20);
        assert_no_loss(&world);
        assert_eq!(world.sides[1].engine.bound.get(&RuleId(0)).copied(), bound);
        assert!(all_up(&world, 0, 2) && world.sides[1].tunnels.status().len() == 2);
        assert!(world.sides[0].tunnels.close_client(world.now, PEER));
        world.drain(0);
        world.run(seconds(30));
        let server = &world.sides[1];
        assert!(server.engine.is_empty() && server.tunnels.served().is_empty());
        assert!(server.tunnels.rules().tunnel.is_empty());
        assert_eq!(server.leases.len(), 1, "the lease is kept for its holder");
        assert!(!server.tunnels.leases()[0].active);
    }
}

fn served_store() -> ServedSet {
    served("store", &["10.3.0.0/16"])
}

/// As the daemon would read it: with what the world adds to every peer.
fn reloaded(mut config: TunnelsConfig) -> TunnelsConfig {
    config.peers[0].dpd = Some(Dpd { delay: seconds(10), timeout: seconds(30) });
    config
}

#[test] // DC-26, F-24
fn a_server_that_drops_a_template_disconnects_who_came_under_it() {
    let mut world = World::over_ike_with([client(), anybody(office())], 11);
    world.run(seconds(5));
    assert!(all_up(&world, 0, 2));
    world.sides[1].tunnels.reconfigure(world.now, TunnelsConfig::default());
    world.drain(1);
    world.run(seconds(5));
    assert!(world.sides.iter().all(|side| side.engine.is_empty()));
    assert!(world.sides[1].tunnels.served().is_empty() && world.sides[1].tunnels.rules().tunnel.is_empty());
    assert_eq!(world.sides[0].tunnels.shielded().len(), 2);
    assert!(world.sides[0].addresses.is_empty());
}
