//! The desired state of every tunnel, sans IO.
//!
//! ```text
//! Acquire, up ──> open_child ──> [install inbound, answer, install outbound] ──> Bind
//! soft limit  ──> open_child ──> … ──> Bind to the new pair ── grace ──> close_child(old) ── linger ──> Remove
//! hard limit  ──> unbind ──> close_child ──> Remove ──> acquires again
//! failure     ──> pause, longer each time ──> Rearm
//! ```
//!
//! [`Tunnels`] owns the negotiator and speaks to the workers in commands. Three things hold after every output:
//! traffic is only bound to an installed SA, no bound SA is removed, and a rule without a pair drops its traffic.
//!
//! When both sides negotiate the same tunnel at once there are two pairs. Whoever began a negotiation knows which
//! pairs it replaces and deletes those; pairs that overlapped are ranked by their SPIs, which both sides see alike,
//! and whoever noticed deletes the lower one. The two reasons cannot contradict each other (see `pair.rs`).
//!
//! A tunnel may have several pairs side by side, each for a worker of its own (see `lanes.rs`).

mod client;
mod config;
mod discovery;
mod dynamic;
mod grant;
mod lanes;
mod leases;
pub mod limits;
mod negotiator;
mod notice;
mod offer;
mod outcome;
mod pair;
mod placing;
mod reconfigure;
pub mod references;
mod schedule;
mod server;
mod stack_view;
mod stacks;
mod status;
mod timers;
pub mod transaction;
mod tunnel;
mod tunnels;
mod ways;

pub use config::{ClientConfig, Lease, ServerConfig, Start, TunnelConfig, TunnelsConfig};
pub use discovery::ProbeRefused;
pub use negotiator::Negotiator;
pub use notice::{Notice, StackEvent};
pub use pair::SaFacts;
pub use status::{
    ClientState, ClientStatus, DiscoveredStatus, LeaseStatus, PairStatus, PoolStatus, RefusedSet,
    ServedStatus, SetStanding, SetStatus, StackLevel, StackState, StackStatus, State, Trouble, TunnelStatus,
};
pub use tunnels::{Output, Tunnels};
