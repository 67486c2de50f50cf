//! The gateways of a row as they are configured: the sender's rules nest, the others have one rule for each thing behind
//! them and know nothing of nesting (docs/nested.md).

use crate::packet::Mac;
use crate::row_plan::RowPlan;
use crate::site::{INSIDE, OUTSIDE, SECRET, Site, Stations, network};
use std::net::IpAddr;
use std::time::Duration;
use warren_ike::{ChildConfig, Dpd, PeerConfig, Retransmit};
use warren_policy::{
    AddressRange, Identity, Lifetime, PeerId, Protection, Rematching, RuleId, SaMode, Secret, Selector,
    TransportAction, TransportRule, TunnelRule,
};
use warren_seam::{
    ForwardingTable, MacAddress, Neighbour, PortInfo, Route, Side, limits::WINDOW_PACKETS_DEFAULT,
};
use warren_tunnels::{Start, TunnelConfig, TunnelsConfig};

/// What has an address in a row.
impl RowPlan {
    /// Gateways and, if there is one, the receiver.
    #[must_use]
    pub(crate) fn nodes(&self) -> usize {
        1 + self.depth + usize::from(self.receiver)
    }

    /// Outer address of a gateway; the receiver's is of the hosts' family.
    #[must_use]
    pub(crate) fn node(&self, at: usize) -> IpAddr {
        let ipv6 = if at > self.depth { self.inner_ipv6 } else { self.outer_ipv6 };
        address(ipv6, format!("2001:db8:{at}::1"), format!("198.51.{at}.1"))
    }

    /// The sender's own address towards its hosts and the receiver.
    #[must_use]
    pub(crate) fn sender_inside(&self) -> IpAddr {
        self.inner(1, 1)
    }

    /// The host of the site behind a node: 1 behind the sender, 2 behind the last gateway, 3 in the second site.
    #[must_use]
    pub(crate) fn host(&self, site: usize) -> IpAddr {
        self.inner(site, 10)
    }

    fn inner(&self, site: usize, last: u8) -> IpAddr {
        address(self.inner_ipv6, format!("fd00:{site}::{last}"), format!("10.{site}.0.{last}"))
    }

    /// Who may speak on the link between `link` and the node behind it: the sender, by the address that it has there, and
    /// that node.
    #[must_use]
    pub(crate) fn ends(&self, link: usize) -> [IpAddr; 2] {
        let sender = if link >= self.depth { self.sender_inside() } else { self.node(0) };
        [sender, self.node(link + 1)]
    }

    /// Site numbers behind a node.
    fn sites_behind(&self, at: usize) -> Vec<usize> {
        let second = self.second_site.filter(|gateway| *gateway == at).map(|_| 3);
        let first = match at {
            0 => Some(1),
            at if at == self.depth => Some(2),
            _ => None,
        };
        first.into_iter().chain(second).collect()
    }

    /// Every node as it is configured.
    #[must_use]
    pub(crate) fn sites(&self) -> Vec<Site> {
        let tunnels = |at| match at {
            0 => sender(self),
            at if at > self.depth => receiver(self),
            at => gateway(self, at),
        };
        let site = |at| Site {
            workers: 1,
            name: format!("node {at}"),
            stations: stations(at),
            tunnels: tunnels(at),
            checks_datagrams: true,
            forwarding: forwarding(self, at),
        };
        (0..self.nodes()).map(site).collect()
    }
}

fn address(ipv6: bool, v6: String, v4: String) -> IpAddr {
    let text = if ipv6 { v6 } else { v4 };
    text.parse().expect("addresses of the row are well-formed")
}

fn mac(at: usize, last: u8) -> Mac {
    [2, 0, 0, 1, at as u8, last]
}

/// The sender's outside faces gateway 1; everybody else's outside faces the sender.
fn stations(at: usize) -> Stations {
    let peer = match at {
        0 => mac(1, 2),
        1 => mac(0, 2),
        at => mac(at - 1, 1),
    };
    Stations { inside: mac(at, 1), outside: mac(at, 2), host: mac(at, 3), peer }
}

/// A configuration in the making.
struct Draft<'a> {
    plan: &'a RowPlan,
    own: usize,
    config: TunnelsConfig,
}

impl<'a> Draft<'a> {
    fn new(plan: &'a RowPlan, own: usize) -> Self {
        let config = TunnelsConfig { rematch: plan.rematch, ..TunnelsConfig::default() };
        Self { plan, own, config }
    }

    /// A peer, known by the numbers of both nodes.
    fn peer(&mut self, local: IpAddr, (far, remote): (usize, IpAddr)) -> PeerId {
        let id = PeerId(self.config.peers.len() as u32);
        let identity = |at: usize| Identity::Fqdn(format!("node{at}.test"));
        self.config.peers.push(PeerConfig {
            id,
            name: format!("node{far}"),
            local,
            remote: warren_ike::Remote::Host(remote),
            local_identity: identity(self.own),
            remote_identity: warren_ike::RemoteIdentity::Exactly(identity(far)),
            mode: warren_ike::Mode::Main,
            authentication: warren_ike::Authentication::PreSharedKey(Secret::new(SECRET.to_vec())),
            xauth: warren_ike::Xauth::Off,
            config_mode: warren_ike::ConfigMode::Off,
            fragmentation: true,
            proposals: vec![self.plan.ike],
            lifetime: self.plan.isakmp_lifetime_s,
            dpd: Some(Dpd { delay: Duration::from_secs(5), timeout: Duration::from_secs(20) }),
            nat_traversal: self.plan.nat_traversal,
            retransmit: Retransmit::default(),
            pad: None,
        });
        id
    }

    fn child(&self, peer: PeerId, selector: Selector, mode: SaMode) -> TunnelConfig {
        let rule = RuleId((self.config.tunnels.len() + self.config.protections.len()) as u32);
        let child = ChildConfig {
            rule,
            peer,
            selector,
            proposals: vec![self.plan.esp],
            lifetime: Lifetime { seconds: self.plan.lifetime_s, kilobytes: None },
            window_packets: WINDOW_PACKETS_DEFAULT,
            is_divisible: false,
            mode,
            carrier: warren_seam::Carrier::Network,
        };
        TunnelConfig { child, start: Start::OnTraffic, parallel: std::num::NonZeroU16::MIN }
    }

    fn tunnel(&mut self, name: &str, from: AddressRange, to: AddressRange, peer: PeerId) {
        let selector = between(from, to);
        let tunnel = self.child(peer, selector, SaMode::Tunnel);
        let gateway = self.config.peers[peer.0 as usize].remote.host().expect("every peer is somewhere");
        self.config.rules.tunnel.push(TunnelRule {
            id: tunnel.child.rule,
            name: name.to_owned(),
            selector,
            peer,
            gateway: gateway.into(),
        });
        self.config.tunnels.push(tunnel);
    }

    fn permit(&mut self, from: AddressRange, to: AddressRange) {
        self.config.rules.transport.push(TransportRule {
            name: "permitted".to_owned(),
            selector: between(from, to),
            action: TransportAction::Permit,
        });
    }

    /// A tunnel rule whose traffic is permitted.
    fn open(&mut self, name: &str, from: AddressRange, to: AddressRange, peer: PeerId) {
        self.permit(from, to);
        self.tunnel(name, from, to, peer);
    }

    /// Behind all tunnel rules.
    fn protect(&mut self, from: IpAddr, to: IpAddr, peer: PeerId) {
        let selector = between(AddressRange::single(from), AddressRange::single(to));
        let protection = self.child(peer, selector, SaMode::Transport);
        let rule = protection.child.rule;
        self.config.rules.transport.insert(
            0,
            TransportRule {
                name: "end-to-end".to_owned(),
                selector,
                action: TransportAction::Protect(Protection { rule, peer, host: to }),
            },
        );
        self.config.protections.push(protection);
    }
}

fn between(from: AddressRange, to: AddressRange) -> Selector {
    Selector::between(from, to).expect("both sides are of one family")
}

/// Name of the sender's rule around what goes to that gateway.
pub(crate) fn name_of_way(gateway: usize) -> String {
    format!("to-{gateway}")
}

fn sender(plan: &RowPlan) -> TunnelsConfig {
    let mut draft = Draft::new(plan, 0);
    let peers: Vec<_> = (1..=plan.depth).map(|at| draft.peer(plan.node(0), (at, plan.node(at)))).collect();
    let here = network(plan.host(1));
    draft.open("site", here, network(plan.host(2)), peers[plan.depth - 1]);
    if let Some(gateway) = plan.second_site {
        draft.open("second", here, network(plan.host(3)), peers[gateway - 1]);
    }
    let far = plan.depth + 1;
    if plan.receiver {
        let (own, receiver) =
            (AddressRange::single(plan.sender_inside()), AddressRange::single(plan.node(far)));
        draft.tunnel("to-receiver", own, receiver, peers[plan.depth - 1]);
    }
    // By the letter the source is the host's at every level; on the wire it is ours.
    let source = match plan.rematch {
        Rematching::Destination => here,
        Rematching::Wire => AddressRange::single(plan.node(0)),
    };
    for inner in 2..=plan.depth {
        draft.tunnel(&name_of_way(inner), source, AddressRange::single(plan.node(inner)), peers[inner - 2]);
    }
    if plan.receiver {
        let peer = draft.peer(plan.sender_inside(), (far, plan.node(far)));
        draft.protect(plan.sender_inside(), plan.node(far), peer);
    }
    draft.config
}

fn gateway(plan: &RowPlan, at: usize) -> TunnelsConfig {
    let mut draft = Draft::new(plan, at);
    let peer = draft.peer(plan.node(at), (0, plan.node(0)));
    if at < plan.depth {
        draft.open("back", AddressRange::single(plan.node(at + 1)), AddressRange::single(plan.node(0)), peer);
    }
    for site in plan.sites_behind(at) {
        draft.open("site", network(plan.host(site)), network(plan.host(1)), peer);
    }
    if at == plan.depth && plan.receiver {
        let (receiver, sender) = (plan.node(at + 1), plan.sender_inside());
        draft.open("receiver", AddressRange::single(receiver), AddressRange::single(sender), peer);
    }
    draft.config
}

fn receiver(plan: &RowPlan) -> TunnelsConfig {
    let far = plan.depth + 1;
    let mut draft = Draft::new(plan, far);
    let peer = draft.peer(plan.node(far), (0, plan.sender_inside()));
    draft.protect(plan.node(far), plan.sender_inside(), peer);
    draft.config
}

fn forwarding(plan: &RowPlan, at: usize) -> ForwardingTable {
    let own = stations(at);
    let port =
        |name: &str, mac, side| PortInfo { name: name.to_owned(), mac: MacAddress(mac), mtu: 1500, side };
    let length = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let route = |destination: IpAddr, via, port| Route {
        destination,
        prefix_length: length(destination),
        via: Some(via),
        port,
    };
    // Next hops have addresses of their links, whichever family they carry.
    let [west, east] = ["169.254.0.1", "169.254.0.2"].map(|text| text.parse().expect("they are well-formed"));
    let mut table = ForwardingTable {
        ports: vec![port("inside", own.inside, Side::Inside), port("outside", own.outside, Side::Outside)],
        local: vec![plan.node(at)],
        routes: Vec::new(),
        neighbours: vec![
            Neighbour { port: OUTSIDE, address: west, mac: MacAddress(own.peer) },
            Neighbour { port: INSIDE, address: east, mac: MacAddress(mac(at + 1, 2)) },
        ],
    };
    for other in (0..plan.nodes()).filter(|other| *other != at) {
        let is_inside = at != 0 && other > at;
        let (via, port) = if is_inside { (east, INSIDE) } else { (west, OUTSIDE) };
        table.routes.push(route(plan.node(other), via, port));
    }
    match at {
        0 => table.local.push(plan.sender_inside()),
        _ => table.routes.push(route(plan.sender_inside(), west, OUTSIDE)),
    }
    for site in [1, 2, 3] {
        let host = plan.host(site);
        let net = network(host);
        let is_here = plan.sites_behind(at).contains(&site);
        let place = if is_here { None } else { Some(west) };
        // What is behind the sender everybody but it reaches by the outside, and so does the sender everything else.
        table.routes.push(Route {
            destination: net.first(),
            prefix_length: net.prefix_length().expect("networks are prefixes"),
            via: place,
            port: if is_here { INSIDE } else { OUTSIDE },
        });
        if is_here {
            table.neighbours.push(Neighbour { port: INSIDE, address: host, mac: MacAddress(own.host) });
        }
    }
    table
}
