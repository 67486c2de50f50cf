//! `dpctl stats` and `dpctl version`.

use crate::numbers::{count, duration, octets};
use crate::table::{Left, Right, table};
use std::collections::BTreeMap;
use warren_api::{Answer, Port, Stats, Worker};

/// Who is there.
pub(crate) fn version(answer: &Answer, _: u16) -> Option<String> {
    let Answer::Version(version) = answer else { return None };
    Some(format!(
        "dpctl   {}\nwarrend {}, process {}, up {}, AEAD {}\n",
        env!("CARGO_PKG_VERSION"),
        version.warrend,
        version.pid,
        duration(version.uptime_ms / 1000),
        version.aead
    ))
}

/// All counters.
pub(crate) fn stats(answer: &Answer, width: u16) -> Option<String> {
    let Answer::Stats(stats) = answer else { return None };
    let mut text = headline(stats);
    text += "\n";
    text += &ports(&stats.ports, width);
    text += "\n";
    text += &workers(&stats.workers, width);
    text += "\n";
    text += &ledger(stats);
    for (title, counters) in [
        ("Workers", &stats.tallies),
        ("IKE", &stats.ike),
        ("Discovery", &stats.ted),
        ("Steering", &stats.steering),
    ] {
        text += &named(title, counters, width);
    }
    Some(text)
}

/// One line that says how things are.
pub(crate) fn headline(stats: &Stats) -> String {
    let totals = &stats.totals;
    format!(
        "warrend up {}, AEAD {}, {} of {} tunnels up, {} SAs\n",
        duration(stats.uptime_ms / 1000),
        stats.aead,
        totals.tunnels_up,
        totals.tunnels,
        totals.sas
    )
}

/// Every packet in ends in exactly one of these.
fn ledger(stats: &Stats) -> String {
    let totals = &stats.totals;
    format!(
        "{} received + {} made here = {} delivered + {} dropped + {} held\n",
        count(totals.received),
        count(totals.originated),
        count(totals.delivered),
        count(totals.dropped),
        count(totals.held)
    )
}

fn ports(ports: &[Port], width: u16) -> String {
    let columns = [
        Left("PORT"),
        Left("SIDE"),
        Left("MODE"),
        Right("RECEIVED"),
        Right(""),
        Right("SENT"),
        Right(""),
        Right("LOST"),
        Right("UNSENT"),
    ];
    let row = |port: &Port| {
        vec![
            if port.name == port.interface {
                port.name.clone()
            } else {
                format!("{} ({})", port.name, port.interface)
            },
            port.side.clone(),
            if port.queues > 1 {
                format!("{}, {} queues", port.mode, port.queues)
            } else {
                port.mode.clone()
            },
            count(port.received),
            octets(port.received_octets),
            count(port.transmitted),
            octets(port.transmitted_octets),
            count(port.receive_dropped),
            count(port.transmit_failed),
        ]
    };
    let mut text = table(&columns, &ports.iter().map(row).collect::<Vec<_>>(), width);
    // With one queue there is nothing to choose.
    for port in ports.iter().filter(|port| port.queues > 1 && !port.flow_steering.is_empty()) {
        text += &format!("{}: steering of flows: {}\n", port.name, port.flow_steering);
    }
    text
}

fn workers(workers: &[Worker], width: u16) -> String {
    let columns = [
        Left("WORKER"),
        Right("CORE"),
        Right("RECEIVED"),
        Right("DELIVERED"),
        Right("DROPPED"),
        Right("HELD"),
        Right("SEALED"),
        Right("OPENED"),
    ];
    let row = |worker: &Worker| {
        vec![
            worker.id.to_string(),
            worker.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
            count(worker.received),
            count(worker.delivered),
            count(worker.dropped),
            count(worker.held),
            count(worker.sealed),
            count(worker.opened),
        ]
    };
    table(&columns, &workers.iter().map(row).collect::<Vec<_>>(), width)
}

/// Counters with names, without those that are zero.
fn named(title: &str, counters: &BTreeMap<String, u64>, width: u16) -> String {
    let rows: Vec<_> = counters
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(name, number)| vec![format!("  {name}"), count(*number)])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let body = table(&[Left(""), Right("")], &rows, width);
    // The table's own header has no words.
    format!("\n{title}\n{}", body.split_once('\n').map_or("", |(_, rows)| rows))
}
