//! Every tunnel: inputs to what must be done about them.

use crate::client::Client;
use crate::config::{Lease, ServerConfig, TunnelsConfig};
use crate::discovery::Discovery;
use crate::dynamic::{Holding, Identifiers};
use crate::leases::Leases;
use crate::limits::{LINGERING_MAX, OUTPUTS_MAX, PORT_ISAKMP, RESPONDER_PATIENCE, START_SPACING};
use crate::negotiator::Negotiator;
use crate::notice::Notice;
use crate::pair::{HalfOpen, Moment};
use crate::references::References;
use crate::schedule::Jitter;
use crate::server::Guest;
use crate::stacks::{KeptDown, News, Stack};
use crate::status::{ClientStatus, LeaseStatus, PoolStatus, ServedStatus, TunnelStatus};
use crate::timers::Timers;
use crate::tunnel::{Negotiation, Tunnel};
use crate::ways::Nesting;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use warren_ike::{ChildConfig, Endpoint, Entropy, Path, Role, ted};
use warren_policy::{AddressRange, FiveTuple, PeerId, RuleId, RuleSet, ServedPolicy};
use warren_seam::{Command, Event, SaId};

/// Something to be done, strictly in the order in which it is polled. An `Engine` command that installs an inbound
/// SA must have been applied by every worker before a later `Transmit` leaves.
pub enum Output {
    /// A datagram to send as it is.
    Transmit {
        /// From where to where.
        path: Path,
        /// The datagram.
        octets: Vec<u8>,
    },
    /// A datagram to send inside these SAs, innermost first: its peer is reached through other tunnels (REQUIREMENTS
    /// NT-12).
    TransmitThrough {
        /// Outbound SAs, innermost first; at least one.
        stack: Vec<SaId>,
        /// From where to where.
        path: Path,
        /// The datagram.
        octets: Vec<u8>,
    },
    /// For every worker.
    Engine(Command),
    /// For the log.
    Log(Notice),
    /// To be kept before anything behind it leaves.
    KeepLease(Lease),
    /// Not needed any more.
    DropLease(Lease),
    /// Our own from now on, on the tun port.
    AddAddress(IpAddr),
    /// Not ours any more.
    RemoveAddress(IpAddr),
}

/// The desired state of every tunnel, and the negotiator that brings it about. Sans IO: call an input, then take
/// outputs with [`Tunnels::poll_output`] until there are none.
pub struct Tunnels<N = Endpoint> {
    pub(crate) negotiator: N,
    /// What the engine classifies by.
    pub(crate) rules: RuleSet,
    /// The operator's part of it.
    pub(crate) own_rules: RuleSet,
    /// Configured peers and their names.
    pub(crate) peers: BTreeMap<PeerId, String>,
    /// Where they are, as far as the configuration says.
    pub(crate) hosts: HashMap<PeerId, IpAddr>,
    pub(crate) tunnels: BTreeMap<RuleId, Tunnel>,
    pub(crate) identifiers: Identifiers,
    /// What pulled and served policy has brought, by peer.
    pub(crate) holdings: BTreeMap<PeerId, Holding>,
    /// Networks that we are attached to.
    pub(crate) attached: Vec<AddressRange>,
    /// SAs that were installed and are not part of a complete pair yet.
    pub(crate) half_open: HashMap<SaId, HalfOpen>,
    /// Which tunnel an SA of a pair belongs to.
    pub(crate) owners: HashMap<SaId, RuleId>,
    /// Inbound SAs of closed pairs, until packets in flight have arrived; in order of time.
    pub(crate) lingering: VecDeque<(Duration, SaId)>,
    pub(crate) timers: Timers,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) jitter: Jitter,
    /// Pairs that the negotiator was asked to close in the running call.
    pub(crate) closing: Vec<(RuleId, SaId)>,
    /// Tunnels that the running call changed.
    pub(crate) touched: Vec<RuleId>,
    pub(crate) clients: BTreeMap<PeerId, Client>,
    pub(crate) guests: BTreeMap<PeerId, Guest>,
    pub(crate) servers: BTreeMap<PeerId, ServerConfig>,
    pub(crate) policies: Vec<ServedPolicy>,
    pub(crate) leases: Leases,
    pub(crate) discovery: Discovery,
    /// What peers said about configuration in the running call; it is looked at when everything else is settled.
    pub(crate) remarks: VecDeque<warren_ike::Output>,
    pub(crate) nesting: Nesting,
    pub(crate) stacks: BTreeMap<RuleId, Stack>,
    /// Who uses which level.
    pub(crate) references: References,
    /// The level that a stack has asked for, and that stack.
    pub(crate) performing: BTreeMap<RuleId, RuleId>,
    /// The level that a stack is taking away just now.
    pub(crate) tearing_down: Option<RuleId>,
    /// What became of tunnels in the running call, for the stacks.
    pub(crate) news: VecDeque<News>,
    /// Rules whose stacks came to nothing, and why.
    pub(crate) kept_down: BTreeMap<RuleId, KeptDown>,
    /// Where a peer that is reached through tunnels claims to be: nothing leaves for there as long as the negotiator's outputs
    /// of now are taken.
    pub(crate) strayed: Option<IpAddr>,
    /// How long a stack may be without traffic.
    pub(crate) stack_idle: Duration,
    /// When stacks are looked at for idleness.
    pub(crate) stacks_looked_at: Duration,
    moments: u64,
}

impl Tunnels<Endpoint> {
    /// Tunnels over IKE, with the leases of an earlier life. Negotiation and discovery have a source of randomness each.
    /// The rules are the first output, so that they are in
    /// force before anything else.
    #[must_use]
    pub fn new(
        now: Duration,
        config: TunnelsConfig,
        leases: Vec<Lease>,
        (mut entropy, discovery): (Box<dyn Entropy>, Box<dyn Entropy>),
    ) -> Self {
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        let endpoint = Endpoint::new(config.peers.clone(), config.children(), entropy);
        Self::with_negotiator(now, config, leases, endpoint, (u64::from_be_bytes(seed), discovery))
    }

    /// What time it is, since 1970: certificates have their days.
    pub fn set_unix_time(&mut self, now: Duration, unix: Duration) {
        self.negotiator.set_unix_time(now, unix);
    }
}

impl<N: Negotiator> Tunnels<N> {
    /// Tunnels over any negotiator that was given the same configuration; `seed` spreads their timers, and `entropy` is
    /// for discovery.
    ///
    /// # Panics
    /// When tunnels and rules of `config` do not belong together.
    #[must_use]
    pub fn with_negotiator(
        now: Duration,
        config: TunnelsConfig,
        leases: Vec<Lease>,
        negotiator: N,
        (seed, entropy): (u64, Box<dyn Entropy>),
    ) -> Self {
        assert!(config.is_consistent(), "every tunnel rule has its tunnel, in the same order");
        let peers = Self::names(&config);
        let discovery = Discovery::new(&config, entropy);
        let mut config = config;
        let mut tunnels = Self {
            negotiator,
            rules: RuleSet::default(),
            own_rules: std::mem::take(&mut config.rules),
            peers,
            hosts: config.peers.iter().filter_map(|peer| Some((peer.id, peer.remote.host()?))).collect(),
            tunnels: BTreeMap::new(),
            identifiers: Identifiers::default(),
            holdings: BTreeMap::new(),
            attached: std::mem::take(&mut config.attached),
            half_open: HashMap::new(),
            owners: HashMap::new(),
            lingering: VecDeque::new(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            jitter: Jitter::new(seed),
            closing: Vec::new(),
            touched: Vec::new(),
            clients: BTreeMap::new(),
            guests: BTreeMap::new(),
            servers: BTreeMap::new(),
            policies: Vec::new(),
            leases: Leases::new(&config.pools, leases),
            discovery,
            remarks: VecDeque::new(),
            nesting: Nesting::default(),
            stacks: BTreeMap::new(),
            references: References::default(),
            performing: BTreeMap::new(),
            tearing_down: None,
            news: VecDeque::new(),
            kept_down: BTreeMap::new(),
            strayed: None,
            stack_idle: config.stack_idle,
            stacks_looked_at: now,
            moments: 0,
        };
        tunnels.nesting.adopt(&config);
        let wanted = config.tunnels.into_iter().chain(config.protections);
        for (name, config) in tunnels.own_names().into_iter().zip(wanted) {
            // Their identifiers are their places.
            let _ = tunnels.identifiers.take();
            tunnels.tunnels.insert(config.child.rule, Tunnel::new(now, name, config));
        }
        tunnels.rules = tunnels.compose();
        let rules = tunnels.rules.clone();
        tunnels.command(Command::Rules(rules));
        tunnels.plan_starts(now);
        tunnels.adopt_clients(now, config.clients);
        tunnels.adopt_policies(now, (config.servers, config.policies), &config.pools);
        tunnels.settle(now);
        tunnels
    }

    /// Tunnels that start immediately do so one after the other.
    pub(crate) fn plan_starts(&mut self, now: Duration) {
        let mut at = now;
        for (rule, tunnel) in &mut self.tunnels {
            // What has a stack is under way.
            let is_due = tunnel.may_open() && tunnel.pairs.is_empty() && !self.stacks.contains_key(rule);
            if tunnel.starts_immediately() && is_due {
                tunnel.held_until = Some(at);
                at += START_SPACING;
                self.touched.push(*rule);
            }
        }
    }

    /// An IKE datagram, as it came from the socket.
    pub fn handle_datagram(&mut self, now: Duration, path: Path, octets: &[u8]) {
        if path.local.port() == PORT_ISAKMP && ted::is_discovery(octets) {
            self.discovery_message(now, path, octets);
        } else {
            self.negotiator.handle_datagram(now, path, octets);
        }
        self.settle(now);
    }

    /// Something that a worker noticed.
    pub fn handle_event(&mut self, now: Duration, event: Event) {
        match event {
            Event::Acquire { rule, packet } if self.discovers(rule) => self.discover(now, rule, packet),
            Event::Acquire { rule, packet } => self.acquire(now, rule, &packet),
            Event::SoftExpire(sa) => {
                if let Some(rule) = self.owner(sa) {
                    self.tunnel_mut(rule).soft_expire(now, sa, RESPONDER_PATIENCE);
                    self.service(now, rule);
                }
            }
            Event::HardExpire(sa) => self.hard_expire(now, sa),
            Event::Caught(caught) => self.caught(now, *caught),
            Event::PeerMoved { sa, remote } if self.leaves_its_way(sa, remote.ip()) => {}
            Event::PeerMoved { sa, remote } => self.negotiator.peer_moved(now, sa, remote),
            Event::FirstInbound(sa) => {
                if let Some(rule) = self.owner(sa) {
                    self.tunnel_mut(rule).first_inbound(now, sa);
                    self.touched.push(rule);
                }
                self.note_activity(now, sa);
            }
            // The kernel answers that, not a peer.
            Event::UnresolvedNeighbour { .. } => {}
        }
        self.settle(now);
    }

    /// Authentic packets arrived on this inbound SA since the last call: dead peer detection need not ask.
    pub fn inbound_activity(&mut self, now: Duration, sa: SaId) {
        self.note_activity(now, sa);
        self.settle(now);
    }

    fn note_activity(&mut self, now: Duration, sa: SaId) {
        self.note_traffic(now, sa);
        if let Some(rule) = self.owner(sa) {
            let peer = self.tunnels[&rule].config.child.peer;
            self.negotiator.inbound_activity(now, peer);
        }
    }

    /// The time of [`Tunnels::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.negotiator.handle_timeout(now);
        self.drain(now);
        while self.lingering.front().is_some_and(|(until, _)| *until <= now) {
            self.drop_oldest_lingering();
        }
        for rule in self.timers.due(now) {
            self.service(now, rule);
        }
        self.clients_due(now);
        self.stacks_due(now);
        self.discovery_due(now);
        self.settle(now);
    }

    /// When [`Tunnels::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let lingering = self.lingering.front().map(|(until, _)| *until);
        let clients = self.clients.values().filter_map(|client| client.deadline).min();
        let others =
            [lingering, self.timers.next(), clients, self.discovery.deadline(), self.stacks_deadline()];
        self.negotiator.poll_timeout().into_iter().chain(others.into_iter().flatten()).min()
    }

    /// The next effect, strictly in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The operator wants the tunnel now: ends a pause, and undoes [`Tunnels::down`]. `false` for an unknown rule.
    pub fn up(&mut self, now: Duration, rule: RuleId) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return false };
        let was_closed = std::mem::replace(&mut tunnel.closed, false);
        tunnel.failures = 0;
        tunnel.held_until = None;
        tunnel.retry_lanes(now);
        self.touched.push(rule);
        if tunnel.pairs.iter().all(|pair| pair.closing) && !tunnel.config.child.is_divisible {
            self.kept_down.remove(&rule);
            self.want(now, rule);
        }
        if was_closed {
            self.renew_discovery(now);
        }
        self.settle(now);
        true
    }

    /// The operator wants the tunnel closed: its SAs are deleted, its traffic is dropped and starts nothing, and a
    /// pair that the peer negotiates is deleted at once, until [`Tunnels::up`]. `false` for an unknown rule.
    pub fn down(&mut self, now: Duration, rule: RuleId) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return false };
        tunnel.closed = true;
        tunnel.held_until = None;
        self.kept_down.remove(&rule);
        self.close_stacks(now, &[rule]);
        self.rebind(rule);
        self.close_all(now, rule);
        // Who was waiting for it waits in vain.
        self.tunnel_failed(now, rule, None);
        self.remove_parts(now, &[rule]);
        self.renew_discovery(now);
        self.settle(now);
        true
    }

    /// Deletes everything, at the end of the process. Traffic is dropped from here on.
    pub fn shutdown(&mut self, now: Duration) {
        let all: Vec<RuleId> = self.tunnels.keys().copied().collect();
        self.take_out_of_use(now, &all);
        for rule in all {
            self.close_all(now, rule);
        }
        for client in self.clients.values_mut() {
            client.closed = true;
            client.deadline = None;
        }
        let known = self.peers.keys().chain(self.guests.keys()).copied();
        let peers: Vec<PeerId> = known.chain(self.discovery.peers()).collect();
        for peer in peers {
            self.negotiator.close_peer(now, peer);
        }
        self.settle(now);
    }

    /// The negotiator, for its status and counters.
    pub fn negotiator(&self) -> &N {
        &self.negotiator
    }

    /// The rules in force.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Inbound SAs of all pairs.
    pub fn inbound_sas(&self) -> impl Iterator<Item = SaId> + '_ {
        self.tunnels.values().flat_map(|tunnel| tunnel.pairs.iter().map(|pair| pair.inbound.id))
    }

    /// Whether the SA is part of a pair, about to be, or left for packets in flight.
    #[must_use]
    pub fn knows(&self, sa: SaId) -> bool {
        self.owners.contains_key(&sa)
            || self.half_open.contains_key(&sa)
            || self.lingering.iter().any(|(_, lingering)| *lingering == sa)
    }

    /// How every tunnel stands, in the order of the rules; then those that are there only for what is inside of them.
    #[must_use]
    pub fn status(&self) -> Vec<TunnelStatus> {
        let protections = self.rules.protections().map(|(_, own)| own.rule);
        let levels = self.nesting.levels.values().copied();
        let rules = self.rules.tunnel.iter().map(|rule| rule.id).chain(protections).chain(levels);
        rules.filter_map(|rule| self.tunnels.get(&rule)).map(Tunnel::status).collect()
    }

    /// The same for one, by the identifier that its SAs carry.
    #[must_use]
    pub fn status_of(&self, rule: RuleId) -> Option<TunnelStatus> {
        self.tunnels.get(&rule).map(Tunnel::status)
    }

    /// The names of the operator's tunnel rules, then of the base rules that protect.
    pub(crate) fn own_names(&self) -> Vec<String> {
        let protections = self.own_rules.protections().map(|(rule, _)| rule.name.clone());
        self.own_rules.tunnel.iter().map(|rule| rule.name.clone()).chain(protections).collect()
    }

    /// Servers that we receive policy from.
    #[must_use]
    pub fn clients(&self) -> Vec<ClientStatus> {
        self.clients.values().map(Client::status).collect()
    }

    /// Peers that are connected to us as a server.
    #[must_use]
    pub fn served(&self) -> Vec<ServedStatus> {
        self.guests.values().map(Guest::status).collect()
    }

    /// Every leased address.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseStatus> {
        self.leases.status()
    }

    /// Every pool of addresses.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolStatus> {
        self.leases.pools()
    }

    /// Where nothing goes, in clear or otherwise, because policy that protected it was lost: until it is pulled
    /// again, its client is closed, or the configuration drops it.
    #[must_use]
    pub fn shielded(&self) -> Vec<AddressRange> {
        self.clients.values().flat_map(|client| client.shield.iter().map(|(_, range)| *range)).collect()
    }

    /// Rules that carry the operator's, or a server's, name for a tunnel: the one of that name, or all parts `NAME#1`,
    /// `NAME#2`, … of one with lists.
    #[must_use]
    pub fn rules_named(&self, name: &str) -> Vec<RuleId> {
        let part =
            |rule: &str| rule.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'));
        let tunnels = self.rules.tunnel.iter().filter(|rule| part(&rule.name)).map(|rule| rule.id);
        let protections =
            self.rules.protections().filter(|(rule, _)| part(&rule.name)).map(|(_, own)| own.rule);
        tunnels.chain(protections).collect()
    }

    /// What is negotiated for a tunnel rule.
    #[must_use]
    pub fn child(&self, rule: RuleId) -> Option<&ChildConfig> {
        self.tunnels.get(&rule).map(|tunnel| &tunnel.config.child)
    }

    fn acquire(&mut self, now: Duration, rule: RuleId, packet: &FiveTuple) {
        // Asked about nothing, of a rule that has gone since.
        let Some(tunnel) = self.tunnels.get(&rule) else { return };
        if self.nesting.bases.contains_key(&rule) {
            self.want_stack(now, rule, Some(packet));
        } else if !tunnel.closed && tunnel.held_until.is_none() && tunnel.best().is_none() {
            // Also while it is being negotiated for what is inside of it: it stays when that goes.
            self.want(now, rule);
        }
    }

    /// Somebody wants the tunnel, and with it all that is around it.
    pub(crate) fn want(&mut self, now: Duration, rule: RuleId) {
        if self.nesting.bases.contains_key(&rule) {
            return self.want_stack(now, rule, None);
        }
        self.tunnel_mut(rule).has_own_use = true;
        self.open(now, rule);
    }

    pub(crate) fn open(&mut self, now: Duration, rule: RuleId) {
        // As if the peer began it: what it begins just now has a lane already.
        let lane = self.lane_for(now, rule, Role::Responder);
        self.open_lane(now, rule, (lane, Some(lane)));
    }

    /// Negotiates a pair for a lane, the successor of those of `from`.
    pub(crate) fn open_lane(&mut self, now: Duration, rule: RuleId, (lane, from): (u16, Option<u16>)) {
        let started = self.moment();
        let tunnel = self.tunnel_mut(rule);
        if !tunnel.may_open() {
            return;
        }
        let replaced = tunnel.pairs.iter().filter(|pair| Some(pair.lane()) == from);
        let replaces = replaced.map(|pair| pair.inbound.id).collect();
        tunnel.negotiation = Some(Negotiation { started, lane, replaces });
        if tunnel.best().is_none() {
            let tunnel = self.name(rule);
            self.log(Notice::Opening { tunnel });
        }
        self.negotiator.open_child(now, rule);
        self.touched.push(rule);
    }

    /// Does what the tunnel's deadlines ask for.
    fn service(&mut self, now: Duration, rule: RuleId) {
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return };
        self.touched.push(rule);
        if tunnel.held_until.is_some_and(|until| until <= now) {
            tunnel.held_until = None;
            self.kept_down.remove(&rule);
            let tunnel = &self.tunnels[&rule];
            let open = tunnel.starts_immediately() && tunnel.best().is_none();
            self.command(Command::Rearm(rule));
            if open {
                self.want(now, rule);
            }
        }
        let tunnel = &self.tunnels[&rule];
        let due = |at: &Duration| *at <= now;
        let open_pairs = tunnel.pairs.iter().filter(|pair| !pair.closing);
        let over: Vec<_> = open_pairs
            .filter(|pair| due(&pair.ends_at()))
            .map(|pair| (pair.inbound.id, due(&pair.expires_at)))
            .collect();
        for (inbound, expired) in over {
            self.close(now, rule, inbound, expired);
        }
        // Nobody needs a successor of what is idle, or around nothing: it ends with its SAs.
        if self.tunnels[&rule].due(now).is_some() && (self.is_idle(now, rule) || self.is_unused_level(rule)) {
            self.close_all(now, rule);
        } else {
            self.serve_lanes(now, rule);
        }
    }

    fn hard_expire(&mut self, now: Duration, sa: SaId) {
        if let Some(at) = self.lingering.iter().position(|(_, lingering)| *lingering == sa) {
            self.lingering.remove(at);
            self.command(Command::Remove(sa));
        } else if let Some(rule) = self.owner(sa) {
            let inbound = self.tunnel_mut(rule).pair_mut(sa).map(|pair| pair.inbound.id);
            if let Some(inbound) = inbound {
                self.close(now, rule, inbound, true);
            }
        }
    }

    pub(crate) fn owner(&self, sa: SaId) -> Option<RuleId> {
        self.owners.get(&sa).copied()
    }

    pub(crate) fn name(&self, rule: RuleId) -> String {
        self.tunnels.get(&rule).map_or_else(|| format!("#{}", rule.0), |tunnel| tunnel.name.clone())
    }

    /// Rules that own something have their tunnel: it goes after all that it owns.
    pub(crate) fn tunnel_mut(&mut self, rule: RuleId) -> &mut Tunnel {
        self.tunnels.get_mut(&rule).expect("a tunnel outlives its SAs")
    }

    pub(crate) fn moment(&mut self) -> Moment {
        self.moments += 1;
        Moment(self.moments)
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.output(Output::Engine(command));
    }

    pub(crate) fn log(&mut self, notice: Notice) {
        self.output(Output::Log(notice));
    }

    pub(crate) fn output(&mut self, output: Output) {
        assert!(self.outputs.len() < OUTPUTS_MAX, "outputs are drained after every call");
        self.outputs.push_back(output);
    }

    fn drop_oldest_lingering(&mut self) {
        if let Some((_, sa)) = self.lingering.pop_front() {
            self.command(Command::Remove(sa));
        }
    }

    pub(crate) fn linger(&mut self, until: Duration, sa: SaId) {
        if self.lingering.len() == LINGERING_MAX {
            self.drop_oldest_lingering();
        }
        self.lingering.push_back((until, sa));
    }
}
