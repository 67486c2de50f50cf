//! `dpctl ted status`, and the probe of `dpctl ted probe --dry-run`.

use crate::numbers::{count, duration};
use crate::table::{Left, Right, printable, table};
use std::fmt::Write;
use warren_api::{Answer, TedFound, TedInFlight, TedResting, TedStage, TedStatus};

/// Octets on a line of a dump.
const OCTETS_ON_A_LINE: usize = 16;

/// Everything: under way, found, resting, counted.
pub(crate) fn ted_status(answer: &Answer, width: u16) -> Option<String> {
    let Answer::TedStatus(status) = answer else { return None };
    let mut parts = vec![headline(status)];
    for part in [
        in_flight(&status.in_flight, width),
        found(&status.found, width),
        resting(&status.resting, width),
        counters(status, width),
    ] {
        if !part.is_empty() {
            parts.push(part);
        }
    }
    Some(parts.join("\n"))
}

fn headline(status: &TedStatus) -> String {
    let answers = match (status.is_on, &status.answer_on[..]) {
        (false, _) => "Discovery is off: there is no `[ted]`, and no tunnel is discovered.".to_owned(),
        (true, []) => "Discovery is on; no port's probes are answered.".to_owned(),
        (true, ports) => format!("Discovery is on; probes are answered on {}.", ports.join(", ")),
    };
    let summary = format!(
        "{} under way, {} found, {} resting.",
        count(status.in_flight.len() as u64),
        count(status.found.len() as u64),
        count(status.resting.len() as u64)
    );
    printable(&answers) + "\n" + &summary + "\n"
}

fn in_flight(rows: &[TedInFlight], width: u16) -> String {
    let row = |own: &TedInFlight| {
        let stage = match &own.stage {
            TedStage::Probing { sent: 1 } => "1 probe sent".to_owned(),
            TedStage::Probing { sent } => format!("{sent} probes sent"),
            TedStage::Negotiating { gateway, selector } => {
                format!("negotiating with {gateway} for {selector}")
            }
        };
        vec![
            own.packet.clone(),
            own.rule.clone(),
            stage,
            count(own.waiting),
            format!("{:.1}s", own.since_ms as f64 / 1000.0),
        ]
    };
    let columns = [Left("UNDER WAY FOR"), Left("RULE"), Left("STAGE"), Right("PACKETS"), Right("SINCE")];
    table(&columns, &rows.iter().map(row).collect::<Vec<_>>(), width)
}

fn found(rows: &[TedFound], width: u16) -> String {
    let row = |own: &TedFound| {
        vec![
            own.tunnel.clone(),
            own.gateway.clone(),
            own.selector.clone(),
            if own.is_up { "up" } else { "negotiating" }.to_owned(),
            if own.is_ours { "us" } else { "the gateway" }.to_owned(),
            duration(own.since_s),
        ]
    };
    let columns = [
        Left("FOUND TUNNEL"),
        Left("GATEWAY"),
        Left("SELECTOR"),
        Left("STATE"),
        Left("FOUND BY"),
        Right("SINCE"),
    ];
    table(&columns, &rows.iter().map(row).collect::<Vec<_>>(), width)
}

fn resting(rows: &[TedResting], width: u16) -> String {
    let row = |own: &TedResting| {
        vec![
            own.packet.clone(),
            own.rule.clone(),
            duration(own.for_s),
            own.failures.to_string(),
            own.why.clone(),
        ]
    };
    let columns = [Left("RESTING"), Left("RULE"), Right("FOR"), Right("FAILED"), Left("WHY")];
    table(&columns, &rows.iter().map(row).collect::<Vec<_>>(), width)
}

/// Those that are not zero.
fn counters(status: &TedStatus, width: u16) -> String {
    let counted = status.counters.iter().filter(|(_, number)| **number > 0);
    let rows: Vec<_> = counted.map(|(name, number)| vec![name.clone(), count(*number)]).collect();
    table(&[Left("COUNTER"), Right("")], &rows, width)
}

/// The fields of the probe, and its octets.
pub(crate) fn ted_preview(answer: &Answer, width: u16) -> Option<String> {
    let Answer::TedPreview(preview) = answer else { return None };
    let mut text = printable(&format!("{} would send this, in clear:", preview.rule));
    text += "\n\n";
    let mut last = "";
    let mut rows = Vec::with_capacity(preview.fields.len());
    for field in &preview.fields {
        let part = if field.part == last { "" } else { field.part.as_str() };
        rows.push(vec![part.to_owned(), field.name.clone(), field.value.clone()]);
        last = &field.part;
    }
    text += &table(&[Left("PART"), Left("FIELD"), Left("VALUE")], &rows, width);
    text.push('\n');
    text += &dump(&preview.octets)?;
    text += "\nNothing was sent.\n";
    Some(text)
}

/// Sixteen octets on a line, behind the place of the first; `None` for what is not hexadecimal.
fn dump(hexadecimal: &str) -> Option<String> {
    let is_hexadecimal =
        hexadecimal.len().is_multiple_of(2) && hexadecimal.bytes().all(|b| b.is_ascii_hexdigit());
    let octets: Vec<&str> =
        is_hexadecimal.then_some(hexadecimal)?.as_bytes().chunks(2).map(as_text).collect();
    let mut text = String::new();
    for (at, line) in octets.chunks(OCTETS_ON_A_LINE).enumerate() {
        let halves: Vec<String> = line.chunks(OCTETS_ON_A_LINE / 2).map(|half| half.join(" ")).collect();
        writeln!(text, "{:04x}  {}", at * OCTETS_ON_A_LINE, halves.join("  ")).ok()?;
    }
    Some(text)
}

fn as_text(pair: &[u8]) -> &str {
    std::str::from_utf8(pair).unwrap_or("??")
}
