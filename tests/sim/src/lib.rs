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
//! With every third seed also a row of gateways, whose first one's rules nest: a tunnel to each, inside those to the gateways
//! in front of it. What is between two of them may be nothing but ESP and IKE of the first one and the one behind the link;
//! they die, are closed and rekey, and in the end nothing is left of anything.
//!
//! ```text
//! host ── sender ── Network ── gateway 1 ── Network ── gateway 2 ── Network ── gateway 3 ── host
//!            │           └──────────────────────┴───── Oracle ─────────┘            │
//!            └─ tunnel to 1 (tunnel to 2 (tunnel to 3 (clear text))) ───────────────┘
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
