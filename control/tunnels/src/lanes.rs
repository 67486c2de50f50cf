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

    /// The lane that we would open next, where that is for us to do. Where two pairs share a lane there are enough, until
    /// one of them is renewed.
    pub(crate) fn missing(&self) -> Option<u16> {
        if self.best().is_none() || self.is_complete() || !self.is_opener() {
            return None;
        }
        (0..self.lanes()).find(|lane| self.best_of(*lane).is_none())
    }

    /// Whether there are as many pairs as there are to be, without those that have a successor.
    fn is_complete(&self) -> bool {
        let live = self.pairs.iter().filter(|pair| !pair.closing && !pair.is_going());
        live.count() >= usize::from(self.lanes())
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
        if self.is_complete() {
            self.further.complete_since.get_or_insert(now);
        }
    }

    /// A further lane could not be negotiated. How long the next try waits.
    pub(crate) fn further_failed(&mut self, now: Duration, jitter: &mut Jitter) -> Duration {
        self.further.pause(now, jitter)
    }

    /// A pair is gone, and others are up. A peer that wants fewer deletes each that we open.
    pub(crate) fn lane_lost(&mut self, now: Duration, jitter: &mut Jitter) {
        if self.missing().is_none() {
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
        if !self.is_complete() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Start, TunnelConfig};
    use crate::pair::{Moment, SaFacts};
    use std::num::NonZeroU16;
    use warren_ike::ChildConfig;
    use warren_policy::{AddressRange, EspProposal, Lifetime, PeerId, SaMode, Selector};
    use warren_seam::{Carrier, Encapsulation, Spi};

    const LIFE: u32 = 1000;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn selector() -> Selector {
        let any = AddressRange::any(false);
        Selector::between(any, any).expect("both are of one family")
    }

    fn tunnel(lanes: u16) -> Tunnel {
        let child = ChildConfig {
            rule: RuleId(0),
            peer: PeerId(0),
            selector: selector(),
            proposals: Vec::new(),
            lifetime: Lifetime { seconds: LIFE, kilobytes: None },
            window_packets: 64,
            mode: SaMode::Tunnel,
            carrier: Carrier::Network,
            is_divisible: false,
        };
        let parallel = NonZeroU16::new(lanes).expect("not zero");
        let config = TunnelConfig { child, start: Start::OnTraffic, parallel };
        Tunnel::new(Duration::ZERO, "net".to_owned(), config)
    }

    /// Its identifiers are `2 * number` and the next; the later the number, the later it was begun and complete.
    fn pair(number: u64, lane: u16, role: Role, born: u64) -> Pair {
        let facts = |id: u64| SaFacts {
            id: SaId(id),
            spi: Spi(1000 + id as u32),
            transform: "aes256gcm16".parse::<EspProposal>().expect("a proposal").transform,
            esn: false,
            selector: selector(),
            local: "192.0.2.1".parse().expect("an address"),
            remote: "192.0.2.2".parse().expect("an address"),
            encapsulation: Encapsulation::Raw,
            lane,
            window_packets: None,
        };
        let moments = (Moment(2 * number), Moment(2 * number + 1));
        let terms = (role, Lifetime { seconds: LIFE, kilobytes: None });
        let mut jitter = Jitter::new(number);
        Pair::new((facts(2 * number), facts(2 * number + 1)), moments, terms, seconds(born), &mut jitter)
    }

    fn with(lanes: u16, pairs: impl IntoIterator<Item = (u64, u16, Role)>) -> Tunnel {
        let mut tunnel = tunnel(lanes);
        for (number, lane, role) in pairs {
            tunnel.accept(seconds(number), pair(number, lane, role, number), &[]);
        }
        tunnel
    }

    use Role::{Initiator, Responder};

    #[test] // F-17
    fn what_the_peer_begins_gets_a_lane_that_has_none_and_else_that_of_its_oldest() {
        let now = seconds(10);
        type Case<'a> = (&'a [(u64, u16, Role)], &'a [u16], u16);
        let cases: &[Case<'_>] = &[
            (&[], &[], 0),
            (&[], &[0], 1),
            (&[(1, 0, Responder)], &[], 1),
            (&[(1, 0, Responder), (2, 2, Responder)], &[], 1),
            (&[(1, 0, Responder), (2, 2, Responder)], &[1], 0),
            (&[(1, 1, Responder), (2, 0, Responder), (3, 2, Responder)], &[], 1),
            // One of them has a successor, one is about to have.
            (&[(1, 1, Responder), (2, 0, Responder), (3, 2, Responder), (4, 1, Responder)], &[], 0),
            (&[(1, 1, Responder), (2, 0, Responder), (3, 2, Responder)], &[1], 0),
            // What we began we renew.
            (&[(1, 1, Initiator), (2, 0, Responder), (3, 2, Responder)], &[], 0),
            (&[(1, 1, Initiator), (2, 0, Initiator), (3, 2, Initiator)], &[], 1),
        ];
        for (at, (pairs, coming, lane)) in cases.iter().enumerate() {
            assert_eq!(with(3, pairs.iter().copied()).lane_of_peer(now, coming), *lane, "{at}");
        }
    }

    #[test] // F-24
    fn a_pair_that_was_alone_for_half_its_life_is_renewed_and_gets_no_other_beside_it() {
        let tunnel = with(3, [(1, 1, Responder)]);
        assert_eq!(tunnel.lane_of_peer(seconds(500), &[]), 0);
        assert_eq!(tunnel.lane_of_peer(seconds(501), &[]), 1);
        assert_eq!(tunnel.lane_of_peer(seconds(501), &[0]), 2, "a second one is on its way");
        assert_eq!(with(3, [(1, 1, Responder), (2, 0, Responder)]).lane_of_peer(seconds(900), &[]), 2);
    }

    #[test] // NT-13
    fn whoever_began_the_pair_with_the_highest_spis_opens_what_is_missing() {
        assert_eq!(tunnel(3).missing(), None, "the first one is nobody's further one");
        assert_eq!(with(3, [(1, 0, Initiator)]).missing(), Some(1));
        assert_eq!(with(3, [(1, 0, Responder)]).missing(), None);
        assert_eq!(with(3, [(1, 1, Responder), (2, 2, Initiator)]).missing(), Some(0));
        assert_eq!(with(3, [(1, 1, Initiator), (2, 2, Responder)]).missing(), None);
        let full = with(2, [(1, 0, Initiator), (2, 1, Initiator)]);
        assert_eq!((full.missing(), full.further_at()), (None, None));
        let mut shared = with(2, [(1, 0, Initiator)]);
        shared.pairs.push(pair(2, 0, Initiator, 2));
        assert_eq!(shared.missing(), None, "two in one lane are two");
        let mut inside = with(3, [(1, 0, Initiator)]);
        assert!(inside.further_at().is_some());
        inside.is_inside = true;
        assert_eq!(inside.further_at(), None, "a stack has one way");
    }

    #[test] // F-24
    fn a_new_pair_makes_only_those_of_its_own_lane_superfluous() {
        let tunnel = with(2, [(1, 0, Responder), (2, 1, Responder), (3, 1, Responder)]);
        let going: Vec<bool> = tunnel.pairs.iter().map(Pair::is_going).collect();
        assert_eq!(going, [false, true, false]);
        let lanes: Vec<u16> = tunnel.bests().into_iter().map(|at| tunnel.pairs[at].lane()).collect();
        assert_eq!((lanes, tunnel.bests()), (vec![0, 1], vec![0, 2]));
    }

    #[test] // F-24
    fn what_ends_a_lane_or_takes_it_over_touches_no_other() {
        let two_each = [(1, 0, Responder), (2, 1, Responder), (3, 0, Responder), (4, 1, Responder)];
        let mut tunnel = with(2, two_each);
        assert_eq!(tunnel.superseded(1), [SaId(4)], "a pair that expires takes its own predecessors along");
        let mut tunnel = with(2, [(1, 0, Initiator), (2, 1, Initiator)]);
        tunnel.accept(seconds(3), pair(3, 0, Initiator, 3), &[SaId(2)]);
        tunnel.accept(seconds(3), pair(4, 1, Initiator, 3), &[SaId(4)]);
        let closes = |tunnel: &Tunnel| [0, 1].map(|at| tunnel.pairs[at].closes_at);
        let before = closes(&tunnel);
        tunnel.first_inbound(seconds(4), SaId(8));
        assert_eq!(closes(&tunnel)[0], before[0], "the peer has not used its successor");
        assert!(closes(&tunnel)[1] < before[1]);
    }

    #[test] // Q-22
    fn one_more_lane_does_not_make_a_tunnel_short_lived_that_was_up_for_long() {
        let mut tunnel = with(2, [(1, 0, Initiator)]);
        assert!(tunnel.was_short_lived(seconds(2)));
        tunnel.accept(seconds(100), pair(2, 1, Initiator, 100), &[]);
        assert!(!tunnel.was_short_lived(seconds(101)));
    }

    #[test] // F-24
    fn lanes_are_renewed_in_the_order_in_which_they_came_up() {
        let tunnel = with(64, (0..64).map(|number| (number, number as u16, Initiator)));
        assert!(tunnel.pairs.is_sorted_by_key(|pair| pair.rekey_at));
        let latest = |pair: &Pair| pair.born + Jitter::rekey_latest(pair.life());
        assert!(tunnel.pairs.iter().all(|pair| pair.rekey_at <= latest(pair)));
        assert_eq!(tunnel.due(seconds(900)), Some(0));
        assert_eq!(tunnel.due(seconds(700)), None);
    }

    #[test] // F-24
    fn what_the_peer_did_not_renew_after_all_stays() {
        let superseded = |tunnel: &Tunnel| {
            tunnel
                .pairs
                .iter()
                .filter(|pair| pair.superseded_until.is_some())
                .map(Pair::lane)
                .collect::<Vec<_>>()
        };
        // The third was held for the successor of the first; then the peer deletes the second.
        let mut tunnel = with(2, [(1, 0, Responder), (2, 1, Responder), (3, 0, Responder)]);
        assert_eq!(superseded(&tunnel), [0]);
        tunnel.reprieve();
        assert_eq!(superseded(&tunnel), [0], "there are two without it");
        tunnel.pairs.remove(1);
        tunnel.reprieve();
        assert_eq!(superseded(&tunnel), [0; 0]);
    }

    #[test] // F-24
    fn the_highest_lanes_go_first_when_fewer_are_wanted() {
        let mut tunnel = with(4, (0..4).map(|number| (number, number as u16, Initiator)));
        assert!(tunnel.beyond().is_empty());
        tunnel.config.parallel = NonZeroU16::new(2).expect("not zero");
        assert_eq!(tunnel.beyond(), [SaId(6), SaId(4)]);
        // What is up stays up, whatever its number.
        tunnel.pairs.drain(..2);
        assert!(tunnel.beyond().is_empty());
        assert_eq!(tunnel.missing(), None, "two are there");
    }

    #[test] // F-24
    fn lanes_that_are_lost_soon_after_all_were_up_are_opened_ever_later() {
        let mut jitter = Jitter::new(1);
        let mut tunnel = with(2, [(1, 0, Initiator), (2, 1, Initiator)]);
        let mut lose = |tunnel: &mut Tunnel, now: u64| {
            tunnel.pairs.pop().expect("there are two");
            tunnel.lane_lost(seconds(now), &mut jitter);
            tunnel.further_at().expect("it is missing") - seconds(now)
        };
        assert_eq!(lose(&mut tunnel, 62), FURTHER_SPACING, "it was up for a minute");
        let mut last = Duration::ZERO;
        for round in 0..5 {
            let now = 63 + 20 * round;
            tunnel.accept(seconds(now), pair(10 + round, 1, Initiator, now), &[]);
            let pause = lose(&mut tunnel, now + 10);
            assert!(pause > last, "{pause:?} after {last:?}");
            last = pause;
        }
        assert_eq!(tunnel.further_failures(), 5);
        tunnel.accept(seconds(170), pair(20, 1, Initiator, 170), &[]);
        assert_eq!(lose(&mut tunnel, 230), FURTHER_SPACING);
        assert_eq!(tunnel.further_failures(), 0, "a minute forgives all");
        tunnel.retry_lanes(seconds(300));
        assert_eq!(tunnel.further_at(), Some(seconds(300)));
    }

    #[test] // F-24
    fn no_lane_is_opened_when_its_repetitions_could_outlast_another_ones_pair() {
        let mut tunnel = with(2, [(1, 0, Initiator)]);
        tunnel.retry_lanes(seconds(881));
        assert_eq!(tunnel.further_at(), Some(seconds(881)));
        tunnel.retry_lanes(seconds(882));
        assert_eq!(tunnel.further_at(), None, "a successor comes first");
    }
}
