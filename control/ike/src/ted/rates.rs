//! How often something may happen, in one number for each thing (REQUIREMENTS F-8, TED-7).
//!
//! A rate is a token bucket written as the time at which it would be full again: no tokens to count, eight octets to keep,
//! and a table of fixed size for as many prefixes as anybody cares to invent.

use crate::crypto::prf;
use crate::limits::{ANSWER_RATES, ANSWERS_PREFIX_BITS, ANSWERS_PREFIX_SHARE};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{AddressRange, Hash};

/// So many in one second, all of them at once if need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    per_second: u32,
}

/// When the bucket is full again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FullAt {
    micros: u64,
}

const SECOND: u64 = 1_000_000;

fn micros(now: Duration) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

impl Rate {
    /// The bucket after one more, if there is room for it.
    fn after_one(self, now: Duration, full_at: FullAt) -> Option<FullAt> {
        let interval = SECOND.checked_div(u64::from(self.per_second))?.max(1);
        let now = micros(now);
        let next = full_at.micros.max(now).saturating_add(interval);
        (next - now <= SECOND.max(interval)).then_some(FullAt { micros: next })
    }
}

/// One rate for everybody.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    full_at: FullAt,
}

impl Bucket {
    pub(super) const fn new(per_second: u32) -> Self {
        Self { rate: Rate { per_second }, full_at: FullAt { micros: 0 } }
    }

    /// Whether `take` would succeed.
    pub(super) fn has_one(&self, now: Duration) -> bool {
        self.rate.after_one(now, self.full_at).is_some()
    }

    /// Takes one if there is one.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let after = self.rate.after_one(now, self.full_at);
        self.full_at = after.unwrap_or(self.full_at);
        after.is_some()
    }

    /// Another rate; what was taken stays taken.
    pub(super) const fn set_rate(&mut self, per_second: u32) {
        self.rate = Rate { per_second };
    }
}

/// One rate for each prefix. The place of a prefix depends on a key, so that nobody can choose with whom he shares it.
struct Prefixes {
    rate: Rate,
    slots: Box<[FullAt]>,
}

impl Prefixes {
    fn new(per_second: u32) -> Self {
        Self { rate: Rate { per_second }, slots: vec![FullAt::default(); ANSWER_RATES].into() }
    }

    fn take(&mut self, now: Duration, key: &[u8; 32], what: &[u8], address: IpAddr) -> bool {
        let Some(prefix) = prefix(address) else { return false };
        let mac = prf(Hash::Sha256, key, &[what, &address_octets(prefix.first())]);
        let at = mac.first_chunk::<8>().map_or(0, |octets| u64::from_be_bytes(*octets));
        let at = (at % self.slots.len().max(1) as u64) as usize;
        let Some(slot) = self.slots.get_mut(at) else { return false };
        let after = self.rate.after_one(now, *slot);
        *slot = after.unwrap_or(*slot);
        after.is_some()
    }
}

/// Which rate an answer would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// That of the gateway's prefix.
    Gateway,
    /// That of the end host's prefix.
    Source,
    /// That of all.
    All,
}

/// Everything that bounds the answers of a responder.
pub(super) struct AnswerRates {
    key: [u8; 32],
    gateways: Prefixes,
    sources: Prefixes,
    all: Bucket,
}

impl AnswerRates {
    pub(super) fn new(per_second: u32, key: [u8; 32]) -> Self {
        let share = Self::share(per_second);
        Self {
            key,
            gateways: Prefixes::new(share),
            sources: Prefixes::new(share),
            all: Bucket::new(per_second),
        }
    }

    const fn share(per_second: u32) -> u32 {
        per_second.div_ceil(ANSWERS_PREFIX_SHARE)
    }

    /// Another rate; what was taken stays taken.
    pub(super) const fn set_rate(&mut self, per_second: u32) {
        let share = Self::share(per_second);
        self.gateways.rate = Rate { per_second: share };
        self.sources.rate = Rate { per_second: share };
        self.all.set_rate(per_second);
    }

    /// One answer to that gateway, about traffic of that end host. The rate of all comes last: what one prefix asks too
    /// often costs the others nothing.
    pub(super) fn take(&mut self, now: Duration, gateway: IpAddr, source: IpAddr) -> Result<(), Exceeded> {
        let Self { key, gateways, sources, all } = self;
        if !gateways.take(now, key, b"gateway", gateway) {
            return Err(Exceeded::Gateway);
        }
        if !sources.take(now, key, b"source", source) {
            return Err(Exceeded::Source);
        }
        if all.take(now) { Ok(()) } else { Err(Exceeded::All) }
    }
}

fn prefix(address: IpAddr) -> Option<AddressRange> {
    let (ipv4, ipv6) = ANSWERS_PREFIX_BITS;
    AddressRange::from_prefix(address, if address.is_ipv6() { ipv6 } else { ipv4 })
}

/// The address in a form that is different for each, of either family.
pub(super) fn address_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
    .octets()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, now: Duration) -> usize {
        (0..1000).filter(|_| bucket.take(now)).count()
    }

    #[test] // TED-7, F-8
    fn a_bucket_holds_one_second_and_refills_at_its_rate() {
        let mut bucket = Bucket::new(10);
        assert_eq!(taken(&mut bucket, Duration::ZERO), 10);
        assert!(!bucket.has_one(Duration::from_millis(99)) && bucket.has_one(Duration::from_millis(100)));
        assert_eq!(taken(&mut bucket, Duration::from_millis(500)), 5);
        assert_eq!(taken(&mut bucket, Duration::from_secs(60)), 10);
        bucket.set_rate(1);
        assert_eq!(taken(&mut bucket, Duration::from_secs(60)), 0, "what was taken stays taken");
        assert_eq!(taken(&mut bucket, Duration::from_secs(70)), 1);
        assert_eq!(taken(&mut Bucket::new(0), Duration::from_secs(1)), 0, "zero is never");
    }

    #[test] // F-8
    fn one_prefix_takes_only_its_share_and_others_are_still_answered() {
        let mut rates = AnswerRates::new(100, [7; 32]);
        let mut take = |gateway: &str, source: &str| {
            rates.take(Duration::ZERO, gateway.parse().unwrap(), source.parse().unwrap())
        };
        for at in 0..25 {
            assert_eq!(take(&format!("198.51.100.{at}"), &format!("10.0.{at}.1")), Ok(()));
        }
        assert_eq!(take("198.51.100.77", "10.7.0.1"), Err(Exceeded::Gateway));
        for at in 0..25 {
            assert_eq!(take(&format!("2001:db8:0:{at}00::1"), &format!("10.9.0.{at}")), Ok(()));
        }
        assert_eq!(take("203.0.113.1", "10.9.0.77"), Err(Exceeded::Source));
        for at in 0..50 {
            assert_eq!(take(&format!("192.{at}.2.1"), &format!("10.77.{at}.1")), Ok(()));
        }
        assert_eq!(take("203.0.113.1", "10.99.0.1"), Err(Exceeded::All));
    }

    #[test] // F-8
    fn a_million_prefixes_take_no_more_memory_than_one() {
        let mut rates = AnswerRates::new(1_000_000, [7; 32]);
        let slots = (rates.gateways.slots.len(), rates.sources.slots.len());
        let answered = (0..20_000u32)
            .filter(|at| {
                let address = IpAddr::from((0x0b00_0000 + (at << 8)).to_be_bytes());
                rates.take(Duration::ZERO, address, address).is_ok()
            })
            .count();
        assert_eq!((answered, (rates.gateways.slots.len(), rates.sources.slots.len())), (20_000, slots));
        assert_eq!(size_of::<FullAt>(), 8);
    }
}
