//! A decision tree over bits of the key, and the walks through it.
//!
//! A node looks at up to two windows of adjacent bits and goes on to the place that their values name: its children
//! lie side by side in one table, and each entry of the table says itself which windows come next, so a level costs
//! one load. A leaf is a run of blocks.

use super::address::{Address, Compare};
use super::block::{BLOCK_RULES, UNSURE};
use crate::limits::SPD_GROUP;

/// No rule.
pub(crate) const NONE: u32 = u32::MAX;

/// Children of one node that are remembered while those of a packet with hidden bits are visited.
const VISITED_KEPT: usize = 32;

/// Bits that lie beside each other in one word of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Which word.
    pub(super) word: u32,
    /// Where its lowest bit stands.
    pub(super) shift: u32,
    /// How many; none is a window too.
    pub(super) width: u32,
}

/// Where to go on: 64 bits, so that a table of them is dense.
///
/// ```text
/// node  0 | right left word | right left word | first child      bits: 1 1 · 6 5 4 · 6 5 4 · (1) · 32
/// leaf  1 |      blocks (24 bits)             | first block
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u64);

impl Entry {
    const LEAF: u64 = 1 << 63;
    const BLOCKS: u64 = (1 << 24) - 1;

    /// A run of blocks.
    pub(super) const fn leaf(first: u32, blocks: u32) -> Self {
        Self(Self::LEAF | (blocks as u64 & Self::BLOCKS) << 32 | first as u64)
    }

    /// Children from `first` on; the second window's bits are the lower ones.
    pub(super) fn node(first: u32, windows: [Window; 2]) -> Self {
        let [high, low] = windows.map(|window| {
            let left = 32 - window.width - window.shift;
            let right = 32 - window.width;
            // A shift of 32 would be none: an empty window leaves nothing by its right shift, which is of 64 bits.
            u64::from(window.word | (left % 32) << 4 | right << 9)
        });
        Self(high << 47 | low << 32 | u64::from(first))
    }

    #[inline]
    const fn is_leaf(self) -> bool {
        self.0 & Self::LEAF != 0
    }

    /// First block, and how many.
    #[inline]
    const fn run(self) -> (usize, usize) {
        (self.0 as u32 as usize, (self.0 >> 32 & Self::BLOCKS) as usize)
    }

    /// Word, left shift and right shift of both windows.
    #[inline]
    const fn windows(self) -> [(u32, u32, u32); 2] {
        const fn window(bits: u32) -> (u32, u32, u32) {
            (bits & 15, bits >> 4 & 31, bits >> 9 & 63)
        }
        [window((self.0 >> 47) as u32), window((self.0 >> 32) as u32 & 0x7fff)]
    }

    /// Which child the key goes to.
    #[inline]
    fn child<A: Address>(self, key: &A::Key) -> usize {
        let [high, low] = self.windows();
        let bits = |(word, left, right): (u32, u32, u32)| u64::from(A::word(key, word) << left) >> right;
        self.0 as u32 as usize + (bits(high) << (32 - low.2) | bits(low)) as usize
    }
}

/// A range of addresses that is no prefix: what is compared again.
#[derive(Clone, Copy)]
pub(super) struct Unsure<A> {
    pub(super) rule: u32,
    pub(super) source: (A, A),
    pub(super) destination: (A, A),
}

/// One tree.
pub(super) struct Tree<A: Address> {
    pub(super) root: Entry,
    pub(super) entries: Vec<Entry>,
    pub(super) blocks: Vec<A::Block>,
    pub(super) unsure: Vec<Unsure<A>>,
}

impl<A: Address> Tree<A> {
    /// For each of the keys at the places in `lane`: the first rule that matches, if it is before `found`.
    ///
    /// All of them go down one level before any goes down the next, so that the processor waits for many cache misses
    /// at once.
    #[inline]
    pub(super) fn walk(&self, keys: &[A::Key], lane: &[u8], found: &mut [u32; SPD_GROUP]) {
        let mut places = [self.root; SPD_GROUP];
        if !self.root.is_leaf() {
            self.descend(keys, lane, &mut places);
        }
        for &at in lane {
            let (first, blocks) = places[at as usize % SPD_GROUP].run();
            let best = &mut found[at as usize % SPD_GROUP];
            *best = self.first_of(first, blocks, &keys[at as usize]).min(*best);
        }
    }

    #[inline]
    fn descend(&self, keys: &[A::Key], lane: &[u8], places: &mut [Entry; SPD_GROUP]) {
        let mut walking = [0; SPD_GROUP];
        walking[..lane.len()].copy_from_slice(lane);
        let mut count = lane.len();
        while count > 0 {
            let mut left = 0;
            for step in 0..count {
                let at = walking[step];
                let place = &mut places[at as usize % SPD_GROUP];
                let next = self.entries[place.child::<A>(&keys[at as usize])];
                *place = next;
                walking[left] = at;
                left += usize::from(!next.is_leaf());
            }
            count = left;
        }
    }

    #[inline]
    fn first_of(&self, first: usize, blocks: usize, key: &A::Key) -> u32 {
        for block in &self.blocks[first..first + blocks] {
            let hits = block.matches(key);
            if hits != 0 {
                let rule = block.rule(hits.trailing_zeros() as usize);
                if rule & UNSURE == 0 {
                    return rule;
                }
                let sure = self.sure(block, hits, key);
                if sure != NONE {
                    return sure;
                }
            }
        }
        NONE
    }

    /// The first of the hits that is one: where an address lies in no prefix but in a range, it is looked at again.
    #[cold]
    fn sure(&self, block: &A::Block, hits: u32, key: &A::Key) -> u32 {
        let (source, destination) = A::addresses(key);
        for lane in (0..BLOCK_RULES).filter(|lane| hits >> lane & 1 == 1) {
            let rule = block.rule(lane);
            if rule & UNSURE == 0 {
                return rule;
            }
            let unsure = &self.unsure[(rule & !UNSURE) as usize];
            let within = |range: (A, A), address: A| range.0 <= address && address <= range.1;
            if within(unsure.source, source) && within(unsure.destination, destination) {
                return unsure.rule;
            }
        }
        NONE
    }

    /// The first rule that matches some packet that differs from `key` in the bits of `free` only.
    pub(super) fn first_possible(&self, key: &A::Key, free: &A::Key) -> u32 {
        self.possible(self.root, key, free)
    }

    /// No deeper than the tree, so the stack has an end.
    fn possible(&self, place: Entry, key: &A::Key, free: &A::Key) -> u32 {
        if place.is_leaf() {
            let (first, blocks) = place.run();
            for block in &self.blocks[first..first + blocks] {
                let sure = self.sure(block, block.may_match(key, free), key);
                if sure != NONE {
                    return sure;
                }
            }
            return NONE;
        }
        let start = place.0 as u32 as usize;
        let fixed = place.child::<A>(key) - start;
        let open = place.child::<A>(free) - start;
        // All values that agree with `fixed` outside of `open`: counting up in the open bits alone.
        let (mut best, mut value) = (NONE, 0);
        // Siblings with the same list share one child, and going there again for each would multiply from level to level.
        let (mut visited, mut count) = ([Entry::leaf(0, 0); VISITED_KEPT], 0);
        loop {
            let child = self.entries[start + (fixed & !open | value)];
            if !visited.contains(&child) {
                visited[count % VISITED_KEPT] = child;
                count += 1;
                best = best.min(self.possible(child, key, free));
            }
            value = (value | !open).wrapping_add(1) & open;
            if value == 0 {
                return best;
            }
        }
    }

    /// What one packet costs: levels walked, and blocks compared with.
    pub(super) fn effort(&self, key: &A::Key) -> (u32, u32) {
        let (mut place, mut levels) = (self.root, 0);
        while !place.is_leaf() {
            place = self.entries[place.child::<A>(key)];
            levels += 1;
        }
        let (first, blocks) = place.run();
        let run = &self.blocks[first..first + blocks];
        let hit = run.iter().position(|block| block.matches(key) != 0);
        (levels, hit.map_or(blocks, |at| at + 1) as u32)
    }

    /// Octets of its tables.
    pub(super) fn octets(&self) -> usize {
        size_of_val(&self.entries[..]) + size_of_val(&self.blocks[..]) + size_of_val(&self.unsure[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spd::Ipv4Key;
    use proptest::prelude::*;

    fn windows() -> impl Strategy<Value = Window> {
        (0u32..4, 0u32..32, 0u32..=12).prop_map(|(word, shift, width)| Window {
            word,
            shift,
            width: width.min(32 - shift),
        })
    }

    proptest! {
        #[test]
        fn a_node_goes_to_the_child_that_the_bits_of_its_windows_name(
            windows in [windows(), windows()], key in any::<[u32; 4]>(), first in any::<u16>(),
        ) {
            let value = |window: Window| {
                (u64::from(key[window.word as usize]) >> window.shift & ((1 << window.width) - 1)) as usize
            };
            let [high, low] = windows;
            let expected = usize::from(first) + (value(high) << low.width | value(low));
            let node = Entry::node(first.into(), windows);
            prop_assert!(!node.is_leaf());
            prop_assert_eq!(node.child::<u32>(&Ipv4Key(key)), expected);
        }
    }

    #[test]
    fn a_leaf_knows_its_run() {
        let leaf = Entry::leaf(7, 70_000);
        assert!(leaf.is_leaf());
        assert_eq!(leaf.run(), (7, 70_000));
    }
}
