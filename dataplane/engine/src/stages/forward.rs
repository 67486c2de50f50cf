//! The next hop, from the kernel's own routes and neighbours.

use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::handoff::Work;
use crate::limits::TRANSMIT_QUEUE_MAX;
use crate::packet::ethernet;
use crate::packet::icmp::Error;
use crate::slot::{Lanes, Origin, Slot, empty_out};
use crate::stages::answer::answer;
use crate::stages::{fragment, mtu};
use std::net::IpAddr;
use warren_port::Link;
use warren_seam::{Event, MacAddress, PortIndex, Side};

/// Routes every packet of the lane into the queue of the port it leaves by.
pub(crate) fn forward(core: &mut Core, lanes: &mut Lanes) {
    let mut lane = empty_out(&mut lanes.forward, &mut lanes.spare);
    for slot in lane.drain(..) {
        route(core, lanes, slot);
    }
    lanes.spare = lane;
}

fn route(core: &mut Core, lanes: &mut Lanes, slot: Slot) {
    let destination = slot.summary.tuple.destination;
    if core.fib.is_local(destination) {
        return core.discard(slot, DropReason::OuterToSelf);
    }
    let Some(hop) = core.fib.route(destination) else {
        if slot.level == 0 && matches!(slot.origin, Origin::Port(_, Side::Inside)) {
            answer(core, lanes, &slot, Error::NoRoute);
        }
        return core.discard(slot, DropReason::NoRoute);
    };
    if slot.level == 0 && slot.inward && core.fib.side(hop.port) == Side::Outside {
        let reason = confined(slot.origin);
        return core.discard(slot, reason);
    }
    let room = core.fib.port(hop.port).map_or(usize::MAX, |info| info.mtu.into());
    if slot.summary.octets <= room {
        return send(core, slot, hop.port, hop.via.unwrap_or(destination));
    }
    if slot.level > 0 {
        return core.discard(slot, DropReason::OuterTooBig);
    }
    match mtu::refusal(&slot, room) {
        None => {
            fragment::fragment(core, slot, room, &mut lanes.pieces);
            for slot in lanes.pieces.drain(..) {
                send(core, slot, hop.port, hop.via.unwrap_or(destination));
            }
        }
        Some((reason, error)) => {
            if let Some(error) = error {
                answer(core, lanes, &slot, error);
            }
            core.discard(slot, reason);
        }
    }
}

/// Why a packet that has to stay inside goes no further.
fn confined(origin: Origin) -> DropReason {
    match origin {
        Origin::Answer(_) | Origin::AnswerToSa => DropReason::IcmpSuppressed,
        Origin::Port(..) | Origin::Tun | Origin::Sa(_) | Origin::Control => DropReason::NoRule,
    }
}

fn send(core: &mut Core, mut slot: Slot, port: PortIndex, next: IpAddr) {
    let Some(link) = core.berth_mut(port).map(|berth| berth.link()) else {
        let owner = core.colleagues.port_owners.get(usize::from(port.0)).copied().flatten();
        return match owner.filter(|&owner| owner != core.colleagues.own) {
            Some(owner) => {
                let work = Work::Forward { level: slot.level, inward: slot.inward, exempt: slot.exempt };
                core.hand_over(slot, owner, work);
            }
            None => core.discard(slot, DropReason::NoPort),
        };
    };
    if link == Link::Ethernet {
        let Some(mac) = core.fib.neighbour(port, next) else { return park(core, slot, port, next) };
        if !address(core, &mut slot, port, mac) {
            return core.discard(slot, DropReason::NoRoom);
        }
    }
    let Some(berth) = core.berth_mut(port).filter(|berth| berth.queue.len() < TRANSMIT_QUEUE_MAX) else {
        return core.discard(slot, DropReason::TransmitFull);
    };
    berth.queue.push(slot.frame);
}

fn address(core: &Core, slot: &mut Slot, port: PortIndex, to: MacAddress) -> bool {
    let from = core.fib.port(port).map(|info| info.mac).unwrap_or_default();
    let ether_type = if slot.summary.is_ipv6() { ethernet::IPV6 } else { ethernet::IPV4 };
    match slot.frame.push_front(ethernet::HEADER_OCTETS) {
        Some(header) => {
            ethernet::emit(header, to, from, ether_type);
            true
        }
        None => false,
    }
}

/// Nobody knows the neighbour's Ethernet address yet: the packet waits a little, and control asks the kernel.
fn park(core: &mut Core, slot: Slot, port: PortIndex, next: IpAddr) {
    let now = core.now;
    if core.parking.should_ask(port, next, now)
        && core.report(Event::UnresolvedNeighbour { port, address: next })
    {
        core.parking.asked(port, next, now);
    }
    if let Some(slot) = core.parking.park(slot, now) {
        core.discard(slot, DropReason::ParkingFull);
    }
}
