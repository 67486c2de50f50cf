//! `dpctl stats --stages`: where the workers' cycles go, since the start or between two looks.

use crate::numbers::{count, duration};
use crate::table::{Left, Right, table};
use warren_api::{BatchCount, LevelCount, StageAccounts, StageCost, Stages};

/// Everything that was measured since `before`, or since the start; of each worker too when `each` says so.
pub(crate) fn stages(before: Option<&Stages>, now: &Stages, each: bool, width: u16) -> String {
    let mut text = format!("warrend up {}; {}\n", duration(now.uptime_ms / 1000), how(now));
    if now.sample_every == 0 {
        return text;
    }
    let span = before.map(|before| now.uptime_ms.saturating_sub(before.uptime_ms));
    text += "\n";
    text += &accounts(&since(before.map(|before| &before.totals), &now.totals), span, width);
    for worker in now.workers.iter().filter(|_| each) {
        let old = before.and_then(|before| before.workers.iter().find(|old| old.id == worker.id));
        let core = worker.core.map(|core| format!(" on core {core}")).unwrap_or_default();
        text += &format!("\nWorker {}{core}\n", worker.id);
        text += &accounts(&since(old.map(|old| &old.accounts), &worker.accounts), span, width);
    }
    text
}

/// By what it is measured, and how often.
fn how(stages: &Stages) -> String {
    if stages.sample_every == 0 {
        return "no stage is measured, because `stage_sampling` in [gateway] is 0".to_owned();
    }
    let turns = match stages.sample_every {
        1 => "every turn of a worker is measured".to_owned(),
        every => format!("a sample: one turn of a worker in {} is measured", count(every.into())),
    };
    let clock = match stages.clock.as_str() {
        "tsc" => {
            let ghz = stages.cycles_per_second as f64 / 1e9;
            format!("in cycles of the time stamp counter, {ghz:.2} GHz")
        }
        _ => "in nanoseconds, because this CPU has no time stamp counter".to_owned(),
    };
    format!("{turns}, {clock}")
}

/// What came in between. A number that fell belongs to another daemon: nothing is known of it yet.
fn since(before: Option<&StageAccounts>, now: &StageAccounts) -> StageAccounts {
    let Some(before) = before else { return now.clone() };
    let cost = |(old, now): (&StageCost, &StageCost)| StageCost {
        cycles: now.cycles.saturating_sub(old.cycles),
        packets: now.packets.saturating_sub(old.packets),
        batches: now.batches.saturating_sub(old.batches),
        ..now.clone()
    };
    let batches = |(old, now): (&BatchCount, &BatchCount)| BatchCount {
        batches: now.batches.saturating_sub(old.batches),
        ..*now
    };
    let levels = |(old, now): (&LevelCount, &LevelCount)| LevelCount {
        put_on: now.put_on.saturating_sub(old.put_on),
        taken_off: now.taken_off.saturating_sub(old.taken_off),
        ..*now
    };
    StageAccounts {
        turns: now.turns.saturating_sub(before.turns),
        idle_turns: now.idle_turns.saturating_sub(before.idle_turns),
        idle_cycles: now.idle_cycles.saturating_sub(before.idle_cycles),
        stages: before.stages.iter().zip(&now.stages).map(cost).collect(),
        batches: before.batches.iter().zip(&now.batches).map(batches).collect(),
        levels: before.levels.iter().zip(&now.levels).map(levels).collect(),
    }
}

fn accounts(accounts: &StageAccounts, span_ms: Option<u64>, width: u16) -> String {
    let when = match span_ms {
        None => "Since the start".to_owned(),
        Some(milliseconds) => format!("In {:.1} s", milliseconds as f64 / 1000.0),
    };
    let (turns, idle) = (count(accounts.turns), count(accounts.idle_turns));
    if accounts.turns == accounts.idle_turns {
        return format!("{when} no packet came in a measured turn; {turns} turns were measured.\n");
    }
    let mut text = format!("{when}: {turns} turns measured, {idle} of them idle\n\n");
    text += &costs(&accounts.stages, width);
    text += "\n";
    text += &batches(&accounts.batches, width);
    let levels = levels(&accounts.levels, width);
    if !levels.is_empty() {
        text += "\n";
        text += &levels;
    }
    text
}

/// Stages that took any time, in the order in which packets pass them.
fn costs(stages: &[StageCost], width: u16) -> String {
    let columns = [
        Left("STAGE"),
        Right("SHARE"),
        Right("CYCLES/PKT"),
        Right("PACKETS"),
        Right("BATCHES"),
        Left("MEANING"),
    ];
    let busy = stages.iter().map(|cost| cost.cycles).sum();
    let row = |cost: &StageCost| {
        vec![
            cost.stage.clone(),
            share(cost.cycles, busy),
            each(cost.cycles, cost.packets),
            count(cost.packets),
            count(cost.batches),
            cost.explanation.clone(),
        ]
    };
    let spent = stages.iter().filter(|cost| cost.cycles > 0);
    let mut rows: Vec<_> = spent.map(row).collect();
    // Each packet comes into this worker once, by a port or from another worker.
    let came = |word: &str| stages.iter().find(|cost| cost.stage == word).map_or(0, |cost| cost.packets);
    let packets = came("receive") + came("adopt");
    rows.push(vec![
        "all".to_owned(),
        share(busy, busy),
        each(busy, packets),
        count(packets),
        String::new(),
        "Together, for each packet that came in.".to_owned(),
    ]);
    table(&columns, &rows, width)
}

fn batches(batches: &[BatchCount], width: u16) -> String {
    let all = batches.iter().map(|row| row.batches).sum();
    let row = |row: &BatchCount| {
        let size = match (row.packets_min, row.packets_max) {
            (min, max) if min == max => min.to_string(),
            (min, max) => format!("{min}-{max}"),
        };
        vec![size, count(row.batches), share(row.batches, all)]
    };
    let rows: Vec<_> = batches.iter().map(row).collect();
    table(&[Right("PACKETS AT ONCE"), Right("BATCHES"), Right("SHARE")], &rows, width)
}

/// Only numbers of levels that occurred.
fn levels(levels: &[LevelCount], width: u16) -> String {
    let occurred = levels.iter().filter(|row| row.put_on > 0 || row.taken_off > 0);
    let row = |row: &LevelCount| vec![row.levels.to_string(), count(row.put_on), count(row.taken_off)];
    table(
        &[Right("LEVELS OF ESP"), Right("PUT ON"), Right("TAKEN OFF")],
        &occurred.map(row).collect::<Vec<_>>(),
        width,
    )
}

/// `12.3%`.
fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        whole => format!("{:.1}%", part as f64 * 100.0 / whole as f64),
    }
}

/// Cycles for one packet; none where there is no packet.
fn each(cycles: u64, packets: u64) -> String {
    match packets {
        0 => "-".to_owned(),
        packets => format!("{:.1}", cycles as f64 / packets as f64),
    }
}
