//! What a policy server gives to the peers that ask it (REQUIREMENTS DC-2, DC-10, DC-11), as the operator wrote it.
//! Through the server's eyes: `source` is our side.

use crate::identity::Identity;
use crate::proposal::{EspProposal, Lifetime};
use crate::selector::{AddressRange, PortRange, Protocol};
use std::net::IpAddr;

/// Addresses to lease, of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The operator's name for it; leases are kept under it.
    pub name: String,
    /// What is leased.
    pub addresses: AddressRange,
    /// Addresses that belong to one identity for good; they may lie outside of `addresses`.
    pub statics: Vec<(Identity, IpAddr)>,
}

/// The client's side of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSide {
    /// The leased address of the family.
    Lease,
    /// These networks, behind a client that is a gateway itself.
    Networks(Vec<AddressRange>),
}

/// One set of a policy; it stands for an SA for each pair of source and client's side of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedSet {
    /// The operator's name for it, unique in the policy.
    pub name: String,
    /// Our side; never empty.
    pub source: Vec<AddressRange>,
    /// The client's side.
    pub destination: ClientSide,
    /// Upper layer protocol.
    pub protocol: Protocol,
    /// Ports of our side.
    pub source_port: PortRange,
    /// Ports of the client's side.
    pub destination_port: PortRange,
    /// Strongest first; never empty; all with the same group.
    pub proposals: Vec<EspProposal>,
    /// Hard limits of each SA.
    pub lifetime: Lifetime,
    /// Anti-replay window of our inbound SAs.
    pub window_packets: u32,
    /// Place of the set through whose tunnel this one is negotiated (REQUIREMENTS NT-36).
    pub parent: Option<usize>,
    /// Another gateway than ourselves.
    pub gateway: Option<IpAddr>,
}

/// A policy that peers may pull, or that is pushed to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedPolicy {
    /// The operator's name for it.
    pub name: String,
    /// Places of its pools: at most one of each family.
    pub pools: Vec<usize>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Default domain.
    pub domain: Option<String>,
    /// Domains that the name servers are for.
    pub split_dns: Vec<String>,
    /// A greeting.
    pub banner: Option<String>,
    /// In the order of negotiation.
    pub sets: Vec<ServedSet>,
}
