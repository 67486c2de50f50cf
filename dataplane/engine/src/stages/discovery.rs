//! Tunnel Endpoint Discovery as far as packets go: which of them are its messages, who gets them (REQUIREMENTS TED-27 … TED-31, F-14).
//!
//! ```text
//!  in transit, in clear                                    exchange 240, by a port that answers ─► control
//!  UDP to 500, ISAKMP version 1, exchange 240 or 241 ──────┤
//!                                                          └ all others ─► hop paid ─► forward, no rule is asked
//!  from outside, while we ask: ICMP about UDP to 500, ISAKMP from 500 ─► control, or as any packet
//! ```
//!
//! What comes out of an SA is no discovery message: who has put it in there has asked a rule. A packet that is caught pays
//! its hop when control lets it go on; a probe that is answered has arrived, like one to a host that we are.

use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::lookout::Telling;
use crate::packet::icmp::quotes_udp_to;
use crate::packet::isakmp::{self, Isakmp};
use crate::packet::udp::Udp;
use crate::packet::{Fragment, Summary, protocol};
use crate::slot::{Lanes, Origin, Slot};
use crate::stages::select;
use warren_port::Frame;
use warren_seam::limits::CAUGHT_OCTETS_MAX;
use warren_seam::{Catch, Caught, Event, PortIndex, Side};

/// What discovery sees in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// A probe that control may answer.
    Probe(PortIndex),
    /// A discovery message of others.
    Message,
    /// Perhaps about a probe of ours.
    Stray(PortIndex),
}

/// What discovery sees in a packet that a port or the kernel has given us. `None` for nearly all, after one compare where
/// discovery is off and a few where it is on. It has its look before anything is done with the packet, so that a flood is
/// dropped for little more than what it takes to read it.
#[inline]
pub(crate) fn look(core: &Core, frame: &Frame, summary: &Summary, origin: Origin) -> Option<Sight> {
    if core.lookout.is_idle() {
        return None;
    }
    let tuple = &summary.tuple;
    let may_be_one = match tuple.protocol {
        protocol::UDP => {
            tuple.destination_port == Some(isakmp::PORT) || tuple.source_port == Some(isakmp::PORT)
        }
        protocol::ICMP | protocol::ICMPV6 => core.lookout.asks(),
        _ => false,
    };
    if may_be_one { examine(core, frame, summary, origin) } else { None }
}

#[inline(never)]
fn examine(core: &Core, frame: &Frame, summary: &Summary, origin: Origin) -> Option<Sight> {
    let outside = match origin {
        Origin::Port(port, Side::Outside) => Some(port),
        _ => None,
    };
    let upper = frame.bytes().get(summary.upper_at..).unwrap_or_default();
    let stray = || outside.filter(|_| core.lookout.asks()).map(Sight::Stray);
    let sight = if summary.fragment != Fragment::Whole {
        None
    } else if summary.tuple.protocol != protocol::UDP {
        quotes_udp_to(isakmp::PORT, summary.tuple.protocol, upper).then(stray).flatten()
    } else {
        let message = Isakmp::new_checked(Udp::new_checked(upper).ok()?.payload()).ok()?;
        if core.lookout.is_on()
            && summary.tuple.destination_port == Some(isakmp::PORT)
            && message.is_discovery_message()
        {
            let answering = outside.filter(|&port| core.lookout.answers(port));
            let probed = answering.filter(|_| message.exchange() == isakmp::PROBE);
            Some(probed.map_or(Sight::Message, Sight::Probe))
        } else {
            let from_ike = summary.tuple.source_port == Some(isakmp::PORT) && !message.is_of_discovery();
            from_ike.then(stray).flatten()
        }
    };
    sight.filter(|_| passes_through(core, summary))
}

/// Whether it is for somebody else, and of the kind that may go on at all.
fn passes_through(core: &Core, summary: &Summary) -> bool {
    !summary.is_martian()
        && !summary.is_multicast()
        && !summary.is_link_local()
        && !core.fib.is_local(summary.tuple.destination)
}

/// Does with a packet what [`look`] has seen in it.
pub(crate) fn take(
    core: &mut Core,
    lanes: &mut Lanes,
    (frame, summary, origin): (Frame, Summary, Origin),
    sight: Sight,
) {
    let fits = summary.octets <= CAUGHT_OCTETS_MAX;
    let now = core.now;
    match sight {
        Sight::Probe(_) | Sight::Message if !fits => {
            core.discard_frame(frame, DropReason::DiscoveryTooLong);
        }
        Sight::Probe(_) if !core.lookout.probes.take(now) => core.discard_frame(frame, DropReason::ProbeRate),
        Sight::Probe(port) => {
            if let Some(frame) = show(core, frame, &summary, Catch::Probe, port) {
                core.discard_frame(frame, DropReason::ProbeLost);
            }
        }
        Sight::Message if !core.lookout.passing.take(now) => {
            core.discard_frame(frame, DropReason::DiscoveryRate);
        }
        Sight::Message => pass(core, lanes, Slot::new(frame, summary, origin)),
        // A stray that control is not shown is an error message like any other.
        Sight::Stray(port) if fits && core.lookout.strays.take(now) => {
            if let Some(frame) = show(core, frame, &summary, Catch::Stray, port) {
                lanes.arrived.push(Slot::new(frame, summary, origin));
            }
        }
        Sight::Stray(_) => lanes.arrived.push(Slot::new(frame, summary, origin)),
    }
}

/// Takes a packet off its way and shows it to control; gives it back when control does not keep up.
fn show(core: &mut Core, frame: Frame, summary: &Summary, catch: Catch, port: PortIndex) -> Option<Frame> {
    let caught = Caught {
        catch,
        port,
        tuple: summary.tuple,
        upper_at: summary.upper_at as u16,
        packet: frame.bytes().to_vec(),
    };
    if !core.report_if_roomy(Event::Caught(Box::new(caught))) {
        return Some(frame);
    }
    core.counters.add(Tally::Caught, 1);
    core.umem.release(frame);
    None
}

/// Sends a discovery message on in clear, as it is but for the hop that it pays.
pub(crate) fn pass(core: &mut Core, lanes: &mut Lanes, slot: Slot) {
    if let Some(mut slot) = select::take_hop(core, lanes, slot) {
        slot.exempt = true;
        core.counters.add(Tally::Discovery, 1);
        lanes.forward.push(slot);
    }
}

/// A packet of a rule that discovers: it is dropped, because it must not leave in clear, and control is told, again and
/// again while there is traffic (REQUIREMENTS TED-4, TED-5, TED-7).
pub(crate) fn seek(core: &mut Core, slot: Slot) {
    let (rule, packet, now) = (slot.rule, slot.summary.tuple, core.now);
    match core.lookout.sought.ask(rule, &packet, now) {
        Telling::Due(key) => {
            if core.report_if_roomy(Event::Acquire { rule, packet }) {
                core.lookout.sought.told(key, now);
            }
        }
        Telling::Limited => core.counters.add(Tally::AcquireLimited, 1),
        Telling::Repeated => {}
    }
    core.discard(slot, DropReason::Discovering);
}
