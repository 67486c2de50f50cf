//! Every maximum of this crate, with its reason.

use std::time::Duration;

/// Octets of one request line: the longest holds one name. More is refused and the connection closed.
pub const REQUEST_OCTETS_MAX: usize = 4096;
/// Octets of one response line: 100 000 rows of the widest kind.
pub const RESPONSE_OCTETS_MAX: usize = 64 << 20;
/// How long the client waits for an answer; the daemon answers from memory.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Rules that an explanation holds of those that do not match, each time that rules are asked; the others are counted.
pub const RULES_SHOWN_MAX: usize = 20;
/// Smallest MTU of a path that is reckoned with: IPv4 asks for no more of a link (RFC 791).
pub const MTU_MIN: u16 = 68;
/// Largest MTU of a path that is reckoned with: no IPv4 packet is longer.
pub const MTU_MAX: u16 = 65_535;
