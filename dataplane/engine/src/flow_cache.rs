//! Verdicts of flows seen lately, so that a rule set is searched once for each flow and not once for each packet.
//!
//! Fixed size, keyed hash, random eviction (REQUIREMENTS F-32): whoever floods it slows himself down to the search,
//! and nobody else for long.

use crate::draw::Draw;
use crate::limits::{FLOW_CACHE_SETS, FLOW_CACHE_WAYS};
use crate::spd::Direction;
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use warren_policy::{FiveTuple, Verdict};

/// One worker's cache.
pub struct FlowCache {
    hash: FixedState,
    /// Entries of another generation are from older rules, and free.
    generation: u32,
    sets: Box<[[Entry; FLOW_CACHE_WAYS]]>,
    /// Whom to evict.
    draw: Draw,
}

/// What the rules look at and from which side, packed: compared and hashed as few numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    /// Both addresses of IPv4, or the source.
    first: u128,
    /// The destination, unless it is in the first.
    second: u128,
    /// Ports, protocol, and what is there at all.
    rest: u64,
}

/// Either address is one of IPv6.
const IS_WIDE: u64 = 0b11 << 40;

impl Key {
    #[inline]
    fn new(direction: Direction, flow: &FiveTuple) -> Self {
        let (first, second, families) = match (flow.source, flow.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                (u128::from(source.to_bits()) << 32 | u128::from(destination.to_bits()), 0, 0)
            }
            (source, destination) => {
                let families = u64::from(source.is_ipv6()) << 1 | u64::from(destination.is_ipv6());
                (number(source), number(destination), families)
            }
        };
        let (source_port, destination_port) = (port(flow.source_port), port(flow.destination_port));
        let ports = (source_port & 0xffff) << 16 | destination_port & 0xffff;
        let has_ports = source_port >> 16 << 1 | destination_port >> 16;
        let inbound = u64::from(direction == Direction::Inbound);
        let flags = inbound << 4 | has_ports << 2 | families;
        Self { first, second, rest: flags << 40 | u64::from(flow.protocol) << 32 | ports }
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.first);
        if self.rest & IS_WIDE != 0 {
            state.write_u128(self.second);
        }
        state.write_u64(self.rest);
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A port, with a bit above it that says that there is one.
#[inline]
fn port(port: Option<u16>) -> u64 {
    port.map_or(0, |port| 1 << 16 | u64::from(port))
}

/// One flow: one cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry {
    key: Key,
    generation: u32,
    verdict: Verdict,
}

const _: () = assert!(size_of::<Entry>() == 64, "a flow is one cache line");

const EMPTY: Entry =
    Entry { key: Key { first: 0, second: 0, rest: 0 }, generation: 0, verdict: Verdict::NoRule };

impl FlowCache {
    /// An empty cache. `seed` is unknown to whoever sends packets.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            hash: FixedState::with_seed(seed),
            generation: 1,
            sets: vec![[EMPTY; FLOW_CACHE_WAYS]; FLOW_CACHE_SETS].into(),
            draw: Draw::new(seed),
        }
    }

    /// Forgets everything: the rules have changed.
    pub fn invalidate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            // Once in 2^32 changes an entry could seem fresh again.
            self.sets.fill([EMPTY; FLOW_CACHE_WAYS]);
            self.generation = 1;
        }
    }

    /// What the rules said when this flow was last looked up.
    #[inline]
    #[must_use]
    pub fn lookup(&self, direction: Direction, flow: &FiveTuple) -> Option<Verdict> {
        let key = Key::new(direction, flow);
        let set = self.sets.get(self.place(&key))?;
        let entry = set.iter().find(|entry| entry.key == key && entry.generation == self.generation)?;
        Some(entry.verdict)
    }

    /// Remembers a verdict, at the expense of a free entry or of a random one.
    pub fn insert(&mut self, direction: Direction, flow: FiveTuple, verdict: Verdict) {
        let key = Key::new(direction, &flow);
        let place = self.place(&key);
        let free = self.sets[place].iter().position(|entry| entry.generation != self.generation);
        let way = free.unwrap_or_else(|| self.draw.below(FLOW_CACHE_WAYS));
        self.sets[place][way] = Entry { key, generation: self.generation, verdict };
    }

    #[inline]
    fn place(&self, key: &Key) -> usize {
        self.hash.hash_one(key) as usize % FLOW_CACHE_SETS
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

    #[test]
    fn flows_that_differ_in_anything_are_told_apart() {
        let mapped = FiveTuple { source: Ipv4Addr::from(1).to_ipv6_mapped().into(), ..flow(1) };
        let others = [
            flow(2),
            mapped,
            FiveTuple { source: "::1".parse().unwrap(), ..flow(1) },
            FiveTuple { destination: Ipv4Addr::new(10, 0, 0, 2).into(), ..flow(1) },
            FiveTuple { destination: "::a00:1".parse().unwrap(), ..flow(1) },
            FiveTuple { protocol: 6, ..flow(1) },
            FiveTuple { source_port: None, ..flow(1) },
            FiveTuple { source_port: Some(0), ..flow(1) },
            FiveTuple { destination_port: Some(0), ..flow(1) },
            FiveTuple { source_port: None, destination_port: Some(1), ..flow(1) },
        ];
        let mut cache = FlowCache::new(7);
        cache.insert(Direction::Outbound, flow(1), Verdict::Clear);
        for (at, other) in others.iter().enumerate() {
            assert_eq!(cache.lookup(Direction::Outbound, other), None, "{other:?}");
            cache.insert(Direction::Outbound, *other, Verdict::Protect(RuleId(at as u32)));
        }
        for (at, other) in others.iter().enumerate() {
            assert_eq!(cache.lookup(Direction::Outbound, other), Some(Verdict::Protect(RuleId(at as u32))));
        }
        assert_eq!(cache.lookup(Direction::Outbound, &flow(1)), Some(Verdict::Clear));
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
