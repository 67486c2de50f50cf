//! What is around the tunnels of each gateway: figure 7 walked for all packets of a rule at once (REQUIREMENTS NT-7, NT-8,
//! NT-28, Q-19).
//!
//! ```text
//! rule ──> its gateway ──> the tunnel rules that carry what goes there ──> their gateway ──> … ──> none: the way is whole
//! ```
//!
//! On the wire all that goes from one address of ours to one gateway looks alike, whichever rule wanted it, and the gateway
//! answers by one way. So between them there is one way, or the rules are refused: what one rule would send around, and
//! another one not, cannot be told apart when it comes back. With one way for each gateway the stack of a packet follows
//! from the first tunnel rule that matches it; [`walk`](crate::stack::walk) finds the same, packet by packet.
//!
//! What is refused for two ways may be more than some packet would take: base rules, and rules in front of the one whose
//! way it is, can keep from it just the packets that would differ; and several rules that lead to where the packets go
//! already can take all of them together, where none takes all alone. Nobody should have to find that out.

use crate::limits::{STACK_DEPTH_MAX, WAY_STEPS_MAX};
use crate::rule::{Gateway, PeerId, RuleId, RuleSet, TunnelRule};
use crate::rule_tree::RuleTree;
use crate::selector::{AddressRange, FiveTuple, PortRange, Protocol, Selector, has_ports, is_in_front};
use crate::stack::esp;
use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// As what a packet is looked up once it is inside a tunnel (Q-19): [`Rematch`](crate::stack::Rematch) as it is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rematching {
    /// The letter of box 718: only the destination is replaced.
    #[default]
    Destination,
    /// The outer packet as it will be.
    Wire,
}

/// A tunnel around others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outer {
    /// The rule that wants it.
    pub rule: RuleId,
    /// Whose it is.
    pub peer: PeerId,
    /// Where it ends.
    pub gateway: IpAddr,
    /// What is negotiated for it. The rule's own traffic where that contains all between our address and the gateway inside;
    /// otherwise everything from that address of ours to where the rule leads.
    pub selector: Selector,
    /// It is the tunnel of the rule's own traffic too.
    pub is_own: bool,
}

/// What is around the tunnels of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// From the inside out: nearest gateway last.
    pub levels: Vec<Outer>,
    /// The way is not known to its end: this rule discovers in front of the outermost gateway that is (NT-35).
    pub discovers: Option<RuleId>,
}

/// Why there is no way to a gateway although tunnel rules match what goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WayError {
    /// The way to the gateway would lead through the tunnel that ends there.
    #[error("the way to {gateway} would lead through the tunnel to {gateway}")]
    Loop {
        /// The rule that leads back to the gateway.
        rule: RuleId,
        /// The gateway.
        gateway: IpAddr,
    },
    /// More levels inside each other than [`STACK_DEPTH_MAX`].
    #[error("more than {STACK_DEPTH_MAX} tunnels inside each other")]
    TooDeep {
        /// The innermost.
        rule: RuleId,
    },
    /// A rule takes only a part of what another one sends to its gateway.
    #[error("{gateway} would be reached by two ways")]
    Ambiguous {
        /// The rule that leads to the gateway.
        rule: RuleId,
        /// The gateway.
        gateway: IpAddr,
        /// The rule that takes a part.
        other: RuleId,
    },
    /// Two rules lead to the gateway, and other rules take what they send there by different ways.
    #[error("{gateway} would be reached by two ways")]
    TwoWays {
        /// A rule that leads to the gateway.
        rule: RuleId,
        /// The gateway.
        gateway: IpAddr,
        /// A rule in front of it that leads there too.
        other: RuleId,
    },
    /// The rule takes ESP and leaves IKE with the same gateway out: nothing could be negotiated through it.
    #[error("it takes ESP to {gateway} and not all of IKE with it")]
    WithoutIke {
        /// The rule around.
        rule: RuleId,
        /// The gateway inside.
        gateway: IpAddr,
    },
    /// Our address towards the peer is not known, so nobody can say what the packet outside will be.
    #[error("our address towards {gateway} is not known")]
    NoSource {
        /// The rule that leads there.
        rule: RuleId,
        /// Its gateway.
        gateway: IpAddr,
    },
    /// A gateway around others is to be discovered, and by the letter of box 718 nobody knows for which packets.
    #[error("a tunnel around others is discovered only with `rematch = \"wire\"`")]
    DiscoverByTheLetter {
        /// The rule that discovers.
        rule: RuleId,
        /// The gateway inside.
        gateway: IpAddr,
    },
    /// After [`WAY_STEPS_MAX`] looks at rules nobody can say what carries the rest.
    #[error("too many rules could carry what goes to {gateway}: {WAY_STEPS_MAX} looks did not settle it")]
    TooMany {
        /// A rule that leads to the gateway.
        rule: RuleId,
        /// The gateway.
        gateway: IpAddr,
    },
}

/// What the rules alone do not say.
pub struct Known<'a> {
    /// As what a packet is looked up again.
    pub rematching: Rematching,
    /// Our address towards a peer, where it is known.
    pub local: &'a dyn Fn(PeerId) -> Option<IpAddr>,
    /// The rule that discovered a rule.
    pub within: &'a dyn Fn(RuleId) -> Option<RuleId>,
}

/// The way to each gateway that is not simply reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    ways: BTreeMap<(IpAddr, IpAddr), Result<Way, WayError>>,
}

/// Nothing around.
static CLEAR: Way = Way { levels: Vec::new(), discovers: None };

impl Ways {
    /// What is around what goes from that address of ours to that gateway, or host.
    ///
    /// # Errors
    /// Rules contradict each other there: nothing is sent.
    pub fn to(&self, local: IpAddr, gateway: IpAddr) -> Result<&Way, WayError> {
        // What is known of no address of ours holds for all.
        let known =
            self.ways.get(&(local, gateway)).or_else(|| self.ways.get(&(unspecified(gateway), gateway)));
        known.map_or(Ok(&CLEAR), |way| way.as_ref().map_err(|error| *error))
    }

    /// All that are wrong, each once, in the order of our addresses and the gateways.
    pub fn errors(&self) -> impl Iterator<Item = WayError> + '_ {
        let mut seen = HashSet::new();
        let errors = self.ways.values().filter_map(|way| way.as_ref().err().copied());
        errors.filter(move |error| seen.insert(*error))
    }

    /// All that lead through tunnels: our address, the gateway inside, and what is around.
    pub fn nested(&self) -> impl Iterator<Item = (IpAddr, IpAddr, &Way)> {
        self.ways.iter().filter_map(|((local, gateway), way)| Some((*local, *gateway, way.as_ref().ok()?)))
    }

    /// Whether every gateway is simply reached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }
}

/// What stands for our address where nobody knows it.
const fn unspecified(gateway: IpAddr) -> IpAddr {
    match gateway {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Finds all ways. Looks at rules at most [`WAY_STEPS_MAX`] times; what is not settled then is an error.
#[must_use]
pub fn ways(rules: &RuleSet, known: &Known<'_>) -> Ways {
    if !is_any_led_on(rules) {
        return Ways::default();
    }
    let atlas = Atlas {
        rules,
        known,
        tree: RuleTree::new(&rules.tunnel),
        led_on: RefCell::default(),
        found: RefCell::default(),
    };
    let mut drawn = Drawn::default();
    for rule in &rules.tunnel {
        if let Some(gateway) = rule.gateway.address() {
            atlas.note(&mut drawn, rule.id, rule.peer, gateway, &rule.selector);
        }
    }
    for (rule, protection) in rules.protections() {
        atlas.note(&mut drawn, protection.rule, protection.peer, protection.host, &rule.selector);
    }
    drawn.finish(known)
}

/// Whether any rule takes what goes to the gateway of another one. Mostly none does, and then nothing is inside anything:
/// that is known sooner than the tree of all rules is made.
fn is_any_led_on(rules: &RuleSet) -> bool {
    let own = rules.tunnel.iter().filter_map(|rule| rule.gateway.address());
    let mut gateways: Vec<IpAddr> = own.chain(rules.protections().map(|(_, own)| own.host)).collect();
    gateways.sort_unstable();
    gateways.dedup();
    rules.tunnel.iter().any(|rule| {
        let range = &rule.selector.destination;
        let first = gateways.partition_point(|gateway| *gateway < range.first());
        // Of two one is not its own.
        let mut within = gateways[first..].iter().take_while(|gateway| **gateway <= range.last()).take(2);
        within.any(|gateway| rule.gateway.address() != Some(*gateway))
    })
}

/// What was found, and for which rule first.
#[derive(Default)]
struct Drawn {
    ways: BTreeMap<(IpAddr, IpAddr), (RuleId, Result<Way, WayError>)>,
}

impl Drawn {
    /// Who comes first has no say: one error, or two different ways, and there is none.
    fn agree(&mut self, (local, gateway): (IpAddr, IpAddr), rule: RuleId, found: Result<Way, WayError>) {
        match self.ways.entry((local, gateway)) {
            Entry::Vacant(vacant) => {
                vacant.insert((rule, found));
            }
            Entry::Occupied(mut known) => {
                let (other, way) = known.get_mut();
                if way.is_ok() && found != *way {
                    let two = WayError::TwoWays { rule, gateway, other: *other };
                    *way = Err(found.err().unwrap_or(two));
                }
            }
        }
    }

    /// A way leads through tunnels whose gateways are reached too, or it is none.
    fn finish(self, known: &Known<'_>) -> Ways {
        let wrong_at = |outer: &Outer| {
            let local = (known.local)(outer.peer)?;
            self.ways.get(&(local, outer.gateway)).and_then(|(_, way)| way.as_ref().err().copied())
        };
        let settle = |way: &Result<Way, WayError>| {
            let way = way.as_ref().map_err(|error| *error)?;
            way.levels.iter().find_map(wrong_at).map_or_else(|| Ok(way.clone()), Err)
        };
        let ways = self.ways.iter().map(|(between, (_, way))| (*between, settle(way)));
        Ways { ways: ways.filter(|(_, way)| way.as_ref() != Ok(&CLEAR)).collect() }
    }
}

/// The rules, and what was found out about them.
struct Atlas<'a> {
    rules: &'a RuleSet,
    known: &'a Known<'a>,
    tree: RuleTree,
    /// Whether any rule leads on from a gateway.
    led_on: RefCell<HashMap<IpAddr, bool>>,
    found: RefCell<HashMap<Sent, Carried>>,
}

/// What is looked up: all packets of a rule once they go to a gateway. Of the wire's reading all fields of the packets
/// follow from our address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sent {
    gateway: IpAddr,
    packets: Selector,
    /// A rule does not discover the way to what it has discovered.
    but: Option<RuleId>,
}

/// What becomes of it.
#[derive(Clone, Copy)]
enum Carried {
    /// No rule leads on.
    Clear,
    /// This one takes all, by its place.
    By(usize),
    /// This one takes a part.
    Partly(RuleId),
    /// This one takes ESP and not all of IKE.
    WithoutIke(RuleId),
    /// This one would have to discover for packets that nobody can name.
    Unnamed(RuleId),
    /// It was not found out.
    Unknown,
}

impl<'a> Atlas<'a> {
    /// The way of one rule.
    fn note(&self, drawn: &mut Drawn, rule: RuleId, peer: PeerId, gateway: IpAddr, selector: &Selector) {
        if !self.is_led_on(gateway) {
            return;
        }
        let local = (self.known.local)(peer);
        let found = local.ok_or(WayError::NoSource { rule, gateway });
        let found = found.and_then(|local| self.climb(rule, local, gateway, selector));
        drawn.agree((local.unwrap_or_else(|| unspecified(gateway)), gateway), rule, found);
    }

    /// Whether any rule could take what goes to that gateway to another one.
    fn is_led_on(&self, gateway: IpAddr) -> bool {
        let look = || {
            let anywhere = AddressRange::any(gateway.is_ipv6());
            let mut touching = self.tree.touching(anywhere, gateway);
            let leads_on = touching.any(|at| self.rules.tunnel[at].gateway.address() != Some(gateway));
            leads_on || self.tree.is_spent()
        };
        *self.led_on.borrow_mut().entry(gateway).or_insert_with(look)
    }

    /// Boxes 712 to 718 for all packets of a rule.
    fn climb(
        &self,
        rule: RuleId,
        local: IpAddr,
        gateway: IpAddr,
        selector: &Selector,
    ) -> Result<Way, WayError> {
        let mut way = Way::default();
        let (mut inner, mut source, mut at) = (rule, local, gateway);
        let mut seen = vec![gateway];
        while let Some(outer) = self.around(inner, (source, at), selector)? {
            let Gateway::Address(next) = outer.gateway else {
                way.discovers = Some(outer.id);
                return Ok(way);
            };
            if seen.contains(&next) {
                return Err(WayError::Loop { rule: outer.id, gateway: next });
            }
            // The tunnel itself is a level.
            if way.levels.len() + 1 >= STACK_DEPTH_MAX {
                return Err(WayError::TooDeep { rule });
            }
            way.levels.push(level(outer, next, (source, at)));
            let no_source = WayError::NoSource { rule: outer.id, gateway: next };
            source = (self.known.local)(outer.peer).ok_or(no_source)?;
            (inner, at) = (outer.id, next);
            seen.push(next);
        }
        Ok(way)
    }

    /// The one rule that carries what a tunnel sends; `None` where nothing does.
    fn around(
        &self,
        inner: RuleId,
        (local, gateway): (IpAddr, IpAddr),
        selector: &Selector,
    ) -> Result<Option<&'a TunnelRule>, WayError> {
        let packets = match self.known.rematching {
            Rematching::Destination => Selector { destination: AddressRange::single(gateway), ..*selector },
            Rematching::Wire => everything_to(local, AddressRange::single(gateway)),
        };
        let sent = Sent { gateway, packets, but: (self.known.within)(inner) };
        let carried = *self.found.borrow_mut().entry(sent).or_insert_with(|| match self.known.rematching {
            Rematching::Destination => self.by_the_letter(&sent),
            Rematching::Wire => self.on_the_wire(local, &sent),
        });
        match carried {
            Carried::Clear => Ok(None),
            Carried::By(at) => Ok(Some(&self.rules.tunnel[at])),
            Carried::Partly(other) => Err(WayError::Ambiguous { rule: inner, gateway, other }),
            Carried::WithoutIke(rule) => Err(WayError::WithoutIke { rule, gateway }),
            Carried::Unnamed(rule) => Err(WayError::DiscoverByTheLetter { rule, gateway }),
            Carried::Unknown => Err(WayError::TooMany { rule: inner, gateway }),
        }
    }

    /// Each of the packets is asked about with only its destination replaced: they must all meet the same rule.
    fn by_the_letter(&self, sent: &Sent) -> Carried {
        let mut stopping = None;
        for (at, rule) in self.asked(sent).filter(|(_, rule)| may_match(&rule.selector, &sent.packets)) {
            let leads_on = rule.gateway.address() != Some(sent.gateway);
            let takes_all = takes_all(&rule.selector, &sent.packets);
            match (leads_on, takes_all) {
                (true, _) if rule.gateway == Gateway::Discover => return Carried::Unnamed(rule.id),
                (true, false) => return Carried::Partly(rule.id),
                (true, true) => return stopping.map_or(Carried::By(at), Carried::Partly),
                (false, true) => return self.unless_spent(Carried::Clear),
                (false, false) => stopping = stopping.or(Some(rule.id)),
            }
        }
        self.unless_spent(Carried::Clear)
    }

    /// What goes out is known but for NAT: ESP, and IKE with the same gateway.
    fn on_the_wire(&self, local: IpAddr, sent: &Sent) -> Carried {
        let packet = esp(local, sent.gateway);
        let first = |packet: &FiveTuple| self.asked(sent).find(|(_, rule)| rule.selector.contains(packet));
        let Some((at, rule)) = first(&packet) else { return self.unless_spent(Carried::Clear) };
        if rule.gateway.address() == Some(sent.gateway) {
            return Carried::Clear;
        }
        let takes = |port: u16| {
            let ports = (Some(port), Some(port));
            let ike = FiveTuple { protocol: UDP, source_port: ports.0, destination_port: ports.1, ..packet };
            first(&ike).map(|(at, _)| at) == Some(at)
        };
        let takes_ike = is_whole(&rule.selector) && IKE_PORTS.into_iter().all(takes);
        self.unless_spent(if takes_ike { Carried::By(at) } else { Carried::WithoutIke(rule.id) })
    }

    /// The rules that could match by their addresses, in their order.
    fn asked(&self, sent: &Sent) -> impl Iterator<Item = (usize, &'a TunnelRule)> {
        let touching = self.tree.touching(sent.packets.source, sent.gateway);
        let but = sent.but;
        touching.map(|at| (at, &self.rules.tunnel[at])).filter(move |(_, rule)| Some(rule.id) != but)
    }

    fn unless_spent(&self, carried: Carried) -> Carried {
        if self.tree.is_spent() { Carried::Unknown } else { carried }
    }
}

/// The tunnel of a rule around what goes from our address to a gateway inside.
fn level(rule: &TunnelRule, gateway: IpAddr, (local, inside): (IpAddr, IpAddr)) -> Outer {
    let own = rule.selector;
    let is_own = is_whole(&own) && own.source.contains(local) && own.destination.contains(inside);
    let selector = if is_own { own } else { everything_to(local, own.destination) };
    Outer { rule: rule.id, peer: rule.peer, gateway, selector, is_own }
}

/// All that goes from an address of ours to those.
const fn everything_to(local: IpAddr, destination: AddressRange) -> Selector {
    Selector {
        source: AddressRange::single(local),
        destination,
        protocol: Protocol::Any,
        source_port: PortRange::ANY,
        destination_port: PortRange::ANY,
    }
}

/// IANA protocol number of UDP.
const UDP: u8 = 17;
/// Ports of IKE (RFC 2408 §2.5.1, RFC 3947 §4).
const IKE_PORTS: [u16; 2] = [500, 4500];

/// Whether it is about all that goes between two addresses.
fn is_whole(selector: &Selector) -> bool {
    selector.protocol == Protocol::Any
        && selector.source_port == PortRange::ANY
        && selector.destination_port == PortRange::ANY
}

/// Whether some of the packets match, or could if they showed what they hide; addresses left aside.
fn may_match(rule: &Selector, packets: &Selector) -> bool {
    let meet = |a: PortRange, b: PortRange| a.first() <= b.last() && b.first() <= a.last();
    let ports =
        meet(rule.source_port, packets.source_port) && meet(rule.destination_port, packets.destination_port);
    let any_port = rule.source_port == PortRange::ANY && rule.destination_port == PortRange::ANY;
    let is_in_front = |number| packets.source.is_ipv6() && is_in_front(number);
    match (rule.protocol, packets.protocol) {
        // What names a header that stands in front of others hides what follows.
        (_, Protocol::Is(number)) if is_in_front(number) => ports,
        (Protocol::Is(number), Protocol::Any) if is_in_front(number) => ports,
        (Protocol::Is(rule), Protocol::Is(number)) if rule != number => false,
        // Nothing of it has a port to match.
        (Protocol::Is(number), _) | (_, Protocol::Is(number)) if !has_ports(number) => any_port,
        _ => ports,
    }
}

/// Whether all of the packets match; their destination left aside.
fn takes_all(rule: &Selector, packets: &Selector) -> bool {
    let ports = |rule: PortRange, packets: PortRange| {
        rule.first() <= packets.first() && packets.last() <= rule.last()
    };
    rule.source.contains_range(&packets.source)
        && (rule.protocol == Protocol::Any || rule.protocol == packets.protocol)
        && ports(rule.source_port, packets.source_port)
        && ports(rule.destination_port, packets.destination_port)
}
