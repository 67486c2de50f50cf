//! What a worker counts: plain memory that only it writes and anybody may read.
//!
//! The law that tests hold every snapshot to: what came in is what went out, what control took, what was dropped and
//! what is held.

use crate::drop_reason::DropReason;
use crate::vocabulary::vocabulary;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};

vocabulary! {
    /// Something that is counted and is not the loss of a packet.
    pub enum Tally {
        /// Packets taken from ports, the tun port among them.
        Received = "received",
        /// Packets made here: ICMP messages, and fragments beyond the first.
        Originated = "originated",
        /// Packets that control gave to be sent on: probes of ours, and what it had been shown.
        Injected = "injected",
        /// Packets taken over from another worker.
        Adopted = "adopted",
        /// Packets given to another worker.
        Handed = "handed",
        /// Packets that a port took.
        Transmitted = "transmitted",
        /// Packets given to the kernel through the tun port.
        Kernel = "kernel",
        /// Packets taken off their way and shown to control: probes, and errors that may be about ours.
        Caught = "caught",
        /// Packets now waiting: for a neighbour, or for room in a port.
        Held = "held",
        /// ESP packets sealed, each level on its own.
        Sealed = "sealed",
        /// ESP packets opened and accepted, each level on its own.
        Opened = "opened",
        /// Packets passed on in clear because a rule says so.
        Clear = "clear",
        /// Discovery messages passed on in clear without asking a rule.
        Discovery = "discovery",
        /// Verdicts found in the flow cache.
        FlowHit = "flow-hit",
        /// Verdicts that had to be looked up.
        FlowMiss = "flow-miss",
        /// TCP SYN segments whose maximum segment size was lowered.
        MssClamped = "mss-clamped",
        /// Packets cut into fragments before protection or transmission.
        Fragmented = "fragmented",
        /// ICMP messages made.
        IcmpSent = "icmp-sent",
        /// ICMP messages not made, to keep within their rate.
        IcmpLimited = "icmp-limited",
        /// Wishes for discovery not told to control, to keep within their rate; they repeat themselves.
        AcquireLimited = "acquire-limited",
        /// Events that found no room in the ring to control; they repeat themselves.
        EventsLost = "events-lost",
    }
}

/// The counters of one worker. Cache-line padded, because its neighbours in memory are other workers'.
#[derive(Default)]
pub struct WorkerCounters {
    tallies: CachePadded<[AtomicU64; Tally::COUNT]>,
    drops: CachePadded<Drops>,
}

struct Drops([AtomicU64; DropReason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// Only the owner writes, so a load and a store do, and no lock prefix is paid for.
pub(crate) fn raise(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl WorkerCounters {
    pub(crate) fn add(&self, tally: Tally, count: usize) {
        raise(&self.tallies[tally as usize], count as u64);
    }

    pub(crate) fn hold(&self, count: usize) {
        self.tallies[Tally::Held as usize].store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn drop_one(&self, reason: DropReason) {
        raise(&self.drops.0[reason.index()], 1);
    }

    /// The numbers as they are now.
    #[must_use]
    pub fn snapshot(&self) -> CounterSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterSnapshot {
            tallies: std::array::from_fn(|at| read(&self.tallies[at])),
            drops: std::array::from_fn(|at| read(&self.drops.0[at])),
        }
    }
}

/// Numbers at one moment, of one worker or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterSnapshot {
    tallies: [u64; Tally::COUNT],
    drops: [u64; DropReason::COUNT],
}

impl Default for CounterSnapshot {
    fn default() -> Self {
        Self { tallies: [0; Tally::COUNT], drops: [0; DropReason::COUNT] }
    }
}

impl CounterSnapshot {
    /// One tally.
    #[must_use]
    pub const fn of(&self, tally: Tally) -> u64 {
        self.tallies[tally as usize]
    }

    /// Packets dropped for one reason.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }

    /// Every reason that occurred, with its count.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.dropped(reason))).filter(|&(_, count)| count > 0)
    }

    /// Packets dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Packets that came in: received, made here, given by control or taken over.
    #[must_use]
    pub const fn entered(&self) -> u64 {
        self.of(Tally::Received)
            + self.of(Tally::Originated)
            + self.of(Tally::Injected)
            + self.of(Tally::Adopted)
    }

    /// Packets that left the engine alive: transmitted or given to the kernel.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.of(Tally::Transmitted) + self.of(Tally::Kernel)
    }

    /// Packets that are neither delivered nor dropped yet.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.of(Tally::Held)
    }

    /// Whether every packet is accounted for. True between two turns of a worker; a snapshot of a running worker
    /// may catch it in the middle of one.
    #[must_use]
    pub fn conserved(&self) -> bool {
        let elsewhere = self.of(Tally::Handed) + self.of(Tally::Caught);
        self.entered() == self.delivered() + elsewhere + self.dropped_total() + self.held()
    }

    /// Adds another worker's numbers.
    pub fn add(&mut self, other: &Self) {
        self.tallies.iter_mut().zip(other.tallies).for_each(|(sum, more)| *sum += more);
        self.drops.iter_mut().zip(other.drops).for_each(|(sum, more)| *sum += more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // F-24
    fn a_packet_in_no_counter_breaks_the_law() {
        let counters = WorkerCounters::default();
        counters.add(Tally::Received, 3);
        counters.add(Tally::Transmitted, 1);
        counters.drop_one(DropReason::Replayed);
        assert!(!counters.snapshot().conserved());
        counters.hold(1);
        let snapshot = counters.snapshot();
        assert!(snapshot.conserved());
        assert_eq!(snapshot.drops().collect::<Vec<_>>(), [(DropReason::Replayed, 1)]);
    }

    #[test]
    fn sums_are_taken_counter_by_counter() {
        let (a, b) = (WorkerCounters::default(), WorkerCounters::default());
        a.add(Tally::Received, 2);
        b.add(Tally::Received, 5);
        b.drop_one(DropReason::NoSa);
        let mut sum = a.snapshot();
        sum.add(&b.snapshot());
        assert_eq!((sum.of(Tally::Received), sum.dropped(DropReason::NoSa)), (7, 1));
    }
}
