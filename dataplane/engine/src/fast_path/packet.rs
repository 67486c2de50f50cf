//! A packet on the fast path: what one look at its headers has told.

use super::flows::{Door, FlowKey, Place};
use super::plan::PackedPlan;
use crate::drop_reason::DropReason;
use crate::packet::{Summary, esp, ethernet, ipv4, protocol, udp};
use crate::sad::SaIndex;
use crate::slot::{Origin, Slot};
use warren_aead::Verdict;
use warren_policy::RuleId;
use warren_port::{Frame, Link};
use warren_seam::{MacAddress, Side};

/// What is known of the packet of one frame: one cache line, written in place.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Packet {
    pub(super) key: FlowKey,
    /// Its sequence number in the SA at work on it.
    pub(super) sequence: u64,
    /// Where its flow is kept.
    pub(super) place: Place,
    /// The rule of the SA that it has just come out of.
    pub(super) rule: RuleId,
    /// What happens to its flow.
    pub(super) plan: PackedPlan,
    /// The SA at work on it, or the last that was.
    pub(super) sa: SaIndex,
    /// The number of the inbound SA that it came out of, among all that ever were; 0 for none.
    pub(super) came_by: u32,
    /// The outbound SA whose selector was asked about its flow.
    pub(super) goes_by: u32,
    pub(super) head: Head,
    /// The port that it leaves by.
    pub(super) berth: u16,
    /// Where ESP begins.
    pub(super) esp_at: u8,
    /// Levels of ESP taken off so far.
    pub(super) depth: u8,
    /// Levels of ESP that are put on; none of a packet that does not leave protected.
    pub(super) levels: u8,
    /// The header that was put on last is one of IPv6.
    pub(super) is_ipv6: bool,
    /// Its plan was made for it.
    pub(super) is_new: bool,
    pub(super) fate: Fate,
    /// What the AEAD says of it.
    pub(super) verdict: Verdict,
}

const _: () = assert!(size_of::<Packet>() == 64, "a packet is one cache line");

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not plain: the stages see it as it came from the port.
    Raw,
    /// ESP to us, perhaps.
    Esp,
    /// Its plan is looked for.
    Plain,
    /// It goes into the queue of its port.
    Leaves,
    /// The stages see to it as it is now.
    Detour,
    /// Opened and accepted, and not a plain packet inside: the stages unwrap it.
    Opened,
    /// It ends here.
    Dropped(DropReason),
}

/// Octets between the beginning of ESP and its text: header, and the IV of every AEAD of RFC 4106 and RFC 7634.
pub(super) const TEXT_AT: usize = esp::HEADER_OCTETS + 8;
/// Octets of their ICV.
pub(super) const ICV_OCTETS: usize = 16;

/// What stands in an IPv4 header besides the flow.
#[derive(Clone, Copy, Default)]
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
const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments, and the offset.
const FRAGMENT: u16 = 0x3fff;
/// Where ports end behind an IPv4 header without options.
const PORTS_END: usize = ipv4::HEADER_OCTETS + 4;
const SYN: u8 = 0x02;
/// Where the flags of TCP stand behind an IPv4 header without options.
const TCP_FLAGS_AT: usize = ipv4::HEADER_OCTETS + 13;

impl Packet {
    /// Of a frame that nobody has looked at.
    pub(super) const RAW: Self = Self {
        key: FlowKey::NONE,
        sequence: 0,
        place: Place::NONE,
        rule: RuleId(0),
        plan: PackedPlan::SLOW,
        sa: 0,
        came_by: 0,
        goes_by: 0,
        head: Head { octets: 0, traffic_class: 0, ttl: 0, dont_fragment: false, is_syn: false },
        berth: 0,
        esp_at: 0,
        depth: 0,
        levels: 0,
        is_ipv6: false,
        is_new: false,
        fate: Fate::Raw,
        verdict: Verdict::Unopened,
    };

    /// What a look at its headers has told.
    #[inline]
    pub(super) fn begin(&mut self, key: FlowKey, head: Head) {
        (self.key, self.head) = (key, head);
        (self.rule, self.came_by) = (RuleId(0), 0);
        (self.depth, self.is_ipv6) = (0, false);
    }

    /// It ends here, and no level is put on any more.
    #[cold]
    pub(super) fn drop_for(&mut self, reason: DropReason) {
        (self.levels, self.fate) = (0, Fate::Dropped(reason));
    }

    /// Where it came from, in a batch that did from there.
    #[inline]
    pub(super) const fn origin(&self, batch: Origin) -> Origin {
        match (batch.port(), self.depth) {
            (Some(port), 1..) => Origin::Sa(port),
            _ => batch,
        }
    }

    /// The same packet for the stages.
    pub(super) fn into_slot(self, frame: Frame, batch: Origin) -> Result<Slot, (Frame, DropReason)> {
        match Summary::of(frame.bytes()) {
            Ok(summary) => {
                let mut slot = Slot::new(frame, summary, self.origin(batch));
                (slot.depth, slot.rule, slot.sa) = (self.depth, self.rule, self.sa);
                (slot.sequence, slot.esp_at) = (self.sequence, self.esp_at.into());
                Ok(slot)
            }
            Err(malformed) => Err((frame, malformed.into())),
        }
    }
}

/// Where ESP begins in such a packet if it is some, and SPI and sequence number there. In UDP, what begins with zeros is IKE
/// (RFC 3948 §2.2).
#[inline]
pub(super) fn esp_header(packet: &[u8], protocol: u8) -> Option<(u8, u32, u32)> {
    let at = match protocol {
        protocol::ESP => ipv4::HEADER_OCTETS,
        _ => ipv4::HEADER_OCTETS + udp::HEADER_OCTETS,
    };
    let header = packet.get(at..)?.first_chunk::<{ esp::HEADER_OCTETS }>()?;
    let header = u64::from_be_bytes(*header);
    let (spi, low) = ((header >> 32) as u32, header as u32);
    if protocol == protocol::UDP {
        // Octets behind the datagram would be taken for the ICV.
        let datagram = u16::from_be_bytes([packet[ipv4::HEADER_OCTETS + 4], packet[ipv4::HEADER_OCTETS + 5]]);
        if usize::from(datagram) + ipv4::HEADER_OCTETS != packet.len() || spi == 0 {
            return None;
        }
    }
    Some((at as u8, spi, low))
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
#[inline(always)]
pub(super) fn read(octets: &[u8], door: Door) -> Option<(FlowKey, Head)> {
    let header = octets.first_chunk::<{ ipv4::HEADER_OCTETS }>()?;
    let total = u16::from_be_bytes([header[2], header[3]]);
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let protocol = header[9];
    let (has_ports, least) = match protocol {
        protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE => {
            (true, PORTS_END)
        }
        _ => (false, ipv4::HEADER_OCTETS),
    };
    let is_plain = header[0] == 0x45
        && fragment & FRAGMENT == 0
        && usize::from(total) >= least
        && usize::from(total) <= octets.len()
        && is_intact(header);
    if !is_plain {
        return None;
    }
    let addresses = u64::from_be_bytes(*header.last_chunk()?);
    let ports = octets.get(ipv4::HEADER_OCTETS..PORTS_END).and_then(|ports| ports.first_chunk());
    let ports = ports.filter(|_| has_ports).map(|ports| u32::from_be_bytes(*ports));
    let is_syn = protocol == protocol::TCP
        && octets[..usize::from(total)].get(TCP_FLAGS_AT).is_some_and(|flags| flags & SYN != 0);
    let head = Head {
        octets: total,
        traffic_class: header[1],
        ttl: header[8],
        dont_fragment: fragment & DONT_FRAGMENT != 0,
        is_syn,
    };
    Some((FlowKey::new(addresses, ports, protocol, door), head))
}

/// Whether the sum of a header is right (RFC 1071): added up in words of four octets, whose order does not matter, and
/// folded by adding a number to itself turned by half, which leaves the sum of both halves and its carry in the upper one.
#[inline(always)]
fn is_intact(header: &[u8; ipv4::HEADER_OCTETS]) -> bool {
    let sum: u64 = header.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    sum.wrapping_add(sum.rotate_left(16)) >> 16 == 0xffff
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
