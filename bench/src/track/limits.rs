//! Every maximum of the track, with its reason.

/// Frames that a generator takes turns with: those of a batch in preparation, of one on its way, and of one that has left.
/// Few, so that they stay in the second-level cache, as those of a driver that gives its frames out last in, first out.
pub(crate) const FRAMES: u32 = 512;
/// Packets that are sealed ahead of the clock: some batches, and 12 MiB of the largest packets at most.
pub(crate) const POOL_PACKETS: usize = 8192;
/// Pairs of subnets, and so of SAs: two octets and some bits of an address tell them apart.
pub(crate) const SAS_MAX: u32 = 100_000;
/// Levels of ESP: with the largest packets (1420 octets) all fit into what the ports take.
pub(crate) const LEVELS_MAX: u8 = 3;
/// Flows where there are fewer SAs.
pub(crate) const FLOWS_MIN: u32 = 64;
/// Largest IP packet of the ports.
pub(crate) const MTU: u16 = 1600;
/// Turns after which a packet that has not come out is lost: none waits for anything here.
pub(crate) const TURNS_TO_DRAIN: u32 = 64;
