//! Two gateways on a virtual clock.

fn main() {}
