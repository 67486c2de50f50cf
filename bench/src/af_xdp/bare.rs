//! The loop without a gateway: what the sockets and the kernel alone let through.

use warren_port::{Frame, Port, cycles};

use super::measure::{Counted, Turn};
use crate::rounds::lower_quartile;

use super::topology::{FAR_MAC, NOBODYS_MAC, Station};

/// Receives on one port and transmits on the other.
pub(crate) struct Bare {
    station: Station,
    batch: usize,
    frames: Vec<Frame>,
    receive: Vec<f64>,
    transmit: Vec<f64>,
}

/// Calls of each kind that are timed: some seconds' worth.
const TIMED_MAX: usize = 1 << 17;

impl Bare {
    pub(crate) fn new(station: Station, batch: usize) -> Self {
        let timed = || Vec::with_capacity(TIMED_MAX);
        Self { station, batch, frames: Vec::with_capacity(2 * batch), receive: timed(), transmit: timed() }
    }
}

impl Turn for Bare {
    fn turn(&mut self) {
        let Station { umem, near, far, .. } = &mut self.station;
        let waiting = self.frames.len();
        // What the ring did not take waits; nothing new is received meanwhile, so nothing can pile up.
        if waiting < self.batch {
            timed(near, &mut self.receive, |near| near.receive(umem, &mut self.frames, self.batch));
        }
        for frame in &mut self.frames[waiting..] {
            if let Some(addresses) = frame.bytes_mut().first_chunk_mut::<12>() {
                addresses[..6].copy_from_slice(&NOBODYS_MAC);
                addresses[6..].copy_from_slice(&FAR_MAC);
            }
        }
        timed(far, &mut self.transmit, |far| far.transmit(umem, &mut self.frames));
    }

    fn counted(&self) -> Counted {
        Counted::of(&self.station.near.counters(), &self.station.far.counters())
    }

    fn ring_cycles(&self) -> Option<f64> {
        let both = [&self.receive, &self.transmit];
        both.iter()
            .all(|calls| !calls.is_empty())
            .then(|| both.iter().map(|calls| lower_quartile(calls)).sum())
    }

    fn mode(&self) -> String {
        self.station.near.mode().to_string()
    }
}

/// Makes a call and notes its cycles per packet, unless it was a system call too: what the kernel does is not our ring work.
fn timed<P: Port>(port: &mut P, calls: &mut Vec<f64>, call: impl FnOnce(&mut P) -> usize) {
    let (wakeups, from) = (port.counters().wakeups, cycles::now());
    let packets = call(port);
    let elapsed = cycles::now() - from;
    if packets >= BATCH_MIN && port.counters().wakeups == wakeups && calls.len() < TIMED_MAX {
        calls.push(elapsed as f64 / packets as f64);
    }
}

/// Of fewer packets the cost of the call itself would be most of it.
const BATCH_MIN: usize = 32;
