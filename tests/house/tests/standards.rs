//! `docs/standards.md`, clause by clause where it is built and what proves it, is made from the sources' own comments
//! and must match them. `WARREN_REGENERATE=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use house::{Clause, clauses, comment_of, root, sources};

const PAGE: &str = "docs/standards.md";

/// Where a clause is built and what proves it.
#[derive(Default)]
struct Row {
    built: BTreeSet<String>,
    proved: BTreeMap<String, BTreeSet<String>>,
}

type Table = BTreeMap<Clause, Row>;

/// Files whose every line serves tests.
fn is_test_file(path: &Path) -> bool {
    path.starts_with("tests")
        || path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "testing.rs")
}

fn read(path: &Path, source: &str, table: &mut Table) {
    let name = path.display().to_string();
    let mut in_tests = is_test_file(path);
    let mut pending: Option<Vec<Clause>> = None;
    for line in source.lines() {
        in_tests |= line.starts_with("#[cfg(test)]");
        let named = comment_of(line).map(clauses).unwrap_or_default();
        let text = line.trim_start();
        if text.starts_with("#[test]") {
            pending = Some(named);
        } else if let Some(mut waiting) = pending.take() {
            match text.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
                Some(test) => {
                    for clause in waiting {
                        let proved = &mut table.entry(clause).or_default().proved;
                        proved.entry(name.clone()).or_default().insert(test.to_owned());
                    }
                }
                None => {
                    waiting.extend(named);
                    pending = Some(waiting);
                }
            }
        } else if !in_tests {
            for clause in named {
                table.entry(clause).or_default().built.insert(name.clone());
            }
        }
    }
}

fn page(table: &Table) -> String {
    let mut text = String::from(
        "# Clauses, files, tests\n\nWhich clause of which standard, and which numbered requirement, is built where, and \
         which tests name it. This page is made from the\ncomments in the sources and a test compares it with them: \
         `WARREN_REGENERATE=1 cargo test -p house --test standards` writes it anew.\nA row without tests is a remark in \
         the code that no test names; a row without files is proved by tests of several parts.\n\n\
         | clause | built in | proved by |\n| --- | --- | --- |\n",
    );
    for (clause, row) in table {
        let built: Vec<_> = row.built.iter().map(|path| format!("`{path}`")).collect();
        let proved: Vec<_> = row
            .proved
            .iter()
            .map(|(path, tests)| {
                format!("`{path}`: {}", tests.iter().cloned().collect::<Vec<_>>().join(", "))
            })
            .collect();
        text += &format!("| {clause} | {} | {} |\n", built.join("<br>"), proved.join("<br>"));
    }
    text
}

#[test]
fn the_page_of_clauses_says_what_the_sources_say() {
    let mut table = Table::new();
    for path in sources().iter().filter(|path| !path.starts_with("tests/house")) {
        let source = fs::read_to_string(root().join(path)).expect("a file that the walk just found");
        read(path, &source, &mut table);
    }
    let (expected, path) = (page(&table), root().join(PAGE));
    if std::env::var_os("WARREN_REGENERATE").is_some() {
        fs::write(&path, &expected).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "{PAGE} is out of date: run with WARREN_REGENERATE=1");
}
