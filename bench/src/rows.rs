//! One result: the shape that every benchmark writes, one JSON object on a line of its own, and the words a person reads.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use warren_port::cycles;

use crate::rounds::{Rounds, SPREAD_MAX};

/// A result. What does not belong to a benchmark is not in its rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Row {
    /// The benchmark.
    pub(crate) name: String,
    /// What of it, where it measures several things: a rule set, a loop, a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    /// The transform, as Warren writes it (`aes128gcm16`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alg: Option<String>,
    /// Octets of the inner packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<Size>,
    /// Which way the packets go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<Direction>,
    /// Ticks of the time stamp counter for one packet (or lookup, or whatever `variant` says is counted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cycles_per_packet: Option<f64>,
    /// The same in nanoseconds of the wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ns_per_packet: Option<f64>,
    /// Of the generator alone, which `cycles_per_packet` is without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generator_cycles: Option<f64>,
    /// Packets, lookups or set-ups in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    /// Inner packets' bits in a second, from their IP headers on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gbit_s: Option<f64>,
    /// Cost as a share of one seal by ring of the same number of octets, measured in the same run in alternation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share_of_ring_seal: Option<f64>,
    /// That seal, in cycles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ring_seal_cycles: Option<f64>,
    /// What it is compared with, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) beside: Option<String>,
    /// Our figure by that one's, measured in the same run in alternation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// Pairs of SAs that take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sas: Option<u32>,
    /// Rules in the set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rules: Option<u32>,
    /// Flows that take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flows: Option<u32>,
    /// Levels of ESP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) levels: Option<u8>,
    /// Packets of the anti-replay window; 0 without the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<u32>,
    /// Cores that work at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cores: Option<u32>,
    /// Memory that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_octets: Option<u64>,
    /// Time to build it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) build_ms: Option<f64>,
    /// Processor time for one of them, where one takes milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ms: Option<f64>,
    /// Latency that half of the packets stay below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ns: Option<f64>,
    /// The same for 99 of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ns: Option<f64>,
    /// The same for 999 of 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p999_ns: Option<f64>,
    /// What the figure is meant to stay within: in cycles, octets or as a share, like the figure it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bound: Option<f64>,
    /// What the share of a seal by ring is meant to stay within.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share_bound: Option<f64>,
    /// Whether it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share_within: Option<bool>,
    /// What the ratio is meant to reach at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<f64>,
    /// Whether it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) within: Option<bool>,
    /// Rounds that were measured; the figure is their median.
    pub(crate) rounds: u32,
    /// How far apart the middle half of the rounds lies, as a share of the figure.
    pub(crate) spread: f64,
    /// Whether that is too much for the figure to be quoted.
    pub(crate) noisy: bool,
    /// Whose AEAD code ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// Anything else that a reader has to know, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    /// The processor.
    pub(crate) cpu: String,
    /// Ticks of the time stamp counter in a second.
    pub(crate) tsc_hz: f64,
    /// What a "cycle" is: `tsc`, or `ns` where there is no such counter.
    pub(crate) clock: String,
}

/// How large the packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Size {
    /// All alike.
    Octets(u16),
    /// Several kinds, see [`Mix`].
    Mix(Mix),
}

/// Kinds of mixtures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mix {
    /// Seven of 64 octets, four of 576, one of 1420.
    Imix,
}

/// Which way packets go through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// Clear text from inside is sealed.
    Encrypt,
    /// ESP from outside is opened.
    Decrypt,
}

impl Row {
    /// A row whose figure is cycles per packet.
    pub(crate) fn of_cycles(name: &str, rounds: &Rounds) -> Self {
        let cycles = rounds.median();
        Self {
            cycles_per_packet: Some(cycles),
            ns_per_packet: Some(cycles * 1e9 / cycles::per_second()),
            ..Self::of(name, rounds)
        }
    }

    /// A row whose figure the caller fills in: who measured, how often, and how far the rounds lie apart.
    pub(crate) fn of(name: &str, rounds: &Rounds) -> Self {
        Self {
            name: name.to_owned(),
            rounds: rounds.len(),
            spread: rounds.spread(),
            noisy: rounds.are_noisy(),
            cpu: processor(),
            tsc_hz: cycles::per_second(),
            clock: if cycles::IS_TSC { "tsc" } else { "ns" }.to_owned(),
            ..Self::default()
        }
    }

    /// What packets of that size come to: bits of inner packets in a second, and packets.
    pub(crate) fn at_rate_of(mut self, size: Size) -> Self {
        self.size = Some(size);
        self.per_second = self.ns_per_packet.map(|ns| 1e9 / ns);
        self.gbit_s = self.ns_per_packet.map(|ns| size.mean_octets() * 8.0 / ns);
        self
    }

    /// Compares the figure, in cycles, with what it is meant to stay within.
    pub(crate) fn meant_within(mut self, bound: Option<f64>) -> Self {
        self.bound = bound;
        self.within = bound.zip(self.cycles_per_packet).map(|(bound, cycles)| cycles <= bound);
        self
    }
}

/// Long packets lie apart, so that no batch has more than its share of them.
const IMIX: [u16; 12] = [64, 576, 64, 64, 576, 64, 1420, 64, 576, 64, 64, 576];

impl Size {
    /// Octets of that packet in a row of them: a mixture comes in turns, and a whole turn is the mixture.
    pub(crate) fn of_packet(self, at: usize) -> u16 {
        match self {
            Self::Octets(octets) => octets,
            Self::Mix(Mix::Imix) => IMIX[at % IMIX.len()],
        }
    }

    /// Every size that occurs, and its share.
    pub(crate) fn shares(self) -> Vec<(u16, f64)> {
        match self {
            Self::Octets(octets) => vec![(octets, 1.0)],
            Self::Mix(Mix::Imix) => vec![(64, 7.0 / 12.0), (576, 4.0 / 12.0), (1420, 1.0 / 12.0)],
        }
    }

    /// Octets of a packet in the mean.
    pub(crate) fn mean_octets(self) -> f64 {
        self.shares().into_iter().map(|(octets, share)| f64::from(octets) * share).sum()
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "imix" {
            return Ok(Self::Mix(Mix::Imix));
        }
        let octets = text.parse().ok().filter(|octets| OCTETS.contains(octets));
        octets.map(Self::Octets).ok_or_else(|| {
            format!("a packet has between {} and {} octets, or is `imix`", OCTETS.start(), OCTETS.end())
        })
    }
}

/// A stamp fits into the smallest, and the largest fits into a frame in three levels of ESP.
const OCTETS: RangeInclusive<u16> = 40..=1420;

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Octets(octets) => write!(f, "{octets}"),
            Self::Mix(Mix::Imix) => f.write_str("imix"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        })
    }
}

/// For people: what was measured, then the figures.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subject(f)?;
        let figures = [
            self.cycles_per_packet.map(|cycles| format!("{cycles:.1} cycles")),
            self.ns_per_packet.map(|ns| format!("{ns:.1} ns")),
            self.cpu_ms.map(|ms| format!("{ms:.3} ms of CPU")),
            self.per_second.map(|rate| format!("{}/s", scaled(rate))),
            self.gbit_s.map(|rate| format!("{rate:.2} Gbit/s")),
            self.share_of_ring_seal.map(|share| format!("{share:.2} of a ring seal")),
            self.ratio.map(|ratio| {
                format!("{ratio:.3} of {}", self.beside.as_deref().unwrap_or("what it is compared with"))
            }),
            self.memory_octets.map(|octets| format!("{:.1} MiB", octets as f64 / f64::from(1 << 20))),
            self.build_ms.map(|ms| format!("built in {ms:.1} ms")),
            self.p50_ns.map(|ns| format!("p50 {ns:.0} ns")),
            self.p99_ns.map(|ns| format!("p99 {ns:.0} ns")),
            self.p999_ns.map(|ns| format!("p99.9 {ns:.0} ns")),
        ];
        let figures: Vec<_> = figures.into_iter().flatten().collect();
        write!(f, ": {}", figures.join(", "))?;
        if let (Some(bound), Some(within)) = (self.bound, self.within) {
            // A bound is one of cycles where there are any.
            let octets = self.memory_octets.filter(|_| self.cycles_per_packet.is_none());
            let octets = octets.map(|_| format!("{:.0} MiB", bound / f64::from(1 << 20)));
            let bound = octets.unwrap_or_else(|| bound.to_string());
            write!(f, "; {} {bound}", if within { "within" } else { "NOT within" })?;
        }
        if let (Some(bound), Some(within)) = (self.share_bound, self.share_within) {
            write!(f, "; share {} {bound}", if within { "within" } else { "NOT within" })?;
        }
        if let (Some(floor), Some(within)) = (self.floor, self.within) {
            write!(f, "; {} {floor}", if within { "reaches" } else { "does NOT reach" })?;
        }
        if self.noisy {
            let why = match self.spread > SPREAD_MAX {
                true => format!("the rounds lie {:.0} % apart", self.spread * 100.0),
                false => "others had the core, too".to_owned(),
            };
            write!(f, " [noisy: {why}, so this figure is not to be quoted]")?;
        }
        Ok(())
    }
}

impl Row {
    fn subject(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let words = [
            self.variant.clone(),
            self.dir.map(|dir| dir.to_string()),
            self.alg.clone(),
            self.size.map(|size| match size {
                Size::Octets(octets) => format!("{octets} B"),
                Size::Mix(_) => size.to_string(),
            }),
            self.sas.map(|sas| counted(sas, "SA")),
            self.rules.map(|rules| counted(rules, "rule")),
            self.levels.map(|levels| counted(levels.into(), "level")),
            self.window.map(|window| format!("window {window}")),
            self.cores.map(|cores| counted(cores, "core")),
        ];
        words.into_iter().flatten().try_for_each(|word| write!(f, " {word}"))
    }
}

fn counted(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn scaled(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.3} M", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.2} k", rate / 1e3),
        rate => format!("{rate:.1} "),
    }
}

/// What the kernel calls this processor.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let field = |name: &str| {
        fields.clone().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    let name = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name}, family {family} model {model}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_being_written_and_read_and_leaves_out_what_it_does_not_have() {
        let rounds: Rounds = [70.0, 71.0, 72.0].into_iter().collect();
        let row = Row::of_cycles("whole-path", &rounds).at_rate_of(Size::Octets(64)).meant_within(Some(75.0));
        let line = serde_json::to_string(&row).unwrap();
        let read: Row = serde_json::from_str(&line).unwrap();
        assert_eq!((&read.name, read.cycles_per_packet, read.size), (&row.name, Some(71.0), row.size));
        assert!(
            !line.contains("levels") && line.contains(r#""size":64"#) && line.contains(r#""within":true"#)
        );
        let mixed = serde_json::to_string(&row.at_rate_of(Size::Mix(Mix::Imix))).unwrap();
        assert!(mixed.contains(r#""size":"imix""#), "{mixed}");
    }

    #[test]
    fn a_noisy_row_says_so_in_words() {
        let rounds: Rounds = [70.0, 140.0, 210.0, 280.0].into_iter().collect();
        assert!(Row::of_cycles("whole-path", &rounds).to_string().contains("noisy"));
        let quiet: Rounds = [70.0; 4].into_iter().collect();
        assert!(!Row::of_cycles("whole-path", &quiet).to_string().contains("noisy"));
    }

    #[test]
    fn a_bound_has_the_unit_of_what_it_bounds() {
        let rounds: Rounds = [40.0; 4].into_iter().collect();
        let timed = Row::of_cycles("rules", &rounds).meant_within(Some(57.0));
        let timed = Row { memory_octets: Some(300_000), ..timed }.to_string();
        assert!(timed.ends_with("within 57"), "{timed}");
        let taken = Row {
            memory_octets: Some(1 << 20),
            bound: Some(f64::from(2 << 20)),
            within: Some(true),
            ..Row::of("memory", &rounds)
        };
        assert!(taken.to_string().ends_with("within 2 MiB"), "{taken}");
    }

    #[test]
    fn a_turn_of_the_mixture_has_the_shares_that_are_stated() {
        let imix = Size::Mix(Mix::Imix);
        for (octets, share) in imix.shares() {
            let found = (0..IMIX.len()).filter(|&at| imix.of_packet(at) == octets).count();
            assert!((found as f64 / IMIX.len() as f64 - share).abs() < 1e-9, "{octets}");
        }
        assert!((imix.mean_octets() - 347.67).abs() < 0.01, "{}", imix.mean_octets());
    }

    #[test]
    fn sizes_that_no_packet_has_are_refused_in_words() {
        assert_eq!("64".parse(), Ok(Size::Octets(64)));
        assert_eq!("imix".parse(), Ok(Size::Mix(Mix::Imix)));
        assert!("39".parse::<Size>().unwrap_err().contains("between 40 and 1420"));
        assert!("many".parse::<Size>().is_err());
    }
}
