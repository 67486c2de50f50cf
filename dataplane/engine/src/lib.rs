//! The loop of one core: batches of packets, the stages they pass, and the tables the stages consult.
//!
//! [`build`] makes a [`Handle`] for control and a [`Worker`] for each core. Between them run commands, events,
//! counters and nothing else.

pub mod accounting;
mod bindings;
mod build;
mod core;
pub mod counters;
mod draw;
pub mod drop_reason;
mod fast_path;
pub mod fib;
pub mod flow_cache;
pub mod handle;
mod handoff;
mod larval;
pub mod limits;
mod lookout;
pub mod meter;
pub mod mtu;
mod order;
pub mod packet;
mod parking;
mod passage;
pub mod port_board;
mod rate;
pub mod replay;
mod sad;
pub mod settings;
mod slot;
pub mod spd;
mod stages;
mod vocabulary;
mod wake;
pub mod worker;

pub use accounting::{Spent, Stage, StageSnapshot};
pub use build::{EnginePort, WorkerParts, build};
pub use counters::{CounterSnapshot, Tally};
pub use drop_reason::DropReason;
pub use handle::{Handle, Refused, Token, WorkerId};
pub use meter::SaCounters;
pub use settings::{OuterFragmentation, Settings};
pub use worker::Worker;
