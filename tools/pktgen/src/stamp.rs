//! What every packet carries at the beginning of its UDP payload, so that the sink knows what became of the others.
//!
//! ```text
//!   0      2        4                8            12          18
//!   | magic | stream | sequence in its flow        | sent, ns  | zeros ...
//! ```
//!
//! Eighteen octets are what an IPv4 packet in a frame of 64 has room for. The time is the lower 48 bits of the sender's
//! monotonic clock, which repeats every three days; the flow is said by addresses and ports.

/// Octets of a stamp.
pub const STAMP_OCTETS: usize = 18;

/// Where the time stands in it.
pub(crate) const SENT_AT: usize = 12;

const MAGIC: [u8; 2] = *b"Wp";
const SENT_BITS: u32 = 48;
const SENT_MASK: u64 = (1 << SENT_BITS) - 1;

/// Who sent a packet, as the how-manieth, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which run it belongs to, so that what an earlier one left behind is not taken for this one's.
    pub stream: u16,
    /// Packets of its flow before it.
    pub sequence: u64,
    /// When it was sent, in ns; only the lower 48 bits are kept.
    pub sent_ns: u64,
}

impl Stamp {
    /// As it stands in the packet.
    #[must_use]
    pub fn encode(&self) -> [u8; STAMP_OCTETS] {
        let mut octets = [0; STAMP_OCTETS];
        octets[..2].copy_from_slice(&MAGIC);
        octets[2..4].copy_from_slice(&self.stream.to_be_bytes());
        octets[4..12].copy_from_slice(&self.sequence.to_be_bytes());
        octets[SENT_AT..].copy_from_slice(&encode_time(self.sent_ns));
        octets
    }

    /// The stamp at the beginning of a payload; `None` when there is none.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (octets, _) = payload.split_first_chunk::<STAMP_OCTETS>()?;
        let (magic, rest) = octets.split_first_chunk::<2>()?;
        let (stream, rest) = rest.split_first_chunk::<2>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let sent = rest.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
        (*magic == MAGIC).then(|| Self {
            stream: u16::from_be_bytes(*stream),
            sequence: u64::from_be_bytes(*sequence),
            sent_ns: sent,
        })
    }

    /// How long it was under way at `now_ns` of the same clock; `None` when it was sent after that, so by another clock.
    #[must_use]
    pub fn latency_ns(&self, now_ns: u64) -> Option<u64> {
        let passed = now_ns.wrapping_sub(self.sent_ns) & SENT_MASK;
        (passed >> (SENT_BITS - 1) == 0).then_some(passed)
    }
}

/// The time as it stands in a stamp.
pub(crate) fn encode_time(sent_ns: u64) -> [u8; 6] {
    let [_, _, time @ ..] = sent_ns.to_be_bytes();
    time
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_of_another_clock_is_no_latency() {
        let stamp = Stamp { stream: 1, sequence: 1, sent_ns: 1_000 };
        assert_eq!(stamp.latency_ns(999), None);
        assert_eq!(stamp.latency_ns(1_000), Some(0));
        assert_eq!(stamp.latency_ns(2_500), Some(1_500));
        // Over the end of 48 bits.
        let late = Stamp { sent_ns: SENT_MASK, ..stamp };
        assert_eq!(late.latency_ns(SENT_MASK + 10), Some(10));
    }

    proptest! {
        #[test] // X-5
        fn a_stamp_is_read_back_from_every_payload(
            stream: u16, sequence: u64, sent_ns: u64, passed in 0..1u64 << 46, more in 0usize..50
        ) {
            let stamp = Stamp { stream, sequence, sent_ns };
            let mut payload = stamp.encode().to_vec();
            payload.resize(STAMP_OCTETS + more, 0xa5);
            let read = Stamp::decode(&payload).unwrap();
            prop_assert_eq!((read.stream, read.sequence, read.sent_ns), (stream, sequence, sent_ns & SENT_MASK));
            prop_assert_eq!(read.latency_ns(sent_ns.wrapping_add(passed)), Some(passed));
        }

        #[test]
        fn what_is_no_stamp_is_never_read_as_one(mut payload in proptest::collection::vec(any::<u8>(), 0..40), at in 0usize..2) {
            prop_assert!(payload.len() >= STAMP_OCTETS || Stamp::decode(&payload).is_none());
            if payload.len() >= STAMP_OCTETS {
                payload[..2].copy_from_slice(&MAGIC);
                prop_assert!(Stamp::decode(&payload).is_some());
                payload[at] ^= 0x10;
                prop_assert!(Stamp::decode(&payload).is_none());
            }
        }
    }
}
