//! One `AF_XDP` socket: one queue of one interface.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError};

use rustix::net::sockopt;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use super::options;
use super::ring::{ConsumerRing, Descriptor, ProducerRing};
use crate::limits::{
    BIND_WAIT, BIND_WAITS_MAX, KERNEL_HEADROOM_OCTETS, REGISTRATIONS_MAX, RING_ENTRIES_MAX, RING_ENTRIES_MIN,
    WAKE_CALLS, WAKE_FRAMES, WAKEUPS_MAX,
};
use crate::umem::{Mapping, Registration};
use crate::{BusyPoll, Frame, PortCounters, Umem};

/// An Ethernet header. Anything shorter is not a frame, and the kernel must not be asked to send it.
const ETHERNET_HEADER_OCTETS: usize = 14;

/// What a socket shall be like.
#[derive(Debug, Clone, Copy)]
pub struct SocketConfig {
    /// Index of the interface.
    pub interface: u32,
    /// Queue of the interface.
    pub queue: u32,
    /// Entries of each of the four rings, a power of two. As many chunks are lent to the kernel for receiving.
    pub ring_entries: u32,
    /// Try zero-copy before copy. Only sensible with a natively attached program.
    pub zero_copy: bool,
    /// Try to poll the driver from our loop.
    pub busy_poll: bool,
}

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The interface is not there.
    #[error("no interface {name}: {source}")]
    Interface {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A number that no kernel takes.
    #[error("{0}")]
    Config(&'static str),
    /// The kernel refused a step in every mode that was tried; this is the last refusal.
    #[error("queue {queue}: {step}: {source}")]
    Kernel {
        /// The queue that was to be opened.
        queue: u32,
        /// What we asked for.
        step: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// The kernel's own counters of one socket (`XDP_STATISTICS`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets dropped for other reasons than a full ring: larger than a chunk, or no chunk to receive into.
    pub receive_dropped: u64,
    /// Packets dropped because the rx ring was full.
    pub receive_ring_full: u64,
    /// Fill ring entries that named no chunk of the memory. Our fault if not zero.
    pub receive_invalid: u64,
    /// Tx ring entries that named no packet in the memory. Our fault if not zero.
    pub transmit_invalid: u64,
    /// How often there was no chunk in the fill ring.
    pub fill_ring_empty: u64,
    /// How often the kernel looked for packets to send and found none.
    pub transmit_ring_empty: u64,
}

/// A bound socket with its four rings.
///
/// Dropping it closes it. The chunks that are then in its rings stay counted as outstanding: the kernel may be about to
/// write into them (zero-copy queues are torn down later), so they are never handed out again.
pub struct Socket {
    rx: ConsumerRing<Descriptor>,
    tx: ProducerRing<Descriptor>,
    fill: ProducerRing<u64>,
    completion: ConsumerRing<u64>,
    fd: Arc<OwnedFd>,
    mapping: Arc<Mapping>,
    config: SocketConfig,
    zero_copy: bool,
    need_wakeup: bool,
    shares_registration: bool,
    busy_poll: BusyPoll,
    /// Calls of `transmit` since the kernel was last woken.
    deferred: u32,
    /// Chunks lent for receiving, wherever the kernel keeps them.
    lent_for_receive: u32,
    /// Chunks in the tx ring, in a packet on its way, or in the completion ring.
    lent_for_transmit: u32,
    counters: PortCounters,
}

/// One way to bind that may or may not work here.
#[derive(Clone)]
struct Attempt {
    /// Share this registration; `None` registers the memory once more.
    share: Option<Arc<OwnedFd>>,
    zero_copy: bool,
    need_wakeup: bool,
}

impl Socket {
    /// Opens a socket over `umem`, in the best mode that the kernel gives: zero-copy before copy, a shared
    /// registration of the memory before one more. Waits up to half a second for a queue that is busy: the one socket
    /// of a process that ended a moment ago is still being torn down.
    ///
    /// # Errors
    /// What the kernel said to the last mode that was tried.
    pub fn open(umem: &mut Umem, config: SocketConfig) -> Result<Self, OpenError> {
        let entries = config.ring_entries;
        if !entries.is_power_of_two() || !(RING_ENTRIES_MIN..=RING_ENTRIES_MAX).contains(&entries) {
            return Err(OpenError::Config("a ring has a power of two between 64 and 32768 entries"));
        }
        let mut waits = BIND_WAITS_MAX;
        let mut refusal = OpenError::Config("no way to bind was tried");
        for attempt in attempts(umem, &config) {
            loop {
                let (step, source) = match Self::try_open(umem, config, &attempt) {
                    Ok(mut socket) => {
                        socket.register(umem);
                        socket.fill_up(umem);
                        return Ok(socket);
                    }
                    Err(refused) => refused,
                };
                let is_busy = source.raw_os_error() == Some(libc::EBUSY);
                refusal = OpenError::Kernel { queue: config.queue, step, source };
                if !is_busy || waits == 0 {
                    break;
                }
                // The kernel takes a moment to let go of a queue whose socket was closed.
                waits -= 1;
                std::thread::sleep(BIND_WAIT);
            }
        }
        Err(refusal)
    }

    fn try_open(
        umem: &Umem,
        config: SocketConfig,
        attempt: &Attempt,
    ) -> Result<Self, (&'static str, io::Error)> {
        fn at<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> (&'static str, io::Error) {
            move |source| (step, source.into())
        }
        let fd = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(at("socket(AF_XDP)"))?;
        if attempt.share.is_none() {
            let (addr, len) = umem.mapping().span();
            let registration = XdpUmemReg {
                addr,
                len,
                chunk_size: umem.frame_octets(),
                headroom: umem.headroom() - KERNEL_HEADROOM_OCTETS,
                flags: XdpUmemRegFlags::empty(),
                tx_metadata_len: 0,
            };
            sockopt::set_xdp_umem_reg(&fd, registration).map_err(at("XDP_UMEM_REG"))?;
        }
        let entries = config.ring_entries;
        sockopt::set_xdp_umem_fill_ring_size(&fd, entries).map_err(at("XDP_UMEM_FILL_RING"))?;
        sockopt::set_xdp_umem_completion_ring_size(&fd, entries).map_err(at("XDP_UMEM_COMPLETION_RING"))?;
        sockopt::set_xdp_rx_ring_size(&fd, entries).map_err(at("XDP_RX_RING"))?;
        sockopt::set_xdp_tx_ring_size(&fd, entries).map_err(at("XDP_TX_RING"))?;
        // Refused by kernels before 6.17, which then send 32 packets per call: slower, not wrong.
        let _ = options::raise_transmit_budget(fd.as_fd(), entries);

        let offsets = sockopt::xdp_mmap_offsets(&fd).map_err(at("XDP_MMAP_OFFSETS"))?;
        let of = fd.as_fd();
        let rx = ConsumerRing::map(of, XDP_PGOFF_RX_RING, &offsets.rx, entries).map_err(at("map rx ring"))?;
        let tx = ProducerRing::map(of, XDP_PGOFF_TX_RING, &offsets.tx, entries).map_err(at("map tx ring"))?;
        let fill = ProducerRing::map(of, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, entries)
            .map_err(at("map fill ring"))?;
        let completion = ConsumerRing::map(of, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, entries)
            .map_err(at("map completion ring"))?;
        attempt.bind(&fd, config.interface, config.queue).map_err(at("bind"))?;

        let zero_copy = sockopt::xdp_options(&fd)
            .map_err(at("XDP_OPTIONS"))?
            .contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
        let busy_poll = match config.busy_poll.then(|| options::prefer_busy_poll(fd.as_fd())) {
            None => BusyPoll::Off,
            Some(Ok(())) => BusyPoll::Untried,
            Some(Err(_)) => BusyPoll::Unavailable,
        };
        Ok(Self {
            rx,
            tx,
            fill,
            completion,
            fd: Arc::new(fd),
            mapping: Arc::clone(umem.mapping()),
            config,
            zero_copy,
            need_wakeup: attempt.need_wakeup,
            shares_registration: attempt.share.is_some(),
            busy_poll,
            deferred: 0,
            lent_for_receive: 0,
            lent_for_transmit: 0,
            counters: PortCounters::default(),
        })
    }

    /// Remembers the socket for the next one to share, and forgets those that are closed.
    fn register(&self, umem: &Umem) {
        let mut known = umem.mapping().registrations.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|registration| registration.socket.strong_count() > 0);
        if known.len() < REGISTRATIONS_MAX {
            let socket = Arc::downgrade(&self.fd);
            let (zero_copy, need_wakeup) = (self.zero_copy, self.need_wakeup);
            known.push(Registration { socket, zero_copy, need_wakeup });
        }
    }

    /// The queue it serves.
    #[must_use]
    pub fn queue(&self) -> u32 {
        self.config.queue
    }

    /// Whether the driver reads and writes our memory itself, as the kernel says.
    #[must_use]
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Whether the kernel says when it needs to be woken.
    #[must_use]
    pub fn need_wakeup(&self) -> bool {
        self.need_wakeup
    }

    /// Whether it uses another socket's registration of the memory (`XDP_SHARED_UMEM`) and not one of its own.
    #[must_use]
    pub fn shares_registration(&self) -> bool {
        self.shares_registration
    }

    /// Whether the driver is polled from our loop.
    #[must_use]
    pub fn busy_poll(&self) -> BusyPoll {
        self.busy_poll
    }

    /// Our counters; the kernel's are in [`statistics`](Self::statistics).
    #[must_use]
    pub fn counters(&self) -> &PortCounters {
        &self.counters
    }

    /// Chunks in the tx ring that the kernel has not looked at yet.
    #[must_use]
    pub fn unsent(&self) -> u32 {
        self.tx.unconsumed_last_seen()
    }

    /// Chunks that the kernel holds.
    #[must_use]
    pub fn lent(&self) -> u32 {
        self.lent_for_receive + self.lent_for_transmit
    }

    /// The kernel's counters. A system call, so not for every packet.
    ///
    /// # Errors
    /// What `getsockopt` said.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let kernel = sockopt::xdp_statistics(&self.fd)?;
        Ok(Statistics {
            receive_dropped: kernel.rx_dropped,
            receive_ring_full: kernel.rx_ring_full.unwrap_or(0),
            receive_invalid: kernel.rx_invalid_descs,
            transmit_invalid: kernel.tx_invalid_descs,
            fill_ring_empty: kernel.rx_fill_ring_empty_descs.unwrap_or(0),
            transmit_ring_empty: kernel.tx_ring_empty_descs.unwrap_or(0),
        })
    }

    /// Appends at most `max` received frames and keeps the fill ring full.
    ///
    /// # Panics
    /// When `umem` is not the memory that the socket was opened over.
    pub fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.check(umem);
        // Chunks of sent packets are what the fill ring waits for when the memory runs short.
        self.reclaim(umem);
        let received = self.rx.available(u32::try_from(max).unwrap_or(u32::MAX));
        let mut octets = 0;
        for _ in 0..received {
            let descriptor = self.rx.pop();
            octets += u64::from(descriptor.octets);
            // SAFETY: the kernel put the chunk into the rx ring, so it has let go of it, and it had it from us.
            match unsafe { umem.reclaim_frame(descriptor.address, descriptor.octets) } {
                Some(frame) => frames.push(frame),
                None => unreachable!("the kernel returns chunks that it was given"),
            }
        }
        if received > 0 {
            self.rx.give_back();
            self.lent_for_receive -= received;
            self.counters.received += u64::from(received);
            self.counters.received_octets += octets;
            if self.busy_poll == BusyPoll::Untried {
                self.busy_poll = match options::incoming_napi_id(self.fd.as_fd()) {
                    Ok(1..) => BusyPoll::On,
                    _ => BusyPoll::Unavailable,
                };
            }
        }
        self.fill_up(umem);
        let polls = self.busy_poll == BusyPoll::On && received == 0;
        if polls || (self.need_wakeup && self.fill.needs_wakeup()) {
            self.counters.wakeups += 1;
            // A refusal means that the driver is busy or down; the next call asks again.
            let _ = options::wake_receive(self.fd.as_fd());
        }
        received as usize
    }

    /// Takes what fits off the front of `frames`, reclaims what was sent, and wakes the kernel when enough is gathered
    /// or the call brings nothing new.
    ///
    /// # Panics
    /// When `umem` is not the memory that the socket was opened over, or a frame is not of it.
    pub fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        self.check(umem);
        self.reclaim(umem);
        // The completion ring must be able to take all that is out, else the kernel stops sending.
        let room = self.config.ring_entries - self.lent_for_transmit;
        let wanted = u32::try_from(frames.len()).unwrap_or(u32::MAX).min(room);
        let fit = if wanted == 0 { 0 } else { self.tx.free(wanted).min(wanted) };
        for frame in frames.drain(..fit as usize) {
            self.push(umem, frame);
        }
        if fit > 0 {
            self.tx.publish();
        }
        if !self.may_wait(fit) {
            self.deferred = 0;
            self.wake(umem);
        }
        fit as usize
    }

    /// Whether the kernel need not be woken yet. A system call for 64 packets costs a third more per packet than one for
    /// 256, so full batches are gathered; whoever calls without a frame, or for the fourth time, has waited long enough.
    fn may_wait(&mut self, fresh: u32) -> bool {
        self.deferred += 1;
        fresh > 0 && self.deferred < WAKE_CALLS && self.tx.unconsumed_last_seen() < WAKE_FRAMES
    }

    fn push(&mut self, umem: &mut Umem, frame: Frame) {
        let octets = frame.len();
        if octets < ETHERNET_HEADER_OCTETS {
            // The kernel would not complete an empty packet, and its chunk would be lost.
            self.counters.transmit_failed += 1;
            umem.release(frame);
            return;
        }
        self.tx.push(Descriptor { address: umem.lend_frame(frame), octets: octets as u32, options: 0 });
        self.lent_for_transmit += 1;
        self.counters.transmitted += 1;
        self.counters.transmitted_octets += octets as u64;
    }

    /// Wakes the kernel until it has looked at every packet or makes no progress.
    fn wake(&mut self, umem: &mut Umem) {
        let mut left = self.tx.unconsumed();
        for _ in 0..WAKEUPS_MAX {
            if left == 0 || (self.need_wakeup && !self.tx.needs_wakeup()) {
                return;
            }
            self.counters.wakeups += 1;
            // EAGAIN: sent as many as it may in one call. EBUSY, ENOBUFS: the device's queue is full. Every other
            // refusal (the interface is down) leaves the packets in the ring, too, so progress is what decides.
            let _ = options::wake_transmit(self.fd.as_fd());
            self.reclaim(umem);
            let before = std::mem::replace(&mut left, self.tx.unconsumed());
            if left == before {
                return;
            }
        }
    }

    /// Takes back the chunks of packets that were sent.
    fn reclaim(&mut self, umem: &mut Umem) {
        let completed = self.completion.available(u32::MAX);
        for _ in 0..completed {
            let address = self.completion.pop();
            // SAFETY: the kernel completes every chunk of the tx ring once, and it had it from us.
            let known = unsafe { umem.reclaim(address) };
            assert!(known, "the kernel completes chunks that it was given");
        }
        if completed > 0 {
            self.completion.give_back();
            self.lent_for_transmit -= completed;
        }
    }

    /// Lends the kernel as many chunks to receive into as the fill ring holds, or as there are.
    fn fill_up(&mut self, umem: &mut Umem) {
        let missing = self.config.ring_entries - self.lent_for_receive;
        if missing == 0 {
            return;
        }
        let mut lent = 0;
        for _ in 0..self.fill.free(missing).min(missing) {
            let Some(address) = umem.lend() else { break };
            self.fill.push(address);
            lent += 1;
        }
        if lent > 0 {
            self.fill.publish();
            self.lent_for_receive += lent;
        }
    }

    fn check(&self, umem: &Umem) {
        assert!(Arc::ptr_eq(&self.mapping, umem.mapping()), "a socket works on the UMEM it was opened over");
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Attempt {
    fn bind(&self, fd: &OwnedFd, interface: u32, queue: u32) -> io::Result<()> {
        if let Some(share) = &self.share {
            // Whoever shares inherits all modes and must not ask for any.
            let addr = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, interface, queue);
            return Ok(bind(fd, &SocketAddrXdpWithSharedUmem { addr, shared_umem_fd: share.as_fd() })?);
        }
        let mut flags =
            if self.zero_copy { SocketAddrXdpFlags::XDP_ZEROCOPY } else { SocketAddrXdpFlags::XDP_COPY };
        flags.set(SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP, self.need_wakeup);
        Ok(bind(fd, &SocketAddrXdp::new(flags, interface, queue))?)
    }
}

/// All ways to bind, best first. A registration that the interface cannot share (it is zero-copy and the interface
/// cannot) is followed by one of its own over the same memory, so that frames pass between both all the same.
fn attempts(umem: &Umem, config: &SocketConfig) -> Vec<Attempt> {
    let known = umem.mapping().registrations.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = Vec::new();
    for zero_copy in [true, false] {
        if zero_copy && !config.zero_copy {
            continue;
        }
        let alive = known
            .iter()
            .filter(|registration| registration.zero_copy == zero_copy)
            .find_map(|registration| Some((registration.socket.upgrade()?, registration.need_wakeup)));
        if let Some((share, need_wakeup)) = alive {
            out.push(Attempt { share: Some(share), zero_copy, need_wakeup });
        }
        for need_wakeup in [true, false] {
            out.push(Attempt { share: None, zero_copy, need_wakeup });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UmemConfig;

    fn config(ring_entries: u32) -> SocketConfig {
        SocketConfig { interface: u32::MAX, queue: 0, ring_entries, zero_copy: true, busy_poll: false }
    }

    #[test]
    fn impossible_rings_are_refused_before_the_kernel_is_asked() {
        let mut umem =
            Umem::new(&UmemConfig { frames: 4, huge_pages: false, ..UmemConfig::default() }).unwrap();
        for entries in [0, 32, 100, 65_536] {
            assert!(matches!(Socket::open(&mut umem, config(entries)), Err(OpenError::Config(_))));
        }
    }

    #[test]
    fn zero_copy_is_tried_before_copy_and_only_when_wished_for() {
        let umem = Umem::new(&UmemConfig { frames: 4, huge_pages: false, ..UmemConfig::default() }).unwrap();
        let modes = |zero_copy| {
            attempts(&umem, &SocketConfig { zero_copy, ..config(64) })
                .iter()
                .map(|attempt| (attempt.zero_copy, attempt.need_wakeup))
                .collect::<Vec<_>>()
        };
        assert_eq!(modes(true), [(true, true), (true, false), (false, true), (false, false)]);
        assert_eq!(modes(false), [(false, true), (false, false)]);
    }
}
