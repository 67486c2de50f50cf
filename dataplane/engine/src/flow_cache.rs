//! Verdicts of flows seen lately, so that a rule set is searched once for each flow and not once for each packet.
//!
//! Fixed size, keyed hash, random eviction (REQUIREMENTS F-32): whoever floods it slows himself down to the search,
//! and nobody else for long.

use crate::draw::Draw;
use crate::limits::{FLOW_CACHE_SETS, FLOW_CACHE_WAYS};
use crate::spd::Direction;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use warren_policy::{FiveTuple, Verdict};

/// One worker's cache.
pub struct FlowCache {
    hash: FixedState,
    /// Entries of another generation are from older rules, and free.
    generation: u32,
    entries: Box<[Entry]>,
    /// Whom to evict.
    draw: Draw,
}

#[derive(Clone, Copy)]
struct Entry {
    generation: u32,
    direction: Direction,
    flow: FiveTuple,
    verdict: Verdict,
}

const EMPTY: Entry = Entry {
    generation: 0,
    direction: Direction::Outbound,
    flow: FiveTuple {
        source: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        destination: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        protocol: 0,
        source_port: None,
        destination_port: None,
    },
    verdict: Verdict::NoRule,
};

impl FlowCache {
    /// An empty cache. `seed` is unknown to whoever sends packets.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            hash: FixedState::with_seed(seed),
            generation: 1,
            entries: vec![EMPTY; FLOW_CACHE_SETS * FLOW_CACHE_WAYS].into(),
            draw: Draw::new(seed),
        }
    }

    /// Forgets everything: the rules have changed.
    pub fn invalidate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            // Once in 2^32 changes an entry could seem fresh again.
            self.entries.fill(EMPTY);
            self.generation = 1;
        }
    }

    /// What the rules said when this flow was last looked up.
    #[must_use]
    pub fn lookup(&self, direction: Direction, flow: &FiveTuple) -> Option<Verdict> {
        let set = self.set(direction, flow);
        self.entries[set..set + FLOW_CACHE_WAYS]
            .iter()
            .find(|entry| {
                entry.generation == self.generation && entry.direction == direction && entry.flow == *flow
            })
            .map(|entry| entry.verdict)
    }

    /// Remembers a verdict, at the expense of a free entry or of a random one.
    pub fn insert(&mut self, direction: Direction, flow: FiveTuple, verdict: Verdict) {
        let set = self.set(direction, &flow);
        let free = (0..FLOW_CACHE_WAYS).find(|way| self.entries[set + way].generation != self.generation);
        let way = free.unwrap_or_else(|| self.draw.below(FLOW_CACHE_WAYS));
        self.entries[set + way] = Entry { generation: self.generation, direction, flow, verdict };
    }

    fn set(&self, direction: Direction, flow: &FiveTuple) -> usize {
        let hash = self.hash.hash_one((direction, flow));
        (hash as usize % FLOW_CACHE_SETS) * FLOW_CACHE_WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use warren_policy::RuleId;

    fn flow(number: u32) -> FiveTuple {
        FiveTuple {
            source: Ipv4Addr::from(number).into(),
            destination: Ipv4Addr::new(10, 0, 0, 1).into(),
            protocol: 17,
            source_port: Some(1),
            destination_port: None,
        }
    }

    #[test]
    fn directions_and_generations_are_kept_apart() {
        let mut cache = FlowCache::new(7);
        cache.insert(Direction::Outbound, flow(1), Verdict::Clear);
        assert_eq!(cache.lookup(Direction::Outbound, &flow(1)), Some(Verdict::Clear));
        assert_eq!(cache.lookup(Direction::Inbound, &flow(1)), None);
        cache.invalidate();
        assert_eq!(cache.lookup(Direction::Outbound, &flow(1)), None);
    }

    #[test] // F-32
    fn a_flood_of_flows_evicts_and_never_lies() {
        let mut cache = FlowCache::new(7);
        let verdict = |number| Verdict::Protect(RuleId(number));
        for number in 0..100_000 {
            cache.insert(Direction::Outbound, flow(number), verdict(number));
        }
        let known = (0..100_000).filter(|&number| {
            let found = cache.lookup(Direction::Outbound, &flow(number));
            assert!(found.is_none_or(|found| found == verdict(number)));
            found.is_some()
        });
        let known = known.count();
        assert!((10_000..=FLOW_CACHE_SETS * FLOW_CACHE_WAYS).contains(&known), "{known}");
    }
}
