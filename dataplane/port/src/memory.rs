//! A port whose wire is two bounded queues in memory, for tests and for the simulator.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::limits::MEMORY_QUEUE_PACKETS_MAX;
use crate::{Frame, Link, Port, PortCounters, PortMode, Umem};

/// The port's end.
pub struct MemoryPort {
    name: String,
    link: Link,
    wire: Arc<Wire>,
    counters: PortCounters,
}

/// The world's end: what it sends, the port receives, and the other way round.
#[derive(Clone)]
pub struct MemoryLink {
    wire: Arc<Wire>,
}

struct Wire {
    capacity: usize,
    inward: Mutex<VecDeque<Vec<u8>>>,
    outward: Mutex<VecDeque<Vec<u8>>>,
    /// Readable while `inward` holds something. `None` where the process has no descriptor left: the port is then
    /// polled, which the trait allows.
    bell: Option<OwnedFd>,
}

impl MemoryPort {
    /// A port and its far end. Each direction holds at most `capacity` packets.
    #[must_use]
    pub fn pair(name: &str, link: Link, capacity: usize) -> (Self, MemoryLink) {
        let wire = Arc::new(Wire {
            capacity: capacity.min(MEMORY_QUEUE_PACKETS_MAX),
            inward: Mutex::default(),
            outward: Mutex::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok(),
        });
        let port =
            Self { name: name.to_owned(), link, wire: Arc::clone(&wire), counters: PortCounters::default() };
        (port, MemoryLink { wire })
    }
}

impl MemoryLink {
    /// Sends a packet to the port; `false` when its queue is full, and the packet is gone.
    pub fn send(&self, packet: &[u8]) -> bool {
        let mut inward = lock(&self.wire.inward);
        if inward.len() >= self.wire.capacity {
            return false;
        }
        inward.push_back(packet.to_vec());
        self.wire.ring();
        true
    }

    /// The next packet that the port transmitted.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        lock(&self.wire.outward).pop_front()
    }

    /// Packets that wait for the port to receive them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.wire.inward).len()
    }
}

impl Port for MemoryPort {
    fn link(&self) -> Link {
        self.link
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut inward = lock(&self.wire.inward);
        let mut received = 0;
        while received < max && !inward.is_empty() {
            let Some(mut frame) = umem.allocate() else { break };
            let packet = inward.pop_front().expect("not empty, two lines above");
            let Some(octets) = frame.push_back_stale(packet.len()) else {
                self.counters.receive_dropped += 1;
                umem.release(frame);
                continue;
            };
            octets.copy_from_slice(&packet);
            self.counters.received_octets += packet.len() as u64;
            frames.push(frame);
            received += 1;
        }
        if inward.is_empty() {
            self.wire.hush();
        }
        self.counters.received += received as u64;
        received
    }

    fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        let mut outward = lock(&self.wire.outward);
        let fit = frames.len().min(self.wire.capacity - outward.len());
        for frame in frames.drain(..fit) {
            outward.push_back(frame.bytes().to_vec());
            self.counters.transmitted += 1;
            self.counters.transmitted_octets += frame.len() as u64;
            umem.release(frame);
        }
        fit
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.wire.bell.as_ref().map(AsFd::as_fd)
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn mode(&self) -> PortMode {
        PortMode::Memory
    }
}

impl Wire {
    fn ring(&self) {
        if let Some(bell) = &self.bell {
            // Refused only when the counter is at its maximum, and then the bell is ringing already.
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
    }

    fn hush(&self) {
        if let Some(bell) = &self.bell {
            // Refused only when it was silent already.
            let _ = rustix::io::read(bell, &mut [0u8; 8]);
        }
    }
}

/// A test that panicked elsewhere must not hide its own message behind ours; the queues are valid at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UmemConfig;

    fn umem(frames: u32) -> Umem {
        Umem::new(&UmemConfig { frames, frame_octets: 2048, headroom: 256, huge_pages: false }).unwrap()
    }

    fn readable(port: &MemoryPort) -> bool {
        let fd = port.fd().unwrap();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() == 1
    }

    #[test]
    fn packets_pass_in_order_and_frames_come_home() {
        let mut umem = umem(8);
        let (mut port, link) = MemoryPort::pair("m0", Link::Ethernet, 16);
        assert!(!readable(&port));
        for octet in 0..5 {
            assert!(link.send(&[octet; 60]));
        }
        assert!(readable(&port));
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut umem, &mut frames, 3), 3);
        assert!(readable(&port));
        assert_eq!(port.receive(&mut umem, &mut frames, 3), 2);
        assert!(!readable(&port));
        assert_eq!(umem.outstanding(), 5);
        assert!(frames.iter().all(|frame| frame.headroom() == 256 && frame.len() == 60));

        assert_eq!(port.transmit(&mut umem, &mut frames), 5);
        assert_eq!((frames.len(), umem.outstanding()), (0, 0));
        for octet in 0..5 {
            assert_eq!(link.receive(), Some(vec![octet; 60]));
        }
        assert_eq!(link.receive(), None);
        let counters = port.counters();
        assert_eq!((counters.received, counters.transmitted, counters.received_octets), (5, 5, 300));
    }

    #[test]
    fn a_full_queue_refuses_and_leaves_the_rest_with_the_caller() {
        let mut umem = umem(8);
        let (mut port, link) = MemoryPort::pair("m0", Link::Ip, 2);
        assert!(link.send(b"a") && link.send(b"b"));
        assert!(!link.send(b"c"));
        let mut frames: Vec<Frame> = (0..3).filter_map(|_| umem.allocate()).collect();
        assert_eq!(port.transmit(&mut umem, &mut frames), 2);
        assert_eq!(frames.len(), 1);
        assert_eq!(port.transmit(&mut umem, &mut frames), 0);
        frames.drain(..).for_each(|frame| umem.release(frame));
    }

    #[test]
    fn a_packet_larger_than_a_frame_is_dropped_and_counted() {
        let mut umem = umem(2);
        let (mut port, link) = MemoryPort::pair("m0", Link::Ip, 4);
        assert!(link.send(&[1; 1793]) && link.send(&[2; 1792]) && link.send(&[]));
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut umem, &mut frames, 8), 2);
        assert_eq!((frames[0].len(), frames[1].len()), (1792, 0));
        assert_eq!(port.counters().receive_dropped, 1);
        frames.drain(..).for_each(|frame| umem.release(frame));
        assert_eq!(umem.outstanding(), 0);
    }

    #[test]
    fn without_a_free_frame_packets_wait() {
        let mut umem = umem(1);
        let (mut port, link) = MemoryPort::pair("m0", Link::Ip, 4);
        assert!(link.send(b"a") && link.send(b"b"));
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut umem, &mut frames, 8), 1);
        assert_eq!(port.receive(&mut umem, &mut frames, 8), 0);
        assert!(readable(&port));
        umem.release(frames.pop().unwrap());
        assert_eq!(port.receive(&mut umem, &mut frames, 8), 1);
        assert_eq!(frames[0].bytes(), b"b");
        umem.release(frames.pop().unwrap());
    }
}
