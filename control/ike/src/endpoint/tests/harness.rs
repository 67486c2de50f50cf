//! Two endpoints, a clock, a wire.

use crate::testing::Seeded;
use crate::wire::ConfigAttribute;
use crate::{
    Asked, ChildConfig, ConfigExchange, Counters, Discard, Down, Endpoint, Failure, Mode, NatTraversal,
    Output, Path, PeerConfig, Retransmit, Role,
};
use std::net::SocketAddr;
use std::time::Duration;
use warren_policy::selector::AddressRange;
use warren_policy::{Identity, Lifetime, PeerId, RuleId, Secret, Selector};
use warren_seam::{InboundSa, OutboundSa, SaId};

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn rule(number: u32) -> RuleId {
    RuleId(number)
}

/// From the left network `number` to the right one.
pub(crate) fn selector(number: u32) -> Selector {
    let prefix = |side: u8| AddressRange::from_prefix([10, side, number as u8, 0].into(), 24).unwrap();
    Selector::between(prefix(1), prefix(2)).unwrap()
}

fn peer(side: u8) -> PeerConfig {
    let (local, remote) = (side, 3 - side);
    let name = |side| if side == 1 { "left.test" } else { "right.test" };
    PeerConfig {
        id: PeerId(0),
        name: name(remote).to_owned(),
        local: [192, 0, 2, local].into(),
        remote: crate::Remote::Host([192, 0, 2, remote].into()),
        local_identity: name(local).parse().unwrap(),
        remote_identity: crate::RemoteIdentity::Exactly(name(remote).parse().unwrap()),
        mode: Mode::Main,
        authentication: crate::Authentication::PreSharedKey(Secret::new(b"warren-test-psk".to_vec())),
        xauth: crate::Xauth::Off,
        config_mode: crate::ConfigMode::Off,
        fragmentation: true,
        proposals: vec!["aes128-sha256-ecp256".parse().unwrap()],
        lifetime: 3600,
        dpd: None,
        nat_traversal: NatTraversal::Auto,
        retransmit: Retransmit { first: Duration::from_millis(500), tries: 5 },
        pad: None,
    }
}

/// Left's and right's configuration of each other.
pub(crate) fn peer_configs() -> [PeerConfig; 2] {
    [peer(1), peer(2)]
}

fn child(number: u32, side: usize) -> ChildConfig {
    let selector = selector(number);
    ChildConfig {
        rule: RuleId(number),
        peer: PeerId(0),
        selector: if side == 0 { selector } else { selector.mirrored() },
        proposals: vec!["aes128gcm16".parse().unwrap()],
        lifetime: Lifetime { seconds: 1200, kilobytes: None },
        window_packets: 4096,
        is_divisible: false,
        mode: warren_policy::SaMode::Tunnel,
        carrier: warren_seam::Carrier::Network,
    }
}

/// What the network does with one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Drop,
    Duplicate,
    Delay(Duration),
    /// Inverts one octet, counted modulo the length.
    Corrupt(usize),
}

/// Decides by number (over both directions), side that sends, and content.
pub(crate) type Network = Box<dyn FnMut(usize, usize, &[u8]) -> Fate>;

/// One endpoint and what it said.
pub(crate) struct Side {
    pub(crate) endpoint: Endpoint,
    pub(crate) inbound: Vec<InboundSa>,
    pub(crate) outbound: Vec<OutboundSa>,
    pub(crate) up: Vec<(RuleId, SaId, SaId, Role, Lifetime)>,
    pub(crate) down: Vec<(RuleId, SaId, Down)>,
    pub(crate) failed: Vec<(RuleId, Failure)>,
    /// Parts of divisible children that were asked for: by whom, of which, which, and how to grant it.
    pub(crate) child_asks: Vec<(PeerId, RuleId, Selector, Asked)>,
    /// What a child looks like that is made at once of each part that is asked for; rules count up from its own.
    pub(crate) grants: Option<ChildConfig>,
    granted: usize,
    pub(crate) peer_ups: usize,
    /// Which peer, under which template, and who it is.
    pub(crate) came: Vec<(PeerId, Option<PeerId>, Identity)>,
    /// Which peer.
    pub(crate) went: Vec<PeerId>,
    pub(crate) peer_downs: Vec<Down>,
    pub(crate) moves: Vec<(SaId, warren_seam::Encapsulation)>,
    pub(crate) notices: Vec<String>,
    pub(crate) keepalives: usize,
    /// What speaks our attributes, and who the user is, for each ISAKMP SA that was ready for configuration.
    pub(crate) configurable: Vec<(bool, Option<String>)>,
    pub(crate) asked: Vec<(ConfigExchange, Vec<ConfigAttribute>)>,
    pub(crate) received: Vec<(Option<ConfigExchange>, Vec<ConfigAttribute>)>,
    pub(crate) acknowledged: Vec<Vec<ConfigAttribute>>,
    pub(crate) config_failed: Vec<Failure>,
    /// What it says at once to every question about configuration.
    pub(crate) says: Option<Vec<ConfigAttribute>>,
    said: (usize, usize),
    /// Kinds of outputs in order, for tests about order.
    pub(crate) order: Vec<&'static str>,
}

impl Side {
    pub(crate) fn new(peers: Vec<PeerConfig>, children: Vec<ChildConfig>, seed: u64) -> Self {
        Self {
            endpoint: Endpoint::new(peers, children, Box::new(Seeded::new(seed))),
            inbound: Vec::new(),
            outbound: Vec::new(),
            up: Vec::new(),
            down: Vec::new(),
            failed: Vec::new(),
            child_asks: Vec::new(),
            grants: None,
            granted: 0,
            peer_ups: 0,
            came: Vec::new(),
            went: Vec::new(),
            peer_downs: Vec::new(),
            moves: Vec::new(),
            notices: Vec::new(),
            keepalives: 0,
            configurable: Vec::new(),
            asked: Vec::new(),
            received: Vec::new(),
            acknowledged: Vec::new(),
            config_failed: Vec::new(),
            says: None,
            said: (0, 0),
            order: Vec::new(),
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.endpoint.counters()
    }

    pub(crate) fn discarded(&self, reason: Discard) -> u64 {
        self.counters().discarded(reason)
    }

    /// Takes all outputs; gives what is to be transmitted.
    pub(crate) fn drain(&mut self) -> Vec<(Path, Vec<u8>)> {
        let mut datagrams = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, octets } => {
                    self.order.push("transmit");
                    self.keepalives += usize::from(octets == [0xff]);
                    datagrams.push((path, octets));
                }
                Output::InstallInbound { sa, .. } => {
                    self.order.push("inbound");
                    self.inbound.push(*sa);
                }
                Output::InstallOutbound { sa, .. } => {
                    self.order.push("outbound");
                    self.outbound.push(*sa);
                }
                Output::ChildUp { rule, inbound, outbound, role, lifetime, .. } => {
                    self.order.push("up");
                    assert!(self.inbound.iter().any(|sa| sa.id == inbound), "inbound first");
                    assert!(self.outbound.iter().any(|sa| sa.id == outbound), "outbound first");
                    self.up.push((rule, inbound, outbound, role, lifetime));
                }
                Output::ChildAsked { peer, within, selector, asked } => {
                    self.order.push("asked");
                    self.child_asks.push((peer, within, selector, asked));
                }
                Output::ChildFailed { rule, reason } => self.failed.push((rule, reason)),
                Output::ChildDown { rule, inbound, reason, .. } => self.down.push((rule, inbound, reason)),
                Output::PeerUp { peer, template, identity, .. } => {
                    self.peer_ups += 1;
                    self.came.push((peer, template, identity));
                }
                Output::PeerDown { peer, reason } => {
                    self.went.push(peer);
                    self.peer_downs.push(reason);
                }
                Output::MovePeer { sa, encapsulation, .. } => self.moves.push((sa, encapsulation)),
                Output::Configurable { speaks_policy, user, .. } => {
                    self.order.push("configurable");
                    self.configurable.push((speaks_policy, user));
                }
                Output::ConfigAsked { exchange, attributes, .. } => self.asked.push((exchange, attributes)),
                Output::ConfigReceived { exchange, attributes, .. } => {
                    self.received.push((exchange, attributes));
                }
                Output::ConfigAcknowledged { attributes, .. } => self.acknowledged.push(attributes),
                Output::ConfigFailed { reason, .. } => self.config_failed.push(reason),
                Output::Log(notice) => self.notices.push(notice.to_string()),
            }
        }
        datagrams
    }

    /// Answers every question that came since the last time.
    fn answer(&mut self, now: Duration) {
        self.grant_all(now);
        let Some(says) = self.says.clone() else { return };
        // The peer that came last: under a template it has a name of its own.
        let Some((peer, ..)) = self.came.last() else { return };
        let (asked, received) = self.said;
        for (exchange, _) in &self.asked[asked..] {
            self.endpoint.reply_config(now, *peer, *exchange, says.clone());
        }
        for exchange in self.received[received..].iter().filter_map(|(exchange, _)| *exchange) {
            self.endpoint.acknowledge_config(now, *peer, exchange, says.clone());
        }
        self.said = (self.asked.len(), self.received.len());
    }

    /// Makes a child of every part that was asked for since the last time, and grants it.
    fn grant_all(&mut self, now: Duration) {
        let Some(made) = self.grants.clone() else { return };
        for (peer, _, selector, asked) in self.child_asks[self.granted..].iter().cloned() {
            self.granted += 1;
            let rule = RuleId(made.rule.0 + u32::try_from(self.granted).unwrap());
            self.endpoint.add_child(now, ChildConfig { rule, peer, selector, ..made.clone() });
            self.endpoint.grant_child(now, asked);
        }
    }

    /// Pairs that are up and were not taken down.
    pub(crate) fn live(&self) -> Vec<SaId> {
        let down: Vec<SaId> = self.down.iter().map(|(_, inbound, _)| *inbound).collect();
        self.up.iter().map(|(_, inbound, ..)| *inbound).filter(|inbound| !down.contains(inbound)).collect()
    }
}

struct Flying {
    at: Duration,
    number: usize,
    to: usize,
    path: Path,
    octets: Vec<u8>,
}

/// The left side behind a NAT: the address and the ports that the right side sees instead.
#[derive(Clone, Copy)]
pub(crate) struct NatBox {
    pub(crate) inside: [u8; 4],
    pub(crate) outside: [u8; 4],
    pub(crate) offset: u16,
}

impl NatBox {
    fn out(&self, socket: SocketAddr) -> SocketAddr {
        assert_eq!(socket.ip(), std::net::IpAddr::from(self.inside));
        (self.outside, socket.port() + self.offset).into()
    }

    fn back(&self, socket: SocketAddr) -> Option<SocketAddr> {
        let port = socket.port().checked_sub(self.offset)?;
        (socket.ip() == std::net::IpAddr::from(self.outside)).then(|| (self.inside, port).into())
    }
}

/// Left (0) and right (1).
pub(crate) struct Pair {
    pub(crate) now: Duration,
    pub(crate) sides: [Side; 2],
    pub(crate) network: Network,
    pub(crate) nat: Option<NatBox>,
    /// The left side's address, where it leaves it to the kernel.
    pub(crate) unspecified: Option<[u8; 4]>,
    /// Everything sent, by number: sender, path as sent, octets.
    pub(crate) sent: Vec<(usize, Path, Vec<u8>)>,
    wire: Vec<Flying>,
}

pub(crate) const LATENCY: Duration = Duration::from_millis(10);

impl Pair {
    /// Two gateways with that many rules between them, configured as `change` says.
    pub(crate) fn with(
        rules: u32,
        change: impl FnOnce(&mut [PeerConfig; 2], &mut [Vec<ChildConfig>; 2]),
    ) -> Self {
        let mut peers = peer_configs();
        let mut children = [0, 1].map(|side| (0..rules).map(|number| child(number, side)).collect());
        change(&mut peers, &mut children);
        let ([left, right], [lefts, rights]) = (peers, children);
        Self {
            now: Duration::ZERO,
            sides: [Side::new(vec![left], lefts, 1), Side::new(vec![right], rights, 2)],
            network: Box::new(|_, _, _| Fate::Deliver),
            nat: None,
            unspecified: None,
            sent: Vec::new(),
            wire: Vec::new(),
        }
    }

    pub(crate) fn new() -> Self {
        Self::with(1, |_, _| {})
    }

    /// Two gateways whose phase 1 is in that mode.
    pub(crate) fn in_mode(mode: Mode) -> Self {
        Self::with(1, |peers, _| peers.iter_mut().for_each(|peer| peer.mode = mode))
    }

    pub(crate) fn left(&self) -> &Side {
        &self.sides[0]
    }

    pub(crate) fn right(&self) -> &Side {
        &self.sides[1]
    }

    pub(crate) fn open(&mut self, side: usize, number: u32) {
        let now = self.now;
        self.sides[side].endpoint.open_child(now, rule(number));
    }

    pub(crate) fn call(&mut self, side: usize, action: impl FnOnce(&mut Endpoint, Duration)) {
        action(&mut self.sides[side].endpoint, self.now);
    }

    fn collect(&mut self) {
        for side in [0, 1] {
            let mut datagrams = self.sides[side].drain();
            self.sides[side].answer(self.now);
            datagrams.extend(self.sides[side].drain());
            for (path, octets) in datagrams {
                let number = self.sent.len();
                self.sent.push((side, path, octets.clone()));
                let fate = (self.network)(number, side, &octets);
                self.put(side, path, octets, fate);
            }
        }
    }

    fn put(&mut self, from: usize, path: Path, mut octets: Vec<u8>, fate: Fate) {
        let mut seen = Path { local: path.remote, remote: path.local };
        if let Some(address) = self.unspecified.filter(|_| path.local.ip().is_unspecified()) {
            seen.remote.set_ip(address.into());
        }
        if let Some(nat) = self.nat {
            if from == 0 {
                seen.remote = nat.out(path.local);
            } else {
                let Some(inside) = nat.back(path.remote) else { return };
                seen.local = inside;
            }
        }
        let (copies, delay) = match fate {
            Fate::Deliver => (1, Duration::ZERO),
            Fate::Drop => (0, Duration::ZERO),
            Fate::Duplicate => (2, Duration::ZERO),
            Fate::Delay(delay) => (1, delay),
            Fate::Corrupt(at) => {
                let at = at % octets.len();
                octets[at] ^= 0xff;
                (1, Duration::ZERO)
            }
        };
        for copy in 0..copies {
            let (at, number) = (self.now + LATENCY + delay, self.sent.len() * 2 + copy);
            self.wire.push(Flying { at, number, to: 1 - from, path: seen, octets: octets.clone() });
        }
    }

    /// Gives one side a datagram, whoever may have sent it.
    pub(crate) fn inject(&mut self, to: usize, path: Path, octets: &[u8]) {
        let now = self.now;
        self.sides[to].endpoint.handle_datagram(now, path, octets);
    }

    /// Lets everything happen that happens before `end`.
    pub(crate) fn run_until(&mut self, end: Duration) {
        for _ in 0..200_000 {
            self.collect();
            let arrival = self.wire.iter().map(|flying| (flying.at, flying.number)).min();
            let timers = self.sides.iter().filter_map(|side| side.endpoint.poll_timeout()).min();
            let next = arrival.map(|(at, _)| at).into_iter().chain(timers).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            match arrival {
                Some((at, number)) if at <= next => {
                    let index = self.wire.iter().position(|flying| flying.number == number).unwrap();
                    let Flying { to, path, octets, .. } = self.wire.remove(index);
                    self.inject(to, path, &octets);
                }
                _ => {
                    let now = self.now;
                    self.sides.iter_mut().for_each(|side| side.endpoint.handle_timeout(now));
                }
            }
        }
        panic!("the conversation does not come to rest");
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Whether both sides have the same pairs with the same keys, at least one.
    pub(crate) fn is_connected(&self) -> bool {
        let fits = |one: &Side, other: &Side| {
            !one.live().is_empty()
                && one.live().iter().all(|inbound| {
                    let inbound = one.inbound.iter().find(|sa| sa.id == *inbound).unwrap();
                    other.outbound.iter().any(|outbound| {
                        outbound.spi == inbound.spi
                            && outbound.keys.encryption.expose() == inbound.keys.encryption.expose()
                            && outbound.keys.integrity.expose() == inbound.keys.integrity.expose()
                            && outbound.keys.salt == inbound.keys.salt
                            && outbound.selector == inbound.selector
                            && outbound.transform == inbound.transform
                            && outbound.esn == inbound.esn
                    })
                })
        };
        fits(self.left(), self.right()) && fits(self.right(), self.left())
    }
}
