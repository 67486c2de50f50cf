//! The queues of one interface that one worker serves, as a [`Port`].

use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::socket::{OpenError, Socket, SocketConfig};
use crate::limits::QUEUES_MAX;
use crate::{BusyPoll, Frame, Link, Port, PortCounters, PortMode, Umem, XdpAttach};

/// What a port shall be like.
#[derive(Debug, Clone)]
pub struct AfXdpConfig {
    /// Name of the interface.
    pub interface: String,
    /// Its queues that this port serves. All packets leave by the first one, so that a flow keeps its order.
    pub queues: Vec<u32>,
    /// Entries of each ring of each queue, a power of two.
    pub ring_entries: u32,
    /// How the steering program is attached: zero-copy is only tried under a native one.
    pub attach: XdpAttach,
    /// Try zero-copy before copy.
    pub zero_copy: bool,
    /// Try to poll the driver from the worker's loop.
    pub busy_poll: bool,
}

impl AfXdpConfig {
    /// Queue 0 of an interface, everything tried.
    #[must_use]
    pub fn new(interface: &str, attach: XdpAttach) -> Self {
        Self {
            interface: interface.to_owned(),
            queues: vec![0],
            ring_entries: 2048,
            attach,
            zero_copy: true,
            busy_poll: true,
        }
    }

    /// Chunks that the kernel holds at most: full fill rings, and one full tx ring. A worker's share of the memory
    /// should be larger than the sum over its ports.
    #[must_use]
    pub fn frames_lent_max(&self) -> u32 {
        self.ring_entries.saturating_mul(self.queues.len() as u32 + 1)
    }
}

/// `AF_XDP` sockets over some queues of one interface.
pub struct AfXdpPort {
    name: String,
    attach: XdpAttach,
    sockets: Vec<Socket>,
    /// The queue that `receive` begins with, so that a busy one does not starve the others.
    next: usize,
}

impl AfXdpPort {
    /// Opens a socket per queue. Packets come once the sockets are registered with the steering program:
    /// [`queue_fds`](Self::queue_fds).
    ///
    /// # Errors
    /// When the interface is not there, or the kernel refuses a queue in every mode.
    pub fn open(umem: &mut Umem, config: &AfXdpConfig) -> Result<Self, OpenError> {
        if config.queues.is_empty() || config.queues.len() > QUEUES_MAX {
            return Err(OpenError::Config("a port serves between 1 and 64 queues"));
        }
        let interface = interface_index(&config.interface)?;
        let mut sockets = Vec::with_capacity(config.queues.len());
        for &queue in &config.queues {
            let socket = SocketConfig {
                interface,
                queue,
                ring_entries: config.ring_entries,
                // A generic program runs after the driver has made a socket buffer; a zero-copy queue would starve.
                zero_copy: config.zero_copy && config.attach == XdpAttach::Native,
                busy_poll: config.busy_poll,
            };
            sockets.push(Socket::open(umem, socket)?);
        }
        Ok(Self { name: config.interface.clone(), attach: config.attach, sockets, next: 0 })
    }

    /// Queue numbers and descriptors for the steering program's map.
    pub fn queue_fds(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.sockets.iter().map(|socket| (socket.queue(), socket.as_fd()))
    }

    /// Its sockets, for their statistics.
    #[must_use]
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }
}

impl Port for AfXdpPort {
    fn link(&self) -> Link {
        Link::Ethernet
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut received = 0;
        let queues = self.sockets.len();
        for turn in 0..queues {
            let socket = &mut self.sockets[(self.next + turn) % queues];
            // Also with nothing left to take: every fill ring is refilled on every call.
            received += socket.receive(umem, frames, max - received);
        }
        self.next = (self.next + 1) % queues;
        received
    }

    fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        self.sockets[0].transmit(umem, frames)
    }

    fn unsent(&self) -> usize {
        self.sockets[0].unsent() as usize
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.sockets.first().map(AsFd::as_fd)
    }

    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd).collect()
    }

    /// Asks the kernel once per queue, so not for every packet.
    fn counters(&self) -> PortCounters {
        let mut sum = PortCounters::default();
        for socket in &self.sockets {
            let own = socket.counters();
            sum.received += own.received;
            sum.received_octets += own.received_octets;
            sum.transmitted += own.transmitted;
            sum.transmitted_octets += own.transmitted_octets;
            sum.transmit_failed += own.transmit_failed;
            sum.wakeups += own.wakeups;
            let kernel = socket.statistics().unwrap_or_default();
            sum.receive_dropped += kernel.receive_dropped + kernel.receive_ring_full;
            sum.receive_ring_full += kernel.receive_ring_full;
            sum.fill_ring_empty += kernel.fill_ring_empty;
            sum.transmit_failed += kernel.transmit_invalid;
        }
        sum
    }

    fn mode(&self) -> PortMode {
        let any = |wanted| self.sockets.iter().any(|socket| socket.busy_poll() == wanted);
        let busy_poll =
            [BusyPoll::On, BusyPoll::Untried, BusyPoll::Unavailable].into_iter().find(|&b| any(b));
        PortMode::AfXdp {
            attach: self.attach,
            // What all of them do, not what the best of them does.
            zero_copy: self.sockets.iter().all(Socket::zero_copy),
            need_wakeup: self.sockets.iter().all(Socket::need_wakeup),
            busy_poll: busy_poll.unwrap_or(BusyPoll::Off),
        }
    }
}

fn interface_index(name: &str) -> Result<u32, OpenError> {
    let ask = || {
        let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        netdevice::name_to_index(&any, name)
    };
    ask().map_err(|errno| OpenError::Interface { name: name.to_owned(), source: errno.into() })
}
