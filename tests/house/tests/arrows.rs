//! The arrows between the crates (docs/architecture.md). A crate may use what its row names and nothing else of ours.

use std::collections::{BTreeMap, BTreeSet};

use house::{locked, packages};

/// Who may use whom. An arrow that is missing here is a decision to take, not a line to add in passing.
const ARROWS: &[(&str, &[&str])] = &[
    ("warren-policy", &[]),
    ("warren-seam", &["warren-policy"]),
    ("warren-ike", &["warren-policy", "warren-seam"]),
    ("warren-tunnels", &["warren-policy", "warren-ike", "warren-seam"]),
    ("warren-config", &["warren-policy"]),
    ("warren-api", &["warren-policy"]),
    ("warren-aead", &[]),
    ("warren-port", &[]),
    ("warren-engine", &["warren-aead", "warren-port", "warren-seam", "warren-policy"]),
    ("warren-bpf", &["warren-port"]),
    (
        "warrend",
        &[
            "warren-policy",
            "warren-ike",
            "warren-seam",
            "warren-tunnels",
            "warren-config",
            "warren-api",
            "warren-aead",
            "warren-port",
            "warren-engine",
            "warren-bpf",
        ],
    ),
    ("dpctl", &["warren-api", "warren-config", "warren-policy"]),
    ("warren-pktgen", &["warren-port", "warren-bpf"]),
    // What is below is built for us and never shipped.
    ("xtask", &[]),
    ("house", &[]),
    (
        "warren-bench",
        &[
            "warren-aead",
            "warren-engine",
            "warren-ike",
            "warren-tunnels",
            "warren-policy",
            "warren-port",
            "warren-seam",
            "warren-bpf",
            "warren-pktgen",
        ],
    ),
    (
        "sim",
        &[
            "warren-policy",
            "warren-seam",
            "warren-ike",
            "warren-tunnels",
            "warren-engine",
            "warren-port",
            "warren-aead",
            "warren-config",
        ],
    ),
    ("instructions", &["warren-policy", "warren-seam", "warren-ike", "warren-engine", "warren-aead"]),
    (
        "interop",
        &[
            "xtask",
            "warren-aead",
            "warren-engine",
            "warren-policy",
            "warren-port",
            "warren-seam",
            "warren-bpf",
        ],
    ),
    (
        "warren-fuzz",
        &[
            "warren-ike",
            "warren-policy",
            "warren-seam",
            "warren-aead",
            "warren-engine",
            "warren-config",
            "warren-api",
            "warren-port",
        ],
    ),
];

/// Crates that must work without a runtime, a clock and a socket of their own.
const WITHOUT_RUNTIME: &[&str] = &[
    "warren-policy",
    "warren-seam",
    "warren-ike",
    "warren-tunnels",
    "warren-config",
    "warren-api",
    "warren-aead",
    "warren-port",
    "warren-engine",
    "warren-bpf",
];

#[test]
fn every_arrow_between_our_crates_is_in_the_table() {
    let table: BTreeMap<_, BTreeSet<_>> =
        ARROWS.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let all = packages();
    let ours: BTreeSet<_> = all.iter().map(|package| package.name.as_str()).collect();
    for package in &all {
        let Some(allowed) = table.get(package.name.as_str()) else {
            panic!("{} has no row in the table of arrows", package.name);
        };
        for used in package.dependencies.iter().chain(&package.dev_dependencies) {
            let is_ours = ours.contains(used.as_str());
            assert!(!is_ours || allowed.contains(used.as_str()), "{} -> {used} is a new arrow", package.name);
        }
    }
    for name in table.keys() {
        assert!(ours.contains(name), "{name} is in the table of arrows but does not exist");
    }
}

#[test]
fn nothing_below_the_daemon_reaches_tokio_by_any_path() {
    let lock = locked();
    for name in WITHOUT_RUNTIME {
        let mut reached = BTreeSet::new();
        let mut ahead = vec![*name];
        while let Some(next) = ahead.pop() {
            if reached.insert(next) {
                ahead.extend(lock.get(next).into_iter().flatten().map(String::as_str));
            }
        }
        for runtime in ["tokio", "mio", "rtnetlink", "async-std", "smol"] {
            assert!(!reached.contains(runtime), "{name} reaches {runtime}");
        }
    }
}

#[test]
fn ike_and_engine_do_not_know_each_other() {
    let lock = locked();
    for (one, other) in [("warren-ike", "warren-engine"), ("warren-engine", "warren-ike")] {
        assert!(!lock[one].contains(other), "{one} -> {other}");
    }
}
