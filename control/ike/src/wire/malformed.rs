//! Why bytes were refused: one variant for each broken rule, each with the word its counter is printed under.

/// Declares [`Malformed`], so that a reason can have neither two words nor none.
macro_rules! malformed {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// The rule of RFC 2407, 2408 or 2409 that the bytes break.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        pub enum Malformed {
            $($(#[doc = $doc])+ #[error($word)] $name,)+
        }

        impl Malformed {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word under which this reason is counted.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

malformed! {
    /// Fewer octets than an ISAKMP header has.
    HeaderTruncated = "header-truncated",
    /// The header's length is below 28 or beyond the end of the datagram.
    HeaderLength = "header-length",
    /// Fewer than the four octets of a generic payload header are left, and one was announced.
    PayloadTruncated = "payload-truncated",
    /// A payload's length is below four, or reaches beyond the payloads' end.
    PayloadLength = "payload-length",
    /// The reserved octet of a generic payload header is not zero (RFC 2408 §5.3).
    ReservedNotZero = "reserved-not-zero",
    /// More payloads than [`PAYLOADS_MAX`](super::limits::PAYLOADS_MAX).
    TooManyPayloads = "too-many-payloads",
    /// A second payload of a kind that may stand only once in a message, or a third identification.
    DuplicatePayload = "duplicate-payload",
    /// A Proposal or a Transform payload outside an SA payload.
    MisplacedPayload = "misplaced-payload",
    /// A nonce shorter than 8 or longer than 256 octets (RFC 2409 §5).
    NonceLength = "nonce-length",
    /// A Key Exchange, Hash or Signature payload with nothing in it.
    EmptyPayload = "empty-payload",
    /// An SA payload too short for its DOI and situation.
    SaTruncated = "sa-truncated",
    /// A DOI other than IPsec: its situation and identities have unknown layouts.
    DoiUnknown = "doi-unknown",
    /// A situation other than SIT_IDENTITY_ONLY: labels of unknown layout follow.
    SituationUnknown = "situation-unknown",
    /// Something other than a Proposal payload among the proposals.
    ProposalExpected = "proposal-expected",
    /// A proposal too short for its fields or its SPI.
    ProposalTruncated = "proposal-truncated",
    /// More proposals than [`PROPOSALS_MAX`](super::limits::PROPOSALS_MAX).
    TooManyProposals = "too-many-proposals",
    /// Something other than a Transform payload among the transforms.
    TransformExpected = "transform-expected",
    /// A transform too short for its fields.
    TransformTruncated = "transform-truncated",
    /// A proposal announces another number of transforms than it holds.
    TransformCount = "transform-count",
    /// More transforms than [`TRANSFORMS_MAX`](super::limits::TRANSFORMS_MAX).
    TooManyTransforms = "too-many-transforms",
    /// Octets behind the last proposal of an SA or the last transform of a proposal.
    SaTrailingOctets = "sa-trailing-octets",
    /// An attribute ends before its value does.
    AttributeTruncated = "attribute-truncated",
    /// More attributes than [`ATTRIBUTES_MAX`](super::limits::ATTRIBUTES_MAX).
    TooManyAttributes = "too-many-attributes",
    /// An Attributes payload shorter than its four fixed octets.
    AttributesTruncated = "attributes-truncated",
    /// More policy sets than [`SETS_MAX`](super::limits::SETS_MAX).
    TooManySets = "too-many-sets",
    /// An identification shorter than its four fixed octets.
    IdTruncated = "id-truncated",
    /// Identification data whose length its type does not allow.
    IdLength = "id-length",
    /// A name in an identification that is not printable ASCII.
    IdNotText = "id-not-text",
    /// An identification of a type that names no single entity we know.
    IdNotEntity = "id-not-entity",
    /// An identification that names no addresses, used as a proxy identity.
    IdNotAddresses = "id-not-addresses",
    /// A subnet whose mask has a zero before a one.
    MaskNotContiguous = "mask-not-contiguous",
    /// An address range that ends before it starts.
    RangeEmpty = "range-empty",
    /// A port for every protocol (RFC 2407 §4.6.2: protocol zero means that the port is to be ignored; ignoring
    /// it would widen what the sender wrote).
    PortWithoutProtocol = "port-without-protocol",
    /// A notification shorter than its fixed fields or its SPI.
    NotifyTruncated = "notify-truncated",
    /// A Delete payload shorter than its fixed fields.
    DeleteTruncated = "delete-truncated",
    /// A Delete payload whose number and size of SPIs do not give its length, or with SPIs of no size.
    DeleteLength = "delete-length",
    /// A fragment with nothing of a message in it.
    FragmentTruncated = "fragment-truncated",
    /// A fragment with the number zero: the first is one.
    FragmentNumber = "fragment-number",
    /// A NAT-OA payload whose length its address type does not allow.
    NatOaLength = "nat-oa-length",
    /// A NAT-OA payload with neither an IPv4 nor an IPv6 address.
    NatOaType = "nat-oa-type",
    /// A discovery message whose header is none of its kind: version, exchange, message ID, encryption or cookies.
    TedHeader = "ted-header",
    /// A discovery payload that is missing or shorter than its fields.
    TedTruncated = "ted-truncated",
    /// Octets behind the last field of a discovery payload.
    TedTrailingOctets = "ted-trailing-octets",
    /// A summary of another maker or version.
    TedVersion = "ted-version",
    /// An IP version that is neither 4 nor 6, or two that differ.
    TedFamily = "ted-family",
    /// A response with neither an entry nor a cookie, or with more than [`ENTRIES_MAX`](super::ted::ENTRIES_MAX).
    TedEntries = "ted-entries",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_reasons_share_a_word() {
        let words: BTreeSet<_> = Malformed::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Malformed::ALL.len());
        assert!(Malformed::ALL.iter().all(|reason| reason.to_string() == reason.word()));
    }
}
