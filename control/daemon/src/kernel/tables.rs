//! The kernel's tables as they were last heard of, and what they mean for the engine. No IO in here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use warren_seam::{ForwardingTable, MacAddress, Neighbour, PortIndex, PortInfo, Route, Side};

/// A port as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredPort {
    /// The interface's name.
    pub(crate) name: String,
    /// Which side it faces.
    pub(crate) side: Side,
}

/// Which interfaces are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Ports in order of their index.
    pub(crate) ports: Vec<ConfiguredPort>,
    /// The tun interface, whose routes say nothing about forwarding.
    pub(crate) tun: String,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) name: String,
    /// Its address; zero where it is no Ethernet.
    pub(crate) mac: MacAddress,
    /// Largest IP packet.
    pub(crate) mtu: u32,
    /// Administratively up.
    pub(crate) up: bool,
    /// Receive queues it was made with; fewer may be in use.
    pub(crate) receive_queues: u32,
}

/// An address of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OwnAddress {
    /// On which link.
    pub(crate) link: u32,
    /// The address.
    pub(crate) address: IpAddr,
    /// Its prefix.
    pub(crate) prefix_length: u8,
}

/// One way of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The link it leaves by.
    pub(crate) link: u32,
    /// The next hop; `None` on the link.
    pub(crate) via: Option<IpAddr>,
    /// The kernel does not use it: its link is down.
    pub(crate) dead: bool,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    /// Network address.
    pub(crate) destination: IpAddr,
    /// Prefix length.
    pub(crate) prefix_length: u8,
    /// Lowest wins.
    pub(crate) metric: u32,
    /// Its ways; empty for blackholes and what else cannot be forwarded.
    pub(crate) hops: Vec<Hop>,
}

/// What the kernel thinks of a neighbour's Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// Heard of lately, or being asked for.
    Fresh,
    /// Valid, but nobody asked for long.
    Stale,
    /// Set by the operator; never asked for.
    Permanent,
}

/// A neighbour whose Ethernet address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownNeighbour {
    /// Its Ethernet address.
    pub(crate) mac: MacAddress,
    /// How sure the kernel is.
    pub(crate) reachability: Reachability,
}

/// Everything heard from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables {
    /// By interface index.
    pub(crate) links: BTreeMap<u32, Link>,
    /// Own addresses and their broadcast address, where they have one.
    pub(crate) addresses: BTreeMap<OwnAddress, Option<Ipv4Addr>>,
    /// The main table, in the kernel's order.
    pub(crate) routes: Vec<KernelRoute>,
    /// By interface index and address; only those that can be used.
    pub(crate) neighbours: BTreeMap<(u32, IpAddr), KnownNeighbour>,
}

/// What becomes of a packet, as far as a routing table says.
enum Way {
    Leaves(Hop, PortIndex),
    Nowhere,
    /// The route does not count: the next one with a higher metric does.
    Ignored,
}

impl Tables {
    /// What the engine needs of all this. The same tables give the same value, octet for octet.
    pub(crate) fn forwarding(&self, roles: &Roles) -> ForwardingTable {
        let places = self.places(roles);
        ForwardingTable {
            ports: roles.ports.iter().map(|port| self.port_info(port)).collect(),
            local: self.local(),
            routes: self.routes(&places, self.link_named(&roles.tun)),
            neighbours: self.neighbours(&places),
        }
    }

    /// Addresses that the XDP program leaves to the kernel: the gateway's own and the broadcasts it must hear.
    /// Multicast is left to the kernel by its prefix, not by address.
    pub(crate) fn local_for_steering(&self) -> Vec<IpAddr> {
        let mut local = self.local();
        local.push(Ipv4Addr::BROADCAST.into());
        for (own, broadcast) in &self.addresses {
            local.extend(broadcast.map(IpAddr::V4));
            local.extend(last_of_prefix(own).map(IpAddr::V4));
        }
        local.sort_unstable();
        local.dedup();
        local
    }

    /// The interface index of a port, while it has one.
    pub(crate) fn link_of(&self, roles: &Roles, port: PortIndex) -> Option<u32> {
        self.link_named(&roles.ports.get(usize::from(port.0))?.name)
    }

    /// The interface index of a name.
    pub(crate) fn link_named(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|(_, link)| link.name == name).map(|(index, _)| *index)
    }

    /// Where the configured ports are at the moment.
    fn places(&self, roles: &Roles) -> BTreeMap<u32, PortIndex> {
        let index = |at: usize| u16::try_from(at).map_or(PortIndex::NOWHERE, PortIndex);
        let found = |(at, port): (usize, &ConfiguredPort)| Some((self.link_named(&port.name)?, index(at)));
        roles.ports.iter().enumerate().filter_map(found).collect()
    }

    /// A port without an interface keeps its place; nothing fits in its MTU of 0.
    fn port_info(&self, port: &ConfiguredPort) -> PortInfo {
        let link = self.links.values().find(|link| link.name == port.name);
        PortInfo {
            name: port.name.clone(),
            mac: link.map_or_else(MacAddress::default, |link| link.mac),
            mtu: link.map_or(0, |link| u16::try_from(link.mtu).unwrap_or(u16::MAX)),
            side: port.side,
        }
    }

    fn local(&self) -> Vec<IpAddr> {
        let mut local: Vec<_> = self.addresses.keys().map(|own| own.address).collect();
        local.sort_unstable();
        local.dedup();
        local
    }

    fn routes(&self, places: &BTreeMap<u32, PortIndex>, tun: Option<u32>) -> Vec<Route> {
        let mut ordered: Vec<_> =
            self.routes.iter().filter(|route| is_forwardable(route.destination)).collect();
        // Stable: among equals the kernel uses the one it lists first.
        ordered.sort_by_key(|route| (route.destination, route.prefix_length, route.metric));
        let mut chosen: Vec<Route> = Vec::new();
        for route in ordered {
            let same = |last: &Route| {
                (last.destination, last.prefix_length) == (route.destination, route.prefix_length)
            };
            if chosen.last().is_some_and(same) {
                continue;
            }
            let (via, port) = match way(route, places, tun) {
                Way::Leaves(hop, port) => (hop.via, port),
                Way::Nowhere => (None, PortIndex::NOWHERE),
                Way::Ignored => continue,
            };
            let (destination, prefix_length) = (route.destination, route.prefix_length);
            chosen.push(Route { destination, prefix_length, via, port });
        }
        chosen
    }

    fn neighbours(&self, places: &BTreeMap<u32, PortIndex>) -> Vec<Neighbour> {
        let at_port = |(&(link, address), known): (&(u32, IpAddr), &KnownNeighbour)| {
            places.get(&link).map(|&port| Neighbour { port, address, mac: known.mac })
        };
        self.neighbours.iter().filter_map(at_port).collect()
    }
}

fn way(route: &KernelRoute, places: &BTreeMap<u32, PortIndex>, tun: Option<u32>) -> Way {
    if route.hops.is_empty() {
        return Way::Nowhere;
    }
    let usable = |hop: &&Hop| !hop.dead && Some(hop.link) != tun;
    let mut hops = route.hops.iter().filter(usable).peekable();
    if hops.peek().is_none() {
        return Way::Ignored;
    }
    // Of several ways the first by a port: one flow, one way, whatever the weights.
    hops.find_map(|hop| places.get(&hop.link).map(|&port| Way::Leaves(*hop, port))).unwrap_or(Way::Nowhere)
}

/// Link-local and multicast destinations never leave their link (RFC 4291 §2.5.6, RFC 1812 §5.2.1.3).
fn is_forwardable(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(v4) => !v4.is_multicast(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}

/// The directed broadcast of an IPv4 prefix that has one (RFC 3021: /31 and /32 have none).
fn last_of_prefix(own: &OwnAddress) -> Option<Ipv4Addr> {
    match own.address {
        IpAddr::V4(v4) if own.prefix_length <= 30 && !v4.is_loopback() => {
            Some(Ipv4Addr::from(u32::from(v4) | u32::MAX >> own.prefix_length))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: u32 = 7;
    const INSIDE: u32 = 3;
    const MANAGEMENT: u32 = 2;
    const TUN: u32 = 9;

    fn roles() -> Roles {
        let port = |name: &str, side| ConfiguredPort { name: name.to_owned(), side };
        Roles { ports: vec![port("out", Side::Outside), port("in", Side::Inside)], tun: "warren0".to_owned() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(name: &str, last: u8) -> Link {
        let mac = MacAddress([2, 0, 0, 0, 0, last]);
        Link { name: name.to_owned(), mac, mtu: 1500, up: true, receive_queues: 1 }
    }

    fn tables(routes: Vec<KernelRoute>) -> Tables {
        let links = [(MANAGEMENT, "eth0"), (INSIDE, "in"), (OUTSIDE, "out"), (TUN, "warren0")];
        let links = links.into_iter().zip(1..).map(|((index, name), last)| (index, link(name, last)));
        Tables { links: links.collect(), routes, ..Tables::default() }
    }

    fn hop(link: u32, via: &str) -> Hop {
        Hop { link, via: via.parse().ok(), dead: false }
    }

    fn route(prefix: &str, metric: u32, hops: &[Hop]) -> KernelRoute {
        let (destination, length) = prefix.split_once('/').unwrap();
        let hops = hops.to_vec();
        KernelRoute {
            destination: address(destination),
            prefix_length: length.parse().unwrap(),
            metric,
            hops,
        }
    }

    fn written(tables: &Tables) -> Vec<String> {
        let line = |route: Route| {
            let via = route.via.map_or_else(|| "link".to_owned(), |via| via.to_string());
            let port = if route.port == PortIndex::NOWHERE {
                "nowhere".to_owned()
            } else {
                route.port.0.to_string()
            };
            format!("{}/{} {via} {port}", route.destination, route.prefix_length)
        };
        tables.forwarding(&roles()).routes.into_iter().map(line).collect()
    }

    #[test]
    fn default_and_on_link_routes_of_both_families_leave_by_their_ports() {
        let tables = tables(vec![
            route("0.0.0.0/0", 100, &[hop(OUTSIDE, "192.0.2.1")]),
            route("10.1.0.0/16", 0, &[hop(INSIDE, "")]),
            route("::/0", 1024, &[hop(OUTSIDE, "fe80::1")]),
            route("2001:db8:1::/64", 256, &[hop(INSIDE, "")]),
            route("198.51.100.0/24", 0, &[hop(INSIDE, "2001:db8:1::9")]),
        ]);
        assert_eq!(
            written(&tables),
            [
                "0.0.0.0/0 192.0.2.1 0",
                "10.1.0.0/16 link 1",
                "198.51.100.0/24 2001:db8:1::9 1",
                "::/0 fe80::1 0",
                "2001:db8:1::/64 link 1"
            ]
        );
    }

    #[test]
    fn the_lowest_metric_wins_and_among_equals_the_first() {
        let tables = tables(vec![
            route("10.0.0.0/8", 50, &[hop(OUTSIDE, "192.0.2.50")]),
            route("10.0.0.0/8", 20, &[hop(INSIDE, "10.1.0.20")]),
            route("10.0.0.0/8", 20, &[hop(OUTSIDE, "192.0.2.20")]),
        ]);
        assert_eq!(written(&tables), ["10.0.0.0/8 10.1.0.20 1"]);
    }

    #[test] // F-24
    fn blackholes_and_routes_by_other_interfaces_hide_less_specific_ones() {
        let tables = tables(vec![
            route("0.0.0.0/0", 0, &[hop(OUTSIDE, "192.0.2.1")]),
            route("10.9.0.0/16", 0, &[]),
            route("172.16.0.0/12", 0, &[hop(MANAGEMENT, "172.31.0.1")]),
        ]);
        assert_eq!(
            written(&tables),
            ["0.0.0.0/0 192.0.2.1 0", "10.9.0.0/16 link nowhere", "172.16.0.0/12 link nowhere"]
        );
    }

    #[test]
    fn multipath_takes_the_first_way_that_is_alive_and_by_a_port() {
        let dead = Hop { dead: true, ..hop(INSIDE, "10.1.0.1") };
        let tables = tables(vec![
            route(
                "10.2.0.0/16",
                0,
                &[dead, hop(MANAGEMENT, "172.31.0.1"), hop(OUTSIDE, "192.0.2.7"), hop(INSIDE, "10.1.0.2")],
            ),
            route("10.3.0.0/16", 0, &[dead]),
            route("10.3.0.0/16", 9, &[hop(OUTSIDE, "192.0.2.9")]),
        ]);
        assert_eq!(written(&tables), ["10.2.0.0/16 192.0.2.7 0", "10.3.0.0/16 192.0.2.9 0"]);
    }

    #[test]
    fn routes_into_the_tun_device_and_to_link_local_or_multicast_are_not_forwarded() {
        let tables = tables(vec![
            route("10.0.0.0/8", 0, &[hop(TUN, "")]),
            route("10.0.0.0/8", 5, &[hop(OUTSIDE, "192.0.2.1")]),
            route("fe80::/64", 256, &[hop(INSIDE, "")]),
            route("ff00::/8", 256, &[hop(INSIDE, "")]),
            route("224.0.0.0/4", 0, &[hop(INSIDE, "")]),
        ]);
        assert_eq!(written(&tables), ["10.0.0.0/8 192.0.2.1 0"]);
    }

    #[test]
    fn ports_keep_their_order_and_one_without_interface_keeps_its_place() {
        let mut tables = tables(vec![route("10.0.0.0/8", 0, &[hop(INSIDE, "")])]);
        tables.links.get_mut(&INSIDE).unwrap().mtu = 70_000;
        tables.links.remove(&OUTSIDE);
        let table = tables.forwarding(&roles());
        assert_eq!(
            (table.ports[0].name.as_str(), table.ports[0].mtu, table.ports[0].side),
            ("out", 0, Side::Outside)
        );
        assert_eq!(
            (table.ports[1].name.as_str(), table.ports[1].mtu, table.ports[1].side),
            ("in", 65_535, Side::Inside)
        );
        assert_eq!(table.routes[0].port, PortIndex(1));
        assert_eq!(tables.link_of(&roles(), PortIndex(1)), Some(INSIDE));
        assert_eq!(tables.link_of(&roles(), PortIndex(0)), None);
        assert_eq!(tables.link_of(&roles(), PortIndex::NOWHERE), None);
    }

    #[test]
    fn neighbours_of_ports_only_are_passed_on() {
        let mut tables = tables(Vec::new());
        let known = KnownNeighbour { mac: MacAddress([2; 6]), reachability: Reachability::Stale };
        for link in [OUTSIDE, MANAGEMENT, INSIDE] {
            tables.neighbours.insert((link, address("10.1.0.9")), known);
        }
        let ports: Vec<_> =
            tables.forwarding(&roles()).neighbours.iter().map(|neighbour| neighbour.port).collect();
        assert_eq!(ports, [PortIndex(1), PortIndex(0)]);
    }

    #[test]
    fn steering_leaves_own_addresses_of_all_interfaces_and_broadcasts_to_the_kernel() {
        let mut tables = tables(Vec::new());
        let mut add = |link, text: &str, prefix_length, broadcast: &str| {
            let own = OwnAddress { link, address: address(text), prefix_length };
            tables.addresses.insert(own, broadcast.parse().ok());
        };
        add(1, "127.0.0.1", 8, "");
        add(MANAGEMENT, "172.31.0.4", 24, "");
        add(OUTSIDE, "192.0.2.4", 31, "");
        add(INSIDE, "10.1.0.1", 16, "10.1.255.254");
        add(INSIDE, "2001:db8:1::1", 64, "");
        let local: Vec<_> = tables.forwarding(&roles()).local.iter().map(ToString::to_string).collect();
        assert_eq!(local, ["10.1.0.1", "127.0.0.1", "172.31.0.4", "192.0.2.4", "2001:db8:1::1"]);
        let steering: Vec<_> = tables.local_for_steering().iter().map(ToString::to_string).collect();
        assert_eq!(
            steering,
            [
                "10.1.0.1",
                "10.1.255.254",
                "10.1.255.255",
                "127.0.0.1",
                "172.31.0.4",
                "172.31.0.255",
                "192.0.2.4",
                "255.255.255.255",
                "2001:db8:1::1"
            ]
        );
    }
}
