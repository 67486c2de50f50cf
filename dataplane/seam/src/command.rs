//! Control to workers.

use crate::discovery::Discovery;
use crate::forwarding::ForwardingTable;
use crate::inject::Injected;
use crate::sa::{Encapsulation, InboundSa, OutboundSa, SaId};
use std::net::IpAddr;
use warren_policy::{RuleId, RuleSet};

/// One change. Every worker acknowledges each; a change counts as applied when all have.
pub enum Command {
    /// Replaces all rules. Bindings of tunnel rules, and of transport rules that protect, whose identifiers stay remain, those of others are forgotten: a rule
    /// that keeps its identifier and means something else now is unbound first.
    Rules(RuleSet),
    /// Replaces the mirror of the kernel's tables.
    Forwarding(ForwardingTable),
    /// Packets with this SPI are accepted from now on.
    InstallInbound(Box<InboundSa>),
    /// The SA exists; nothing uses it before a `Bind` says so.
    InstallOutbound(Box<OutboundSa>),
    /// Traffic of the rule goes through these SAs, innermost first. An empty stack unbinds the rule: its traffic
    /// is dropped and acquires again.
    Bind {
        /// The tunnel rule, or the transport rule that protects.
        rule: RuleId,
        /// Outbound SAs, innermost first.
        stack: Vec<SaId>,
    },
    /// Traffic of the rule spreads over these stacks, as `Bind` says of one: a flow keeps to one of them as long as they
    /// stay, and where it can to one of the worker that receives it. Stacks of which an SA is missing carry nothing.
    /// At most [`STACKS_MAX`](crate::limits::STACKS_MAX) are used.
    Spread {
        /// The tunnel rule, or the transport rule that protects.
        rule: RuleId,
        /// Outbound SAs of each stack, innermost first; none of them twice but for levels around several.
        stacks: Vec<Vec<SaId>>,
    },
    /// Replaces what workers look out for.
    Discovery(Discovery),
    /// A packet that one worker sends on its way.
    Inject(Box<Injected>),
    /// The rule may send another `Acquire` (after a failed negotiation's hold-down).
    Rearm(RuleId),
    /// The peer is reached elsewhere from now on (a NAT mapping moved); for SAs of both directions.
    MovePeer {
        /// The SA.
        sa: SaId,
        /// The new outer address of the peer.
        remote: IpAddr,
        /// The new encapsulation.
        encapsulation: Encapsulation,
    },
    /// The SA is gone; its keys are wiped. Unknown SAs are ignored. Packets that were injected before
    /// ([`Entry::Through`](crate::Entry::Through)) still leave by it, for which a worker may keep it a second longer;
    /// nothing else does.
    Remove(SaId),
}
