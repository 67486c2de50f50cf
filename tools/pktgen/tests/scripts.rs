//! The scripts in `docs/examples`: whether a shell understands them, and what the kernel's generator would be told.
#![allow(clippy::print_stdout)] // Whoever runs the tests must see what was skipped, and why.
#![allow(clippy::unwrap_used)] // Everything here is a test, also what is called by one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(name)
}

const SCRIPTS: [&str; 2] = ["kernel-pktgen.sh", "measure-in-namespaces.sh"];

#[test]
fn a_shell_understands_the_scripts() {
    for name in SCRIPTS {
        let output = Command::new("bash").arg("-n").arg(script(name)).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn shellcheck_has_nothing_to_say_about_them() {
    for name in SCRIPTS {
        match Command::new("shellcheck").arg(script(name)).output() {
            Ok(output) => {
                assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
            }
            Err(_) => println!("skipped, because shellcheck is absent"),
        }
    }
}

/// Runs the script for the kernel's generator on a directory that looks like the module's.
fn kernel(folder: &Path, arguments: &[&str]) -> Output {
    for file in ["pgctrl", "kpktgend_2", "kpktgend_3", "eth1@2", "eth1@3"] {
        std::fs::write(folder.join(file), "Result: OK: as the module says\n").unwrap();
    }
    Command::new("bash")
        .arg(script("kernel-pktgen.sh"))
        .args(arguments)
        .env("PKTGEN_DIR", folder)
        .output()
        .unwrap()
}

fn told(folder: &Path, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

const COMMON: [&str; 4] = ["--out", "eth1", "--mac", "02:00:00:00:00:02"];

#[test]
fn the_kernel_is_told_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let asked = ["--to", "10.2.0.1-10.2.0.254", "--size", "512", "--threads", "2", "--first-core", "2"];
    let more = ["--rate", "100000", "--seconds", "1", "--from-ports", "1000-1999", "--clone", "3"];
    let output = kernel(folder.path(), &[&COMMON[..], &asked, &more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told(folder.path(), "pgctrl"), ["reset", "start", "stop"]);
    assert_eq!(told(folder.path(), "kpktgend_3"), ["rem_device_all", "add_device eth1@3"]);
    let expected = [
        "pkt_size 508",
        "count 0",
        "clone_skb 3",
        "burst 1",
        "dst_mac 02:00:00:00:00:02",
        "queue_map_min 1",
        "queue_map_max 1",
        "flag NO_TIMESTAMP",
        "dst_min 10.2.0.1",
        "dst_max 10.2.0.254",
        "flag IPDST_RND",
        "udp_dst_min 9",
        "udp_dst_max 9",
        "udp_src_min 1000",
        "udp_src_max 1999",
        "flag UDPSRC_RND",
        "delay 0",
        "ratep 50000",
    ];
    assert_eq!(told(folder.path(), "eth1@3"), expected);
    assert!(String::from_utf8_lossy(&output.stdout).contains("eth1@2: Result: OK"));
}

#[test]
fn one_thread_may_have_a_delay_a_count_and_ipv6() {
    let folder = tempfile::tempdir().unwrap();
    let asked = [
        "--to",
        "2001:db8::1-2001:db8::ff",
        "--first-core",
        "2",
        "--delay",
        "500",
        "--count",
        "7",
        "--checksum",
    ];
    let output = kernel(folder.path(), &[&COMMON[..], &asked].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told_device = told(folder.path(), "eth1@2");
    for line in [
        "count 7",
        "delay 500",
        "dst6_min 2001:db8::1",
        "dst6_max 2001:db8::ff",
        "flag UDPCSUM",
        "pkt_size 60",
    ] {
        assert!(told_device.iter().any(|told| told == line), "{line}: {told_device:?}");
    }
    assert!(!told_device.iter().any(|told| told.starts_with("ratep")));
    // With a count the module ends by itself.
    assert_eq!(told(folder.path(), "pgctrl"), ["reset", "start"]);
    assert!(told(folder.path(), "kpktgend_3").is_empty());
}

#[test]
fn what_cannot_be_is_refused_before_the_module_is_told_anything() {
    let folder = tempfile::tempdir().unwrap();
    for (asked, status) in [
        (&["--size", "63", "--to", "10.2.0.1"][..], 1),
        (&["--rate", "5", "--delay", "5", "--to", "10.2.0.1"], 1),
        (&["--rate", "fast", "--to", "10.2.0.1"], 1),
        (&["--threads", "0", "--to", "10.2.0.1"], 1),
        (&["--seconds", "0", "--to", "10.2.0.1"], 1),
        (&["--mac", "02:00", "--to", "10.2.0.1"], 1),
        (&["--to"], 2),
        (&[], 2),
        (&["--unknown", "1", "--to", "10.2.0.1"], 2),
    ] {
        let output = kernel(folder.path(), &[&COMMON[..], asked].concat());
        assert_eq!(output.status.code(), Some(status), "{asked:?}");
        assert!(told(folder.path(), "pgctrl").is_empty(), "{asked:?}");
    }
}

#[test]
fn a_refusal_of_the_module_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let asked = [&COMMON[..], &["--to", "10.2.0.1", "--first-core", "9"]].concat();
    let output = kernel(folder.path(), &asked);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no thread for core 9"));
}
