//! A probe of ours in words, field by field: what `dpctl ted probe --dry-run` shows before anything is told to anybody.

use std::net::IpAddr;
use warren_api::TedField;
use warren_ike::wire::ted::{Probe, number};
use warren_ike::wire::{Body, Header, Payload, PayloadType};

// Octets of headers, without options and extensions: ours have none.
const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;

/// Every field of the packet, in the order of its octets; `None` for one that is no probe as we make them.
pub(crate) fn fields(packet: &[u8]) -> Option<Vec<TedField>> {
    let mut fields = Vec::new();
    let datagram = ip(packet, &mut fields)?;
    let message = udp(datagram, &mut fields)?;
    let probe = Probe::decode(&with_cookie(message)).ok()?;
    let (header, body) = Header::decode(message).ok()?;
    isakmp(&header, &mut fields);
    let body = Body::decode(header.next_payload, body).ok()?;
    for payload in body.payloads() {
        self::payload(payload, &probe, &mut fields);
    }
    Some(fields)
}

/// A preview has no cookie yet, and a message without one is none.
fn with_cookie(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(first) = message.first_mut() {
        *first |= 1;
    }
    message
}

fn ip<'a>(packet: &'a [u8], fields: &mut Vec<TedField>) -> Option<&'a [u8]> {
    let mut add = |name: &str, value: String| fields.push(field("IP", name, value));
    let octets = packet.len();
    match packet.first()? >> 4 {
        4 => {
            let (header, rest) = packet.split_first_chunk::<IPV4>()?;
            let address =
                |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            add("version", "4".to_owned());
            add("octets", octets.to_string());
            add("time to live", header[8].to_string());
            add("protocol", format!("{} (udp)", header[9]));
            add("checksum", hexadecimal(&header[10..12]));
            add("source", format!("{}, the end host behind us", address(12)));
            add("destination", format!("{}, the end host that it looks for", address(16)));
            Some(rest)
        }
        6 => {
            let (header, rest) = packet.split_first_chunk::<IPV6>()?;
            let address = |at: usize| header[at..].first_chunk::<16>().map(|octets| IpAddr::from(*octets));
            add("version", "6".to_owned());
            add("octets", octets.to_string());
            add("next header", format!("{} (udp)", header[6]));
            add("hop limit", header[7].to_string());
            add("source", format!("{}, the end host behind us", address(8)?));
            add("destination", format!("{}, the end host that it looks for", address(24)?));
            Some(rest)
        }
        _ => None,
    }
}

fn udp<'a>(datagram: &'a [u8], fields: &mut Vec<TedField>) -> Option<&'a [u8]> {
    let (header, message) = datagram.split_first_chunk::<UDP>()?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]).to_string();
    fields.push(field("UDP", "source port", number(0)));
    fields.push(field("UDP", "destination port", number(2)));
    fields.push(field("UDP", "length", number(4)));
    fields.push(field("UDP", "checksum", hexadecimal(&header[6..8])));
    Some(message)
}

fn isakmp(header: &Header, fields: &mut Vec<TedField>) {
    let mut add = |name: &str, value: String| fields.push(field("ISAKMP", name, value));
    let encrypted = if header.is_encrypted() { "encrypted" } else { "not encrypted" };
    let cookie = match header.cookie_i {
        [0, 0, 0, 0, 0, 0, 0, 0] => "chosen at random when it is sent".to_owned(),
        cookie => hexadecimal(&cookie),
    };
    add("initiator cookie", cookie);
    add("responder cookie", hexadecimal(&header.cookie_r));
    add("version", format!("{}.{}", header.major(), header.version & 15));
    add("exchange type", format!("{} (TED probe)", header.exchange.0));
    add("flags", format!("{} ({encrypted})", header.flags));
    add("message ID", header.message_id.to_string());
    add("length", header.length.to_string());
}

fn payload(payload: &Payload<'_>, probe: &Probe, fields: &mut Vec<TedField>) {
    match payload.kind {
        PayloadType::VENDOR_ID if payload.body.starts_with(&number::VENDOR) => {
            fields.push(field("Vendor ID", "vendor", "Warren TED v3".to_owned()));
            fields.push(field("Vendor ID", "capabilities", capabilities(probe.capabilities)));
        }
        PayloadType::VENDOR_ID => {
            let octets = format!("{} octets, so that no answer is longer", payload.raw.len());
            fields.push(field("Padding", "zeros", octets));
        }
        PayloadType::IDENTIFICATION => {
            fields.push(field("Identification", "gateway", format!("{}, udp port 500", probe.gateway)));
        }
        PayloadType(number::PROXY) => {
            if let Some((addresses, protocol, port)) = &probe.source {
                fields.push(field("TED Proxy", "our side", addresses.to_string()));
                fields.push(field("TED Proxy", "protocol", protocol.to_string()));
                fields.push(field("TED Proxy", "port", or_any(*port)));
            }
        }
        PayloadType(number::SUMMARY) => {
            let summary = &probe.summary;
            let version = if summary.source.is_ipv6() { "6" } else { "4" };
            for (name, value) in [
                ("maker", hexadecimal(&number::MAKER)),
                ("TED version", number::VERSION.to_string()),
                ("IP version", version.to_owned()),
                ("protocol", summary.protocol.to_string()),
                ("source", summary.source.to_string()),
                ("destination", summary.destination.to_string()),
                ("source port", or_any(summary.source_port)),
                ("destination port", or_any(summary.destination_port)),
            ] {
                fields.push(field("TED Summary", name, value));
            }
        }
        other => fields.push(field(&format!("Payload {}", other.0), "octets", hexadecimal(payload.body))),
    }
}

fn capabilities(bits: u32) -> String {
    let known =
        [(number::IPV6, "IPv6"), (number::COOKIE_ECHO, "cookie echo"), (number::SEVERAL, "several answers")];
    let named: Vec<&str> = known.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    format!("{bits} ({})", named.join(", "))
}

fn or_any(port: Option<u16>) -> String {
    port.map_or_else(|| "any".to_owned(), |port| port.to_string())
}

pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn field(part: &str, name: &str, value: String) -> TedField {
    TedField { part: part.to_owned(), name: name.to_owned(), value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::KernelEntropy;
    use std::sync::Arc;
    use std::time::Duration;
    use warren_ike::ted::{DiscoverRule, Granularity, Ted, TedConfig};
    use warren_policy::{AddressRange, FiveTuple, Pad, PadEntry, Proxy, RuleId};

    fn preview(rule: &str, source: &str, destination: &str, granularity: Granularity) -> Vec<u8> {
        let is_ipv6 = source.contains(':');
        let networks = vec![AddressRange::any(is_ipv6)];
        let rule = DiscoverRule {
            rule: RuleId(0),
            proxies: vec![rule.parse::<Proxy>().unwrap()],
            local: "192.0.2.1".parse().unwrap(),
            pad: Arc::new(Pad::new(vec![PadEntry { identity: None, networks }])),
            is_concealed: false,
        };
        let config = TedConfig { granularity, ..TedConfig::default() };
        let packet = FiveTuple {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            source_port: Some(40_000),
            destination_port: Some(443),
        };
        Ted::new(config, vec![rule], Box::new(KernelEntropy))
            .preview(Duration::ZERO, RuleId(0), packet)
            .unwrap()
    }

    fn said(packet: &[u8]) -> Vec<String> {
        let fields = fields(packet).unwrap();
        fields.into_iter().map(|field| format!("{} {}: {}", field.part, field.name, field.value)).collect()
    }

    #[test] // TED-8 … TED-25
    fn every_field_of_a_probe_is_said_in_the_order_of_its_octets() {
        let packet = preview("10.1.0.0/16 10.0.0.0/8 tcp", "10.1.0.1", "10.2.0.1", Granularity::Policy);
        let said = said(&packet);
        let checksums: Vec<_> = said.iter().filter(|line| line.contains("checksum")).collect();
        assert_eq!(checksums.len(), 2);
        let fixed: Vec<_> =
            said.iter().filter(|line| !line.contains("checksum")).map(String::as_str).collect();
        let octets = format!("IP octets: {}", packet.len());
        let (datagram, message) =
            (format!("UDP length: {}", packet.len() - 20), format!("ISAKMP length: {}", packet.len() - 28));
        let expected = [
            "IP version: 4",
            &octets,
            "IP time to live: 64",
            "IP protocol: 17 (udp)",
            "IP source: 10.1.0.1, the end host behind us",
            "IP destination: 10.2.0.1, the end host that it looks for",
            "UDP source port: 40000",
            "UDP destination port: 500",
            &datagram,
            "ISAKMP initiator cookie: chosen at random when it is sent",
            "ISAKMP responder cookie: 0000000000000000",
            "ISAKMP version: 1.0",
            "ISAKMP exchange type: 240 (TED probe)",
            "ISAKMP flags: 0 (not encrypted)",
            "ISAKMP message ID: 0",
            &message,
            "Vendor ID vendor: Warren TED v3",
            "Vendor ID capabilities: 7 (IPv6, cookie echo, several answers)",
            "Identification gateway: 192.0.2.1, udp port 500",
            "TED Proxy our side: 10.1.0.0/16",
            "TED Proxy protocol: tcp",
            "TED Proxy port: any",
            "TED Summary maker: 8320355d3c37c2d95badba15e73c79f5",
            "TED Summary TED version: 3",
            "TED Summary IP version: 4",
            "TED Summary protocol: tcp",
            "TED Summary source: 10.1.0.1",
            "TED Summary destination: 10.2.0.1",
            "TED Summary source port: any",
            "TED Summary destination port: any",
        ];
        assert_eq!(fixed[..expected.len()], expected);
        assert!(fixed[expected.len()..].iter().all(|line| line.starts_with("Padding zeros: ")), "{fixed:?}");
    }

    #[test] // TED-22, Q-7
    fn a_probe_of_ipv6_and_one_that_tells_the_whole_packet_are_said_too() {
        let rule = "2001:db8:1::/48 2001:db8::/32";
        let said = said(&preview(rule, "2001:db8:1::1", "2001:db8:2::1", Granularity::Packet));
        for line in [
            "IP version: 6",
            "IP hop limit: 64",
            "IP next header: 17 (udp)",
            "IP destination: 2001:db8:2::1, the end host that it looks for",
            "TED Summary protocol: tcp",
            "TED Summary source port: 40000",
            "TED Summary destination port: 443",
        ] {
            assert!(said.iter().any(|said| said == line), "`{line}` is missing in {said:#?}");
        }
    }

    #[test]
    fn what_is_no_probe_has_no_fields() {
        let packet = preview("10.1.0.0/16 10.0.0.0/8", "10.1.0.1", "10.2.0.1", Granularity::Policy);
        for end in 0..packet.len() {
            assert_eq!(fields(&packet[..end]), None);
        }
        let mut other = packet;
        other[20 + 8 + 18] = 2;
        assert_eq!(fields(&other), None);
    }
}
