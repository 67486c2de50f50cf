//! The engine between the same two ports: every packet is parsed, judged by the rules, perhaps sealed, and sent to its
//! next hop.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use warren_bpf::Steering;
use warren_engine::{EnginePort, Handle, Settings, Tally, Worker, WorkerParts, build};
use warren_policy::{
    AddressRange, EspTransform, KeyBits, PeerId, RuleId, RuleSet, Selector, TransportAction, TransportRule,
    TunnelRule,
};
use warren_port::PortCounters;
use warren_seam::{
    Command, Encapsulation, ForwardingTable, MacAddress, Neighbour, OutboundSa, PortIndex, PortInfo, Route,
    SaId, SaKeys, Side, Spi, Volume,
};

use super::measure::{Counted, Turn};
use super::topology::{DESTINATION, FAR, FAR_MAC, LINK_MTU, NEAR, NEAR_MAC, NOBODYS_MAC, SOURCE, Station};

/// The far gateway of the tunnel, a neighbour of the far port.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 9);
const NEAR_PORT: PortIndex = PortIndex(0);
const FAR_PORT: PortIndex = PortIndex(1);
const RULE: RuleId = RuleId(0);
const SA: SaId = SaId(1);

/// Key, then salt.
pub(crate) const KEYMAT: [u8; 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

/// An engine of one worker, turned by the measured thread.
pub(crate) struct Gateway {
    handle: Handle,
    worker: Worker,
    started: Instant,
    _steering: [Steering; 2],
}

impl Gateway {
    /// With a rule that lets everything pass in clear, or one that protects it with AES-GCM-128.
    pub(crate) fn new(station: Station, protect: bool) -> Result<Self, String> {
        let Station { umem, near, far, steering } = station;
        let ports = vec![
            EnginePort { index: NEAR_PORT, port: Box::new(near) },
            EnginePort { index: FAR_PORT, port: Box::new(far) },
        ];
        let parts = WorkerParts { umem, ports, tun: None };
        let (handle, mut workers) =
            build(vec![parts], &Settings::default()).map_err(|error| error.to_string())?;
        let worker = workers.pop().ok_or("an engine without a worker")?;
        let mut gateway = Self { handle, worker, started: Instant::now(), _steering: steering };
        let selector =
            Selector::between(AddressRange::single(SOURCE.into()), AddressRange::single(DESTINATION.into()))
                .ok_or("a selector of two families")?;
        let mut commands = vec![Command::Forwarding(forwarding()), Command::Rules(rules(selector, protect))];
        if protect {
            commands.push(Command::InstallOutbound(Box::new(outbound_sa(selector)?)));
            commands.push(Command::Bind { rule: RULE, stack: vec![SA] });
        }
        for command in commands {
            gateway.handle.submit(command).map_err(|refused| format!("{refused:?}"))?;
            gateway.turn();
        }
        Ok(gateway)
    }
}

impl Turn for Gateway {
    fn turn(&mut self) {
        self.worker.poll(self.started.elapsed());
    }

    fn counted(&self) -> Counted {
        // The ports belong to the worker now; the engine's own counters are exact, the port's up to 0.1 s old.
        let counters = self.handle.counters();
        let dropped = self.handle.ports().iter().map(|(_, status)| status.counters.receive_dropped).sum();
        let received = counters.of(Tally::Received);
        Counted::of(
            &PortCounters { received, receive_dropped: dropped, ..PortCounters::default() },
            &PortCounters { transmitted: counters.of(Tally::Transmitted), ..PortCounters::default() },
        )
    }

    fn mode(&self) -> String {
        self.handle.ports().first().map(|(_, status)| status.mode.to_string()).unwrap_or_default()
    }

    fn fate(&self) -> String {
        let drops = self.handle.counters();
        drops
            .drops()
            .map(|(reason, count)| format!("{} {count}", reason.word()))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

fn rules(selector: Selector, protect: bool) -> RuleSet {
    let action = if protect { TransportAction::Permit } else { TransportAction::Bypass };
    let transport = vec![TransportRule { name: "all".to_owned(), selector, action }];
    let tunnel = TunnelRule {
        id: RuleId(0),
        name: "far".to_owned(),
        selector,
        peer: PeerId(0),
        gateway: IpAddr::from(GATEWAY).into(),
    };
    RuleSet { transport, tunnel: if protect { vec![tunnel] } else { Vec::new() } }
}

fn forwarding() -> ForwardingTable {
    let port =
        |name: &str, mac, side| PortInfo { name: name.to_owned(), mac: MacAddress(mac), mtu: LINK_MTU, side };
    let route = |network: [u8; 4], port| Route {
        destination: IpAddr::from(network),
        prefix_length: 24,
        via: None,
        port,
    };
    let neighbour =
        |address| Neighbour { port: FAR_PORT, address: IpAddr::V4(address), mac: MacAddress(NOBODYS_MAC) };
    ForwardingTable {
        ports: vec![port("n0", NEAR_MAC, Side::Inside), port("f0", FAR_MAC, Side::Outside)],
        local: vec![NEAR.into(), FAR.into()],
        routes: vec![route([10, 99, 1, 0], NEAR_PORT), route([10, 99, 2, 0], FAR_PORT)],
        neighbours: vec![neighbour(DESTINATION), neighbour(GATEWAY)],
    }
}

fn outbound_sa(selector: Selector) -> Result<OutboundSa, String> {
    let transform = EspTransform::AesGcm16(KeyBits::B128);
    Ok(OutboundSa {
        id: SA,
        spi: Spi(0x1001),
        transform,
        keys: SaKeys::from_keymat(transform, &KEYMAT).ok_or("key material of another length")?,
        esn: true,
        selector,
        local: FAR.into(),
        remote: GATEWAY.into(),
        encapsulation: Encapsulation::Raw,
        volume: Volume { soft_octets: u64::MAX, hard_octets: u64::MAX },
        mode: warren_seam::SaMode::Tunnel,
        rule: RULE,
        lane: 0,
        sequence: 0,
    })
}
