//! Where the sets of a server's policy belong (REQUIREMENTS NT-36, DC-23): with which peer of ours they are negotiated, and
//! whether the way to that peer leads through the set that they name as their parent.
//!
//! ```text
//! accepted by the ceiling ──> its gateway is a peer of ours ──> it takes nobody's way ──> there is a way to its gateway
//!                             ──> that way begins with its parent ──> wishes
//! ```
//!
//! A server says only what it wants. The rules say what happens, and both must agree: a set is refused, alone and with
//! its reason, where it would be sent otherwise than its server believes, or where it would carry what the operator's own
//! tunnels send.

use crate::client::Client;
use crate::limits::PLACING_ROUNDS_MAX;
use crate::negotiator::Negotiator;
use crate::status::RefusedSet;
use crate::tunnels::Tunnels;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use warren_policy::ways::Known;
use warren_policy::{PeerId, PolicySet, RuleId, RuleSet, Selector, TunnelRule, WayError, Ways, ways};

/// Why a set that the ceiling accepts is not negotiated, as the rest of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misplaced {
    /// We negotiate with nobody whom the operator did not configure.
    #[error("no peer of ours is at its gateway {0}")]
    NoPeer(IpAddr),
    /// It would change how others are reached.
    #[error("it would carry what goes to {0}, the gateway of another tunnel or server")]
    TakesGateway(IpAddr),
    /// Nothing is around it.
    #[error("its parent {0} is refused")]
    ParentRefused(u16),
    /// The rules send it elsewhere than its server says.
    #[error("the way to its gateway {1} does not lead through its parent {0}")]
    NotThroughParent(u16, IpAddr),
    /// In a circle, too deep, or by two ways.
    #[error("there is no way to its gateway: {0}")]
    NoWay(WayError),
    /// Its message is so entangled that nobody looks at the rest of it.
    #[error("it is part of a knot of sets")]
    Knot,
}

impl Misplaced {
    fn refuses(&self, set: &PolicySet) -> RefusedSet {
        RefusedSet { id: Some(set.id), name: set.name.clone(), reason: self.to_string() }
    }
}

/// A set that the ceiling accepts, and where its SAs are negotiated.
pub(crate) struct Placed {
    pub(crate) set: PolicySet,
    /// Source is our side.
    pub(crate) selectors: Vec<Selector>,
    pub(crate) peer: PeerId,
    pub(crate) gateway: IpAddr,
}

impl Placed {
    /// Whether it is negotiated with the server itself and with nothing around it.
    fn is_simple(&self, server: IpAddr) -> bool {
        self.set.parent.is_none() && self.gateway == server
    }
}

type Verdict = Result<Placed, RefusedSet>;

impl<N: Negotiator> Tunnels<N> {
    /// Judges accepted sets, each for itself, in their order.
    pub(crate) fn place(&self, client: &Client, accepted: Vec<(PolicySet, Vec<Selector>)>) -> Vec<Verdict> {
        let foreign = self.gateways_of_others(client.config.peer);
        let judge = |(set, selectors): (PolicySet, Vec<Selector>)| {
            let gateway = set.gateway.unwrap_or(client.server);
            let taken = selectors.iter().find_map(|selector| {
                let range = &selector.destination;
                foreign.range(range.first()..=range.last()).next().copied()
            });
            if let Some(taken) = taken {
                return Err(Misplaced::TakesGateway(taken).refuses(&set));
            }
            match self.peer_at(client, gateway) {
                Some(peer) => Ok(Placed { set, selectors, peer, gateway }),
                None => Err(Misplaced::NoPeer(gateway).refuses(&set)),
            }
        };
        let mut verdicts: Vec<Verdict> = accepted.into_iter().map(judge).collect();
        let is_nested =
            |verdict: &Verdict| verdict.as_ref().is_ok_and(|placed| !placed.is_simple(client.server));
        if verdicts.iter().any(is_nested) {
            self.check_ways(client, &mut verdicts);
        }
        verdicts
    }

    /// The peer that a set with that gateway is negotiated with: the server itself, or the first peer of the operator's
    /// at that address that is reached from the same address of ours.
    pub(crate) fn peer_at(&self, client: &Client, gateway: IpAddr) -> Option<PeerId> {
        let server = client.config.peer;
        if gateway == client.server {
            return Some(server);
        }
        let local = self.nesting.locals.get(&server)?;
        let is_there = |(peer, host): (&PeerId, &IpAddr)| {
            (*host == gateway && self.nesting.locals.get(peer) == Some(local)).then_some(*peer)
        };
        self.hosts.iter().filter_map(is_there).min()
    }

    /// Where others than this server's policy lead: no set of it may carry what goes there.
    fn gateways_of_others(&self, server: PeerId) -> BTreeSet<IpAddr> {
        let own = self.own_rules.tunnel.iter().filter_map(|rule| rule.gateway.address());
        let hosts = self.own_rules.protections().map(|(_, protection)| protection.host);
        let clients = self.clients.values().filter(|other| other.config.peer != server);
        let servers = clients.map(|other| other.server).filter(|address| !address.is_unspecified());
        let holdings = self.holdings.iter().filter(|(peer, _)| **peer != server);
        let held = holdings.flat_map(|(_, holding)| holding.gateways());
        own.chain(hosts).chain(servers).chain(held).collect()
    }

    /// Refuses what the rules would send otherwise than its server says. Each refusal changes the ways of others, so
    /// that all are looked at again until nothing changes.
    fn check_ways(&self, client: &Client, verdicts: &mut [Verdict]) {
        let (others, place) = self.rules_of_others(client);
        for _ in 0..PLACING_ROUNDS_MAX {
            let mut rules = others.clone();
            let sets = add_rules(&mut rules, place, verdicts);
            let within = |rule| self.discovery.within(rule);
            let local = |peer| self.local(peer);
            let known = Known { rematching: self.nesting.rematch, local: &local, within: &within };
            let ways = ways(&rules, &known);
            let alive: HashSet<u16> = verdicts.iter().flatten().map(|placed| placed.set.id).collect();
            let mut is_settled = true;
            for verdict in verdicts.iter_mut() {
                let Ok(placed) = verdict else { continue };
                if placed.is_simple(client.server) {
                    continue;
                }
                let from = self.local(placed.peer);
                if let Err(misplaced) = check_way(placed, from, &ways, (&sets, &alive)) {
                    *verdict = Err(misplaced.refuses(&placed.set));
                    is_settled = false;
                }
            }
            if is_settled {
                return;
            }
        }
        for verdict in verdicts.iter_mut() {
            if let Ok(placed) = verdict
                && !placed.is_simple(client.server)
            {
                *verdict = Err(Misplaced::Knot.refuses(&placed.set));
            }
        }
    }

    /// The rules in force without what this server gave, and the place of what it gives.
    fn rules_of_others(&self, client: &Client) -> (RuleSet, usize) {
        let server = client.config.peer;
        let mut rules = self.compose();
        let held = |held: &PeerId| self.holdings.get(held).into_iter().flat_map(|holding| &holding.rules);
        let shields = self.clients.values().flat_map(|client| &client.shield).map(|(rule, _)| *rule);
        let own: BTreeSet<RuleId> =
            held(&server).copied().chain(client.shield.iter().map(|(rule, _)| *rule)).collect();
        let behind: BTreeSet<RuleId> = self
            .holdings
            .keys()
            .filter(|peer| **peer > server)
            .flat_map(held)
            .copied()
            .chain(shields)
            .collect();
        rules.tunnel.retain(|rule| !own.contains(&rule.id));
        let place = rules.tunnel.iter().position(|rule| behind.contains(&rule.id));
        let place = place.unwrap_or(rules.tunnel.len());
        (rules, place)
    }
}

/// Puts the rules of all sets that are not refused where they belong; says which rule is of which set. Their
/// identifiers are none that are ever taken.
fn add_rules(rules: &mut RuleSet, place: usize, verdicts: &[Verdict]) -> BTreeMap<RuleId, u16> {
    let mut sets = BTreeMap::new();
    let mut added = Vec::new();
    for placed in verdicts.iter().flatten() {
        for selector in &placed.selectors {
            let id = RuleId(u32::MAX - u32::try_from(sets.len()).unwrap_or(u32::MAX));
            sets.insert(id, placed.set.id);
            added.push(TunnelRule {
                id,
                name: placed.set.name.clone(),
                selector: *selector,
                peer: placed.peer,
                gateway: placed.gateway.into(),
            });
        }
    }
    rules.tunnel.splice(place..place, added);
    sets
}

fn check_way(
    placed: &Placed,
    from: Option<IpAddr>,
    ways: &Ways,
    (sets, alive): (&BTreeMap<RuleId, u16>, &HashSet<u16>),
) -> Result<(), Misplaced> {
    if let Some(parent) = placed.set.parent.filter(|parent| !alive.contains(parent)) {
        return Err(Misplaced::ParentRefused(parent));
    }
    // Where our address is not known, ways that lead through anything are errors under this one.
    let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let way = ways.to(from, placed.gateway).map_err(Misplaced::NoWay)?;
    let Some(parent) = placed.set.parent else { return Ok(()) };
    let around = way.levels.first().and_then(|outer| sets.get(&outer.rule));
    if around == Some(&parent) { Ok(()) } else { Err(Misplaced::NotThroughParent(parent, placed.gateway)) }
}
