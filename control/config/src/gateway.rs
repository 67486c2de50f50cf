//! `[gateway]`: the daemon itself.

use std::path::PathBuf;

/// How a worker waits for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Spins while packets come, sleeps when none do.
    Adaptive,
    /// Always spins: lowest latency, one core each.
    Busy,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What stops something from working.
    Error,
    /// What should be looked at.
    Warn,
    /// Tunnels coming and going.
    Info,
    /// Negotiations step by step.
    Debug,
    /// Single packets.
    Trace,
}

impl LogLevel {
    /// The word for it in the file, which `tracing` understands too.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The daemon itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where `dpctl` finds it.
    pub control_socket: PathBuf,
    /// Pinned worker threads; at least one.
    pub workers: u16,
    /// How they wait.
    pub poll: Poll,
    /// Which AEAD implementation; `None` takes the fastest that passes its self-test.
    pub aead: Option<String>,
    /// Name of the tun interface for the gateway's own traffic.
    pub tun: String,
    /// Whether the MSS in TCP SYNs is lowered to what fits the tunnel.
    pub mss_clamp: bool,
    /// How much is logged.
    pub log: LogLevel,
}
