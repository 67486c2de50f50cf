//! Several pairs of one tunnel side by side, each in a lane of its own (in the spirit of RFC 9611, which is IKEv2's;
//! IKEv1 has no word for it).
//!
//! ```text
//! first pair up ── spacing ──> the opener opens the lowest lane that is missing ── up ──> Spread over all lanes
//!                                 ▲                                          └─ failure, loss ── pause ──┐
//!                                 └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A lane is our own affair: it says which worker has the SAs, and the peer may count otherwise. A pair that we begin
//! has the lane that we begin it for. One that the peer begins is said by nothing to be one more or the successor of
//! another, so that it gets a lane that has none, and otherwise the one whose pair is the oldest of those that the peer
//! began; for that to be right,
//! lanes are renewed in the order in which they came up. Where it is wrong nonetheless, the peer's Delete says which pair
//! it meant, and until the next successor comes two pairs share one lane.
//!
//! Only one side opens lanes: the one that began the pair with the highest SPIs, which both see alike.

use crate::limits::{BACK_OFF_MIN, FURTHER_CLEARANCE, FURTHER_SPACING, FURTHER_STABLE_AFTER};
use crate::negotiator::Negotiator;
use crate::pair::Pair;
use crate::schedule::Jitter;
use crate::tunnel::Tunnel;
use crate::tunnels::Tunnels;
use std::time::Duration;
use warren_ike::Role;
use warren_policy::RuleId;
use warren_seam::SaId;

/// When lanes beyond the first that is up are opened.
#[derive(Default)]
pub(crate) struct Further {
    /// Not before that time.
    not_before: Duration,
    /// That failed, or were lost soon after all had come up, in a row.
    failures: u32,
    /// When none was missing any more.
    complete_since: Option<Duration>,
}

impl Further {
    /// A negotiation of the tunnel has just ended.
    fn space(&mut self, now: Duration) {
        self.not_before = self.not_before.max(now + FURTHER_SPACING);
    }

    fn pause(&mut self, now: Duration, jitter: &mut Jitter) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let pause = jitter.back_off(self.failures);
        self.not_before = now + pause;
        pause
    }
}

impl Tunnel {
    /// How many pairs it is to have side by side. What is inside of others has one: its way has one worker too.
    pub(crate) fn lanes(&self) -> u16 {
        if self.is_inside { 1 } else { self.config.parallel.get() }
    }

    /// The pair that traffic of the lane should go through: the newest that is not about to be closed, or else the
    /// newest.
    pub(crate) fn best_of(&self, lane: u16) -> Option<usize> {
        self.newest_where(|pair| pair.lane() == lane)
    }

    /// The best pair of each lane that has one, in the order of the lanes.
    pub(crate) fn bests(&self) -> Vec<usize> {
        let mut lanes: Vec<u16> = self.pairs.iter().map(Pair::lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        lanes.into_iter().filter_map(|lane| self.best_of(lane)).collect()
    }

    /// For the next pair that the peer begins; `coming` are the lanes of those that are not complete yet.
    pub(crate) fn lane_of_peer(&self, now: Duration, coming: &[u16]) -> u16 {
        let lanes = self.lanes();
        if let [only] = self.bests()[..]
            && coming.is_empty()
            && self.pairs[only].is_half_over(now)
        {
            // Whoever had one for so long renews it, and will not say more than that.
            return self.pairs[only].lane();
        }
        let newest = |lane: u16| self.best_of(lane).map(|at| &self.pairs[at]);
        let is_free = |lane: &u16| newest(*lane).is_none() && !coming.contains(lane);
        // What it began it renews first.
        let age = |lane: u16| newest(lane).map(|pair| (pair.role == Role::Initiator, pair.completed));
        let oldest = || (0..lanes).min_by_key(|lane| (coming.contains(lane), age(*lane)));
        (0..lanes).find(is_free).or_else(oldest).unwrap_or(0)
    }

    /// The lane that we would open next, where that is for us to do.
    pub(crate) fn missing(&self) -> Option<u16> {
        let bests = self.bests();
        if bests.is_empty() || bests.len() >= usize::from(self.lanes()) || !self.is_opener() {
            return None;
        }
        (0..self.lanes()).find(|lane| self.best_of(*lane).is_none())
    }

    /// One side opens lanes, or there would be twice as many: both see the same SPIs.
    fn is_opener(&self) -> bool {
        let open = self.pairs.iter().filter(|pair| !pair.closing);
        open.max_by_key(|pair| pair.rank()).is_some_and(|pair| pair.role == Role::Initiator)
    }

    /// When the next lane may be opened. Not so late that a peer who does not answer would keep us from renewing what
    /// is up: one negotiation runs at a time.
    pub(crate) fn further_at(&self) -> Option<Duration> {
        if self.lanes() == 1 || !self.may_open() || self.missing().is_none() {
            return None;
        }
        let clear = |at: usize| {
            let pair = &self.pairs[at];
            pair.expires_at.saturating_sub(FURTHER_CLEARANCE.min(pair.life() / 4))
        };
        let latest = self.bests().into_iter().map(clear).min()?;
        (self.further.not_before <= latest).then_some(self.further.not_before)
    }

    /// The pair whose successor is due, of several the oldest: that is how the peer knows which one is meant.
    pub(crate) fn due(&self, now: Duration) -> Option<usize> {
        let due = self.bests().into_iter().filter(|at| self.pairs[*at].rekey_at <= now);
        due.min_by_key(|at| self.pairs[*at].completed)
    }

    /// Lanes come up one after the other, and are renewed in that order.
    pub(crate) fn keep_order(&self, new: &mut Pair) {
        let is_ours = |pair: &&Pair| {
            pair.role == Role::Initiator && pair.lane() != new.lane() && !pair.is_going() && !pair.closing
        };
        let last = self.pairs.iter().filter(is_ours).map(|pair| pair.rekey_at).max();
        if let Some(last) = last.filter(|_| new.role == Role::Initiator) {
            new.rekey_at = new.rekey_at.max(last.min(new.born + Jitter::rekey_latest(new.life())));
        }
    }

    /// A pair is complete: what else there is to be opened waits a moment, so that both sides know the same pairs.
    pub(crate) fn space_lanes(&mut self, now: Duration) {
        self.further.space(now);
        if self.bests().len() >= usize::from(self.lanes()) {
            self.further.complete_since.get_or_insert(now);
        }
    }

    /// A further lane could not be negotiated. How long the next try waits.
    pub(crate) fn further_failed(&mut self, now: Duration, jitter: &mut Jitter) -> Duration {
        self.further.pause(now, jitter)
    }

    /// One lane has lost its last pair while others are up. A peer that wants fewer deletes each that we open.
    pub(crate) fn lane_lost(&mut self, now: Duration, lost: &Pair, jitter: &mut Jitter) {
        if self.best_of(lost.lane()).is_some() || self.best().is_none() {
            return;
        }
        let since = self.further.complete_since.take();
        if since.is_some_and(|since| now.saturating_sub(since) >= FURTHER_STABLE_AFTER) {
            self.further.failures = 0;
            self.further.space(now);
        } else {
            self.further.pause(now, jitter);
        }
    }

    /// Lanes that failed are tried again at once.
    pub(crate) fn retry_lanes(&mut self, now: Duration) {
        self.further = Further { not_before: now, ..Further::default() };
    }

    /// Negotiations of further lanes that failed in a row.
    pub(crate) const fn further_failures(&self) -> u32 {
        self.further.failures
    }

    /// The peer deleted a pair that it was not thought to have renewed: then it has not renewed the one that it was
    /// thought to, unless there are enough without that.
    pub(crate) fn reprieve(&mut self) {
        let live = |pair: &&Pair| !pair.closing && !pair.is_going();
        if self.pairs.iter().filter(live).count() < usize::from(self.lanes()) {
            let superseded = self
                .pairs
                .iter_mut()
                .filter(|pair| !pair.closing && pair.closes_at.is_none() && pair.superseded_until.is_some());
            if let Some(last) = superseded.max_by_key(|pair| pair.completed) {
                last.superseded_until = None;
            }
        }
    }

    /// Inbound SAs of lanes beyond what is wanted, the highest first.
    pub(crate) fn beyond(&self) -> Vec<SaId> {
        let kept = self.bests().into_iter().take(usize::from(self.lanes()));
        let kept: Vec<u16> = kept.map(|at| self.pairs[at].lane()).collect();
        let mut beyond: Vec<&Pair> =
            self.pairs.iter().filter(|pair| !pair.closing && !kept.contains(&pair.lane())).collect();
        beyond.sort_by_key(|pair| std::cmp::Reverse(pair.lane()));
        beyond.into_iter().map(|pair| pair.inbound.id).collect()
    }
}

impl<N: Negotiator> Tunnels<N> {
    /// The lane of a pair whose first SA is being installed.
    pub(crate) fn lane_for(&self, now: Duration, rule: RuleId, role: Role) -> u16 {
        let Some(tunnel) = self.tunnels.get(&rule) else { return 0 };
        let begun = tunnel.negotiation.as_ref().map(|own| own.lane);
        match begun {
            Some(lane) if role == Role::Initiator => lane,
            _ if tunnel.lanes() == 1 => 0,
            _ => {
                let half_open = self.half_open.values().filter(|half| half.rule == rule);
                // What we negotiate for a lane that has none will be there.
                let begun = begun.filter(|lane| tunnel.best_of(*lane).is_none());
                let coming: Vec<u16> = half_open.map(|half| half.facts.lane).chain(begun).collect();
                tunnel.lane_of_peer(now, &coming)
            }
        }
    }

    /// Opens what is missing, or renews what is due.
    pub(crate) fn serve_lanes(&mut self, now: Duration, rule: RuleId) {
        let Some(tunnel) = self.tunnels.get(&rule) else { return };
        if let Some(due) = tunnel.due(now) {
            let lane = tunnel.pairs[due].lane();
            // A lane beyond what is wanted, which was kept because others were missing, becomes one of those.
            let free = || (0..tunnel.lanes()).find(|lane| tunnel.best_of(*lane).is_none());
            let to = if lane < tunnel.lanes() { lane } else { free().unwrap_or(lane) };
            self.open_lane(now, rule, (to, Some(lane)));
        } else if tunnel.further_at().is_some_and(|at| at <= now)
            && let Some(lane) = tunnel.missing()
        {
            self.open_lane(now, rule, (lane, None));
        }
    }

    /// After a change of the configuration: lanes that are not wanted any more go, those that are missing come.
    pub(crate) fn fit_lanes(&mut self, now: Duration, rule: RuleId) {
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return };
        tunnel.retry_lanes(now);
        tunnel.space_lanes(now);
        for inbound in tunnel.beyond() {
            self.close(now, rule, inbound, false);
        }
        self.touched.push(rule);
    }
}

const _: () = assert!(FURTHER_SPACING.as_millis() < BACK_OFF_MIN.as_millis());
