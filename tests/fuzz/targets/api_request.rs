//! Fuzzes the lines of the control protocol, both ways.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::api::line(octets));
