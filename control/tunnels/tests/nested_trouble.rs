//! What goes wrong around stacks at awkward moments: operators, reloads, peers and traffic of a level's own that come while
//! a stack is being built or taken down. The wire's reading of the rules, so that every level is its rule's own tunnel.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;
use support::chain::{Chain, back, configured, gateway, network, node, peer, single, there};
use support::configured;
use warren_ike::{ConfigMode, NatTraversal, Path};
use warren_policy::{FiveTuple, PeerId, Rematching, RuleId};
use warren_seam::{Event, SaId};
use warren_tunnels::{Output, StackState, Start, TunnelsConfig};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

const SITE: RuleId = RuleId(0);
const TO_3: RuleId = RuleId(1);
const TO_2: RuleId = RuleId(2);
const OTHER: RuleId = RuleId(3);

type Rule = (&'static str, warren_policy::AddressRange, warren_policy::AddressRange, usize);

fn rules() -> Vec<Rule> {
    vec![
        ("site", network(1), network(2), 2),
        ("to-3", single(node(0)), single(node(3)), 1),
        ("to-2", single(node(0)), single(node(2)), 0),
        ("other", network(1), network(3), 1),
    ]
}

fn wired(rules: &[Rule]) -> TunnelsConfig {
    let mut config = configured((1..=3).map(|at| peer(at as u32 - 1, 0, at)).collect(), rules);
    config.rematch = Rematching::Wire;
    config
}

/// Three gateways; a second site is behind the second of them.
fn row_of(own: TunnelsConfig) -> Chain {
    let mut configs = vec![own, gateway(1, 3), gateway(2, 3), gateway(3, 3)];
    let behind = [("other", network(3), network(1), 0), ("back", single(node(3)), single(node(0)), 0)];
    configs[2] = configured(configs[2].peers.clone(), &behind);
    let mut chain = Chain::new(configs);
    chain.third = 2;
    chain
}

fn row() -> Chain {
    row_of(wired(&rules()))
}

fn to_other() -> FiveTuple {
    FiveTuple { destination: [10, 3, 0, 7].into(), ..there() }
}

/// What we ourselves say to the second gateway, by the first.
fn to_second() -> FiveTuple {
    FiveTuple { source: node(0), destination: node(2), ..there() }
}

fn state(chain: &Chain, rule: RuleId) -> Option<StackState> {
    chain.nodes[0].tunnels.stack_status(rule).map(|stack| stack.state)
}

fn said(chain: &Chain, what: &str) -> Vec<String> {
    chain.nodes[0].notices.iter().filter(|notice| notice.contains(what)).cloned().collect()
}

fn abort(chain: &mut Chain, rule: RuleId) {
    let now = chain.now;
    assert!(chain.nodes[0].tunnels.abort_stack(now, rule));
    chain.drain(0);
}

fn reload(chain: &mut Chain, config: TunnelsConfig) {
    let now = chain.now;
    chain.nodes[0].tunnels.reconfigure(now, config);
    chain.drain(0);
}

/// A soft limit of all outbound SAs of that rule at that node.
fn soft_expire(chain: &mut Chain, at: usize, rule: RuleId) {
    let is_of = |(id, sa): (&SaId, &warren_seam::OutboundSa)| (sa.rule == rule).then_some(*id);
    let sas: Vec<SaId> = chain.nodes[at].outbound.iter().filter_map(is_of).collect();
    assert!(!sas.is_empty());
    for sa in sas {
        let now = chain.now;
        chain.nodes[at].tunnels.handle_event(now, Event::SoftExpire(sa));
        chain.drain(at);
    }
}

/// A packet every tenth of a second until one passes.
fn passes_within(chain: &mut Chain, time: Duration, packet: FiveTuple) -> bool {
    let end = chain.now + time;
    while chain.now < end {
        if chain.send(0, packet) {
            return true;
        }
        chain.run(Duration::from_millis(100));
    }
    false
}

fn assert_no_strays(chain: &Chain) {
    for (link, seen) in &chain.seen {
        let strays: Vec<_> =
            seen.iter().filter(|pair| pair.0 != node(link + 1) && pair.1 != node(link + 1)).collect();
        assert!(strays.is_empty(), "on link {link} {strays:?} were seen");
    }
}

#[test] // NT-18, NT-19
fn a_level_that_the_operator_closes_while_it_is_negotiated_fails_the_stack() {
    let mut chain = row();
    chain.send(0, there());
    chain.run(Duration::from_millis(20));
    assert_eq!(state(&chain, SITE), Some(StackState::Building));
    let now = chain.now;
    assert!(chain.nodes[0].tunnels.down(now, TO_2));
    chain.drain(0);
    chain.run(seconds(30));
    assert!(!matches!(state(&chain, SITE), Some(StackState::Building)), "it waits for ever");
    assert!((0..=3).all(|at| chain.is_bare(at)));
    let now = chain.now;
    assert!(chain.nodes[0].tunnels.up(now, TO_2));
    chain.drain(0);
    assert!(passes_within(&mut chain, seconds(30), there()));
}

#[test] // NT-29
fn traffic_that_asked_for_a_level_while_a_stack_was_building_it_keeps_it() {
    let mut chain = row();
    chain.send(0, there());
    chain.send(0, to_second());
    chain.run(Duration::from_millis(20));
    abort(&mut chain, SITE);
    assert!(passes_within(&mut chain, seconds(10), to_second()), "nobody heard it");
    // And the same when the stack had become whole meanwhile.
    let mut chain = row();
    chain.send(0, there());
    chain.send(0, to_second());
    chain.run(seconds(2));
    assert!(chain.send(0, there()) && chain.send(0, to_second()));
    abort(&mut chain, SITE);
    assert!(chain.send(0, to_second()), "its tunnel went with another's stack");
    assert!(state(&chain, TO_2).is_none());
}

#[test] // NT-29, NT-30
fn a_stack_that_waits_for_a_level_takes_over_when_the_one_that_builds_it_is_aborted() {
    let mut chain = row();
    chain.send(0, to_other());
    chain.send(0, there());
    chain.run(Duration::from_millis(20));
    abort(&mut chain, OTHER);
    chain.run(seconds(2));
    assert_eq!(said(&chain, "failed"), Vec::<String>::new());
    assert_eq!(state(&chain, SITE), Some(StackState::Done), "{:#?}", chain.nodes[0].notices);
}

#[test] // NT-32
fn a_level_that_starts_by_itself_is_lost_and_what_stands_on_it_is_built_again_at_once() {
    let mut own = wired(&rules());
    own.tunnels[TO_2.0 as usize].start = Start::Immediately;
    let mut chain = row_of(own);
    chain.run(seconds(15));
    chain.traffic(seconds(15), Duration::from_millis(100));
    chain.nodes[0].notices.clear();
    let now = chain.now;
    assert!(chain.nodes[1].tunnels.down(now, RuleId(0)));
    assert!(chain.nodes[1].tunnels.up(now, RuleId(0)));
    chain.drain(1);
    chain.run(Duration::from_millis(500));
    assert_eq!(said(&chain, "failed"), Vec::<String>::new());
    assert!(chain.send(0, there()), "{:#?}", chain.nodes[0].notices);
    // It does not go with the stack either: it was there for its own sake.
    abort(&mut chain, SITE);
    chain.run(seconds(1));
    assert!(chain.send(0, to_second()));
}

#[test] // NT-29, NT-31
fn a_level_that_is_rekeyed_by_either_side_is_not_wanted_for_its_own_sake() {
    let mut chain = row();
    chain.traffic(seconds(2), Duration::from_millis(100));
    for (at, rule) in [(1, RuleId(0)), (2, RuleId(1)), (0, TO_2), (0, TO_3)] {
        soft_expire(&mut chain, at, rule);
        chain.traffic(seconds(20), Duration::from_millis(100));
    }
    let stacks: Vec<_> = chain.nodes[0].tunnels.stacks().iter().map(|stack| stack.rule).collect();
    assert_eq!(stacks, [SITE]);
    abort(&mut chain, SITE);
    chain.run(seconds(10));
    assert!((0..=3).all(|at| chain.is_bare(at)));
}

#[test] // NT-29, NT-30
fn what_a_level_once_wanted_for_itself_in_vain_does_not_keep_it() {
    let mut chain = row();
    chain.dead.insert(1);
    chain.send(0, to_second());
    chain.run(seconds(60));
    chain.dead.clear();
    assert!(passes_within(&mut chain, seconds(30), there()));
    abort(&mut chain, SITE);
    chain.run(seconds(10));
    assert!((0..=3).all(|at| chain.is_bare(at)));
}

#[test] // NT-12
fn a_server_behind_tunnels_is_never_spoken_to_past_them_not_even_at_first() {
    let mut own = wired(&rules());
    own.peers[1].config_mode = ConfigMode::Client;
    own.clients = configured::client().clients;
    own.clients[0].peer = PeerId(1);
    let mut chain = row_of(own.clone());
    chain.run(seconds(2));
    assert_no_strays(&chain);
    // The same with rules that come later than the peers.
    let mut chain = row_of(wired(&[]));
    reload(&mut chain, own);
    chain.run(seconds(2));
    assert_no_strays(&chain);
}

#[test] // NT-12
fn a_level_that_other_rules_put_inside_a_tunnel_is_not_begun_once_more_in_clear() {
    let direct: Vec<Rule> = vec![
        ("site", network(1), network(2), 2),
        ("to-3", single(node(0)), single(node(3)), 1),
        ("far", network(1), network(3), 2),
    ];
    let mut chain = row_of(wired(&direct));
    chain.dead.insert(2);
    chain.send(0, there());
    chain.send(0, to_other());
    chain.run(Duration::from_millis(20));
    assert_eq!(chain.nodes[0].tunnels.stacks().len(), 2);
    let before = chain.nodes[0].ike_by_depth.clone();
    let mut nested = direct;
    nested.insert(2, ("to-2", single(node(0)), single(node(2)), 0));
    reload(&mut chain, wired(&nested));
    assert_eq!(chain.nodes[0].ike_by_depth, before);
}

#[test] // NT-19, NT-30
fn a_reload_that_changes_a_level_while_it_is_negotiated_does_not_leave_the_stack_waiting() {
    let mut chain = row();
    chain.dead.insert(1);
    chain.send(0, there());
    chain.run(Duration::from_millis(20));
    let mut other = wired(&rules());
    other.tunnels[TO_2.0 as usize].child.lifetime.seconds = 500;
    reload(&mut chain, other);
    chain.dead.clear();
    chain.run(seconds(30));
    assert!(passes_within(&mut chain, seconds(60), there()), "{:#?}", chain.nodes[0].tunnels.stacks());
}

#[test] // NT-29
fn a_gateway_that_moves_by_a_reload_is_another_level() {
    let short: Vec<Rule> =
        vec![("site", network(1), network(2), 2), ("to-3", single(node(0)), single(node(3)), 0)];
    let back = [("back", single(node(3)), single(node(0)), 0)];
    let first = configured(vec![peer(0, 1, 0)], &back);
    let second = configured(vec![peer(0, 2, 0)], &[]);
    let mut chain = Chain::new(vec![wired(&short), first, second, gateway(3, 3)]);
    chain.send(0, there());
    chain.run(seconds(2));
    assert!(chain.send(0, there()), "{:#?}", chain.nodes[0].notices);
    // The first gateway's name stays, and its tunnel ends at the second now.
    let mut other = wired(&short);
    other.peers[0].remote = warren_ike::Remote::Host(node(2));
    other.rules.tunnel[TO_3.0 as usize].gateway = node(2).into();
    reload(&mut chain, other);
    assert_eq!(state(&chain, SITE), None, "it was another stack");
    assert!(!chain.send(0, there()));
}

#[test] // NT-12
fn a_gateway_behind_tunnels_does_not_move_to_where_there_are_none() {
    let mut own = wired(&rules());
    own.peers.iter_mut().for_each(|peer| peer.nat_traversal = NatTraversal::Force);
    let mut configs = vec![own];
    configs.extend((1..=3).map(|at| {
        let mut config = gateway(at, 3);
        config.peers[0].nat_traversal = NatTraversal::Auto;
        config
    }));
    let mut chain = Chain::new(configs);
    chain.traffic(seconds(3), Duration::from_millis(100));
    assert!(chain.send(0, there()) && chain.send(3, back()));
    let elsewhere = std::net::SocketAddr::new([203, 0, 113, 9].into(), 4500);
    let farthest = |chain: &Chain| chain.nodes[0].tunnels.negotiator().peers()[2].path.unwrap().remote;
    // By IKE: what the farthest gateway asks is brought here by somebody else.
    let asked = loop {
        let far = &mut chain.nodes[3].tunnels;
        let now = far.poll_timeout().unwrap();
        far.handle_timeout(now);
        let datagrams = std::iter::from_fn(|| far.poll_output()).filter_map(|output| match output {
            Output::Transmit { octets, .. } => Some(octets),
            _ => None,
        });
        if let Some(octets) = datagrams.last() {
            break octets;
        }
    };
    let path = Path { local: std::net::SocketAddr::new(node(0), 4500), remote: elsewhere };
    let now = chain.now;
    chain.nodes[0].tunnels.handle_datagram(now, path, &asked);
    chain.drain(0);
    assert!(chain.seen.values().flatten().all(|pair| pair.1 != elsewhere.ip()));
    assert_eq!(farthest(&chain), std::net::SocketAddr::new(node(3), 4500));
    assert!(chain.send(0, there()));
    // By ESP.
    let is_inner = |sa: &&warren_seam::InboundSa| sa.rule == SITE;
    let inner: Vec<SaId> = chain.nodes[0].inbound.values().filter(is_inner).map(|sa| sa.id).collect();
    for sa in inner {
        chain.nodes[0].tunnels.handle_event(now, Event::PeerMoved { sa, remote: elsewhere });
    }
    chain.drain(0);
    assert_eq!(farthest(&chain).ip(), node(3));
    // Another port of the same address is another mapping of the same NAT.
    let remote = std::net::SocketAddr::new(node(3), 4600);
    let inner: Vec<SaId> = chain.nodes[0].inbound.values().filter(is_inner).map(|sa| sa.id).collect();
    for sa in inner {
        chain.nodes[0].tunnels.handle_event(now, Event::PeerMoved { sa, remote });
    }
    assert_eq!(farthest(&chain), remote);
    chain.nodes[0].tunnels.down(now, SITE);
    chain.drain(0);
    assert_no_strays(&chain);
}

#[test] // NT-27
fn traffic_in_one_direction_keeps_a_stack() {
    let mut own = wired(&rules());
    own.stack_idle = seconds(60);
    let mut chain = row_of(own);
    chain.send(0, there());
    chain.run(seconds(1));
    for _ in 0..30 {
        assert!(chain.send(0, there()), "{:#?}", chain.nodes[0].notices);
        // As the daemon does, who asks the workers for their counters.
        let (now, innermost) = (chain.now, chain.nodes[0].bound[&SITE][0]);
        let tunnels = &mut chain.nodes[0].tunnels;
        let used: Vec<SaId> = tunnels.outbound_sas().filter(|sa| *sa == innermost).collect();
        used.into_iter().for_each(|sa| tunnels.outbound_activity(now, sa));
        chain.drain(0);
        chain.run(seconds(10));
    }
}

/// What may come at any time in this file.
fn disturb(chain: &mut Chain) {
    let now = chain.now;
    let at = 1 + chain.below(3) as usize;
    match chain.below(16) {
        0 | 1 => drop(chain.dead.insert(at)),
        2..=4 => chain.dead.clear(),
        5 => drop(chain.nodes[at].tunnels.down(now, RuleId(0))),
        6 | 7 => open_all(chain),
        8 => {
            let rule = RuleId(chain.below(4) as u32);
            chain.nodes[0].tunnels.abort_stack(now, rule);
        }
        9 => {
            let rule = RuleId(chain.below(4) as u32);
            chain.nodes[0].tunnels.down(now, rule);
        }
        10 => {
            let mut other = wired(&rules());
            let changed = chain.below(4) as usize;
            other.tunnels[changed].child.lifetime.seconds = 400 + chain.below(3) as u32 * 100;
            other.tunnels[chain.below(4) as usize].start = Start::Immediately;
            chain.nodes[0].tunnels.reconfigure(now, other);
        }
        11 => {
            // The first gateway knows nothing of that site.
            let mut other = rules();
            other[OTHER.0 as usize].3 = 0;
            chain.nodes[0].tunnels.reconfigure(now, wired(&other));
        }
        12 | 13 => {
            let sas: Vec<SaId> = chain.nodes[at - 1].outbound.keys().copied().collect();
            if !sas.is_empty() {
                let sa = sas[chain.below(sas.len() as u64) as usize];
                let event = if chain.below(2) == 0 { Event::SoftExpire(sa) } else { Event::HardExpire(sa) };
                chain.nodes[at - 1].tunnels.handle_event(now, event);
            }
        }
        _ => chain.loss = [0, 0, 50, 300][chain.below(4) as usize],
    }
    (0..=3).for_each(|at| chain.drain(at));
}

fn open_all(chain: &mut Chain) {
    for at in 0..=3 {
        for rule in 0..4 {
            let now = chain.now;
            if chain.nodes[at]
                .tunnels
                .status_of(RuleId(rule))
                .is_some_and(|own| own.state == warren_tunnels::State::Closed)
            {
                chain.nodes[at].tunnels.up(now, RuleId(rule));
            }
        }
        chain.drain(at);
    }
}

#[test] // NT-13, NT-16, NT-17, NT-18, NT-19, NT-28, NT-29, NT-30, NT-31, NT-32, F-24, F-28
fn levels_with_traffic_of_their_own_reloads_and_expiry_at_any_time_leave_nothing_and_hold_nothing_up() {
    for seed in 0..40 {
        let mut own = wired(&rules());
        own.stack_idle = seconds([0, 3, 60][seed as usize % 3]);
        let mut chain = row_of(own);
        chain.reseed(seed);
        for _ in 0..500 {
            if chain.below(10) == 0 {
                disturb(&mut chain);
            }
            chain.send(0, there());
            if chain.below(4) == 0 {
                chain.send(0, to_other());
            }
            if chain.below(6) == 0 {
                chain.send(0, to_second());
            }
            if chain.below(4) == 0 {
                chain.send(3, back());
            }
            let pause = 5 + chain.below(120);
            chain.run(Duration::from_millis(pause));
            for stack in chain.nodes[0].tunnels.stacks() {
                let is_bound = chain.nodes[0].bound.contains_key(&stack.rule);
                assert_eq!(is_bound, stack.state == StackState::Done, "NT-31, seed {seed}");
            }
            (0..=3).for_each(|at| chain.assert_no_orphans(at));
        }
        chain.loss = 0;
        chain.dead.clear();
        open_all(&mut chain);
        reload(&mut chain, wired(&rules()));
        for _ in 0..2600 {
            chain.send(0, there());
            chain.send(0, to_other());
            chain.send(0, to_second());
            chain.run(Duration::from_millis(500));
        }
        for packet in [there(), to_other(), to_second()] {
            let stacks = chain.nodes[0].tunnels.stacks();
            let stacks: Vec<_> = stacks.iter().map(|stack| (stack.rule, stack.state)).collect();
            let notices = &chain.nodes[0].notices;
            let last = notices[notices.len().saturating_sub(30)..].to_vec();
            assert!(chain.send(0, packet), "seed {seed}: {packet}: {stacks:?} {last:#?}");
        }
        let now = chain.now;
        (0..=3).for_each(|at| chain.nodes[at].tunnels.shutdown(now));
        (0..=3).for_each(|at| chain.drain(at));
        chain.run(seconds(60));
        assert!((0..=3).all(|at| chain.is_bare(at)), "seed {seed}");
        assert_no_strays(&chain);
    }
}
