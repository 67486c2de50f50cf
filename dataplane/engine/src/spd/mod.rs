//! The security policy database (RFC 4301 §4.4.1) as an immutable snapshot: what the rules say about a batch of
//! packets. `warren_policy::evaluate` is the model it must agree with.
//!
//! ```text
//!   rules ─► bounds (boxes) ─► classifier (which trees) ─► build ─► tree: tables of entries, blocks of eight rules
//!                                                            └─ cut (which bits next)
//!   packets ─► bounds (keys) ─► tree: down by the bits, all packets a level at a time ─► block: eight rules at once
//! ```
//!
//! `docs/rule-matching.md` says why it is built so, what bounds it, and what it costs.

mod address;
mod block;
mod bounds;
mod build;
mod classifier;
mod cut;
mod first_match;
mod lanes;
mod tree;

pub use address::{Ipv4Key, Ipv6Key};
pub use first_match::{FirstMatch, NO_RULE};

use warren_policy::{FiveTuple, RuleId, RuleSet, Selector, TransportAction, Verdict};

use self::address::Address;
use self::bounds::{Bounds, Probe, ipv4_bounds, ipv4_probe, ipv6_bounds, ipv6_probe};
use self::build::Numbered;
use self::classifier::Classifier;
use self::tree::NONE;
use crate::limits::SPD_GROUP;

/// From which side a packet is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It leaves our side (SPD-O).
    Outbound,
    /// It came in clear from the far side (SPD-I): the same rules, mirrored.
    Inbound,
}

/// The compiled rules.
#[derive(Default)]
pub struct Spd {
    ipv4: Family<u32>,
    ipv6: Family<u128>,
}

/// The rules of one address family.
struct Family<A: Address> {
    transport: Classifier<A>,
    actions: Vec<TransportAction>,
    tunnel: Classifier<A>,
    tunnels: Vec<RuleId>,
    /// Transport rules that protect from end to end: what hides its ports may mean one.
    protecting: Classifier<A>,
    /// Transport rules that permit, if one that bypasses could hide a packet from them.
    permitting: Classifier<A>,
}

impl<A: Address> Default for Family<A> {
    fn default() -> Self {
        Self {
            transport: Classifier::default(),
            actions: Vec::new(),
            tunnel: Classifier::default(),
            tunnels: Vec::new(),
            protecting: Classifier::default(),
            permitting: Classifier::default(),
        }
    }
}

impl Spd {
    /// Compiles a rule set. Takes seconds for 100,000 rules: control's work, never a worker's.
    #[must_use]
    pub fn new(rules: &RuleSet) -> Self {
        Self { ipv4: Family::new(rules, ipv4_bounds), ipv6: Family::new(rules, ipv6_bounds) }
    }

    /// Judges a batch: `verdicts` gets one entry for each packet, in their order. Allocates nothing but what `verdicts`
    /// grows by.
    pub fn classify(&self, direction: Direction, packets: &[FiveTuple], verdicts: &mut Vec<Verdict>) {
        verdicts.clear();
        verdicts.resize(packets.len(), Verdict::NoRule);
        for (packets, verdicts) in packets.chunks(SPD_GROUP).zip(verdicts.chunks_mut(SPD_GROUP)) {
            self.ipv4.judge(ipv4_probe, direction, packets, verdicts);
            self.ipv6.judge(ipv6_probe, direction, packets, verdicts);
        }
    }

    /// Octets of its tables.
    #[must_use]
    pub fn memory_octets(&self) -> usize {
        self.ipv4.octets() + self.ipv6.octets()
    }
}

impl<A: Address> Family<A> {
    fn new(rules: &RuleSet, bounds: impl Fn(&Selector) -> Option<Bounds<A>>) -> Self {
        let own: Vec<_> =
            rules.transport.iter().filter_map(|rule| Some((rule.action, bounds(&rule.selector)?))).collect();
        let tunnels: Vec<_> =
            rules.tunnel.iter().filter_map(|rule| Some((rule.id, bounds(&rule.selector)?))).collect();
        let transport = numbered(&own, |_| true);
        let bypasses = own.iter().any(|(action, _)| *action == TransportAction::Bypass);
        let permits = |action: &TransportAction| bypasses && *action == TransportAction::Permit;
        let protects = |action: &TransportAction| action.protection().is_some();
        Self {
            transport: Classifier::new(&transport),
            tunnel: Classifier::new(&numbered(&tunnels, |_| true)),
            protecting: Classifier::only_seen(&numbered(&own, protects)),
            permitting: Classifier::only_seen(&numbered(&own, permits)),
            actions: own.into_iter().map(|(action, _)| action).collect(),
            tunnels: tunnels.into_iter().map(|(id, _)| id).collect(),
        }
    }

    /// Judges those of up to [`SPD_GROUP`] packets that are of this family.
    fn judge(
        &self,
        probe: impl Fn(&FiveTuple, Direction) -> Option<Probe<A>>,
        direction: Direction,
        packets: &[FiveTuple],
        verdicts: &mut [Verdict],
    ) {
        let mut keys = [A::Key::default(); SPD_GROUP];
        let mut whose = [0; SPD_GROUP];
        let mut count = 0;
        for (at, packet) in packets.iter().enumerate() {
            if let Some(probe) = probe(packet, direction) {
                keys[count] = probe.key;
                whose[count] = at;
                count += 1;
            }
        }
        if count == 0 {
            return;
        }
        let mut found = [NONE; SPD_GROUP];
        self.transport.first(&keys[..count], &mut found);
        // Those that are permitted move to the front of the same arrays: the tunnel rules are asked about them only.
        let mut permitted = 0;
        for step in 0..count {
            let (at, transport) = (whose[step], found[step]);
            let Some(&action) = self.actions.get(transport as usize) else { continue };
            let hiding = packets[at].hides_ports().then(|| probe(&packets[at], direction)).flatten();
            verdicts[at] = match (action, hiding) {
                (TransportAction::Discard, _) => Verdict::Discard,
                (TransportAction::Protect(protection), _) => Verdict::Protect(protection.rule),
                (_, Some(probe)) => self.judge_hiding(transport, action, &probe),
                (TransportAction::Bypass, None) => Verdict::Clear,
                (TransportAction::Permit, None) => {
                    (keys[permitted], whose[permitted]) = (keys[step], at);
                    permitted += 1;
                    Verdict::Clear
                }
            };
        }
        self.tunnel.first(&keys[..permitted], &mut found);
        for (&at, &tunnel) in whose.iter().zip(&found).take(permitted) {
            if let Some(&rule) = self.tunnels.get(tunnel as usize) {
                verdicts[at] = Verdict::Protect(rule);
            }
        }
    }

    /// Judges a packet that hides its ports and that the transport rule `at` lets pass. If it might have to be protected,
    /// would it show them, it must not leave in clear (RFC 4301 §7).
    fn judge_hiding(&self, at: u32, action: TransportAction, probe: &Probe<A>) -> Verdict {
        // A tunnel would carry it only to its gateway, and from there it would be in clear.
        if self.protecting.first_possible(&probe.key, &probe.free) < at {
            return Verdict::Discard;
        }
        let permitted = action == TransportAction::Permit;
        if permitted {
            let mut tunnel = [NONE; SPD_GROUP];
            self.tunnel.first(&[probe.key], &mut tunnel);
            if let Some(&rule) = self.tunnels.get(tunnel[0] as usize) {
                return Verdict::Protect(rule);
            }
        }
        let may_be_carried = self.tunnel.first_possible(&probe.key, &probe.free) != NONE
            && (permitted || self.permitting.first_possible(&probe.key, &probe.free) < at);
        if may_be_carried { Verdict::Discard } else { Verdict::Clear }
    }

    fn octets(&self) -> usize {
        [&self.transport, &self.tunnel, &self.protecting, &self.permitting]
            .into_iter()
            .map(Classifier::octets)
            .sum::<usize>()
            + size_of_val(&self.actions[..])
            + size_of_val(&self.tunnels[..])
    }
}

/// The rules of which something is true, under their places in the list.
fn numbered<A: Address, T>(rules: &[(T, Bounds<A>)], of: impl Fn(&T) -> bool) -> Vec<Numbered<A>> {
    let places = rules.iter().zip(0..).filter(|((what, _), _)| of(what));
    places.map(|((_, bounds), number)| Numbered { number, bounds: *bounds }).collect()
}

#[cfg(test)]
mod tests;
