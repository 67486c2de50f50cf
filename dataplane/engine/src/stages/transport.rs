//! ESP in transport mode (RFC 4303 §3.1.1): the packet keeps its IP header, and ESP comes in between.
//!
//! ```text
//!   [ IP header, what routers read ][ upper layer ]            as the gateway's own kernel sends it
//!   [ IP header, what routers read ](UDP)[ ESP ][ upper layer, trailer ][ ICV ]
//! ```

use crate::drop_reason::DropReason;
use crate::mtu::Shape;
use crate::packet::esp::Trailer;
use crate::packet::place::Place;
use crate::packet::{Fragment, Summary, checksum, ipv4, ipv6, protocol, udp, write_u16};
use crate::slot::Slot;
use std::net::IpAddr;
use warren_seam::Encapsulation;

/// Where ESP goes into a packet.
///
/// # Errors
/// Why it may not be protected so: it is not between the SA's own two addresses or not from here (REQUIREMENTS Q-17, RFC
/// 4301 §4.1), not whole (RFC 4303 §3.3.4), or a routing header is in the way.
pub(crate) fn place(slot: &Slot, shape: &Shape) -> Result<Place, DropReason> {
    let ends = (slot.summary.tuple.source, slot.summary.tuple.destination);
    if slot.origin.is_transit() || ends != (shape.local, shape.remote) {
        return Err(DropReason::TransportAddress);
    }
    if slot.summary.fragment != Fragment::Whole {
        return Err(DropReason::TransportFragment);
    }
    Place::for_esp(slot.frame.bytes()).ok_or(DropReason::TransportHeader)
}

/// Once it is sealed: the header in front says what follows now, and how much. `false` when it cannot be read any more.
pub(crate) fn finish(slot: &mut Slot, shape: &Shape) -> bool {
    let kept = usize::from(slot.esp_at) - shape.outer_octets();
    let packet = slot.frame.bytes_mut();
    let octets = packet.len();
    let tuple = &mut slot.summary.tuple;
    (tuple.protocol, tuple.source_port, tuple.destination_port) = (protocol::ESP, None, None);
    if let Encapsulation::Udp { local_port, remote_port } = shape.encapsulation {
        (tuple.protocol, tuple.source_port, tuple.destination_port) =
            (protocol::UDP, Some(local_port), Some(remote_port));
        udp::emit(&mut packet[kept..], local_port, remote_port, octets - kept);
        if let (IpAddr::V6(source), IpAddr::V6(destination)) = (tuple.source, tuple.destination) {
            checksum::fill_udp_ipv6(source, destination, &mut packet[kept..]);
        }
    }
    (slot.summary.octets, slot.summary.upper_at) = (octets, kept);
    amend(packet, kept, slot.summary.tuple.protocol)
}

/// Takes ESP out from between header and upper layer; the text lies from `head` to `text_end`.
pub(crate) fn restore(
    slot: &mut Slot,
    shape: &Shape,
    head: usize,
    text_end: usize,
) -> Result<(), DropReason> {
    let text = slot.frame.bytes().get(head..text_end).ok_or(DropReason::EspLength)?;
    let trailer = Trailer::of(text)?;
    if trailer.next_header == protocol::NONE {
        return Err(DropReason::Dummy);
    }
    let kept = slot.summary.upper_at;
    let gap = head - kept;
    slot.frame.bytes_mut().copy_within(..kept, gap);
    if !slot.frame.pop_front(gap) {
        return Err(DropReason::EspLength);
    }
    slot.frame.truncate(kept + trailer.payload_octets);
    if !amend(slot.frame.bytes_mut(), kept, trailer.next_header) {
        return Err(DropReason::InnerMalformed);
    }
    let summary = Summary::of(slot.frame.bytes()).map_err(|_| DropReason::InnerMalformed)?;
    // A whole packet was protected, so that a fragment cannot have come out.
    if summary.fragment != Fragment::Whole {
        return Err(DropReason::TransportFragment);
    }
    slot.summary = summary;
    slot.depth = slot.depth.saturating_add(1);
    if matches!(shape.encapsulation, Encapsulation::Udp { .. }) {
        checksum::renew(&summary.tuple, &mut slot.frame.bytes_mut()[summary.upper_at..]);
    }
    Ok(())
}

/// Writes into the IP header what now begins at `at`, and the length; `false` when no header begins there.
fn amend(packet: &mut [u8], at: usize, number: u8) -> bool {
    let Some(place) = Place::of(packet, at) else { return false };
    let octets = packet.len();
    packet[place.field] = number;
    if packet[0] >> 4 == 6 {
        write_u16(packet, 4, (octets - ipv6::HEADER_OCTETS) as u16);
    } else {
        write_u16(packet, 2, octets as u16);
        ipv4::refresh_checksum(&mut packet[..at]);
    }
    true
}
