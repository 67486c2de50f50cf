//! `[stack]`: tunnels inside tunnels.

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
