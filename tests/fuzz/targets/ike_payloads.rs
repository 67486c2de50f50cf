//! Fuzzes a chain of payloads, as it is after decryption.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::payloads(octets));
