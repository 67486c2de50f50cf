//! A token bucket, so that errors are answered but never flooded with answers, and control hears of probes but never
//! drowns in them. Whoever floods pays with a few compares for each packet.

use std::time::Duration;

/// A bucket of tokens that fills at a steady rate.
pub(crate) struct TokenBucket {
    tokens: u32,
    burst: u32,
    per_second: u32,
    /// When the youngest token in the bucket was made.
    filled: Duration,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub(crate) const fn new(burst: u32, per_second: u32) -> Self {
        Self { tokens: burst, burst, per_second, filled: Duration::ZERO }
    }

    /// Takes a token; `false` when there is none.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.filled);
        let passed_ms = passed.as_secs().saturating_mul(1000).saturating_add(passed.subsec_millis().into());
        let made = passed_ms.saturating_mul(self.per_second.into()) / 1000;
        if made > 0 {
            self.tokens = self.tokens.saturating_add(u32::try_from(made).unwrap_or(u32::MAX)).min(self.burst);
            // A fraction of a token that has been waited for is given away; that errs on the quiet side.
            self.filled = now;
        }
        let any = self.tokens > 0;
        self.tokens -= u32::from(any);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(5, 10);
        let at = Duration::from_millis;
        assert_eq!((0..20).filter(|_| bucket.take(at(0))).count(), 5);
        assert!(!bucket.take(at(99)));
        assert!(bucket.take(at(100)));
        assert!(!bucket.take(at(100)));
        assert_eq!((0..20).filter(|_| bucket.take(at(100_000))).count(), 5);
    }
}
