//! The search of RFC 2544 over real interfaces: one search for each size, every trial shown.

use std::time::Duration;

use serde::Serialize;
use warren_pktgen::numbers::{short, time};
use warren_pktgen::report::{About, Latency, Row};
use warren_pktgen::{Ending, Expect, Outcome, Rate, RunConfig, Search, SearchConfig, Sizes, Trial, run};

use crate::arguments;
use crate::commands::about;
use crate::interfaces::{Interfaces, fresh_stream};
use crate::output::Output;

/// One search.
#[derive(Serialize)]
struct Found<'a> {
    name: &'static str,
    size: String,
    flows: u32,
    miss_percent: u8,
    modes: &'a [String],
    ending: Ending,
    /// The rate that the confirming trial passed; absent when none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    throughput_pps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throughput_bit_s: Option<f64>,
    /// Of the trial that confirmed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ns: Option<Latency>,
    confirmed_seconds: f64,
    resolution_pps: f64,
    trials: u32,
}

/// `pktgen search`
pub(crate) fn search(arguments: &arguments::Search, output: &mut Output) -> Result<(), String> {
    let into = Some(arguments.into.interface.as_str());
    let mut interfaces = Interfaces::open(&arguments.out.interface, into, &arguments.opening)?;
    for sizes in &arguments.size {
        one_size(arguments, &mut interfaces, sizes, output)?;
    }
    Ok(())
}

fn one_size(
    arguments: &arguments::Search,
    interfaces: &mut Interfaces,
    sizes: &Sizes,
    output: &mut Output,
) -> Result<(), String> {
    output.line(&format!("searching the throughput of frames of {sizes} octets"));
    let rate_max = match arguments.max_rate {
        Some(Rate::Packets(rate)) => rate as f64,
        Some(Rate::Bits(rate)) => rate as f64 / (8.0 * mean(sizes)),
        Some(Rate::Unlimited) | None => flat_out(arguments, interfaces, sizes, output)?,
    };
    let mut search = Search::new(SearchConfig {
        rate_max,
        resolution: arguments.resolution / 100.0,
        trials_max: arguments.trials,
        repeats: arguments.repeats,
        confirms: true,
    });
    let (mut latency, mut bits_each) = (None, 0.0);
    while let Some(trial) = search.next_trial() {
        if search.trials() > 0 {
            std::thread::sleep(arguments.rest);
        }
        let (outcome, last) = try_once(arguments, interfaces, sizes, &trial, output)?;
        (latency, bits_each) = last;
        search.enter(trial, &outcome);
    }
    let ending = search.ending().ok_or("a search without an end")?;
    let throughput = search.throughput();
    let found = Found {
        name: "pktgen.throughput",
        size: sizes.to_string(),
        flows: arguments.workload.flows,
        miss_percent: arguments.workload.miss,
        modes: &interfaces.modes,
        ending,
        throughput_pps: throughput,
        throughput_bit_s: throughput.map(|pps| pps * bits_each),
        latency_ns: latency.filter(|_| throughput.is_some()),
        confirmed_seconds: arguments.confirm.as_secs_f64(),
        resolution_pps: (rate_max * arguments.resolution / 100.0).max(1.0),
        trials: search.trials(),
    };
    output.line(&verdict(&found, search.highest_passed()));
    output.row(&found)
}

fn verdict(found: &Found<'_>, highest: Option<f64>) -> String {
    let trials = found.trials;
    match (found.throughput_pps, found.throughput_bit_s, found.ending) {
        (Some(pps), Some(bits), ending) => {
            let more = match ending {
                Ending::PktgenLimit => {
                    "; pktgen itself cannot send or take more here, the device may forward more"
                }
                Ending::RateMax => "; that is the highest rate that was to be tried",
                _ => "",
            };
            let size = &found.size;
            let figure = format!("throughput of {size}: {} packet/s, {} bit/s", short(pps), short(bits));
            format!("{figure}, after {trials} trials{more}")
        }
        (_, _, Ending::PktgenLimit) => {
            format!("no figure: pktgen kept no rate that it tried, in {trials} trials")
        }
        (_, _, Ending::NothingPasses) => format!("no rate passes, after {trials} trials"),
        _ => {
            let highest = highest.map_or("none".to_owned(), |pps| format!("{} packet/s", short(pps)));
            format!(
                "no figure: the {trials} trials are used up (--trials); the highest rate that passed is {highest}"
            )
        }
    }
}

/// What the generator can send: no trial at a higher rate would be one.
fn flat_out(
    arguments: &arguments::Search,
    interfaces: &mut Interfaces,
    sizes: &Sizes,
    output: &mut Output,
) -> Result<f64, String> {
    let workload = interfaces.workload(&arguments.out, &arguments.workload, sizes, fresh_stream())?;
    let config = run_config(arguments, Rate::Unlimited, arguments.seconds, 0);
    let ran = run(&mut interfaces.ports, workload, &config)?;
    let seconds = ran.sent.elapsed_ns as f64 / 1e9;
    if ran.sent.frames == 0 || seconds <= 0.0 {
        return Err("nothing was sent: the port took no frame".to_owned());
    }
    let pps = ran.sent.frames as f64 / seconds;
    output.line(&format!("  the generator sends {} packet/s at most", short(pps)));
    std::thread::sleep(arguments.rest);
    Ok(pps)
}

/// Also the latencies, and bits of a packet on average.
fn try_once(
    arguments: &arguments::Search,
    interfaces: &mut Interfaces,
    sizes: &Sizes,
    trial: &Trial,
    output: &mut Output,
) -> Result<(Outcome, (Option<Latency>, f64)), String> {
    // Each trial is a run of its own, so that what the one before left in a queue is nobody's.
    let stream = fresh_stream();
    let workload = interfaces.workload(&arguments.out, &arguments.workload, sizes, stream)?;
    let span = if trial.is_full { arguments.confirm } else { arguments.seconds };
    let rate = Rate::Packets(trial.rate.round().max(1.0) as u64);
    let config = run_config(arguments, rate, span, stream);
    let ran = run(&mut interfaces.ports, workload, &config)?;
    let about = About {
        size: Some(sizes.to_string()),
        ..about("pktgen.trial", "", &arguments.workload, interfaces.modes.clone())
    };
    let row = Row::of(about, rate, &ran)?;
    output.row(&row)?;
    let (Some(sent), Some(caught)) = (&row.sent, &row.caught) else {
        return Err("a trial without a sink".to_owned());
    };
    let outcome = Outcome {
        sent_pps: sent.sent_pps.unwrap_or(0.0),
        kept_rate: sent.kept_rate == Some(true),
        sent: sent.sent,
        lost: caught.lost,
        overrun: caught.overrun,
    };
    let asked = short(trial.rate);
    let result = match outcome.verdict() {
        Some(true) => "passed".to_owned(),
        Some(false) => format!("failed: lost {} of {}", outcome.lost, outcome.sent),
        None if outcome.overrun > 0 => {
            format!("no trial: the sink itself had no room for {} packets", outcome.overrun)
        }
        None => format!("no trial: only {} packet/s could be sent", short(outcome.sent_pps)),
    };
    let took = caught.latency_ns.map(|latency| format!(", p99 {}", time(latency.p99))).unwrap_or_default();
    let length = config.span.as_secs_f64();
    output.line(&format!("  {asked} packet/s for {length} s: {result}{took}"));
    let bits_each = sent.sent_bit_s.unwrap_or(0.0) / outcome.sent_pps.max(1.0);
    Ok((outcome, (caught.latency_ns, bits_each)))
}

fn run_config(arguments: &arguments::Search, rate: Rate, span: Duration, stream: u16) -> RunConfig {
    RunConfig {
        rate,
        span,
        count: u64::MAX,
        drain: arguments.drain,
        expect: Expect::Stream(stream),
        cores: arguments.opening.cores,
        gentle: arguments.opening.gentle,
    }
}

fn mean(sizes: &Sizes) -> f64 {
    let octets: u64 = (0..sizes.cycle()).map(|at| u64::from(sizes.at(at))).sum();
    octets as f64 / sizes.cycle() as f64
}
