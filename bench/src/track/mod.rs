//! The track that gateways are measured on: two gateways, as many tunnels between them as wanted, ports in memory whose
//! frames are ready before the clock runs, and a judge who opens what comes out.
//!
//! ```text
//!   32.0.i/24 ── inside ─ gateway 1 ─ outside ══ ESP, SA i ══ gateway 2 ── 64.0.i/24
//! ```
//!
//! Only one gateway is measured. The other seals what the measured one shall open, before the clock runs.

mod feed;
pub(crate) mod gateway;
pub(crate) mod judge;
pub(crate) mod limits;
pub(crate) mod path;
pub(crate) mod site;
pub(crate) mod traffic;

pub(crate) use feed::{Bare, Generator};
