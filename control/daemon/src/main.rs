//! The Warren gateway daemon.

#[cfg_attr(not(test), allow(dead_code, reason = "the daemon's loop drives it"))]
mod kernel;

fn main() {}
