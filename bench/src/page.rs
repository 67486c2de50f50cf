//! docs/performance.md: tables of rows between marks, in a text that a person has written, and the pictures beside it.
//!
//! ```text
//!   <!-- rows: whole-path -->
//!   what stands here is replaced when there are rows of that name
//!   <!-- end -->
//! ```

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::plots;
use crate::report::remark;
use crate::rows::{Direction, Row};

const BEGIN: &str = "<!-- rows: ";
const END: &str = "<!-- end -->";

/// Replaces the tables and the pictures for which there are rows. What there are none for stays as it is.
pub(crate) fn write(rows: &[Row]) -> Result<(), String> {
    let docs = documentation();
    let page = docs.join("performance.md");
    let text = fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    put(&page, &renewed(&text, rows))?;
    let figures = docs.join("figures");
    fs::create_dir_all(&figures).map_err(|error| format!("{}: {error}", figures.display()))?;
    let pictures = [
        ("cost-by-size.svg", plots::cost_by_size(rows)?),
        ("cost-by-sas-and-rules.svg", plots::cost_by_sas_and_rules(rows)?),
    ];
    for (name, picture) in pictures {
        match picture {
            Some(picture) => put(&figures.join(name), &picture)?,
            None => remark(&format!("{name}: stays as it is, there are no rows for it")),
        }
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where the program was built is where its documentation is.
fn documentation() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn renewed(text: &str, rows: &[Row]) -> String {
    let (mut out, mut is_replaced) = (String::new(), false);
    for line in text.lines() {
        if line == END {
            is_replaced = false;
        }
        if !is_replaced {
            out.push_str(line);
            out.push('\n');
        }
        let name = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(section) = name.and_then(|name| section(name, rows)) {
            out.push('\n');
            out.push_str(&section);
            out.push('\n');
            is_replaced = true;
        }
    }
    out
}

/// What belongs between the marks of that name.
fn section(name: &str, rows: &[Row]) -> Option<String> {
    let own: Vec<&Row> = rows.iter().filter(|row| row.name == name).collect();
    match name {
        "machine" => rows.first().map(machine),
        _ if own.is_empty() => None,
        "whole-path" => Some(pivot(&own, &WHOLE_PATH)),
        "aead" => Some(pivot(&own, &AEAD)),
        "stages" => Some(pivot(&own, &STAGES)),
        _ => Some(table(&own)),
    }
}

fn machine(row: &Row) -> String {
    format!(
        "{}, TSC {:.3} GHz; a cycle is a tick of the {}.\n",
        row.cpu,
        row.tsc_hz / 1e9,
        match row.clock.as_str() {
            "tsc" => "time stamp counter",
            _ => "monotonic clock, one a nanosecond",
        }
    )
}

/// A table with a line for each case and a column for each size.
struct Pivot {
    heads: &'static [&'static str],
    line: fn(&Row) -> Vec<String>,
    column: fn(&Row) -> String,
    cell: fn(&Row) -> String,
}

const WHOLE_PATH: Pivot = Pivot {
    heads: &["way", "transform", "SAs", "levels", "replay check"],
    line: |row| {
        let check = match (row.dir, row.window) {
            (Some(Direction::Decrypt), Some(0)) => "off".to_owned(),
            (Some(Direction::Decrypt), Some(window)) => window.to_string(),
            _ => String::new(),
        };
        vec![
            row.dir.map(|dir| dir.to_string()).unwrap_or_default(),
            row.alg.clone().unwrap_or_default(),
            row.sas.map(|sas| sas.to_string()).unwrap_or_default(),
            row.levels.map(|levels| levels.to_string()).unwrap_or_default(),
            check,
        ]
    },
    column: |row| row.size.map(|size| size.to_string()).unwrap_or_default(),
    cell: |row| {
        let mut cell = format!("{:.0}", row.cycles_per_packet.unwrap_or_default());
        let parts = [
            row.share_of_ring_seal.map(|share| format!("{share:.2}")),
            row.gbit_s.map(|rate| format!("{rate:.1} Gbit/s")),
            row.ratio.map(|ratio| format!("{ratio:.2} of one SA")),
            missed(row.within, row.bound),
            missed(row.share_within, row.share_bound),
            row.noisy.then(|| "*noisy*".to_owned()),
        ];
        parts.into_iter().flatten().for_each(|part| cell.extend([" · ", &part]));
        cell
    },
};

/// A bound that is not held.
fn missed(within: Option<bool>, bound: Option<f64>) -> Option<String> {
    within.filter(|within| !within).and(bound).map(|bound| format!("**over {bound}**"))
}

const STAGES: Pivot = Pivot {
    heads: &["stage"],
    line: |row| vec![row.variant.clone().unwrap_or_default()],
    column: |row| {
        let words = [row.dir.map(|dir| dir.to_string()), row.size.map(|size| size.to_string())];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    },
    cell: |row| {
        let noisy = if row.noisy { " *noisy*" } else { "" };
        format!("{:.1}{noisy}", row.cycles_per_packet.unwrap_or_default())
    },
};

const AEAD: Pivot = Pivot {
    heads: &["transform", "code"],
    line: |row| vec![row.alg.clone().unwrap_or_default(), row.variant.clone().unwrap_or_default()],
    column: |row| {
        let dir = if row.dir == Some(Direction::Decrypt) { "open" } else { "seal" };
        format!("{dir} {}", row.size.map(|size| size.to_string()).unwrap_or_default())
    },
    cell: |row| {
        let noisy = if row.noisy { " *noisy*" } else { "" };
        format!("{:.0}{noisy}", row.cycles_per_packet.unwrap_or_default())
    },
};

fn pivot(rows: &[&Row], shape: &Pivot) -> String {
    let (mut lines, mut columns): (Vec<Vec<String>>, Vec<String>) = (Vec::new(), Vec::new());
    for row in rows {
        let (line, column) = ((shape.line)(row), (shape.column)(row));
        if !lines.contains(&line) {
            lines.push(line);
        }
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let heads = shape.heads.iter().map(|head| (*head).to_owned()).chain(columns.clone()).collect::<Vec<_>>();
    let mut out = head(&heads);
    for line in lines {
        let cell = |column: &String| {
            let found = rows.iter().find(|row| (shape.line)(row) == line && (shape.column)(row) == *column);
            found.map(|row| (shape.cell)(row)).unwrap_or_default()
        };
        let cells = line.iter().cloned().chain(columns.iter().map(cell)).collect::<Vec<_>>();
        out.push_str(&bars(&cells));
    }
    out
}

/// A column's head and what of a row stands in it.
type Column = (&'static str, fn(&Row) -> Option<String>);

const COLUMNS: &[Column] = &[
    ("of", |row| row.variant.clone()),
    ("transform", |row| row.alg.clone()),
    ("way", |row| row.dir.map(|dir| dir.to_string())),
    ("octets", |row| row.size.map(|size| size.to_string())),
    ("SAs", |row| row.sas.map(|sas| sas.to_string())),
    ("rules", |row| row.rules.map(|rules| rules.to_string())),
    ("levels", |row| row.levels.map(|levels| levels.to_string())),
    ("cores", |row| row.cores.map(|cores| cores.to_string())),
    ("cycles", |row| row.cycles_per_packet.map(|cycles| format!("{cycles:.1}"))),
    ("ns", |row| row.ns_per_packet.map(|ns| format!("{ns:.1}"))),
    ("CPU ms", |row| row.cpu_ms.map(|ms| format!("{ms:.3}"))),
    ("each second", |row| row.per_second.map(|rate| format!("{rate:.0}"))),
    ("Gbit/s", |row| row.gbit_s.map(|rate| format!("{rate:.2}"))),
    ("p50 ns", |row| row.p50_ns.map(|ns| format!("{ns:.0}"))),
    ("p99 ns", |row| row.p99_ns.map(|ns| format!("{ns:.0}"))),
    ("p99.9 ns", |row| row.p999_ns.map(|ns| format!("{ns:.0}"))),
    ("MiB", |row| row.memory_octets.map(|octets| format!("{:.1}", octets as f64 / f64::from(1 << 20)))),
    ("build ms", |row| row.build_ms.map(|ms| format!("{ms:.1}"))),
    ("beside", |row| row.beside.clone()),
    ("ratio", |row| row.ratio.map(|ratio| format!("{ratio:.3}"))),
    ("verdict", |row| {
        let verdict = row.within.map(|within| if within { "within" } else { "**missed**" });
        let noisy = row.noisy.then_some("*noisy*");
        let words: Vec<_> = verdict.into_iter().chain(noisy).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }),
];

/// A line for each row, and the columns that any row has.
fn table(rows: &[&Row]) -> String {
    let columns: Vec<_> =
        COLUMNS.iter().filter(|(_, cell)| rows.iter().any(|row| cell(row).is_some())).collect();
    let mut out = head(&columns.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    for row in rows {
        let cells: Vec<_> = columns.iter().map(|(_, cell)| cell(row).unwrap_or_default()).collect();
        out.push_str(&bars(&cells));
    }
    let mut notes: Vec<&str> = rows.iter().filter_map(|row| row.note.as_deref()).collect();
    notes.dedup();
    for note in notes {
        let _ = write!(out, "\n{note}.\n");
    }
    out
}

fn head(names: &[String]) -> String {
    bars(names) + &bars(&names.iter().map(|_| "---".to_owned()).collect::<Vec<_>>())
}

fn bars(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Size;

    fn row(name: &str, octets: u16) -> Row {
        Row {
            name: name.to_owned(),
            dir: Some(Direction::Encrypt),
            alg: Some("aes128gcm16".to_owned()),
            size: Some(Size::Octets(octets)),
            cycles_per_packet: Some(73.4),
            bound: Some(70.0),
            within: Some(false),
            ..Row::default()
        }
    }

    #[test]
    fn only_what_there_are_rows_for_is_replaced() {
        let text = "# A\n<!-- rows: memory -->\nold\n<!-- end -->\nby hand\n<!-- rows: latency -->\nkept\n<!-- end -->\n";
        let new = renewed(text, &[row("memory", 64)]);
        assert!(!new.contains("old") && new.contains("by hand") && new.contains("kept"), "{new}");
        assert!(new.contains("| transform | way | octets | cycles | verdict |"), "{new}");
        assert_eq!(renewed(&new, &[row("memory", 64)]), new);
    }

    #[test]
    fn a_pivot_has_one_line_for_a_case_and_says_what_is_over_its_bound() {
        let rows = [row("whole-path", 64), row("whole-path", 512)];
        let table = section("whole-path", &rows).unwrap();
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.contains("| 64 | 512 |") && table.contains("**over 70**"), "{table}");
    }

    #[test]
    fn the_page_has_a_place_for_every_benchmark_of_the_shared_shape() {
        let text = fs::read_to_string(documentation().join("performance.md")).unwrap();
        for name in [
            "machine",
            "whole-path",
            "stages",
            "aead",
            "rules",
            "scaling",
            "latency",
            "memory",
            "af-xdp",
            "setups",
            "peers",
        ] {
            assert!(text.contains(&format!("{BEGIN}{name} -->")), "{name}");
        }
        assert_eq!(text.matches(BEGIN).count(), text.matches(END).count());
    }
}
