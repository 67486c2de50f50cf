//! UDP (RFC 768), as far as encapsulated ESP and discovery need it.

use super::{Malformed, read_u16, write_u16};

/// Octets of the header.
pub const HEADER_OCTETS: usize = 8;

/// A datagram whose length is right.
pub struct Udp<'a>(&'a [u8]);

impl<'a> Udp<'a> {
    /// The one way in for bytes from the network; afterwards no getter can panic.
    ///
    /// # Errors
    /// A length field that contradicts the packet.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        if octets.len() < HEADER_OCTETS {
            return Err(Malformed::Length);
        }
        let length = usize::from(read_u16(octets, 4));
        if length < HEADER_OCTETS {
            return Err(Malformed::Length);
        }
        octets.get(..length).map(Self).ok_or(Malformed::Length)
    }

    /// Source port.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        read_u16(self.0, 0)
    }

    /// Destination port.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        read_u16(self.0, 2)
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.0[HEADER_OCTETS..]
    }
}

/// Writes a header without checksum.
pub fn emit(header: &mut [u8], source_port: u16, destination_port: u16, datagram_octets: usize) {
    write_u16(header, 0, source_port);
    write_u16(header, 2, destination_port);
    write_u16(header, 4, datagram_octets as u16);
    write_u16(header, 6, 0);
}
