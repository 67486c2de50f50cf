//! What the endpoint wants done, as values.

use crate::wire::ConfigAttribute;
use crate::{Notice, Path};
use std::fmt;
use std::net::IpAddr;
use warren_policy::{EspProposal, Identity, Lifetime, PeerId, RuleId, Selector};
use warren_seam::{Encapsulation, InboundSa, OutboundSa, SaId};

/// Who began the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We did.
    Initiator,
    /// The peer did.
    Responder,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initiator => "initiator",
            Self::Responder => "responder",
        })
    }
}

/// Why a negotiation ended without an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// The peer answered none of our repetitions.
    #[error("the peer does not answer")]
    NoAnswer,
    /// Every repetition went without an acceptable answer, and an unauthenticated notify said why.
    #[error("the peer does not answer, but notified: {}", crate::notice::notify_name(*.0))]
    Hinted(u16),
    /// The peer refused with this notify message type, authenticated.
    #[error("the peer refused: {}", crate::notice::notify_name(*.0))]
    Refused(u16),
    /// The peer's answer broke the protocol or our policy.
    #[error("the peer's answer is unacceptable")]
    UnacceptableAnswer,
    /// The ISAKMP SA that carried the negotiation went away.
    #[error("the ISAKMP SA went away")]
    PeerDown,
    /// No such rule, or its peer is not configured.
    #[error("the rule is not configured")]
    NotConfigured,
    /// IKEv1 identities cannot express the selector (a range of ports).
    #[error("IKEv1 cannot express the selector")]
    Inexpressible,
    /// Transport mode for others than the two hosts themselves, or with a NAT in front of us: the checksums of what it
    /// carries are made with addresses that the peer never sees (RFC 3947 §5.2).
    #[error("transport mode is for the two hosts themselves, and not through a NAT")]
    NotBetweenHosts,
    /// The peer proved to be somebody who may not protect these networks (REQUIREMENTS F-7).
    #[error("the peer is not authorised for these networks")]
    Unauthorised,
    /// What we have to say does not fit one message.
    #[error("the message would be too long")]
    TooLong,
    /// Our own tables are full.
    #[error("too many negotiations at once")]
    Busy,
    /// The configuration changed meanwhile.
    #[error("the configuration changed")]
    Reconfigured,
    /// The operator closed the peer meanwhile.
    #[error("closed here")]
    Closed,
}

/// Why an SA went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Down {
    /// The peer sent a Delete.
    #[error("deleted by the peer")]
    DeletedByPeer,
    /// The peer no longer answers (RFC 3706).
    #[error("the peer is dead")]
    DeadPeer,
    /// The peer restarted and knows nothing of earlier SAs.
    #[error("the peer restarted")]
    InitialContact,
    /// Closed here.
    #[error("closed here")]
    Closed,
    /// The configuration changed.
    #[error("the configuration changed")]
    Reconfigured,
    /// The ISAKMP SA reached the end of its lifetime and could not be renewed.
    #[error("expired")]
    Expired,
    /// A newer ISAKMP SA with the same peer took its place.
    #[error("replaced by a newer one")]
    Replaced,
    /// Extended authentication failed.
    #[error("extended authentication failed")]
    Unauthenticated,
    /// The peer never confirmed a quick mode that it began.
    #[error("never confirmed by the peer")]
    Unconfirmed,
}

/// A first message of a quick mode that is looked at again when its child exists. Nothing of it is kept anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// From where to where it came.
    pub path: Path,
    /// The message, without a non-ESP marker.
    pub message: Vec<u8>,
}

/// One configuration exchange under an ISAKMP SA, for the answer to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigExchange(pub u32);

/// Something to be done, strictly in the order in which it is polled.
pub enum Output {
    /// A datagram to send; the non-ESP marker is already in front where the path needs one.
    Transmit {
        /// From where to where.
        path: Path,
        /// The datagram.
        octets: Vec<u8>,
    },
    /// Accept traffic on this SA from now on. Its lane is left open: whoever opened the child knows for which lane.
    InstallInbound {
        /// The SA.
        sa: Box<InboundSa>,
        /// Whether we began the quick mode.
        role: Role,
    },
    /// The peer accepts traffic on this SA, which is of the same lane as the other half of its pair.
    InstallOutbound {
        /// The SA.
        sa: Box<OutboundSa>,
        /// The other half of the pair, installed before.
        inbound: SaId,
    },
    /// A pair is complete and may be bound.
    ChildUp {
        /// The tunnel rule.
        rule: RuleId,
        /// The SA that protects what comes in.
        inbound: SaId,
        /// The SA that protects what goes out.
        outbound: SaId,
        /// Whether we began the quick mode.
        role: Role,
        /// What both sides agreed to.
        lifetime: Lifetime,
        /// What both sides agreed to.
        transform: EspProposal,
    },
    /// A negotiation that `open_child` began ended without a pair.
    ChildFailed {
        /// The tunnel rule.
        rule: RuleId,
        /// Why.
        reason: Failure,
    },
    /// A peer under a template asks for a part of a divisible child, and is authorised to. It waits until there is a child
    /// for that part (`add_child`) and `Endpoint::grant_child` is called; without that call, until it gives up. It may
    /// ask again before.
    ChildAsked {
        /// The peer.
        peer: PeerId,
        /// The divisible child.
        within: RuleId,
        /// The part; source is our side.
        selector: Selector,
        /// What to give to `grant_child`.
        asked: Asked,
    },
    /// A pair is gone. Also said of an inbound SA that was installed and never became part of a pair; then
    /// `outbound` names an SA that was never installed.
    ChildDown {
        /// The tunnel rule.
        rule: RuleId,
        /// The inbound SA.
        inbound: SaId,
        /// The outbound SA.
        outbound: SaId,
        /// Why.
        reason: Down,
    },
    /// There is an ISAKMP SA with the peer, the first one.
    PeerUp {
        /// The peer. One that no configuration named comes into being with this output.
        peer: PeerId,
        /// The configured peer under which it authenticated, where that is a template.
        template: Option<PeerId>,
        /// Who it proved to be; with extended authentication, still before that.
        identity: Identity,
        /// Where it is.
        path: Path,
    },
    /// Phase 1 and extended authentication are over, under this ISAKMP SA: the configuration exchange may begin. Said
    /// for each ISAKMP SA with a peer whose `config_mode` is not `Off`.
    Configurable {
        /// The peer.
        peer: PeerId,
        /// Whether the peer speaks our private attributes (REQUIREMENTS W2).
        speaks_policy: bool,
        /// The user who proved to be one, where there was extended authentication.
        user: Option<String>,
    },
    /// The peer asks (CFG_REQUEST): `reply_config` answers.
    ConfigAsked {
        /// The peer.
        peer: PeerId,
        /// The exchange.
        exchange: ConfigExchange,
        /// What it asks for.
        attributes: Vec<ConfigAttribute>,
    },
    /// The peer's answer to our `pull_config` (CFG_REPLY), or what it pushes (CFG_SET), which `acknowledge_config`
    /// answers.
    ConfigReceived {
        /// The peer.
        peer: PeerId,
        /// The exchange to acknowledge; `None` for an answer to ours.
        exchange: Option<ConfigExchange>,
        /// What it gives.
        attributes: Vec<ConfigAttribute>,
    },
    /// The peer acknowledged our `push_config` (CFG_ACK).
    ConfigAcknowledged {
        /// The peer.
        peer: PeerId,
        /// What it says it took.
        attributes: Vec<ConfigAttribute>,
    },
    /// A `pull_config`, a `push_config` or a `connect` of ours came to nothing.
    ConfigFailed {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: Failure,
    },
    /// There is no ISAKMP SA with the peer any more.
    PeerDown {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: Down,
    },
    /// The peer is reached elsewhere from now on.
    MovePeer {
        /// The SA.
        sa: SaId,
        /// The peer's address.
        remote: IpAddr,
        /// The encapsulation with its ports.
        encapsulation: Encapsulation,
    },
    /// Something that an operator may want to read.
    Log(Notice),
}
