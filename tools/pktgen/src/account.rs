//! What became of the packets of one flow: lost, duplicated, reordered (RFC 4737).
//!
//! Nothing is kept for a flow in order but its counters. A number that is jumped over leaves a hole, and what fills a hole
//! later is reordered: the packet that made the hole is the earliest one with a larger number, which is what the extent of
//! RFC 4737 §4.2.1 is measured from. What is neither new nor in a hole has come before.

use std::collections::VecDeque;

use crate::limits::HOLES_MAX;

/// The account of one flow.
#[derive(Debug, Clone, Default)]
pub struct FlowAccount {
    start: u64,
    /// `NextExp` of RFC 4737 §3.3.
    expected: u64,
    /// Below this, holes were forgotten, and nobody can tell a late packet from a duplicate.
    horizon: u64,
    arrivals: u64,
    duplicates: u64,
    reordered: u64,
    extent_max: u64,
    unplaced: u64,
    /// In order of their numbers, which is also the order in which they were made.
    holes: VecDeque<Hole>,
}

/// Numbers that have not come, from `first` to before `end`.
#[derive(Debug, Clone, Copy)]
struct Hole {
    first: u64,
    end: u64,
    /// Arrivals before the packet that jumped over it.
    made_at: u64,
}

/// What a packet turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before it.
    InOrder,
    /// Its number is smaller than one that came earlier (RFC 4737 §3.3).
    Reordered {
        /// Packets since the earliest one with a larger number (RFC 4737 §4.2.1).
        extent: u64,
    },
    /// Came before.
    Duplicate,
    /// So late that it may be either of the last two.
    Unplaced,
}

impl FlowAccount {
    /// An account that expects number `start` first and knows nothing of those before.
    #[must_use]
    pub fn new(start: u64) -> Self {
        Self { start, expected: start, horizon: start, ..Self::default() }
    }

    /// Enters the packet with this number.
    pub fn enter(&mut self, sequence: u64) -> Arrival {
        let arrival = self.judge(sequence);
        match arrival {
            Arrival::InOrder => self.arrivals += 1,
            Arrival::Reordered { extent } => {
                self.arrivals += 1;
                self.reordered += 1;
                self.extent_max = self.extent_max.max(extent);
            }
            Arrival::Duplicate => self.duplicates += 1,
            Arrival::Unplaced => self.unplaced += 1,
        }
        arrival
    }

    fn judge(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.expected {
            if sequence > self.expected {
                self.remember(Hole { first: self.expected, end: sequence, made_at: self.arrivals });
            }
            // The last number of all has no successor; no generator lives long enough to send it.
            self.expected = sequence.saturating_add(1);
            return Arrival::InOrder;
        }
        if sequence < self.horizon {
            return Arrival::Unplaced;
        }
        let at = self.holes.partition_point(|hole| hole.end <= sequence);
        match self.holes.get(at).copied().filter(|hole| hole.first <= sequence) {
            Some(hole) => {
                self.fill(at, hole, sequence);
                Arrival::Reordered { extent: self.arrivals - hole.made_at }
            }
            None => Arrival::Duplicate,
        }
    }

    fn fill(&mut self, at: usize, hole: Hole, sequence: u64) {
        let before = Hole { end: sequence, ..hole };
        let after = Hole { first: sequence + 1, ..hole };
        match (before.first < before.end, after.first < after.end) {
            (false, false) => drop(self.holes.remove(at)),
            (true, false) => self.holes[at] = before,
            (false, true) => self.holes[at] = after,
            (true, true) => {
                self.holes[at] = before;
                self.holes.insert(at + 1, after);
                self.forget();
            }
        }
    }

    fn remember(&mut self, hole: Hole) {
        self.holes.push_back(hole);
        self.forget();
    }

    fn forget(&mut self) {
        if self.holes.len() > HOLES_MAX
            && let Some(oldest) = self.holes.pop_front()
        {
            self.horizon = oldest.end;
        }
    }

    /// Packets that came, each once.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Packets that came again.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that came after one with a larger number.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// The largest extent of a reordered packet.
    #[must_use]
    pub fn extent_max(&self) -> u64 {
        self.extent_max
    }

    /// Packets that were too late to be told apart.
    #[must_use]
    pub fn unplaced(&self) -> u64 {
        self.unplaced
    }

    /// Numbers below the largest one that have not come. Too large by at most [`unplaced`](Self::unplaced); what was lost
    /// behind the largest number cannot be seen from here.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.expected - self.start - self.arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// Everything that ever came, looked through again for each packet.
    #[derive(Default)]
    struct Model {
        came: Vec<u64>,
        duplicates: u64,
        reordered: u64,
        extent_max: u64,
    }

    impl Model {
        fn enter(&mut self, sequence: u64) -> Arrival {
            if self.came.contains(&sequence) {
                self.duplicates += 1;
                return Arrival::Duplicate;
            }
            let earliest = self.came.iter().position(|other| *other > sequence);
            let here = self.came.len();
            self.came.push(sequence);
            match earliest {
                None => Arrival::InOrder,
                Some(earliest) => {
                    let extent = (here - earliest) as u64;
                    self.reordered += 1;
                    self.extent_max = self.extent_max.max(extent);
                    Arrival::Reordered { extent }
                }
            }
        }

        fn missing(&self) -> u64 {
            let largest = self.came.iter().max().map_or(0, |largest| largest + 1);
            largest - self.came.len() as u64
        }
    }

    fn enter(account: &mut FlowAccount, sequences: &[u64]) -> Vec<Arrival> {
        sequences.iter().map(|sequence| account.enter(*sequence)).collect()
    }

    #[test] // RFC 4737 §4.2.1
    fn the_extent_is_counted_from_the_earliest_larger_number() {
        let mut account = FlowAccount::default();
        // The example with 4 behind 5, 6, 7 and 8: five packets late is not counted, four is.
        let arrivals = enter(&mut account, &[1, 2, 3, 5, 6, 7, 8, 4, 9, 10]);
        assert_eq!(arrivals[7], Arrival::Reordered { extent: 4 });
        assert!(arrivals.iter().enumerate().all(|(at, one)| at == 7 || *one == Arrival::InOrder));
        assert_eq!((account.reordered(), account.extent_max(), account.missing()), (1, 4, 1));
    }

    #[test]
    fn a_second_copy_is_a_duplicate_wherever_it_comes() {
        let mut account = FlowAccount::default();
        let arrivals = enter(&mut account, &[0, 1, 1, 4, 2, 2, 0, 4]);
        use Arrival::{Duplicate, InOrder, Reordered};
        let late = Reordered { extent: 1 };
        assert_eq!(arrivals, [InOrder, InOrder, Duplicate, InOrder, late, Duplicate, Duplicate, Duplicate]);
        assert_eq!((account.arrivals(), account.duplicates(), account.missing()), (4, 4, 1));
    }

    #[test]
    fn who_joins_late_misses_nothing_of_what_was_before() {
        let mut account = FlowAccount::new(100);
        assert_eq!(enter(&mut account, &[100, 99, 101])[1], Arrival::Unplaced);
        assert_eq!((account.missing(), account.arrivals(), account.unplaced()), (0, 2, 1));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_said() {
        let mut account = FlowAccount::default();
        (0..10_000).for_each(|at| _ = account.enter(at * 2));
        assert_eq!(account.holes.len(), HOLES_MAX);
        assert_eq!((account.missing(), account.arrivals()), (9_999, 10_000));
        assert_eq!(account.enter(1), Arrival::Unplaced);
        assert_eq!(account.enter(19_997), Arrival::Reordered { extent: 1 });
        assert_eq!((account.missing(), account.unplaced()), (9_998, 1));
    }

    /// Sequences of a device that loses, repeats and delays.
    fn mistreated(length: u64) -> impl Strategy<Value = Vec<u64>> {
        let fate = (0u64..20, prop_oneof![6 => Just(1u8), 1 => Just(0), 1 => Just(2)], 0u64..30);
        proptest::collection::vec(fate, length as usize).prop_map(|fates| {
            let mut sent: Vec<(u64, u64)> = Vec::new();
            for (sequence, (delay, copies, again)) in fates.into_iter().enumerate() {
                let sequence = sequence as u64;
                for copy in 0..copies {
                    sent.push((sequence * 4 + delay + u64::from(copy) * again, sequence));
                }
            }
            sent.sort_by_key(|(time, _)| *time);
            sent.into_iter().map(|(_, sequence)| sequence).collect()
        })
    }

    proptest! {
        #[test] // X-5, RFC 4737 §3.3, RFC 4737 §4.2.1
        fn every_packet_is_what_the_model_says(sequences in mistreated(100)) {
            let (mut account, mut model) = (FlowAccount::default(), Model::default());
            for sequence in sequences {
                prop_assert_eq!(account.enter(sequence), model.enter(sequence), "{}", sequence);
            }
            prop_assert_eq!(account.missing(), model.missing());
            prop_assert_eq!(account.arrivals(), model.came.len() as u64);
            prop_assert_eq!(account.duplicates(), model.duplicates);
            prop_assert_eq!(account.reordered(), model.reordered);
            prop_assert_eq!(account.extent_max(), model.extent_max);
        }

        #[test]
        fn any_permutation_is_what_the_model_says(
            sequences in Just((0u64..60).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let (mut account, mut model) = (FlowAccount::default(), Model::default());
            for sequence in sequences {
                prop_assert_eq!(account.enter(sequence), model.enter(sequence));
            }
            prop_assert_eq!(account.missing(), 0);
        }

        #[test]
        fn with_more_holes_than_are_remembered_the_sums_still_hold(
            sequences in proptest::collection::vec(0u64..1500, 0..1200)
        ) {
            let mut account = FlowAccount::default();
            let total = sequences.len() as u64;
            let different = sequences.iter().collect::<HashSet<_>>().len() as u64;
            let largest = sequences.iter().max().map_or(0, |largest| largest + 1);
            sequences.iter().for_each(|sequence| _ = account.enter(*sequence));
            prop_assert!(account.holes.len() <= HOLES_MAX);
            prop_assert_eq!(account.arrivals() + account.duplicates() + account.unplaced(), total);
            let lost = largest - different;
            prop_assert!(account.missing() >= lost && account.missing() - lost <= account.unplaced());
        }
    }
}
