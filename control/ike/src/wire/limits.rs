//! Every maximum of the codec, with its reason. What exceeds one is refused as [`Malformed`](super::Malformed).

/// Payloads in one message. Real first messages carry up to about twenty, most of them Vendor IDs; the bound
/// keeps a datagram of empty payloads from costing 16,000 steps.
pub const PAYLOADS_MAX: usize = 64;
/// Proposals in one SA payload: their number is one octet.
pub const PROPOSALS_MAX: usize = 255;
/// Transforms in all proposals of one SA payload. Peers that list every combination of their algorithms send
/// some two hundred; comparing each with each of ours must stay cheap.
pub const TRANSFORMS_MAX: usize = 1024;
/// Attributes in one transform or notification. The registries hold fewer than twenty classes.
pub const ATTRIBUTES_MAX: usize = 32;
/// Identification payloads in one message: both proxy identities of quick mode.
pub const IDENTIFICATIONS_MAX: usize = 2;
/// Shortest and longest nonce (RFC 2409 §5).
pub const NONCE_OCTETS_MIN: usize = 8;
/// See [`NONCE_OCTETS_MIN`].
pub const NONCE_OCTETS_MAX: usize = 256;
/// Octets of one payload with its generic header: the length field has 16 bits.
pub const PAYLOAD_OCTETS_MAX: usize = 65_535;
