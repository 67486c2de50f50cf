//! The sink: counts what comes, by flow, and how long it was under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hdrhistogram::Histogram;
use warren_port::{Frame, Port, Umem};

use crate::account::{Arrival, FlowAccount};
use crate::flow::Tuple;
use crate::headers::{Received, read};
use crate::limits::{BATCH_MAX, FLOWS_COUNTED_MAX, LATENCY_DIGITS, LATENCY_MAX_NS};
use crate::size::CHECK_SEQUENCE_OCTETS;
use crate::stamp::Stamp;

/// Packets of which runs a sink counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Those of one run, from its first packet on.
    Stream(u16),
    /// Those of all runs, from their first packets on: the sink was there before them.
    All,
    /// Those of all runs, each flow from the first packet that comes: the sink may have come later.
    Joined,
}

/// Plain sums of everything that came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All frames.
    pub frames: u64,
    /// Their octets, check sequences included.
    pub octets: u64,
    /// Stamped packets that are counted: the sum of the next four.
    pub stamped: u64,
    /// Packets that came, each once.
    pub arrived: u64,
    /// Of those, packets that came after a later one of their flow (RFC 4737).
    pub reordered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that were too late to say whether they came again.
    pub unplaced: u64,
    /// Packets of more flows than accounts are kept for.
    pub crowded: u64,
    /// The largest reordering extent (RFC 4737 §4.2.1).
    pub extent_max: u64,
    /// Stamped packets of other runs.
    pub strangers: u64,
    /// Packets with a wrong checksum.
    pub damaged: u64,
    /// Frames without a stamp.
    pub unstamped: u64,
    /// Packets that were sent after they came: by another clock.
    pub other_clock: u64,
    /// When the first frame came.
    pub first_ns: u64,
    /// When the last frame came.
    pub last_ns: u64,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    stream: u16,
    tuple: Tuple,
}

/// Counts.
pub struct Sink {
    expect: Expect,
    flows: HashMap<Key, FlowAccount, RandomState>,
    counts: Counts,
    latency: Histogram<u64>,
    progress: Arc<AtomicU64>,
    frames: Vec<Frame>,
}

/// What a sink has counted in the end.
pub struct Caught {
    /// The sums.
    pub counts: Counts,
    /// Numbers that were jumped over, of all flows; what was lost at a flow's end is not among them.
    pub missing: u64,
    /// Packets that the sink's own port had no room for, because the sink was too slow: no fault of the device.
    pub overrun: u64,
    /// Flows that were seen.
    pub flows: u64,
    /// Times under way, in ns.
    pub latency: Histogram<u64>,
}

impl Sink {
    /// An empty one.
    #[must_use]
    pub fn new(expect: Expect) -> Self {
        Self {
            expect,
            flows: HashMap::default(),
            counts: Counts::default(),
            latency: histogram(),
            progress: Arc::default(),
            frames: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// What has come so far, for another thread to look at: packets of the run that is expected, or all frames.
    #[must_use]
    pub fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.progress)
    }

    /// One turn: takes what the port has, and reads the clock behind it, so that no packet comes before it was sent. How many
    /// frames came.
    pub fn turn(&mut self, clock: impl FnOnce() -> u64, umem: &mut Umem, port: &mut dyn Port) -> usize {
        let mut frames = std::mem::take(&mut self.frames);
        let came = port.receive(umem, &mut frames, BATCH_MAX);
        let now_ns = if came > 0 { clock() } else { 0 };
        for frame in frames.drain(..) {
            self.take(now_ns, frame.bytes());
            umem.release(frame);
        }
        self.frames = frames;
        if came > 0 {
            let so_far = if matches!(self.expect, Expect::Stream(_)) {
                self.counts.arrived
            } else {
                self.counts.frames
            };
            self.progress.store(so_far, Ordering::Relaxed);
        }
        came
    }

    /// Counts one frame, which begins with an Ethernet header.
    pub fn take(&mut self, now_ns: u64, frame: &[u8]) {
        if self.counts.frames == 0 {
            self.counts.first_ns = now_ns;
        }
        self.counts.last_ns = now_ns;
        self.counts.frames += 1;
        self.counts.octets += frame.len() as u64 + u64::from(CHECK_SEQUENCE_OCTETS);
        match read(frame) {
            Received::Udp(tuple, payload) => match Stamp::decode(payload) {
                Some(stamp) => self.enter(now_ns, tuple, stamp),
                None => self.counts.unstamped += 1,
            },
            Received::Damaged => self.counts.damaged += 1,
            Received::Other => self.counts.unstamped += 1,
        }
    }

    fn enter(&mut self, now_ns: u64, tuple: Tuple, stamp: Stamp) {
        if let Expect::Stream(expected) = self.expect
            && expected != stamp.stream
        {
            self.counts.strangers += 1;
            return;
        }
        let start = if self.expect == Expect::Joined { stamp.sequence } else { 0 };
        let has_room = self.flows.len() < FLOWS_COUNTED_MAX;
        let key = Key { stream: stamp.stream, tuple };
        let account = match self.flows.get_mut(&key) {
            Some(account) => account,
            None if has_room => self.flows.entry(key).or_insert_with(|| FlowAccount::new(start)),
            None => {
                self.counts.crowded += 1;
                return;
            }
        };
        let arrival = account.enter(stamp.sequence);
        self.counts.stamped += 1;
        match arrival {
            Arrival::InOrder => self.counts.arrived += 1,
            Arrival::Reordered { extent } => {
                self.counts.arrived += 1;
                self.counts.reordered += 1;
                self.counts.extent_max = self.counts.extent_max.max(extent);
            }
            Arrival::Duplicate => self.counts.duplicates += 1,
            Arrival::Unplaced => self.counts.unplaced += 1,
        }
        match stamp.latency_ns(now_ns) {
            // A second copy says nothing about how long packets take.
            Some(latency) if arrival != Arrival::Duplicate => self.latency.saturating_record(latency),
            Some(_) => {}
            None => self.counts.other_clock += 1,
        }
    }

    /// The sums so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Ends it.
    #[must_use]
    pub fn finish(self) -> Caught {
        Caught {
            counts: self.counts,
            missing: self.flows.values().map(FlowAccount::missing).sum(),
            overrun: 0,
            flows: self.flows.len() as u64,
            latency: self.latency,
        }
    }
}

/// An empty histogram of latencies.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_MAX_NS, LATENCY_DIGITS)
        .expect("a minute and three digits are within its bounds")
}
