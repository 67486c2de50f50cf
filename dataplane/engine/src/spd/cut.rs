//! Which bits a node looks at.
//!
//! Windows grow a bit at a time, each time by the bit that makes the work behind it least (in the manner of HyperCuts,
//! but at any place of any field, as BitCuts and discriminative bit selection do: what all rules of a node have in
//! common need not be looked at). The work is judged by packets as the rules are: for each rule, the mean length of
//! the lists that its packets end at.

use super::address::Address;
use super::block::BLOCK_RULES;
use super::bounds::{Bounds, FIELDS, field_bits, place};
use super::tree::Window;
use crate::limits::{SPD_CUT_BITS_MAX, SPD_CUT_SAMPLE};

/// Candidates for a window that are tried again with every other one.
const SEEDS: usize = 12;
/// What a level costs, in comparisons with a block.
const LEVEL: f32 = 0.7;
/// What one more copy of every rule costs, in the same: memory is what misses are made of.
const COPY: f32 = 0.06;
/// Bits that are added although they alone make nothing better: what lies behind them may.
const PATIENCE: u32 = 2;

/// Adjacent bits of one field; none if the width is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) field: usize,
    pub(super) shift: u32,
    pub(super) width: u32,
}

impl Cut {
    const NONE: Self = Self { field: 0, shift: 0, width: 0 };

    /// Where they stand in a key.
    pub(super) fn window<A: Address>(self) -> Window {
        if self.width == 0 {
            return Window::default();
        }
        let (word, shift) = place::<A>(self.field, self.shift);
        Window { word, shift, width: self.width }
    }

    /// The values that these bits may have for packets inside the bounds.
    pub(super) fn values<A: Address>(self, bounds: &Bounds<A>) -> (usize, usize) {
        let last = (1usize << self.width) - 1;
        let (low, high) = (bounds.low[self.field] >> self.shift, bounds.high[self.field] >> self.shift);
        if high - low >= A::from(last as u16) {
            return (0, last);
        }
        let (from, to) = (low.low_word() as usize & last, high.low_word() as usize & last);
        // An interval that goes over the end and on at the beginning is taken for everything.
        if from <= to { (from, to) } else { (0, last) }
    }

    fn grown<A: Address>(self) -> impl Iterator<Item = Self> {
        let bits = field_bits::<A>(self.field);
        let up = (self.width > 0).then_some(Self { width: self.width + 1, ..self });
        let down = (self.width > 0 && self.shift > 0).then(|| Self {
            shift: self.shift - 1,
            width: self.width + 1,
            ..self
        });
        let fits = move |cut: &Self| {
            cut.shift + cut.width <= bits && cut.shift / 32 == (cut.shift + cut.width - 1) / 32
        };
        [up, down].into_iter().flatten().filter(fits)
    }
}

/// Two windows, and how good they are.
#[derive(Clone, Copy)]
struct Pair {
    cuts: [Cut; 2],
    score: f32,
    work: f32,
    /// Children that a rule has on average.
    spread: f32,
}

impl Pair {
    fn width(&self) -> u32 {
        self.cuts[0].width + self.cuts[1].width
    }
}

/// Judges cuts of one list of rules.
struct Judge<'a, A> {
    sample: &'a [Bounds<A>],
    /// Rules of the list for each of the sample.
    scale: f32,
    table: Vec<u32>,
    spans: Vec<[u32; 4]>,
}

impl<A: Address> Judge<'_, A> {
    fn judge(&mut self, cuts: [Cut; 2]) -> Pair {
        let (wide, high) = (1usize << cuts[0].width, 1usize << cuts[1].width);
        let stride = high + 1;
        self.table.clear();
        self.table.resize((wide + 1) * stride, 0);
        self.spans.clear();
        for bounds in self.sample {
            let (a, b) = cuts[0].values(bounds);
            let (c, d) = cuts[1].values(bounds);
            self.spans.push([a, b, c, d].map(|at| at as u32));
            for (at, up) in [(a * stride + c, true), (a * stride + d + 1, false)] {
                self.table[at] = self.table[at].wrapping_add(if up { 1 } else { u32::MAX });
            }
            for (at, up) in [((b + 1) * stride + c, false), ((b + 1) * stride + d + 1, true)] {
                self.table[at] = self.table[at].wrapping_add(if up { 1 } else { u32::MAX });
            }
        }
        // Once over: how many rules each child has. Twice: how many all children up to there have.
        self.sum(wide, stride);
        let copies = self.shift_and_sum(wide, stride);
        let upto = |a: usize, c: usize| self.table[a * stride + c];
        let mut work = 0.0;
        for &[a, b, c, d] in &self.spans {
            let (a, b, c, d) = (a as usize, b as usize + 1, c as usize, d as usize + 1);
            let sum = upto(b, d).wrapping_add(upto(a, c)).wrapping_sub(upto(a, d)).wrapping_sub(upto(b, c));
            work += sum as f32 / ((b - a) * (d - c)) as f32;
        }
        let count = self.sample.len() as f32;
        let work = work / count * self.scale;
        let spread = copies as f32 / count;
        let children = (wide * high) as f32 / (count * self.scale);
        Pair { cuts, score: blocks(work) + COPY * spread + COPY / 4.0 * children, work, spread }
    }

    fn sum(&mut self, wide: usize, stride: usize) {
        for row in self.table[..(wide + 1) * stride].chunks_exact_mut(stride) {
            for at in 1..stride {
                row[at] = row[at].wrapping_add(row[at - 1]);
            }
        }
        for at in stride..(wide + 1) * stride {
            self.table[at] = self.table[at].wrapping_add(self.table[at - stride]);
        }
    }

    /// Turns counts into sums of all counts before; gives the sum of all.
    fn shift_and_sum(&mut self, wide: usize, stride: usize) -> u32 {
        let counts = &mut self.table[..(wide + 1) * stride];
        counts.copy_within(..wide * stride, stride);
        counts[..stride].fill(0);
        for row in counts.chunks_exact_mut(stride) {
            row.copy_within(..stride - 1, 1);
            row[0] = 0;
        }
        self.sum(wide, stride);
        self.table[(wide + 1) * stride - 1]
    }
}

/// What a list of so many rules costs to compare with, in blocks.
fn blocks(rules: f32) -> f32 {
    (rules / BLOCK_RULES as f32).max(1.0)
}

/// The best cuts of a list that put each rule into no more than `spread_max` children on average, or none where comparing
/// with all of it is no more work.
pub(super) fn choose<A: Address>(list: &[Bounds<A>], spread_max: f32) -> Option<[Cut; 2]> {
    let step = list.len().div_ceil(SPD_CUT_SAMPLE);
    let sample: Vec<_> = list.iter().step_by(step).copied().collect();
    let scale = list.len() as f32 / sample.len() as f32;
    let mut judge = Judge { sample: &sample, scale, table: Vec::new(), spans: Vec::new() };
    let width_max = (usize::BITS - list.len().leading_zeros() + 1).clamp(3, SPD_CUT_BITS_MAX);
    let seeds = seeds(&mut judge, list.len() as f32, spread_max);
    let mut current = *seeds.first()?;
    let (mut best, mut idle) = (current, 0);
    while current.width() < width_max && idle <= PATIENCE {
        let [first, second] = current.cuts;
        let grown = first.grown::<A>().map(|cut| [cut, second]);
        let other = second.grown::<A>().map(|cut| [first, cut]);
        let begun = seeds.iter().filter(|_| second.width == 0).map(|seed| [first, seed.cuts[0]]);
        let candidates = grown.chain(other).chain(begun).filter(|cuts| !overlap(cuts));
        let candidates = candidates.map(|cuts| judge.judge(cuts)).filter(|pair| pair.spread <= spread_max);
        let Some(next) = candidates.min_by(by_score) else { break };
        current = next;
        idle = if next.score < best.score * 0.99 { 0 } else { idle + 1 };
        if next.score < best.score {
            best = next;
        }
    }
    (blocks(best.work) + LEVEL < blocks(list.len() as f32)).then_some(best.cuts)
}

fn overlap(cuts: &[Cut; 2]) -> bool {
    let [a, b] = cuts;
    a.field == b.field && a.shift < b.shift + b.width && b.shift < a.shift + a.width
}

fn by_score(a: &Pair, b: &Pair) -> std::cmp::Ordering {
    a.score.total_cmp(&b.score)
}

/// Single bits that tell rules apart, the best first.
fn seeds<A: Address>(judge: &mut Judge<'_, A>, rules: f32, spread_max: f32) -> Vec<Pair> {
    let bits = (0..FIELDS)
        .flat_map(|field| (0..field_bits::<A>(field)).map(move |shift| Cut { field, shift, width: 1 }));
    let mut seeds: Vec<_> = bits
        .map(|cut| judge.judge([cut, Cut::NONE]))
        .filter(|pair| pair.work < rules * 0.999 && pair.spread <= spread_max)
        .collect();
    seeds.sort_by(by_score);
    seeds.truncate(SEEDS);
    seeds
}
