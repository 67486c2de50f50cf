//! The packets that the gateways beside ours get, and whether what came out is what had to come out.
//!
//! ```text
//!   192.168.1.1 ── 172.16.1.5 ══ ESP, SPI 5   ══▶ 172.16.2.5 ── 192.168.105.1      encrypt
//!   192.168.115.1 ◀── 172.16.1.5 ◀══ SPI 105 ══ 172.16.2.5 ── 192.168.2.1          decrypt
//! ```

use std::net::Ipv4Addr;

use warren_aead::{
    Backend, HEADER_OCTETS, KeyLength, KeyMaterial, OpenJob, OpeningKey, SealJob, SealingKey, Transform,
    Verdict,
};
use warren_engine::packet::{ethernet, ipv4, protocol, udp};
use warren_seam::MacAddress;

use crate::rows::Direction;

/// Packets of one capture file: DPDK's port takes as many as its ring has room for and gives them out in turn.
pub(super) const PACKETS: u32 = 256;

/// Of both SAs: as the configuration of the gateway beside ours has them, one behind the other.
pub(super) const KEY: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
/// The rest of the keying material (RFC 4106 §8.1).
pub(super) const SALT: [u8; 4] = [0xaa, 0xbb, 0xcc, 0xdd];
pub(super) const SPI_OUT: u32 = 5;
pub(super) const SPI_IN: u32 = 105;
pub(super) const NEAR: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 5);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(172, 16, 2, 5);
/// Where clear text of the two ways goes.
pub(super) const TO_FAR: Ipv4Addr = Ipv4Addr::new(192, 168, 105, 1);
pub(super) const TO_NEAR: Ipv4Addr = Ipv4Addr::new(192, 168, 115, 1);

const TRANSFORM: Transform = Transform::AesGcm16(KeyLength::B128);
const KEYS: KeyMaterial<'static> = KeyMaterial { encryption: &KEY, salt: SALT, integrity: &[] };
/// IPv4, as the protocol behind ESP.
const IP_IN_IP: u8 = 4;
/// SPI, sequence number and IV.
const TEXT_AT: usize = HEADER_OCTETS + 8;
const ICV_OCTETS: usize = 16;

/// What arrives at the gateway: inner packets of `inner_octets`, clear or in ESP.
pub(super) fn arriving(direction: Direction, inner_octets: u16) -> Result<Vec<Vec<u8>>, String> {
    match direction {
        Direction::Encrypt => {
            Ok((0..PACKETS).map(|at| framed(&clear(direction, inner_octets, at))).collect())
        }
        Direction::Decrypt => {
            let key = SealingKey::new(Backend::best(), TRANSFORM, KEYS).map_err(|error| error.to_string())?;
            Ok((0..PACKETS)
                .map(|at| framed(&sealed(&key, &clear(direction, inner_octets, at), at)))
                .collect())
        }
    }
}

/// Whether the frames that left the gateway are all of those that had to leave it, protected under the right key or
/// opened, in their order.
pub(super) fn check(direction: Direction, inner_octets: u16, left: &[Vec<u8>]) -> Result<(), String> {
    if left.len() != PACKETS as usize {
        return Err(format!("{} packets came out of {PACKETS}", left.len()));
    }
    let key = OpeningKey::new(Backend::best(), TRANSFORM, KEYS).map_err(|error| error.to_string())?;
    for (at, frame) in (0..).zip(left) {
        let wrong = |what: &str| format!("packet {at} {what}");
        let packet = frame.get(ethernet::HEADER_OCTETS..).ok_or_else(|| wrong("is no frame"))?;
        let inner = match direction {
            Direction::Encrypt => {
                opened(&key, packet).ok_or_else(|| wrong("is not protected under the key"))?
            }
            Direction::Decrypt => packet.to_vec(),
        };
        // An Ethernet frame has a least length, so padding may follow.
        let inner = inner.get(..inner_octets.into()).ok_or_else(|| wrong("came out too short"))?;
        if !same(inner, &clear(direction, inner_octets, at)) {
            return Err(wrong("came out as another one"));
        }
    }
    Ok(())
}

/// The same packet but for what each router changes.
fn same(left: &[u8], sent: &[u8]) -> bool {
    let without_hop = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        // Time to live; checksum.
        for at in [8, 10, 11] {
            packet[at] = 0;
        }
        packet
    };
    left.len() == sent.len() && sent.len() >= ipv4::HEADER_OCTETS && without_hop(left) == without_hop(sent)
}

/// A UDP packet over IPv4 whose payload says which one it is.
fn clear(direction: Direction, octets: u16, at: u32) -> Vec<u8> {
    let (source, destination) = match direction {
        Direction::Encrypt => (Ipv4Addr::new(192, 168, 1, 1), TO_FAR),
        Direction::Decrypt => (Ipv4Addr::new(192, 168, 2, 1), TO_NEAR),
    };
    let mut packet = ip(source, destination, protocol::UDP, octets.into());
    let datagram_octets = packet.len() - ipv4::HEADER_OCTETS;
    udp::emit(&mut packet[ipv4::HEADER_OCTETS..], 1000, 2000, datagram_octets);
    for (octet, place) in packet[ipv4::HEADER_OCTETS + udp::HEADER_OCTETS..].iter_mut().zip(0_u32..) {
        *octet = (at.wrapping_mul(31) + place) as u8;
    }
    packet
}

fn sealed(key: &SealingKey, inner: &[u8], at: u32) -> Vec<u8> {
    let pad_octets = (inner.len() + 2).next_multiple_of(4) - (inner.len() + 2);
    let mut esp = [SPI_IN.to_be_bytes(), (at + 1).to_be_bytes()].concat();
    esp.resize(TEXT_AT, 0);
    esp.extend(inner);
    esp.extend((1..).take(pad_octets));
    esp.extend([pad_octets as u8, IP_IN_IP]);
    esp.resize(esp.len() + ICV_OCTETS, 0);
    warren_aead::seal(&mut [SealJob::new(key, u64::from(at) + 1, None, &mut esp)]);
    let mut packet = ip(FAR, NEAR, protocol::ESP, ipv4::HEADER_OCTETS + esp.len());
    packet[ipv4::HEADER_OCTETS..].copy_from_slice(&esp);
    packet
}

/// The inner packet with what follows it.
fn opened(key: &OpeningKey, packet: &[u8]) -> Option<Vec<u8>> {
    let total_octets: usize = u16::from_be_bytes(*packet.get(2..)?.first_chunk()?).into();
    let is_ours = packet.get(9)? == &protocol::ESP
        && packet.get(12..16)? == NEAR.octets()
        && packet.get(16..20)? == FAR.octets();
    let mut esp = packet.get(ipv4::HEADER_OCTETS..total_octets)?.to_vec();
    if !is_ours || esp.get(..4)? != SPI_OUT.to_be_bytes() {
        return None;
    }
    let mut jobs = [OpenJob::new(key, None, &mut esp)];
    warren_aead::open(&mut jobs);
    let is_authentic = jobs[0].verdict == Verdict::Authentic;
    is_authentic.then(|| esp.get(TEXT_AT..esp.len() - ICV_OCTETS).map(<[u8]>::to_vec))?
}

/// An IPv4 packet with an empty payload.
fn ip(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, total_octets: usize) -> Vec<u8> {
    let mut packet = vec![0; total_octets];
    let header = ipv4::Header {
        traffic_class: 0,
        total_octets,
        id: 1,
        dont_fragment: false,
        ttl: 64,
        protocol,
        source,
        destination,
    };
    ipv4::emit(&mut packet, &header);
    packet
}

fn framed(packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_OCTETS];
    let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
    ethernet::emit(&mut frame, mac(1), mac(2), ethernet::IPV4);
    frame.extend(packet);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a gateway that does its work would let out.
    fn leaving(direction: Direction, octets: u16) -> Vec<Vec<u8>> {
        let key = SealingKey::new(Backend::best(), TRANSFORM, KEYS).unwrap();
        (0..PACKETS)
            .map(|at| {
                let mut inner = clear(direction, octets, at);
                inner[8] -= 1;
                if direction == Direction::Decrypt {
                    return framed(&inner);
                }
                let mut packet = sealed(&key, &inner, at);
                packet[12..16].copy_from_slice(&NEAR.octets());
                packet[16..20].copy_from_slice(&FAR.octets());
                framed(&packet)
            })
            .collect()
    }

    /// Under the SPI of the other direction.
    fn under_spi_out(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let key = OpeningKey::new(Backend::best(), TRANSFORM, KEYS).unwrap();
        let sealing = SealingKey::new(Backend::best(), TRANSFORM, KEYS).unwrap();
        for frame in &mut frames {
            let esp = &mut frame[ethernet::HEADER_OCTETS + ipv4::HEADER_OCTETS..];
            let mut jobs = [OpenJob::new(&key, None, esp)];
            warren_aead::open(&mut jobs);
            assert_eq!(jobs[0].verdict, Verdict::Authentic);
            esp[..4].copy_from_slice(&SPI_OUT.to_be_bytes());
            warren_aead::seal(&mut [SealJob::new(&sealing, 7, None, esp)]);
        }
        frames
    }

    #[test]
    fn what_a_working_gateway_lets_out_is_accepted() {
        for octets in [64, 512, 1420] {
            check(Direction::Decrypt, octets, &leaving(Direction::Decrypt, octets)).unwrap();
            check(Direction::Encrypt, octets, &under_spi_out(leaving(Direction::Encrypt, octets))).unwrap();
        }
    }

    #[test]
    fn packet_that_is_missing_clear_or_changed_is_refused() {
        let good = under_spi_out(leaving(Direction::Encrypt, 64));
        assert!(check(Direction::Encrypt, 64, &good[1..]).is_err());
        let mut swapped = good.clone();
        swapped.swap(3, 4);
        assert!(check(Direction::Encrypt, 64, &swapped).is_err());
        let mut forged = good;
        let last = forged[9].len() - 1;
        forged[9][last] ^= 1;
        assert!(check(Direction::Encrypt, 64, &forged).is_err());
        let clear: Vec<_> = (0..PACKETS).map(|at| framed(&clear(Direction::Encrypt, 64, at))).collect();
        assert!(check(Direction::Encrypt, 64, &clear).is_err());
        let still_sealed = arriving(Direction::Decrypt, 64).unwrap();
        assert!(check(Direction::Decrypt, 64, &still_sealed).is_err());
    }
}
