//! The decision of `steer.bpf.c` in Rust.
//!
//! The simulator uses it in front of memory ports, and the program is compared with it packet by packet. It is written
//! to be read beside the program: same order, same words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Locality;
use crate::limits::{EXTENSION_HEADERS_MAX, EXTENSION_OFFSET_MAX};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// To the engine: ESP to us, whole or a fragment.
    Esp,
    /// To the engine: ESP in UDP to us (RFC 3948).
    UdpEsp,
    /// To the engine: not to us.
    Transit,
    /// To the kernel.
    Pass,
    /// To nobody: addressed to us for the moment, but asking to be forwarded.
    SourceRouted,
}

impl Decision {
    /// All of them, in the order of the program's counters.
    pub const ALL: [Self; 5] = [Self::Esp, Self::UdpEsp, Self::Transit, Self::Pass, Self::SourceRouted];

    /// Whether the engine gets it.
    #[must_use]
    pub fn is_redirect(self) -> bool {
        matches!(self, Self::Esp | Self::UdpEsp | Self::Transit)
    }
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const HOP_BY_HOP: u8 = 0;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const PORT_NAT_T: u16 = 4500;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LSRR: u8 = 131;
const OPTION_SSRR: u8 = 137;

/// Decides about one Ethernet frame.
#[must_use]
pub fn decide(frame: &[u8], locality: &Locality) -> Decision {
    let Some((ethernet, packet)) = frame.split_first_chunk::<14>() else { return Decision::Pass };
    if ethernet[..6] != locality.mac {
        return Decision::Pass;
    }
    match u16::from_be_bytes([ethernet[12], ethernet[13]]) {
        ETHERTYPE_IPV4 => decide_ipv4(packet, locality),
        ETHERTYPE_IPV6 => decide_ipv6(packet, locality),
        ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => decide_tagged(packet),
        _ => Decision::Pass,
    }
}

/// VLAN 0 is no VLAN: the kernel takes the frame for an untagged one.
fn decide_tagged(packet: &[u8]) -> Decision {
    let Some(tag) = packet.first_chunk::<4>() else { return Decision::Pass };
    let (priority_id, ether_type) =
        (u16::from_be_bytes([tag[0], tag[1]]), u16::from_be_bytes([tag[2], tag[3]]));
    if priority_id & 0x0fff != 0 || ether_type == ETHERTYPE_ARP { Decision::Pass } else { Decision::Transit }
}

fn decide_ipv4(packet: &[u8], locality: &Locality) -> Decision {
    let Some(ip) = packet.first_chunk::<20>() else { return Decision::Pass };
    let header = usize::from(ip[0] & 15) * 4;
    if ip[0] >> 4 != 4 || header < 20 || packet.len() < header {
        return Decision::Pass;
    }
    let to = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
    if to.is_unspecified() || to.is_broadcast() || to.is_loopback() || to.is_multicast() {
        return Decision::Pass;
    }
    if !locality.addresses.contains(&IpAddr::V4(to)) {
        return Decision::Transit;
    }
    if is_source_routed(&packet[20..header]) {
        return Decision::SourceRouted;
    }
    let is_fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
    match ip[9] {
        ESP => Decision::Esp,
        UDP if !is_fragment => decide_udp(&packet[header..]),
        _ => Decision::Pass,
    }
}

fn decide_ipv6(packet: &[u8], locality: &Locality) -> Decision {
    let Some(ip) = packet.first_chunk::<40>() else { return Decision::Pass };
    if ip[0] >> 4 != 6 {
        return Decision::Pass;
    }
    let to = Ipv6Addr::from(<[u8; 16]>::try_from(&ip[24..40]).expect("sixteen octets"));
    if to.is_multicast() || to.is_unspecified() || to.is_loopback() {
        return Decision::Pass;
    }
    if !to.is_unicast_link_local() && !locality.addresses.contains(&IpAddr::V6(to)) {
        return Decision::Transit;
    }
    let mut next = ip[6];
    let mut offset = 40;
    for _ in 0..EXTENSION_HEADERS_MAX {
        if offset > EXTENSION_OFFSET_MAX {
            return Decision::Pass;
        }
        let rest = packet.get(offset..).unwrap_or_default();
        match next {
            ESP => return Decision::Esp,
            UDP => return decide_udp(rest),
            _ => {}
        }
        let Some(header) = rest.first_chunk::<8>() else { return Decision::Pass };
        match next {
            FRAGMENT => {
                // An atomic fragment (RFC 6946) is a whole packet.
                if u16::from_be_bytes([header[2], header[3]]) & 0xfff9 != 0 {
                    return if header[0] == ESP { Decision::Esp } else { Decision::Pass };
                }
                offset += 8;
            }
            ROUTING if header[3] != 0 => return Decision::SourceRouted,
            HOP_BY_HOP | DESTINATION | ROUTING => offset += (usize::from(header[1]) + 1) * 8,
            AUTHENTICATION => offset += (usize::from(header[1]) + 2) * 4,
            _ => return Decision::Pass,
        }
        next = header[0];
    }
    Decision::Pass
}

/// UDP to us, not a fragment. A keepalive is one octet (RFC 3948 §2.3), an IKE message begins with four zero octets.
fn decide_udp(datagram: &[u8]) -> Decision {
    let Some(head) = datagram.first_chunk::<12>() else { return Decision::Pass };
    let port = u16::from_be_bytes([head[2], head[3]]);
    let octets = u16::from_be_bytes([head[4], head[5]]);
    if port != PORT_NAT_T || octets < 8 + 5 || head[8..] == [0; 4] {
        return Decision::Pass;
    }
    Decision::UdpEsp
}

/// Whether the options ask to be forwarded from here (RFC 791 §3.1).
fn is_source_routed(mut options: &[u8]) -> bool {
    while let Some((&option, rest)) = options.split_first() {
        match option {
            OPTION_END => return false,
            OPTION_NOP => options = rest,
            OPTION_LSRR | OPTION_SSRR => return true,
            _ => match rest.first() {
                Some(&octets @ 2..) => options = options.get(usize::from(octets)..).unwrap_or_default(),
                _ => return false,
            },
        }
    }
    false
}
