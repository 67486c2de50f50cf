//! Properties that hold for any octets whatever: for the tests here and for the fuzz targets.

use super::*;
use std::cell::RefCell;
use warren_aead::{Backend, KeyLength, KeyMaterial, SealJob, SealingKey, Transform};
use warren_engine::packet::esp::{Esp, Trailer};
use warren_engine::packet::{icmp, tcp, udp};

/// Every header view, on its own: what it says lies inside what it was given.
pub(crate) fn headers(octets: &[u8]) {
    if let Ok(summary) = Summary::of(octets) {
        assert!(summary.upper_at <= summary.octets && summary.octets <= octets.len());
        let _ = icmp::may_answer(&summary, octets);
        let upper = &octets[summary.upper_at..summary.octets];
        if let Ok(datagram) = udp::Udp::new_checked(upper) {
            assert!(datagram.payload().len() + udp::HEADER_OCTETS <= upper.len());
        }
    }
    let mut segment = octets.to_vec();
    if tcp::clamp_mss(&mut segment, 1000) {
        assert!(!tcp::clamp_mss(&mut segment, 1000));
    }
    let _ = Esp::new_checked(octets).map(|esp| (esp.spi(), esp.sequence_low()));
    if let Ok(trailer) = Trailer::of(octets) {
        assert!(trailer.payload_octets + 2 <= octets.len());
    }
}

/// An SA of transport mode, with the keys of the other.
const TRANSPORT: Spi = Spi(0x9999);

/// A gateway, and a peer that holds the right key and sends whatever it likes.
struct Victim {
    gateway: Gateway,
    key: SealingKey,
    sequence: u64,
}

impl Victim {
    fn new() -> Self {
        let mut gateway = Gateway::site(1);
        establish(&mut gateway, 1, Scheme::default());
        let mut transport = inbound(Scheme::default(), 2, 0);
        (transport.id, transport.spi) = (SaId(90), TRANSPORT);
        transport.selector = between("192.0.2.2/32", "192.0.2.1/32");
        transport.mode = warren_seam::SaMode::Transport;
        gateway.submit(Command::InstallInbound(Box::new(transport)));
        let keys = keys(Scheme::default().transform, 0x20);
        let material = KeyMaterial {
            encryption: keys.encryption.expose(),
            salt: keys.salt,
            integrity: keys.integrity.expose(),
        };
        let transform = Transform::AesGcm16(KeyLength::B128);
        let key = SealingKey::new(Backend::AwsLc, transform, material).unwrap();
        Self { gateway, key, sequence: 0 }
    }

    /// ESP of gateway 2 whose decrypted text is exactly this.
    fn seal(&mut self, spi: Spi, text: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let mut esp = vec![0; 16];
        esp[..4].copy_from_slice(&spi.0.to_be_bytes());
        esp[4..8].copy_from_slice(&(self.sequence as u32).to_be_bytes());
        esp.extend(text);
        esp.extend([0; 16]);
        let esn_high = Some((self.sequence >> 32) as u32);
        warren_aead::seal(&mut [SealJob::new(&self.key, self.sequence, esn_high, &mut esp)]);
        ip_packet(&Udp { from: "192.0.2.2", to: "192.0.2.1", ..Udp::default() }, protocol::ESP, &esp)
    }
}

thread_local! {
    static VICTIM: RefCell<Victim> = RefCell::new(Victim::new());
}

/// A whole gateway: the first octet says by which way the rest comes in. Nothing panics, every packet is in exactly
/// one counter, and nothing that a rule protects leaves in clear.
pub(crate) fn gateway(octets: &[u8]) {
    let Some((&way, rest)) = octets.split_first() else { return };
    VICTIM.with_borrow_mut(|victim| {
        let tunnel = inbound(Scheme::default(), 2, 0).spi;
        let frame = match way % 6 {
            0 => (INSIDE, frame_of(INSIDE, rest)),
            1 => (OUTSIDE, frame_of(OUTSIDE, rest)),
            2 => (2, rest.to_vec()),
            3 => (OUTSIDE, rest.to_vec()),
            4 => (OUTSIDE, frame_of(OUTSIDE, &victim.seal(tunnel, &rest[..rest.len().min(1400)]))),
            _ => (OUTSIDE, frame_of(OUTSIDE, &victim.seal(TRANSPORT, &rest[..rest.len().min(1400)]))),
        };
        let gateway = &mut victim.gateway;
        gateway.links[0][frame.0].send(&frame.1);
        gateway.now += Duration::from_secs(2);
        gateway.poll();
        let protects = rules(1).tunnel[0].selector;
        for packet in gateway.receive(OUTSIDE) {
            assert!(!protects.contains(&summary(&packet).tuple), "in clear: {packet:02x?}");
        }
        gateway.receive(INSIDE).iter().for_each(|packet| {
            summary(packet);
        });
        gateway.kernel().iter().for_each(|packet| {
            summary(packet);
        });
        gateway.take_events();
    });
}

fn frame_of(port: usize, packet: &[u8]) -> Vec<u8> {
    let version = [packet.first().copied().unwrap_or(0)];
    let mut framed = frame(mac(1, port), &version);
    framed.truncate(14);
    framed.extend(packet);
    framed
}
