//! Every negotiation and every SA of this gateway, behind one sans-IO interface.
//!
//! ```text
//! demux     datagram -> cookies -> first message | negotiation | ISAKMP SA
//! initiator, responder  phase 1 in all modes     children  quick mode, both roles, and what it leaves
//! establish what phase 1 becomes                 templates peers that no configuration names
//! notify    informational exchanges              timeouts  repetition, renewal, DPD, keepalives, expiry
//! closing   the ways an SA ends                  status    what dpctl shows
//! fragments messages that do not fit a packet
//! transaction  configuration, pulled and pushed  xauth     extended authentication before it
//! asking    which children a peer may have
//! ```

mod asking;
mod children;
mod closing;
mod demux;
mod establish;
mod fragments;
mod initiator;
mod isakmp;
mod notify;
mod responder;
mod status;
mod templates;
#[cfg(test)]
mod tests;
mod timeouts;
mod transaction;
mod xauth;

use crate::admission::Admission;
use crate::config::{ChildConfig, PeerConfig};
use crate::crypto::Cookies;
use crate::limits::{FRAGMENT_PACKET_OCTETS, PENDING_CHILDREN_MAX};
use crate::spi::SaNames;
use crate::timers::Timers;
use crate::v1::fragment::Reassembler;
use crate::v1::xauth::Guesses;
use crate::wire::ExchangeType;
use crate::{Counters, Discard, Down, Entropy, Failure, Notice, Output, Path};
use children::Child;
use demux::Message;
use isakmp::{Isakmp, IsakmpId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use templates::Who;
use warren_policy::{PeerId, RuleId, SaMode, Selector};
use warren_seam::SaId;

#[cfg(test)]
pub(crate) use tests::peer_configs;

/// What handles a message under an established SA.
type Handler = fn(&mut Endpoint, Duration, Path, &mut Isakmp, &Message<'_>) -> Result<(), Discard>;

/// What we hold about one peer.
struct Peer {
    config: Arc<PeerConfig>,
    /// Which peer under which template it is, where no configuration names it.
    who: Option<Who>,
    /// Whether `find_peer` found it and nobody has forgotten it since.
    is_held: bool,
    /// Negotiations and ISAKMP SAs, oldest first.
    isakmps: Vec<IsakmpId>,
    /// The ISAKMP SA that new exchanges use.
    current: Option<IsakmpId>,
    /// Rules that wait for an ISAKMP SA, or for their turn.
    pending: VecDeque<RuleId>,
    /// Whether the last thing said about it was `PeerUp`.
    is_up: bool,
    /// The last ISAKMP SA went away while its successor was being negotiated; if that fails, children go too.
    doomed: Option<Down>,
    children: BTreeSet<SaId>,
}

impl Peer {
    fn new(config: Arc<PeerConfig>) -> Self {
        Self {
            config,
            who: None,
            is_held: false,
            isakmps: Vec::new(),
            current: None,
            pending: VecDeque::new(),
            is_up: false,
            doomed: None,
            children: BTreeSet::new(),
        }
    }
}

/// The IKE half of a gateway. Inputs are methods; after each, take outputs with [`Endpoint::poll_output`].
pub struct Endpoint {
    entropy: Box<dyn Entropy>,
    counters: Counters,
    outbox: VecDeque<Output>,
    peers: BTreeMap<PeerId, Peer>,
    /// Configured peers with one address; it finds candidates, and tells nobody apart. Those of an exact identity
    /// come first.
    by_remote: HashMap<IpAddr, Vec<Arc<PeerConfig>>>,
    /// Configured peers without one, in the same order.
    from_anywhere: Vec<Arc<PeerConfig>>,
    /// Peers that came under a template, by it and by who they are.
    dynamic: HashMap<Who, PeerId>,
    last_dynamic: u32,
    /// Peers of templates that may have nothing left.
    leaving: Vec<PeerId>,
    /// The time of day at `now` zero.
    unix_offset: Duration,
    rules: HashMap<RuleId, Arc<ChildConfig>>,
    /// Children that quick modes of a peer are looked up in, smallest identifier first: of two that are the same to the
    /// peer, it gets the first.
    by_selector: HashMap<(PeerId, Selector, SaMode), Vec<RuleId>>,
    /// Children that are negotiated in parts only, by template, in the order in which they are tried.
    divisible: HashMap<PeerId, Vec<RuleId>>,
    /// Rules that `open_child` began and that have neither a pair nor a failure yet.
    opening: HashSet<RuleId>,
    /// Peers that `connect` called and that have neither an ISAKMP SA nor a failure yet.
    connecting: HashSet<PeerId>,
    guesses: Guesses,
    admission: Admission,
    isakmps: BTreeMap<IsakmpId, Isakmp>,
    /// While the responder's cookie is unknown, it is zero here.
    by_cookies: HashMap<Cookies, IsakmpId>,
    /// Responder negotiations that proved their address and are not finished.
    unfinished: BTreeSet<IsakmpId>,
    last_isakmp: u64,
    children: BTreeMap<SaId, Child>,
    names: SaNames,
    timers: Timers<IsakmpId>,
    reassembler: Reassembler,
    /// Whose long messages are sent in fragments, under which exchange.
    fragmenting: HashMap<IsakmpId, ExchangeType>,
    /// The longest packet that is sent to them.
    packet_octets: usize,
}

impl Endpoint {
    /// An endpoint for these peers and children; `entropy` is the only source of its randomness.
    #[must_use]
    pub fn new(peers: Vec<PeerConfig>, children: Vec<ChildConfig>, mut entropy: Box<dyn Entropy>) -> Self {
        let mut endpoint = Self {
            admission: Admission::new(&mut *entropy),
            entropy,
            counters: Counters::default(),
            outbox: VecDeque::new(),
            peers: BTreeMap::new(),
            by_remote: HashMap::new(),
            from_anywhere: Vec::new(),
            dynamic: HashMap::new(),
            last_dynamic: 0,
            leaving: Vec::new(),
            unix_offset: Duration::ZERO,
            rules: HashMap::new(),
            by_selector: HashMap::new(),
            divisible: HashMap::new(),
            opening: HashSet::new(),
            connecting: HashSet::new(),
            guesses: Guesses::default(),
            isakmps: BTreeMap::new(),
            by_cookies: HashMap::new(),
            unfinished: BTreeSet::new(),
            last_isakmp: 0,
            children: BTreeMap::new(),
            names: SaNames::new(),
            timers: Timers::new(),
            reassembler: Reassembler::default(),
            fragmenting: HashMap::new(),
            packet_octets: FRAGMENT_PACKET_OCTETS,
        };
        endpoint.configure(peers, children);
        endpoint
    }

    /// What time of day it is, since 1970: certificates have dates. Without it none is valid.
    pub fn set_unix_time(&mut self, now: Duration, unix: Duration) {
        self.unix_offset = unix.saturating_sub(now);
    }

    fn unix_time(&self, now: Duration) -> Duration {
        self.unix_offset + now
    }

    /// An IKE datagram. On port 4500 the four octets of the non-ESP marker are still in front.
    pub fn handle_datagram(&mut self, now: Duration, path: Path, octets: &[u8]) {
        self.counters.received += 1;
        if let Err(discard) = self.receive(now, path, octets) {
            self.counters.discard(discard);
        }
        self.sweep();
    }

    /// A deadline may have come.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(id) = self.timers.take_due(now) {
            self.isakmp_due(now, id);
        }
        self.sweep();
    }

    /// When to call [`Endpoint::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The next output. Outputs are acted on strictly in this order: an inbound SA must be installed before the
    /// message that lets the peer use it is sent.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// Negotiates a pair of SAs for the rule, with phase 1 first if there is no ISAKMP SA. Ignored while a
    /// negotiation of ours for this rule is under way. Ends in `ChildUp` or `ChildFailed`; a divisible child is none.
    pub fn open_child(&mut self, now: Duration, rule: RuleId) {
        if self.opening.contains(&rule) {
            return;
        }
        let peer = self.rules.get(&rule).filter(|child| !child.is_divisible).map(|child| child.peer);
        let Some(peer) = peer.filter(|peer| self.peers.contains_key(peer)) else {
            self.outbox.push_back(Output::ChildFailed { rule, reason: Failure::NotConfigured });
            return;
        };
        if self.opening.len() >= PENDING_CHILDREN_MAX {
            self.outbox.push_back(Output::ChildFailed { rule, reason: Failure::Busy });
            return;
        }
        self.opening.insert(rule);
        self.peer_mut(peer).pending.push_back(rule);
        match self.peer(peer).current {
            Some(id) => {
                self.with_isakmp(id, |endpoint, isakmp| endpoint.drain_pending(now, isakmp));
            }
            None if !self.is_initiating(peer) => self.begin_phase_one(now, peer),
            None => {}
        }
        self.sweep();
    }

    /// Authentic ESP came from the peer: dead peer detection need not ask (RFC 3706 §5).
    pub fn inbound_activity(&mut self, now: Duration, peer: PeerId) {
        if let Some(id) = self.peers.get(&peer).and_then(|peer| peer.current) {
            self.with_isakmp(id, |_, isakmp| isakmp.seen_alive(now));
        }
    }

    /// Authentic ESP came from elsewhere: the peer's NAT mapping moved (RFC 3948 §4).
    pub fn peer_moved(&mut self, _now: Duration, sa: SaId, remote: SocketAddr) {
        let child = self.children.values().find(|child| child.inbound == sa || child.outbound == sa);
        let Some(child) = child.filter(|child| child.is_in_udp()) else { return };
        let peer = child.peer;
        let Some(id) = self.peer(peer).current else { return };
        self.with_isakmp(id, |endpoint, isakmp| {
            let path = Path { local: isakmp.path.local, remote };
            endpoint.move_peer(isakmp, path);
        });
    }

    /// Counters of everything received and thrown away.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Every ISAKMP names a peer that exists: removing a peer removes them.
    fn peer(&self, peer: PeerId) -> &Peer {
        self.peers.get(&peer).expect("peers outlive their negotiations")
    }

    fn peer_mut(&mut self, peer: PeerId) -> &mut Peer {
        self.peers.get_mut(&peer).expect("peers outlive their negotiations")
    }

    /// Takes the ISAKMP out while `action` works on it, so that the action may call anything of ours; puts it
    /// back unless the action removed it.
    fn with_isakmp<T>(
        &mut self,
        id: IsakmpId,
        action: impl FnOnce(&mut Self, &mut Isakmp) -> T,
    ) -> Option<T> {
        let mut isakmp = self.isakmps.remove(&id)?;
        let result = action(self, &mut isakmp);
        if isakmp.is_gone() {
            self.timers.set(id, None);
            self.fragmenting.remove(&id);
        } else {
            self.timers.set(id, isakmp.deadline());
            self.isakmps.insert(id, isakmp);
        }
        Some(result)
    }

    fn transmit(&mut self, path: Path, message: &[u8]) {
        self.transmit_in_pieces(path, self.fragments_of(message), message);
    }

    fn send(&mut self, path: Path, octets: Vec<u8>) {
        self.counters.transmitted += 1;
        self.outbox.push_back(Output::Transmit { path, octets });
    }

    fn log(&mut self, notice: Notice) {
        self.outbox.push_back(Output::Log(notice));
    }

    fn name(&self, peer: PeerId) -> String {
        self.peer(peer).config.name.clone()
    }

    /// Whether a phase 1 that we began is under way, first or renewal.
    fn is_initiating(&self, peer: PeerId) -> bool {
        self.peer(peer).isakmps.iter().filter_map(|id| self.isakmps.get(id)).any(Isakmp::is_initiating)
    }

    /// Whether any phase 1 with the peer is under way.
    fn is_negotiating(&self, peer: PeerId) -> bool {
        self.peer(peer).isakmps.iter().filter_map(|id| self.isakmps.get(id)).any(|i| i.sa().is_none())
    }

    fn established(&self, peer: PeerId) -> impl Iterator<Item = &Isakmp> {
        let ids = self.peer(peer).isakmps.iter();
        ids.filter_map(|id| self.isakmps.get(id)).filter(|isakmp| isakmp.sa().is_some())
    }
}
