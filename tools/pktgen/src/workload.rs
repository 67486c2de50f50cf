//! What is sent: packets of many flows in turn, each stamped, a share of them past the rules.

use crate::address::AddressSet;
use crate::flow::{Endpoints, FlowError, Tuple};
use crate::generator::Source;
use crate::headers::{Ethernet, frame_octets_min, restamp, write};
use crate::size::{CHECK_SEQUENCE_OCTETS, Sizes};
use crate::stamp::Stamp;

/// What a workload is made of.
#[derive(Debug, Clone)]
pub struct WorkloadConfig {
    /// Addresses and ports.
    pub endpoints: Endpoints,
    /// How many flows.
    pub flows: u32,
    /// How long frames are.
    pub sizes: Sizes,
    /// Which destinations the device has rules for; without it all are taken for hit.
    pub rules: Option<AddressSet>,
    /// Share of packets, in percent, whose destination no rule covers.
    pub miss_percent: u8,
    /// The Ethernet addresses.
    pub ethernet: Ethernet,
    /// Which run its packets belong to.
    pub stream: u16,
}

/// Why there is no such workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// The flows cannot be had.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// Frames without room for a stamp.
    #[error("frames of {0} octets have no room for a stamp: {1} are needed")]
    TooSmall(u16, u16),
    /// A share that is none.
    #[error("a share is between 0 and 100 percent")]
    Share,
    /// Nothing says what would be missed.
    #[error("packets that miss the rules need the rules' prefixes")]
    NoRules,
    /// Fewer flows than kinds of packets.
    #[error("one flow cannot both hit and miss")]
    OneFlow,
}

/// Packets without end.
pub struct Workload {
    ethernet: Ethernet,
    stream: u16,
    sizes: Sizes,
    position: u64,
    hit: Class,
    miss: Class,
    miss_percent: u8,
    /// Hundredths of a packet that are still to miss.
    owed: u8,
}

/// Flows that take turns.
#[derive(Default)]
struct Class {
    flows: Vec<Flow>,
    at: usize,
    /// Turns of all flows in which each begins one place later, so that flows and sizes do not always meet the same way.
    shift: usize,
    rounds: u64,
}

struct Flow {
    tuple: Tuple,
    sequence: u64,
}

impl Workload {
    /// Makes the flows.
    ///
    /// # Errors
    /// See [`WorkloadError`].
    pub fn new(config: &WorkloadConfig) -> Result<Self, WorkloadError> {
        let least = frame_octets_min(config.endpoints.to.is_ipv6());
        let smallest = config.sizes.smallest();
        if smallest < least {
            return Err(WorkloadError::TooSmall(smallest, least));
        }
        let (hits, misses) = shares(config.flows, config.miss_percent)?;
        let class = |count: u32, to: AddressSet, where_: &'static str| {
            if count == 0 {
                return Ok(Class::default());
            }
            if to.is_empty() {
                return Err(WorkloadError::Flow(FlowError::NoDestination(where_)));
            }
            let flows = Endpoints { to, ..config.endpoints.clone() }.flows(count)?;
            let flows = flows.into_iter().map(|tuple| Flow { tuple, sequence: 0 }).collect();
            Ok(Class { flows, ..Class::default() })
        };
        let to = &config.endpoints.to;
        let (hit, miss) = match &config.rules {
            Some(rules) => {
                (class(hits, to.inside(rules), "inside")?, class(misses, to.outside(rules), "outside")?)
            }
            None if misses > 0 => return Err(WorkloadError::NoRules),
            None => (class(hits, to.clone(), "inside")?, Class::default()),
        };
        Ok(Self {
            ethernet: config.ethernet,
            stream: config.stream,
            sizes: config.sizes.clone(),
            position: 0,
            hit,
            miss,
            miss_percent: config.miss_percent,
            owed: 0,
        })
    }

    /// Flows of both kinds, those that hit the rules first.
    pub fn flows(&self) -> impl Iterator<Item = &Tuple> {
        self.hit.flows.iter().chain(&self.miss.flows).map(|flow| &flow.tuple)
    }

    /// Whether the next packet misses the rules. Misses are spread evenly.
    fn misses(&mut self) -> bool {
        self.owed += self.miss_percent;
        let misses = self.owed >= 100;
        self.owed -= if misses { 100 } else { 0 };
        misses
    }
}

impl Source for Workload {
    fn next_octets(&self) -> Option<u16> {
        Some(self.sizes.at(self.position))
    }

    fn smallest(&self) -> u16 {
        self.sizes.smallest()
    }

    fn write(&mut self, now_ns: u64, out: &mut [u8]) {
        let cycle = self.sizes.cycle();
        let flow = if self.misses() { self.miss.next(cycle) } else { self.hit.next(cycle) };
        let stamp = Stamp { stream: self.stream, sequence: flow.sequence, sent_ns: now_ns };
        flow.sequence += 1;
        write(out, &self.ethernet, &flow.tuple, &stamp.encode());
        self.position += 1;
    }

    fn refresh(&self, now_ns: u64, packet: &mut [u8]) {
        restamp(packet, now_ns);
    }
}

impl Class {
    fn next(&mut self, cycle: u64) -> &mut Flow {
        let count = self.flows.len();
        let place = (self.at + self.shift) % count;
        self.at += 1;
        if self.at == count {
            self.at = 0;
            self.rounds += 1;
            if self.rounds == cycle {
                self.rounds = 0;
                self.shift = (self.shift + 1) % count;
            }
        }
        &mut self.flows[place]
    }
}

/// How many of the flows hit, and how many miss: at least one of each kind that is sent.
fn shares(flows: u32, miss_percent: u8) -> Result<(u32, u32), WorkloadError> {
    match miss_percent {
        _ if flows == 0 => Err(FlowError::Count.into()),
        0 => Ok((flows, 0)),
        100 => Ok((0, flows)),
        101.. => Err(WorkloadError::Share),
        _ if flows == 1 => Err(WorkloadError::OneFlow),
        percent => {
            let misses = (u64::from(flows) * u64::from(percent) / 100).clamp(1, u64::from(flows) - 1) as u32;
            Ok((flows - misses, misses))
        }
    }
}

/// Octets that a frame of this size has in memory.
#[must_use]
pub fn octets_in_memory(frame_octets: u16) -> usize {
    usize::from(frame_octets - CHECK_SEQUENCE_OCTETS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::{Received, read};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn config(flows: u32, sizes: &str) -> WorkloadConfig {
        WorkloadConfig {
            endpoints: Endpoints {
                from: "10.1.0.0/24".parse().unwrap(),
                to: "10.0.0.0/8".parse().unwrap(),
                source_ports: "1024-65535".parse().unwrap(),
                destination_ports: "9".parse().unwrap(),
            },
            flows,
            sizes: sizes.parse().unwrap(),
            rules: None,
            miss_percent: 0,
            ethernet: Ethernet { source: [2; 6], destination: [4; 6] },
            stream: 3,
        }
    }

    fn sent(workload: &mut Workload, count: usize) -> Vec<(Tuple, Stamp, usize)> {
        let packet = |now: usize| {
            let octets = workload.next_octets().unwrap();
            let mut packet = vec![0; octets_in_memory(octets)];
            workload.write(now as u64, &mut packet);
            let Received::Udp(tuple, payload) = read(&packet) else { panic!("no UDP") };
            (tuple, Stamp::decode(payload).unwrap(), packet.len() + 4)
        };
        (0..count).map(packet).collect()
    }

    #[test]
    fn every_flow_counts_from_zero_and_all_take_turns() {
        let mut workload = Workload::new(&config(10, "64")).unwrap();
        let packets = sent(&mut workload, 1_000);
        let mut next: HashMap<Tuple, u64> = HashMap::new();
        for (tuple, stamp, octets) in packets {
            let next = next.entry(tuple).or_default();
            assert_eq!((stamp.sequence, stamp.stream, octets), (*next, 3, 64));
            *next += 1;
        }
        assert_eq!(next.len(), 10);
        assert!(next.values().all(|count| *count == 100));
    }

    #[test]
    fn flows_meet_all_sizes_also_when_both_are_twelve() {
        let mut workload = Workload::new(&config(12, "imix")).unwrap();
        let mut met: HashMap<Tuple, Vec<usize>> = HashMap::new();
        for (tuple, _, octets) in sent(&mut workload, 12 * 12 * 12 * 4) {
            met.entry(tuple).or_default().push(octets);
        }
        for sizes in met.values() {
            assert!([64, 570, 1518].iter().all(|size| sizes.contains(size)));
        }
    }

    #[test]
    fn the_share_of_misses_is_kept_and_rules_are_respected() {
        let rules: AddressSet = "10.2.0.0/16,10.3.0.0/16".parse().unwrap();
        for percent in [0, 1, 25, 50, 99, 100] {
            let config =
                WorkloadConfig { rules: Some(rules.clone()), miss_percent: percent, ..config(200, "64") };
            let packets = sent(&mut Workload::new(&config).unwrap(), 1_000);
            let misses = packets.iter().filter(|(tuple, ..)| !rules.contains(tuple.destination)).count();
            assert_eq!(misses, usize::from(percent) * 10);
        }
    }

    #[test]
    fn workloads_that_cannot_be_are_refused() {
        let refused = |config: &WorkloadConfig| Workload::new(config).err().map(|error| error.to_string());
        let said = |config: &WorkloadConfig, words: &str| {
            let refused = refused(config).expect(words);
            assert!(refused.contains(words), "{refused}");
        };
        said(&WorkloadConfig { miss_percent: 10, ..config(10, "64") }, "need the rules");
        said(&WorkloadConfig { miss_percent: 101, ..config(10, "64") }, "percent");
        said(
            &WorkloadConfig {
                rules: Some("10.0.0.0/8".parse().unwrap()),
                miss_percent: 10,
                ..config(1, "64")
            },
            "one flow",
        );
        said(
            &WorkloadConfig {
                rules: Some("10.0.0.0/8".parse().unwrap()),
                miss_percent: 10,
                ..config(9, "64")
            },
            "outside",
        );
        said(&WorkloadConfig { rules: Some("11.0.0.0/8".parse().unwrap()), ..config(9, "64") }, "inside");
        said(&config(0, "64"), "flows");
        let mut ipv6 = config(1, "64");
        ipv6.endpoints.from = "2001:db8::1".parse().unwrap();
        ipv6.endpoints.to = "2001:db8::2".parse().unwrap();
        said(&ipv6, "84 are needed");
        ipv6.sizes = ipv6.sizes.at_least(84);
        assert!(refused(&ipv6).is_none());
    }

    proptest! {
        #[test]
        fn flows_are_shared_out_whole(flows in 2u32..100_000, percent in 1u8..100) {
            let (hits, misses) = shares(flows, percent).unwrap();
            prop_assert!(hits > 0 && misses > 0 && hits + misses == flows);
        }
    }
}
