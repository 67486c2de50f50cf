//! One tunnel: its pairs, which of them is bound, and what it waits for.
//!
//! There is no state variable that could disagree with the tables: how the tunnel stands follows from which pairs
//! it has, whether a negotiation runs and whether a pause does ([`Tunnel::state`]).

use crate::config::{Start, TunnelConfig};
use crate::lanes::Further;
use crate::limits::{
    BACK_OFF_MIN, GRACE_MAX, GRACE_MIN, PAIRS_PER_LANE_MAX, PAIRS_SPARE_MAX, STABLE_AFTER, SUPERSEDED_MAX,
};
use crate::pair::{Moment, Pair};
use crate::schedule::Jitter;
use crate::status::{PairStatus, State, TunnelStatus};
use std::time::Duration;
use warren_ike::{Failure, Role};
use warren_seam::SaId;

/// A negotiation that we began.
pub(crate) struct Negotiation {
    pub(crate) started: Moment,
    /// The lane of the pair that it will bring.
    pub(crate) lane: u16,
    /// Inbound SAs of the lane's pairs that existed then: its success makes them superfluous.
    pub(crate) replaces: Vec<SaId>,
}

pub(crate) struct Tunnel {
    /// The operator's name for it, or the server's.
    pub(crate) name: String,
    pub(crate) config: TunnelConfig,
    /// Whether its rule lets all of its traffic pass.
    pub(crate) permits: bool,
    pub(crate) pairs: Vec<Pair>,
    /// Outbound SAs that the engine was told to use, innermost first, of each lane.
    pub(crate) bound: Vec<Vec<SaId>>,
    /// It is there only for what is inside of it: no packet is classified into it.
    pub(crate) is_level: bool,
    /// Its way leads through other tunnels.
    pub(crate) is_inside: bool,
    pub(crate) further: Further,
    /// It has traffic of its own, or is to be there without: it is not only around others.
    pub(crate) has_own_use: bool,
    pub(crate) negotiation: Option<Negotiation>,
    /// Nothing is negotiated before that time.
    pub(crate) held_until: Option<Duration>,
    /// Taken down by the operator.
    pub(crate) closed: bool,
    pub(crate) failures: u32,
    pub(crate) last_failure: Option<Failure>,
    /// When the last pair came up, until that success has been credited against `failures`.
    uncredited: Option<Duration>,
    /// The last state that was seen to begin, and when.
    seen: (u8, Duration),
}

impl Tunnel {
    pub(crate) fn new(now: Duration, name: String, config: TunnelConfig) -> Self {
        Self {
            name,
            config,
            permits: true,
            pairs: Vec::new(),
            bound: Vec::new(),
            is_level: false,
            is_inside: false,
            further: Further::default(),
            has_own_use: false,
            negotiation: None,
            held_until: None,
            closed: false,
            failures: 0,
            last_failure: None,
            uncredited: None,
            seen: (0, now),
        }
    }

    pub(crate) fn starts_immediately(&self) -> bool {
        self.config.start == Start::Immediately
    }

    /// Whether nobody forbids a negotiation and none runs.
    pub(crate) fn may_open(&self) -> bool {
        !self.closed && self.negotiation.is_none() && self.held_until.is_none()
    }

    pub(crate) fn pair_mut(&mut self, sa: SaId) -> Option<&mut Pair> {
        self.pairs.iter_mut().find(|pair| pair.has(sa))
    }

    /// The pair that traffic should go through: the newest that is not about to be closed, or else the newest.
    pub(crate) fn best(&self) -> Option<usize> {
        self.newest_where(|_| true)
    }

    pub(crate) fn newest_where(&self, is_meant: impl Fn(&Pair) -> bool) -> Option<usize> {
        let usable = self.pairs.iter().enumerate().filter(|(_, pair)| !pair.closing && !self.closed);
        let usable = usable.filter(|(_, pair)| is_meant(pair));
        usable.max_by_key(|(_, pair)| (pair.closes_at.is_none(), pair.completed)).map(|(at, _)| at)
    }

    /// Takes in a new pair and decides which of the others are superfluous because of it: only those of its lane are.
    pub(crate) fn accept(&mut self, now: Duration, pair: Pair, replaces: &[SaId]) {
        let closes_at = Some(now + GRACE_MAX);
        let mut new = pair;
        let is_one_more = self.best().is_some() && self.best_of(new.lane()).is_none();
        self.keep_order(&mut new);
        for old in &mut self.pairs {
            if old.lane() != new.lane() && !replaces.contains(&old.inbound.id) {
                continue;
            }
            if replaces.contains(&old.inbound.id) {
                old.closes_at = old.closes_at.or(closes_at);
            } else if old.closes_at.is_none() && old.is_simultaneous_with(&new) {
                let loser = if new.outranks(old) { &mut *old } else { &mut new };
                loser.closes_at = closes_at;
            } else if new.role == Role::Responder {
                // The peer renewed it, and may never say that the old one is gone.
                old.superseded_until = old.superseded_until.or(Some(now + SUPERSEDED_MAX));
            }
        }
        self.pairs.push(new);
        self.spare_the_last();
        self.space_lanes(now);
        self.last_failure = None;
        if !is_one_more {
            self.uncredited = Some(now);
        }
    }

    /// Marks pairs of the lane that the peer has renewed as closing, and returns their inbound SAs.
    pub(crate) fn superseded(&mut self, lane: u16) -> Vec<SaId> {
        let is_superseded =
            |pair: &&mut Pair| pair.lane() == lane && !pair.closing && pair.superseded_until.is_some();
        let open = self.pairs.iter_mut().filter(is_superseded);
        open.map(|pair| {
            pair.closing = true;
            pair.inbound.id
        })
        .collect()
    }

    /// Pairs beyond the limit, oldest first.
    pub(crate) fn surplus(&self) -> Option<SaId> {
        let open = self.pairs.iter().filter(|pair| !pair.closing);
        if open.clone().count() <= PAIRS_PER_LANE_MAX * usize::from(self.lanes()) + PAIRS_SPARE_MAX {
            return None;
        }
        let bests: Vec<SaId> = self.bests().into_iter().map(|at| self.pairs[at].inbound.id).collect();
        open.filter(|pair| !bests.contains(&pair.inbound.id))
            .min_by_key(|pair| pair.completed)
            .map(|pair| pair.inbound.id)
    }

    /// A pair that was to be closed stays when none other is left of its lane.
    pub(crate) fn spare_the_last(&mut self) {
        for best in self.bests() {
            self.pairs[best].closes_at = None;
        }
        if let Some(best) = self.best() {
            self.pairs[best].superseded_until = None;
        }
    }

    /// The peer uses the pair with this inbound SA: its predecessors have served.
    pub(crate) fn first_inbound(&mut self, now: Duration, inbound: SaId) {
        let used = self.bests().into_iter().find(|at| self.pairs[*at].inbound.id == inbound);
        if let Some(lane) = used.map(|at| self.pairs[at].lane()) {
            for pair in self.pairs.iter_mut().filter(|pair| pair.lane() == lane) {
                pair.closes_at = pair.closes_at.map(|at| at.min(now + GRACE_MIN));
            }
        }
    }

    /// Counts a failure and says how long to pause. A tunnel that was up for a while starts from the beginning.
    pub(crate) fn fail(&mut self, now: Duration, jitter: &mut Jitter) -> Duration {
        if self.uncredited.take().is_some_and(|since| now.saturating_sub(since) >= STABLE_AFTER) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        jitter.back_off(self.failures)
    }

    /// Whether the pair was lost too soon after it came up to try again at once.
    pub(crate) fn was_short_lived(&self, now: Duration) -> bool {
        self.uncredited.is_some_and(|since| now.saturating_sub(since) < STABLE_AFTER)
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let rekeys = self.bests().into_iter().map(|at| self.pairs[at].rekey_at);
        let rekey = rekeys.min().filter(|_| self.negotiation.is_none());
        let open = self.pairs.iter().filter(|pair| !pair.closing);
        let pairs = open.map(Pair::ends_at).min();
        [self.held_until, rekey, self.further_at(), pairs].into_iter().flatten().min()
    }

    /// After a rekey that failed: not again before the pause, and in time before the end if that is possible.
    pub(crate) fn postpone_rekey(&mut self, now: Duration, lane: u16, pause: Duration) {
        if let Some(best) = self.best_of(lane) {
            let pair = &mut self.pairs[best];
            let latest = pair.expires_at.saturating_sub(BACK_OFF_MIN);
            pair.rekey_at = (now + pause).min(latest.max(now + BACK_OFF_MIN));
        }
    }

    pub(crate) fn state(&self) -> State {
        if self.config.child.is_divisible && !self.closed {
            return State::Discovers;
        }
        let Some(best) = self.best() else {
            return match (self.closed, &self.negotiation, self.held_until) {
                (true, _, _) => State::Closed,
                (false, Some(_), _) => State::Negotiating,
                (false, None, Some(until)) => State::HoldDown { until },
                (false, None, None) => State::Down,
            };
        };
        let pair = &self.pairs[best];
        let renewed = self.negotiation.as_ref().and_then(|own| self.best_of(own.lane));
        let going = self.pairs.iter().filter(|old| old.closes_at.is_some() || old.closing);
        let going = going.filter_map(|old| Some((old, self.best_of(old.lane())?))).next();
        match (renewed, going) {
            (Some(old), _) => State::Rekeying { old: self.pairs[old].inbound.id, new: None },
            (None, Some((old, new))) => {
                State::Rekeying { old: old.inbound.id, new: Some(self.pairs[new].inbound.id) }
            }
            (None, None) => State::Up { inbound: pair.inbound.id, outbound: pair.outbound.id },
        }
    }

    /// Notes when the kind of state changed, for `since`.
    pub(crate) fn observe(&mut self, now: Duration) {
        let kind = match self.state() {
            State::Down => 0,
            State::Closed => 1,
            State::Negotiating => 2,
            State::Up { .. } => 3,
            State::Rekeying { .. } => 4,
            State::HoldDown { .. } => 5,
            State::Discovers => 6,
        };
        if self.seen.0 != kind {
            self.seen = (kind, now);
        }
    }

    pub(crate) fn status(&self) -> TunnelStatus {
        let pair = |pair: &Pair| PairStatus {
            inbound: pair.inbound.clone(),
            outbound: pair.outbound.clone(),
            role: pair.role,
            lifetime: pair.lifetime,
            born: pair.born,
            expires_at: pair.expires_at,
            bound: self.bound.iter().flatten().any(|sa| *sa == pair.outbound.id),
        };
        TunnelStatus {
            rule: self.config.child.rule,
            state: self.state(),
            since: self.seen.1,
            parallel: self.lanes(),
            pairs: self.pairs.iter().map(pair).collect(),
            failures: self.failures.max(self.further_failures()),
            last_failure: self.last_failure,
        }
    }

    /// A soft limit by volume was reached. The peer sees the same limit, so the responder waits a little.
    pub(crate) fn soft_expire(&mut self, now: Duration, sa: SaId, patience: Duration) {
        let bests: Vec<SaId> = self.bests().into_iter().map(|at| self.pairs[at].inbound.id).collect();
        if let Some(pair) = self.pair_mut(sa).filter(|pair| bests.contains(&pair.inbound.id)) {
            let wanted = match pair.role {
                Role::Initiator => now,
                Role::Responder => now + patience,
            };
            pair.rekey_at = pair.rekey_at.min(wanted);
        }
    }
}
