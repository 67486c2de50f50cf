//! What the engine needs of the kernel's own tables to send a packet on: a mirror, never the truth.

use std::fmt;
use std::net::IpAddr;

/// A port of the engine, by its place in the configuration. The tun port comes after the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(pub u16);

impl PortIndex {
    /// No port: a route to it says that there is no way, and hides less specific routes that have one. The kernel's
    /// own blackholes become such routes, and those that leave by interfaces that are no ports.
    pub const NOWHERE: Self = Self(u16::MAX);
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// On which side of the IPsec boundary (RFC 4301 §3.1) a port lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Protected networks: what arrives here is judged as outbound traffic.
    Inside,
    /// Unprotected networks: clear text that arrives here is judged by the mirrored rules.
    Outside,
}

/// What a packet leaving by a port needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// The interface's name.
    pub name: String,
    /// Its own address.
    pub mac: MacAddress,
    /// Largest IP packet in octets.
    pub mtu: u16,
    /// Which side it faces.
    pub side: Side,
}

/// One route, most specific wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Network address.
    pub destination: IpAddr,
    /// Prefix length.
    pub prefix_length: u8,
    /// The next hop; `None` when the destination is on the link.
    pub via: Option<IpAddr>,
    /// Where it leaves; perhaps [`PortIndex::NOWHERE`].
    pub port: PortIndex,
}

/// A neighbour whose Ethernet address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// On which link.
    pub port: PortIndex,
    /// Its IP address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: MacAddress,
}

/// The whole mirror, replaced at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardingTable {
    /// Ports in order of their index.
    pub ports: Vec<PortInfo>,
    /// Addresses that are the gateway's own, on whatever interface.
    pub local: Vec<IpAddr>,
    /// Routes in any order.
    pub routes: Vec<Route>,
    /// Neighbours in any order.
    pub neighbours: Vec<Neighbour>,
}
