//! What several tests of this crate share: captures, transcripts, and the properties every message must have.

// Every test binary compiles all of this and uses its own part.
#![allow(dead_code)]
// Here too a failed `unwrap` is a failed test, although no function is marked as one.
#![allow(clippy::unwrap_used)]

pub(crate) mod exercise;
pub(crate) mod golden;
pub(crate) mod pcap;
