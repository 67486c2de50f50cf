//! The packets: which flow comes when, what is in each, and whether a packet is still what it was.

use warren_engine::packet::checksum::Sum;
use warren_engine::packet::{ethernet, ipv4, protocol, udp};
use warren_port::Frame;

use super::limits::FLOWS_MIN;
use super::site::{self, INSIDE, Own};
use crate::rows::Size;

/// A stamp: the packet's own number, right behind the UDP header.
const STAMP_AT: usize = ipv4::HEADER_OCTETS + udp::HEADER_OCTETS;
const STAMP_OCTETS: usize = 8;
const TTL: u8 = 64;

/// An endless row of packets from the hosts behind one gateway to those behind the other.
pub(crate) struct Traffic {
    from: Own,
    sas: u32,
    size: Size,
    /// Flows in the order of their turns, which no cache foresees. Each has one turn in a round.
    order: Vec<u32>,
}

impl Traffic {
    /// Flows over so many SAs, each of which has as many flows as the others.
    pub(crate) fn new(from: Own, sas: u32, size: Size) -> Self {
        Self { from, sas, size, order: shuffled(FLOWS_MIN.next_multiple_of(sas)) }
    }

    /// Only the flows of SAs that are wanted.
    pub(crate) fn only(mut self, wanted: impl Fn(u32) -> bool) -> Self {
        self.order.retain(|flow| wanted(flow % self.sas));
        self
    }

    /// How many flows take turns.
    pub(crate) fn flows(&self) -> u32 {
        self.order.len() as u32
    }

    /// Writes packet `at` into an empty frame, for the gateway in front of the hosts. `false` when it does not fit.
    pub(crate) fn write(&self, at: u64, frame: &mut Frame) -> bool {
        let octets = usize::from(self.size.of_packet(at as usize));
        let Some(room) = frame.push_back(ethernet::HEADER_OCTETS + octets) else { return false };
        let (link, packet) = room.split_at_mut(ethernet::HEADER_OCTETS);
        ethernet::emit(link, site::mac(self.from, INSIDE), site::router_mac(self.from), ethernet::IPV4);
        self.fill(at, packet);
        true
    }

    /// The number of a packet, when it is one of these and still is what it was: only hops may have been counted down.
    pub(crate) fn recognise(&self, packet: &[u8]) -> Option<u64> {
        let stamp = packet.get(STAMP_AT..STAMP_AT + STAMP_OCTETS)?;
        let at = u64::from_be_bytes(stamp.try_into().ok()?);
        let mut expected = vec![0; usize::from(self.size.of_packet(at as usize))];
        self.fill(at, &mut expected);
        let is_header_right = Sum::default().octets(&packet[..ipv4::HEADER_OCTETS]).finish() == 0;
        let mut found = packet.to_vec();
        for changing in [&mut expected, &mut found] {
            // TTL and header checksum.
            (changing[8], changing[10], changing[11]) = (0, 0, 0);
        }
        (is_header_right && (1..=TTL).contains(&packet[8]) && found == expected).then_some(at)
    }

    fn fill(&self, at: u64, packet: &mut [u8]) {
        let flow = self.order[(at % self.order.len() as u64) as usize];
        let (index, port) = (flow % self.sas, 5000 + flow / self.sas);
        let header = ipv4::Header {
            traffic_class: 0,
            total_octets: packet.len(),
            id: 0,
            dont_fragment: true,
            ttl: TTL,
            protocol: protocol::UDP,
            source: site::host(self.from, index, 2),
            destination: site::host(self.from.peer(), index, 2),
        };
        ipv4::emit(packet, &header);
        let datagram_octets = packet.len() - ipv4::HEADER_OCTETS;
        udp::emit(&mut packet[ipv4::HEADER_OCTETS..], port as u16, 6000, datagram_octets);
        packet[STAMP_AT + STAMP_OCTETS..].fill(at as u8 ^ 0xa5);
        packet[STAMP_AT..STAMP_AT + STAMP_OCTETS].copy_from_slice(&at.to_be_bytes());
    }
}

/// The numbers below `count` in an order without a pattern, always the same.
fn shuffled(count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for last in (1..order.len()).rev() {
        // Xorshift: nobody has to be unable to guess it.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(last, (state % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Mix;

    fn packet(traffic: &Traffic, at: u64) -> Vec<u8> {
        let mut packet = vec![0; usize::from(traffic.size.of_packet(at as usize))];
        traffic.fill(at, &mut packet);
        packet
    }

    #[test]
    fn every_flow_has_one_turn_in_a_round_and_every_sa_as_many_as_the_others() {
        for (sas, flows) in [(1, 64), (64, 64), (100, 100), (1000, 1000)] {
            let traffic = Traffic::new(Own::First, sas, Size::Octets(64));
            assert_eq!(traffic.flows(), flows);
            let mut turns = vec![0; sas as usize];
            traffic.order.iter().for_each(|flow| turns[(flow % sas) as usize] += 1);
            assert!(turns.iter().all(|&count| count == flows / sas), "{sas}");
        }
    }

    #[test]
    fn a_packet_is_recognised_until_one_octet_of_it_is_another() {
        let traffic = Traffic::new(Own::First, 3, Size::Mix(Mix::Imix));
        for at in [0, 5, 6, 77] {
            let good = packet(&traffic, at);
            assert_eq!(traffic.recognise(&good), Some(at));
            for octet in 0..good.len() {
                let mut bad = good.clone();
                bad[octet] ^= 1;
                assert_ne!(traffic.recognise(&bad), Some(at), "octet {octet}");
            }
            assert_eq!(traffic.recognise(&good[..good.len() - 1]), None);
            assert_eq!(traffic.recognise(&good[..10]), None);
        }
    }

    #[test]
    fn a_hop_that_was_counted_down_is_no_difference() {
        let traffic = Traffic::new(Own::Second, 1, Size::Octets(40));
        let mut hopped = packet(&traffic, 9);
        ipv4::decrement_ttl(&mut hopped);
        assert_eq!(traffic.recognise(&hopped), Some(9));
    }
}
