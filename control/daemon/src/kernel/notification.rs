//! Netlink messages into the tables.

use super::limits::{ADDRESSES_MAX, LINKS_MAX, NEIGHBOURS_MAX, ROUTES_MAX};
use super::tables::{Hop, KernelRoute, KnownNeighbour, Link, OwnAddress, Reachability, Tables};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags, RouteType,
    RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_seam::MacAddress;

/// What a notification asks of the mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consequence {
    /// The tables are other ones now.
    pub(crate) changed: bool,
    /// The routes must be read again. Notifications do not tell them: IPv4 routes that go with a link or an address
    /// go in silence, and a replaced route does not say which one it replaced.
    pub(crate) routes_stale: bool,
}

impl Consequence {
    const CHANGED: Self = Self { changed: true, routes_stale: false };
    const ROUTES: Self = Self { changed: true, routes_stale: true };

    /// Both.
    pub(crate) fn merge(&mut self, other: Self) {
        self.changed |= other.changed;
        self.routes_stale |= other.routes_stale;
    }
}

impl Tables {
    /// Takes a notification in.
    pub(crate) fn accept(&mut self, message: RouteNetlinkMessage) -> Consequence {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.add_link(&link),
            RouteNetlinkMessage::DelLink(link) => self.remove_link(&link),
            RouteNetlinkMessage::NewAddress(address) => self.add_address(&address),
            RouteNetlinkMessage::DelAddress(address) => self.remove_address(&address),
            RouteNetlinkMessage::NewNeighbour(neighbour) => self.add_neighbour(&neighbour),
            RouteNetlinkMessage::DelNeighbour(neighbour) => self.remove_neighbour(&neighbour),
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)
                if is_main(&route) =>
            {
                Consequence::ROUTES
            }
            _ => Consequence::default(),
        }
    }

    fn add_link(&mut self, message: &LinkMessage) -> Consequence {
        // Bridges report their ports a second time, in a family of their own and with half of the attributes.
        if message.header.interface_family != AddressFamily::Unspec {
            return Consequence::default();
        }
        let index = message.header.index;
        let Some(link) = link(message) else { return Consequence::default() };
        let known = self.links.get(&index);
        if known == Some(&link) || (known.is_none() && self.links.len() >= LINKS_MAX) {
            return Consequence::default();
        }
        self.links.insert(index, link);
        Consequence::ROUTES
    }

    fn remove_link(&mut self, message: &LinkMessage) -> Consequence {
        if message.header.interface_family != AddressFamily::Unspec {
            return Consequence::default();
        }
        let index = message.header.index;
        self.links.remove(&index);
        self.addresses.retain(|own, _| own.link != index);
        self.neighbours.retain(|(link, _), _| *link != index);
        Consequence::ROUTES
    }

    fn add_address(&mut self, message: &AddressMessage) -> Consequence {
        match own_address(message) {
            Some((own, broadcast))
                if self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&own) =>
            {
                match self.addresses.insert(own, broadcast) {
                    Some(before) if before == broadcast => Consequence::default(),
                    _ => Consequence::ROUTES,
                }
            }
            _ => Consequence::default(),
        }
    }

    fn remove_address(&mut self, message: &AddressMessage) -> Consequence {
        if let Some((own, _)) = own_address(message) {
            self.addresses.remove(&own);
        }
        Consequence::ROUTES
    }

    fn add_neighbour(&mut self, message: &NeighbourMessage) -> Consequence {
        let Some(key) = neighbour_key(message) else { return Consequence::default() };
        match known_neighbour(message) {
            Some(known) if self.neighbours.len() < NEIGHBOURS_MAX || self.neighbours.contains_key(&key) => {
                let changed = self.neighbours.insert(key, known) != Some(known);
                Consequence { changed, routes_stale: false }
            }
            _ => self.forget(key),
        }
    }

    fn remove_neighbour(&mut self, message: &NeighbourMessage) -> Consequence {
        neighbour_key(message).map_or_else(Consequence::default, |key| self.forget(key))
    }

    fn forget(&mut self, key: (u32, IpAddr)) -> Consequence {
        let known = self.neighbours.remove(&key).is_some();
        if known { Consequence::CHANGED } else { Consequence::default() }
    }

    /// Takes a dump of the routes in. How many did not fit.
    pub(crate) fn replace_routes(&mut self, messages: &[RouteMessage]) -> usize {
        let mut routes: Vec<_> = messages.iter().filter_map(kernel_route).collect();
        let excess = routes.len().saturating_sub(ROUTES_MAX);
        routes.truncate(ROUTES_MAX);
        self.routes = routes;
        excess
    }
}

/// An interface, where the message tells its name.
pub(crate) fn link(message: &LinkMessage) -> Option<Link> {
    let mut link = Link {
        name: String::new(),
        mac: MacAddress::default(),
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        receive_queues: 1,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(octets) => link.mac = mac(octets).unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::NumRxQueues(queues) => link.receive_queues = *queues,
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn mac(octets: &[u8]) -> Option<MacAddress> {
    octets.try_into().ok().map(MacAddress)
}

/// On point-to-point links `IFA_ADDRESS` is the far end; `IFA_LOCAL` is ours wherever it is present.
fn own_address(message: &AddressMessage) -> Option<(OwnAddress, Option<Ipv4Addr>)> {
    let (mut local, mut address, mut broadcast) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Broadcast(ip) => broadcast = Some(*ip),
            _ => {}
        }
    }
    let address = local.or(address)?;
    let own = OwnAddress { link: message.header.index, address, prefix_length: message.header.prefix_len };
    Some((own, broadcast))
}

fn neighbour_key(message: &NeighbourMessage) -> Option<(u32, IpAddr)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
            Some((message.header.ifindex, IpAddr::V4(*v4)))
        }
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
            Some((message.header.ifindex, IpAddr::V6(*v6)))
        }
        _ => None,
    })
}

/// `None` unless the entry can be used to send.
fn known_neighbour(message: &NeighbourMessage) -> Option<KnownNeighbour> {
    let reachability = match message.header.state {
        NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe => Reachability::Fresh,
        NeighbourState::Stale => Reachability::Stale,
        NeighbourState::Permanent => Reachability::Permanent,
        _ => return None,
    };
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) => mac(octets),
        _ => None,
    })?;
    Some(KnownNeighbour { mac, reachability })
}

fn is_main(route: &RouteMessage) -> bool {
    table(route) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

/// Table numbers above 255 do not fit the header.
pub(crate) fn table(route: &RouteMessage) -> u32 {
    let attribute = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    };
    route.attributes.iter().find_map(attribute).unwrap_or_else(|| u32::from(route.header.table))
}

/// Where a route goes to: prefix and length.
pub(crate) fn prefix(message: &RouteMessage) -> Option<(IpAddr, u8)> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let attribute = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    };
    let destination = message.attributes.iter().find_map(attribute).unwrap_or(unspecified);
    Some((destination, message.header.destination_prefix_length))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// A route of the main table that holds for every packet: neither cached, nor for one source or type of service.
fn kernel_route(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    let special =
        header.flags.contains(RouteFlags::Cloned) || header.tos != 0 || header.source_prefix_length != 0;
    if special || !is_main(message) {
        return None;
    }
    let (destination, prefix_length) = prefix(message)?;
    let metric = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let hops = match header.kind {
        RouteType::Unicast => hops(message),
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => Vec::new(),
        _ => return None,
    };
    Some(KernelRoute { destination, prefix_length, metric: metric.unwrap_or(0), hops })
}

/// Nothing for a route that encapsulates: the engine cannot do what it says.
fn hops(message: &RouteMessage) -> Vec<Hop> {
    let encapsulates = |attributes: &[RouteAttribute]| {
        attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Encap(_)))
    };
    if encapsulates(&message.attributes) {
        return Vec::new();
    }
    let dead = message.header.flags.contains(RouteFlags::Dead);
    for attribute in &message.attributes {
        if let RouteAttribute::MultiPath(ways) = attribute {
            let plain = ways.iter().filter(|way| !encapsulates(&way.attributes));
            return plain
                .map(|way| Hop {
                    link: way.interface_index,
                    via: via(&way.attributes),
                    dead: dead || way.flags.contains(RouteNextHopFlags::Dead),
                })
                .collect();
        }
    }
    let link = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    link.map(|link| Hop { link, via: via(&message.attributes), dead }).into_iter().collect()
}

fn via(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::route::{RouteNextHop, RouteProtocol};
    use rtnetlink::{RouteMessageBuilder, RouteNextHopBuilder};

    fn v4(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn dumped(messages: &[RouteMessage]) -> Vec<KernelRoute> {
        let mut tables = Tables::default();
        assert_eq!(tables.replace_routes(messages), 0);
        tables.routes
    }

    fn neighbour(state: NeighbourState, octets: &[u8]) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 4;
        message.header.state = state;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4("10.0.0.2"))),
            NeighbourAttribute::LinkLayerAddress(octets.to_vec()),
        ];
        RouteNetlinkMessage::NewNeighbour(message)
    }

    #[test]
    fn a_route_is_decoded_with_metric_next_hop_and_link() {
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4("10.2.0.0"), 16);
        builder = builder.gateway(v4("192.0.2.1")).output_interface(5).priority(30);
        let mut default =
            RouteMessageBuilder::<Ipv6Addr>::new().gateway(v6("fe80::1")).output_interface(6).build();
        default.header.destination_prefix_length = 0;
        let hop = |link, via: &str| vec![Hop { link, via: via.parse().ok(), dead: false }];
        let route = |destination: &str, prefix_length, metric, hops| KernelRoute {
            destination: destination.parse().unwrap(),
            prefix_length,
            metric,
            hops,
        };
        assert_eq!(
            dumped(&[builder.build(), default]),
            [route("10.2.0.0", 16, 30, hop(5, "192.0.2.1")), route("::", 0, 0, hop(6, "fe80::1"))]
        );
    }

    #[test]
    fn an_ipv4_route_through_an_ipv6_next_hop_keeps_it() {
        let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4("10.0.0.0"), 8);
        let message = message.via(v6("2001:db8::9")).output_interface(3).build();
        assert_eq!(
            dumped(&[message])[0].hops,
            [Hop { link: 3, via: Some(v6("2001:db8::9").into()), dead: false }]
        );
    }

    #[test]
    fn multipath_routes_keep_their_ways_in_order_and_say_which_are_dead() {
        let way = |index, via: &str, flags| -> RouteNextHop {
            let way = RouteNextHopBuilder::new_ipv4().interface(index).via(IpAddr::V4(v4(via))).unwrap();
            way.flags(flags).build()
        };
        let ways = vec![
            way(5, "192.0.2.1", RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown),
            way(6, "198.51.100.1", RouteNextHopFlags::empty()),
        ];
        let message =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4("10.0.0.0"), 8).multipath(ways);
        let hops = &dumped(&[message.build()])[0].hops;
        assert_eq!(hops.iter().map(|hop| (hop.link, hop.dead)).collect::<Vec<_>>(), [(5, true), (6, false)]);
    }

    #[test]
    fn blackholes_have_no_way_and_other_tables_and_kinds_are_left_out() {
        let base = || {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4("10.0.0.0"), 8).output_interface(2)
        };
        let mut cached = base().build();
        cached.header.flags |= RouteFlags::Cloned;
        let messages = [
            base().kind(RouteType::BlackHole).build(),
            base().table_id(220).build(),
            base().table_id(1000).build(),
            base().kind(RouteType::Local).build(),
            base().tos(8).build(),
            cached,
            base().protocol(RouteProtocol::Bgp).build(),
        ];
        let ways: Vec<_> = dumped(&messages).iter().map(|route| route.hops.len()).collect();
        assert_eq!(ways, [0, 1]);
    }

    #[test]
    fn only_neighbours_that_can_be_sent_to_are_kept() {
        let mut tables = Tables::default();
        let mac = [2, 0, 0, 0, 0, 9];
        for state in [NeighbourState::Reachable, NeighbourState::Stale, NeighbourState::Permanent] {
            assert!(tables.accept(neighbour(state, &mac)).changed, "{state:?}");
            assert!(!tables.accept(neighbour(state, &mac)).changed, "{state:?} again");
            assert_eq!(tables.neighbours.len(), 1);
        }
        for state in [NeighbourState::Failed, NeighbourState::Incomplete, NeighbourState::Noarp] {
            tables.accept(neighbour(NeighbourState::Delay, &mac));
            assert!(tables.accept(neighbour(state, &mac)).changed, "{state:?}");
            assert_eq!(tables.neighbours.len(), 0, "{state:?}");
        }
        tables.accept(neighbour(NeighbourState::Reachable, &[1, 2, 3, 4]));
        assert_eq!(tables.neighbours.len(), 0, "no Ethernet address");
    }

    #[test]
    fn our_end_of_a_point_to_point_link_is_local() {
        let mut tables = Tables::default();
        let mut message = AddressMessage::default();
        message.header.index = 8;
        message.header.prefix_len = 32;
        message.attributes = vec![
            AddressAttribute::Address(IpAddr::V4(v4("203.0.113.2"))),
            AddressAttribute::Local(IpAddr::V4(v4("203.0.113.1"))),
        ];
        assert_eq!(tables.accept(RouteNetlinkMessage::NewAddress(message.clone())), Consequence::ROUTES);
        assert_eq!(tables.accept(RouteNetlinkMessage::NewAddress(message.clone())), Consequence::default());
        let own: Vec<_> = tables.addresses.keys().map(|own| own.address.to_string()).collect();
        assert_eq!(own, ["203.0.113.1"]);
        tables.accept(RouteNetlinkMessage::DelAddress(message));
        assert!(tables.addresses.is_empty());
    }

    #[test]
    fn a_link_that_goes_takes_its_addresses_and_neighbours_along() {
        let mut tables = Tables::default();
        tables.accept(neighbour(NeighbourState::Reachable, &[2; 6]));
        let mut message = LinkMessage::default();
        message.header.index = 4;
        message.attributes = vec![LinkAttribute::IfName("in".to_owned()), LinkAttribute::Mtu(1400)];
        assert_eq!(tables.accept(RouteNetlinkMessage::NewLink(message.clone())), Consequence::ROUTES);
        assert_eq!(tables.accept(RouteNetlinkMessage::NewLink(message.clone())), Consequence::default());
        assert_eq!(tables.accept(RouteNetlinkMessage::DelLink(message)), Consequence::ROUTES);
        assert_eq!(tables, Tables::default());
    }
}
