//! Interfaces into ports: the steering program on each, and for each worker its sockets on its share of the queues.

use crate::kernel::links::Found;
use crate::limits::{FRAMES_IN_HAND, HEADROOM_OCTETS, MTU_MAX, RING_ENTRIES, SMALL_MTU_MAX};
use std::collections::BTreeSet;
use std::net::IpAddr;
use warren_bpf::{Attach, Locality, Steering, SteeringError, XdpAttach};
use warren_config::{PortConfig, PortMode, Queues, Side, ZeroCopy};
use warren_port::af_xdp::{AfXdpConfig, AfXdpPort, OpenError};
use warren_port::{Port, Umem, UmemConfig};

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    /// The program.
    #[error("port {port}: {source}{hint}")]
    Steering {
        /// The operator's name for it.
        port: String,
        /// Why.
        source: SteeringError,
        /// What may help.
        hint: &'static str,
    },
    /// A socket.
    #[error("port {port}: {source}{hint}")]
    Socket {
        /// The operator's name for it.
        port: String,
        /// Why.
        source: OpenError,
        /// What may help.
        hint: &'static str,
    },
    /// Zero-copy was demanded.
    #[error(
        "port {port}: zero_copy = \"on\", but the driver of {interface} cannot; \"auto\" would take copies"
    )]
    NoZeroCopy {
        /// The operator's name for it.
        port: String,
        /// The interface.
        interface: String,
    },
    /// Larger packets than a frame.
    #[error("port {port}: an MTU of {mtu} is larger than the {MTU_MAX} octets that a frame holds")]
    Mtu {
        /// The operator's name for it.
        port: String,
        /// The interface's.
        mtu: u32,
    },
}

/// What `dpctl` shows of a port besides its counters.
#[derive(Clone, Debug)]
pub(crate) struct PortFacts {
    pub(crate) name: String,
    pub(crate) interface: String,
    pub(crate) side: &'static str,
    pub(crate) mode: String,
    pub(crate) queues: u16,
}

/// A port that is ready to be given to the workers.
pub(crate) struct OpenPort {
    pub(crate) facts: PortFacts,
    /// For each worker its part, if it has queues.
    pub(crate) parts: Vec<Option<AfXdpPort>>,
}

/// Which queues of a port each worker serves: round and round, so that neighbouring queues spread.
pub(crate) fn shares(queues: u32, workers: usize) -> Vec<Vec<u32>> {
    (0..workers as u32).map(|worker| (worker..queues).step_by(workers).collect()).collect()
}

/// Queues of an interface that get a socket.
pub(crate) fn queues_of(config: &PortConfig, found: &Found) -> u32 {
    match config.queues {
        Queues::All => found.queues,
        Queues::First(count) => found.queues.min(u32::from(count.get())),
    }
}

/// Memory for each worker that serves its share of ports with these numbers of queues.
pub(crate) fn memory(queues: &[u32], mtu_max: u32, workers: usize) -> Vec<UmemConfig> {
    let frame_octets = if mtu_max > SMALL_MTU_MAX { 4096 } else { 2048 };
    let shares: Vec<_> = queues.iter().map(|queues| shares(*queues, workers)).collect();
    let lent = |worker: usize| {
        let served = shares.iter().map(|share| share[worker].len() as u32).filter(|count| *count > 0);
        served.map(|count| RING_ENTRIES * (count + 1)).sum::<u32>()
    };
    let config = |worker| UmemConfig {
        frames: lent(worker) + FRAMES_IN_HAND,
        frame_octets,
        headroom: HEADROOM_OCTETS,
        huge_pages: true,
    };
    (0..workers).map(config).collect()
}

/// Attaches the program to every port, all at the same time: the kernel takes its time to verify it. What it redirects
/// is dropped until there are sockets.
pub(crate) fn attach(
    ports: &[PortConfig],
    found: &[Found],
    local: &[IpAddr],
) -> Result<Vec<Steering>, PortError> {
    let addresses: BTreeSet<IpAddr> = local.iter().copied().collect();
    std::thread::scope(|scope| {
        let attaching: Vec<_> = ports
            .iter()
            .zip(found)
            .map(|(port, found)| {
                let locality = Locality { mac: found.link.mac.0, addresses: addresses.clone() };
                scope.spawn(move || attach_one(port, found, &locality))
            })
            .collect();
        attaching.into_iter().map(|thread| thread.join().expect("attaching does not panic")).collect()
    })
}

fn attach_one(port: &PortConfig, found: &Found, locality: &Locality) -> Result<Steering, PortError> {
    if found.link.mtu > MTU_MAX {
        return Err(PortError::Mtu { port: port.name.clone(), mtu: found.link.mtu });
    }
    let wanted = match port.mode {
        PortMode::Auto => Attach::Best,
        PortMode::Native => Attach::Only(XdpAttach::Native),
        PortMode::Generic => Attach::Only(XdpAttach::Generic),
    };
    Steering::attach(found.index, wanted, locality).map_err(|source| PortError::Steering {
        port: port.name.clone(),
        hint: steering_hint(&source),
        source,
    })
}

/// Opens a port's sockets, best mode first. Packets come as soon as the workers run.
pub(crate) fn open(
    config: &PortConfig,
    found: &Found,
    steering: &Steering,
    memories: &mut [Umem],
) -> Result<OpenPort, PortError> {
    let queues = queues_of(config, found);
    let mut parts = Vec::new();
    for (share, umem) in shares(queues, memories.len()).into_iter().zip(memories) {
        parts.push(open_part(config, share, steering, umem)?);
    }
    let mode = parts.iter().flatten().next().map_or_else(String::new, |part| part.mode().to_string());
    let side = match config.side {
        Side::Inside => "inside",
        Side::Outside => "outside",
    };
    let facts = PortFacts {
        name: config.name.clone(),
        interface: config.interface.clone(),
        side,
        mode,
        queues: u16::try_from(queues).unwrap_or(u16::MAX),
    };
    Ok(OpenPort { facts, parts })
}

fn open_part(
    config: &PortConfig,
    queues: Vec<u32>,
    steering: &Steering,
    umem: &mut Umem,
) -> Result<Option<AfXdpPort>, PortError> {
    if queues.is_empty() {
        return Ok(None);
    }
    let name = || config.name.clone();
    let wanted = AfXdpConfig {
        queues,
        ring_entries: RING_ENTRIES,
        zero_copy: config.zero_copy != ZeroCopy::Off,
        ..AfXdpConfig::new(&config.interface, steering.mode())
    };
    let part = AfXdpPort::open(umem, &wanted).map_err(|source| PortError::Socket {
        port: name(),
        hint: socket_hint(&source),
        source,
    })?;
    if config.zero_copy == ZeroCopy::On && part.sockets().iter().any(|socket| !socket.zero_copy()) {
        return Err(PortError::NoZeroCopy { port: name(), interface: config.interface.clone() });
    }
    for (queue, socket) in part.queue_fds() {
        steering.register(queue, socket).map_err(|source| PortError::Steering {
            port: name(),
            hint: steering_hint(&source),
            source,
        })?;
    }
    Ok(Some(part))
}

fn steering_hint(error: &SteeringError) -> &'static str {
    match error {
        SteeringError::Load(_) => {
            "; the kernel must be 5.15 or newer, and the process needs CAP_BPF and CAP_NET_ADMIN (or root)"
        }
        SteeringError::Attach { source, .. } if source.raw_os_error() == Some(EBUSY) => {
            "; another XDP program is attached there (`ip link show` names it)"
        }
        _ => "",
    }
}

fn socket_hint(error: &OpenError) -> &'static str {
    let OpenError::Kernel { source, .. } = error else { return "" };
    match source.raw_os_error() {
        Some(EBUSY) => "; another process has an AF_XDP socket on that queue",
        Some(ENOBUFS | ENOMEM) => {
            "; the limit of locked memory is too low: LimitMEMLOCK=infinity, or give CAP_IPC_LOCK"
        }
        Some(EPERM) => "; AF_XDP sockets need CAP_NET_RAW",
        _ => "",
    }
}

const EPERM: i32 = 1;
const ENOMEM: i32 = 12;
const EBUSY: i32 = 16;
const ENOBUFS: i32 = 105;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_has_exactly_one_worker() {
        assert_eq!(shares(1, 3), [vec![0], vec![], vec![]]);
        assert_eq!(shares(5, 2), [vec![0, 2, 4], vec![1, 3]]);
        for (queues, workers) in [(16, 4), (7, 3), (2, 8)] {
            let mut all: Vec<_> = shares(queues, workers).concat();
            all.sort_unstable();
            assert_eq!(all, (0..queues).collect::<Vec<_>>());
        }
    }

    #[test]
    fn memory_covers_the_rings_and_stays_below_the_budget() {
        let two_ports = memory(&[1, 1], 1500, 1);
        assert_eq!(two_ports[0].frames, 2 * 2 * RING_ENTRIES + FRAMES_IN_HAND);
        let octets = |config: &UmemConfig| u64::from(config.frames) * u64::from(config.frame_octets);
        assert!(two_ports.iter().map(octets).sum::<u64>() < 64 << 20, "an idle gateway stays small");
        assert_eq!(memory(&[1, 1], 3000, 1)[0].frame_octets, 4096);
        assert_eq!(memory(&[1, 1], 1500, 2)[1].frames, FRAMES_IN_HAND, "a worker without queues");
    }
}
