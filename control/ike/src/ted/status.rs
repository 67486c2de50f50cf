//! What is shown of discovery, and what is counted.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{FiveTuple, RuleId, Selector};

/// Where a discovery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// So many probes were sent, and none is answered yet.
    Probing {
        /// Probes sent.
        sent: u32,
    },
    /// A gateway answered; phase 1 or quick mode is under way.
    Negotiating {
        /// Where.
        gateway: IpAddr,
        /// About what.
        selector: Selector,
    },
}

/// A discovery under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The rule.
    pub rule: RuleId,
    /// The packet that began it.
    pub packet: FiveTuple,
    /// CKY-I of its probes.
    pub cookie: [u8; 8],
    /// When it began.
    pub since: Duration,
    /// Packets that were dropped for the want of it.
    pub waiting: u64,
    /// Where it stands.
    pub stage: Stage,
}

/// A granule that is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    /// The rule.
    pub rule: RuleId,
    /// The packet that the last discovery was for.
    pub packet: FiveTuple,
    /// Until when.
    pub until: Duration,
    /// Discoveries without a result in a row.
    pub failures: u32,
    /// Why the last one had none.
    pub why: NotFound,
}

/// Why a discovery came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotFound {
    /// No gateway answered any probe.
    #[error("no gateway answered")]
    NoAnswer,
    /// What the gateway protects has nothing in common with the rule.
    #[error("the gateway's proxies and ours have nothing in common")]
    NothingInCommon,
    /// What both protect does not contain the packet (REQUIREMENTS TED-55).
    #[error("what both protect does not contain the packet")]
    PacketOutside,
    /// Nobody is authorised for what the gateway claims (REQUIREMENTS F-7).
    #[error("no peer may be authorised for what the gateway claims")]
    NotAuthorisable,
    /// IKEv1 cannot negotiate a mask that is no prefix (REQUIREMENTS Q-10).
    #[error("what both protect has a mask that is no prefix, which IKE cannot negotiate")]
    MaskNoPrefix,
    /// A gateway was found, and no tunnel to it came up.
    #[error("the gateway was found, but the negotiation with it failed")]
    NotNegotiated,
}

/// Why the operator's probe is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unasked {
    /// The rule does not discover.
    #[error("the rule does not discover gateways")]
    NotDiscovering,
    /// The rule is concealed (REQUIREMENTS F-10).
    #[error("the rule is concealed: no probe may tell of its traffic")]
    Concealed,
    /// A discovery for this destination is under way.
    #[error("a discovery for this destination is under way")]
    UnderWay,
    /// The packet's addresses cannot be asked about: multicast, loopback, link-local, or mixed families.
    #[error("no gateway can be asked for about these addresses")]
    Unaskable,
    /// The rate or the number of discoveries is at its limit.
    #[error("too many discoveries at once")]
    TooMany,
}

/// One remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TedNotice {
    /// A discovery came to nothing.
    NotFound {
        /// The rule.
        rule: RuleId,
        /// The packet that wanted it.
        packet: FiveTuple,
        /// Why.
        why: NotFound,
        /// How long it is left alone.
        rest: Duration,
    },
    /// A gateway answered.
    Answered {
        /// The rule.
        rule: RuleId,
        /// The gateway.
        gateway: IpAddr,
        /// What both protect.
        selector: Selector,
    },
    /// We told a gateway what we protect (REQUIREMENTS F-9).
    Disclosed {
        /// Whom.
        gateway: IpAddr,
        /// What, as we see it.
        selectors: Vec<String>,
    },
}

impl fmt::Display for TedNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { packet, why, rest, .. } => {
                write!(f, "no tunnel for {packet}: {why}; not asked again for {} s", rest.as_secs())
            }
            Self::Answered { gateway, selector, .. } => {
                write!(f, "gateway {gateway} protects the far side of {selector}")
            }
            Self::Disclosed { gateway, selectors } => {
                write!(f, "told {gateway} that we protect {}", selectors.join(", "))
            }
        }
    }
}

/// What was counted, by name; each name is a metric and a line of `dpctl ted status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TedCounters {}

impl TedCounters {
    /// Every counter with its name (kebab-case), those at zero too.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
