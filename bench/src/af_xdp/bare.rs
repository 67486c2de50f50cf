//! The loop without a gateway: what the sockets and the kernel alone let through.

use warren_port::{Frame, Port};

use super::measure::{Counted, Turn};
use super::topology::{FAR_MAC, NOBODYS_MAC, Station};

/// Receives on one port and transmits on the other.
pub(crate) struct Bare {
    station: Station,
    batch: usize,
    frames: Vec<Frame>,
}

impl Bare {
    pub(crate) fn new(station: Station, batch: usize) -> Self {
        Self { station, batch, frames: Vec::with_capacity(2 * batch) }
    }
}

impl Turn for Bare {
    fn turn(&mut self) {
        let Station { umem, near, far, .. } = &mut self.station;
        let waiting = self.frames.len();
        // What the ring did not take waits; nothing new is received meanwhile, so nothing can pile up.
        if waiting < self.batch {
            near.receive(umem, &mut self.frames, self.batch);
        }
        for frame in &mut self.frames[waiting..] {
            if let Some(addresses) = frame.bytes_mut().first_chunk_mut::<12>() {
                addresses[..6].copy_from_slice(&NOBODYS_MAC);
                addresses[6..].copy_from_slice(&FAR_MAC);
            }
        }
        far.transmit(umem, &mut self.frames);
    }

    fn counted(&self) -> Counted {
        Counted::of(&self.station.near.counters(), &self.station.far.counters())
    }

    fn mode(&self) -> String {
        self.station.near.mode().to_string()
    }
}
