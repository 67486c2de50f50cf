//! Between which two sockets a datagram travels.

use std::fmt;
use std::net::SocketAddr;

/// UDP port of ISAKMP (RFC 2408 §2.5.1).
pub(crate) const PORT_ISAKMP: u16 = 500;
/// UDP port that both sides float to when a NAT is between them (RFC 3947 §4).
pub(crate) const PORT_NAT_TRAVERSAL: u16 = 4500;

/// Our socket and the peer's, as seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port, perhaps chosen by a NAT.
    pub remote: SocketAddr,
}

impl Path {
    /// Whether messages on this path carry the non-ESP marker in front (RFC 3948 §2.2).
    pub(crate) const fn has_marker(&self) -> bool {
        self.local.port() == PORT_NAT_TRAVERSAL
    }

    /// The same two addresses on the ports of NAT traversal.
    pub(crate) fn floated(mut self) -> Self {
        self.local.set_port(PORT_NAT_TRAVERSAL);
        self.remote.set_port(PORT_NAT_TRAVERSAL);
        self
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.local, self.remote)
    }
}
