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

use crate::accounting::Stage;
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
        let packets = lanes.judge.len();
        select::select(core, lanes);
        core.accounts.lap(Stage::Select, packets);
        protect_outbound(core, lanes);
        leave(core, lanes);
        let packets = lanes.answers.len();
        if packets == 0 {
            break;
        }
        answer::sort(core, lanes);
        core.accounts.lap(Stage::Answer, packets);
    }
}

/// ESP to us, level by level: what comes out may be ESP to us again.
fn unwrap_inbound(core: &mut Core, lanes: &mut Lanes) {
    // One turn more than levels: in the last, `lookup` refuses what is still wrapped.
    for _ in 0..=STACK_DEPTH_MAX {
        let packets = lanes.arrived.len();
        classify::classify(core, lanes);
        core.accounts.lap(Stage::Classify, packets);
        let packets = lanes.esp.len();
        if packets == 0 {
            return;
        }
        lookup::lookup(core, lanes);
        core.accounts.lap(Stage::Lookup, packets);
        let packets = lanes.esp.len();
        open::open(core, &mut lanes.esp);
        core.accounts.lap(Stage::Open, packets);
        let packets = lanes.esp.len();
        open::accept(core, &mut lanes.esp);
        core.accounts.lap(Stage::Accept, packets);
        let packets = lanes.esp.len();
        decap::decap(core, &mut lanes.esp);
        core.accounts.lap(Stage::Decap, packets);
        let packets = lanes.esp.len();
        decap::verify(core, lanes);
        core.accounts.lap(Stage::Verify, packets);
    }
}

/// Protection, level by level from the inside out.
fn protect_outbound(core: &mut Core, lanes: &mut Lanes) {
    let packets = lanes.protect.len();
    mtu::mtu(core, lanes);
    core.accounts.lap(Stage::Mtu, packets);
    for _ in 0..STACK_DEPTH_MAX {
        let packets = lanes.protect.len();
        if packets == 0 {
            return;
        }
        encap::bind(core, &mut lanes.protect, &mut lanes.spare);
        core.accounts.lap(Stage::Bind, packets);
        let packets = lanes.protect.len();
        encap::encap(core, &mut lanes.protect);
        core.accounts.lap(Stage::Encap, packets);
        let packets = lanes.protect.len();
        seal::seal(core, &mut lanes.protect);
        core.accounts.lap(Stage::Seal, packets);
        outer::outer(core, lanes);
        core.accounts.lap(Stage::Outer, packets);
    }
    for slot in lanes.protect.drain(..) {
        core.discard(slot, DropReason::TooDeep);
    }
}

/// Out: into the queues of the ports, and to the kernel.
fn leave(core: &mut Core, lanes: &mut Lanes) {
    let packets = lanes.forward.len();
    core.accounts.leaving(&lanes.forward);
    forward::forward(core, lanes);
    core.accounts.lap(Stage::Forward, packets);
    let packets = lanes.kernel.len();
    core.accounts.leaving(&lanes.kernel);
    transmit::to_kernel(core, lanes);
    core.accounts.lap(Stage::Kernel, packets);
}
