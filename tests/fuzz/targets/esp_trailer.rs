//! Fuzzes a decrypted ESP text.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::engine::esp_trailer(octets));
