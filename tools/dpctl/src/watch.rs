//! `dpctl stats --watch`: what happens between two looks, drawn again in place.

use crate::ask::unexpected;
use crate::limits::WATCHED_DROPS_MAX;
use crate::numbers::{bit_rate, count, rate};
use crate::output::{Failure, Output};
use crate::show::{self, headline};
use crate::table::{Left, Right, table};
use serde::Serialize;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use warren_api::client::Client;
use warren_api::{Answer, Command, DropCount, Stages, Stats};

/// What was seen at one moment.
#[derive(Serialize)]
struct Look {
    stats: Stats,
    drops: Vec<DropCount>,
}

/// How often.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Time between two looks.
    pub(crate) interval: Duration,
    /// Looks in all; none: until interrupted.
    pub(crate) looks: Option<u64>,
}

/// Rates of everything.
pub(crate) fn stats(socket: &Path, pace: Pace, json: bool, output: &mut Output) -> Result<(), Failure> {
    watch(socket, pace, json, output, look, |before, now, width| view(before.unwrap_or(now), now, width))
}

/// Where the cycles went since the look before; the first one shows it since the start.
pub(crate) fn stages(
    socket: &Path,
    pace: Pace,
    workers: bool,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    watch(socket, pace, json, output, look_at_stages, |before, now, width| {
        show::stages(before, now, workers, width)
    })
}

/// Looks again and again. Without a terminal every look is written below the one before.
fn watch<Seen: Serialize>(
    socket: &Path,
    pace: Pace,
    json: bool,
    output: &mut Output,
    look: fn(&mut Client) -> Result<Seen, Failure>,
    view: impl Fn(Option<&Seen>, &Seen, u16) -> String,
) -> Result<(), Failure> {
    let mut client = Client::connect(socket)?;
    let mut before: Option<Seen> = None;
    let mut seen = 0;
    while pace.looks.is_none_or(|looks| seen < looks) {
        if seen > 0 {
            sleep(pace.interval);
        }
        let now = look(&mut client)?;
        if json {
            let line = serde_json::to_string(&now).map_err(|error| Failure::Said(error.to_string()))?;
            output.write(&line)?;
        } else {
            let text = view(before.as_ref(), &now, output.width());
            output.write(&if output.is_terminal() { in_place(&text, seen == 0) } else { text + "\n" })?;
        }
        output.flush()?;
        before = Some(now);
        seen += 1;
    }
    Ok(())
}

fn look(client: &mut Client) -> Result<Look, Failure> {
    let Answer::Stats(stats) = client.call(Command::Stats)? else { return Err(unexpected()) };
    let Answer::Drops(drops) = client.call(Command::Drops)? else { return Err(unexpected()) };
    Ok(Look { stats: *stats, drops })
}

fn look_at_stages(client: &mut Client) -> Result<Stages, Failure> {
    let Answer::Stages(stages) = client.call(Command::Stages)? else { return Err(unexpected()) };
    Ok(*stages)
}

/// Over the text that is there: home, each line cleared to its end, and what is below it too. The screen is cleared
/// only once, or it would flicker.
fn in_place(text: &str, first: bool) -> String {
    let start = if first { "\x1b[2J\x1b[H" } else { "\x1b[H" };
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("{start}{lines}\x1b[J")
}

/// Counters of two moments to rates.
struct Rates {
    milliseconds: u64,
}

impl Rates {
    /// A counter that fell belongs to another daemon: nothing is known of it yet.
    fn per_second(&self, before: u64, now: u64) -> u64 {
        let raised = now.saturating_sub(before);
        match self.milliseconds {
            0 => 0,
            milliseconds => {
                (u128::from(raised) * 1000 / u128::from(milliseconds)).try_into().unwrap_or(u64::MAX)
            }
        }
    }
}

/// The whole picture.
fn view(before: &Look, now: &Look, width: u16) -> String {
    let rates = Rates { milliseconds: now.stats.uptime_ms.saturating_sub(before.stats.uptime_ms) };
    let mut text = headline(&now.stats);
    text += "\n";
    text += &ports(&rates, &before.stats, &now.stats, width);
    text += "\n";
    text += &workers(&rates, &before.stats, &now.stats, width);
    text += "\n";
    text + &drops(&rates, before, now, width)
}

fn ports(rates: &Rates, before: &Stats, now: &Stats, width: u16) -> String {
    let columns = [
        Left("PORT"),
        Left("SIDE"),
        Left("MODE"),
        Right("IN pkt/s"),
        Right("IN"),
        Right("OUT pkt/s"),
        Right("OUT"),
        Right("LOST/s"),
    ];
    let rows: Vec<_> = now
        .ports
        .iter()
        .map(|port| {
            let old = before.ports.iter().find(|old| old.name == port.name).unwrap_or(port);
            vec![
                port.name.clone(),
                port.side.clone(),
                port.mode.clone(),
                rate(rates.per_second(old.received, port.received)),
                bit_rate(rates.per_second(old.received_octets, port.received_octets)),
                rate(rates.per_second(old.transmitted, port.transmitted)),
                bit_rate(rates.per_second(old.transmitted_octets, port.transmitted_octets)),
                rate(rates.per_second(
                    old.receive_dropped.saturating_add(old.transmit_failed),
                    port.receive_dropped.saturating_add(port.transmit_failed),
                )),
            ]
        })
        .collect();
    table(&columns, &rows, width)
}

fn workers(rates: &Rates, before: &Stats, now: &Stats, width: u16) -> String {
    let columns = [
        Left("WORKER"),
        Right("CORE"),
        Right("IN pkt/s"),
        Right("OUT pkt/s"),
        Right("SEALED/s"),
        Right("OPENED/s"),
        Right("DROPPED/s"),
        Right("HELD"),
    ];
    let rows: Vec<_> = now
        .workers
        .iter()
        .map(|worker| {
            let old = before.workers.iter().find(|old| old.id == worker.id).unwrap_or(worker);
            vec![
                worker.id.to_string(),
                worker.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
                rate(rates.per_second(old.received, worker.received)),
                rate(rates.per_second(old.delivered, worker.delivered)),
                rate(rates.per_second(old.sealed, worker.sealed)),
                rate(rates.per_second(old.opened, worker.opened)),
                rate(rates.per_second(old.dropped, worker.dropped)),
                count(worker.held),
            ]
        })
        .collect();
    table(&columns, &rows, width)
}

/// The reasons that occur now before those that occurred once.
fn drops(rates: &Rates, before: &Look, now: &Look, width: u16) -> String {
    let mut rows: Vec<(u64, &DropCount)> = now
        .drops
        .iter()
        .filter(|drop| drop.count > 0)
        .map(|drop| {
            let old =
                before.drops.iter().find(|old| old.reason == drop.reason).map_or(drop.count, |old| old.count);
            (rates.per_second(old, drop.count), drop)
        })
        .collect();
    if rows.is_empty() {
        return "No packet was dropped.\n".to_owned();
    }
    rows.sort_by(|(a_rate, a), (b_rate, b)| (b_rate, b.count, &a.reason).cmp(&(a_rate, a.count, &b.reason)));
    let rows: Vec<_> = rows
        .into_iter()
        .take(WATCHED_DROPS_MAX)
        .map(|(per_second, drop)| {
            vec![rate(per_second), count(drop.count), drop.reason.clone(), drop.explanation.clone()]
        })
        .collect();
    table(&[Right("DROPS/s"), Right("SO FAR"), Left("REASON"), Left("MEANING")], &rows, width)
}
