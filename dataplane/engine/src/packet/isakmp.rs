//! ISAKMP headers (RFC 2408 §3.1), as far as discovery needs them: which kind of message is this?

use super::Malformed;

/// Octets of the header.
pub const HEADER_OCTETS: usize = 28;
/// UDP port of IKE, and of discovery (REQUIREMENTS TED-14).
pub const PORT: u16 = 500;
/// Exchange type of a probe (REQUIREMENTS TED-8). In version 2 it is ME_CONNECT (TED-62).
pub const PROBE: u8 = 240;
/// Exchange type of a response to one (REQUIREMENTS TED-32).
pub const RESPONSE: u8 = 241;

const ENCRYPTED: u8 = 1;

/// A message with a whole header. Of what follows nothing is known.
pub struct Isakmp<'a>(&'a [u8]);

impl<'a> Isakmp<'a> {
    /// The one way in for bytes from the network; afterwards no getter can panic.
    ///
    /// # Errors
    /// Shorter than a header.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        if octets.len() < HEADER_OCTETS { Err(Malformed::Length) } else { Ok(Self(octets)) }
    }

    /// Major version.
    #[must_use]
    pub fn major_version(&self) -> u8 {
        self.0[17] >> 4
    }

    /// Exchange type.
    #[must_use]
    pub fn exchange(&self) -> u8 {
        self.0[18]
    }

    /// Whether the payloads are encrypted; discovery never does that (REQUIREMENTS TED-11).
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0[19] & ENCRYPTED != 0
    }

    /// Whether its exchange type is one that discovery uses, in whatever version.
    #[must_use]
    pub fn is_of_discovery(&self) -> bool {
        matches!(self.exchange(), PROBE | RESPONSE)
    }

    /// Whether it is a probe or a response to one.
    #[must_use]
    pub fn is_discovery_message(&self) -> bool {
        self.is_of_discovery() && self.major_version() == 1 && !self.is_encrypted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, exchange: u8, flags: u8) -> [u8; HEADER_OCTETS] {
        let mut octets = [0; HEADER_OCTETS];
        (octets[17], octets[18], octets[19]) = (version, exchange, flags);
        octets
    }

    #[test] // TED-8, TED-11, TED-32, TED-62
    fn version_exchange_and_flag_together_make_a_discovery_message() {
        for (version, exchange, flags, is_one) in [
            (0x10, 240, 0, true),
            (0x13, 241, 0, true),
            (0x10, 240, 6, true),
            (0x10, 240, 1, false),
            (0x20, 240, 0, false),
            (0x20, 241, 8, false),
            (0x00, 240, 0, false),
            (0x10, 2, 0, false),
            (0x10, 239, 0, false),
            (0x10, 242, 0, false),
        ] {
            let octets = header(version, exchange, flags);
            let message = Isakmp::new_checked(&octets).unwrap();
            assert_eq!(message.is_discovery_message(), is_one, "{version:#x} {exchange} {flags}");
        }
    }

    #[test]
    fn a_header_that_is_cut_short_is_none() {
        let octets = header(0x10, 240, 0);
        assert!(Isakmp::new_checked(&octets[..27]).is_err());
        assert!(Isakmp::new_checked(&[]).is_err());
    }
}
