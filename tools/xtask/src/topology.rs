//! The scene of the demo and of the foreign-peer cases.
//!
//! ```text
//! host A ── gateway 1 ── wide area ── gateway 2 ── host B
//! 10.1.0.10   10.1.0.1                 10.2.0.1     10.2.0.10    inside; also fd00:1::10, fd00:2::10
//!             198.51.100.1             198.51.100.2              outside; also 2001:db8::1, 2001:db8::2
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Failure;
use crate::lab::{Lab, Namespace};

/// One of the two sites, as a source of names and addresses: 1 has host A, 2 has host B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site(pub u8);

/// Host A's site.
pub const SITE_A: Site = Site(1);
/// Host B's site.
pub const SITE_B: Site = Site(2);
/// Nobody's site: from its network come the addresses that a policy server leases to its clients.
pub const LEASES: Site = Site(3);
/// A second network behind gateway 2, where a scene has one.
pub const ANNEX: Site = Site(4);
/// A third one, of which clients learn only while they are connected.
pub const LATER: Site = Site(5);

impl Site {
    /// The gateway's outer address.
    pub fn outer(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, self.0)
    }

    /// The gateway's outer address for IPv6.
    pub fn outer_v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(self.0))
    }

    /// The inner network, IPv4.
    pub fn network(self) -> String {
        format!("10.{}.0.0/24", self.0)
    }

    /// The inner network, IPv6.
    pub fn network_v6(self) -> String {
        format!("fd00:{}::/64", self.0)
    }

    /// The gateway's inner addresses.
    pub fn inner(self) -> [IpAddr; 2] {
        self.addresses(1)
    }

    /// The host's addresses, IPv4 first.
    pub fn host(self) -> [IpAddr; 2] {
        self.addresses(0x10)
    }

    /// Both addresses read alike: `10.1.0.10` and `fd00:1::10`.
    fn addresses(self, last: u16) -> [IpAddr; 2] {
        let decimal = (last >> 4) * 10 + (last & 15);
        let v4 = Ipv4Addr::new(10, self.0, 0, decimal as u8);
        let v6 = Ipv6Addr::new(0xfd00, u16::from(self.0), 0, 0, 0, 0, 0, last);
        [IpAddr::V4(v4), IpAddr::V6(v6)]
    }

    /// The networks that must never be seen outside.
    pub fn inside() -> Vec<String> {
        [SITE_A, SITE_B, LEASES, ANNEX, LATER]
            .iter()
            .flat_map(|site| [site.network(), site.network_v6()])
            .collect()
    }
}

/// A gateway and the host behind it.
pub struct Half {
    /// Which of the two.
    pub site: Site,
    /// The host's namespace; its interface is `eth0`.
    pub host: Namespace,
    /// The gateway's namespace; `lan` leads to the host, `wan` outside.
    pub gateway: Namespace,
}

impl Half {
    fn new(lab: &mut Lab, site: Site) -> Result<Self, Failure> {
        let (host, gateway) = if site == SITE_A { ("hostA", "gw1") } else { ("hostB", "gw2") };
        let half = Self { site, host: lab.namespace(host)?, gateway: lab.namespace(gateway)? };
        half.host.veth("eth0", &half.gateway, "lan")?;
        for ((host, gateway), bits) in site.host().into_iter().zip(site.inner()).zip([24, 64]) {
            half.host.address("eth0", host, bits)?;
            half.gateway.address("lan", gateway, bits)?;
        }
        let [v4, v6] = site.inner();
        half.host.ip(&format!("route add default via {v4}\nroute add ::/0 via {v6}"))?;
        half.host.without_offload("eth0")?;
        // What one stream may have on its way fits into the rings of the gateways. A ping beside it must not be lost
        // in a queue that the stream filled: that would be congestion, which is not what is looked for here.
        half.host
            .sysctl(&["net.ipv4.tcp_rmem=4096 131072 1048576", "net.ipv4.tcp_wmem=4096 131072 1048576"])?;
        half.gateway.sysctl(&["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
        Ok(half)
    }

    /// Another network behind this gateway with a host of its own, on a port called `lan` and the network's number.
    pub fn annex(&self, lab: &mut Lab, site: Site) -> Result<Namespace, Failure> {
        let host = lab.namespace(&format!("host{}", site.0))?;
        let port = annex_port(site);
        host.veth("eth0", &self.gateway, &port)?;
        let [address, inner] = [site.host()[0], site.inner()[0]];
        host.address("eth0", address, 24)?;
        self.gateway.address(&port, inner, 24)?;
        host.ip(&format!("route add default via {inner}"))?;
        host.without_offload("eth0")?;
        Ok(host)
    }

    /// Takes away the way in clear, for a foreign gateway: what it lets out when it has no SA is not ours to judge.
    pub fn close_clear_way(&self, other: Site) -> Result<(), Failure> {
        self.gateway.ip(&format!("route replace unreachable {}", other.network()))
    }

    /// Connects the gateway to the wide area by `port`.
    fn connect(&self, wide_area: &Namespace, port: &str, other: Site) -> Result<(), Failure> {
        go_outside(&self.gateway, self.site, wide_area, port)?;
        // Without Warren this is the way in clear. It is what a leak would take, so it has to exist.
        self.gateway.ip(&format!(
            "route add {} via {}\nroute add {} via {}",
            other.network(),
            other.outer(),
            other.network_v6(),
            other.outer_v6()
        ))
    }
}

/// The port of gateway 2 towards such a network.
pub fn annex_port(site: Site) -> String {
    format!("lan{}", site.0)
}

/// Connects a site's gateway to the wide area, with the site's outer addresses.
fn go_outside(gateway: &Namespace, site: Site, wide_area: &Namespace, port: &str) -> Result<(), Failure> {
    let addresses = [IpAddr::V4(site.outer()), IpAddr::V6(site.outer_v6())];
    join(gateway, "wan", addresses, wide_area, port, BRIDGE)
}

/// Connects a gateway's interface to a bridge.
fn join(
    gateway: &Namespace,
    interface: &str,
    addresses: [IpAddr; 2],
    wires: &Namespace,
    port: &str,
    bridge: &str,
) -> Result<(), Failure> {
    gateway.veth(interface, wires, port)?;
    wires.ip(&format!("link set {port} master {bridge}"))?;
    for (address, bits) in addresses.into_iter().zip([24, 64]) {
        gateway.address(interface, address, bits)?;
    }
    gateway.without_offload(interface)
}

/// The bridge of a wide area.
const BRIDGE: &str = "br0";

/// The ports of the wide area, where the listener stands: towards gateway 1, towards gateway 2.
pub const WIDE_AREA_PORTS: [&str; 2] = ["to1", "to2"];

fn wide_area(lab: &mut Lab) -> Result<Namespace, Failure> {
    let space = lab.namespace("wide")?;
    space.sysctl(&["net.ipv6.conf.default.disable_ipv6=1"])?;
    space.ip("link add br0 type bridge mcast_snooping 0\nlink set br0 up")?;
    Ok(space)
}

/// Both halves and the network between them.
pub struct Topology {
    /// Host A and gateway 1.
    pub a: Half,
    /// Host B and gateway 2.
    pub b: Half,
    /// The network between the gateways: a bridge.
    pub wide_area: Namespace,
}

impl Topology {
    /// Makes all five namespaces and connects them; nobody encrypts yet.
    pub fn new(lab: &mut Lab) -> Result<Self, Failure> {
        let topology =
            Self { a: Half::new(lab, SITE_A)?, b: Half::new(lab, SITE_B)?, wide_area: wide_area(lab)? };
        topology.a.connect(&topology.wide_area, WIDE_AREA_PORTS[0], SITE_B)?;
        topology.b.connect(&topology.wide_area, WIDE_AREA_PORTS[1], SITE_A)?;
        Ok(topology)
    }
}

/// A host of its own outside, and a site whose gateway it knows by one address.
///
/// ```text
///  client ── wide area ── gateway 2 ─┬─ host B     10.2.0.10
///  198.51.100.1           .2         ├─ host 4     10.4.0.10
///                                    └─ host 5     10.5.0.10
/// ```
pub struct Visit {
    /// The client's namespace; `wan` is its only interface.
    pub client: Namespace,
    /// The site it visits.
    pub server: Half,
    /// The hosts in the further networks behind the server.
    pub annexes: Vec<Namespace>,
    /// The network between them: a bridge.
    pub wide_area: Namespace,
}

impl Visit {
    /// Makes all namespaces and connects them; the way in clear exists for every network.
    pub fn new(lab: &mut Lab) -> Result<Self, Failure> {
        let (client, server) = (lab.namespace("client")?, Half::new(lab, SITE_B)?);
        let wide_area = wide_area(lab)?;
        let annexes = [ANNEX, LATER].iter().map(|site| server.annex(lab, *site)).collect::<Result<_, _>>()?;
        go_outside(&client, SITE_A, &wide_area, WIDE_AREA_PORTS[0])?;
        go_outside(&server.gateway, SITE_B, &wide_area, WIDE_AREA_PORTS[1])?;
        client.ip(&format!("route add default via {}", SITE_B.outer()))?;
        server.gateway.ip(&format!("route add {} via {}", LEASES.network(), SITE_A.outer()))?;
        client.sysctl(&["net.ipv4.tcp_rmem=4096 131072 1048576", "net.ipv4.tcp_wmem=4096 131072 1048576"])?;
        Ok(Self { client, server, annexes, wide_area })
    }
}

/// The ports of both wires of a [`Crossing`], in the order in which a packet of host A could enter them: from gateway 1, from
/// gateway 3 on either side, from gateway 2.
pub const CROSSING_PORTS: [&str; 4] = ["to1", "near3", "far3", "to2"];

/// Two sites in different networks, and a third gateway between them that protects neither.
///
/// ```text
/// host A ── gateway 1 ────── near ────── gateway 3 ────── far ────── gateway 2 ── host B
/// 10.1.0.10   198.51.100.1     198.51.100.254  203.0.113.254    203.0.113.2   10.2.0.10
/// 10.1.1.10   2001:db8::1      2001:db8::fe    2001:db8:0:1::fe 2001:db8:0:1::2
/// ```
pub struct Crossing {
    /// Host A and gateway 1. The host is in two networks, of which the second has no counterpart on the other side.
    pub a: Half,
    /// Host B and gateway 2.
    pub b: Half,
    /// Gateway 3, with the interfaces `near` and `far`.
    pub middle: Namespace,
    /// Both wires, each a bridge.
    pub wires: Namespace,
}

impl Crossing {
    /// Gateway 1 outside.
    pub fn near() -> [IpAddr; 2] {
        [SITE_A.outer().into(), SITE_A.outer_v6().into()]
    }

    /// Gateway 2 outside.
    pub fn far() -> [IpAddr; 2] {
        [Ipv4Addr::new(203, 0, 113, 2).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2).into()]
    }

    /// Gateway 3 on its near side.
    pub fn middle_near() -> [IpAddr; 2] {
        [Ipv4Addr::new(198, 51, 100, 254).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe).into()]
    }

    /// Gateway 3 on its far side.
    pub fn middle_far() -> [IpAddr; 2] {
        [Ipv4Addr::new(203, 0, 113, 254).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0xfe).into()]
    }

    /// Host A in its second network.
    pub fn second() -> [IpAddr; 2] {
        [Ipv4Addr::new(10, 1, 1, 10).into(), Ipv6Addr::new(0xfd00, 1, 0, 1, 0, 0, 0, 0x10).into()]
    }

    /// All of a site, which may have more than one network.
    pub fn whole(site: Site) -> [String; 2] {
        [format!("10.{}.0.0/16", site.0), format!("fd00:{}::/32", site.0)]
    }

    /// Makes all six namespaces and connects them; the way in clear exists.
    pub fn new(lab: &mut Lab) -> Result<Self, Failure> {
        let (a, b) = (Half::new(lab, SITE_A)?, Half::new(lab, SITE_B)?);
        let (middle, wires) = (lab.namespace("gw3")?, wide_area(lab)?);
        wires.ip("link add br1 type bridge mcast_snooping 0\nlink set br1 up")?;
        let [to1, near3, far3, to2] = CROSSING_PORTS;
        join(&a.gateway, "wan", Self::near(), &wires, to1, BRIDGE)?;
        join(&middle, "near", Self::middle_near(), &wires, near3, BRIDGE)?;
        join(&middle, "far", Self::middle_far(), &wires, far3, "br1")?;
        join(&b.gateway, "wan", Self::far(), &wires, to2, "br1")?;
        middle.sysctl(&["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
        for (half, outer, via) in
            [(&a, Self::near(), Self::middle_near()), (&b, Self::far(), Self::middle_far())]
        {
            half.gateway.ip(&format!("route add default via {}\nroute add ::/0 via {}", via[0], via[1]))?;
            let [v4, v6] = Self::whole(half.site);
            middle.ip(&format!("route add {v4} via {}\nroute add {v6} via {}", outer[0], outer[1]))?;
        }
        let gateway = [Ipv4Addr::new(10, 1, 1, 1).into(), Ipv6Addr::new(0xfd00, 1, 0, 1, 0, 0, 0, 1).into()];
        for ((host, gateway), bits) in Self::second().into_iter().zip(gateway).zip([24, 64]) {
            a.host.address("eth0", host, bits)?;
            a.gateway.address("lan", gateway, bits)?;
        }
        Ok(Self { a, b, middle, wires })
    }
}

/// Only host A, gateway 1 and the wide area: what stands in for site B comes on a tap, `to2`.
pub struct Outpost {
    /// Host A and gateway 1.
    pub a: Half,
    /// The network outside: a bridge with `to1` and `to2`.
    pub wide_area: Namespace,
}

impl Outpost {
    /// Makes the three namespaces and the tap.
    pub fn new(lab: &mut Lab) -> Result<Self, Failure> {
        let outpost = Self { a: Half::new(lab, SITE_A)?, wide_area: wide_area(lab)? };
        outpost.a.connect(&outpost.wide_area, WIDE_AREA_PORTS[0], SITE_B)?;
        tap(&outpost.wide_area, WIDE_AREA_PORTS[1])?;
        Ok(outpost)
    }
}

/// A tap on the bridge of a wide area, its checksums finished on the wire.
pub fn tap(wide_area: &Namespace, name: &str) -> Result<(), Failure> {
    wide_area.ip(&format!("tuntap add dev {name} mode tap\nlink set {name} master br0 up"))?;
    wide_area.without_offload(name)
}

/// A wide area with two taps and nothing else, for two guests to meet.
pub fn bare_wide_area(lab: &mut Lab) -> Result<Namespace, Failure> {
    let space = wide_area(lab)?;
    for port in WIDE_AREA_PORTS {
        tap(&space, port)?;
    }
    Ok(space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_addresses_of_a_host_read_alike() {
        assert_eq!(SITE_A.host().map(|address| address.to_string()), ["10.1.0.10", "fd00:1::10"]);
        assert_eq!(SITE_B.inner().map(|address| address.to_string()), ["10.2.0.1", "fd00:2::1"]);
    }
}
