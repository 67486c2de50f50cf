//! Frames over `AF_XDP` sockets: packets come from the steering program and leave through the driver without passing
//! the kernel's stack.
//!
//! ```text
//!                    fill ring  ------> kernel writes a packet into the chunk
//!   Umem::allocate --^                         |
//!                                          rx ring ------> AfXdpPort::receive
//!
//!   AfXdpPort::transmit --> tx ring ------> kernel sends
//!                                              |
//!   Umem::release <------------------- completion ring
//! ```
//!
//! Several sockets (ports × queues) work on one [`Umem`](crate::Umem), so that a frame received on one port leaves by
//! another without being copied. What the kernel does here is described in its `Documentation/networking/af_xdp.rst`.

mod options;
mod port;
mod ring;
mod socket;

pub use port::{AfXdpConfig, AfXdpPort};
pub use socket::{OpenError, Socket, SocketConfig, Statistics};
