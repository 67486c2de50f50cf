//! The engine's packet parsers and its whole path (`dataplane/engine`).

#[path = "../../../dataplane/engine/tests/lab/mod.rs"]
mod lab;

/// Any octets, as any header.
pub fn headers(octets: &[u8]) {
    lab::exercise::headers(octets);
}

/// The first octet says by which way the rest reaches a gateway.
pub fn gateway(octets: &[u8]) {
    lab::exercise::gateway(octets);
}
