//! `dpctl explain` as a user calls it; what docs/nested.md shows is what it says.
//!
//! `WARREN_REGENERATE=1 cargo test -p dpctl --test explain` writes the page's answers anew.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The example of the page, with keys beside it.
fn example() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(docs().join("examples/nested/gateway.toml")).unwrap();
    fs::write(folder.path().join("gateway.toml"), text).unwrap();
    for name in ["sg1.psk", "sg2.psk", "sg3.psk", "receiver.psk"] {
        let key = folder.path().join(name);
        fs::write(&key, "0123456789abcdeffedcba9876543210\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(folder.path().join("gateway.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    folder
}

fn dpctl(folder: &TempDir, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dpctl"))
        .args(line.split_whitespace())
        .current_dir(folder.path())
        .env("COLUMNS", "120")
        .output()
        .unwrap()
}

fn json(folder: &TempDir, line: &str) -> Value {
    let output = dpctl(folder, &format!("{line} --config gateway.toml --json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test] // V-9, NT-4, NT-7, NT-8, NT-33, Q-19
fn the_page_shows_what_the_program_says() {
    const OPEN: &str = "```text\n$ dpctl ";
    let (folder, path) = (example(), docs().join("nested.md"));
    let page = fs::read_to_string(&path).unwrap();
    let mut parts = page.split(OPEN);
    let mut made = parts.next().unwrap().to_owned();
    let mut answers = 0;
    for part in parts {
        let (command, rest) = part.split_once('\n').unwrap();
        let (_, after) = rest.split_once("```").unwrap();
        let output = dpctl(&folder, command);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        made += &format!("{OPEN}{command}\n{said}```{after}");
        answers += 1;
    }
    if std::env::var_os("WARREN_REGENERATE").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert_eq!(answers, 4);
    assert_eq!(made, fs::read_to_string(&path).unwrap());
}

#[test] // V-9, NT-5, NT-6, NT-7, NT-9, NT-11, Q-20
fn the_nearest_gateway_is_performed_first_and_each_round_is_told() {
    let said = json(&example(), "explain 10.1.0.5 10.2.0.7 tcp 50000 443");
    let texts = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|row| row[key].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(texts(&said["performed"], "rule"), ["to-sg2", "to-sg3", "to-site2", "sites"]);
    assert_eq!(texts(&said["performed"], "peer"), ["sg1", "sg2", "sg3", "-"]);
    assert_eq!((&said["outcome"], &said["protected_by"]), (&"protect".into(), &"to-site2".into()));
    assert_eq!(said["tunnel"].as_array().unwrap().len(), 4);
    assert_eq!(said["tunnel"][1]["matched"]["rule"], "to-sg3");
    assert_eq!(said["tunnel"][1]["missed"][0]["because"], "destination");
    assert_eq!((&said["tunnel"][3]["matched"], &said["tunnel"][3]["tried"]), (&Value::Null, &3.into()));
    // 1500 less 54 is 1446; less 60 of AES-CBC with SHA-256 whole blocks of 16 and 2 of trailer; less 54 again.
    assert_eq!(texts(&said["transport"]["missed"], "rule"), ["to-receiver", "no-printers"]);
    let inner: Vec<_> =
        (0..3).map(|at| said["performed"][at]["esp"]["inner_mtu"].as_u64().unwrap()).collect();
    assert_eq!(inner, [1446, 1374, 1318]);
    assert_eq!(said["inner_mtu"], 1318);
}

#[test] // NT-33
fn the_path_may_be_narrower_than_1500() {
    let folder = example();
    let said = json(&folder, "explain 10.1.0.5 10.2.0.7 udp 1 2 --mtu 1280");
    assert_eq!((&said["mtu"], &said["performed"][0]["esp"]["inner_mtu"]), (&1280.into(), &1226.into()));
    let said = json(&folder, "explain 10.1.0.5 10.2.0.7 udp 1 2 --mtu 100");
    assert_eq!(said["inner_mtu"], 0);
}

#[test] // NT-28, F-26
fn rules_that_lead_in_a_circle_are_refused_and_not_explained() {
    let folder = example();
    let file = folder.path().join("gateway.toml");
    let circle = fs::read_to_string(&file).unwrap()
        + "\n[[tunnel]]\nname = \"to-sg1\"\nsource = \"10.1.0.0/16\"\ndestination = \"192.0.2.254\"\npeer = \"sg3\"\n";
    fs::write(&file, circle).unwrap();
    for line in ["explain 10.1.0.5 10.2.0.7 tcp 50000 443 --config gateway.toml", "check gateway.toml"] {
        let refused = dpctl(&folder, line);
        assert_eq!(refused.status.code(), Some(1));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("`to-sg1` leads in a circle: the way to `sg3` (203.0.113.3)"), "{said}");
    }
}

#[test] // Q-17, NT-19, NT-33
fn what_the_gateway_itself_says_is_protected_from_end_to_end_inside_the_same_tunnels() {
    let folder = example();
    let said = json(&folder, "explain 10.1.0.1 10.2.0.7 tcp 50000 443");
    let texts = |key: &str| -> Vec<String> {
        let levels = said["performed"].as_array().unwrap();
        levels.iter().map(|row| row[key].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(texts("rule"), ["to-sg2", "to-sg3", "to-site2", "to-receiver"]);
    assert_eq!(texts("action"), ["tunnel", "tunnel", "tunnel", "protect"]);
    assert_eq!(texts("gateway")[3], "10.2.0.7");
    assert_eq!((&said["outcome"], &said["protected_by"]), (&"protect".into(), &"to-receiver".into()));
    // Transport mode has no IP header of its own: 8 of ESP, 8 of IV, 2 of trailer, 16 of ICV.
    let innermost = &said["performed"][3]["esp"];
    assert_eq!(
        (&innermost["overhead_octets_min"], &said["inner_mtu"]),
        (&34.into(), &innermost["inner_mtu"])
    );
    // 1318 are left by the tunnels; 1318 less 20 of header and 32 of ESP is 1266, whole words 1264, less the trailer.
    assert_eq!(said["inner_mtu"], 20 + 1264 - 2);
    // Without a daemon nobody knows how the levels stand.
    assert!(said["performed"][0].get("live").is_none());
}

#[test] // Q-19
fn the_file_says_how_rules_are_asked_again_unless_the_question_does() {
    let folder = example();
    let file = folder.path().join("gateway.toml");
    assert_eq!(json(&folder, "explain 10.1.0.5 10.2.0.7 tcp 1 2")["rematch"], "destination");
    let text = fs::read_to_string(&file).unwrap().replace("rematch = \"destination\"", "rematch = \"wire\"");
    fs::write(&file, text).unwrap();
    let said = json(&folder, "explain 10.1.0.5 10.2.0.7 tcp 1 2");
    assert_eq!((&said["rematch"], said["performed"].as_array().unwrap().len()), (&"wire".into(), 2));
    let letter = json(&folder, "explain 10.1.0.5 10.2.0.7 tcp 1 2 --rematch destination");
    assert_eq!(letter["rematch"], "destination");
}

#[test]
fn a_question_that_cannot_be_answered_is_refused_with_the_reason() {
    let folder = example();
    let refused = |line: &str, status: i32, words: &str| {
        let output = dpctl(&folder, line);
        assert_eq!(output.status.code(), Some(status), "{line}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{line}: {said}");
    };
    refused("explain 10.1.0.5 2001:db8::1 tcp 1 2 --config gateway.toml", 1, "one family");
    refused("explain 10.1.0.5 10.2.0.7 tcp 1 2 --config none.toml", 1, "none.toml cannot be used");
    refused("explain 10.1.0.5 10.2.0.7 tcp 1 --config gateway.toml", 2, "DPORT");
    refused("explain 10.1.0.5 10.2.0.7 carp 1 2 --config gateway.toml", 2, "a protocol is a name");
    refused("explain 10.1.0.5 10.2.0.7 tcp 1 2 --config gateway.toml --mtu 60", 2, "68");
}
