//! Sockets and program together, over veth pairs in namespaces.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;

use std::time::{Duration, Instant};

use warren_bpf::{Attach, Generator, Locality, Steering, SteeringError};
use warren_port::af_xdp::{AfXdpConfig, AfXdpPort, interface_index};
use warren_port::{Frame, Port, PortMode, TunPort, Umem, UmemConfig, XdpAttach};

use crate::lab::{End, Namespace, cable};
use crate::packets::{ESP_HEAD, REMOTE, ethernet, ipv4_packet, udp};

const HOST_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x01];
const NEAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x02];
const FAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 2, 0x02];
const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 2, 0x01];
const HOST: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 1);
const PATIENCE: Duration = Duration::from_secs(5);

/// ```text
///   host: h0 ------ n0 :gateway: f0 ------ p0 :peer
/// ```
struct Lab {
    host: Namespace,
    gateway: Namespace,
    peer: Namespace,
}

impl Lab {
    /// `None`, with the reason printed, where there can be no namespaces.
    fn new(label: &str, queues: u32) -> Option<Self> {
        match Self::try_new(label, queues) {
            Ok(lab) => Some(lab),
            Err(why) => {
                println!("skipped, because {why}");
                None
            }
        }
    }

    fn try_new(label: &str, queues: u32) -> Result<Self, String> {
        let namespace = |side| Namespace::new(&format!("{label}_{side}"));
        let lab = Self { host: namespace("h")?, gateway: namespace("g")?, peer: namespace("p")? };
        let end = |namespace, interface, mac, address| End { namespace, interface, mac, address };
        cable(
            &end(&lab.host, "h0", HOST_MAC, "10.99.1.1/24"),
            &end(&lab.gateway, "n0", NEAR_MAC, "10.99.1.2/24"),
            queues,
        )?;
        cable(
            &end(&lab.gateway, "f0", FAR_MAC, "10.99.2.2/24"),
            &end(&lab.peer, "p0", PEER_MAC, "10.99.2.1/24"),
            queues,
        )?;
        Ok(lab)
    }

    /// Every frame to its MAC address but those of the kernel comes to a station's sockets.
    fn host(&self, attach: XdpAttach) -> Station {
        self.host.enter(|| Station::open(&["h0"], &[HOST_MAC], &[HOST], attach, 1))
    }

    fn peer(&self, attach: XdpAttach) -> Station {
        self.peer.enter(|| Station::open(&["p0"], &[PEER_MAC], &[PEER], attach, 1))
    }

    fn gateway(&self, attach: XdpAttach, queues: u32) -> Station {
        let addresses = [NEAR, FAR];
        self.gateway.enter(|| Station::open(&["n0", "f0"], &[NEAR_MAC, FAR_MAC], &addresses, attach, queues))
    }
}

/// Ports over one memory, and the programs in front of them.
struct Station {
    umem: Umem,
    ports: Vec<AfXdpPort>,
    steering: Vec<Steering>,
}

impl Station {
    fn open(
        interfaces: &[&str],
        macs: &[[u8; 6]],
        addresses: &[Ipv4Addr],
        attach: XdpAttach,
        queues: u32,
    ) -> Self {
        let mut umem = Umem::new(&UmemConfig { frames: 4096, ..UmemConfig::default() }).unwrap();
        let (mut ports, mut steering) = (Vec::new(), Vec::new());
        for (name, &mac) in interfaces.iter().zip(macs) {
            let addresses = addresses.iter().copied().map(IpAddr::V4).collect();
            let program = steer(name, attach, &Locality { mac, addresses });
            let port = AfXdpPort::open(&mut umem, &config(name, attach, queues)).unwrap();
            for (queue, fd) in port.queue_fds() {
                program.register(queue, fd).unwrap();
            }
            ports.push(port);
            steering.push(program);
        }
        Self { umem, ports, steering }
    }

    /// Sends all of them, in order, however often the rings are full.
    fn send(&mut self, packets: &[Vec<u8>]) {
        let mut frames: Vec<Frame> = Vec::new();
        let mut left = packets.iter();
        let end = Instant::now() + PATIENCE;
        loop {
            while frames.len() < 64
                && let Some(packet) = left.as_slice().first()
            {
                let Some(mut frame) = self.umem.allocate() else { break };
                frame.push_back(packet.len()).unwrap().copy_from_slice(packet);
                frames.push(frame);
                left.next();
            }
            self.ports[0].transmit(&mut self.umem, &mut frames);
            if frames.is_empty() && left.len() == 0 && self.ports[0].unsent() == 0 {
                return;
            }
            assert!(Instant::now() < end, "{} packets were not sent", frames.len() + left.len());
        }
    }

    /// What comes until there are `count`, or for a moment longer than the kernel needs.
    fn receive(&mut self, port: usize, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut frames = Vec::new();
        let end = Instant::now() + PATIENCE;
        while packets.len() < count && Instant::now() < end {
            self.ports[port].receive(&mut self.umem, &mut frames, 64);
            for frame in frames.drain(..) {
                packets.push(frame.bytes().to_vec());
                self.umem.release(frame);
            }
        }
        packets
    }

    /// Moves frames from one port to the other with new MAC addresses until nothing has come for a while.
    fn forward(&mut self, from: usize, to: usize, mac: [u8; 6], count: usize) {
        let mut frames = Vec::new();
        let mut moved = 0;
        let end = Instant::now() + PATIENCE;
        while (moved < count || !frames.is_empty() || self.ports[to].unsent() > 0) && Instant::now() < end {
            let fresh = self.ports[from].receive(&mut self.umem, &mut frames, 64);
            let old = frames.len() - fresh;
            for frame in &mut frames[old..] {
                frame.bytes_mut()[..6].copy_from_slice(&mac);
            }
            moved += fresh;
            self.ports[to].transmit(&mut self.umem, &mut frames);
        }
        assert!(frames.is_empty());
    }

    /// Chunks that the kernel holds; everything else is free once the test has given its frames back.
    fn lent(&self) -> usize {
        self.ports.iter().flat_map(AfXdpPort::sockets).map(|socket| socket.lent() as usize).sum()
    }
}

/// A program in a namespace; whether it succeeded.
fn succeeds(namespace: &Namespace, arguments: &[&str]) -> bool {
    let arguments = [&["netns", "exec", namespace.name()], arguments].concat();
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

fn config(interface: &str, attach: XdpAttach, queues: u32) -> AfXdpConfig {
    let queues = (0..queues).collect();
    AfXdpConfig { queues, ring_entries: 512, ..AfXdpConfig::new(interface, attach) }
}

fn steer(interface: &str, attach: XdpAttach, locality: &Locality) -> Steering {
    Steering::attach(interface_index(interface).unwrap(), Attach::Only(attach), locality).unwrap()
}

/// Transit packets of many lengths, each with its number in it.
fn transit(to: [u8; 6], count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| {
            let mut payload = vec![n as u8; 20 + n * 7 % 1460];
            payload[..4].copy_from_slice(&(n as u32).to_be_bytes());
            ethernet(to, 0x0800, &ipv4_packet(REMOTE, 6, 0, &[], &payload))
        })
        .collect()
}

fn readdress(mut packets: Vec<Vec<u8>>, to: [u8; 6]) -> Vec<Vec<u8>> {
    packets.iter_mut().for_each(|packet| packet[..6].copy_from_slice(&to));
    packets
}

fn pass_frames(label: &str, attach: XdpAttach) {
    let Some(lab) = Lab::new(label, 1) else { return };
    let (mut host, mut gateway) = (lab.host(attach), lab.gateway(attach, 1));
    let sent = transit(NEAR_MAC, 300);
    host.send(&sent);
    assert!(gateway.receive(0, 300) == sent, "all of them, in order");
    assert_eq!(gateway.steering[0].counters().unwrap().transit, 300);
    let counters = gateway.ports[0].counters();
    assert_eq!((counters.received, counters.receive_dropped), (300, 0));
    assert_eq!(counters.received_octets, sent.iter().map(|packet| packet.len() as u64).sum::<u64>());
    assert_eq!(host.ports[0].counters().transmitted, 300);
    match gateway.ports[0].mode() {
        PortMode::AfXdp { attach: is, zero_copy, .. } => assert_eq!((is, zero_copy), (attach, false)),
        other => panic!("{other:?}"),
    }
    println!("{}", gateway.ports[0].mode());
    assert_eq!(gateway.umem.outstanding(), gateway.lent());
}

#[test]
fn frames_pass_over_veth_in_native_mode() {
    pass_frames("nat", XdpAttach::Native);
}

#[test]
fn frames_pass_over_veth_in_generic_mode() {
    pass_frames("gen", XdpAttach::Generic);
}

#[test]
fn two_ports_forward_both_ways_over_one_memory() {
    let Some(lab) = Lab::new("fwd", 1) else { return };
    let native = XdpAttach::Native;
    let (mut host, mut gateway, mut peer) = (lab.host(native), lab.gateway(native, 1), lab.peer(native));
    let shares = |port: &AfXdpPort| port.sockets()[0].shares_registration();
    assert!(!shares(&gateway.ports[0]) && shares(&gateway.ports[1]));
    for round in 0..5 {
        let there = transit(NEAR_MAC, 200);
        host.send(&there);
        gateway.forward(0, 1, PEER_MAC, 200);
        assert!(peer.receive(0, 200) == readdress(there, PEER_MAC), "round {round}, there");
        let back = transit(FAR_MAC, 150);
        peer.send(&back);
        gateway.forward(1, 0, HOST_MAC, 150);
        assert!(host.receive(0, 150) == readdress(back, HOST_MAC), "round {round}, back");
    }
    assert_eq!(gateway.umem.outstanding(), gateway.lent());
    assert_eq!((gateway.ports[0].counters().received, gateway.ports[1].counters().received), (1000, 750));
}

#[test]
fn one_port_serves_two_queues() {
    let Some(lab) = Lab::new("two", 2) else { return };
    let mut host = lab.host(XdpAttach::Native);
    let mut gateway = lab.gateway(XdpAttach::Native, 2);
    assert_eq!(gateway.ports[0].fds().len(), 2);
    let sent = transit(NEAR_MAC, 400);
    host.send(&sent);
    let mut received = gateway.receive(0, 400);
    received.sort();
    let mut sent = sent;
    sent.sort();
    assert!(received == sent);
}

/// The classes of packets that DEPENDENCIES calls the own layer's proof.
#[test] // F-24
fn each_class_of_packet_goes_where_it_belongs() {
    let Some(lab) = Lab::new("cls", 1) else { return };
    let (mut host, mut gateway) = (lab.host(XdpAttach::Native), lab.gateway(XdpAttach::Native, 1));
    let sockets: Vec<UdpSocket> = lab
        .gateway
        .enter(|| [500, 4500].map(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).into());
    let to_us =
        |protocol, payload: &[u8]| ethernet(NEAR_MAC, 0x0800, &ipv4_packet(NEAR, protocol, 0, &[], payload));
    let ike = [7u8; 40];
    let marked = [[0u8; 4].as_slice(), &ike].concat();
    let esp = to_us(50, &ESP_HEAD);
    let udp_esp = to_us(17, &udp(4500, &[5; 60]));
    let through = ethernet(NEAR_MAC, 0x0800, &ipv4_packet(REMOTE, 17, 0, &[], &udp(500, &ike)));
    let to_kernel =
        [to_us(17, &udp(500, &ike)), to_us(17, &udp(4500, &marked)), to_us(17, &udp(4500, &[0xff]))];
    let mut sent = Vec::new();
    for _ in 0..100 {
        sent.extend([esp.clone(), udp_esp.clone(), through.clone()]);
        sent.extend(to_kernel.iter().cloned());
    }
    host.send(&sent);
    let received = gateway.receive(0, 300);
    for (name, packet) in [("ESP", esp), ("ESP in UDP", udp_esp), ("transit IKE", through)] {
        assert_eq!(received.iter().filter(|other| **other == packet).count(), 100, "{name}");
    }
    let counters = gateway.steering[0].counters().unwrap();
    assert_eq!((counters.esp, counters.udp_esp, counters.transit, counters.unserved), (100, 100, 100, 0));
    for (socket, expected) in sockets.iter().zip([100, 200]) {
        let mut buffer = [0; 100];
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for n in 0..expected {
            assert!(socket.recv(&mut buffer).is_ok(), "datagram {n} of {expected}");
        }
    }
    // The kernel keeps ARP and its own ICMP.
    assert!(succeeds(&lab.host, &["ping", "-c", "2", "-i", "0.2", "-W", "2", "10.99.1.2"]));
}

#[test] // F-24, F-38
fn an_unserved_queue_drops_transit_and_leaves_the_kernel_its_own() {
    let Some(lab) = Lab::new("uns", 1) else { return };
    let mut host = lab.host(XdpAttach::Native);
    let mut peer = lab.peer(XdpAttach::Native);
    assert!(succeeds(&lab.gateway, &["sysctl", "-qw", "net.ipv4.ip_forward=1"]));
    lab.gateway.ip(&["neigh", "add", "10.99.2.1", "lladdr", "02:00:00:00:02:01", "dev", "f0"]).unwrap();
    let locality = Locality { mac: NEAR_MAC, addresses: [IpAddr::V4(NEAR)].into_iter().collect() };
    let steering = lab.gateway.enter(|| steer("n0", XdpAttach::Native, &locality));
    let packet = ipv4_packet(Ipv4Addr::new(10, 99, 2, 77), 6, 0, &[], &[9; 40]);
    lab.gateway.ip(&["neigh", "add", "10.99.2.77", "lladdr", "02:00:00:00:02:01", "dev", "f0"]).unwrap();
    let clear = vec![ethernet(NEAR_MAC, 0x0800, &packet); 50];
    host.send(&clear);
    assert!(succeeds(&lab.host, &["ping", "-c", "2", "-i", "0.2", "-W", "2", "10.99.1.2"]));
    let counters = steering.counters().unwrap();
    assert_eq!((counters.transit, counters.unserved), (50, 50));
    drop(steering);
    // The same packets without the program: the kernel does forward them, so it was the program that kept them.
    host.send(&clear[..1]);
    let leaked = peer.receive(0, 1);
    assert_eq!(leaked.len(), 1);
    assert_eq!(&leaked[0][34..74], &[9; 40]);
}

#[test]
fn a_second_program_on_an_interface_is_refused_by_name() {
    let Some(lab) = Lab::new("sec", 1) else { return };
    lab.gateway.enter(|| {
        let _first = steer("n0", XdpAttach::Native, &Locality::default());
        let interface = interface_index("n0").unwrap();
        match Steering::attach(interface, Attach::Best, &Locality::default()).err() {
            Some(SteeringError::Attach { .. }) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn the_best_mode_on_veth_is_native() {
    let Some(lab) = Lab::new("bst", 1) else { return };
    lab.gateway.enter(|| {
        let best =
            |name| Steering::attach(interface_index(name).unwrap(), Attach::Best, &Locality::default());
        assert_eq!(best("n0").unwrap().mode(), XdpAttach::Native);
        // The loopback device has no native mode.
        assert_eq!(best("lo").unwrap().mode(), XdpAttach::Generic);
    });
}

#[test]
fn a_queue_can_be_opened_again_after_its_socket_was_dropped() {
    let Some(lab) = Lab::new("again", 1) else { return };
    let mut host = lab.host(XdpAttach::Native);
    let mut gateway = lab.gateway(XdpAttach::Native, 1);
    for round in 1..=3 {
        let before = gateway.umem.outstanding();
        gateway.ports.remove(0);
        let Station { umem, ports, steering } = &mut gateway;
        lab.gateway.enter(|| {
            let port = AfXdpPort::open(umem, &config("n0", XdpAttach::Native, 1)).unwrap();
            for (queue, fd) in port.queue_fds() {
                steering[0].register(queue, fd).unwrap();
            }
            ports.insert(0, port);
        });
        assert!(gateway.umem.outstanding() > before, "the old socket's chunks are never handed out again");
        let sent = transit(NEAR_MAC, 64);
        host.send(&sent);
        assert!(gateway.receive(0, 64) == sent, "round {round}");
    }
}

#[test]
fn a_worker_that_is_too_slow_loses_packets_and_counts_them() {
    let Some(lab) = Lab::new("slow", 1) else { return };
    let (mut host, mut gateway) = (lab.host(XdpAttach::Native), lab.gateway(XdpAttach::Native, 1));
    host.send(&transit(NEAR_MAC, 2000));
    let received = gateway.receive(0, 512);
    assert_eq!(received.len(), 512);
    let end = Instant::now() + PATIENCE;
    loop {
        let counters = gateway.ports[0].counters();
        if counters.received + counters.receive_dropped == 2000 {
            break;
        }
        assert!(Instant::now() < end, "{counters:?}");
        gateway.receive(0, 1);
    }
    assert_eq!(gateway.umem.outstanding(), gateway.lent());
    let fresh = transit(NEAR_MAC, 100);
    host.send(&fresh);
    assert!(gateway.receive(0, 100) == fresh, "and goes on working");
}

#[test]
fn frames_that_are_no_frames_are_not_sent() {
    let Some(lab) = Lab::new("shrt", 1) else { return };
    let (mut host, mut gateway) = (lab.host(XdpAttach::Native), lab.gateway(XdpAttach::Native, 1));
    let good = transit(NEAR_MAC, 2);
    host.send(&[good[0].clone(), vec![], vec![1; 13], good[1].clone()]);
    assert!(gateway.receive(0, 2) == good);
    assert_eq!(host.ports[0].counters().transmit_failed, 2);
    assert_eq!(host.umem.outstanding(), host.lent());
}

#[test]
fn a_socket_on_a_queue_that_is_not_there_is_refused() {
    let Some(lab) = Lab::new("noq", 1) else { return };
    lab.gateway.enter(|| {
        let mut umem = Umem::new(&UmemConfig { frames: 1024, ..UmemConfig::default() }).unwrap();
        let wrong = AfXdpConfig { queues: vec![5], ..config("n0", XdpAttach::Native, 1) };
        let error = AfXdpPort::open(&mut umem, &wrong).err().expect("refused");
        assert!(error.to_string().starts_with("queue 5: bind: "), "{error}");
        let error = AfXdpPort::open(&mut umem, &config("none", XdpAttach::Native, 1)).err().expect("refused");
        assert!(error.to_string().starts_with("no interface none: "), "{error}");
        assert_eq!(umem.outstanding(), 0);
    });
}

#[test]
fn the_gateways_own_traffic_passes_through_a_tun_port() {
    let Some(lab) = Lab::new("tun", 1) else { return };
    let mut port = lab.gateway.enter(|| TunPort::open("warren0").unwrap());
    assert!(lab.gateway.enter(|| TunPort::open("warren0")).is_err(), "one process holds it");
    lab.gateway.ip(&["link", "set", "warren0", "mtu", "1400", "up"]).unwrap();
    lab.gateway.ip(&["route", "add", "198.51.100.0/24", "dev", "warren0", "src", "10.99.1.2"]).unwrap();
    let mut umem = Umem::new(&UmemConfig { frames: 64, ..UmemConfig::default() }).unwrap();
    let name = lab.gateway.name().to_owned();
    let ping = std::thread::spawn(move || {
        let arguments = ["netns", "exec", &name, "ping", "-c", "1", "-s", "1000", "-W", "5", "198.51.100.7"];
        Command::new("ip").args(arguments).output().unwrap().status.success()
    });
    let mut frames = Vec::new();
    let end = Instant::now() + PATIENCE;
    // The kernel may send something of its own first (router solicitations).
    let mut request = loop {
        assert!(Instant::now() < end, "no echo request came");
        port.receive(&mut umem, &mut frames, 8);
        match frames.pop() {
            Some(frame) if frame.bytes()[0] == 0x45 && frame.bytes()[20] == 8 => break frame,
            Some(frame) => umem.release(frame),
            None => {}
        }
    };
    let echo = request.bytes_mut();
    let (from, to): ([u8; 4], [u8; 4]) = (echo[12..16].try_into().unwrap(), echo[16..20].try_into().unwrap());
    echo[12..16].copy_from_slice(&to);
    echo[16..20].copy_from_slice(&from);
    // Type 8 becomes 0, so the checksum grows by 0x0800 in one's complement.
    echo[20] = 0;
    let sum = u32::from(u16::from_be_bytes([echo[22], echo[23]])) + 0x0800;
    echo[22..24].copy_from_slice(&((sum + (sum >> 16)) as u16).to_be_bytes());
    frames.push(request);
    assert_eq!(port.transmit(&mut umem, &mut frames), 1);
    assert!(ping.join().unwrap(), "the kernel took the answer");
    let mut nonsense = umem.allocate().unwrap();
    nonsense.push_back(3).unwrap();
    frames.push(nonsense);
    assert_eq!(port.transmit(&mut umem, &mut frames), 1);
    assert_eq!(port.counters().transmit_failed, 1);
    assert_eq!(umem.outstanding(), 0);
}

#[test]
fn the_generators_frames_arrive() {
    let Some(lab) = Lab::new("live", 1) else { return };
    let mut gateway = lab.gateway(XdpAttach::Native, 1);
    let frame = transit(NEAR_MAC, 1).remove(0);
    lab.host.enter(|| {
        let generator = Generator::load().unwrap();
        generator.send(interface_index("h0").unwrap(), &frame, 300).unwrap();
        assert!(generator.send(u32::MAX, &frame, 1).is_err());
    });
    let received = gateway.receive(0, 300);
    assert_eq!(received.len(), 300);
    assert!(received.iter().all(|other| *other == frame));
}
