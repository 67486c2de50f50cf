//! From the rules in force to the tunnels that are around others (REQUIREMENTS NT-7, NT-21, NT-34).
//!
//! ```text
//! rules ──> ways ──> levels: a tunnel for each rule that carries, as seen from our address inside it
//!                └─> bases: what is around each rule's own tunnel
//! ```
//!
//! A level is a tunnel like any other: it has an identifier, a child that IKE negotiates, pairs, a rekey. Where a rule's own
//! traffic contains all that the level carries it is that rule's own tunnel. Otherwise it is one more, under an identifier
//! that no packet is classified into.

use crate::config::{Start, TunnelConfig, TunnelsConfig};
use crate::negotiator::Negotiator;
use crate::tunnel::Tunnel;
use crate::tunnels::Tunnels;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;
use warren_ike::{ChildConfig, Path, PeerConfig};
use warren_policy::{Known, Outer, PeerId, Rematching, RuleId, Way, WayError, Ways, ways};
use warren_seam::{Carrier, SaId};

/// Which tunnels are around others, and around which.
#[derive(Default)]
pub(crate) struct Nesting {
    pub(crate) rematch: Rematching,
    /// Our addresses towards configured peers.
    pub(crate) locals: BTreeMap<PeerId, IpAddr>,
    pub(crate) ways: Ways,
    /// Tunnels that are there only for what is inside of them: by their rule, and our address inside.
    pub(crate) levels: BTreeMap<(RuleId, IpAddr), RuleId>,
    /// Rules whose tunnels are inside others.
    pub(crate) bases: BTreeMap<RuleId, Base>,
    /// The rules have changed since the ways were found.
    is_stale: bool,
    /// What the ways will be then, where somebody had to know.
    coming: Option<Ways>,
}

impl Nesting {
    /// What the configuration says of it. The rules come later.
    pub(crate) fn adopt(&mut self, config: &TunnelsConfig) {
        let local = |peer: &PeerConfig| (!peer.local.is_unspecified()).then_some((peer.id, peer.local));
        self.rematch = config.rematch;
        self.locals = config.peers.iter().filter_map(local).collect();
        self.grow_stale();
    }

    /// The rules have changed.
    pub(crate) fn grow_stale(&mut self) {
        self.is_stale = true;
        self.coming = None;
    }
}

/// What is around a rule's own tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// These tunnels, from the inside out.
    Inside {
        around: Vec<RuleId>,
        /// Where the tunnel itself leads, and what the rules say of those around it: the stack's actions.
        by: (IpAddr, Vec<Outer>),
        /// Our address, and the outermost gateway that is known: this rule discovers what is around that.
        discovers: Option<(RuleId, IpAddr, IpAddr)>,
    },
    /// The rules contradict each other there.
    Refused(WayError),
}

impl Base {
    fn around(&self) -> &[RuleId] {
        match self {
            Self::Inside { around, .. } => around,
            Self::Refused(_) => &[],
        }
    }
}

/// How a datagram leaves.
pub(crate) enum Exit {
    /// As it is.
    Clear,
    /// Inside these.
    Through(Vec<SaId>),
    /// Not at all: what it would have to be inside of is not there.
    Shut,
}

impl<N: Negotiator> Tunnels<N> {
    /// What is around the tunnels of each gateway, by the rules in force.
    #[must_use]
    pub const fn ways(&self) -> &Ways {
        &self.nesting.ways
    }

    /// The identifier that the SAs of a tunnel around others carry: that of a rule, as seen from that address of ours.
    #[must_use]
    pub fn level(&self, rule: RuleId, local: IpAddr) -> Option<RuleId> {
        // Where the rule's own tunnel carries it there is no other.
        let own = || self.tunnels.contains_key(&rule).then_some(rule);
        self.nesting.levels.get(&(rule, local)).copied().or_else(own)
    }

    /// Our address towards a peer.
    #[must_use]
    pub fn local(&self, peer: PeerId) -> Option<IpAddr> {
        let guest = || self.guests.get(&peer).map(|guest| guest.local);
        // What discovery found is spoken to from where its template says.
        let discovered = || {
            let (within, _) = self.discovery.whereabouts(peer)?;
            let template = self.own_rules.tunnel_rule(within)?.peer;
            self.nesting.locals.get(&template).copied()
        };
        self.nesting.locals.get(&peer).copied().or_else(guest).or_else(discovered)
    }

    /// Finds the ways anew if the rules changed, and makes the tunnels follow. Whether anything changed.
    pub(crate) fn settle_ways(&mut self, now: Duration) -> bool {
        if !std::mem::take(&mut self.nesting.is_stale) {
            return false;
        }
        let found = self.nesting.coming.take().unwrap_or_else(|| self.find_ways());
        if found.is_empty() && self.nesting.ways.is_empty() {
            return false;
        }
        let wanted = self.wanted_levels(&found);
        let going = self.going_levels(&wanted);
        let bases = |tunnels: &Self| tunnels.bases(&found);
        // Stacks that would be others now are taken down by the ways that they were built by.
        let changed: BTreeSet<RuleId> = {
            let after = bases(self);
            let before = &self.nesting.bases;
            let differs = |rule: &&RuleId| before.get(rule) != after.get(rule);
            before.keys().chain(after.keys()).filter(differs).copied().collect()
        };
        let concerned = |tunnels: &Self, rule: RuleId| {
            changed.contains(&rule) || tunnels.stack_uses(rule, &|level| going.contains(&level))
        };
        let stacks: Vec<RuleId> = self.stacks.keys().copied().filter(|rule| concerned(self, *rule)).collect();
        self.close_stacks(now, &stacks);
        self.take_out_of_use(now, &going);
        self.remove_dynamic(now, &going);
        self.nesting.levels.retain(|_, level| !going.contains(level));
        self.nesting.ways = found.clone();
        self.add_levels(now, &wanted);
        self.nesting.bases = self.bases(&found);
        for (rule, tunnel) in &mut self.tunnels {
            tunnel.is_inside = self.nesting.bases.contains_key(rule);
        }
        self.renew_carriers(now);
        for rule in changed {
            if self.kept_down.remove(&rule).is_some()
                && let Some(tunnel) = self.tunnels.get_mut(&rule)
            {
                tunnel.held_until = None;
                self.touched.push(rule);
            }
            self.rebind(rule);
            self.command(warren_seam::Command::Rearm(rule));
        }
        true
    }

    fn find_ways(&self) -> Ways {
        let known = Known {
            rematching: self.nesting.rematch,
            local: &|peer| self.local(peer),
            within: &|rule| self.discovery.within(rule),
        };
        ways(&self.rules, &known)
    }

    /// Levels that are no rule's own tunnel, by their rule and our address inside.
    fn wanted_levels(&self, ways: &Ways) -> BTreeMap<(RuleId, IpAddr), Outer> {
        let mut wanted = BTreeMap::new();
        for (local, _, way) in ways.nested() {
            for (outer, local) in self.seen_from(local, way) {
                if !outer.is_own {
                    wanted.insert((outer.rule, local), outer);
                }
            }
        }
        wanted
    }

    /// Each level of a way with our address in the packets that it carries.
    fn seen_from(&self, local: IpAddr, way: &Way) -> Vec<(Outer, IpAddr)> {
        let mut inside = Some(local);
        let mut seen = Vec::with_capacity(way.levels.len());
        for outer in &way.levels {
            let Some(local) = inside else { break };
            seen.push((*outer, local));
            inside = self.local(outer.peer);
        }
        seen
    }

    fn going_levels(&self, wanted: &BTreeMap<(RuleId, IpAddr), Outer>) -> Vec<RuleId> {
        let stays = |(place, level): &(&(RuleId, IpAddr), &RuleId)| {
            let child = &self.tunnels[*level].config.child;
            wanted.get(place).is_some_and(|outer| {
                child.selector == outer.selector
                    && child.peer == outer.peer
                    && self.tunnels.get(&outer.rule).is_some_and(|rule| {
                        ChildConfig {
                            rule: **level,
                            selector: child.selector,
                            carrier: child.carrier,
                            ..rule.config.child.clone()
                        } == *child
                    })
            })
        };
        self.nesting.levels.iter().filter(|level| !stays(level)).map(|(_, level)| *level).collect()
    }

    fn add_levels(&mut self, now: Duration, wanted: &BTreeMap<(RuleId, IpAddr), Outer>) {
        for (place, outer) in wanted {
            if self.nesting.levels.contains_key(place) {
                continue;
            }
            let Some(rule) = self.tunnels.get(&outer.rule) else { continue };
            let (name, child) = (rule.name.clone(), rule.config.child.clone());
            let Some(level) = self.identifiers.take_dynamic() else { continue };
            let child =
                ChildConfig { rule: level, selector: outer.selector, carrier: Carrier::Network, ..child };
            let config =
                TunnelConfig { child: child.clone(), start: Start::OnTraffic, parallel: NonZeroU16::MIN };
            let mut tunnel = Tunnel::new(now, name, config);
            tunnel.is_level = true;
            self.tunnels.insert(level, tunnel);
            self.nesting.levels.insert(*place, level);
            self.negotiator.add_child(now, child);
            self.touched.push(level);
        }
    }

    fn bases(&self, ways: &Ways) -> BTreeMap<RuleId, Base> {
        let tunnels =
            self.rules.tunnel.iter().filter_map(|rule| Some((rule.id, rule.peer, rule.gateway.address()?)));
        let protections = self.rules.protections().map(|(_, own)| (own.rule, own.peer, own.host));
        let mut bases = BTreeMap::new();
        for (rule, peer, gateway) in tunnels.chain(protections) {
            if let Some(base) = self.base(ways, peer, gateway) {
                bases.insert(rule, base);
            }
        }
        // What is around a level is around it for its own sake too.
        for ((rule, _), level) in &self.nesting.levels {
            let rule = self.rules.tunnel_rule(*rule);
            if let Some(base) = rule.and_then(|rule| self.base(ways, rule.peer, rule.gateway.address()?)) {
                bases.insert(*level, base);
            }
        }
        bases
    }

    /// The tunnel of a level; `None` where it has none.
    fn tunnel_of(&self, outer: &Outer, local: IpAddr) -> Option<RuleId> {
        let other = || self.nesting.levels.get(&(outer.rule, local)).copied();
        let tunnel = if outer.is_own { Some(outer.rule) } else { other() };
        tunnel.filter(|tunnel| self.tunnels.contains_key(tunnel))
    }

    fn base(&self, ways: &Ways, peer: PeerId, gateway: IpAddr) -> Option<Base> {
        let local = self.local(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        match ways.to(local, gateway) {
            Err(error) => Some(Base::Refused(error)),
            Ok(way) if way.levels.is_empty() && way.discovers.is_none() => None,
            Ok(way) => {
                let seen = self.seen_from(local, way);
                let around = seen.iter().map(|(outer, local)| self.tunnel_of(outer, *local));
                // There was no identifier left for one of them, or nothing is ever negotiated for it.
                let Some(around) = around.collect() else {
                    let rule = way.levels.first().map_or(RuleId(0), |outer| outer.rule);
                    return Some(Base::Refused(WayError::TooMany { rule, gateway }));
                };
                let outermost = seen.last().map_or(Some((local, gateway)), |(outer, _)| {
                    Some((self.local(outer.peer)?, outer.gateway))
                });
                let discovers =
                    way.discovers.zip(outermost).map(|(rule, (local, gateway))| (rule, local, gateway));
                Some(Base::Inside { around, by: (gateway, way.levels.clone()), discovers })
            }
        }
    }

    /// Every inbound SA is accepted only out of what is around it now.
    fn renew_carriers(&mut self, now: Duration) {
        let bases = &self.nesting.bases;
        let carrier = |rule: &RuleId| {
            let around = bases.get(rule).and_then(|base| base.around().first());
            around.map_or(Carrier::Network, |level| Carrier::Rule(*level))
        };
        let differs = |(rule, tunnel): &(&RuleId, &Tunnel)| {
            tunnel.config.child.carrier != carrier(rule) && !tunnel.config.child.is_divisible
        };
        let changed: Vec<(RuleId, Carrier)> =
            self.tunnels.iter().filter(differs).map(|(rule, _)| (*rule, carrier(rule))).collect();
        for (rule, carrier) in changed {
            self.close_all(now, rule);
            self.settle_closing(now);
            let tunnel = self.tunnel_mut(rule);
            tunnel.config.child.carrier = carrier;
            let child = tunnel.config.child.clone();
            self.negotiator.remove_child(now, rule);
            self.negotiator.add_child(now, child);
            self.drain(now);
        }
    }

    /// How what is said to a peer leaves (REQUIREMENTS NT-12).
    pub(crate) fn exit(&mut self, path: &Path) -> Exit {
        let (local, remote) = (path.local.ip(), path.remote.ip());
        let is_clear = |way: Result<&Way, WayError>| {
            way.is_ok_and(|way| way.levels.is_empty() && way.discovers.is_none())
        };
        if self.nesting.is_stale && is_clear(self.nesting.ways.to(local, remote)) {
            // Nothing leaves in clear any more that will have to go through a tunnel from this call on.
            let coming = self.nesting.coming.take().unwrap_or_else(|| self.find_ways());
            let is_open = is_clear(coming.to(local, remote));
            self.nesting.coming = Some(coming);
            return if is_open { Exit::Clear } else { Exit::Shut };
        }
        match self.nesting.ways.to(local, remote) {
            Err(_) => Exit::Shut,
            way if is_clear(way) => Exit::Clear,
            Ok(way) if way.discovers.is_some() => Exit::Shut,
            Ok(way) => {
                let sas = self.seen_from(local, way).into_iter().map(|(outer, local)| {
                    let tunnel = self.tunnels.get(&self.tunnel_of(&outer, local)?)?;
                    tunnel.best().map(|at| tunnel.pairs[at].outbound.id)
                });
                sas.collect::<Option<Vec<_>>>().map_or(Exit::Shut, Exit::Through)
            }
        }
    }

    /// Whether a peer that is reached through tunnels would be spoken to past them from now on: to another address than
    /// its gateway's no way is known.
    pub(crate) fn leaves_its_way(&self, sa: SaId, remote: IpAddr) -> bool {
        let Some(rule) = self.owner(sa) else { return false };
        let pairs = self.tunnels.get(&rule).into_iter().flat_map(|tunnel| &tunnel.pairs);
        let at = |facts: &crate::pair::SaFacts| facts.id == sa && facts.remote == remote;
        let is_there = pairs.into_iter().any(|pair| at(&pair.inbound) || at(&pair.outbound));
        self.nesting.bases.contains_key(&rule) && !is_there
    }

    /// The stacks that a rule's traffic takes now, one for each lane that is up, innermost SA first; none where any SA is
    /// missing.
    pub(crate) fn stacks_of(&self, rule: RuleId) -> Vec<Vec<SaId>> {
        let outbound = |rule: &RuleId| {
            let tunnel = self.tunnels.get(rule)?;
            tunnel.best().map(|at| tunnel.pairs[at].outbound.id)
        };
        match self.nesting.bases.get(&rule) {
            None => {
                let tunnel = self.tunnels.get(&rule);
                let bests = |tunnel: &Tunnel| {
                    tunnel.bests().into_iter().map(|at| tunnel.pairs[at].outbound.id).collect()
                };
                let lanes: Vec<SaId> = tunnel.map(bests).unwrap_or_default();
                lanes.into_iter().map(|sa| vec![sa]).collect()
            }
            Some(Base::Refused(_)) => Vec::new(),
            Some(Base::Inside { .. }) if !self.is_stack_usable(rule) => Vec::new(),
            Some(Base::Inside { around, .. }) => {
                let sas: Option<Vec<SaId>> = [rule].iter().chain(around).map(outbound).collect();
                sas.into_iter().collect()
            }
        }
    }
}
