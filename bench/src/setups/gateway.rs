//! One gateway without sockets and without a clock: its tunnels, its engine of one worker, and what both have cost.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use warren_engine::{EnginePort, Handle, Settings, Worker, WorkerParts, build};
use warren_ike::{
    Authentication, ChildConfig, ConfigMode, Entropy, Mode, NatTraversal, Path, PeerConfig, PeerState,
    Remote, RemoteIdentity, Retransmit, Xauth,
};
use warren_policy::{IkeProposal, Lifetime, PeerId, SaMode, Secret};
use warren_port::{Link, MemoryLink, MemoryPort, Umem, UmemConfig};
use warren_seam::{Carrier, Command, Event};
use warren_tunnels::{Output, Start, State, TunnelConfig, Tunnels, TunnelsConfig};

use super::Case;
use crate::probe_flood::site::{self, INSIDE, OUTSIDE, RULE};
use crate::rounds::cpu_time;

/// The port of IKE: with nothing but memory between the gateways, no NAT moves them to another.
const PORT: u16 = 500;
/// Packets that wait in a port at a time: here it is one.
const PORT_PACKETS: usize = 16;
/// What a packet that proves the keys carries.
const PAYLOAD: &[u8] = b"sealed under the keys that both sides have derived";

/// The kernel's generator, as in the daemon.
struct KernelEntropy(SystemRandom);

impl Entropy for KernelEntropy {
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill(octets).expect("the kernel has randomness");
    }
}

fn entropy() -> Box<dyn Entropy> {
    Box::new(KernelEntropy(SystemRandom::new()))
}

/// Gateway 1 or 2 of the site.
pub(super) struct Gateway {
    own: u8,
    tunnels: Tunnels,
    handle: Handle,
    worker: Worker,
    inside: MemoryLink,
    outside: MemoryLink,
    /// Datagrams that it has sent and nobody has fetched.
    datagrams: Vec<Vec<u8>>,
    /// Processor time since [`Gateway::take_spent`].
    spent: Duration,
}

impl Gateway {
    pub(super) fn new(own: u8, case: Case) -> Result<Self, String> {
        let (inside, inside_end) = MemoryPort::pair("inside", Link::Ethernet, PORT_PACKETS);
        let (outside, outside_end) = MemoryPort::pair("outside", Link::Ethernet, PORT_PACKETS);
        let umem = Umem::new(&UmemConfig { frames: 256, huge_pages: false, ..UmemConfig::default() });
        let ports = vec![
            EnginePort { index: INSIDE, port: Box::new(inside) },
            EnginePort { index: OUTSIDE, port: Box::new(outside) },
        ];
        let parts = WorkerParts { umem: umem.map_err(|error| error.to_string())?, ports, tun: None };
        let (mut handle, workers) =
            build(vec![parts], &Settings::default()).map_err(|error| error.to_string())?;
        let worker = workers.into_iter().next().ok_or("an engine without a worker")?;
        submit(&mut handle, Command::Forwarding(site::forwarding(own, 3 - own)))?;
        let config = config(own, case)?;
        let tunnels = Tunnels::new(Duration::ZERO, config, Vec::new(), (entropy(), entropy()));
        let (datagrams, spent) = (Vec::new(), Duration::ZERO);
        let (inside, outside) = (inside_end, outside_end);
        let mut gateway = Self { own, tunnels, handle, worker, inside, outside, datagrams, spent };
        gateway.carry_out()?;
        Ok(gateway)
    }

    /// Does something, and all that follows from it here; what that costs is counted.
    pub(super) fn act(&mut self, action: impl FnOnce(&mut Tunnels)) -> Result<(), String> {
        let start = cpu_time();
        action(&mut self.tunnels);
        let outcome = self.carry_out();
        self.spent += cpu_time().saturating_sub(start);
        outcome
    }

    /// A datagram that the other gateway has sent.
    pub(super) fn receive(&mut self, now: Duration, datagram: &[u8]) -> Result<(), String> {
        let socket = |site| (site::outer(site), PORT).into();
        let path = Path { local: socket(self.own), remote: socket(3 - self.own) };
        self.act(|tunnels| tunnels.handle_datagram(now, path, datagram))
    }

    /// What the daemon's control loop does after each input, but for sockets and the log.
    fn carry_out(&mut self) -> Result<(), String> {
        let mut commands = false;
        while let Some(output) = self.tunnels.poll_output() {
            match output {
                Output::Engine(command) => {
                    submit(&mut self.handle, command)?;
                    commands = true;
                }
                Output::Transmit { octets, .. } => self.datagrams.push(octets),
                Output::TransmitThrough { .. } => return Err("a tunnel inside another one".to_owned()),
                Output::Log(_)
                | Output::KeepLease(_)
                | Output::DropLease(_)
                | Output::AddAddress(_)
                | Output::RemoveAddress(_) => {}
            }
        }
        if commands {
            self.worker.poll(Duration::ZERO);
            self.handle.applied();
        }
        Ok(())
    }

    pub(super) fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.datagrams)
    }

    pub(super) fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    pub(super) fn has_pair(&self) -> bool {
        self.tunnels.status_of(RULE).is_some_and(|tunnel| matches!(tunnel.state, State::Up { .. }))
    }

    /// Whether neither a pair nor an ISAKMP SA is left, nor anything under way.
    pub(super) fn has_nothing(&self) -> bool {
        self.tunnels.status_of(RULE).is_some_and(|tunnel| tunnel.pairs.is_empty())
            && self.tunnels.negotiator().peers().iter().all(|peer| peer.state == PeerState::Idle)
    }

    /// Sends a packet to the other gateway's network; whether it came out there as it was.
    pub(super) fn reaches(&mut self, other: &mut Self, now: Duration) -> Result<bool, String> {
        let hosts = (site::host(self.own, 2), site::host(other.own, 2));
        self.inside.send(&site::frame((self.own, INSIDE), hosts, (5000, 6000), PAYLOAD));
        self.turn(now)?;
        let Some(sealed) = self.outside.receive() else { return Ok(false) };
        if sealed.windows(PAYLOAD.len()).any(|part| part == PAYLOAD) {
            return Err("the packet went in clear".to_owned());
        }
        other.outside.send(&sealed);
        other.turn(now)?;
        Ok(other.inside.receive().is_some_and(|opened| opened.ends_with(PAYLOAD)))
    }

    /// Lets packets pass. What the worker says about them is not part of a set-up.
    fn turn(&mut self, now: Duration) -> Result<(), String> {
        while self.worker.poll(now) {}
        while let Some((_, event)) = self.handle.poll_event() {
            if !matches!(event, Event::UnresolvedNeighbour { .. }) {
                self.tunnels.handle_event(now, event);
            }
        }
        self.carry_out()
    }
}

fn submit(handle: &mut Handle, command: Command) -> Result<(), String> {
    handle.submit(command).map(drop).map_err(|refused| format!("{refused:?}"))
}

/// What the operator of that gateway wants: one tunnel, negotiated when it is asked for.
fn config(own: u8, case: Case) -> Result<TunnelsConfig, String> {
    let peer = 3 - own;
    let identity = |site: u8| {
        let name = format!("gateway-{site}.test");
        name.parse().map_err(|_| format!("{name} is no identity"))
    };
    let selector = site::selector(own, peer)?;
    let ike: IkeProposal = case.ike().parse().map_err(|_| "no proposal for phase 1".to_owned())?;
    let esp = case.esp().parse().map_err(|_| "no proposal for phase 2".to_owned())?;
    let peer_config = PeerConfig {
        id: PeerId(0),
        name: "peer".to_owned(),
        local: site::outer(own).into(),
        remote: Remote::Host(site::outer(peer).into()),
        local_identity: identity(own)?,
        remote_identity: RemoteIdentity::Exactly(identity(peer)?),
        mode: Mode::Main,
        authentication: Authentication::PreSharedKey(Secret::new(vec![0x5a; 32])),
        xauth: Xauth::Off,
        config_mode: ConfigMode::Off,
        fragmentation: true,
        proposals: vec![ike],
        lifetime: 28_800,
        dpd: None,
        nat_traversal: NatTraversal::Auto,
        retransmit: Retransmit { first: Duration::from_secs(1), tries: 3 },
        pad: None,
    };
    let child = ChildConfig {
        rule: RULE,
        peer: PeerId(0),
        selector,
        proposals: vec![esp],
        lifetime: Lifetime { seconds: 3600, kilobytes: None },
        window_packets: 4096,
        is_divisible: false,
        mode: SaMode::Tunnel,
        carrier: Carrier::Network,
    };
    Ok(TunnelsConfig {
        peers: vec![peer_config],
        tunnels: vec![TunnelConfig { child, start: Start::OnTraffic, parallel: std::num::NonZeroU16::MIN }],
        rules: site::rules(selector, peer),
        ..TunnelsConfig::default()
    })
}
