//! What came out: is it a packet, is it one the SA may carry, and what did the outer header add to it?

use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::packet::esp::{self, Trailer};
use crate::packet::{Summary, ipv4, ipv6, protocol};
use crate::slot::{Lanes, Origin, Slot};
use crate::stages::mtu::clamp;
use crate::stages::transport;
use warren_seam::SaMode;

const ECT_0: u8 = 0b10;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;
const NOT_ECT: u8 = 0b00;

/// Takes the outer header and ESP off every packet of the lane.
pub(crate) fn decap(core: &mut Core, lane: &mut Vec<Slot>) {
    for slot in lane.iter_mut() {
        let shape = core.sad.inbound(slot.sa).expect("lookup found it in this turn").shape;
        let transform = shape.transform;
        let head = usize::from(slot.esp_at) + esp::HEADER_OCTETS + transform.iv_octets();
        let text_end = slot.frame.len() - transform.icv_octets();
        let unwrapped = match shape.mode {
            SaMode::Tunnel => unwrap(slot, head, text_end),
            SaMode::Transport => transport::restore(slot, &shape, head, text_end),
        };
        slot.failure = unwrapped.err();
    }
    core.sweep(lane);
}

fn unwrap(slot: &mut Slot, head: usize, text_end: usize) -> Result<(), DropReason> {
    let text = slot.frame.bytes().get(head..text_end).ok_or(DropReason::EspLength)?;
    let trailer = Trailer::of(text)?;
    let version = match trailer.next_header {
        protocol::IPV4 => 4,
        protocol::IPV6 => 6,
        protocol::NONE => return Err(DropReason::Dummy),
        _ => return Err(DropReason::NextHeader),
    };
    let payload = &text[..trailer.payload_octets];
    if payload.first().is_none_or(|first| first >> 4 != version) {
        return Err(DropReason::InnerVersion);
    }
    // RFC 4303 §2.7: what lies beyond the inner packet's own length is TFC padding.
    let summary = Summary::of(payload).map_err(|_| DropReason::InnerMalformed)?;
    let outer_ecn = slot.summary.ecn();
    let ecn = arriving_ecn(outer_ecn, summary.ecn()).ok_or(DropReason::EcnMismatch)?;
    if !slot.frame.pop_front(head) {
        return Err(DropReason::EspLength);
    }
    slot.frame.truncate(summary.octets);
    slot.summary = summary;
    if ecn != summary.ecn() {
        set_ecn(slot, ecn);
    }
    slot.depth = slot.depth.saturating_add(1);
    Ok(())
}

fn set_ecn(slot: &mut Slot, ecn: u8) {
    slot.summary.traffic_class = slot.summary.traffic_class & !3 | ecn;
    if slot.summary.is_ipv6() {
        ipv6::set_ecn(slot.frame.bytes_mut(), ecn);
    } else {
        ipv4::set_ecn(slot.frame.bytes_mut(), ecn);
    }
}

/// RFC 6040 §4.2. `None`: congestion on a packet whose sender would not understand it, so it has to be lost.
pub(crate) fn arriving_ecn(outer: u8, inner: u8) -> Option<u8> {
    match (outer, inner) {
        (CE, NOT_ECT) => None,
        (CE, _) => Some(CE),
        (ECT_1, ECT_0) => Some(ECT_1),
        _ => Some(inner),
    }
}

/// What an SA may carry was agreed on when it was made; anything else is one customer speaking for another
/// (REQUIREMENTS F-25, RFC 4301 §5.2). What passes has arrived anew.
pub(crate) fn verify(core: &mut Core, lanes: &mut Lanes) {
    for slot in &mut lanes.esp {
        let sa = core.sad.inbound(slot.sa).expect("lookup found it in this turn");
        let opener = sa.opener.as_deref().expect("lookup keeps only packets of our own SAs");
        if !opener.selector.contains(&slot.summary.tuple) {
            slot.failure = Some(DropReason::SelectorMismatch);
        } else if core.settings.mss_clamp {
            // The way back is the rule's whole stack, where one is bound.
            let binding = core.bindings.of(sa.rule).filter(|binding| binding.is_bound());
            let back = binding.map_or(sa.mtu, |binding| binding.mtu().min(sa.mtu));
            clamp(slot, back, &core.counters);
        }
        slot.rule = sa.rule;
        if let Some(port) = slot.origin.port() {
            slot.origin = Origin::Sa(port);
        }
    }
    core.sweep(&mut lanes.esp);
    lanes.arrived.append(&mut lanes.esp);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // RFC 6040 §4.2, figure 4
    fn congestion_is_passed_on_and_never_invented() {
        // Rows: inner Not-ECT, ECT(0), ECT(1), CE. Columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let table = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                assert_eq!(arriving_ecn(outer, inner), expected, "outer {outer:02b} inner {inner:02b}");
            }
        }
    }
}
