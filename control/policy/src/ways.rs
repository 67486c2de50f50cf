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

use crate::limits::STACK_DEPTH_MAX;
use crate::rule::{Gateway, PeerId, RuleId, RuleSet, TunnelRule};
use crate::selector::{AddressRange, FiveTuple, PortRange, Protocol, Selector};
use crate::stack::esp;
use crate::stack_loops::overlap_but_destination;
use std::collections::BTreeMap;
use std::net::IpAddr;

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
        /// The rule whose gateway it is.
        rule: RuleId,
        /// The gateway.
        gateway: IpAddr,
    },
    /// More tunnels inside each other than [`STACK_DEPTH_MAX`].
    #[error("more than {STACK_DEPTH_MAX} tunnels inside each other")]
    TooDeep {
        /// The innermost.
        rule: RuleId,
    },
    /// One rule would send what goes to the gateway by another way than another rule, or than itself for other packets.
    #[error("{gateway} would be reached by two ways")]
    Ambiguous {
        /// A rule that leads to the gateway.
        rule: RuleId,
        /// The gateway.
        gateway: IpAddr,
        /// Who takes only a part of what goes there, or leads there by another way.
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
        /// The rule inside.
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
        self.ways.get(&(local, gateway)).map_or(Ok(&CLEAR), |way| way.as_ref().map_err(|error| *error))
    }

    /// All that are wrong, each once, in the order of the gateways.
    pub fn errors(&self) -> impl Iterator<Item = WayError> + '_ {
        self.ways.values().filter_map(|way| way.as_ref().err().copied())
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

/// Finds all ways.
#[must_use]
pub fn ways(rules: &RuleSet, known: &Known<'_>) -> Ways {
    let atlas = Atlas::new(rules, known);
    let mut ways = Ways::default();
    if atlas.carriers.is_empty() {
        return ways;
    }
    for rule in &rules.tunnel {
        if let Some(gateway) = rule.gateway.address() {
            atlas.note(&mut ways, rule.id, rule.peer, gateway, &rule.selector);
        }
    }
    for (rule, protection) in rules.protections() {
        atlas.note(&mut ways, protection.rule, protection.peer, protection.host, &rule.selector);
    }
    ways
}

/// The rules that can carry anything, by what they lead to.
struct Atlas<'a> {
    rules: &'a RuleSet,
    known: &'a Known<'a>,
    /// For each gateway or host, the tunnel rules with it inside their destination, in order, other than its own.
    carriers: BTreeMap<IpAddr, Vec<&'a TunnelRule>>,
}

impl<'a> Atlas<'a> {
    fn new(rules: &'a RuleSet, known: &'a Known<'a>) -> Self {
        let hosts = rules.protections().map(|(_, protection)| protection.host);
        let gateways = rules.tunnel.iter().filter_map(|rule| rule.gateway.address());
        let mut carriers: BTreeMap<IpAddr, Vec<&TunnelRule>> =
            gateways.chain(hosts).map(|gateway| (gateway, Vec::new())).collect();
        for rule in &rules.tunnel {
            let destination = &rule.selector.destination;
            for (_, around) in carriers.range_mut(destination.first()..=destination.last()) {
                around.push(rule);
            }
        }
        carriers.retain(|gateway, around| around.iter().any(|rule| rule.gateway.address() != Some(*gateway)));
        Self { rules, known, carriers }
    }

    /// The way of one rule, and those of all tunnels around it.
    fn note(&self, ways: &mut Ways, rule: RuleId, peer: PeerId, gateway: IpAddr, selector: &Selector) {
        if !self.carriers.contains_key(&gateway) {
            return;
        }
        let local = (self.known.local)(peer);
        let Some(local) = local else {
            let error = WayError::NoSource { rule, gateway };
            ways.ways.insert((IpAddr::from([0; 4]), gateway), Err(error));
            return;
        };
        let found = self.climb(rule, local, gateway, selector);
        // What is around a tunnel is a way of its own: to the gateway where that one ends.
        if let Ok(way) = &found {
            let mut rest = way.clone();
            while !rest.levels.is_empty() {
                let outer = rest.levels.remove(0);
                if let Some(local) = (self.known.local)(outer.peer) {
                    self.agree(ways, (local, outer.gateway), outer.rule, Ok(rest.clone()));
                }
            }
        }
        self.agree(ways, (local, gateway), rule, found);
    }

    fn agree(&self, ways: &mut Ways, between: (IpAddr, IpAddr), rule: RuleId, found: Result<Way, WayError>) {
        use std::collections::btree_map::Entry;
        match ways.ways.entry(between) {
            Entry::Vacant(vacant) => {
                vacant.insert(found);
            }
            Entry::Occupied(mut known) => {
                if known.get().is_ok() && found != *known.get() {
                    let other = known.get().as_ref().ok().and_then(|way| way.levels.first());
                    let other = other.map_or(rule, |outer| outer.rule);
                    let ambiguous = WayError::Ambiguous { rule, gateway: between.1, other };
                    *known.get_mut() = Err(found.err().unwrap_or(ambiguous));
                }
            }
        }
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
            way.levels.push(self.outer(outer, next, (source, at)));
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
        let Some(carriers) = self.carriers.get(&gateway) else { return Ok(None) };
        // A rule does not discover the way to what it has discovered.
        let own = (self.known.within)(inner);
        let carriers = carriers.iter().copied().filter(|rule| Some(rule.id) != own);
        let found = match self.known.rematching {
            Rematching::Destination => {
                let overlaps = |rule: &&TunnelRule| overlap_but_destination(selector, &rule.selector);
                let leads_on = |rule: &&TunnelRule| rule.gateway.address() != Some(gateway);
                let mut carriers = carriers.filter(overlaps);
                let Some(first) = carriers.next() else { return Ok(None) };
                if !leads_on(&first) && !carriers.any(|rule| leads_on(&rule)) {
                    return Ok(None);
                }
                if !contains_but_destination(&first.selector, selector) {
                    return Err(WayError::Ambiguous { rule: inner, gateway, other: first.id });
                }
                if first.gateway == Gateway::Discover {
                    return Err(WayError::DiscoverByTheLetter { rule: first.id, gateway });
                }
                first
            }
            Rematching::Wire => {
                let packet = esp(local, gateway);
                let Some(first) = carriers.clone().find(|rule| rule.selector.contains(&packet)) else {
                    return Ok(None);
                };
                let takes_ike = |port: u16| {
                    let ike = FiveTuple {
                        protocol: UDP,
                        source_port: Some(port),
                        destination_port: Some(port),
                        ..packet
                    };
                    carriers.clone().find(|rule| rule.selector.contains(&ike)).map(|rule| rule.id)
                        == Some(first.id)
                };
                if first.gateway.address() != Some(gateway)
                    && !(is_whole(&first.selector) && IKE_PORTS.into_iter().all(takes_ike))
                {
                    return Err(WayError::WithoutIke { rule: first.id, gateway });
                }
                first
            }
        };
        Ok(Some(found).filter(|rule| rule.gateway.address() != Some(gateway)))
    }

    fn outer(&self, rule: &TunnelRule, gateway: IpAddr, inside: (IpAddr, IpAddr)) -> Outer {
        debug_assert!(self.rules.tunnel.iter().any(|own| own.id == rule.id));
        let is_own = is_whole(&rule.selector)
            && rule.selector.source.contains(inside.0)
            && rule.selector.destination.contains(inside.1);
        let selector = if is_own {
            rule.selector
        } else {
            Selector {
                source: AddressRange::single(inside.0),
                destination: rule.selector.destination,
                protocol: Protocol::Any,
                source_port: PortRange::ANY,
                destination_port: PortRange::ANY,
            }
        };
        Outer { rule: rule.id, peer: rule.peer, gateway, selector, is_own }
    }
}

/// IANA protocol number of UDP.
const UDP: u8 = 17;
/// Ports of IKE (RFC 2408 §2.5.1, RFC 3947).
const IKE_PORTS: [u16; 2] = [500, 4500];

/// Whether it is about all that goes between two addresses.
fn is_whole(selector: &Selector) -> bool {
    selector.protocol == Protocol::Any
        && selector.source_port == PortRange::ANY
        && selector.destination_port == PortRange::ANY
}

fn contains_but_destination(whole: &Selector, part: &Selector) -> bool {
    let same = Selector { destination: part.destination, ..*whole };
    part.is_part_of(&same)
}
