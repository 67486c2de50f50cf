//! Which SAs a tunnel rule's traffic goes through, innermost first.

use crate::fib::Fib;
use crate::limits::MTU_UNKNOWN;
use crate::sad::{SaIndex, Sad};
use hashbrown::HashMap;
use warren_policy::RuleId;
use warren_seam::SaId;

/// One rule's SAs. Without any, its traffic is dropped and asks for some.
#[derive(Default)]
pub(crate) struct Binding {
    stack: Vec<SaId>,
    /// The same, found in the SAD. Empty unless every SA of the stack is there: half a stack protects nothing.
    resolved: Vec<SaIndex>,
    /// Largest packet that the whole stack takes.
    mtu: usize,
    /// Control has been asked and has not answered yet.
    acquiring: bool,
}

impl Binding {
    /// The SA of a level; `None` when the rule is unbound.
    #[must_use]
    pub(crate) fn level(&self, level: usize) -> Option<SaIndex> {
        self.resolved.get(level).copied()
    }

    /// How many levels there are.
    #[must_use]
    pub(crate) fn levels(&self) -> usize {
        self.resolved.len()
    }

    /// Octets of the largest packet that fits.
    #[must_use]
    pub(crate) fn mtu(&self) -> usize {
        self.mtu
    }

    fn resolve(&mut self, sad: &Sad, fib: &Fib) {
        self.resolved.clear();
        self.resolved.extend(self.stack.iter().map_while(|&id| sad.find_outbound(id)));
        if self.resolved.len() < self.stack.len() {
            self.resolved.clear();
        }
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

/// Every rule's binding.
#[derive(Default)]
pub(crate) struct Bindings {
    rules: Vec<Binding>,
    /// Which rules use an SA, so that its end or its move finds them.
    users: HashMap<SaId, Vec<RuleId>>,
}

impl Bindings {
    /// So many rules, none of them bound.
    #[must_use]
    pub(crate) fn new(rules: usize) -> Self {
        let mut bindings = Self::default();
        bindings.rules.resize_with(rules, Binding::default);
        bindings
    }

    /// A rule's binding.
    #[must_use]
    pub(crate) fn of(&self, rule: RuleId) -> Option<&Binding> {
        self.rules.get(rule.0 as usize)
    }

    /// Binds a rule, or unbinds it with an empty stack. Either way it may ask again when it has to. Returns the
    /// stack it had.
    pub(crate) fn bind(&mut self, rule: RuleId, stack: Vec<SaId>, sad: &Sad, fib: &Fib) -> Vec<SaId> {
        let Some(binding) = self.rules.get_mut(rule.0 as usize) else { return stack };
        for id in &binding.stack {
            if let Some(users) = self.users.get_mut(id) {
                users.retain(|&user| user != rule);
                if users.is_empty() {
                    self.users.remove(id);
                }
            }
        }
        for &id in &stack {
            self.users.entry(id).or_default().push(rule);
        }
        binding.acquiring = false;
        let before = std::mem::replace(&mut binding.stack, stack);
        binding.resolve(sad, fib);
        before
    }

    /// The rule may ask again.
    pub(crate) fn rearm(&mut self, rule: RuleId) {
        if let Some(binding) = self.rules.get_mut(rule.0 as usize) {
            binding.acquiring = false;
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
            }
        }
    }

    /// Routes or MTUs changed.
    pub(crate) fn measure_all(&mut self, sad: &Sad, fib: &Fib) {
        self.rules
            .iter_mut()
            .filter(|binding| !binding.stack.is_empty())
            .for_each(|binding| binding.measure(sad, fib));
    }
}
