//! Workers to control.

use crate::discovery::Caught;
use crate::forwarding::PortIndex;
use crate::sa::SaId;
use std::net::{IpAddr, SocketAddr};
use warren_policy::{FiveTuple, RuleId};

/// Something a worker cannot settle alone. Lost events (a full ring) repeat, because the state that caused them stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet wants protection and no SA is bound to its rule. Once for each rule until `Bind` or `Rearm`; of a rule
    /// that discovers ([`warren_policy::Gateway::Discover`]) once for each destination and short while, at a bounded rate.
    Acquire {
        /// The tunnel rule.
        rule: RuleId,
        /// The packet that was dropped.
        packet: FiveTuple,
    },
    /// The SA's soft volume limit, or three quarters of its sequence numbers, are used. Once.
    SoftExpire(SaId),
    /// The SA refuses further packets. Once.
    HardExpire(SaId),
    /// A next hop without a known Ethernet address; the kernel must be asked to find it.
    UnresolvedNeighbour {
        /// On which link.
        port: PortIndex,
        /// The next hop.
        address: IpAddr,
    },
    /// An authentic packet came from an address or port other than the SA's (RFC 3948 §4): reported when it changes.
    PeerMoved {
        /// The inbound SA.
        sa: SaId,
        /// Where the packet came from.
        remote: SocketAddr,
    },
    /// A packet that control has to decide about.
    Caught(Box<Caught>),
    /// First authentic packet on an inbound SA: the peer uses it.
    FirstInbound(SaId),
}
