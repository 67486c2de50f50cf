//! Stacks in execution: figures 6 and 7 with real tunnels (REQUIREMENTS NT-10 … NT-19, NT-27, NT-29 … NT-32, Q-22).
//!
//! ```text
//! Acquire ──> Stack ──> advance: what does its transaction want?
//!              ▲          perform    open the level's tunnel ── News::Up | Failed ──┐
//!              │          tear down  close it, and IKE with its gateway             │
//!              │          cut, done  bind its rule to nothing | to all its SAs      │
//!              └───────────────────── settle_stacks, at the end of every input ─────┘
//! a level is lost ──> News::Lost ──> every stack on it goes back below it, and builds again
//! ```
//!
//! A stack belongs to the rule whose traffic it carries. It exists from the moment that traffic wants it until its last
//! level is given back; afterwards only the pause is left (hold-down), as long as that of the level that failed.

use crate::limits::{BACK_OFF_MIN, CONTRADICTION_PAUSE, STACK_LOOK_MIN, STACK_LOOKS_PER_IDLE};
use crate::negotiator::Negotiator;
use crate::notice::{Notice, StackEvent};
use crate::status::Trouble;
use crate::transaction::{Reason, Remains, Step, Transaction};
use crate::tunnels::Tunnels;
use crate::ways::Base;
use std::time::Duration;
use warren_ike::{Down, Failure, Role};
use warren_policy::{Action, FiveTuple, PendingStack, RuleId, Selector, TransportAction, Way};
use warren_seam::{Command, SaId};

/// IANA protocol number of ESP.
const ESP: u8 = 50;

/// What became of a tunnel.
pub(crate) enum News {
    /// It has a pair, perhaps one more.
    Up(RuleId, Role),
    /// A negotiation failed.
    Failed(RuleId, Failure),
    /// Its last pair is gone.
    Lost(RuleId, Down),
}

/// One rule's stack.
pub(crate) struct Stack {
    pub(crate) transaction: Transaction,
    /// The tunnels of its levels, bottom to top as they were pushed; `None` for a base rule that only permits.
    pub(crate) tunnels: Vec<Option<RuleId>>,
    pub(crate) since: Duration,
    /// When its traffic was last seen.
    pub(crate) active: Duration,
    /// Its traffic passes, and that has been said.
    is_up: bool,
    pub(crate) is_suspended: bool,
    /// Another stack performs the level that it needs next, or takes it away.
    is_waiting: bool,
    pub(crate) failed: Option<(String, Option<Trouble>)>,
}

/// What is left of a stack that came to nothing.
pub(crate) struct KeptDown {
    pub(crate) since: Duration,
    /// The level that failed, and why.
    pub(crate) failed: (String, Option<Trouble>),
}

impl Stack {
    /// Whether that tunnel is one of its levels, built or not.
    pub(crate) fn uses(&self, tunnel: RuleId) -> bool {
        self.tunnels.contains(&Some(tunnel))
    }

    /// The tunnel of the level that the transaction is at: to be performed next, or just taken off the completed ones.
    fn at(&self) -> Option<RuleId> {
        let at = self.tunnels.len().checked_sub(1 + self.transaction.completed().len())?;
        self.tunnels[at]
    }

    /// The place of a tunnel among the completed levels, counted from the nearest gateway.
    pub(crate) fn completed_at(&self, tunnel: RuleId) -> Option<usize> {
        let from_bottom = self.tunnels.iter().position(|own| *own == Some(tunnel))?;
        let at = self.tunnels.len() - 1 - from_bottom;
        (at < self.transaction.completed().len()).then_some(at)
    }
}

/// What came of asking for a level.
enum Asked {
    /// It is there.
    Performed,
    /// It cannot be there now.
    Refused(Option<Trouble>),
    /// It is being negotiated.
    UnderWay,
}

impl<N: Negotiator> Tunnels<N> {
    /// The operator wants the stack of that rule taken down now, built or not; traffic may build it again. `false` where
    /// there is none.
    pub fn abort_stack(&mut self, now: Duration, rule: RuleId) -> bool {
        let is_there = self.stacks.contains_key(&rule);
        self.close_stacks(now, &[rule]);
        self.settle(now);
        is_there
    }

    /// Outbound SAs of discovered tunnels, and of the traffic that stacks are for: both go when they have none, so
    /// [`Tunnels::outbound_activity`] wants to hear of it.
    pub fn outbound_sas(&self) -> impl Iterator<Item = SaId> + '_ {
        let found = self.discovery.rules().filter(|rule| !self.stacks.contains_key(rule));
        let tunnels = self.stacks.keys().copied().chain(found).filter_map(|rule| self.tunnels.get(&rule));
        tunnels.flat_map(|tunnel| tunnel.pairs.iter().map(|pair| pair.outbound.id))
    }

    /// Whether a packet of the rule may use its stack.
    pub(crate) fn is_stack_usable(&self, rule: RuleId) -> bool {
        self.stacks.get(&rule).is_some_and(|stack| stack.transaction.is_usable())
    }

    /// Whether the rule's stack has such a tunnel.
    pub(crate) fn stack_uses(&self, rule: RuleId, is_meant: &dyn Fn(RuleId) -> bool) -> bool {
        self.stacks.get(&rule).is_some_and(|stack| stack.tunnels.iter().flatten().any(|own| is_meant(*own)))
    }

    /// Whether a tunnel is there only for what is inside of it, and nothing is.
    pub(crate) fn is_unused_level(&self, rule: RuleId) -> bool {
        self.tunnels.get(&rule).is_some_and(|tunnel| tunnel.is_level)
            && !self.stacks.values().any(|stack| stack.uses(rule))
    }

    /// Traffic, or the configuration, wants a rule's stack.
    pub(crate) fn want_stack(&mut self, now: Duration, rule: RuleId, packet: Option<&FiveTuple>) {
        let Some(tunnel) = self.tunnels.get(&rule) else { return };
        if self.stacks.contains_key(&rule) || tunnel.closed || tunnel.held_until.is_some() {
            return;
        }
        let around = match self.nesting.bases.get(&rule).cloned() {
            None => return,
            Some(Base::Refused(error)) => {
                let failed = (self.name(rule), None);
                self.log_stack(rule, StackEvent::Refused { reason: error.to_string() });
                return self.keep_down(now, rule, (failed, CONTRADICTION_PAUSE));
            }
            Some(Base::Inside { discovers: Some((by, source, destination)), .. }) => {
                let packet = FiveTuple {
                    source,
                    destination,
                    protocol: ESP,
                    source_port: None,
                    destination_port: None,
                };
                self.discover(now, by, packet);
                let failed = (self.name(by), None);
                return self.keep_down(now, rule, (failed, BACK_OFF_MIN));
            }
            Some(Base::Inside { around, .. }) => around,
        };
        // What cannot be there is not built towards: a dead gateway does not rebuild those in front of it (Q-22).
        let held = |tunnel: &&RuleId| self.tunnels.get(tunnel).is_some_and(|own| own.held_until.is_some());
        if let Some(level) = around.iter().find(held).copied() {
            let failed = (self.name(level), self.tunnels[&level].last_failure.map(Trouble::Failed));
            self.keep_down(now, rule, (failed, BACK_OFF_MIN));
            return self.log_pause(now, rule);
        }
        let Some((pending, base)) = self.pending_stack(rule, packet) else { return };
        if self.stacks.is_empty() {
            self.stacks_looked_at = now;
        }
        self.kept_down.remove(&rule);
        let own = [base, Some(rule)].into_iter().skip(usize::from(base.is_some()));
        let stack = Stack {
            transaction: Transaction::new(&pending),
            tunnels: own.chain(around.into_iter().map(Some)).collect(),
            since: now,
            active: now,
            is_up: false,
            is_suspended: false,
            is_waiting: false,
            failed: None,
        };
        debug_assert_eq!(stack.tunnels.len(), pending.bottom_to_top().len());
        self.log_stack(rule, StackEvent::Building { levels: pending.depth() });
        self.stacks.insert(rule, stack);
        self.advance(now, rule);
    }

    /// Every action of the rule's stack, and the tunnel of its base action if that is one: what
    /// [`walk`](warren_policy::stack::walk) finds for its packets. `None` without a base rule (REQUIREMENTS NT-4).
    fn pending_stack(
        &self,
        rule: RuleId,
        packet: Option<&FiveTuple>,
    ) -> Option<(PendingStack, Option<RuleId>)> {
        let way = |peer, gateway| self.nesting.ways.to(self.local(peer)?, gateway).ok();
        let base = |at: usize| {
            let rule = &self.rules.transport[at];
            Action::Transport { at, action: rule.action, selector: rule.selector }
        };
        let protects =
            |action: TransportAction| matches!(action, TransportAction::Protect(own) if own.rule == rule);
        if let Some(at) = self.rules.transport.iter().position(|own| protects(own.action)) {
            let TransportAction::Protect(own) = self.rules.transport[at].action else { return None };
            return Some((PendingStack::along(base(at), None, way(own.peer, own.host)?), Some(rule)));
        }
        let tunnel = self.rules.tunnel_rule(rule)?;
        // Only what may pass and is not protected to the end comes to a tunnel rule: a rule that protects a part of the tunnel's
        // traffic has a stack of its own.
        let permits = |own: &Selector| match packet {
            Some(packet) => own.contains(packet),
            None => own.overlaps(&tunnel.selector),
        };
        let at = self
            .rules
            .transport
            .iter()
            .position(|own| own.action == TransportAction::Permit && permits(&own.selector))?;
        let gateway = tunnel.gateway.address()?;
        let (peer, selector) = (tunnel.peer, tunnel.selector);
        let own = Action::Tunnel { rule, peer, gateway, selector };
        let way: &Way = way(peer, gateway)?;
        Some((PendingStack::along(base(at), Some(own), way), None))
    }

    /// Nothing is built for the rule before a pause is over: that of the level that is down, and at least this one.
    fn keep_down(
        &mut self,
        now: Duration,
        rule: RuleId,
        (failed, pause): ((String, Option<Trouble>), Duration),
    ) {
        let around = self.nesting.bases.get(&rule).map(|base| match base {
            Base::Inside { around, .. } => around.clone(),
            Base::Refused(_) => Vec::new(),
        });
        let levels = around.into_iter().flatten().chain([rule]);
        let held = levels.filter_map(|level| self.tunnels.get(&level)?.held_until).max();
        let until = held.map_or(now + pause, |held| held.max(now + pause));
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return };
        tunnel.held_until = Some(until);
        self.touched.push(rule);
        self.kept_down.insert(rule, KeptDown { since: now, failed });
    }

    /// Takes stacks down, whatever they are at. They are gone afterwards.
    pub(crate) fn close_stacks(&mut self, now: Duration, rules: &[RuleId]) {
        // All of them before any goes on: what one gives back another one must not build meanwhile.
        for rule in rules {
            if let Some(stack) = self.stacks.get_mut(rule) {
                stack.transaction.close(&mut self.references);
            }
        }
        for rule in rules {
            self.advance(now, *rule);
        }
    }

    /// Hears what became of tunnels. Whether there was anything.
    pub(crate) fn settle_stacks(&mut self, now: Duration) -> bool {
        let mut any = false;
        while let Some(news) = self.news.pop_front() {
            any = true;
            match news {
                News::Up(rule, role) => self.tunnel_came(now, rule, role),
                News::Failed(rule, reason) => self.tunnel_failed(now, rule, Some(reason)),
                News::Lost(rule, reason) => self.tunnel_lost(now, rule, reason),
            }
            self.settle_closing(now);
        }
        any
    }

    fn tunnel_came(&mut self, now: Duration, rule: RuleId, role: Role) {
        if let Some(base) = self.performing.remove(&rule) {
            if let Some(stack) = self.stacks.get_mut(&base) {
                let in_turn = stack.transaction.performed(&mut self.references);
                debug_assert!(in_turn.is_ok(), "it was performing that level");
            }
            return self.advance(now, base);
        }
        // A level that was renewed is not wanted for its own sake.
        if self.stacks.iter().any(|(base, stack)| *base != rule && stack.uses(rule)) {
            return;
        }
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return };
        if tunnel.is_level {
            // What we asked for and do not want any more; a peer may have its own reasons.
            if role == Role::Initiator && self.is_unused_level(rule) {
                self.close_all(now, rule);
            }
        } else if self.nesting.bases.contains_key(&rule) {
            self.want_stack(now, rule, None);
        } else {
            tunnel.has_own_use |= role == Role::Responder;
        }
    }

    /// No reason is known where the operator closed it.
    pub(crate) fn tunnel_failed(&mut self, now: Duration, rule: RuleId, reason: Option<Failure>) {
        let Some(base) = self.performing.remove(&rule) else { return };
        let (name, reason) = (self.name(rule), reason.map(Trouble::Failed));
        if let Some(stack) = self.stacks.get_mut(&base) {
            stack.failed = Some((name.clone(), reason));
            let in_turn = stack.transaction.failed(&mut self.references);
            debug_assert!(in_turn.is_ok(), "it was performing that level");
        }
        self.log_stack(base, StackEvent::Failed { level: name, reason });
        self.advance(now, base);
    }

    /// Every stack that stands on the tunnel goes back below it and builds again (REQUIREMENTS NT-32). A peer that deletes
    /// a stack's own tunnel wants it gone, and so it goes until there is traffic.
    fn tunnel_lost(&mut self, now: Duration, rule: RuleId, reason: Down) {
        if reason == Down::DeletedByPeer && self.is_stack_usable(rule) {
            self.close_stacks(now, &[rule]);
        }
        let standing = |(base, stack): (&RuleId, &Stack)| Some((*base, stack.completed_at(rule)?));
        let above: Vec<(RuleId, usize)> = self.stacks.iter().filter_map(standing).collect();
        let level = self.name(rule);
        for (base, at) in &above {
            if let Some(stack) = self.stacks.get_mut(base) {
                stack.transaction.lost(*at, &mut self.references);
                if stack.transaction.is_receding() {
                    stack.is_suspended = true;
                    stack.is_up = false;
                    stack.failed = Some((level.clone(), Some(Trouble::Lost(reason))));
                    self.log_stack(*base, StackEvent::Suspended { level: level.clone(), reason });
                }
            }
        }
        // Only when all of them know.
        for (base, _) in above {
            self.advance(now, base);
        }
    }

    /// Does what the stack wants done until it has to wait, and then the same for all that wait: for it, or for what has
    /// just become of one of its levels.
    fn advance(&mut self, now: Duration, rule: RuleId) {
        let mut ready = self.waiting();
        ready.push(rule);
        while let Some(rule) = ready.pop() {
            if self.run_stack(now, rule) {
                ready.extend(self.waiting());
            }
        }
    }

    /// Those that wait, each once: it says anew whether it waits.
    fn waiting(&mut self) -> Vec<RuleId> {
        let waits =
            |(rule, stack): (&RuleId, &mut Stack)| std::mem::take(&mut stack.is_waiting).then_some(*rule);
        self.stacks.iter_mut().filter_map(waits).collect()
    }

    /// Whether what others wait for may have changed.
    fn run_stack(&mut self, now: Duration, rule: RuleId) -> bool {
        let mut others = false;
        loop {
            let Some(stack) = self.stacks.get_mut(&rule) else { return others };
            stack.is_waiting = false;
            match stack.transaction.next(&mut self.references) {
                Step::Perform(action) => {
                    let done = match self.perform(now, rule, &action) {
                        Asked::UnderWay => return others,
                        Asked::Performed => Ok(()),
                        Asked::Refused(reason) => Err(reason),
                    };
                    others = true;
                    let level = self.action_name(&action);
                    let Some(stack) = self.stacks.get_mut(&rule) else { return others };
                    if let Err(reason) = done {
                        // What was lost just now is kept down because of that.
                        let lost = stack.failed.take().filter(|(lost, _)| *lost == level);
                        let reason = reason.or_else(|| lost.and_then(|(_, trouble)| trouble));
                        stack.failed = Some((level.clone(), reason));
                        let _ = stack.transaction.failed(&mut self.references);
                        self.log_stack(rule, StackEvent::Failed { level, reason });
                    } else {
                        let _ = stack.transaction.performed(&mut self.references);
                    }
                }
                Step::Wait(_) => {
                    stack.is_waiting = true;
                    return others;
                }
                Step::Done => {
                    stack.is_suspended = false;
                    stack.failed = None;
                    if !std::mem::replace(&mut stack.is_up, true) {
                        self.log_stack(rule, StackEvent::Up);
                    }
                    self.rebind(rule);
                    return others;
                }
                Step::Cut => {
                    // Unbound first: from here on no packet uses it.
                    let _ = stack.transaction.cut();
                    self.rebind(rule);
                }
                Step::TearDown { action, remains } => {
                    self.tear_down(now, rule, (&action, remains));
                    others = true;
                    if let Some(stack) = self.stacks.get_mut(&rule) {
                        let _ = stack.transaction.torn_down(&mut self.references);
                    }
                }
                Step::RolledBack => {
                    self.rolled_back(now, rule);
                    return true;
                }
            }
        }
    }

    fn perform(&mut self, now: Duration, rule: RuleId, action: &Action) -> Asked {
        let Some(level) = self.stacks.get(&rule).and_then(Stack::at) else { return Asked::Performed };
        let Some(tunnel) = self.tunnels.get(&level) else { return Asked::Refused(None) };
        if self.performing.contains_key(&level) {
            return Asked::UnderWay;
        }
        if tunnel.best().is_some() {
            return Asked::Performed;
        }
        if tunnel.closed || tunnel.held_until.is_some_and(|until| until > now) {
            return Asked::Refused(tunnel.last_failure.map(Trouble::Failed));
        }
        if self.tunnel_mut(level).held_until.take().is_some() {
            // It would begin by itself just now.
            self.command(Command::Rearm(level));
        }
        let level_name = self.action_name(action);
        let (at, of) = self
            .stacks
            .get(&rule)
            .map_or((0, 0), |stack| (stack.transaction.completed().len() + 1, stack.tunnels.len()));
        self.log_stack(rule, StackEvent::Performing { level: level_name, at, of });
        self.performing.insert(level, rule);
        // A negotiation of the tunnel's own may be running already: it is as good.
        self.open(now, level);
        Asked::UnderWay
    }

    /// Takes one level away, or what is left of it, unless it has traffic of its own; and IKE with its gateway, unless
    /// something else needs that.
    fn tear_down(&mut self, now: Duration, rule: RuleId, (action, remains): (&Action, Remains)) {
        let Some(level) = self.stacks.get(&rule).and_then(Stack::at) else { return };
        if self.performing.get(&level) == Some(&rule) {
            self.performing.remove(&level);
        }
        let Some(tunnel) = self.tunnels.get(&level) else { return };
        if (tunnel.has_own_use || tunnel.starts_immediately()) && !tunnel.closed && level != rule {
            return;
        }
        // The rule may have gone already, and its tunnel is still here.
        let level_name = if tunnel.is_level { tunnel.name.clone() } else { self.action_name(action) };
        self.log_stack(rule, StackEvent::TearingDown { level: level_name, remains });
        self.tearing_down = Some(level);
        self.close_all(now, level);
        self.settle_closing(now);
        self.stop_negotiation(now, level);
        self.tearing_down = None;
        self.close_idle_peer(now, level);
    }

    /// A negotiation that nobody needs the outcome of any more. It is no failure of the tunnel's.
    fn stop_negotiation(&mut self, now: Duration, level: RuleId) {
        let Some(tunnel) = self.tunnels.get(&level).filter(|tunnel| tunnel.negotiation.is_some()) else {
            return;
        };
        let child = tunnel.config.child.clone();
        self.negotiator.remove_child(now, level);
        self.negotiator.add_child(now, child);
        self.settle_closing(now);
        self.tunnel_mut(level).negotiation = None;
        self.touched.push(level);
    }

    fn close_idle_peer(&mut self, now: Duration, level: RuleId) {
        let Some(peer) = self.tunnels.get(&level).map(|tunnel| tunnel.config.child.peer) else { return };
        let talks = self.clients.contains_key(&peer) || self.guests.contains_key(&peer);
        let needs = |tunnel: &crate::tunnel::Tunnel| {
            tunnel.config.child.peer == peer && (!tunnel.pairs.is_empty() || tunnel.negotiation.is_some())
        };
        if !talks && !self.tunnels.values().any(needs) {
            self.negotiator.close_peer(now, peer);
            self.settle_closing(now);
        }
    }

    /// Nothing of the stack is left but, after a failure, the pause.
    fn rolled_back(&mut self, now: Duration, rule: RuleId) {
        let Some(stack) = self.stacks.remove(&rule) else { return };
        self.rebind(rule);
        match stack.transaction.reason() {
            Some(Reason::Failed(_) | Reason::NoRoom) => {
                let failed = stack.failed.unwrap_or_else(|| (self.name(rule), None));
                self.keep_down(now, rule, (failed, BACK_OFF_MIN));
                self.log_pause(now, rule);
                self.discovered_over(rule);
            }
            Some(Reason::Closed) | None => {
                self.log_stack(rule, StackEvent::Gone);
                let Some(tunnel) = self.tunnels.get_mut(&rule) else { return };
                if tunnel.closed || tunnel.held_until.is_some() {
                    return;
                }
                if tunnel.starts_immediately() {
                    tunnel.held_until = Some(now + BACK_OFF_MIN);
                    self.touched.push(rule);
                } else {
                    self.command(Command::Rearm(rule));
                }
            }
        }
    }

    /// When stacks are looked at again.
    pub(crate) fn stacks_deadline(&self) -> Option<Duration> {
        let is_timed = !self.stacks.is_empty() && !self.stack_idle.is_zero();
        let interval = (self.stack_idle / STACK_LOOKS_PER_IDLE).max(STACK_LOOK_MIN);
        is_timed.then(|| self.stacks_looked_at + interval)
    }

    /// Stacks without traffic go away (REQUIREMENTS NT-27).
    pub(crate) fn stacks_due(&mut self, now: Duration) {
        if self.stacks_deadline().is_none_or(|at| at > now) {
            return;
        }
        self.stacks_looked_at = now;
        let idle = |(rule, stack): (&RuleId, &Stack)| {
            let is_idle = stack.transaction.is_usable()
                && now.saturating_sub(stack.active) >= self.stack_idle
                && !self.tunnels.get(rule).is_some_and(crate::tunnel::Tunnel::starts_immediately);
            is_idle.then_some(*rule)
        };
        let idle: Vec<RuleId> = self.stacks.iter().filter_map(idle).collect();
        for rule in &idle {
            self.log_stack(*rule, StackEvent::Idle);
        }
        self.close_stacks(now, &idle);
    }

    fn action_name(&self, action: &Action) -> String {
        match action {
            Action::Tunnel { rule, .. } => self.name(*rule),
            Action::Transport { at, .. } => {
                self.rules.transport.get(*at).map_or_else(String::new, |rule| rule.name.clone())
            }
        }
    }

    fn log_pause(&mut self, now: Duration, rule: RuleId) {
        let until = self.tunnels.get(&rule).and_then(|tunnel| tunnel.held_until).unwrap_or(now);
        self.log_stack(rule, StackEvent::KeptDown { pause: until.saturating_sub(now) });
    }

    fn log_stack(&mut self, rule: RuleId, event: StackEvent) {
        let stack = self.name(rule);
        self.log(Notice::Stack { stack, event });
    }
}
