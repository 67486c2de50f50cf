//! What a gateway is before it starts: its place, its configuration, and what its kernel knows of the neighbourhood.

use crate::network::End;
use crate::packet::Mac;
use crate::plan::Plan;
use std::net::IpAddr;
use std::time::Duration;
use warren_ike::{ChildConfig, Dpd, PeerConfig, Retransmit};
use warren_policy::{
    AddressRange, Identity, Lifetime, PeerId, RuleId, RuleSet, Secret, Selector, TransportAction,
    TransportRule, TunnelRule,
};
use warren_seam::{
    ForwardingTable, MacAddress, Neighbour, PortIndex, PortInfo, Route, Side, limits::WINDOW_PACKETS_DEFAULT,
};
use warren_tunnels::{TunnelConfig, TunnelsConfig};

pub(crate) const INSIDE: PortIndex = PortIndex(0);
pub(crate) const OUTSIDE: PortIndex = PortIndex(1);
/// Of every pair of gateways.
pub(crate) const SECRET: &[u8] = b"an honest secret of thirty-two octets";

/// The inside and outside Ethernet addresses of a gateway and of the stations beyond.
#[derive(Clone, Copy)]
pub(crate) struct Stations {
    pub(crate) inside: Mac,
    pub(crate) outside: Mac,
    pub(crate) host: Mac,
    /// Who takes what leaves on the outside.
    pub(crate) peer: Mac,
}

impl Stations {
    fn of(end: End) -> Self {
        let mac = |end: End, last| [2, 0, 0, 0, end.index() as u8, last];
        Self { inside: mac(end, 1), outside: mac(end, 2), host: mac(end, 3), peer: mac(end.other(), 2) }
    }
}

/// A gateway that can be started, again and again.
pub(crate) struct Site {
    /// For people.
    pub(crate) name: String,
    pub(crate) stations: Stations,
    pub(crate) tunnels: TunnelsConfig,
    /// Its kernel drops datagrams whose checksum fails. Where it does not, damage to an address is as good as a forger's
    /// work, and answers go to wherever it says.
    pub(crate) checks_datagrams: bool,
    pub(crate) forwarding: ForwardingTable,
    pub(crate) workers: usize,
}

impl Site {
    /// One of two.
    #[must_use]
    pub(crate) fn of_pair(plan: &Plan, end: End) -> Self {
        Self {
            name: format!("{end:?} gateway"),
            stations: Stations::of(end),
            tunnels: tunnels_config(plan, end),
            checks_datagrams: false,
            forwarding: forwarding(plan, end),
            workers: plan.workers[end.index()],
        }
    }
}

fn identity(end: End) -> Identity {
    Identity::Fqdn(match end {
        End::West => "west.test".to_owned(),
        End::East => "east.test".to_owned(),
    })
}

pub(crate) fn network(address: IpAddr) -> AddressRange {
    let length = if address.is_ipv4() { 24 } else { 64 };
    AddressRange::from_prefix(address, length).expect("24 and 64 are lengths of their families")
}

fn selector(plan: &Plan, end: End) -> Selector {
    let [here, there] = [end, end.other()].map(|end| network(plan.hosts[end.index()]));
    Selector::between(here, there).expect("both hosts are of one family")
}

fn tunnels_config(plan: &Plan, end: End) -> TunnelsConfig {
    let (peer, rule) = (PeerId(0), RuleId(0));
    let peer_config = PeerConfig {
        id: peer,
        name: "far".to_owned(),
        local: plan.gateways[end.index()],
        remote: warren_ike::Remote::Host(plan.gateways[end.other().index()]),
        local_identity: identity(end),
        remote_identity: warren_ike::RemoteIdentity::Exactly(identity(end.other())),
        mode: warren_ike::Mode::Main,
        authentication: warren_ike::Authentication::PreSharedKey(Secret::new(SECRET.to_vec())),
        xauth: warren_ike::Xauth::Off,
        config_mode: warren_ike::ConfigMode::Off,
        fragmentation: true,
        proposals: vec![plan.ike],
        lifetime: plan.isakmp_lifetime_s,
        dpd: Some(Dpd { delay: Duration::from_secs(5), timeout: Duration::from_secs(20) }),
        nat_traversal: plan.nat_traversal,
        retransmit: Retransmit::default(),
        pad: None,
    };
    let child = ChildConfig {
        rule,
        peer,
        selector: selector(plan, end),
        proposals: vec![plan.esp],
        lifetime: Lifetime { seconds: plan.lifetime_s, kilobytes: None },
        window_packets: WINDOW_PACKETS_DEFAULT,
        is_divisible: false,
        mode: warren_policy::SaMode::Tunnel,
        carrier: warren_seam::Carrier::Network,
    };
    let name = "site".to_owned();
    let gateway = plan.gateways[end.other().index()];
    TunnelsConfig {
        peers: vec![peer_config],
        tunnels: vec![TunnelConfig {
            child,
            start: plan.start[end.index()],
            parallel: plan.parallel[end.index()],
        }],
        rules: RuleSet {
            transport: vec![TransportRule {
                name: "sites".to_owned(),
                selector: selector(plan, end),
                action: TransportAction::Permit,
            }],
            tunnel: vec![TunnelRule {
                id: RuleId(0),
                name,
                selector: selector(plan, end),
                peer,
                gateway: gateway.into(),
            }],
        },
        ..TunnelsConfig::default()
    }
}

fn forwarding(plan: &Plan, end: End) -> ForwardingTable {
    let stations = Stations::of(end);
    let here = plan.hosts[end.index()];
    let far = plan.gateways[end.other().index()];
    let port =
        |name: &str, mac, side| PortInfo { name: name.to_owned(), mac: MacAddress(mac), mtu: 1500, side };
    let on_link = |address: IpAddr, port| Route {
        destination: network(address).first(),
        prefix_length: network(address).prefix_length().expect("networks are prefixes"),
        via: None,
        port,
    };
    ForwardingTable {
        ports: vec![
            port("inside", stations.inside, Side::Inside),
            port("outside", stations.outside, Side::Outside),
        ],
        local: vec![plan.gateways[end.index()]],
        routes: vec![on_link(here, INSIDE), on_link(far, OUTSIDE)],
        neighbours: vec![
            Neighbour { port: INSIDE, address: here, mac: MacAddress(stations.host) },
            Neighbour { port: OUTSIDE, address: far, mac: MacAddress(stations.peer) },
        ],
    }
}
