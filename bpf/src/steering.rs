//! The program on an interface.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use warren_port::{XdpAttach, attach_xdp};

use crate::{Counters, Locality, Program, SteeringError};

/// Which modes may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// Native, and generic where the driver has no native mode.
    Best,
    /// This one or none.
    Only(XdpAttach),
}

/// The program, attached to one interface. Dropping it (or the end of the process, however it ends) detaches it.
///
/// From then on the kernel sees all packets again, so an interface whose traffic must not be forwarded in clear needs
/// the kernel's own forwarding switched off (`net.ipv4.conf.NAME.forwarding`, `net.ipv6.conf.NAME.forwarding`). With
/// the program attached that costs nothing: it leaves no transit to the kernel.
pub struct Steering {
    program: Program,
    locality: Locality,
    mode: XdpAttach,
    _link: OwnedFd,
}

impl Steering {
    /// Loads the program, tells it what is local, and attaches it. Until sockets are registered, everything that it
    /// redirects is dropped and counted as unserved.
    ///
    /// # Errors
    /// When it cannot be loaded, or the interface takes it in no allowed mode.
    pub fn attach(interface: u32, wanted: Attach, locality: &Locality) -> Result<Self, SteeringError> {
        let program = Program::load(locality)?;
        let (first, second) = match wanted {
            Attach::Best => (XdpAttach::Native, Some(XdpAttach::Generic)),
            Attach::Only(mode) => (mode, None),
        };
        let attach = |mode| {
            program
                .with_fd(|fd| attach_xdp(fd, interface, mode))?
                .map(|link| (mode, link))
                .map_err(|source| SteeringError::Attach { mode, source })
        };
        let (mode, link) = attach(first).or_else(|refusal| second.map_or(Err(refusal), attach))?;
        Ok(Self { program, locality: locality.clone(), mode, _link: link })
    }

    /// How it is attached.
    #[must_use]
    pub fn mode(&self) -> XdpAttach {
        self.mode
    }

    /// Sends what comes by `queue` to this `AF_XDP` socket.
    ///
    /// # Errors
    /// See [`Program::register`].
    pub fn register(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), SteeringError> {
        self.program.register(queue, socket)
    }

    /// Changes what is local.
    ///
    /// # Errors
    /// See [`Program::set_locality`].
    pub fn set_locality(&mut self, locality: &Locality) -> Result<(), SteeringError> {
        self.program.set_locality(locality)?;
        self.locality = locality.clone();
        Ok(())
    }

    /// Changes the local addresses and keeps the MAC address.
    ///
    /// # Errors
    /// See [`Program::set_locality`].
    pub fn set_local_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), SteeringError> {
        let addresses: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        self.set_locality(&Locality { mac: self.locality.mac, addresses })
    }

    /// What was decided so far.
    ///
    /// # Errors
    /// See [`Program::counters`].
    pub fn counters(&self) -> Result<Counters, SteeringError> {
        self.program.counters()
    }
}
