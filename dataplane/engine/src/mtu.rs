//! How much ESP adds to a packet, exactly, and therefore how large a packet may be that goes into it.

use crate::packet::{esp, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;
use warren_aead::Transform;
use warren_policy::FiveTuple;
use warren_seam::{Encapsulation, SaMode};

/// Everything about an SA that decides how long its packets are and where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What ESP does.
    pub transform: Transform,
    /// A whole packet inside, or only what follows its header.
    pub mode: SaMode,
    /// Raw or in UDP.
    pub encapsulation: Encapsulation,
    /// Outer address of ours.
    pub local: IpAddr,
    /// Outer address of the peer.
    pub remote: IpAddr,
}

impl Shape {
    /// The outer header of what we send, as the rules see it.
    #[must_use]
    pub fn leaving(&self) -> FiveTuple {
        let (protocol, ports) = match self.encapsulation {
            Encapsulation::Raw => (protocol::ESP, None),
            Encapsulation::Udp { local_port, remote_port } => {
                (protocol::UDP, Some((local_port, remote_port)))
            }
        };
        FiveTuple {
            source: self.local,
            destination: self.remote,
            protocol,
            source_port: ports.map(|ports| ports.0),
            destination_port: ports.map(|ports| ports.1),
        }
    }

    /// That of what comes to us.
    #[must_use]
    pub fn arriving(&self) -> FiveTuple {
        let tuple = self.leaving();
        FiveTuple {
            source: tuple.destination,
            destination: tuple.source,
            source_port: tuple.destination_port,
            destination_port: tuple.source_port,
            ..tuple
        }
    }

    /// What payload, padding and trailer together must be a multiple of: the cipher's block, and 4 in any case
    /// (RFC 4303 §2.4).
    #[must_use]
    pub fn alignment(&self) -> usize {
        self.transform.block_octets().max(4)
    }

    /// Octets of the outer IP header, where there is one, and of the UDP header, where there is one.
    #[must_use]
    pub fn outer_octets(&self) -> usize {
        let ip = match self.mode {
            SaMode::Tunnel => self.header_octets(),
            SaMode::Transport => 0,
        };
        match self.encapsulation {
            Encapsulation::Raw => ip,
            Encapsulation::Udp { .. } => ip + udp::HEADER_OCTETS,
        }
    }

    /// Octets of the largest packet that fits, protected, into `outer_max` octets; 0 when none does.
    #[must_use]
    pub fn inner_max(&self, outer_max: usize) -> usize {
        match self.mode {
            SaMode::Tunnel => self.payload_max(outer_max),
            // The packet's own header stays outside. With options it ends elsewhere in the cipher's block, and the answer
            // has to be good for all packets.
            SaMode::Transport => (0..self.alignment())
                .step_by(4)
                .map(|options| self.header_octets() + options)
                .map(|header| match self.payload_max(outer_max.saturating_sub(header)) {
                    0 => 0,
                    payload => header + payload,
                })
                .min()
                .unwrap_or(0),
        }
    }

    /// Octets of a packet of `inner` octets once it is protected. In transport mode it is one without options.
    #[must_use]
    pub fn protected(&self, inner: usize) -> usize {
        let kept = match self.mode {
            SaMode::Tunnel => 0,
            SaMode::Transport => self.header_octets(),
        };
        let payload = inner - kept;
        let text = payload + esp::padding_octets(payload, self.alignment()) + esp::TRAILER_OCTETS;
        kept + self.outer_octets() + self.transform.overhead_octets() + text
    }

    /// Octets of an IP header without options.
    fn header_octets(&self) -> usize {
        if self.remote.is_ipv6() { ipv6::HEADER_OCTETS } else { ipv4::HEADER_OCTETS }
    }

    fn payload_max(&self, room: usize) -> usize {
        let text = room.saturating_sub(self.outer_octets() + self.transform.overhead_octets());
        (text - text % self.alignment()).saturating_sub(esp::TRAILER_OCTETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Vec<Shape> {
        let mut shapes = Vec::new();
        for transform in Transform::all() {
            for address in ["192.0.2.1", "2001:db8::1"] {
                let udp = Encapsulation::Udp { local_port: 4500, remote_port: 4500 };
                for encapsulation in [Encapsulation::Raw, udp] {
                    let address = address.parse().unwrap();
                    for mode in [SaMode::Tunnel, SaMode::Transport] {
                        shapes.push(Shape {
                            transform,
                            mode,
                            encapsulation,
                            local: address,
                            remote: address,
                        });
                    }
                }
            }
        }
        shapes
    }

    #[test] // NT-33
    fn the_largest_packet_fits_and_the_next_larger_does_not() {
        for shape in shapes() {
            for outer in [576, 1280, 1400, 1492, 1500, 9000] {
                let inner = shape.inner_max(outer);
                assert!(shape.protected(inner) <= outer, "{shape:?} {outer}");
                // In transport mode a long block costs some octets for the sake of packets with options.
                let exact = shape.mode == SaMode::Tunnel || shape.alignment() == 4;
                let spare = if exact { 1 } else { shape.alignment() };
                assert!(shape.protected(inner + spare) > outer, "{shape:?} {outer}");
            }
            assert_eq!(shape.inner_max(40), 0);
        }
    }

    #[test]
    fn the_usual_tunnel_leaves_the_usual_mtu() {
        // AES-GCM in IPv4 over Ethernet: 1500 - 20 - 8 - 8 - 16 = 1448, less two octets of trailer.
        let shape = shapes()[0];
        assert_eq!(shape.inner_max(1500), 1446);
    }
}
