//! What an operator may want to read. Typed, so that the log's words are in one place; never a secret.

use crate::wire::NotifyType;
use crate::{Discard, Down, Failure, Mode, Path, Role, SignatureError};
use std::fmt;
use warren_policy::{EspProposal, Identity, IkeProposal, RuleId, Selector};
use warren_seam::Spi;

/// One remark about a negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A phase 1 has begun.
    PeerNegotiating {
        /// The operator's name for the peer.
        peer: String,
        /// Who began.
        role: Role,
        /// In which exchange.
        mode: Mode,
        /// Where it happens.
        path: Path,
    },
    /// An ISAKMP SA is established.
    PeerEstablished {
        /// The operator's name for the peer.
        peer: String,
        /// Who began.
        role: Role,
        /// Who the peer is.
        identity: Identity,
        /// What was agreed.
        proposal: IkeProposal,
        /// Whether ESP will travel in UDP.
        udp_encapsulation: bool,
    },
    /// A phase 1 ended without an SA.
    PeerFailed {
        /// The operator's name for the peer.
        peer: String,
        /// Why.
        reason: Failure,
    },
    /// An ISAKMP SA is gone.
    PeerClosed {
        /// The operator's name for the peer.
        peer: String,
        /// Why.
        reason: Down,
    },
    /// A pair of SAs is established.
    ChildEstablished {
        /// The operator's name for the peer.
        peer: String,
        /// The tunnel rule.
        rule: RuleId,
        /// What it protects.
        selector: Selector,
        /// What was agreed.
        transform: EspProposal,
        /// Our SPI.
        inbound: Spi,
        /// The peer's SPI.
        outbound: Spi,
    },
    /// A pair of SAs is gone.
    ChildClosed {
        /// The operator's name for the peer.
        peer: String,
        /// The tunnel rule.
        rule: RuleId,
        /// Our SPI.
        inbound: Spi,
        /// Why.
        reason: Down,
    },
    /// A quick mode that we began ended without SAs.
    ChildFailed {
        /// The operator's name for the peer.
        peer: String,
        /// The tunnel rule.
        rule: RuleId,
        /// Why.
        reason: Failure,
    },
    /// A message of a negotiation with a configured peer was refused.
    Refused {
        /// The operator's name for the peer.
        peer: String,
        /// Why.
        reason: Discard,
    },
    /// The peer's signature, or its certificate, is not believed.
    SignatureRefused {
        /// The operator's name for the peer.
        peer: String,
        /// Why.
        reason: SignatureError,
    },
    /// The first proof could not be decrypted or is wrong: usually the pre-shared keys differ.
    SecretsDiffer {
        /// The operator's name for the peer.
        peer: String,
    },
    /// The peer authenticated as somebody else.
    IdentityMismatch {
        /// The operator's name for the peer.
        peer: String,
        /// Who it said it is; `None` for an identity of a kind that we do not take.
        identity: Option<Identity>,
    },
    /// The peer, authenticated, is not authorised for the networks that it or we wanted to protect with it.
    Unauthorised {
        /// The operator's name for the peer.
        peer: String,
        /// Who it proved to be.
        identity: Identity,
        /// What was to be protected; the destination is the peer's side.
        selector: Selector,
    },
    /// A user proved to be one (extended authentication).
    UserAccepted {
        /// The operator's name for the peer.
        peer: String,
        /// The user.
        user: String,
    },
    /// Extended authentication failed.
    UserRefused {
        /// The operator's name for the peer.
        peer: String,
        /// Why; `None` where the peer said so.
        reason: Option<Discard>,
    },
    /// The peer notified us.
    Notified {
        /// The operator's name for the peer.
        peer: String,
        /// Notify message type.
        notify: u16,
        /// Whether an ISAKMP SA protected it.
        authentic: bool,
    },
    /// The peer's NAT mapping moved.
    PeerMoved {
        /// The operator's name for the peer.
        peer: String,
        /// The new path.
        path: Path,
    },
}

/// The name of a notify message type, as the RFCs write it.
pub(crate) fn notify_name(notify: u16) -> String {
    NotifyType(notify).to_string().replace('_', "-")
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerNegotiating { peer, role, mode, path } => {
                write!(f, "{peer}: {mode} as {role}, {path}")
            }
            Self::PeerEstablished { peer, role, identity, proposal, udp_encapsulation } => {
                let udp = if *udp_encapsulation { ", ESP in UDP" } else { "" };
                write!(f, "{peer}: ISAKMP SA with {identity} established as {role}, {proposal}{udp}")
            }
            Self::PeerFailed { peer, reason } => write!(f, "{peer}: phase 1 failed: {reason}"),
            Self::PeerClosed { peer, reason } => write!(f, "{peer}: ISAKMP SA gone: {reason}"),
            Self::ChildEstablished { peer, rule, selector, transform, inbound, outbound } => {
                let rule = rule.0;
                write!(f, "{peer}: rule {rule}: SAs in {inbound} out {outbound}, {transform}, {selector}")
            }
            Self::ChildClosed { peer, rule, inbound, reason } => {
                write!(f, "{peer}: rule {}: SAs with inbound {inbound} gone: {reason}", rule.0)
            }
            Self::ChildFailed { peer, rule, reason } => {
                write!(f, "{peer}: rule {}: quick mode failed: {reason}", rule.0)
            }
            Self::Refused { peer, reason } => write!(f, "{peer}: message refused: {}", reason.word()),
            Self::SignatureRefused { peer, reason } => {
                write!(f, "{peer}: message refused: {}: {reason}", reason.discard().word())
            }
            Self::SecretsDiffer { peer } => {
                write!(f, "{peer}: cannot verify who it is; do the pre-shared keys differ?")
            }
            Self::IdentityMismatch { peer, identity: Some(identity) } => {
                write!(f, "{peer}: refused, because it says it is {identity}")
            }
            Self::IdentityMismatch { peer, identity: None } => {
                write!(f, "{peer}: refused, because its identity is of a kind that is not supported")
            }
            Self::Unauthorised { peer, identity, selector } => {
                write!(f, "{peer}: {identity} is not authorised for {} ({selector})", selector.destination)
            }
            Self::UserAccepted { peer, user } => write!(f, "{peer}: user {user} authenticated"),
            Self::UserRefused { peer, reason: Some(reason) } => {
                write!(f, "{peer}: extended authentication failed: {}", reason.word())
            }
            Self::UserRefused { peer, reason: None } => {
                write!(f, "{peer}: it refuses our user; is the password right?")
            }
            Self::Notified { peer, notify, authentic } => {
                let how =
                    if *authentic { "notifies" } else { "seems to notify (unauthenticated, no effect)" };
                write!(f, "{peer}: {how} {}", notify_name(*notify))
            }
            Self::PeerMoved { peer, path } => write!(f, "{peer}: moved, now {path}"),
        }
    }
}
