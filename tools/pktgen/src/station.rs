//! One interface in our hands: memory, a port, and the program that brings packets to it.

use std::net::IpAddr;

use warren_bpf::{Attach, Locality, Steering, SteeringError};
use warren_port::af_xdp::{AfXdpConfig, AfXdpPort, OpenError, interface_index};
use warren_port::{Port, Umem, UmemConfig, XdpAttach};

use crate::next_hop::Interface;

/// A port with the memory that its frames live in.
pub struct Station {
    /// The memory.
    pub umem: Umem,
    /// The port.
    pub port: Box<dyn Port>,
    /// Attached as long as the port is used. `None` where there is no kernel, as in memory.
    _steering: Option<Steering>,
}

/// How an interface is opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Its name.
    pub interface: String,
    /// Its queues to serve; packets leave by the first.
    pub queues: Vec<u32>,
    /// Which ways of attaching the program are tried.
    pub attach: Attach,
    /// Take packets to the interface's own addresses, too, which the kernel gets otherwise.
    pub takes_local: bool,
    /// Entries of each ring.
    pub ring_entries: u32,
    /// Nothing is received. The program is then only for drivers whose queues need one, and that of another sender on the same
    /// interface will do.
    pub sends_only: bool,
}

/// Why an interface cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// No memory.
    #[error("no memory for frames: {0}")]
    Memory(#[from] std::io::Error),
    /// No socket.
    #[error(transparent)]
    Socket(#[from] OpenError),
    /// No program.
    #[error(transparent)]
    Steering(#[from] SteeringError),
}

impl Station {
    /// A port that needs no kernel.
    #[must_use]
    pub fn of(port: Box<dyn Port>, umem: Umem) -> Self {
        Self { umem, port, _steering: None }
    }

    /// Opens an interface in the network namespace of the calling thread. From then on its packets come to us: everything that
    /// is addressed to its Ethernet address and is neither ARP nor for one of the addresses that the kernel keeps.
    ///
    /// # Errors
    /// See [`StationError`].
    pub fn open(opening: &Opening, interface: &Interface) -> Result<Self, StationError> {
        let kept = |address: &&IpAddr| !opening.takes_local || is_link_local(address);
        let addresses = interface.addresses.iter().filter(kept).copied().collect();
        let index = interface_index(&opening.interface)?;
        let locality = Locality { mac: interface.mac, addresses };
        let steering = match Steering::attach(index, opening.attach, &locality) {
            Ok(steering) => Some(steering),
            Err(SteeringError::Attach { .. }) if opening.sends_only => None,
            Err(refused) => return Err(refused.into()),
        };
        let mode = match (&steering, opening.attach) {
            (Some(steering), _) => steering.mode(),
            (None, Attach::Only(mode)) => mode,
            (None, Attach::Best) => XdpAttach::Native,
        };
        let config = AfXdpConfig {
            queues: opening.queues.clone(),
            ring_entries: opening.ring_entries,
            busy_poll: false,
            ..AfXdpConfig::new(&opening.interface, mode)
        };
        let frames = (2 * config.frames_lent_max()).next_power_of_two();
        let mut umem = Umem::new(&UmemConfig { frames, ..UmemConfig::default() })?;
        let port = match AfXdpPort::open(&mut umem, &config) {
            // A driver may have native programs and no sockets behind them.
            Err(_) if opening.attach == Attach::Best && mode == XdpAttach::Native => {
                drop(steering);
                let generic = Opening { attach: Attach::Only(XdpAttach::Generic), ..opening.clone() };
                return Self::open(&generic, interface);
            }
            other => other?,
        };
        for (queue, socket) in port.queue_fds() {
            steering.as_ref().map_or(Ok(()), |steering| steering.register(queue, socket))?;
        }
        Ok(Self { umem, port: Box::new(port), _steering: steering })
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
