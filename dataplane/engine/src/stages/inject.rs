//! What control sends: in clear, on its way again, or inside SAs that control names (REQUIREMENTS NT-12, TED-31).
//!
//! ```text
//!  probe of ours, message to be resumed ─► forward      caught by mistake ─► classify, as if it had just come
//!  IKE with a gateway behind tunnels ─► [cut to size] ─► bind ─► … as the traffic of a rule, but no rule is asked
//! ```

use crate::bindings::Binding;
use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::limits::{IPV4_MTU_MIN, PACKET_OCTETS_MAX};
use crate::packet::ipv4::{self, Ipv4};
use crate::packet::{Fragment, Summary, ipv6, write_u16};
use crate::passage::PassageId;
use crate::slot::{Lanes, Origin, Slot};
use crate::stages::discovery;
use warren_port::Frame;
use warren_seam::limits::INJECTED_PIECES_MAX;
use warren_seam::{Entry, Injected};

/// A packet from control goes where its entry says.
pub(crate) fn inject(core: &mut Core, lanes: &mut Lanes, injected: &Injected) {
    core.counters.add(Tally::Injected, 1);
    let Some((frame, summary)) = framed(core, &injected.packet) else { return };
    let by = |port| Origin::Port(port, core.fib.side(port));
    match injected.entry {
        // Without a passage there is no way.
        Entry::Through(_) => core.discard_frame(frame, DropReason::PassageClosed),
        Entry::Originate => discovery::pass(core, lanes, Slot::new(frame, summary, Origin::Control)),
        Entry::Resume(port) => discovery::pass(core, lanes, Slot::new(frame, summary, by(port))),
        // Behind the place where discovery has its look: it is not caught again.
        Entry::Judge(port) => lanes.arrived.push(Slot::new(frame, summary, by(port))),
    }
}

/// The packet in a frame of ours; `None`, and counted, when it fits none or cannot be read.
fn framed(core: &mut Core, packet: &[u8]) -> Option<(Frame, Summary)> {
    let Some(mut frame) = core.umem.allocate() else {
        core.counters.drop_one(DropReason::NoFrame);
        return None;
    };
    let Some(octets) = frame.push_back(packet.len()) else {
        core.discard_frame(frame, DropReason::NoRoom);
        return None;
    };
    octets.copy_from_slice(packet);
    match Summary::of(frame.bytes()) {
        Ok(summary) => {
            frame.truncate(summary.octets);
            Some((frame, summary))
        }
        Err(why) => {
            core.discard_frame(frame, why.into());
            None
        }
    }
}

/// Into the SAs of its passage. A packet of control's may be longer than any frame, so it is cut before it is in one.
pub(crate) fn through(core: &mut Core, lanes: &mut Lanes, packet: &[u8], passage: PassageId) {
    core.counters.add(Tally::Injected, 1);
    let way = core.bindings.of(passage.rule()).filter(|way| way.is_bound());
    let Some(room) = way.map(Binding::mtu) else {
        return core.counters.drop_one(DropReason::PassageClosed);
    };
    let whole = match Summary::of(packet) {
        Ok(summary) => summary,
        Err(why) => return core.counters.drop_one(why.into()),
    };
    let packet = &packet[..whole.octets];
    let start = |frame, summary: Summary| {
        let mut slot = Slot::new(frame, summary, Origin::Control);
        slot.rule = passage.rule();
        slot
    };
    if packet.len() <= room {
        if let Some((frame, summary)) = framed(core, packet) {
            lanes.protect.push(start(frame, summary));
        }
        return;
    }
    let id = u32::from(core.next_ipv4_id()) << 16 | u32::from(core.next_ipv4_id());
    let cut = match Cut::new(packet, &whole, room, id) {
        Ok(cut) => cut,
        Err(reason) => return core.counters.drop_one(reason),
    };
    core.counters.add(Tally::Fragmented, 1);
    core.counters.add(Tally::Originated, cut.pieces() - 1);
    let mut piece = Vec::with_capacity(room);
    for at in 0..cut.pieces() {
        cut.write(at, &mut piece);
        if let Some((frame, mut summary)) = framed(core, &piece) {
            // The selectors of the SAs are asked about the whole packet: what follows the first piece hides its ports.
            summary.tuple = whole.tuple;
            lanes.protect.push(start(frame, summary));
        }
    }
}

/// How a packet of ours is cut.
struct Cut<'a> {
    /// Everything that each piece begins with; in IPv6 the fragment header with it.
    header: Vec<u8>,
    payload: &'a [u8],
    /// Octets of payload in every piece but the last.
    each: usize,
    is_ipv6: bool,
}

impl<'a> Cut<'a> {
    /// A cut into pieces of at most `room` octets.
    ///
    /// # Errors
    /// Why it may not be cut, or not into so few.
    fn new(packet: &'a [u8], whole: &Summary, room: usize, id: u32) -> Result<Self, DropReason> {
        let is_ipv6 = whole.is_ipv6();
        if room < IPV4_MTU_MIN {
            return Err(DropReason::BelowMinimumMtu);
        }
        // IPv6 always says that routers must not; but we are no router here, we are the source (RFC 8200 §4.5).
        if whole.fragment != Fragment::Whole || (whole.dont_fragment && !is_ipv6) {
            return Err(DropReason::TooBig);
        }
        let (header, payload) = if is_ipv6 {
            // What control makes has no extension headers.
            if whole.upper_at != ipv6::HEADER_OCTETS {
                return Err(DropReason::TooBig);
            }
            let (header, payload) = packet.split_at(ipv6::HEADER_OCTETS);
            (ipv6::fragment_headers(header, id), payload)
        } else {
            let header_octets = Ipv4::new_checked(packet)?.header_octets();
            if header_octets != ipv4::HEADER_OCTETS {
                return Err(DropReason::TooBig);
            }
            let (header, payload) = packet.split_at(header_octets);
            // With fragments the identification means something, so that it has to be one of ours.
            let mut header = header.to_vec();
            write_u16(&mut header, 4, id as u16);
            (header, payload)
        };
        let each = room.saturating_sub(header.len()) & !7;
        if each == 0 || payload.len().div_ceil(each) > INJECTED_PIECES_MAX {
            return Err(DropReason::TooBig);
        }
        Ok(Self { header, payload, each, is_ipv6 })
    }

    /// How many pieces there are: at least two, at most [`INJECTED_PIECES_MAX`].
    fn pieces(&self) -> usize {
        self.payload.len().div_ceil(self.each)
    }

    /// Writes one of them.
    fn write(&self, at: usize, piece: &mut Vec<u8>) {
        let offset = at * self.each;
        let end = self.payload.len().min(offset + self.each);
        let more = end < self.payload.len();
        piece.clear();
        piece.extend_from_slice(&self.header);
        piece.extend_from_slice(&self.payload[offset..end]);
        let octets = piece.len();
        debug_assert!(octets <= PACKET_OCTETS_MAX);
        if self.is_ipv6 {
            ipv6::set_fragment(piece, octets, offset, more);
        } else {
            ipv4::set_fragment(piece, octets, offset, more);
        }
    }
}
