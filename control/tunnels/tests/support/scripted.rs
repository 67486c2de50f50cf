//! A negotiator that speaks a quick mode of three words, with repetitions and Deletes that may get lost: everything
//! that tunnels can see of IKE, and nothing else.

use super::Chance;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use warren_ike::ConfigExchange;
use warren_ike::wire::ConfigAttribute;
use warren_ike::{Asked, ChildConfig, Down, Failure, Output, Path, PeerConfig, Role};
use warren_policy::{EspProposal, EspTransform, KeyBits, PeerId, RuleId, Secret};
use warren_seam::{Encapsulation, InboundSa, OutboundSa, SaId, SaKeys, Spi, Volume};
use warren_tunnels::Negotiator;

pub(crate) const FIRST: Duration = Duration::from_millis(500);
pub(crate) const TRIES: u32 = 5;

/// `[kind, rule, message id, SPI]`, each as a number.
pub(crate) fn decode(octets: &[u8]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, octets) in words.iter_mut().zip(octets.chunks_exact(4)) {
        *word = u32::from_be_bytes(octets.try_into().unwrap());
    }
    words
}

pub(crate) const FIRST_MESSAGE: u32 = 1;
pub(crate) const SECOND_MESSAGE: u32 = 2;
pub(crate) const THIRD_MESSAGE: u32 = 3;
pub(crate) const DELETE: u32 = 4;

struct Exchange {
    rule: RuleId,
    role: Role,
    own: (SaId, Spi),
    peer: Spi,
    message: [u32; 4],
    next: Option<Duration>,
    interval: Duration,
    tries: u32,
}

pub(crate) struct Scripted {
    local: SocketAddr,
    remote: SocketAddr,
    children: BTreeMap<RuleId, ChildConfig>,
    exchanges: BTreeMap<u32, Exchange>,
    /// Inbound id to rule, outbound id, own SPI, peer's SPI.
    pairs: BTreeMap<SaId, (RuleId, SaId, Spi, Spi)>,
    outputs: VecDeque<Output>,
    chance: Chance,
    ids: u64,
    pub(crate) opened: usize,
    /// Set from outside: as after dead peer detection, at the next timeout.
    pub(crate) peer_lost: Cell<bool>,
}

impl Scripted {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr, children: Vec<ChildConfig>, seed: u64) -> Self {
        Self {
            local,
            remote,
            children: children.into_iter().map(|child| (child.rule, child)).collect(),
            exchanges: BTreeMap::new(),
            pairs: BTreeMap::new(),
            outputs: VecDeque::new(),
            chance: Chance(seed),
            ids: 0,
            opened: 0,
            peer_lost: Cell::new(false),
        }
    }

    fn transmit(&mut self, message: [u32; 4]) {
        let octets = message.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.outputs
            .push_back(Output::Transmit { path: Path { local: self.local, remote: self.remote }, octets });
    }

    fn new_id(&mut self) -> SaId {
        self.ids += 1;
        SaId(self.ids)
    }

    fn install_inbound(&mut self, rule: RuleId, own: (SaId, Spi), role: Role) {
        let child = &self.children[&rule];
        let sa = Box::new(InboundSa {
            id: own.0,
            spi: own.1,
            transform: TRANSFORM,
            keys: no_keys(),
            esn: true,
            window_packets: 4096,
            selector: child.selector.mirrored(),
            remote: self.remote.ip(),
            local: self.local.ip(),
            encapsulation: Encapsulation::Raw,
            volume: Volume { soft_octets: 1 << 30, hard_octets: 1 << 31 },
            mode: warren_seam::SaMode::Tunnel,
            rule,
            lane: 0,
            carrier: warren_seam::Carrier::Network,
            sequence: 0,
        });
        self.outputs.push_back(Output::InstallInbound { sa, role });
    }

    fn finish(&mut self, rule: RuleId, own: (SaId, Spi), peer: Spi, role: Role) {
        let child = self.children[&rule].clone();
        let outbound = self.new_id();
        let sa = Box::new(OutboundSa {
            id: outbound,
            spi: peer,
            transform: TRANSFORM,
            keys: no_keys(),
            esn: true,
            selector: child.selector,
            local: self.local.ip(),
            remote: self.remote.ip(),
            encapsulation: Encapsulation::Raw,
            volume: Volume { soft_octets: 1 << 30, hard_octets: 1 << 31 },
            mode: warren_seam::SaMode::Tunnel,
            rule,
            lane: 0,
            sequence: 0,
        });
        self.outputs.push_back(Output::InstallOutbound { sa, inbound: own.0 });
        self.pairs.insert(own.0, (rule, outbound, own.1, peer));
        let transform = EspProposal { transform: TRANSFORM, pfs: None, esn: true };
        self.outputs.push_back(Output::ChildUp {
            rule,
            inbound: own.0,
            outbound,
            role,
            lifetime: child.lifetime,
            transform,
        });
    }

    fn begin(&mut self, now: Duration, id: u32, rule: RuleId, role: Role, peer: Spi) {
        let own = (self.new_id(), Spi(0x1000 + self.chance.number() as u32 % 0xf000_0000));
        let kind = if role == Role::Initiator { FIRST_MESSAGE } else { SECOND_MESSAGE };
        let message = [kind, rule.0, id, own.1.0];
        let exchange = Exchange {
            rule,
            role,
            own,
            peer,
            message,
            next: Some(now + FIRST),
            interval: FIRST,
            tries: TRIES,
        };
        self.exchanges.insert(id, exchange);
        if role == Role::Responder {
            self.install_inbound(rule, own, role);
        }
        self.transmit(message);
    }

    fn down(&mut self, inbound: SaId, reason: Down) {
        if let Some((rule, outbound, _, _)) = self.pairs.remove(&inbound) {
            self.outputs.push_back(Output::ChildDown { rule, inbound, outbound, reason });
        }
    }
}

const TRANSFORM: EspTransform = EspTransform::AesGcm16(KeyBits::B256);

fn no_keys() -> SaKeys {
    SaKeys { encryption: Secret::new(Vec::new()), salt: [0; 4], integrity: Secret::new(Vec::new()) }
}

impl Negotiator for Scripted {
    fn reconfigure(&mut self, _now: Duration, _peers: Vec<PeerConfig>, children: Vec<ChildConfig>) {
        let children: BTreeMap<_, _> = children.into_iter().map(|child| (child.rule, child)).collect();
        let changed = |rule: &RuleId| children.get(rule) != self.children.get(rule);
        let gone: Vec<_> =
            self.pairs.iter().filter(|(_, pair)| changed(&pair.0)).map(|(inbound, _)| *inbound).collect();
        for inbound in gone {
            let spi = self.pairs[&inbound].2;
            self.transmit([DELETE, 0, 0, spi.0]);
            self.down(inbound, Down::Reconfigured);
        }
        for (_, exchange) in std::mem::take(&mut self.exchanges) {
            match exchange.role {
                Role::Initiator if exchange.next.is_some() => {
                    let reason = Failure::Reconfigured;
                    self.outputs.push_back(Output::ChildFailed { rule: exchange.rule, reason });
                }
                Role::Responder if exchange.next.is_some() => {
                    let outbound = self.new_id();
                    let (rule, inbound, reason) = (exchange.rule, exchange.own.0, Down::Reconfigured);
                    self.outputs.push_back(Output::ChildDown { rule, inbound, outbound, reason });
                }
                _ => {}
            }
        }
        self.children = children;
    }

    fn handle_datagram(&mut self, now: Duration, _path: Path, octets: &[u8]) {
        let [kind, rule, id, spi] = decode(octets);
        let (rule, spi) = (RuleId(rule), Spi(spi));
        match kind {
            FIRST_MESSAGE if !self.children.contains_key(&rule) => {}
            FIRST_MESSAGE => match self.exchanges.get(&id).map(|exchange| exchange.message) {
                Some(answer) => self.transmit(answer),
                None => self.begin(now, id, rule, Role::Responder, spi),
            },
            SECOND_MESSAGE => {
                let Some(exchange) = self.exchanges.get_mut(&id) else { return };
                if exchange.role != Role::Initiator {
                    return;
                }
                let third = [THIRD_MESSAGE, rule.0, id, exchange.own.1.0];
                let own = exchange.own;
                if exchange.next.take().is_some() {
                    self.install_inbound(rule, own, Role::Initiator);
                    self.transmit(third);
                    self.finish(rule, own, spi, Role::Initiator);
                } else {
                    self.transmit(third);
                }
            }
            THIRD_MESSAGE => {
                let Some(exchange) = self.exchanges.get_mut(&id) else { return };
                if exchange.role == Role::Responder && exchange.next.take().is_some() {
                    let (own, peer) = (exchange.own, exchange.peer);
                    self.finish(rule, own, peer, Role::Responder);
                }
            }
            DELETE => {
                let gone = self.pairs.iter().find(|(_, pair)| pair.3 == spi).map(|(inbound, _)| *inbound);
                if let Some(inbound) = gone {
                    self.down(inbound, Down::DeletedByPeer);
                }
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        if self.peer_lost.take() {
            for inbound in self.pairs.keys().copied().collect::<Vec<_>>() {
                self.down(inbound, Down::DeadPeer);
            }
        }
        let due: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.next.is_some_and(|next| next <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let exchange = self.exchanges.get_mut(&id).unwrap();
            if exchange.tries > 0 {
                exchange.tries -= 1;
                exchange.interval *= 2;
                exchange.next = Some(now + exchange.interval);
                let message = exchange.message;
                self.transmit(message);
                continue;
            }
            let exchange = self.exchanges.remove(&id).unwrap();
            if exchange.role == Role::Initiator {
                self.outputs
                    .push_back(Output::ChildFailed { rule: exchange.rule, reason: Failure::NoAnswer });
            } else {
                // Without this, an initiator whose third message was lost sends into nothing.
                self.transmit([DELETE, 0, 0, exchange.own.1.0]);
                let outbound = self.new_id();
                let (rule, inbound, reason) = (exchange.rule, exchange.own.0, Down::Unconfirmed);
                self.outputs.push_back(Output::ChildDown { rule, inbound, outbound, reason });
            }
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.exchanges.values().filter_map(|exchange| exchange.next).min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn open_child(&mut self, now: Duration, rule: RuleId) {
        let running = self.exchanges.values().any(|exchange| {
            exchange.rule == rule && exchange.role == Role::Initiator && exchange.next.is_some()
        });
        assert!(!running, "one negotiation for each rule at a time");
        self.opened += 1;
        let id = self.chance.number() as u32;
        self.begin(now, id, rule, Role::Initiator, Spi(0));
    }

    fn close_child(&mut self, _now: Duration, inbound: SaId) {
        if let Some(spi) = self.pairs.get(&inbound).map(|pair| pair.2) {
            self.transmit([DELETE, 0, 0, spi.0]);
            self.down(inbound, Down::Closed);
        }
    }

    fn close_peer(&mut self, now: Duration, _peer: PeerId) {
        for inbound in self.pairs.keys().copied().collect::<Vec<_>>() {
            self.close_child(now, inbound);
        }
        for (_, exchange) in std::mem::take(&mut self.exchanges) {
            if exchange.next.is_some() && exchange.role == Role::Responder {
                let outbound = self.new_id();
                let (rule, inbound, reason) = (exchange.rule, exchange.own.0, Down::Closed);
                self.outputs.push_back(Output::ChildDown { rule, inbound, outbound, reason });
            } else if exchange.next.is_some() {
                self.outputs.push_back(Output::ChildFailed { rule: exchange.rule, reason: Failure::Closed });
            }
        }
    }

    fn peer_moved(&mut self, _now: Duration, sa: SaId, remote: SocketAddr) {
        self.remote = remote;
        let (remote, encapsulation): (IpAddr, _) = (remote.ip(), Encapsulation::Raw);
        if let Some((_, outbound, _, _)) = self.pairs.get(&sa) {
            for sa in [sa, *outbound] {
                self.outputs.push_back(Output::MovePeer { sa, remote, encapsulation });
            }
        }
    }

    fn inbound_activity(&mut self, _now: Duration, _peer: PeerId) {}

    fn connect(&mut self, _: Duration, _: PeerId) {}

    fn pull_config(&mut self, _: Duration, _: PeerId, _: Vec<ConfigAttribute>) {}

    fn push_config(&mut self, _: Duration, _: PeerId, _: Vec<ConfigAttribute>) {}

    fn reply_config(&mut self, _: Duration, _: PeerId, _: ConfigExchange, _: Vec<ConfigAttribute>) {}

    fn acknowledge_config(&mut self, _: Duration, _: PeerId, _: ConfigExchange, _: Vec<ConfigAttribute>) {}

    fn find_peer(&mut self, _template: PeerId, _gateway: IpAddr) -> Option<PeerId> {
        None
    }

    fn forget_peer(&mut self, _now: Duration, _peer: PeerId) {}

    fn grant_child(&mut self, _now: Duration, _asked: Asked) {}

    fn add_child(&mut self, _: Duration, _: ChildConfig) {}

    fn remove_child(&mut self, _: Duration, _: RuleId) {}
}
