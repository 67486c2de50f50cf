//! What `dpctl` and `warrend` say to each other.
//!
//! One JSON value on a line each way over a Unix stream socket: a [`Request`] down, a [`Response`] up, any number of
//! pairs on one connection. Both carry [`VERSION`]; another version is refused with a word that says so, before
//! anything else in the line is looked at.

mod answer;
pub mod client;
mod codec;
pub mod explain;
pub mod limits;
mod policy;
mod refusal;
mod request;
mod rows;
mod stack;
mod stages;
mod stats;
mod ted;

pub use answer::{Answer, Outcome, Response};
pub use codec::{decode_request, decode_response, encode_request, encode_response};
pub use policy::{
    CeilingRow, Clients, ConnectedClient, Lease, LeaseState, Leases, Policies, PolicySetRow, Pool, PullState,
    PulledPolicy, ServedPolicyRow, ServedSetRow, SetState,
};
pub use refusal::{Refusal, RefusalWord};
pub use request::{Command, Request};
pub use rows::{DropCount, Lane, Rule, RuleClass, Rules, Sa, SaDirection, Tunnel, TunnelState};
pub use stack::{LevelMode, Stack, StackFailure, StackLevel, StackState};
pub use stages::{BatchCount, LevelCount, StageAccounts, StageCost, Stages, WorkerStages};
pub use stats::{Port, Stats, Totals, VersionInfo, Worker};
pub use ted::{
    TedField, TedFlow, TedFound, TedInFlight, TedPacket, TedPreview, TedResting, TedStage, TedStatus,
};

/// The version of everything in this crate. It grows with each change an older program would misread.
pub const VERSION: u32 = 1;
/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/warren/warrend.sock";
