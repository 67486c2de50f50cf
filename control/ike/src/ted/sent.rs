//! Which probes of ours may still cause something: an answer, an error to the end host in whose name they went, or their
//! own return (REQUIREMENTS TED-28, TED-60, F-14).
//!
//! Probes of discoveries under way are in here, and those of ended ones for a while, as many as fit.

use super::packet::Quotation;
use crate::limits::{ENDED_DISCOVERIES_MAX, ENDED_DISCOVERY_LIFE};
use crate::wire::Cookie;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// A probe as the network sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) source_port: u16,
    pub(super) cookie: Cookie,
}

#[derive(Default)]
pub(super) struct Sent {
    asked: BTreeSet<Asked>,
    /// Ended ones, in the order in which they are forgotten.
    ended: VecDeque<(Duration, Asked)>,
    ended_cookies: BTreeSet<Cookie>,
}

impl Sent {
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    pub(super) fn insert(&mut self, asked: Asked) {
        self.asked.insert(asked);
    }

    /// Its discovery is over; what is on its way still arrives.
    pub(super) fn end(&mut self, now: Duration, asked: Asked) {
        if self.ended.len() >= ENDED_DISCOVERIES_MAX {
            self.forget_first();
        }
        self.ended.push_back((now.saturating_add(ENDED_DISCOVERY_LIFE), asked));
        self.ended_cookies.insert(asked.cookie);
    }

    /// Forgets what is old enough.
    pub(super) fn expire(&mut self, now: Duration) {
        while self.ended.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, asked)) = self.ended.pop_front() {
            self.asked.remove(&asked);
            self.ended_cookies.remove(&asked.cookie);
        }
    }

    /// When the next one is old enough.
    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.ended.front().map(|(until, _)| *until)
    }

    /// Whether a discovery of that cookie is over.
    pub(super) fn is_ended(&self, cookie: Cookie) -> bool {
        self.ended_cookies.contains(&cookie)
    }

    /// Whether the packet that an error quotes may have been one of ours.
    pub(super) fn has_quoted(&self, quoted: &Quotation) -> bool {
        let with = |cookie| Asked {
            source: quoted.source,
            destination: quoted.destination,
            source_port: quoted.source_port,
            cookie,
        };
        match quoted.cookie {
            Some(cookie) => self.asked.contains(&with(cookie)),
            None => self.asked.range(with([0; 8])..=with([0xff; 8])).next().is_some(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(at: u32) -> Asked {
        let address = |first: u8| IpAddr::from((u32::from(first) << 24 | at >> 1).to_be_bytes());
        Asked {
            source: address(10),
            destination: address(11),
            source_port: 4242,
            cookie: u64::from(at + 1).to_be_bytes(),
        }
    }

    fn quoted(asked: &Asked, cookie: Option<Cookie>) -> Quotation {
        Quotation {
            source: asked.source,
            destination: asked.destination,
            source_port: asked.source_port,
            cookie,
        }
    }

    #[test] // TED-28
    fn a_quotation_is_known_by_what_there_is_of_it() {
        let mut sent = Sent::default();
        sent.insert(asked(0));
        assert!(sent.has_quoted(&quoted(&asked(0), None)));
        assert!(sent.has_quoted(&quoted(&asked(0), Some(asked(0).cookie))));
        assert!(!sent.has_quoted(&quoted(&asked(0), Some(asked(1).cookie))), "another's cookie");
        assert!(!sent.has_quoted(&quoted(&asked(2), None)), "another's addresses");
        let other_port = Quotation { source_port: 4243, ..quoted(&asked(0), None) };
        assert!(!sent.has_quoted(&other_port));
    }

    #[test] // TED-28, TED-60
    fn an_ended_probe_is_remembered_for_a_while_and_only_so_many_are() {
        let mut sent = Sent::default();
        let now = Duration::from_secs(1);
        for at in 0..3 * ENDED_DISCOVERIES_MAX as u32 {
            sent.insert(asked(at));
            sent.end(now, asked(at));
        }
        assert_eq!(sent.len(), ENDED_DISCOVERIES_MAX);
        let last = asked(3 * ENDED_DISCOVERIES_MAX as u32 - 1);
        assert!(sent.is_ended(last.cookie) && !sent.is_ended(asked(0).cookie));
        assert_eq!(sent.next_expiry(), Some(now + ENDED_DISCOVERY_LIFE));
        sent.expire(now + ENDED_DISCOVERY_LIFE - Duration::from_millis(1));
        assert!(sent.has_quoted(&quoted(&last, None)));
        sent.expire(now + ENDED_DISCOVERY_LIFE);
        assert!(sent.is_empty() && !sent.is_ended(last.cookie) && sent.next_expiry().is_none());
    }
}
