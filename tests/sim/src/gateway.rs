//! One gateway, control and engine whole, on memory ports; what the kernel and the XDP program do is modelled.

use crate::oracle::{Oracle, Violation};
use crate::packet::{DontFragment, Outer, ip, outer, udp_frame, udp_packet};
use crate::seed::Lots;
use crate::site::{INSIDE, OUTSIDE, Site, Stations};
use rand_chacha::ChaCha8Rng;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use warren_engine::{EnginePort, Handle, Settings, Tally, Worker, WorkerParts, build};
use warren_ike::{Entropy, Path};
use warren_policy::RuleId;
use warren_port::{Link, MemoryLink, MemoryPort, Port, Umem, UmemConfig};
use warren_seam::{Command, Entry, Injected, SaId};
use warren_tunnels::{Output, State, Tunnels};

/// Packets a memory port holds in each direction.
const QUEUE_PACKETS: usize = 1024;
/// Turns of workers and control without rest before a livelock is certain.
const TURNS_MAX: usize = 10_000;
/// Octets in front of a packet: what the daemon leaves free for the headers of a whole stack.
const HEADROOM_OCTETS: u32 = 512;

/// What one life of a gateway consists of; a restart replaces it.
pub(crate) struct Gateway {
    name: String,
    stations: Stations,
    addresses: Vec<IpAddr>,
    checks_datagrams: bool,
    tunnels: Tunnels,
    handle: Handle,
    workers: Vec<Worker>,
    /// One of each for every worker: the queues of a card.
    inside: Vec<MemoryLink>,
    outside: Vec<MemoryLink>,
    /// The queue that the next frame arrives in.
    turn: Cell<usize>,
    /// What the engine gives the gateway's own kernel, and takes from it.
    tun: MemoryLink,
    /// Frames that left on the outside since they were last taken, IKE through the kernel's sockets among them.
    frames: Vec<Vec<u8>>,
    /// Packets for the gateway itself that are no IKE.
    own: Vec<Vec<u8>>,
    /// SAs that the engine was given and not told to remove.
    installed: BTreeSet<SaId>,
    /// What traffic goes through, as the engine was told.
    bound: BTreeMap<RuleId, Vec<SaId>>,
}

impl Gateway {
    /// A gateway that has just started.
    ///
    /// # Panics
    /// When the machine cannot give it memory.
    #[must_use]
    pub(crate) fn start(now: Duration, site: &Site, lots: ChaCha8Rng) -> Self {
        let (tun_port, tun) = MemoryPort::pair("tun", Link::Ip, QUEUE_PACKETS);
        let mut tun_port = Some(tun_port);
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        let umem =
            UmemConfig { frames: 512, frame_octets: 2048, headroom: HEADROOM_OCTETS, huge_pages: false };
        let parts = |_| {
            let (inside_port, inside_link) = MemoryPort::pair("inside", Link::Ethernet, QUEUE_PACKETS);
            let (outside_port, outside_link) = MemoryPort::pair("outside", Link::Ethernet, QUEUE_PACKETS);
            inside.push(inside_link);
            outside.push(outside_link);
            WorkerParts {
                umem: Umem::new(&umem).expect("a small UMEM can be had"),
                ports: vec![
                    EnginePort { index: INSIDE, port: Box::new(inside_port) },
                    EnginePort { index: OUTSIDE, port: Box::new(outside_port) },
                ],
                // The gateway's own packets are the first worker's.
                tun: tun_port.take().map(|port| Box::new(port) as Box<dyn Port>),
            }
        };
        let parts = (0..site.workers).map(parts).collect();
        let (handle, workers) = build(parts, &Settings::default()).expect("two descriptors can be had");
        let mut discovery = lots.clone();
        discovery.set_stream(1);
        let entropies: (Box<dyn Entropy>, Box<dyn Entropy>) =
            (Box::new(Lots(lots)), Box::new(Lots(discovery)));
        let mut gateway = Self {
            name: site.name.clone(),
            stations: site.stations,
            addresses: site.forwarding.local.clone(),
            checks_datagrams: site.checks_datagrams,
            tunnels: Tunnels::new(now, site.tunnels.clone(), Vec::new(), entropies),
            handle,
            workers,
            inside,
            outside,
            turn: Cell::new(0),
            tun,
            frames: Vec::new(),
            own: Vec::new(),
            installed: BTreeSet::new(),
            bound: BTreeMap::new(),
        };
        gateway.submit(Command::Forwarding(site.forwarding.clone()));
        gateway
    }

    /// The host behind the gateway sends a datagram to another host.
    pub(crate) fn host_sends(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let frame = udp_frame((self.stations.host, self.stations.inside), from, to, payload);
        self.inside_receives(&frame);
    }

    /// A program on the gateway itself sends a datagram, which the routes lead into the engine.
    pub(crate) fn own_sends(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        self.tun.send(&udp_packet(from, to, payload, DontFragment::Yes));
    }

    /// Packets for programs on the gateway itself since the last call.
    pub(crate) fn own_receives(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.own)
    }

    /// Frames that left on the inside since the last call.
    pub(crate) fn inside_sends(&self) -> Vec<Vec<u8>> {
        self.inside.iter().flat_map(|link| std::iter::from_fn(|| link.receive())).collect()
    }

    /// A frame from the inside.
    pub(crate) fn inside_receives(&self, frame: &[u8]) {
        self.next_of(&self.inside).send(frame);
    }

    /// Frames arrive in one queue after the other, whoever they are for: the worst that a card can do.
    fn next_of<'a>(&self, links: &'a [MemoryLink]) -> &'a MemoryLink {
        self.turn.set(self.turn.get().wrapping_add(1));
        &links[self.turn.get() % links.len()]
    }

    /// A frame from the wide area: the XDP program gives it to a worker, or the kernel to a socket of control.
    pub(crate) fn wire_receives(&mut self, now: Duration, frame: &[u8]) {
        match outer(frame).and_then(|outer| self.ike_datagram(&outer)) {
            Some((path, octets)) => self.tunnels.handle_datagram(now, path, octets),
            None => {
                self.next_of(&self.outside).send(frame);
            }
        }
    }

    /// A packet for the gateway itself that came out of the engine.
    fn kernel_receives(&mut self, now: Duration, packet: Vec<u8>) {
        match ip(&packet).and_then(|outer| self.ike_datagram(&outer)) {
            Some((path, octets)) => self.tunnels.handle_datagram(now, path, octets),
            None => self.own.push(packet),
        }
    }

    /// What the kernel would deliver to the sockets on ports 500 and 4500 (DESIGN 4): IKE, and keepalives.
    fn ike_datagram<'a>(&self, outer: &Outer<'a>) -> Option<(Path, &'a [u8])> {
        let address = outer.destination;
        let (source, destination, payload) = outer.udp().filter(|_| self.addresses.contains(&address))?;
        let marked = payload.get(..4) == Some(&[0; 4]);
        let ours = destination == 500 || (destination == 4500 && (marked || payload.len() <= 4));
        let path = Path {
            local: SocketAddr::new(address, destination),
            remote: SocketAddr::new(outer.source, source),
        };
        (ours && (outer.udp_checksum_holds() || !self.checks_datagrams)).then_some((path, payload))
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
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.tunnels.handle_timeout(now);
        }
        for _ in 0..TURNS_MAX {
            let mut busy = self.drain_control(now, oracle)?;
            busy |= self.work(now);
            self.check_conservation()?;
            self.handle.applied();
            while let Some((_, event)) = self.handle.poll_event() {
                self.tunnels.handle_event(now, event);
                busy = true;
            }
            while let Some(packet) = self.tun.receive() {
                self.kernel_receives(now, packet);
                busy = true;
            }
            if !busy {
                self.check_known()?;
                return Ok(std::mem::take(&mut self.frames));
            }
        }
        panic!("{} never comes to rest", self.name);
    }

    /// One turn of every worker, and what they sent.
    fn work(&mut self, now: Duration) -> bool {
        let busy = self.workers.iter_mut().fold(false, |busy, worker| busy | worker.poll(now));
        for link in &self.outside {
            self.frames.extend(std::iter::from_fn(|| link.receive()));
        }
        busy
    }

    fn drain_control(&mut self, now: Duration, oracle: &mut Oracle) -> Result<bool, Violation> {
        let mut busy = false;
        while let Some(output) = self.tunnels.poll_output() {
            busy = true;
            match output {
                Output::Transmit { path, octets } => {
                    let macs = (self.stations.outside, self.stations.peer);
                    self.frames.push(udp_frame(macs, path.local, path.remote, &octets));
                }
                Output::TransmitThrough { stack, path, octets } => {
                    let packet = udp_packet(path.local, path.remote, &octets, DontFragment::No);
                    let entry = Entry::Through(stack);
                    self.submit(Command::Inject(Box::new(Injected { entry, packet })));
                    // The next datagram leaves when this one is on its way, as the daemon sees to.
                    self.work(now);
                }
                Output::Engine(command) => {
                    self.note(&command, oracle)?;
                    self.submit(command);
                }
                Output::Log(_) => {}
                Output::KeepLease(_)
                | Output::DropLease(_)
                | Output::AddAddress(_)
                | Output::RemoveAddress(_) => {}
            }
        }
        Ok(busy)
    }

    /// Keeps what the promises about SAs are judged by.
    fn note(&mut self, command: &Command, oracle: &mut Oracle) -> Result<(), Violation> {
        match command {
            Command::InstallInbound(sa) => drop(self.installed.insert(sa.id)),
            Command::InstallOutbound(sa) => {
                oracle.note_outbound(sa);
                self.installed.insert(sa.id);
            }
            Command::Bind { rule, stack } => drop(self.bound.insert(*rule, stack.clone())),
            Command::Spread { rule, stacks } => drop(self.bound.insert(*rule, stacks.concat())),
            Command::Remove(sa) => {
                self.installed.remove(sa);
                // NT-31: flows are cut before SAs go.
                if let Some((rule, _)) = self.bound.iter().find(|(_, stack)| stack.contains(sa)) {
                    return Err(Violation::NotCut(format!("{}: {sa:?}, by {rule:?}", self.name)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn submit(&mut self, command: Command) {
        assert!(self.handle.submit(command).is_ok(), "commands are applied faster than they are given");
    }

    /// F-24, NT-17: control knows every SA that it has given the engine.
    fn check_known(&self) -> Result<(), Violation> {
        match self.installed.iter().find(|sa| !self.tunnels.knows(**sa)) {
            None => Ok(()),
            Some(sa) => Err(Violation::Orphan(format!("{}: {sa:?}", self.name))),
        }
    }

    /// X-4, issue 1: every packet in ends in exactly one counter.
    fn check_conservation(&self) -> Result<(), Violation> {
        let counters = self.handle.counters();
        if counters.conserved() {
            Ok(())
        } else {
            Err(Violation::NotConserved(format!("{}: {counters:?}", self.name)))
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

    /// SAs that the traffic of any rule goes through.
    #[must_use]
    pub(crate) fn bound(&self) -> usize {
        self.bound.values().map(Vec::len).sum()
    }

    /// ESP packets opened so far.
    #[must_use]
    pub(crate) fn opened(&self) -> u64 {
        self.handle.counters().of(Tally::Opened)
    }

    /// Control, for what an operator does and asks.
    pub(crate) fn tunnels_mut(&mut self) -> &mut Tunnels {
        &mut self.tunnels
    }

    /// NT-17: after the end the engine has no SA.
    ///
    /// # Errors
    /// With one that it has.
    pub(crate) fn check_bare(&self) -> Result<(), Violation> {
        match self.installed.first() {
            None => Ok(()),
            Some(sa) => Err(Violation::Left(format!("{}: {sa:?} of {}", self.name, self.installed.len()))),
        }
    }

    /// Every drop so far, for the report of a run.
    #[must_use]
    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        self.handle.counters().drops().map(|(reason, count)| (reason.word(), count)).collect()
    }
}
