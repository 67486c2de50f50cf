//! The program itself against a daemon made of one thread, judged by golden texts.
//!
//! `WARREN_REGENERATE=1 cargo test -p dpctl` writes the golden texts anew; the difference is for a person to judge.
#![allow(clippy::unwrap_used)]

mod daemon;

use daemon::{
    Daemon, clients, dpctl, drops, explained, leases, policies, rules, sas, stacks, stages, stats,
    ted_preview, ted_status, tunnels,
};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command as Process, Output, Stdio};
use warren_api::explain::Explanation;
use warren_api::{
    Clients, DropCount, Leases, Policies, PulledPolicy, Rules, Sa, ServedPolicyRow, Stack, Stages, Stats,
    TedFlow, TedPreview, TedStatus, Tunnel,
};

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// Compares with `tests/golden/NAME`, or writes it.
fn golden(name: &str, output: &Output) {
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{name}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let said = text(&output.stdout);
    if std::env::var_os("WARREN_REGENERATE").is_some() {
        fs::write(&path, &said).unwrap();
    }
    assert_eq!(said, fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn every_list_looks_as_it_was_agreed() {
    let daemon = Daemon::start();
    golden("stats.txt", &daemon.dpctl(&["stats"]));
    golden("sa.txt", &daemon.dpctl(&["sa"]));
    golden("sa-wide.txt", &dpctl(&daemon.socket(), &["sa"], "130"));
    golden("tunnel.txt", &daemon.dpctl(&["tunnel"]));
    golden("tunnel.txt", &daemon.dpctl(&["tunnel", "list"]));
    golden("rule.txt", &daemon.dpctl(&["rule"]));
    golden("drops.txt", &daemon.dpctl(&["drops"]));
    golden("drops-all.txt", &dpctl(&daemon.socket(), &["drops", "--all"], "80"));
    golden("policy.txt", &dpctl(&daemon.socket(), &["policy"], "130"));
    golden("policy-served.txt", &daemon.dpctl(&["policy", "served"]));
    golden("policy-pulled.txt", &daemon.dpctl(&["policy", "pulled"]));
    golden("lease.txt", &daemon.dpctl(&["lease"]));
    golden("lease.txt", &daemon.dpctl(&["lease", "list"]));
    golden("client.txt", &daemon.dpctl(&["client"]));
    golden("client.txt", &daemon.dpctl(&["client", "list"]));
    golden("ted.txt", &daemon.dpctl(&["ted"]));
    golden("ted.txt", &daemon.dpctl(&["ted", "status"]));
    golden(
        "ted-preview.txt",
        &daemon.dpctl(&["ted", "probe", "--dry-run", "10.1.0.1", "10.2.0.1", "tcp", "40000", "443"]),
    );
    golden("stack.txt", &dpctl(&daemon.socket(), &["stack"], "130"));
    golden("stack.txt", &dpctl(&daemon.socket(), &["stack", "list"], "130"));
    golden("stack-show.txt", &dpctl(&daemon.socket(), &["stack", "show", "sites"], "130"));
    golden("stack-show-rests.txt", &dpctl(&daemon.socket(), &["stack", "show", "printers"], "130"));
    golden("version.txt", &daemon.dpctl(&["version"]));
}

#[test] // NT-11, NT-33
fn a_running_daemon_explains_with_how_each_level_stands_and_what_would_happen_next() {
    let daemon = Daemon::start();
    let question = ["explain", "10.1.0.5", "198.51.100.2", "tcp", "50000", "443"];
    golden("explain-live.txt", &daemon.dpctl(&question));
    let asked = [&question[..], &["--rematch", "wire", "--mtu", "9000", "--json"]].concat();
    let said: Explanation = serde_json::from_slice(&daemon.dpctl(&asked).stdout).unwrap();
    assert_eq!(said, Explanation { rematch: "wire".into(), mtu: 9000, ..explained() });
    let mixed = daemon.dpctl(&["explain", "10.1.0.5", "2001:db8::1", "tcp"]);
    assert_eq!(mixed.status.code(), Some(1));
    let nobody = dpctl(Path::new("/nonexistent/warrend.sock"), &question, "100");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("/nonexistent/warrend.sock"), "{}", text(&nobody.stderr));
}

#[test] // NT-16
fn a_stack_is_taken_down_by_its_rules_name_and_one_that_is_not_there_is_said_to_be_none() {
    let daemon = Daemon::start();
    let said = daemon.dpctl(&["stack", "abort", "sites"]);
    assert_eq!((said.status.code(), text(&said.stderr).as_str()), (Some(0), ""));
    assert_eq!(text(&said.stdout), "sites: taken down; traffic may build it again\n");
    let refused = daemon.dpctl(&["stack", "abort", "stranger"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), "dpctl: `stranger` has no stack of tunnels (unknown-stack)\n");
    let none = daemon.dpctl(&["stack", "show", "site"]);
    assert_eq!((none.status.code(), text(&none.stdout).as_str()), (Some(1), ""));
    assert!(text(&none.stderr).contains("site has no stack of tunnels"), "{}", text(&none.stderr));
}

#[test]
fn the_live_view_shows_rates_of_a_second() {
    let daemon = Daemon::start();
    golden("watch.txt", &daemon.dpctl(&["stats", "--watch", "--interval", "0.1", "--count", "2"]));
}

#[test]
fn cycles_are_shown_by_stage_since_the_start_and_between_two_looks() {
    let daemon = Daemon::start();
    golden("stages.txt", &daemon.dpctl(&["stats", "--stages"]));
    let daemon = Daemon::start();
    golden("stages-workers.txt", &daemon.dpctl(&["stats", "--stages", "--workers"]));
    let daemon = Daemon::start();
    let live = ["stats", "--stages", "--watch", "--interval", "0.1", "--count", "2"];
    golden("stages-watch.txt", &daemon.dpctl(&live));
    assert_eq!(
        daemon.dpctl(&["stats", "--workers"]).status.code(),
        Some(2),
        "it is a part of the view of stages"
    );
}

#[test]
fn no_table_is_wider_than_the_terminal() {
    let daemon = Daemon::start();
    for columns in ["80", "100", "120"] {
        for list in [
            &["stats"][..],
            &["stats", "--stages", "--workers"],
            &["sa"],
            &["tunnel"],
            &["rule"],
            &["drops", "--all"],
            &["policy"],
            &["lease"],
            &["client"],
            &["ted"],
            &["stack"],
            &["stack", "show", "sites"],
            &["explain", "10.1.0.5", "10.2.0.7", "tcp"],
        ] {
            let said = text(&dpctl(&daemon.socket(), list, columns).stdout);
            // Sentences may be longer; a terminal wraps them well enough.
            let widest =
                said.lines().filter(|line| line.contains("  ")).map(|line| line.chars().count()).max();
            assert!(widest.unwrap_or(0) <= columns.parse().unwrap(), "{list:?} at {columns}:\n{said}");
        }
    }
}

#[test]
fn json_is_the_list_itself_and_reads_back() {
    let daemon = Daemon::start();
    let json = |arguments: &[&str]| daemon.dpctl(arguments).stdout;
    assert_eq!(serde_json::from_slice::<Stats>(&json(&["stats", "--json"])).unwrap(), stats(0));
    assert_eq!(serde_json::from_slice::<Vec<Sa>>(&json(&["sa", "--json"])).unwrap(), sas());
    assert_eq!(serde_json::from_slice::<Vec<Tunnel>>(&json(&["tunnel", "--json"])).unwrap(), tunnels());
    assert_eq!(
        serde_json::from_slice::<Vec<Tunnel>>(&json(&["tunnel", "list", "--json"])).unwrap(),
        tunnels()
    );
    assert_eq!(serde_json::from_slice::<Rules>(&json(&["rule", "--json"])).unwrap(), rules());
    assert_eq!(serde_json::from_slice::<Vec<DropCount>>(&json(&["drops", "--json"])).unwrap(), drops(0));
    assert_eq!(serde_json::from_slice::<Policies>(&json(&["policy", "--json"])).unwrap(), policies());
    let served = serde_json::from_slice::<Vec<ServedPolicyRow>>(&json(&["policy", "served", "--json"]));
    assert_eq!(served.unwrap(), policies().served);
    let pulled = serde_json::from_slice::<Vec<PulledPolicy>>(&json(&["policy", "pulled", "--json"]));
    assert_eq!(pulled.unwrap(), policies().pulled);
    assert_eq!(serde_json::from_slice::<Leases>(&json(&["lease", "--json"])).unwrap(), leases());
    assert_eq!(serde_json::from_slice::<Clients>(&json(&["client", "list", "--json"])).unwrap(), clients());
    assert_eq!(serde_json::from_slice::<TedStatus>(&json(&["ted", "--json"])).unwrap(), ted_status());
    let status = json(&["ted", "status", "--json"]);
    assert_eq!(serde_json::from_slice::<TedStatus>(&status).unwrap(), ted_status());
    let preview = json(&["ted", "probe", "--dry-run", "10.1.0.1", "10.2.0.1", "--json"]);
    assert_eq!(serde_json::from_slice::<TedPreview>(&preview).unwrap(), ted_preview());
    assert_eq!(serde_json::from_slice::<Vec<Stack>>(&json(&["stack", "--json"])).unwrap(), stacks());
    let shown = serde_json::from_slice::<Vec<Stack>>(&json(&["stack", "show", "sites", "--json"])).unwrap();
    assert_eq!(shown, stacks()[..1]);
    let daemon_of_stages = Daemon::start();
    let said = |arguments: &[&str]| daemon_of_stages.dpctl(arguments).stdout;
    assert_eq!(serde_json::from_slice::<Stages>(&said(&["stats", "--stages", "--json"])).unwrap(), stages(0));
    let looks = text(&said(&["stats", "--stages", "--watch", "--interval", "0.1", "--count", "2", "--json"]));
    let looks: Vec<Stages> = looks.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(looks, [stages(1), stages(2)], "readings, and not what came in between");
    let looks = text(&json(&["stats", "--watch", "--interval", "0.1", "--count", "3", "--json"]));
    assert_eq!(looks.lines().count(), 3);
    for line in looks.lines() {
        let look: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(look["stats"]["uptime_ms"].is_u64() && look["drops"].is_array());
    }
}

#[test]
fn switches_report_what_was_asked_for_and_what_was_refused() {
    let daemon = Daemon::start();
    let said = daemon.dpctl(&["tunnel", "up", "sites"]);
    assert_eq!(said.status.code(), Some(0));
    assert!(text(&said.stdout).contains("sites: negotiation started"));
    assert!(text(&daemon.dpctl(&["tunnel", "down", "sites"]).stdout).contains("sites: taken down"));
    assert!(text(&daemon.dpctl(&["tunnel", "up", "sites", "--wait"]).stdout).contains("sites: up after"));

    for waiting in [&["tunnel", "up", "to-partners"][..], &["tunnel", "up", "to-partners", "--wait"]] {
        let said = daemon.dpctl(waiting);
        assert_eq!(said.status.code(), Some(0), "such a rule is never up, and nothing waits for it");
        assert!(text(&said.stdout).contains("to-partners: open; its traffic looks for gateways"));
    }

    let refused = daemon.dpctl(&["tunnel", "up", "stranger"]);
    assert_eq!((refused.status.code(), text(&refused.stdout).as_str()), (Some(1), ""));
    assert_eq!(text(&refused.stderr), "dpctl: no tunnel rule is called `stranger` (unknown-tunnel)\n");

    let late = daemon.dpctl(&["tunnel", "up", "printers", "--wait", "0.1"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(text(&late.stderr).contains("printers is not up but held-down: no proposal was"));
    assert!(!text(&late.stderr).contains('\u{1b}'), "a peer's words do not reach the terminal as commands");
}

#[test]
fn policy_leases_and_clients_have_their_switches_too() {
    let daemon = Daemon::start();
    let said = |arguments: &[&str]| text(&daemon.dpctl(arguments).stdout);
    assert!(said(&["policy", "pull", "server"]).contains("server: policy is pulled again"));
    assert!(said(&["client", "close", "server"]).contains("withdrawn until `dpctl policy pull server`"));
    assert!(
        said(&["lease", "release", "visitors", "user:alice"])
            .contains("the lease of user:alice is forgotten")
    );
    for (arguments, why) in [
        (&["policy", "pull", "stranger"][..], "dpctl: there is no peer `stranger` (unknown-peer)\n"),
        (&["client", "close", "stranger"], "dpctl: there is no peer `stranger` (unknown-peer)\n"),
        (&["lease", "release", "x", "y"], "dpctl: pool `x` has no lease of `y` (unknown-lease)\n"),
    ] {
        let refused = daemon.dpctl(arguments);
        assert_eq!((refused.status.code(), text(&refused.stderr).as_str()), (Some(1), why));
    }
}

#[test]
fn a_probe_waits_for_its_end_and_says_what_came_of_it() {
    let daemon = Daemon::start();
    let probe = |arguments: &[&str]| daemon.dpctl(&[&["ted", "probe"], arguments].concat());
    let found = probe(&["10.1.0.1", "10.2.0.1", "tcp", "40000", "443"]);
    assert_eq!((found.status.code(), text(&found.stderr).as_str()), (Some(0), ""));
    let expected = "to-partners/203.0.113.7: tunnel up to 203.0.113.7 for 10.1.0.0/16 -> 10.2.0.0/16\n";
    assert_eq!(text(&found.stdout), expected);
    let nobody = probe(&["10.1.0.1", "10.4.0.1"]);
    assert_eq!((nobody.status.code(), text(&nobody.stdout).as_str()), (Some(1), ""));
    assert!(
        text(&nobody.stderr).starts_with("dpctl: no gateway answered; traffic does not ask again for 77 s")
    );
    let refused = probe(&["10.1.0.1", "192.0.2.9"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), "dpctl: no rule discovers a gateway for it (unasked)\n");
    let json = probe(&["10.1.0.1", "10.2.0.1", "--json"]);
    let flow: TedFlow = serde_json::from_slice(&json.stdout).unwrap();
    assert!(matches!(flow, TedFlow::Found(found) if found.is_up) && json.status.code() == Some(0));
}

#[test]
fn packets_that_do_not_exist_are_not_asked_about() {
    let daemon = Daemon::start();
    for (flow, code) in [
        (&["10.1.0.1", "2001:db8::1"][..], 1),
        (&["10.1.0.1", "10.2.0.1", "icmp", "1", "2"], 1),
        (&["10.1.0.1", "10.2.0.1", "tcp", "0", "443"], 2),
        (&["10.1.0.1", "10.2.0.1", "tcp", "40000"], 2),
        (&["10.1.0.1", "10.2.0.1", "256"], 2),
        (&["10.1.0.1"], 2),
    ] {
        let said = daemon.dpctl(&[&["ted", "probe"], flow].concat());
        assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(code), ""), "{flow:?}");
    }
}

#[test] // F-33: a server's words do not reach the terminal as commands
fn what_servers_say_is_shown_harmlessly() {
    let daemon = Daemon::start();
    for list in ["policy", "client"] {
        let said = text(&daemon.dpctl(&[list]).stdout);
        assert!(said.contains("Be kind.") || list == "policy", "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }
}

#[test]
fn a_missing_daemon_is_explained_and_wrong_usage_is_told_from_failure() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let failed = dpctl(&socket, &["stats"], "100");
    assert_eq!(failed.status.code(), Some(1));
    let said = text(&failed.stderr);
    assert!(
        said.contains("is it running?") && said.contains("none.sock") && said.contains("--socket"),
        "{said}"
    );
    let wrong: [&[&str]; 5] = [
        &["frobnicate"],
        &[],
        &["tunnel", "up"],
        &["stats", "--interval", "2"],
        &["stats", "--watch", "--interval", "0"],
    ];
    for wrong in wrong {
        assert_eq!(dpctl(&socket, wrong, "100").status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let daemon = Daemon::start();
    let mut process = Process::new(env!("CARGO_BIN_EXE_dpctl"))
        .args(["stats", "--watch", "--interval", "0.1"])
        .env("WARREN_SOCKET", daemon.socket())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("warrend up"));
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[test] // F-1
fn a_new_key_is_written_once_to_a_file_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gw2.psk");
    let arguments = ["psk", "new", "--out", path.to_str().unwrap()];
    let nowhere = Path::new("/nonexistent");
    let made = dpctl(nowhere, &arguments, "100");
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let key = fs::read_to_string(&path).unwrap();
    assert_eq!(key.trim_end().len(), 64);
    let said = format!("{}{}", text(&made.stdout), text(&made.stderr));
    assert!(!said.contains(key.trim_end()), "F-33: the key stands in the file only");
    let again = dpctl(nowhere, &arguments, "100");
    assert_eq!((again.status.code(), fs::read_to_string(&path).unwrap()), (Some(1), key));

    let shown = text(&dpctl(nowhere, &["psk", "new", "--encoding", "base64"], "100").stdout);
    assert_eq!(shown.trim_end().len(), 44);
}

#[test]
fn a_file_is_checked_with_the_keys_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/site-to-site/gw1.toml");
    let file = directory.path().join("gw1.toml");
    fs::write(&file, fs::read_to_string(example).unwrap()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let check = || dpctl(Path::new("/nonexistent"), &["check", file.to_str().unwrap()], "100");
    let missing = check();
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("`secret` names no file"), "{}", text(&missing.stderr));

    let key = directory.path().join("site2.psk");
    dpctl(Path::new("/nonexistent"), &["psk", "new", "--out", key.to_str().unwrap()], "100");
    let right = check();
    assert_eq!(right.status.code(), Some(0), "{}", text(&right.stderr));
    let said = text(&right.stdout);
    assert!(
        said.contains("is right: 2 ports, 1 peer, 2 transport rules, 2 tunnel rules, 1 warning"),
        "{said}"
    );
}
