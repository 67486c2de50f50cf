//! Dead peer detection (RFC 3706): silence, question, answer, or the end.

use crate::Dpd;
use std::time::Duration;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// Send an R-U-THERE with this sequence number.
    Ask(u32),
    /// The peer is dead.
    Dead,
}

/// Questions that have no answer yet.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    first_sequence: u32,
    first_asked_at: Duration,
    next_at: Duration,
}

/// What we know of the peer's life, under one ISAKMP SA.
#[derive(Debug)]
pub(crate) struct DeadPeerDetection {
    config: Dpd,
    heard_at: Duration,
    sequence: u32,
    unanswered: Option<Unanswered>,
}

/// Shortest silence that is worth a question, whatever the configuration says.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// Questions that fit into the timeout: one lost datagram must not kill a peer.
const QUESTIONS: u32 = 4;

impl DeadPeerDetection {
    /// `sequence` is random, and below 2^31 so that it cannot wrap (RFC 3706 §5.4).
    pub(crate) fn new(config: Dpd, now: Duration, sequence: u32) -> Self {
        let config = Dpd { delay: config.delay.max(DELAY_MIN), ..config };
        Self { config, heard_at: now, sequence: sequence >> 1, unanswered: None }
    }

    /// Something authentic came from the peer.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.unanswered = None;
    }

    pub(crate) fn deadline(&self) -> Duration {
        match self.unanswered {
            Some(unanswered) => unanswered.next_at,
            None => self.heard_at + self.config.delay,
        }
    }

    pub(crate) fn due(&mut self, now: Duration) -> Due {
        if now < self.deadline() {
            return Due::Nothing;
        }
        let dead_at = |first_asked_at| first_asked_at + self.config.timeout;
        if self.unanswered.is_some_and(|unanswered| now >= dead_at(unanswered.first_asked_at)) {
            return Due::Dead;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let unanswered = self.unanswered.get_or_insert(Unanswered {
            first_sequence: self.sequence,
            first_asked_at: now,
            next_at: now,
        });
        let end = unanswered.first_asked_at + self.config.timeout;
        unanswered.next_at =
            (now + self.config.timeout / QUESTIONS).max(now + Duration::from_millis(1)).min(end);
        Due::Ask(self.sequence)
    }

    /// Whether the number answers a question of ours that is still open.
    pub(crate) fn is_answer(&self, sequence: u32) -> bool {
        self.unanswered.is_some_and(|open| (open.first_sequence..=self.sequence).contains(&sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn detection() -> DeadPeerDetection {
        DeadPeerDetection::new(Dpd { delay: S(10), timeout: S(8) }, S(0), 100)
    }

    #[test]
    fn a_silent_peer_is_asked_several_times_and_then_dead() {
        let mut dpd = detection();
        let mut dues = Vec::new();
        for second in 0..30 {
            match dpd.due(S(second)) {
                Due::Nothing => {}
                due => dues.push((second, due)),
            }
            if dues.last().is_some_and(|(_, due)| *due == Due::Dead) {
                break;
            }
        }
        let ask = Due::Ask;
        assert_eq!(dues, [(10, ask(51)), (12, ask(52)), (14, ask(53)), (16, ask(54)), (18, Due::Dead)]);
    }

    #[test] // RFC 3706 §5
    fn activity_makes_questions_needless() {
        let mut dpd = detection();
        for second in 0..100 {
            dpd.heard(S(second));
            assert_eq!(dpd.due(S(second)), Due::Nothing);
        }
    }

    #[test] // RFC 3706 §6.2
    fn only_open_questions_can_be_answered() {
        let mut dpd = detection();
        assert!(!dpd.is_answer(51));
        assert_eq!(dpd.due(S(10)), Due::Ask(51));
        assert!(dpd.is_answer(51));
        assert!(!dpd.is_answer(52) && !dpd.is_answer(50));
        dpd.heard(S(11));
        assert!(!dpd.is_answer(51));
    }
}
