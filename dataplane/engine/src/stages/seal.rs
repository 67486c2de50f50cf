//! The AEAD over all packets of a level.

use crate::core::Core;
use crate::counters::Tally;
use crate::slot::Slot;
use warren_aead::SealJob;

/// Seals every packet of the lane. Numbers were given out in packet order before, so the kernel may take the packets
/// in whatever order suits it.
pub(crate) fn seal(core: &mut Core, lane: &mut [Slot]) {
    let mut jobs = SealJob::recycle(std::mem::take(&mut core.bench.seal_jobs));
    for slot in lane.iter_mut() {
        let sealer = core.sad.sealer(slot.sa).expect("bind keeps only packets of our own SAs");
        let esn_high = sealer.usage.esn.then_some((slot.sequence >> 32) as u32);
        let at = usize::from(slot.esp_at);
        jobs.push(SealJob::new(&sealer.key, slot.sequence, esn_high, &mut slot.frame.bytes_mut()[at..]));
    }
    warren_aead::seal(&mut jobs);
    core.counters.add(Tally::Sealed, jobs.len());
    core.bench.seal_jobs = SealJob::recycle(jobs);
}
