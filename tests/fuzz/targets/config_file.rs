//! Fuzzes the text of a configuration file.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::config::file(octets));
