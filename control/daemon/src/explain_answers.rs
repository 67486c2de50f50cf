//! What `dpctl explain` is told by a running gateway: the rules in force walked as the daemon walks them, and for each level
//! the SAs that there are, or why there are none.

use crate::answers::state;
use crate::levels::Named;
use crate::stack_answers::{bound, lanes, rests, seconds_to};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use warren_api::TunnelState;
use warren_api::explain::{Explanation, Live, Place, Sealing, Subject};
use warren_policy::{
    EspTransform, FiveTuple, PeerId, Rematching, RuleId, RuleSet, Verdict, WayError, Ways, evaluate,
};
use warren_seam::Encapsulation;
use warren_tunnels::{StackState, StackStatus, State, TunnelStatus};

/// Everybody who is asked.
pub(crate) struct ExplainSources<'a> {
    pub(crate) now: Duration,
    pub(crate) rules: &'a RuleSet,
    /// What is around the tunnels of each gateway.
    pub(crate) ways: &'a Ways,
    /// Tunnels by their identifiers.
    pub(crate) named: &'a BTreeMap<RuleId, Named>,
    pub(crate) tunnels: &'a BTreeMap<RuleId, TunnelStatus>,
    pub(crate) stacks: &'a [StackStatus],
    /// Our address towards a peer, where it is known.
    pub(crate) local: &'a dyn Fn(PeerId) -> Option<IpAddr>,
    /// The rule that discovered a rule.
    pub(crate) within: &'a dyn Fn(RuleId) -> Option<RuleId>,
    pub(crate) peer: &'a dyn Fn(PeerId) -> String,
    /// The identifier of a rule's tunnel around others, as seen from an address of ours.
    pub(crate) level: &'a dyn Fn(RuleId, IpAddr) -> Option<RuleId>,
    /// What a rule's tunnel is offered with first.
    pub(crate) offered: &'a dyn Fn(RuleId) -> Option<EspTransform>,
    /// The worker that has the SAs of a rule's lane.
    pub(crate) owner: &'a dyn Fn(RuleId, u16) -> u16,
}

impl ExplainSources<'_> {
    pub(crate) fn explanation(&self, packet: &FiveTuple, rematching: Rematching, mtu: u16) -> Explanation {
        let subject = Subject {
            rules: self.rules,
            rematching,
            local: self.local,
            within: self.within,
            peer: self.peer,
            sealing: &|place| self.sealing(place),
            live: &|place| Some(self.live(place)),
        };
        let mut explanation = subject.explanation(packet, usize::from(mtu));
        if let Some(why) = self.contradiction(packet) {
            explanation.next = Some(format!("dropped: {why}"));
        }
        explanation
    }

    /// Rules that lead two ways to one gateway are no error of the packet's walk, and still nothing is built.
    fn contradiction(&self, packet: &FiveTuple) -> Option<WayError> {
        let Verdict::Protect(rule) = evaluate(self.rules, packet) else { return None };
        let named = self.named.get(&rule)?;
        let (local, gateway) = ((self.local)(named.peer)?, named.gateway.address()?);
        self.ways.to(local, gateway).err()
    }

    /// The tunnel that is the level: the rule's own where it is the innermost, otherwise the one around what goes to the
    /// gateway inside from our address towards that one.
    fn tunnel(&self, place: Place) -> Option<RuleId> {
        let Some(inside) = place.inside else { return Some(place.rule) };
        let local = (self.local)(self.named.get(&inside)?.peer)?;
        (self.level)(place.rule, local)
    }

    /// As the SAs do that there are; before, as would be offered first.
    fn sealing(&self, place: Place) -> Option<Sealing> {
        let tunnel = self.tunnel(place).and_then(|tunnel| self.tunnels.get(&tunnel));
        let agreed = tunnel.and_then(bound).map(|pair| Sealing {
            transform: pair.outbound.transform,
            in_udp: matches!(pair.outbound.encapsulation, Encapsulation::Udp { .. }),
        });
        agreed.or_else(|| (self.offered)(place.rule).map(Sealing::from))
    }

    fn live(&self, place: Place) -> Live {
        let identifier = self.tunnel(place);
        let tunnel = identifier.and_then(|tunnel| self.tunnels.get(&tunnel));
        let pair = tunnel.and_then(bound);
        let lanes = tunnel.map(|tunnel| lanes(tunnel, self.owner)).filter(|lanes| lanes.len() > 1);
        // Which one a packet takes, the worker decides that it comes to.
        let only = pair.filter(|_| lanes.is_none());
        let known = tunnel.map_or(State::Down, |tunnel| tunnel.state);
        let stack = self.stacks.iter().find(|stack| stack.rule == place.innermost);
        let fails = stack.and_then(|stack| self.stack_rests(stack, place));
        let levels = || self.stacks.iter().flat_map(|stack| stack.pending.iter().chain(&stack.completed));
        let users = levels().filter(|level| level.tunnel.is_some() && level.tunnel == identifier);
        Live {
            state: if fails.is_some() { TunnelState::HeldDown } else { state(known) }.word().to_owned(),
            gateway: pair.map(|pair| pair.outbound.remote.to_string()),
            spi_in: only.map(|pair| pair.inbound.spi.to_string()),
            spi_out: only.map(|pair| pair.outbound.spi.to_string()),
            worker: only
                .zip(identifier)
                .map(|(pair, tunnel)| usize::from((self.owner)(tunnel, pair.inbound.lane))),
            lanes: lanes.unwrap_or_default(),
            users: users.map(|level| level.users).max().unwrap_or(0),
            rests_s: fails.or_else(|| rests(self.now, known)),
            last_error: tunnel.and_then(|tunnel| tunnel.last_failure).map(|why| why.to_string()),
        }
    }

    /// Seconds for which the packet's stack is kept down because this level failed (REQUIREMENTS Q-22). The stack may know
    /// longer than the level's tunnel, which goes with the rest.
    fn stack_rests(&self, stack: &StackStatus, place: Place) -> Option<u64> {
        let StackState::HoldDown { until } = stack.state else { return None };
        let (failed, _) = stack.failed.as_ref()?;
        let rule = &self.named.get(&place.rule)?.rule;
        (rule == failed).then(|| seconds_to(self.now, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levels;
    use crate::levels::tests::{figure_7, ways_of};
    use crate::stack_answers::tests::{broken, tunnel};
    use warren_seam::SaId;

    const UP: State = State::Up { inbound: SaId(1), outbound: SaId(2) };

    /// About a packet of a host to site 2, and about one of the gateway itself to the protected host.
    fn explained(
        statuses: Vec<TunnelStatus>,
        stacks: &[StackStatus],
        asked: (Rematching, &str),
    ) -> Explanation {
        explained_by(&figure_7(), statuses, stacks, asked)
    }

    fn explained_by(
        rules: &RuleSet,
        statuses: Vec<TunnelStatus>,
        stacks: &[StackStatus],
        (rematching, source): (Rematching, &str),
    ) -> Explanation {
        let level = |rule, _| Some(rule);
        let ways = ways_of(rules);
        let named = levels::named(rules, &ways, level);
        let tunnels = statuses.into_iter().map(|status| (status.rule, status)).collect();
        let sources = ExplainSources {
            now: Duration::from_secs(5),
            rules,
            ways: &ways,
            named: &named,
            tunnels: &tunnels,
            stacks,
            local: &|_| Some("192.0.2.1".parse().unwrap()),
            within: &|_| None,
            peer: &|peer| if peer.0 == 4 { "b".to_owned() } else { format!("sg{}", 3 - peer.0) },
            level: &level,
            offered: &|_| Some("aes128-sha256".parse::<warren_policy::EspProposal>().unwrap().transform),
            owner: &|rule, lane| rule.0 as u16 + 5 + lane,
        };
        let packet = FiveTuple {
            source: source.parse().unwrap(),
            destination: "10.2.0.9".parse().unwrap(),
            protocol: 6,
            source_port: Some(1024),
            destination_port: Some(443),
        };
        sources.explanation(&packet, rematching, 1500)
    }

    const HOST: (Rematching, &str) = (Rematching::Destination, "10.1.0.5");

    #[test] // NT-10, NT-11, NT-33
    fn what_is_up_costs_what_was_agreed_and_what_is_missing_what_would_be_offered() {
        let said = explained(vec![tunnel(2, UP, Some(0xc0ff_ee00))], &[], HOST);
        let rules: Vec<_> = said.performed.iter().map(|level| level.rule.as_str()).collect();
        assert_eq!(rules, ["to-sg2", "to-sg3", "sites", "all"]);
        let costs: Vec<_> = said.performed.iter().filter_map(|level| level.esp.as_ref()).collect();
        let seen: Vec<_> = costs.iter().map(|cost| (cost.transform.as_str(), cost.in_udp)).collect();
        assert_eq!(seen, [("aes256gcm16", true), ("aes128-sha256", false), ("aes128-sha256", false)]);
        let live = said.performed[0].live.as_ref().unwrap();
        assert_eq!((live.state.as_str(), live.worker), ("up", Some(7)));
        assert_eq!((live.spi_in.as_deref(), live.spi_out.as_deref()), (Some("c0ffee00"), Some("c0ffee01")));
        assert_eq!(live.gateway.as_deref(), Some("198.51.100.99"), "where it really ends");
        assert!(said.performed[3].live.is_none(), "what only permits has no SA");
        assert_eq!(said.missing, ["to-sg3", "sites"]);
        assert_eq!(
            said.next.unwrap(),
            "dropped; the first packet would build: to-sg3 through sg2, then sites through sg3"
        );
    }

    #[test] // F-17
    fn of_pairs_side_by_side_all_are_named_with_their_workers_and_none_is_preferred() {
        let mut several = tunnel(2, UP, Some(0x100));
        let mut second = tunnel(2, UP, Some(0x200)).pairs.remove(0);
        (second.inbound.lane, second.outbound.lane, second.bound) = (1, 1, true);
        several.pairs[0].bound = true;
        several.pairs.insert(0, second);
        let said = explained(vec![several], &[], HOST);
        let live = said.performed[0].live.as_ref().unwrap();
        let lanes: Vec<_> =
            live.lanes.iter().map(|own| (own.lane, own.spi_in.as_str(), own.worker)).collect();
        assert_eq!(lanes, [(0, "00000100", 7), (1, "00000200", 8)]);
        assert_eq!((live.worker, live.spi_in.as_deref(), live.spi_out.as_deref()), (None, None, None));
        let one = explained(vec![tunnel(2, UP, Some(0x100))], &[], HOST);
        assert!(one.performed[0].live.as_ref().unwrap().lanes.is_empty());
    }

    #[test]
    fn a_level_that_failed_is_held_down_for_this_stack_and_for_how_long_is_said() {
        let up = vec![tunnel(2, UP, Some(0x100))];
        let said = explained(up.clone(), &[broken(Duration::from_secs(17))], HOST);
        assert_eq!(said.next.unwrap(), "dropped: level 2, to-sg3 through sg2, is held down for 12 s more");
        assert_eq!(said.performed[0].live.as_ref().unwrap().users, 2);
        let protected = explained(up, &[broken(Duration::from_secs(17))], (HOST.0, "192.0.2.1"));
        assert!(protected.next.unwrap().contains("would build"), "another stack of the same levels");
    }

    #[test] // NT-15, Q-19
    fn all_levels_up_is_passing_and_asked_by_the_wire_the_walk_is_another() {
        let up = [0, 1, 2].map(|at| tunnel(at, UP, Some(0x100 + at))).to_vec();
        let said = explained(up.clone(), &[], HOST);
        assert_eq!((said.missing.len(), said.next.as_deref()), (0, Some("passes: every level is up")));
        let wire = explained(up, &[], (Rematching::Wire, "10.1.0.5"));
        assert_eq!(wire.rematch, "wire");
        assert!(wire.tunnel[1].about.starts_with("50 192.0.2.1"), "{}", wire.tunnel[1].about);
    }

    #[test] // NT-28
    fn rules_that_contradict_each_other_build_nothing_and_that_is_what_happens_next() {
        let mut rules = figure_7();
        // Only the hosts' packets would go to sg3 through sg2; the gateway's own would go past it.
        rules.tunnel[1].selector.source = rules.tunnel[3].selector.source;
        let said = explained_by(&rules, Vec::new(), &[], HOST);
        assert_eq!(said.next.unwrap(), "dropped: 203.0.113.3 would be reached by two ways");
    }

    #[test] // NT-19
    fn a_protection_is_the_innermost_level_and_may_be_what_is_missing() {
        let up = [0, 1, 2].map(|at| tunnel(at, UP, Some(0x100 + at))).to_vec();
        let said = explained(up, &[], (HOST.0, "192.0.2.1"));
        assert_eq!(said.performed.last().unwrap().action, "protect");
        assert_eq!(said.missing, ["end"]);
        assert_eq!(said.next.unwrap(), "dropped; the first packet would build: end with b");
    }
}
