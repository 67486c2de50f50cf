//! Builds, tests and demonstrates Warren.

fn main() {}
