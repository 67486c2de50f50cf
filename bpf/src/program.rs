//! The program, loaded into the kernel, and its maps.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::{Map, MapCore, MapFlags, Object, ObjectBuilder, ProgramInput, ProgramMut};

use crate::limits::{LOCAL_ADDRESSES_MAX, QUEUES_MAX};
use crate::{Decision, Locality};

/// What clang 14 made of `steer.bpf.c`; `tests/object.rs` holds it to that.
static OBJECT: &[u8] = include_bytes!("../steer.bpf.o");

/// Why packets cannot be steered.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// The kernel does not take the program.
    #[error("the steering program cannot be loaded: {0}")]
    Load(#[source] libbpf_rs::Error),
    /// The program is loaded, but it is not the one this code was written for.
    #[error("the steering program has no {0}")]
    Missing(&'static str),
    /// A map refused a value.
    #[error("{what}: {source}")]
    Map {
        /// What was to be written or read.
        what: &'static str,
        /// What the kernel said.
        source: libbpf_rs::Error,
    },
    /// More than the program's maps hold.
    #[error("{what}: {count} are more than {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// The interface takes the program in no mode that was allowed.
    #[error("the steering program cannot be attached in {mode} mode: {source}")]
    Attach {
        /// The last mode that was tried.
        mode: warren_port::XdpAttach,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What the program decided so far, summed over all cores. Every packet is in exactly one of the first five.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// ESP to us, redirected.
    pub esp: u64,
    /// ESP in UDP to us, redirected.
    pub udp_esp: u64,
    /// Not to us, redirected.
    pub transit: u64,
    /// Left to the kernel.
    pub passed: u64,
    /// Dropped because of a source route.
    pub source_routed: u64,
    /// Of those redirected: dropped, because no socket serves the queue they came by.
    pub unserved: u64,
}

/// The loaded program. It does nothing until it is attached.
pub struct Program {
    object: Object,
    /// What the maps hold, so that a change touches only what changed.
    addresses: BTreeSet<IpAddr>,
}

impl Program {
    /// Loads the program and tells it what is local, so that it knows before it sees the first packet.
    ///
    /// # Errors
    /// When the kernel is too old or we lack `CAP_BPF`, or for more addresses than the maps hold.
    pub fn load(locality: &Locality) -> Result<Self, SteeringError> {
        // A library does not write to standard error; what the kernel said is in the error.
        libbpf_rs::set_print(None);
        let open = ObjectBuilder::default().open_memory(OBJECT).map_err(SteeringError::Load)?;
        let object = open.load().map_err(SteeringError::Load)?;
        let mut program = Self { object, addresses: BTreeSet::new() };
        program.set_locality(locality)?;
        Ok(program)
    }

    /// Changes what is local. New addresses are added before old ones are removed, so that an address that stays is
    /// never transit in between.
    ///
    /// # Errors
    /// When there are too many, or the kernel refuses; the old ones then stay beside what was added.
    pub fn set_locality(&mut self, locality: &Locality) -> Result<(), SteeringError> {
        let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) =
            locality.addresses.iter().partition(|address| address.is_ipv4());
        for count in [v4.len(), v6.len()] {
            if count > LOCAL_ADDRESSES_MAX {
                return Err(SteeringError::TooMany {
                    what: "local addresses",
                    count,
                    max: LOCAL_ADDRESSES_MAX,
                });
            }
        }
        let mut mac = [0; 8];
        mac[..6].copy_from_slice(&locality.mac);
        self.map("local_mac")?.update(&[0; 4], &mac, MapFlags::ANY).map_err(at("local MAC address"))?;
        // Old ones go first only where both together would not fit.
        let fits = self.addresses.union(&locality.addresses).count() <= LOCAL_ADDRESSES_MAX;
        let (before, after) = (std::mem::take(&mut self.addresses), &locality.addresses);
        self.addresses = before.union(after).copied().collect();
        if !fits {
            self.remove(before.difference(after))?;
        }
        for address in after.difference(&before) {
            let (map, key) = entry(address);
            self.map(map)?.update(&key, &[1], MapFlags::ANY).map_err(at("local address"))?;
        }
        if fits {
            self.remove(before.difference(after))?;
        }
        self.addresses = after.clone();
        Ok(())
    }

    fn remove<'a>(&self, addresses: impl Iterator<Item = &'a IpAddr>) -> Result<(), SteeringError> {
        for address in addresses {
            let (map, key) = entry(address);
            match self.map(map)?.delete(&key) {
                Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                    return Err(at("local address")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends what comes by `queue` to this `AF_XDP` socket. The entry goes when the socket is closed.
    ///
    /// # Errors
    /// When there is no such queue in the map, or the descriptor is no bound `AF_XDP` socket.
    pub fn register(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), SteeringError> {
        if queue >= QUEUES_MAX {
            return Err(SteeringError::TooMany {
                what: "queues",
                count: queue as usize + 1,
                max: QUEUES_MAX as usize,
            });
        }
        let fd = socket.as_raw_fd().to_ne_bytes();
        self.map("xsks")?.update(&queue.to_ne_bytes(), &fd, MapFlags::ANY).map_err(at("AF_XDP socket"))
    }

    /// What was decided so far.
    ///
    /// # Errors
    /// When the kernel refuses to read its own map.
    pub fn counters(&self) -> Result<Counters, SteeringError> {
        let map = self.map("counters")?;
        let mut sums = [0u64; 6];
        for (which, sum) in (0u32..).zip(&mut sums) {
            let per_cpu = map
                .lookup_percpu(&which.to_ne_bytes(), MapFlags::ANY)
                .map_err(at("counters"))?
                .ok_or(SteeringError::Missing("counters"))?;
            *sum = per_cpu
                .iter()
                .filter_map(|value| value.first_chunk())
                .map(|value| u64::from_ne_bytes(*value))
                .fold(0, u64::wrapping_add);
        }
        let [esp, udp_esp, transit, passed, source_routed, unserved] = sums;
        Ok(Counters { esp, udp_esp, transit, passed, source_routed, unserved })
    }

    /// Runs the program on one frame in the kernel's test harness: nothing is sent, and what it decided is read off its
    /// counters. For one caller at a time.
    ///
    /// # Errors
    /// When the kernel has no test harness for XDP programs, or the frame is shorter than an Ethernet header.
    pub fn test_run(&self, frame: &[u8]) -> Result<Decision, SteeringError> {
        let before = self.counters()?;
        let input = ProgramInput { data_in: Some(frame), ..ProgramInput::default() };
        self.program()?.test_run(input).map_err(at("test run"))?;
        let after = self.counters()?;
        Decision::ALL
            .into_iter()
            .find(|&decision| after.of(decision) != before.of(decision))
            .ok_or(SteeringError::Missing("counter for what it decided"))
    }

    pub(crate) fn with_fd<T>(&self, then: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T, SteeringError> {
        Ok(then(self.program()?.as_fd()))
    }

    fn program(&self) -> Result<ProgramMut<'_>, SteeringError> {
        self.object
            .progs_mut()
            .find(|program| program.name() == "steer")
            .ok_or(SteeringError::Missing("program"))
    }

    fn map(&self, name: &'static str) -> Result<Map<'_>, SteeringError> {
        self.object.maps().find(|map| map.name() == name).ok_or(SteeringError::Missing(name))
    }
}

impl Counters {
    /// The counter of one decision.
    #[must_use]
    pub fn of(&self, decision: Decision) -> u64 {
        match decision {
            Decision::Esp => self.esp,
            Decision::UdpEsp => self.udp_esp,
            Decision::Transit => self.transit,
            Decision::Pass => self.passed,
            Decision::SourceRouted => self.source_routed,
        }
    }
}

fn entry(address: &IpAddr) -> (&'static str, Vec<u8>) {
    match address {
        IpAddr::V4(address) => ("local_ipv4", address.octets().to_vec()),
        IpAddr::V6(address) => ("local_ipv6", address.octets().to_vec()),
    }
}

fn at(what: &'static str) -> impl Fn(libbpf_rs::Error) -> SteeringError {
    move |source| SteeringError::Map { what, source }
}
