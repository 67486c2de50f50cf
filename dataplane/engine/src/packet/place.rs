//! Where ESP of transport mode stands in a packet (RFC 4303 §3.1.1, §3.1.2).

use super::ipv6::{self, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};
use crate::limits::EXTENSIONS_MAX;

/// Where the protocol field of IPv4 stands.
const IPV4_PROTOCOL: usize = 9;
/// Where the next header field of IPv6 stands.
const IPV6_NEXT_HEADER: usize = 6;

/// Where a header begins, and where the field is that says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first octet.
    pub at: usize,
    /// The octet in front of it that names it.
    pub field: usize,
}

impl Place {
    /// Where ESP goes into a checked packet: behind what routers on the way read (options; hop-by-hop, routing and fragment
    /// headers and what stands in front of them), and in front of everything else, destination options included.
    /// `None` when a routing header has still a way to go: the destination that the SA is made for is not yet in its place.
    #[must_use]
    pub fn for_esp(packet: &[u8]) -> Option<Self> {
        let mut here = Self::first(packet)?;
        let mut place = here;
        for _ in 0..=EXTENSIONS_MAX {
            let Some((number, next)) = here.next(packet) else { break };
            if number == ROUTING && packet.get(here.at + 3) != Some(&0) {
                return None;
            }
            if number != DESTINATION {
                place = next;
            }
            here = next;
        }
        Some(place)
    }

    /// The header that begins at this octet of a checked packet; `None` when none does.
    #[must_use]
    pub fn of(packet: &[u8], at: usize) -> Option<Self> {
        let mut here = Self::first(packet)?;
        for _ in 0..=EXTENSIONS_MAX {
            if here.at >= at {
                break;
            }
            here = here.next(packet)?.1;
        }
        (here.at == at).then_some(here)
    }

    fn first(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        Some(match first >> 4 {
            4 => Self { at: usize::from(first & 0x0F) * 4, field: IPV4_PROTOCOL },
            _ => Self { at: ipv6::HEADER_OCTETS, field: IPV6_NEXT_HEADER },
        })
    }

    /// What stands here and what follows; `None` when it is no extension header of IPv6.
    fn next(self, packet: &[u8]) -> Option<(u8, Self)> {
        let number = *packet.get(self.field).filter(|_| packet[0] >> 4 == 6)?;
        let octets = match number {
            HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(*packet.get(self.at + 1)?) + 1) * 8,
            FRAGMENT => 8,
            _ => return None,
        };
        Some((number, Self { at: self.at + octets, field: self.at }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IPv6 packet of these extension headers, eight octets each, and TCP.
    fn chain(headers: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60; 40];
        let mut numbers = headers.to_vec();
        numbers.push(6);
        packet[6] = numbers[0];
        for next in &numbers[1..] {
            packet.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
        }
        packet.extend([0xAA; 20]);
        packet
    }

    #[test] // RFC 4303 §3.1.2
    fn esp_stands_behind_what_routers_read_and_before_the_rest() {
        for (headers, before) in [
            (&[][..], 0),
            (&[HOP_BY_HOP], 1),
            (&[DESTINATION], 0),
            (&[HOP_BY_HOP, DESTINATION], 1),
            (&[HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION], 3),
            (&[HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION], 3),
        ] {
            let packet = chain(headers);
            let place = Place::for_esp(&packet).unwrap();
            let field = if before == 0 { 6 } else { 32 + 8 * before };
            assert_eq!(place, Place { at: 40 + 8 * before, field }, "{headers:?}");
            assert_eq!(Place::of(&packet, place.at), Some(place));
            assert_eq!(Place::of(&packet, place.at + 1), None);
        }
    }

    #[test] // RFC 4303 §3.1.2
    fn with_a_way_still_to_go_there_is_no_place() {
        let mut packet = chain(&[ROUTING]);
        packet[43] = 1;
        assert_eq!(Place::for_esp(&packet), None);
    }

    #[test]
    fn options_of_ipv4_stay_in_front() {
        let mut packet = vec![0; 40];
        packet[0] = 0x47;
        assert_eq!(Place::for_esp(&packet), Some(Place { at: 28, field: 9 }));
    }

    proptest! {
        #[test] // F-36
        fn no_bytes_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..120), at in 0usize..200) {
            let _ = (Place::for_esp(&octets), Place::of(&octets, at));
        }
    }
}
