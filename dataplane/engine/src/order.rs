//! What the handle tells a worker, and what the worker gives back: commands whose costly half (compiling rules,
//! expanding keys) control has done already.

use crate::bindings::{Bindings, Stack};
use crate::fib::Fib;
use crate::passage::PassageId;
use crate::sad::{Inbound, Outbound, Removed};
use crate::spd::Spd;
use std::net::IpAddr;
use std::sync::Arc;
use warren_policy::RuleId;
use warren_seam::{Discovery, Encapsulation, Event, Injected, SaId};

/// One change for one worker.
pub(crate) enum Order {
    /// New rules, room for their bindings, and their number among all that ever were. Bindings of rules that stay move
    /// into that room.
    Rules(Arc<Spd>, Box<Bindings>, u32),
    /// New routes.
    Forwarding(Arc<Fib>),
    /// A new inbound SA.
    InstallInbound(Box<Inbound>),
    /// A new outbound SA.
    InstallOutbound(Box<Outbound>),
    /// A rule's SAs.
    Bind(RuleId, Vec<Stack>),
    /// What to look out for.
    Discovery(Arc<Discovery>),
    /// A packet from control.
    Inject(Box<Injected>),
    /// A packet from control goes through these SAs, and has perhaps to come by here; one worker sends it.
    Passage(PassageId, Vec<SaId>, Option<Box<Injected>>),
    /// Another worker's: its number counts here too.
    Nothing,
    /// A rule may ask again.
    Rearm(RuleId),
    /// A peer is elsewhere.
    MovePeer(SaId, IpAddr, Encapsulation),
    /// An SA is gone.
    Remove(SaId),
}

/// Memory that control frees, so that the worker need not.
#[expect(dead_code, reason = "they are carried to be dropped, never to be read")]
pub(crate) enum Retired {
    /// Old rules, with the bindings of those that are gone.
    Rules(Arc<Spd>, Box<Bindings>),
    /// Old routes.
    Fib(Arc<Fib>),
    /// What was looked out for.
    Discovery(Arc<Discovery>),
    /// A packet that is on its way.
    Injected(Box<Injected>),
    /// An SA, whose keys are wiped by dropping it.
    Sa(Box<Removed>),
    /// Old stacks.
    Stacks(Vec<Stack>),
}

/// An event, and what its worker knew when it happened.
pub(crate) struct Report {
    /// What happened.
    pub(crate) event: Event,
    /// The last command the worker had applied.
    pub(crate) applied: u64,
}
