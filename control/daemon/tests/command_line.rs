//! `warrend` as an operator calls it, as far as that needs no rights and no network.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SECRET: &str = "9f1c04d2a7e85b3360d8c41be2975f06a3b8";

const GOOD: &str = r#"
[gateway]
control_socket = "/run/warren-test/warrend.sock"

[[port]]
name = "wan"
interface = "eth0"
side = "outside"

[[peer]]
name = "other"
ike = "v1-main"
local = "192.0.2.1"
address = "192.0.2.2"
local_identity = "left.test"
identity = "right.test"
secret = "other.psk"

[[transport]]
name = "all"
source = ["10.1.0.0/16"]
destination = ["10.2.0.0/16"]
action = "permit"

[[tunnel]]
name = "sites"
source = ["10.1.0.0/16"]
destination = ["10.2.0.0/16"]
peer = "other"
"#;

fn warrend(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warrend")).args(arguments).output().unwrap()
}

fn files(folder: &Path, configuration: &str) -> PathBuf {
    let secret = folder.join("other.psk");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = folder.join("warren.toml");
    std::fs::write(&file, configuration).unwrap();
    file
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn a_good_file_is_said_to_be_good_with_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = files(folder.path(), GOOD);
    let said = warrend(&["--check", file.to_str().unwrap()]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert!(text(&said.stdout).contains("good: 1 ports, 1 peers, 1 transport rules, 1 tunnels"));
}

#[test] // DC-16
fn two_lines_are_a_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = files(folder.path(), "peer = \"192.0.2.2\"\nsecret = \"other.psk\"\n");
    let said = warrend(&["--check", file.to_str().unwrap()]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert!(text(&said.stdout).contains("good: 0 ports, 1 peers, 0 transport rules, 0 tunnels"));
}

#[test]
fn a_certificate_that_is_none_is_found_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let pem = |what: &str| format!("-----BEGIN {what}-----\nAQEB\n-----END {what}-----\n");
    std::fs::write(folder.path().join("gw.pem"), pem("CERTIFICATE")).unwrap();
    let key = folder.path().join("gw.key");
    std::fs::write(&key, pem("PRIVATE KEY")).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let proof = "authentication = \"certificate\"\ncertificate = \"gw.pem\"\nprivate_key = \"gw.key\"\nauthority = \"gw.pem\"";
    let file = files(folder.path(), &GOOD.replace("secret = \"other.psk\"", proof));
    let said = warrend(&["--check", file.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stderr).contains("peer other: certificate 1"), "{}", text(&said.stderr));
}

#[test] // F-33
fn a_bad_file_is_refused_with_line_and_column_and_without_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = files(folder.path(), &GOOD.replace("side = \"outside\"", "side = \"outdoors\""));
    for arguments in [["--check", file.to_str().unwrap()], ["--config", file.to_str().unwrap()]] {
        let said = warrend(&arguments);
        assert!(!said.status.success());
        let words = text(&said.stderr);
        assert!(words.contains("warren.toml:8:8") && words.contains("outdoors"), "{words}");
        assert!(!words.contains(SECRET) && !text(&said.stdout).contains(SECRET));
    }
}

#[test]
fn a_file_that_is_not_there_and_no_file_at_all_are_two_errors() {
    assert_eq!(warrend(&["--check", "/nowhere/warren.toml"]).status.code(), Some(1));
    assert_eq!(warrend(&[]).status.code(), Some(2));
}

#[test]
fn the_version_is_told() {
    let said = warrend(&["--version"]);
    assert!(said.status.success());
    assert_eq!(text(&said.stdout).trim(), format!("warrend {}", env!("CARGO_PKG_VERSION")));
}
