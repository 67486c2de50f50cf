//! Inputs of the data plane's parts.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use warren_engine::fib::Fib;
use warren_engine::flow_cache::FlowCache;
use warren_engine::packet::{ipv4, ipv6, protocol};
use warren_engine::replay::ReplayWindow;
use warren_engine::spd::{Direction, Spd};
use warren_policy::{
    AddressRange, FiveTuple, PeerId, PortRange, Protocol, RuleId, RuleSet, Selector, TransportAction,
    TransportRule, TunnelRule, Verdict,
};
use warren_seam::{ForwardingTable, PortIndex, Route};

use crate::{counted, repeat};

/// Packets of a batch.
const BATCH: u32 = 32;
/// Rules of either address family: enough for a structure to show, built in no time.
const RULES: u32 = 500;

pub(crate) fn run() -> Result<(), &'static str> {
    parsers()?;
    let mut window = ReplayWindow::new(1024, 0);
    let mut next = 0;
    repeat("replay_batch", || {
        // In order but for neighbours that have changed places.
        let numbers: Vec<u64> = (1..=u64::from(BATCH)).map(|at| next + ((at - 1) ^ 1) + 1).collect();
        next += u64::from(BATCH);
        counted::replay_batch(&mut window, black_box(&numbers))
    })?;
    rules()
}

fn parsers() -> Result<(), &'static str> {
    let packet = ipv4_packet();
    repeat("summary_ipv4", || counted::summary_ipv4(black_box(&packet)))?;
    let packet = ipv6_packet();
    repeat("summary_ipv6", || counted::summary_ipv6(black_box(&packet)))?;
    let esp = [0, 0, 0x12, 0x34, 0, 0, 0, 7, 0, 0, 0, 0];
    let mut text = vec![0x45; 60];
    text.extend([1, 2, 3, 4, 5, 6, 6, 4]);
    repeat("esp_header_and_trailer", || counted::esp_header_and_trailer(black_box(&esp), black_box(&text)))?;
    let mut message = [0; 28];
    (message[0], message[17], message[18]) = (1, 0x10, 2);
    repeat("isakmp_header", || counted::isakmp_header(black_box(&message)))?;
    repeat("checksum_update", || counted::checksum_update(black_box(0x1234)))
}

fn rules() -> Result<(), &'static str> {
    let spd = Spd::new(&rule_set());
    let mut verdicts = Vec::with_capacity(BATCH as usize);
    let ipv4: Vec<_> = (0..BATCH).map(|at| flow(at, address_v4)).collect();
    repeat("rules_ipv4_batch", || counted::rules_ipv4_batch(&spd, black_box(&ipv4), &mut verdicts))?;
    let hits = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Protect(_))).count();
    let ipv6: Vec<_> = (0..BATCH).map(|at| flow(at, address_v6)).collect();
    repeat("rules_ipv6_batch", || counted::rules_ipv6_batch(&spd, black_box(&ipv6), &mut verdicts))?;
    let hits_v6 = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Protect(_))).count();
    if hits != BATCH as usize || hits_v6 != hits {
        return Err("the rule set");
    }
    let mut cache = FlowCache::new(7);
    ipv4.iter().for_each(|flow| cache.insert(Direction::Outbound, *flow, Verdict::Clear));
    repeat("flow_cache_batch", || counted::flow_cache_batch(&cache, black_box(&ipv4)))?;
    let fib = Fib::new(table());
    repeat("routes_batch", || counted::routes_batch(&fib, black_box(&ipv4)))
}

/// Rules for networks of their own, with ports and protocols of all kinds in front of what matches.
fn rule_set() -> RuleSet {
    let mut tunnel = Vec::new();
    for at in 0..RULES {
        for address in [address_v4, address_v6] {
            let (own, far) = (address(0, at), address(1, at));
            let length = if own.is_ipv4() { 24 } else { 120 };
            let ranges = AddressRange::from_prefix(own, length).zip(AddressRange::from_prefix(far, length));
            let Some(selector) = ranges.and_then(|(own, far)| Selector::between(own, far)) else { continue };
            let first = (at % 7 * 1000) as u16;
            let narrow = Selector {
                protocol: Protocol::Is(if at % 2 == 0 { protocol::TCP } else { protocol::UDP }),
                destination_port: PortRange::new(first, first + 99).unwrap_or(PortRange::ANY),
                ..selector
            };
            for selector in [narrow, selector] {
                let id = RuleId(tunnel.len() as u32);
                let gateway = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)).into();
                tunnel.push(TunnelRule { id, name: id.0.to_string(), selector, peer: PeerId(0), gateway });
            }
        }
    }
    let transport = [everything(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), everything(Ipv6Addr::UNSPECIFIED.into())];
    let permit =
        |selector| TransportRule { name: "all".to_owned(), selector, action: TransportAction::Permit };
    RuleSet { transport: transport.into_iter().flatten().map(permit).collect(), tunnel }
}

fn everything(family: IpAddr) -> Option<Selector> {
    let range = AddressRange::from_prefix(family, 0)?;
    Selector::between(range, range)
}

/// A host in network `at` of a side.
fn address_v4(side: u8, at: u32) -> IpAddr {
    let [.., high, low] = at.to_be_bytes();
    Ipv4Addr::new(10 + side, high, low, 7).into()
}

fn address_v6(side: u8, at: u32) -> IpAddr {
    Ipv6Addr::new(0xfd00, side.into(), 0, 0, 0, 0, (at >> 8) as u16, (at << 8) as u16 | 7).into()
}

/// One of those that the rules speak of, spread over all of them.
fn flow(at: u32, address: fn(u8, u32) -> IpAddr) -> FiveTuple {
    let network = at * 37 % RULES;
    FiveTuple {
        source: address(0, network),
        destination: address(1, network),
        protocol: protocol::UDP,
        source_port: Some(1000),
        destination_port: Some((at % 7 * 1000) as u16 + 50),
    }
}

fn table() -> ForwardingTable {
    let route = |at| Route {
        destination: address_v4(1, at),
        prefix_length: 24,
        via: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        port: PortIndex(1),
    };
    ForwardingTable { routes: (0..RULES).map(route).collect(), ..ForwardingTable::default() }
}

fn ipv4_packet() -> Vec<u8> {
    let mut packet = vec![0; 64];
    let header = ipv4::Header {
        traffic_class: 0,
        total_octets: packet.len(),
        id: 1,
        dont_fragment: true,
        ttl: 64,
        protocol: protocol::UDP,
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(11, 0, 0, 1),
    };
    ipv4::emit(&mut packet, &header);
    packet
}

/// With a hop-by-hop header between its own and the transport's.
fn ipv6_packet() -> Vec<u8> {
    let mut packet = vec![0; 80];
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_octets: 40,
        next_header: 0,
        hop_limit: 64,
        source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
        destination: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1),
    };
    ipv6::emit(&mut packet, &header);
    // The next header; then padding of four octets and two.
    packet[ipv6::HEADER_OCTETS..ipv6::HEADER_OCTETS + 4].copy_from_slice(&[protocol::UDP, 0, 1, 4]);
    packet
}
