//! Gateways on memory ports, packets to send through them, and a look at what comes out.
//!
//! ```text
//!   host A 10.1.0.2 ── inside 0 ─ gateway 1 ─ outside 1 ══ wire ══ outside 1 ─ gateway 2 ─ inside 0 ── host B 10.2.0.2
//! ```
#![allow(dead_code, reason = "every test file uses its own part of the lab")]

pub(crate) mod exercise;
pub(crate) mod tower;

use std::net::IpAddr;
use std::time::Duration;
use warren_engine::packet::{Summary, ipv4, ipv6, protocol, udp};
use warren_engine::{
    CounterSnapshot, DropReason, EnginePort, Handle, Settings, Tally, Token, Worker, WorkerParts, build,
};
use warren_policy::{
    AddressRange, EspTransform, PeerId, RuleId, RuleSet, Selector, TransportAction, TransportRule, TunnelRule,
};
use warren_port::{Link, MemoryLink, MemoryPort, Umem, UmemConfig};
use warren_seam::{
    Command, Encapsulation, Event, ForwardingTable, InboundSa, MacAddress, Neighbour, OutboundSa, PortIndex,
    PortInfo, Route, SaId, SaKeys, Side, Spi, Volume,
};

pub(crate) const INSIDE: usize = 0;
pub(crate) const OUTSIDE: usize = 1;
pub(crate) const UDP_4500: Encapsulation = Encapsulation::Udp { local_port: 4500, remote_port: 4500 };
pub(crate) const UNLIMITED: Volume = Volume { soft_octets: u64::MAX, hard_octets: u64::MAX };

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn range(text: &str) -> AddressRange {
    let (address, length) = text.split_once('/').unwrap();
    AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

pub(crate) fn between(source: &str, destination: &str) -> Selector {
    Selector::between(range(source), range(destination)).unwrap()
}

/// The Ethernet address of a port of a gateway.
pub(crate) fn mac(gateway: u8, port: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, gateway, port as u8])
}

/// The Ethernet address of whoever else is on a link.
pub(crate) fn host_mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 1, 0, last])
}

pub(crate) fn port_info(gateway: u8, port: usize, mtu: u16, side: Side) -> PortInfo {
    PortInfo { name: format!("port{port}"), mac: mac(gateway, port), mtu, side }
}

pub(crate) fn route(destination: &str, via: Option<&str>, port: usize) -> Route {
    let (address, length) = destination.split_once('/').unwrap();
    Route {
        destination: ip(address),
        prefix_length: length.parse().unwrap(),
        via: via.map(ip),
        port: PortIndex(port as u16),
    }
}

pub(crate) fn neighbour(port: usize, address: &str, mac: MacAddress) -> Neighbour {
    Neighbour { port: PortIndex(port as u16), address: ip(address), mac }
}

/// Gateway `own` of a site-to-site pair, whose peer is the other of 1 and 2.
pub(crate) fn table(own: u8) -> ForwardingTable {
    let peer = 3 - own;
    ForwardingTable {
        ports: vec![port_info(own, INSIDE, 1500, Side::Inside), port_info(own, OUTSIDE, 1500, Side::Outside)],
        local: [
            format!("10.{own}.0.1"),
            format!("192.0.2.{own}"),
            format!("2001:db8:{own}::1"),
            format!("2001:db8:ff::{own}"),
        ]
        .map(|address| ip(&address))
        .to_vec(),
        routes: vec![
            route(&format!("10.{own}.0.0/16"), None, INSIDE),
            route(&format!("2001:db8:{own}::/48"), None, INSIDE),
            route("192.0.2.0/24", None, OUTSIDE),
            route("2001:db8:ff::/64", None, OUTSIDE),
            route("0.0.0.0/0", Some(&format!("192.0.2.{peer}")), OUTSIDE),
            route("::/0", Some(&format!("2001:db8:ff::{peer}")), OUTSIDE),
        ],
        neighbours: vec![
            neighbour(INSIDE, &format!("10.{own}.0.2"), host_mac(own)),
            neighbour(INSIDE, &format!("2001:db8:{own}::2"), host_mac(own)),
            neighbour(OUTSIDE, &format!("192.0.2.{peer}"), mac(peer, OUTSIDE)),
            neighbour(OUTSIDE, &format!("2001:db8:ff::{peer}"), mac(peer, OUTSIDE)),
        ],
    }
}

pub(crate) fn transport(selector: Selector, action: TransportAction) -> TransportRule {
    TransportRule { name: "transport".to_owned(), selector, action }
}

pub(crate) fn tunnel(id: u32, selector: Selector) -> TunnelRule {
    TunnelRule {
        id: RuleId(id),
        name: "tunnel".to_owned(),
        selector,
        peer: PeerId(0),
        gateway: ip("192.0.2.2").into(),
    }
}

/// Everything of the own site may go anywhere; what goes to the other site is protected: rule 0 IPv4, rule 1 IPv6.
pub(crate) fn rules(own: u8) -> RuleSet {
    let peer = 3 - own;
    let own4 = format!("10.{own}.0.0/16");
    let own6 = format!("2001:db8:{own}::/48");
    RuleSet {
        transport: vec![
            transport(between(&own4, "10.9.0.0/16"), TransportAction::Discard),
            transport(between(&own4, "0.0.0.0/0"), TransportAction::Permit),
            transport(between(&own6, "::/0"), TransportAction::Permit),
        ],
        tunnel: vec![
            tunnel(0, between(&own4, &format!("10.{peer}.0.0/16"))),
            tunnel(1, between(&own6, &format!("2001:db8:{peer}::/48"))),
        ],
    }
}

/// One gateway: a handle, its workers, and the far ends of its ports.
pub(crate) struct Gateway {
    pub(crate) handle: Handle,
    pub(crate) workers: Vec<Worker>,
    /// By worker, then by port; the last is the tun.
    pub(crate) links: Vec<Vec<MemoryLink>>,
    pub(crate) now: Duration,
    pub(crate) events: Vec<Event>,
}

impl Gateway {
    /// With frames as they are for Ethernet.
    pub(crate) fn new(workers: usize, settings: &Settings) -> Self {
        Self::framed(workers, settings, 2048)
    }

    pub(crate) fn framed(workers: usize, settings: &Settings, frame_octets: u32) -> Self {
        let mut links = Vec::new();
        let mut parts = Vec::new();
        for at in 0..workers {
            let umem =
                Umem::new(&UmemConfig { frames: 2048, frame_octets, headroom: 512, huge_pages: false })
                    .unwrap();
            let (inside, inside_link) = MemoryPort::pair("inside", Link::Ethernet, 4096);
            let (outside, outside_link) = MemoryPort::pair("outside", Link::Ethernet, 4096);
            let (tun, tun_link) = MemoryPort::pair("tun", Link::Ip, 4096);
            let port = |index: usize, port: MemoryPort| EnginePort {
                index: PortIndex(index as u16),
                port: Box::new(port),
            };
            // Only the first worker has a tun, so that the others have to hand over.
            let tun = (at == 0).then_some(Box::new(tun) as Box<dyn warren_port::Port>);
            parts.push(WorkerParts { umem, ports: vec![port(INSIDE, inside), port(OUTSIDE, outside)], tun });
            links.push(vec![inside_link, outside_link, tun_link]);
        }
        let (handle, workers) = build(parts, settings).unwrap();
        Self { handle, workers, links, now: Duration::from_secs(1), events: Vec::new() }
    }

    /// A gateway of the pair, with routes and rules, and nothing bound.
    pub(crate) fn site(own: u8) -> Self {
        let mut gateway = Self::new(1, &Settings::default());
        gateway.submit(Command::Forwarding(table(own)));
        gateway.submit(Command::Rules(rules(own)));
        gateway.poll();
        gateway
    }

    pub(crate) fn submit(&mut self, command: Command) -> Token {
        self.handle.submit(command).unwrap()
    }

    /// Turns until nothing moves; after every turn every packet must be in exactly one counter.
    pub(crate) fn poll(&mut self) {
        for _ in 0..1000 {
            let mut moved = false;
            for at in 0..self.workers.len() {
                moved |= self.workers[at].poll(self.now);
                self.assert_conserved();
            }
            while let Some((_, event)) = self.handle.poll_event() {
                self.events.push(event);
            }
            if !moved {
                return;
            }
        }
        panic!("the gateway does not come to rest");
    }

    pub(crate) fn assert_conserved(&self) {
        for counters in self.handle.worker_counters() {
            assert!(counters.conserved(), "{counters:?}");
        }
    }

    pub(crate) fn counters(&self) -> CounterSnapshot {
        self.handle.counters()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.counters().dropped(reason)
    }

    pub(crate) fn tally(&self, tally: Tally) -> u64 {
        self.counters().of(tally)
    }

    /// Sends an IP packet to a port, as the neighbour would.
    pub(crate) fn send(&self, own: u8, port: usize, packet: &[u8]) {
        assert!(self.links[0][port].send(&frame(mac(own, port), packet)));
    }

    pub(crate) fn send_and_poll(&mut self, own: u8, port: usize, packet: &[u8]) {
        self.send(own, port, packet);
        self.poll();
    }

    /// What left by a port, without its Ethernet header.
    pub(crate) fn receive(&self, port: usize) -> Vec<Vec<u8>> {
        self.links.iter().flat_map(|links| drain(&links[port])).map(|frame| frame[14..].to_vec()).collect()
    }

    /// What was given to the kernel.
    pub(crate) fn kernel(&self) -> Vec<Vec<u8>> {
        drain(&self.links[0][2])
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Asserts that exactly these reasons occurred, and forgets nothing.
    pub(crate) fn assert_drops(&self, expected: &[(DropReason, u64)]) {
        let mut actual: Vec<_> = self.counters().drops().collect();
        let mut expected = expected.to_vec();
        actual.sort_by_key(|(reason, _)| reason.index());
        expected.sort_by_key(|(reason, _)| reason.index());
        assert_eq!(actual, expected);
    }
}

pub(crate) fn drain(link: &MemoryLink) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| link.receive()).collect()
}

pub(crate) fn frame(to: MacAddress, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14];
    let ether_type = if packet[0] >> 4 == 6 { 0x86DD } else { 0x0800 };
    warren_engine::packet::ethernet::emit(&mut frame, to, host_mac(99), ether_type);
    frame.extend(packet);
    frame
}

/// How the two gateways protect their traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheme {
    pub(crate) transform: EspTransform,
    pub(crate) encapsulation: Encapsulation,
    pub outer_ipv6: bool,
    pub(crate) esn: bool,
}

impl Default for Scheme {
    fn default() -> Self {
        Self {
            transform: EspTransform::AesGcm16(warren_policy::KeyBits::B128),
            encapsulation: Encapsulation::Raw,
            outer_ipv6: false,
            esn: true,
        }
    }
}

impl Scheme {
    fn gateway(self, own: u8) -> IpAddr {
        if self.outer_ipv6 { ip(&format!("2001:db8:ff::{own}")) } else { ip(&format!("192.0.2.{own}")) }
    }
}

/// Keys made of one octet each, different for every direction.
pub(crate) fn keys(transform: EspTransform, octet: u8) -> SaKeys {
    SaKeys::from_keymat(transform, &vec![octet; transform.keymat_octets()]).unwrap()
}

/// The SA from gateway `from` to the other, for rule 0 or 1, as its receiver knows it.
pub(crate) fn inbound(scheme: Scheme, from: u8, rule: u32) -> InboundSa {
    let outbound = outbound(scheme, from, rule);
    InboundSa {
        id: SaId(1000 + outbound.id.0),
        spi: outbound.spi,
        transform: outbound.transform,
        keys: outbound.keys,
        esn: outbound.esn,
        window_packets: 4096,
        selector: outbound.selector,
        remote: outbound.local,
        local: outbound.remote,
        encapsulation: outbound.encapsulation,
        volume: UNLIMITED,
        mode: outbound.mode,
        rule: outbound.rule,
        lane: 0,
        carrier: warren_seam::Carrier::Network,
        sequence: outbound.sequence,
    }
}

/// The SA from gateway `from` to the other, for rule 0 or 1, as its sender knows it.
pub(crate) fn outbound(scheme: Scheme, from: u8, rule: u32) -> OutboundSa {
    let to = 3 - from;
    OutboundSa {
        id: SaId(u64::from(from) * 10 + u64::from(rule)),
        spi: Spi(0x1000 + u32::from(from) * 16 + rule),
        transform: scheme.transform,
        keys: keys(scheme.transform, from * 16 + rule as u8),
        esn: scheme.esn,
        selector: rules(from).tunnel[rule as usize].selector,
        local: scheme.gateway(from),
        remote: scheme.gateway(to),
        encapsulation: scheme.encapsulation,
        volume: UNLIMITED,
        mode: warren_seam::SaMode::Tunnel,
        rule: RuleId(rule),
        lane: 0,
        sequence: 0,
    }
}

/// Installs and binds both directions of both rules.
pub(crate) fn establish(gateway: &mut Gateway, own: u8, scheme: Scheme) {
    for rule in 0..2 {
        gateway.submit(Command::InstallInbound(Box::new(inbound(scheme, 3 - own, rule))));
        let sa = outbound(scheme, own, rule);
        let stack = vec![sa.id];
        gateway.submit(Command::InstallOutbound(Box::new(sa)));
        gateway.submit(Command::Bind { rule: RuleId(rule), stack });
    }
    gateway.poll();
}

pub(crate) fn established_pair(scheme: Scheme) -> (Gateway, Gateway) {
    let (mut one, mut two) = (Gateway::site(1), Gateway::site(2));
    establish(&mut one, 1, scheme);
    establish(&mut two, 2, scheme);
    (one, two)
}

/// Carries what gateway 1 sent over the wire to gateway 2. Returns the packets on the wire.
pub(crate) fn carry(from: &Gateway, to: &mut Gateway) -> Vec<Vec<u8>> {
    let frames: Vec<_> = from.links.iter().flat_map(|links| drain(&links[OUTSIDE])).collect();
    for frame in &frames {
        assert!(to.links[0][OUTSIDE].send(frame));
    }
    to.poll();
    frames.into_iter().map(|frame| frame[14..].to_vec()).collect()
}

pub(crate) struct Udp<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) ports: (u16, u16),
    pub(crate) payload: usize,
    pub(crate) ttl: u8,
    pub(crate) traffic_class: u8,
    pub(crate) dont_fragment: bool,
}

impl Default for Udp<'_> {
    fn default() -> Self {
        Self {
            from: "10.1.0.2",
            to: "10.2.0.2",
            ports: (5000, 6000),
            payload: 100,
            ttl: 64,
            traffic_class: 0,
            dont_fragment: true,
        }
    }
}

impl Udp<'_> {
    /// The packet, with a payload by which it can be recognised.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut datagram = vec![0; udp::HEADER_OCTETS];
        udp::emit(&mut datagram, self.ports.0, self.ports.1, udp::HEADER_OCTETS + self.payload);
        datagram.extend((0..self.payload).map(|at| (at * 7 + 3) as u8));
        ip_packet(self, protocol::UDP, &datagram)
    }
}

pub(crate) fn ip_packet(like: &Udp<'_>, number: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = match (ip(like.from), ip(like.to)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0; ipv4::HEADER_OCTETS];
            let fields = ipv4::Header {
                traffic_class: like.traffic_class,
                total_octets: header.len() + payload.len(),
                id: 77,
                dont_fragment: like.dont_fragment,
                ttl: like.ttl,
                protocol: number,
                source,
                destination,
            };
            ipv4::emit(&mut header, &fields);
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0; ipv6::HEADER_OCTETS];
            let fields = ipv6::Header {
                traffic_class: like.traffic_class,
                flow_label: 0,
                payload_octets: payload.len(),
                next_header: number,
                hop_limit: like.ttl,
                source,
                destination,
            };
            ipv6::emit(&mut header, &fields);
            header
        }
        _ => panic!("one family"),
    };
    packet.extend(payload);
    packet
}

/// The packet after `hops` gateways have passed it on.
pub(crate) fn after_hops(packet: &[u8], hops: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for _ in 0..hops {
        if packet[0] >> 4 == 6 {
            ipv6::decrement_hop_limit(&mut packet);
        } else {
            ipv4::decrement_ttl(&mut packet);
        }
    }
    packet
}

pub(crate) fn summary(packet: &[u8]) -> Summary {
    Summary::of(packet).unwrap()
}

/// Whether one packet's payload can be found in another, as it must not be on the wire.
pub(crate) fn shows(outer: &[u8], inner: &[u8]) -> bool {
    let sample = &inner[inner.len() - 32..];
    outer.windows(sample.len()).any(|window| window == sample)
}
