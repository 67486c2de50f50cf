//! The listener on the wire between the gateways: an `AF_PACKET` socket in the wide area's namespace.
//!
//! It runs as a child of its own (`xtask capture`, started through `ip netns exec`), tells its counts once a second
//! as one line of JSON, and ends when its standard input does. So it never outlives whoever started it.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    self, AddressFamily, RecvFlags, SocketAddrAny, SocketFlags, SocketType, netdevice, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::failure::Context;
use crate::flows::Flows;
use crate::frame::{Inside, Kind, classify};
use crate::{Failure, limits};

/// Octets of an Ethernet header.
const ETHERNET_OCTETS: usize = 14;

/// What was seen so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wire {
    /// Frames in all, each counted once, where it entered the wide area.
    pub frames: u64,
    /// Octets of those frames.
    pub octets: u64,
    /// ESP straight on IP.
    pub esp: u64,
    /// ESP inside UDP.
    pub udp_esp: u64,
    /// IKE messages.
    pub ike: u64,
    /// NAT keepalives.
    pub keepalives: u64,
    /// ARP and neighbour discovery.
    pub neighbour: u64,
    /// ICMP between outer addresses.
    pub icmp: u64,
    /// Later fragments.
    pub fragments: u64,
    /// Anything else.
    pub other: u64,
    /// Frames that showed something of the inside.
    pub clear_text_leaks: u64,
    /// The first octets of the first leak in hex, for whoever has to find it.
    pub first_leak: Option<String>,
    /// Frames the kernel could not hand over in time: the verdict does not cover them.
    pub missed: u64,
    /// Seconds since 1970 of the first protected frame.
    pub first_protected_s: Option<f64>,
    /// Seconds since 1970 of the first IKE message.
    pub first_ike_s: Option<f64>,
    /// Probes and answers to them, each counted once on every wire that it passed.
    #[serde(default)]
    pub discovery: u64,
    /// The first of them.
    #[serde(default)]
    pub messages: Vec<Message>,
    /// Who spoke with whom on which wire, where that was asked for.
    #[serde(default)]
    pub flows: Flows,
}

/// A discovery message as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Where it entered the wire.
    pub interface: String,
    /// Seconds since 1970.
    pub at_s: f64,
    /// The IP packet, as far as it was captured, in hex.
    pub packet: String,
}

impl Wire {
    /// ESP in either wrapping.
    pub fn protected(&self) -> u64 {
        self.esp + self.udp_esp
    }

    fn count(&mut self, kind: Kind, frame: &[u8], octets: u64) {
        self.frames += 1;
        self.octets += octets;
        match kind {
            Kind::Esp => self.esp += 1,
            Kind::UdpEsp => self.udp_esp += 1,
            Kind::Ike => {
                self.ike += 1;
                self.first_ike_s.get_or_insert_with(unix_seconds);
            }
            Kind::Probe | Kind::Response => self.discovery += 1,
            Kind::Keepalive => self.keepalives += 1,
            Kind::Neighbour => self.neighbour += 1,
            Kind::Icmp => self.icmp += 1,
            Kind::Fragment => self.fragments += 1,
            Kind::Other => self.other += 1,
            Kind::Leak => {
                self.clear_text_leaks += 1;
                self.first_leak.get_or_insert_with(|| {
                    frame.iter().take(96).map(|octet| format!("{octet:02x}")).collect::<String>()
                });
            }
        }
        if matches!(kind, Kind::Esp | Kind::UdpEsp) && self.first_protected_s.is_none() {
            self.first_protected_s = Some(unix_seconds());
        }
    }
}

impl Message {
    fn new(interface: &str, frame: &[u8]) -> Self {
        let packet = frame.iter().skip(ETHERNET_OCTETS).map(|octet| format!("{octet:02x}")).collect();
        Self { interface: interface.to_owned(), at_s: unix_seconds(), packet }
    }
}

/// Seconds since 1970, the one clock that two processes share without further ado.
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What to listen for.
struct Order {
    interfaces: Vec<String>,
    inside: Inside,
    /// Interfaces where the inside may be seen: what is behind the last gateway is in clear.
    open: Vec<String>,
    has_flows: bool,
    pcap: Option<PathBuf>,
}

impl Order {
    /// What a frame that came by there must not show.
    fn hidden<'a>(&'a self, interface: &str, nothing: &'a Inside) -> &'a Inside {
        if self.open.iter().any(|open| open == interface) { nothing } else { &self.inside }
    }
}

/// `xtask capture --interface NAME… --inside PREFIX… [--open NAME…] [--marker TEXT] [--pcap FILE] [--may-probe] [--flows]`
pub fn main(mut arguments: Arguments) -> Result<(), Failure> {
    let interfaces = arguments.values("--interface")?;
    let prefixes = arguments.values("--inside")?;
    let prefixes =
        prefixes.iter().map(|text| text.parse()).collect::<Result<_, String>>().map_err(Failure::new)?;
    let marker = arguments.value("--marker")?.unwrap_or_default().into_bytes();
    let pcap = arguments.value("--pcap")?.map(PathBuf::from);
    let may_probe = arguments.flag("--may-probe");
    let (open, has_flows) = (arguments.values("--open")?, arguments.flag("--flows"));
    arguments.finish()?;
    listen(&Order { interfaces, inside: Inside { prefixes, marker, may_probe }, open, has_flows, pcap })
}

fn listen(order: &Order) -> Result<(), Failure> {
    let protocol = net::eth::ALL;
    let socket =
        net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))
            .context("a packet socket")?;
    // Without the privilege for more, the ordinary limit has to do; what is missed is counted either way.
    if sockopt::set_socket_recv_buffer_size_force(&socket, limits::CAPTURE_BUFFER_OCTETS).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, limits::CAPTURE_BUFFER_OCTETS)
            .context("receive buffer")?;
    }
    let mut wanted = BTreeMap::new();
    for name in &order.interfaces {
        let index = netdevice::name_to_index(&socket, name).context(format!("interface {name}"))?;
        wanted.insert(index, name.clone());
    }
    let mut pcap = order.pcap.as_deref().map(Pcap::create).transpose()?;
    let (mut wire, nothing) = (Wire::default(), Inside::default());
    tell(&wire)?;
    let mut told = Instant::now();
    // True when there may be more.
    let mut read = || -> Result<bool, Failure> {
        let mut buffer = [0; limits::CAPTURE_FRAME_OCTETS];
        let mut has_more = true;
        for _ in 0..limits::CAPTURE_BATCH {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let (taken, octets, from) = match net::recvfrom(&socket, &mut buffer[..], flags) {
                Ok(received) => received,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    has_more = false;
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let arrived = from.as_ref().and_then(Arrival::of).filter(Arrival::is_inbound);
            let Some(interface) = arrived.and_then(|arrival| wanted.get(&arrival.interface)) else {
                continue;
            };
            let frame = &buffer[..taken];
            let kind = classify(frame, order.hidden(interface, &nothing));
            wire.count(kind, frame, octets as u64);
            if order.has_flows {
                wire.flows.count(interface, kind, frame, wire.frames);
            }
            if matches!(kind, Kind::Probe | Kind::Response) && wire.messages.len() < limits::MESSAGES_KEPT {
                wire.messages.push(Message::new(interface, frame));
            }
            if let Some(pcap) = &mut pcap {
                pcap.write(frame, octets)?;
            }
        }
        if told.elapsed() > limits::CAPTURE_TELLS {
            tell(&wire)?;
            told = Instant::now();
        }
        Ok(has_more)
    };
    while wait(&socket)? {
        read()?;
    }
    // On a busy machine much is still waiting in the socket, and the verdict is about that too.
    for _ in 0..limits::CAPTURE_LAST_BATCHES {
        if !read()? {
            break;
        }
    }
    wire.missed = missed();
    tell(&wire)
}

/// Waits for frames; false once standard input has ended.
fn wait(socket: &OwnedFd) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    let mut descriptors = [PollFd::new(socket, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
    let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    match poll(&mut descriptors, Some(&patience)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    // Nothing is ever written to us: readable means ended.
    Ok(descriptors[1].revents().is_empty())
}

fn tell(wire: &Wire) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, wire)?;
    out.write_all(b"\n").and_then(|()| out.flush()).context("telling the counts")
}

/// Frames dropped at our socket, from the only place that shows them without a socket option of its own.
fn missed() -> u64 {
    let Ok(output) = Command::new("ss").args(["-0", "-m", "-a", "-H"]).output() else { return 0 };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("skmem:(")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|fields| fields.split(','))
        .filter_map(|field| field.strip_prefix('d').and_then(|number| number.parse::<u64>().ok()))
        .sum()
}

/// The two fields of a `sockaddr_ll` that say where a frame came by.
struct Arrival {
    interface: u32,
    packet_type: u8,
}

impl Arrival {
    /// `SocketAddrAny` shows the octets of an address family it does not know only to a hasher; ours keeps them.
    fn of(address: &SocketAddrAny) -> Option<Self> {
        if address.address_family() != AddressFamily::PACKET {
            return None;
        }
        let mut octets = Octets::default();
        address.hash(&mut octets);
        // Slices hash their length first, as one usize; then sockaddr_ll as packet(7) lays it out.
        let start = octets.0.len().checked_sub(address.addr_len() as usize)?;
        let fields = octets.0.get(start..)?;
        Some(Self {
            interface: u32::from_ne_bytes(fields.get(4..8)?.try_into().ok()?),
            packet_type: *fields.get(10)?,
        })
    }

    /// `PACKET_OUTGOING` is 4: a frame on its way out of the bridge was already counted on its way in.
    fn is_inbound(&self) -> bool {
        self.packet_type != 4
    }
}

#[derive(Default)]
struct Octets(Vec<u8>);

impl Hasher for Octets {
    fn write(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// A classic pcap file, for `tcpdump -r` and Wireshark.
struct Pcap(BufWriter<File>);

impl Pcap {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).context(path.display())?;
        let mut writer = BufWriter::new(file);
        let snap = limits::CAPTURE_FRAME_OCTETS as u32;
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, snap, 1_u32] {
            writer.write_all(&word.to_ne_bytes()).context(path.display())?;
        }
        Ok(Self(writer))
    }

    fn write(&mut self, frame: &[u8], octets: usize) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for word in [now.as_secs() as u32, now.subsec_micros(), frame.len() as u32, octets as u32] {
            self.0.write_all(&word.to_ne_bytes()).context("pcap file")?;
        }
        self.0.write_all(frame).context("pcap file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_the_line_they_are_told_in() {
        let mut wire = Wire::default();
        wire.count(Kind::Leak, &[1, 2], 60);
        wire.count(Kind::Esp, &[], 100);
        let told: Wire = serde_json::from_str(&serde_json::to_string(&wire).unwrap()).unwrap();
        assert_eq!((told.clear_text_leaks, told.protected(), told.octets), (1, 1, 160));
        assert_eq!(told.first_leak.as_deref(), Some("0102"));
        assert!(told.first_protected_s.is_some());
    }
}
