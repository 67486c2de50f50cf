//! Counters, as they stand at one moment. All of them only grow, except what is named as a level.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// `warrend`'s own version.
    pub warrend: String,
    /// Process id.
    pub pid: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Which AEAD implementation the workers use.
    pub aead: String,
}

/// All counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Milliseconds since the daemon started: rates are differences divided by differences of this.
    pub uptime_ms: u64,
    /// Which AEAD implementation the workers use.
    pub aead: String,
    /// In the order of the configuration, the tun port last.
    pub ports: Vec<Port>,
    /// By worker number.
    pub workers: Vec<Worker>,
    /// Sums over all workers, for the ledger `received + originated + injected = delivered + caught + dropped + held`.
    pub totals: Totals,
    /// What else the workers count, by word, summed: flow cache hits, ICMP messages made, MSS clamped and so on.
    #[serde(default)]
    pub tallies: BTreeMap<String, u64>,
    /// IKE counters by name: messages, negotiations, and each reason for silence.
    pub ike: BTreeMap<String, u64>,
    /// Discovery counters by name.
    #[serde(default)]
    pub ted: BTreeMap<String, u64>,
    /// What the XDP program redirected, passed and dropped, by name.
    pub steering: BTreeMap<String, u64>,
}

/// One port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The operator's name for it.
    pub name: String,
    /// The kernel's name of the interface.
    pub interface: String,
    /// `inside`, `outside` or `local` (the tun port).
    pub side: String,
    /// What was reached, in words: `native XDP, zero-copy`, `generic XDP, copy`, `tun`.
    pub mode: String,
    /// Receive queues with a socket.
    pub queues: u16,
    /// What the card does about it that an SA's packets come to the worker that owns it, in words: `SPI rules 12 of 64`,
    /// `none: the driver cannot`. Empty for ports by which no ESP comes.
    #[serde(default)]
    pub flow_steering: String,
    /// Frames taken from the port.
    pub received: u64,
    /// Octets in them; 0 where the port does not count them.
    #[serde(default)]
    pub received_octets: u64,
    /// Frames the port took from us.
    pub transmitted: u64,
    /// Octets in them; 0 where the port does not count them.
    #[serde(default)]
    pub transmitted_octets: u64,
    /// Frames the kernel lost before we saw them: no room in a ring or in the UMEM.
    pub receive_dropped: u64,
    /// Frames the kernel would not send.
    pub transmit_failed: u64,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its number.
    pub id: u16,
    /// The core it is pinned to; none in tests.
    pub core: Option<u16>,
    /// Packets that came in by a port.
    pub received: u64,
    /// Packets it made itself: ICMP messages, fragments beyond the first.
    #[serde(default)]
    pub originated: u64,
    /// Packets taken over from another worker.
    #[serde(default)]
    pub adopted: u64,
    /// Packets given to another worker.
    #[serde(default)]
    pub handed: u64,
    /// Packets that left by a port, the tun port or to the kernel.
    pub delivered: u64,
    /// A level: packets in its hands now.
    pub held: u64,
    /// Packets that ended in a drop reason.
    pub dropped: u64,
    /// Packets sealed into ESP.
    pub sealed: u64,
    /// Packets opened from ESP.
    pub opened: u64,
    /// Events lost because the ring to control was full.
    pub events_lost: u64,
}

/// Sums over all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Packets that came in by a port.
    pub received: u64,
    /// Packets made here: ICMP messages, fragments beyond the first.
    #[serde(default)]
    pub originated: u64,
    /// Packets that left by a port, the tun port or to the kernel.
    pub delivered: u64,
    /// A level: packets in the workers' hands now, or on their way from one to another.
    pub held: u64,
    /// Packets that ended in a drop reason.
    pub dropped: u64,
    /// Packets sealed into ESP.
    pub sealed: u64,
    /// Packets opened from ESP.
    pub opened: u64,
    /// A level: SAs installed, both directions.
    pub sas: u64,
    /// A level: tunnels up.
    pub tunnels_up: u64,
    /// A level: tunnel rules.
    pub tunnels: u64,
}
