//! One gateway, control and engine whole, on memory ports; what the kernel and the XDP program do is modelled.

use crate::network::End;
use crate::oracle::{Oracle, Violation};
use crate::packet::{Mac, outer, udp_frame};
use crate::plan::Plan;
use crate::seed::Lots;
use rand_chacha::ChaCha8Rng;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use warren_engine::{EnginePort, Handle, Settings, Worker, WorkerParts, build};
use warren_ike::{ChildConfig, Dpd, Entropy, Path, PeerConfig, Retransmit};
use warren_policy::{
    AddressRange, Identity, Lifetime, PeerId, RuleId, RuleSet, Secret, Selector, TransportAction,
    TransportRule, TunnelRule,
};
use warren_port::{Link, MemoryLink, MemoryPort, Umem, UmemConfig};
use warren_seam::{
    Command, ForwardingTable, MacAddress, Neighbour, PortIndex, PortInfo, Route, Side,
    limits::WINDOW_PACKETS_DEFAULT,
};
use warren_tunnels::{Output, State, TunnelConfig, Tunnels, TunnelsConfig};

const INSIDE: PortIndex = PortIndex(0);
const OUTSIDE: PortIndex = PortIndex(1);
/// Packets a memory port holds in each direction.
const QUEUE_PACKETS: usize = 1024;
/// Turns of workers and control without rest before a livelock is certain.
const TURNS_MAX: usize = 10_000;
const SECRET: &[u8] = b"an honest secret of thirty-two octets";

/// The inside and outside Ethernet addresses of a gateway and of the stations beyond.
#[derive(Clone, Copy)]
struct Stations {
    inside: Mac,
    outside: Mac,
    host: Mac,
    peer: Mac,
}

impl Stations {
    fn of(end: End) -> Self {
        let mac = |end: End, last| [2, 0, 0, 0, end.index() as u8, last];
        Self { inside: mac(end, 1), outside: mac(end, 2), host: mac(end, 3), peer: mac(end.other(), 2) }
    }
}

/// What one life of a gateway consists of; a restart replaces it.
pub(crate) struct Gateway {
    end: End,
    stations: Stations,
    address: IpAddr,
    tunnels: Tunnels,
    handle: Handle,
    workers: Vec<Worker>,
    inside: MemoryLink,
    outside: MemoryLink,
    /// Frames that control sent since they were last taken: IKE, through the kernel's sockets.
    control_frames: Vec<Vec<u8>>,
}

impl Gateway {
    /// A gateway that has just started.
    ///
    /// # Panics
    /// When the machine cannot give it memory.
    #[must_use]
    pub(crate) fn start(now: Duration, plan: &Plan, end: End, lots: ChaCha8Rng) -> Self {
        let (inside_port, inside) = MemoryPort::pair("inside", Link::Ethernet, QUEUE_PACKETS);
        let (outside_port, outside) = MemoryPort::pair("outside", Link::Ethernet, QUEUE_PACKETS);
        let umem = UmemConfig { frames: 512, frame_octets: 2048, headroom: 256, huge_pages: false };
        let parts = WorkerParts {
            umem: Umem::new(&umem).expect("a small UMEM can be had"),
            ports: vec![
                EnginePort { index: INSIDE, port: Box::new(inside_port) },
                EnginePort { index: OUTSIDE, port: Box::new(outside_port) },
            ],
            tun: None,
        };
        let (handle, workers) = build(vec![parts], &Settings::default()).expect("two descriptors can be had");
        let mut discovery = lots.clone();
        discovery.set_stream(1);
        let entropies: (Box<dyn Entropy>, Box<dyn Entropy>) =
            (Box::new(Lots(lots)), Box::new(Lots(discovery)));
        let mut gateway = Self {
            end,
            stations: Stations::of(end),
            address: plan.gateways[end.index()],
            tunnels: Tunnels::new(now, tunnels_config(plan, end), Vec::new(), entropies),
            handle,
            workers,
            inside,
            outside,
            control_frames: Vec::new(),
        };
        let forwarding = forwarding(plan, end);
        gateway.submit(Command::Forwarding(forwarding));
        gateway
    }

    /// The host behind the gateway sends a datagram to the other host.
    pub(crate) fn host_sends(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let frame = udp_frame((self.stations.host, self.stations.inside), from, to, payload);
        self.inside.send(&frame);
    }

    /// Frames that reached the host since the last call.
    pub(crate) fn host_receives(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.inside.receive()).collect()
    }

    /// A frame from the wide area: the XDP program gives it to a worker, or the kernel to a socket of control.
    pub(crate) fn wire_receives(&mut self, now: Duration, frame: &[u8]) {
        match self.ike_datagram(frame) {
            Some((path, octets)) => self.tunnels.handle_datagram(now, path, octets),
            None => {
                self.outside.send(frame);
            }
        }
    }

    /// What the kernel would deliver to the sockets on ports 500 and 4500 (DESIGN 4): IKE, and keepalives.
    fn ike_datagram<'a>(&self, frame: &'a [u8]) -> Option<(Path, &'a [u8])> {
        let outer = outer(frame).filter(|outer| outer.destination == self.address)?;
        let (source, destination, payload) = outer.udp()?;
        let marked = payload.get(..4) == Some(&[0; 4]);
        let ours = destination == 500 || (destination == 4500 && (marked || payload.len() <= 4));
        let path = Path {
            local: SocketAddr::new(self.address, destination),
            remote: SocketAddr::new(outer.source, source),
        };
        ours.then_some((path, payload))
    }

    /// When the gateway wants to be called though nothing arrived.
    #[must_use]
    pub(crate) fn next_timeout(&self) -> Option<Duration> {
        self.tunnels.poll_timeout()
    }

    /// Lets workers and control run until neither has anything left to do; returns what they put on the wire.
    ///
    /// # Errors
    /// With the promise that a worker's counters break.
    ///
    /// # Panics
    /// When they never come to rest.
    pub(crate) fn settle(&mut self, now: Duration, oracle: &mut Oracle) -> Result<Vec<Vec<u8>>, Violation> {
        let mut frames = Vec::new();
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.tunnels.handle_timeout(now);
        }
        for _ in 0..TURNS_MAX {
            let mut busy = self.drain_control(oracle);
            for worker in &mut self.workers {
                busy |= worker.poll(now);
            }
            self.check_conservation()?;
            self.handle.applied();
            while let Some((_, event)) = self.handle.poll_event() {
                self.tunnels.handle_event(now, event);
                busy = true;
            }
            frames.append(&mut self.control_frames);
            frames.extend(std::iter::from_fn(|| self.outside.receive()));
            if !busy {
                return Ok(frames);
            }
        }
        panic!("the {:?} gateway never comes to rest", self.end);
    }

    fn drain_control(&mut self, oracle: &mut Oracle) -> bool {
        let mut busy = false;
        while let Some(output) = self.tunnels.poll_output() {
            busy = true;
            match output {
                Output::Transmit { path, octets } => {
                    let macs = (self.stations.outside, self.stations.peer);
                    self.control_frames.push(udp_frame(macs, path.local, path.remote, &octets));
                }
                Output::TransmitThrough { .. } => panic!("no tunnel is inside another one here"),
                Output::Engine(command) => {
                    if let Command::InstallOutbound(sa) = &command {
                        oracle.note_outbound(sa);
                    }
                    self.submit(command);
                }
                Output::Log(_) => {}
                Output::KeepLease(_)
                | Output::DropLease(_)
                | Output::AddAddress(_)
                | Output::RemoveAddress(_) => {}
            }
        }
        busy
    }

    fn submit(&mut self, command: Command) {
        assert!(self.handle.submit(command).is_ok(), "commands are applied faster than they are given");
    }

    /// X-4, issue 1: every packet in ends in exactly one counter.
    fn check_conservation(&self) -> Result<(), Violation> {
        let counters = self.handle.counters();
        if counters.conserved() {
            Ok(())
        } else {
            Err(Violation::NotConserved(format!("{:?} gateway: {counters:?}", self.end)))
        }
    }

    /// Whether a tunnel is up, as control sees it.
    #[must_use]
    pub(crate) fn is_up(&self) -> bool {
        self.tunnels
            .status()
            .iter()
            .all(|tunnel| matches!(tunnel.state, State::Up { .. } | State::Rekeying { .. }))
    }

    /// Every drop so far, for the report of a run.
    #[must_use]
    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        self.handle.counters().drops().map(|(reason, count)| (reason.word(), count)).collect()
    }
}

fn identity(end: End) -> Identity {
    Identity::Fqdn(match end {
        End::West => "west.test".to_owned(),
        End::East => "east.test".to_owned(),
    })
}

fn network(address: IpAddr) -> AddressRange {
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
        tunnels: vec![TunnelConfig { child, start: plan.start[end.index()] }],
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
