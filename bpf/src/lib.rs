//! The XDP steering program and its loader.
//!
//! `steer.bpf.c` decides per packet whether the engine or the kernel gets it, and says why. Its compiled object is
//! committed beside it, so that nobody needs clang to build Warren; a test compiles it again and compares the octets.
//! [`model`] is the same decision in Rust, for the simulator and as the judge of the program.

mod generator;
pub mod limits;
mod locality;
pub mod model;
mod program;
mod steering;

pub use generator::Generator;
pub use locality::Locality;
pub use model::Decision;
pub use program::{Counters, Program, SteeringError};
pub use steering::{Attach, Steering};
pub use warren_port::XdpAttach;
