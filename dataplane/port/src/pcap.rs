//! Classic capture files (draft-ietf-opsawg-pcap), as a format and as a port that receives from one file and transmits
//! into another. Both byte orders and both resolutions are read; our own order and microseconds are written.
//!
//! A port has no clock: what it writes is stamped with a running number of microseconds, which keeps the order and says
//! nothing about time.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::limits::CAPTURE_RECORD_OCTETS_MAX;
use crate::{Frame, Link, Port, PortCounters, PortMode, Umem};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
const LINKTYPE_RAW: u32 = 101;
const LINKTYPE_IPV4: u32 = 228;
const LINKTYPE_IPV6: u32 = 229;
const SNAPSHOT_OCTETS: u32 = 65_535;

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file itself.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It begins with something else.
    #[error("no classic capture file (pcapng is not read)")]
    Magic,
    /// Neither Ethernet nor raw IP.
    #[error("link type {0} is neither Ethernet (1) nor raw IP (101, 228, 229)")]
    LinkType(u32),
    /// A record longer than any capture holds.
    #[error("a record of {0} octets: the file is damaged")]
    Record(u32),
}

/// One packet of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedPacket {
    /// Seconds and fractions of them, in the file's own resolution.
    pub seconds: u32,
    /// See `seconds`.
    pub fraction: u32,
    /// Octets that the packet had on the wire; more than `octets` holds when the capture cut it.
    pub wire_octets: u32,
    /// What was captured.
    pub octets: Vec<u8>,
}

/// Reads a capture packet by packet.
pub struct CaptureReader<R> {
    input: R,
    link: Link,
    is_swapped: bool,
    fraction_ns: u64,
}

/// Writes a capture packet by packet.
pub struct CaptureWriter<W> {
    output: W,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// When it is no capture that we understand.
    pub fn new(mut input: R) -> Result<Self, CaptureError> {
        let mut header = [0; 24];
        input.read_exact(&mut header)?;
        let magic = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        let (is_swapped, fraction_ns) = match (magic, magic.swap_bytes()) {
            (MAGIC_MICROSECONDS, _) => (false, 1_000),
            (MAGIC_NANOSECONDS, _) => (false, 1),
            (_, MAGIC_MICROSECONDS) => (true, 1_000),
            (_, MAGIC_NANOSECONDS) => (true, 1),
            _ => return Err(CaptureError::Magic),
        };
        let mut reader = Self { input, link: Link::Ethernet, is_swapped, fraction_ns };
        // The upper bits say whether frames end with a check sequence, which none of ours do.
        reader.link = match reader.word(&header, 20) & 0x0fff_ffff {
            LINKTYPE_ETHERNET => Link::Ethernet,
            LINKTYPE_RAW | LINKTYPE_IPV4 | LINKTYPE_IPV6 => Link::Ip,
            other => return Err(CaptureError::LinkType(other)),
        };
        Ok(reader)
    }

    /// What its packets begin with.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Nanoseconds of one `fraction` of its packets: 1 or 1000.
    pub fn fraction_ns(&self) -> u64 {
        self.fraction_ns
    }

    /// The next packet, `None` at the end.
    ///
    /// # Errors
    /// When the file ends within a record, or a record cannot be true.
    pub fn packet(&mut self) -> Result<Option<CapturedPacket>, CaptureError> {
        let mut header = [0; 16];
        match self.input.read(&mut header[..1])? {
            0 => return Ok(None),
            _ => self.input.read_exact(&mut header[1..])?,
        }
        let [seconds, fraction, captured, wire_octets] = [0, 4, 8, 12].map(|at| self.word(&header, at));
        if captured > CAPTURE_RECORD_OCTETS_MAX {
            return Err(CaptureError::Record(captured));
        }
        let mut octets = vec![0; captured as usize];
        self.input.read_exact(&mut octets)?;
        Ok(Some(CapturedPacket { seconds, fraction, wire_octets, octets }))
    }

    fn word(&self, header: &[u8], at: usize) -> u32 {
        let word = u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if self.is_swapped { word.swap_bytes() } else { word }
    }
}

impl<W: Write> CaptureWriter<W> {
    /// Writes the file's header.
    ///
    /// # Errors
    /// What the output said.
    pub fn new(mut output: W, link: Link) -> io::Result<Self> {
        let linktype = match link {
            Link::Ethernet => LINKTYPE_ETHERNET,
            Link::Ip => LINKTYPE_RAW,
        };
        output.write_all(&MAGIC_MICROSECONDS.to_ne_bytes())?;
        output.write_all(&2u16.to_ne_bytes())?;
        output.write_all(&4u16.to_ne_bytes())?;
        for word in [0, 0, SNAPSHOT_OCTETS, linktype] {
            output.write_all(&word.to_ne_bytes())?;
        }
        Ok(Self { output })
    }

    /// Writes one packet, stamped with `microseconds`.
    ///
    /// # Errors
    /// What the output said.
    pub fn packet(&mut self, microseconds: u64, octets: &[u8]) -> io::Result<()> {
        let length = u32::try_from(octets.len()).map_err(io::Error::other)?;
        let seconds = (microseconds / 1_000_000) as u32;
        for word in [seconds, (microseconds % 1_000_000) as u32, length, length] {
            self.output.write_all(&word.to_ne_bytes())?;
        }
        self.output.write_all(octets)
    }

    /// Hands everything on to the file.
    ///
    /// # Errors
    /// What the output said.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// A port that receives from a capture file and transmits into one.
pub struct PcapPort {
    name: String,
    link: Link,
    input: Option<CaptureReader<BufReader<File>>>,
    output: Option<CaptureWriter<BufWriter<File>>>,
    counters: PortCounters,
}

impl PcapPort {
    /// Opens `input` to receive from and creates `output` to transmit into. Without an input nothing is received and
    /// frames begin with an Ethernet header; without an output everything that is transmitted is counted and forgotten.
    ///
    /// # Errors
    /// When `input` cannot be read as a capture, or `output` cannot be created.
    pub fn open(name: &str, input: Option<&Path>, output: Option<&Path>) -> Result<Self, CaptureError> {
        let input = match input {
            Some(path) => Some(CaptureReader::new(BufReader::new(File::open(path)?))?),
            None => None,
        };
        let link = input.as_ref().map_or(Link::Ethernet, CaptureReader::link);
        let output = match output {
            Some(path) => Some(CaptureWriter::new(BufWriter::new(File::create(path)?), link)?),
            None => None,
        };
        Ok(Self { name: name.to_owned(), link, input, output, counters: PortCounters::default() })
    }

    /// Whether all that there was has been received.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.input.is_none()
    }

    /// The next packet that a frame can hold whole. A damaged file ends here, and the damage is counted once.
    fn next(&mut self) -> Option<CapturedPacket> {
        match self.input.as_mut()?.packet() {
            Ok(Some(packet)) => Some(packet),
            Ok(None) => {
                self.input = None;
                None
            }
            Err(_) => {
                self.counters.receive_dropped += 1;
                self.input = None;
                None
            }
        }
    }
}

impl Port for PcapPort {
    fn link(&self) -> Link {
        self.link
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize {
        let mut received = 0;
        while received < max {
            let Some(mut frame) = umem.allocate() else { break };
            let Some(packet) = self.next() else {
                umem.release(frame);
                break;
            };
            let is_whole = packet.octets.len() == packet.wire_octets as usize;
            match frame.push_back_stale(packet.octets.len()).filter(|_| is_whole) {
                Some(octets) => octets.copy_from_slice(&packet.octets),
                None => {
                    self.counters.receive_dropped += 1;
                    umem.release(frame);
                    continue;
                }
            }
            self.counters.received += 1;
            self.counters.received_octets += frame.len() as u64;
            frames.push(frame);
            received += 1;
        }
        received
    }

    fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        let taken = frames.len();
        for frame in frames.drain(..) {
            let stamp = self.counters.transmitted + self.counters.transmit_failed;
            match self.output.as_mut().map_or(Ok(()), |output| output.packet(stamp, frame.bytes())) {
                Ok(()) => {
                    self.counters.transmitted += 1;
                    self.counters.transmitted_octets += frame.len() as u64;
                }
                Err(_) => self.counters.transmit_failed += 1,
            }
            umem.release(frame);
        }
        if taken > 0 && self.output.as_mut().is_some_and(|output| output.flush().is_err()) {
            self.counters.transmit_failed += 1;
        }
        taken
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn mode(&self) -> PortMode {
        PortMode::Pcap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UmemConfig;

    fn umem() -> Umem {
        Umem::new(&UmemConfig { frames: 4, frame_octets: 2048, headroom: 256, huge_pages: false }).unwrap()
    }

    fn capture(link: Link, packets: &[&[u8]]) -> Vec<u8> {
        let mut writer = CaptureWriter::new(Vec::new(), link).unwrap();
        for (n, packet) in packets.iter().enumerate() {
            writer.packet(n as u64 * 600_000, packet).unwrap();
        }
        writer.output
    }

    #[test]
    fn what_is_written_is_read_back() {
        let octets = capture(Link::Ip, &[b"one", b"", b"three"]);
        let mut reader = CaptureReader::new(&octets[..]).unwrap();
        assert_eq!((reader.link(), reader.fraction_ns()), (Link::Ip, 1_000));
        let first = reader.packet().unwrap().unwrap();
        assert_eq!((first.octets.as_slice(), first.wire_octets), (&b"one"[..], 3));
        assert_eq!(reader.packet().unwrap().unwrap().octets, b"");
        let third = reader.packet().unwrap().unwrap();
        assert_eq!((third.seconds, third.fraction), (1, 200_000));
        assert!(reader.packet().unwrap().is_none());
    }

    #[test]
    fn the_other_byte_order_and_nanoseconds_are_read() {
        let mut octets = Vec::new();
        for word in [MAGIC_NANOSECONDS, 0x0002_0004, 0, 0, SNAPSHOT_OCTETS, LINKTYPE_ETHERNET, 5, 6, 2, 9] {
            octets.extend(word.swap_bytes().to_ne_bytes());
        }
        octets.extend(b"ab");
        let mut reader = CaptureReader::new(&octets[..]).unwrap();
        assert_eq!((reader.link(), reader.fraction_ns()), (Link::Ethernet, 1));
        let expected = CapturedPacket { seconds: 5, fraction: 6, wire_octets: 9, octets: b"ab".to_vec() };
        assert_eq!(reader.packet().unwrap(), Some(expected));
    }

    #[test]
    fn damaged_captures_are_refused() {
        let good = capture(Link::Ethernet, &[b"abc"]);
        assert!(matches!(CaptureReader::new(&good[..23]), Err(CaptureError::Io(_))));
        let mut other = good.clone();
        other[0] ^= 1;
        assert!(matches!(CaptureReader::new(&other[..]), Err(CaptureError::Magic)));
        let mut other = good.clone();
        other[20] = 113;
        assert!(matches!(CaptureReader::new(&other[..]), Err(CaptureError::LinkType(113))));
        let mut other = good.clone();
        other[32..36].copy_from_slice(&(CAPTURE_RECORD_OCTETS_MAX + 1).to_ne_bytes());
        assert!(matches!(CaptureReader::new(&other[..]).unwrap().packet(), Err(CaptureError::Record(_))));
        for end in 25..good.len() {
            assert!(CaptureReader::new(&good[..end]).unwrap().packet().is_err(), "{end}");
        }
    }

    #[test]
    fn a_port_passes_a_capture_from_file_to_file() {
        let scratch = tempfile::tempdir().unwrap();
        let (input, output) = (scratch.path().join("in.pcap"), scratch.path().join("out.pcap"));
        let long = [7; 1793];
        std::fs::write(&input, capture(Link::Ip, &[b"one", &long, b"two", b"three"])).unwrap();
        let mut umem = umem();
        let mut port = PcapPort::open("capture", Some(&input), Some(&output)).unwrap();
        assert_eq!(port.link(), Link::Ip);
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut umem, &mut frames, 2), 2);
        assert_eq!(port.receive(&mut umem, &mut frames, 2), 1);
        assert_eq!(port.transmit(&mut umem, &mut frames), 3);
        assert_eq!(port.receive(&mut umem, &mut frames, 2), 0);
        assert!(port.is_exhausted());
        let counters = port.counters();
        assert_eq!((counters.received, counters.receive_dropped, counters.transmitted), (3, 1, 3));
        assert_eq!(umem.outstanding(), 0);

        let written = std::fs::read(&output).unwrap();
        let mut reader = CaptureReader::new(&written[..]).unwrap();
        for packet in [&b"one"[..], b"two", b"three"] {
            assert_eq!(reader.packet().unwrap().unwrap().octets, packet);
        }
        assert!(reader.packet().unwrap().is_none());
    }

    #[test]
    fn a_capture_that_ends_within_a_packet_ends_the_port_and_is_counted() {
        let scratch = tempfile::tempdir().unwrap();
        let input = scratch.path().join("in.pcap");
        let good = capture(Link::Ethernet, &[b"one", b"two"]);
        std::fs::write(&input, &good[..good.len() - 1]).unwrap();
        let mut umem = umem();
        let mut port = PcapPort::open("capture", Some(&input), None).unwrap();
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut umem, &mut frames, 9), 1);
        assert!(port.is_exhausted());
        assert_eq!(port.counters().receive_dropped, 1);
        assert_eq!(port.transmit(&mut umem, &mut frames), 1);
        assert_eq!(umem.outstanding(), 0);
    }
}
