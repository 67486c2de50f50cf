//! ESP (RFC 4303) in the clear parts: header in front, trailer behind.

use super::{Malformed, read_u32};
use crate::drop_reason::DropReason;
use warren_seam::Spi;

/// Octets of SPI and sequence number.
pub const HEADER_OCTETS: usize = 8;
/// Octets of pad length and next header.
pub const TRAILER_OCTETS: usize = 2;

/// A packet long enough for its header.
pub struct Esp<'a>(&'a [u8]);

impl<'a> Esp<'a> {
    /// The one way in for bytes from the network; afterwards no getter can panic.
    ///
    /// # Errors
    /// Fewer octets than the header has.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        if octets.len() < HEADER_OCTETS { Err(Malformed::Length) } else { Ok(Self(octets)) }
    }

    /// Security parameter index.
    #[must_use]
    pub fn spi(&self) -> Spi {
        Spi(read_u32(self.0, 0))
    }

    /// The lower 32 bits of the sequence number.
    #[must_use]
    pub fn sequence_low(&self) -> u32 {
        read_u32(self.0, 4)
    }
}

/// What the trailer of a decrypted text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Octets of payload in front of the padding, TFC padding included.
    pub payload_octets: usize,
    /// What the payload is.
    pub next_header: u8,
}

impl Trailer {
    /// Reads the end of a decrypted text and inspects the padding (RFC 4303 §2.4).
    ///
    /// # Errors
    /// Padding that is longer than the text or not 1, 2, 3, ….
    pub fn of(text: &[u8]) -> Result<Self, DropReason> {
        let [payload @ .., pad, next_header] = text else { return Err(DropReason::BadPadding) };
        let pad = usize::from(*pad);
        let Some(payload_octets) = payload.len().checked_sub(pad) else { return Err(DropReason::BadPadding) };
        let is_right = match payload.last_chunk() {
            Some(end) if pad < end.len() => is_short_padding(*end, pad),
            _ => is_padding(&payload[payload_octets..]),
        };
        if is_right {
            Ok(Self { payload_octets, next_header: *next_header })
        } else {
            Err(DropReason::BadPadding)
        }
    }
}

/// Whether octets are 1, 2, 3, ….
fn is_padding(octets: &[u8]) -> bool {
    // No early end: what is compared was authenticated, but a habit of constant work costs nothing.
    let differing = octets.iter().enumerate().map(|(at, octet)| octet ^ (at + 1) as u8);
    differing.fold(0, |sum, one| sum | one) == 0
}

/// The same of the last `pad` of four octets, fewer than all: what most packets have, without a loop whose length depends on
/// theirs.
#[inline]
fn is_short_padding(end: [u8; 4], pad: usize) -> bool {
    let expected = u64::from(u32::from_le_bytes([1, 2, 3, 4]));
    let others = 8 * (end.len() - pad);
    // What is in front of the padding is shifted out on both sides.
    (u64::from(u32::from_le_bytes(end)) >> others) ^ (expected & !(u64::MAX << (8 * pad))) == 0
}

/// Octets of padding after a payload, so that payload, padding and trailer end where the cipher and RFC 4303 §2.4
/// want them to.
#[must_use]
pub const fn padding_octets(payload_octets: usize, alignment: usize) -> usize {
    (alignment - (payload_octets + TRAILER_OCTETS) % alignment) % alignment
}

/// Writes padding and trailer into the octets behind the payload.
pub fn emit_trailer(octets: &mut [u8], next_header: u8) {
    let pad = octets.len() - TRAILER_OCTETS;
    octets.iter_mut().take(pad).zip(1u8..=u8::MAX).for_each(|(octet, value)| *octet = value);
    octets[pad] = pad as u8;
    octets[pad + 1] = next_header;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_padding_is_what_any_padding_is() {
        for pad in 0..4 {
            for at in 0..4 {
                for octet in 0..=u8::MAX {
                    let mut end = [9, 9, 9, 9];
                    (0..pad).for_each(|place| end[4 - pad + place] = place as u8 + 1);
                    end[at] = octet;
                    assert_eq!(is_short_padding(end, pad), is_padding(&end[4 - pad..]), "{end:?} {pad}");
                }
            }
        }
    }

    #[test]
    fn a_trailer_that_was_written_is_read() {
        for alignment in [4, 16] {
            for payload in 0..40 {
                let pad = padding_octets(payload, alignment);
                assert!(pad < alignment && (payload + pad + 2).is_multiple_of(alignment));
                let mut text = vec![0xAA; payload + pad + 2];
                emit_trailer(&mut text[payload..], 41);
                assert_eq!(Trailer::of(&text), Ok(Trailer { payload_octets: payload, next_header: 41 }));
            }
        }
    }

    #[test]
    fn bad_padding_is_refused() {
        for text in [&[][..], &[4], &[1, 4], &[2, 1, 2, 4], &[1, 2, 4, 3, 4], &[1, 2, 3, 5, 4]] {
            assert_eq!(Trailer::of(text), Err(DropReason::BadPadding), "{text:?}");
        }
        assert_eq!(Trailer::of(&[9, 1, 2, 2, 4]), Ok(Trailer { payload_octets: 1, next_header: 4 }));
        assert_eq!(Trailer::of(&[0, 59]), Ok(Trailer { payload_octets: 0, next_header: 59 }));
    }

    #[test] // F-36
    fn the_longest_padding_is_read_without_wrapping() {
        let mut text: Vec<u8> = (1..=255).collect();
        text.extend([255, 4]);
        assert_eq!(Trailer::of(&text), Ok(Trailer { payload_octets: 0, next_header: 4 }));
    }
}
