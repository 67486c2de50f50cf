//! A traffic generator and sink: over `AF_XDP` sockets, and over ports in memory for tests and benchmarks.
//!
//! ```text
//!   address, flow, size ──> Workload ─┐                                            ┌─> account (loss, duplicates, order)
//!                                     ├─> Generator ──> port ~~~ device ~~~ port ──> Sink
//!   capture file ─────────> Replay ───┘      │                                     └─> histogram of latencies
//!                                          Pacer
//! ```
//!
//! Each packet is stamped ([`Stamp`]): run, number in its flow, time. So the sink knows of each what became of it. [`run()`] is one
//! run of both, [`Search`] the search of RFC 2544 over many runs, [`memory_load`] a load for a worker that somebody measures.

mod account;
mod address;
mod checksum;
mod clock;
mod flow;
mod generator;
mod headers;
pub mod limits;
mod load;
pub mod next_hop;
pub mod numbers;
mod rate;
mod replay;
pub mod report;
mod run;
mod search;
mod sink;
mod size;
mod stamp;
mod station;
mod workload;

pub use account::{Arrival, FlowAccount};
pub use address::{AddressSet, PortRange};
pub use clock::monotonic_ns;
pub use flow::{Endpoints, FlowError, Tuple};
pub use generator::{Generator, Sent, Source};
pub use headers::{Ethernet, frame_octets_min};
pub use load::{
    LoadEntry, LoadExit, LoadWatch, Loaded, Number, Write, esp_number, memory_load, stamp_number, stamped,
};
pub use rate::{Pacer, Rate};
pub use replay::{Replay, ReplayError, Skipped, Timing};
pub use run::{Ports, Ran, RunConfig, catch, run};
pub use search::{Ending, Outcome, Search, SearchConfig, Trial};
pub use sink::{Caught, Counts, Expect, Sink};
pub use size::Sizes;
pub use stamp::{STAMP_OCTETS, Stamp};
pub use station::{Opening, Station, StationError};
pub use workload::{Workload, WorkloadConfig, WorkloadError, octets_in_memory};
