//! The generator's turn: as many frames as are due go to a port.

use warren_port::{Frame, Port, Umem};

use crate::limits::BATCH_MAX;
use crate::rate::{Pacer, Rate};
use crate::workload::octets_in_memory;

/// Where a generator takes its packets from.
pub trait Source: Send {
    /// Size of the next frame, check sequence included; `None` when there are no more.
    fn next_octets(&self) -> Option<u16>;

    /// The smallest frame that it has.
    fn smallest(&self) -> u16;

    /// Writes the next frame into `out`, which is as long as it is without its check sequence and zero.
    fn write(&mut self, now_ns: u64, out: &mut [u8]);

    /// Says that a frame which was written before is sent only now.
    fn refresh(&self, _now_ns: u64, _packet: &mut [u8]) {}

    /// When the next frame may be sent at the earliest, in ns after the first.
    fn not_before_ns(&self) -> u64 {
        0
    }
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames that the port took.
    pub frames: u64,
    /// Their octets, check sequences included.
    pub octets: u64,
    /// Frames that were due and not sent in time.
    pub forfeited: u64,
    /// How late a frame was after its source's own time, at most.
    pub behind_max_ns: u64,
    /// From the beginning until it was done.
    pub elapsed_ns: u64,
}

/// Sends what a source has, at a rate.
pub struct Generator<S> {
    source: S,
    pacer: Pacer,
    started_ns: u64,
    /// No frame is granted from here on.
    end_ns: u64,
    /// Frames that may still be made.
    left: u64,
    /// Frames that the port did not take yet.
    waiting: Vec<Frame>,
    sent: Sent,
}

impl<S: Source> Generator<S> {
    /// Sends from `now_ns` on, until `end_ns` and at most `count` frames.
    pub fn new(source: S, rate: Rate, now_ns: u64, end_ns: u64, count: u64) -> Self {
        let pacer = Pacer::new(rate, now_ns, BATCH_MAX, source.smallest());
        let waiting = Vec::with_capacity(BATCH_MAX);
        Self { source, pacer, started_ns: now_ns, end_ns, left: count, waiting, sent: Sent::default() }
    }

    /// One turn; whether anything was sent.
    pub fn turn(&mut self, now_ns: u64, umem: &mut Umem, port: &mut dyn Port) -> bool {
        for frame in &mut self.waiting {
            self.source.refresh(now_ns, frame.bytes_mut());
        }
        while self.waiting.len() < BATCH_MAX && self.prepare(now_ns, umem) {}
        if self.waiting.is_empty() && port.unsent() == 0 {
            return false;
        }
        let octets = |frames: &[Frame]| frames.iter().map(|frame| frame.len() as u64 + 4).sum::<u64>();
        let offered = octets(&self.waiting);
        let taken = port.transmit(umem, &mut self.waiting);
        self.sent.frames += taken as u64;
        self.sent.octets += offered - octets(&self.waiting);
        if port.unsent() > 0 && taken < BATCH_MAX {
            // Little is due: it must not wait for more in the ring.
            port.transmit(umem, &mut self.waiting);
        }
        taken > 0
    }

    fn prepare(&mut self, now_ns: u64, umem: &mut Umem) -> bool {
        let Some(octets) = self.source.next_octets().filter(|_| self.left > 0 && now_ns < self.end_ns) else {
            return false;
        };
        let earliest = self.started_ns + self.source.not_before_ns();
        if now_ns < earliest || umem.available() == 0 || self.pacer.grant(now_ns, octets).is_none() {
            return false;
        }
        let Some(mut frame) = umem.allocate() else { return false };
        let Some(out) = frame.push_back(octets_in_memory(octets)) else {
            unreachable!("sources have no frames that are longer than a chunk");
        };
        self.source.write(now_ns, out);
        self.waiting.push(frame);
        self.left -= 1;
        if earliest > self.started_ns {
            self.sent.behind_max_ns = self.sent.behind_max_ns.max(now_ns - earliest);
        }
        true
    }

    /// Whether nothing more will be sent. The last frame's share of time is over then, too: ten frames at ten a second take a
    /// second and not nine tenths.
    pub fn is_done(&self, now_ns: u64) -> bool {
        let is_dry = self.left == 0 || self.source.next_octets().is_none();
        now_ns >= self.end_ns || (is_dry && self.waiting.is_empty() && now_ns >= self.pacer.next_ns())
    }

    /// Ends it at `now_ns`: frames that no port took go back and do not count.
    pub fn finish(mut self, now_ns: u64, umem: &mut Umem) -> Sent {
        if self.left > 0 && self.source.next_octets().is_some() {
            self.pacer.lapse(now_ns.min(self.end_ns));
        }
        self.waiting.drain(..).for_each(|frame| umem.release(frame));
        self.sent.elapsed_ns = now_ns - self.started_ns;
        self.sent.forfeited = self.pacer.forfeited(self.source.smallest());
        self.sent
    }
}
