//! What a server gives us (REQUIREMENTS DC-1…DC-16, DC-24…DC-26): asked for, checked, in force, withdrawn.
//!
//! ```text
//! connect ──> Configurable ──> pull, or wait for a push ──> ceiling, set by set ──> addresses, rules, children
//! PeerDown ──> unbound ──> rules out, a shield in their place ──> SAs removed ──> addresses gone ── pause ──> connect
//! ```

use crate::config::{ClientConfig, Start, TunnelsConfig};
use crate::dynamic::Wish;
use crate::limits::{PATIENCE, REFUSED_KEPT_MAX, REFUSED_LOGGED_MAX, STABLE_AFTER};
use crate::negotiator::Negotiator;
use crate::notice::Notice;
use crate::offer::{Offer, acknowledgement};
use crate::placing::Placed;
use crate::status::{ClientState, ClientStatus, RefusedSet, SetStanding, SetStatus};
use crate::tunnels::{Output, Tunnels};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use warren_ike::wire::ConfigAttribute;
use warren_ike::{ConfigExchange, Failure, Path};
use warren_policy::limits::PROPOSALS_MAX;
use warren_policy::{AddressRange, EspProposal, PeerId, PolicySet, RuleId, Selector, Surroundings};

/// How far a client is. When something is due about it is [`Client::deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No ISAKMP SA, and none under way.
    Apart,
    Connecting,
    /// The configuration exchange is possible, and has not brought anything yet.
    Waiting,
    Configured,
}

/// One server that we receive from.
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
    /// The operator's name for the peer.
    pub(crate) name: String,
    pub(crate) server: IpAddr,
    pub(crate) phase: Phase,
    pub(crate) since: Duration,
    /// Then what the phase asks for is done: connecting, giving up on that, or asking.
    pub(crate) deadline: Option<Duration>,
    /// Closed by the operator.
    pub(crate) closed: bool,
    pub(crate) failures: u32,
    pub(crate) last_failure: Option<Failure>,
    pub(crate) speaks_policy: bool,
    pub(crate) offer: Offer,
    /// Addresses that are our own because of it.
    pub(crate) addresses: Vec<IpAddr>,
    /// Sets that were accepted.
    pub(crate) sets: Vec<SetStatus>,
    pub(crate) refused: Vec<RefusedSet>,
    pub(crate) refused_total: usize,
    /// What was protected and must not leave in clear until there is policy again, each with its rule.
    pub(crate) shield: Vec<(RuleId, AddressRange)>,
}

impl Client {
    pub(crate) fn new(now: Duration, config: ClientConfig, name: String, server: IpAddr) -> Self {
        Self {
            config,
            name,
            server,
            phase: Phase::Apart,
            since: now,
            deadline: Some(now),
            closed: false,
            failures: 0,
            last_failure: None,
            speaks_policy: false,
            offer: Offer::default(),
            addresses: Vec::new(),
            sets: Vec::new(),
            refused: Vec::new(),
            refused_total: 0,
            shield: Vec::new(),
        }
    }

    fn enter(&mut self, now: Duration, phase: Phase) {
        if self.phase != phase {
            self.since = now;
        }
        self.phase = phase;
    }

    fn state(&self) -> ClientState {
        match (self.closed, self.phase, self.deadline) {
            (true, _, _) => ClientState::Closed,
            (false, Phase::Configured, _) => ClientState::Configured,
            (false, Phase::Waiting, _) => ClientState::Waiting,
            (false, Phase::Apart, Some(until)) => ClientState::Resting { until },
            (false, Phase::Apart | Phase::Connecting, _) => ClientState::Connecting,
        }
    }

    pub(crate) fn status(&self) -> ClientStatus {
        ClientStatus {
            peer: self.config.peer,
            name: self.name.clone(),
            state: self.state(),
            since: self.since,
            failures: self.failures,
            last_failure: self.last_failure,
            server: self.server,
            speaks_policy: self.speaks_policy,
            addresses: self.addresses.clone(),
            dns: self.offer.dns.clone(),
            domain: self.offer.domain.clone(),
            split_dns: self.offer.split_dns.clone(),
            banner: self.offer.banner.clone(),
            error: self.offer.error.clone(),
            sets: self.sets.clone(),
            refused: self.refused.clone(),
            refused_total: self.refused_total,
            shielded: self.shield.iter().map(|(_, range)| *range).collect(),
        }
    }
}

impl<N: Negotiator> Tunnels<N> {
    /// The operator wants policy to be pulled again, now; undoes [`Tunnels::close_client`]. `false` for a peer that
    /// gives us none.
    pub fn pull_again(&mut self, now: Duration, peer: PeerId) -> bool {
        let Some(client) = self.clients.get_mut(&peer) else { return false };
        client.closed = false;
        client.failures = 0;
        if client.phase != Phase::Connecting {
            client.deadline = Some(now);
        }
        self.clients_due(now);
        self.settle(now);
        true
    }

    /// The operator wants nothing of this server any more: what it gave is withdrawn, and its shield too, until
    /// [`Tunnels::pull_again`]. `false` for a peer that gives us no policy.
    pub fn close_client(&mut self, now: Duration, peer: PeerId) -> bool {
        let Some(client) = self.clients.get_mut(&peer) else { return false };
        client.closed = true;
        self.withdraw(now, peer, false);
        self.negotiator.close_peer(now, peer);
        self.settle(now);
        true
    }

    pub(crate) fn drop_clients(&mut self, now: Duration, config: &TunnelsConfig) {
        let wanted = |peer: &PeerId| config.clients.iter().any(|client| client.peer == *peer);
        let gone: Vec<PeerId> = self.clients.keys().filter(|peer| !wanted(peer)).copied().collect();
        for peer in gone {
            self.withdraw(now, peer, false);
            self.clients.remove(&peer);
        }
    }

    /// New servers are asked at once; what known ones gave is judged anew, because the ceiling may be another.
    pub(crate) fn adopt_clients(&mut self, now: Duration, clients: Vec<ClientConfig>) {
        for config in clients {
            let peer = config.peer;
            let name = self.peer_name(peer);
            let host = self.hosts.get(&peer).copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            match self.clients.get_mut(&peer) {
                Some(client) => {
                    (client.config, client.name) = (config, name);
                    if client.phase == Phase::Configured {
                        self.apply(now, peer);
                    }
                }
                None => drop(self.clients.insert(peer, Client::new(now, config, name, host))),
            }
        }
        self.clients_due(now);
    }

    pub(crate) fn clients_due(&mut self, now: Duration) {
        let is_due = |client: &&Client| client.deadline.is_some_and(|deadline| deadline <= now);
        let due: Vec<PeerId> =
            self.clients.values().filter(is_due).map(|client| client.config.peer).collect();
        for peer in due {
            let Some(client) = self.clients.get_mut(&peer) else { continue };
            match client.phase {
                Phase::Apart => {
                    client.enter(now, Phase::Connecting);
                    client.deadline = Some(now + PATIENCE);
                    self.negotiator.connect(now, peer);
                }
                Phase::Connecting => self.client_fails(now, peer, Failure::NoAnswer),
                Phase::Waiting | Phase::Configured => self.pull(now, peer),
            }
        }
    }

    fn pull(&mut self, now: Duration, peer: PeerId) {
        let Some(client) = self.clients.get_mut(&peer) else { return };
        client.deadline = Some(now + PATIENCE);
        self.negotiator.pull_config(now, peer, Offer::request(client.speaks_policy));
    }

    pub(crate) fn client_up(&mut self, peer: PeerId, path: Path) {
        if let Some(client) = self.clients.get_mut(&peer) {
            client.server = path.remote.ip();
        }
    }

    /// Every ISAKMP SA brings policy of its own (REQUIREMENTS DC-26); until it has, the old one stays.
    pub(crate) fn client_configurable(&mut self, now: Duration, peer: PeerId, speaks_policy: bool) {
        let Some(client) = self.clients.get_mut(&peer).filter(|client| !client.closed) else { return };
        client.speaks_policy = speaks_policy;
        client.deadline = None;
        if client.phase != Phase::Configured {
            client.enter(now, Phase::Waiting);
        }
        if !client.config.is_pushed {
            self.pull(now, peer);
        }
    }

    pub(crate) fn client_fails(&mut self, now: Duration, peer: PeerId, reason: Failure) {
        let Some(client) = self.clients.get_mut(&peer).filter(|client| !client.closed) else { return };
        client.failures = client.failures.saturating_add(1);
        client.last_failure = Some(reason);
        let pause = self.jitter.back_off(client.failures);
        client.deadline = Some(now + pause);
        if client.phase == Phase::Connecting {
            client.enter(now, Phase::Apart);
        }
        let peer = client.name.clone();
        self.log(Notice::ClientFailed { peer, reason, pause });
    }

    pub(crate) fn client_down(&mut self, now: Duration, peer: PeerId) {
        let Some(client) = self.clients.get_mut(&peer) else { return };
        let was_apart = client.phase == Phase::Apart;
        if client.phase == Phase::Configured && now.saturating_sub(client.since) >= STABLE_AFTER {
            client.failures = 0;
        }
        self.withdraw(now, peer, true);
        if !was_apart {
            // Not again and again without a pause, even if something comes of it each time.
            self.client_fails(now, peer, Failure::PeerDown);
        }
    }

    pub(crate) fn client_receives(
        &mut self,
        now: Duration,
        peer: PeerId,
        exchange: Option<ConfigExchange>,
        attributes: Vec<ConfigAttribute>,
    ) {
        let Some(client) = self.clients.get_mut(&peer).filter(|client| !client.closed) else { return };
        let said = exchange.map(|exchange| (exchange, attributes.clone()));
        let mut offer = Offer::read(attributes);
        if exchange.is_some() && !client.speaks_policy && offer.is_remark() {
            // Others push single attributes: a name server, say, without what it is about.
            let old = &client.offer;
            (offer.addresses, offer.networks) = (old.addresses.clone(), old.networks.clone());
        }
        client.offer = offer;
        let error = client.offer.error.clone();
        let is_news = client.phase != Phase::Configured;
        client.enter(now, Phase::Configured);
        (client.deadline, client.last_failure) = (None, None);
        if error.is_some() {
            client.failures = client.failures.saturating_add(1);
            client.deadline = Some(now + self.jitter.back_off(client.failures));
        } else if !is_news {
            client.failures = 0;
        }
        if let Some(error) = error {
            let peer = self.peer_name(peer);
            self.log(Notice::ServerSays { peer, error });
        }
        let refusals = self.apply(now, peer);
        if let Some((exchange, attributes)) = said {
            let attributes = acknowledgement(&attributes, &refusals);
            self.negotiator.acknowledge_config(now, peer, exchange, attributes);
        }
    }

    /// Holds what the server gave against the ceiling and brings it into force: addresses, rules, children. What is
    /// not given any more goes. Returns which sets were refused, and why.
    fn apply(&mut self, now: Duration, peer: PeerId) -> HashMap<u16, String> {
        let Some(client) = self.clients.get(&peer) else { return HashMap::new() };
        let mut judged = self.judge(client);
        let server = client.server;
        let old = client.addresses.clone();
        self.lift_shield(peer);
        for address in judged.addresses.iter().filter(|address| !old.contains(*address)) {
            self.output(Output::AddAddress(*address));
        }
        let changed = self.change_dynamic(now, (peer, server), &judged.wishes, Start::Immediately);
        let mut rules = changed.rules.iter();
        for set in &mut judged.sets {
            set.rules = rules.by_ref().take(set.selectors.len()).flatten().copied().collect();
        }
        for address in old.iter().filter(|address| !judged.addresses.contains(*address)) {
            self.output(Output::RemoveAddress(*address));
        }
        let name = self.peer_name(peer);
        for refused in judged.refused.iter().take(REFUSED_LOGGED_MAX) {
            let set = if refused.name.is_empty() {
                refused.id.map_or_else(|| "?".to_owned(), |id| format!("#{id}"))
            } else {
                refused.name.clone()
            };
            let (peer, reason) = (name.clone(), refused.reason.clone());
            self.log(Notice::SetRefused { peer, set, reason });
        }
        let refused = judged.refused.len();
        let (added, removed) = (changed.added, changed.removed);
        self.log(Notice::PolicyInForce { peer: name, added, removed, refused });
        let refusals = judged.refused.iter().filter_map(|set| Some((set.id?, set.reason.clone()))).collect();
        judged.refused.truncate(REFUSED_KEPT_MAX);
        if let Some(client) = self.clients.get_mut(&peer) {
            client.addresses = judged.addresses;
            client.sets = judged.sets;
            client.refused = judged.refused;
            client.refused_total = refused;
        }
        refusals
    }

    fn judge(&self, client: &Client) -> Judged {
        let peer = client.config.peer;
        let gateways = client.offer.sets.iter().filter_map(|set| set.gateway);
        let mut peers: BTreeSet<PeerId> =
            gateways.filter_map(|gateway| self.peer_at(client, gateway)).collect();
        peers.insert(peer);
        let own = self.own_rules.tunnel.iter().filter(|rule| peers.contains(&rule.peer));
        let taken: Vec<Selector> = own.map(|rule| rule.selector).collect();
        let ceiling = &client.config.ceiling;
        let mut judged = Judged { refused: client.offer.unread.clone(), ..Judged::default() };
        let around =
            Surroundings { leased: &[], server: client.server, attached: &self.attached, taken: &taken };
        for address in &client.offer.addresses {
            let others = self.clients.values().filter(|other| other.config.peer != peer);
            let refusal = match ceiling.check_address(*address, &around) {
                Err(refusal) => Some(refusal.to_string()),
                Ok(()) if others.clone().any(|other| other.addresses.contains(address)) => {
                    Some("another server leased it to us already".to_owned())
                }
                Ok(()) => None,
            };
            match refusal {
                None => judged.addresses.push(*address),
                Some(reason) => {
                    let name = format!("address {address}");
                    judged.refused.push(RefusedSet { id: None, name, reason });
                }
            }
        }
        let sets = if client.speaks_policy {
            client.offer.sets.clone()
        } else {
            let (sets, refused) = client.offer.synthesise(&judged.addresses, &client.config);
            judged.refused.extend(refused);
            sets
        };
        let around = Surroundings { leased: &judged.addresses, ..around };
        let verdicts = ceiling.check(&sets, &around);
        let mut accepted = Vec::new();
        for (set, verdict) in sets.into_iter().zip(verdicts) {
            match verdict {
                Ok(selectors) => accepted.push((set, selectors)),
                Err(refusal) => {
                    let reason = refusal.to_string();
                    judged.refused.push(RefusedSet { id: Some(set.id), name: set.name, reason });
                }
            }
        }
        for verdict in self.place(client, accepted) {
            match verdict {
                Ok(placed) => judged.accept(client, placed),
                Err(refused) => judged.refused.push(refused),
            }
        }
        judged
    }

    /// Takes everything out of force that the server gave, in the order that leaves no gap: traffic is dropped first,
    /// and where it was `shielded` it goes on being dropped.
    fn withdraw(&mut self, now: Duration, peer: PeerId, shielded: bool) {
        let Some(client) = self.clients.get_mut(&peer) else { return };
        let was_in_force = client.phase == Phase::Configured;
        client.enter(now, Phase::Apart);
        client.deadline = (!client.closed).then_some(now);
        client.offer = Offer::default();
        (client.refused, client.refused_total) = (Vec::new(), 0);
        let sets = std::mem::take(&mut client.sets);
        let addresses = std::mem::take(&mut client.addresses);
        let server = client.server;
        if shielded {
            let selectors = sets.iter().flat_map(|set| &set.selectors);
            self.raise_shield(peer, selectors.map(|selector| selector.destination));
        } else {
            self.lift_shield(peer);
        }
        self.change_dynamic(now, (peer, server), &[], Start::Immediately);
        for address in addresses {
            self.output(Output::RemoveAddress(address));
        }
        let Some(client) = self.clients.get(&peer).filter(|_| was_in_force) else { return };
        let (peer, shielded) = (client.name.clone(), !client.shield.is_empty());
        self.log(Notice::PolicyWithdrawn { peer, shielded });
    }

    fn raise_shield(&mut self, peer: PeerId, ranges: impl Iterator<Item = AddressRange>) {
        let Some(client) = self.clients.get_mut(&peer) else { return };
        for range in ranges {
            let is_new = client.shield.iter().all(|(_, own)| *own != range);
            if let Some(rule) = is_new.then(|| self.identifiers.take()).flatten() {
                client.shield.push((rule, range));
            }
        }
    }

    /// The rules that follow do without it.
    fn lift_shield(&mut self, peer: PeerId) {
        let shield = self.clients.get_mut(&peer).map(|client| std::mem::take(&mut client.shield));
        for (rule, _) in shield.unwrap_or_default() {
            self.identifiers.give_back(rule);
        }
    }
}

/// What a server gave, held against the ceiling.
#[derive(Default)]
struct Judged {
    addresses: Vec<IpAddr>,
    sets: Vec<SetStatus>,
    refused: Vec<RefusedSet>,
    /// One for each selector of each set, in their order.
    wishes: Vec<Wish>,
}

impl Judged {
    fn accept(&mut self, client: &Client, placed: Placed) {
        let Placed { set, selectors, peer, gateway } = placed;
        let is_elsewhere = gateway != client.server;
        let standing = match set.parent {
            Some(_) => SetStanding::Nested,
            None if is_elsewhere => SetStanding::Elsewhere,
            None => SetStanding::Executed,
        };
        let name = format!("{}/{}", client.name, set.name);
        let proposals = if client.speaks_policy { proposals(&set) } else { client.config.proposals.clone() };
        self.wishes.extend(selectors.iter().map(|selector| Wish {
            name: name.clone(),
            selector: *selector,
            proposals: proposals.clone(),
            lifetime: set.lifetime,
            window_packets: client.config.window_packets,
            permits: true,
            elsewhere: is_elsewhere.then_some((peer, gateway)),
        }));
        self.sets.push(SetStatus {
            id: set.id,
            name: set.name,
            standing,
            rules: Vec::new(),
            selectors,
            parent: set.parent,
            gateway: set.gateway,
        });
    }
}

/// A set does not say whether sequence numbers have 64 bits: both are offered, the better first, and the server's own
/// configuration decides.
fn proposals(set: &PolicySet) -> Vec<EspProposal> {
    let mut proposals: Vec<EspProposal> = Vec::new();
    for transform in &set.transforms {
        for esn in [true, false] {
            let proposal = EspProposal { transform: *transform, pfs: set.pfs, esn };
            if !proposals.contains(&proposal) && proposals.len() < PROPOSALS_MAX {
                proposals.push(proposal);
            }
        }
    }
    warren_policy::proposal::sort_esp_proposals(&mut proposals);
    proposals
}
