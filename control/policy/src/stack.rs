//! From a packet to its stack of actions: the rule half of figure 7 (REQUIREMENTS NT-3 … NT-10, Q-16 … Q-19).
//!
//! ```text
//! packet ──> transport rules ──none──> no stack (708)
//!                │ push (710)
//!                ▼
//!            tunnel rules ──none──> the pending stack is whole (722)
//!            ▲   │ push (714)
//!            └───┴ destination := gateway (718)
//! ```
//!
//! The walk is a value: every round with what was asked, what matched and what followed. Nothing is performed here
//! (NT-10), and nothing is remembered: the same rules and the same packet give the same walk.
//!
//! Each round either ends the walk or adds a gateway that was not there before, and at most [`STACK_DEPTH_MAX`] are
//! added: the loop of the figure, which for a rule that matches its own gateway never ends, ends here (NT-28, F-26).

use crate::evaluate::{Verdict, may_be_protected};
use crate::limits::STACK_DEPTH_MAX;
use crate::rule::{Gateway, PeerId, Protection, RuleId, RuleSet, TransportAction, TunnelRule};
use crate::selector::{FiveTuple, Selector};
use std::fmt;
use std::net::IpAddr;

/// IANA protocol number of ESP.
const ESP: u8 = 50;

/// As what a packet is looked up once it is inside a tunnel (Q-19).
#[derive(Clone, Copy)]
pub enum Rematch<'a> {
    /// The letter of box 718: only the destination is replaced, all other fields stay the packet's. A rule for some
    /// protocol or port therefore matches at every level.
    Destination,
    /// The outer packet as it will be: ESP, without ports, from our address towards that peer. The function says that
    /// address, `None` where it is not known. ESP inside UDP is not foreseen: whether there is a NAT, nobody knows yet.
    Wire(&'a dyn Fn(PeerId) -> Option<IpAddr>),
}

impl fmt::Debug for Rematch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Rematch<'_> {
    /// `destination` or `wire`, as operators write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Wire(_) => "wire",
        }
    }

    /// What `packet` is once it goes to that gateway; `None` when our address towards it is not known.
    fn outer(self, packet: &FiveTuple, peer: PeerId, gateway: IpAddr) -> Option<FiveTuple> {
        match self {
            Self::Destination => Some(FiveTuple { destination: gateway, ..*packet }),
            Self::Wire(local) => local(peer).map(|local| esp(local, gateway)),
        }
    }
}

/// An ESP packet as the rules see it.
pub(crate) const fn esp(source: IpAddr, destination: IpAddr) -> FiveTuple {
    FiveTuple { source, destination, protocol: ESP, source_port: None, destination_port: None }
}

/// One action of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The base rule's: always the bottom of its stack, performed last.
    Transport {
        /// Its place in [`RuleSet::transport`].
        at: usize,
        /// What it says: `Permit` or `Bypass`, both of which always succeed (Q-17), or `Protect`.
        action: TransportAction,
        /// Its traffic.
        selector: Selector,
    },
    /// A tunnel to a gateway.
    Tunnel {
        /// The rule that wants it.
        rule: RuleId,
        /// The named gateway of that rule (NT-9).
        peer: PeerId,
        /// Where it ends.
        gateway: IpAddr,
        /// What it protects.
        selector: Selector,
    },
}

impl Action {
    /// Where the tunnel ends; `None` for a transport action.
    #[must_use]
    pub const fn gateway(&self) -> Option<IpAddr> {
        match self {
            Self::Transport { .. } => None,
            Self::Tunnel { gateway, .. } => Some(*gateway),
        }
    }

    /// Where what the action protects is in clear again: where the tunnel ends, or the host at the far end of a
    /// transport mode SA. `None` for an action that protects nothing.
    #[must_use]
    pub const fn end(&self) -> Option<IpAddr> {
        match self {
            Self::Transport { action: TransportAction::Protect(protection), .. } => Some(protection.host),
            Self::Transport { .. } => None,
            Self::Tunnel { gateway, .. } => Some(*gateway),
        }
    }

    /// The traffic that the action is about.
    #[must_use]
    pub const fn selector(&self) -> &Selector {
        match self {
            Self::Transport { selector, .. } | Self::Tunnel { selector, .. } => selector,
        }
    }
}

/// Actions to perform, the last pushed first (NT-11). There is always the transport action at the bottom (NT-5), and
/// at most [`STACK_DEPTH_MAX`] tunnels are above it, one less where it protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingStack(Vec<Action>);

impl PendingStack {
    /// Bottom to top, as pushed: also the order of encapsulation, from the packet outwards (NT-21).
    #[must_use]
    pub fn bottom_to_top(&self) -> &[Action] {
        &self.0
    }

    /// Top to bottom: the order in which the actions are performed, nearest gateway first (NT-11).
    pub fn performed(&self) -> impl ExactSizeIterator<Item = &Action> {
        self.0.iter().rev()
    }

    /// Tunnels in it: 0 to [`STACK_DEPTH_MAX`].
    #[must_use]
    pub const fn depth(&self) -> usize {
        self.0.len() - 1
    }
}

/// Why a walk found no stack although rules matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StackError {
    /// One more level than [`STACK_DEPTH_MAX`]: tunnels, and transport mode inside them.
    #[error("more than {STACK_DEPTH_MAX} tunnels inside each other")]
    TooDeep,
    /// The way to a gateway would lead through the tunnel that ends there.
    #[error("the way to {0} would lead through the tunnel to {0}")]
    Loop(IpAddr),
    /// With [`Rematch::Wire`]: nobody knows the source of the outer packet.
    #[error("our address towards {0} is not known")]
    NoSource(IpAddr),
}

/// What ended a walk of tunnel rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// No tunnel rule matches: the stack is whole (box 712, *no*).
    NoMatch,
    /// None can match: the destination is of another family than the source, which [`Rematch::Destination`] keeps.
    OtherFamily,
    /// The first rule that matches leads to where the packet goes already: the stack is whole (V-12).
    OwnGateway,
    /// The gateway of the rule that matched is yet to be discovered (NT-35).
    Discover,
    /// No rule matches what hides its ports, but with some ports one would: such a packet is dropped, as
    /// [`evaluate`](crate::evaluate::evaluate) does at the first level (RFC 4301 §7).
    HiddenPorts,
    /// There is no stack.
    Refused(StackError),
}

/// What followed from one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// The action was pushed, and the tunnel rules are asked about this (boxes 714, 718).
    Pushed(FiveTuple),
    /// The walk ended.
    Stopped(Stop),
}

/// The tunnel rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matched {
    /// Its place in [`RuleSet::tunnel`]; all before it were tried and did not match.
    pub at: usize,
    /// Who it is.
    pub rule: RuleId,
    /// Where it leads.
    pub gateway: Gateway,
}

/// Tunnel rules asked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Round {
    /// What they were asked about.
    pub asked: FiveTuple,
    /// The first that matched; `None`: all were tried and none did.
    pub matched: Option<Matched>,
    /// What followed.
    pub next: Next,
}

/// What came out of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No transport rule matches: there is no stack, and the packet is dropped (NT-4).
    NoRule,
    /// The packet is dropped by rule, or because it hides ports that decide.
    Discard,
    /// This is to be performed before the packet may pass.
    Stack(PendingStack),
    /// Not complete: the gateway of that rule, in front of that destination, is to be discovered first (NT-35).
    Discover {
        /// The rule that discovers.
        rule: RuleId,
        /// In front of which address.
        destination: IpAddr,
        /// What is known so far.
        pending: PendingStack,
    },
    /// There is no stack, and the packet is dropped.
    Refused(StackError),
}

/// How a packet came to its stack, or to none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The packet.
    pub packet: FiveTuple,
    /// Place in [`RuleSet::transport`] of the first rule that matched; `None`: all were tried and none did.
    pub transport: Option<usize>,
    /// The base rule protects by itself, under this identifier.
    pub protection: Option<RuleId>,
    /// Tunnel rules, asked again and again; empty unless the transport rule permits or protects.
    pub rounds: Vec<Round>,
    /// What came out.
    pub outcome: Outcome,
}

impl Walk {
    /// What [`evaluate`](crate::evaluate::evaluate) says of the same packet: protected by its base rule, or by the first
    /// tunnel rule that matches, whatever becomes of the levels above it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if let Some(protection) = self.protection {
            return Verdict::Protect(protection);
        }
        match (self.rounds.first().and_then(|round| round.matched), &self.outcome) {
            (Some(matched), _) => Verdict::Protect(matched.rule),
            (None, Outcome::NoRule) => Verdict::NoRule,
            (None, Outcome::Stack(_)) => Verdict::Clear,
            (None, _) => Verdict::Discard,
        }
    }
}

/// Walks figure 7 for a packet that leaves our side. Takes at most [`STACK_DEPTH_MAX`] + 1 rounds.
#[must_use]
pub fn walk(rules: &RuleSet, packet: &FiveTuple, rematch: Rematch<'_>) -> Walk {
    walk_within(rules, packet, rematch, &|_| None)
}

/// The same where some rules are what others have discovered: `within` says which one discovered a rule. A rule does
/// not discover the way to what it has discovered (NT-35), so it is passed over when that way is asked for.
#[must_use]
pub fn walk_within(
    rules: &RuleSet,
    packet: &FiveTuple,
    rematch: Rematch<'_>,
    within: &dyn Fn(RuleId) -> Option<RuleId>,
) -> Walk {
    let transport = rules.transport.iter().position(|rule| rule.selector.contains(packet));
    let ended = |outcome| Walk { packet: *packet, transport, protection: None, rounds: Vec::new(), outcome };
    let Some(at) = transport else { return ended(Outcome::NoRule) };
    let (action, selector) = (rules.transport[at].action, rules.transport[at].selector);
    let base = PendingStack(vec![Action::Transport { at, action, selector }]);
    match action {
        TransportAction::Discard => ended(Outcome::Discard),
        TransportAction::Permit | TransportAction::Bypass if may_be_protected(rules, at, packet) => {
            ended(Outcome::Discard)
        }
        TransportAction::Bypass
            if may_be_permitted(rules, at, packet)
                && rules.tunnel.iter().any(|rule| may_lead_on(rule, packet, None)) =>
        {
            ended(Outcome::Discard)
        }
        TransportAction::Bypass => ended(Outcome::Stack(base)),
        TransportAction::Permit | TransportAction::Protect(_) => {
            let protection = action.protection();
            // What leaves a transport mode SA goes where the packet went.
            let asked = match protection {
                None => Some(*packet),
                Some(Protection { peer, host, .. }) => rematch.outer(packet, peer, host),
            };
            let protection = protection.map(|protection| protection.rule);
            let (rounds, outcome) = match asked {
                Some(asked) => Climb { rules, rematch, within }.climb(asked, base),
                None => (Vec::new(), Outcome::Refused(StackError::NoSource(packet.destination))),
            };
            Walk { packet: *packet, transport, protection, rounds, outcome }
        }
    }
}

/// Boxes 712 to 718, level by level.
struct Climb<'a> {
    rules: &'a RuleSet,
    rematch: Rematch<'a>,
    within: &'a dyn Fn(RuleId) -> Option<RuleId>,
}

impl Climb<'_> {
    fn climb(&self, mut asked: FiveTuple, mut pending: PendingStack) -> (Vec<Round>, Outcome) {
        let mut rounds = Vec::with_capacity(1);
        loop {
            let carried = self.carriers(&pending).find(|(_, rule)| rule.selector.contains(&asked));
            let matched = carried.map(|(at, rule)| Matched { at, rule: rule.id, gateway: rule.gateway });
            let next = match carried {
                Some((_, rule)) => judge(rule, &asked, self.rematch, &pending),
                None => Next::Stopped(self.without_match(&asked, &pending)),
            };
            rounds.push(Round { asked, matched, next });
            match (next, carried) {
                (Next::Pushed(outer), Some((_, rule))) => {
                    let (peer, selector) = (rule.peer, rule.selector);
                    let gateway = outer.destination;
                    pending.0.push(Action::Tunnel { rule: rule.id, peer, gateway, selector });
                    asked = outer;
                }
                (Next::Stopped(stop), _) => return (rounds, outcome(stop, pending, matched, &asked)),
                (Next::Pushed(_), None) => unreachable!("only a rule is pushed"),
            }
        }
    }

    /// The tunnel rules that are asked: all but the one that discovered the level below.
    fn carriers(&self, pending: &PendingStack) -> impl Iterator<Item = (usize, &TunnelRule)> {
        let discoverer = match pending.0.last() {
            Some(Action::Tunnel { rule, .. }) => (self.within)(*rule),
            _ => None,
        };
        self.rules.tunnel.iter().enumerate().filter(move |(_, rule)| Some(rule.id) != discoverer)
    }

    fn without_match(&self, asked: &FiveTuple, pending: &PendingStack) -> Stop {
        let here = pending.0.last().and_then(Action::end);
        let mut rules = self.carriers(pending).map(|(_, rule)| rule);
        if asked.source.is_ipv6() != asked.destination.is_ipv6() {
            Stop::OtherFamily
        } else if rules.any(|rule| may_lead_on(rule, asked, here)) {
            Stop::HiddenPorts
        } else {
            Stop::NoMatch
        }
    }
}

/// Whether the rule that matched is pushed. The loop guard comes before the depth: it has the better explanation.
fn judge(rule: &TunnelRule, asked: &FiveTuple, rematch: Rematch<'_>, pending: &PendingStack) -> Next {
    let ends = || pending.0.iter().filter_map(Action::end);
    let Gateway::Address(gateway) = rule.gateway else { return Next::Stopped(Stop::Discover) };
    if ends().next_back() == Some(gateway) {
        return Next::Stopped(Stop::OwnGateway);
    }
    if ends().any(|seen| seen == gateway) {
        return Next::Stopped(Stop::Refused(StackError::Loop(gateway)));
    }
    if ends().count() >= STACK_DEPTH_MAX {
        return Next::Stopped(Stop::Refused(StackError::TooDeep));
    }
    match rematch.outer(asked, rule.peer, gateway) {
        Some(outer) => Next::Pushed(outer),
        None => Next::Stopped(Stop::Refused(StackError::NoSource(gateway))),
    }
}

/// Whether the rule would match if `asked` showed the right ports, and lead elsewhere than to `here`.
fn may_lead_on(rule: &TunnelRule, asked: &FiveTuple, here: Option<IpAddr>) -> bool {
    (here.is_none() || rule.gateway.address() != here) && rule.selector.may_contain(asked)
}

/// Whether a rule in front of the transport rule `at` would permit the packet if it showed the right ports.
fn may_be_permitted(rules: &RuleSet, at: usize, packet: &FiveTuple) -> bool {
    let mut before = rules.transport[..at].iter();
    before.any(|rule| rule.action == TransportAction::Permit && rule.selector.may_contain(packet))
}

fn outcome(stop: Stop, pending: PendingStack, matched: Option<Matched>, asked: &FiveTuple) -> Outcome {
    match (stop, matched) {
        (Stop::NoMatch | Stop::OtherFamily | Stop::OwnGateway, _) => Outcome::Stack(pending),
        (Stop::Discover, Some(matched)) => {
            Outcome::Discover { rule: matched.rule, destination: asked.destination, pending }
        }
        (Stop::HiddenPorts, _) => Outcome::Discard,
        (Stop::Refused(error), _) => Outcome::Refused(error),
        (Stop::Discover, None) => unreachable!("only a rule discovers"),
    }
}
