//! What must hold after every step, judged from outside: the oracle sees frames on the wire and the keys that were
//! installed, never what a gateway believes.

use crate::packet::{Outer, outer, shows_marker};
use std::collections::HashSet;
use std::net::IpAddr;
use warren_seam::{EspTransform, OutboundSa};

const ESP: u8 = 50;
const PORT_NAT_TRAVERSAL: u16 = 4500;
const IKE_PORTS: [u16; 2] = [500, PORT_NAT_TRAVERSAL];

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A payload or an inner address was readable on the wire.
    ClearText(String),
    /// Two packets were sealed under one key with one IV.
    IvReused(String),
    /// A packet ended in no counter or in several.
    NotConserved(String),
    /// A gateway sent ESP under an SPI for which nobody installed a key.
    UnknownSpi(u32),
    /// After the network healed, traffic did not pass.
    NotHealed(String),
    /// Something was between two gateways that is not of these two, or is neither ESP nor IKE.
    Stray(String),
    /// A packet arrived that nobody sent, or for the second time.
    WronglyDelivered(String),
    /// A layer was opened that did not come out of the one that is to be around it.
    Uncarried(String),
    /// An SA was removed while traffic was bound to it.
    NotCut(String),
    /// The engine has an SA that control knows nothing of.
    Orphan(String),
    /// After the end something is left.
    Left(String),
}

/// An outbound SA as the oracle knows it.
struct KnownSa {
    spi: u32,
    iv_octets: usize,
    /// Key and salt, which name the key; the SA's identifier would hide a key that is used in two SAs.
    key: Vec<u8>,
}

/// Watches the wire between two gateways.
pub(crate) struct Oracle {
    hosts: Vec<IpAddr>,
    known: Vec<KnownSa>,
    used: HashSet<(Vec<u8>, Vec<u8>)>,
    esp_packets: u64,
}

impl Oracle {
    /// A watch for traffic between these hosts.
    #[must_use]
    pub(crate) fn new(hosts: Vec<IpAddr>) -> Self {
        Self { hosts, known: Vec::new(), used: HashSet::new(), esp_packets: 0 }
    }

    /// ESP packets seen so far.
    #[must_use]
    pub(crate) fn esp_packets(&self) -> u64 {
        self.esp_packets
    }

    /// A gateway installed an outbound SA.
    pub(crate) fn note_outbound(&mut self, sa: &OutboundSa) {
        let mut key = sa.keys.encryption.expose().to_vec();
        key.extend(sa.keys.salt);
        let iv_octets = match sa.transform {
            EspTransform::AesGcm16(_) => 8,
            EspTransform::AesCbcHmac(..) => 16,
        };
        self.known.push(KnownSa { spi: sa.spi.0, iv_octets, key });
    }

    /// A gateway put this frame on the wire.
    ///
    /// # Errors
    /// With the promise that the frame breaks.
    pub(crate) fn see(&mut self, frame: &[u8]) -> Result<(), Violation> {
        if shows_marker(frame) {
            return Err(Violation::ClearText("the hosts' payload".to_owned()));
        }
        let Some(outer) = outer(frame) else { return Ok(()) };
        if let Some(host) = self.hosts.iter().find(|host| [outer.source, outer.destination].contains(host)) {
            return Err(Violation::ClearText(format!("the inner address {host}")));
        }
        match esp_packet(&outer) {
            Some(esp) => self.see_esp(esp),
            None => Ok(()),
        }
    }

    /// The same where nothing may be but ESP and IKE between these two.
    ///
    /// # Errors
    /// With the promise that the frame breaks.
    pub(crate) fn see_between(&mut self, ends: [IpAddr; 2], frame: &[u8]) -> Result<(), Violation> {
        let is_of_theirs = outer(frame).is_some_and(|outer| {
            let ports = outer.udp().map(|(source, destination, _)| [source, destination]);
            let is_ike_or_esp = ports.is_some_and(|ports| ports.iter().any(|port| IKE_PORTS.contains(port)));
            [[outer.source, outer.destination], [outer.destination, outer.source]].contains(&ends)
                && (outer.protocol == ESP || is_ike_or_esp)
        });
        self.see(frame)?;
        if is_of_theirs {
            return Ok(());
        }
        Err(Violation::Stray(format!("between {ends:?}: {:02x?}", &frame[..frame.len().min(80)])))
    }

    fn see_esp(&mut self, esp: &[u8]) -> Result<(), Violation> {
        self.esp_packets += 1;
        let spi = esp.get(..4).map_or(0, |spi| u32::from_be_bytes([spi[0], spi[1], spi[2], spi[3]]));
        // Not by destination: a NAT, or damage that looks like one, may have moved the peer.
        let sa = self.known.iter().rev().find(|sa| sa.spi == spi);
        let sa = sa.ok_or(Violation::UnknownSpi(spi))?;
        let iv = esp.get(8..8 + sa.iv_octets).unwrap_or_default().to_vec();
        if self.used.insert((sa.key.clone(), iv.clone())) {
            Ok(())
        } else {
            Err(Violation::IvReused(format!("SPI {spi:08x}, IV {iv:02x?}")))
        }
    }
}

/// The ESP packet in a datagram, raw or in UDP (RFC 3948 §2.1).
pub(crate) fn esp_packet<'a>(outer: &Outer<'a>) -> Option<&'a [u8]> {
    if outer.protocol == ESP {
        return Some(outer.payload);
    }
    let (source, destination, payload) = outer.udp()?;
    let encapsulated = [source, destination].contains(&PORT_NAT_TRAVERSAL)
        && payload.len() > 8
        && payload.get(..4)? != [0; 4];
    encapsulated.then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{MARKER, udp_frame};
    use warren_seam::{Encapsulation, RuleId, SaId, SaKeys, Secret, Selector, Spi, Volume};

    fn hosts() -> Vec<IpAddr> {
        vec!["10.1.0.10".parse().unwrap(), "10.2.0.10".parse().unwrap()]
    }

    fn frame(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        udp_frame(([1; 6], [2; 6]), from.parse().unwrap(), to.parse().unwrap(), payload)
    }

    fn outbound(spi: u32) -> OutboundSa {
        let any = warren_policy::AddressRange::any(false);
        OutboundSa {
            id: SaId(1),
            spi: Spi(spi),
            transform: EspTransform::AesGcm16(warren_policy::KeyBits::B128),
            keys: SaKeys {
                encryption: Secret::new(vec![7; 16]),
                salt: [9; 4],
                integrity: Secret::new(vec![]),
            },
            esn: false,
            selector: Selector::between(any, any).unwrap(),
            local: "198.51.100.1".parse().unwrap(),
            remote: "198.51.100.2".parse().unwrap(),
            encapsulation: Encapsulation::Udp { local_port: 4500, remote_port: 4500 },
            volume: Volume { soft_octets: u64::MAX, hard_octets: u64::MAX },
            mode: warren_seam::SaMode::Tunnel,
            rule: RuleId(0),
            lane: 0,
            sequence: 0,
        }
    }

    #[test] // F-24
    fn clear_text_is_seen() {
        let mut oracle = Oracle::new(hosts());
        let leaked = oracle.see(&frame("10.1.0.10:1000", "10.2.0.10:7", b"anything"));
        assert!(matches!(leaked, Err(Violation::ClearText(_))), "{leaked:?}");
        let leaked = oracle.see(&frame("198.51.100.1:1000", "198.51.100.2:7", MARKER));
        assert!(matches!(leaked, Err(Violation::ClearText(_))), "{leaked:?}");
    }

    #[test] // F-17
    fn a_second_packet_with_the_same_key_and_iv_is_seen() {
        let mut oracle = Oracle::new(hosts());
        oracle.note_outbound(&outbound(0x1000));
        let esp = [0x1000u32.to_be_bytes().as_slice(), &[0, 0, 0, 1], &[0; 8], &[3; 40]].concat();
        let frame = frame("198.51.100.1:4500", "198.51.100.2:4500", &esp);
        assert_eq!(oracle.see(&frame), Ok(()));
        assert!(matches!(oracle.see(&frame), Err(Violation::IvReused(_))));
        assert_eq!(oracle.esp_packets(), 2);
    }

    #[test] // NT-12, NT-13
    fn what_is_not_of_the_two_ends_of_a_link_is_seen() {
        let mut oracle = Oracle::new(hosts());
        let ends = ["198.51.100.1".parse().unwrap(), "198.51.100.2".parse().unwrap()];
        let ike = |from, to| frame(from, to, &[7; 28]);
        assert_eq!(oracle.see_between(ends, &ike("198.51.100.1:500", "198.51.100.2:500")), Ok(()));
        assert_eq!(oracle.see_between(ends, &ike("198.51.100.2:500", "198.51.100.1:500")), Ok(()));
        for (from, to) in [
            ("198.51.100.1:500", "198.51.100.3:500"),
            ("198.51.100.3:500", "198.51.100.1:500"),
            ("198.51.100.1:7", "198.51.100.2:7"),
        ] {
            let stray = oracle.see_between(ends, &ike(from, to));
            assert!(matches!(stray, Err(Violation::Stray(_))), "{from} {to}: {stray:?}");
        }
    }

    #[test]
    fn esp_under_an_spi_that_nobody_installed_is_seen() {
        let mut oracle = Oracle::new(hosts());
        let frame = frame("198.51.100.1:4500", "198.51.100.2:4500", &[1; 60]);
        assert_eq!(oracle.see(&frame), Err(Violation::UnknownSpi(0x0101_0101)));
    }
}
