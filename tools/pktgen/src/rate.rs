//! How fast: a token bucket on a clock that the caller reads.
//!
//! Time is counted exactly, in nanoseconds times the rate, so that nothing drifts however odd the rate is. A caller that comes
//! late may catch up with one batch; what is beyond that is forfeited and counted, because a burst would measure the
//! device's queues and not its rate.

use std::fmt;
use std::str::FromStr;

use crate::limits::{BITS_PER_SECOND_MAX, PACKETS_PER_SECOND_MAX};

const NS_PER_SECOND: u128 = 1_000_000_000;

/// A rate that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// As fast as it goes.
    Unlimited,
    /// Packets per second, not zero.
    Packets(u64),
    /// Bits of frames, check sequence included, per second, not zero.
    Bits(u64),
}

/// Grants frames.
#[derive(Debug, Clone)]
pub struct Pacer {
    rate: Rate,
    /// When the next frame is due: nanoseconds since `origin_ns`, times the rate.
    due: u128,
    origin_ns: u64,
    /// How far `due` may lie behind the present: one batch of the smallest frames.
    credit: u128,
    /// Cost of all frames that were forfeited.
    forfeited: u128,
}

impl Pacer {
    /// Grants from `now_ns` on. A caller that comes late catches up with at most `burst_frames` frames, none of them of fewer
    /// than `smallest_octets`.
    #[must_use]
    pub fn new(rate: Rate, now_ns: u64, burst_frames: usize, smallest_octets: u16) -> Self {
        let mut pacer = Self { rate, due: 0, origin_ns: now_ns, credit: 0, forfeited: 0 };
        // The frame that is due now is one of the burst.
        pacer.credit = pacer.cost(smallest_octets) * (burst_frames as u128).saturating_sub(1);
        pacer
    }

    /// Grants one frame of `octets`, if it is due at `now_ns`, and says when it was.
    pub fn grant(&mut self, now_ns: u64, octets: u16) -> Option<u64> {
        let Some(rate) = self.rate.per_second() else { return Some(now_ns) };
        let present = u128::from(now_ns.saturating_sub(self.origin_ns)) * rate;
        if self.due > present {
            return None;
        }
        self.lapse(now_ns);
        let due_ns = self.next_ns();
        self.due += self.cost(octets);
        Some(due_ns)
    }

    /// Forfeits what is older than a batch at `now_ns`, for who asked for no frame since.
    pub fn lapse(&mut self, now_ns: u64) {
        let Some(rate) = self.rate.per_second() else { return };
        let present = u128::from(now_ns.saturating_sub(self.origin_ns)) * rate;
        let earliest = present.saturating_sub(self.credit);
        if self.due < earliest {
            self.forfeited += earliest - self.due;
            self.due = earliest;
        }
    }

    /// When the next frame is due.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        self.rate.per_second().map_or(0, |rate| self.origin_ns + self.due.div_ceil(rate) as u64)
    }

    /// Frames of `octets` that were due and not asked for in time.
    #[must_use]
    pub fn forfeited(&self, octets: u16) -> u64 {
        self.forfeited.checked_div(self.cost(octets)).unwrap_or(0) as u64
    }

    /// The rate that was asked for.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    fn cost(&self, octets: u16) -> u128 {
        match self.rate {
            Rate::Unlimited => 0,
            Rate::Packets(_) => NS_PER_SECOND,
            Rate::Bits(_) => NS_PER_SECOND * 8 * u128::from(octets),
        }
    }
}

impl Rate {
    fn per_second(self) -> Option<u128> {
        match self {
            Self::Unlimited => None,
            Self::Packets(rate) | Self::Bits(rate) => Some(u128::from(rate.max(1))),
        }
    }
}

/// `100kpps`, `1.5Mpps`, `250pps`, `10Gbit`, `950.5Mbit` or `max`.
impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Unlimited);
        }
        let refuse = || format!("`{text}` is no rate: write 100kpps, 1.5Mpps, 950Mbit, 10Gbit or max");
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
        let (number, unit) = text.split_at(unit_at);
        let (prefix, is_bits) = match unit.strip_suffix("pps") {
            Some(prefix) => (prefix, false),
            None => (unit.strip_suffix("bit").ok_or_else(refuse)?, true),
        };
        let factor = match prefix {
            "" => 1.0,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            _ => return Err(refuse()),
        };
        let rate = number.parse::<f64>().map_err(|_| refuse())? * factor;
        let max = if is_bits { BITS_PER_SECOND_MAX } else { PACKETS_PER_SECOND_MAX };
        if !(1.0..=max as f64).contains(&rate) {
            return Err(format!("`{text}`: a rate is between 1 and {max}"));
        }
        let rate = rate.round() as u64;
        Ok(if is_bits { Self::Bits(rate) } else { Self::Packets(rate) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("as fast as it goes"),
            Self::Packets(rate) => write!(f, "{} packet/s", crate::numbers::short(*rate as f64)),
            Self::Bits(rate) => write!(f, "{} bit/s", crate::numbers::short(*rate as f64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 5_000_000_000;

    /// Everything that is granted at one moment.
    fn drain(pacer: &mut Pacer, now: u64, octets: u16) -> usize {
        let mut granted = 0;
        while granted < 10_000 && pacer.grant(now, octets).is_some() {
            granted += 1;
        }
        granted
    }

    #[test]
    fn rates_are_written_as_people_write_them() {
        for (text, rate) in [
            ("max", Rate::Unlimited),
            ("1pps", Rate::Packets(1)),
            ("1.5Mpps", Rate::Packets(1_500_000)),
            ("14.88Mpps", Rate::Packets(14_880_000)),
            ("100kbit", Rate::Bits(100_000)),
            ("10Gbit", Rate::Bits(10_000_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
        for text in
            ["", "pps", "0pps", "-1pps", "1e9pps", "1", "1Mb", "1Tbit", "801Gbit", "3Gpps", "1.2.3pps"]
        {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn bits_count_the_check_sequence() {
        // 64 octets are 512 bits: 5.12 Mbit/s are ten thousand frames.
        let mut pacer = Pacer::new(Rate::Bits(5_120_000), START, 1, 64);
        let granted: usize = (0..=1_000_000u64).map(|us| drain(&mut pacer, START + us * 1_000, 64)).sum();
        assert_eq!(granted, 10_001);
    }

    #[test]
    fn a_caller_that_slept_gets_one_batch_and_the_rest_is_counted() {
        let mut pacer = Pacer::new(Rate::Packets(1_000_000), START, 32, 64);
        assert_eq!(drain(&mut pacer, START, 64), 1);
        // Ten milliseconds are ten thousand packets.
        assert_eq!(drain(&mut pacer, START + 10_000_000, 64), 32);
        assert_eq!(pacer.forfeited(64), 10_000 - 32);
        assert_eq!(drain(&mut pacer, START + 10_001_000, 64), 1);
        assert_eq!(pacer.forfeited(64), 10_000 - 32);
    }

    #[test]
    fn without_a_rate_everything_is_due_at_once() {
        let mut pacer = Pacer::new(Rate::Unlimited, START, 32, 64);
        assert_eq!(drain(&mut pacer, START, 64), 10_000);
        assert_eq!(pacer.forfeited(64), 0);
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_its_share_and_one_batch(
            rate in 1u64..3_000_000, burst in 1usize..100, waits in proptest::collection::vec(0u64..200_000, 1..60)
        ) {
            let mut pacer = Pacer::new(Rate::Packets(rate), START, burst, 64);
            let mut grants: Vec<u64> = Vec::new();
            let mut now = START;
            for wait in &waits {
                now += wait;
                for _ in 0..drain(&mut pacer, now, 64) {
                    grants.push(now);
                }
            }
            for (first, from) in grants.iter().enumerate() {
                for (last, to) in grants.iter().enumerate().skip(first).step_by(7) {
                    let share = u128::from(to - from) * u128::from(rate) / NS_PER_SECOND;
                    let granted = last - first + 1;
                    prop_assert!(granted as u128 <= share + burst as u128, "{} in {} ns", granted, to - from);
                }
            }
            // Nothing is lost silently either: what was due is granted or counted.
            let due = u128::from(now - START) * u128::from(rate) / NS_PER_SECOND + 1;
            let known = grants.len() as u128 + u128::from(pacer.forfeited(64));
            prop_assert!(known.abs_diff(due) <= 1, "{} known of {}", known, due);
        }

        #[test]
        fn a_caller_that_never_sleeps_gets_exactly_the_rate(rate in 1u64..1_000_000, millis in 1u64..50) {
            let mut pacer = Pacer::new(Rate::Packets(rate), START, 8, 64);
            let end = START + millis * 1_000_000;
            let (mut granted, mut last_due) = (0u64, START);
            let mut now = START;
            while now <= end {
                while let Some(due) = pacer.grant(now, 64) {
                    prop_assert!(due <= now && due >= last_due);
                    last_due = due;
                    granted += 1;
                }
                now += 1_000;
            }
            prop_assert_eq!(granted, millis * rate / 1_000 + 1);
            prop_assert_eq!(pacer.forfeited(64), 0);
        }
    }
}
