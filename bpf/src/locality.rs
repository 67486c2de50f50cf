//! What "to us" means on one interface.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// The interface's MAC address and every address of this host that may be reached through it: unicast addresses of all
/// its interfaces, and the directed broadcast addresses of its subnets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locality {
    /// Frames to any other MAC address are the kernel's, which discards or delivers them, but never forwards.
    pub mac: [u8; 6],
    /// Packets to any other unicast address are transit.
    pub addresses: BTreeSet<IpAddr>,
}
