//! What must hold of discovery for any octets at all: what was decoded is the same when it is written and decoded again,
//! nothing panics, nobody gets more than he sent, and what is found is what the rules and the PAD allow. The tests and
//! the fuzz targets call these same functions.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use warren_ike::ted::{DiscoverRule, Ted, TedConfig, TedOutput, is_discovery};
use warren_ike::wire::Malformed;
use warren_ike::wire::ted::{Probe, Response};
use warren_ike::{Entropy, Path};
use warren_policy::{AddressRange, FiveTuple, Pad, PadEntry, RuleId};
use warren_seam::{Catch, Caught, Entry, PortIndex};

/// A probe and a response: written again and decoded again, the same.
pub(crate) fn message(octets: &[u8]) -> Result<(), Malformed> {
    let (probe, response) = (Probe::decode(octets), Response::decode(octets));
    assert!(probe.is_err() || response.is_err(), "no message is both");
    assert!(probe.is_err() && response.is_err() || is_discovery(octets));
    if let Ok(probe) = &probe {
        for entries in [0, 4] {
            assert_eq!(Probe::decode(&probe.encode(entries)).as_ref(), Ok(probe));
        }
    }
    if let Ok(response) = &response {
        assert_eq!(Response::decode(&response.encode()).as_ref(), Ok(response));
    }
    probe.map(drop).or(response.map(drop))
}

/// Numbers that look drawn and are always the same.
struct Counted(u64);

impl Entropy for Counted {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *octet = (self.0 >> 56) as u8;
        }
    }
}

const RULE: RuleId = RuleId(1);

fn address(text: &str) -> IpAddr {
    text.parse().expect("written here")
}

fn rule(local: &str, proxies: &[&str]) -> DiscoverRule {
    let networks = [("10.2.0.0", 16), ("2001:db8:2::", 48)];
    let networks = networks.map(|(text, length)| AddressRange::from_prefix(address(text), length));
    let networks = networks.into_iter().flatten().collect();
    DiscoverRule {
        rule: RULE,
        proxies: proxies.iter().map(|text| text.parse().expect("written here")).collect(),
        local: address(local),
        pad: Arc::new(Pad::new(vec![PadEntry { identity: None, networks }])),
        is_concealed: false,
    }
}

/// A gateway that asks and answers, and what the network does to it.
struct Dialogue {
    ted: Ted,
    now: Duration,
    reached: Reached,
}

/// How far a dialogue came, for tests that want to know that they test something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Gateways found.
    pub(crate) found: usize,
    /// Answers sent to probes.
    pub(crate) answered: usize,
    /// Probes sent.
    pub(crate) asked: usize,
    /// Packets that went on their way.
    pub(crate) passed: usize,
}

/// One step of a dialogue, by its first octet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A packet in transit, caught as a probe; as an error or an answer.
    Packet(Catch),
    /// The same, and the worker is wrong about where its upper layer begins.
    Misplaced(Catch),
    /// A message that reaches us from a gateway.
    Message,
    /// The same, with the cookie of a discovery under way.
    Answer,
    /// A message as a probe in a packet that is right.
    Probe,
    /// An error that quotes the octets.
    Error,
    Time,
    Acquire,
    Conclude,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::Packet(Catch::Probe),
        Self::Packet(Catch::Stray),
        Self::Misplaced(Catch::Probe),
        Self::Misplaced(Catch::Stray),
        Self::Message,
        Self::Answer,
        Self::Probe,
        Self::Error,
        Self::Time,
        Self::Acquire,
        Self::Conclude,
    ];
}

/// Steps one behind the other: which, how many octets (two octets), the octets. The first octet of all says how the
/// gateway is set up.
pub(crate) fn dialogue(octets: &[u8]) -> Reached {
    let Some((&kind, mut rest)) = octets.split_first() else { return Reached::default() };
    let mut dialogue = Dialogue::new(kind);
    dialogue.step(Step::Acquire, &[]);
    while let Some(([step, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len()).min(1280);
        let (octets, after) = after.split_at(length);
        rest = after;
        dialogue.step(Step::ALL[usize::from(*step) % Step::ALL.len()], octets);
    }
    dialogue.reached
}

impl Dialogue {
    fn new(kind: u8) -> Self {
        let proxies = [
            "10.0.0.0/8 10.0.0.0/8",
            "10.1.0.0/16 10.2.0.0/16 tcp",
            "2001:db8::/32 2001:db8::/32",
            "::/0 ::/0",
        ];
        let config = TedConfig {
            cookie_echo: kind & 1 != 0,
            answers_per_second: if kind & 2 != 0 { 3 } else { 1_000_000 },
            in_flight_max: 4,
            ..TedConfig::default()
        };
        let rules = vec![
            rule("198.51.100.1", &proxies),
            DiscoverRule { rule: RuleId(2), ..rule("2001:db8:a::1", &proxies) },
        ];
        let mut ted = Ted::new(config, rules, Box::new(Counted(u64::from(kind))));
        ted.set_own_addresses(vec![address("198.51.100.1"), address("2001:db8:a::1")]);
        Self { ted, now: Duration::from_secs(1), reached: Reached::default() }
    }

    fn packet(octets: &[u8]) -> FiveTuple {
        let octet = |at: usize| octets.get(at).copied().unwrap_or(0);
        let (source, destination) = if octet(0) & 1 == 0 {
            (IpAddr::from([10, 1, 0, octet(1)]), IpAddr::from([10, 2, 0, octet(2)]))
        } else {
            (address("2001:db8:1::4"), address("2001:db8:2::6"))
        };
        FiveTuple { source, destination, protocol: 6, source_port: Some(4242), destination_port: Some(443) }
    }

    fn step(&mut self, step: Step, octets: &[u8]) {
        let way = Path {
            local: (address("198.51.100.1"), 500).into(),
            remote: (address("203.0.113.2"), 500).into(),
        };
        let mut octets_in = 28 + octets.len();
        match step {
            Step::Packet(catch) | Step::Misplaced(catch) => {
                octets_in = octets.len();
                let upper_at = match octets.first().map(|first| first >> 4) {
                    _ if matches!(step, Step::Misplaced(_)) => octets.last().copied().map_or(0, u16::from),
                    Some(6) => 40,
                    _ => 20,
                };
                self.catch(catch, upper_at, octets.to_vec());
            }
            Step::Probe => {
                octets_in = 28 + octets.len();
                self.catch(Catch::Probe, 20, enveloped(17, &udp(octets)));
            }
            Step::Error => {
                octets_in = 28 + octets.len();
                self.catch(Catch::Stray, 20, enveloped(1, &[&[3, 3, 0, 0, 0, 0, 0, 0], octets].concat()));
            }
            Step::Message => self.ted.handle_message(self.now, way, octets),
            Step::Answer => {
                let mut octets = octets.to_vec();
                if let (Some(begun), Some(cookie)) = (self.ted.in_flight().first(), octets.first_chunk_mut())
                {
                    *cookie = begun.cookie;
                }
                self.ted.handle_message(self.now, way, &octets);
            }
            Step::Time => {
                self.now += Duration::from_millis(octets.first().map_or(100, |octet| u64::from(*octet) * 40));
                self.ted.handle_timeout(self.now);
            }
            Step::Acquire => self.ted.acquire(self.now, RULE, Self::packet(octets)),
            Step::Conclude => {
                let is_up = octets.first().is_some_and(|octet| octet & 2 != 0);
                self.ted.conclude(self.now, RULE, &Self::packet(octets), is_up);
            }
        }
        self.check(step, octets_in);
    }

    fn catch(&mut self, catch: Catch, upper_at: u16, packet: Vec<u8>) {
        let protocol = match packet.first().map(|first| first >> 4) {
            Some(4) => packet.get(9),
            _ => packet.get(6),
        };
        let tuple = FiveTuple { protocol: protocol.copied().unwrap_or(0), ..Self::packet(&[]) };
        self.ted.handle_caught(self.now, Caught { catch, port: PortIndex(0), tuple, upper_at, packet });
    }

    /// Nobody makes us send more than he sent, and nothing is found that may not be.
    fn check(&mut self, step: Step, octets_in: usize) {
        let mut octets_out = 0;
        while let Some(output) = self.ted.poll_output() {
            match output {
                TedOutput::Inject(injected) if injected.entry == Entry::Originate => {
                    let may_ask = matches!(step, Step::Acquire | Step::Time | Step::Answer | Step::Message);
                    assert!(may_ask, "a probe because of a packet of somebody else");
                    self.reached.asked += 1;
                }
                TedOutput::Inject(injected) => {
                    octets_out += injected.packet.len();
                    self.reached.passed += 1;
                }
                TedOutput::Transmit { path, octets } => {
                    assert_eq!((path.local.port(), path.remote.port()), (500, 500));
                    octets_out += octets.len() + if path.local.is_ipv6() { 48 } else { 28 };
                    assert!(message(&octets).is_ok());
                    self.reached.answered += 1;
                }
                TedOutput::Found { packet, gateway, selector, .. } => {
                    assert!(selector.contains(&packet) && gateway == address("203.0.113.2"));
                    let authorised = rule("198.51.100.1", &[]).pad;
                    assert!(authorised.could_authorise(&selector.destination));
                    self.reached.found += 1;
                }
                TedOutput::Log(notice) => assert!(!notice.to_string().contains('\n')),
            }
        }
        assert!(octets_out <= octets_in, "{octets_out} octets for {octets_in}");
        assert!(self.ted.in_flight().len() <= 4);
        assert!(self.ted.poll_timeout().is_none() || self.ted.asks());
    }
}

/// A UDP datagram to port 500, without a checksum.
fn udp(octets: &[u8]) -> Vec<u8> {
    let length = (8 + octets.len()) as u16;
    let fields = [4242, 500, length, 0].map(u16::to_be_bytes);
    [fields.as_flattened(), octets].concat()
}

/// An IPv4 packet from one end host to the other.
fn enveloped(protocol: u8, upper: &[u8]) -> Vec<u8> {
    let [high, low] = ((20 + upper.len()) as u16).to_be_bytes();
    let header = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 2, 0, 9, 10, 1, 0, 0];
    [&header[..], upper].concat()
}

/// Messages and dialogues that are right, for a fuzzer to start from and for tests to damage.
pub(crate) fn seeds() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let summary = |source: &str, destination: &str| warren_ike::wire::ted::Summary {
        source: address(source),
        destination: address(destination),
        protocol: warren_policy::Protocol::Is(6),
        source_port: None,
        destination_port: Some(443),
    };
    let probe = |gateway: &str, summary| Probe {
        cookie: [7; 8],
        capabilities: 7,
        gateway: address(gateway),
        source: None,
        summary,
        echo: None,
    };
    let response = |entries: &[&str], challenge| Response {
        initiator: [7; 8],
        responder: [9; 8],
        capabilities: 7,
        gateway: address("203.0.113.2"),
        entries: entries.iter().map(|text| text.parse().expect("written here")).collect(),
        challenge,
    };
    let v4 = probe("203.0.113.2", summary("10.2.0.9", "10.1.0.0"));
    let v6 = probe("2001:db8:b::2", summary("2001:db8:2::6", "2001:db8:1::4"));
    let messages = vec![
        v4.encode(4),
        v4.encode(0),
        Probe { echo: Some([3; 16]), ..v4.clone() }.encode(1),
        v6.encode(4),
        response(&["10.2.0.0/16 10.0.0.0/8"], None).encode(),
        response(&["10.2.0.0/16 10.0.0.0/8 tcp 443 any", "2001:db8:2::/48 2001:db8::/32"], Some([5; 16]))
            .encode(),
        response(&["10.2.0.6/255.255.0.255 10.0.0.0/8"], None).encode(),
        response(&[], Some([5; 16])).encode(),
    ];
    let step = |step: u8, octets: &[u8]| {
        let [high, low] = (octets.len() as u16).to_be_bytes();
        [&[step, high, low], octets].concat()
    };
    let whole = |kind: u8, steps: &[Vec<u8>]| [&[kind], &steps.concat()[..]].concat();
    let v4_packet = enveloped(17, &udp(&messages[0]));
    let dialogues = vec![
        whole(0, &[step(5, &messages[4]), step(10, &[0, 2])]),
        whole(0, &[step(5, &messages[7]), step(5, &messages[5]), step(10, &[0]), step(9, &[0])]),
        whole(0, &[step(9, &[]), step(8, &[30]), step(9, &[]), step(8, &[60]), step(8, &[250])]),
        whole(1, &[step(6, &messages[0]), step(6, &messages[2]), step(0, &v4_packet)]),
        whole(
            2,
            &[step(6, &messages[0]), step(6, &messages[0]), step(6, &messages[1]), step(6, &messages[3])],
        ),
        whole(0, &[step(7, &v4_packet), step(1, &v4_packet), step(3, &v4_packet), step(4, &messages[6])]),
    ];
    (messages, dialogues)
}
