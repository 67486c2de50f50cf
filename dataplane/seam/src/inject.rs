//! Packets that control makes, or gives back, for a worker to send.

use crate::forwarding::PortIndex;
use crate::sa::SaId;

/// How a packet from control goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// It is ours and leaves inside these SAs, innermost first, and no rule is asked: IKE with a gateway that is reached
    /// through other tunnels (REQUIREMENTS NT-12). Without one of the SAs, or with a packet that their selectors do not
    /// contain, it is dropped. It is cut into fragments where it is larger than what fits into the SAs; IPv4 with *don't
    /// fragment* is not.
    ///
    /// The SAs are those of this moment: a [`Command::Remove`](crate::Command::Remove) of one of them that follows at once
    /// does not keep the packet from leaving through it.
    Through(Vec<SaId>),
    /// It is ours, whatever its source address says: it leaves in clear by the route to its destination and no rule is
    /// asked (REQUIREMENTS TED-12, TED-31).
    Originate,
    /// It was caught on this port and goes on in clear as it is, but for the hop that it pays (REQUIREMENTS TED-31).
    Resume(PortIndex),
    /// It was caught on this port and goes on as if it had not been: the rules decide.
    Judge(PortIndex),
}

/// A packet from control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// How it goes on.
    pub entry: Entry,
    /// The whole IP packet, checksums included. [`Entry::Through`] takes as long a one as IP has (65,535 octets) unless
    /// it would be more than [`INJECTED_PIECES_MAX`](crate::limits::INJECTED_PIECES_MAX) fragments; the others take what
    /// a frame holds.
    pub packet: Vec<u8>,
}
