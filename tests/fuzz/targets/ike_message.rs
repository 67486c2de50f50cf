//! Fuzzes a datagram with an ISAKMP message.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::message(octets));
