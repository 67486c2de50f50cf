//! The checksum of IPv4 and UDP (RFC 1071).

/// The sum of 16-bit words, not folded and not complemented. Every part of a packet but the last must have an even number of
/// octets.
pub(crate) fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    let whole: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    whole + u64::from(u32::from_be_bytes(last))
}

/// A sum as it stands in a header.
pub(crate) fn finish(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A header's checksum after 16-bit words of what it covers have changed (RFC 1624 §3).
pub(crate) fn changed(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let without =
        old.as_chunks::<2>().0.iter().map(|word| u64::from(!u16::from_be_bytes(*word))).sum::<u64>();
    finish(u64::from(!checksum) + without + sum(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test] // RFC 1071 §3
    fn the_example_of_the_rfc_is_right() {
        assert_eq!(finish(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), !0xddf2);
    }

    proptest! {
        #[test] // RFC 1071 §1
        fn all_lengths_are_summed_as_words(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(finish(sum(&octets)), model(&octets));
        }

        #[test] // RFC 1624 §3
        fn a_change_is_as_good_as_a_new_sum(mut octets in proptest::collection::vec(any::<u8>(), 20..60), new: [u8; 6], at in 0usize..7) {
            let at = at * 2;
            let before = finish(sum(&octets));
            let old: [u8; 6] = octets[at..at + 6].try_into().unwrap();
            octets[at..at + 6].copy_from_slice(&new);
            prop_assert_eq!(changed(before, &old, &new), finish(sum(&octets)));
        }
    }
}
