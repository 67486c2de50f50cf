//! Where a packet goes next: longest prefix match, neighbours, our own addresses, and what the ports are like.
//!
//! Compiled by control from the mirror of the kernel's tables, immutable afterwards.

use hashbrown::{HashMap, HashSet};
use std::net::IpAddr;
use warren_seam::{ForwardingTable, MacAddress, PortIndex, PortInfo, Route, Side};

/// Where a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// By which port.
    pub port: PortIndex,
    /// To which neighbour; `None` when the destination is on the link itself.
    pub via: Option<IpAddr>,
}

/// A forwarding table ready for lookups.
#[derive(Default)]
pub struct Fib {
    ports: Vec<PortInfo>,
    ipv4: Ranges<u32>,
    ipv6: Ranges<u128>,
    local: HashSet<IpAddr>,
    neighbours: HashMap<(PortIndex, IpAddr), MacAddress>,
    /// For each port the address of ours on its link, IPv4 and IPv6.
    sources: Vec<[Option<IpAddr>; 2]>,
    /// Some address of ours, IPv4 and IPv6, for ports that have none.
    anywhere: [Option<IpAddr>; 2],
}

impl Fib {
    /// Compiles a mirror.
    #[must_use]
    pub fn new(table: ForwardingTable) -> Self {
        let routes_of =
            |ipv6: bool| table.routes.iter().filter(move |route| route.destination.is_ipv6() == ipv6);
        let ipv4 = Ranges::new(routes_of(false).filter_map(|route| match route.destination {
            IpAddr::V4(v4) => prefix_ipv4(v4.into(), route.prefix_length).map(|(a, b)| (a, b, hop(route))),
            IpAddr::V6(_) => None,
        }));
        let ipv6 = Ranges::new(routes_of(true).filter_map(|route| match route.destination {
            IpAddr::V6(v6) => prefix_ipv6(v6.into(), route.prefix_length).map(|(a, b)| (a, b, hop(route))),
            IpAddr::V4(_) => None,
        }));
        let mut fib = Self {
            ipv4,
            ipv6,
            local: table.local.iter().copied().collect(),
            neighbours: table
                .neighbours
                .iter()
                .map(|known| ((known.port, known.address), known.mac))
                .collect(),
            sources: vec![[None; 2]; table.ports.len()],
            anywhere: [None; 2],
            ports: table.ports,
        };
        fib.find_sources(&table.local);
        fib
    }

    /// An address of ours speaks for the port on whose link it lies.
    fn find_sources(&mut self, local: &[IpAddr]) {
        let usable = |address: &&IpAddr| match address {
            IpAddr::V4(v4) => !v4.is_loopback(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        };
        for &address in local.iter().filter(usable) {
            let family = usize::from(address.is_ipv6());
            self.anywhere[family].get_or_insert(address);
            if let Some(Hop { port, via: None }) = self.route(address)
                && let Some(sources) = self.sources.get_mut(usize::from(port.0))
            {
                sources[family].get_or_insert(address);
            }
        }
    }

    /// The way to an address: the most specific route.
    #[must_use]
    pub fn route(&self, destination: IpAddr) -> Option<Hop> {
        match destination {
            IpAddr::V4(v4) => self.ipv4.lookup(v4.into()),
            IpAddr::V6(v6) => self.ipv6.lookup(v6.into()),
        }
    }

    /// Whether an address is ours.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.local.contains(&address)
    }

    /// A neighbour's Ethernet address.
    #[must_use]
    pub fn neighbour(&self, port: PortIndex, address: IpAddr) -> Option<MacAddress> {
        self.neighbours.get(&(port, address)).copied()
    }

    /// What a port is like; `None` before control has said so.
    #[must_use]
    pub fn port(&self, port: PortIndex) -> Option<&PortInfo> {
        self.ports.get(usize::from(port.0))
    }

    /// Which side a port faces. An unknown port is outside: fail closed.
    #[must_use]
    pub fn side(&self, port: PortIndex) -> Side {
        self.port(port).map_or(Side::Outside, |info| info.side)
    }

    /// The address in whose name an answer goes out to what came in by `port`.
    #[must_use]
    pub fn source_address(&self, port: Option<PortIndex>, ipv6: bool) -> Option<IpAddr> {
        let family = usize::from(ipv6);
        port.and_then(|port| self.sources.get(usize::from(port.0)))
            .and_then(|sources| sources[family])
            .or(self.anywhere[family])
    }

    /// Octets of the largest packet on the way to an address; `None` without a route.
    #[must_use]
    pub fn mtu_towards(&self, destination: IpAddr) -> Option<u16> {
        self.route(destination).and_then(|hop| self.port(hop.port)).map(|info| info.mtu)
    }
}

fn hop(route: &Route) -> Hop {
    Hop { port: route.port, via: route.via }
}

fn prefix_ipv4(address: u32, length: u8) -> Option<(u32, u32)> {
    let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
    (length <= 32).then_some((address & !host, address | host))
}

fn prefix_ipv6(address: u128, length: u8) -> Option<(u128, u128)> {
    let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
    (length <= 128).then_some((address & !host, address | host))
}

/// Nested prefixes flattened into disjoint ranges: a lookup is one binary search over plain numbers.
#[derive(Default)]
struct Ranges<A> {
    /// First address of each range; the range ends where the next begins.
    starts: Vec<A>,
    hops: Vec<Option<Hop>>,
}

/// An address as a number.
trait Number: Copy + Ord {
    fn successor(self) -> Option<Self>;
}

impl Number for u32 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Number for u128 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<A: Number> Ranges<A> {
    /// Of two routes to the same prefix the first is kept.
    fn new(prefixes: impl Iterator<Item = (A, A, Hop)>) -> Self {
        let mut prefixes: Vec<_> = prefixes.collect();
        // Outer prefixes before the inner ones that begin at the same address; the sort is stable.
        prefixes.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        prefixes.dedup_by_key(|prefix| (prefix.0, prefix.1));
        let mut ranges = Self { starts: Vec::new(), hops: Vec::new() };
        let mut open: Vec<(A, Hop)> = Vec::new();
        for (first, last, hop) in prefixes {
            ranges.close(&mut open, Some(first));
            ranges.begin(first, Some(hop));
            open.push((last, hop));
        }
        ranges.close(&mut open, None);
        ranges
    }

    /// Ends the prefixes that do not reach `until`; what encloses them goes on behind them.
    fn close(&mut self, open: &mut Vec<(A, Hop)>, until: Option<A>) {
        while let Some(&(last, _)) = open.last() {
            if until.is_some_and(|until| until <= last) {
                return;
            }
            open.pop();
            if let Some(next) = last.successor() {
                self.begin(next, open.last().map(|&(_, hop)| hop));
            }
        }
    }

    fn begin(&mut self, start: A, hop: Option<Hop>) {
        if self.starts.last() == Some(&start) {
            self.hops.pop();
            self.starts.pop();
        }
        self.starts.push(start);
        self.hops.push(hop);
    }

    fn lookup(&self, address: A) -> Option<Hop> {
        let after = self.starts.partition_point(|&start| start <= address);
        self.hops[after.checked_sub(1)?]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn route(destination: &str, port: u16) -> Route {
        let (address, length) = destination.split_once('/').unwrap();
        Route {
            destination: address.parse().unwrap(),
            prefix_length: length.parse().unwrap(),
            via: None,
            port: PortIndex(port),
        }
    }

    fn fib(routes: &[Route], local: &[&str]) -> Fib {
        let port = |name: &str| PortInfo {
            name: name.to_owned(),
            mac: MacAddress::default(),
            mtu: 1500,
            side: Side::Inside,
        };
        Fib::new(ForwardingTable {
            ports: vec![port("a"), port("b")],
            local: local.iter().map(|address| address.parse().unwrap()).collect(),
            routes: routes.to_vec(),
            neighbours: Vec::new(),
        })
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes =
            [route("0.0.0.0/0", 0), route("10.0.0.0/8", 1), route("10.1.0.0/16", 0), route("10.1.2.3/32", 1)];
        let fib = fib(&routes, &[]);
        let port = |address: &str| fib.route(address.parse().unwrap()).map(|hop| hop.port.0);
        for (address, expected) in [
            ("9.255.255.255", 0),
            ("10.0.0.0", 1),
            ("10.1.2.2", 0),
            ("10.1.2.3", 1),
            ("10.1.2.4", 0),
            ("10.2.0.0", 1),
            ("11.0.0.0", 0),
            ("255.255.255.255", 0),
        ] {
            assert_eq!(port(address), Some(expected), "{address}");
        }
        assert_eq!(port("2001:db8::1"), None);
    }

    #[test]
    fn an_answer_goes_out_in_the_name_of_the_address_on_that_link() {
        let routes = [route("10.1.0.0/24", 0), route("192.0.2.0/24", 1), route("2001:db8::/64", 1)];
        let fib = fib(&routes, &["127.0.0.1", "10.1.0.254", "192.0.2.1", "fe80::1", "2001:db8::1"]);
        let source = |port, ipv6| fib.source_address(Some(PortIndex(port)), ipv6).map(|a| a.to_string());
        assert_eq!(source(0, false).as_deref(), Some("10.1.0.254"));
        assert_eq!(source(1, false).as_deref(), Some("192.0.2.1"));
        assert_eq!(source(1, true).as_deref(), Some("2001:db8::1"));
        assert_eq!(source(0, true).as_deref(), Some("2001:db8::1"));
        assert_eq!(fib.source_address(None, false).unwrap().to_string(), "10.1.0.254");
    }

    #[test]
    fn a_prefix_length_that_the_family_lacks_is_no_route() {
        assert_eq!(fib(&[route("10.0.0.0/33", 0)], &[]).route("10.0.0.1".parse().unwrap()), None);
    }

    fn slow(routes: &[Route], address: u128, ipv6: bool) -> Option<u16> {
        let width = if ipv6 { 128 } else { 32 };
        let mut best: Option<&Route> = None;
        for route in routes {
            let own = match route.destination {
                IpAddr::V4(v4) => u128::from(u32::from(v4)),
                IpAddr::V6(v6) => v6.into(),
            };
            let host = width - u32::from(route.prefix_length);
            let same = host == 128 || own >> host == address >> host;
            if same && best.is_none_or(|best| best.prefix_length < route.prefix_length) {
                best = Some(route);
            }
        }
        best.map(|route| route.port.0)
    }

    proptest! {
        #[test]
        fn lookups_agree_with_trying_every_route(
            routes in prop::collection::vec((0u32..64, 24u8..=32, 0u16..9), 0..40), probes in prop::collection::vec(0u32..64, 1..64),
        ) {
            let routes4: Vec<_> = routes.iter().map(|&(address, prefix_length, port)| Route {
                destination: Ipv4Addr::from(0xFFFF_FFC0 + address).into(), prefix_length, via: None, port: PortIndex(port),
            }).collect();
            let routes6: Vec<_> = routes.iter().map(|&(address, prefix_length, port)| Route {
                destination: Ipv6Addr::from(u128::from(address)).into(), prefix_length: prefix_length + 96,
                via: None, port: PortIndex(port),
            }).collect();
            let (fib4, fib6) = (fib(&routes4, &[]), fib(&routes6, &[]));
            for probe in probes {
                let v4 = 0xFFFF_FFC0 + probe;
                let found = fib4.route(Ipv4Addr::from(v4).into()).map(|hop| hop.port.0);
                prop_assert_eq!(found, slow(&routes4, v4.into(), false));
                let found = fib6.route(Ipv6Addr::from(u128::from(probe)).into()).map(|hop| hop.port.0);
                prop_assert_eq!(found, slow(&routes6, probe.into(), true));
            }
        }
    }
}
