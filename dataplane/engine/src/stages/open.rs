//! Integrity check and decryption of a whole lane, then the second look at the replay window.

use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::sad::{Limit, SaIndex};
use crate::slot::Slot;
use std::net::SocketAddr;
use warren_aead::{OpenJob, Verdict};
use warren_seam::{Encapsulation, Event, SaId};

/// Opens every packet of the lane.
pub(crate) fn open(core: &mut Core, lane: &mut Vec<Slot>) {
    let mut jobs = OpenJob::recycle(std::mem::take(&mut core.bench.open_jobs));
    for slot in lane.iter_mut() {
        let opener = core.sad.opener(slot.sa).expect("lookup keeps only packets of our own SAs");
        let esn_high = opener.usage.esn.then_some((slot.sequence >> 32) as u32);
        let at = usize::from(slot.esp_at);
        jobs.push(OpenJob::new(&opener.key, esn_high, &mut slot.frame.bytes_mut()[at..]));
    }
    warren_aead::open(&mut jobs);
    core.bench.opened.clear();
    core.bench.opened.extend(jobs.iter().map(|job| job.verdict));
    core.bench.open_jobs = OpenJob::recycle(jobs);
    for (slot, &verdict) in lane.iter_mut().zip(&core.bench.opened) {
        slot.failure = proven(core, slot.sa, verdict).err();
    }
    core.sweep(lane);
}

/// What a verdict means for a packet of that SA.
#[inline]
pub(crate) fn proven(core: &Core, index: SaIndex, verdict: Verdict) -> Result<(), DropReason> {
    match verdict {
        Verdict::Authentic => Ok(()),
        Verdict::Malformed => Err(DropReason::EspLength),
        Verdict::Forged | Verdict::Unopened => {
            if let Some(opener) = core.sad.opener(index) {
                opener.usage.meter.bad_icv();
            }
            Err(DropReason::BadIcv)
        }
    }
}

/// Moves the windows. Every tag in the lane has verified; two copies of a packet in one batch both passed `check`,
/// so this step decides again.
pub(crate) fn accept(core: &mut Core, lane: &mut Vec<Slot>) {
    let mut opened = 0;
    for slot in lane.iter_mut() {
        let tuple = &slot.summary.tuple;
        let from = || SocketAddr::new(tuple.source, tuple.source_port.unwrap_or(0));
        let shape = core.sad.inbound(slot.sa).expect("lookup found it in this turn").shape;
        let octets = slot.frame.len() - usize::from(slot.esp_at) - shape.transform.overhead_octets();
        slot.failure = accept_number(core, slot.sa, slot.sequence, octets, from).err();
        opened += usize::from(slot.failure.is_none());
    }
    core.counters.add(Tally::Opened, opened);
    core.sweep(lane);
}

/// Moves the window of an SA for an authentic packet from there, with so many octets of text, and reports what has to be reported. The
/// caller counts what was opened.
#[inline]
pub(crate) fn accept_number(
    core: &mut Core,
    index: SaIndex,
    sequence: u64,
    octets: usize,
    from: impl Fn() -> SocketAddr,
) -> Result<(), DropReason> {
    let stamp = core.stamp;
    let sa = core.sad.inbound_mut(index).expect("lookup found it in this turn");
    let id = sa.id;
    let opener = sa.opener.as_deref_mut().expect("lookup keeps only packets of our own SAs");
    if opener.usage.is_exhausted() {
        return Err(DropReason::SaExpired);
    }
    let newest = sequence > opener.window.highest();
    if !opener.window.accept(sequence) {
        opener.usage.meter.replayed();
        return Err(DropReason::Replayed);
    }
    let limit = opener.usage.add(octets);
    opener.packets += 1;
    opener.publish(stamp);
    let first = !std::mem::replace(&mut opener.first_reported, true);
    // Only the newest packet says where the peer is: an old one that was held back on the way must not.
    let moved =
        newest && matches!(sa.shape.encapsulation, Encapsulation::Udp { .. }) && from() != opener.seen;
    if moved {
        opener.seen = from();
    }
    if first || moved || limit.is_some() {
        report(core, index, id, first, moved.then(from), limit);
    }
    Ok(())
}

/// Tells control; what does not get through is due again with the next packet.
#[cold]
fn report(
    core: &mut Core,
    index: SaIndex,
    id: SaId,
    first: bool,
    moved: Option<SocketAddr>,
    limit: Option<Limit>,
) {
    let first_lost = first && !core.report(Event::FirstInbound(id));
    let moved_lost = moved.is_some_and(|remote| !core.report(Event::PeerMoved { sa: id, remote }));
    let limit_lost = limit.filter(|&limit| !core.report(limit_event(limit, id)));
    let Some(sa) = core.sad.inbound_mut(index) else { return };
    let home = crate::sad::peer_address(&sa.shape);
    let Some(opener) = sa.opener.as_deref_mut() else { return };
    if first_lost {
        opener.first_reported = false;
    }
    if moved_lost {
        opener.seen = home;
    }
    if let Some(limit) = limit_lost {
        opener.usage.forget(limit);
    }
}

/// The event that tells of a limit.
#[must_use]
pub(crate) fn limit_event(limit: Limit, id: SaId) -> Event {
    match limit {
        Limit::Soft => Event::SoftExpire(id),
        Limit::Hard => Event::HardExpire(id),
    }
}
