//! Foreign peers.
