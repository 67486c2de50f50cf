//! Every maximum of this crate, with its reason.

//
// A time here ends what would never end; it is no figure that anything must reach. On a machine that has other things to
// do everything takes many times as long, and then it takes that long.

use std::time::Duration;

/// Octets of one captured frame that are looked at: every header a leak could show in, a whole demo ping, and a whole probe,
/// which over IPv6 has somewhat more than 400.
pub const CAPTURE_FRAME_OCTETS: usize = 512;
/// Receive buffer of the listener: half a second of small frames at the rate two veth pairs can carry.
pub const CAPTURE_BUFFER_OCTETS: usize = 256 << 20;
/// How often the listener tells its counts: often enough that a pause of a second can be looked at.
pub const CAPTURE_TELLS: Duration = Duration::from_millis(200);
/// Frames read before the listener looks at its own standard input again.
pub const CAPTURE_BATCH: usize = 1024;
/// Lines of a failed step's output that are shown; the whole of it is in the step's log file.
pub const TAIL_LINES: usize = 60;
/// How long a gateway may take until it answers on its control socket.
pub const READY: Duration = Duration::from_secs(60);
/// Resident memory of an idle gateway with two ports (the figure that the demo holds Warren to).
pub const IDLE_RESIDENT_KIB: u64 = 256 * 1024;
/// How long traffic may find no tunnel before the demo gives up.
pub const TUNNEL_UP: Duration = Duration::from_secs(60);
/// How long one step of a foreign peer may take: a guest boots in seconds, on a machine that has nothing else to do.
pub const SCRIPT: Duration = Duration::from_secs(180);
/// How much longer than it was told to a transfer may take before it is ended: a dead tunnel must not hang a test.
pub const TRANSFER_SPARE: Duration = Duration::from_secs(60);
/// How long a process may take to end after it was asked to, before it is killed.
pub const GRACE: Duration = Duration::from_secs(20);
/// Pause before a transfer that did not begin is tried again.
pub const TRANSFER_PAUSE: Duration = Duration::from_millis(500);
/// How long a transfer of a given volume may take: some megabytes, and the slowest peer decrypts one in a second.
pub const VOLUME: Duration = Duration::from_secs(180);
/// How long the last pings of a run may be without an answer before they count as lost.
pub const LAST_ANSWER: Duration = Duration::from_secs(10);
/// Batches that the listener reads after it was told to end: what a full receive buffer holds.
pub const CAPTURE_LAST_BATCHES: usize = 1024;
/// Failures of one step that the last lines of a run name: several steps' must fit on one screen.
pub const REASONS_SHOWN: usize = 8;
/// Characters of one such reason: two lines of a terminal, or of what is passed on about a run.
pub const REASON_CHARACTERS: usize = 160;
/// Discovery messages that the listener keeps for whoever wants to look at them: a scene has some dozens.
pub const MESSAGES_KEPT: usize = 64;
/// Pairs of addresses, for each kind of frame and wire, that the listener tells apart: a row of gateways has some dozens.
pub const FLOWS_KEPT: usize = 256;
/// How long it takes until the listener has told of a frame, with what a busy machine adds.
pub const LISTENER_TELLS: Duration = Duration::from_millis(400);
/// The most that setting up a stack may take, as a multiple of what its negotiations take alone.
pub const STACK_SETUP_RATIO: f64 = 1.5;
/// Pause between two looks at a gateway whose tunnels are about to change.
pub const LOOK: Duration = Duration::from_millis(20);
