//! A whole gateway on memory ports (`dataplane/engine`).

#[path = "../../../dataplane/engine/tests/lab/mod.rs"]
mod lab;

/// The first octet says by which way the rest reaches it.
pub fn packet(octets: &[u8]) {
    lab::exercise::gateway(octets);
}
