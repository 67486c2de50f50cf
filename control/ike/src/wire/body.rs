//! What follows the header, once it is clear: the whole chain of payloads, each checked for what every exchange
//! has in common.

use super::chain::Chain;
use super::iana::PayloadType;
use super::limits::{IDENTIFICATIONS_MAX, NONCE_OCTETS_MAX, NONCE_OCTETS_MIN};
use super::malformed::Malformed;
use super::payload::{Payload, Payloads};

/// The payloads of one message, in clear or decrypted. Nothing in it is authenticated yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    payloads: Vec<Payload<'a>>,
    after_first: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    /// Walks the chain whose first payload is a `next`. Octets behind the last payload are padding (RFC 2409
    /// App. B): never looked at, whatever their number and value.
    ///
    /// # Errors
    /// For the first rule that is broken. Payloads of unknown types break none.
    pub fn decode(next: PayloadType, octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut walk = Payloads::new(next, octets);
        let mut payloads: Vec<Payload<'a>> = Vec::new();
        while let Some(payload) = walk.next().transpose()? {
            check(&payload)?;
            let same = payloads.iter().filter(|earlier| earlier.kind == payload.kind).count();
            if same >= most(payload.kind) {
                return Err(Malformed::DuplicatePayload);
            }
            payloads.push(payload);
        }
        let rest = walk.rest();
        let first = payloads.first().map_or(0, |payload| payload.raw.len());
        let end = octets.len().saturating_sub(rest.len());
        let after_first = octets.get(first..end).unwrap_or_default();
        Ok(Self { payloads, after_first, rest })
    }

    /// Every payload, in order.
    #[must_use]
    pub fn payloads(&self) -> &[Payload<'a>] {
        &self.payloads
    }

    /// The first payload of that kind.
    #[must_use]
    pub fn first(&self, kind: PayloadType) -> Option<&Payload<'a>> {
        self.all(kind).next()
    }

    /// The payloads of that kind, in order.
    pub fn all(&self, kind: PayloadType) -> impl Iterator<Item = &Payload<'a>> {
        self.payloads.iter().filter(move |payload| payload.kind == kind)
    }

    /// The payloads behind the first one, as they were sent and without the padding: what HASH(1), HASH(2) and
    /// the HASH of an informational exchange are computed over (RFC 2409 §5.5, §5.7).
    #[must_use]
    pub const fn after_first(&self) -> &'a [u8] {
        self.after_first
    }

    /// The octets behind the last payload.
    #[must_use]
    pub const fn padding(&self) -> &'a [u8] {
        self.rest
    }

    /// The same payloads, to be written again.
    #[must_use]
    pub fn to_chain(&self) -> Chain {
        self.payloads.iter().fold(Chain::new(), |chain, payload| chain.with(payload.kind, payload.body))
    }
}

/// How many payloads of a kind one message may hold. Quick mode may negotiate several SAs at once (RFC 2409
/// §5.5); nobody does, and two SA payloads would make it ambiguous which of them a HASH or a choice is about.
fn most(kind: PayloadType) -> usize {
    match kind {
        PayloadType::SA
        | PayloadType::KEY_EXCHANGE
        | PayloadType::HASH
        | PayloadType::SIGNATURE
        | PayloadType::NONCE
        | PayloadType::ATTRIBUTES
        | PayloadType::FRAGMENT => 1,
        PayloadType::IDENTIFICATION => IDENTIFICATIONS_MAX,
        _ => usize::MAX,
    }
}

fn check(payload: &Payload<'_>) -> Result<(), Malformed> {
    match payload.kind {
        PayloadType::PROPOSAL | PayloadType::TRANSFORM => Err(Malformed::MisplacedPayload),
        PayloadType::NONCE if !(NONCE_OCTETS_MIN..=NONCE_OCTETS_MAX).contains(&payload.body.len()) => {
            Err(Malformed::NonceLength)
        }
        PayloadType::KEY_EXCHANGE | PayloadType::HASH | PayloadType::SIGNATURE if payload.body.is_empty() => {
            Err(Malformed::EmptyPayload)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::PAYLOADS_MAX;
    use super::*;
    use proptest::prelude::*;

    fn decode(next: PayloadType, octets: &[u8]) -> Result<Vec<(PayloadType, usize)>, Malformed> {
        let body = Body::decode(next, octets)?;
        Ok(body.payloads().iter().map(|payload| (payload.kind, payload.body.len())).collect())
    }

    #[test]
    fn a_payload_is_what_the_one_before_it_says() {
        let octets = [&[10, 0, 0, 6, 0xaa, 0xbb, 0, 0, 0, 12][..], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
        assert_eq!(
            decode(PayloadType::KEY_EXCHANGE, &octets),
            Ok(vec![(PayloadType::KEY_EXCHANGE, 2), (PayloadType::NONCE, 8)])
        );
        assert_eq!(decode(PayloadType::NONE, b""), Ok(vec![]));
    }

    #[test] // F-36
    fn chains_that_break_a_rule_are_refused_for_it() {
        let vendor = PayloadType::VENDOR_ID;
        for (next, octets, reason) in [
            (vendor, &[][..], Malformed::PayloadTruncated),
            (vendor, &[0, 0, 0], Malformed::PayloadTruncated),
            (vendor, &[13, 0, 0, 4], Malformed::PayloadTruncated),
            // A length of zero would be read for ever.
            (vendor, &[13, 0, 0, 0], Malformed::PayloadLength),
            (vendor, &[13, 0, 0, 3], Malformed::PayloadLength),
            (vendor, &[0, 0, 0, 5], Malformed::PayloadLength),
            (vendor, &[0, 0, 0xff, 0xff, 1, 2, 3], Malformed::PayloadLength),
            (vendor, &[0, 1, 0, 4], Malformed::ReservedNotZero),
            (PayloadType::PROPOSAL, &[0, 0, 0, 4], Malformed::MisplacedPayload),
            (PayloadType::TRANSFORM, &[0, 0, 0, 4], Malformed::MisplacedPayload),
            (PayloadType::NONCE, &[0, 0, 0, 11, 1, 2, 3, 4, 5, 6, 7], Malformed::NonceLength),
            (PayloadType::KEY_EXCHANGE, &[0, 0, 0, 4], Malformed::EmptyPayload),
            (PayloadType::HASH, &[0, 0, 0, 4], Malformed::EmptyPayload),
            (PayloadType::HASH, &[8, 0, 0, 5, 1, 0, 0, 0, 5, 2], Malformed::DuplicatePayload),
            (PayloadType::SA, &[1, 0, 0, 4, 0, 0, 0, 4], Malformed::DuplicatePayload),
            (PayloadType::IDENTIFICATION, &[5, 0, 0, 4, 5, 0, 0, 4, 0, 0, 0, 4], Malformed::DuplicatePayload),
        ] {
            assert_eq!(decode(next, octets), Err(reason), "{octets:?}");
        }
    }

    #[test]
    fn a_nonce_may_have_8_to_256_octets() {
        for (octets, fits) in [(7, false), (8, true), (256, true), (257, false)] {
            let chain = Chain::new().with(PayloadType::NONCE, &vec![1; octets]);
            assert_eq!(Body::decode(chain.first(), chain.octets()).is_ok(), fits, "{octets}");
        }
    }

    #[test] // F-36
    fn a_message_of_too_many_payloads_is_refused_at_the_limit() {
        let chain = |count| (0..count).fold(Chain::new(), |chain, _| chain.with(PayloadType::VENDOR_ID, b""));
        let (most, more) = (chain(PAYLOADS_MAX), chain(PAYLOADS_MAX + 1));
        assert_eq!(decode(most.first(), most.octets()).map(|found| found.len()), Ok(PAYLOADS_MAX));
        assert_eq!(decode(more.first(), more.octets()), Err(Malformed::TooManyPayloads));
    }

    #[test]
    fn a_hash_covers_the_payloads_behind_it_and_not_the_padding() {
        let behind =
            Chain::new().with(PayloadType::NONCE, &[3; 8]).with(PayloadType::IDENTIFICATION, &[4; 8]);
        let chain = behind.clone().with_front(PayloadType::HASH, &[5; 20]);
        let padded = [chain.octets(), &[0, 0, 0, 0, 3]].concat();
        let body = Body::decode(chain.first(), &padded).unwrap();
        assert_eq!(body.after_first(), behind.octets());
        assert_eq!(body.padding(), [0, 0, 0, 0, 3]);
        assert_eq!(body.to_chain(), chain);
    }

    #[test]
    fn payloads_of_unknown_types_break_no_rule() {
        let chain =
            Chain::new().with(PayloadType(200), b"x").with(PayloadType(200), b"y").with(PayloadType(99), b"");
        assert_eq!(decode(chain.first(), chain.octets()).map(|found| found.len()), Ok(3));
    }

    proptest! {
        #[test]
        fn a_chain_reads_as_it_was_written(
            payloads in prop::collection::vec((120u8.., prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            front: Option<Vec<u8>>,
            padding in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            prop_assume!(payloads.iter().all(|(kind, _)| PayloadType(*kind) != PayloadType::FRAGMENT));
            let mut expected: Vec<_> = payloads.iter().map(|(kind, body)| (PayloadType(*kind), &body[..])).collect();
            let mut chain = Chain::new();
            expected.iter().for_each(|(kind, body)| chain.push(*kind, body));
            if let Some(front) = &front {
                chain = chain.with_front(PayloadType::VENDOR_ID, front);
                expected.insert(0, (PayloadType::VENDOR_ID, front));
            }
            chain.push(PayloadType::CERTIFICATE, b"last");
            expected.push((PayloadType::CERTIFICATE, b"last"));
            let octets = [chain.octets(), &padding].concat();
            let body = Body::decode(chain.first(), &octets).unwrap();
            let found: Vec<_> = body.payloads().iter().map(|payload| (payload.kind, payload.body)).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(body.padding(), &padding[..]);
        }

        #[test] // F-36
        fn no_octets_panic(next: u8, octets: Vec<u8>) {
            let _ = Body::decode(PayloadType(next), &octets);
        }
    }
}
