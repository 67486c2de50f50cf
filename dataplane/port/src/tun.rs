//! Frames through a tun device: the gateway's own traffic, as the kernel's stack sends and receives it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::limits::INTERFACE_NAME_OCTETS_MAX;
use crate::{Frame, Link, Port, PortCounters, PortMode, Umem};

/// A tun device that exists as long as this does.
pub struct TunPort {
    name: String,
    fd: OwnedFd,
    counters: PortCounters,
}

/// `struct ifreq` as `TUNSETIFF` uses it.
#[repr(C)]
struct Request {
    name: [u8; INTERFACE_NAME_OCTETS_MAX + 1],
    flags: libc::c_short,
    unused: [u8; 22],
}

impl TunPort {
    /// Makes the device, or takes over a persistent one of this name. It is down and has no address; whoever mirrors
    /// the kernel's state brings it up, with an MTU that leaves a frame room for the headers of a tunnel.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty or longer than 15 octets; `NotFound` without `/dev/net/tun`;
    /// `PermissionDenied` without `CAP_NET_ADMIN`; `ResourceBusy` when another process holds a device of this name.
    pub fn open(name: &str) -> io::Result<Self> {
        let is_name = (1..=INTERFACE_NAME_OCTETS_MAX).contains(&name.len())
            && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'/' && octet != b'%');
        if !is_name {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no name for an interface"));
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        let mut request = Request {
            name: [0; INTERFACE_NAME_OCTETS_MAX + 1],
            flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
            unused: [0; 22],
        };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: the kernel reads and writes one `ifreq`, which is what the pointer leads to.
        if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { name: name.to_owned(), fd, counters: PortCounters::default() })
    }

    /// One packet into `frame`; `None` when there is none.
    fn read(&self, frame: &mut Frame) -> Option<Result<(), Lost>> {
        let room = frame.tailroom();
        let buffer = frame.push_back_stale(room)?;
        let octets = match rustix::io::read(&self.fd, buffer) {
            Ok(octets) => octets,

            // EAGAIN: nothing there. Anything else (the device is down): nothing there either.
            Err(_) => return None,
        };
        frame.truncate(octets);
        // The kernel cuts without a word, so a packet that fills the buffer may not be all of it.
        Some(if octets == room { Err(Lost) } else { Ok(()) })
    }
}

/// A packet that came and cannot be used.
struct Lost;

impl Port for TunPort {
    fn link(&self) -> Link {
        Link::Ip
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut received = 0;
        for _ in 0..max {
            let Some(mut frame) = umem.allocate() else { break };
            match self.read(&mut frame) {
                Some(Ok(())) => {
                    self.counters.received += 1;
                    self.counters.received_octets += frame.len() as u64;
                    frames.push(frame);
                    received += 1;
                }
                Some(Err(Lost)) => {
                    self.counters.receive_dropped += 1;
                    umem.release(frame);
                }
                None => {
                    umem.release(frame);
                    break;
                }
            }
        }
        received
    }

    fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        let mut taken = 0;
        for frame in frames.iter() {
            match rustix::io::write(&self.fd, frame.bytes()) {
                Ok(_) => {
                    self.counters.transmitted += 1;
                    self.counters.transmitted_octets += frame.len() as u64;
                }
                Err(rustix::io::Errno::AGAIN) => break,
                // EIO: the device is down. EINVAL: not an IP packet. Trying again would not help.
                Err(_) => self.counters.transmit_failed += 1,
            }
            taken += 1;
        }
        frames.drain(..taken).for_each(|frame| umem.release(frame));
        taken
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn mode(&self) -> PortMode {
        PortMode::Tun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_interface_can_have_are_refused() {
        for name in ["", "sixteen-octets-x", "a/b", "warren%d", "a b", "\u{fc}"] {
            let error = TunPort::open(name).err().expect("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn the_request_is_as_large_as_the_kernel_reads() {
        assert_eq!(size_of::<Request>(), 40);
    }
}
