//! Fuzzes the body of an SA payload.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::sa(octets));
