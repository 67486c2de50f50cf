//! What every place that frames come from and go to has in common.

use std::fmt;
use std::os::fd::BorrowedFd;

use crate::{Frame, Umem};

/// What a frame of a port begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header itself; tun devices and raw captures.
    Ip,
}

/// A place that frames come from and go to. One worker owns it and calls it from its loop; nothing here blocks.
pub trait Port: Send {
    /// What its frames begin with.
    fn link(&self) -> Link;

    /// Its name, as an operator knows it.
    fn name(&self) -> &str;

    /// Appends at most `max` received frames and returns how many. The memory for them comes out of `umem`; when that
    /// is exhausted, packets wait where they are or are dropped and counted there.
    fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize;

    /// Takes as many frames off the front of `frames` as fit and returns how many; the rest stays for the caller to
    /// try again or to drop. Chunks of earlier frames that have been sent go back to `umem`.
    ///
    /// A port may gather the frames of a few calls before it wakes the kernel. A call without frames always does, so
    /// call it while [`unsent`](Self::unsent) is not zero, and nothing stays behind.
    fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize;

    /// Frames that were taken by `transmit` and still have to be pushed on by another call of it. A worker must not
    /// go to sleep without a timeout while this is not zero.
    fn unsent(&self) -> usize {
        0
    }

    /// Readable when `receive` may return something. A port without one has to be polled.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// All descriptors that become readable when `receive` may return something: one per queue.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.fd().into_iter().collect()
    }

    /// What happened here so far.
    fn counters(&self) -> PortCounters;

    /// In which way it works, for the log and for `dpctl stats`.
    fn mode(&self) -> PortMode;
}

/// Numbers of one port. They only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames handed to the engine.
    pub received: u64,
    /// Octets handed to the engine.
    pub received_octets: u64,
    /// Frames taken from the engine.
    pub transmitted: u64,
    /// Octets taken from the engine.
    pub transmitted_octets: u64,
    /// Packets lost before the engine saw them: larger than a frame, or no frame or ring entry free.
    pub receive_dropped: u64,
    /// Frames taken from the engine that could not be sent.
    pub transmit_failed: u64,
    /// Part of `receive_dropped`: the receive ring was full, so the worker was too slow.
    pub receive_ring_full: u64,
    /// How often the kernel found no free chunk to receive into.
    pub fill_ring_empty: u64,
    /// System calls made to wake the kernel.
    pub wakeups: u64,
}

/// How an XDP program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpAttach {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In the kernel's general receive path, which any driver has.
    Generic,
}

/// What became of the wish to poll the driver from our own loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusyPoll {
    /// Not wished for.
    Off,
    /// The socket options were taken, but no packet has come yet that would tell whether the driver has a NAPI
    /// context to poll.
    Untried,
    /// The driver is polled from our loop.
    On,
    /// Nothing to poll: the kernel does not know the options, or the driver shows no NAPI context
    /// (`SO_INCOMING_NAPI_ID` stays 0, as on veth).
    Unavailable,
}

/// In which way a port works. Its `Display` is what operators read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortMode {
    /// A queue in memory.
    Memory,
    /// A capture file.
    Pcap,
    /// A tun device.
    Tun,
    /// `AF_XDP` sockets.
    AfXdp {
        /// How the steering program is attached.
        attach: XdpAttach,
        /// Whether the driver reads and writes our memory itself (the kernel's answer, not our wish).
        zero_copy: bool,
        /// Whether the kernel tells us when it needs to be woken.
        need_wakeup: bool,
        /// Whether the driver is polled from our loop.
        busy_poll: BusyPoll,
    },
}

impl fmt::Display for XdpAttach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

impl fmt::Display for PortMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Pcap => f.write_str("capture file"),
            Self::Tun => f.write_str("tun"),
            Self::AfXdp { attach, zero_copy, need_wakeup, busy_poll } => {
                write!(f, "{attach} XDP, {}", if *zero_copy { "zero-copy" } else { "copy" })?;
                if *need_wakeup {
                    f.write_str(", need-wakeup")?;
                }
                match busy_poll {
                    BusyPoll::Off => Ok(()),
                    BusyPoll::Untried => f.write_str(", busy polling untried"),
                    BusyPoll::On => f.write_str(", busy polling"),
                    BusyPoll::Unavailable => {
                        f.write_str(", no busy polling (the driver shows no NAPI context)")
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_an_operator_would_say_them() {
        let veth = PortMode::AfXdp {
            attach: XdpAttach::Native,
            zero_copy: false,
            need_wakeup: true,
            busy_poll: BusyPoll::Unavailable,
        };
        assert_eq!(
            veth.to_string(),
            "native XDP, copy, need-wakeup, no busy polling (the driver shows no NAPI context)"
        );
        let plain = PortMode::AfXdp {
            attach: XdpAttach::Generic,
            zero_copy: true,
            need_wakeup: false,
            busy_poll: BusyPoll::Off,
        };
        assert_eq!(plain.to_string(), "generic XDP, zero-copy");
        assert_eq!(PortMode::Memory.to_string(), "memory");
    }
}
