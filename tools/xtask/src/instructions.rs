//! Counts instructions with callgrind and compares them with the table in `tests/instructions`. Unlike times they do not
//! drift: what takes more than it did was made slower by a change, on whatever machine and however busy that is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::arguments::Arguments;
use crate::failure::Context;
use crate::packages::{Purpose, require};
use crate::repository::{self, release};
use crate::step::{Journal, Show};
use crate::summary::Tally;
use crate::{Failure, test};

/// How far a count may be from the table, either way: a change elsewhere in a program moves what is inlined a little. Who
/// made something cheaper renews the table, or the next one may make it as dear again unseen.
const TOLERANCE: f64 = 0.25;
/// The same in instructions, for the smallest.
const SLACK: f64 = 2.0;
/// The module whose functions are counted, as it stands in their symbols.
const MODULE: &str = "7counted";
/// The C library copies memory in another way on every CPU; so in the same.
const ONE_WAY_TO_COPY: &str =
    "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-SSSE3";
/// What the program says it has left out: `left out: PREFIX, because REASON`.
const LEFT_OUT: &str = "left out: ";

const HEADER: &str = "\
# Instructions of one call of each function in src/counted.rs, counted by callgrind. `cargo xtask test` compares; a change
# that means to move them renews this file: cargo xtask instructions --renew
";

/// Instructions of one call, by the function's name.
type Counts = BTreeMap<String, f64>;

/// What was counted, and what the program has left out: how the names begin, and why.
struct Counted {
    counts: Counts,
    left_out: Vec<(String, String)>,
}

/// `xtask instructions [--renew]`
pub fn main(mut arguments: Arguments) -> Result<bool, Failure> {
    let renews = arguments.flag("--renew");
    arguments.finish()?;
    let mut journal = Journal::new("instructions")?;
    if !journal.run(&mut repository::cargo(&test::RELEASE_PROGRAMS), Show::All, &mut |_| {})? {
        return Err(Failure::new("the program does not build"));
    }
    if let Some(why) = hindrance() {
        println!("skipped, because {why}");
        return Ok(!renews);
    }
    if !renews {
        let tally = check(&mut journal)?;
        println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped.len());
        return Ok(tally.failed == 0);
    }
    let counted = count(&mut journal)?;
    if let Some((name, why)) = counted.left_out.first() {
        return Err(Failure::new(format!(
            "the table would be incomplete: {name} is left out, because {why}"
        )));
    }
    fs::write(path(), written(&toolchain()?, &counted.counts)).context(path().display())?;
    println!("{} counts in {}", counted.counts.len(), path().display());
    Ok(true)
}

/// The step of a test run: one check for each function.
pub fn check(journal: &mut Journal) -> Result<Tally, Failure> {
    if let Some(why) = hindrance() {
        return Ok(Tally::skip(why));
    }
    let text = fs::read_to_string(path()).context(path().display())?;
    let (made_with, table) = read(&text).ok_or_else(|| Failure::new("the table cannot be read"))?;
    let own = toolchain()?;
    if made_with != own {
        return Ok(Tally::skip(format!("the table was made with {made_with}, and this is {own}")));
    }
    let tally = compare(&table, &count(journal)?);
    tally.reasons.iter().for_each(|reason| println!("  {reason}"));
    Ok(tally)
}

fn path() -> PathBuf {
    repository::root().join("tests/instructions/counts.toml")
}

/// Why nothing can be counted here.
fn hindrance() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the table is one of x86-64".to_owned());
    }
    require(Purpose::Instructions).err()
}

/// The compiler and the C library: another of either makes other instructions of the same source.
fn toolchain() -> Result<String, Failure> {
    let first_line = |program: &str| -> Result<String, Failure> {
        let output = Command::new(program).arg("--version").current_dir(repository::root()).output();
        let text = String::from_utf8_lossy(&output.context(program)?.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    let library = first_line("ldd")?;
    let version = library.split_whitespace().next_back().unwrap_or_default();
    Ok(format!("{}, glibc {version}", first_line("rustc")?))
}

fn count(journal: &mut Journal) -> Result<Counted, Failure> {
    let output = repository::target().join("xtask/instructions.callgrind");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--demangle=no"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(release("instructions"))
        .env("GLIBC_TUNABLES", ONE_WAY_TO_COPY);
    let mut left_out = Vec::new();
    let good = journal.run(&mut command, Show::Nothing, &mut |line| {
        let because = line.strip_prefix(LEFT_OUT).and_then(|rest| rest.split_once(", because "));
        left_out.extend(because.map(|(name, why)| (name.to_owned(), why.to_owned())));
    })?;
    if !good {
        return Err(Failure::new("the program does not do its work, or valgrind does not run it"));
    }
    let text = fs::read_to_string(&output).context(output.display())?;
    let counts = per_call(&text);
    if counts.is_empty() {
        return Err(Failure::new("callgrind has seen none of the functions"));
    }
    Ok(Counted { counts, left_out })
}

/// Instructions of one call of each function of the module, everything that it calls included. The format: a line names
/// the callee, one says how often it was called, and the one after how much that came to.
fn per_call(text: &str) -> Counts {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut callee, mut times) = (None, None);
    for line in text.lines() {
        if let Some(symbol) = line.strip_prefix("cfn=") {
            callee = function(symbol);
        } else if let Some(rest) = line.strip_prefix("calls=") {
            times = rest.split(' ').next().and_then(|times| times.parse::<u64>().ok());
        } else if let Some(times) = times.take() {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if let (Some(name), Some(cost)) = (callee, cost) {
                let sum = sums.entry(name).or_default();
                *sum = (sum.0 + times, sum.1 + cost);
            }
        }
    }
    let mean = |(times, cost): (u64, u64)| (cost as f64 / times as f64 * 10.0).round() / 10.0;
    sums.into_iter().map(|(name, sum)| (name.to_owned(), mean(sum))).collect()
}

/// The name of a function of the module. In both ways to mangle a symbol its length stands in front of it.
fn function(symbol: &str) -> Option<&str> {
    let rest = symbol.split_once(MODULE)?.1;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let octets: usize = rest[..digits].parse().ok()?;
    rest.get(digits..digits + octets)
}

fn compare(table: &Counts, counted: &Counted) -> Tally {
    let mut tally = Tally::default();
    for (name, &old) in table {
        let left_out = counted.left_out.iter().find(|(prefix, _)| name.starts_with(prefix.as_str()));
        tally.add(match (counted.counts.get(name), left_out) {
            (Some(&new), _) if (new - old).abs() <= (old * TOLERANCE).max(SLACK) => Tally::pass(),
            (Some(&new), _) => {
                let percent = (new / old - 1.0) * 100.0;
                Tally::fail(format!("{name}: {new} instructions instead of {old}, {percent:+.1} %"))
            }
            (None, Some((_, why))) => Tally::skip(format!("{name}: {why}")),
            (None, None) => Tally::fail(format!("{name} is in the table and was not counted")),
        });
    }
    let unknown = counted.counts.keys().filter(|name| !table.contains_key(*name));
    unknown.for_each(|name| tally.add(Tally::fail(format!("{name} is not in the table"))));
    tally
}

fn written(made_with: &str, counts: &Counts) -> String {
    let rows: String = counts.iter().map(|(name, count)| format!("{name} = {count:.1}\n")).collect();
    format!("{HEADER}made_with = \"{made_with}\"\n\n[instructions]\n{rows}")
}

/// The lines that [`written`] writes; `None` for any other.
fn read(text: &str) -> Option<(String, Counts)> {
    let mut made_with = None;
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        match line.split_once(" = ")? {
            ("made_with", quoted) => made_with = Some(quoted.trim_matches('"').to_owned()),
            (name, count) => {
                counts.insert(name.to_owned(), count.parse().ok()?);
            }
        }
    }
    Some((made_with?, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> Counts {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn counted(of: &[(&str, f64)]) -> Counted {
        Counted { counts: counts(of), left_out: Vec::new() }
    }

    #[test]
    fn table_comes_back_as_it_was_written() {
        let table = counts(&[("ike_notify", 812.0), ("summary_ipv4", 106.5)]);
        let text = written("rustc 1.2.3, glibc 2.36", &table);
        assert_eq!(read(&text), Some(("rustc 1.2.3, glibc 2.36".to_owned(), table)));
    }

    #[test]
    fn more_and_fewer_instructions_fail_with_their_name_and_both_numbers() {
        let table = counts(&[("large", 1000.0), ("small", 10.0)]);
        assert_eq!(compare(&table, &counted(&[("large", 1249.0), ("small", 12.0)])).passed, 2);
        for (large, small) in [(1251.0, 10.0), (749.0, 10.0), (1000.0, 12.6)] {
            let tally = compare(&table, &counted(&[("large", large), ("small", small)]));
            assert_eq!((tally.passed, tally.failed), (1, 1), "{large} {small}");
        }
        let tally = compare(&table, &counted(&[("large", 1400.0), ("small", 10.0)]));
        assert_eq!(tally.reasons, ["large: 1400 instructions instead of 1000, +40.0 %"]);
    }

    #[test]
    fn function_without_a_row_and_row_without_a_function_fail_unless_it_was_left_out() {
        let table = counts(&[("aead_seal", 10.0), ("rules", 10.0)]);
        let mut short = counted(&[("rules", 10.0), ("unknown", 5.0)]);
        assert_eq!(compare(&table, &short).failed, 2);
        short.left_out.push(("aead".to_owned(), "no such CPU".to_owned()));
        let tally = compare(&table, &short);
        assert_eq!((tally.failed, tally.skipped), (1, vec!["aead_seal: no such CPU".to_owned()]));
    }

    #[test]
    fn calls_of_one_function_from_several_places_are_one_count() {
        let text = "\
            fn=_ZN12instructions6repeat17habcE\n10 5\n\
            cfn=_ZN12instructions7counted10ike_notify17h0123456789abcdefE\ncalls=100 0\n0 5000\n\
            cfn=memcpy\ncalls=3 0\n0 90\n\
            fn=_RNvCs1_12instructions4main\n\
            cfi=other.rs\ncfn=_RNvNtCs1_12instructions7counted10ike_notify\ncalls=100 0\n0 5010\n";
        assert_eq!(per_call(text), counts(&[("ike_notify", 50.1)]));
    }
}
