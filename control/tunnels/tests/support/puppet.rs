//! A negotiator that does what the test says: it writes down what is wanted of it, sets children up at once, and says
//! what the test puts into its mouth.

use super::engine::ModelEngine;
use super::{Chance, Seeded};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use warren_ike::wire::ConfigAttribute;
use warren_ike::{Asked, ChildConfig, ConfigExchange, Down, Failure, Output as Ike, Path, PeerConfig, Role};
use warren_policy::{EspProposal, Identity, PeerId, RuleId, Secret};
use warren_seam::{Encapsulation, InboundSa, OutboundSa, SaId, SaKeys, Spi, Volume};
use warren_tunnels::{Lease, Negotiator, Notice, Output, Tunnels, TunnelsConfig};

/// What tunnels wanted, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Reconfigure,
    Open(RuleId),
    ClosePeer(PeerId),
    Connect(PeerId),
    Pull(PeerId, Vec<ConfigAttribute>),
    Push(PeerId, Vec<ConfigAttribute>),
    Reply(PeerId, ConfigExchange, Vec<ConfigAttribute>),
    Acknowledge(PeerId, ConfigExchange, Vec<ConfigAttribute>),
    Add(ChildConfig),
    Remove(RuleId),
    Find(PeerId, IpAddr),
    Forget(PeerId),
    /// The message that goes on.
    Grant(Vec<u8>),
}

/// The first peer that discovery finds.
pub(crate) const FOUND: u32 = 1 << 31;

#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) calls: Vec<Call>,
    pub(crate) says: VecDeque<Ike>,
    pub(crate) children: BTreeMap<RuleId, ChildConfig>,
    /// Inbound to outbound and rule.
    pub(crate) pairs: BTreeMap<SaId, (SaId, RuleId)>,
    up: Vec<PeerId>,
    /// Gateways that were found.
    found: Vec<IpAddr>,
    /// Negotiations end like this instead of with a pair.
    pub(crate) refuses: Option<Failure>,
    ids: u64,
}

pub(crate) struct Puppet(Rc<RefCell<Stage>>);

impl Stage {
    fn down(&mut self, inbound: SaId, reason: Down) {
        if let Some((outbound, rule)) = self.pairs.remove(&inbound) {
            self.says.push_back(Ike::ChildDown { rule, inbound, outbound, reason });
        }
    }

    fn down_rule(&mut self, rule: RuleId, reason: Down) {
        let of_rule = self.pairs.iter().filter(|(_, pair)| pair.1 == rule);
        for inbound in of_rule.map(|(inbound, _)| *inbound).collect::<Vec<_>>() {
            self.down(inbound, reason);
        }
    }

    /// Everything of the peer is gone.
    pub(crate) fn lose(&mut self, peer: PeerId, reason: Down) {
        let rules: Vec<_> =
            self.children.values().filter(|child| child.peer == peer).map(|child| child.rule).collect();
        for rule in rules {
            self.down_rule(rule, reason);
        }
        if let Some(at) = self.up.iter().position(|up| *up == peer) {
            self.up.remove(at);
            self.says.push_back(Ike::PeerDown { peer, reason });
        }
    }

    pub(crate) fn come(&mut self, peer: PeerId, template: Option<PeerId>, identity: &str, remote: &str) {
        self.up.push(peer);
        let identity: Identity = identity.parse().unwrap();
        let path = Path {
            local: SocketAddr::new("198.51.100.1".parse().unwrap(), 500),
            remote: SocketAddr::new(remote.parse().unwrap(), 500),
        };
        self.says.push_back(Ike::PeerUp { peer, template, identity, path });
    }
}

impl Negotiator for Puppet {
    fn reconfigure(&mut self, _: Duration, peers: Vec<PeerConfig>, children: Vec<ChildConfig>) {
        let mut stage = self.0.borrow_mut();
        stage.calls.push(Call::Reconfigure);
        let children: BTreeMap<_, _> = children.into_iter().map(|child| (child.rule, child)).collect();
        let old = std::mem::take(&mut stage.children);
        for (rule, child) in old {
            if children.get(&rule) != Some(&child) {
                stage.down_rule(rule, Down::Reconfigured);
            }
        }
        stage.children = children;
        let configured = |peer: &PeerId| peer.0 >= 1 << 31 || peers.iter().any(|own| own.id == *peer);
        let gone: Vec<_> = stage.up.iter().filter(|peer| !configured(peer)).copied().collect();
        for peer in gone {
            stage.lose(peer, Down::Reconfigured);
        }
    }

    fn handle_datagram(&mut self, _: Duration, _: Path, _: &[u8]) {}

    fn handle_timeout(&mut self, _: Duration) {}

    fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    fn poll_output(&mut self) -> Option<Ike> {
        self.0.borrow_mut().says.pop_front()
    }

    fn open_child(&mut self, _: Duration, rule: RuleId) {
        let mut stage = self.0.borrow_mut();
        stage.calls.push(Call::Open(rule));
        if let Some(reason) = stage.refuses {
            stage.says.push_back(Ike::ChildFailed { rule, reason });
            return;
        }
        let child = stage.children[&rule].clone();
        let (inbound, outbound) = (SaId(stage.ids + 1), SaId(stage.ids + 2));
        stage.ids += 2;
        let transform = child.proposals[0].transform;
        let keys =
            SaKeys { encryption: Secret::new(Vec::new()), salt: [0; 4], integrity: Secret::new(Vec::new()) };
        let volume = Volume { soft_octets: 1 << 30, hard_octets: 1 << 31 };
        let address: IpAddr = "198.51.100.9".parse().unwrap();
        stage.says.push_back(Ike::InstallInbound {
            role: Role::Initiator,
            sa: Box::new(InboundSa {
                id: inbound,
                spi: Spi(1000 + inbound.0 as u32),
                transform,
                keys: keys.clone(),
                esn: true,
                window_packets: child.window_packets,
                selector: child.selector.mirrored(),
                remote: address,
                local: address,
                encapsulation: Encapsulation::Raw,
                volume,
                mode: warren_seam::SaMode::Tunnel,
                rule,
                lane: 0,
                carrier: warren_seam::Carrier::Network,
                sequence: 0,
            }),
        });
        stage.says.push_back(Ike::InstallOutbound {
            inbound,
            sa: Box::new(OutboundSa {
                id: outbound,
                spi: Spi(1000 + outbound.0 as u32),
                transform,
                keys,
                esn: true,
                selector: child.selector,
                local: address,
                remote: address,
                encapsulation: Encapsulation::Raw,
                volume,
                mode: warren_seam::SaMode::Tunnel,
                rule,
                lane: 0,
                sequence: 0,
            }),
        });
        let transform: EspProposal = child.proposals[0];
        let (role, lifetime) = (Role::Initiator, child.lifetime);
        stage.says.push_back(Ike::ChildUp { rule, inbound, outbound, role, lifetime, transform });
        stage.pairs.insert(inbound, (outbound, rule));
    }

    fn close_child(&mut self, _: Duration, inbound: SaId) {
        self.0.borrow_mut().down(inbound, Down::Closed);
    }

    fn close_peer(&mut self, _: Duration, peer: PeerId) {
        let mut stage = self.0.borrow_mut();
        stage.calls.push(Call::ClosePeer(peer));
        stage.lose(peer, Down::Closed);
    }

    fn peer_moved(&mut self, _: Duration, _: SaId, _: SocketAddr) {}

    fn inbound_activity(&mut self, _: Duration, _: PeerId) {}

    fn connect(&mut self, _: Duration, peer: PeerId) {
        self.0.borrow_mut().calls.push(Call::Connect(peer));
    }

    fn pull_config(&mut self, _: Duration, peer: PeerId, attributes: Vec<ConfigAttribute>) {
        self.0.borrow_mut().calls.push(Call::Pull(peer, attributes));
    }

    fn push_config(&mut self, _: Duration, peer: PeerId, attributes: Vec<ConfigAttribute>) {
        self.0.borrow_mut().calls.push(Call::Push(peer, attributes));
    }

    fn reply_config(
        &mut self,
        _: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        attributes: Vec<ConfigAttribute>,
    ) {
        self.0.borrow_mut().calls.push(Call::Reply(peer, exchange, attributes));
    }

    fn acknowledge_config(
        &mut self,
        _: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        attributes: Vec<ConfigAttribute>,
    ) {
        self.0.borrow_mut().calls.push(Call::Acknowledge(peer, exchange, attributes));
    }

    fn find_peer(&mut self, template: PeerId, gateway: IpAddr) -> Option<PeerId> {
        let mut stage = self.0.borrow_mut();
        stage.calls.push(Call::Find(template, gateway));
        let known = stage.found.iter().position(|own| *own == gateway);
        let at = known.unwrap_or_else(|| {
            stage.found.push(gateway);
            stage.found.len() - 1
        });
        Some(PeerId(FOUND + at as u32))
    }

    fn forget_peer(&mut self, _: Duration, peer: PeerId) {
        let mut stage = self.0.borrow_mut();
        stage.calls.push(Call::Forget(peer));
        stage.lose(peer, Down::Closed);
    }

    fn grant_child(&mut self, _: Duration, asked: Asked) {
        self.0.borrow_mut().calls.push(Call::Grant(asked.message));
    }

    fn add_child(&mut self, _: Duration, child: ChildConfig) {
        let mut stage = self.0.borrow_mut();
        assert!(stage.children.insert(child.rule, child.clone()).is_none(), "a rule is added once");
        stage.calls.push(Call::Add(child));
    }

    fn remove_child(&mut self, _: Duration, rule: RuleId) {
        let mut stage = self.0.borrow_mut();
        stage.calls.push(Call::Remove(rule));
        stage.down_rule(rule, Down::Reconfigured);
        stage.children.remove(&rule);
    }
}

/// Something that left the tunnels, in order; commands to the engine by their word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Engine(&'static str),
    Keep(Lease),
    Drop(Lease),
    Add(IpAddr),
    Remove(IpAddr),
}

/// Tunnels, the puppet that negotiates for them, and a model of the workers.
pub(crate) struct Theatre {
    pub(crate) now: Duration,
    pub(crate) tunnels: Tunnels<Puppet>,
    pub(crate) stage: Rc<RefCell<Stage>>,
    pub(crate) engine: ModelEngine,
    pub(crate) notices: Vec<Notice>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Theatre {
    pub(crate) fn new(config: TunnelsConfig, leases: Vec<Lease>) -> Self {
        let stage = Rc::new(RefCell::new(Stage::default()));
        stage.borrow_mut().children =
            config.tunnels.iter().map(|tunnel| (tunnel.child.rule, tunnel.child.clone())).collect();
        let (puppet, entropy) = (Puppet(Rc::clone(&stage)), Box::new(Seeded(Chance(7))));
        let tunnels = Tunnels::with_negotiator(Duration::ZERO, config, leases, puppet, (7, entropy));
        let mut theatre = Self {
            now: Duration::ZERO,
            tunnels,
            stage,
            engine: ModelEngine::default(),
            notices: Vec::new(),
            effects: Vec::new(),
            addresses: Vec::new(),
        };
        theatre.drain();
        theatre
    }

    pub(crate) fn drain(&mut self) {
        use warren_seam::Command;
        while let Some(output) = self.tunnels.poll_output() {
            match output {
                Output::Engine(command) => {
                    self.effects.push(Effect::Engine(match &command {
                        Command::Rules(_) => "rules",
                        Command::Bind { stack, .. } if stack.is_empty() => "unbind",
                        Command::Bind { .. } => "bind",
                        Command::InstallInbound(_) | Command::InstallOutbound(_) => "install",
                        Command::Remove(_) => "remove",
                        _ => "other",
                    }));
                    self.engine.apply(command);
                }
                Output::TransmitThrough { .. } => panic!("no tunnel is inside another one here"),
                Output::Log(notice) => self.notices.push(notice),
                Output::KeepLease(lease) => self.effects.push(Effect::Keep(lease)),
                Output::DropLease(lease) => self.effects.push(Effect::Drop(lease)),
                Output::AddAddress(address) => {
                    assert!(!self.addresses.contains(&address), "an address is added once");
                    self.addresses.push(address);
                    self.effects.push(Effect::Add(address));
                }
                Output::RemoveAddress(address) => {
                    assert!(self.addresses.contains(&address), "what is removed was added");
                    self.addresses.retain(|own| *own != address);
                    self.effects.push(Effect::Remove(address));
                }
                Output::Transmit { .. } => {}
            }
        }
    }

    /// Lets the puppet say what it was told to, and what follows from it.
    pub(crate) fn play(&mut self) {
        self.tunnels.handle_timeout(self.now);
        self.drain();
        let mut turns = 0;
        while self.tunnels.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tunnels.handle_timeout(self.now);
            self.drain();
            turns += 1;
            assert!(turns < 1000, "the clock stands still");
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.tunnels.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.play();
        }
        self.now = end;
    }

    pub(crate) fn say(&mut self, output: Ike) {
        self.stage.borrow_mut().says.push_back(output);
        self.play();
    }

    pub(crate) fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.stage.borrow_mut().calls)
    }

    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }
}
