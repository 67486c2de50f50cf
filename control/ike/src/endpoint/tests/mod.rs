//! Conversations between two endpoints on one virtual clock, over a network that does what a test says.

mod certificates;
mod closing;
mod config;
mod discovered;
mod fragments;
mod harness;
mod hostile;
mod liberal;
mod lifetimes;
mod main_mode;
mod modes;
mod network;
mod quick_mode;
mod strangers;
mod templates;
mod transport;
mod unwinding;
mod xauth;

pub(crate) use harness::peer_configs;
pub(super) use harness::{Fate, Pair, rule, secs};
