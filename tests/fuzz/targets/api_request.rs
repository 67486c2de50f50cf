//! Fuzzes a line from a client of the control socket.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::api::request(octets));
