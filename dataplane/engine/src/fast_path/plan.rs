//! What happens to a flow, decided once by the questions that the stages ask of every packet.

use super::flows::FlowKey;
use crate::core::{Berth, Core};
use crate::fib::Fib;
use crate::limits::{FAST_EGRESSES_MAX, RULE_IDS_MAX};
use crate::lookout::Lookout;
use crate::packet::{Summary, ethernet, isakmp, protocol};
use crate::slot::Origin;
use crate::stages::select;
use hashbrown::HashMap;
use std::net::IpAddr;
use warren_policy::{FiveTuple, RuleId, Verdict};
use warren_port::Link;
use warren_seam::{PortIndex, Side};

/// A place among the ways out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EgressIndex(pub(super) u32);

/// What happens to the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The stages decide about each of them.
    Slow,
    /// They go on in clear.
    Clear(EgressIndex),
    /// They are protected as this rule says.
    Protect(RuleId),
}

/// A flow's plan in one word, so that a flow is half a cache line: what it is in the upper two bits, which one in the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedPlan(u32);

const KIND: u32 = 30;
const CLEAR: u32 = 1;
const PROTECT: u32 = 2;
const NUMBER: u32 = (1 << KIND) - 1;
const _: () = assert!(RULE_IDS_MAX <= NUMBER as usize, "the number of a rule fits");
const _: () = assert!(FAST_EGRESSES_MAX <= NUMBER as usize, "the number of a way out fits");

impl PackedPlan {
    /// The stages decide.
    pub(super) const SLOW: Self = Self::of(Plan::Slow);

    pub(super) const fn of(plan: Plan) -> Self {
        Self(match plan {
            Plan::Slow => 0,
            Plan::Clear(EgressIndex(number)) => CLEAR << KIND | number,
            // A passage's number is beyond every rule's, and no verdict names it.
            Plan::Protect(RuleId(number)) if number > NUMBER => 0,
            Plan::Protect(RuleId(number)) => PROTECT << KIND | number,
        })
    }

    #[inline]
    pub(super) const fn unpacked(self) -> Plan {
        let number = self.0 & NUMBER;
        match self.0 >> KIND {
            CLEAR => Plan::Clear(EgressIndex(number)),
            PROTECT => Plan::Protect(RuleId(number)),
            _ => Plan::Slow,
        }
    }
}

/// A port and the link header of one neighbour there.
#[derive(Clone, Copy)]
pub(super) struct Egress {
    /// The port's place among ours.
    pub(super) berth: u16,
    /// Largest IP packet in octets.
    pub(super) mtu: usize,
    /// The link header, at the end of the array.
    pub(super) header: [u8; 16],
    /// How much of it.
    pub(super) octets: usize,
    port: PortIndex,
}

impl Egress {
    /// The way to an address, if all of it is known and it is by a port of this worker.
    pub(super) fn towards(destination: IpAddr, fib: &Fib, berths: &[Berth]) -> Option<Self> {
        if fib.is_local(destination) {
            return None;
        }
        let hop = fib.route(destination)?;
        let berth = berths.iter().position(|berth| berth.index == Some(hop.port))?;
        let info = fib.port(hop.port)?;
        let mut egress =
            Self { berth: berth as u16, mtu: info.mtu.into(), header: [0; 16], octets: 0, port: hop.port };
        if berths[berth].link() == Link::Ethernet {
            let mac = fib.neighbour(hop.port, hop.via.unwrap_or(destination))?;
            let ether_type = if destination.is_ipv6() { ethernet::IPV6 } else { ethernet::IPV4 };
            egress.octets = ethernet::HEADER_OCTETS;
            ethernet::emit(&mut egress.header[16 - ethernet::HEADER_OCTETS..], mac, info.mac, ether_type);
        }
        Some(egress)
    }

    /// The link header.
    pub(super) fn link(&self) -> &[u8] {
        &self.header[self.header.len() - self.octets..]
    }
}

/// The ways out that plans name.
#[derive(Default)]
pub(super) struct Egresses {
    all: Vec<Egress>,
    known: HashMap<(PortIndex, [u8; 16]), EgressIndex>,
}

impl Egresses {
    /// Forgets them, with the plans that name them.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.known.clear();
    }

    /// One of them.
    #[inline]
    pub(super) fn get(&self, index: EgressIndex) -> Option<&Egress> {
        self.all.get(index.0 as usize)
    }

    /// `None` when there are too many neighbours: their packets go the slow way.
    fn add(&mut self, egress: Egress) -> Option<EgressIndex> {
        if let Some(&index) = self.known.get(&(egress.port, egress.header)) {
            return Some(index);
        }
        if self.all.len() >= FAST_EGRESSES_MAX {
            return None;
        }
        let index = EgressIndex(self.all.len() as u32);
        self.all.push(egress);
        self.known.insert((egress.port, egress.header), index);
        Some(index)
    }
}

/// Makes the plan of a flow. Everything that is not plainly forwarded or protected is slow: what is dropped, answered,
/// handed over or for us is so packet by packet, and counted there.
pub(super) fn make(core: &mut Core, key: &FlowKey, origin: Origin) -> Plan {
    let tuple = key.tuple();
    if Summary::is_martian_tuple(&tuple)
        || Summary::is_multicast_tuple(&tuple)
        || Summary::is_link_local_tuple(&tuple)
        || core.fib.is_local(tuple.destination)
        || may_concern_discovery(&core.lookout, key)
    {
        return Plan::Slow;
    }
    let direction = select::direction(&core.fib, core.bindings.protects(), origin, &tuple);
    let mut verdicts = std::mem::take(&mut core.bench.verdicts);
    core.spd.classify(direction, &[tuple], &mut verdicts);
    let verdict = verdicts.first().copied().unwrap_or(Verdict::NoRule);
    core.bench.verdicts = verdicts;
    match (origin, verdict) {
        (Origin::Port(_, Side::Outside), Verdict::Protect(_)) => Plan::Slow,
        (_, Verdict::Protect(rule)) => Plan::Protect(rule),
        // What came out of an SA and no rule speaks of stays inside.
        (Origin::Sa(_), Verdict::NoRule) => clear(core, &tuple, true),
        (_, Verdict::Clear) => clear(core, &tuple, false),
        (_, Verdict::NoRule | Verdict::Discard) => Plan::Slow,
    }
}

fn clear(core: &mut Core, tuple: &FiveTuple, inward: bool) -> Plan {
    let egress = Egress::towards(tuple.destination, &core.fib, &core.berths)
        .filter(|egress| !inward || core.fib.side(egress.port) == Side::Inside);
    egress.and_then(|egress| core.fast.egresses.add(egress)).map_or(Plan::Slow, Plan::Clear)
}

/// Whether discovery wants to see packets of the flow: its messages, and errors.
pub(super) fn may_concern_discovery(lookout: &Lookout, key: &FlowKey) -> bool {
    match key.protocol() {
        protocol::UDP => {
            !lookout.is_idle()
                && (key.destination_port() == isakmp::PORT || key.source_port() == isakmp::PORT)
        }
        protocol::ICMP => lookout.asks(),
        _ => false,
    }
}
