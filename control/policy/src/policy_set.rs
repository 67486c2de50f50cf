//! A policy set: what one peer tells another about SAs to negotiate (REQUIREMENTS DC-10, DC-11, DC-23).
//!
//! Everything is written through the eyes of the one who **receives** the set: `local` is the receiver's side.

use crate::proposal::{EspTransform, Group, Lifetime};
use crate::selector::{AddressRange, PortRange, Protocol};
use std::net::IpAddr;

/// One end of the traffic that an SA protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrafficEnd {
    /// Its addresses.
    pub addresses: AddressRange,
    /// Upper layer protocol.
    pub protocol: Protocol,
    /// Ports at this end.
    pub ports: PortRange,
}

/// How ESP is applied (RFC 4301 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SaMode {
    /// The whole packet inside a new one.
    Tunnel,
    /// The payload only.
    Transport,
}

/// One set: the SAs of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySet {
    /// Its number, unique among the sets of one message.
    pub id: u16,
    /// The server's name for it.
    pub name: String,
    /// The receiver's side; never empty.
    pub local: Vec<TrafficEnd>,
    /// The far side; never empty.
    pub remote: Vec<TrafficEnd>,
    /// Tunnel or transport.
    pub mode: SaMode,
    /// Strongest first; never empty.
    pub transforms: Vec<EspTransform>,
    /// Group of a fresh key exchange for each SA.
    pub pfs: Option<Group>,
    /// Hard limits of each SA.
    pub lifetime: Lifetime,
    /// The gateway to negotiate with; `None` is the one that sent the set.
    pub gateway: Option<IpAddr>,
    /// The set through whose tunnel this one is negotiated (REQUIREMENTS NT-36).
    pub parent: Option<u16>,
}
