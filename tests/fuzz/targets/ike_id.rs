//! Fuzzes the bodies of Identification and NAT-OA payloads.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::id(octets));
