//! `[gateway]`: the daemon itself.

use crate::limits::{SOCKET_PATH_OCTETS_MAX, STAGE_SAMPLING_MAX, STATE_PATH_OCTETS_MAX, WORKERS_MAX};
use crate::name::interface;
use crate::report::Report;
use crate::section::Section;
use std::path::PathBuf;

/// AEAD implementations that can be asked for; `auto` leaves the choice to the daemon.
const AEADS: &[(&str, Option<&str>)] = &[
    ("auto", None),
    ("vaes-avx512", Some("vaes-avx512")),
    ("vaes-avx2", Some("vaes-avx2")),
    ("aws-lc", Some("aws-lc")),
    ("ring", Some("ring")),
    ("rustcrypto", Some("rustcrypto")),
];

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
    /// One turn of a worker in so many has its stages measured; 0: none.
    pub stage_sampling: u32,
    /// How much is logged.
    pub log: LogLevel,
    /// The directory of what outlives the process: leased addresses.
    pub state: PathBuf,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            control_socket: PathBuf::from("/run/warren/warrend.sock"),
            workers: 1,
            poll: Poll::Adaptive,
            aead: None,
            tun: "warren0".to_owned(),
            mss_clamp: true,
            stage_sampling: 64,
            log: LogLevel::Info,
            state: PathBuf::from("/var/lib/warren"),
        }
    }
}

impl Gateway {
    /// Reads `[gateway]`. `None` only after an error.
    pub(crate) fn read(mut section: Section<'_>, report: &mut Report<'_>) -> Option<Self> {
        let default = Self::default();
        let socket = section.or("control_socket", default.control_socket, |field| {
            field.parsed(report, "an absolute path of at most 107 octets", |text| {
                absolute(text, SOCKET_PATH_OCTETS_MAX, "a Unix socket's may have")
            })
        });
        let workers = section.or("workers", default.workers, |field| {
            field.integer(report, 1..=u64::from(WORKERS_MAX)).map(|workers| workers as u16)
        });
        let poll = section.or("poll", default.poll, |field| {
            field.word(report, &[("adaptive", Poll::Adaptive), ("busy", Poll::Busy)])
        });
        let aead = section.or("aead", None, |field| field.word(report, AEADS));
        let tun = section.or("tun", default.tun, |field| interface(&field, report).map(str::to_owned));
        let mss_clamp = section.or("mss_clamp", default.mss_clamp, |field| field.boolean(report));
        let stage_sampling = section.or("stage_sampling", default.stage_sampling, |field| {
            field.integer(report, 0..=u64::from(STAGE_SAMPLING_MAX)).map(|turns| turns as u32)
        });
        let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
        let log = section
            .or("log", default.log, |field| field.word(report, &levels.map(|level| (level.word(), level))));
        let state = section.or("state", default.state, |field| {
            field.parsed(report, "the absolute path of a directory", |text| {
                absolute(text, STATE_PATH_OCTETS_MAX, "a directory's may have")
            })
        });
        section.finish(report);
        Some(Self {
            control_socket: socket?,
            workers: workers?,
            poll: poll?,
            aead: aead?.map(str::to_owned),
            tun: tun?,
            mss_clamp: mss_clamp?,
            stage_sampling: stage_sampling?,
            log: log?,
            state: state?,
        })
    }
}

fn absolute(text: &str, octets_max: usize, whose: &str) -> Result<PathBuf, String> {
    if text.len() > octets_max {
        return Err(format!("the path has {} octets, more than {whose}", text.len()));
    }
    match PathBuf::from(text) {
        path if path.is_absolute() && !text.contains('\0') => Ok(path),
        _ => Err(format!("`{text}` is no absolute path")),
    }
}
