//! Style that a machine can hold (F-36 among it: what is unfinished must not look finished).

use std::fs;
use std::path::Path;

use house::{code_only, production_lines, root, sources, words};

/// Where `unsafe` may stand: rings and descriptors, and intrinsics.
const UNSAFE_FOLDERS: &[&str] = &["dataplane/port", "dataplane/aead", "dataplane/engine/src/spd/lanes.rs"];

/// Lines of a file before its unit tests: more than this is two nouns.
const FILE_LINES_MAX: usize = 600;

fn each(judge: impl Fn(&Path, &str)) {
    let all = sources();
    assert!(all.len() > 50, "only {} sources were found: the walk is broken", all.len());
    for path in all {
        judge(&path, &fs::read_to_string(root().join(&path)).expect("a file that the walk just found"));
    }
}

fn places(path: &Path, code: &str, word: &str) -> Vec<String> {
    code.lines()
        .enumerate()
        .filter(|(_, line)| words(line).any(|found| found == word))
        .map(|(at, _)| format!("{}:{}", path.display(), at + 1))
        .collect()
}

#[test]
fn unsafe_stands_only_where_frames_are_mapped_and_intrinsics_called() {
    each(|path, source| {
        if UNSAFE_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
            return;
        }
        let code = code_only(source);
        assert_eq!(places(path, &code, "unsafe"), [""; 0]);
        let is_allowed = code
            .lines()
            .any(|line| line.contains("allow(unsafe_code)") || line.contains("expect(unsafe_code"));
        assert!(!is_allowed, "{} allows unsafe_code", path.display());
    });
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    each(|path, source| {
        let code = code_only(source);
        for word in ["todo", "unimplemented"] {
            let left: Vec<_> = code.lines().filter(|line| line.contains(&format!("{word}!"))).collect();
            assert!(left.is_empty(), "{}: {left:?}", path.display());
        }
        let ignored: Vec<_> = code.lines().filter(|line| line.trim_start().starts_with("#[ignore")).collect();
        assert!(ignored.is_empty(), "{}: {ignored:?}", path.display());
        for mark in ["TODO", "FIXME", "XXX", "HACK"] {
            let marked: Vec<_> = source.lines().filter(|line| words(line).any(|word| word == mark)).collect();
            let is_this_list = path.starts_with("tests/house");
            assert!(is_this_list || marked.is_empty(), "{}: {marked:?}", path.display());
        }
    });
}

#[test]
fn no_file_grows_beyond_one_noun() {
    each(|path, source| {
        let is_test = path.components().any(|part| part.as_os_str() == "tests") && !path.ends_with("src");
        let lines = production_lines(source);
        assert!(is_test || lines <= FILE_LINES_MAX, "{} has {lines} lines", path.display());
    });
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    each(|path, source| {
        let first = source.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        assert!(first.starts_with("//!"), "{} does not say what it is for", path.display());
    });
}

#[test]
fn every_limit_says_its_reason() {
    let mut seen = 0;
    each(|path, source| {
        if !path.ends_with("limits.rs") {
            return;
        }
        let mut before = "";
        for line in source.lines() {
            if line.trim_start().starts_with("pub") && words(line).any(|word| word == "const") {
                assert!(before.starts_with("///"), "{}: `{line}` has no reason", path.display());
            }
            before = line.trim_start();
        }
    });
    for path in sources() {
        seen += usize::from(path.ends_with("limits.rs"));
    }
    assert!(seen >= 8, "only {seen} crates have a limits.rs");
}

#[test]
fn names_say_what_a_thing_is() {
    const EMPTY: &[&str] = &["Manager", "Helper", "Util", "Utils", "Impl"];
    each(|path, source| {
        for line in code_only(source).lines() {
            for pair in words(line).collect::<Vec<_>>().windows(2) {
                let [kind, name] = [pair[0], pair[1]];
                if matches!(kind, "struct" | "enum" | "trait" | "type") {
                    let empty = EMPTY.iter().any(|word| name.ends_with(word));
                    assert!(!empty, "{}: {name}", path.display());
                }
                if kind == "fn" {
                    let empty = name.starts_with("get_") || name.starts_with("do_");
                    assert!(!empty, "{}: {name}", path.display());
                }
            }
        }
    });
}
