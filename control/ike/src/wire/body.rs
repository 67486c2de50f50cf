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
