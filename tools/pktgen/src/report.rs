//! What a run has shown: a row for programs, lines for people. A figure that was not measured is not there.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::generator::Sent;
use crate::limits::BEHIND_FILE_MAX;
use crate::limits::BEHIND_PERMILLE_MAX;
use crate::numbers::{short, time};
use crate::rate::Rate;
use crate::run::Ran;
use crate::sink::Caught;

/// Octets between two frames on a wire: preamble, start and gap (IEEE 802.3). What a link is full with counts them.
const BETWEEN_FRAMES_OCTETS: u64 = 20;

/// What a run was, for its row.
#[derive(Debug, Clone, Serialize)]
pub struct About {
    /// `pktgen.send`, `pktgen.loop`, `pktgen.receive`, `pktgen.replay` or `pktgen.trial`.
    pub name: &'static str,
    /// Sizes of the frames as they were asked for, or the name of a capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Flows that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<u32>,
    /// Share of packets that miss the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miss_percent: Option<u8>,
    /// How the ports work: out, in.
    pub modes: Vec<String>,
    /// Whether what comes is matched with what was sent by its stamps, or only counted.
    pub is_matched: bool,
}

/// The generator's half of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SentRow {
    /// Packets per second that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_pps: Option<u64>,
    /// Bits per second that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_bit_s: Option<u64>,
    /// Whether that was kept; absent where nothing was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_rate: Option<bool>,
    /// Packets sent.
    pub sent: u64,
    /// Packets that were due and not sent in time.
    pub forfeited: u64,
    /// Seconds that sending took.
    pub seconds: f64,
    /// Packets per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_pps: Option<f64>,
    /// Bits of frames, check sequences included, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_bit_s: Option<f64>,
    /// The same with what stands between frames on a wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_line_bit_s: Option<f64>,
}

/// The sink's half of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaughtRow {
    /// All frames that came.
    pub frames: u64,
    /// Stamped packets that came, each once.
    pub received: u64,
    /// Frames per second, between the first and the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_pps: Option<f64>,
    /// Bits of frames per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_bit_s: Option<f64>,
    /// Packets that were sent and did not come; without a generator, numbers that were jumped over.
    pub lost: u64,
    /// Of those that were sent, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_share: Option<f64>,
    /// Packets that the sink itself had no room for; they are among the lost, and no fault of the device.
    pub overrun: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came after a later one of their flow (RFC 4737 §3.3).
    pub reordered: u64,
    /// Of those that came (RFC 4737 §3.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordered_share: Option<f64>,
    /// The largest reordering extent, in packets (RFC 4737 §4.2.1).
    pub reorder_extent_max: u64,
    /// Packets too late to say whether they came again; `lost` may be too large by as many.
    pub unplaced: u64,
    /// Packets of more flows than accounts are kept for.
    pub crowded: u64,
    /// Packets with a wrong checksum.
    pub damaged: u64,
    /// Stamped packets of other runs.
    pub strangers: u64,
    /// Frames without a stamp.
    pub unstamped: u64,
    /// Flows that were seen.
    pub flows_seen: u64,
    /// Times under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<Latency>,
}

/// Quantiles of times, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Packets that were timed.
    pub packets: u64,
    /// The smallest.
    pub min: u64,
    /// Half are at most this.
    pub p50: u64,
    /// All but a hundredth.
    pub p99: u64,
    /// All but a thousandth.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What it was.
    #[serde(flatten)]
    pub about: About,
    /// The generator's half.
    #[serde(flatten)]
    pub sent: Option<SentRow>,
    /// The sink's half.
    #[serde(flatten)]
    pub caught: Option<CaughtRow>,
}

impl Row {
    /// The row of a run at `rate`.
    ///
    /// # Errors
    /// When there is nothing to report: nothing was sent, or there is a sink and nothing came. The error says what came instead.
    pub fn of(about: About, rate: Rate, ran: &Ran) -> Result<Self, String> {
        if ran.sent.frames == 0 {
            return Err("nothing was sent: the port took no frame".to_owned());
        }
        let sent = SentRow::of(rate, &ran.sent);
        let caught = match &ran.caught {
            Some(caught) => Some(CaughtRow::of(caught, Some(ran.sent.frames), about.is_matched)?),
            None => None,
        };
        Ok(Self { about, sent: Some(sent), caught })
    }

    /// The row of a sink alone.
    ///
    /// # Errors
    /// When nothing came.
    pub fn of_sink(about: About, caught: &Caught) -> Result<Self, String> {
        let caught = CaughtRow::of(caught, None, about.is_matched)?;
        Ok(Self { about, sent: None, caught: Some(caught) })
    }

    /// Lines for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let sent = self.sent.iter().flat_map(SentRow::lines);
        let is_matched = self.about.is_matched;
        sent.chain(self.caught.iter().flat_map(|caught| caught.lines(is_matched))).collect()
    }
}

impl SentRow {
    fn of(rate: Rate, sent: &Sent) -> Self {
        let seconds = sent.elapsed_ns as f64 / 1e9;
        let per_second = |amount: u64| (seconds > 0.0).then(|| amount as f64 / seconds);
        let (asked_pps, asked_bit_s) = match rate {
            Rate::Unlimited => (None, None),
            Rate::Packets(rate) => (Some(rate), None),
            Rate::Bits(rate) => (None, Some(rate)),
        };
        let kept = keeps(rate, sent);
        Self {
            asked_pps,
            asked_bit_s,
            kept_rate: kept,
            sent: sent.frames,
            forfeited: sent.forfeited,
            seconds,
            sent_pps: per_second(sent.frames),
            sent_bit_s: per_second(sent.octets * 8),
            sent_line_bit_s: per_second((sent.octets + sent.frames * BETWEEN_FRAMES_OCTETS) * 8),
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut line = format!("sent      {} packets in {:.3} s", self.sent, self.seconds);
        if let (Some(pps), Some(bits), Some(on_the_wire)) =
            (self.sent_pps, self.sent_bit_s, self.sent_line_bit_s)
        {
            line += &format!(
                ": {} packet/s, {} bit/s ({} bit/s of a link)",
                short(pps),
                short(bits),
                short(on_the_wire)
            );
        }
        let mut lines = vec![line];
        if self.kept_rate == Some(false) {
            lines.push(format!(
                "NOT KEPT  the rate that was asked for: {} packets were due and not sent in time; the figures above are what was sent",
                self.forfeited
            ));
        }
        lines
    }
}

/// Whether the generator kept what was asked; `None` where nothing was.
pub(crate) fn keeps(rate: Rate, sent: &Sent) -> Option<bool> {
    let in_time = u128::from(sent.behind_max_ns) <= BEHIND_FILE_MAX.as_nanos();
    match rate {
        // Zero for packets that have no time of their own.
        Rate::Unlimited if sent.behind_max_ns == 0 => None,
        Rate::Unlimited => Some(in_time),
        Rate::Packets(_) | Rate::Bits(_) => {
            Some(sent.forfeited * 1_000 <= sent.frames * BEHIND_PERMILLE_MAX && in_time)
        }
    }
}

/// Packets of a run that did not come, as far as anybody can say.
pub(crate) fn lost(caught: &Caught, sent: u64, is_matched: bool) -> u64 {
    sent.saturating_sub(if is_matched { caught.counts.arrived } else { caught.counts.frames })
}

impl CaughtRow {
    fn of(caught: &Caught, sent: Option<u64>, is_matched: bool) -> Result<Self, String> {
        let counts = &caught.counts;
        let came = if is_matched { counts.stamped } else { counts.frames };
        if came == 0 {
            return Err(format!(
                "nothing was received, so there is nothing to report ({} frames without a stamp, {} of other runs, {} damaged)",
                counts.unstamped, counts.strangers, counts.damaged
            ));
        }
        let seconds = (counts.last_ns - counts.first_ns) as f64 / 1e9;
        // Between the first and the last lie as many intervals as frames less one.
        let share = (counts.frames - 1) as f64 / counts.frames as f64;
        let per_second = |amount: u64| (seconds > 0.0).then(|| amount as f64 * share / seconds);
        let lost = sent.map_or(caught.missing, |sent| lost(caught, sent, is_matched));
        let of_all = sent.or(Some(counts.arrived + caught.missing)).filter(|all| *all > 0);
        Ok(Self {
            frames: counts.frames,
            received: counts.arrived,
            received_pps: per_second(counts.frames),
            received_bit_s: per_second(counts.octets * 8),
            lost,
            lost_share: of_all.map(|all| lost as f64 / all as f64),
            overrun: caught.overrun,
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            reordered_share: (counts.arrived > 0).then(|| counts.reordered as f64 / counts.arrived as f64),
            reorder_extent_max: counts.extent_max,
            unplaced: counts.unplaced,
            crowded: counts.crowded,
            damaged: counts.damaged,
            strangers: counts.strangers,
            unstamped: counts.unstamped,
            flows_seen: caught.flows,
            latency_ns: Latency::of(&caught.latency),
        })
    }

    fn lines(&self, is_matched: bool) -> Vec<String> {
        let came = if is_matched { self.received } else { self.frames };
        let mut line = format!("received  {came} packets");
        if let (Some(pps), Some(bits)) = (self.received_pps, self.received_bit_s) {
            line += &format!(": {} packet/s, {} bit/s", short(pps), short(bits));
        }
        let share = self.lost_share.map(|share| format!(" ({:.4} %)", share * 100.0)).unwrap_or_default();
        let mut lines = vec![line, format!("lost      {}{share}", self.lost)];
        if self.overrun > 0 {
            lines.push(format!(
                "TOO SLOW  the sink itself had no room for {} packets: so much of the loss is not the device's (--ring, --cores)",
                self.overrun
            ));
        }
        if !is_matched {
            lines.push(
                "          counted only: packets of a capture carry no stamps to match them by".to_owned(),
            );
            return lines;
        }
        let share = self.reordered_share.unwrap_or(0.0) * 100.0;
        lines.push(format!(
            "order     {} reordered ({share:.4} %, extent at most {}), {} duplicates, {} flows",
            self.reordered, self.reorder_extent_max, self.duplicates, self.flows_seen
        ));
        let odd = [
            (self.unplaced, "too late to say whether they came again: the loss may be smaller by as many"),
            (self.crowded, "of more flows than are counted apart"),
            (self.damaged, "damaged"),
            (self.strangers, "of other runs"),
            (self.unstamped, "without a stamp"),
        ];
        let odd = odd.into_iter().filter(|(count, _)| *count > 0);
        lines.extend(odd.map(|(count, what)| format!("also      {count} {what}")));
        lines.push(match self.latency_ns {
            None => "latency   none: the packets were sent by another clock".to_owned(),
            Some(latency) => format!(
                "latency   p50 {}, p99 {}, p99.9 {}, max {}",
                time(latency.p50),
                time(latency.p99),
                time(latency.p999),
                time(latency.max)
            ),
        });
        lines
    }
}

impl Latency {
    /// Of a histogram; `None` when nothing was timed.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Self {
            packets: histogram.len(),
            min: histogram.min(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Expect, Sink};

    fn about(is_matched: bool) -> About {
        let size = Some("64".to_owned());
        About {
            name: "pktgen.loop",
            size,
            flows: Some(1),
            miss_percent: Some(0),
            modes: Vec::new(),
            is_matched,
        }
    }

    fn sent(frames: u64, forfeited: u64) -> Sent {
        Sent { frames, octets: frames * 64, forfeited, behind_max_ns: 0, elapsed_ns: 2_000_000_000 }
    }

    #[test]
    fn a_rate_that_was_not_kept_is_marked_and_the_one_that_was_sent_is_shown() {
        let ran = |forfeited| Ran { sent: sent(1_000_000, forfeited), caught: None };
        let rate = Rate::Packets(600_000);
        let row = Row::of(about(true), rate, &ran(200_000)).unwrap();
        let half = row.sent.as_ref().unwrap();
        assert_eq!(
            (half.kept_rate, half.sent_pps, half.asked_pps),
            (Some(false), Some(500_000.0), Some(600_000))
        );
        assert!(row.lines().iter().any(|line| line.starts_with("NOT KEPT") && line.contains("200000")));
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!((&json["kept_rate"], &json["sent_pps"]), (&false.into(), &500_000.0.into()));
        assert_eq!(json["sent_line_bit_s"], 500_000.0 * 84.0 * 8.0);

        let row = Row::of(about(true), rate, &ran(1_000)).unwrap();
        assert_eq!(row.sent.unwrap().kept_rate, Some(true));
        let row = Row::of(about(true), Rate::Unlimited, &ran(0)).unwrap();
        assert_eq!(row.sent.unwrap().kept_rate, None);
    }

    #[test]
    fn a_run_without_a_packet_is_refused_unless_nobody_was_to_receive() {
        let nothing = |caught| Ran { sent: sent(10, 0), caught };
        let mut sink = Sink::new(Expect::Stream(1));
        sink.take(5, &[0; 60]);
        let refused = Row::of(about(true), Rate::Unlimited, &nothing(Some(sink.finish()))).unwrap_err();
        assert!(
            refused.contains("nothing was received") && refused.contains("1 frames without"),
            "{refused}"
        );
        assert!(Row::of(about(true), Rate::Unlimited, &nothing(None)).is_ok());
        let ran = Ran { sent: sent(0, 0), caught: None };
        assert!(Row::of(about(true), Rate::Unlimited, &ran).unwrap_err().contains("nothing was sent"));
        assert!(Row::of_sink(about(true), &Sink::new(Expect::All).finish()).is_err());
    }

    #[test]
    fn what_the_sink_itself_lost_is_said() {
        let mut sink = Sink::new(Expect::All);
        sink.take(5, &[0; 60]);
        let caught = Caught { overrun: 7, ..sink.finish() };
        let row =
            Row::of(about(false), Rate::Unlimited, &Ran { sent: sent(10, 0), caught: Some(caught) }).unwrap();
        assert_eq!(row.caught.as_ref().map(|half| (half.lost, half.overrun)), Some((9, 7)));
        assert!(row.lines().iter().any(|line| line.starts_with("TOO SLOW") && line.contains('7')));
    }

    #[test]
    fn a_single_packet_has_no_rate() {
        let mut sink = Sink::new(Expect::All);
        sink.take(5, &[0; 60]);
        let row = Row::of_sink(about(false), &sink.finish()).unwrap();
        let half = row.caught.as_ref().unwrap();
        assert_eq!((half.frames, half.received_pps), (1, None));
        let json = serde_json::to_value(&row).unwrap();
        assert!(json.get("received_pps").is_none() && json.get("sent").is_none());
        assert!(row.lines().iter().any(|line| line.contains("counted only")));
    }
}
