//! Why a packet ended here: the reason, the counter and the word `dpctl` prints are one enum.

use crate::vocabulary::vocabulary;
use std::fmt;

vocabulary! {
    /// Why a packet ended here. Every packet that is not delivered ends in exactly one of these.
    pub enum DropReason {
        // What cannot be read.
        /// Shorter than the headers it claims to have, or lengths that contradict each other.
        Malformed = "malformed",
        /// The checksum of the IPv4 header is wrong.
        HeaderChecksum = "header-checksum",
        /// More IPv6 extension headers than anybody needs.
        ExtensionChain = "extension-chain",
        /// Neither IPv4 nor IPv6; ARP is the kernel's.
        NotIp = "not-ip",
        /// An Ethernet frame for somebody else.
        NotForUs = "not-for-us",
        /// A multicast or broadcast destination, which a tunnel between two networks does not carry.
        Multicast = "multicast",
        /// An address that may not appear in this place, such as a loopback source.
        Martian = "martian",
        /// No mirror of the kernel's tables yet, so nobody knows which addresses are ours.
        NotReady = "not-ready",

        // What the rules say.
        /// No transport rule speaks of it: default deny.
        NoRule = "no-rule",
        /// A transport rule discards it.
        RuleDiscard = "rule-discard",
        /// A rule protects it and no SA is ready: it must not leave in clear.
        NoSa = "no-sa",
        /// The rule's stack of SAs was replaced when this one had some of its levels already.
        StackChanged = "stack-changed",
        /// A rule protects it, and the gateway in front of its destination is being discovered: it must not leave in clear.
        Discovering = "discovering",
        /// Clear text that should have come through a tunnel, or under transport mode.
        ClearTextInbound = "clear-text-inbound",
        /// The rule protects it, but the SA was negotiated for less.
        OutsideSelector = "outside-selector",
        /// A packet of control's that was to leave inside SAs, one of which is gone: it must not leave in clear.
        PassageClosed = "passage-closed",
        /// Transport mode protects only what this gateway itself sends between the SA's own two addresses.
        TransportAddress = "transport-address",
        /// Transport mode protects whole packets only.
        TransportFragment = "transport-fragment",
        /// A routing header that has still a way to go leaves no place for ESP of transport mode.
        TransportHeader = "transport-header",

        // What arrives protected.
        /// No SA has this SPI.
        UnknownSpi = "unknown-spi",
        /// ESP for an SA whose outer addresses are others.
        WrongOuterAddress = "wrong-outer-address",
        /// ESP that came out of another SA than the policy has it come out of, or out of none where there should be one.
        WrongCarrier = "wrong-carrier",
        /// UDP where the SA has none, the other way round, or another local port.
        WrongEncapsulation = "wrong-encapsulation",
        /// A fragment of ESP: reassembly before authentication is an invitation.
        EspFragment = "esp-fragment",
        /// Shorter than ESP of this transform can be, or not a multiple of the cipher's block.
        EspLength = "esp-length",
        /// Seen before, or left of the window.
        Replayed = "replayed",
        /// The integrity check failed.
        BadIcv = "bad-icv",
        /// The padding is not 1, 2, 3, …, or longer than the packet.
        BadPadding = "bad-padding",
        /// A dummy packet (RFC 4303 §2.6): made to be discarded.
        Dummy = "dummy",
        /// The next header is neither IPv4 nor IPv6: not a tunnel mode packet.
        NextHeader = "next-header",
        /// The next header and the version of the inner packet disagree.
        InnerVersion = "inner-version",
        /// Decrypted fine, but the inner packet cannot be read.
        InnerMalformed = "inner-malformed",
        /// Decrypted fine, but outside the selectors the SA was negotiated for.
        SelectorMismatch = "selector-mismatch",
        /// Congestion was marked on a packet that does not know what that is (RFC 6040 §4.2).
        EcnMismatch = "ecn-mismatch",
        /// ESP in ESP in ESP, deeper than any stack of ours.
        TooDeep = "too-deep",
        /// The SA has reached its hard limit.
        SaExpired = "sa-expired",
        /// A NAT keepalive (RFC 3948 §2.3): it has done its work by passing the NAT.
        NatKeepalive = "nat-keepalive",

        // Discovery in transit.
        /// A discovery message longer than any of them is.
        DiscoveryTooLong = "discovery-too-long",
        /// A probe beyond the rate at which control is shown them.
        ProbeRate = "probe-rate",
        /// A probe that control could not be shown, because it does not keep up with events.
        ProbeLost = "probe-lost",
        /// Somebody else's discovery message beyond the rate at which they pass whatever the rules say.
        DiscoveryRate = "discovery-rate",

        // What cannot go on.
        /// The time to live or hop limit ran out.
        TtlExpired = "ttl-expired",
        /// Too big for the way ahead and not to be fragmented; the sender is told.
        TooBig = "too-big",
        /// The path is narrower than the smallest MTU IPv6 allows, so telling the sender would not help.
        BelowMinimumMtu = "below-minimum-mtu",
        /// A protected packet that is too big for the link it should leave by.
        OuterTooBig = "outer-too-big",
        /// No headroom or tailroom left in the frame for another header.
        NoRoom = "no-room",
        /// No free frame to write into.
        NoFrame = "no-frame",
        /// No route to the destination.
        NoRoute = "no-route",
        /// The next hop's Ethernet address did not become known in time.
        NoNeighbour = "no-neighbour",
        /// Too many packets wait for an Ethernet address already.
        ParkingFull = "parking-full",
        /// It would leave through a port that no worker has.
        NoPort = "no-port",
        /// It would go to the gateway itself after protection: a loop.
        OuterToSelf = "outer-to-self",
        /// From the gateway itself to the gateway itself: a loop.
        TunLoop = "tun-loop",
        /// For the gateway itself, and there is no tun port to give it to.
        NoTun = "no-tun",
        /// The port does not keep up and its queue is full.
        TransmitFull = "transmit-full",
        /// The worker that owns the SA does not keep up.
        HandoffFull = "handoff-full",
        /// An ICMP message of ours that would have left in clear through an outside port.
        IcmpSuppressed = "icmp-suppressed",
    }
}

impl DropReason {
    /// Its counter's place.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_word_and_a_sentence() {
        let words: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), DropReason::COUNT);
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), at);
            assert!(reason.meaning().ends_with('.') || reason.meaning().contains(':'), "{reason}");
            assert!(reason.word().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{reason}");
        }
    }
}
