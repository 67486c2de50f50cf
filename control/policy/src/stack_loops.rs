//! Which tunnel rules lead through their own gateways, found without a packet (REQUIREMENTS NT-28, F-26, V-12).
//!
//! An arrow leads from a rule to each rule that may match what the first one sends to its gateway. A circle of arrows
//! is a way that may never end; [`walk`](crate::stack::walk) refuses the packets that would take it. *May*, because
//! a rule in front of both can take that traffic first: what the walk refuses is always found here, not the reverse.

use crate::limits::LOOP_PAIRS_MAX;
use crate::rule::{RuleId, RuleSet, TunnelRule};
use crate::selector::{PortRange, Protocol, Selector};
use crate::stack::{Rematch, esp};
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

/// What was found in one rule set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loops {
    /// Rules whose traffic contains their own gateway. The walk ends there with a whole stack; an operator may want to
    /// know all the same that traffic to the gateway itself goes into the tunnel (V-12).
    pub own_gateway: Vec<RuleId>,
    /// Circles of at least two gateways, each once, in the order of the arrows from its first rule on. Packets that
    /// take one are dropped.
    pub circles: Vec<Vec<RuleId>>,
    /// More than [`LOOP_PAIRS_MAX`] pairs of rules: circles were not looked for.
    pub is_partial: bool,
}

/// Looks for rules that lead through their own gateways.
#[must_use]
pub fn loops(rules: &RuleSet, rematch: Rematch<'_>) -> Loops {
    let own = |rule: &&TunnelRule| {
        rule.gateway.address().is_some_and(|gateway| leads(rule, rule, gateway, rematch))
    };
    let own_gateway = rules.tunnel.iter().filter(own).map(|rule| rule.id).collect();
    let candidates = through_gateways(rules);
    if candidates.len().pow(2) > LOOP_PAIRS_MAX {
        return Loops { own_gateway, circles: Vec::new(), is_partial: true };
    }
    let arrows: Vec<Vec<usize>> = candidates.iter().map(|rule| arrows(rule, &candidates, rematch)).collect();
    let mut taken = vec![false; candidates.len()];
    let mut circles = Vec::new();
    for start in 0..candidates.len() {
        if taken[start] {
            continue;
        }
        if let Some(circle) = shortest_circle(start, &arrows) {
            circle.iter().for_each(|at| taken[*at] = true);
            circles.push(circle.iter().map(|at| candidates[*at].id).collect());
        }
    }
    Loops { own_gateway, circles, is_partial: false }
}

/// Rules whose destination contains a gateway: no other is part of a circle, and there are few of them.
fn through_gateways(rules: &RuleSet) -> Vec<&TunnelRule> {
    let gateways: BTreeSet<IpAddr> = rules.tunnel.iter().filter_map(|rule| rule.gateway.address()).collect();
    let contains_one = |rule: &&TunnelRule| {
        let destination = &rule.selector.destination;
        gateways.range(destination.first()..=destination.last()).next().is_some()
    };
    rules.tunnel.iter().filter(contains_one).collect()
}

/// The places of the rules that may match what `rule` sends. One that leads to the same gateway ends the walk.
fn arrows(rule: &TunnelRule, candidates: &[&TunnelRule], rematch: Rematch<'_>) -> Vec<usize> {
    let Some(gateway) = rule.gateway.address() else { return Vec::new() };
    let follows = |(_, next): &(usize, &&TunnelRule)| {
        next.gateway.address().is_some_and(|other| other != gateway) && leads(rule, next, gateway, rematch)
    };
    candidates.iter().enumerate().filter(follows).map(|(at, _)| at).collect()
}

/// Whether `next` may match what `rule` sends to `gateway`.
fn leads(rule: &TunnelRule, next: &TunnelRule, gateway: IpAddr, rematch: Rematch<'_>) -> bool {
    match rematch {
        Rematch::Destination => {
            next.selector.destination.contains(gateway)
                && overlap_but_destination(&rule.selector, &next.selector)
        }
        Rematch::Wire(local) => {
            local(rule.peer).is_some_and(|local| next.selector.contains(&esp(local, gateway)))
        }
    }
}

/// Whether packets of both may differ in nothing but their destination.
pub(crate) fn overlap_but_destination(a: &Selector, b: &Selector) -> bool {
    let ports = |a: PortRange, b: PortRange| a.first() <= b.last() && b.first() <= a.last();
    a.source.overlaps(&b.source)
        && (a.protocol == b.protocol || a.protocol == Protocol::Any || b.protocol == Protocol::Any)
        && ports(a.source_port, b.source_port)
        && ports(a.destination_port, b.destination_port)
}

/// The shortest way along the arrows from `start` back to it.
fn shortest_circle(start: usize, arrows: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut from = vec![None; arrows.len()];
    let mut waiting = VecDeque::from([start]);
    while let Some(at) = waiting.pop_front() {
        for &next in &arrows[at] {
            if next == start {
                let mut circle = vec![at];
                while let Some(before) = from[circle[circle.len() - 1]] {
                    circle.push(before);
                }
                circle.reverse();
                return Some(circle);
            }
            if from[next].is_none() {
                from[next] = Some(at);
                waiting.push_back(next);
            }
        }
    }
    None
}
