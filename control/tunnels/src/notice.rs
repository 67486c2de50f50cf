//! What an operator may want to read of tunnels.

use crate::status::Trouble;
use crate::transaction::Remains;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use warren_ike::ted::TedNotice;
use warren_ike::{Down, Failure, Path, Role};

/// What becomes of a stack of tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StackEvent {
    /// Traffic wants it.
    Building {
        /// Tunnels in it.
        levels: usize,
    },
    /// One level is being negotiated.
    Performing {
        /// The name of its rule.
        level: String,
        /// Its place, counted from 1 at the nearest gateway.
        at: usize,
        /// Levels in all, the base rule's among them.
        of: usize,
    },
    /// Every level is there: traffic passes.
    Up,
    /// A level could not be performed.
    Failed {
        /// The name of its rule.
        level: String,
        /// Why; `None` when it was not even tried.
        reason: Option<Trouble>,
    },
    /// A level was lost: traffic is dropped, and it is built again from there.
    Suspended {
        /// The name of its rule.
        level: String,
        /// Why.
        reason: Down,
    },
    /// One level is being taken away.
    TearingDown {
        /// The name of its rule.
        level: String,
        /// What there is of it.
        remains: Remains,
    },
    /// It had no traffic for long.
    Idle,
    /// Nothing is left of it.
    Gone,
    /// Nothing is left of it, and nothing is tried for a while.
    KeptDown {
        /// How long.
        pause: Duration,
    },
    /// The rules contradict each other: there is no such stack.
    Refused {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for StackEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Building { levels } => write!(f, "traffic wants it: {levels} tunnels inside each other"),
            Self::Performing { level, at, of } => write!(f, "performing {level}, {at} of {of}"),
            Self::Up => write!(f, "up: its traffic passes"),
            Self::Failed { level, reason: Some(reason) } => write!(f, "{level} failed: {reason}"),
            Self::Failed { level, reason: None } => write!(f, "{level} failed: it is kept down"),
            Self::Suspended { level, reason } => {
                write!(f, "lost {level}: {reason}; its traffic is dropped, and it is built again from there")
            }
            Self::TearingDown { level, remains: Remains::Debris } => {
                write!(f, "clearing away what is left of {level}")
            }
            Self::TearingDown { level, remains: Remains::Whole } => write!(f, "tearing down {level}"),
            Self::Idle => write!(f, "without traffic for long"),
            Self::Gone => write!(f, "gone"),
            Self::KeptDown { pause } => {
                write!(f, "kept down; its traffic is dropped, next try in {:.1} s", pause.as_secs_f32())
            }
            Self::Refused { reason } => write!(f, "is not built: {reason}"),
        }
    }
}

/// One remark. Names are the operator's; never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// From the negotiation itself.
    Ike(warren_ike::Notice),
    /// From discovery.
    Ted(TedNotice),
    /// Of a stack of tunnels.
    Stack {
        /// The name of the rule whose traffic it is for.
        stack: String,
        /// What becomes of it.
        event: StackEvent,
    },
    /// A datagram of IKE that did not leave: it would not be inside the tunnels that it has to go through (REQUIREMENTS NT-12).
    Unsent {
        /// From where to where.
        path: Path,
    },
    /// Traffic wants the tunnel, or its configuration does.
    Opening {
        /// The tunnel rule's name.
        tunnel: String,
    },
    /// The first pair is up: traffic passes from now on.
    Up {
        /// The tunnel rule's name.
        tunnel: String,
        /// Who began.
        role: Role,
    },
    /// One more pair of several side by side is up.
    LaneUp {
        /// The tunnel rule's name.
        tunnel: String,
        /// Its lane.
        lane: u16,
        /// Who began.
        role: Role,
    },
    /// A successor took over.
    Rekeyed {
        /// The tunnel rule's name.
        tunnel: String,
        /// Who began.
        role: Role,
    },
    /// The last pair is gone: traffic is dropped from now on.
    Down {
        /// The tunnel rule's name.
        tunnel: String,
        /// Why.
        reason: Down,
    },
    /// A negotiation failed.
    Failed {
        /// The tunnel rule's name.
        tunnel: String,
        /// Why.
        reason: Failure,
        /// The pause before the next one.
        pause: Duration,
        /// Whether traffic still passes through an older pair.
        up: bool,
    },
    /// A pair reached its hard limit.
    Expired {
        /// The tunnel rule's name.
        tunnel: String,
    },
    /// Policy of a server is in force, as far as it was accepted.
    PolicyInForce {
        /// The operator's name for the server.
        peer: String,
        /// SAs that are new.
        added: usize,
        /// SAs that are not wanted any more.
        removed: usize,
        /// Sets that were refused.
        refused: usize,
    },
    /// A set of a server's policy was refused.
    SetRefused {
        /// The operator's name for the server.
        peer: String,
        /// Its name, or its number.
        set: String,
        /// Why, as the rest of a sentence about the set.
        reason: String,
    },
    /// A server says what it cannot give.
    ServerSays {
        /// The operator's name for the server.
        peer: String,
        /// In its own words.
        error: String,
    },
    /// The policy of a server is not in force any more.
    PolicyWithdrawn {
        /// The operator's name for the server.
        peer: String,
        /// Whether what it protected is dropped until it is pulled again.
        shielded: bool,
    },
    /// A server could not be asked.
    ClientFailed {
        /// The operator's name for the server.
        peer: String,
        /// Why.
        reason: Failure,
        /// The pause before the next try.
        pause: Duration,
    },
    /// A peer was given its policy.
    Served {
        /// The operator's name for the configured peer, and who it is.
        peer: String,
        /// Addresses that are leased to it.
        addresses: Vec<IpAddr>,
        /// SAs that are new.
        added: usize,
        /// SAs that are not wanted any more.
        removed: usize,
    },
    /// A peer gets less than it should.
    ServedLess {
        /// The operator's name for the configured peer, and who it is.
        peer: String,
        /// Why.
        error: String,
    },
    /// A peer refused a set that it was given.
    SetNotTaken {
        /// The operator's name for the configured peer, and who it is.
        peer: String,
        /// The set's number.
        set: u16,
        /// Why, in its own words.
        reason: String,
    },
    /// A peer did not acknowledge what was pushed to it.
    PushFailed {
        /// The operator's name for the configured peer, and who it is.
        peer: String,
        /// Why.
        reason: Failure,
    },
    /// A peer that was served is gone; its addresses stay its own as long as nobody needs them.
    ServedGone {
        /// The operator's name for the configured peer, and who it is.
        peer: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ike(notice) => notice.fmt(f),
            Self::Stack { stack, event } => write!(f, "stack {stack}: {event}"),
            Self::Unsent { path } => {
                write!(f, "{path}: not sent, it would not be inside the tunnels that it has to go through")
            }
            Self::Ted(notice) => write!(f, "discovery: {notice}"),
            Self::Opening { tunnel } => write!(f, "tunnel {tunnel}: negotiating"),
            Self::Up { tunnel, role } => write!(f, "tunnel {tunnel}: up, as {role}"),
            Self::LaneUp { tunnel, lane, role } => {
                write!(f, "tunnel {tunnel}: lane {lane} up too, as {role}")
            }
            Self::Rekeyed { tunnel, role } => write!(f, "tunnel {tunnel}: rekeyed, as {role}"),
            Self::Down { tunnel, reason } => write!(f, "tunnel {tunnel}: down: {reason}"),
            Self::Failed { tunnel, reason, pause, up } => {
                let state = if *up { "still up" } else { "its traffic is dropped" };
                let pause = pause.as_secs_f32();
                write!(f, "tunnel {tunnel}: negotiation failed: {reason}; {state}, next try in {pause:.1} s")
            }
            Self::Expired { tunnel } => write!(f, "tunnel {tunnel}: SAs reached the end of their lifetime"),
            Self::PolicyInForce { peer, added, removed, refused } => {
                write!(f, "{peer}: policy in force: {added} SAs new, {removed} gone, {refused} sets refused")
            }
            Self::SetRefused { peer, set, reason } => write!(f, "{peer}: set {set} refused: {reason}"),
            Self::ServerSays { peer, error } => write!(f, "{peer}: the server says: {error}"),
            Self::PolicyWithdrawn { peer, shielded: true } => {
                write!(f, "{peer}: policy withdrawn; what it protected is dropped until it is pulled again")
            }
            Self::PolicyWithdrawn { peer, shielded: false } => write!(f, "{peer}: policy withdrawn"),
            Self::ClientFailed { peer, reason, pause } => {
                write!(f, "{peer}: no policy: {reason}; next try in {:.1} s", pause.as_secs_f32())
            }
            Self::Served { peer, addresses, added, removed } => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                let leased =
                    if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
                write!(f, "{peer}: policy given: {leased}, {added} SAs new, {removed} gone")
            }
            Self::ServedLess { peer, error } => write!(f, "{peer}: policy is not complete: {error}"),
            Self::SetNotTaken { peer, set, reason } => write!(f, "{peer}: refuses set {set}: {reason}"),
            Self::PushFailed { peer, reason } => write!(f, "{peer}: policy not pushed: {reason}"),
            Self::ServedGone { peer } => write!(f, "{peer}: gone"),
        }
    }
}
