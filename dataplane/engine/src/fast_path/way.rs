//! The protection of a rule, made ready: for each level the header that goes in front of every packet, and where the
//! packet leaves.

use super::plan::Egress;
use crate::core::Berth;
use crate::fib::Fib;
use crate::limits::STACK_DEPTH_MAX;
use crate::mtu::Shape;
use crate::packet::{esp, ethernet, ipv4, ipv6, udp};
use crate::sad::{Outbound, SaIndex, Sad};
use crate::stages::outer::{TTL, flow_label};
use std::net::IpAddr;
use warren_policy::FiveTuple;
use warren_port::prefetch_whole;
use warren_seam::{Encapsulation, SaMode, Spi};

/// Octets of headers made ready, down to the sequence number of ESP: the longest are those of Ethernet, IPv6 and ESP.
pub(super) const HEADERS_OCTETS: usize = 64;

/// How a rule's packets are protected, or that they need the stages: two cache lines.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Way {
    /// The innermost level, which nearly all have alone.
    first: Level,
    /// Octets of the largest packet that fits.
    pub(super) room: u32,
    /// The SA of the first level among all that ever were: whose selector was asked about a flow.
    pub(super) serial: u32,
    /// The port it leaves by.
    pub(super) berth: u16,
    state: State,
    levels: u8,
    /// The levels around the first, from the inside out.
    around: Box<[Level]>,
}

const _: () = assert!(size_of::<Way>() == 128, "a packet needs two lines of its rule");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not made yet, or no longer right.
    #[default]
    Stale,
    /// The stages have to do it.
    Slow,
    /// All is ready.
    Ready,
}

/// One level.
#[repr(C)]
pub(super) struct Level {
    /// What stands in front of the IV, at the end of the array.
    pub(super) headers: [u8; HEADERS_OCTETS],
    /// How much of it.
    pub(super) octets: u8,
    /// Where ESP does.
    pub(super) esp_at: u8,
    pub(super) is_ipv6: bool,
    /// ESP is in UDP.
    pub(super) in_udp: bool,
    /// Sum of the words of an IPv4 header that are the same for all packets.
    pub(super) sum: u32,
    pub(super) sa: SaIndex,
}

impl Default for Level {
    fn default() -> Self {
        let headers = [0; HEADERS_OCTETS];
        Self { headers, octets: 0, esp_at: 0, is_ipv6: false, in_udp: false, sum: 0, sa: 0 }
    }
}

impl Way {
    /// Forgets it: an SA, a route or a neighbour has changed.
    pub(crate) fn invalidate(&mut self) {
        self.state = State::Stale;
    }

    /// Whether it has to be made (again).
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        self.state == State::Stale
    }

    /// Whether the fast path can do it.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// How many levels it has.
    #[inline]
    pub(super) fn levels(&self) -> u8 {
        self.levels
    }

    /// One of its levels, from the inside out.
    #[inline]
    pub(super) fn level(&self, at: u8) -> Option<&Level> {
        match at {
            _ if at >= self.levels => None,
            0 => Some(&self.first),
            _ => self.around.get(usize::from(at) - 1),
        }
    }

    /// Asks for its own memory.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch_whole(self);
    }

    /// Asks for the memory of its SAs.
    #[inline]
    pub(super) fn prefetch_sas(&self, sad: &Sad) {
        sad.prefetch_sealer(self.first.sa);
        self.around.iter().for_each(|level| sad.prefetch_sealer(level.sa));
    }

    /// Makes it for these SAs, innermost first.
    pub(crate) fn make(&mut self, stack: &[SaIndex], room: usize, sad: &Sad, fib: &Fib, berths: &[Berth]) {
        *self = Self::default();
        self.state = match self.try_make(stack, room, sad, fib, berths) {
            Some(()) => State::Ready,
            None => State::Slow,
        };
    }

    fn try_make(
        &mut self,
        stack: &[SaIndex],
        room: usize,
        sad: &Sad,
        fib: &Fib,
        berths: &[Berth],
    ) -> Option<()> {
        if stack.len() > STACK_DEPTH_MAX {
            return None;
        }
        let outermost = sad.outbound(*stack.last()?)?;
        let egress = Egress::towards(outermost.shape.remote, fib, berths)?;
        let mut carried: Option<FiveTuple> = None;
        let (mut first, mut around) = (None, Vec::new());
        for (at, &index) in stack.iter().enumerate() {
            let sa = sad.outbound(index)?;
            let sealer = sad.sealer(index)?;
            // What an inner level looks like from outside is the same for all its packets.
            if carried.is_some_and(|tuple| !sealer.selector.contains(&tuple)) {
                return None;
            }
            let link = if at + 1 == stack.len() { egress.link() } else { &[] };
            let level = Level::new(sa, index, link)?;
            match first {
                None => first = Some(level),
                Some(_) => around.push(level),
            }
            carried = Some(sa.shape.leaving());
        }
        self.serial = sad.outbound(*stack.first()?)?.serial;
        (self.room, self.berth) = (u32::try_from(room).unwrap_or(u32::MAX), egress.berth);
        self.levels = stack.len() as u8;
        self.first = first?;
        self.around = around.into();
        Some(())
    }
}

impl Level {
    /// `None` for what the fast path leaves to the stages: transport mode, CBC, UDP over IPv6 with its checksum.
    fn new(sa: &Outbound, index: SaIndex, link: &[u8]) -> Option<Self> {
        let shape = &sa.shape;
        if shape.mode != SaMode::Tunnel || !shape.transform.is_aead() {
            return None;
        }
        let in_udp = matches!(shape.encapsulation, Encapsulation::Udp { .. });
        if in_udp && shape.remote.is_ipv6() {
            return None;
        }
        let mut headers = Vec::with_capacity(HEADERS_OCTETS);
        headers.extend_from_slice(link);
        let ip_at = headers.len();
        push_ip(&mut headers, shape, sa.spi)?;
        let sum =
            headers[ip_at..].as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
        if let Encapsulation::Udp { local_port, remote_port } = shape.encapsulation {
            let at = headers.len();
            headers.resize(at + udp::HEADER_OCTETS, 0);
            udp::emit(&mut headers[at..], local_port, remote_port, 0);
        }
        let esp_at = headers.len();
        headers.extend_from_slice(&sa.spi.0.to_be_bytes());
        // The sequence number. The IV behind it is written when the packet is sealed.
        headers.resize(esp_at + esp::HEADER_OCTETS, 0);
        let mut level = Self {
            headers: [0; HEADERS_OCTETS],
            octets: headers.len() as u8,
            esp_at: esp_at as u8,
            is_ipv6: shape.remote.is_ipv6(),
            in_udp,
            sum,
            sa: index,
        };
        level.headers[HEADERS_OCTETS.checked_sub(headers.len())?..].copy_from_slice(&headers);
        Some(level)
    }
}

/// An IP header without what differs from packet to packet: lengths, identification, DF, traffic class and checksum.
fn push_ip(headers: &mut Vec<u8>, shape: &Shape, spi: Spi) -> Option<()> {
    let at = headers.len();
    let number = shape.leaving().protocol;
    match (shape.local, shape.remote) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            headers.resize(at + ipv4::HEADER_OCTETS, 0);
            let header = ipv4::Header {
                traffic_class: 0,
                total_octets: 0,
                id: 0,
                dont_fragment: false,
                ttl: TTL,
                protocol: number,
                source,
                destination,
            };
            ipv4::emit(&mut headers[at..], &header);
            headers[at + 10..at + 12].fill(0);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            headers.resize(at + ipv6::HEADER_OCTETS, 0);
            let header = ipv6::Header {
                traffic_class: 0,
                flow_label: flow_label(spi),
                payload_octets: 0,
                next_header: number,
                hop_limit: TTL,
                source,
                destination,
            };
            ipv6::emit(&mut headers[at..], &header);
        }
        _ => return None,
    }
    Some(())
}

const _: () = assert!(
    ethernet::HEADER_OCTETS + ipv6::HEADER_OCTETS + esp::HEADER_OCTETS <= HEADERS_OCTETS,
    "the longest header fits"
);
