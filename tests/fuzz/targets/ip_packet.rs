//! Fuzzes an IP packet.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::engine::packet(octets));
