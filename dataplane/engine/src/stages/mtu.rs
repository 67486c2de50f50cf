//! Will it fit once it is protected? What does not is fragmented where that is allowed, else its sender is told;
//! TCP is told in advance.

use crate::core::Core;
use crate::counters::{Tally, WorkerCounters};
use crate::drop_reason::DropReason;
use crate::handoff::Work;
use crate::limits::{IPV4_MTU_MIN, IPV6_MTU_MIN};
use crate::packet::icmp::Error;
use crate::packet::{ipv4, ipv6, protocol, tcp};
use crate::slot::{Lanes, Slot, empty_out};
use crate::stages::answer::answer;
use crate::stages::{encap, fragment};

/// What is too big leaves the lane here, or is cut to size.
pub(crate) fn mtu(core: &mut Core, lanes: &mut Lanes) {
    let mut lane = empty_out(&mut lanes.protect, &mut lanes.spare);
    for mut slot in lane.drain(..) {
        if slot.level > 0 {
            // Taken over in the middle of its stack; it was measured before its first level.
            lanes.protect.push(slot);
            continue;
        }
        let stack = encap::stack_of(core, &slot);
        let bound = stack.and_then(|stack| Some((stack.level(0)?, stack.mtu(), stack.is_transport())));
        let Some((first, room, whole)) = bound else {
            encap::refuse_unbound(core, slot);
            continue;
        };
        // Fragments must be made where the sequence numbers are given out, so that they stay together.
        if let Some(owner) = encap::foreign_owner(core, first) {
            let work = Work::Protect { rule: slot.rule, level: 0, below: None, generation: core.generation };
            core.hand_over(slot, owner, work);
            continue;
        }
        if core.settings.mss_clamp {
            clamp(&mut slot, room, &core.counters);
        }
        fit(core, lanes, slot, room, whole);
    }
    lanes.spare = lane;
}

fn fit(core: &mut Core, lanes: &mut Lanes, slot: Slot, room: usize, whole: bool) {
    if slot.summary.octets <= room {
        return lanes.protect.push(slot);
    }
    // Transport mode takes no fragments, so that the sender has to make them smaller, DF or not.
    let mtu = u16::try_from(room).unwrap_or(u16::MAX);
    let too_big = (DropReason::TooBig, Some(Error::TooBig { mtu }));
    match refusal(&slot, room).or_else(|| whole.then_some(too_big)) {
        None => {
            let mut made = std::mem::take(&mut lanes.protect);
            fragment::fragment(core, slot, room, &mut made);
            lanes.protect = made;
        }
        Some((reason, error)) => {
            if let Some(error) = error {
                answer(core, lanes, &slot, error);
            }
            core.discard(slot, reason);
        }
    }
}

/// Why a packet that is larger than `room` goes no further and what its sender hears; `None` when it can be
/// fragmented.
pub(crate) fn refusal(slot: &Slot, room: usize) -> Option<(DropReason, Option<Error>)> {
    let error = |mtu: usize| Some(Error::TooBig { mtu: u16::try_from(mtu).unwrap_or(u16::MAX) });
    if slot.summary.is_ipv6() {
        // RFC 8201 §4: nobody goes below the minimum, whatever we say.
        return Some(if room >= IPV6_MTU_MIN || slot.summary.octets > IPV6_MTU_MIN {
            (DropReason::TooBig, error(room.max(IPV6_MTU_MIN)))
        } else {
            (DropReason::BelowMinimumMtu, None)
        });
    }
    if room < IPV4_MTU_MIN {
        return Some((DropReason::BelowMinimumMtu, None));
    }
    slot.summary.dont_fragment.then(|| (DropReason::TooBig, error(room)))
}

/// Lowers the maximum segment size of a TCP SYN to what fits.
pub(crate) fn clamp(slot: &mut Slot, room: usize, counters: &WorkerCounters) {
    if !slot.summary.is(protocol::TCP) {
        return;
    }
    let headers = if slot.summary.is_ipv6() { ipv6::HEADER_OCTETS } else { ipv4::HEADER_OCTETS } + 20;
    let Some(mss) = room.checked_sub(headers).filter(|&mss| mss > 0) else { return };
    let at = slot.summary.upper_at;
    let Some(segment) = slot.frame.bytes_mut().get_mut(at..) else { return };
    if tcp::clamp_mss(segment, u16::try_from(mss).unwrap_or(u16::MAX)) {
        counters.add(Tally::MssClamped, 1);
    }
}
