//! Conversations between two endpoints on one virtual clock, over a network that does what a test says.

mod harness;
mod main_mode;

pub(super) use harness::{Pair, rule, secs};
