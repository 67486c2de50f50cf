//! Ethernet II frames, untagged.

use super::{Malformed, read_u16};
use warren_seam::MacAddress;

/// Octets of the header.
pub const HEADER_OCTETS: usize = 14;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86DD;

/// A frame.
pub struct Ethernet<'a>(&'a [u8]);

impl<'a> Ethernet<'a> {
    /// The one way in for bytes from the network; afterwards no getter can panic.
    ///
    /// # Errors
    /// Fewer octets than the header has.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        if octets.len() < HEADER_OCTETS { Err(Malformed::Length) } else { Ok(Self(octets)) }
    }

    /// For whom.
    #[must_use]
    pub fn destination(&self) -> MacAddress {
        MacAddress([self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// Whether for a group, everybody included.
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.0[0] & 1 == 1
    }

    /// What it carries.
    #[must_use]
    pub fn ether_type(&self) -> u16 {
        read_u16(self.0, 12)
    }
}

/// Writes a header.
pub fn emit(header: &mut [u8], destination: MacAddress, source: MacAddress, ether_type: u16) {
    header[..6].copy_from_slice(&destination.0);
    header[6..12].copy_from_slice(&source.0);
    header[12..HEADER_OCTETS].copy_from_slice(&ether_type.to_be_bytes());
}
