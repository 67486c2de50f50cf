//! How a tree is made of rules: the longest lists are cut first, and what the memory allowed is used up, the rest stays
//! as it is. So the bound holds whatever the rules are, and a hostile set costs speed and nothing else.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::address::{Address, Compare};
use super::block::{BLOCK_RULES, Line, UNSURE};
use super::bounds::{Bounds, DESTINATION, Region, SOURCE};
use super::cut::{Cut, choose};
use super::tree::{Entry, Tree, Unsure};
use crate::limits::{
    SPD_COPIES_MAX, SPD_DEPTH_MAX, SPD_ENTRIES_PER_RULE_MAX, SPD_LISTED_PER_RULE_MAX, SPD_SHADOW_RULES_MAX,
    SPD_SPARE,
};

/// One rule of a classifier: its number, and what it matches.
#[derive(Clone, Copy)]
pub(super) struct Numbered<A> {
    pub(super) number: u32,
    pub(super) bounds: Bounds<A>,
}

/// A list of rules that waits to be cut, or to become a leaf.
struct Task<A> {
    list: Vec<u32>,
    region: Region<A>,
    depth: u32,
    /// Where in the table it belongs; siblings with the same list share one place to go on to.
    places: Vec<u32>,
}

/// How much more than the memory left a cut may need as long as nobody has looked which copies are in vain.
const SLACK: f32 = 4.0;
/// How often a cut with fewer copies is tried when there is no room for the best.
const ATTEMPTS: usize = 3;

struct Builder<'a, A: Address> {
    rules: &'a [Numbered<A>],
    tree: Tree<A>,
    leaves: HashMap<Vec<u32>, Entry>,
    /// Blocks that everything waiting would need if it were not cut any more, and those that are there.
    blocks: usize,
    /// Rules that have been put into lists so far.
    listed: usize,
    unsure: HashMap<u32, u32>,
}

/// Most blocks and most entries of a tree of so many rules.
pub(super) const fn budget(rules: usize) -> (usize, usize) {
    (SPD_COPIES_MAX * rules.div_ceil(BLOCK_RULES) + SPD_SPARE, SPD_ENTRIES_PER_RULE_MAX * rules + SPD_SPARE)
}

/// How many rules may be put into lists while the tree of so many is built.
const fn listed_max(rules: usize) -> usize {
    SPD_LISTED_PER_RULE_MAX * (rules + SPD_SPARE)
}

/// Makes the tree of rules in the order in which they are tried.
pub(super) fn build<A: Address>(rules: &[Numbered<A>], region: Region<A>) -> Tree<A> {
    let tree = Tree { root: Entry::leaf(0, 0), entries: Vec::new(), blocks: Vec::new(), unsure: Vec::new() };
    let mut builder =
        Builder { rules, tree, leaves: HashMap::new(), blocks: 0, listed: 0, unsure: HashMap::new() };
    builder.grow(region);
    builder.tree.entries.shrink_to_fit();
    builder.tree.blocks.shrink_to_fit();
    builder.tree
}

impl<A: Address> Builder<'_, A> {
    fn grow(&mut self, region: Region<A>) {
        let all: Vec<u32> = (0..self.rules.len() as u32).collect();
        let list = self.refined(&all, &region);
        self.blocks = blocks(list.len());
        // Places in `waiting`, the longest list first.
        let mut order = BinaryHeap::from([(list.len(), Reverse(0))]);
        let mut waiting = vec![Some(Task { list, region, depth: 0, places: Vec::new() })];
        while let Some((_, Reverse(at))) = order.pop() {
            let Some(task) = waiting[at].take() else { continue };
            for child in self.cut(&task) {
                order.push((child.list.len(), Reverse(waiting.len())));
                waiting.push(Some(child));
            }
        }
    }

    /// Cuts a list, or makes it a leaf: then there are no children.
    fn cut(&mut self, task: &Task<A>) -> Vec<Task<A>> {
        let is_tired = self.listed >= listed_max(self.rules.len());
        if task.list.len() <= BLOCK_RULES || task.depth >= SPD_DEPTH_MAX || is_tired {
            return self.leaf(task);
        }
        let clipped: Vec<_> = task.list.iter().filter_map(|&rule| self.clipped(rule, &task.region)).collect();
        // A rule counts for every child that its box reaches, before those are found behind which it stands in vain.
        let mut spread =
            SLACK * (self.blocks_left() + blocks(task.list.len())) as f32 / blocks(task.list.len()) as f32;
        for _ in 0..ATTEMPTS {
            let Some(cuts) = choose(&clipped, spread) else { break };
            if let Some(children) = self.adopt(task, cuts) {
                return children;
            }
            spread /= SLACK;
        }
        self.leaf(task)
    }

    /// Makes a node of a list, if the memory allowed is enough.
    fn adopt(&mut self, task: &Task<A>, cuts: [Cut; 2]) -> Option<Vec<Task<A>>> {
        let children_max = 1usize << (cuts[0].width + cuts[1].width);
        let first = self.tree.entries.len();
        let copies = self.copies(task, cuts);
        if first + children_max > budget(self.rules.len()).1
            || self.listed + copies > listed_max(self.rules.len())
        {
            self.listed += task.list.len();
            return None;
        }
        self.listed += copies;
        let children = self.children(task, cuts, first as u32);
        let needed = children.iter().map(|child| blocks(child.list.len())).sum::<usize>();
        let own = blocks(task.list.len());
        if needed > self.blocks_left() + own {
            return None;
        }
        self.blocks = self.blocks - own + needed;
        self.tree.entries.resize(first + children_max, Entry::leaf(0, 0));
        self.put(task, Entry::node(first as u32, cuts.map(Cut::window::<A>)));
        Some(children)
    }

    /// Into how many lists the rules would be put, all of them together.
    fn copies(&self, task: &Task<A>, cuts: [Cut; 2]) -> usize {
        let copies = |bounds: Bounds<A>| {
            let [(a, b), (c, d)] = cuts.map(|cut| cut.values(&bounds));
            (b - a + 1) * (d - c + 1)
        };
        task.list.iter().filter_map(|&rule| self.clipped(rule, &task.region)).map(copies).sum()
    }

    fn blocks_left(&self) -> usize {
        budget(self.rules.len()).0 - self.blocks
    }

    /// The lists behind a cut, equal ones together.
    fn children(&self, task: &Task<A>, cuts: [Cut; 2], first: u32) -> Vec<Task<A>> {
        let [high, low] = cuts;
        let mut lists = vec![Vec::new(); 1 << (high.width + low.width)];
        for &rule in &task.list {
            let Some(bounds) = self.clipped(rule, &task.region) else { continue };
            let (a, b) = high.values(&bounds);
            let (c, d) = low.values(&bounds);
            for upper in a..=b {
                for lower in c..=d {
                    lists[upper << low.width | lower].push(rule);
                }
            }
        }
        let mut children: Vec<Task<A>> = Vec::new();
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        for (value, list) in lists.into_iter().enumerate() {
            if list.is_empty() {
                continue;
            }
            let mut region = task.region;
            region.fix(high.field, high.shift, high.width, (value >> low.width) as u32);
            region.fix(low.field, low.shift, low.width, value as u32);
            let list = self.refined(&list, &region);
            if list.is_empty() {
                continue;
            }
            let place = first + value as u32;
            match known.get(&list) {
                Some(&at) => {
                    children[at].places.push(place);
                    children[at].region = children[at].region.around(&region);
                }
                None => {
                    known.insert(list.clone(), children.len());
                    children.push(Task { list, region, depth: task.depth + 1, places: vec![place] });
                }
            }
        }
        children
    }

    fn clipped(&self, rule: u32, region: &Region<A>) -> Option<Bounds<A>> {
        self.rules[rule as usize].bounds.clipped(region)
    }

    /// Of a list, what can be the first match of some packet in the region: nothing that lies behind a rule that has all
    /// of the region, or, where the list is short enough to look, all of the other's part of it.
    fn refined(&self, list: &[u32], region: &Region<A>) -> Vec<u32> {
        let mut refined = Vec::with_capacity(list.len());
        let mut parts: Vec<Bounds<A>> = Vec::new();
        for &rule in list {
            let Some(part) = self.clipped(rule, region) else { continue };
            if parts.iter().any(|earlier| earlier.contains(&part)) {
                continue;
            }
            refined.push(rule);
            if parts.len() < SPD_SHADOW_RULES_MAX {
                parts.push(part);
            }
            if self.rules[rule as usize].bounds.covers(region) {
                break;
            }
        }
        refined
    }

    fn leaf(&mut self, task: &Task<A>) -> Vec<Task<A>> {
        let entry = match self.leaves.get(&task.list) {
            Some(&entry) => {
                // It was reckoned with, and is there already.
                self.blocks -= blocks(task.list.len());
                entry
            }
            None => {
                let entry = self.lay_out(&task.list);
                self.leaves.insert(task.list.clone(), entry);
                entry
            }
        };
        self.put(task, entry);
        Vec::new()
    }

    fn lay_out(&mut self, list: &[u32]) -> Entry {
        let first = self.tree.blocks.len();
        for rules in list.chunks(BLOCK_RULES) {
            let lines: Vec<_> = rules.iter().map(|&rule| self.line(rule)).collect();
            self.tree.blocks.push(A::Block::new(&lines));
        }
        Entry::leaf(first as u32, (self.tree.blocks.len() - first) as u32)
    }

    fn line(&mut self, rule: u32) -> Line<A> {
        let Numbered { number, bounds } = self.rules[rule as usize];
        if bounds.is_prefix(SOURCE) && bounds.is_prefix(DESTINATION) {
            return Line { rule: number, bounds };
        }
        let unsure = &mut self.tree.unsure;
        let at = *self.unsure.entry(rule).or_insert_with(|| {
            let range = |field: usize| (bounds.low[field], bounds.high[field]);
            unsure.push(Unsure { rule: number, source: range(SOURCE), destination: range(DESTINATION) });
            unsure.len() as u32 - 1
        });
        Line { rule: UNSURE | at, bounds }
    }

    fn put(&mut self, task: &Task<A>, entry: Entry) {
        if task.depth == 0 {
            self.tree.root = entry;
        }
        for &place in &task.places {
            self.tree.entries[place as usize] = entry;
        }
    }
}

fn blocks(rules: usize) -> usize {
    rules.div_ceil(BLOCK_RULES)
}
