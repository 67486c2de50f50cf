//! Fuzzes a line from the control socket, as dpctl reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::api::response(octets));
