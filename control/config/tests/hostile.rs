//! Files that nobody would write: every beginning of a right one, and every right one with something wrong in it.

#![allow(clippy::unwrap_used)]

mod common {
    pub(crate) mod exercise;
}

use common::exercise::{Files, KEY, configuration, secrets};
use std::fs;
use warren_config::parse;

fn examples() -> Vec<String> {
    let folder = format!("{}/../../docs/examples", env!("CARGO_MANIFEST_DIR"));
    [
        "site-to-site/gw1.toml",
        "site-to-site/gw2.toml",
        "config-mode/client.toml",
        "config-mode/gateway.toml",
        "discovery.toml",
    ]
    .iter()
    .map(|name| fs::read_to_string(format!("{folder}/{name}")).unwrap())
    .collect()
}

#[test]
fn no_beginning_of_a_file_brings_the_reader_down() {
    for text in examples() {
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            configuration(&text[..end]);
        }
    }
}

#[test]
fn no_changed_character_brings_the_reader_down() {
    for text in examples() {
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).step_by(3).collect();
        for at in starts {
            for put in ["\"", "[", "0", "\u{0}", "\u{202e}", "\n", "'''", "="] {
                let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
                configuration(&format!("{}{put}{}", &text[..at], &text[end..]));
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    configuration(&format!("port = {}{}", "[".repeat(100_000), "]".repeat(100_000)));
    configuration(&format!("{}x = 1", "a.".repeat(100_000)));
}

#[test]
fn the_examples_are_right_to_begin_with() {
    for text in examples() {
        assert!(parse(&text, "f", &Files).is_ok());
    }
}

/// An inlined key in a file that is otherwise broken anywhere.
#[test] // F-33
fn a_key_in_the_file_itself_is_never_quoted_wherever_the_file_breaks() {
    let inlined = examples()[0].replace("site2.psk", KEY);
    assert!(inlined.contains(KEY));
    let missing = |_: &std::path::Path| Err(warren_config::SecretError::Missing);
    for end in (0..inlined.len()).filter(|end| inlined.is_char_boundary(*end)) {
        for tail in ["", "\n\"", "\n]", "\nx = \"y\" z"] {
            let Err(errors) = parse(&format!("{}{tail}", &inlined[..end]), "f", &missing) else { continue };
            assert!(!errors.to_string().contains(&KEY[..12]), "{errors}");
        }
    }
    assert!(parse(&inlined, "f", &secrets).is_ok(), "the same text with a source that knows the name");
}
