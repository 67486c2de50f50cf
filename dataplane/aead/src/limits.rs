//! Every maximum of this crate, with its reason.

/// Octets of one ESP packet: what the length field of IPv4 can say. No cipher here comes near a limit of its own.
pub const PACKET_OCTETS_MAX: usize = 65_535;
/// Octets of the longest ICV (HMAC-SHA2-512-256, RFC 4868 §2.6), so that one fits on the stack.
pub const ICV_OCTETS_MAX: usize = 32;
/// Octets of associated data in front of the ciphertext: SPI and a 64-bit sequence number (RFC 4106 §5).
pub const AAD_OCTETS_MAX: usize = 12;
