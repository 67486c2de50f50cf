//! The outer header (RFC 4301 §5.1.2): whose address, and what it takes over from the inner one.

use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::mtu::Shape;
use crate::packet::{Fragment, Summary, checksum, ipv4, ipv6, protocol, udp};
use crate::settings::OuterFragmentation;
use crate::slot::{Lanes, Slot, empty_out};
use crate::stages::{encap, transport};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_seam::{Encapsulation, SaMode, Spi};

/// Hop limit of every tunnel: the inner packet's is nobody's business on the way.
pub(crate) const TTL: u8 = 64;

/// Puts the outer header on every packet; what has its last level goes on to be routed.
pub(crate) fn outer(core: &mut Core, lanes: &mut Lanes) {
    let mut lane = empty_out(&mut lanes.protect, &mut lanes.spare);
    for mut slot in lane.drain(..) {
        let sa = core.sad.outbound(slot.sa).expect("bind found it in this turn");
        let (shape, spi) = (sa.shape, sa.spi);
        let wrapped = match shape.mode {
            SaMode::Tunnel => wrap(core, &mut slot, &shape, spi),
            SaMode::Transport => transport::finish(&mut slot, &shape),
        };
        if !wrapped {
            core.discard(slot, DropReason::NoRoom);
            continue;
        }
        slot.level += 1;
        let is_more =
            encap::stack_of(core, &slot).is_some_and(|stack| stack.level(slot.level.into()).is_some());
        if is_more {
            lanes.protect.push(slot);
        } else {
            lanes.forward.push(slot);
        }
    }
    lanes.spare = lane;
}

fn wrap(core: &mut Core, slot: &mut Slot, shape: &Shape, spi: Spi) -> bool {
    let inner = slot.summary;
    let dont_fragment = match core.settings.outer_fragmentation {
        OuterFragmentation::CopyDontFragment => inner.dont_fragment,
        OuterFragmentation::SetDontFragment => true,
        OuterFragmentation::ClearDontFragment => false,
    };
    slot.summary = Summary {
        tuple: shape.leaving(),
        octets: 0,
        upper_at: 0,
        fragment: Fragment::Whole,
        dont_fragment: dont_fragment || shape.remote.is_ipv6(),
        ttl: TTL,
        // DSCP as inside; ECN as inside too, which is RFC 6040's normal mode.
        traffic_class: inner.traffic_class,
    };
    if let Encapsulation::Udp { local_port, remote_port } = shape.encapsulation {
        let datagram = slot.frame.len() + udp::HEADER_OCTETS;
        let Some(header) = slot.frame.push_front(udp::HEADER_OCTETS) else { return false };
        udp::emit(header, local_port, remote_port, datagram);
    }
    let payload_octets = slot.frame.len();
    let wrapped = match (shape.local, shape.remote) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => wrap_ipv4(core, slot, source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => wrap_ipv6(slot, source, destination, spi),
        _ => false,
    };
    slot.summary.octets = slot.frame.len();
    slot.summary.upper_at = slot.frame.len() - payload_octets;
    wrapped
}

fn wrap_ipv4(core: &mut Core, slot: &mut Slot, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
    let header = ipv4::Header {
        traffic_class: slot.summary.traffic_class,
        total_octets: ipv4::HEADER_OCTETS + slot.frame.len(),
        id: core.next_ipv4_id(),
        dont_fragment: slot.summary.dont_fragment,
        ttl: TTL,
        protocol: slot.summary.tuple.protocol,
        source,
        destination,
    };
    slot.frame.push_front(ipv4::HEADER_OCTETS).map(|octets| ipv4::emit(octets, &header)).is_some()
}

fn wrap_ipv6(slot: &mut Slot, source: Ipv6Addr, destination: Ipv6Addr, spi: Spi) -> bool {
    let next_header = slot.summary.tuple.protocol;
    if next_header == protocol::UDP {
        checksum::fill_udp_ipv6(source, destination, slot.frame.bytes_mut());
    }
    let header = ipv6::Header {
        traffic_class: slot.summary.traffic_class,
        flow_label: flow_label(spi),
        payload_octets: slot.frame.len(),
        next_header,
        hop_limit: TTL,
        source,
        destination,
    };
    slot.frame.push_front(ipv6::HEADER_OCTETS).map(|octets| ipv6::emit(octets, &header)).is_some()
}

/// One label for each SA: routers keep it together without learning which flows are inside.
pub(crate) fn flow_label(spi: Spi) -> u32 {
    (spi.0.wrapping_mul(0x9E37_79B1) >> 12) & 0xF_FFFF
}
