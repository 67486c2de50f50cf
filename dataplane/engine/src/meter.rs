//! What one SA has done, for `dpctl` and for the liveness check: written by its owner, read by control.

use crate::counters::raise;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A time as the meters keep it, made once for all packets of a turn.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// Of a time since the start of the process.
    #[must_use]
    pub(crate) fn of(now: Duration) -> Self {
        let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX - 1);
        Self(nanoseconds + 1)
    }
}

/// Counters of one SA.
#[derive(Default)]
pub struct Meter {
    packets: AtomicU64,
    octets: AtomicU64,
    /// Nanoseconds since the start of the process, plus one; 0 for never.
    last_used: AtomicU64,
    sequence: AtomicU64,
    replayed: AtomicU64,
    bad_icv: AtomicU64,
    /// Packets that were counted before there was any.
    base: u64,
}

/// Counters of one SA at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaCounters {
    /// Packets protected, or accepted.
    pub packets: u64,
    /// Octets of their payload.
    pub octets: u64,
    /// When the last of them passed.
    pub last_used: Option<Duration>,
    /// Highest sequence number sent or accepted.
    pub sequence: u64,
    /// Packets refused because they had been seen.
    pub replayed: u64,
    /// Packets refused because their integrity check failed.
    pub bad_icv: u64,
}

impl Meter {
    /// Of an SA whose packets are counted from there: an outbound one counts by its sequence numbers.
    #[must_use]
    pub(crate) fn from(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// What has passed, as its owner keeps it. Nothing is read here, so that a packet does not wait for this memory.
    #[inline]
    pub(crate) fn publish(&self, packets: u64, octets: u64, sequence: u64, stamp: Stamp) {
        self.packets.store(packets, Ordering::Relaxed);
        self.octets.store(octets, Ordering::Relaxed);
        self.last_used.store(stamp.0, Ordering::Relaxed);
        self.sequence.store(sequence, Ordering::Relaxed);
    }

    pub(crate) fn replayed(&self) {
        raise(&self.replayed, 1);
    }

    pub(crate) fn bad_icv(&self) {
        raise(&self.bad_icv, 1);
    }

    /// The numbers as they are now.
    #[must_use]
    pub fn snapshot(&self) -> SaCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SaCounters {
            packets: read(&self.packets).saturating_sub(self.base),
            octets: read(&self.octets),
            last_used: read(&self.last_used).checked_sub(1).map(Duration::from_nanos),
            sequence: read(&self.sequence),
            replayed: read(&self.replayed),
            bad_icv: read(&self.bad_icv),
        }
    }
}
