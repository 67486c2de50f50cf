//! What the rules say: the flow cache first, then the search.

use crate::bindings::Binding;
use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::fib::Fib;
use crate::packet::icmp::Error;
use crate::packet::{ipv4, ipv6};
use crate::slot::{Lanes, Origin, Slot, empty_out};
use crate::spd::Direction;
use crate::stages::answer::answer;
use warren_policy::{FiveTuple, RuleId, Verdict};
use warren_seam::Side;

/// Judges the lane and moves each packet to where its verdict sends it.
pub(crate) fn select(core: &mut Core, lanes: &mut Lanes) {
    if lanes.judge.is_empty() {
        return;
    }
    let mut judged = empty_out(&mut lanes.judge, &mut lanes.spare);
    judge(core, &judged);
    let mut verdicts = std::mem::take(&mut core.bench.judgements);
    for (slot, verdict) in judged.drain(..).zip(verdicts.drain(..)) {
        obey(core, lanes, slot, verdict);
    }
    core.bench.judgements = verdicts;
    lanes.spare = judged;
}

/// What comes out of an SA to us is held against the mirrored rules only where one protects what a host says to us itself.
pub(crate) fn direction(fib: &Fib, protects: bool, origin: Origin, tuple: &FiveTuple) -> Direction {
    match origin {
        Origin::Port(_, Side::Outside) => Direction::Inbound,
        Origin::Sa(_) if protects && fib.is_local(tuple.destination) => Direction::Inbound,
        _ => Direction::Outbound,
    }
}

/// Fills `judgements`, one for each slot.
fn judge(core: &mut Core, lane: &[Slot]) {
    let bench = &mut core.bench;
    bench.judgements.clear();
    let mut missed = 0;
    for way in [Direction::Outbound, Direction::Inbound] {
        bench.flows.clear();
        bench.askers.clear();
        for (at, slot) in lane.iter().enumerate() {
            if way == Direction::Outbound {
                bench.judgements.push(Verdict::NoRule);
            }
            if direction(&core.fib, core.bindings.protects(), slot.origin, &slot.summary.tuple) != way {
                continue;
            }
            match core.flows.lookup(way, &slot.summary.tuple) {
                Some(verdict) => bench.judgements[at] = verdict,
                None => {
                    bench.flows.push(slot.summary.tuple);
                    bench.askers.push(at);
                }
            }
        }
        core.spd.classify(way, &bench.flows, &mut bench.verdicts);
        for ((&at, &flow), &verdict) in bench.askers.iter().zip(&bench.flows).zip(&bench.verdicts) {
            bench.judgements[at] = verdict;
            core.flows.insert(way, flow, verdict);
        }
        missed += bench.flows.len();
    }
    core.counters.add(Tally::FlowMiss, missed);
    core.counters.add(Tally::FlowHit, lane.len() - missed);
}

fn obey(core: &mut Core, lanes: &mut Lanes, mut slot: Slot, verdict: Verdict) {
    // An SA carried it to our side of the boundary; when the route to its host is gone, the default route must not
    // take it back to the far side in clear.
    slot.inward = matches!((slot.origin, verdict), (Origin::Sa(_), Verdict::NoRule));
    let to_us = core.fib.is_local(slot.summary.tuple.destination);
    match (slot.origin, verdict) {
        (Origin::Port(_, Side::Outside), Verdict::Protect(_)) => {
            core.discard(slot, DropReason::ClearTextInbound);
        }
        // What a host says to us itself came out of the tunnels around, and not out of the SA that it shares with us.
        (Origin::Sa(_), Verdict::Protect(rule)) if to_us && is_bare(core, &slot, rule) => {
            core.discard(slot, DropReason::ClearTextInbound);
        }
        // The gateway's own services are the kernel's to guard.
        _ if to_us => lanes.kernel.push(slot),
        // It quotes what was protected, so it goes back protected or not at all.
        (Origin::AnswerToSa, Verdict::NoRule | Verdict::Clear) => {
            core.discard(slot, DropReason::IcmpSuppressed);
        }
        // What an SA may carry may also go on inside, unless a rule says otherwise.
        (Origin::Sa(_), Verdict::NoRule) | (_, Verdict::Clear) => clear(core, lanes, slot),
        (_, Verdict::NoRule) => core.discard(slot, DropReason::NoRule),
        (_, Verdict::Discard) => core.discard(slot, DropReason::RuleDiscard),
        (_, Verdict::Protect(rule)) => {
            if let Some(mut slot) = take_hop(core, lanes, slot) {
                slot.rule = rule;
                lanes.protect.push(slot);
            }
        }
    }
}

/// Whether the rule is one that protects by itself, and the SA that the packet has come out of is not its.
fn is_bare(core: &Core, slot: &Slot, rule: RuleId) -> bool {
    slot.rule != rule && core.bindings.of(rule).is_some_and(Binding::is_protection)
}

fn clear(core: &mut Core, lanes: &mut Lanes, slot: Slot) {
    if let Some(slot) = take_hop(core, lanes, slot) {
        core.counters.add(Tally::Clear, 1);
        lanes.forward.push(slot);
    }
}

/// A packet that passes through pays a hop (RFC 4301 §5.1.2: the inner header's, before protection).
pub(crate) fn take_hop(core: &mut Core, lanes: &mut Lanes, mut slot: Slot) -> Option<Slot> {
    if !slot.origin.is_transit() || slot.hop_taken {
        return Some(slot);
    }
    if slot.summary.ttl <= 1 {
        answer(core, lanes, &slot, Error::TimeExceeded);
        core.discard(slot, DropReason::TtlExpired);
        return None;
    }
    slot.summary.ttl -= 1;
    slot.hop_taken = true;
    if slot.summary.is_ipv6() {
        ipv6::decrement_hop_limit(slot.frame.bytes_mut());
    } else {
        ipv4::decrement_ttl(slot.frame.bytes_mut());
    }
    Some(slot)
}
