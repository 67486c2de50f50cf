//! The inside of ESP: which SA, which number, padding and trailer behind, header in front.

use crate::bindings::{Binding, Stack};
use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::handoff::Work;
use crate::packet::{esp, protocol};
use crate::passage::PassageId;
use crate::sad::{Limit, SaIndex, WorkerIndex};
use crate::slot::{Slot, empty_out};
use crate::stages::open::limit_event;
use crate::stages::{discovery, transport};
use warren_seam::{Event, SaMode};

/// Finds the SA of each packet's next level, and hands those of other workers over.
pub(crate) fn bind(core: &mut Core, lane: &mut Vec<Slot>, spare: &mut Vec<Slot>) {
    let mut unbound = empty_out(lane, spare);
    for mut slot in unbound.drain(..) {
        if !core.bindings.of(slot.rule).is_some_and(Binding::is_bound) {
            refuse_unbound(core, slot);
            continue;
        }
        let level = usize::from(slot.level);
        let Some(index) = stack_of(core, &slot).and_then(|stack| stack.level(level)) else {
            core.discard(slot, DropReason::StackChanged);
            continue;
        };
        match foreign_owner(core, index) {
            None => {
                slot.sa = index;
                lane.push(slot);
            }
            Some(owner) => {
                let below = (level > 0).then(|| core.sad.outbound(slot.sa).map(|sa| sa.id)).flatten();
                let (rule, level) = (slot.rule, slot.level);
                let work = Work::Protect { rule, level, below, generation: core.generation };
                core.hand_over(slot, owner, work);
            }
        }
    }
    *spare = unbound;
}

/// The stack that a packet goes through. Where another worker began, and the rule has been bound anew since, there is
/// none: the rest would be a part of another stack.
#[must_use]
pub(crate) fn stack_of<'a>(core: &'a Core, slot: &Slot) -> Option<&'a Stack> {
    let binding = core.bindings.of(slot.rule)?;
    match slot.level {
        0 => binding.stack_of(&slot.summary.tuple, core.settings.hash_seed),
        levels => binding.stack_behind(levels.into(), slot.sa),
    }
}

/// The other worker that owns an outbound SA.
#[must_use]
pub(crate) fn foreign_owner(core: &Core, index: SaIndex) -> Option<WorkerIndex> {
    let sa = core.sad.outbound(index)?;
    core.sad.sealer(index).is_none().then_some(sa.owner)
}

/// Nothing is ready to protect it: control is asked once, and it is dropped (REQUIREMENTS F-24), unless half a pair is there
/// already and the other about to come.
pub(crate) fn refuse_unbound(core: &mut Core, slot: Slot) {
    if PassageId::of(slot.rule).is_some() {
        return core.discard(slot, DropReason::PassageClosed);
    }
    if core.bindings.of(slot.rule).is_some_and(Binding::discovers) {
        return discovery::seek(core, slot);
    }
    if core.bindings.wants_acquire(slot.rule)
        && core.report(Event::Acquire { rule: slot.rule, packet: slot.summary.tuple })
    {
        core.bindings.acquiring(slot.rule);
    }
    if slot.level > 0 || !core.bindings.of(slot.rule).is_some_and(Binding::is_larval) {
        return core.discard(slot, DropReason::NoSa);
    }
    if let Some(slot) = core.larval.wait(slot, core.now) {
        core.discard(slot, DropReason::NoSa);
    }
}

/// Numbers every packet of the lane, in their order, and builds what will be sealed.
pub(crate) fn encap(core: &mut Core, lane: &mut Vec<Slot>) {
    for slot in lane.iter_mut() {
        slot.failure = wrap(core, slot).err();
    }
    core.sweep(lane);
}

/// The next sequence number of an outbound SA of ours, for a packet with so many octets inside. What has to be reported
/// about the SA is.
#[inline]
pub(crate) fn take_number(core: &mut Core, index: SaIndex, inner: usize) -> Result<u64, DropReason> {
    let sealer = core.sad.sealer_mut(index).ok_or(DropReason::NoSa)?;
    let (sequence, limit) = sealer.number(inner);
    if sequence.is_some() {
        sealer.publish(core.stamp);
    }
    if let Some(limit) = limit {
        report_limit(core, index, limit);
    }
    sequence.ok_or(DropReason::SaExpired)
}

/// Tells control; what does not get through is due again with the next packet.
#[cold]
pub(crate) fn report_limit(core: &mut Core, index: SaIndex, limit: Limit) {
    let Some(id) = core.sad.outbound(index).map(|sa| sa.id) else { return };
    if !core.report(limit_event(limit, id))
        && let Some(sealer) = core.sad.sealer_mut(index)
    {
        sealer.usage.forget(limit);
    }
}

fn wrap(core: &mut Core, slot: &mut Slot) -> Result<(), DropReason> {
    let sa = core.sad.outbound(slot.sa).expect("bind found it in this turn");
    let (shape, spi) = (sa.shape, sa.spi);
    let sealer = core.sad.sealer(slot.sa).expect("bind keeps only packets of our own SAs");
    if !sealer.selector.contains(&slot.summary.tuple) {
        return Err(DropReason::OutsideSelector);
    }
    let (kept, next_header) = match shape.mode {
        SaMode::Tunnel => (0, if slot.summary.is_ipv6() { protocol::IPV6 } else { protocol::IPV4 }),
        SaMode::Transport => {
            let place = transport::place(slot, &shape)?;
            (place.at, slot.frame.bytes()[place.field])
        }
    };
    let inner = slot.frame.len() - kept;
    let padded = esp::padding_octets(inner, shape.alignment()) + esp::TRAILER_OCTETS;
    let head = esp::HEADER_OCTETS + shape.transform.iv_octets();
    let tail = padded + shape.transform.icv_octets();
    // Checked before a number is spent on it.
    if slot.frame.tailroom() < tail || slot.frame.headroom() < head + shape.outer_octets() {
        return Err(DropReason::NoRoom);
    }
    slot.sequence = take_number(core, slot.sa, inner)?;
    let Some(octets) = slot.frame.push_back(tail) else { return Err(DropReason::NoRoom) };
    esp::emit_trailer(&mut octets[..padded], next_header);
    // In transport mode the IP header moves to the front now, and leaves room for UDP behind it.
    let between = if shape.mode == SaMode::Transport { shape.outer_octets() } else { 0 };
    if slot.frame.push_front(between + head).is_none() {
        return Err(DropReason::NoRoom);
    }
    let at = kept + between;
    slot.esp_at = at as u16;
    let packet = slot.frame.bytes_mut();
    if kept > 0 {
        packet.copy_within(between + head..between + head + kept, 0);
    }
    let header = &mut packet[at..at + head];
    header[..4].copy_from_slice(&spi.0.to_be_bytes());
    header[4..esp::HEADER_OCTETS].copy_from_slice(&(slot.sequence as u32).to_be_bytes());
    // The IV is written when the packet is sealed; until then nothing stale may stand there.
    header[esp::HEADER_OCTETS..].fill(0);
    Ok(())
}
