//! Configuration file to validated policy values.
//!
//! ```text
//! file ── toml ──> fields (each taken once, what is left is unknown) ──> values ──> checks across values ──> Config
//!                        └───────────────── diagnostics: file, line, column, value, what would be accepted ──┘
//! ```
//!
//! Everything wrong with a file is said at once. What comes out needs no second look: names are unique, families
//! agree, every rule names a peer that exists, and no secret can be printed.

mod config;
mod diagnostic;
mod gateway;
pub mod limits;
mod peer;
mod port;
mod secret;
mod tunnel;

pub use config::Config;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use gateway::{Gateway, LogLevel, Poll};
pub use peer::{Dpd, IkeMode, NatTraversal, Peer, Retransmit};
pub use port::{PortConfig, PortMode, Queues, Side, ZeroCopy};
pub use secret::{SecretError, SecretSource};
pub use tunnel::{Start, TunnelPolicy};
