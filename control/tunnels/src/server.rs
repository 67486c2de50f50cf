//! What we give to the peers that connect to us (REQUIREMENTS DC-2, DC-7, DC-8, DC-10, DC-11, DC-22, DC-24).
//!
//! ```text
//! ConfigAsked, or Configurable where we push ──> leases ──> sets ──> rules, children ──> reply, or push
//! reload ──> the same again; what does not change stays ──> push
//! PeerDown ──> rules and children out, leases kept but inactive
//! ```

use crate::status::{RefusedSet, ServedStatus, SetStatus};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{Identity, PeerId};

/// A peer that is connected to us.
pub(crate) struct Guest {
    pub(crate) peer: PeerId,
    /// Under which configured peer it authenticated.
    pub(crate) server: PeerId,
    /// The operator's name for that.
    pub(crate) name: String,
    /// The policy's name.
    pub(crate) policy: String,
    pub(crate) identity: Identity,
    pub(crate) user: Option<String>,
    pub(crate) remote: IpAddr,
    pub(crate) speaks_policy: bool,
    pub(crate) since: Duration,
    pub(crate) served_at: Option<Duration>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) sets: Vec<SetStatus>,
    pub(crate) refused: Vec<RefusedSet>,
    pub(crate) error: Option<String>,
}

impl Guest {
    pub(crate) fn status(&self) -> ServedStatus {
        ServedStatus {
            peer: self.peer,
            server: self.server,
            name: self.name.clone(),
            policy: self.policy.clone(),
            identity: self.identity.clone(),
            user: self.user.clone(),
            remote: self.remote,
            speaks_policy: self.speaks_policy,
            since: self.since,
            served_at: self.served_at,
            addresses: self.addresses.clone(),
            sets: self.sets.clone(),
            refused: self.refused.clone(),
            error: self.error.clone(),
        }
    }
}
