//! Which receive queue a network card puts a flow into: its table of classification rules and its hash, by the kernel's
//! `ioctl(SIOCETHTOOL)` (`linux/ethtool.h`; `ethtool -N` and `ethtool -n` show and set the same).
//!
//! Many drivers can nothing of this, others only some of it, and each says so in its own way. So a refusal is an answer
//! here, and nothing that depends on one: packets that come in at another worker's queue are handed over.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::limits::{FLOW_RULES_READ_MAX, INTERFACE_NAME_OCTETS_MAX};

/// Packets that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowMatch {
    /// ESP with this SPI, whatever its addresses, in IPv6 or in IPv4.
    Esp {
        /// Over IPv6.
        ipv6: bool,
        /// The SPI.
        spi: u32,
    },
    /// UDP from there to here. Both addresses are of one family.
    Udp {
        /// The sender.
        remote: SocketAddr,
        /// Ourselves.
        local: SocketAddr,
    },
}

/// One rule of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRule {
    /// What it is about.
    pub matches: FlowMatch,
    /// The receive queue that these packets come to.
    pub queue: u32,
    /// Its place in the card's table; lower ones win where the card has priorities.
    pub location: u32,
}

/// How full a card's table is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Rules it holds.
    pub capacity: u32,
    /// Places that are taken, by whomever.
    pub taken: Vec<u32>,
}

/// A card's table of flow rules. Every error is what the driver said; `Unsupported` (`EOPNOTSUPP`) is the usual one of a
/// card without a table.
pub trait FlowTable: Send {
    /// How many places there are, and which are taken.
    ///
    /// # Errors
    /// The driver has no table, or there are more than [`FLOW_RULES_READ_MAX`] rules in it.
    fn places(&mut self) -> io::Result<Places>;

    /// The rule at that place; `None` for one of a kind that is never inserted here.
    ///
    /// # Errors
    /// There is none, or the driver does not tell.
    fn rule(&mut self, location: u32) -> io::Result<Option<FlowRule>>;

    /// Puts a rule into its place.
    ///
    /// # Errors
    /// The driver cannot match this kind of packet, has no room, or has no such queue.
    fn insert(&mut self, rule: &FlowRule) -> io::Result<()>;

    /// Empties a place.
    ///
    /// # Errors
    /// It is empty.
    fn remove(&mut self, location: u32) -> io::Result<()>;

    /// What is hashed of ESP to choose a queue ([`HASH_ADDRESSES`] and [`HASH_SPI`] among others).
    ///
    /// # Errors
    /// The driver does not tell.
    fn esp_hash(&mut self, ipv6: bool) -> io::Result<u64>;

    /// Chooses what is hashed of ESP.
    ///
    /// # Errors
    /// The driver cannot, or needs `CAP_NET_ADMIN`.
    fn set_esp_hash(&mut self, ipv6: bool, fields: u64) -> io::Result<()>;
}

/// `RXH_IP_SRC | RXH_IP_DST`.
pub const HASH_ADDRESSES: u64 = 1 << 4 | 1 << 5;
/// `RXH_L4_B_0_1 | RXH_L4_B_2_3`: the first four octets behind the IP header, of ESP its SPI.
pub const HASH_SPI: u64 = 1 << 6 | 1 << 7;

/// The table of an interface of this network namespace, by `ioctl`.
pub struct EthtoolFlows {
    socket: OwnedFd,
    name: [u8; INTERFACE_NAME_OCTETS_MAX + 1],
}

const ETHTOOL_GRXFH: u32 = 0x29;
const ETHTOOL_SRXFH: u32 = 0x2a;
const ETHTOOL_GRXCLSRLCNT: u32 = 0x2e;
const ETHTOOL_GRXCLSRULE: u32 = 0x2f;
const ETHTOOL_GRXCLSRLALL: u32 = 0x30;
const ETHTOOL_SRXCLSRLDEL: u32 = 0x31;
const ETHTOOL_SRXCLSRLINS: u32 = 0x32;

const UDP_V4_FLOW: u32 = 0x02;
const UDP_V6_FLOW: u32 = 0x06;
const ESP_V4_FLOW: u32 = 0x0a;
const ESP_V6_FLOW: u32 = 0x0c;
const IPV4_USER_FLOW: u32 = 0x0d;
const IPV6_USER_FLOW: u32 = 0x0e;

/// `ETH_RX_NFC_IP4`, which `usr_ip4_spec` has to say of itself.
const USER_IP4: u8 = 1;
const PROTOCOL_ESP: u8 = 50;

/// Octets of `union ethtool_flow_union`.
const FLOW_OCTETS: usize = 52;

/// `struct ethtool_rx_flow_spec`.
#[repr(C)]
#[derive(Clone)]
struct FlowSpec {
    flow_type: u32,
    header: [u8; FLOW_OCTETS],
    header_extension: [u8; 20],
    mask: [u8; FLOW_OCTETS],
    mask_extension: [u8; 20],
    ring_cookie: u64,
    location: u32,
}

/// `struct ethtool_rxnfc` with room behind it for places.
#[repr(C)]
struct Request {
    command: u32,
    flow_type: u32,
    data: u64,
    spec: FlowSpec,
    rule_count: u32,
    locations: [u32; FLOW_RULES_READ_MAX],
}

/// `struct ifreq` as `SIOCETHTOOL` uses it.
#[repr(C)]
struct Envelope {
    name: [u8; INTERFACE_NAME_OCTETS_MAX + 1],
    data: *mut Request,
    unused: [u8; 16],
}

/// In what form a card is asked for ESP: not every one that can look at an SPI knows it by that name.
#[derive(Clone, Copy)]
enum Form {
    Esp,
    /// The first four octets behind the IP header, and the protocol's number.
    User,
}

impl FlowSpec {
    const EMPTY: Self = Self {
        flow_type: 0,
        header: [0; FLOW_OCTETS],
        header_extension: [0; 20],
        mask: [0; FLOW_OCTETS],
        mask_extension: [0; 20],
        ring_cookie: 0,
        location: 0,
    };

    /// Compares these octets at that offset in the kernel's structure, all of their bits.
    fn compare(&mut self, at: usize, octets: &[u8]) {
        self.header[at..at + octets.len()].copy_from_slice(octets);
        self.mask[at..at + octets.len()].fill(0xFF);
    }

    fn encode(rule: &FlowRule, form: Form) -> Self {
        let mut spec = Self { ring_cookie: rule.queue.into(), location: rule.location, ..Self::EMPTY };
        match (rule.matches, form) {
            (FlowMatch::Esp { ipv6: false, spi }, Form::Esp) => {
                spec.flow_type = ESP_V4_FLOW;
                spec.compare(8, &spi.to_be_bytes());
            }
            (FlowMatch::Esp { ipv6: true, spi }, Form::Esp) => {
                spec.flow_type = ESP_V6_FLOW;
                spec.compare(32, &spi.to_be_bytes());
            }
            (FlowMatch::Esp { ipv6: false, spi }, Form::User) => {
                spec.flow_type = IPV4_USER_FLOW;
                spec.compare(8, &spi.to_be_bytes());
                // The version is said and never compared.
                spec.header[13] = USER_IP4;
                spec.compare(14, &[PROTOCOL_ESP]);
            }
            (FlowMatch::Esp { ipv6: true, spi }, Form::User) => {
                spec.flow_type = IPV6_USER_FLOW;
                spec.compare(32, &spi.to_be_bytes());
                spec.compare(37, &[PROTOCOL_ESP]);
            }
            (FlowMatch::Udp { remote, local }, _) => spec.compare_udp(remote, local),
        }
        spec
    }

    fn compare_udp(&mut self, remote: SocketAddr, local: SocketAddr) {
        let ports = match (remote.ip(), local.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.flow_type = UDP_V4_FLOW;
                self.compare(0, &source.octets());
                self.compare(4, &destination.octets());
                8
            }
            (source, destination) => {
                let wide = |address| match address {
                    IpAddr::V4(narrow) => narrow.to_ipv6_mapped(),
                    IpAddr::V6(wide) => wide,
                };
                self.flow_type = UDP_V6_FLOW;
                self.compare(0, &wide(source).octets());
                self.compare(16, &wide(destination).octets());
                32
            }
        };
        self.compare(ports, &remote.port().to_be_bytes());
        self.compare(ports + 2, &local.port().to_be_bytes());
    }

    /// The rule that this is the form of; `None` for any other.
    fn decode(&self) -> Option<FlowRule> {
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|octet| self.header[at + octet]));
        let port = |at: usize| u16::from_be_bytes([self.header[at], self.header[at + 1]]);
        let wide =
            |at: usize| IpAddr::from(std::array::from_fn::<u8, 16, _>(|octet| self.header[at + octet]));
        let narrow = |at: usize| IpAddr::from(word(at).to_be_bytes());
        let matches = match self.flow_type {
            ESP_V4_FLOW | IPV4_USER_FLOW => FlowMatch::Esp { ipv6: false, spi: word(8) },
            ESP_V6_FLOW | IPV6_USER_FLOW => FlowMatch::Esp { ipv6: true, spi: word(32) },
            UDP_V4_FLOW => {
                FlowMatch::Udp { remote: (narrow(0), port(8)).into(), local: (narrow(4), port(10)).into() }
            }
            UDP_V6_FLOW => {
                FlowMatch::Udp { remote: (wide(0), port(32)).into(), local: (wide(16), port(34)).into() }
            }
            _ => return None,
        };
        let queue = u32::try_from(self.ring_cookie).ok()?;
        let rule = FlowRule { matches, queue, location: self.location };
        // Whoever compares more, or less, has made a rule of his own.
        let same = |form| {
            let like = Self::encode(&rule, form);
            like.flow_type == self.flow_type && (like.header, like.mask) == (self.header, self.mask)
        };
        (same(Form::Esp) || same(Form::User)).then_some(rule)
    }
}

impl EthtoolFlows {
    /// The table of that interface.
    ///
    /// # Errors
    /// `InvalidInput` for a name that no interface can have; no socket to be had.
    pub fn open(interface: &str) -> io::Result<Self> {
        if !(1..=INTERFACE_NAME_OCTETS_MAX).contains(&interface.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no name for an interface"));
        }
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        let mut name = [0; INTERFACE_NAME_OCTETS_MAX + 1];
        name[..interface.len()].copy_from_slice(interface.as_bytes());
        Ok(Self { socket, name })
    }

    fn ask(&self, request: &mut Request) -> io::Result<()> {
        let mut envelope = Envelope { name: self.name, data: &raw mut *request, unused: [0; 16] };
        // SAFETY: the kernel reads one `ifreq` and, where its pointer leads, reads and writes one `ethtool_rxnfc` and at
        // most `rule_count` places behind it, for which there is room: nobody sets `rule_count` higher.
        let rc = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut envelope) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn insert_as(&self, rule: &FlowRule, form: Form) -> io::Result<()> {
        let mut request = request(ETHTOOL_SRXCLSRLINS);
        request.spec = FlowSpec::encode(rule, form);
        self.ask(&mut request)
    }
}

fn request(command: u32) -> Box<Request> {
    let locations = [0; FLOW_RULES_READ_MAX];
    Box::new(Request { command, flow_type: 0, data: 0, spec: FlowSpec::EMPTY, rule_count: 0, locations })
}

/// Whether a driver says by this that it cannot, rather than that it has no room or may not.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::EPROTONOSUPPORT)
    )
}

impl FlowTable for EthtoolFlows {
    fn places(&mut self) -> io::Result<Places> {
        let mut count = request(ETHTOOL_GRXCLSRLCNT);
        self.ask(&mut count)?;
        let mut all = request(ETHTOOL_GRXCLSRLALL);
        all.rule_count = count.rule_count;
        if all.rule_count as usize > FLOW_RULES_READ_MAX {
            return Err(io::Error::other("more rules than are read"));
        }
        self.ask(&mut all)?;
        let taken = (all.rule_count as usize).min(FLOW_RULES_READ_MAX);
        Ok(Places {
            capacity: u32::try_from(all.data).unwrap_or(u32::MAX),
            taken: all.locations[..taken].to_vec(),
        })
    }

    fn rule(&mut self, location: u32) -> io::Result<Option<FlowRule>> {
        let mut request = request(ETHTOOL_GRXCLSRULE);
        request.spec.location = location;
        self.ask(&mut request)?;
        Ok(request.spec.decode().map(|rule| FlowRule { location, ..rule }))
    }

    fn insert(&mut self, rule: &FlowRule) -> io::Result<()> {
        match self.insert_as(rule, Form::Esp) {
            Err(error) if matches!(rule.matches, FlowMatch::Esp { .. }) && is_unsupported(&error) => {
                // The first answer counts where the second is no better.
                self.insert_as(rule, Form::User).map_err(|_| error)
            }
            answer => answer,
        }
    }

    fn remove(&mut self, location: u32) -> io::Result<()> {
        let mut request = request(ETHTOOL_SRXCLSRLDEL);
        request.spec.location = location;
        self.ask(&mut request)
    }

    fn esp_hash(&mut self, ipv6: bool) -> io::Result<u64> {
        let mut request = request(ETHTOOL_GRXFH);
        request.flow_type = if ipv6 { ESP_V6_FLOW } else { ESP_V4_FLOW };
        self.ask(&mut request)?;
        Ok(request.data)
    }

    fn set_esp_hash(&mut self, ipv6: bool, fields: u64) -> io::Result<()> {
        let mut request = request(ETHTOOL_SRXFH);
        request.flow_type = if ipv6 { ESP_V6_FLOW } else { ESP_V4_FLOW };
        request.data = fields;
        self.ask(&mut request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;
    use std::process::Command;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn rules() -> Vec<FlowRule> {
        let udp = |remote, local| FlowMatch::Udp { remote: socket(remote), local: socket(local) };
        let matches = [
            FlowMatch::Esp { ipv6: false, spi: 0x0102_0304 },
            FlowMatch::Esp { ipv6: true, spi: 0xFFFF_FFFE },
            udp("192.0.2.7:61000", "198.51.100.1:4500"),
            udp("[2001:db8::7]:4500", "[2001:db8::1]:4500"),
        ];
        matches
            .into_iter()
            .zip(3..)
            .map(|(matches, queue)| FlowRule { matches, queue, location: 9 })
            .collect()
    }

    #[test]
    fn every_rule_is_read_back_as_it_was_written() {
        for rule in rules() {
            for form in [Form::Esp, Form::User] {
                assert_eq!(FlowSpec::encode(&rule, form).decode(), Some(rule));
            }
        }
    }

    #[test]
    fn a_rule_that_compares_more_or_less_or_drops_is_not_one_of_ours() {
        for rule in rules() {
            let spec = FlowSpec::encode(&rule, Form::Esp);
            let mut more = spec.clone();
            more.compare(36, &[1]);
            let mut less = spec.clone();
            less.mask[less.mask.iter().position(|&octet| octet != 0).unwrap()] = 0;
            // `RX_CLS_FLOW_DISC`.
            let drops = FlowSpec { ring_cookie: u64::MAX, ..spec.clone() };
            let other = FlowSpec { flow_type: 1, ..spec };
            for foreign in [more, less, drops, other] {
                assert_eq!(foreign.decode(), None, "{rule:?}");
            }
        }
    }

    /// What the kernel's own header says, as far as a C compiler can be found to read it.
    fn kernel_says(expressions: &[&str]) -> Option<Vec<usize>> {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("says.c"), folder.path().join("says"));
        let lines: String =
            expressions.iter().map(|words| format!("printf(\"%zu\\n\", (size_t)({words}));\n")).collect();
        let text = format!(
            "#include <stddef.h>\n#include <stdio.h>\n#include <linux/ethtool.h>\n#include <linux/sockios.h>\n\
             #include <net/if.h>\nint main(void) {{\n{lines}return 0;\n}}\n"
        );
        std::fs::write(&source, text).unwrap();
        let compiled = Command::new("cc").arg("-o").arg(&program).arg(&source).output();
        let Ok(compiled) = compiled else {
            eprintln!("skipped: no C compiler");
            return None;
        };
        let complaint = String::from_utf8_lossy(&compiled.stderr).into_owned();
        if complaint.contains("linux/ethtool.h") && complaint.contains("No such file") {
            eprintln!("skipped: no kernel headers");
            return None;
        }
        assert!(compiled.status.success(), "{complaint}");
        let said = Command::new(&program).output().unwrap();
        Some(String::from_utf8_lossy(&said.stdout).lines().map(|line| line.parse().unwrap()).collect())
    }

    #[test]
    fn structures_and_numbers_are_those_of_the_kernels_header() {
        let ours: Vec<(&str, usize)> = vec![
            ("sizeof(struct ifreq)", size_of::<Envelope>()),
            ("offsetof(struct ifreq, ifr_data)", offset_of!(Envelope, data)),
            ("sizeof(struct ethtool_rx_flow_spec)", size_of::<FlowSpec>()),
            ("offsetof(struct ethtool_rx_flow_spec, h_u)", offset_of!(FlowSpec, header)),
            ("offsetof(struct ethtool_rx_flow_spec, h_ext)", offset_of!(FlowSpec, header_extension)),
            ("offsetof(struct ethtool_rx_flow_spec, m_u)", offset_of!(FlowSpec, mask)),
            ("offsetof(struct ethtool_rx_flow_spec, m_ext)", offset_of!(FlowSpec, mask_extension)),
            ("offsetof(struct ethtool_rx_flow_spec, ring_cookie)", offset_of!(FlowSpec, ring_cookie)),
            ("offsetof(struct ethtool_rx_flow_spec, location)", offset_of!(FlowSpec, location)),
            ("offsetof(struct ethtool_rxnfc, flow_type)", offset_of!(Request, flow_type)),
            ("offsetof(struct ethtool_rxnfc, data)", offset_of!(Request, data)),
            ("offsetof(struct ethtool_rxnfc, fs)", offset_of!(Request, spec)),
            ("offsetof(struct ethtool_rxnfc, rule_cnt)", offset_of!(Request, rule_count)),
            ("offsetof(struct ethtool_rxnfc, rule_locs)", offset_of!(Request, locations)),
            ("sizeof(union ethtool_flow_union)", FLOW_OCTETS),
            ("offsetof(struct ethtool_ah_espip4_spec, spi)", 8),
            ("offsetof(struct ethtool_ah_espip6_spec, spi)", 32),
            ("offsetof(struct ethtool_usrip4_spec, l4_4_bytes)", 8),
            ("offsetof(struct ethtool_usrip4_spec, ip_ver)", 13),
            ("offsetof(struct ethtool_usrip4_spec, proto)", 14),
            ("offsetof(struct ethtool_usrip6_spec, l4_4_bytes)", 32),
            ("offsetof(struct ethtool_usrip6_spec, l4_proto)", 37),
            ("offsetof(struct ethtool_tcpip4_spec, ip4dst)", 4),
            ("offsetof(struct ethtool_tcpip4_spec, psrc)", 8),
            ("offsetof(struct ethtool_tcpip4_spec, pdst)", 10),
            ("offsetof(struct ethtool_tcpip6_spec, ip6dst)", 16),
            ("offsetof(struct ethtool_tcpip6_spec, psrc)", 32),
            ("offsetof(struct ethtool_tcpip6_spec, pdst)", 34),
            ("SIOCETHTOOL", libc::SIOCETHTOOL as usize),
            ("ETHTOOL_GRXFH", ETHTOOL_GRXFH as usize),
            ("ETHTOOL_SRXFH", ETHTOOL_SRXFH as usize),
            ("ETHTOOL_GRXCLSRLCNT", ETHTOOL_GRXCLSRLCNT as usize),
            ("ETHTOOL_GRXCLSRULE", ETHTOOL_GRXCLSRULE as usize),
            ("ETHTOOL_GRXCLSRLALL", ETHTOOL_GRXCLSRLALL as usize),
            ("ETHTOOL_SRXCLSRLDEL", ETHTOOL_SRXCLSRLDEL as usize),
            ("ETHTOOL_SRXCLSRLINS", ETHTOOL_SRXCLSRLINS as usize),
            ("UDP_V4_FLOW", UDP_V4_FLOW as usize),
            ("UDP_V6_FLOW", UDP_V6_FLOW as usize),
            ("ESP_V4_FLOW", ESP_V4_FLOW as usize),
            ("ESP_V6_FLOW", ESP_V6_FLOW as usize),
            ("IPV4_USER_FLOW", IPV4_USER_FLOW as usize),
            ("IPV6_USER_FLOW", IPV6_USER_FLOW as usize),
            ("ETH_RX_NFC_IP4", USER_IP4.into()),
            ("RXH_IP_SRC | RXH_IP_DST", HASH_ADDRESSES as usize),
            ("RXH_L4_B_0_1 | RXH_L4_B_2_3", HASH_SPI as usize),
        ];
        let expressions: Vec<_> = ours.iter().map(|(words, _)| *words).collect();
        let Some(theirs) = kernel_says(&expressions) else { return };
        for ((words, ours), theirs) in ours.into_iter().zip(theirs) {
            assert_eq!(ours, theirs, "{words}");
        }
    }

    #[test]
    fn an_interface_without_a_table_refuses_everything_and_nothing_breaks() {
        let mut loopback = EthtoolFlows::open("lo").unwrap();
        assert!(is_unsupported(&loopback.places().unwrap_err()));
        for rule in rules() {
            let refused = loopback.insert(&rule).unwrap_err();
            // Without the privilege the kernel does not even look.
            assert!(is_unsupported(&refused) || refused.raw_os_error() == Some(libc::EPERM), "{refused}");
        }
        assert!(is_unsupported(&loopback.esp_hash(false).unwrap_err()));
        let missing = EthtoolFlows::open("no-such-link").unwrap().places().unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
        assert!(EthtoolFlows::open("").is_err() && EthtoolFlows::open("sixteen-octets-x").is_err());
    }
}
