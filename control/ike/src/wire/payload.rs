//! The generic payload header (RFC 2408 §3.2) and the walk along a chain of payloads.

use super::iana::PayloadType;
use super::limits::PAYLOADS_MAX;
use super::malformed::Malformed;
use super::reader::Reader;

/// Octets of a generic payload header.
pub(super) const GENERIC_OCTETS: usize = 4;

/// One payload of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// What it is, said by the payload before it.
    pub kind: PayloadType,
    /// Without the generic header: the part that HASH, SKEYID and nonce formulas call `…_b`.
    pub body: &'a [u8],
    /// With the generic header.
    pub raw: &'a [u8],
}

/// The payloads of a chain, one after the other. Every step moves on by at least four octets, so there are no
/// loops and no overlaps; the first error ends the walk.
#[derive(Clone)]
pub struct Payloads<'a> {
    next: PayloadType,
    reader: Reader<'a>,
    seen: usize,
}

impl<'a> Payloads<'a> {
    /// A walk over `octets`, whose first payload is a `next`.
    #[must_use]
    pub const fn new(next: PayloadType, octets: &'a [u8]) -> Self {
        Self { next, reader: Reader::new(octets), seen: 0 }
    }

    /// The octets behind the payloads walked so far; at the end of the walk, the padding.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    fn step(&mut self) -> Result<Payload<'a>, Malformed> {
        if self.seen == PAYLOADS_MAX {
            return Err(Malformed::TooManyPayloads);
        }
        let kind = self.next;
        let (next, raw, body) = generic(&mut self.reader)?;
        self.next = next;
        self.seen += 1;
        Ok(Payload { kind, body, raw })
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<Payload<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == PayloadType::NONE {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.next = PayloadType::NONE;
        }
        Some(step)
    }
}

/// Takes one payload: the type of the one behind it, its octets with and without the generic header.
pub(super) fn generic<'a>(reader: &mut Reader<'a>) -> Result<(PayloadType, &'a [u8], &'a [u8]), Malformed> {
    let mut ahead = *reader;
    let [next, reserved, high, low] = ahead.array().ok_or(Malformed::PayloadTruncated)?;
    if reserved != 0 {
        return Err(Malformed::ReservedNotZero);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let body_octets = length.checked_sub(GENERIC_OCTETS).ok_or(Malformed::PayloadLength)?;
    let body = ahead.take(body_octets).ok_or(Malformed::PayloadLength)?;
    let raw = reader.take(length).ok_or(Malformed::PayloadLength)?;
    Ok((PayloadType(next), raw, body))
}
