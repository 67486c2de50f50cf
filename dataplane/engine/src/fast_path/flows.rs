//! Which plan a flow has: a table of fixed size under a keyed hash with random eviction (REQUIREMENTS F-32). Whoever floods
//! it makes plans be made anew, and nothing worse.

use super::plan::{PackedPlan, Plan};
use crate::draw::Draw;
use crate::limits::{FAST_FLOW_SETS, FAST_FLOW_WAYS, NAT_TRAVERSAL_PORT};
use crate::packet::protocol;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};
use warren_policy::FiveTuple;
use warren_port::prefetch;

/// From which door a packet came, which decides how it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Door {
    /// A port of the inside.
    Inside,
    /// A port of the outside.
    Outside,
    /// An SA.
    Sa,
}

/// What names a flow, in two words: addresses; ports, protocol and door. Where a protocol has no ports they are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    addresses: u64,
    rest: u64,
}

const DOOR: u64 = 0xff;
const HAS_PORTS: u64 = 1 << 16;

impl FlowKey {
    /// Nobody's.
    pub(super) const NONE: Self = Self { addresses: 0, rest: 0 };

    /// `addresses` and `ports` as they stand in the packet, read in network order; source first.
    #[inline]
    #[must_use]
    pub(crate) const fn new(addresses: u64, ports: Option<u32>, protocol: u8, door: Door) -> Self {
        let ports = match ports {
            Some(ports) => (ports as u64) << 32 | HAS_PORTS,
            None => 0,
        };
        Self { addresses, rest: ports | (protocol as u64) << 8 | door as u64 }
    }

    /// Of what the rules look at; `None` for IPv6.
    #[must_use]
    pub(crate) fn of(tuple: &FiveTuple, door: Door) -> Option<Self> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (tuple.source, tuple.destination) else {
            return None;
        };
        let addresses = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
        let ports = tuple.source_port.zip(tuple.destination_port);
        let ports = ports.map(|(source, destination)| u32::from(source) << 16 | u32::from(destination));
        Some(Self::new(addresses, ports, tuple.protocol, door))
    }

    /// The same addresses, protocol and ports.
    #[inline]
    #[must_use]
    pub(crate) const fn is_headed_like(&self, other: &Self) -> bool {
        self.addresses == other.addresses && (self.rest ^ other.rest) & !DOOR == 0
    }

    /// Whether such packets are worth a look into the SAD: ESP, or UDP to where encapsulated ESP goes.
    #[inline]
    #[must_use]
    pub(super) const fn may_be_esp(&self) -> bool {
        match self.protocol() {
            protocol::ESP => true,
            protocol::UDP => self.destination_port() == NAT_TRAVERSAL_PORT,
            _ => false,
        }
    }

    /// The protocol.
    #[inline]
    #[must_use]
    pub(crate) const fn protocol(&self) -> u8 {
        (self.rest >> 8) as u8
    }

    /// The destination port; 0 where there is none.
    #[inline]
    #[must_use]
    pub(crate) const fn destination_port(&self) -> u16 {
        (self.rest >> 32) as u16
    }

    /// The source port; 0 where there is none.
    #[inline]
    #[must_use]
    pub(crate) const fn source_port(&self) -> u16 {
        (self.rest >> 48) as u16
    }

    /// The source address.
    #[inline]
    #[must_use]
    pub(crate) const fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits((self.addresses >> 32) as u32)
    }

    /// What the rules look at.
    #[must_use]
    pub(crate) fn tuple(&self) -> FiveTuple {
        let has_ports = self.rest & HAS_PORTS != 0;
        FiveTuple {
            source: self.source().into(),
            destination: Ipv4Addr::from_bits(self.addresses as u32).into(),
            protocol: self.protocol(),
            source_port: has_ports.then_some(self.source_port()),
            destination_port: has_ports.then_some(self.destination_port()),
        }
    }
}

/// One flow: half a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Flow {
    key: FlowKey,
    /// Flows of another generation are from older tables, and free.
    generation: u32,
    /// What happens to its packets.
    pub(super) plan: PackedPlan,
    /// The inbound SA whose selector was asked about it, and holds it.
    pub(super) came_by: u32,
    /// The outbound SA of which the same is true.
    pub(super) goes_by: u32,
}

const _: () =
    assert!(size_of::<Flow>() == 32 && size_of::<Set>() == 32 * FAST_FLOW_WAYS, "flows fill cache lines");

const FREE: Flow = Flow { key: FlowKey::NONE, generation: 0, plan: PackedPlan::SLOW, came_by: 0, goes_by: 0 };

/// The flows that share a place: whole cache lines.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Flow; FAST_FLOW_WAYS]);

/// Where a flow is kept, if it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place(u32);

impl Place {
    /// Of a flow that nobody has asked about.
    pub(super) const NONE: Self = Self(0);
}

/// Where a flow is; good until the next insertion.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowIndex(Place, u32);

/// One worker's flows.
pub(super) struct FlowTable {
    hash: FixedState,
    generation: u32,
    sets: Box<[Set]>,
    /// Whom to evict.
    draw: Draw,
}

impl FlowTable {
    /// An empty table.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            hash: FixedState::with_seed(seed),
            generation: 1,
            sets: vec![Set([FREE; FAST_FLOW_WAYS]); FAST_FLOW_SETS].into(),
            draw: Draw::new(seed),
        }
    }

    /// Forgets everything.
    pub(super) fn invalidate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            // Once in 2^32 changes a flow could seem fresh again.
            self.sets.fill(Set([FREE; FAST_FLOW_WAYS]));
            self.generation = 1;
        }
    }

    /// Where a flow is kept, if it is. Its memory is asked for: it will be looked at soon.
    #[inline]
    pub(super) fn locate(&self, key: &FlowKey) -> Place {
        let place = self.hash.hash_one(key) as usize % FAST_FLOW_SETS;
        // A set is filled from the front, and most have no more flows than one line holds.
        prefetch(&self.sets[place]);
        Place(place as u32)
    }

    /// Looks for a flow.
    #[inline]
    pub(super) fn find(&self, place: Place, key: &FlowKey) -> Option<FlowIndex> {
        let set = self.sets.get(place.0 as usize)?;
        let way = set.0.iter().position(|flow| flow.key == *key && flow.generation == self.generation)?;
        Some(FlowIndex(place, way as u32))
    }

    /// What is known of a flow that has just been found.
    #[inline]
    pub(super) fn at(&mut self, FlowIndex(place, way): FlowIndex) -> &mut Flow {
        &mut self.sets[place.0 as usize].0[way as usize % FAST_FLOW_WAYS]
    }

    /// Remembers a plan, at the expense of a free flow or of a random one.
    pub(super) fn insert(&mut self, place: Place, key: FlowKey, plan: Plan) -> FlowIndex {
        let generation = self.generation;
        let set = &self.sets[place.0 as usize];
        let free = set.0.iter().position(|flow| flow.generation != generation);
        let way = free.unwrap_or_else(|| self.draw.below(FAST_FLOW_WAYS));
        let plan = PackedPlan::of(plan);
        self.sets[place.0 as usize].0[way] = Flow { key, generation, plan, came_by: 0, goes_by: 0 };
        FlowIndex(place, way as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::EgressIndex;
    use super::*;
    use warren_policy::RuleId;

    fn key(number: u32, door: Door) -> FlowKey {
        FlowKey::new(u64::from(number) << 32 | 0x0a00_0001, Some(0x0035_1388), 17, door)
    }

    fn insert(table: &mut FlowTable, key: FlowKey, plan: Plan) {
        let place = table.locate(&key);
        table.insert(place, key, plan);
    }

    fn plan_of(table: &mut FlowTable, key: FlowKey) -> Option<Plan> {
        let place = table.locate(&key);
        let found = table.find(place, &key)?;
        Some(table.at(found).plan.unpacked())
    }

    #[test]
    fn a_key_says_what_the_rules_ask() {
        let tuple = key(0xc000_0201, Door::Inside).tuple();
        assert_eq!(tuple.source, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(tuple.destination, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!((tuple.protocol, tuple.source_port, tuple.destination_port), (17, Some(53), Some(5000)));
        assert_eq!(FlowKey::of(&tuple, Door::Inside), Some(key(0xc000_0201, Door::Inside)));
        let bare = FlowKey::new(7, None, 50, Door::Outside).tuple();
        assert_eq!((bare.protocol, bare.source_port, bare.destination_port), (50, None, None));
        assert_ne!(FlowKey::new(7, Some(0), 50, Door::Inside), FlowKey::new(7, None, 50, Door::Inside));
    }

    #[test]
    fn doors_and_generations_are_kept_apart() {
        let mut table = FlowTable::new(7);
        insert(&mut table, key(1, Door::Inside), Plan::Clear(EgressIndex(3)));
        assert_eq!(plan_of(&mut table, key(1, Door::Inside)), Some(Plan::Clear(EgressIndex(3))));
        assert!(plan_of(&mut table, key(1, Door::Sa)).is_none());
        assert!(key(1, Door::Sa).is_headed_like(&key(1, Door::Inside)));
        table.invalidate();
        assert!(plan_of(&mut table, key(1, Door::Inside)).is_none());
    }

    #[test] // F-32
    fn a_flood_of_flows_evicts_and_never_lies() {
        let mut table = FlowTable::new(7);
        let plan = |number| Plan::Protect(RuleId(number));
        let flood = 4 * (FAST_FLOW_SETS * FAST_FLOW_WAYS) as u32;
        for number in 0..flood {
            insert(&mut table, key(number, Door::Inside), plan(number));
        }
        let known = (0..flood).filter(|&number| {
            let found = plan_of(&mut table, key(number, Door::Inside));
            assert!(found.is_none_or(|found| found == plan(number)));
            found.is_some()
        });
        let known = known.count();
        assert!(known > FAST_FLOW_SETS * FAST_FLOW_WAYS / 2, "{known}");
    }
}
