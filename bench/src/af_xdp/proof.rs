//! Whether what a loop forwards is what it should be: some frames are taken off the wire behind it, opened by a library and
//! compared with what was sent, before anything is timed.

use std::os::fd::OwnedFd;

use ring::aead::{AES_128_GCM, LessSafeKey, UnboundKey};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};
use warren_engine::packet::checksum::Sum;

use super::Loop;
use super::gateway::KEYMAT;
use super::topology::{FAR_MAC, NOBODYS_MAC};
use crate::track::judge::open_esp;

/// Frames that are looked at.
pub(crate) const FRAMES: usize = 64;
const LINK_OCTETS: usize = 14;
const IPV4_OCTETS: usize = 20;
/// Longer than any frame here.
const FRAME_OCTETS_MAX: usize = 2048;
const ESP: u8 = 50;

/// A socket that sees every IPv4 frame of its namespace. It costs whoever sends them, so it is gone before the clock runs.
pub(crate) struct Tap(OwnedFd);

impl Tap {
    /// In the namespace of the calling thread.
    pub(crate) fn open() -> Result<Self, String> {
        socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::NONBLOCK, Some(eth::IP))
            .map(Self)
            .map_err(|error| format!("a packet socket: {error}"))
    }

    /// Frames that were forwarded so far, at most [`FRAMES`].
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut room = vec![0; FRAME_OCTETS_MAX];
        while frames.len() < FRAMES {
            // Nothing waits, or the socket has something to complain about: what there is decides.
            let Ok((octets, _)) = recv(&self.0, &mut room[..], RecvFlags::empty()) else { break };
            let frame = &room[..octets.min(FRAME_OCTETS_MAX)];
            if frame.starts_with(&[NOBODYS_MAC, FAR_MAC].concat()) {
                frames.push(frame.to_vec());
            }
        }
        frames
    }
}

/// Every frame is what was sent: as it was, with a hop less, or that in ESP.
pub(crate) fn check(kind: Loop, sent: &[u8], frames: &[Vec<u8>]) -> Result<(), String> {
    if frames.is_empty() {
        return Err("the work was not done: nothing comes out".to_owned());
    }
    let refused = |why: &str| format!("the work was not done: {why}");
    for frame in frames {
        let packet = frame.get(LINK_OCTETS..).ok_or_else(|| refused("a frame without a packet"))?;
        let inner = match kind {
            Loop::Bare | Loop::Clear => packet.to_vec(),
            Loop::Protected => opened(packet).map_err(|why| refused(&why))?,
        };
        if !is_same(&sent[LINK_OCTETS..], &inner) {
            return Err(refused("a packet that is not what was sent"));
        }
    }
    Ok(())
}

fn opened(packet: &[u8]) -> Result<Vec<u8>, String> {
    let (ip, esp) = packet.split_at_checked(IPV4_OCTETS).ok_or("no IP header")?;
    if ip[9] != ESP {
        return Err("a packet that is not ESP".to_owned());
    }
    let (key, salt) = KEYMAT.split_at(KEYMAT.len() - 4);
    let key = UnboundKey::new(&AES_128_GCM, key).map_err(|_| "ring refuses its key")?;
    let salt = salt.try_into().map_err(|_| "a salt of another length")?;
    open_esp(&LessSafeKey::new(key), salt, Some(0), esp)
}

/// All octets but the hop count and the checksum over it, which is right.
fn is_same(sent: &[u8], found: &[u8]) -> bool {
    let without_hops = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        [8, 10, 11].iter().for_each(|&at| packet[at] = 0);
        packet
    };
    sent.len() == found.len()
        && Sum::default().octets(&found[..IPV4_OCTETS]).finish() == 0
        && without_hops(sent) == without_hops(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::af_xdp::topology::frame;
    use warren_aead::{Backend, KeyLength, KeyMaterial, SealJob, SealingKey, Transform};

    fn sealed(sent: &[u8]) -> Vec<u8> {
        let transform = Transform::AesGcm16(KeyLength::B128);
        let keys = KeyMaterial { encryption: &KEYMAT[..16], salt: [16, 17, 18, 19], integrity: &[] };
        let key = SealingKey::new(Backend::AwsLc, transform, keys).unwrap();
        let mut text = sent[LINK_OCTETS..].to_vec();
        let padding = (text.len() + 2).next_multiple_of(4) - text.len() - 2;
        text.extend(1..=padding as u8);
        text.extend([padding as u8, 4]);
        let mut esp = vec![0; transform.overhead_octets() + text.len()];
        esp[..8].copy_from_slice(&[0, 0, 0x10, 1, 0, 0, 0, 9]);
        esp[16..16 + text.len()].copy_from_slice(&text);
        warren_aead::seal(&mut [SealJob::new(&key, 9, Some(0), &mut esp)]);
        let mut out = sent[..LINK_OCTETS + IPV4_OCTETS].to_vec();
        out[LINK_OCTETS + 9] = ESP;
        out.extend(esp);
        out
    }

    #[test]
    fn frames_that_were_forwarded_pass() {
        let sent = frame(64).unwrap();
        check(Loop::Bare, &sent, std::slice::from_ref(&sent)).unwrap();
        let mut hopped = sent.clone();
        warren_engine::packet::ipv4::decrement_ttl(&mut hopped[LINK_OCTETS..]);
        check(Loop::Clear, &sent, &[hopped]).unwrap();
        check(Loop::Protected, &sent, &[sealed(&sent)]).unwrap();
    }

    #[test]
    fn frames_that_are_not_what_they_should_be_are_refused() {
        let sent = frame(64).unwrap();
        let mut changed = sent.clone();
        changed[50] ^= 1;
        let mut forged = sealed(&sent);
        *forged.last_mut().unwrap() ^= 1;
        for (kind, frames) in [
            (Loop::Bare, vec![]),
            (Loop::Bare, vec![sent.clone(), changed.clone()]),
            (Loop::Protected, vec![sent.clone()]),
            (Loop::Protected, vec![forged]),
            (Loop::Protected, vec![sealed(&changed)]),
            (Loop::Clear, vec![sealed(&sent)]),
        ] {
            assert!(check(kind, &sent, &frames).unwrap_err().contains("was not done"), "{kind:?}");
        }
    }
}
