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
//! Every wire but A's is a bridge of its own, all of them in one namespace, where one listener hears each hop by itself.

use std::net::{IpAddr, Ipv4Addr};

use crate::Failure;
use crate::lab::{Lab, Namespace};

/// The sender gateway's address outside.
pub const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The sender gateway's address in A's network: what it says to B comes from there.
pub const SENDER_INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));
/// The three security gateways, as the sender knows them; the nearest first.
pub const GATEWAYS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 3)),
];
/// Host A.
pub const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 10));
/// Host B, the receiver.
pub const RECEIVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 10));
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
    /// The interface's address and how many bits of it are the network's.
    pub address: (IpAddr, u8),
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
        end.space.address(end.interface, end.address.0, end.address.1)?;
        end.space.without_offload(end.interface)
    }

    /// Connects a tap, on which a guest can be booted, its checksums finished on the wire.
    pub fn tap(&self, bridge: &str, port: &str) -> Result<(), Failure> {
        self.0.ip(&format!("tuntap add dev {port} mode tap\nlink set {port} master {bridge} up"))?;
        self.0.without_offload(port)
    }
}

/// A gateway on the way: `near` leads back to the sender, `far` to the next.
pub struct Gate {
    /// Its namespace.
    pub space: Namespace,
    /// Its addresses on `near` and `far`.
    pub addresses: [IpAddr; 2],
    /// What is next on its far side, beyond which everything lies that it does not know.
    pub next: IpAddr,
}

/// All of them.
pub struct Chain {
    /// Host A; its interface is `eth0`.
    pub a: Namespace,
    /// The sender gateway; `eth1` leads to A, `eth0` outside, as in `docs/examples/nested/gateway.toml`.
    pub gateway: Namespace,
    /// SG1, SG2 and SG3.
    pub gates: [Gate; 3],
    /// Host B; its interface is `eth0`.
    pub b: Namespace,
    /// The wires, with [`HOPS`] as their ports.
    pub wires: Wires,
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

impl Chain {
    /// Makes all seven namespaces and connects them. The way in clear exists from end to end: it is what a leak would take.
    pub fn new(lab: &mut Lab) -> Result<Self, Failure> {
        let (a, gateway, b) = (lab.namespace("hostA")?, lab.namespace("gw")?, lab.namespace("hostB")?);
        let mut gate = |name: &str, addresses, next| -> Result<Gate, Failure> {
            Ok(Gate { space: lab.namespace(name)?, addresses, next })
        };
        let gates = [
            gate("sg1", [GATEWAYS[0], v4(198, 51, 100, 1)], GATEWAYS[1])?,
            gate("sg2", [GATEWAYS[1], v4(203, 0, 113, 2)], GATEWAYS[2])?,
            gate("sg3", [GATEWAYS[2], v4(10, 2, 0, 1)], RECEIVER)?,
        ];
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
        let [one, two, three] = &self.gates;
        let end = |space, interface, address| End { space, interface, address: (address, 24) };
        let far = |gate: &Gate| gate.addresses[1];
        let wires = [
            [end(&self.gateway, "eth0", SENDER), end(&one.space, "near", one.addresses[0])],
            [end(&one.space, "far", far(one)), end(&two.space, "near", two.addresses[0])],
            [end(&two.space, "far", far(two)), end(&three.space, "near", three.addresses[0])],
            [end(&three.space, "far", far(three)), end(&self.b, "eth0", RECEIVER)],
        ];
        for (number, (ends, ports)) in wires.iter().zip(HOPS).enumerate() {
            let bridge = format!("br{number}");
            self.wires.bridge(&bridge)?;
            for (end, port) in ends.iter().zip(ports) {
                self.wires.join(&bridge, port, end)?;
            }
        }
        Ok(())
    }

    fn route(&self) -> Result<(), Failure> {
        self.a.ip(&format!("route add default via {SENDER_INSIDE}"))?;
        self.gateway.ip(&format!("route add default via {}", GATEWAYS[0]))?;
        let mut back = SENDER;
        // What is behind each gateway as seen from the next; the networks of its own wires it has anyhow.
        let mut behind = vec![NEAR_NETWORK.to_owned()];
        for (gate, before) in
            self.gates.iter().zip(["192.0.2.0/24", "198.51.100.0/24", LAST_TRANSFER_NETWORK])
        {
            for network in &behind {
                gate.space.ip(&format!("route add {network} via {back}"))?;
            }
            gate.space.sysctl(&["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
            behind.push(before.to_owned());
            back = gate.addresses[1];
        }
        let [one, two, _] = &self.gates;
        one.space.ip(&format!(
            "route add {LAST_TRANSFER_NETWORK} via {}\nroute add {FAR_NETWORK} via {}",
            one.next, one.next
        ))?;
        two.space.ip(&format!("route add {FAR_NETWORK} via {}", two.next))?;
        self.b.ip(&format!("route add default via {back}"))?;
        self.gateway.sysctl(&["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
        // What one stream may have on its way fits into the rings of all gateways that it passes.
        for host in [&self.a, &self.b] {
            host.sysctl(&["net.ipv4.tcp_rmem=4096 131072 1048576", "net.ipv4.tcp_wmem=4096 131072 1048576"])?;
        }
        Ok(())
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
