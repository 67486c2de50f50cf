//! A port in memory that never runs dry: the same few frames again and again as fast as they are taken, and garbage
//! probes by the clock. It locks nothing, so that what is measured is the engine.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use warren_port::{Frame, Link, Port, PortCounters, PortMode, Umem};

/// Garbage that waits at most: some turns' worth, and little beside what comes in a second. What comes while the core is
/// somebody else's is lost.
const BACKLOG_MAX: u64 = 256;

/// Frames that are given out in turn.
#[derive(Default)]
pub(crate) struct Reel {
    frames: Vec<Vec<u8>>,
    at: usize,
}

impl Reel {
    pub(crate) fn new(frames: Vec<Vec<u8>>) -> Self {
        Self { frames, at: 0 }
    }

    fn next(&mut self) -> Option<&[u8]> {
        self.at = if self.at + 1 < self.frames.len() { self.at + 1 } else { 0 };
        self.frames.get(self.at).map(Vec::as_slice)
    }
}

/// The port.
pub(crate) struct Tap {
    name: String,
    traffic: Reel,
    garbage: Reel,
    /// Garbage each second, which whoever measures turns on and off.
    per_second: Arc<AtomicU64>,
    /// Until when all garbage has been given out or was lost.
    paid: Instant,
    counters: PortCounters,
}

impl Tap {
    /// A port that gives out `traffic` without end and `garbage` at that rate.
    pub(crate) fn new(name: &str, traffic: Reel, garbage: Reel, per_second: Arc<AtomicU64>) -> Self {
        let counters = PortCounters::default();
        Self { name: name.to_owned(), traffic, garbage, per_second, paid: Instant::now(), counters }
    }

    /// How much garbage has come since it was last asked, up to `max`; the rest waits.
    fn due(&mut self, max: usize) -> usize {
        let per_second = self.per_second.load(Ordering::Relaxed);
        let now = Instant::now();
        if per_second == 0 {
            self.paid = now;
            return 0;
        }
        let each = 1_000_000_000 / per_second;
        let mut waiting = u64::try_from((now - self.paid).as_nanos()).unwrap_or(u64::MAX) / each;
        if waiting > BACKLOG_MAX {
            self.counters.receive_dropped += waiting - BACKLOG_MAX;
            self.paid = now - Duration::from_nanos(BACKLOG_MAX * each);
            waiting = BACKLOG_MAX;
        }
        let due = waiting.min(max as u64);
        self.paid += Duration::from_nanos(due * each);
        due as usize
    }
}

impl Port for Tap {
    fn link(&self) -> Link {
        Link::Ethernet
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize {
        let due = self.due(max);
        let mut received = 0;
        while received < max {
            let reel = if received < due { &mut self.garbage } else { &mut self.traffic };
            let Some(octets) = reel.next() else { break };
            let Some(mut frame) = umem.allocate() else { break };
            let Some(room) = frame.push_back(octets.len()) else {
                umem.release(frame);
                break;
            };
            room.copy_from_slice(octets);
            frames.push(frame);
            received += 1;
        }
        self.counters.received += received as u64;
        received
    }

    fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        let taken = frames.len();
        frames.drain(..).for_each(|frame| umem.release(frame));
        self.counters.transmitted += taken as u64;
        taken
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn mode(&self) -> PortMode {
        PortMode::Memory
    }
}
