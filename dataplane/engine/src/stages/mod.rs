//! The path of a packet, written once, in order. Each stage takes a whole lane and does one thing to it.
//!
//! ```text
//!  receive ─┬─► discovery messages in transit: shown to control, or forward without asking a rule
//!           └─► classify ─┬─► ESP to us: lookup ─► open ─► accept ─► decap ─► verify ─► classify again (bounded)
//!                       ├─► to us: kernel
//!                       └─► judge ─► select ─┬─► clear ───────────────────────────────────────────┐
//!                                            └─► mtu ─► [bind ─► encap ─► seal ─► outer] per level ├─► forward ─► transmit
//! ```
//!
//! A stage allocates nothing, locks nothing and reads no clock; only what control is shown is copied for it, at a bounded
//! rate. A packet that fails is marked, and swept out of its
//! lane with its reason when the stage is done.

pub(crate) mod answer;
pub(crate) mod classify;
pub(crate) mod decap;
pub(crate) mod discovery;
pub(crate) mod encap;
pub(crate) mod forward;
pub(crate) mod fragment;
pub(crate) mod inject;
pub(crate) mod lookup;
pub(crate) mod mtu;
pub(crate) mod open;
pub(crate) mod outer;
pub(crate) mod receive;
pub(crate) mod seal;
pub(crate) mod select;
pub(crate) mod transmit;
pub(crate) mod transport;

use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::limits::STACK_DEPTH_MAX;
use crate::slot::Lanes;

/// Takes everything in the lanes as far as it can go today.
pub(crate) fn run(core: &mut Core, lanes: &mut Lanes) {
    if lanes.are_idle() {
        return;
    }
    unwrap_inbound(core, lanes);
    // The second round carries the answers that the first has made; an answer is never answered.
    for _ in 0..2 {
        select::select(core, lanes);
        protect_outbound(core, lanes);
        forward::forward(core, lanes);
        transmit::to_kernel(core, lanes);
        if lanes.answers.is_empty() {
            break;
        }
        answer::sort(core, lanes);
    }
}

/// ESP to us, level by level: what comes out may be ESP to us again.
fn unwrap_inbound(core: &mut Core, lanes: &mut Lanes) {
    // One turn more than levels: in the last, `lookup` refuses what is still wrapped.
    for _ in 0..=STACK_DEPTH_MAX {
        classify::classify(core, lanes);
        if lanes.esp.is_empty() {
            return;
        }
        lookup::lookup(core, lanes);
        open::open(core, &mut lanes.esp);
        open::accept(core, &mut lanes.esp);
        decap::decap(core, &mut lanes.esp);
        decap::verify(core, lanes);
    }
}

/// Protection, level by level from the inside out.
fn protect_outbound(core: &mut Core, lanes: &mut Lanes) {
    mtu::mtu(core, lanes);
    for _ in 0..STACK_DEPTH_MAX {
        if lanes.protect.is_empty() {
            return;
        }
        encap::bind(core, &mut lanes.protect, &mut lanes.spare);
        encap::encap(core, &mut lanes.protect);
        seal::seal(core, &mut lanes.protect);
        outer::outer(core, lanes);
    }
    for slot in lanes.protect.drain(..) {
        core.discard(slot, DropReason::TooDeep);
    }
}
