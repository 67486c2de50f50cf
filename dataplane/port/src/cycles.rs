//! The clock of what is measured by the packet: the time stamp counter where there is one, else nanoseconds.
//!
//! It is read without a system call and without waiting for what the CPU still has in flight, so a reading is right to some
//! tens of cycles: put it around a batch, never around a packet.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Whether [`now`] counts cycles of the time stamp counter. Elsewhere a "cycle" is a nanosecond of the monotonic clock.
pub const IS_TSC: bool = cfg!(target_arch = "x86_64");

/// How long the counter is compared with the monotonic clock, once in a process: long enough that what reading both costs
/// is less than a millionth.
const CALIBRATED_FOR: Duration = Duration::from_millis(50);

/// The counter. It runs at a constant rate, whatever the core's own frequency, and does not stop while others use the core.
#[cfg(target_arch = "x86_64")]
#[inline]
#[must_use]
pub fn now() -> u64 {
    // SAFETY: every CPU with 64-bit mode has the instruction, it touches no memory, and Linux leaves it to user space.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The counter: nanoseconds since this was first asked.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
#[must_use]
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// How often the counter counts in a second. The first call takes a twentieth of a second and does nothing but wait.
#[must_use]
pub fn per_second() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(|| if IS_TSC { calibrated(CALIBRATED_FOR) } else { 1e9 })
}

fn calibrated(span: Duration) -> f64 {
    let (start, from) = (Instant::now(), now());
    while start.elapsed() < span {
        std::hint::spin_loop();
    }
    let (elapsed, to) = (start.elapsed(), now());
    (to - from) as f64 / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_never_goes_back_and_its_rate_is_asked_once() {
        let (rate, from) = (per_second(), now());
        assert!(rate > 0.0 && rate.is_finite());
        assert!((0..1000).map(|_| now()).is_sorted());
        assert!(now() >= from);
        assert_eq!(per_second().to_bits(), rate.to_bits());
    }
}
