//! Fuzzes a gateway that asks for other gateways and answers them: caught packets, messages, and time.

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| warren_fuzz::ike::ted_dialogue(octets));
