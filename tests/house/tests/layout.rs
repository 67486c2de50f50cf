//! What lies at the top of the repository, and what every manifest says.

use house::{packages, root, top_level};

/// A reader finds everything from these names; nothing is added to them in passing.
const NAMES: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "bench",
    "bpf",
    "control",
    "dataplane",
    "deny.toml",
    "docs",
    "rustfmt.toml",
    "tests",
    "tools",
];

#[test]
fn top_level_has_exactly_the_agreed_names() {
    assert_eq!(top_level(), NAMES);
}

#[test]
fn every_package_carries_the_licence_and_the_shared_lints() {
    for package in packages() {
        let section = &package.manifest["package"];
        let inherits = |name: &str| section.get(name).and_then(|value| value.get("workspace")).is_some();
        if package.name == "warren-fuzz" {
            assert_eq!(section["license"].as_str(), Some("MIT OR Apache-2.0"));
            continue;
        }
        assert!(inherits("license"), "{} does not inherit the licence", package.name);
        assert!(inherits("publish"), "{} does not inherit `publish`", package.name);
        let lints = package.manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert!(lints.is_some(), "{} does not inherit the lints", package.name);
        assert!(section.get("description").is_some(), "{} does not say what it is", package.name);
    }
}

#[test]
fn workspace_says_its_licence_and_has_both_texts() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(text.contains("license = \"MIT OR Apache-2.0\""));
    assert!(std::fs::read_to_string(root().join("LICENSE-MIT")).unwrap().contains("MIT License"));
    assert!(std::fs::read_to_string(root().join("LICENSE-APACHE")).unwrap().contains("Apache License"));
}

#[test]
fn set_up_and_its_library_need_no_native_code() {
    let xtask = packages().into_iter().find(|package| package.name == "xtask").unwrap();
    let names: Vec<_> = xtask.dependencies.iter().map(String::as_str).collect();
    assert_eq!(names, ["rustix", "serde", "serde_json"]);
}

#[test]
fn ci_calls_the_tests_and_nothing_cleverer() {
    let text = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let commands: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect();
    assert_eq!(commands.last(), Some(&"exec cargo xtask test"));
    assert!(commands.len() <= 3, "{commands:?}");
}
