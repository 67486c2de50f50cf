//! Packets of control on their way through SAs that it named (REQUIREMENTS NT-12).
//!
//! Each is a binding of its own, which every worker opens at the same place in the order of commands and closes a while
//! later. Until then its SAs are held: one that is removed right behind the packet (an IKE Delete, and then the tunnel that
//! it was sent through) is gone for all rules, and this packet still finds it, on whichever worker it arrives.

use crate::bindings::{Binding, Stack};
use crate::fib::Fib;
use crate::limits::{PASSAGE_OPEN_FOR, PASSAGES_MAX};
use crate::sad::{Removed, SaIndex, Sad};
use std::collections::VecDeque;
use std::time::Duration;
use warren_policy::RuleId;
use warren_seam::SaId;
use warren_seam::limits::RULE_IDS_END;

/// Which packet of control's. In a slot and in a parcel it stands where the rule of other packets stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PassageId(u32);

impl PassageId {
    /// The passage with that number; they count up, and around.
    #[must_use]
    pub(crate) const fn nth(number: u32) -> Self {
        Self(number % RULE_IDS_END)
    }

    /// The passage that is meant by what stands where a rule stands; `None` when a rule is.
    #[must_use]
    pub(crate) const fn of(rule: RuleId) -> Option<Self> {
        if rule.0 >= RULE_IDS_END { Some(Self(rule.0 - RULE_IDS_END)) } else { None }
    }

    /// What stands for it where a rule stands.
    #[must_use]
    pub(crate) const fn rule(self) -> RuleId {
        RuleId(self.0 + RULE_IDS_END)
    }
}

/// The passages that are open.
#[derive(Default)]
pub(crate) struct Passages {
    /// In the order of their numbers, without a gap.
    open: VecDeque<(Duration, Binding)>,
    /// The number of the first of them.
    first: u32,
}

impl Passages {
    /// Opens one, the number of which follows that of the last. Without one of its SAs it leads nowhere.
    pub(crate) fn open(&mut self, id: PassageId, stack: Vec<SaId>, sad: &mut Sad, fib: &Fib, now: Duration) {
        let binding = Binding::of_stack(stack, sad, fib);
        sas(&binding).for_each(|sa| sad.hold(sa));
        if self.open.is_empty() {
            self.first = id.0;
        }
        self.open.push_back((now + PASSAGE_OPEN_FOR, binding));
    }

    /// Where it leads; `None` when it has been closed, or not been opened yet.
    #[must_use]
    pub(crate) fn find(&self, id: PassageId) -> Option<&Binding> {
        let at = id.0.wrapping_sub(self.first) % RULE_IDS_END;
        self.open.get(at as usize).map(|(_, binding)| binding)
    }

    /// Closes the oldest one if its time is over or there are too many. Returns what it was, and those of its SAs that had
    /// been removed meanwhile.
    pub(crate) fn close(&mut self, sad: &mut Sad, now: Duration) -> Option<(Vec<Stack>, Vec<Removed>)> {
        let &(until, _) = self.open.front()?;
        if until > now && self.open.len() <= PASSAGES_MAX {
            return None;
        }
        let (_, binding) = self.open.pop_front()?;
        self.first = PassageId::nth(self.first + 1).0;
        let removed = sas(&binding).filter_map(|sa| sad.let_go(sa)).collect();
        Some((binding.into_stacks(), removed))
    }

    /// Routes or MTUs changed, or a peer moved.
    pub(crate) fn measure(&mut self, sad: &Sad, fib: &Fib) {
        self.open.iter_mut().for_each(|(_, binding)| binding.measure(sad, fib));
    }
}

/// Its SAs; none unless all are there.
fn sas(binding: &Binding) -> impl Iterator<Item = SaIndex> + '_ {
    binding.sole().map(Stack::resolved).unwrap_or_default().iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mtu::Shape;
    use crate::sad::Outbound;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test] // NT-12
    fn passages_are_found_by_number_around_the_end_of_all_numbers_and_close_in_order() {
        let (mut passages, mut sad, fib) = (Passages::default(), Sad::default(), Fib::default());
        let numbers = [RULE_IDS_END - 2, RULE_IDS_END - 1, 0, 1];
        for (number, now) in numbers.into_iter().zip(0..) {
            passages.open(PassageId::nth(number), vec![SaId(u64::from(number))], &mut sad, &fib, at(now));
        }
        let open = |passages: &Passages| numbers.map(|number| passages.find(PassageId(number)).is_some());
        assert_eq!(open(&passages), [true; 4]);
        assert!(passages.find(PassageId(2)).is_none() && passages.find(PassageId(7)).is_none());
        let end = PASSAGE_OPEN_FOR + at(1);
        let closed: Vec<_> = std::iter::from_fn(|| passages.close(&mut sad, end)).collect();
        assert_eq!(
            closed.iter().map(|(stacks, _)| stacks[0].names()[0].0).collect::<Vec<_>>(),
            [u64::from(RULE_IDS_END) - 2, u64::from(RULE_IDS_END) - 1]
        );
        assert_eq!(open(&passages), [false, false, true, true]);
    }

    /// An outbound SA without keys, as workers know those of others.
    fn outbound(id: u64) -> Outbound {
        let address = "192.0.2.1".parse().unwrap();
        let shape = Shape {
            transform: warren_aead::Transform::AesGcm16(warren_aead::KeyLength::B128),
            mode: warren_seam::SaMode::Tunnel,
            encapsulation: warren_seam::Encapsulation::Raw,
            local: address,
            remote: address,
        };
        let spi = warren_seam::Spi(id as u32);
        Outbound { serial: 0, shape, spi, owner: 0, id: SaId(id), holds: 0, is_gone: false, sealer: None }
    }

    #[test] // NT-12, NT-31, F-37
    fn a_removed_sa_is_given_back_by_the_last_passage_that_holds_it_and_at_once_without_any() {
        let (mut passages, mut sad, fib) = (Passages::default(), Sad::default(), Fib::default());
        (1..=3).for_each(|id| assert!(sad.install_outbound(outbound(id)).is_none()));
        passages.open(PassageId::nth(0), vec![SaId(1), SaId(2)], &mut sad, &fib, at(0));
        passages.open(PassageId::nth(1), vec![SaId(1)], &mut sad, &fib, at(500));
        // One that lacks an SA holds none of the others.
        passages.open(PassageId::nth(2), vec![SaId(3), SaId(9)], &mut sad, &fib, at(600));
        assert!(sad.remove(SaId(3)).is_some(), "nobody holds it");
        assert!(sad.remove(SaId(1)).is_none());
        assert!(sad.find_outbound(SaId(1)).is_none(), "it is gone for all rules");
        let first = sas(passages.find(PassageId(0)).unwrap()).next().unwrap();
        assert_eq!(sad.outbound(first).unwrap().id, SaId(1));
        assert!(passages.close(&mut sad, at(999)).is_none());
        let returned = |closed: Option<(Vec<Stack>, Vec<Removed>)>| closed.map(|(_, removed)| removed.len());
        assert_eq!(returned(passages.close(&mut sad, at(1000))), Some(0), "the second has it still");
        assert_eq!(returned(passages.close(&mut sad, at(1499))), None);
        assert_eq!(returned(passages.close(&mut sad, at(1500))), Some(1));
        assert!(sad.outbound(first).is_none());
        assert!(sad.remove(SaId(2)).is_some(), "it was never removed, and is held no more");
        // Its place is free again, once.
        assert!(sad.install_outbound(outbound(4)).is_none() && sad.install_outbound(outbound(5)).is_none());
        assert_ne!(sad.find_outbound(SaId(4)), sad.find_outbound(SaId(5)));
    }

    #[test] // F-12
    fn no_more_than_the_maximum_are_open_however_young_they_are() {
        let (mut passages, mut sad, fib) = (Passages::default(), Sad::default(), Fib::default());
        for number in 0..PASSAGES_MAX as u32 + 3 {
            passages.open(PassageId::nth(number), vec![], &mut sad, &fib, at(0));
        }
        assert_eq!(std::iter::from_fn(|| passages.close(&mut sad, at(0))).count(), 3);
    }

    #[test]
    fn a_number_of_a_passage_is_none_of_a_rule() {
        assert_eq!(PassageId::of(RuleId(RULE_IDS_END - 1)), None);
        assert_eq!(PassageId::of(PassageId::nth(5).rule()), Some(PassageId(5)));
        assert_eq!(PassageId::nth(u32::MAX).rule(), RuleId(u32::MAX));
    }
}
