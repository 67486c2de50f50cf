//! Tunnels that no file names: what pulled and served policy brings, next to the operator's own.
//!
//! Static and dynamic rules share one space of identifiers, smallest first, because tables are indexed by them. In the
//! rule set the operator's own come first, then the dynamic ones of each peer in the order of its sets, then shields.
//! Changing them costs no packet of what stays: what goes is unbound, then the rules change, then its SAs go.

use crate::config::{Start, TunnelConfig};
use crate::negotiator::Negotiator;
use crate::tunnel::Tunnel;
use crate::tunnels::Tunnels;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;
use warren_ike::ChildConfig;
use warren_policy::limits::RULES_MAX;
use warren_policy::{
    AddressRange, EspProposal, Gateway, Lifetime, PeerId, RuleId, RuleSet, Selector, TransportAction,
    TransportRule, TunnelRule,
};
use warren_seam::Command;

/// Identifiers of rules.
#[derive(Default)]
pub(crate) struct Identifiers {
    free: BTreeSet<RuleId>,
    next: u32,
}

impl Identifiers {
    /// The smallest that is free; `None` when there are as many rules as there may be, going ones included.
    pub(crate) fn take(&mut self) -> Option<RuleId> {
        if let Some(free) = self.free.pop_first() {
            return Some(free);
        }
        let id = RuleId(self.next);
        if id.0 as usize >= 2 * RULES_MAX {
            return None;
        }
        self.next += 1;
        Some(id)
    }

    /// The same for what policy from elsewhere brings: it leaves room for all that a file may hold.
    pub(crate) fn take_dynamic(&mut self) -> Option<RuleId> {
        let in_use = self.next as usize - self.free.len();
        if in_use < RULES_MAX { self.take() } else { None }
    }

    pub(crate) fn give_back(&mut self, rule: RuleId) {
        self.free.insert(rule);
    }
}

/// One SA that policy asks for.
pub(crate) struct Wish {
    pub(crate) name: String,
    /// Source is our side.
    pub(crate) selector: Selector,
    /// Strongest first.
    pub(crate) proposals: Vec<EspProposal>,
    pub(crate) lifetime: Lifetime,
    pub(crate) window_packets: u32,
    /// Whether all of its traffic may pass; otherwise only what other wishes permit does.
    pub(crate) permits: bool,
    /// The peer that it is negotiated with and the outer destination, where those are not of whose policy it is.
    pub(crate) elsewhere: Option<(PeerId, IpAddr)>,
}

impl Wish {
    fn child(&self, rule: RuleId, peer: PeerId) -> ChildConfig {
        ChildConfig {
            rule,
            peer: self.elsewhere.map_or(peer, |(elsewhere, _)| elsewhere),
            selector: self.selector,
            proposals: self.proposals.clone(),
            lifetime: self.lifetime,
            window_packets: self.window_packets,
            is_divisible: false,
            mode: warren_policy::SaMode::Tunnel,
            carrier: warren_seam::Carrier::Network,
        }
    }
}

/// What one peer's policy has brought.
pub(crate) struct Holding {
    /// The outer destination.
    pub(crate) gateway: IpAddr,
    /// In the order of its sets.
    pub(crate) rules: Vec<RuleId>,
    /// The outer destinations of those that have others.
    elsewhere: HashMap<RuleId, IpAddr>,
}

impl Holding {
    fn gateway_of(&self, rule: RuleId) -> IpAddr {
        self.elsewhere.get(&rule).copied().unwrap_or(self.gateway)
    }

    /// Everywhere it leads to.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.elsewhere.values().copied().chain([self.gateway])
    }
}

/// What became of the wishes.
pub(crate) struct Changed {
    /// The rule of each wish; `None` for what another wish has said, and when there are too many rules.
    pub(crate) rules: Vec<Option<RuleId>>,
    pub(crate) added: usize,
    pub(crate) removed: usize,
}

impl<N: Negotiator> Tunnels<N> {
    /// Makes the dynamic tunnels of `peer` what is wished for. What is the same keeps its identifier and its SAs.
    pub(crate) fn change_dynamic(
        &mut self,
        now: Duration,
        (peer, gateway): (PeerId, IpAddr),
        wishes: &[Wish],
        start: Start,
    ) -> Changed {
        let old = self.holdings.remove(&peer);
        let led_to: HashMap<RuleId, IpAddr> =
            old.iter().flat_map(|old| old.rules.iter().map(|rule| (*rule, old.gateway_of(*rule)))).collect();
        let old = old.map(|old| old.rules).unwrap_or_default();
        let mut by_selector: HashMap<Selector, RuleId> =
            old.iter().map(|rule| (self.tunnels[rule].config.child.selector, *rule)).collect();
        let same = |tunnels: &Self, rule: RuleId, wish: &Wish| {
            let leads_to = wish.elsewhere.map_or(gateway, |(_, elsewhere)| elsewhere);
            let child = &tunnels.tunnels[&rule].config.child;
            led_to.get(&rule) == Some(&leads_to)
                && *child == ChildConfig { carrier: child.carrier, ..wish.child(rule, peer) }
        };
        let kept: Vec<Option<RuleId>> = wishes
            .iter()
            .map(|wish| {
                let rule = *by_selector.get(&wish.selector)?;
                same(self, rule, wish).then(|| by_selector.remove(&wish.selector)).flatten()
            })
            .collect();
        let stays: BTreeSet<RuleId> = kept.iter().flatten().copied().collect();
        let going: Vec<RuleId> = old.iter().copied().filter(|rule| !stays.contains(rule)).collect();
        self.take_out_of_use(now, &going);
        let mut rules = Vec::with_capacity(wishes.len());
        let mut fresh = Vec::new();
        let mut wished = HashSet::new();
        for (wish, kept) in wishes.iter().zip(kept) {
            let is_new = wished.insert(wish.selector);
            let rule = kept.or_else(|| {
                // The same traffic twice is one tunnel: nobody could tell which is meant.
                let rule = is_new.then(|| self.identifiers.take_dynamic()).flatten()?;
                let config = TunnelConfig { child: wish.child(rule, peer), start, parallel: NonZeroU16::MIN };
                self.tunnels.insert(rule, Tunnel::new(now, wish.name.clone(), config));
                fresh.push(rule);
                Some(rule)
            });
            if let Some(tunnel) = rule.and_then(|rule| self.tunnels.get_mut(&rule)) {
                tunnel.name.clone_from(&wish.name);
                tunnel.permits = wish.permits;
            }
            rules.push(rule);
        }
        let held: Vec<RuleId> = rules.iter().flatten().copied().collect();
        if !held.is_empty() {
            let elsewhere = wishes.iter().zip(&rules);
            let elsewhere =
                elsewhere.filter_map(|(wish, rule)| Some(((*rule)?, wish.elsewhere?.1))).collect();
            self.holdings.insert(peer, Holding { gateway, rules: held, elsewhere });
        }
        self.renew_rules();
        self.remove_dynamic(now, &going);
        for rule in &fresh {
            let child = self.tunnels[rule].config.child.clone();
            self.negotiator.add_child(now, child);
            // The identifier may have been another rule's, which had asked for SAs.
            self.command(Command::Rearm(*rule));
        }
        if !fresh.is_empty() {
            self.plan_starts(now);
        }
        Changed { rules, added: fresh.len(), removed: going.len() }
    }

    /// Their traffic is dropped from here on, and nothing of them is negotiated any more.
    pub(crate) fn take_out_of_use(&mut self, now: Duration, rules: &[RuleId]) {
        // What is inside of them goes first, while it still can say so. Another rule may have their identifiers soon.
        let going: HashSet<RuleId> = rules.iter().copied().collect();
        let concerned =
            |rule: &RuleId| going.contains(rule) || self.stack_uses(*rule, &|level| going.contains(&level));
        let stacks: Vec<RuleId> = self.stacks.keys().copied().filter(concerned).collect();
        self.close_stacks(now, &stacks);
        for rule in rules {
            if let Some(tunnel) = self.tunnels.get_mut(rule) {
                tunnel.closed = true;
                tunnel.held_until = None;
            }
            self.rebind(*rule);
        }
    }

    /// Their rules are out already.
    pub(crate) fn remove_dynamic(&mut self, now: Duration, rules: &[RuleId]) {
        for rule in rules {
            self.close_all(now, *rule);
        }
        self.settle_closing(now);
        for rule in rules {
            self.negotiator.remove_child(now, *rule);
        }
        self.drain(now);
        for rule in rules {
            self.forget(*rule);
            self.identifiers.give_back(*rule);
        }
    }

    pub(crate) fn forget(&mut self, rule: RuleId) {
        self.kept_down.remove(&rule);
        self.tunnels.remove(&rule);
        self.timers.set(rule, None);
    }

    /// Tells the engine the rules, if they changed.
    pub(crate) fn renew_rules(&mut self) {
        let rules = self.compose();
        if rules != self.rules {
            self.rules = rules.clone();
            self.nesting.grow_stale();
            self.command(Command::Rules(rules));
        }
    }

    /// The operator's rules, the dynamic ones behind them, and behind everything what was protected and must not leave
    /// in clear meanwhile: tunnel rules that nothing is ever bound to.
    pub(crate) fn compose(&self) -> RuleSet {
        let mut rules = RuleSet { transport: self.own_rules.transport.clone(), tunnel: Vec::new() };
        for rule in &self.own_rules.tunnel {
            if rule.gateway == Gateway::Discover {
                rules.tunnel.extend(self.parts_of(rule.id));
            }
            rules.tunnel.push(rule.clone());
        }
        for holding in self.holdings.values() {
            for rule in self.in_order(holding) {
                let tunnel = &self.tunnels[rule];
                let (name, selector) = (tunnel.name.clone(), tunnel.config.child.selector);
                let action = TransportAction::Permit;
                if tunnel.permits {
                    rules.transport.push(TransportRule { name: name.clone(), selector, action });
                }
                let (peer, gateway) = (tunnel.config.child.peer, holding.gateway_of(*rule));
                let gateway = gateway.into();
                rules.tunnel.push(TunnelRule { id: *rule, name, selector, peer, gateway });
            }
        }
        for client in self.clients.values() {
            for (rule, range) in &client.shield {
                let Some(selector) = Selector::between(AddressRange::any(range.is_ipv6()), *range) else {
                    continue;
                };
                rules.tunnel.push(TunnelRule {
                    id: *rule,
                    name: format!("{}/shield", client.name),
                    selector,
                    peer: client.config.peer,
                    gateway: client.server.into(),
                });
            }
        }
        rules
    }

    /// The rules of a peer as they are tried. A tunnel for everything comes first as long as it is up, because the
    /// peer takes it for everything, and last while it is not.
    fn in_order<'a>(&'a self, holding: &'a Holding) -> impl Iterator<Item = &'a RuleId> {
        let place = |rule: &&RuleId| match &self.tunnels[*rule] {
            tunnel if tunnel.permits => 1,
            tunnel if !tunnel.bound.is_empty() => 0,
            _ => 2,
        };
        (0..3).flat_map(move |wanted| holding.rules.iter().filter(move |rule| place(rule) == wanted))
    }

    /// Children of every tunnel, as the negotiator knows them.
    pub(crate) fn all_children(&self, own: Vec<ChildConfig>) -> Vec<ChildConfig> {
        let pulled = self.holdings.values().flat_map(|holding| holding.rules.iter().copied());
        let around = self.nesting.levels.values().copied();
        let dynamic = pulled.chain(self.discovery.rules()).chain(around);
        own.into_iter().chain(dynamic.map(|rule| self.tunnels[&rule].config.child.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_identifier_that_is_free_comes_first_and_there_is_an_end() {
        let mut identifiers = Identifiers::default();
        let taken: Vec<_> = (0..4).filter_map(|_| identifiers.take()).map(|rule| rule.0).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
        identifiers.give_back(RuleId(2));
        identifiers.give_back(RuleId(0));
        assert_eq!([identifiers.take(), identifiers.take()], [Some(RuleId(0)), Some(RuleId(2))]);
        let dynamic = std::iter::from_fn(|| identifiers.take_dynamic()).last();
        assert_eq!(dynamic, Some(RuleId(RULES_MAX as u32 - 1)), "the rest is for the file");
        let last = std::iter::from_fn(|| identifiers.take()).last();
        assert_eq!(last, Some(RuleId(2 * RULES_MAX as u32 - 1)));
    }
}
