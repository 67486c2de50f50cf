//! Every maximum of this crate, with its reason.

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
