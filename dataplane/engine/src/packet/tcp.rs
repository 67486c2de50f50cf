//! The one thing in TCP that a tunnel touches: the maximum segment size in a SYN (RFC 9293 §3.7.1).

use super::checksum::update;
use super::{read_u16, write_u16};

const HEADER_OCTETS: usize = 20;
const SYN: u8 = 0x02;
const CHECKSUM_AT: usize = 16;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;

/// Whether the segment is a SYN with a whole header.
#[must_use]
pub fn is_syn(segment: &[u8]) -> bool {
    segment.len() >= HEADER_OCTETS && segment[13] & SYN != 0
}

/// Lowers the maximum segment size of a SYN to `mss_max`, checksum included; `true` when it was larger. A SYN
/// without the option is left alone: its default of 536 fits any path.
pub fn clamp_mss(segment: &mut [u8], mss_max: u16) -> bool {
    let Some(at) = mss_offset(segment) else { return false };
    let old = read_u16(segment, at);
    if old <= mss_max {
        return false;
    }
    write_u16(segment, at, mss_max);
    let mut sum = read_u16(segment, CHECKSUM_AT);
    if at.is_multiple_of(2) {
        sum = update(sum, old, mss_max);
    } else {
        // The option lies across two words of the sum; each changes by one octet of it.
        sum = update(sum, old >> 8, mss_max >> 8);
        sum = update(sum, old << 8, mss_max << 8);
    }
    write_u16(segment, CHECKSUM_AT, sum);
    true
}

/// Where the value of the option stands.
fn mss_offset(segment: &[u8]) -> Option<usize> {
    if !is_syn(segment) {
        return None;
    }
    let end = usize::from(segment[12] >> 4) * 4;
    let header = segment.get(..end)?;
    let mut at = HEADER_OCTETS;
    while let Some(&kind) = header.get(at) {
        match kind {
            END => return None,
            NO_OPERATION => at += 1,
            _ => {
                let length = usize::from(*header.get(at + 1)?);
                if kind == MSS {
                    return (length == 4 && at + 4 <= end).then_some(at + 2);
                }
                // An option of length 0 or 1 would hold us here for ever.
                if length < 2 {
                    return None;
                }
                at += length;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::checksum::Sum;
    use super::*;
    use proptest::prelude::*;

    fn syn(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; HEADER_OCTETS];
        segment[..4].copy_from_slice(&[0xC3, 0x50, 0x01, 0xBB]);
        segment[13] = SYN;
        segment.extend(options);
        segment.resize(segment.len().next_multiple_of(4), 0);
        segment[12] = (segment.len() / 4) as u8 * 16;
        let sum = Sum::default().octets(&segment).finish();
        write_u16(&mut segment, CHECKSUM_AT, sum);
        segment
    }

    #[test]
    fn the_size_is_lowered_and_never_raised() {
        for options in [&[2, 4, 5, 180][..], &[1, 2, 4, 5, 180], &[3, 3, 7, 2, 4, 5, 180]] {
            let mut segment = syn(options);
            assert!(!clamp_mss(&mut segment, 1460));
            assert!(clamp_mss(&mut segment, 1338));
            assert_eq!(Sum::default().octets(&segment).finish(), 0, "{options:?}");
            assert!(!clamp_mss(&mut segment, 1338));
            assert!(clamp_mss(&mut segment, 1200));
        }
    }

    #[test]
    fn what_is_no_syn_or_lies_about_its_options_is_left_alone() {
        let mut ack = syn(&[2, 4, 5, 180]);
        ack[13] = 0x10;
        assert!(!clamp_mss(&mut ack, 100));
        for options in
            [&[2, 3, 5, 180][..], &[3, 0, 0, 0], &[0, 2, 4, 5, 180], &[3, 200, 2, 4], &[1, 1, 1, 2]]
        {
            assert!(!clamp_mss(&mut syn(options), 100), "{options:?}");
        }
    }

    proptest! {
        #[test] // F-36
        fn no_segment_makes_it_panic(mut octets in prop::collection::vec(any::<u8>(), 0..80), mss: u16) {
            if octets.len() > 13 {
                octets[13] |= SYN;
            }
            clamp_mss(&mut octets, mss);
        }
    }
}
