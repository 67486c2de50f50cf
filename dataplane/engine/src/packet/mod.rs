//! Packets as bytes: one checked way in for each header, after which no getter can panic.
//!
//! Views say nothing about authenticity, and decoding never decides: the stages do.

pub mod checksum;
pub mod esp;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod isakmp;
pub mod place;
pub mod summary;
pub mod tcp;
pub mod udp;

pub use summary::{Fragment, Summary};

use crate::drop_reason::DropReason;

/// IANA protocol numbers that the engine has to know.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP: the next header of a tunnel mode packet (RFC 4303 §2.6).
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP, which begins with ports.
    pub const DCCP: u8 = 33;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// ESP.
    pub const ESP: u8 = 50;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// No next header; in ESP a dummy packet.
    pub const NONE: u8 = 59;
    /// SCTP, which begins with ports.
    pub const SCTP: u8 = 132;
    /// UDP-Lite, which begins with ports.
    pub const UDP_LITE: u8 = 136;
}

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A version that is neither 4 nor 6.
    #[error("neither IPv4 nor IPv6")]
    Version,
    /// Shorter than its headers, or lengths that contradict each other.
    #[error("a length is wrong")]
    Length,
    /// The IPv4 header checksum is wrong.
    #[error("the header checksum is wrong")]
    Checksum,
    /// More extension headers than [`EXTENSIONS_MAX`](crate::limits::EXTENSIONS_MAX).
    #[error("too many extension headers")]
    Extensions,
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Version => Self::NotIp,
            Malformed::Length => Self::Malformed,
            Malformed::Checksum => Self::HeaderChecksum,
            Malformed::Extensions => Self::ExtensionChain,
        }
    }
}

/// Two octets at a place that the caller has checked.
pub(crate) fn read_u16(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// Four octets at a place that the caller has checked.
pub(crate) fn read_u32(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

pub(crate) fn write_u16(octets: &mut [u8], at: usize, value: u16) {
    octets[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
