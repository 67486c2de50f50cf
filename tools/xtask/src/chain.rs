//! A row of gateways, each behind the one before it: the scene of tunnels inside tunnels.
//!
//! ```text
//!  A ──── G ────────── SG1 ─────────── SG2 ─────────── SG3 ────── B
//!  10.1.0.10
//!      10.1.0.1
//!         192.0.2.1    192.0.2.254
//!                      198.51.100.1    198.51.100.2
//!                                      203.0.113.2     203.0.113.3
//!                                                      10.2.0.1   10.2.0.10
//! ```
//!
//! The wires between the gateways have IPv6 as well: 2001:db8:1::1 and ::fe, 2001:db8:2::1 and ::2, 2001:db8:3::2 and ::3.
//! Every wire but A's is a bridge of its own, all of them in one namespace, where one listener hears each hop by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Failure;
use crate::lab::{Lab, Namespace};

/// Where tunnels begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The sender gateway's address outside.
    pub sender: IpAddr,
    /// The three security gateways, as the sender knows them; the nearest first.
    pub gateways: [IpAddr; 3],
    /// What SG1, SG2 and SG3 are called on the wire behind them.
    behind: [IpAddr; 3],
}

/// The sender gateway's address outside.
pub const SENDER: IpAddr = v4([192, 0, 2, 1]);
/// The three security gateways, as the sender knows them; the nearest first.
pub const GATEWAYS: [IpAddr; 3] = [v4([192, 0, 2, 254]), v4([198, 51, 100, 2]), v4([203, 0, 113, 3])];

/// Tunnels in IPv4.
pub const OUTER_V4: Outer = Outer {
    sender: SENDER,
    gateways: GATEWAYS,
    behind: [v4([198, 51, 100, 1]), v4([203, 0, 113, 2]), v4([10, 2, 0, 1])],
};

/// Tunnels in IPv6, along the same row.
pub const OUTER_V6: Outer = Outer {
    sender: v6(1, 1),
    gateways: [v6(1, 0xfe), v6(2, 2), v6(3, 3)],
    behind: [v6(2, 1), v6(3, 2), v6(4, 1)],
};

const fn v4(octets: [u8; 4]) -> IpAddr {
    let [a, b, c, d] = octets;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// 2001:db8:WIRE::HOST
const fn v6(wire: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, wire, 0, 0, 0, 0, host))
}

/// The sender gateway's address in A's network: what it says to B comes from there.
pub const SENDER_INSIDE: IpAddr = v4([10, 1, 0, 1]);
/// Host A.
pub const SOURCE: IpAddr = v4([10, 1, 0, 10]);
/// Host B, the receiver.
pub const RECEIVER: IpAddr = v4([10, 2, 0, 10]);
/// A's network, as rules have it.
pub const NEAR_NETWORK: &str = "10.1.0.0/16";
/// B's network, as rules have it.
pub const FAR_NETWORK: &str = "10.2.0.0/16";
/// The network between SG2 and SG3.
pub const LAST_TRANSFER_NETWORK: &str = "203.0.113.0/24";

/// The ports of each wire, towards the sender gateway's end and towards the other one: what each is called says who speaks
/// into it, and to whom.
pub const HOPS: [[&str; 2]; 4] =
    [["gw-sg1", "sg1-gw"], ["sg1-sg2", "sg2-sg1"], ["sg2-sg3", "sg3-sg2"], ["sg3-b", "b-sg3"]];

/// Wires in one namespace.
pub struct Wires(pub Namespace);

/// One end of a wire.
pub struct End<'a> {
    /// Whose.
    pub space: &'a Namespace,
    /// Its interface there.
    pub interface: &'a str,
    /// The interface's addresses, in networks of 24 bits, or 64 with IPv6.
    pub addresses: &'a [IpAddr],
}

impl Wires {
    /// A namespace without wires.
    pub fn new(lab: &mut Lab) -> Result<Self, Failure> {
        let space = lab.namespace("wires")?;
        space.sysctl(&["net.ipv6.conf.default.disable_ipv6=1"])?;
        Ok(Self(space))
    }

    /// A wire that nobody is connected to.
    pub fn bridge(&self, name: &str) -> Result<(), Failure> {
        self.0.ip(&format!("link add {name} type bridge mcast_snooping 0\nlink set {name} up"))
    }

    /// Connects an end.
    pub fn join(&self, bridge: &str, port: &str, end: &End<'_>) -> Result<(), Failure> {
        end.space.veth(end.interface, &self.0, port)?;
        self.0.ip(&format!("link set {port} master {bridge}"))?;
        for address in end.addresses {
            end.space.address(end.interface, *address, if address.is_ipv6() { 64 } else { 24 })?;
        }
        end.space.without_offload(end.interface)
    }

    /// Connects a tap, on which a guest can be booted, its checksums finished on the wire.
    pub fn tap(&self, bridge: &str, port: &str) -> Result<(), Failure> {
        self.0.ip(&format!("tuntap add dev {port} mode tap\nlink set {port} master {bridge} up"))?;
        self.0.without_offload(port)
    }
}

/// All of them.
pub struct Chain {
    /// Host A; its interface is `eth0`.
    pub a: Namespace,
    /// The sender gateway; `eth1` leads to A, `eth0` outside, as in `docs/examples/nested/gateway.toml`.
    pub gateway: Namespace,
    /// SG1, SG2 and SG3: `near` leads back to the sender, `far` to the next.
    pub gates: [Namespace; 3],
    /// Host B; its interface is `eth0`.
    pub b: Namespace,
    /// The wires, with [`HOPS`] as their ports.
    pub wires: Wires,
}

impl Chain {
    /// Makes all seven namespaces and connects them. The way in clear exists from end to end: it is what a leak would take.
    pub fn new(lab: &mut Lab) -> Result<Self, Failure> {
        let (a, gateway, b) = (lab.namespace("hostA")?, lab.namespace("gw")?, lab.namespace("hostB")?);
        let gates = [lab.namespace("sg1")?, lab.namespace("sg2")?, lab.namespace("sg3")?];
        let chain = Self { wires: Wires::new(lab)?, a, gateway, gates, b };
        chain.connect()?;
        chain.route()?;
        Ok(chain)
    }

    fn connect(&self) -> Result<(), Failure> {
        self.a.veth("eth0", &self.gateway, "eth1")?;
        for (space, interface, address) in [(&self.a, "eth0", SOURCE), (&self.gateway, "eth1", SENDER_INSIDE)]
        {
            space.address(interface, address, 24)?;
            space.without_offload(interface)?;
        }
        let outer = [OUTER_V4, OUTER_V6];
        let near = |number: usize| outer.map(|outer| outer.gateways[number]);
        let far = |number: usize| outer.map(|outer| outer.behind[number]);
        let [one, two, three] = &self.gates;
        let wires = [
            [(&self.gateway, "eth0", outer.map(|outer| outer.sender)), (one, "near", near(0))],
            [(one, "far", far(0)), (two, "near", near(1))],
            [(two, "far", far(1)), (three, "near", near(2))],
            [(three, "far", far(2)), (&self.b, "eth0", [RECEIVER, v6(4, 2)])],
        ];
        for (number, (ends, ports)) in wires.iter().zip(HOPS).enumerate() {
            let bridge = format!("br{number}");
            self.wires.bridge(&bridge)?;
            for ((space, interface, addresses), port) in ends.iter().zip(ports) {
                self.wires.join(&bridge, port, &End { space, interface, addresses })?;
            }
        }
        Ok(())
    }

    fn route(&self) -> Result<(), Failure> {
        self.a.ip(&format!("route add default via {SENDER_INSIDE}"))?;
        self.b.ip(&format!("route add default via {}", OUTER_V4.behind[2]))?;
        let [one, two, three] = &self.gates;
        let [v4, v6] = [OUTER_V4, OUTER_V6];
        self.gateway.ip(&format!(
            "route add default via {}\nroute add ::/0 via {}",
            v4.gateways[0], v6.gateways[0]
        ))?;
        // What is behind the next gateway, and what is behind the one before.
        let forth = |next: usize| format!("route add {FAR_NETWORK} via {}\n", v4.gateways[next]);
        let back = |before: IpAddr| format!("route add {NEAR_NETWORK} via {before}\n");
        one.ip(&format!(
            "{}{}route add {LAST_TRANSFER_NETWORK} via {}\nroute add 2001:db8:3::/64 via {}",
            forth(1),
            back(v4.sender),
            v4.gateways[1],
            v6.gateways[1]
        ))?;
        let home = |before: usize| {
            let (v4, v6) = (v4.behind[before], v6.behind[before]);
            format!("route add 192.0.2.0/24 via {v4}\nroute add 2001:db8:1::/64 via {v6}\n")
        };
        two.ip(&format!("{}{}{}", forth(2), back(v4.behind[0]), home(0)))?;
        three.ip(&format!(
            "{}{}route add 198.51.100.0/24 via {}\nroute add 2001:db8:2::/64 via {}",
            back(v4.behind[1]),
            home(1),
            v4.behind[1],
            v6.behind[1]
        ))?;
        for space in self.gates.iter().chain([&self.gateway]) {
            space.sysctl(&["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
        }
        // What one stream may have on its way fits into the rings of all gateways that it passes.
        for host in [&self.a, &self.b] {
            host.sysctl(&["net.ipv4.tcp_rmem=4096 131072 1048576", "net.ipv4.tcp_wmem=4096 131072 1048576"])?;
        }
        Ok(())
    }

    /// Takes away the way in clear from what is behind SG2 to the sender, for a foreign gateway: what it lets out when it has no
    /// SA is not ours to judge. Its routes into tunnels are asked before.
    pub fn close_clear_way(&self) -> Result<(), Failure> {
        self.gates[1].ip("rule add pref 230 iif far to 192.0.2.0/24 blackhole")
    }

    /// Every port of every wire.
    pub fn ports() -> Vec<&'static str> {
        HOPS.concat()
    }

    /// The ports of the last wire, where A's packets are what they were.
    pub const fn open_ports() -> [&'static str; 2] {
        HOPS[3]
    }
}
