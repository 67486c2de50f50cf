//! Packets, octet by octet.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub(crate) const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];
pub(crate) const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const SUBNET_BROADCAST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 255);
pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(crate) const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
pub(crate) const LINK_LOCAL6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);

pub(crate) fn ethernet(to: [u8; 6], kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend([0x02, 0, 0, 0, 0, 0x02]);
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// With a right header checksum, so that the kernel takes it, too.
pub(crate) fn ipv4_packet(
    to: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(REMOTE.octets());
    packet.extend(to.octets());
    packet.extend(options);
    let words = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

pub(crate) fn ipv4_with(
    to: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    ethernet(MAC, 0x0800, &ipv4_packet(to, protocol, fragment, options, payload))
}

pub(crate) fn ipv4(to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(to, protocol, 0, &[], payload)
}

pub(crate) fn ipv6(to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(REMOTE6.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    ethernet(MAC, 0x86dd, &packet)
}

pub(crate) fn udp(to: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = 4500u16.to_be_bytes().to_vec();
    datagram.extend(to.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// An extension header of 8 octets: next header, length, then what the kind makes of it.
pub(crate) fn extension(next: u8, third: u8, fourth: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 0, third, fourth, 0, 0, 0, 7];
    header.extend(rest);
    header
}

pub(crate) const ESP_HEAD: [u8; 16] = [0, 0, 0x10, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9];
