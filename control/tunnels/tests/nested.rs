//! Tunnels inside tunnels over IKE itself: gateways in a row, each negotiated through those in front of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use support::chain::{
    Chain, Did, back, child, configured, gateway, network, node, peer, protect, sender, single, there,
};
use support::configured;
use warren_ike::ted::TedConfig;
use warren_ike::{ChildConfig, ConfigMode, PeerConfig, Remote, RemoteIdentity};
use warren_policy::{
    AddressRange, ClientSide, FiveTuple, Gateway, Pad, PadEntry, PeerId, Rematching, RuleId, Selector,
    ServedPolicy, ServedSet, TunnelRule,
};
use warren_tunnels::{ServerConfig, StackState, Start, TunnelConfig, TunnelsConfig};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// The names of the levels that were performed, or torn down, in the order of the log.
fn said(chain: &Chain, what: &str) -> Vec<String> {
    let of = |notice: &String| Some(notice.split_once(what)?.1.split([',', ':']).next()?.to_owned());
    chain.nodes[0].notices.iter().filter_map(of).collect()
}

#[test] // NT-5, NT-6, NT-11, NT-12, NT-13, NT-14, NT-15, NT-21, NT-22, NT-23, NT-34, Q-20, V-9
fn three_gateways_are_negotiated_one_through_the_other_and_traffic_passes_both_ways() {
    let mut chain = Chain::of(3);
    assert!(!chain.send(0, there()), "the packet that wants it does not pass");
    chain.run(seconds(2));
    assert_eq!(said(&chain, "performing "), ["to-2", "to-3", "site"]);
    assert!(chain.send(0, there()) && chain.send(3, back()));
    chain.run(seconds(1));
    assert_eq!((chain.nodes[3].delivered.len(), chain.nodes[0].delivered.len()), (1, 1));
    assert_eq!(chain.nodes.iter().map(|node| node.wrong_carrier).sum::<usize>(), 0);
    // Each gateway was spoken to inside of those in front of it, and never in clear.
    assert_eq!(chain.nodes[0].ike_by_depth.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    for (link, seen) in &chain.seen {
        for (source, destination) in seen {
            let allowed = [node(0), node(link + 1)];
            assert!(allowed.contains(source) && allowed.contains(destination), "{source} {destination}");
        }
    }
    // No packet before the last action was performed.
    let binds = chain.nodes[0].did.iter().filter(|did| matches!(did, Did::Bound(..))).count();
    assert_eq!((binds, chain.nodes[0].did.last()), (1, Some(&Did::Bound(RuleId(0), 3))));
    let stacks = chain.nodes[0].tunnels.stacks();
    let [stack] = &stacks[..] else { panic!("one stack") };
    assert_eq!((stack.state, stack.pending.len()), (StackState::Done, 0));
    let names: Vec<_> = stack.completed.iter().map(|level| level.name.as_str()).collect();
    assert_eq!(names, ["to-2", "to-3", "site", "all"]);
}

#[test] // NT-16, NT-17, NT-18, NT-19, NT-28, NT-30, Q-16, Q-22, V-10
fn whichever_gateway_is_dead_what_was_built_goes_the_farthest_first_and_only_the_pause_is_left() {
    for last in 1..=8 {
        for dead in 1..=last {
            let mut chain = Chain::of(last);
            chain.dead.insert(dead);
            chain.send(0, there());
            let failed =
                |chain: &Chain| chain.nodes[0].notices.iter().any(|notice| notice.contains("next try"));
            while !failed(&chain) {
                assert!(chain.now < seconds(10));
                chain.run(Duration::from_millis(100));
            }
            // What was said last arrives.
            chain.run(Duration::from_millis(200));
            let name = |level: usize| match level {
                level if level == last => "site".to_owned(),
                level => format!("to-{}", level + 1),
            };
            if last > 1 {
                let tried: Vec<_> = (1..=dead).map(name).collect();
                assert_eq!(said(&chain, "performing "), tried, "{dead} of {last}");
                let gone: Vec<_> = (1..dead).rev().map(name).collect();
                assert_eq!(said(&chain, "tearing down "), gone, "{dead} of {last}");
                let [stack] = &chain.nodes[0].tunnels.stacks()[..] else { panic!("a pause") };
                assert!(matches!(stack.state, StackState::HoldDown { until } if until > chain.now));
                assert_eq!(stack.failed.as_ref().unwrap().0, name(dead));
            }
            assert!(!chain.nodes[0].did.iter().any(|did| matches!(did, Did::Bound(..))));
            for at in 0..=last {
                assert!(chain.is_bare(at), "{dead} of {last}: node {at} has something left");
            }
            let peers = chain.nodes[0].tunnels.negotiator().peers();
            assert!(peers.iter().all(|peer| peer.path.is_none()), "{dead} of {last}: IKE is left");
        }
    }
}

#[test] // NT-16, NT-30, NT-32, Q-22
fn a_gateway_that_dies_takes_the_stack_along_in_order_is_left_alone_for_a_while_and_comes_back() {
    let mut chain = Chain::of(3);
    chain.traffic(seconds(2), Duration::from_millis(50));
    let before = chain.nodes[3].delivered.len();
    assert!(before > 10);
    chain.nodes[0].notices.clear();
    chain.dead.insert(3);
    chain.traffic(seconds(20), Duration::from_millis(50));
    assert_eq!(said(&chain, "tearing down ")[..3], ["site", "to-3", "to-2"], "{:#?}", chain.nodes[0].notices);
    // In the pause of the level that failed nothing is built that would be in front of it.
    let negotiated = chain.nodes[0].did.len();
    let [stack] = &chain.nodes[0].tunnels.stacks()[..] else { panic!("one") };
    if let StackState::HoldDown { until } = stack.state {
        let left = until - chain.now;
        chain.traffic(left.saturating_sub(Duration::from_millis(100)), Duration::from_millis(50));
        assert_eq!(chain.nodes[0].did.len(), negotiated, "nothing is built during the pause");
    }
    chain.dead.remove(&3);
    chain.traffic(seconds(120), Duration::from_millis(50));
    assert!(chain.nodes[3].delivered.len() > before + 100);
    assert_eq!(chain.nodes[0].tunnels.stacks()[0].state, StackState::Done);
    (0..=3).for_each(|at| chain.assert_no_orphans(at));
}

#[test] // NT-32
fn an_outer_tunnel_that_its_gateway_deletes_suspends_what_stands_on_it_and_all_is_built_again() {
    let mut chain = Chain::of(3);
    chain.traffic(seconds(2), Duration::from_millis(50));
    for lost in 1..=2 {
        chain.nodes[0].notices.clear();
        let delivered = chain.nodes[3].delivered.len();
        let rule = RuleId(0);
        let now = chain.now;
        assert!(chain.nodes[lost].tunnels.down(now, rule));
        chain.drain(lost);
        chain.run(Duration::from_millis(20));
        assert!(!chain.send(0, there()), "nothing goes into the hole");
        assert!(chain.nodes[lost].tunnels.up(chain.now, rule));
        chain.drain(lost);
        chain.traffic(seconds(20), Duration::from_millis(50));
        assert_eq!(said(&chain, "lost ").len(), 1, "{:#?}", chain.nodes[0].notices);
        assert!(chain.nodes[3].delivered.len() > delivered + 100, "{:#?}", chain.nodes[0].notices);
        assert_eq!(chain.nodes[0].tunnels.stacks()[0].state, StackState::Done);
        (0..=3).for_each(|at| chain.assert_no_orphans(at));
    }
}

#[test] // NT-31
fn every_level_is_rekeyed_again_and_again_and_no_packet_is_lost() {
    let mut chain = Chain::of(3);
    chain.send(0, there());
    chain.run(seconds(2));
    let (mut sent, dropped) = ([0, 0], [0, 3].map(|at: usize| chain.nodes[at].dropped));
    let end = chain.now + seconds(3600);
    while chain.now < end {
        sent[0] += usize::from(chain.send(0, there()));
        sent[1] += usize::from(chain.send(3, back()));
        chain.run(Duration::from_millis(500));
    }
    chain.run(seconds(1));
    assert_eq!([chain.nodes[3].delivered.len(), chain.nodes[0].delivered.len()], sent);
    assert!(sent[0] > 7000 && sent[1] > 7000);
    assert_eq!([0, 3].map(|at: usize| chain.nodes[at].dropped), dropped);
    assert_eq!(chain.nodes.iter().map(|node| node.wrong_carrier).sum::<usize>(), 0);
    let rekeyed = |rule: u32| {
        let is = |did: &&Did| **did == Did::InstalledOutbound(RuleId(rule));
        chain.nodes[0].did.iter().filter(is).count()
    };
    let levels: Vec<u32> = {
        let stack = &chain.nodes[0].tunnels.stacks()[0];
        stack.completed.iter().filter_map(|level| Some(level.tunnel?.0)).collect()
    };
    assert!(levels.iter().all(|level| rekeyed(*level) > 5), "{levels:?}");
    (0..=3).for_each(|at| chain.assert_no_orphans(at));
}

/// A row of three with a second pair of networks behind `shared`, reached by the same way up to there.
fn with_a_second_site(shared: usize) -> Chain {
    let mut configs: Vec<_> = (1..=3).map(|at| gateway(at, 3)).collect();
    let mut own = sender(3);
    own = {
        let mut rules = vec![("other".to_owned(), network(1), network(3), shared - 1)];
        for (rule, tunnel) in own.rules.tunnel.iter().zip(&own.tunnels) {
            let peer = tunnel.child.peer.0 as usize;
            rules.push((rule.name.clone(), rule.selector.source, rule.selector.destination, peer));
        }
        let rules: Vec<_> = rules.iter().map(|(name, a, b, peer)| (name.as_str(), *a, *b, *peer)).collect();
        configured(own.peers, &rules)
    };
    let behind = &mut configs[shared - 1];
    let mut rules: Vec<_> = vec![("other", network(3), network(1), 0)];
    for rule in &behind.rules.tunnel {
        rules.push((rule.name.as_str(), rule.selector.source, rule.selector.destination, 0));
    }
    *behind = configured(behind.peers.clone(), &rules);
    let mut chain = Chain::new([own].into_iter().chain(configs).collect());
    chain.third = shared;
    chain
}

fn to_other() -> FiveTuple {
    FiveTuple { destination: [10, 3, 0, 7].into(), ..there() }
}

#[test] // NT-29, Q-23, V-11
fn a_level_that_two_stacks_share_is_built_once_and_goes_with_the_last_of_them() {
    // The other site is behind the second gateway: the tunnel to the first is around both.
    let mut chain = with_a_second_site(2);
    chain.send(0, to_other());
    chain.run(seconds(1));
    assert_eq!(said(&chain, "performing "), ["to-2", "other"]);
    chain.nodes[0].notices.clear();
    chain.send(0, there());
    chain.run(seconds(1));
    assert_eq!(said(&chain, "performing "), ["to-3", "site"]);
    let shared = chain.nodes[0].tunnels.stacks();
    assert_eq!(shared.iter().map(|stack| stack.completed[0].users).collect::<Vec<_>>(), [2, 2]);
    assert!(chain.send(0, there()) && chain.send(0, to_other()));
    // V-11: the third gateway dies; what only its stack has goes, what the other one uses stays.
    chain.nodes[0].notices.clear();
    chain.dead.insert(3);
    let mut lost = 0;
    for _ in 0..400 {
        chain.send(0, there());
        lost += usize::from(!chain.send(0, to_other()));
        chain.run(Duration::from_millis(50));
    }
    let gone = said(&chain, "tearing down ");
    assert_eq!(gone[..2], ["site", "to-3"], "{:#?}", chain.nodes[0].notices);
    assert!(!gone.contains(&"to-2".to_owned()), "it is a stranger's: {gone:?}");
    assert_eq!(lost, 0, "a stranger's packet was lost");
    // The last user takes it along.
    let now = chain.now;
    let other = chain.nodes[0].tunnels.rules_named("other")[0];
    let site = chain.nodes[0].tunnels.rules_named("site")[0];
    chain.nodes[0].notices.clear();
    chain.nodes[0].tunnels.down(now, site);
    chain.nodes[0].tunnels.down(now, other);
    chain.drain(0);
    assert_eq!(said(&chain, "tearing down "), ["other", "to-2"]);
    chain.run(seconds(10));
    assert!((0..=2).all(|at| chain.is_bare(at)));
}

#[test] // NT-29, NT-32
fn two_stacks_that_share_what_is_lost_are_both_built_again() {
    let mut chain = with_a_second_site(2);
    chain.send(0, to_other());
    chain.send(0, there());
    chain.run(seconds(2));
    assert!(chain.send(0, there()) && chain.send(0, to_other()));
    let now = chain.now;
    chain.nodes[1].tunnels.down(now, RuleId(0));
    chain.drain(1);
    chain.run(Duration::from_millis(20));
    assert!(!chain.send(0, there()) && !chain.send(0, to_other()));
    chain.nodes[1].tunnels.up(now, RuleId(0));
    chain.drain(1);
    for _ in 0..100 {
        chain.send(0, there());
        chain.send(0, to_other());
        chain.run(Duration::from_millis(100));
    }
    assert!(chain.send(0, there()) && chain.send(0, to_other()), "{:#?}", chain.nodes[0].notices);
    let stacks = chain.nodes[0].tunnels.stacks();
    assert!(stacks.iter().all(|stack| stack.state == StackState::Done && stack.completed[0].users == 2));
}

#[test] // NT-27
fn a_stack_without_traffic_goes_away_and_comes_back_with_it() {
    let mut own = sender(3);
    own.stack_idle = seconds(60);
    let mut chain = Chain::new([own].into_iter().chain((1..=3).map(|at| gateway(at, 3))).collect());
    chain.send(0, there());
    chain.run(seconds(1));
    // Traffic of either direction keeps it.
    for _ in 0..20 {
        assert!(chain.send(3, back()));
        chain.run(seconds(10));
    }
    assert_eq!(chain.nodes[0].tunnels.stacks()[0].state, StackState::Done);
    chain.nodes[0].notices.clear();
    chain.run(seconds(80));
    assert_eq!(said(&chain, "tearing down "), ["site", "to-3", "to-2"]);
    assert!((0..=3).all(|at| chain.is_bare(at)) && chain.nodes[0].tunnels.stacks().is_empty());
    chain.send(0, there());
    chain.run(seconds(1));
    assert!(chain.send(0, there()));
}

/// A row of three with a receiver behind the last gateway, to which the sender itself speaks in transport mode.
fn with_a_receiver() -> Chain {
    let mut own = sender(3);
    own.peers.push(peer(3, 0, 4));
    let far = |far: &mut TunnelsConfig, own, other| protect(far, "end-to-end", own, (0, other));
    let mut rules = Vec::new();
    for (rule, tunnel) in own.rules.tunnel.iter().zip(&own.tunnels) {
        let peer = tunnel.child.peer.0 as usize;
        let everything = AddressRange::any(false);
        // By the letter the source is the packet's own at every level.
        rules.push((rule.name.clone(), everything, rule.selector.destination, peer));
    }
    rules.insert(1, ("to-far".to_owned(), single(node(0)), single(node(4)), 2));
    let rules: Vec<_> = rules.iter().map(|(name, a, b, peer)| (name.as_str(), *a, *b, *peer)).collect();
    let mut own = configured(own.peers, &rules);
    protect(&mut own, "end-to-end", 0, (3, 4));
    let mut configs = vec![own, gateway(1, 4), gateway(2, 4)];
    // The third gateway has the site and the receiver behind it.
    let everything = AddressRange::any(false);
    let behind = [("site", network(2), everything, 0), ("receiver", single(node(4)), single(node(0)), 0)];
    configs.push(configured(vec![peer(0, 3, 0)], &behind));
    let mut receiver = configured(vec![peer(0, 4, 0)], &[]);
    far(&mut receiver, 4, 0);
    configs.push(receiver);
    for (at, config) in configs.iter_mut().enumerate().skip(1).take(2) {
        let back = [("back", single(node(at + 1)), everything, 0)];
        *config = configured(vec![peer(0, at, 0)], &back);
    }
    Chain::new(configs)
}

#[test] // NT-29
fn a_stack_that_waits_for_a_level_is_built_when_another_has_built_it() {
    let mut chain = with_a_receiver();
    let own = FiveTuple { source: node(0), destination: node(4), ..there() };
    chain.send(0, own);
    chain.send(0, there());
    chain.run(seconds(2));
    assert!(chain.send(0, own) && chain.send(0, there()), "{:#?}", chain.nodes[0].tunnels.stacks());
}

#[test] // NT-5, NT-19, NT-21, NT-31, Q-17
fn what_the_gateway_says_itself_is_in_transport_mode_inside_the_same_tunnels() {
    let mut chain = with_a_receiver();
    let own = FiveTuple { source: node(0), destination: node(4), ..there() };
    let answer = FiveTuple { source: node(4), destination: node(0), ..there() };
    chain.send(0, own);
    chain.run(seconds(2));
    assert_eq!(
        said(&chain, "performing "),
        ["to-2", "to-3", "to-far", "end-to-end"],
        "{:#?}",
        chain.nodes[0].notices
    );
    assert!(chain.send(0, own) && chain.send(4, answer), "{:#?}", chain.nodes[0].notices);
    chain.run(seconds(1));
    assert_eq!((chain.nodes[4].delivered.len(), chain.nodes[0].delivered.len()), (1, 1));
    let protection = chain.nodes[0].tunnels.rules_named("end-to-end")[0];
    assert_eq!(chain.nodes[0].did.last(), Some(&Did::Bound(protection, 4)));
    // A failed transport action takes the tunnels along.
    chain.nodes[0].notices.clear();
    chain.dead.insert(4);
    for _ in 0..400 {
        chain.send(0, own);
        chain.run(Duration::from_millis(50));
    }
    let gone = said(&chain, "tearing down ");
    assert_eq!(gone[..4], ["end-to-end", "to-far", "to-3", "to-2"], "{:#?}", chain.nodes[0].notices);
}

#[test] // NT-12
fn a_far_gateway_may_begin_and_is_answered_through_the_tunnels_in_front_of_it() {
    let mut chain = Chain::of(3);
    // Nothing is there: what it says comes as far as the gateway before it, which asks for its own tunnel first.
    for _ in 0..200 {
        chain.send(3, back());
        chain.run(Duration::from_millis(100));
    }
    assert!(chain.nodes[0].delivered.len() > 10, "{:#?}", chain.nodes[0].notices);
    assert!(chain.send(0, there()));
    for (link, seen) in &chain.seen {
        let pairs: Vec<_> =
            seen.iter().filter(|pair| pair.0 != node(link + 1) && pair.1 != node(link + 1)).collect();
        assert!(pairs.is_empty(), "{link}: {pairs:?}");
    }
}

#[test]
fn the_operator_aborts_closes_and_opens_a_stack() {
    let mut chain = Chain::of(3);
    chain.send(0, there());
    chain.run(seconds(1));
    let (now, rule) = (chain.now, RuleId(0));
    assert!(chain.nodes[0].tunnels.abort_stack(now, rule));
    assert!(!chain.nodes[0].tunnels.abort_stack(now, rule), "it is gone");
    chain.drain(0);
    chain.run(seconds(1));
    assert!((0..=3).all(|at| chain.is_bare(at)));
    assert_eq!(said(&chain, "tearing down "), ["site", "to-3", "to-2"]);
    // In the middle of being built as well.
    chain.send(0, there());
    chain.run(Duration::from_millis(90));
    let half = &chain.nodes[0].tunnels.stacks()[0];
    assert!(half.state == StackState::Building && !half.completed.is_empty() && !half.pending.is_empty());
    let now = chain.now;
    assert!(chain.nodes[0].tunnels.abort_stack(now, rule));
    chain.drain(0);
    chain.run(seconds(30));
    // The second gateway repeats its half of a phase 1, and the first one asks us for a tunnel for that: its own business.
    assert!(chain.is_bare(2) && chain.is_bare(3));
    let level = chain.nodes[0].inbound.values().map(|sa| sa.rule).next();
    let own = level.and_then(|level| chain.nodes[0].tunnels.status_of(level));
    assert!(own.is_none_or(|own| own.pairs.iter().all(|pair| pair.role == warren_ike::Role::Responder)));
    let now = chain.now;
    assert!(chain.nodes[0].tunnels.down(now, rule));
    for _ in 0..30 {
        assert!(!chain.send(0, there()));
        chain.run(Duration::from_millis(100));
    }
    assert!(chain.nodes[0].tunnels.stacks().is_empty() && chain.is_bare(2), "what is closed is not built");
    let now = chain.now;
    assert!(chain.nodes[0].tunnels.up(now, rule));
    chain.drain(0);
    chain.run(seconds(2));
    assert!(chain.send(0, there()));
}

#[test]
fn another_configuration_keeps_a_stack_that_stays_and_takes_down_one_that_would_be_another() {
    let mut chain = Chain::of(3);
    chain.send(0, there());
    chain.run(seconds(1));
    let sas: Vec<_> = chain.nodes[0].outbound.keys().copied().collect();
    let now = chain.now;
    chain.nodes[0].tunnels.reconfigure(now, sender(3));
    chain.drain(0);
    assert!(chain.send(0, there()));
    assert_eq!(chain.nodes[0].outbound.keys().copied().collect::<Vec<_>>(), sas);
    // Without the rule in the middle the last gateway would be reached straight away.
    let mut shorter = sender(3);
    let rules: Vec<_> = shorter.rules.tunnel.iter().filter(|rule| rule.name != "to-2").cloned().collect();
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| {
            (rule.name.as_str(), rule.selector.source, rule.selector.destination, rule.peer.0 as usize)
        })
        .collect();
    shorter = configured(shorter.peers, &rules);
    chain.nodes[0].tunnels.reconfigure(now, shorter);
    chain.drain(0);
    assert!(!chain.send(0, there()), "it is another stack now");
    chain.run(seconds(1));
    assert_eq!(said(&chain, "tearing down "), ["site", "to-3", "to-2"]);
    assert!(chain.is_bare(1));
    // And without tunnels at all nothing is left.
    chain.run(seconds(5));
    let now = chain.now;
    chain.nodes[0].tunnels.reconfigure(now, configured(sender(3).peers, &[]));
    chain.drain(0);
    chain.run(seconds(10));
    assert!(chain.is_bare(0) && chain.nodes[0].tunnels.stacks().is_empty());
}

#[test]
fn the_end_of_the_process_deletes_the_farthest_first_so_that_every_gateway_hears_of_it() {
    let mut chain = Chain::of(4);
    chain.send(0, there());
    chain.run(seconds(1));
    let now = chain.now;
    chain.nodes[0].tunnels.shutdown(now);
    chain.drain(0);
    chain.run(seconds(1));
    assert!((0..=4).all(|at| chain.is_bare(at)));
}

#[test] // NT-16, NT-17
fn what_a_peer_sent_before_its_delete_is_opened_for_a_while_and_then_nothing_is_left() {
    let mut chain = Chain::of(3);
    chain.send(0, there());
    chain.run(seconds(1));
    let now = chain.now;
    assert!(chain.nodes[0].tunnels.abort_stack(now, RuleId(0)));
    chain.drain(0);
    chain.run(seconds(1));
    // Each was told by its peer, and what that one said to others before may still be on its way to a worker.
    assert!(chain.is_bare(0));
    for at in 1..=3 {
        assert_eq!((chain.nodes[at].inbound.len(), chain.nodes[at].outbound.len()), (1, 0), "{at}");
    }
    chain.run(seconds(5));
    assert!((0..=3).all(|at| chain.nodes[at].inbound.is_empty()));
}

fn open_all(chain: &mut Chain, last: usize) {
    for at in 1..=last {
        let now = chain.now;
        assert!(chain.nodes[at].tunnels.up(now, RuleId(0)));
        chain.drain(at);
    }
}

/// What the operator or the world does at a time of its own choosing.
fn disturb(chain: &mut Chain, last: usize) {
    let now = chain.now;
    let at = 1 + chain.below(last as u64) as usize;
    match chain.below(10) {
        0..=2 => drop(chain.dead.insert(at)),
        3..=5 => chain.dead.clear(),
        6 => assert!(chain.nodes[at].tunnels.down(now, RuleId(0))),
        7 => open_all(chain, last),
        8 => {
            let rules: Vec<RuleId> = chain.nodes[0].tunnels.stacks().iter().map(|stack| stack.rule).collect();
            if let Some(rule) = rules.first() {
                chain.nodes[0].tunnels.abort_stack(now, *rule);
            }
        }
        _ => chain.loss = [0, 0, 50, 300][chain.below(4) as usize],
    }
    (0..=last).for_each(|at| chain.drain(at));
}

#[test] // NT-13, NT-16, NT-17, NT-18, NT-19, NT-28, NT-29, NT-30, NT-31, NT-32, NT-34, F-24, F-28
fn whatever_happens_at_whatever_time_nothing_leaks_nothing_is_left_and_all_comes_back() {
    let mut states = std::collections::HashSet::new();
    for seed in 0..60 {
        let mut chain = with_a_second_site(1 + (seed % 3) as usize);
        chain.reseed(seed);
        for _ in 0..600 {
            if chain.below(12) == 0 {
                disturb(&mut chain, 3);
            }
            chain.send(0, there());
            if chain.below(4) == 0 {
                chain.send(0, to_other());
                chain.send(3, back());
            }
            let pause = 5 + chain.below(120);
            chain.run(Duration::from_millis(pause));
            for stack in chain.nodes[0].tunnels.stacks() {
                states.insert(std::mem::discriminant(&stack.state));
                let is_bound = chain.nodes[0].bound.contains_key(&stack.rule);
                assert_eq!(is_bound, stack.state == StackState::Done, "NT-31, seed {seed}");
            }
            let done = |rule: &RuleId| {
                let status = chain.nodes[0].tunnels.stack_status(*rule);
                status.is_some_and(|stack| stack.state == StackState::Done)
            };
            // The other site may be right behind the first gateway, and is no stack then.
            assert!(chain.nodes[0].bound.keys().all(|rule| done(rule) || (rule.0 == 0 && chain.third == 1)));
            (0..=3).for_each(|at| chain.assert_no_orphans(at));
        }
        // The world is whole again, and after the longest pauses so are the stacks.
        chain.loss = 0;
        chain.dead.clear();
        open_all(&mut chain, 3);
        chain.traffic(seconds(700), Duration::from_millis(500));
        assert!(chain.send(0, there()), "seed {seed}: {:#?}", chain.nodes[0].tunnels.stacks());
        let delivered = chain.nodes[3].delivered.len();
        chain.run(seconds(1));
        assert_eq!(chain.nodes[3].delivered.len(), delivered + 1, "seed {seed}");
        // And in the end nothing is left of anything.
        let now = chain.now;
        (0..=3).for_each(|at| chain.nodes[at].tunnels.shutdown(now));
        (0..=3).for_each(|at| chain.drain(at));
        chain.run(seconds(60));
        assert!((0..=3).all(|at| chain.is_bare(at)), "seed {seed}");
        for (link, seen) in &chain.seen {
            let strays: Vec<_> =
                seen.iter().filter(|pair| pair.0 != node(link + 1) && pair.1 != node(link + 1)).collect();
            assert!(strays.is_empty(), "seed {seed}: on link {link} {strays:?} were seen");
        }
    }
    assert!(states.len() >= 4, "{states:?}");
}

/// A template under which gateways are found that protect `networks`.
fn template(own: usize, networks: &[AddressRange]) -> PeerConfig {
    let pad = Pad::new(vec![PadEntry { identity: None, networks: networks.to_vec() }]);
    PeerConfig {
        remote: Remote::Any,
        remote_identity: RemoteIdentity::Any,
        pad: Some(Arc::new(pad)),
        ..peer(1, own, 99)
    }
}

/// The same configuration with one more rule, which discovers.
fn discovering(
    mut config: TunnelsConfig,
    name: &str,
    (from, to): (AddressRange, AddressRange),
) -> TunnelsConfig {
    let selector = Selector::between(from, to).unwrap();
    let rule = config.tunnels.len() as u32;
    let child = ChildConfig { is_divisible: true, ..child(rule, 1, selector) };
    config.rules.tunnel.push(TunnelRule {
        id: child.rule,
        name: name.to_owned(),
        selector,
        peer: child.peer,
        gateway: Gateway::Discover,
    });
    config.tunnels.push(TunnelConfig { child, start: Start::OnTraffic, parallel: std::num::NonZeroU16::MIN });
    config.ted = TedConfig::default();
    config.discovered_idle = seconds(600);
    config
}

#[test] // NT-35
fn the_tunnel_around_a_tunnel_may_be_one_whose_gateway_has_to_be_found() {
    // The site is behind the second gateway, and nobody has said how that one is reached.
    let own = configured(
        vec![peer(0, 0, 2), template(0, &[single(node(2))])],
        &[("site", network(1), network(2), 0)],
    );
    let mut own = discovering(own, "way", (single(node(0)), single(node(2))));
    own.rematch = Rematching::Wire;
    let first = configured(vec![peer(0, 1, 99), template(1, &[single(node(0))])], &[]);
    let first = discovering(first, "back", (single(node(2)), single(node(0))));
    let second = configured(vec![peer(0, 2, 0)], &[("site", network(2), network(1), 0)]);
    let mut chain = Chain::new(vec![own, first, second]);
    for (at, addresses) in [(0, vec![node(0)]), (1, vec![node(1)]), (2, vec![node(2)])] {
        chain.nodes[at].tunnels.set_own_addresses(addresses);
    }
    let mut tried = 0;
    while !chain.send(0, there()) {
        tried += 1;
        assert!(tried < 200, "{:#?}", chain.nodes[0].notices);
        chain.run(Duration::from_millis(100));
    }
    chain.run(seconds(1));
    assert_eq!(chain.nodes[2].delivered.len(), 1);
    let [stack] = &chain.nodes[0].tunnels.stacks()[..] else { panic!("one stack") };
    let gateways: Vec<_> = stack.completed.iter().filter_map(|level| level.gateway).collect();
    assert_eq!(gateways, [node(1), node(2)]);
    // IKE with the second gateway went through what was found, and never past it.
    assert!(chain.nodes[0].ike_by_depth[&1] > 3);
    let past = |pair: &&(IpAddr, IpAddr)| pair.0 == node(2) || pair.1 == node(2);
    let past: Vec<_> = chain.seen[&0].iter().filter(past).collect();
    // The probe itself looks like a packet between the two, as discovery wants it.
    assert!(past.len() <= 2, "{past:?}");
    assert!(chain.send(2, back()));
    chain.run(seconds(1));
    assert_eq!(chain.nodes[0].delivered.len(), 1);
}

#[test] // NT-36, DC-23
fn pulled_policy_whose_sets_lie_inside_each_other_is_executed() {
    // The server says how its clients reach the gateway behind it, and what is behind that.
    let networks = |network| ClientSide::Networks(vec![network]);
    let served = |name: &str, source, destination| ServedSet {
        name: name.to_owned(),
        source: vec![source],
        destination,
        ..configured::served(name, &[])
    };
    let next = served("next", single(node(2)), networks(single(node(0))));
    let site = ServedSet {
        parent: Some(0),
        gateway: Some(node(2)),
        ..served("site", network(2), networks(network(1)))
    };
    let mut server = configured(vec![peer(0, 1, 0)], &[]);
    server.peers[0].config_mode = ConfigMode::Server;
    server.servers = vec![ServerConfig { peer: PeerId(0), policy: 0, pushes: false }];
    let sets = vec![next, site];
    server.policies = vec![ServedPolicy { name: "inside".to_owned(), sets, ..ServedPolicy::default() }];
    let mut client = configured(vec![peer(0, 0, 1), peer(1, 0, 2)], &[]);
    client.rules.transport.clear();
    client.peers[0].config_mode = ConfigMode::Client;
    client.rematch = Rematching::Wire;
    client.clients = configured::client().clients;
    let ceiling = &mut client.clients[0].ceiling;
    (ceiling.remote, ceiling.is_remote_named) = (vec![network(2), single(node(2))], true);
    ceiling.local = vec![network(1), single(node(0))];
    let second = configured(vec![peer(0, 2, 0)], &[("site", network(2), network(1), 0)]);
    let mut chain = Chain::new(vec![client, server, second]);
    chain.run(seconds(5));
    let status = chain.nodes[0].tunnels.clients().remove(0);
    assert!(status.refused.is_empty(), "{:?}", status.refused);
    assert!(chain.send(0, there()), "{:#?}", chain.nodes[0].notices);
    assert!(chain.send(2, back()));
    chain.run(seconds(1));
    assert_eq!((chain.nodes[2].delivered.len(), chain.nodes[0].delivered.len()), (1, 1));
    let [stack] = &chain.nodes[0].tunnels.stacks()[..] else { panic!("one stack") };
    let gateways: Vec<_> = stack.completed.iter().filter_map(|level| level.gateway).collect();
    assert_eq!(gateways, [node(1), node(2)]);
    assert!(chain.seen[&0].iter().all(|pair| pair.0 != node(2) && pair.1 != node(2)));
    // Withdrawn, it goes as any stack does: the inner one first.
    let now = chain.now;
    chain.nodes[0].notices.clear();
    assert!(chain.nodes[0].tunnels.close_client(now, PeerId(0)));
    chain.drain(0);
    chain.run(seconds(2));
    assert!((0..=2).all(|at| chain.is_bare(at)), "{:#?}", chain.nodes[0].notices);
}
