//! Where it is measured: three namespaces in a row, the middle one under test.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use warren_bpf::{Attach, Generator, Locality, Steering};
use warren_port::af_xdp::{AfXdpConfig, AfXdpPort, interface_index};
use warren_port::{Umem, UmemConfig, XdpAttach};

#[path = "../../../bpf/tests/kernel/lab.rs"]
mod lab;

use super::proof::Tap;
use lab::{End, Namespace, cable};

pub(crate) const HOST_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x01];
pub(crate) const NEAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x02];
pub(crate) const FAR_MAC: [u8; 6] = [0x02, 0, 0, 0, 2, 0x02];
/// Nobody's: a frame to the receiver's own address would cost the measured core the receiver's error path.
pub(crate) const NOBODYS_MAC: [u8; 6] = [0x02, 0, 0, 0, 2, 0x77];
pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 2);
pub(crate) const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
pub(crate) const DESTINATION: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 1);

/// Room for a tunnel's headers around a frame of 1518 octets, so that nothing has to be fragmented.
pub(crate) const LINK_MTU: u16 = 1600;

/// Octets of the check sequence, which is not in the frames that software sees.
const CHECK_SEQUENCE_OCTETS: usize = 4;
/// Ethernet, IPv4 and UDP headers.
const HEADER_OCTETS: usize = 14 + 20 + 8;

/// The namespaces, and the frame that is sent through them.
pub(crate) struct Topology {
    host: Namespace,
    gateway: Namespace,
    peer: Namespace,
    frame: Vec<u8>,
}

/// The middle one's two ports over one memory.
pub(crate) struct Station {
    pub(crate) umem: Umem,
    pub(crate) near: AfXdpPort,
    pub(crate) far: AfXdpPort,
    /// Attached as long as it is measured.
    pub(crate) steering: [Steering; 2],
}

impl Topology {
    pub(crate) fn new(frame_octets: usize) -> Result<Self, String> {
        let topology = Self {
            host: Namespace::new("bench_h")?,
            gateway: Namespace::new("bench_g")?,
            peer: Namespace::new("bench_p")?,
            frame: frame(frame_octets)?,
        };
        let end = |namespace, interface, mac, address| End { namespace, interface, mac, address };
        cable(
            &end(&topology.host, "h0", HOST_MAC, "10.99.1.1/24"),
            &end(&topology.gateway, "n0", NEAR_MAC, "10.99.1.2/24"),
            1,
        )?;
        cable(
            &end(&topology.gateway, "f0", FAR_MAC, "10.99.2.2/24"),
            &end(&topology.peer, "p0", [0x02, 0, 0, 0, 2, 0x01], "10.99.2.1/24"),
            1,
        )?;
        let mtu = LINK_MTU.to_string();
        let ends = [
            (&topology.host, "h0"),
            (&topology.gateway, "n0"),
            (&topology.gateway, "f0"),
            (&topology.peer, "p0"),
        ];
        for (namespace, interface) in ends {
            namespace.ip(&["link", "set", interface, "mtu", &mtu])?;
        }
        Ok(topology)
    }

    /// What is sent.
    pub(crate) fn sent(&self) -> &[u8] {
        &self.frame
    }

    /// A look at what arrives behind the gateway.
    pub(crate) fn tap(&self) -> Result<Tap, String> {
        self.peer.enter(Tap::open)
    }

    pub(crate) fn station(&self, generic: bool) -> Result<Station, String> {
        self.gateway.enter(|| {
            let config = UmemConfig { frames: 16_384, ..UmemConfig::default() };
            let mut umem = Umem::new(&config).map_err(|error| error.to_string())?;
            let (near, near_program) = open(&mut umem, "n0", NEAR_MAC, generic)?;
            let (far, far_program) = open(&mut umem, "f0", FAR_MAC, generic)?;
            Ok(Station { umem, near, far, steering: [near_program, far_program] })
        })
    }

    /// Sends until `stop` says so, on the calling thread's core.
    pub(crate) fn generate(&self, stop: &AtomicBool) -> Result<(), String> {
        // Long runs: each begins by making its pages. A second is what we wait for the last of them.
        const RUN: u32 = 1 << 20;
        self.host.enter(|| {
            let generator = Generator::load().map_err(|error| error.to_string())?;
            let interface = interface_index("h0").map_err(|error| error.to_string())?;
            while !stop.load(Ordering::Relaxed) {
                generator.send(interface, &self.frame, RUN).map_err(|error| error.to_string())?;
            }
            Ok(())
        })
    }
}

fn open(
    umem: &mut Umem,
    interface: &str,
    mac: [u8; 6],
    generic: bool,
) -> Result<(AfXdpPort, Steering), String> {
    let attach = if generic { XdpAttach::Generic } else { XdpAttach::Native };
    let addresses = [NEAR, FAR].map(IpAddr::V4).into_iter().collect();
    let index = interface_index(interface).map_err(|error| error.to_string())?;
    let steering = Steering::attach(index, Attach::Only(attach), &Locality { mac, addresses })
        .map_err(|error| error.to_string())?;
    let port =
        AfXdpPort::open(umem, &AfXdpConfig::new(interface, attach)).map_err(|error| error.to_string())?;
    for (queue, socket) in port.queue_fds() {
        steering.register(queue, socket).map_err(|error| error.to_string())?;
    }
    Ok((port, steering))
}

/// A UDP packet from the host to somebody behind the gateway.
pub(crate) fn frame(octets: usize) -> Result<Vec<u8>, String> {
    let room = octets.checked_sub(CHECK_SEQUENCE_OCTETS + HEADER_OCTETS);
    let payload = room.filter(|_| octets <= 1518).ok_or("frames have between 46 and 1518 octets")?;
    let mut frame = [&NEAR_MAC[..], &HOST_MAC[..], &[0x08, 0x00]].concat();
    frame.extend([0x45, 0]);
    frame.extend(((28 + payload) as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend(SOURCE.octets());
    frame.extend(DESTINATION.octets());
    let sum: u32 = frame[14..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes());
    for field in [4321u16, 1234, (8 + payload) as u16, 0] {
        frame.extend(field.to_be_bytes());
    }
    frame.resize(frame.len() + payload, 0x5a);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_octets_that_were_asked_for() {
        for octets in [64, 512, 1518] {
            assert_eq!(frame(octets).unwrap().len() + 4, octets);
        }
        assert!(frame(45).is_err() && frame(1519).is_err());
    }

    #[test]
    fn the_header_checksum_is_right() {
        let frame = frame(64).unwrap();
        let words = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
