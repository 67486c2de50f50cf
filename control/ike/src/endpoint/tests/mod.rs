//! Conversations between two endpoints on one virtual clock, over a network that does what a test says.

mod closing;
mod config;
mod harness;
mod hostile;
mod lifetimes;
mod main_mode;
mod network;
mod quick_mode;
mod xauth;

pub(crate) use harness::peer_configs;
pub(super) use harness::{Fate, Pair, rule, secs};
