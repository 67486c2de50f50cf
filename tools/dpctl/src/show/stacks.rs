//! `dpctl stack`.

use crate::numbers::duration;
use crate::table::{Column, Left, Right, printable, table};
use warren_api::{Answer, LevelMode, Stack, StackLevel, StackState, TunnelState};

/// One line for each, in the order of the rules, and below the table what they broke on.
pub(crate) fn stacks(answer: &Answer, width: u16) -> Option<String> {
    let Answer::Stacks(stacks) = answer else { return None };
    if stacks.is_empty() {
        return Some("No stack of tunnels is built, and none is kept down by a failure.\n".to_owned());
    }
    let row = |stack: &Stack| {
        let levels = stack.completed.len() + stack.pending.len();
        vec![
            stack.rule.clone(),
            state(stack),
            duration(stack.since_s),
            if levels == 0 { "-".to_owned() } else { format!("{} of {levels}", stack.completed.len()) },
            way(stack),
            stack.traffic.clone(),
        ]
    };
    let columns =
        [Left("RULE"), Left("STATE"), Right("SINCE"), Right("BUILT"), Left("THROUGH"), Left("TRAFFIC")];
    let mut text = table(&columns, &stacks.iter().map(row).collect::<Vec<_>>(), width);
    let failed: String = stacks.iter().filter_map(failed).collect();
    if !failed.is_empty() {
        text.push('\n');
        text += &failed;
    }
    Some(text)
}

/// Everything about one, as figure 7 draws it: both stacks, top first.
pub(crate) fn stack(stack: &Stack, width: u16) -> String {
    let rests = stack.rests_s.map(|rests| format!(", {} left", duration(rests))).unwrap_or_default();
    let (state, since) = (stack.state.word(), duration(stack.since_s));
    let mut text = printable(&format!("{}: {state} for {since}{rests}; {}", stack.rule, stack.traffic));
    text.push('\n');
    let halves = [
        ("pending, the next to be performed first", &stack.pending),
        ("completed, the first to be torn down first", &stack.completed),
    ];
    for (title, levels) in halves {
        let rows: Vec<_> = levels.iter().map(level).collect();
        let shown = if rows.is_empty() { "empty\n".to_owned() } else { table(&COLUMNS, &rows, width) };
        text += &format!("\n{title}\n{shown}");
    }
    if let Some(failed) = failed(stack) {
        text.push('\n');
        text += &failed;
    }
    text
}

const COLUMNS: [Column; 9] = [
    Left("RULE"),
    Left("MODE"),
    Left("PEER"),
    Left("GATEWAY"),
    Left("STATE"),
    Left("SPI IN"),
    Left("SPI OUT"),
    Right("WORKER"),
    Right("USERS"),
];

fn level(level: &StackLevel) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        level.rule.clone(),
        level.mode.word().to_owned(),
        or_none(&level.peer),
        or_none(&level.gateway),
        match (level.state.map(TunnelState::word), level.rests_s) {
            (Some(state), Some(rests)) => format!("{state}, {} left", duration(rests)),
            (Some(state), None) => state.to_owned(),
            (None, _) => "-".to_owned(),
        },
        or_none(&level.spi_in),
        or_none(&level.spi_out),
        or_none(&level.worker.map(|worker| worker.to_string())),
        level.users.to_string(),
    ]
}

fn state(stack: &Stack) -> String {
    let word = stack.state.word();
    stack.rests_s.map_or_else(|| word.to_owned(), |rests| format!("{word}, {} left", duration(rests)))
}

/// Gateways from the nearest on: what is completed from its bottom, then what is pending from its top.
fn way(stack: &Stack) -> String {
    let levels = stack.completed.iter().rev().chain(&stack.pending);
    let gateways = levels.filter(|level| level.mode != LevelMode::Permit);
    let names: Vec<_> = gateways.filter_map(|level| level.peer.as_deref()).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(" > ") }
}

fn failed(stack: &Stack) -> Option<String> {
    let failed = stack.failed.as_ref()?;
    let why = failed.why.as_deref().unwrap_or("it was given up");
    let mut line = format!("{}: {} failed: {why}", stack.rule, failed.rule);
    if let (StackState::HeldDown, Some(rests)) = (stack.state, stack.rests_s) {
        line += &format!("; nothing is built for {} more", duration(rests));
    }
    Some(printable(&line) + "\n")
}
