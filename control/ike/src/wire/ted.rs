//! Tunnel Endpoint Discovery on the wire (REQUIREMENTS W1, TED-8 … TED-25, TED-32 … TED-36).
//!
//! ```text
//! probe     240  Vendor ID, Identification, [TED Proxy 141], TED Summary 142, [TED Cookie 144],
//!                [Vendor ID of zeros as padding]
//! response  241  Vendor ID, Identification, TED Response 143 once for each matching entry, largest first
//! challenge 241  Vendor ID, Identification, TED Cookie 144: ask again and say this (REQUIREMENTS F-8)
//! ```
//!
//! The numbers are private ones and stand in [`number`] alone, so that a capture of another implementation can
//! correct them. Nothing of it is encrypted or authenticated: what comes out says only where a negotiation may begin.

use super::body::Body;
use super::chain::Chain;
use super::header::{Cookie, Header};
use super::iana::{ExchangeType, IdType, PayloadType};
use super::id::Identification;
use super::malformed::Malformed;
use super::reader::Reader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::{MaskedAddress, Protocol, Proxy};

/// Every number that the source document leaves open.
pub mod number {
    /// Exchange type of a probe.
    pub const PROBE: u8 = 240;
    /// Exchange type of a response.
    pub const RESPONSE: u8 = 241;
    /// Payload type of a TED Proxy.
    pub const PROXY: u8 = 141;
    /// Payload type of a TED Summary.
    pub const SUMMARY: u8 = 142;
    /// Payload type of a TED Response.
    pub const ENTRY: u8 = 143;
    /// Payload type of a TED Cookie: 16 octets that a responder chose, and that the next probe says again.
    pub const COOKIE: u8 = 144;
    /// Version of the discovery protocol as a whole.
    pub const VERSION: u8 = 3;
    /// MD5 of `Warren TED v3`.
    pub const VENDOR: [u8; 16] = 0xa325_00e9_787d_8cf7_cd86_25c7_61be_ac99_u128.to_be_bytes();
    /// MD5 of `Cisco TED Probe version #3`.
    pub const MAKER: [u8; 16] = 0x8320_355d_3c37_c2d9_5bad_ba15_e73c_79f5_u128.to_be_bytes();
    /// Capability: IPv6 proxies.
    pub const IPV6: u32 = 1;
    /// Capability: cookie echo.
    pub const COOKIE_ECHO: u32 = 2;
    /// Capability: several TED Response payloads.
    pub const SEVERAL: u32 = 4;
}

/// Responses of one message: one for each matching entry, at most so many (REQUIREMENTS W1).
pub const ENTRIES_MAX: usize = 4;
/// Port of IKE, where every response goes.
const PORT_ISAKMP: u16 = 500;
/// Protocol number of UDP.
const UDP: u8 = 17;
/// Octets of an IPv6 header beyond those of an IPv4 header.
const IPV6_EXCESS: usize = 20;

/// What a TED Cookie holds (REQUIREMENTS F-8).
pub type Echo = [u8; 16];

/// A probe, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// CKY-I: the name of the probe.
    pub cookie: Cookie,
    /// What the sender can do, [`number::IPV6`] and its neighbours; zero where its vendor ID is not ours.
    pub capabilities: u32,
    /// Where the response goes: the address in the Identification payload.
    pub gateway: IpAddr,
    /// The sender's source half proxy, which may be left out.
    pub source: Option<(MaskedAddress, Protocol, Option<u16>)>,
    /// What traffic the tunnel is for.
    pub summary: Summary,
    /// The responder's TED Cookie, said again: the sender hears what is sent to `gateway`.
    pub echo: Option<Echo>,
}

/// The traffic that a tunnel is wanted for. Fields that the sender's rule leaves open are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Summary {
    /// A: where the packet came from.
    pub source: IpAddr,
    /// B: where it went, of the same family.
    pub destination: IpAddr,
    /// Its upper layer protocol.
    pub protocol: Protocol,
    /// Its source port.
    pub source_port: Option<u16>,
    /// Its destination port.
    pub destination_port: Option<u16>,
}

/// A response, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// CKY-I of the probe that is answered.
    pub initiator: Cookie,
    /// CKY-R, chosen by the responder.
    pub responder: Cookie,
    /// What the responder can do.
    pub capabilities: u32,
    /// The responder's address.
    pub gateway: IpAddr,
    /// Its full proxies as it sees them: source is its side. Between one and [`ENTRIES_MAX`]; none in a challenge.
    pub entries: Vec<Proxy>,
    /// A TED Cookie that the next probe has to say.
    pub challenge: Option<Echo>,
}

impl Probe {
    /// The message, padded by a Vendor ID of zeros until no response of `entries_max` entries is longer as an IP packet
    /// (REQUIREMENTS F-8).
    #[must_use]
    pub fn encode(&self, entries_max: usize) -> Vec<u8> {
        let mut chain = Chain::new()
            .with(PayloadType::VENDOR_ID, &vendor(self.capabilities))
            .with(PayloadType::IDENTIFICATION, &identification(self.gateway));
        if let Some((addresses, protocol, port)) = &self.source {
            chain.push(PayloadType(number::PROXY), &half(addresses, *protocol, *port));
        }
        chain.push(PayloadType(number::SUMMARY), &self.summary.encode());
        if let Some(echo) = &self.echo {
            chain.push(PayloadType(number::COOKIE), echo);
        }
        let longest = response_octets(self.summary.source.is_ipv6(), self.gateway.is_ipv6(), entries_max);
        let header = Header::new(self.cookie, [0; 8], ExchangeType(number::PROBE), 0, 0);
        let shorter_by = longest.saturating_sub(header.encode(&chain).len());
        if shorter_by > 0 {
            chain.push(PayloadType::VENDOR_ID, &vec![0; shorter_by.saturating_sub(4)]);
        }
        header.encode(&chain)
    }

    /// Decodes a message that has exchange type 240 and major version 1.
    ///
    /// # Errors
    /// When it is no probe, or breaks a rule of one.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let (header, body) = clear(message, number::PROBE)?;
        if header.cookie_i == [0; 8] || header.cookie_r != [0; 8] {
            return Err(Malformed::TedHeader);
        }
        let summary = Summary::decode(one(&body, number::SUMMARY)?)?;
        let source = at_most_one(&body, number::PROXY)?.map(decode_half).transpose()?;
        if source.as_ref().is_some_and(|(addresses, ..)| addresses.is_ipv6() != summary.source.is_ipv6()) {
            return Err(Malformed::TedFamily);
        }
        Ok(Self {
            cookie: header.cookie_i,
            capabilities: capabilities(&body),
            gateway: gateway(&body)?,
            source,
            summary,
            echo: cookie(&body)?,
        })
    }
}

impl Summary {
    fn encode(&self) -> Vec<u8> {
        let mut octets = number::MAKER.to_vec();
        octets.extend([number::VERSION, version(self.source), protocol_octet(self.protocol), 0]);
        push_address(&mut octets, self.source);
        push_address(&mut octets, self.destination);
        octets.extend(self.source_port.unwrap_or(0).to_be_bytes());
        octets.extend(self.destination_port.unwrap_or(0).to_be_bytes());
        octets
    }

    fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(octets);
        let maker = reader.array::<16>().ok_or(Malformed::TedTruncated)?;
        let [version, ip, protocol, _] = reader.array().ok_or(Malformed::TedTruncated)?;
        if maker != number::MAKER || version != number::VERSION {
            return Err(Malformed::TedVersion);
        }
        let source = take_address(&mut reader, ip)?;
        let destination = take_address(&mut reader, ip)?;
        let (source_port, destination_port) = (take_port(&mut reader)?, take_port(&mut reader)?);
        if !reader.is_empty() {
            return Err(Malformed::TedTrailingOctets);
        }
        let protocol = if protocol == 0 { Protocol::Any } else { Protocol::Is(protocol) };
        Ok(Self { source, destination, protocol, source_port, destination_port })
    }
}

impl Response {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut chain = Chain::new()
            .with(PayloadType::VENDOR_ID, &vendor(self.capabilities))
            .with(PayloadType::IDENTIFICATION, &identification(self.gateway));
        for entry in self.entries.iter().take(ENTRIES_MAX) {
            chain.push(PayloadType(number::ENTRY), &encode_entry(entry));
        }
        if let Some(challenge) = &self.challenge {
            chain.push(PayloadType(number::COOKIE), challenge);
        }
        Header::new(self.initiator, self.responder, ExchangeType(number::RESPONSE), 0, 0).encode(&chain)
    }

    /// Decodes a message that has exchange type 241 and major version 1.
    ///
    /// # Errors
    /// When it is no response, or breaks a rule of one.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let (header, body) = clear(message, number::RESPONSE)?;
        if header.cookie_i == [0; 8] || header.cookie_r == [0; 8] {
            return Err(Malformed::TedHeader);
        }
        let entries = (body.all(PayloadType(number::ENTRY)))
            .map(|payload| decode_entry(payload.body))
            .collect::<Result<Vec<_>, _>>()?;
        let challenge = cookie(&body)?;
        if entries.is_empty() && challenge.is_none() || entries.len() > ENTRIES_MAX {
            return Err(Malformed::TedEntries);
        }
        Ok(Self {
            initiator: header.cookie_i,
            responder: header.cookie_r,
            capabilities: capabilities(&body),
            gateway: gateway(&body)?,
            entries,
            challenge,
        })
    }
}

/// Octets of a response with so many entries, which travels between gateways of one family and is about traffic of
/// perhaps another; the longer IP header counts, where only the response has it.
fn response_octets(is_ipv6: bool, is_sent_over_ipv6: bool, entries: usize) -> usize {
    let octets = |is_ipv6: bool| if is_ipv6 { 16 } else { 4 };
    let header = if is_sent_over_ipv6 && !is_ipv6 { IPV6_EXCESS } else { 0 };
    header
        + super::HEADER_OCTETS
        + (4 + 20)
        + (4 + 4 + octets(is_sent_over_ipv6))
        + entries.min(ENTRIES_MAX) * (4 + 8 + 4 * octets(is_ipv6))
}

/// Header and payloads of a message of that exchange type: version 1, message ID 0, not encrypted. Type 240 of
/// IKEv2 is another exchange altogether (REQUIREMENTS TED-62).
fn clear(message: &[u8], exchange: u8) -> Result<(Header, Body<'_>), Malformed> {
    let (header, octets) = Header::decode(message)?;
    let is_ours = header.major() == 1 && header.exchange == ExchangeType(exchange);
    if !is_ours || header.message_id != 0 || header.is_encrypted() {
        return Err(Malformed::TedHeader);
    }
    Ok((header, Body::decode(header.next_payload, octets)?))
}

fn at_most_one<'a>(body: &Body<'a>, kind: u8) -> Result<Option<&'a [u8]>, Malformed> {
    let mut all = body.all(PayloadType(kind));
    let first = all.next().map(|payload| payload.body);
    if all.next().is_some() { Err(Malformed::DuplicatePayload) } else { Ok(first) }
}

fn one<'a>(body: &Body<'a>, kind: u8) -> Result<&'a [u8], Malformed> {
    at_most_one(body, kind)?.ok_or(Malformed::TedTruncated)
}

fn cookie(body: &Body<'_>) -> Result<Option<Echo>, Malformed> {
    let exact = |octets: &[u8]| match octets.try_into() {
        Ok(echo) => Ok(echo),
        Err(_) if octets.len() < size_of::<Echo>() => Err(Malformed::TedTruncated),
        Err(_) => Err(Malformed::TedTrailingOctets),
    };
    at_most_one(body, number::COOKIE)?.map(exact).transpose()
}

fn vendor(capabilities: u32) -> Vec<u8> {
    [&number::VENDOR[..], &capabilities.to_be_bytes()].concat()
}

fn capabilities(body: &Body<'_>) -> u32 {
    let ours = |octets: &[u8]| {
        let flags = octets.strip_prefix(&number::VENDOR[..])?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*flags))
    };
    body.all(PayloadType::VENDOR_ID).find_map(|payload| ours(payload.body)).unwrap_or(0)
}

fn identification(gateway: IpAddr) -> Vec<u8> {
    let (kind, data) = match gateway {
        IpAddr::V4(v4) => (IdType::IPV4_ADDR, v4.octets().to_vec()),
        IpAddr::V6(v6) => (IdType::IPV6_ADDR, v6.octets().to_vec()),
    };
    Identification { kind, protocol: UDP, port: PORT_ISAKMP, data: data.into() }.encode()
}

/// The one address in the one Identification payload.
fn gateway(body: &Body<'_>) -> Result<IpAddr, Malformed> {
    let identification = Identification::decode(one(body, PayloadType::IDENTIFICATION.0)?)?;
    let single = identification.kind == IdType::IPV4_ADDR || identification.kind == IdType::IPV6_ADDR;
    match &identification.data[..] {
        octets if !single || octets.is_empty() => Err(Malformed::IdNotEntity),
        octets => take_address(&mut Reader::new(octets), if octets.len() == 4 { 4 } else { 6 }),
    }
}

/// A TED Proxy: an Identification body with address and mask.
fn half(addresses: &MaskedAddress, protocol: Protocol, port: Option<u16>) -> Vec<u8> {
    let kind = if addresses.is_ipv6() { IdType::IPV6_ADDR_SUBNET } else { IdType::IPV4_ADDR_SUBNET };
    let mut data = Vec::new();
    push_address(&mut data, addresses.address());
    push_address(&mut data, addresses.mask());
    let (protocol, port) = (protocol_octet(protocol), port.unwrap_or(0));
    Identification { kind, protocol, port, data: data.into() }.encode()
}

fn decode_half(body: &[u8]) -> Result<(MaskedAddress, Protocol, Option<u16>), Malformed> {
    let identification = Identification::decode(body)?;
    let ip = match identification.kind {
        IdType::IPV4_ADDR_SUBNET => 4,
        IdType::IPV6_ADDR_SUBNET => 6,
        _ => return Err(Malformed::IdNotAddresses),
    };
    let mut reader = Reader::new(&identification.data);
    let (address, mask) = (take_address(&mut reader, ip)?, take_address(&mut reader, ip)?);
    let addresses = MaskedAddress::new(address, mask).ok_or(Malformed::TedFamily)?;
    let protocol =
        if identification.protocol == 0 { Protocol::Any } else { Protocol::Is(identification.protocol) };
    Ok((addresses, protocol, Some(identification.port).filter(|port| *port != 0)))
}

fn encode_entry(proxy: &Proxy) -> Vec<u8> {
    let mut octets = vec![version(proxy.source().address()), protocol_octet(proxy.protocol()), 0, 0];
    octets.extend(proxy.source_port().unwrap_or(0).to_be_bytes());
    octets.extend(proxy.destination_port().unwrap_or(0).to_be_bytes());
    for half in [proxy.source(), proxy.destination()] {
        push_address(&mut octets, half.address());
        push_address(&mut octets, half.mask());
    }
    octets
}

fn decode_entry(body: &[u8]) -> Result<Proxy, Malformed> {
    let mut reader = Reader::new(body);
    let [ip, protocol, _, _] = reader.array().ok_or(Malformed::TedTruncated)?;
    let (local_port, remote_port) = (take_port(&mut reader)?, take_port(&mut reader)?);
    let mut masked = || {
        let (address, mask) = (take_address(&mut reader, ip)?, take_address(&mut reader, ip)?);
        MaskedAddress::new(address, mask).ok_or(Malformed::TedFamily)
    };
    let (local, remote) = (masked()?, masked()?);
    if !reader.is_empty() {
        return Err(Malformed::TedTrailingOctets);
    }
    let protocol = if protocol == 0 { Protocol::Any } else { Protocol::Is(protocol) };
    Proxy::new((local, local_port), (remote, remote_port), protocol).ok_or(Malformed::TedFamily)
}

const fn version(address: IpAddr) -> u8 {
    if address.is_ipv6() { 6 } else { 4 }
}

const fn protocol_octet(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Any => 0,
        Protocol::Is(number) => number,
    }
}

fn push_address(octets: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => octets.extend(v4.octets()),
        IpAddr::V6(v6) => octets.extend(v6.octets()),
    }
}

fn take_address(reader: &mut Reader<'_>, ip: u8) -> Result<IpAddr, Malformed> {
    match ip {
        4 => reader.array::<4>().map(|octets| Ipv4Addr::from(octets).into()).ok_or(Malformed::TedTruncated),
        6 => reader.array::<16>().map(|octets| Ipv6Addr::from(octets).into()).ok_or(Malformed::TedTruncated),
        _ => Err(Malformed::TedFamily),
    }
}

fn take_port(reader: &mut Reader<'_>) -> Result<Option<u16>, Malformed> {
    reader.u16().map(|port| Some(port).filter(|port| *port != 0)).ok_or(Malformed::TedTruncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn probe(summary: Summary) -> Probe {
        Probe {
            cookie: [7; 8],
            capabilities: number::IPV6 | number::SEVERAL,
            gateway: "198.51.100.1".parse().unwrap(),
            source: None,
            summary,
            echo: None,
        }
    }

    fn summary() -> Summary {
        Summary {
            source: "10.1.3.4".parse().unwrap(),
            destination: "10.2.5.6".parse().unwrap(),
            protocol: Protocol::Is(6),
            source_port: None,
            destination_port: Some(443),
        }
    }

    #[test] // TED-8, TED-9, TED-10, TED-11, TED-16, TED-17, TED-18, TED-20, TED-21, TED-22, TED-23, TED-24, TED-25, W1
    fn a_probe_is_these_octets() {
        let octets = probe(summary()).encode(0);
        let expected = concat!(
            "0707070707070707",
            "0000000000000000",
            "0d",
            "10",
            "f0",
            "00",
            "00000000",
            "00000064",
            "05000018",
            "a32500e9787d8cf7cd8625c761beac99",
            "00000005",
            "8e00000c",
            "011101f4",
            "c6336401",
            "00000024",
            "8320355d3c37c2d95badba15e73c79f5",
            "03040600",
            "0a010304",
            "0a020506",
            "0000",
            "01bb",
        );
        assert_eq!(hex::encode(&octets), expected);
        assert_eq!(Probe::decode(&octets).unwrap(), probe(summary()));
    }

    #[test] // TED-32, TED-33, TED-35, TED-36, W1, Q-3
    fn a_response_is_these_octets() {
        let response = Response {
            initiator: [7; 8],
            responder: [9; 8],
            capabilities: 0,
            gateway: "198.51.100.2".parse().unwrap(),
            entries: vec!["10.2.5.0/24 10.0.0.0/8 tcp 443 any".parse().unwrap()],
            challenge: None,
        };
        let expected = concat!(
            "0707070707070707",
            "0909090909090909",
            "0d",
            "10",
            "f1",
            "00",
            "00000000",
            "0000005c",
            "05000018",
            "a32500e9787d8cf7cd8625c761beac99",
            "00000000",
            "8f00000c",
            "011101f4",
            "c6336402",
            "0000001c",
            "04060000",
            "01bb",
            "0000",
            "0a020500",
            "ffffff00",
            "0a000000",
            "ff000000",
        );
        assert_eq!(hex::encode(response.encode()), expected);
        assert_eq!(Response::decode(&response.encode()).unwrap(), response);
    }

    #[test] // F-8
    fn no_response_is_longer_than_its_probe() {
        let v6 = Summary {
            source: "2001:db8:1::1".parse().unwrap(),
            destination: "2001:db8:2::1".parse().unwrap(),
            ..summary()
        };
        for (asked, entry) in
            [(summary(), "10.2.0.0/16 10.1.0.0/16"), (v6, "2001:db8:2::/48 2001:db8:1::/48")]
        {
            for entries in 1..=ENTRIES_MAX {
                let gateway =
                    if asked.source.is_ipv6() { "2001:db8::1" } else { "198.51.100.1" }.parse().unwrap();
                let sent = Probe { gateway, ..probe(asked) }.encode(entries);
                let response = Response {
                    initiator: [1; 8],
                    responder: [2; 8],
                    capabilities: 7,
                    gateway,
                    entries: vec![entry.parse().unwrap(); entries],
                    challenge: None,
                };
                assert!(response.encode().len() <= sent.len(), "{entries} entries");
                assert_eq!(Probe::decode(&sent).unwrap().summary, asked, "the padding says nothing");
            }
        }
    }

    #[test] // F-8, W1
    fn a_cookie_is_asked_for_and_said_again_in_these_octets() {
        let challenge = Response {
            initiator: [7; 8],
            responder: [9; 8],
            capabilities: number::COOKIE_ECHO,
            gateway: "198.51.100.2".parse().unwrap(),
            entries: Vec::new(),
            challenge: Some([0xc0; 16]),
        };
        let expected = concat!(
            "0707070707070707",
            "0909090909090909",
            "0d",
            "10",
            "f1",
            "00",
            "00000000",
            "00000054",
            "05000018",
            "a32500e9787d8cf7cd8625c761beac99",
            "00000002",
            "9000000c",
            "011101f4",
            "c6336402",
            "00000014",
            "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0",
        );
        assert_eq!(hex::encode(challenge.encode()), expected);
        assert_eq!(Response::decode(&challenge.encode()), Ok(challenge.clone()));
        let sent = Probe { echo: Some([0xc0; 16]), ..probe(summary()) };
        let octets = sent.encode(0);
        let (head, tail) = octets.split_at(octets.len() - 20);
        let mut plain = probe(summary()).encode(0);
        let length = plain.len() + 20;
        plain[24..28].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        // The summary's generic header stands behind header, vendor ID and identification.
        plain[28 + 24 + 12] = number::COOKIE;
        assert_eq!((head, hex::encode(tail)), (&plain[..], format!("00000014{}", "c0".repeat(16))));
        assert_eq!(Probe::decode(&octets), Ok(sent));
        for octets in [15, 17] {
            let cookie = Chain::new()
                .with(PayloadType::IDENTIFICATION, &identification(challenge.gateway))
                .with(PayloadType(number::COOKIE), &vec![1; octets]);
            let header = Header::new([7; 8], [9; 8], ExchangeType(number::RESPONSE), 0, 0);
            let why = if octets < 16 { Malformed::TedTruncated } else { Malformed::TedTrailingOctets };
            assert_eq!(Response::decode(&header.encode(&cookie)), Err(why));
        }
        let nothing = Response { challenge: None, ..challenge };
        assert_eq!(Response::decode(&nothing.encode()), Err(Malformed::TedEntries));
    }

    #[test] // TED-19, Q-11
    fn the_source_half_may_be_there_and_may_be_left_out() {
        let half = (
            MaskedAddress::from_range(&"10.1.0.0/16".parse::<Half>().unwrap().0).unwrap(),
            Protocol::Is(17),
            Some(53),
        );
        let with = Probe { source: Some(half), ..probe(summary()) };
        assert_eq!(Probe::decode(&with.encode(4)).unwrap(), with);
    }

    struct Half(warren_policy::AddressRange);

    impl std::str::FromStr for Half {
        type Err = ();

        fn from_str(text: &str) -> Result<Self, ()> {
            let (address, length) = text.split_once('/').ok_or(())?;
            let (address, length) = (address.parse().map_err(drop)?, length.parse().map_err(drop)?);
            warren_policy::AddressRange::from_prefix(address, length).map(Self).ok_or(())
        }
    }

    #[test] // TED-61, W1
    fn every_number_that_the_source_leaves_open_is_a_private_one_and_stands_once() {
        let payloads = [number::PROXY, number::SUMMARY, number::ENTRY, number::COOKIE];
        assert_eq!(payloads, [141, 142, 143, 144]);
        assert!(payloads.iter().all(|payload| *payload >= 128), "RFC 2408 §3.1: private use");
        assert_eq!((number::PROBE, number::RESPONSE), (240, 241));
        assert_eq!([number::IPV6, number::COOKIE_ECHO, number::SEVERAL], [1, 2, 4]);
    }

    #[test] // TED-8, TED-9, TED-10, TED-11, TED-62
    fn what_only_resembles_a_probe_is_none() {
        let good = probe(summary()).encode(1);
        let with = |at: usize, octet: u8| {
            let mut octets = good.clone();
            octets[at] = octet;
            Probe::decode(&octets)
        };
        assert!(with(0, 7).is_ok());
        assert_eq!(with(8, 1), Err(Malformed::TedHeader), "a responder's cookie");
        assert_eq!(with(17, 0x20), Err(Malformed::TedHeader), "IKEv2: ME_CONNECT");
        assert_eq!(with(18, 241), Err(Malformed::TedHeader), "another exchange");
        assert_eq!(with(19, 1), Err(Malformed::TedHeader), "encrypted");
        assert_eq!(with(23, 1), Err(Malformed::TedHeader), "a message ID");
        assert_eq!(with(68, 0), Err(Malformed::TedVersion), "another maker");
        assert_eq!(with(84, 2), Err(Malformed::TedVersion), "version 2");
        assert_eq!(with(85, 5), Err(Malformed::TedFamily), "IP version 5");
        assert_eq!(with(85, 6), Err(Malformed::TedTruncated), "too short for IPv6");
    }

    fn proxies() -> impl Strategy<Value = Proxy> {
        let masked = |is_ipv6: bool| {
            any::<(u128, u128)>().prop_map(move |(bits, mask)| {
                let address = |bits: u128| match is_ipv6 {
                    true => IpAddr::V6(Ipv6Addr::from_bits(bits)),
                    false => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
                };
                MaskedAddress::new(address(bits), address(mask)).unwrap()
            })
        };
        let port = || prop::option::of(1u16..);
        any::<bool>().prop_flat_map(move |is_ipv6| {
            (masked(is_ipv6), masked(is_ipv6), 0u8.., port(), port()).prop_map(
                |(local, remote, protocol, l, r)| {
                    let protocol = if protocol == 0 { Protocol::Any } else { Protocol::Is(protocol) };
                    Proxy::new((local, l), (remote, r), protocol).unwrap()
                },
            )
        })
    }

    proptest! {
        #[test] // TED-36, Q-10
        fn every_response_survives_the_wire(entries in prop::collection::vec(proxies(), 1..=ENTRIES_MAX), v6: bool) {
            let gateway = if v6 { "2001:db8::2" } else { "198.51.100.2" }.parse().unwrap();
            let response = Response { initiator: [1; 8], responder: [2; 8], capabilities: 3, gateway, entries, challenge: None };
            prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
        }

        #[test] // F-36
        fn no_octets_panic(octets: Vec<u8>, at: usize, flipped: u8) {
            let _ = (Probe::decode(&octets), Response::decode(&octets));
            let mut good = probe(summary()).encode(2);
            let at = at % good.len();
            good[at] ^= flipped;
            good.truncate(good.len() - at % 5);
            let _ = Probe::decode(&good);
        }
    }
}
