//! Every maximum of this crate, with its reason.

use std::time::Duration;

/// Octets of one request line: the longest holds one name. More is refused and the connection closed.
pub const REQUEST_OCTETS_MAX: usize = 4096;
/// Octets of one response line: 100 000 rows of the widest kind.
pub const RESPONSE_OCTETS_MAX: usize = 64 << 20;
/// How long the client waits for an answer; the daemon answers from memory.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
