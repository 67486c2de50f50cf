//! What `dpctl` shows of negotiations and SAs.

use crate::{Path, Role};
use std::time::Duration;
use warren_policy::{EspProposal, IkeProposal, Lifetime, PeerId, RuleId};
use warren_seam::{SaId, Spi};

/// How far things are with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// No ISAKMP SA and no negotiation.
    Idle,
    /// The first phase 1 is under way.
    Negotiating,
    /// There is an ISAKMP SA.
    Established,
    /// There is an ISAKMP SA, and its successor is under way.
    Renewing,
}

/// One peer, configured or come under a template. What belongs to an ISAKMP SA is of the one in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub peer: PeerId,
    /// The operator's name for it.
    pub name: String,
    /// How far things are.
    pub state: PeerState,
    /// Between which sockets.
    pub path: Option<Path>,
    /// Who began phase 1.
    pub role: Option<Role>,
    /// The initiator's cookie.
    pub initiator_cookie: [u8; 8],
    /// The responder's cookie.
    pub responder_cookie: [u8; 8],
    /// What both sides agreed to.
    pub proposal: Option<IkeProposal>,
    /// When the ISAKMP SA was established.
    pub established_at: Option<Duration>,
    /// When the ISAKMP SA ends.
    pub expires_at: Option<Duration>,
    /// Whether ESP travels in UDP.
    pub udp_encapsulation: bool,
    /// Whether a NAT hides us.
    pub local_behind_nat: bool,
    /// Whether a NAT hides the peer.
    pub remote_behind_nat: bool,
}

/// One pair of ESP SAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildStatus {
    /// The tunnel rule.
    pub rule: RuleId,
    /// The peer.
    pub peer: PeerId,
    /// The SA that protects what comes in.
    pub inbound: SaId,
    /// The SA that protects what goes out.
    pub outbound: SaId,
    /// Our SPI.
    pub inbound_spi: Spi,
    /// The peer's SPI.
    pub outbound_spi: Spi,
    /// Whether we began the quick mode.
    pub role: Role,
    /// What both sides agreed to.
    pub transform: EspProposal,
    /// What both sides agreed to.
    pub lifetime: Lifetime,
    /// When the pair was complete.
    pub established_at: Duration,
}
