//! A message that is repeated until something answers it, and the stored answer to a message that was repeated.

use crate::Retransmit;
use crate::crypto::digest;
use crate::limits::{RESENDS_MAX, RETRANSMIT_INTERVAL_MAX};
use std::time::Duration;
use warren_policy::Hash;

/// Our message, waiting for its answer.
pub(crate) struct Retransmission {
    message: Vec<u8>,
    interval: Duration,
    tries_left: u32,
    begun_at: Duration,
    next: Duration,
}

impl Retransmission {
    pub(crate) fn new(now: Duration, message: Vec<u8>, config: Retransmit) -> Self {
        let (interval, tries_left) = (config.first, config.tries);
        Self { message, interval, tries_left, begun_at: now, next: now + interval }
    }

    /// When it was sent the first time.
    pub(crate) const fn begun_at(&self) -> Duration {
        self.begun_at
    }

    pub(crate) const fn deadline(&self) -> Duration {
        self.next
    }

    /// The message, once more; `None` when all tries are used.
    pub(crate) fn repeat(&mut self, now: Duration) -> Option<&[u8]> {
        self.tries_left = self.tries_left.checked_sub(1)?;
        self.interval = (self.interval * 2).min(RETRANSMIT_INTERVAL_MAX);
        self.next = now + self.interval;
        Some(&self.message)
    }
}

/// The last message of one exchange that we answered, by hash, with what we answered (REQUIREMENTS F-6).
#[derive(Default)]
pub(crate) struct Answered {
    request: Option<[u8; 32]>,
    response: Option<Vec<u8>>,
    resends: u32,
}

/// What a message is, compared with the last one.
pub(crate) enum Repetition<'a> {
    /// Not the last one.
    New,
    /// The last one, and this was the answer.
    Answer(&'a [u8]),
    /// The last one, and there is nothing to say.
    Silence,
}

/// The name of a message in a response cache.
pub(crate) fn fingerprint(message: &[u8]) -> [u8; 32] {
    digest(Hash::Sha256, &[message]).try_into().expect("SHA2-256 has 32 octets")
}

impl Answered {
    pub(crate) fn new(request: &[u8], response: Option<Vec<u8>>) -> Self {
        Self { request: Some(fingerprint(request)), response, resends: 0 }
    }

    /// The answer to it is there at last.
    pub(crate) fn respond(&mut self, response: Vec<u8>) {
        self.response = Some(response);
    }

    /// Never computes anything anew: a repetition gets the stored octets, and only so often.
    pub(crate) fn repetition(&mut self, message: &[u8]) -> Repetition<'_> {
        if self.request != Some(fingerprint(message)) {
            return Repetition::New;
        }
        match &self.response {
            Some(response) if self.resends < RESENDS_MAX => {
                self.resends += 1;
                Repetition::Answer(response)
            }
            _ => Repetition::Silence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_double_and_end() {
        let config = Retransmit { first: Duration::from_secs(4), tries: 4 };
        let mut message = Retransmission::new(Duration::ZERO, vec![1], config);
        let mut times = Vec::new();
        loop {
            let now = message.deadline();
            times.push(now.as_secs());
            if message.repeat(now).is_none() {
                break;
            }
        }
        assert_eq!(times, [4, 12, 28, 44, 60]);
    }

    #[test] // F-6
    fn a_response_is_repeated_only_so_often() {
        let mut answered = Answered::new(b"question", Some(b"answer".to_vec()));
        assert!(matches!(answered.repetition(b"other"), Repetition::New));
        for _ in 0..RESENDS_MAX {
            assert!(matches!(answered.repetition(b"question"), Repetition::Answer(b"answer")));
        }
        assert!(matches!(answered.repetition(b"question"), Repetition::Silence));
    }
}
