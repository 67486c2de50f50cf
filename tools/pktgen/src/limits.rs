//! Every maximum of this crate, with its reason.

use std::time::Duration;

/// Frames of one turn: what a transmit ring takes at once without the first of them waiting long for the last.
pub const BATCH_MAX: usize = 64;

/// Smallest Ethernet frame, check sequence included (IEEE 802.3).
pub const FRAME_OCTETS_MIN: u16 = 64;

/// Largest frame, check sequence included: one without a tag. Larger ones need frames of several chunks.
pub const FRAME_OCTETS_MAX: u16 = 1518;

/// Frames of one cycle of sizes: a pattern that is longer is a mistake in a weight.
pub const PATTERN_FRAMES_MAX: usize = 4096;

/// Flows of one run: 2^20 of them are 64 MiB here and as much in the sink, and more than any table under test holds.
pub const FLOWS_MAX: u32 = 1 << 20;

/// Flows that a sink keeps accounts for; packets of others are counted together. Twice what one generator sends.
pub const FLOWS_COUNTED_MAX: usize = 2 * FLOWS_MAX as usize;

/// Addresses of one set that flows are made of. More than `FLOWS_MAX` can never be used; a prefix of IPv6 has 2^64.
pub const ADDRESSES_MAX: u128 = 1 << 32;

/// Blocks of addresses in one set: what fits on a command line.
pub const ADDRESS_BLOCKS_MAX: usize = 1024;

/// Holes in the sequence of one flow that are remembered. Devices reorder over tens of packets; a hole that is 128 holes
/// old is a loss, and remembering all of them would let a device that loses half fill our memory.
pub const HOLES_MAX: usize = 128;

/// Longest latency that is told apart, in ns; what is longer is recorded as this. A minute is longer than any queue.
pub const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Significant decimal digits of recorded latencies: the error is below a thousandth.
pub const LATENCY_DIGITS: u8 = 3;

/// Packets and bits per second that can be asked for: 800 Gbit/s, and its rate of smallest frames rounded up.
pub const BITS_PER_SECOND_MAX: u64 = 800_000_000_000;
/// See [`BITS_PER_SECOND_MAX`].
pub const PACKETS_PER_SECOND_MAX: u64 = 2_000_000_000;

/// Longest run or trial: a day.
pub const RUN_MAX: Duration = Duration::from_secs(86_400);

/// Trials of one search. A search that halves an interval this often is below a packet per second.
pub const TRIALS_MAX: u32 = 64;

/// Octets of one capture that is replayed, which is held in memory: a quarter of a small machine's.
pub const CAPTURE_OCTETS_MAX: u64 = 1 << 30;

/// How often a capture is replayed.
pub const LOOPS_MAX: u32 = 1_000_000_000;

/// How long the kernel may take to learn a next hop's address, and how often it is looked for meanwhile: it sends three
/// requests, a second apart.
pub const NEIGHBOUR_WAIT: Duration = Duration::from_millis(3500);
/// See [`NEIGHBOUR_WAIT`].
pub const NEIGHBOUR_LOOK: Duration = Duration::from_millis(50);

/// How long a port may take to send what it has taken, once the last frame was given to it.
pub const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// Share of the packets, in thousandths, that a generator may fall behind the asked rate before the rate counts as not kept.
pub const BEHIND_PERMILLE_MAX: u64 = 1;

/// How late a frame of a capture may be sent before the file's times count as not kept: what a busy core's scheduler takes.
pub const BEHIND_FILE_MAX: Duration = Duration::from_millis(5);

/// Packets of a memory load that wait for the worker at most: the ring of a NIC.
pub const LOAD_QUEUE_MAX: u64 = 4096;

/// Packets of a memory load that are under way at most, and so the times that are remembered; more than a NIC's ring and
/// every queue of the engine hold.
pub const LOAD_UNDER_WAY_MAX: usize = 1 << 16;
