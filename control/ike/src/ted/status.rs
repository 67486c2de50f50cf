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
    /// IKEv1 cannot negotiate a mask that is no prefix (REQUIREMENTS Q-10), nor a port of every protocol (RFC 2407
    /// §4.6.2).
    #[error(
        "what both protect has a mask that is no prefix, or ports of any protocol, which IKE cannot negotiate"
    )]
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
    /// The rule does not protect the packet.
    #[error("the rule does not protect this packet")]
    Outside,
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

/// Declares [`TedCount`], so that a counter can have neither two names nor none.
macro_rules! ted_counts {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// One thing that discovery counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum TedCount {
            $($(#[doc = $doc])+ $name,)+
        }

        impl TedCount {
            /// Every counter, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name of the metric and of the line.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

ted_counts! {
    /// Packets that wanted a rule without a tunnel.
    Acquired = "packets",
    /// Of these: a discovery for their destination was under way.
    Waiting = "packets-waiting",
    /// Of these: their destination is left alone for a while.
    Rested = "packets-resting",
    /// Of these: the rule does not discover, or no longer.
    NotDiscovering = "not-discovering",
    /// Of these: no probe may tell of the rule's traffic (REQUIREMENTS F-10).
    Concealed = "concealed",
    /// Of these: the rule does not protect them.
    Outside = "outside-rule",
    /// Of these: their addresses cannot be asked about.
    Unaskable = "unaskable",
    /// Of these: too many discoveries were under way (REQUIREMENTS TED-7).
    InFlightFull = "in-flight-full",
    /// Of these: their source had too many discoveries under way (REQUIREMENTS F-12).
    SourceFull = "source-full",
    /// Probes that were not sent because there had been too many in this second.
    ProbesOverRate = "probes-over-rate",
    /// Probes sent, repetitions included.
    ProbesSent = "probes-sent",
    /// Of these: repetitions because no answer came.
    ProbesRepeated = "probes-repeated",
    /// Of these: repetitions with a responder's cookie (REQUIREMENTS F-8).
    ProbesEchoed = "probes-echoed",
    /// Repetitions that nobody waited for: no packet had come since (REQUIREMENTS Q-14).
    ProbesSpared = "probes-spared",
    /// Discoveries that found a gateway.
    Found = "found",
    /// Discoveries that came to nothing, for whatever reason.
    NotFound = "not-found",
    /// Of these: no gateway gave an answer that could be used.
    Unanswered = "unanswered",
    /// Of these: the gateway was found, and the negotiation failed.
    NegotiationsFailed = "negotiations-failed",
    /// Of these: the gateway was found, and nothing was heard of the negotiation.
    NegotiationsAbandoned = "negotiations-abandoned",
    /// Discoveries that became a tunnel.
    TunnelsUp = "tunnels-up",
    /// Granules that were forgotten before their rest was over, to remember another (REQUIREMENTS F-12).
    RestsEvicted = "rests-evicted",
    /// Responses that are none.
    ResponseMalformed = "response-malformed",
    /// Responses to a probe that was never sent (REQUIREMENTS TED-60).
    ResponseUnknown = "response-unknown",
    /// Responses to a discovery that is over or has its gateway (REQUIREMENTS TED-60).
    ResponseLate = "response-late",
    /// Responses that come from another address than they name (REQUIREMENTS TED-60, Q-15).
    ResponseSource = "response-source",
    /// Responses to another address of ours than the probe named.
    ResponseElsewhere = "response-elsewhere",
    /// Responses that name no host as gateway.
    ResponseNotUnicast = "response-not-unicast",
    /// Responses that name one of our own addresses.
    ResponseOwnAddress = "response-own-address",
    /// Responses from where no gateway may live (REQUIREMENTS F-7).
    ResponseNotAllowed = "response-not-allowed",
    /// Responses whose proxies have nothing in common with the rule.
    ResponseNothingInCommon = "response-nothing-in-common",
    /// Responses whose common part does not contain the packet (REQUIREMENTS TED-55).
    ResponsePacketOutside = "response-packet-outside",
    /// Responses about networks that nobody is authorised for (REQUIREMENTS F-7).
    ResponseNotAuthorisable = "response-not-authorisable",
    /// Responses whose common part IKE cannot negotiate (REQUIREMENTS Q-10).
    ResponseMask = "response-mask",
    /// Requests to say a cookie again, beyond what an honest responder asks for.
    ChallengesExceeded = "challenges-exceeded",
    /// Probes of our own that came back (REQUIREMENTS F-14).
    OwnProbes = "own-probes",
    /// ICMP errors about a probe of ours, kept from the end host (REQUIREMENTS TED-28).
    ErrorsSwallowed = "errors-swallowed",
    /// IKE messages in answer to a probe of ours, kept from the end host (REQUIREMENTS TED-28).
    MessagesSwallowed = "messages-swallowed",
    /// Errors and messages that have nothing to do with a probe of ours.
    StraysPassed = "strays-passed",
    /// Probes of others.
    ProbesReceived = "probes-received",
    /// Of these: no probes at all, or damaged.
    ProbeMalformed = "probe-malformed",
    /// Of these: of another maker or version.
    ProbeVersion = "probe-version",
    /// Of these: the packet's addresses are not those that the probe tells of, a lie or a NAT (REQUIREMENTS Q-15).
    ProbeAddresses = "probe-addresses",
    /// Of these: about addresses that are no hosts.
    ProbeNotUnicast = "probe-not-unicast",
    /// Of these: they name one of our own addresses as their gateway or source.
    ProbeOwnAddress = "probe-own-address",
    /// Of these: they name a gateway that is not answered (REQUIREMENTS F-8).
    ProbeNotAllowed = "probe-not-allowed",
    /// Of these: no rule protects the traffic (REQUIREMENTS TED-30).
    ProbeUnmatched = "probe-unmatched",
    /// Of these: nothing may be told about the traffic (REQUIREMENTS F-9).
    ProbeUndisclosed = "probe-undisclosed",
    /// Of these: every answer would be longer than the question (REQUIREMENTS F-8).
    ProbeTooShort = "probe-too-short",
    /// Of these: their sender cannot show that it hears us (REQUIREMENTS F-8).
    ProbeNoEcho = "probe-no-echo",
    /// Of these: too many answers to that gateway's prefix (REQUIREMENTS F-8).
    ProbesOverGatewayRate = "probes-over-gateway-rate",
    /// Of these: too many answers for that source's prefix (REQUIREMENTS F-8).
    ProbesOverSourceRate = "probes-over-source-rate",
    /// Of these: too many answers in all (REQUIREMENTS F-8).
    ProbesOverAnswerRate = "probes-over-answer-rate",
    /// Of these: they went on untouched (REQUIREMENTS TED-31).
    ProbesPassed = "probes-passed",
    /// Cookies that senders of probes have to say again (REQUIREMENTS F-8).
    ChallengesSent = "challenges-sent",
    /// Responses sent.
    ResponsesSent = "responses-sent",
    /// Messages that are neither probe nor response.
    MessagesUnexpected = "messages-unexpected",
    /// Lines that were not written because there had been too many in this second.
    NoticesSuppressed = "notices-suppressed",
}

/// What was counted, by name; each name is a metric and a line of `dpctl ted status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TedCounters([u64; TedCount::ALL.len()]);

impl Default for TedCounters {
    fn default() -> Self {
        Self([0; TedCount::ALL.len()])
    }
}

impl TedCounters {
    /// How often it happened.
    #[must_use]
    pub fn counted(&self, count: TedCount) -> u64 {
        self.0.get(count as usize).copied().unwrap_or(0)
    }

    /// Every counter with its name (kebab-case), those at zero too.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        TedCount::ALL.iter().map(|count| (count.word(), self.counted(*count))).collect()
    }

    pub(super) fn count(&mut self, count: TedCount) {
        if let Some(counter) = self.0.get_mut(count as usize) {
            *counter += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_counter_has_a_name_of_its_own_in_kebab_case() {
        let mut counters = TedCounters::default();
        for (at, count) in TedCount::ALL.iter().enumerate() {
            (0..=at).for_each(|_| counters.count(*count));
        }
        let named = counters.named();
        let names: BTreeSet<_> = named.iter().map(|(name, _)| *name).collect();
        assert_eq!((names.len(), named.len()), (TedCount::ALL.len(), TedCount::ALL.len()));
        assert!(named.iter().enumerate().all(|(at, (_, counted))| *counted == at as u64 + 1));
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    }
}
