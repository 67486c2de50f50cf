//! Fuzzes a whole gateway: frames from either side, packets from its own kernel, and what a peer with the right key
//! seals.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::gateway::packet(octets));
