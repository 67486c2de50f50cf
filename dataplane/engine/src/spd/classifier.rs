//! The first of many rules that matches a packet: a few trees, each over rules of one shape.
//!
//! A rule about no network in particular would be copied into most leaves of a tree that tells networks apart. So the
//! rules may be divided by how wide their source and destination are, and each part has its own tree. More trees are
//! more walks; which way is best depends on the rules, so each is tried with a sample of them and what it costs is
//! reckoned with packets that the rules match.

use super::address::Address;
use super::bounds::{
    Bounds, DESTINATION, DESTINATION_HIDDEN_BIT, DESTINATION_PORT, PROTOCOL, Region, SOURCE,
    SOURCE_HIDDEN_BIT, SOURCE_PORT,
};
use super::build::{Numbered, build};
use super::tree::{NONE, Tree};
use crate::limits::{SPD_GROUP, SPD_PLAN_SAMPLE, SPD_TREES_MAX};

/// What a walk costs besides its levels and comparisons, what a level costs, and what a block does, in blocks.
const COSTS: (f32, f32, f32) = (0.4, 0.5, 1.0);
/// Packets by which that is reckoned.
const TRIALS: usize = 1024;
/// From this many octets on, tables are beyond the first-level cache and cost more …
const NEAR_OCTETS: f32 = 32_768.0;
/// … by this share each time that they double.
const FARTHER: f32 = 0.06;

/// A plan is kept without looking at another if all rules cost no more than this many times what the sample did …
const KEPT: f32 = 1.6;
/// … and of plans that break their promise, as many are tried.
const PLANS_BUILT_MAX: usize = 3;

/// Which part a rule is of: the first bit says that its source is wide, the second that its destination is.
type Plan = [u8; 4];

/// Ways to divide rules. Equal numbers are one tree; shapes are neither, source, destination, both.
const PLANS: [Plan; 8] = [
    [0, 0, 0, 0],
    [0, 1, 0, 1],
    [0, 0, 1, 1],
    [0, 0, 0, 1],
    [0, 1, 1, 1],
    [0, 1, 0, 2],
    [0, 1, 2, 2],
    [0, 1, 2, 3],
];

/// Rules compiled for one family.
pub(super) struct Classifier<A: Address> {
    /// For packets whose ports can be seen.
    seen: Vec<Tree<A>>,
    /// For the others: rules that say every port.
    hidden: Vec<Tree<A>>,
}

impl<A: Address> Default for Classifier<A> {
    fn default() -> Self {
        Self { seen: Vec::new(), hidden: Vec::new() }
    }
}

impl<A: Address> Classifier<A> {
    /// Compiles rules in the order in which they are tried; numbers grow.
    pub(super) fn new(rules: &[Numbered<A>]) -> Self {
        let hidden: Vec<_> = rules.iter().filter(|rule| rule.bounds.reaches_hidden()).copied().collect();
        let (seen, plan) = divided(rules, Region::seen());
        Self { seen, hidden: trees(&hidden, plan, Region::every()) }
    }

    /// The same where nobody will ask [`Self::first`] about a packet that hides something.
    pub(super) fn only_seen(rules: &[Numbered<A>]) -> Self {
        Self { seen: divided(rules, Region::seen()).0, hidden: Vec::new() }
    }

    /// The number of the first rule that matches each key, [`NONE`] if none does.
    ///
    /// At most [`SPD_GROUP`] keys, and as many places for numbers.
    #[inline]
    pub(super) fn first(&self, keys: &[A::Key], found: &mut [u32; SPD_GROUP]) {
        let (mut seen, mut hidden) = ([0; SPD_GROUP], [0; SPD_GROUP]);
        let (mut seen_count, mut hidden_count) = (0, 0);
        for (at, key) in keys.iter().enumerate().take(SPD_GROUP) {
            let hides = hides(A::word(key, A::BITS / 16 + 1));
            found[at] = NONE;
            seen[seen_count] = at as u8;
            hidden[hidden_count] = at as u8;
            seen_count += usize::from(!hides);
            hidden_count += usize::from(hides);
        }
        for tree in &self.seen {
            tree.walk(keys, &seen[..seen_count], found);
        }
        if hidden_count > 0 {
            for tree in &self.hidden {
                tree.walk(keys, &hidden[..hidden_count], found);
            }
        }
    }

    /// The first rule that matches some packet that differs from `key` in the bits of `free` only: hidden ports and a
    /// hidden protocol.
    pub(super) fn first_possible(&self, key: &A::Key, free: &A::Key) -> u32 {
        self.seen.iter().map(|tree| tree.first_possible(key, free)).min().unwrap_or(NONE)
    }

    /// Octets of its tables.
    pub(super) fn octets(&self) -> usize {
        self.seen.iter().chain(&self.hidden).map(Tree::octets).sum()
    }
}

#[inline]
fn hides(protocol: u32) -> bool {
    protocol & (SOURCE_HIDDEN_BIT | DESTINATION_HIDDEN_BIT) != 0
}

/// The trees of the best plan, and which that was.
fn divided<A: Address>(rules: &[Numbered<A>], region: Region<A>) -> (Vec<Tree<A>>, Plan) {
    let step = rules.len().div_ceil(SPD_PLAN_SAMPLE).max(1);
    let sample: Vec<_> = rules.iter().step_by(step).copied().collect();
    let mut plans: Vec<(f32, Plan)> = Vec::new();
    let mut known: Vec<Vec<usize>> = Vec::new();
    for plan in PLANS {
        // Where no rule has some shape, plans that differ in it only are the same.
        let sizes = parts(&sample, plan).iter().map(Vec::len).collect();
        if !known.contains(&sizes) {
            known.push(sizes);
            plans.push((cost(&trees(&sample, plan, region), &sample), plan));
        }
    }
    plans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut best: Option<(f32, Plan, Vec<Tree<A>>)> = None;
    for (promised, plan) in plans.into_iter().take(PLANS_BUILT_MAX) {
        // Another plan is no better if its sample already is not.
        if best.as_ref().is_some_and(|best| best.0 <= promised) {
            break;
        }
        let trees = trees(rules, plan, region);
        let cost = cost(&trees, rules);
        if best.as_ref().is_none_or(|best| cost < best.0) {
            best = Some((cost, plan, trees));
        }
        if cost <= promised * KEPT {
            break;
        }
    }
    best.map_or((Vec::new(), PLANS[0]), |(_, plan, trees)| (trees, plan))
}

fn trees<A: Address>(rules: &[Numbered<A>], plan: Plan, region: Region<A>) -> Vec<Tree<A>> {
    parts(rules, plan).iter().map(|part| build(part, region)).collect()
}

/// The rules of each tree, without trees of none.
fn parts<A: Address>(rules: &[Numbered<A>], plan: Plan) -> Vec<Vec<Numbered<A>>> {
    let mut parts = vec![Vec::new(); SPD_TREES_MAX];
    for rule in rules {
        let wide =
            |field: usize| (rule.bounds.high[field] - rule.bounds.low[field]).leading_zeros() < A::WIDE;
        let shape = usize::from(wide(SOURCE)) | usize::from(wide(DESTINATION)) << 1;
        parts[usize::from(plan[shape])].push(*rule);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// What a packet costs on average, in comparisons with a block.
fn cost<A: Address>(trees: &[Tree<A>], rules: &[Numbered<A>]) -> f32 {
    let step = rules.len().div_ceil(TRIALS).max(1);
    let (mut total, mut count) = (0.0, 0.0);
    let mut random = 0x9e37_79b9_7f4a_7c15;
    for rule in rules.iter().step_by(step) {
        let key = inside(&rule.bounds, &mut random);
        for tree in trees {
            let (levels, blocks) = tree.effort(&key);
            total += COSTS.0 + levels as f32 * COSTS.1 + blocks as f32 * COSTS.2;
        }
        count += 1.0;
    }
    let octets = trees.iter().map(Tree::octets).sum::<usize>() as f32;
    total / f32::max(count, 1.0) * (1.0 + FARTHER * f32::max(octets / NEAR_OCTETS, 1.0).log2())
}

/// Some packet that a rule matches.
fn inside<A: Address>(bounds: &Bounds<A>, random: &mut u64) -> A::Key {
    let mut value = |field: usize| {
        // xorshift64: which packets are tried must be the same each time, and need not be a secret.
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let (low, span) = (bounds.low[field], bounds.high[field] - bounds.low[field]);
        let some = A::from(*random as u16);
        // Spread over the whole of the range: the same sixteen bits in every group of bits.
        let spread = (0..A::BITS / 16).fold(A::default(), |all, group| all | some << (16 * group));
        let mask = if span == A::default() { span } else { A::MAX >> span.leading_zeros() };
        let within = spread & mask;
        low | if within <= span { within } else { A::default() }
    };
    let (source, destination) = (value(SOURCE), value(DESTINATION));
    let ports = value(SOURCE_PORT).low_word() << 16 | value(DESTINATION_PORT).low_word() & 0xffff;
    A::key(source, destination, ports, value(PROTOCOL).low_word() & 0xff)
}
