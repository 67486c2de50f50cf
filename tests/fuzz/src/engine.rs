//! The parsers of the data plane (`dataplane/engine/src/packet`).

use std::net::IpAddr;
use warren_engine::packet::esp::{Esp, Trailer};
use warren_engine::packet::ethernet::Ethernet;
use warren_engine::packet::icmp;
use warren_engine::packet::udp::Udp;
use warren_engine::packet::{Fragment, Summary, ipv4, ipv6, protocol, tcp};

/// An IP packet, with whatever a link puts behind it: as it is, and again with the header checksum that a sender
/// would have written, which no fuzzer guesses.
pub fn packet(octets: &[u8]) {
    if let Ok(frame) = Ethernet::new_checked(octets) {
        let _ = (frame.destination(), frame.is_group(), frame.ether_type());
    }
    examine(octets);
    let mut mended = octets.to_vec();
    let header_octets = mended.first().map_or(0, |first| usize::from(first & 15) * 4);
    if mended.first().is_some_and(|first| first >> 4 == 4)
        && header_octets >= ipv4::HEADER_OCTETS
        && let Some(header) = mended.get_mut(..header_octets)
    {
        ipv4::refresh_checksum(header);
        examine(&mended);
    }
}

fn examine(octets: &[u8]) {
    let Ok(summary) = Summary::of(octets) else { return };
    assert!(summary.upper_at <= summary.octets && summary.octets <= octets.len());
    let whole = &octets[..summary.octets];
    assert_eq!(Summary::of(whole), Ok(summary), "what a link appends changes nothing");
    let _ = (summary.is_multicast(), summary.is_link_local());
    let upper = &whole[summary.upper_at..];
    if summary.is(protocol::UDP)
        && summary.fragment == Fragment::Whole
        && let Ok(datagram) = Udp::new_checked(upper)
    {
        assert_eq!(summary.tuple.source_port, Some(datagram.source_port()));
        assert_eq!(summary.tuple.destination_port, Some(datagram.destination_port()));
        let _ = Esp::new_checked(datagram.payload()).map(|esp| (esp.spi(), esp.sequence_low()));
    }
    rewrite(&summary, whole);
    answer(&summary, whole);
    let mut segment = upper.to_vec();
    if tcp::clamp_mss(&mut segment, 1200) {
        assert!(!tcp::clamp_mss(&mut segment, 1200), "clamped once, small enough");
    }
}

/// Forwarding a packet leaves it as well-formed as it was.
fn rewrite(summary: &Summary, packet: &[u8]) {
    let mut forwarded = packet.to_vec();
    if summary.is_ipv6() {
        ipv6::decrement_hop_limit(&mut forwarded);
        ipv6::set_ecn(&mut forwarded, 3);
    } else {
        ipv4::decrement_ttl(&mut forwarded);
        ipv4::set_ecn(&mut forwarded, 3);
        let mut later = [0; ipv4::HEADER_OCTETS_MAX];
        let header = usize::from(packet[0] & 15) * 4;
        let octets = ipv4::later_fragment_header(&packet[..header], &mut later);
        assert!(octets <= header && octets.is_multiple_of(4));
    }
    let expected =
        Summary { ttl: summary.ttl.saturating_sub(1), traffic_class: summary.traffic_class | 3, ..*summary };
    assert_eq!(Summary::of(&forwarded), Ok(expected));
}

/// An error message about a packet is a packet, and nobody answers it with another.
fn answer(summary: &Summary, packet: &[u8]) {
    if !icmp::may_answer(summary, packet) {
        return;
    }
    let error = icmp::Error::TooBig { mtu: 1280 };
    let message = match (summary.tuple.source, summary.tuple.destination) {
        (IpAddr::V4(to), IpAddr::V4(from)) => {
            let mut message = vec![0; icmp::octets_ipv4(packet.len())];
            icmp::emit_ipv4(&mut message, error, from, to, 7, packet);
            message
        }
        (IpAddr::V6(to), IpAddr::V6(from)) => {
            let mut message = vec![0; icmp::octets_ipv6(packet.len())];
            icmp::emit_ipv6(&mut message, error, from, to, packet);
            message
        }
        _ => panic!("a packet of two families"),
    };
    let answer = Summary::of(&message).expect("what we write, we can read");
    assert_eq!(answer.octets, message.len());
    assert!(!icmp::may_answer(&answer, &message), "errors are not answered");
}

/// A decrypted ESP text: payload, padding, pad length, next header.
pub fn esp_trailer(text: &[u8]) {
    if let Ok(trailer) = Trailer::of(text) {
        assert!(trailer.payload_octets + 2 <= text.len());
        let _ = Summary::of(&text[..trailer.payload_octets]);
    }
}
