//! Fuzzes data attributes.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::attributes(octets));
