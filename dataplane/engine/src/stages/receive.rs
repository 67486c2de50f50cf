//! From a port's frames to packets: the link header comes off, the IP headers are read, discovery has a look.

use crate::bindings::Binding;
use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::fast_path;
use crate::fib::Fib;
use crate::handoff::{Parcel, Work};
use crate::limits::BATCH_MAX;
use crate::packet::{Summary, ethernet};
use crate::passage::PassageId;
use crate::sad::SaIndex;
use crate::slot::{Lanes, Origin, Slot};
use crate::stages::{self, discovery};
use warren_port::{Frame, Link};
use warren_seam::PortIndex;

/// A batch from a port, by its place among ours. Returns how many frames it was.
pub(crate) fn from_port(core: &mut Core, at: usize, lanes: &mut Lanes) -> usize {
    let mut frames = std::mem::take(&mut core.bench.frames);
    let Some(berth) = core.berths.get_mut(at) else { return 0 };
    let (link, index) = (berth.link(), berth.index);
    let received = berth.port.receive(&mut core.umem, &mut frames, BATCH_MAX);
    core.counters.add(Tally::Received, received);
    core.accounts.received(received);
    let index = index.unwrap_or(PortIndex(u16::MAX));
    let origin = Origin::Port(index, core.fib.side(index));
    if core.settings.fast_path {
        fast_path::run(core, lanes, &mut frames, link, origin);
    } else {
        frames.drain(..).for_each(|frame| admit(core, lanes, frame, link, origin));
    }
    core.bench.frames = frames;
    received
}

/// A batch from the kernel. Returns how many frames it was.
pub(crate) fn from_tun(core: &mut Core, lanes: &mut Lanes) -> usize {
    let mut frames = std::mem::take(&mut core.bench.frames);
    let Some(berth) = core.tun.as_mut() else { return 0 };
    let link = berth.link();
    let received = berth.port.receive(&mut core.umem, &mut frames, BATCH_MAX);
    core.counters.add(Tally::Received, received);
    core.accounts.received(received);
    for frame in frames.drain(..) {
        admit(core, lanes, frame, link, Origin::Tun);
    }
    core.bench.frames = frames;
    received
}

/// A frame on its way to the stages: read, and looked at by discovery.
pub(crate) fn admit(core: &mut Core, lanes: &mut Lanes, mut frame: Frame, link: Link, origin: Origin) {
    match read(&core.fib, &mut frame, link, origin) {
        Ok(summary) => match discovery::look(core, &frame, &summary, origin) {
            None => lanes.arrived.push(Slot::new(frame, summary, origin)),
            Some(sight) => discovery::take(core, lanes, (frame, summary, origin), sight),
        },
        Err(reason) => core.discard_frame(frame, reason),
    }
}

fn read(fib: &Fib, frame: &mut Frame, link: Link, origin: Origin) -> Result<Summary, DropReason> {
    if let Some(port) = origin.port() {
        let info = fib.port(port).ok_or(DropReason::NotReady)?;
        if link == Link::Ethernet {
            let header = ethernet::Ethernet::new_checked(frame.bytes())?;
            if !matches!(header.ether_type(), ethernet::IPV4 | ethernet::IPV6) {
                return Err(DropReason::NotIp);
            }
            if header.is_group() {
                return Err(DropReason::Multicast);
            }
            if header.destination() != info.mac {
                return Err(DropReason::NotForUs);
            }
        }
    }
    if link == Link::Ethernet && !frame.pop_front(ethernet::HEADER_OCTETS) {
        return Err(DropReason::Malformed);
    }
    let summary = Summary::of(frame.bytes())?;
    // What Ethernet padded must not be encrypted or checked as if it were part of the packet.
    frame.truncate(summary.octets);
    Ok(summary)
}

/// A packet that another worker has given us, copied into a frame of ours.
pub(crate) fn adopt(core: &mut Core, parcel: &Parcel, lanes: &mut Lanes) {
    // What is judged again comes behind what waits in later lanes already, so that it would be overtaken there by
    // those packets of its flow that new rules sent after it.
    if !lanes.judge.is_empty() && !is_overtaken(core, parcel) {
        stages::run(core, lanes);
    }
    core.counters.add(Tally::Adopted, 1);
    let Some(mut frame) = core.umem.allocate() else {
        core.counters.drop_one(DropReason::NoFrame);
        return;
    };
    let packet = parcel.packet();
    let Some(octets) = frame.push_back(packet.len()) else {
        return core.discard_frame(frame, DropReason::NoRoom);
    };
    octets.copy_from_slice(packet);
    let summary = match Summary::of(packet) {
        Ok(summary) => summary,
        Err(reason) => return core.discard_frame(frame, reason.into()),
    };
    let mut slot = Slot::new(frame, summary, parcel.origin);
    slot.depth = parcel.depth;
    match parcel.work {
        Work::Open { rule } => {
            slot.rule = rule;
            lanes.arrived.push(slot);
        }
        Work::Protect { rule, level, .. } if PassageId::of(rule).is_some() => {
            (slot.rule, slot.level) = (rule, level);
            let below = usize::from(level).checked_sub(1);
            let way = core.bindings.of(rule).and_then(Binding::sole);
            let below = way.zip(below).and_then(|(way, below)| way.level(below));
            slot.sa = below.unwrap_or(SaIndex::MAX);
            lanes.protect.push(slot);
        }
        Work::Protect { rule, level, below, generation } if generation == core.generation => {
            (slot.rule, slot.level) = (rule, level);
            slot.sa = below.and_then(|id| core.sad.find_outbound(id)).unwrap_or(SaIndex::MAX);
            lanes.protect.push(slot);
        }
        // The rules have changed on its way: what was to be protected is asked about again.
        Work::Protect { level: 0, .. } => {
            slot.hop_taken = true;
            lanes.judge.push(slot);
        }
        Work::Protect { .. } => core.discard(slot, DropReason::NoSa),
        Work::Forward { level, inward, exempt } => {
            (slot.level, slot.inward, slot.exempt) = (level, inward, exempt);
            lanes.forward.push(slot);
        }
        Work::Kernel => lanes.kernel.push(slot),
    }
}

/// Whether the rules have changed since the packet was judged, so that it is judged again.
fn is_overtaken(core: &Core, parcel: &Parcel) -> bool {
    let Work::Protect { rule, level: 0, generation, .. } = parcel.work else { return false };
    generation != core.generation && PassageId::of(rule).is_none()
}
