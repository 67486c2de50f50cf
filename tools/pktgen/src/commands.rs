//! One command, one run.

use std::time::Duration;

use warren_pktgen::report::{About, Row};
use warren_pktgen::{Expect, Rate, Replay, RunConfig, Sink, Timing, catch, monotonic_ns, run};

use crate::arguments::{self, Extent, Opening};
use crate::interfaces::{Interfaces, fresh_stream, open_sink};
use crate::output::{Output, remark};

/// `pktgen send`
pub(crate) fn send(arguments: &arguments::Send, output: &mut Output) -> Result<(), String> {
    let mut interfaces = Interfaces::open(&arguments.out.interface, None, &arguments.opening)?;
    let stream = fresh_stream();
    let workload = interfaces.workload(&arguments.out, &arguments.workload, &arguments.size, stream)?;
    let config = config(&arguments.extent, Duration::ZERO, stream, &arguments.opening);
    let ran = run(&mut interfaces.ports, workload, &config)?;
    let about = about("pktgen.send", &arguments.size.to_string(), &arguments.workload, interfaces.modes);
    publish(&Row::of(about, config.rate, &ran)?, output)
}

/// `pktgen loop`
pub(crate) fn both(arguments: &arguments::Loop, output: &mut Output) -> Result<(), String> {
    let into = Some(arguments.into.interface.as_str());
    let mut interfaces = Interfaces::open(&arguments.out.interface, into, &arguments.opening)?;
    let stream = fresh_stream();
    let workload = interfaces.workload(&arguments.out, &arguments.workload, &arguments.size, stream)?;
    let config = config(&arguments.extent, arguments.drain, stream, &arguments.opening);
    let ran = run(&mut interfaces.ports, workload, &config)?;
    let about = about("pktgen.loop", &arguments.size.to_string(), &arguments.workload, interfaces.modes);
    publish(&Row::of(about, config.rate, &ran)?, output)
}

/// `pktgen receive`
pub(crate) fn receive(arguments: &arguments::Receive, output: &mut Output) -> Result<(), String> {
    let (mut station, modes) = open_sink(&arguments.into.interface, &arguments.opening)?;
    let expect = if arguments.join { Expect::Joined } else { Expect::All };
    remark(&format!(
        "waiting for packets, at most {} s, until none has come for {} s",
        arguments.seconds.as_secs_f64(),
        arguments.idle.as_secs_f64()
    ));
    let end = monotonic_ns() + arguments.seconds.as_nanos() as u64;
    let idle = arguments.idle.as_nanos() as u64;
    let caught = catch(Sink::new(expect), &mut station, arguments.opening.gentle, |sink| {
        let (now, counts) = (monotonic_ns(), sink.counts());
        now >= end || (counts.frames > 0 && now > counts.last_ns + idle)
    });
    let about = About {
        name: "pktgen.receive",
        size: None,
        flows: None,
        miss_percent: None,
        modes,
        is_matched: true,
    };
    publish(&Row::of_sink(about, &caught)?, output)
}

/// `pktgen replay`
pub(crate) fn replay(arguments: &arguments::Replay, output: &mut Output) -> Result<(), String> {
    let mut interfaces =
        Interfaces::open(&arguments.out.interface, arguments.into.as_deref(), &arguments.opening)?;
    let timing = if arguments.timed { Timing::File { speed: arguments.speed } } else { Timing::Paced };
    let ethernet = interfaces.ethernet_if_said(&arguments.out)?;
    let replay = Replay::open(&arguments.file, ethernet, timing, arguments.loops)
        .map_err(|error| format!("{}: {error}", arguments.file.display()))?;
    let skipped = replay.skipped();
    if skipped.cut_off + skipped.too_long > 0 {
        remark(&format!(
            "{} packets of the capture are cut off and {} are too long: they are not sent",
            skipped.cut_off, skipped.too_long
        ));
    }
    output.line(&format!("replaying {} packets, {} times", replay.packets(), arguments.loops));
    let config = RunConfig {
        rate: if arguments.timed { Rate::Unlimited } else { arguments.rate },
        span: arguments.seconds,
        count: u64::MAX,
        drain: arguments.drain,
        expect: Expect::All,
        cores: arguments.opening.cores,
        gentle: arguments.opening.gentle,
    };
    let ran = run(&mut interfaces.ports, replay, &config)?;
    let size = arguments.file.display().to_string();
    let modes = interfaces.modes;
    let about = About {
        name: "pktgen.replay",
        size: Some(size),
        flows: None,
        miss_percent: None,
        modes,
        is_matched: false,
    };
    publish(&Row::of(about, config.rate, &ran)?, output)
}

fn config(extent: &Extent, drain: Duration, stream: u16, opening: &Opening) -> RunConfig {
    RunConfig {
        rate: extent.rate,
        span: extent.seconds,
        count: extent.count.unwrap_or(u64::MAX),
        drain,
        expect: Expect::Stream(stream),
        cores: opening.cores,
        gentle: opening.gentle,
    }
}

/// What the rows of a workload say of it.
pub(crate) fn about(
    name: &'static str,
    size: &str,
    workload: &arguments::Workload,
    modes: Vec<String>,
) -> About {
    About {
        name,
        size: Some(size.to_owned()),
        flows: Some(workload.flows),
        miss_percent: Some(workload.miss),
        modes,
        is_matched: true,
    }
}

fn publish(row: &Row, output: &mut Output) -> Result<(), String> {
    row.lines().iter().for_each(|line| output.line(line));
    output.row(row)
}
