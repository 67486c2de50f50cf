//! The seam: commands down, events up.
//!
//! Everything that crosses between control and the workers is a plain value without pointers into the other side,
//! so that the engine can become a process of its own. Time is a [`Duration`] since the start of the process.

mod command;
mod discovery;
mod event;
mod forwarding;
mod inject;
pub mod limits;
mod sa;

pub use command::Command;
pub use discovery::{Catch, Caught, Discovery};
pub use event::Event;
pub use forwarding::{ForwardingTable, MacAddress, Neighbour, PortIndex, PortInfo, Route, Side};
pub use inject::{Entry, Injected};
pub use sa::{Carrier, Encapsulation, InboundSa, OutboundSa, SaId, SaKeys, Spi, Volume};
pub use std::time::Duration;
pub use warren_policy::{EspTransform, FiveTuple, RuleId, RuleSet, SaMode, Secret, Selector};
