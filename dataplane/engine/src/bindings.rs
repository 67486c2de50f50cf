//! Which SAs a tunnel rule's traffic goes through, innermost first: one stack of them, or several over which flows spread.

use crate::core::Berth;
use crate::fast_path::Way;
use crate::fib::Fib;
use crate::limits::MTU_UNKNOWN;
use crate::packet::protocol;
use crate::passage::{PassageId, Passages};
use crate::sad::{SaIndex, Sad};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher;
use warren_policy::{FiveTuple, Gateway, RuleId, RuleSet};
use warren_seam::{SaId, SaMode};

/// SAs inside each other.
#[derive(Default)]
pub(crate) struct Stack {
    /// Innermost first.
    names: Vec<SaId>,
    /// The same, found in the SAD. Empty unless every SA of the stack is there: half a stack protects nothing.
    resolved: Vec<SaIndex>,
    /// Largest packet that the whole stack takes.
    mtu: usize,
    /// The innermost SA keeps the packet's own header, and takes it whole.
    transport: bool,
    /// The innermost SA is this worker's.
    ours: bool,
}

impl Stack {
    /// Of these SAs, innermost first, none of which has been looked for.
    #[must_use]
    pub(crate) fn new(names: Vec<SaId>) -> Self {
        let resolved = Vec::with_capacity(names.len());
        Self { names, resolved, ..Self::default() }
    }

    /// What its SAs are called.
    #[cfg(test)]
    pub(crate) fn names(&self) -> &[SaId] {
        &self.names
    }

    /// The SA of a level; `None` beyond the last, and while one is missing.
    #[must_use]
    pub(crate) fn level(&self, level: usize) -> Option<SaIndex> {
        self.resolved.get(level).copied()
    }

    /// Octets of the largest packet that fits.
    #[must_use]
    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    /// Whether the innermost SA is one of transport mode, which takes no fragments (RFC 4303 §3.3.4).
    #[must_use]
    pub(crate) fn is_transport(&self) -> bool {
        self.transport
    }

    /// Its SAs; none unless all are there.
    #[must_use]
    pub(crate) fn resolved(&self) -> &[SaIndex] {
        &self.resolved
    }

    /// Whether it carries anything.
    fn is_whole(&self) -> bool {
        !self.resolved.is_empty()
    }

    fn resolve(&mut self, sad: &Sad, fib: &Fib) {
        self.resolved.clear();
        self.resolved.extend(self.names.iter().map_while(|&id| sad.find_outbound(id)));
        let is_transport =
            |&index: &SaIndex| sad.outbound(index).is_some_and(|sa| sa.shape.mode == SaMode::Transport);
        // Transport mode is for what the gateway itself says, and goes inside everything else (REQUIREMENTS NT-21).
        let misplaced = self.resolved.iter().skip(1).any(is_transport);
        if self.resolved.len() < self.names.len() || misplaced {
            self.resolved.clear();
        }
        self.transport = self.resolved.first().is_some_and(is_transport);
        self.ours = self.resolved.first().is_some_and(|&first| sad.sealer(first).is_some());
        self.measure(sad, fib);
    }

    /// From the outside in: the route of the outermost level decides how much room there is.
    fn measure(&mut self, sad: &Sad, fib: &Fib) {
        let shape = |&index: &SaIndex| sad.outbound(index).map(|sa| sa.shape);
        let outermost = self.resolved.last().and_then(shape);
        let path = outermost.and_then(|shape| fib.mtu_towards(shape.remote)).unwrap_or(MTU_UNKNOWN);
        self.mtu = self
            .resolved
            .iter()
            .rev()
            .filter_map(shape)
            .fold(path.into(), |room, shape| shape.inner_max(room));
    }
}

/// One rule's SAs. Without any, its traffic is dropped and asks for some.
#[derive(Default)]
pub(crate) struct Binding {
    /// Usually one. Flows spread over several.
    stacks: Vec<Stack>,
    /// Control has been asked and has not answered yet.
    acquiring: bool,
    /// An inbound SA was made for it, and nothing has been bound since: the other half of its pair is about to come.
    larval: bool,
    /// The rules in force have a rule with this identifier.
    exists: bool,
    /// Nothing is ever bound to it: its packets are reasons to discover a gateway.
    discovers: bool,
    /// It is a transport rule that protects.
    is_protection: bool,
}

impl Binding {
    /// Whether half a pair is there, and its other half is about to come.
    #[must_use]
    pub(crate) fn is_larval(&self) -> bool {
        self.larval
    }

    /// Whether its packets are reasons to discover a gateway.
    #[must_use]
    pub(crate) fn discovers(&self) -> bool {
        self.discovers
    }

    /// Whether it is a transport rule that protects by itself, rather than a tunnel rule.
    #[must_use]
    pub(crate) fn is_protection(&self) -> bool {
        self.exists && self.is_protection
    }

    /// The stack of a flow, always the same as long as the stacks and the worker are: of several one whose innermost SA is
    /// this worker's, so that nothing is handed over. `None` when the rule is unbound.
    #[must_use]
    pub(crate) fn stack_of(&self, flow: &FiveTuple, seed: u64) -> Option<&Stack> {
        match self.stacks.as_slice() {
            [only] => Some(only).filter(|stack| stack.is_whole()),
            several => choose(several, flow, seed),
        }
    }

    /// The stack of a packet that is inside so many levels already, the last of which was that SA.
    #[must_use]
    pub(crate) fn stack_behind(&self, levels: usize, sa: SaIndex) -> Option<&Stack> {
        let below = levels.checked_sub(1)?;
        self.stacks.iter().find(|stack| stack.level(below) == Some(sa))
    }

    /// The stack through which this worker sends all of the rule's packets by itself: its only one, or the only one of
    /// several that begins with an SA of its own.
    #[must_use]
    pub(crate) fn sole(&self) -> Option<&Stack> {
        if let [only] = self.stacks.as_slice() {
            return Some(only).filter(|stack| stack.is_whole());
        }
        let mut ours = self.stacks.iter().filter(|stack| stack.ours);
        let first = ours.next()?;
        ours.next().is_none().then_some(first)
    }

    /// Whether any stack is whole.
    #[must_use]
    pub(crate) fn is_bound(&self) -> bool {
        self.stacks.iter().any(Stack::is_whole)
    }

    /// Octets of the largest packet that fits into every stack.
    #[must_use]
    pub(crate) fn mtu(&self) -> usize {
        self.stacks
            .iter()
            .filter(|stack| stack.is_whole())
            .map(Stack::mtu)
            .min()
            .unwrap_or(MTU_UNKNOWN.into())
    }

    /// A stack that is bound to no rule of control's.
    #[must_use]
    pub(crate) fn of_stack(names: Vec<SaId>, sad: &Sad, fib: &Fib) -> Self {
        let mut binding = Self { stacks: vec![Stack::new(names)], exists: true, ..Self::default() };
        binding.resolve(sad, fib);
        binding
    }

    /// What it was bound to.
    #[must_use]
    pub(crate) fn into_stacks(self) -> Vec<Stack> {
        self.stacks
    }

    fn resolve(&mut self, sad: &Sad, fib: &Fib) {
        self.stacks.iter_mut().for_each(|stack| stack.resolve(sad, fib));
    }

    /// Routes or MTUs changed.
    pub(crate) fn measure(&mut self, sad: &Sad, fib: &Fib) {
        self.stacks.iter_mut().for_each(|stack| stack.measure(sad, fib));
    }

    fn names(&self) -> impl Iterator<Item = SaId> + '_ {
        self.stacks.iter().flat_map(|stack| stack.names.iter().copied())
    }
}

/// Of several stacks the flow's: of our own if there is one, else of all.
#[cold]
fn choose<'a>(stacks: &'a [Stack], flow: &FiveTuple, seed: u64) -> Option<&'a Stack> {
    let mut candidates = stacks.iter().filter(|stack| stack.ours).count();
    let any = candidates == 0;
    if any {
        candidates = stacks.iter().filter(|stack| stack.is_whole()).count();
    }
    let turn = match candidates {
        0 => return None,
        1 => 0,
        several => hash(flow, seed) as usize % several,
    };
    stacks.iter().filter(|stack| stack.ours || (any && stack.is_whole())).nth(turn)
}

/// Ports count for TCP only, as cards have it: of UDP there are fragments, which show none and belong to the same flow.
fn hash(flow: &FiveTuple, seed: u64) -> u64 {
    let hash = FixedState::with_seed(seed);
    match flow.protocol {
        protocol::TCP => hash.hash_one(flow),
        other => hash.hash_one((flow.source, flow.destination, other)),
    }
}

/// Every rule's binding.
#[derive(Default)]
pub(crate) struct Bindings {
    rules: Vec<Binding>,
    /// What the fast path does for each rule, made when a packet asks for it.
    ways: Vec<Way>,
    /// Which rules use an SA, so that its end or its move finds them.
    users: HashMap<SaId, Vec<RuleId>>,
    /// Packets of control's, each with a stack of its own.
    pub(crate) passages: Passages,
    /// Some transport rule protects.
    protects: bool,
}

impl Bindings {
    /// Room for these rules, none of them bound.
    #[must_use]
    pub(crate) fn new(rules: &RuleSet) -> Self {
        let mut bindings = Self::default();
        let room = bound_rules(rules).map(|(rule, _)| rule.0 as usize + 1).max().unwrap_or(0);
        bindings.rules.resize_with(room, Binding::default);
        bindings.ways.resize_with(room, Way::default);
        for (rule, discovers) in bound_rules(rules) {
            let binding = &mut bindings.rules[rule.0 as usize];
            (binding.exists, binding.discovers) = (true, discovers);
        }
        for (_, protection) in rules.protections() {
            bindings.rules[protection.rule.0 as usize].is_protection = true;
            bindings.protects = true;
        }
        bindings
    }

    /// Takes over the bindings of rules that exist here too, so that a change of rules costs no packet of what did not
    /// change. What is left in `old` is of rules that are gone.
    pub(crate) fn inherit(&mut self, old: &mut Self) {
        std::mem::swap(&mut self.users, &mut old.users);
        std::mem::swap(&mut self.passages, &mut old.passages);
        for (at, old) in old.rules.iter_mut().enumerate() {
            let rule = RuleId(at as u32);
            match self.rules.get_mut(at).filter(|new| new.exists) {
                Some(new)
                    if old.exists
                        && (new.discovers, new.is_protection) == (old.discovers, old.is_protection) =>
                {
                    std::mem::swap(new, old);
                }
                _ => old.names().for_each(|id| forget_user(&mut self.users, id, rule)),
            }
        }
    }

    /// A rule's binding, or a passage's.
    #[must_use]
    pub(crate) fn of(&self, rule: RuleId) -> Option<&Binding> {
        self.rules.get(rule.0 as usize).or_else(|| self.passages.find(PassageId::of(rule)?))
    }

    /// What the fast path does for a rule, as it was made last.
    #[inline]
    #[must_use]
    pub(crate) fn way(&self, rule: RuleId) -> Option<&Way> {
        self.ways.get(rule.0 as usize)
    }

    /// Asks for the memory of what the fast path does for a rule.
    #[inline]
    pub(crate) fn prefetch_way(&self, rule: RuleId) {
        if let Some(way) = self.ways.get(rule.0 as usize) {
            way.prefetch();
        }
    }

    /// The same, made again where that is due; `None` when the stages have to do it.
    #[inline]
    pub(crate) fn ready_way(&mut self, rule: RuleId, sad: &Sad, fib: &Fib, berths: &[Berth]) -> Option<&Way> {
        let way = self.ways.get_mut(rule.0 as usize)?;
        if way.is_stale() {
            let sole = self.rules.get(rule.0 as usize)?.sole();
            let (stack, room) = sole.map_or((&[][..], 0), |sole| (sole.resolved(), sole.mtu()));
            way.make(stack, room, sad, fib, berths);
        }
        way.is_ready().then_some(way)
    }

    /// Whether any transport rule protects.
    #[must_use]
    pub(crate) fn protects(&self) -> bool {
        self.protects
    }

    /// Binds a rule, or unbinds it without a stack. Either way it may ask again when it has to. Returns the
    /// stacks it had, or these where nothing can be bound: a rule that is gone, or that discovers.
    pub(crate) fn bind(&mut self, rule: RuleId, stacks: Vec<Stack>, sad: &Sad, fib: &Fib) -> Vec<Stack> {
        let known = self.rules.get_mut(rule.0 as usize).filter(|known| known.exists && !known.discovers);
        let Some(binding) = known else { return stacks };
        let before = std::mem::replace(&mut binding.stacks, stacks);
        for id in before.iter().flat_map(|stack| &stack.names) {
            forget_user(&mut self.users, *id, rule);
        }
        for id in binding.names() {
            let users = self.users.entry(id).or_default();
            // A level may be around several of them.
            if !users.contains(&rule) {
                users.push(rule);
            }
        }
        binding.acquiring = false;
        binding.larval &= binding.stacks.is_empty();
        binding.resolve(sad, fib);
        self.ways[rule.0 as usize].invalidate();
        before
    }

    /// The rule may ask again.
    pub(crate) fn rearm(&mut self, rule: RuleId) {
        if let Some(binding) = self.rules.get_mut(rule.0 as usize) {
            binding.acquiring = false;
        }
    }

    /// An inbound SA of the rule came, or went.
    pub(crate) fn set_larval(&mut self, rule: RuleId, larval: bool) {
        if let Some(binding) = self.rules.get_mut(rule.0 as usize) {
            binding.larval = larval;
        }
    }

    /// Whether control has to be asked for SAs of this rule: the first time, and not again until it answers.
    pub(crate) fn wants_acquire(&self, rule: RuleId) -> bool {
        self.of(rule).is_some_and(|binding| !binding.acquiring)
    }

    /// Control has been asked.
    pub(crate) fn acquiring(&mut self, rule: RuleId) {
        if let Some(binding) = self.rules.get_mut(rule.0 as usize) {
            binding.acquiring = true;
        }
    }

    /// An SA came, went or moved: its rules are looked at again.
    pub(crate) fn refresh(&mut self, id: SaId, sad: &Sad, fib: &Fib) {
        for rule in self.users.get(&id).map(Vec::as_slice).unwrap_or_default() {
            if let Some(binding) = self.rules.get_mut(rule.0 as usize) {
                binding.resolve(sad, fib);
                self.ways[rule.0 as usize].invalidate();
            }
        }
        self.passages.measure(sad, fib);
    }

    /// Routes or MTUs changed.
    pub(crate) fn measure_all(&mut self, sad: &Sad, fib: &Fib) {
        self.rules
            .iter_mut()
            .filter(|binding| !binding.stacks.is_empty())
            .for_each(|binding| binding.measure(sad, fib));
        self.ways.iter_mut().for_each(Way::invalidate);
        self.passages.measure(sad, fib);
    }
}

/// All rules to which SAs can be bound, and whether they discover instead: tunnel rules, and transport rules that protect.
pub(crate) fn bound_rules(rules: &RuleSet) -> impl Iterator<Item = (RuleId, bool)> + '_ {
    let tunnels = rules.tunnel.iter().map(|rule| (rule.id, rule.gateway == Gateway::Discover));
    tunnels.chain(rules.protections().map(|(_, protection)| (protection.rule, false)))
}

fn forget_user(users: &mut HashMap<SaId, Vec<RuleId>>, id: SaId, rule: RuleId) {
    if let Some(rules) = users.get_mut(&id) {
        rules.retain(|&user| user != rule);
        if rules.is_empty() {
            users.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_policy::{AddressRange, PeerId, Selector, TunnelRule};

    fn ids(numbers: &[u32]) -> Vec<RuleId> {
        numbers.iter().copied().map(RuleId).collect()
    }

    fn rules(numbers: &[u32], gateway: Gateway) -> RuleSet {
        let everything = AddressRange::from_prefix([0; 4].into(), 0).unwrap();
        let selector = Selector::between(everything, everything).unwrap();
        let rule = |&id: &u32| TunnelRule {
            id: RuleId(id),
            name: String::new(),
            selector,
            peer: PeerId(0),
            gateway,
        };
        RuleSet { transport: vec![], tunnel: numbers.iter().map(rule).collect() }
    }

    fn stacks(stacks: &[&[u64]]) -> Vec<Stack> {
        stacks.iter().map(|names| Stack::new(names.iter().copied().map(SaId).collect())).collect()
    }

    fn names(stacks: &[Stack]) -> Vec<SaId> {
        stacks.iter().flat_map(|stack| stack.names.clone()).collect()
    }

    fn fixed(numbers: &[u32]) -> RuleSet {
        rules(numbers, Gateway::Address([192, 0, 2, 1].into()))
    }

    #[test] // F-24
    fn bindings_of_rules_that_stay_are_inherited_and_nothing_else_is() {
        let (sad, fib) = (Sad::default(), Fib::default());
        let mut old = Bindings::new(&fixed(&[0, 2, 5]));
        for rule in [0, 2, 5] {
            old.bind(RuleId(rule), stacks(&[&[u64::from(rule) + 10, 99], &[77, 99]]), &sad, &fib);
        }
        old.acquiring(RuleId(5));
        let mut new = Bindings::new(&fixed(&[1, 2, 5, 7]));
        new.inherit(&mut old);
        let stack = |bindings: &Bindings, rule: u32| names(&bindings.rules[rule as usize].stacks);
        assert_eq!(stack(&new, 2), [12, 99, 77, 99].map(SaId));
        assert!(!new.wants_acquire(RuleId(5)), "control is still being asked");
        assert!([0, 1, 7].iter().all(|rule| stack(&new, *rule).is_empty()));
        assert_eq!(stack(&old, 0), [10, 99, 77, 99].map(SaId), "control frees what is gone");
        assert_eq!(new.users[&SaId(99)], ids(&[2, 5]));
        assert!(!new.users.contains_key(&SaId(10)));
        // A rule that is gone cannot be bound.
        assert_eq!(names(&new.bind(RuleId(0), stacks(&[&[1]]), &sad, &fib)), [SaId(1)]);
        assert!(!new.users.contains_key(&SaId(1)));
    }

    #[test] // TED-5
    fn nothing_is_bound_to_a_rule_that_discovers_whatever_it_was_before() {
        let (sad, fib) = (Sad::default(), Fib::default());
        let mut old = Bindings::new(&fixed(&[3]));
        old.bind(RuleId(3), stacks(&[&[1]]), &sad, &fib);
        let mut new = Bindings::new(&rules(&[3], Gateway::Discover));
        new.inherit(&mut old);
        assert!(new.of(RuleId(3)).unwrap().discovers());
        assert!(new.rules[3].stacks.is_empty() && new.users.is_empty());
        assert_eq!(names(&new.bind(RuleId(3), stacks(&[&[2]]), &sad, &fib)), [SaId(2)]);
        assert!(new.rules[3].stacks.is_empty() && new.users.is_empty());
        let mut fixed = Bindings::new(&fixed(&[3]));
        fixed.inherit(&mut new);
        assert!(!fixed.of(RuleId(3)).unwrap().discovers());
    }
}
