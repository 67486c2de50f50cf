//! Two whole gateways, control and engine, on a virtual clock, with a network between them that loses, reorders,
//! duplicates and corrupts what a seed tells it to. After every step: no clear text of protected traffic on the wire,
//! every packet in exactly one counter, no key used twice with one IV. When the network heals, the tunnel is up.
//!
//! ```text
//! host ── inside ─┐                                      ┌─ inside ── host
//!              gateway ── outside ── Network ── outside ── gateway
//!                 │                     │                   │
//!                 └─────────────── Oracle sees ─────────────┘
//! ```
//!
//! Everything drawn by lot follows from one number, so that a failed run can be played again.

mod gateway;
mod network;
mod oracle;
mod packet;
mod plan;
mod row;
mod row_plan;
mod row_sites;
mod run;
mod seed;
mod site;

pub use network::{End, Weather};
pub use oracle::Violation;
pub use plan::Plan;
pub use row_plan::{Disturbance, RowPlan, Trouble};
pub use run::{Broken, Report, run};
pub use seed::Seed;
