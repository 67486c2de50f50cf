//! The command line.

use crate::explain::Question;
use crate::limits::{INTERVAL_MAX, INTERVAL_MIN};
use crate::psk::Encoding;
use crate::ted::Flow;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;
use warren_policy::Proxy;

/// Shows and explains a running warrend.
#[derive(Debug, Parser)]
#[command(name = "dpctl", version, max_term_width = 100, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", env = "WARREN_SOCKET", default_value = warren_api::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_STATUS: &str = "Exit status: 0 done, 1 refused or failed, 2 wrong usage.";

/// How lists are written.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Format {
    /// JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Counters of ports, workers, IKE and steering
    Stats {
        /// Shows rates, again and again, until interrupted
        #[arg(long)]
        watch: bool,
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval, requires = "watch")]
        interval: Duration,
        /// Ends after that many looks
        #[arg(long, value_name = "LOOKS", requires = "watch")]
        count: Option<u64>,
        /// Where the workers' cycles go: stage by stage, sizes of batches, levels of ESP; with `--watch` between two looks
        #[arg(long)]
        stages: bool,
        /// Of each worker too
        #[arg(long, requires = "stages")]
        workers: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Security associations with their counters and ages
    Sa {
        #[command(flatten)]
        format: Format,
    },
    /// Tunnels: how they stand, and their switches
    #[command(args_conflicts_with_subcommands = true)]
    Tunnel {
        #[command(subcommand)]
        verb: Option<TunnelVerb>,
        #[command(flatten)]
        format: Format,
    },
    /// Policy over the configuration exchange: what is served, what was pulled and what became of it
    #[command(args_conflicts_with_subcommands = true)]
    Policy {
        #[command(subcommand)]
        verb: Option<PolicyVerb>,
        #[command(flatten)]
        format: Format,
    },
    /// Pools and leased addresses
    #[command(args_conflicts_with_subcommands = true)]
    Lease {
        #[command(subcommand)]
        verb: Option<LeaseVerb>,
        #[command(flatten)]
        format: Format,
    },
    /// Clients that are connected to us, and servers that we are a client of
    #[command(args_conflicts_with_subcommands = true)]
    Client {
        #[command(subcommand)]
        verb: Option<ClientVerb>,
        #[command(flatten)]
        format: Format,
    },
    /// Tunnel Endpoint Discovery: what is asked, what rests and what was found
    #[command(args_conflicts_with_subcommands = true)]
    Ted {
        #[command(subcommand)]
        verb: Option<TedVerb>,
        #[command(flatten)]
        format: Format,
    },
    /// Tunnels inside tunnels: what is built, level by level, and what it broke on
    #[command(args_conflicts_with_subcommands = true)]
    Stack {
        #[command(subcommand)]
        verb: Option<StackVerb>,
        #[command(flatten)]
        format: Format,
    },
    /// Transport and tunnel rules in the order in which they are tried
    Rule {
        #[command(flatten)]
        format: Format,
    },
    /// Why packets were dropped, in words
    Drops {
        /// Also the reasons that never occurred
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Which daemon is running
    Version {
        #[command(flatten)]
        format: Format,
    },
    /// Pre-shared keys; needs no daemon
    Psk {
        #[command(subcommand)]
        verb: PskVerb,
    },
    /// What two gateways protect in common, and why it may be nothing; needs no daemon
    Intersect {
        /// What the first gateway protects, as it sees it: `LOCAL REMOTE [PROTOCOL [LOCAL-PORT REMOTE-PORT]]`
        #[arg(value_name = "PROXY", required_unless_present = "batch", requires = "second")]
        first: Option<Proxy>,
        /// What the second gateway protects, as it sees it
        #[arg(value_name = "PROXY")]
        second: Option<Proxy>,
        /// Reads JSON lines on standard input and writes one line for each
        #[arg(long, conflicts_with = "first")]
        batch: bool,
    },
    /// Why a packet goes through which tunnels, rule by rule, how they stand and what would happen next; with `--config`
    /// by the rules of a file, which needs no daemon
    Explain(Question),
    /// Checks a configuration file as warrend would; needs no daemon
    Check {
        /// The configuration file
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TunnelVerb {
    /// All tunnels and how they stand
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Negotiates a tunnel now
    Up {
        /// A tunnel rule's name
        name: String,
        /// Waits until it is up, and fails if it is not by then
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30", value_parser = interval)]
        wait: Option<Duration>,
    },
    /// Takes a tunnel down; its traffic is dropped until `up`
    Down {
        /// A tunnel rule's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// What is served and what was pulled
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Policies of the configuration, as they are served
    Served {
        #[command(flatten)]
        format: Format,
    },
    /// What servers gave us, set by set, with the ceiling and what it refused
    Pulled {
        #[command(flatten)]
        format: Format,
    },
    /// Pulls policy from a server again, now
    Pull {
        /// A peer's name; `server` for a file of two lines
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseVerb {
    /// Pools, and what is leased of them
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Forgets a lease; a holder that is connected is disconnected first
    Release {
        /// A pool's name
        pool: String,
        /// Whose lease it is, as `dpctl lease` shows it
        holder: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientVerb {
    /// Who is connected, and what we are as a client
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Withdraws what a server gave us, and asks it for nothing until `dpctl policy pull`
    Close {
        /// A peer's name; `server` for a file of two lines
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TedVerb {
    /// Discoveries under way, destinations that rest, tunnels that were found, counters
    Status {
        #[command(flatten)]
        format: Format,
    },
    /// Discovers a gateway for a packet, as if it had come, and waits for a tunnel
    Probe {
        /// Shows the probe that would be sent, and sends nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        flow: Flow,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StackVerb {
    /// Every stack, built, under way or kept down
    List {
        #[command(flatten)]
        format: Format,
    },
    /// One transaction with its pending and its completed stack, top first
    Show {
        /// The rule whose traffic it is for
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Takes a stack down now, built or not; levels that others use stay, and traffic may build it again
    Abort {
        /// The rule whose traffic it is for
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PskVerb {
    /// Makes a key of 256 random bits
    New {
        /// Writes it to a new file that only its owner can read, instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How it is written
        #[arg(long, value_enum, default_value = "hex")]
        encoding: Encoding,
    },
}

/// Seconds, also with a fraction.
fn interval(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|interval| (INTERVAL_MIN..=INTERVAL_MAX).contains(interval))
        .ok_or_else(|| {
            format!("{} to {} seconds are accepted", INTERVAL_MIN.as_secs_f64(), INTERVAL_MAX.as_secs())
        })
}
