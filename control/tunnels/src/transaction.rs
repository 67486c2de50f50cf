//! One stack being built, and taken down again: the run of figures 6 and 7 (REQUIREMENTS NT-10 … NT-19, NT-29 …
//! NT-31, Q-16, Q-22, Q-23).
//!
//! ```text
//!            ┌────────────── performed: push on completed (618) ──────────────┐
//!            ▼                                                                │
//! pending ─ top ── there already: one user more ──> completed                 │
//!            └──── not there: Perform (614) ──────────────────────────────────┤
//! pending empty (612) ──> Done: the flow may pass                             │ failed (616)
//!                          │ close: Cut, then                                 ▼
//! completed empty (624) <── top of completed (620, 622) <── the failed level's own debris
//!                               │ last user: TearDown
//!                               └ others use it: one user less
//! ```
//!
//! A level that is lost takes what stands on it along, and all that is built again from there (NT-32): the same way
//! back, as far as below that level, and then the way there once more.
//!
//! The caller asks [`next`](Transaction::next), does what it says and reports back; there is one thing to do at a time
//! (NT-13). Figure 7 itself returns to the question whether the action succeeded, whose answer never changes; figure
//! 6 and claim 6 ask whether the completed stack is empty, and so do we (Q-16).

use crate::references::{Claim, LevelKey, References};
use warren_policy::{Action, PendingStack};

/// What is left of a level that is torn down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// It failed: perhaps half an ISAKMP SA, an SA of one direction, a route, perhaps nothing (NT-30).
    Debris,
    /// It was performed.
    Whole,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Perform the action, through the levels that are completed; then [`performed`](Transaction::performed) or
    /// [`failed`](Transaction::failed).
    Perform(Action),
    /// Nothing now: another transaction is performing this level or taking it away. Ask again when that one went on.
    Wait(Action),
    /// Nothing: every action is performed, and the flow may pass (NT-15).
    Done,
    /// No packet may use the stack any more (NT-31); then [`cut`](Transaction::cut).
    Cut,
    /// Take the level away; then [`torn_down`](Transaction::torn_down).
    TearDown {
        /// What was performed, or failed.
        action: Action,
        /// What is left of it.
        remains: Remains,
    },
    /// Nothing: all that this transaction had is gone or belongs to others (NT-17).
    RolledBack,
}

/// Why a transaction unwinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This action failed.
    Failed(Action),
    /// There are [`LEVELS_MAX`](crate::limits::LEVELS_MAX) levels already.
    NoRoom,
    /// The stack is not wanted any more.
    Closed,
}

/// A report that nobody waits for. It changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stack waits for no such report")]
pub struct OutOfTurn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Building,
    Performing,
    Done,
    Cutting,
    Clearing(Action),
    Unwinding,
    TearingDown(Action),
    RolledBack,
}

/// One pending and one completed stack. It holds references until [`Step::RolledBack`]: whoever drops it earlier
/// leaves levels behind that nobody can tear down.
#[derive(Debug)]
pub struct Transaction {
    /// Bottom to top.
    pending: Vec<Action>,
    /// Bottom to top: nearest gateway first.
    completed: Vec<Action>,
    state: State,
    reason: Option<Reason>,
    /// So many levels stay, and the others are built again.
    keeps: Option<usize>,
}

impl Transaction {
    /// Performs nothing yet. Only whole stacks can be given (NT-10).
    #[must_use]
    pub fn new(stack: &PendingStack) -> Self {
        Self::of(stack.bottom_to_top().to_vec())
    }

    const fn of(pending: Vec<Action>) -> Self {
        Self { pending, completed: Vec::new(), state: State::Building, reason: None, keeps: None }
    }

    /// What is to be done; the same until it is reported done. Takes at most one turn for each level.
    pub fn next(&mut self, references: &mut References) -> Step {
        loop {
            match self.state {
                State::Building => {
                    if let Some(wait) = self.build(references) {
                        return wait;
                    }
                }
                State::Unwinding => self.unwind(references),
                State::Performing => return Step::Perform(*self.top()),
                State::Done => return Step::Done,
                State::Cutting => return Step::Cut,
                State::Clearing(action) => return Step::TearDown { action, remains: Remains::Debris },
                State::TearingDown(action) => return Step::TearDown { action, remains: Remains::Whole },
                State::RolledBack => return Step::RolledBack,
            }
        }
    }

    /// The action of [`Step::Perform`] succeeded.
    pub fn performed(&mut self, references: &mut References) -> Result<(), OutOfTurn> {
        expect(self.state == State::Performing)?;
        references.performed(&self.path(self.top()));
        self.complete();
        self.state = State::Building;
        Ok(())
    }

    /// The action of [`Step::Perform`] failed. Those below it in the pending stack are never tried (NT-18).
    pub fn failed(&mut self, references: &mut References) -> Result<(), OutOfTurn> {
        expect(self.state == State::Performing)?;
        let action = *self.top();
        self.abandon(Reason::Failed(action), references);
        Ok(())
    }

    /// No packet uses the stack any more, as [`Step::Cut`] asked.
    pub fn cut(&mut self) -> Result<(), OutOfTurn> {
        expect(self.state == State::Cutting)?;
        self.state = State::Unwinding;
        Ok(())
    }

    /// The level of [`Step::TearDown`] is gone.
    pub fn torn_down(&mut self, references: &mut References) -> Result<(), OutOfTurn> {
        let (State::Clearing(action) | State::TearingDown(action)) = self.state else {
            return Err(OutOfTurn);
        };
        references.torn_down(&self.path(&action));
        self.state = State::Unwinding;
        Ok(())
    }

    /// The stack is not wanted any more. What is being performed is given up like a failure; a stack that is done is
    /// cut first. Does nothing to one that unwinds already.
    pub fn close(&mut self, references: &mut References) {
        if self.keeps.take().is_some() {
            self.reason = Some(Reason::Closed);
        }
        match self.state {
            State::Building => {
                self.reason = Some(Reason::Closed);
                self.state = State::Unwinding;
            }
            State::Performing => self.abandon(Reason::Closed, references),
            State::Done => {
                self.reason = Some(Reason::Closed);
                self.state = State::Cutting;
            }
            State::Cutting
            | State::Clearing(_)
            | State::Unwinding
            | State::TearingDown(_)
            | State::RolledBack => {}
        }
    }

    /// The completed level at that place, counted from the nearest gateway, is not there any more: what stands on it is
    /// taken away, it is given back itself, and both are built again. A stack that unwinds to its end builds nothing, but
    /// nobody else takes the level for there any more.
    pub fn lost(&mut self, at: usize, references: &mut References) {
        let Some(carried_by) = self.completed.get(..=at) else { return };
        let path: Vec<LevelKey> = carried_by.iter().map(LevelKey::from).collect();
        references.lost(&path);
        if self.is_unwinding() && self.keeps.is_none() {
            return;
        }
        self.keeps = Some(self.keeps.map_or(at, |keeps| keeps.min(at)));
        match self.state {
            State::Building => self.state = State::Unwinding,
            State::Performing => {
                let action = *self.top();
                references.failed(&self.path(&action));
                self.state = State::Clearing(action);
            }
            State::Done => self.state = State::Cutting,
            _ => {}
        }
    }

    const fn is_unwinding(&self) -> bool {
        matches!(
            self.state,
            State::Cutting
                | State::Clearing(_)
                | State::Unwinding
                | State::TearingDown(_)
                | State::RolledBack
        )
    }

    /// Whether it has lost a level and is on its way back to build it again.
    #[must_use]
    pub const fn is_receding(&self) -> bool {
        self.keeps.is_some()
    }

    /// Whether packets may use the stack: from [`Step::Done`] until it is closed, and at no other time (NT-15, NT-31).
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.state == State::Done
    }

    /// Why it unwinds, or unwound.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// What is not performed yet, or was never tried; bottom to top.
    #[must_use]
    pub fn pending(&self) -> &[Action] {
        &self.pending
    }

    /// What is performed and not yet torn down; bottom to top.
    #[must_use]
    pub fn completed(&self) -> &[Action] {
        &self.completed
    }

    /// Takes what is there already, until something is to be performed or waited for, or all is done.
    fn build(&mut self, references: &mut References) -> Option<Step> {
        let Some(top) = self.pending.last().copied() else {
            self.state = State::Done;
            return None;
        };
        match references.claim(&self.path(&top)) {
            Claim::Perform => self.state = State::Performing,
            Claim::Shared => self.complete(),
            Claim::Wait => return Some(Step::Wait(top)),
            Claim::Full => {
                self.reason = Some(Reason::NoRoom);
                self.state = State::Unwinding;
            }
        }
        None
    }

    /// One level of the completed stack: torn down if nobody else uses it, given back if somebody does.
    fn unwind(&mut self, references: &mut References) {
        if self.keeps.is_some_and(|keeps| self.completed.len() <= keeps) {
            self.keeps = None;
            self.state = State::Building;
            return;
        }
        let popped = self.completed.pop();
        self.pending.extend(popped.filter(|_| self.keeps.is_some()));
        self.state = match popped {
            None => State::RolledBack,
            Some(action) if references.give_back(&self.path(&action)) => State::TearingDown(action),
            Some(_) => State::Unwinding,
        };
    }

    fn abandon(&mut self, reason: Reason, references: &mut References) {
        let action = *self.top();
        references.failed(&self.path(&action));
        self.pending.pop();
        self.reason = Some(reason);
        self.state = State::Clearing(action);
    }

    fn complete(&mut self) {
        let action = *self.top();
        self.pending.pop();
        self.completed.push(action);
    }

    fn top(&self) -> &Action {
        self.pending.last().expect("an action is performed as long as it is pending")
    }

    /// The level of that action upon what is completed.
    fn path(&self, action: &Action) -> Vec<LevelKey> {
        self.completed.iter().chain([action]).map(LevelKey::from).collect()
    }
}

const fn expect(in_turn: bool) -> Result<(), OutOfTurn> {
    if in_turn { Ok(()) } else { Err(OutOfTurn) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::references::Standing;
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::IpAddr;
    use warren_policy::stack::walk;
    use warren_policy::{
        AddressRange, FiveTuple, Outcome, PeerId, Rematch, RuleId, RuleSet, Selector, TransportAction,
        TransportRule, TunnelRule,
    };

    fn everything() -> Selector {
        Selector::between(AddressRange::any(false), AddressRange::any(false)).unwrap()
    }

    fn tunnel(gateway: u8) -> Action {
        let rule = RuleId(u32::from(gateway));
        Action::Tunnel { rule, peer: PeerId(0), gateway: [192, 0, 2, gateway].into(), selector: everything() }
    }

    fn transport() -> Action {
        Action::Transport { at: 0, action: TransportAction::Permit, selector: everything() }
    }

    /// Through these gateways, nearest first, and the transport action.
    fn through(gateways: &[u8]) -> Transaction {
        let tunnels = gateways.iter().rev().map(|gateway| tunnel(*gateway));
        Transaction::of([transport()].into_iter().chain(tunnels).collect())
    }

    /// What an action is called here: the last octet of its gateway, 0 for the transport action.
    fn name(action: &Action) -> u8 {
        match action.gateway() {
            Some(IpAddr::V4(gateway)) => gateway.octets()[3],
            _ => 0,
        }
    }

    /// What was done, in words: `+1` performed, `!1` failed, `?1` debris cleared, `-1` torn down, `cut`.
    fn run(transaction: &mut Transaction, references: &mut References, failing: Option<u8>) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            match transaction.next(references) {
                Step::Perform(action) if Some(name(&action)) == failing => {
                    done.push(format!("!{}", name(&action)));
                    transaction.failed(references).unwrap();
                }
                Step::Perform(action) => {
                    done.push(format!("+{}", name(&action)));
                    transaction.performed(references).unwrap();
                }
                Step::TearDown { action, remains } => {
                    let sign = if remains == Remains::Debris { '?' } else { '-' };
                    done.push(format!("{sign}{}", name(&action)));
                    transaction.torn_down(references).unwrap();
                }
                Step::Cut => {
                    done.push("cut".to_owned());
                    transaction.cut().unwrap();
                }
                Step::Wait(_) | Step::Done | Step::RolledBack => return done,
            }
        }
    }

    /// V-9: to B by SG3, to SG3 by SG2, to SG2 by SG1.
    fn three_gateways() -> Transaction {
        let address = |octet: u8| IpAddr::from([192, 0, 2, octet]);
        let rule = |id: u32, to: IpAddr, gateway: u8| TunnelRule {
            id: RuleId(id),
            name: String::new(),
            selector: Selector { destination: AddressRange::single(to), ..everything() },
            peer: PeerId(id),
            gateway: address(gateway).into(),
        };
        let base =
            TransportRule { name: String::new(), selector: everything(), action: TransportAction::Permit };
        let tunnel = vec![rule(0, address(99), 3), rule(1, address(3), 2), rule(2, address(2), 1)];
        let rules = RuleSet { transport: vec![base], tunnel };
        let packet = FiveTuple {
            source: [10, 0, 0, 1].into(),
            destination: address(99),
            protocol: 6,
            source_port: Some(1),
            destination_port: Some(2),
        };
        let Outcome::Stack(stack) = walk(&rules, &packet, Rematch::Destination).outcome else { panic!() };
        Transaction::new(&stack)
    }

    #[test] // V-9, NT-10, NT-11, NT-12, NT-14, NT-15, Q-20, Q-21
    fn the_nearest_gateway_is_performed_first_and_the_transport_action_ends_on_top_of_completed() {
        let (mut transaction, mut references) = (three_gateways(), References::default());
        assert_eq!(transaction.pending().iter().map(name).collect::<Vec<_>>(), [0, 3, 2, 1]);
        assert_eq!(run(&mut transaction, &mut references, None), ["+1", "+2", "+3", "+0"]);
        assert_eq!(transaction.completed().iter().map(name).collect::<Vec<_>>(), [1, 2, 3, 0]);
        assert!(transaction.pending().is_empty() && transaction.is_usable());
        assert_eq!(transaction.next(&mut references), Step::Done);
    }

    #[test] // V-10, NT-16, NT-17, NT-18, NT-30
    fn the_third_gateway_fails_and_what_was_built_goes_farthest_first() {
        let (mut transaction, mut references) = (three_gateways(), References::default());
        assert_eq!(run(&mut transaction, &mut references, Some(3)), ["+1", "+2", "!3", "?3", "-2", "-1"]);
        assert_eq!(transaction.next(&mut references), Step::RolledBack);
        assert!(transaction.completed().is_empty() && references.is_empty());
        assert_eq!(transaction.pending().iter().map(name).collect::<Vec<_>>(), [0]);
        assert!(matches!(transaction.reason(), Some(Reason::Failed(action)) if name(&action) == 3));
    }

    #[test] // V-11, NT-29, Q-23
    fn a_gateway_that_was_up_for_another_flow_stays() {
        let mut references = References::default();
        let mut other = through(&[1]);
        // The traffic of V-11's other flow goes into the same tunnel to SG1.
        let mut stack = three_gateways();
        other.pending = vec![transport(), *stack.pending().last().unwrap()];
        assert_eq!(run(&mut other, &mut references, None), ["+1", "+0"]);
        assert_eq!(run(&mut stack, &mut references, Some(3)), ["+2", "!3", "?3", "-2"]);
        assert!(other.is_usable());
        assert_eq!(references.len(), 2);
        other.close(&mut references);
        assert_eq!(run(&mut other, &mut references, None), ["cut", "-0", "-1"]);
        assert!(references.is_empty());
    }

    #[test] // NT-17, NT-30, Q-16
    fn a_failure_of_the_first_action_finds_the_completed_stack_empty() {
        let (mut transaction, mut references) = (through(&[1, 2]), References::default());
        assert_eq!(run(&mut transaction, &mut references, Some(1)), ["!1", "?1"]);
        assert_eq!(transaction.next(&mut references), Step::RolledBack);
        assert!(references.is_empty());
    }

    #[test] // NT-16, NT-18
    fn the_fifth_of_ten_fails_and_four_are_torn_down() {
        // Ten do not fit a stack of ours; the run does not care.
        let (mut transaction, mut references) =
            (through(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), References::default());
        let done = run(&mut transaction, &mut references, Some(5));
        assert_eq!(done, ["+1", "+2", "+3", "+4", "!5", "?5", "-4", "-3", "-2", "-1"]);
        assert_eq!(transaction.pending().len(), 6);
    }

    #[test] // NT-11, NT-14, NT-16, NT-17, NT-18, NT-19, NT-29, NT-30, Q-23
    fn a_failure_at_every_level_of_every_depth_leaves_exactly_what_strangers_use() {
        for depth in 1..=8_u8 {
            let gateways: Vec<u8> = (1..=depth).collect();
            let order: Vec<u8> = gateways.iter().copied().chain([0]).collect();
            for shared in 0..=usize::from(depth) {
                for fails in shared..order.len() {
                    let mut references = References::default();
                    let mut stranger = through(&gateways[..shared]);
                    run(&mut stranger, &mut references, None);
                    let before = references.len();
                    let mut transaction = through(&gateways);
                    // With all tunnels shared the stranger's transport action is the same level, and nothing is left to do.
                    let all_shared = shared == usize::from(depth);
                    let done = run(&mut transaction, &mut references, Some(order[fails]));
                    let built = order[shared..fails].iter().map(|name| format!("+{name}"));
                    let failed = [format!("!{}", order[fails]), format!("?{}", order[fails])];
                    let torn = order[shared..fails].iter().rev().map(|name| format!("-{name}"));
                    let expected: Vec<_> = built.chain(failed).chain(torn).collect();
                    if all_shared {
                        assert!(done.is_empty() && transaction.is_usable());
                        transaction.close(&mut references);
                        assert_eq!(run(&mut transaction, &mut references, None), ["cut"]);
                    } else {
                        assert_eq!(done, expected, "depth {depth}, {shared} shared, {fails} fails");
                    }
                    assert_eq!(transaction.next(&mut references), Step::RolledBack);
                    assert!(stranger.is_usable());
                    assert_eq!(references.len(), before);
                    stranger.close(&mut references);
                    run(&mut stranger, &mut references, None);
                    assert!(references.is_empty());
                }
            }
        }
    }

    #[test] // NT-13
    fn there_is_one_thing_to_do_until_it_is_reported() {
        let (mut transaction, mut references) = (through(&[1, 2]), References::default());
        let first = transaction.next(&mut references);
        assert_eq!(first, Step::Perform(tunnel(1)));
        assert_eq!(transaction.next(&mut references), first);
        assert_eq!(transaction.torn_down(&mut references), Err(OutOfTurn));
        assert_eq!(transaction.cut(), Err(OutOfTurn));
        transaction.performed(&mut references).unwrap();
        assert_eq!(transaction.performed(&mut references), Err(OutOfTurn));
        assert_eq!(transaction.failed(&mut references), Err(OutOfTurn));
        assert_eq!(transaction.next(&mut references), Step::Perform(tunnel(2)));
    }

    #[test] // NT-13, NT-29
    fn who_wants_what_another_is_performing_waits_and_shares_it() {
        let mut references = References::default();
        let (mut first, mut second) = (through(&[1]), through(&[1, 2]));
        assert_eq!(first.next(&mut references), Step::Perform(tunnel(1)));
        assert_eq!(second.next(&mut references), Step::Wait(tunnel(1)));
        first.performed(&mut references).unwrap();
        assert_eq!(second.next(&mut references), Step::Perform(tunnel(2)));
        let path = [LevelKey::from(&tunnel(1))];
        assert_eq!(references.standing(&path), Some(Standing::Up(2)));
    }

    #[test] // NT-13, NT-30, Q-22
    fn who_waits_for_what_fails_tries_it_once_the_debris_is_gone() {
        let mut references = References::default();
        let (mut first, mut second) = (through(&[1]), through(&[1, 2]));
        assert_eq!(first.next(&mut references), Step::Perform(tunnel(1)));
        first.failed(&mut references).unwrap();
        assert_eq!(second.next(&mut references), Step::Wait(tunnel(1)));
        let debris = Step::TearDown { action: tunnel(1), remains: Remains::Debris };
        assert_eq!(first.next(&mut references), debris);
        first.torn_down(&mut references).unwrap();
        assert_eq!(second.next(&mut references), Step::Perform(tunnel(1)));
    }

    #[test] // NT-31, F-24
    fn a_stack_is_cut_before_its_first_level_goes_and_used_only_when_its_last_has_come() {
        let (mut transaction, mut references) = (through(&[1]), References::default());
        for _ in 0..2 {
            assert!(!transaction.is_usable());
            assert!(matches!(transaction.next(&mut references), Step::Perform(_)));
            assert!(!transaction.is_usable());
            transaction.performed(&mut references).unwrap();
        }
        assert_eq!((transaction.next(&mut references), transaction.is_usable()), (Step::Done, true));
        transaction.close(&mut references);
        assert_eq!((transaction.next(&mut references), transaction.is_usable()), (Step::Cut, false));
        assert_eq!(transaction.next(&mut references), Step::Cut);
        transaction.cut().unwrap();
        let last = Step::TearDown { action: transport(), remains: Remains::Whole };
        assert_eq!(transaction.next(&mut references), last);
    }

    #[test] // NT-16, NT-32
    fn a_lost_level_takes_what_stands_on_it_along_and_all_that_is_built_again() {
        let (mut transaction, mut references) = (three_gateways(), References::default());
        run(&mut transaction, &mut references, None);
        transaction.lost(1, &mut references);
        assert!(transaction.is_receding() && !transaction.is_usable());
        let done = run(&mut transaction, &mut references, None);
        assert_eq!(done, ["cut", "-0", "-3", "-2", "+2", "+3", "+0"]);
        assert!(transaction.is_usable() && !transaction.is_receding());
        // The level that was being performed goes as what failed does.
        let mut half = through(&[7, 8]);
        assert_eq!(half.next(&mut references), Step::Perform(tunnel(7)));
        half.performed(&mut references).unwrap();
        assert_eq!(half.next(&mut references), Step::Perform(tunnel(8)));
        half.lost(0, &mut references);
        assert_eq!(run(&mut half, &mut references, Some(7)), ["?8", "-7", "!7", "?7"]);
        assert_eq!(half.reason(), Some(Reason::Failed(tunnel(7))));
        // What is on its way out has nothing to lose.
        transaction.close(&mut references);
        transaction.lost(0, &mut references);
        assert_eq!(run(&mut transaction, &mut references, None), ["cut", "-0", "-3", "-2", "-1"]);
        assert!(references.is_empty());
    }

    #[test] // NT-29, NT-32
    fn a_lost_level_is_shared_again_only_after_all_have_given_it_back() {
        let mut references = References::default();
        let (mut first, mut second) = (through(&[1, 2]), through(&[1, 3]));
        run(&mut first, &mut references, None);
        run(&mut second, &mut references, None);
        first.lost(0, &mut references);
        assert_eq!(run(&mut first, &mut references, None), ["cut", "-0", "-2"]);
        assert_eq!(first.next(&mut references), Step::Wait(tunnel(1)));
        second.lost(0, &mut references);
        assert_eq!(run(&mut second, &mut references, None), ["cut", "-0", "-3", "-1", "+1", "+3", "+0"]);
        assert_eq!(run(&mut first, &mut references, None), ["+2", "+0"]);
        assert_eq!(references.standing(&[LevelKey::from(&tunnel(1))]), Some(Standing::Up(2)));
    }

    /// SplitMix64: the same numbers for the same seed.
    struct Seeded(u64);

    impl Seeded {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % limit
        }
    }

    /// What really is there, kept by hand: each level by the names that lead to it, and whether it is whole.
    #[derive(Default)]
    struct World {
        levels: BTreeMap<Vec<u8>, bool>,
        /// Levels that are not really there any more.
        lost: BTreeSet<Vec<u8>>,
        published: BTreeSet<usize>,
    }

    impl World {
        fn has(&self, path: &[u8]) -> bool {
            self.levels.get(path) == Some(&true) && !self.lost.contains(path)
        }

        /// One whole level goes, and all who use it are told.
        fn lose(
            &mut self,
            all: &mut [Transaction],
            references: &mut References,
            seeded: &mut Seeded,
        ) -> bool {
            let whole: Vec<Vec<u8>> = self.levels.keys().filter(|path| self.has(path)).cloned().collect();
            if whole.is_empty() {
                return false;
            }
            let path = whole[seeded.below(whole.len() as u64) as usize].clone();
            let at = path.len() - 1;
            for transaction in all {
                let has: Vec<u8> = transaction.completed().iter().map(name).collect();
                if has.starts_with(&path) {
                    transaction.lost(at, references);
                }
            }
            self.lost.insert(path)
        }
    }

    /// One step of one of several transactions. Reports whether anything was done.
    fn advance(
        at: usize,
        all: &mut [Transaction],
        references: &mut References,
        world: &mut World,
        seeded: &mut Seeded,
    ) -> bool {
        let path = |transaction: &Transaction, action: &Action| -> Vec<u8> {
            transaction.completed().iter().chain([action]).map(name).collect()
        };
        match all[at].next(references) {
            Step::Perform(action) => {
                let path = path(&all[at], &action);
                assert!(!world.levels.contains_key(&path), "performed twice: {path:?}");
                let carried = (1..path.len()).all(|to| world.has(&path[..to]));
                assert!(carried, "NT-12: {path:?} needs what is not there");
                let fails = seeded.below(8) == 0;
                world.levels.insert(path, !fails);
                if fails {
                    all[at].failed(references).unwrap();
                } else {
                    all[at].performed(references).unwrap();
                }
            }
            Step::TearDown { action, remains } => {
                let path = path(&all[at], &action);
                let whole = world.levels.remove(&path);
                world.lost.remove(&path);
                assert_eq!(whole, Some(remains == Remains::Whole), "{path:?}");
                let above = world.levels.range(path.clone()..).next();
                assert!(
                    above.is_none_or(|(other, _)| !other.starts_with(&path)),
                    "NT-16: {path:?} carries one"
                );
                for (other, transaction) in all.iter().enumerate() {
                    let has: Vec<u8> = transaction.completed().iter().map(name).collect();
                    assert!(other == at || !has.starts_with(&path), "NT-29: {path:?} is a stranger's");
                }
                all[at].torn_down(references).unwrap();
            }
            Step::Cut => {
                assert!(world.published.remove(&at));
                all[at].cut().unwrap();
            }
            Step::Done => {
                let fresh = world.published.insert(at);
                return fresh;
            }
            Step::Wait(_) | Step::RolledBack => return false,
        }
        true
    }

    #[test] // NT-12, NT-13, NT-16, NT-17, NT-19, NT-28, NT-29, NT-30, NT-31, NT-32, F-28, Q-23
    fn many_stacks_that_share_levels_come_and_go_in_any_order_and_leave_nothing() {
        let (mut failures, mut shared, mut waits, mut losses) = (0, 0, 0, 0);
        for seed in 0..400 {
            let mut seeded = Seeded(seed);
            let (mut references, mut world) = (References::default(), World::default());
            let mut all: Vec<Transaction> = (0..6)
                .map(|_| {
                    let depth = 1 + seeded.below(8);
                    let gateways: Vec<u8> = (0..depth).map(|_| 1 + u8::from(seeded.below(4) == 0)).collect();
                    through(&gateways)
                })
                .collect();
            for _ in 0..300 {
                let at = seeded.below(6) as usize;
                if seeded.below(60) == 0 {
                    all[at].close(&mut references);
                }
                if seeded.below(40) == 0 {
                    losses += u32::from(world.lose(&mut all, &mut references, &mut seeded));
                    let receding = |at: &usize| !all[*at].is_usable();
                    // Its traffic is cut before anything else happens.
                    let cut: Vec<usize> = world.published.iter().copied().filter(receding).collect();
                    for at in cut {
                        advance(at, &mut all, &mut references, &mut world, &mut seeded);
                    }
                }
                let moved = advance(at, &mut all, &mut references, &mut world, &mut seeded);
                waits += u32::from(!moved && matches!(all[at].next(&mut references), Step::Wait(_)));
                for published in &world.published {
                    let has: Vec<u8> = all[*published].completed().iter().map(name).collect();
                    let whole = (1..=has.len()).all(|to| world.has(&has[..to]));
                    // A stack that is being closed is cut by its next step.
                    assert!(whole, "NT-31: {has:?} is used and not whole");
                }
                let paths: BTreeSet<Vec<u8>> = all
                    .iter()
                    .map(|transaction| transaction.completed().iter().map(name).collect())
                    .collect();
                shared += u32::from(paths.len() < all.len());
            }
            all.iter_mut().for_each(|transaction| transaction.close(&mut references));
            let mut at = 0;
            while all.iter_mut().any(|transaction| transaction.next(&mut references) != Step::RolledBack) {
                advance(at % 6, &mut all, &mut references, &mut world, &mut seeded);
                at += 1;
                assert!(at < 10_000, "nothing waits for ever");
            }
            assert!(
                world.levels.is_empty() && world.published.is_empty() && references.is_empty(),
                "seed {seed}"
            );
            let failed = |transaction: &&Transaction| matches!(transaction.reason(), Some(Reason::Failed(_)));
            failures += all.iter().filter(failed).count();
        }
        assert!(
            failures > 100 && shared > 100 && waits > 100 && losses > 100,
            "{failures} {shared} {waits} {losses}"
        );
    }
}
