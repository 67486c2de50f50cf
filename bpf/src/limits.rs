//! Every maximum of this crate, with its reason. `steer.bpf.c` has the same numbers.

/// Queues of one interface that can be served; more than any of the boxes we aim at has cores.
pub const QUEUES_MAX: u32 = 256;

/// Local addresses of one family that the program knows. They are hash maps made at load time, so that a mistake
/// elsewhere cannot fill the kernel's memory.
pub const LOCAL_ADDRESSES_MAX: usize = 4096;

/// Extension headers that are walked in front of ESP or UDP in a packet to us. Nobody sends more than one or two, and
/// the verifier wants a bound.
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Where the walk over extension headers ends, so that offsets stay small numbers for the verifier.
pub const EXTENSION_OFFSET_MAX: usize = 2048;
