//! Fuzzes the configuration messages of the transaction exchange.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::config(octets));
