//! A packet on the fast path: what one look at its headers has told.

use super::flows::{Door, FlowKey, Place};
use super::plan::Plan;
use crate::drop_reason::DropReason;
use crate::packet::{Summary, esp, ethernet, ipv4, protocol, udp};
use crate::sad::SaIndex;
use crate::slot::{Origin, Slot};
use warren_policy::RuleId;
use warren_port::{Frame, Link};
use warren_seam::{MacAddress, Side};

/// A whole IPv4 packet without options, at the front of its frame.
pub(super) struct Packet {
    pub(super) frame: Frame,
    pub(super) key: FlowKey,
    /// Its sequence number in the SA at work on it.
    pub(super) sequence: u64,
    pub(super) plan: Plan,
    /// Where its flow is kept.
    pub(super) place: Place,
    /// The rule of the SA that it has just come out of.
    pub(super) rule: RuleId,
    /// The SA at work on it, or the last that was.
    pub(super) sa: SaIndex,
    /// The number of the inbound SA that it came out of, among all that ever were; 0 for none.
    pub(super) came_by: u32,
    pub(super) head: Head,
    /// The port that it leaves by.
    pub(super) berth: u16,
    /// Its place in the batch.
    pub(super) at: u16,
    /// Where ESP begins.
    pub(super) esp_at: u8,
    /// Levels of ESP taken off so far.
    pub(super) depth: u8,
    /// Levels of ESP put on so far.
    pub(super) level: u8,
    /// Levels that there will be.
    pub(super) levels: u8,
    /// The header that was put on last is one of IPv6.
    pub(super) is_ipv6: bool,
    /// What the SAD says of it, if it may be ESP to us.
    pub(super) found: Found,
    /// Why it goes no further.
    pub(super) failure: Option<DropReason>,
}

/// Octets between the beginning of ESP and its text: header, and the IV of every AEAD of RFC 4106 and RFC 7634.
pub(super) const TEXT_AT: usize = esp::HEADER_OCTETS + 8;
/// Octets of their ICV.
pub(super) const ICV_OCTETS: usize = 16;

/// What the SAD says of ESP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// To be opened.
    Ours,
    /// No SA of ours: a flow like others.
    Transit,
    /// The stages know why not.
    Doubtful,
}

/// What stands in an IPv4 header besides the flow.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// Octets of the packet.
    pub(super) octets: u16,
    pub(super) traffic_class: u8,
    pub(super) ttl: u8,
    pub(super) dont_fragment: bool,
    /// It opens a TCP connection: the largest segment is to be looked at.
    pub(super) is_syn: bool,
}

const TYPE_IPV4: [u8; 2] = ethernet::IPV4.to_be_bytes();
const DONT_FRAGMENT: u8 = 0x40;
/// More fragments, and the upper part of the offset.
const FRAGMENT: u8 = 0x3f;
const SYN: u8 = 0x02;
/// Where the flags of TCP stand behind an IPv4 header without options.
const TCP_FLAGS_AT: usize = ipv4::HEADER_OCTETS + 13;

impl Packet {
    /// A packet that has just been read, at this place in its batch.
    #[inline]
    pub(super) fn new(frame: Frame, at: u16, key: FlowKey, head: Head, place: Place) -> Self {
        Self {
            frame,
            key,
            sequence: 0,
            plan: Plan::Slow,
            place,
            rule: RuleId(0),
            sa: 0,
            came_by: 0,
            head,
            berth: 0,
            at,
            esp_at: 0,
            depth: 0,
            level: 0,
            levels: 0,
            is_ipv6: false,
            found: Found::Transit,
            failure: None,
        }
    }

    /// Where it came from, in a batch that did from there.
    #[inline]
    pub(super) const fn origin(&self, batch: Origin) -> Origin {
        match (batch.port(), self.depth) {
            (Some(port), 1..) => Origin::Sa(port),
            _ => batch,
        }
    }

    /// Where its ESP header begins if it is one, and SPI and sequence number there. In UDP, what begins with zeros is IKE
    /// (RFC 3948 §2.2).
    #[inline]
    pub(super) fn esp_header(&self) -> Option<(usize, u32, u32)> {
        let at = match self.key.protocol() {
            protocol::ESP => ipv4::HEADER_OCTETS,
            _ => ipv4::HEADER_OCTETS + udp::HEADER_OCTETS,
        };
        let packet = self.frame.bytes();
        let header = packet.get(at..)?.first_chunk::<{ esp::HEADER_OCTETS }>()?;
        let header = u64::from_be_bytes(*header);
        let (spi, low) = ((header >> 32) as u32, header as u32);
        if self.key.protocol() == protocol::UDP {
            // Octets behind the datagram would be taken for the ICV.
            let datagram =
                u16::from_be_bytes([packet[ipv4::HEADER_OCTETS + 4], packet[ipv4::HEADER_OCTETS + 5]]);
            if usize::from(datagram) + ipv4::HEADER_OCTETS != packet.len() || spi == 0 {
                return None;
            }
        }
        Some((at, spi, low))
    }

    /// The same packet for the stages.
    pub(super) fn into_slot(self, batch: Origin) -> Result<Slot, (Frame, DropReason)> {
        let origin = self.origin(batch);
        match Summary::of(self.frame.bytes()) {
            Ok(summary) => {
                let mut slot = Slot::new(self.frame, summary, origin);
                (slot.depth, slot.rule, slot.sa) = (self.depth, self.rule, self.sa);
                (slot.sequence, slot.esp_at) = (self.sequence, self.esp_at.into());
                Ok(slot)
            }
            Err(malformed) => Err((self.frame, malformed.into())),
        }
    }
}

/// Octets of the link header.
pub(super) const fn link_octets(link: Link) -> usize {
    match link {
        Link::Ethernet => ethernet::HEADER_OCTETS,
        Link::Ip => 0,
    }
}

/// What stands behind the link header of a frame to that address; `None` for anything but IPv4.
#[inline]
pub(super) fn behind_link(octets: &[u8], link: Link, mac: MacAddress) -> Option<&[u8]> {
    if link == Link::Ip {
        return Some(octets);
    }
    let (header, packet) = octets.split_first_chunk::<{ ethernet::HEADER_OCTETS }>()?;
    (header[..6] == mac.0 && header[12..] == TYPE_IPV4).then_some(packet)
}

/// By which door the packets of a batch came.
pub(super) const fn door(origin: Origin) -> Door {
    match origin {
        Origin::Port(_, Side::Inside) => Door::Inside,
        _ => Door::Outside,
    }
}

/// The flow of a packet that is not plain, with options or a first fragment, where it can be seen: its plain packets must not
/// overtake it.
pub(super) fn flow_of(frame: &Frame, link: Link, origin: Origin) -> Option<FlowKey> {
    let summary = Summary::of(frame.bytes().get(link_octets(link)..)?).ok()?;
    FlowKey::of(&summary.tuple, door(origin))
}

/// Reads a whole IPv4 packet without options at the front of `octets`; `None` for everything else, right or wrong.
#[inline]
pub(super) fn read(octets: &[u8], door: Door) -> Option<(FlowKey, Head)> {
    let header = octets.first_chunk::<{ ipv4::HEADER_OCTETS }>()?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_whole = (header[6] & FRAGMENT) | header[7] == 0;
    if header[0] != 0x45
        || !is_whole
        || total < ipv4::HEADER_OCTETS
        || total > octets.len()
        || !is_intact(header)
    {
        return None;
    }
    let protocol = header[9];
    let mut is_syn = false;
    let ports = match protocol {
        protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE => {
            if total < ipv4::HEADER_OCTETS + 4 {
                return None;
            }
            let ports = octets.get(ipv4::HEADER_OCTETS..)?.first_chunk::<4>()?;
            if protocol == protocol::TCP {
                is_syn = octets[..total].get(TCP_FLAGS_AT).is_some_and(|flags| flags & SYN != 0);
            }
            Some(u32::from_be_bytes(*ports))
        }
        _ => None,
    };
    let addresses = u64::from_be_bytes(*header.last_chunk()?);
    let head = Head {
        octets: total as u16,
        traffic_class: header[1],
        ttl: header[8],
        dont_fragment: header[6] & DONT_FRAGMENT != 0,
        is_syn,
    };
    Some((FlowKey::new(addresses, ports, protocol, door), head))
}

/// Whether the sum of a header is right (RFC 1071): added up in words of four octets, whose order does not matter.
#[inline]
fn is_intact(header: &[u8; ipv4::HEADER_OCTETS]) -> bool {
    let sum: u64 = header.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum == 0xffff || (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Fragment;
    use proptest::prelude::*;

    /// What the stages would see in the same octets.
    fn agrees(octets: &[u8]) -> bool {
        let summary = Summary::of(octets);
        match (read(octets, Door::Inside), summary) {
            (None, Err(_)) => true,
            // Slow is never wrong.
            (None, Ok(_)) => true,
            (Some(_), Err(_)) => false,
            (Some((key, head)), Ok(summary)) => {
                key.tuple() == summary.tuple
                    && usize::from(head.octets) == summary.octets
                    && head.ttl == summary.ttl
                    && head.traffic_class == summary.traffic_class
                    && head.dont_fragment == summary.dont_fragment
                    && summary.fragment == Fragment::Whole
                    && summary.upper_at == ipv4::HEADER_OCTETS
                    && !summary.tuple.hides_ports()
            }
        }
    }

    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; ipv4::HEADER_OCTETS];
        let header = ipv4::Header {
            traffic_class: 3,
            total_octets: ipv4::HEADER_OCTETS + payload.len(),
            id: 7,
            dont_fragment: true,
            ttl: 9,
            protocol,
            source: "10.1.0.1".parse().unwrap(),
            destination: "10.2.0.1".parse().unwrap(),
        };
        ipv4::emit(&mut packet, &header);
        packet.extend(payload);
        packet
    }

    #[test]
    fn plain_packets_are_read_and_others_are_left_to_the_stages() {
        let plain = packet(17, &[0x13, 0x88, 0, 53, 0, 8, 0, 0]);
        assert!(read(&plain, Door::Inside).is_some() && agrees(&plain));
        let mut padded = plain.clone();
        padded.extend([0; 20]);
        assert!(read(&padded, Door::Inside).is_some_and(|(_, head)| head.octets == 28) && agrees(&padded));
        for broken in [
            packet(17, &[1, 2, 3]),
            plain[..27].to_vec(),
            {
                let mut fragment = plain.clone();
                ipv4::set_fragment(&mut fragment, 28, 0, true);
                fragment
            },
            {
                let mut options = plain.clone();
                options[0] = 0x46;
                options
            },
            {
                let mut sum = plain.clone();
                sum[10] ^= 1;
                sum
            },
        ] {
            assert!(read(&broken, Door::Inside).is_none(), "{broken:02x?}");
        }
    }

    proptest! {
        #[test] // F-36
        fn it_sees_what_the_stages_see_or_nothing(
            mut octets in prop::collection::vec(any::<u8>(), 0..80), protocol in prop::sample::select(vec![1u8, 6, 17, 50, 132]),
            flips in prop::collection::vec((0usize..60, any::<u8>()), 0..3),
        ) {
            prop_assert!(agrees(&octets));
            octets.truncate(50);
            let mut packet = packet(protocol, &octets);
            prop_assert!(agrees(&packet));
            for (at, value) in flips {
                if let Some(octet) = packet.get_mut(at) { *octet = value; }
            }
            prop_assert!(agrees(&packet));
            if packet.len() >= 20 { ipv4::refresh_checksum(&mut packet[..20]); }
            prop_assert!(agrees(&packet));
        }
    }
}
