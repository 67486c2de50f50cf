//! Fuzzes the views of IP, UDP, TCP, ICMP and ESP headers.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::engine::headers(octets));
