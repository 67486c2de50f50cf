//! Fuzzes the bodies of Notify and Delete payloads.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::notify_delete(octets));
