//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use warren_pktgen::limits::{FLOWS_MAX, LOOPS_MAX, RUN_MAX, TRIALS_MAX};
use warren_pktgen::next_hop::parse_mac;
use warren_pktgen::{AddressSet, PortRange, Rate, Sizes};

/// Sends packets, counts what becomes of them, and searches how fast a device can be.
#[derive(Debug, Parser)]
#[command(name = "pktgen", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// Writes the results to FILE, one JSON object on each line
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples (as root; the interfaces must have nothing else to do):

  a device between eth1 and eth2, 100,000 packets a second for ten seconds, counted and timed:
    pktgen loop --out eth1 --via 10.1.0.1 --in eth2 --to 10.2.1.0/24 --flows 100 --rate 100kpps

  how fast the device is, RFC 2544, for three sizes:
    pktgen search --out eth1 --via 10.1.0.1 --in eth2 --to 10.2.1.0/24 --size 64,512,1518

  a tenth of the packets past the device's rules:
    pktgen loop --out eth1 --via 10.1.0.1 --in eth2 --to 10.0.0.0/8 --rules 10.2.0.0/16 --miss 10 --flows 1000

  two machines, or two processes: start the sink first
    pktgen receive --in eth2 --seconds 20
    pktgen send --out eth1 --to 10.2.0.1 --rate 1Gbit --size imix --seconds 10

Packets are UDP. Sizes count the whole Ethernet frame with its check sequence: a frame of 64 octets has 60 in memory.
Exit status: 0 done, 1 refused or failed, 2 wrong usage.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Sends packets; nobody counts what becomes of them
    Send(Send),
    /// Counts and times stamped packets that another pktgen sends
    Receive(Receive),
    /// Sends by one interface, counts and times what comes back by another
    Loop(Loop),
    /// Searches the highest rate at which nothing is lost (RFC 2544 throughput)
    Search(Search),
    /// Sends the packets of a capture file
    Replay(Replay),
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    #[command(flatten)]
    pub(crate) out: Out,
    #[command(flatten)]
    pub(crate) workload: Workload,
    /// Sizes of frames: 64, imix (7:4:1 of 64, 570 and 1518), 64x3+1518x1, or genome:aaabg (letters of RFC 6985)
    #[arg(long, value_name = "SIZES", default_value = "64")]
    pub(crate) size: Sizes,
    #[command(flatten)]
    pub(crate) extent: Extent,
    #[command(flatten)]
    pub(crate) opening: Opening,
}

#[derive(Debug, Args)]
pub(crate) struct Receive {
    #[command(flatten)]
    pub(crate) into: In,
    /// How long at most, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = span)]
    pub(crate) seconds: Duration,
    /// Ends when nothing has come for so many seconds, once something has
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = span)]
    pub(crate) idle: Duration,
    /// The generator is running already: count each flow from the first packet that comes
    #[arg(long)]
    pub(crate) join: bool,
    #[command(flatten)]
    pub(crate) opening: Opening,
}

#[derive(Debug, Args)]
pub(crate) struct Loop {
    #[command(flatten)]
    pub(crate) out: Out,
    #[command(flatten)]
    pub(crate) into: In,
    #[command(flatten)]
    pub(crate) workload: Workload,
    /// Sizes of frames: 64, imix (7:4:1 of 64, 570 and 1518), 64x3+1518x1, or genome:aaabg (letters of RFC 6985)
    #[arg(long, value_name = "SIZES", default_value = "64")]
    pub(crate) size: Sizes,
    #[command(flatten)]
    pub(crate) extent: Extent,
    /// How long to wait for packets that are still under way
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = span)]
    pub(crate) drain: Duration,
    #[command(flatten)]
    pub(crate) opening: Opening,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    #[command(flatten)]
    pub(crate) out: Out,
    #[command(flatten)]
    pub(crate) into: In,
    #[command(flatten)]
    pub(crate) workload: Workload,
    /// Sizes of frames, one search for each, with commas between; RFC 2544 §9.1 wants 64,128,256,512,1024,1280,1518
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_value = "64")]
    pub(crate) size: Vec<Sizes>,
    /// The highest rate to try; if it is not said, a trial finds out what the generator can do
    #[arg(long, value_name = "RATE")]
    pub(crate) max_rate: Option<Rate>,
    /// Ends when passed and failed rates are this close, in percent of the highest rate
    #[arg(long, value_name = "PERCENT", default_value = "0.5", value_parser = resolution)]
    pub(crate) resolution: f64,
    /// Trials at most, for each size
    #[arg(long, value_name = "TRIALS", default_value = "25", value_parser = clap::value_parser!(u32).range(1..=i64::from(TRIALS_MAX)))]
    pub(crate) trials: u32,
    /// Length of a trial
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = span)]
    pub(crate) seconds: Duration,
    /// Length of the last trial, which confirms the rate that was found; RFC 2544 §24 wants 60
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = span)]
    pub(crate) confirm: Duration,
    /// Repeats a trial that lost packets so often before it counts; RFC 2544 knows no second chance
    #[arg(long, value_name = "TIMES", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=10))]
    pub(crate) repeats: u32,
    /// How long to wait for packets that are still under way (RFC 2544 §23: 2)
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = span)]
    pub(crate) drain: Duration,
    /// How long the device rests after a trial (RFC 2544 §23: 5)
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = span)]
    pub(crate) rest: Duration,
    #[command(flatten)]
    pub(crate) opening: Opening,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A classic capture file (not pcapng: `editcap -F pcap` converts), of Ethernet frames or IP packets
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) out: Out,
    /// Interface by which packets come back; they are counted, not matched
    #[arg(long = "in", value_name = "INTERFACE")]
    pub(crate) into: Option<String>,
    /// Keeps the file's own times
    #[arg(long, conflicts_with = "rate")]
    pub(crate) timed: bool,
    /// Keeps the file's own times, but so many times as fast
    #[arg(long, value_name = "FACTOR", default_value = "1", requires = "timed", value_parser = speed)]
    pub(crate) speed: f64,
    /// How fast: 100kpps, 1.5Mpps, 950Mbit, or max
    #[arg(long, value_name = "RATE", default_value = "max")]
    pub(crate) rate: Rate,
    /// How often
    #[arg(long, value_name = "TIMES", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=i64::from(LOOPS_MAX)))]
    pub(crate) loops: u32,
    /// How long at most, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = span)]
    pub(crate) seconds: Duration,
    /// How long to wait for packets that are still under way
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = span)]
    pub(crate) drain: Duration,
    #[command(flatten)]
    pub(crate) opening: Opening,
}

/// The interface that packets leave by.
#[derive(Debug, Args)]
pub(crate) struct Out {
    /// Interface to send by
    #[arg(long = "out", id = "out-interface", value_name = "INTERFACE")]
    pub(crate) interface: String,
    /// Ethernet address of the next hop
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    pub(crate) mac: Option<[u8; 6]>,
    /// IP address of the next hop, whose Ethernet address the kernel then knows or finds out; with neither, its routes are asked
    #[arg(long, value_name = "ADDRESS", conflicts_with = "mac")]
    pub(crate) via: Option<IpAddr>,
}

/// The interface that packets come by.
#[derive(Debug, Args)]
pub(crate) struct In {
    /// Interface to receive by
    #[arg(long = "in", id = "in-interface", value_name = "INTERFACE")]
    pub(crate) interface: String,
}

/// What is sent.
#[derive(Debug, Args)]
pub(crate) struct Workload {
    /// Destinations: 10.2.0.0/16, 10.2.0.1-10.2.0.9, 10.2.0.1, or several with commas between; IPv6 as well
    #[arg(long, value_name = "ADDRESSES")]
    pub(crate) to: AddressSet,
    /// Sources; if not said, the address of the interface that sends
    #[arg(long, value_name = "ADDRESSES")]
    pub(crate) from: Option<AddressSet>,
    /// UDP source ports
    #[arg(long, value_name = "PORTS", default_value = "1024-65535")]
    pub(crate) source_ports: PortRange,
    /// UDP destination ports
    #[arg(long, value_name = "PORTS", default_value = "9")]
    pub(crate) destination_ports: PortRange,
    /// How many flows: different pairs of addresses and ports, in turn
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=i64::from(FLOWS_MAX)))]
    pub(crate) flows: u32,
    /// Destinations that the device has rules for: of --to those inside are hits, those outside are misses
    #[arg(long, value_name = "ADDRESSES")]
    pub(crate) rules: Option<AddressSet>,
    /// Share of the packets that miss the rules
    #[arg(long, value_name = "PERCENT", default_value = "0", requires = "rules", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) miss: u8,
}

/// How fast and how long.
#[derive(Debug, Args)]
pub(crate) struct Extent {
    /// How fast: 100kpps, 1.5Mpps, 950Mbit (bits of frames with their check sequence), or max
    #[arg(long, value_name = "RATE", default_value = "max")]
    pub(crate) rate: Rate,
    /// How long, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = span)]
    pub(crate) seconds: Duration,
    /// How many packets at most
    #[arg(long, value_name = "PACKETS")]
    pub(crate) count: Option<u64>,
}

/// How interfaces are opened.
#[derive(Debug, Args)]
#[command(next_help_heading = "Interfaces and cores")]
pub(crate) struct Opening {
    /// How the XDP program is attached
    #[arg(long, value_enum, default_value = "best")]
    pub(crate) attach: AttachMode,
    /// Receive queues to serve; if not said, all that the interface has
    #[arg(long, value_name = "QUEUES", value_delimiter = ',')]
    pub(crate) queues: Vec<u32>,
    /// Queue to send by
    #[arg(long, value_name = "QUEUE", default_value = "0")]
    pub(crate) out_queue: u32,
    /// Take packets to the receiving interface's own addresses, too: the machine cannot be reached by it meanwhile
    #[arg(long)]
    pub(crate) take_local: bool,
    /// Entries of the rings that packets come by, a power of two; longer ones bear a sink that is interrupted for longer
    #[arg(long, value_name = "ENTRIES", default_value = "4096", value_parser = clap::value_parser!(u32).range(64..=32_768))]
    pub(crate) ring: u32,
    /// Cores for the generator and the sink, as in 2,3
    #[arg(long, value_name = "CORE,CORE", value_parser = cores)]
    pub(crate) cores: Option<(usize, usize)>,
    /// Sleep for moments when there is nothing to do; better for others on the cores, worse for latencies
    #[arg(long)]
    pub(crate) gentle: bool,
}

/// Ways of attaching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttachMode {
    /// In the driver, or where it cannot, in the kernel's general path
    Best,
    /// In the driver or not at all
    Native,
    /// In the kernel's general path, which any interface has
    Generic,
}

/// Seconds, also with a fraction.
fn span(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|span| *span <= RUN_MAX)
        .ok_or_else(|| format!("up to {} seconds are accepted", RUN_MAX.as_secs()))
}

fn resolution(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| (0.001..=50.0).contains(percent));
    percent.ok_or_else(|| "0.001 to 50 percent are accepted".to_owned())
}

fn speed(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| (0.001..=1000.0).contains(factor));
    factor.ok_or_else(|| "a thousandth to a thousand times are accepted".to_owned())
}

fn cores(text: &str) -> Result<(usize, usize), String> {
    let pair = text.split_once(',').and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
    pair.ok_or_else(|| format!("`{text}` is no pair of cores"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_examples_of_the_help_are_accepted() {
        let commands: Vec<&str> =
            EXAMPLES.lines().map(str::trim).filter(|line| line.starts_with("pktgen ")).collect();
        assert_eq!(commands.len(), 5);
        for command in commands {
            let parsed = Arguments::try_parse_from(command.split_whitespace());
            assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for command in [
            "pktgen",
            "pktgen send --out eth1",
            "pktgen send --out eth1 --to 10.2.0.1 --miss 10",
            "pktgen send --out eth1 --to 10.2.0.1 --flows 0",
            "pktgen send --out eth1 --to 10.2.0.1 --mac 02:00",
            "pktgen send --out eth1 --to 10.2.0.1 --mac 02:00:00:00:00:01 --via 10.1.0.1",
            "pktgen search --out eth1 --to 10.2.0.1",
            "pktgen replay --out eth1",
            "pktgen replay x.pcap --out eth1 --speed 2",
            "pktgen replay x.pcap --out eth1 --timed --rate 1kpps",
            "pktgen receive --in eth1 --seconds 100000",
            "pktgen loop --out a --in b --to 10.2.0.1 --cores 1",
        ] {
            assert!(Arguments::try_parse_from(command.split_whitespace()).is_err(), "{command}");
        }
    }
}
