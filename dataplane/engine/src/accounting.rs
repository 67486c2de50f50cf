//! Where a worker's cycles go: one turn in so many is measured, stage by stage (REQUIREMENTS X-4).
//!
//! ```text
//!  begin ──> receive ── lap ──> classify ── lap ──> … ──> flush ── lap ──> end
//!    └─ is this turn measured?     └─ the time since the last lap, and how many packets it was for
//! ```
//!
//! A turn that is not measured pays one branch that is always the same for each lap. What is measured is gathered in memory
//! of the turn's own and added up at its end: a turn in which nothing moved says nothing about stages and is only counted.

use crate::counters::raise;
use crate::limits::{BATCH_MAX, SAMPLE_EVERY_MAX, STACK_DEPTH_MAX};
use crate::slot::Slot;
use crate::vocabulary::vocabulary;
use crossbeam_utils::CachePadded;
use std::array::from_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use warren_port::cycles;

vocabulary! {
    /// Something that a worker spends its time on.
    pub enum Stage {
        /// Commands of control applied.
        Commands = "commands",
        /// Packets of other workers copied into frames of our own.
        Adopt = "adopt",
        /// Ports asked that had nothing.
        Poll = "poll",
        /// Frames taken from ports.
        Receive = "receive",
        /// Fast path: headers read.
        FastRead = "fast-read",
        /// Fast path: ESP to us opened, its window moved, what came out of it checked.
        FastOpen = "fast-open",
        /// Fast path: the plan of each flow found.
        FastFind = "fast-find",
        /// Fast path: sequence numbers, and the headers around.
        FastNumber = "fast-number",
        /// Fast path: the AEAD over the batch.
        FastSeal = "fast-seal",
        /// Fast path: queued in front of its port.
        FastSend = "fast-send",
        /// Headers read, and discovery has a look.
        Admit = "admit",
        /// Sorted: ESP to us, other packets to us, packets that pass through.
        Classify = "classify",
        /// The inbound SA found, its window asked.
        Lookup = "lookup",
        /// ESP verified and decrypted.
        Open = "open",
        /// The window moved.
        Accept = "accept",
        /// Outer header and ESP taken off.
        Decap = "decap",
        /// What came out held against the SA's selector.
        Verify = "verify",
        /// The rules asked, flow cache first.
        Select = "select",
        /// Held against the MTU; fragments, and the MSS of TCP.
        Mtu = "mtu",
        /// The SA of each packet's next level found.
        Bind = "bind",
        /// Sequence number, padding and ESP header.
        Encap = "encap",
        /// Encrypted and authenticated.
        Seal = "seal",
        /// Outer header.
        Outer = "outer",
        /// The next hop found, the Ethernet header written.
        Forward = "forward",
        /// Queued for the gateway's own kernel.
        Kernel = "kernel",
        /// Answers of our own (ICMP) sorted.
        Answer = "answer",
        /// Frames given to ports.
        Transmit = "transmit",
        /// Timers, counters and bells.
        Rest = "rest",
    }
}

/// Places of the histogram of batch sizes: place *n* counts batches of 2ⁿ packets up to the next power of two.
pub const BATCH_PLACES: usize = BATCH_MAX.ilog2() as usize + 1;
/// Places of the histograms of levels: none to all that there may be.
pub const LEVEL_PLACES: usize = STACK_DEPTH_MAX + 1;

/// What one worker has measured. Only it writes.
#[derive(Default)]
pub(crate) struct WorkerAccounts(CachePadded<Measured>);

struct Measured {
    turns: AtomicU64,
    idle_turns: AtomicU64,
    idle_cycles: AtomicU64,
    stages: [Account; Stage::COUNT],
    batches: [AtomicU64; BATCH_PLACES],
    put_on: [AtomicU64; LEVEL_PLACES],
    taken_off: [AtomicU64; LEVEL_PLACES],
}

#[derive(Default)]
struct Account {
    cycles: AtomicU64,
    packets: AtomicU64,
    laps: AtomicU64,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            turns: AtomicU64::default(),
            idle_turns: AtomicU64::default(),
            idle_cycles: AtomicU64::default(),
            stages: from_fn(|_| Account::default()),
            batches: from_fn(|_| AtomicU64::default()),
            put_on: from_fn(|_| AtomicU64::default()),
            taken_off: from_fn(|_| AtomicU64::default()),
        }
    }
}

impl WorkerAccounts {
    /// The numbers as they are now.
    #[must_use]
    pub(crate) fn snapshot(&self) -> StageSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let spent = |account: &Account| Spent {
            cycles: read(&account.cycles),
            packets: read(&account.packets),
            batches: read(&account.laps),
        };
        let own = &*self.0;
        StageSnapshot {
            turns: read(&own.turns),
            idle_turns: read(&own.idle_turns),
            idle_cycles: read(&own.idle_cycles),
            stages: from_fn(|at| spent(&own.stages[at])),
            batches: from_fn(|at| read(&own.batches[at])),
            put_on: from_fn(|at| read(&own.put_on[at])),
            taken_off: from_fn(|at| read(&own.taken_off[at])),
        }
    }
}

/// What one stage has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// In ticks of [`warren_port::cycles`].
    pub cycles: u64,
    /// Packets that came to it.
    pub packets: u64,
    /// How often it had packets at all.
    pub batches: u64,
}

impl Spent {
    const fn add(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.packets += other.packets;
        self.batches += other.batches;
    }
}

/// What was measured up to one moment, of one worker or of all. Everything is of measured turns alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageSnapshot {
    /// Turns that were measured.
    pub turns: u64,
    /// Of those, turns in which nothing moved …
    pub idle_turns: u64,
    /// … and what they took; no stage's.
    pub idle_cycles: u64,
    /// Batches that a port gave, by size: see [`BATCH_PLACES`].
    pub batches: [u64; BATCH_PLACES],
    /// Packets that were routed, by the levels of ESP that had been put on them here.
    pub put_on: [u64; LEVEL_PLACES],
    /// Packets that were routed or went to our kernel, by the levels that had been taken off them here.
    pub taken_off: [u64; LEVEL_PLACES],
    stages: [Spent; Stage::COUNT],
}

impl StageSnapshot {
    /// One stage.
    #[must_use]
    pub const fn of(&self, stage: Stage) -> Spent {
        self.stages[stage as usize]
    }

    /// What all stages took together.
    #[must_use]
    pub fn busy_cycles(&self) -> u64 {
        self.stages.iter().map(|spent| spent.cycles).sum()
    }

    /// Adds another worker's numbers.
    pub fn add(&mut self, other: &Self) {
        let add =
            |own: &mut [u64], more: &[u64]| own.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        self.turns += other.turns;
        self.idle_turns += other.idle_turns;
        self.idle_cycles += other.idle_cycles;
        self.stages.iter_mut().zip(other.stages).for_each(|(sum, more)| sum.add(more));
        add(&mut self.batches, &other.batches);
        add(&mut self.put_on, &other.put_on);
        add(&mut self.taken_off, &other.taken_off);
    }
}

/// A worker's own half.
pub(crate) struct Accounts {
    /// One turn in so many is measured; 0: none.
    every: u32,
    /// Turns until the next one that is.
    left: u32,
    random: u32,
    /// Whether this one is.
    sampled: bool,
    /// The last lap, or the beginning.
    last: u64,
    /// This turn so far.
    turn: [Spent; Stage::COUNT],
    shared: Arc<WorkerAccounts>,
}

impl Accounts {
    /// Accounts without an entry. One turn in `every` will be measured, but at least one in [`SAMPLE_EVERY_MAX`]; with 0 none.
    #[must_use]
    pub(crate) fn new(every: u32) -> Self {
        Self {
            every: every.min(SAMPLE_EVERY_MAX),
            left: 1,
            random: 0x9E37_79B9,
            sampled: false,
            last: 0,
            turn: [Spent::default(); Stage::COUNT],
            shared: Arc::default(),
        }
    }

    /// What control reads.
    #[must_use]
    pub(crate) fn shared(&self) -> Arc<WorkerAccounts> {
        Arc::clone(&self.shared)
    }

    /// A turn begins, and perhaps it is measured.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.sample();
        }
    }

    /// The time since the last lap went to this stage, for so many packets. A stage without packets takes next to no time,
    /// and leaves it to the next.
    #[inline]
    pub(crate) fn lap(&mut self, stage: Stage, packets: usize) {
        if self.sampled && packets > 0 {
            self.charge(stage, packets as u64);
        }
    }

    /// The time since the last lap went to something that is not done for packets.
    #[inline]
    pub(crate) fn spend(&mut self, stage: Stage) {
        if self.sampled {
            self.charge(stage, 0);
        }
    }

    /// So many frames have come from a port in one go; perhaps none.
    #[inline]
    pub(crate) fn received(&mut self, frames: usize) {
        if self.sampled {
            match frames.checked_ilog2() {
                None => self.charge(Stage::Poll, 0),
                Some(place) => {
                    let place = (place as usize).min(BATCH_PLACES - 1);
                    raise(&self.shared.0.batches[place], 1);
                    self.charge(Stage::Receive, frames as u64);
                }
            }
        }
    }

    /// Whether this turn is measured.
    #[inline]
    pub(crate) fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// So many packets leave with so many levels of ESP put on and taken off here.
    #[inline]
    pub(crate) fn levels(&mut self, put_on: usize, taken_off: usize, packets: usize) {
        if self.sampled {
            raise(&self.shared.0.put_on[put_on.min(STACK_DEPTH_MAX)], packets as u64);
            raise(&self.shared.0.taken_off[taken_off.min(STACK_DEPTH_MAX)], packets as u64);
        }
    }

    /// The packets of this lane leave.
    #[inline]
    pub(crate) fn leaving(&mut self, lane: &[Slot]) {
        if self.sampled {
            lane.iter().for_each(|slot| self.levels(slot.level.into(), slot.depth.into(), 1));
        }
    }

    /// The turn is over. What it took is added up if something moved.
    #[inline]
    pub(crate) fn end(&mut self, moved: bool) {
        if self.sampled {
            self.close(moved);
        }
    }

    #[cold]
    fn sample(&mut self) {
        if self.every == 0 {
            self.left = u32::MAX;
            return;
        }
        // Every `every`th on average and not exactly: traffic may have a beat of its own.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.left = 1 + self.random % (2 * self.every - 1);
        self.sampled = true;
        self.last = cycles::now();
    }

    #[cold]
    fn charge(&mut self, stage: Stage, packets: u64) {
        let now = cycles::now();
        // Counters of two cores may be a few ticks apart, and a worker that is not pinned may change cores.
        let cycles = now.saturating_sub(self.last);
        self.turn[stage as usize].add(Spent { cycles, packets, batches: u64::from(packets > 0) });
        self.last = now;
    }

    #[cold]
    fn close(&mut self, moved: bool) {
        self.charge(Stage::Rest, 0);
        let shared = &*self.shared.0;
        raise(&shared.turns, 1);
        if moved {
            for (spent, account) in self.turn.iter().zip(&shared.stages) {
                raise(&account.cycles, spent.cycles);
                raise(&account.packets, spent.packets);
                raise(&account.laps, spent.batches);
            }
        } else {
            raise(&shared.idle_turns, 1);
            raise(&shared.idle_cycles, self.turn.iter().map(|spent| spent.cycles).sum());
        }
        self.turn = [Spent::default(); Stage::COUNT];
        self.sampled = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A turn in which 64 frames come from one port and none from another.
    fn turn(accounts: &mut Accounts) {
        accounts.begin();
        accounts.received(64);
        accounts.lap(Stage::Classify, 64);
        accounts.lap(Stage::Lookup, 0);
        accounts.received(0);
        accounts.end(true);
    }

    #[test] // X-4
    fn a_measured_turn_has_its_time_at_the_stages_that_had_packets() {
        let mut accounts = Accounts::new(1);
        turn(&mut accounts);
        turn(&mut accounts);
        let seen = accounts.shared.snapshot();
        assert_eq!((seen.turns, seen.idle_turns, seen.idle_cycles), (2, 0, 0));
        assert_eq!((seen.of(Stage::Receive).packets, seen.of(Stage::Receive).batches), (128, 2));
        assert_eq!((seen.of(Stage::Classify).packets, seen.of(Stage::Classify).batches), (128, 2));
        assert_eq!(seen.of(Stage::Lookup), Spent::default(), "it had no packets");
        assert_eq!((seen.of(Stage::Poll).packets, seen.of(Stage::Poll).batches), (0, 0));
        assert!(seen.busy_cycles() > 0);
        let summed: u64 = Stage::ALL.iter().map(|&stage| seen.of(stage).cycles).sum();
        assert_eq!(seen.busy_cycles(), summed);
    }

    #[test] // X-4
    fn a_turn_in_which_nothing_moved_is_counted_and_no_stages() {
        let mut accounts = Accounts::new(1);
        for moved in [false, true] {
            accounts.begin();
            accounts.received(0);
            accounts.end(moved);
            let seen = accounts.shared.snapshot();
            assert_eq!((seen.turns, seen.idle_turns), (1 + u64::from(moved), 1));
            assert_eq!(seen.busy_cycles() > 0, moved, "an idle turn leaves nothing behind for the next");
            assert!(seen.idle_cycles > 0);
        }
    }

    #[test] // X-4
    fn one_turn_in_so_many_is_measured_and_never_in_step() {
        let mut accounts = Accounts::new(64);
        let mut gaps = std::collections::BTreeSet::new();
        let mut since = 0;
        for _ in 0..64 * 1000 {
            accounts.begin();
            since += 1;
            if accounts.sampled {
                gaps.insert(std::mem::take(&mut since));
            }
            accounts.end(true);
        }
        let turns = accounts.shared.snapshot().turns;
        assert!((900..=1100).contains(&turns), "{turns}");
        assert!(gaps.len() > 50 && gaps.last() < Some(&128), "{gaps:?}");
    }

    #[test] // X-4
    fn nothing_is_measured_where_nothing_is_asked_for() {
        let mut accounts = Accounts::new(0);
        (0..1000).for_each(|_| turn(&mut accounts));
        accounts.left = 1;
        turn(&mut accounts);
        assert_eq!(accounts.shared.snapshot(), StageSnapshot::default());
    }

    #[test] // X-4
    fn batches_are_counted_by_powers_of_two() {
        for (frames, place) in [(1, 0), (2, 1), (3, 1), (4, 2), (31, 4), (32, 5), (63, 5), (64, 6), (65, 6)] {
            let mut accounts = Accounts::new(1);
            accounts.begin();
            accounts.received(frames);
            let seen = accounts.shared.snapshot().batches;
            assert_eq!(seen.iter().position(|&count| count == 1), Some(place), "{frames}");
            assert_eq!(seen.iter().sum::<u64>(), 1);
        }
        assert_eq!(BATCH_PLACES, 7);
    }

    #[test] // X-4
    fn levels_have_a_place_each_and_more_than_there_may_be_share_the_last() {
        let mut accounts = Accounts::new(1);
        accounts.begin();
        accounts.levels(0, 2, 5);
        accounts.levels(STACK_DEPTH_MAX, 0, 1);
        accounts.levels(STACK_DEPTH_MAX + 3, 0, 1);
        let seen = accounts.shared.snapshot();
        assert_eq!((seen.put_on[0], seen.put_on[STACK_DEPTH_MAX]), (5, 2));
        assert_eq!((seen.taken_off[0], seen.taken_off[2]), (2, 5));
        assert_eq!(seen.put_on.iter().sum::<u64>(), 7);
    }

    #[test] // X-4
    fn sums_of_workers_are_taken_number_by_number() {
        let (mut a, mut b) = (Accounts::new(1), Accounts::new(1));
        turn(&mut a);
        turn(&mut b);
        turn(&mut b);
        let (a, b) = (a.shared.snapshot(), b.shared.snapshot());
        let mut sum = a.clone();
        sum.add(&b);
        assert_eq!((sum.turns, sum.batches[6], sum.of(Stage::Receive).packets), (3, 3, 192));
        assert_eq!(sum.busy_cycles(), a.busy_cycles() + b.busy_cycles());
    }

    #[test]
    fn every_stage_has_a_word_of_its_own_and_a_sentence() {
        let words: std::collections::BTreeSet<_> = Stage::ALL.iter().map(|stage| stage.word()).collect();
        assert_eq!(words.len(), Stage::COUNT);
        assert!(Stage::ALL.iter().all(|stage| stage.meaning().ends_with('.')));
    }
}
