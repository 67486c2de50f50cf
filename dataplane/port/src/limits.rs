//! Every maximum of this crate, with its reason.

use std::time::Duration;

/// The kernel itself keeps this many octets free in front of a packet that it copies into a chunk
/// (`XDP_PACKET_HEADROOM`), so no headroom of ours can be smaller.
pub const KERNEL_HEADROOM_OCTETS: u32 = 256;

/// A chunk must hold a full Ethernet frame with one VLAN tag behind the headroom, or ordinary packets would be lost.
pub const FRAME_PAYLOAD_OCTETS_MIN: u32 = 1518;

/// 2^20 chunks of 4096 octets are 4 GiB of pinned memory, more than any number of rings of ours can hold.
pub const UMEM_FRAMES_MAX: u32 = 1 << 20;

/// A UMEM is divided among workers; nobody has more cores than this to pin them to.
pub const UMEM_PARTS_MAX: usize = 256;

/// Packets that one direction of a memory port holds. A longer queue would only hide a stage that does not keep up.
pub const MEMORY_QUEUE_PACKETS_MAX: usize = 65_536;

/// The smallest ring that an `AF_XDP` socket is opened with: the kernel sends 32 packets per system call.
pub const RING_ENTRIES_MIN: u32 = 64;

/// The largest ring. Longer ones add delay before they add throughput.
pub const RING_ENTRIES_MAX: u32 = 32_768;

/// Queues of one interface that one port serves; one worker never needs more.
pub const QUEUES_MAX: usize = 64;

/// System calls that one `transmit` makes at most. The kernel sends 32 packets per call where it cannot be told to
/// send more, so this many empty the rings that are in use, and a kernel that makes no progress cannot hold a worker.
pub const WAKEUPS_MAX: u32 = 64;

/// Registrations of one memory that are remembered for sharing: one per socket at most.
pub const REGISTRATIONS_MAX: usize = 1024;

/// Microseconds that the kernel may poll a driver in one system call, and packets that it may take then. Short and
/// few: the loop around it polls as well.
pub const BUSY_POLL_US: i32 = 20;
/// See [`BUSY_POLL_US`].
pub const BUSY_POLL_BUDGET: i32 = 64;

/// The longest record that is read from a capture: tcpdump's own largest. A damaged file must not make us reserve
/// gigabytes.
pub const CAPTURE_RECORD_OCTETS_MAX: u32 = 262_144;

/// Octets of an interface's name without its terminating zero (`IFNAMSIZ` - 1).
pub const INTERFACE_NAME_OCTETS_MAX: usize = 15;

/// How often, and how long, the opening of a socket waits for a busy queue. The kernel tears a closed socket down within
/// some milliseconds; a queue that is busy after half a second belongs to somebody else.
pub const BIND_WAITS_MAX: u32 = 50;
/// See [`BIND_WAITS_MAX`].
pub const BIND_WAIT: Duration = Duration::from_millis(10);

/// Packets that are gathered in the tx ring before the kernel is woken: from here on a larger system call is hardly
/// cheaper per packet.
pub const WAKE_FRAMES: u32 = 256;

/// Calls of `transmit` after which the kernel is woken however little was gathered, so that small batches in a busy loop
/// wait for some turns and not for 256 packets.
pub const WAKE_CALLS: u32 = 4;

/// Flow rules of a card that are read: the largest tables of drivers that list their rules have some thousands.
pub const FLOW_RULES_READ_MAX: usize = 8192;
