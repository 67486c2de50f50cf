//! The control loop: one task that owns the tunnels and the engine's handle. Everything that happens comes in here as
//! one input after the other, and everything that must be done about it is done, in order, before the next.

mod questions;

use crate::clock::Clock;
use crate::crew::Crew;
use crate::flow_steering::FlowSteering;
use crate::kernel::mirror::{Mirror, View};
use crate::kernel::tun_routes;
use crate::limits::{ACTIVITY_INTERVAL, APPLY_WAIT_MAX, EVENTS_EACH_TURN_MAX, SUBMIT_WAIT_MAX};
use crate::ports::PortFacts;
use crate::resolver::Resolver;
use crate::server::{Question, Server};
use crate::signals::{Asked, Signals};
use crate::sockets::Sockets;
use crate::store::{Change, Keeper};
use crate::surroundings::{self, Surroundings};
use crate::through::Packets;
use crate::tun::TunSide;
use crate::{desired, discovery, start};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};
use warren_bpf::{Locality, Steering};
use warren_config::Config;
use warren_engine::{Handle, Refused, Token};
use warren_ike::Path;
use warren_seam::{Command, Discovery, Entry, Event, Injected, SaId};
use warren_tunnels::{Output, Tunnels};

/// What the start-up put together.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) file: PathBuf,
    pub(crate) config: Config,
    pub(crate) aead: String,
    pub(crate) tunnels: Tunnels,
    pub(crate) engine: Handle,
    pub(crate) crew: Crew,
    pub(crate) facts: Vec<PortFacts>,
    pub(crate) steering: Vec<Steering>,
    pub(crate) flow_steering: FlowSteering,
    pub(crate) mirror: Mirror,
    pub(crate) resolver: Resolver,
    pub(crate) tun: TunSide,
    pub(crate) keeper: Keeper,
    pub(crate) surroundings: Surroundings,
    pub(crate) sockets: Sockets,
    pub(crate) server: Server,
    pub(crate) questions: mpsc::Receiver<Question>,
    pub(crate) signals: Signals,
}

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// A worker's thread is gone. Its SAs cannot be served, so nothing is.
    #[error("worker {0} died; the gateway stops, and with it all traffic")]
    Worker(usize),
    /// The workers take no more commands.
    #[error("the workers take no commands any more; the gateway stops, and with it all traffic")]
    Stuck,
    /// The keys that IKE derived are no keys: a mistake of ours.
    #[error("{0}")]
    Refused(Refused),
    /// The runtime or the kernel.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One thing that happened.
enum Input {
    Asked(Asked),
    Datagrams,
    Timeout,
    Events,
    View(Arc<View>),
    Question(Question),
    Tick,
    Casualty(usize),
}

/// The running gateway.
pub(crate) struct Control {
    parts: Parts,
    view: Arc<View>,
    bell: AsyncFd<OwnedFd>,
    more_events: bool,
    tick: Interval,
    buffer: Vec<u8>,
    datagrams: Vec<(Path, Vec<u8>)>,
    /// The last command that a datagram must wait for.
    awaited: Option<Token>,
    /// Packets of each SA whose activity matters, when they were last looked at.
    heard: HashMap<SaId, u64>,
    /// An address that a peer is configured for cannot be listened on yet.
    deaf: bool,
    /// What the workers look out for.
    lookout: Discovery,
    /// Datagrams that leave through tunnels.
    packets: Packets,
}

impl Control {
    /// Takes over what was started; the first commands reach the workers here.
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let bell = watch(parts.engine.event_fd().try_clone_to_owned()?)?;
        let mut tick = interval(ACTIVITY_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let view = parts.mirror.view();
        Ok(Self {
            parts,
            view,
            bell,
            more_events: false,
            tick,
            buffer: Vec::new(),
            datagrams: Vec::new(),
            awaited: None,
            heard: HashMap::new(),
            deaf: false,
            lookout: Discovery::default(),
            packets: Packets::new(start::random_u64() as u16),
        })
    }

    /// Runs until it is asked to stop, or must.
    pub(crate) async fn run(&mut self) -> Result<(), Stopped> {
        self.drain()?;
        // The mirror only tells of changes: on a quiet network nobody else would hand over what it knew from the start.
        self.take_view(self.parts.clock.now(), self.parts.mirror.view())?;
        self.drain()?;
        self.parts.tun.settle(&self.parts.tunnels, &self.view).await;
        loop {
            let input = self.next().await?;
            let now = self.parts.clock.now();
            match input {
                Input::Asked(Asked::Stop) => return Ok(()),
                Input::Asked(Asked::Reload) => self.reload(now)?,
                Input::Datagrams => self.take_datagrams(now)?,
                Input::Timeout => self.parts.tunnels.handle_timeout(now),
                Input::Events => self.take_events(now)?,
                Input::View(view) => self.take_view(now, view)?,
                Input::Question(question) => self.answer(now, question),
                Input::Tick => self.look_around(now),
                Input::Casualty(worker) => return Err(Stopped::Worker(worker)),
            }
            self.drain()?;
            self.parts.tun.settle(&self.parts.tunnels, &self.view).await;
        }
    }

    async fn next(&mut self) -> io::Result<Input> {
        let timeout = self.parts.tunnels.poll_timeout().map(|at| self.parts.clock.instant(at));
        let datagrams = &mut self.datagrams;
        let receive = |path, octets: &[u8]| datagrams.push((path, octets.to_vec()));
        Ok(tokio::select! {
            worker = self.parts.crew.casualty() => Input::Casualty(worker),
            asked = self.parts.signals.next() => Input::Asked(asked),
            guard = self.bell.readable() => {
                guard?.clear_ready();
                Input::Events
            }
            () = yield_now(), if self.more_events => Input::Events,
            () = self.parts.sockets.receive(&mut self.buffer, receive) => Input::Datagrams,
            () = async { sleep_until(timeout.expect("guarded")).await }, if timeout.is_some() => Input::Timeout,
            view = self.parts.mirror.changed() => Input::View(view),
            Some(question) = self.parts.questions.recv() => Input::Question(question),
            _ = self.tick.tick() => Input::Tick,
        })
    }

    fn take_datagrams(&mut self, now: Duration) -> Result<(), Stopped> {
        for (path, octets) in std::mem::take(&mut self.datagrams) {
            tracing::trace!("received {} octets, {path}", octets.len());
            if discovery::is_unwanted(&self.parts.config, &path, &octets) {
                tracing::debug!("{path}: a probe, and `ted.answer_on` names no port");
                continue;
            }
            self.parts.tunnels.handle_datagram(now, path, &octets);
            self.drain()?;
        }
        Ok(())
    }

    fn take_events(&mut self, now: Duration) -> Result<(), Stopped> {
        self.more_events = false;
        for _ in 0..EVENTS_EACH_TURN_MAX {
            let Some((worker, event)) = self.parts.engine.poll_event() else { return Ok(()) };
            tracing::trace!("worker {}: {event:?}", worker.0);
            match event {
                Event::UnresolvedNeighbour { port, address } => {
                    self.parts.resolver.resolve(now, &self.view, port, address);
                }
                event => self.parts.tunnels.handle_event(now, event),
            }
            self.drain()?;
        }
        // More of them wait, and the bell, which is still ringing, does not ring anew.
        self.more_events = true;
        Ok(())
    }

    fn take_view(&mut self, now: Duration, view: Arc<View>) -> Result<(), Stopped> {
        self.view = view;
        self.submit(Command::Forwarding(self.view.forwarding.clone()))?;
        let macs: Vec<_> = self.view.forwarding.ports.iter().map(|port| port.mac.0).collect();
        for (steering, mac) in self.parts.steering.iter_mut().zip(macs) {
            let locality = Locality { mac, addresses: self.view.steering.iter().copied().collect() };
            if let Err(error) = steering.set_locality(&locality) {
                tracing::error!("the steering program's addresses are not up to date: {error}");
            }
        }
        self.parts.tunnels.set_own_addresses(self.view.forwarding.local.clone());
        self.look_out(now);
        // The Deletes of what is gone leave before the sockets they leave by go.
        self.drain()?;
        self.listen();
        self.parts.tun.replan();
        self.tell_lookout()
    }

    /// Tells the workers which discovery messages are wanted, where that is news.
    fn tell_lookout(&mut self) -> Result<(), Stopped> {
        let wanted = discovery::lookout(&self.parts.config);
        if wanted != self.lookout {
            self.submit(Command::Discovery(wanted.clone()))?;
            self.lookout = wanted;
        }
        Ok(())
    }

    /// What the file leaves open follows the kernel's routes and addresses.
    fn look_out(&mut self, now: Duration) {
        let before = &self.parts.surroundings;
        match surroundings::look(&self.parts.config, &self.view, start::MARK, before) {
            Ok(found) if found != *before => match desired::tunnels(&self.parts.config, &found) {
                Ok(wanted) => {
                    tracing::info!("our addresses or networks changed: the tunnels follow");
                    self.parts.surroundings = found;
                    self.parts.tunnels.reconfigure(now, wanted);
                }
                Err(error) => tracing::error!("{error}"),
            },
            Ok(_) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Addresses come and go, with the configuration and with the interfaces.
    fn listen(&mut self) {
        let addresses = start::ike_addresses(&self.parts.config, &self.view, &self.parts.surroundings);
        self.deaf = false;
        for error in self.parts.sockets.listen(addresses, start::MARK) {
            if error.may_pass() {
                self.deaf = true;
                tracing::debug!("{error}");
            } else {
                tracing::error!("{error}");
            }
        }
    }

    /// What nobody announces: that peers are heard, that neighbours in use go stale, and that an IPv6 address is ours
    /// for good: while it is tentative nothing can listen on it.
    fn look_around(&mut self, now: Duration) {
        self.parts.tunnels.set_unix_time(now, Clock::unix());
        let tunnels = &mut self.parts.tunnels;
        let inbound: Vec<_> = tunnels.inbound_sas().map(|sa| (sa, true)).collect();
        let outbound: Vec<_> = tunnels.outbound_sas().map(|sa| (sa, false)).collect();
        let mut heard = HashMap::with_capacity(inbound.len() + outbound.len());
        for (sa, is_inbound) in inbound.into_iter().chain(outbound) {
            let packets = self.parts.engine.sa_counters(sa).map_or(0, |counters| counters.packets);
            if self.heard.get(&sa).is_some_and(|before| *before != packets) {
                match is_inbound {
                    true => tunnels.inbound_activity(now, sa),
                    false => tunnels.outbound_activity(now, sa),
                }
            }
            heard.insert(sa, packets);
        }
        self.heard = heard;
        self.parts.resolver.refresh(now, &self.view);
        self.parts.keeper.retry();
        if self.deaf {
            self.listen();
        }
        // Retired tables are freed here, not by a worker.
        let _ = self.parts.engine.applied();
    }

    /// Does what the tunnels want done, in order. A datagram that announces an inbound SA leaves when every worker
    /// has it: the peer may send the moment it reads the datagram. One that announces a lease leaves when the lease
    /// is on the disk, and one that follows another into or out of tunnels when that one is on its way.
    fn drain(&mut self) -> Result<(), Stopped> {
        while let Some(output) = self.parts.tunnels.poll_output() {
            match output {
                Output::KeepLease(lease) => self.parts.keeper.note(Change::Keep(lease)),
                Output::DropLease(lease) => self.parts.keeper.note(Change::Drop(lease)),
                output => {
                    self.parts.keeper.flush();
                    self.carry_out(output)?;
                }
            }
        }
        self.parts.keeper.flush();
        Ok(())
    }

    fn carry_out(&mut self, output: Output) -> Result<(), Stopped> {
        match output {
            Output::Engine(command) => {
                if matches!(command, Command::Rules(_)) {
                    self.parts.tun.replan();
                }
                let Parts { flow_steering, engine, .. } = &mut self.parts;
                flow_steering.heed(&command, |rule, lane| engine.owner_of_lane(rule, lane).0);
                let announced = matches!(command, Command::InstallInbound(_));
                let token = self.submit(command)?;
                if announced {
                    self.awaited = Some(token);
                }
            }
            Output::Transmit { path, octets } => {
                if let Some(token) = self.awaited.take() {
                    self.wait_for(token);
                }
                self.parts.sockets.send(&path, &octets);
            }
            Output::TransmitThrough { stack, path, octets } => {
                if let Some(token) = self.awaited.take() {
                    self.wait_for(token);
                }
                self.send_through(stack, &path, &octets)?;
            }
            Output::Log(notice) => log(&notice),
            Output::AddAddress(address) => self.parts.tun.want(address, true),
            Output::RemoveAddress(address) => self.parts.tun.want(address, false),
            // Noted above.
            Output::KeepLease(_) | Output::DropLease(_) => {}
        }
        Ok(())
    }

    /// By the engine instead of a socket: the kernel knows nothing of the SAs that it has to go through.
    fn send_through(&mut self, stack: Vec<SaId>, path: &Path, octets: &[u8]) -> Result<(), Stopped> {
        let packet = match self.packets.of(path, octets) {
            Ok(packet) => packet,
            Err(why) => {
                tracing::warn!("{path}: a datagram that should go through tunnels is lost: {why}");
                return Ok(());
            }
        };
        tracing::trace!("sent {} octets through {} tunnels, {path}", octets.len(), stack.len());
        let entry = Entry::Through(stack);
        let token = self.submit(Command::Inject(Box::new(Injected { entry, packet })))?;
        // A socket is faster than a worker: the farewell to an outer gateway would overtake the one to the gateway
        // behind it, which then would not be carried any more.
        self.awaited = Some(token);
        Ok(())
    }

    fn submit(&mut self, command: Command) -> Result<Token, Stopped> {
        let deadline = Instant::now() + SUBMIT_WAIT_MAX;
        let mut command = command;
        loop {
            match self.parts.engine.submit(command) {
                Ok(token) => return Ok(token),
                Err(Refused::Full(back)) if Instant::now() < deadline => command = *back,
                Err(Refused::Full(_)) => return Err(Stopped::Stuck),
                Err(bad @ (Refused::BadKey { .. } | Refused::BadRule(_))) => {
                    return Err(Stopped::Refused(bad));
                }
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn wait_for(&mut self, token: Token) {
        let deadline = Instant::now() + APPLY_WAIT_MAX;
        while self.parts.engine.applied() < token {
            if Instant::now() >= deadline {
                tracing::warn!("a worker is slow: an SA is announced before it is everywhere");
                return;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// Reads the file again. A file with errors changes nothing; ports and the daemon's own settings need a restart.
    fn reload(&mut self, now: Duration) -> Result<(), Stopped> {
        let file = self.parts.file.clone();
        let config = match warren_config::load(&file) {
            Ok(config) => config,
            Err(errors) => {
                tracing::error!("{} is not usable; the configuration stays as it is", file.display());
                errors.0.iter().for_each(|error| tracing::error!("{}", error.one_line()));
                return Ok(());
            }
        };
        match self.adopt(now, config) {
            Ok(()) => tracing::info!("{} read again", file.display()),
            Err(why) => {
                tracing::error!("{why}; the configuration stays as it is");
                return Ok(());
            }
        }
        // The Deletes of what is gone leave before the sockets they leave by go.
        self.drain()?;
        self.listen();
        self.tell_lookout()
    }

    /// Everything that can be refused is tried before anything changes.
    fn adopt(&mut self, now: Duration, mut config: Config) -> Result<(), String> {
        let old = &self.parts.config;
        if config.automatic_ports && old.automatic_ports {
            config.ports.clone_from(&old.ports);
        }
        if config.gateway != old.gateway || config.ports != old.ports {
            return Err("[gateway] or [[port]] changed, which needs a restart".to_owned());
        }
        // Afterwards it would be too late: the rules would hold and our own traffic would go past them.
        tun_routes::plan(&config.rules, &[], &self.view.forwarding.local)
            .map_err(|error| error.to_string())?;
        // Peers have other places now: what was known of them before does not count.
        let found = surroundings::look(&config, &self.view, start::MARK, &Surroundings::default())
            .map_err(|error| error.to_string())?;
        let wanted = desired::tunnels(&config, &found).map_err(|error| error.to_string())?;
        if !config.pools.is_empty() {
            self.parts.keeper.open_late(&config.gateway.state).map_err(|error| error.to_string())?;
        }
        config.warnings.iter().for_each(|warning| tracing::warn!("{}", warning.one_line()));
        self.parts.tunnels.reconfigure(now, wanted);
        self.parts.config = config;
        self.parts.surroundings = found;
        Ok(())
    }

    /// Says goodbye to the peers and ends the workers. What closes the kernel stays: forwarding is off, and our own
    /// traffic into tunnels is refused, until the next start or the operator opens it (REQUIREMENTS F-24).
    pub(crate) fn stop(mut self) {
        let now = self.parts.clock.now();
        self.parts.tunnels.shutdown(now);
        if let Err(error) = self.drain() {
            tracing::warn!("{error}");
        }
        drop(self.parts.server);
        self.parts.crew.stop();
        drop(self.parts.steering);
    }
}

#[expect(
    deprecated,
    reason = "the other constructor is unsafe; an OwnedFd keeps its promise of one descriptor"
)]
fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

fn log(notice: &warren_tunnels::Notice) {
    use warren_tunnels::Notice;
    match notice {
        Notice::Down { reason: warren_ike::Down::Closed, .. } => tracing::info!("{notice}"),
        Notice::Down { .. }
        | Notice::Failed { .. }
        | Notice::Expired { .. }
        | Notice::SetRefused { .. }
        | Notice::ServerSays { .. }
        | Notice::PolicyWithdrawn { shielded: true, .. }
        | Notice::ClientFailed { .. }
        | Notice::ServedLess { .. }
        | Notice::SetNotTaken { .. }
        | Notice::PushFailed { .. } => tracing::warn!("{notice}"),
        Notice::Up { .. }
        | Notice::LaneUp { .. }
        | Notice::Rekeyed { .. }
        | Notice::Opening { .. }
        | Notice::PolicyInForce { .. }
        | Notice::PolicyWithdrawn { shielded: false, .. }
        | Notice::Served { .. }
        | Notice::ServedGone { .. }
        | Notice::Ted(_) => tracing::info!("{notice}"),
        Notice::Unsent { .. } => tracing::debug!("{notice}"),
        Notice::Stack { event, .. } => log_stack(notice, event),
        Notice::Ike(ike) => log_ike(ike),
    }
}

fn log_stack(notice: &warren_tunnels::Notice, event: &warren_tunnels::StackEvent) {
    use warren_tunnels::StackEvent;
    match event {
        StackEvent::Failed { .. }
        | StackEvent::Suspended { .. }
        | StackEvent::KeptDown { .. }
        | StackEvent::Refused { .. } => tracing::warn!("{notice}"),
        _ => tracing::info!("{notice}"),
    }
}

fn log_ike(notice: &warren_ike::Notice) {
    use warren_ike::Notice;
    match notice {
        Notice::PeerEstablished { .. } | Notice::PeerMoved { .. } => tracing::info!("{notice}"),
        Notice::PeerFailed { .. } | Notice::SecretsDiffer { .. } | Notice::IdentityMismatch { .. } => {
            tracing::warn!("{notice}");
        }
        _ => tracing::debug!("{notice}"),
    }
}
