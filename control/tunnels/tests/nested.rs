//! Tunnels inside tunnels over IKE itself: gateways in a row, each negotiated through those in front of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;
use support::chain::{Chain, Did, back, node, there};
use warren_policy::RuleId;
use warren_tunnels::StackState;

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
