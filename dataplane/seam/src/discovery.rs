//! What crosses the seam for Tunnel Endpoint Discovery: which packets workers catch. What control
//! sends is in `inject`.
//!
//! ```text
//! transit UDP/500, exchange 240, major version 1   -> Event::Caught(Probe)  -> answered | Command::Inject(Resume)
//! errors that one of our own probes may have caused -> Event::Caught(Stray) -> swallowed | Command::Inject(Judge)
//! a probe of ours, in the name of an end host        <- Command::Inject(Originate)
//! ```

use crate::forwarding::PortIndex;
use warren_policy::FiveTuple;

/// Which packets workers look out for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Whether discovery messages that pass through are recognised at all. Without it they are packets like any other.
    pub is_on: bool,
    /// Ports whose probes control wants to see, because it may answer them. Those of other ports go on untouched.
    pub answers: Vec<PortIndex>,
    /// Whether probes of ours are on their way: only then may an error be about one.
    pub asks: bool,
}

/// Why a packet was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Catch {
    /// A probe in transit (REQUIREMENTS TED-29).
    Probe,
    /// An ICMP error that quotes UDP to port 500, or an ISAKMP message from port 500 other than a discovery message,
    /// on its way from outside to somebody else: perhaps about a probe that was sent in his name (REQUIREMENTS TED-28).
    Stray,
}

/// A packet that passed through and was taken off its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Why.
    pub catch: Catch,
    /// The port that it came by.
    pub port: PortIndex,
    /// What the rules would look at.
    pub tuple: FiveTuple,
    /// Where the upper layer's header begins in `packet`.
    pub upper_at: u16,
    /// The whole IP packet, as it arrived; at most [`crate::limits::CAUGHT_OCTETS_MAX`].
    pub packet: Vec<u8>,
}
