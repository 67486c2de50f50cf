//! Fuzzes capture files.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::port::capture(octets));
