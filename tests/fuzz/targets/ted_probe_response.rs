//! Fuzzes a probe or a response of Tunnel Endpoint Discovery.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::probe_response(octets));
