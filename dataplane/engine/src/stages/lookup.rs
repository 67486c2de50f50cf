//! Whose packet is this, and is it worth decrypting? Everything that can be refused cheaply is refused here
//! (REQUIREMENTS F-20, F-31).

use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::handoff::Work;
use crate::limits::STACK_DEPTH_MAX;
use crate::packet::esp::Esp;
use crate::packet::protocol;
use crate::sad::{Inbound, WorkerIndex};
use crate::slot::{Lanes, Slot, empty_out};
use warren_seam::Encapsulation;

/// Finds the SA of each packet, hands those of other workers over, infers the sequence number and checks it.
pub(crate) fn lookup(core: &mut Core, lanes: &mut Lanes) {
    let mut esp = empty_out(&mut lanes.esp, &mut lanes.spare);
    for mut slot in esp.drain(..) {
        match find(core, &mut slot) {
            Ok(None) => lanes.esp.push(slot),
            Ok(Some(owner)) => {
                let work = Work::Open { rule: slot.rule };
                core.hand_over(slot, owner, work);
            }
            Err(reason) => core.discard(slot, reason),
        }
    }
    lanes.spare = esp;
}

fn find(core: &Core, slot: &mut Slot) -> Result<Option<WorkerIndex>, DropReason> {
    if usize::from(slot.depth) >= STACK_DEPTH_MAX {
        return Err(DropReason::TooDeep);
    }
    let octets = slot.frame.bytes().get(usize::from(slot.esp_at)..).unwrap_or_default();
    let esp = Esp::new_checked(octets).map_err(|_| DropReason::EspLength)?;
    let (index, sa) = core.sad.find_inbound(esp.spi()).ok_or(DropReason::UnknownSpi)?;
    // Before the AEAD: what the level around it proves has been proved.
    if slot.carrier() != sa.carrier {
        return Err(DropReason::WrongCarrier);
    }
    check_outer(sa, slot)?;
    let Some(opener) = sa.opener.as_deref() else { return Ok(Some(sa.owner)) };
    if opener.usage.is_exhausted() {
        return Err(DropReason::SaExpired);
    }
    let low = esp.sequence_low();
    let sequence = if opener.usage.esn { opener.window.infer(low) } else { Some(low.into()) };
    match sequence.filter(|&sequence| opener.window.check(sequence)) {
        Some(sequence) => {
            slot.sequence = sequence;
            slot.sa = index;
            Ok(None)
        }
        None => {
            opener.usage.meter.replayed();
            Err(DropReason::Replayed)
        }
    }
}

/// The outer header must be one the SA was made for. Behind a NAT the peer's address may move; the packet then has
/// to prove itself first.
fn check_outer(sa: &Inbound, slot: &Slot) -> Result<(), DropReason> {
    let outer = &slot.summary.tuple;
    match sa.shape.encapsulation {
        Encapsulation::Raw if outer.protocol != protocol::ESP => return Err(DropReason::WrongEncapsulation),
        Encapsulation::Udp { local_port, .. }
            if outer.protocol != protocol::UDP || outer.destination_port != Some(local_port) =>
        {
            return Err(DropReason::WrongEncapsulation);
        }
        Encapsulation::Raw if outer.source != sa.shape.remote => return Err(DropReason::WrongOuterAddress),
        _ => {}
    }
    if outer.destination == sa.shape.local { Ok(()) } else { Err(DropReason::WrongOuterAddress) }
}
