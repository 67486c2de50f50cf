//! What kind of packet is this: ESP to us, something else to us, or passing through?

use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::limits::NAT_TRAVERSAL_PORT;
use crate::packet::udp::{self, Udp};
use crate::packet::{Fragment, esp, isakmp, protocol};
use crate::slot::{Lanes, Origin, Slot, empty_out};
use warren_seam::Side;

/// Sorts what has arrived into the lanes of ESP, of the kernel and of what has to be judged.
pub(crate) fn classify(core: &mut Core, lanes: &mut Lanes) {
    let mut arrived = empty_out(&mut lanes.arrived, &mut lanes.spare);
    for slot in arrived.drain(..) {
        sort(core, lanes, slot);
    }
    lanes.spare = arrived;
}

fn sort(core: &mut Core, lanes: &mut Lanes, mut slot: Slot) {
    if slot.summary.is_martian() {
        return core.discard(slot, DropReason::Martian);
    }
    if slot.summary.is_multicast() {
        return core.discard(slot, DropReason::Multicast);
    }
    if !core.fib.is_local(slot.summary.tuple.destination) {
        let reason = slot.summary.is_link_local().then_some(DropReason::Martian);
        return match reason {
            Some(reason) => core.discard(slot, reason),
            None => lanes.judge.push(slot),
        };
    }
    if slot.origin == Origin::Tun {
        return core.discard(slot, DropReason::TunLoop);
    }
    match esp_to_us(core, &mut slot) {
        Ok(true) => lanes.esp.push(slot),
        Ok(false) if is_judged(core, &slot) => lanes.judge.push(slot),
        Ok(false) => lanes.kernel.push(slot),
        Err(reason) => core.discard(slot, reason),
    }
}

/// Whether a packet to us is ESP; then `esp_at` says where it begins. It ends where the packet ends.
fn esp_to_us(core: &Core, slot: &mut Slot) -> Result<bool, DropReason> {
    let at = slot.summary.upper_at;
    if slot.summary.tuple.protocol == protocol::ESP {
        if slot.summary.fragment != Fragment::Whole {
            return Err(DropReason::EspFragment);
        }
        slot.esp_at = at as u16;
        return Ok(true);
    }
    if !slot.summary.is(protocol::UDP)
        || !slot.summary.tuple.destination_port.is_some_and(|port| core.sad.listens(port))
    {
        return Ok(false);
    }
    let datagram = slot.frame.bytes().get(at..).unwrap_or_default();
    if slot.summary.fragment == Fragment::First {
        // IKE may be fragmented and is the kernel's to put together; ESP may not.
        let marker = datagram.get(udp::HEADER_OCTETS..udp::HEADER_OCTETS + 4);
        return if marker == Some(&[0; 4]) { Ok(false) } else { Err(DropReason::EspFragment) };
    }
    let payload = Udp::new_checked(datagram)?.payload();
    match payload {
        [0xFF] => Err(DropReason::NatKeepalive),
        [0, 0, 0, 0, ..] => Ok(false),
        _ if payload.len() < esp::HEADER_OCTETS => Err(DropReason::EspLength),
        // Octets behind the datagram would be taken for the ICV.
        _ if udp::HEADER_OCTETS + payload.len() != datagram.len() => Err(DropReason::Malformed),
        _ => {
            slot.esp_at = (at + udp::HEADER_OCTETS) as u16;
            Ok(true)
        }
    }
}

/// Whether a packet to us has to pass the rules first: clear text from outside does, so that nobody can speak to us
/// in clear in the name of a host behind a tunnel. Where a rule protects what a host says to us itself (transport mode), so
/// does what comes out of the tunnels around: the gateways where they end could say anything in its name. IKE is what makes tunnels, so it does not: it reaches us whatever
/// the rules say.
fn is_judged(core: &Core, slot: &Slot) -> bool {
    let from_outside = match slot.origin {
        Origin::Port(_, side) => side == Side::Outside,
        Origin::Sa(_) => core.bindings.protects(),
        Origin::Tun | Origin::Control | Origin::Answer(_) | Origin::AnswerToSa => false,
    };
    let ike = slot.summary.tuple.protocol == protocol::UDP
        && matches!(slot.summary.tuple.destination_port, Some(isakmp::PORT | NAT_TRAVERSAL_PORT));
    // Later fragments of IKE have no ports to be recognised by; alone they are worth nothing to anybody.
    let later_fragment = slot.summary.fragment == Fragment::Later;
    from_outside && !ike && !later_fragment
}
