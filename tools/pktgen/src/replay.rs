//! The packets of a capture, as they are or with other Ethernet addresses.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use warren_port::{CaptureError, CaptureReader, Link};

use crate::generator::Source;
use crate::headers::Ethernet;
use crate::limits::{CAPTURE_OCTETS_MAX, FRAME_OCTETS_MAX, FRAME_OCTETS_MIN};
use crate::size::CHECK_SEQUENCE_OCTETS;

/// When the packets of a capture are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Timing {
    /// As the pacer lets them.
    Paced,
    /// As far apart as in the file, so many times as fast.
    File {
        /// 2 is twice as fast.
        speed: f64,
    },
}

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Nothing in it can be sent.
    #[error("no packet of the capture can be sent: {0} are cut off, {1} are too long")]
    Empty(u64, u64),
    /// More than is kept in memory.
    #[error("the capture is larger than {CAPTURE_OCTETS_MAX} octets")]
    TooLarge,
    /// Raw packets have no Ethernet addresses of their own.
    #[error("the capture has no Ethernet headers: say the next hop (--via or --mac)")]
    NoEthernet,
}

/// A capture in memory.
pub struct Replay {
    packets: Vec<Packet>,
    at: usize,
    loops_left: u32,
    timing: Timing,
    /// Of all rounds before this one.
    before_ns: u64,
    /// Of one round, with a gap behind its last packet that is as long as the mean of the others.
    round_ns: u64,
    skipped: Skipped,
}

/// Packets of the file that are not sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The capture cut them off.
    pub cut_off: u64,
    /// They are longer than our largest frame.
    pub too_long: u64,
}

struct Packet {
    /// Since the first packet of the file.
    at_ns: u64,
    octets: Vec<u8>,
}

impl Replay {
    /// Reads a capture. `ethernet` replaces its Ethernet addresses, and is needed where it has none.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn open(
        path: &Path,
        ethernet: Option<Ethernet>,
        timing: Timing,
        loops: u32,
    ) -> Result<Self, ReplayError> {
        let file = File::open(path).map_err(CaptureError::Io)?;
        let mut reader = CaptureReader::new(BufReader::new(file))?;
        if reader.link() == Link::Ip && ethernet.is_none() {
            return Err(ReplayError::NoEthernet);
        }
        let (mut packets, mut skipped, mut held) = (Vec::new(), Skipped::default(), 0);
        let mut first_ns = None;
        while let Some(captured) = reader.packet()? {
            let time_ns = u64::from(captured.seconds) * 1_000_000_000
                + u64::from(captured.fraction) * reader.fraction_ns();
            let first_ns = *first_ns.get_or_insert(time_ns);
            if captured.octets.len() < captured.wire_octets as usize {
                skipped.cut_off += 1;
                continue;
            }
            let Some(octets) = framed(captured.octets, reader.link(), ethernet) else {
                skipped.too_long += 1;
                continue;
            };
            held += octets.len() as u64;
            if held > CAPTURE_OCTETS_MAX {
                return Err(ReplayError::TooLarge);
            }
            // A capture of several interfaces may step back; a packet is then sent at once.
            packets.push(Packet { at_ns: time_ns.saturating_sub(first_ns), octets });
        }
        let Some(last) = packets.last() else {
            return Err(ReplayError::Empty(skipped.cut_off, skipped.too_long));
        };
        let gap = last.at_ns / (packets.len() as u64 - 1).max(1);
        let round_ns = last.at_ns + gap;
        Ok(Self { packets, at: 0, loops_left: loops, timing, before_ns: 0, round_ns, skipped })
    }

    /// What of the file is not sent.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Packets of one round.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.packets.len()
    }
}

/// The frame to send, at least as long as Ethernet wants; `None` when it is too long.
fn framed(mut octets: Vec<u8>, link: Link, ethernet: Option<Ethernet>) -> Option<Vec<u8>> {
    if link == Link::Ip {
        let ethertype =
            if octets.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
        octets.splice(..0, [&[0; 12][..], &ethertype].concat());
    }
    let least = usize::from(FRAME_OCTETS_MIN - CHECK_SEQUENCE_OCTETS);
    if octets.len() < least {
        octets.resize(least, 0);
    }
    if let Some(ethernet) = ethernet {
        octets[..6].copy_from_slice(&ethernet.destination);
        octets[6..12].copy_from_slice(&ethernet.source);
    }
    (octets.len() <= usize::from(FRAME_OCTETS_MAX - CHECK_SEQUENCE_OCTETS)).then_some(octets)
}

impl Source for Replay {
    fn next_octets(&self) -> Option<u16> {
        let packet = self.packets.get(self.at).filter(|_| self.loops_left > 0)?;
        Some(packet.octets.len() as u16 + CHECK_SEQUENCE_OCTETS)
    }

    fn smallest(&self) -> u16 {
        let smallest = self.packets.iter().map(|packet| packet.octets.len()).min().unwrap_or_default();
        smallest as u16 + CHECK_SEQUENCE_OCTETS
    }

    fn write(&mut self, _now_ns: u64, out: &mut [u8]) {
        out.copy_from_slice(&self.packets[self.at].octets);
        self.at += 1;
        if self.at == self.packets.len() {
            self.at = 0;
            self.loops_left -= 1;
            self.before_ns += self.round_ns;
        }
    }

    fn not_before_ns(&self) -> u64 {
        match self.timing {
            Timing::Paced => 0,
            Timing::File { speed } => {
                let since = self.before_ns + self.packets.get(self.at).map_or(0, |packet| packet.at_ns);
                (since as f64 / speed) as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_port::CaptureWriter;

    const ETHERNET: Ethernet = Ethernet { source: [2; 6], destination: [4; 6] };

    fn capture(link: Link, packets: &[(u64, Vec<u8>)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = CaptureWriter::new(File::create(file.path()).unwrap(), link).unwrap();
        packets.iter().for_each(|(us, octets)| writer.packet(*us, octets).unwrap());
        writer.flush().unwrap();
        file
    }

    fn rounds(replay: &mut Replay) -> Vec<(u64, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(octets) = replay.next_octets() {
            let (at, mut out) = (replay.not_before_ns(), vec![0; usize::from(octets) - 4]);
            replay.write(0, &mut out);
            sent.push((at, out));
        }
        sent
    }

    #[test]
    fn a_capture_is_sent_with_its_own_times_as_often_as_asked() {
        let (one, two) = (vec![1; 100], vec![2; 200]);
        let file = capture(Link::Ethernet, &[(5_000_000, one.clone()), (5_000_300, two.clone())]);
        let mut replay = Replay::open(file.path(), None, Timing::File { speed: 1.0 }, 2).unwrap();
        let sent = rounds(&mut replay);
        assert_eq!(sent, [(0, one.clone()), (300_000, two.clone()), (600_000, one), (900_000, two)]);
        let mut faster = Replay::open(file.path(), None, Timing::File { speed: 3.0 }, 1).unwrap();
        assert_eq!(rounds(&mut faster)[1].0, 100_000);
        let mut paced = Replay::open(file.path(), None, Timing::Paced, 1).unwrap();
        assert!(rounds(&mut paced).iter().all(|(at, _)| *at == 0));
    }

    #[test]
    fn raw_packets_get_a_header_and_others_new_addresses() {
        let file = capture(Link::Ip, &[(0, vec![0x45; 40]), (1, vec![0x60; 90])]);
        assert!(matches!(Replay::open(file.path(), None, Timing::Paced, 1), Err(ReplayError::NoEthernet)));
        let mut replay = Replay::open(file.path(), Some(ETHERNET), Timing::Paced, 1).unwrap();
        let sent = rounds(&mut replay);
        assert_eq!(sent[0].1[..16], [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 8, 0, 0x45, 0x45]);
        assert_eq!((sent[0].1.len(), &sent[0].1[54..]), (60, &[0; 6][..]));
        assert_eq!((sent[1].1.len(), &sent[1].1[12..15]), (104, &[0x86, 0xdd, 0x60][..]));
        let file = capture(Link::Ethernet, &[(0, vec![9; 70])]);
        let mut replay = Replay::open(file.path(), Some(ETHERNET), Timing::Paced, 1).unwrap();
        assert_eq!(rounds(&mut replay)[0].1[..14], [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 9, 9]);
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_nothing_at_all_is_refused() {
        let file = capture(Link::Ethernet, &[(0, vec![1; 1515]), (1, vec![1; 1514])]);
        let replay = Replay::open(file.path(), None, Timing::Paced, 1).unwrap();
        assert_eq!((replay.packets(), replay.skipped()), (1, Skipped { cut_off: 0, too_long: 1 }));
        let file = capture(Link::Ethernet, &[(0, vec![1; 1515])]);
        assert!(matches!(Replay::open(file.path(), None, Timing::Paced, 1), Err(ReplayError::Empty(0, 1))));
        let file = capture(Link::Ethernet, &[]);
        assert!(matches!(Replay::open(file.path(), None, Timing::Paced, 1), Err(ReplayError::Empty(0, 0))));
    }
}
