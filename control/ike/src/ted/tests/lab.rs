//! What the tests share: gateways GI and GR in front of A and B, and what passes between them.

use crate::Path;
use crate::path::PORT_ISAKMP;
use crate::ted::{DiscoverRule, Ted, TedConfig, TedCount, TedNotice, TedOutput};
use crate::testing::Seeded;
use crate::wire::ted::{Probe, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{AddressRange, FiveTuple, Pad, PadEntry, Proxy, RuleId, Selector};
use warren_seam::{Catch, Caught, Entry, Injected, PortIndex};

pub(super) const RULE: RuleId = RuleId(1);
pub(super) const PORT: PortIndex = PortIndex(3);
pub(super) const GI: &str = "198.51.100.1";
pub(super) const GR: &str = "203.0.113.2";
pub(super) const A: &str = "10.1.3.4";
pub(super) const B: &str = "10.2.5.6";

pub(super) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn range(text: &str) -> AddressRange {
    let (address, length) = text.split_once('/').unwrap();
    AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

pub(super) fn proxy(text: &str) -> Proxy {
    text.parse().unwrap()
}

pub(super) fn selector(text: &str) -> Selector {
    proxy(text).selector().unwrap()
}

/// A packet to port 443 of TCP.
pub(super) fn packet(source: &str, destination: &str) -> FiveTuple {
    FiveTuple {
        source: address(source),
        destination: address(destination),
        protocol: 6,
        source_port: Some(49_152),
        destination_port: Some(443),
    }
}

pub(super) fn p() -> FiveTuple {
    packet(A, B)
}

/// A rule that protects these, and finds gateways for whatever the networks are.
pub(super) fn rule(local: &str, proxies: &[&str], networks: &[&str]) -> DiscoverRule {
    let networks = networks.iter().map(|text| range(text)).collect();
    DiscoverRule {
        rule: RULE,
        proxies: proxies.iter().map(|text| proxy(text)).collect(),
        local: address(local),
        pad: Arc::new(Pad::new(vec![PadEntry { identity: None, networks }])),
        is_concealed: false,
    }
}

pub(super) fn ted(config: TedConfig, rules: Vec<DiscoverRule>, seed: u64) -> Ted {
    let own = rules.iter().map(|rule| rule.local).collect();
    let mut ted = Ted::new(config, rules, Box::new(Seeded::new(seed)));
    ted.set_own_addresses(own);
    ted
}

/// GI, which protects what A's network sends to anywhere in 10.0.0.0/8.
pub(super) fn initiator() -> Ted {
    ted(TedConfig::default(), vec![rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"])], 1)
}

/// GR, which protects what B's network exchanges with anywhere in 10.0.0.0/8.
pub(super) fn responder() -> Ted {
    ted(TedConfig::default(), vec![rule(GR, &["10.2.0.0/16 10.0.0.0/8"], &["10.1.0.0/16"])], 2)
}

pub(super) fn outputs(ted: &mut Ted) -> Vec<TedOutput> {
    std::iter::from_fn(|| ted.poll_output()).collect()
}

/// The packets that go out in the name of an end host.
pub(super) fn probes(outputs: &[TedOutput]) -> Vec<Vec<u8>> {
    let originated = |output: &TedOutput| match output {
        TedOutput::Inject(Injected { entry: Entry::Originate, packet }) => Some(packet.clone()),
        _ => None,
    };
    outputs.iter().filter_map(originated).collect()
}

/// The one probe among the outputs.
pub(super) fn one_probe(outputs: &[TedOutput]) -> Vec<u8> {
    let mut probes = probes(outputs);
    assert_eq!(probes.len(), 1, "{outputs:?}");
    probes.remove(0)
}

/// The one datagram among the outputs.
pub(super) fn one_datagram(outputs: &[TedOutput]) -> (Path, Vec<u8>) {
    let sent = |output: &TedOutput| match output {
        TedOutput::Transmit { path, octets } => Some((*path, octets.clone())),
        _ => None,
    };
    let mut all: Vec<_> = outputs.iter().filter_map(sent).collect();
    assert_eq!(all.len(), 1, "{outputs:?}");
    all.remove(0)
}

pub(super) fn notices(outputs: &[TedOutput]) -> Vec<TedNotice> {
    let notice = |output: &TedOutput| match output {
        TedOutput::Log(notice) => Some(notice.clone()),
        _ => None,
    };
    outputs.iter().filter_map(notice).collect()
}

pub(super) fn is_found(outputs: &[TedOutput]) -> bool {
    outputs.iter().any(|output| matches!(output, TedOutput::Found { .. }))
}

/// Where the UDP payload of a packet without options begins.
pub(super) fn payload_at(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { 28 } else { 48 }
}

pub(super) fn decoded(packet: &[u8]) -> Probe {
    Probe::decode(&packet[payload_at(packet)..]).unwrap()
}

/// The packet as a worker hands it over.
pub(super) fn caught(catch: Catch, packet: Vec<u8>) -> Caught {
    let is_ipv6 = packet[0] >> 4 == 6;
    let at = |at: usize, octets: usize| -> IpAddr {
        let octets = &packet[at..at + octets];
        match <[u8; 4]>::try_from(octets) {
            Ok(v4) => v4.into(),
            Err(_) => <[u8; 16]>::try_from(octets).unwrap().into(),
        }
    };
    let (source, destination, protocol, upper_at) =
        if is_ipv6 { (at(8, 16), at(24, 16), packet[6], 40) } else { (at(12, 4), at(16, 4), packet[9], 20) };
    let port =
        |at: usize| (protocol == 17).then(|| u16::from_be_bytes(packet[at..at + 2].try_into().unwrap()));
    let tuple = FiveTuple {
        source,
        destination,
        protocol,
        source_port: port(upper_at),
        destination_port: port(upper_at + 2),
    };
    Caught { catch, port: PORT, tuple, upper_at: upper_at as u16, packet }
}

/// From a gateway's port 500 to one of ours.
pub(super) fn path(local: &str, remote: &str) -> Path {
    Path { local: (address(local), PORT_ISAKMP).into(), remote: (address(remote), PORT_ISAKMP).into() }
}

/// What GR says to a probe, if nobody changes it.
pub(super) fn response(cookie: [u8; 8], entries: &[&str]) -> Response {
    Response {
        initiator: cookie,
        responder: [9; 8],
        capabilities: 7,
        gateway: address(GR),
        entries: entries.iter().map(|text| proxy(text)).collect(),
        challenge: None,
    }
}

/// Hands GI an answer of GR.
pub(super) fn hear(ted: &mut Ted, now: Duration, response: &Response) -> Vec<TedOutput> {
    ted.handle_message(now, path(GI, GR), &response.encode());
    outputs(ted)
}

#[track_caller]
pub(super) fn expect(ted: &Ted, counts: &[(TedCount, u64)]) {
    for (count, expected) in counts {
        assert_eq!(ted.counters().counted(*count), *expected, "{}", count.word());
    }
}
