//! ICMP errors of ours: made from a packet that goes no further, sent back the way it came, or not at all.

use crate::core::Core;
use crate::counters::Tally;
use crate::packet::{Summary, icmp};
use crate::slot::{Lanes, Origin, Slot, empty_out};
use std::net::IpAddr;
use warren_seam::{PortIndex, Side};

/// Makes an error message about a packet, if one may be made. The packet itself stays the caller's to discard.
pub(crate) fn answer(core: &mut Core, lanes: &mut Lanes, about: &Slot, error: icmp::Error) {
    let origin = match about.origin {
        Origin::Port(_, side) => Origin::Answer(side),
        Origin::Tun => Origin::Answer(Side::Inside),
        Origin::Sa(_) => Origin::AnswerToSa,
        // What we sent in the name of a host is nothing to tell that host about (REQUIREMENTS TED-28).
        Origin::Control => return,
        Origin::Answer(_) | Origin::AnswerToSa => return,
    };
    if !icmp::may_answer(&about.summary, about.frame.bytes()) {
        return;
    }
    if !core.icmp_rate.take(core.now) {
        core.counters.add(Tally::IcmpLimited, 1);
        return;
    }
    let Some(from) = core.fib.source_address(speaker(core, about), about.summary.is_ipv6()) else { return };
    let id = core.next_ipv4_id();
    let Some(mut frame) = core.umem.allocate() else { return };
    let packet = about.frame.bytes();
    let written = match (from, about.summary.tuple.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => frame
            .push_back(icmp::octets_ipv4(packet.len()))
            .map(|octets| icmp::emit_ipv4(octets, error, from, to, id, packet)),
        (IpAddr::V6(from), IpAddr::V6(to)) => frame
            .push_back(icmp::octets_ipv6(packet.len()))
            .map(|octets| icmp::emit_ipv6(octets, error, from, to, packet)),
        _ => None,
    };
    match written.and_then(|()| Summary::of(frame.bytes()).ok()) {
        Some(summary) => {
            core.counters.add(Tally::Originated, 1);
            core.counters.add(Tally::IcmpSent, 1);
            let mut slot = Slot::new(frame, summary, origin);
            // An error quotes the packet it is about. What came from inside may have been meant for a tunnel, so its
            // quotation must not leave through an outside port, whatever source address the packet claimed.
            slot.inward = origin == Origin::Answer(Side::Inside);
            lanes.answers.push(slot);
        }
        None => core.umem.release(frame),
    }
}

/// The port in whose name we answer: the one that the packet came by. What came out of a tunnel is answered in the
/// name of the port it was going to, because that address belongs to the networks which the tunnel joins.
fn speaker(core: &Core, about: &Slot) -> Option<PortIndex> {
    match about.origin {
        Origin::Sa(_) => core.fib.route(about.summary.tuple.destination).map(|hop| hop.port),
        origin => origin.port(),
    }
}

/// Sends the answers on: to our own kernel, through the rules, or straight back.
pub(crate) fn sort(core: &mut Core, lanes: &mut Lanes) {
    let mut answers = empty_out(&mut lanes.answers, &mut lanes.spare);
    for slot in answers.drain(..) {
        if core.fib.is_local(slot.summary.tuple.destination) {
            lanes.kernel.push(slot);
        } else if slot.origin == Origin::AnswerToSa {
            lanes.judge.push(slot);
        } else {
            lanes.forward.push(slot);
        }
    }
    lanes.spare = answers;
}
