//! `[stack]`: tunnels inside tunnels.

use crate::limits::{IDLE_MAX, IDLE_MIN};
use crate::report::Report;
use crate::section::Section;
use crate::ted::within;
use std::time::Duration;
use warren_policy::Rematching;

/// How tunnels inside tunnels come about and go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// As what a packet is looked up once it is inside a tunnel (REQUIREMENTS Q-19).
    pub rematch: Rematching,
    /// How long a stack may be without traffic before it is taken down (REQUIREMENTS NT-27).
    pub idle: Duration,
}

impl Default for Stack {
    fn default() -> Self {
        Self { rematch: Rematching::Destination, idle: Duration::from_secs(600) }
    }
}

impl Stack {
    /// `None` only after an error.
    pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>) -> Option<Self> {
        let default = Self::default();
        let words = [("destination", Rematching::Destination), ("wire", Rematching::Wire)];
        let rematch = section.or("rematch", default.rematch, |field| field.word(report, &words));
        let idle = section.or("idle", default.idle, |field| within(&field, IDLE_MIN..=IDLE_MAX, report));
        section.finish(report);
        Some(Self { rematch: rematch?, idle: idle? })
    }
}
