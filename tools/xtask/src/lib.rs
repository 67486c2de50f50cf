//! Builds, tests and demonstrates Warren.
//!
//! ```text
//! main ── setup (packages)
//!      ├─ test: steps, each a cargo command or one of these ── heard ──> summary
//!      ├─ fuzz, sim, bench, instructions (callgrind, and the table it is compared with)
//!      └─ demo, config_mode, discovery, nested ── supervise ── lab, topology ── gateway (warrend, dpctl) ── traffic, capture ──> verdict
//! ```
//!
//! The foreign-peer cases in `tests/interop` use the same lab, listener and gateways, which is why this is a library
//! as well as a program.
// A program for a terminal: what it has to say goes there.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod arguments;
pub mod capture;
pub mod chain;
mod config_mode;
pub mod demo;
mod discovery;
mod failure;
pub mod flows;
pub mod frame;
pub mod fuzz;
pub mod gateway;
mod heard;
pub mod home;
pub mod hops;
pub mod instructions;
pub mod lab;
pub mod limits;
pub mod listener;
pub mod live;
mod nested;
mod nested_files;
pub mod packages;
pub mod peer;
mod probe;
pub mod repository;
pub mod setup;
pub mod step;
pub mod summary;
pub mod supervise;
pub mod test;
pub mod topology;
pub mod traffic;
mod verdict;

pub use failure::{Context, Failure};
