//! IPv4 fragmentation (RFC 791 §3.2) of a packet whose sender allows it.

use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::packet::ipv4::{self, Ipv4};
use crate::packet::{Fragment, Summary};
use crate::slot::Slot;
use warren_port::Frame;

/// Where the pieces of one packet lie.
struct Cut {
    header_octets: usize,
    /// Octets of the packet's own place, when it is a fragment already.
    offset: usize,
    /// More fragments follow the packet as it was.
    more: bool,
    total: usize,
    /// Payload of every fragment but the last.
    piece: usize,
}

/// Cuts the packet into pieces of at most `room` octets and appends them to `out`, in order. The first keeps its
/// frame. When frames run out the rest is dropped, and counted as one loss for each missing fragment.
pub(crate) fn fragment(core: &mut Core, mut slot: Slot, room: usize, out: &mut Vec<Slot>) {
    let Some(cut) = plan(&slot, room) else { return core.discard(slot, DropReason::TooBig) };
    let mut header = [0; ipv4::HEADER_OCTETS_MAX];
    let later_octets = ipv4::later_fragment_header(&slot.frame.bytes()[..cut.header_octets], &mut header);
    core.counters.add(Tally::Fragmented, 1);
    let first = out.len();
    let mut at = cut.header_octets + cut.piece;
    while at < cut.total {
        let octets = cut.piece.min(cut.total - at);
        let more = cut.more || at + octets < cut.total;
        let offset = cut.offset + at - cut.header_octets;
        let payload = &slot.frame.bytes()[at..at + octets];
        core.counters.add(Tally::Originated, 1);
        match core.umem.allocate() {
            None => core.counters.drop_one(DropReason::NoFrame),
            Some(frame) => match write(frame, &header[..later_octets], payload, offset, more) {
                Ok((frame, summary)) => out.push(follower(&slot, frame, summary)),
                Err(frame) => core.discard_frame(frame, DropReason::NoRoom),
            },
        }
        at += octets;
    }
    slot.frame.truncate(cut.header_octets + cut.piece);
    slot.summary.octets = slot.frame.len();
    let octets = slot.frame.len();
    ipv4::set_fragment(slot.frame.bytes_mut(), octets, cut.offset, true);
    if slot.summary.fragment == Fragment::Whole {
        slot.summary.fragment = Fragment::First;
    }
    out.insert(first, slot);
}

fn plan(slot: &Slot, room: usize) -> Option<Cut> {
    let packet = Ipv4::new_checked(slot.frame.bytes()).ok()?;
    let header_octets = packet.header_octets();
    let piece = room.checked_sub(header_octets)? & !7;
    let offset = packet.fragment_offset();
    (piece > 0).then(|| Cut {
        header_octets,
        offset,
        more: packet.more_fragments(),
        total: packet.total_octets(),
        piece,
    })
}

fn write(
    mut frame: Frame,
    header: &[u8],
    payload: &[u8],
    offset: usize,
    more: bool,
) -> Result<(Frame, Summary), Frame> {
    let total = header.len() + payload.len();
    let Some(octets) = frame.push_back(total) else { return Err(frame) };
    octets[..header.len()].copy_from_slice(header);
    octets[header.len()..].copy_from_slice(payload);
    ipv4::set_fragment(octets, total, offset, more);
    match Summary::of(frame.bytes()) {
        Ok(summary) => Ok((frame, summary)),
        Err(_) => Err(frame),
    }
}

/// A later fragment goes where the first goes. Its ports cannot be seen any more, so it keeps those that its packet
/// was judged and is checked by.
fn follower(slot: &Slot, frame: Frame, mut summary: Summary) -> Slot {
    summary.tuple = slot.summary.tuple;
    let mut follower = Slot::new(frame, summary, slot.origin);
    (follower.depth, follower.rule) = (slot.depth, slot.rule);
    (follower.inward, follower.exempt) = (slot.inward, slot.exempt);
    follower
}
