//! Configuration file to validated policy values.
//!
//! ```text
//! file ── toml ──> fields (each taken once, what is left is unknown) ──> values ──> checks across values ──> Config
//!                        └───────────────── diagnostics: file, line, column, value, what would be accepted ──┘
//! ```
//!
//! Everything wrong with a file is said at once. What comes out needs no second look: names are unique, families
//! agree, every rule names a peer that exists, and no secret can be printed.

mod addresses;
mod amount;
mod authentication;
mod authorised;
mod checks;
mod config;
mod diagnostic;
mod discovery;
mod field;
mod gateway;
pub mod limits;
mod mask;
mod name;
mod nearest;
mod nesting;
mod parse;
mod peer;
mod peers;
mod policy;
mod pool;
mod port;
mod proposals;
mod report;
mod role;
mod secret;
mod section;
mod stack;
mod ted;
mod traffic;
mod transport;
mod tunnel;
mod user;

pub use authentication::{Authentication, Certificate, Xauth};
pub use config::Config;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use gateway::{Gateway, LogLevel, Poll};
pub use parse::{load, parse};
pub use peer::{Dpd, IkeMode, NatTraversal, Peer, Retransmit};
pub use port::{PortConfig, PortMode, Queues, Side, ZeroCopy};
pub use role::{Receives, Serves};
pub use secret::{SecretError, SecretFiles, SecretSource};
pub use stack::Stack;
pub use ted::{Granularity, ProbeSport, Ted};
pub use tunnel::{Start, TunnelPolicy};
pub use user::User;
