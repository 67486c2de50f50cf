//! Tunnel rules by their addresses: which of many thousands could match what goes from a range of addresses to one
//! address, in the order in which rules are tried.
//!
//! ```text
//!            destination                 each rule is a box; halves of the boxes are put into a box of their own,
//!          ┌───┐      │ asked            by source and by destination in turns. A box that does not touch what is
//!  source  │ a │ ┌────┼──┐              asked is left out with all in it, and of the others the one whose first
//!          └───┘ │ b  │  │              rule is tried first is opened first.
//!                └────┼──┘
//! ```

use crate::limits::WAY_STEPS_MAX;
use crate::rule::TunnelRule;
use crate::selector::AddressRange;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

/// Numbers `first..=last`.
type Span = (u128, u128);

/// All tunnel rules of a set, by the places that they have in it.
pub(crate) struct RuleTree {
    ipv4: Vec<Node>,
    ipv6: Vec<Node>,
    steps_left: Cell<usize>,
}

/// A box around all rules below.
struct Node {
    source: Span,
    destination: Span,
    /// The lowest place of a rule below; of a leaf, its place.
    first: usize,
    /// Where its halves are; `None` for a leaf.
    halves: Option<(usize, usize)>,
}

impl RuleTree {
    pub(crate) fn new(rules: &[TunnelRule]) -> Self {
        let of = |ipv6: bool| {
            let own =
                rules.iter().enumerate().filter(|(_, rule)| rule.selector.destination.is_ipv6() == ipv6);
            let mut leaves: Vec<_> = own.map(|(at, rule)| Node::leaf(at, rule)).collect();
            let mut nodes = Vec::with_capacity(2 * leaves.len());
            if !leaves.is_empty() {
                grow(&mut leaves, &mut nodes, true);
            }
            nodes
        };
        Self { ipv4: of(false), ipv6: of(true), steps_left: Cell::new(WAY_STEPS_MAX) }
    }

    /// Places of the rules whose source has something in common with `source` and whose destination contains
    /// `destination`, lowest first. Ends early when [`is_spent`](Self::is_spent).
    pub(crate) fn touching(&self, source: AddressRange, destination: IpAddr) -> Touching<'_> {
        let nodes: &[Node] = match (source.is_ipv6(), destination.is_ipv6()) {
            (false, false) => &self.ipv4,
            (true, true) => &self.ipv6,
            // No rule has a source of one family and a destination of the other.
            _ => &[],
        };
        let (source, destination) = ((number(source.first()), number(source.last())), number(destination));
        let mut touching =
            Touching { nodes, steps_left: &self.steps_left, source, destination, waiting: BinaryHeap::new() };
        if let Some(root) = nodes.len().checked_sub(1) {
            touching.wait_for(root);
        }
        touching
    }

    /// [`WAY_STEPS_MAX`] boxes were looked at: what was found last may not be all.
    pub(crate) fn is_spent(&self) -> bool {
        self.steps_left.get() == 0
    }
}

/// Puts the leaves into boxes, halves before the whole; says where the box of all is.
fn grow(leaves: &mut [Node], nodes: &mut Vec<Node>, by_source: bool) -> usize {
    let whole = match leaves {
        [leaf] => Node { halves: None, ..*leaf },
        _ => {
            let middle = leaves.len() / 2;
            // Twice the middle of a box would not fit; a quarter of both ends says the same well enough.
            let key = |node: &Node| {
                let span = if by_source { node.source } else { node.destination };
                (span.0 / 2 + span.1 / 2, node.first)
            };
            leaves.select_nth_unstable_by_key(middle, key);
            let (low, high) = leaves.split_at_mut(middle);
            let halves = (grow(low, nodes, !by_source), grow(high, nodes, !by_source));
            let (a, b) = (&nodes[halves.0], &nodes[halves.1]);
            let both = |a: Span, b: Span| (a.0.min(b.0), a.1.max(b.1));
            Node {
                source: both(a.source, b.source),
                destination: both(a.destination, b.destination),
                first: a.first.min(b.first),
                halves: Some(halves),
            }
        }
    };
    nodes.push(whole);
    nodes.len() - 1
}

impl Node {
    fn leaf(at: usize, rule: &TunnelRule) -> Self {
        let span = |range: &AddressRange| (number(range.first()), number(range.last()));
        let (source, destination) = (span(&rule.selector.source), span(&rule.selector.destination));
        Self { source, destination, first: at, halves: None }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// Rules that could match, in their order.
pub(crate) struct Touching<'a> {
    nodes: &'a [Node],
    steps_left: &'a Cell<usize>,
    source: Span,
    destination: u128,
    waiting: BinaryHeap<Reverse<(usize, usize)>>,
}

impl Touching<'_> {
    fn wait_for(&mut self, at: usize) {
        let node = &self.nodes[at];
        let touches = node.source.0 <= self.source.1
            && self.source.0 <= node.source.1
            && node.destination.0 <= self.destination
            && self.destination <= node.destination.1;
        if touches {
            self.waiting.push(Reverse((node.first, at)));
        }
    }
}

impl Iterator for Touching<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            self.steps_left.set(self.steps_left.get().checked_sub(1)?);
            let Reverse((first, at)) = self.waiting.pop()?;
            let Some((low, high)) = self.nodes[at].halves else { return Some(first) };
            self.wait_for(low);
            self.wait_for(high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{PeerId, RuleId};
    use crate::selector::Selector;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn address(ipv6: bool, low: u8) -> IpAddr {
        if ipv6 { Ipv6Addr::from(u128::from(low)).into() } else { Ipv4Addr::new(10, 0, 0, low).into() }
    }

    fn ranges(ipv6: bool) -> impl Strategy<Value = AddressRange> {
        (0u8..20, 0u8..20, 0u8..8).prop_map(move |(a, b, any)| {
            if any == 0 {
                return AddressRange::any(ipv6);
            }
            AddressRange::new(address(ipv6, a.min(b)), address(ipv6, a.max(b))).unwrap()
        })
    }

    fn rules() -> impl Strategy<Value = Vec<TunnelRule>> {
        let selector = any::<bool>().prop_flat_map(|ipv6| (ranges(ipv6), ranges(ipv6)));
        prop::collection::vec(selector, 0..60).prop_map(|selectors| {
            let rule = |(at, (source, destination)): (usize, (AddressRange, AddressRange))| TunnelRule {
                id: RuleId(at as u32),
                name: String::new(),
                selector: Selector::between(source, destination).unwrap(),
                peer: PeerId(0),
                gateway: address(false, 1).into(),
            };
            selectors.into_iter().enumerate().map(rule).collect()
        })
    }

    proptest! {
        #[test] // NT-7
        fn what_touches_is_what_a_look_at_every_rule_says_and_in_that_order(
            rules in rules(), source in any::<bool>().prop_flat_map(ranges), ipv6: bool, to in 0u8..20,
        ) {
            let to = address(ipv6, to);
            let touches = |(at, rule): (usize, &TunnelRule)| {
                let selector = &rule.selector;
                (selector.source.overlaps(&source) && selector.destination.contains(to)).then_some(at)
            };
            let expected: Vec<_> = rules.iter().enumerate().filter_map(touches).collect();
            let tree = RuleTree::new(&rules);
            prop_assert_eq!(tree.touching(source, to).collect::<Vec<_>>(), expected);
            prop_assert!(!tree.is_spent());
        }
    }
}
