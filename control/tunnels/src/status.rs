//! What `dpctl` shows of tunnels.

use crate::pair::SaFacts;
use std::time::Duration;
use warren_ike::{Failure, Role};
use warren_policy::{Lifetime, RuleId};
use warren_seam::SaId;

/// How a tunnel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No SA; its traffic is dropped and starts a negotiation.
    Down,
    /// The operator took it down: its traffic is dropped and starts nothing until `up`.
    Closed,
    /// Being negotiated; its traffic is dropped.
    Negotiating,
    /// Traffic passes.
    Up {
        /// SA for what comes in.
        inbound: SaId,
        /// SA that traffic is bound to.
        outbound: SaId,
    },
    /// Traffic passes and a successor is being negotiated, or has just taken over.
    Rekeying {
        /// Inbound SA of the pair that goes.
        old: SaId,
        /// Inbound SA of the pair that came, once there is one.
        new: Option<SaId>,
    },
    /// A negotiation failed; its traffic is dropped and starts nothing before that time.
    HoldDown {
        /// End of the pause.
        until: Duration,
    },
}

/// One pair of SAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairStatus {
    /// What comes in.
    pub inbound: SaFacts,
    /// What goes out.
    pub outbound: SaFacts,
    /// Who began its negotiation.
    pub role: Role,
    /// As agreed.
    pub lifetime: Lifetime,
    /// When it was complete.
    pub born: Duration,
    /// When it ends.
    pub expires_at: Duration,
    /// Whether the rule's traffic goes through it.
    pub bound: bool,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelStatus {
    /// Its rule.
    pub rule: RuleId,
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since: Duration,
    /// All pairs, oldest first.
    pub pairs: Vec<PairStatus>,
    /// Negotiations that failed in a row.
    pub failures: u32,
    /// Why the last one did; forgotten when one succeeds.
    pub last_failure: Option<Failure>,
}
