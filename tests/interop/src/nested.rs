//! Cases of tunnels inside tunnels: a strongSwan that is reached only through the tunnel to a Warren, and a Linux kernel at the
//! end of a transport mode SA, on the same wire and through a tunnel.
//!
//! ```text
//! G ── SG1 ── strongSwan ── host         G ── the kernel         G ── SG1 ── the kernel
//! ```

use std::net::{IpAddr, Ipv4Addr};

use xtask::chain::{Chain, End, GATEWAYS, HOPS, LAST_TRANSFER_NETWORK, SENDER, Wires};
use xtask::gateway::{Gateway, TEST_SECRET};
use xtask::home::Home;
use xtask::hops::{self, Talk};
use xtask::lab::{Lab, Namespace};
use xtask::listener::Listener;
use xtask::peer::{self, Kernel, StrongSwan};
use xtask::traffic::{self, Sender, Server, Way};
use xtask::{Failure, repository};

use crate::cases::Role;
use crate::kernel::xfrm_error;
use crate::strongswan::pinged;

/// The far address of SG1, through which the guest reaches G.
const SG1_INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
/// Where SG2 is, or the guest.
const SECOND: IpAddr = GATEWAYS[1];
/// The host behind SG2.
const BEHIND: IpAddr = GATEWAYS[2];

fn port(interface: &str, side: &str) -> String {
    format!("\n[[port]]\ninterface = \"{interface}\"\nside = \"{side}\"\n")
}

fn peer_section(name: &str, ends: [IpAddr; 2], more: &str) -> String {
    let [local, address] = ends;
    format!(
        "\n[[peer]]\nname = \"{name}\"\nike = \"v1-main\"\nlocal = \"{local}\"\naddress = \"{address}\"\n\
         secret = \"peer.psk\"\nproposals = [\"aes128-sha256-modp2048\"]\n{more}"
    )
}

/// A tunnel rule, and one that lets pass what it protects.
fn rules(name: &str, source: &str, destination: &str, peer: &str) -> String {
    let traffic = format!("name = \"{name}\"\nsource = \"{source}\"\ndestination = \"{destination}\"\n");
    format!(
        "\n[[transport]]\n{traffic}action = \"permit\"\n\n[[tunnel]]\n{traffic}peer = \"{peer}\"\nesp = \"aes128gcm16\"\n"
    )
}

/// The way from G to whoever is behind SG1.
fn through_sg1() -> String {
    let (source, destination) = (SENDER.to_string(), SECOND.to_string());
    peer_section("sg1", [SENDER, GATEWAYS[0]], "") + &rules("to-second", &source, &destination, "sg1")
}

/// What G says to the guest is protected to the end.
fn protected() -> String {
    peer_section("receiver", [SENDER, SECOND], "local_identity = \"left.test\"\nidentity = \"right.test\"\n")
        + "\n[[transport]]\nname = \"own\"\naction = \"protect\"\npeer = \"receiver\"\nesp = \"aes128gcm16\"\n"
}

fn start(lab: &Lab, name: &str, namespace: &Namespace, text: &str) -> Result<Gateway, Failure> {
    let home = Home::new(lab, name)?;
    home.write("peer.psk", &format!("{TEST_SECRET}\n"))?;
    home.configure(&format!("{}{text}", home.section()))?;
    let mut gateway = Gateway::run(namespace, &home)?;
    gateway.wait_until_ready()?;
    Ok(gateway)
}

/// SG1: G's packets for whoever is second, and back.
fn first_gate(lab: &Lab, namespace: &Namespace) -> Result<Gateway, Failure> {
    let text = port("near", "outside")
        + &port("far", "inside")
        + &peer_section("sender", [GATEWAYS[0], SENDER], "")
        + &rules("to-sender", &SECOND.to_string(), &SENDER.to_string(), "sender");
    start(lab, "sg1", namespace, &text)
}

/// Adds what everybody has to say to a failure.
fn told(failure: &Failure, gateways: &[(&str, &Gateway)], peer: &str) -> Failure {
    let mut text = failure.to_string();
    for (name, gateway) in gateways {
        let drops = gateway.drops().unwrap_or_default();
        text.push_str(&format!("\n── last words of {name} ──\n{}\ndropped: {drops:?}", gateway.last_words()));
    }
    Failure::new(format!("{text}\n── the peer ──\n{peer}"))
}

/// What was seen on each hop has to be this and nothing else.
fn judged(
    listener: Listener,
    remark: &str,
    hops: &[(&str, [&str; 2], [IpAddr; 2])],
) -> Result<String, Failure> {
    let wire = listener.finish()?;
    let (mut lines, mut complaints) = (Vec::new(), Vec::new());
    complaints.extend(hops::complete(&wire.flows).err());
    if wire.clear_text_leaks > 0 {
        complaints.push(format!(
            "{} frames in clear, the first: {}",
            wire.clear_text_leaks,
            wire.first_leak.unwrap_or_default()
        ));
    }
    for (name, ports, ends) in hops {
        let (line, wrong) = hops::hop(&wire.flows, name, *ports, &Talk::protected(*ends));
        lines.push(line);
        complaints.extend(wrong);
    }
    match complaints.is_empty() {
        true => Ok(format!("{remark}; {}", lines.join("; "))),
        false => Err(Failure::new(complaints.join("; "))),
    }
}

/// G's own packets to a host behind a strongSwan, whose ESP in UDP passes inside the ESP between G and SG1.
pub(crate) fn behind_warren(role: Role) -> Result<String, Failure> {
    let mut lab = Lab::new(&repository::target())?;
    let chain = Chain::new(&mut lab)?;
    let program = repository::own_program()?;
    let ports = [HOPS[0], HOPS[1]].concat();
    let inside = [LAST_TRANSFER_NETWORK.to_owned()];
    let listener = Listener::start_for_hops(&program, &chain.wires.0, &ports, &[], &inside, traffic::MARKER)?;
    chain.close_clear_way()?;
    let strongswan = StrongSwan::start(&lab, &chain.gates[1], "nested-sg2", "right")?;
    let first = first_gate(&lab, &chain.gates[0])?;
    let text = port("eth1", "inside")
        + &port("eth0", "outside")
        + &through_sg1()
        + &peer_section("sg2", [SENDER, SECOND], "")
        + &rules("behind", &SENDER.to_string(), LAST_TRANSFER_NETWORK, "sg2")
            .replace("aes128gcm16", "aes256-sha256");
    let sender = start(&lab, "gw", &chain.gateway, &text)?;
    let played = (|| {
        let (from, host) = (Sender::at(&chain.gateway, SENDER), &chain.gates[2]);
        let (waited, unanswered) = match role {
            Role::Initiator => traffic::first_answer(from, BEHIND)?,
            Role::Responder => {
                strongswan.initiate("net")?;
                traffic::first_answer(Sender::at(host, BEHIND), SENDER)?
            }
        };
        pinged(from, BEHIND)?;
        pinged(Sender::at(host, BEHIND), SENDER)?;
        let _server = Server::start(host)?;
        let mut rates = Vec::new();
        for way in [Way::Forth, Way::Back] {
            let transfer = traffic::Client::narrow(from, BEHIND, way, 2)?.finish()?;
            if transfer.octets == 0 {
                return Err(Failure::new("iperf3 moved nothing in one direction"));
            }
            rates.push(format!("{:.2}", transfer.gbit_s));
        }
        Ok(format!(
            "first answer after {} ms, {unanswered} unanswered before, iperf3 {} Gbit/s",
            waited.as_millis(),
            rates.join(" and ")
        ))
    })();
    let peer = strongswan.last_words();
    match played {
        Ok(remark) => {
            drop(sender);
            judged(
                listener,
                &remark,
                &[
                    ("G ── SG1", HOPS[0], [SENDER, GATEWAYS[0]]),
                    ("SG1 ── strongSwan", HOPS[1], [SENDER, SECOND]),
                ],
            )
        }
        Err(failure) => Err(told(&failure, &[("G", &sender), ("SG1", &first)], &peer)),
    }
}

/// What is between G and the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// A wire.
    Nothing,
    /// SG1, and the tunnel to it.
    Tunnel,
}

impl Between {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "transport-mode",
            Self::Tunnel => "transport-mode-in-a-tunnel",
        }
    }
}

/// The tap on which the guest is.
const GUEST: &str = "guest";

/// G, perhaps SG1, and a Linux kernel on a tap.
struct Meeting {
    kernel: Kernel,
    listener: Listener,
    gateway: Namespace,
    first: Option<Namespace>,
    lab: Lab,
}

impl Meeting {
    fn new(between: Between) -> Result<Self, Failure> {
        let mut lab = Lab::new(&repository::target())?;
        let wires = Wires::new(&mut lab)?;
        wires.bridge("br0")?;
        let gateway = lab.namespace("gw")?;
        wires.join("br0", HOPS[0][0], &End { space: &gateway, interface: "eth0", addresses: &[SENDER] })?;
        let (first, ports, route) = match between {
            Between::Nothing => {
                wires.tap("br0", GUEST)?;
                gateway.ip(&format!("route add {SECOND} dev eth0"))?;
                (None, vec![HOPS[0][0], GUEST], "192.0.2.0/24 dev vec0".to_owned())
            }
            Between::Tunnel => {
                let sg1 = lab.namespace("sg1")?;
                wires.bridge("br1")?;
                let near = End { space: &sg1, interface: "near", addresses: &[GATEWAYS[0]] };
                wires.join("br0", HOPS[0][1], &near)?;
                let far = End { space: &sg1, interface: "far", addresses: &[SG1_INSIDE] };
                wires.join("br1", HOPS[1][0], &far)?;
                wires.tap("br1", GUEST)?;
                gateway.ip(&format!("route add default via {}", GATEWAYS[0]))?;
                sg1.sysctl(&["net.ipv4.ip_forward=1"])?;
                let ports = vec![HOPS[0][0], HOPS[0][1], HOPS[1][0], GUEST];
                (Some(sg1), ports, format!("192.0.2.0/24 via {SG1_INSIDE}"))
            }
        };
        let program = repository::own_program()?;
        let listener = Listener::start_for_hops(&program, &wires.0, &ports, &[], &[], traffic::MARKER)?;
        let kernel = Kernel::boot(&lab, &wires.0, GUEST, &format!("{SECOND}/24"))?;
        // Without ESP in the kernel, which the first SA would bring, it would say in clear that it does not know this protocol
        // to whoever is faster than its charon.
        kernel.shell(&format!("modprobe -d /run/mod -aq esp4; ip route add {route}"))?;
        kernel.charon(&peer::folder().join("conf/ikev1-main-transport"))?;
        // Its inbound SA is there before its policy is, and in between it would answer in clear: last of all policies, this one
        // keeps it from that. Its charon's own sockets are exempt.
        kernel.shell(&format!(
            "ip xfrm policy add src {SECOND} dst {SENDER} dir out priority 4000000000 action block"
        ))?;
        Ok(Self { kernel, listener, gateway, first, lab })
    }

    /// Pings both ways and a transfer each way, then what the guest's own counters say of its SAs.
    fn traffic(&self, role: Role) -> Result<String, Failure> {
        let from = Sender::at(&self.gateway, SENDER);
        let (waited, unanswered) = match role {
            Role::Initiator => traffic::first_answer(from, SECOND)?,
            Role::Responder => {
                self.kernel.shell("swanctl --initiate --child host --timeout 60")?;
                self.kernel.shell(&format!("ping -q -c 20 -i 0.2 -W 1 {SENDER} || true"))?;
                traffic::first_answer(from, SECOND)?
            }
        };
        pinged(from, SECOND)?;
        self.kernel.shell(&format!("ping -q -c 10 -i 0.05 -W 2 {SENDER}"))?;
        self.kernel.shell("setsid iperf3 -s -D >/dev/null 2>&1")?;
        let forth = traffic::transfer(from, SECOND, Way::Forth, 2)?;
        let back = traffic::transfer(from, SECOND, Way::Back, 2)?;
        if forth.octets == 0 || back.octets == 0 {
            return Err(Failure::new("iperf3 moved nothing in one direction"));
        }
        Ok(format!(
            "first answer after {} ms, {unanswered} unanswered before, iperf3 {:.2} and {:.2} Gbit/s; {}",
            waited.as_millis(),
            forth.gbit_s,
            back.gbit_s,
            self.by_the_kernel()?
        ))
    }

    /// Both of the guest's SAs are in transport mode and carried what was sent: the kernel did it, and not in clear.
    fn by_the_kernel(&self) -> Result<String, Failure> {
        let modes = self.kernel.shell(
            "ip xfrm state | grep -c 'mode transport'; ip xfrm state | grep -c 'mode tunnel' || true",
        )?;
        let status = self.kernel.status()?;
        if let Some(error) = xfrm_error(&status) {
            return Err(Failure::new(format!("the kernel counted {error}\n{status}")));
        }
        let packets = |from: IpAddr, to: IpAddr| -> u64 {
            let ends = format!("{from} > {to} ");
            let rows = status.lines().filter(|line| line.starts_with(&ends));
            rows.filter_map(packets_of).sum()
        };
        let (out, back) = (packets(SECOND, SENDER), packets(SENDER, SECOND));
        let counts: Vec<_> = modes.split_whitespace().collect();
        if out < 100 || back < 100 || counts.first() == Some(&"0") || counts.get(1) != Some(&"0") {
            return Err(Failure::new(format!(
                "the kernel's transport mode SAs carried {out} packets out and {back} in; SAs in transport and in tunnel mode: {counts:?}\n{status}"
            )));
        }
        Ok(format!("the kernel sealed {out} packets and opened {back}"))
    }
}

/// The packets in a line of the guest's about one SA: `FROM > TO spi SPI [esn] OCTETS(bytes), PACKETS(packets)`.
fn packets_of(line: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| word.split_once("(packets)")?.0.parse().ok())
}

/// A Linux kernel at the far end of a transport mode SA.
pub(crate) fn transport_mode(between: Between, role: Role) -> Result<String, Failure> {
    let meeting = Meeting::new(between)?;
    let mut text = port("eth0", "outside") + &protected();
    let mut gateways = Vec::new();
    if let Some(space) = &meeting.first {
        text.push_str(&through_sg1());
        gateways.push(("SG1", first_gate(&meeting.lab, space)?));
    }
    gateways.push(("G", start(&meeting.lab, "gw", &meeting.gateway, &text)?));
    let played = meeting.traffic(role);
    let borrowed: Vec<_> = gateways.iter().map(|(name, gateway)| (*name, gateway)).collect();
    let remark = match played {
        Ok(remark) => remark,
        Err(failure) => {
            let status = meeting.kernel.status().unwrap_or_default();
            return Err(told(&failure, &borrowed, &status));
        }
    };
    drop(gateways);
    let end_to_end = [SENDER, SECOND];
    let hops = match between {
        Between::Nothing => vec![("G ── the kernel", [HOPS[0][0], GUEST], end_to_end)],
        Between::Tunnel => vec![
            ("G ── SG1", HOPS[0], [SENDER, GATEWAYS[0]]),
            ("SG1 ── the kernel", [HOPS[1][0], GUEST], end_to_end),
        ],
    };
    let Meeting { kernel, listener, lab, .. } = meeting;
    let judged = judged(listener, &remark, &hops);
    drop((kernel, lab));
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_an_sa_are_read_from_the_guests_line() {
        let line = "192.0.2.1 > 198.51.100.2 spi 0xc1d2e3f4(3251168244) 840(bytes), 10(packets)";
        assert_eq!(packets_of(line), Some(10));
        assert_eq!(packets_of("XfrmInNoStates 3"), None);
    }
}
