//! Out of the engine: into the ports' rings, or to the kernel.

use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::handoff::Work;
use crate::limits::TRANSMIT_QUEUE_MAX;
use crate::slot::{Lanes, empty_out};

/// Queues what is for the gateway itself in front of the tun port.
pub(crate) fn to_kernel(core: &mut Core, lanes: &mut Lanes) {
    let mut lane = empty_out(&mut lanes.kernel, &mut lanes.spare);
    for slot in lane.drain(..) {
        let own = core.colleagues.own;
        match (&mut core.tun, core.colleagues.tun_owner.filter(|&owner| owner != own)) {
            (Some(tun), _) if tun.queue.len() < TRANSMIT_QUEUE_MAX => tun.queue.push(slot.frame),
            (Some(_), _) => core.discard(slot, DropReason::TransmitFull),
            (None, Some(owner)) => core.hand_over(slot, owner, Work::Kernel),
            (None, None) => core.discard(slot, DropReason::NoTun),
        }
    }
    lanes.spare = lane;
}

/// Offers every queue to its port. Returns how many frames were taken.
pub(crate) fn flush(core: &mut Core) -> usize {
    let mut transmitted = 0;
    for berth in &mut core.berths {
        if !berth.queue.is_empty() || berth.port.unsent() > 0 {
            transmitted += berth.port.transmit(&mut core.umem, &mut berth.queue);
        }
    }
    core.counters.add(Tally::Transmitted, transmitted);
    let mut delivered = 0;
    if let Some(tun) = core.tun.as_mut().filter(|tun| !tun.queue.is_empty() || tun.port.unsent() > 0) {
        delivered = tun.port.transmit(&mut core.umem, &mut tun.queue);
    }
    core.counters.add(Tally::Kernel, delivered);
    transmitted + delivered
}
