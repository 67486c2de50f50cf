//! The Warren gateway daemon.

fn main() {}
