//! The fragment payload (type 132): a piece of a whole message, header included. No RFC has it; Cisco, racoon, Windows
//! and strongSwan agree on this form.
//!
//! ```text
//!  0     2        3       4
//!  | id  | number | flags | octets of the message
//! ```

use super::malformed::Malformed;
use super::reader::Reader;

/// Flag: no fragment of the message has a higher number.
const LAST: u8 = 1;

/// One fragment. Anybody can have made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The same in all fragments of one message; some peers use the same for all messages.
    pub id: u16,
    /// Its place, from one.
    pub number: u8,
    /// Whether it is the one with the highest number.
    pub is_last: bool,
    /// Its part of the message.
    pub data: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Octets in front of the data.
    pub const FIXED_OCTETS: usize = 4;

    /// Decodes the body of a fragment payload.
    ///
    /// # Errors
    /// When it holds nothing of a message, or has the number zero.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let id = reader.u16().ok_or(Malformed::FragmentTruncated)?;
        let [number, flags] = reader.array().ok_or(Malformed::FragmentTruncated)?;
        let data = reader.rest();
        if data.is_empty() {
            return Err(Malformed::FragmentTruncated);
        }
        if number == 0 {
            return Err(Malformed::FragmentNumber);
        }
        Ok(Self { id, number, is_last: flags & LAST != 0, data })
    }

    /// The body of a fragment payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = if self.is_last { LAST } else { 0 };
        [&self.id.to_be_bytes()[..], &[self.number, flags], self.data].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fragment_of_strongswan_is_understood() {
        let last = Fragment { id: 1, number: 3, is_last: true, data: &[0xaa, 0xbb] };
        assert_eq!(Fragment::decode(&[0, 1, 3, 1, 0xaa, 0xbb]), Ok(last));
        assert_eq!(last.encode(), [0, 1, 3, 1, 0xaa, 0xbb]);
        let first = Fragment { number: 1, is_last: false, ..last };
        assert_eq!(Fragment::decode(&[0, 1, 1, 0, 0xaa, 0xbb]), Ok(first));
    }

    #[test] // F-36
    fn a_fragment_of_nothing_is_refused() {
        for (body, reason) in [
            (&[][..], Malformed::FragmentTruncated),
            (&[0, 1, 1], Malformed::FragmentTruncated),
            (&[0, 1, 1, 0], Malformed::FragmentTruncated),
            (&[0, 1, 0, 0, 9], Malformed::FragmentNumber),
        ] {
            assert_eq!(Fragment::decode(body), Err(reason), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn every_fragment_survives_the_round_trip(
            id: u16, number in 1u8.., is_last: bool, data in prop::collection::vec(any::<u8>(), 1..50)
        ) {
            let fragment = Fragment { id, number, is_last, data: &data };
            let body = fragment.encode();
            prop_assert_eq!(Fragment::decode(&body), Ok(fragment));
        }
    }
}
