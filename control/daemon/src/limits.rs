//! Every maximum of the daemon, with its reason.

use std::time::Duration;

/// Octets of one IKE datagram: the largest UDP payload there is.
pub(crate) const DATAGRAM_OCTETS_MAX: usize = 65_535;
/// IKE datagrams taken from one socket before anything else gets its turn.
pub(crate) const DATAGRAMS_EACH_TURN_MAX: usize = 64;
/// Events of the workers taken before anything else gets its turn.
pub(crate) const EVENTS_EACH_TURN_MAX: usize = 1024;
/// How long a message waits for the workers to apply the SA it announces. A worker turns in microseconds; one that
/// takes this long is stuck, and the message leaves so that the peer's repetition finds an answer.
pub(crate) const APPLY_WAIT_MAX: Duration = Duration::from_millis(50);
/// How long a full command ring is retried.
pub(crate) const SUBMIT_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often inbound SAs are looked at for dead peer detection, and counters for what nobody announces.
pub(crate) const ACTIVITY_INTERVAL: Duration = Duration::from_secs(1);
/// Connections to the control socket at a time.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// A control connection that is silent for so long is closed.
pub(crate) const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(300);
/// Requests that wait for the control loop.
pub(crate) const REQUESTS_MAX: usize = 64;
/// How long a reader may take to read an answer.
pub(crate) const ANSWER_WRITE_MAX: Duration = Duration::from_secs(30);
/// How long workers may take to stop.
pub(crate) const STOP_WAIT_MAX: Duration = Duration::from_secs(2);
/// Entries of each ring of each queue: a millisecond of small packets at 2 Mpps.
pub(crate) const RING_ENTRIES: u32 = 2048;
/// Frames of each worker beyond what the kernel's rings can hold: batches, transmit queues, parked frames.
pub(crate) const FRAMES_IN_HAND: u32 = 4096;
/// Octets in front of a packet in its frame: with the Ethernet header that came off, eight tunnels inside each other of
/// either family, in UDP too, with AES-GCM. A multiple of 128, by which drivers measure what they receive into.
pub(crate) const HEADROOM_OCTETS: u32 = 512;
/// An IP packet larger than this does not fit a small frame beside the headroom and an Ethernet header with a VLAN tag.
/// Trailers need nothing more: what they are put behind is smaller by as much.
pub(crate) const SMALL_MTU_MAX: u32 = 2048 - HEADROOM_OCTETS - 18;
/// Nor a larger one any frame.
pub(crate) const MTU_MAX: u32 = 4096 - HEADROOM_OCTETS - 18;
/// Neighbours that wait to be asked for. More are dropped: the packets that want them ask again.
pub(crate) const RESOLUTIONS_WAITING_MAX: usize = 256;
/// Rules of ours in one network card, and no more than half of its table: each costs the driver a conversation with its
/// firmware, and thousands of SAs spread well enough without.
pub(crate) const FLOW_RULES_MAX: u32 = 1024;
