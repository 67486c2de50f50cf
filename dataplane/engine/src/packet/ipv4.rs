//! IPv4 (RFC 791), with options and fragments.

use super::checksum::{Sum, update};
use super::{Malformed, read_u16, write_u16};
use std::net::Ipv4Addr;

/// Octets of a header without options.
pub const HEADER_OCTETS: usize = 20;
/// Octets of the longest header.
pub const HEADER_OCTETS_MAX: usize = 60;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// Where the fragment offset stands in the word of the flags.
pub(super) const OFFSET: u16 = 0x1FFF;

/// A packet whose lengths and header checksum are right.
pub struct Ipv4<'a>(&'a [u8]);

impl<'a> Ipv4<'a> {
    /// The one way in for bytes from the network; afterwards no getter can panic. What lies beyond the total length
    /// (Ethernet padding, TFC padding) is not part of the packet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        if octets.len() < HEADER_OCTETS {
            return Err(Malformed::Length);
        }
        if octets[0] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let header = usize::from(octets[0] & 0x0F) * 4;
        let total = usize::from(read_u16(octets, 2));
        if header < HEADER_OCTETS || total < header || total > octets.len() {
            return Err(Malformed::Length);
        }
        if Sum::default().octets(&octets[..header]).finish() != 0 {
            return Err(Malformed::Checksum);
        }
        Ok(Self(&octets[..total]))
    }

    /// Octets of the header.
    #[must_use]
    pub fn header_octets(&self) -> usize {
        usize::from(self.0[0] & 0x0F) * 4
    }

    /// Octets of the packet.
    #[must_use]
    pub fn total_octets(&self) -> usize {
        self.0.len()
    }

    /// DSCP and ECN.
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        self.0[1]
    }

    /// Whether nobody on the way may fragment it.
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        read_u16(self.0, 6) & DONT_FRAGMENT != 0
    }

    /// Whether more fragments of it follow.
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        read_u16(self.0, 6) & MORE_FRAGMENTS != 0
    }

    /// Octets of the original packet's payload in front of this fragment's.
    #[must_use]
    pub fn fragment_offset(&self) -> usize {
        usize::from(read_u16(self.0, 6) & OFFSET) * 8
    }

    /// Time to live.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.0[8]
    }

    /// Protocol of the payload.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[12], self.0[13], self.0[14], self.0[15])
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[16], self.0[17], self.0[18], self.0[19])
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.0[self.header_octets()..]
    }
}

/// What a header of ours says.
pub struct Header {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Octets of header and payload.
    pub total_octets: usize,
    /// Identification, for reassembly.
    pub id: u16,
    /// Nobody may fragment it.
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
}

/// Writes a header without options, checksum included.
pub fn emit(octets: &mut [u8], header: &Header) {
    octets[0] = 0x45;
    octets[1] = header.traffic_class;
    write_u16(octets, 2, header.total_octets as u16);
    write_u16(octets, 4, header.id);
    write_u16(octets, 6, if header.dont_fragment { DONT_FRAGMENT } else { 0 });
    octets[8] = header.ttl;
    octets[9] = header.protocol;
    octets[12..16].copy_from_slice(&header.source.octets());
    octets[16..20].copy_from_slice(&header.destination.octets());
    refresh_checksum(&mut octets[..HEADER_OCTETS]);
}

/// Writes the checksum of a whole header.
pub fn refresh_checksum(header: &mut [u8]) {
    write_u16(header, 10, 0);
    let sum = Sum::default().octets(header).finish();
    write_u16(header, 10, sum);
}

/// Takes one off the time to live of a checked packet.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk_mut::<HEADER_OCTETS>() else { return };
    let taken = u8::from(header[8] > 0);
    header[8] -= taken;
    // RFC 1624 eqn. 3 for a word that is less by so much: of two words one carry comes, and no more.
    let sum = u32::from(!u16::from_be_bytes([header[10], header[11]])) + 0xFFFF - (u32::from(taken) << 8);
    let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
    [header[10], header[11]] = sum.to_be_bytes();
}

/// Replaces the ECN field of a checked packet.
pub fn set_ecn(packet: &mut [u8], ecn: u8) {
    let old = read_u16(packet, 0);
    packet[1] = (packet[1] & !3) | (ecn & 3);
    let sum = update(read_u16(packet, 10), old, read_u16(packet, 0));
    write_u16(packet, 10, sum);
}

/// Makes a header that of a fragment: its length, its place and whether more follow; checksum included.
pub fn set_fragment(packet: &mut [u8], total_octets: usize, offset_octets: usize, more: bool) {
    write_u16(packet, 2, total_octets as u16);
    let more = if more { MORE_FRAGMENTS } else { 0 };
    write_u16(packet, 6, more | (offset_octets / 8) as u16 & OFFSET);
    let header = usize::from(packet[0] & 0x0F) * 4;
    refresh_checksum(&mut packet[..header]);
}

/// The header of the second and later fragments: only options that ask to be copied (RFC 791 §3.1), padded to whole
/// words. Returns how many octets of `out` it is.
pub fn later_fragment_header(header: &[u8], out: &mut [u8; HEADER_OCTETS_MAX]) -> usize {
    out[..HEADER_OCTETS].copy_from_slice(&header[..HEADER_OCTETS]);
    let mut octets = HEADER_OCTETS;
    let mut options = &header[HEADER_OCTETS..];
    while let [kind, rest @ ..] = options {
        let length = match kind {
            0 => break,
            1 => 1,
            _ => usize::from(rest.first().copied().unwrap_or(0)),
        };
        let Some(option) = options.get(..length).filter(|option| !option.is_empty()) else { break };
        if kind & 0x80 != 0 {
            out[octets..octets + length].copy_from_slice(option);
            octets += length;
        }
        options = &options[length..];
    }
    let padded = octets.next_multiple_of(4);
    out[octets..padded].fill(0);
    out[0] = 0x40 | (padded / 4) as u8;
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        let mut packet = vec![0; 28];
        emit(
            &mut packet,
            &Header {
                traffic_class: 0xB8,
                total_octets: 28,
                id: 7,
                dont_fragment: true,
                ttl: 64,
                protocol: 17,
                source: Ipv4Addr::new(10, 1, 0, 1),
                destination: Ipv4Addr::new(10, 2, 0, 1),
            },
        );
        packet
    }

    #[test]
    fn what_is_written_is_read() {
        let octets = packet();
        let view = Ipv4::new_checked(&octets).unwrap();
        assert_eq!((view.traffic_class(), view.ttl(), view.protocol()), (0xB8, 64, 17));
        assert!(view.dont_fragment() && !view.more_fragments());
        assert_eq!(view.source(), Ipv4Addr::new(10, 1, 0, 1));
        assert_eq!(view.payload().len(), 8);
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        let good = packet();
        for cut in 0..good.len() {
            assert!(Ipv4::new_checked(&good[..cut]).is_err(), "{cut}");
        }
        for (at, value, wrong) in [
            (0, 0x44, Malformed::Length),
            (0, 0x65, Malformed::Version),
            (3, 19, Malformed::Length),
            (8, 63, Malformed::Checksum),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Ipv4::new_checked(&bad).err(), Some(wrong));
        }
    }

    #[test]
    fn changes_in_place_keep_the_checksum_right() {
        let mut octets = packet();
        decrement_ttl(&mut octets);
        set_ecn(&mut octets, 3);
        let view = Ipv4::new_checked(&octets).unwrap();
        assert_eq!((view.ttl(), view.traffic_class()), (63, 0xBB));
    }

    #[test]
    fn later_fragments_carry_only_options_that_ask_for_it() {
        let mut header = packet();
        header[0] = 0x48;
        // No-operation, router alert (copied), record route (not copied), end.
        header[20..28].copy_from_slice(&[1, 0x94, 4, 0, 0, 7, 2, 0]);
        header.extend([0; 4]);
        let mut out = [0; HEADER_OCTETS_MAX];
        assert_eq!(later_fragment_header(&header[..32], &mut out), 24);
        assert_eq!(&out[20..24], [0x94, 4, 0, 0]);
        // An option that lies about its length ends the copying.
        header[20..22].copy_from_slice(&[0x94, 200]);
        assert_eq!(later_fragment_header(&header[..32], &mut out), 20);
    }
}
