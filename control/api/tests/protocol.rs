//! The lines themselves, and the client against a daemon made of one thread.
#![allow(clippy::unwrap_used)]

mod common {
    pub(crate) mod exercise;
}

use common::exercise;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use warren_api::client::{CallError, Client};
use warren_api::explain::{Asked, EspCost, Explanation, Level, Live, Matched, Matching, Missed};
use warren_api::limits::{REQUEST_OCTETS_MAX, RESPONSE_OCTETS_MAX};
use warren_api::{
    Answer, BatchCount, CeilingRow, Clients, Command, ConnectedClient, DropCount, Lane, Lease, LeaseState,
    Leases, LevelCount, LevelMode, Outcome, Policies, PolicySetRow, Pool, PullState, PulledPolicy, Refusal,
    RefusalWord, Request, Response, Rule, RuleClass, Rules, Sa, SaDirection, ServedPolicyRow, ServedSetRow,
    SetState, Stack, StackFailure, StackLevel, StackState, StageAccounts, StageCost, Stages, Stats, TedField,
    TedFlow, TedFound, TedInFlight, TedPacket, TedPreview, TedResting, TedStage, TedStatus, Tunnel,
    TunnelState, VERSION, VersionInfo, WorkerStages, decode_request, decode_response, encode_request,
    encode_response,
};

fn sa() -> Sa {
    Sa {
        id: 7,
        spi: "c0ffee01".into(),
        direction: SaDirection::Inbound,
        peer: "gw2".into(),
        rule: "net".into(),
        is_transport: true,
        transform: "aes256gcm16".into(),
        esn: true,
        encapsulation: "raw".into(),
        local: "192.0.2.1".into(),
        remote: "198.51.100.2".into(),
        selector: "10.2.0.0/16 -> 10.1.0.0/16".into(),
        lane: 63,
        packets: u64::MAX,
        octets: 0,
        sequence: 1,
        age_s: 2,
        expires_in_s: 3,
        last_used_s: None,
        window_packets: Some(4096),
    }
}

fn lane() -> Lane {
    Lane { lane: 1, spi_in: "c0ffee01".into(), spi_out: "9b1d0002".into(), worker: 3 }
}

fn set() -> PolicySetRow {
    PolicySetRow {
        id: Some(2),
        name: "offices".into(),
        state: SetState::Nested,
        selectors: vec!["10.99.0.1/32 -> 10.2.0.0/16".into()],
        transforms: vec!["aes256gcm16".into()],
        lifetime_s: Some(3600),
        rules: vec!["server/offices".into()],
        parent: Some(1),
        gateway: None,
        reason: Some("no".into()),
    }
}

fn pulled() -> PulledPolicy {
    PulledPolicy {
        peer: "server".into(),
        server: "198.51.100.2".into(),
        state: PullState::Resting,
        since_s: 1,
        speaks_policy: true,
        addresses: vec!["10.99.0.1".into()],
        dns: Vec::new(),
        domain: None,
        split_dns: Vec::new(),
        banner: Some("Be kind.".into()),
        sets: vec![set()],
        refused: 0,
        ceiling: CeilingRow {
            remote: vec!["10.0.0.0/8".into()],
            local: Vec::new(),
            weakest: "aes128-sha256".into(),
            sets: 16,
        },
        shielded: Vec::new(),
        server_error: None,
        last_error: Some("the peer does not answer".into()),
    }
}

fn served() -> ServedPolicyRow {
    ServedPolicyRow {
        name: "visitors".into(),
        peers: vec!["any".into()],
        pools: vec!["visitors".into()],
        dns: Vec::new(),
        domain: None,
        split_dns: Vec::new(),
        banner: None,
        sets: vec![ServedSetRow {
            name: "offices".into(),
            source: vec!["10.2.0.0/16".into()],
            destination: vec!["lease".into()],
            traffic: "any".into(),
            proposals: vec!["aes256gcm16".into()],
            lifetime_s: 3600,
            parent: None,
            gateway: None,
        }],
        clients: 1,
    }
}

fn pool() -> Pool {
    Pool {
        name: "visitors".into(),
        addresses: "10.99.0.0/24".into(),
        total: 254,
        used: 1,
        active: 1,
        exhausted: 0,
    }
}

fn lease() -> Lease {
    Lease {
        pool: "visitors".into(),
        holder: "user:alice".into(),
        address: "10.99.0.1".into(),
        state: LeaseState::Active,
        is_static: false,
    }
}

fn connected() -> ConnectedClient {
    ConnectedClient {
        peer: "any/laptop.test".into(),
        identity: "laptop.test".into(),
        user: Some("alice".into()),
        remote: "203.0.113.7".into(),
        since_s: 3,
        policy: "visitors".into(),
        served: true,
        speaks_policy: true,
        addresses: vec!["10.99.0.1".into()],
        sets: vec![set()],
        error: None,
    }
}

fn stages() -> Stages {
    let cost = StageCost {
        stage: "seal".into(),
        explanation: "Encrypted.".into(),
        cycles: u64::MAX,
        packets: 1,
        batches: 1,
    };
    let accounts = StageAccounts {
        turns: 2,
        idle_turns: 1,
        idle_cycles: 3,
        stages: vec![cost],
        batches: vec![BatchCount { packets_min: 2, packets_max: 3, batches: 4 }],
        levels: vec![LevelCount { levels: 8, put_on: 5, taken_off: 6 }],
    };
    Stages {
        uptime_ms: 7,
        sample_every: 64,
        clock: "tsc".into(),
        cycles_per_second: 2_100_000_000,
        totals: accounts.clone(),
        workers: vec![WorkerStages { id: 0, core: Some(1), accounts }],
    }
}

fn answers() -> Vec<Answer> {
    let rule = Rule {
        name: "all".into(),
        class: RuleClass::Transport,
        selector: "any".into(),
        action: "permit".into(),
        peer: None,
        hits: Some(3),
    };
    let tunnel = Tunnel {
        name: "net".into(),
        peer: "gw2".into(),
        state: TunnelState::HeldDown,
        is_transport: false,
        selector: "10.1.0.0/16 -> 10.2.0.0/16".into(),
        local: "192.0.2.1".into(),
        remote: "198.51.100.2".into(),
        since_s: 5,
        spi_in: None,
        spi_out: None,
        parallel: 2,
        lanes: vec![lane()],
        transform: None,
        last_error: Some("no proposal chosen".into()),
    };
    let drop = DropCount { reason: "replayed".into(), explanation: "Seen before.".into(), count: 1 };
    vec![
        Answer::Version(VersionInfo::default()),
        Answer::Stats(Box::new(Stats { workers: vec![warren_api::Worker::default()], ..Stats::default() })),
        Answer::Stages(Box::new(stages())),
        Answer::SaList(vec![sa()]),
        Answer::TunnelList(vec![tunnel]),
        Answer::RuleList(Rules { transport: vec![rule.clone()], tunnel: vec![rule] }),
        Answer::Drops(vec![drop]),
        Answer::Policies(Box::new(Policies { served: vec![served()], pulled: vec![pulled()] })),
        Answer::Leases(Leases { pools: vec![pool()], leases: vec![lease()] }),
        Answer::Clients(Box::new(Clients { connected: vec![connected()], own: vec![pulled()] })),
        Answer::TedStatus(Box::new(TedStatus {
            is_on: true,
            answer_on: vec!["wan".into()],
            in_flight: vec![in_flight(TedStage::Probing { sent: 2 })],
            resting: vec![resting()],
            found: vec![found()],
            counters: [("probes-sent".into(), 3)].into(),
        })),
        Answer::TedFlow(Box::new(TedFlow::InFlight(in_flight(TedStage::Negotiating {
            gateway: "198.51.100.2".into(),
            selector: "10.1.0.0/16 -> 10.2.0.0/16".into(),
        })))),
        Answer::TedFlow(Box::new(TedFlow::Resting(resting()))),
        Answer::TedFlow(Box::new(TedFlow::Found(found()))),
        Answer::TedFlow(Box::new(TedFlow::Unasked { rule: "partners".into() })),
        Answer::TedFlow(Box::new(TedFlow::Refused { why: "no rule discovers a gateway for it".into() })),
        Answer::TedPreview(Box::new(TedPreview {
            rule: "partners".into(),
            fields: vec![TedField {
                part: "UDP".into(),
                name: "destination port".into(),
                value: "500".into(),
            }],
            octets: "4500".into(),
        })),
        Answer::Stacks(vec![stack()]),
        Answer::Explained(Box::new(explained())),
        Answer::Done,
    ]
}

fn stack() -> Stack {
    let level = |rule: &str| StackLevel {
        rule: rule.into(),
        mode: LevelMode::Tunnel,
        peer: Some("sg2".into()),
        gateway: Some("198.51.100.2".into()),
        traffic: "192.0.2.1/32 -> 203.0.113.3/32".into(),
        state: Some(TunnelState::Up),
        rests_s: Some(3),
        spi_in: Some("c0ffee01".into()),
        spi_out: None,
        transform: Some("aes256gcm16".into()),
        worker: Some(0),
        users: 2,
    };
    Stack {
        rule: "sites".into(),
        traffic: "10.1.0.0/16 -> 10.2.0.0/16".into(),
        state: StackState::HeldDown,
        since_s: 4,
        rests_s: Some(26),
        pending: vec![StackLevel { mode: LevelMode::Permit, peer: None, ..level("all") }],
        completed: vec![level("to-sg3"), level("to-sg2")],
        failed: Some(StackFailure { rule: "sites".into(), why: Some("the peer does not answer".into()) }),
    }
}

fn explained() -> Explanation {
    let (state, lanes) = ("held-down".into(), vec![lane()]);
    let live = Live { state, rests_s: Some(12), worker: Some(1), lanes, ..Live::default() };
    let esp = EspCost {
        transform: "aes256gcm16".into(),
        in_udp: true,
        overhead_octets_min: 62,
        overhead_octets_max: 65,
        inner_mtu: 1438,
    };
    let level = Level {
        rule: "to-sg2".into(),
        action: "tunnel".into(),
        peer: Some("sg1".into()),
        gateway: Some("192.0.2.254".parse().unwrap()),
        traffic: "any".into(),
        esp: Some(esp),
        live: Some(live),
    };
    let bare = Level { esp: None, live: None, ..level.clone() };
    let missed = Missed { rule: "a".into(), traffic: "b".into(), because: "source".into() };
    let matched = Matched { rule: "c".into(), traffic: "d".into(), does: "permit".into() };
    let asked = Asked { missed: vec![missed], matched: Some(matched), tried: 2, ..Asked::default() };
    Explanation {
        tunnel: vec![asked],
        performed: vec![level, bare],
        inner_mtu: Some(1438),
        circles: vec![vec!["x".into()]],
        missing: vec!["to-sg2".into()],
        next: Some("dropped".into()),
        ..Explanation::default()
    }
}

fn in_flight(stage: TedStage) -> TedInFlight {
    TedInFlight {
        rule: "partners".into(),
        packet: "tcp 10.1.0.1 port 1024 -> 10.2.0.1 port 443".into(),
        cookie: "00112233445566aa".into(),
        since_ms: 1500,
        waiting: 4,
        stage,
    }
}

fn resting() -> TedResting {
    TedResting {
        rule: "partners".into(),
        packet: "icmp 10.1.0.1 port - -> 10.3.0.1 port -".into(),
        for_s: 29,
        failures: 1,
        why: "no gateway answered".into(),
    }
}

fn found() -> TedFound {
    TedFound {
        tunnel: "partners/198.51.100.2".into(),
        within: "partners".into(),
        peer: "partners/198.51.100.2".into(),
        gateway: "198.51.100.2".into(),
        selector: "10.1.0.0/16 -> 10.2.0.0/16".into(),
        is_up: true,
        is_ours: true,
        since_s: 7,
    }
}

fn packet() -> TedPacket {
    TedPacket {
        source: "10.1.0.1".parse().unwrap(),
        destination: "10.2.0.1".parse().unwrap(),
        protocol: 6,
        source_port: None,
        destination_port: Some(443),
    }
}

fn commands() -> Vec<Command> {
    let name = || "net#1".to_owned();
    vec![
        Command::Version,
        Command::Stats,
        Command::Stages,
        Command::SaList,
        Command::TunnelList,
        Command::TunnelUp { name: name() },
        Command::TunnelDown { name: name() },
        Command::RuleList,
        Command::Drops,
        Command::PolicyList,
        Command::PolicyPull { name: "server".into() },
        Command::LeaseList,
        Command::LeaseRelease { pool: "visitors".into(), holder: "user:alice".into() },
        Command::ClientList,
        Command::ClientClose { name: "server".into() },
        Command::TedStatus,
        Command::TedFlow { packet: packet() },
        Command::TedProbe { packet: packet() },
        Command::TedPreview { packet: packet() },
        Command::StackList,
        Command::StackAbort { name: name() },
        Command::Explain { packet: packet(), rematch: Some(Matching::Wire), mtu: Some(1400) },
        Command::Explain { packet: packet(), rematch: None, mtu: None },
    ]
}

#[test]
fn every_request_and_every_response_survives_the_round_trip_on_one_line() {
    for request in commands().into_iter().map(Request::new) {
        let line = encode_request(&request);
        assert_eq!(line.iter().position(|octet| *octet == b'\n'), Some(line.len() - 1));
        assert_eq!(decode_request(&line).unwrap(), request);
    }
    let refusal = Outcome::Refusal(Refusal::new(RefusalWord::Busy, "later\nperhaps"));
    for outcome in answers().into_iter().map(Outcome::Answer).chain([refusal]) {
        let response = Response::new(outcome);
        let line = encode_response(&response);
        assert_eq!(line.iter().position(|octet| *octet == b'\n'), Some(line.len() - 1));
        assert_eq!(decode_response(&line).unwrap(), response);
    }
}

#[test]
fn no_changed_octet_brings_a_reader_down() {
    let requests = commands().into_iter().map(|command| encode_request(&Request::new(command)));
    let responses = answers().into_iter().map(|answer| encode_response(&Response::from(Ok(answer))));
    for line in requests.chain(responses) {
        for at in 0..line.len() {
            for put in [0, b'"', b'{', b'9', b'-', b'\\', 0xff] {
                let mut line = line.clone();
                line[at] = put;
                exercise::request(&line);
                exercise::response(&line);
                exercise::request(&line[..at]);
                exercise::response(&line[..at]);
            }
        }
    }
}

#[test] // The form that other programs rely on.
fn the_lines_are_written_like_this() {
    let line = |command| String::from_utf8(encode_request(&Request::new(command))).unwrap();
    assert_eq!(line(Command::Stats), "{\"version\":1,\"command\":\"stats\"}\n");
    assert_eq!(
        line(Command::TunnelUp { name: "net".into() }),
        "{\"version\":1,\"command\":{\"tunnel-up\":{\"name\":\"net\"}}}\n"
    );
    assert_eq!(
        line(Command::TedProbe { packet: packet() }),
        "{\"version\":1,\"command\":{\"ted-probe\":{\"packet\":{\"source\":\"10.1.0.1\",\"destination\":\"10.2.0.1\",\
         \"protocol\":6,\"source_port\":null,\"destination_port\":443}}}}\n"
    );
    assert_eq!(
        line(Command::Explain { packet: packet(), rematch: Some(Matching::Wire), mtu: None }),
        "{\"version\":1,\"command\":{\"explain\":{\"packet\":{\"source\":\"10.1.0.1\",\"destination\":\"10.2.0.1\",\
         \"protocol\":6,\"source_port\":null,\"destination_port\":443},\"rematch\":\"wire\",\"mtu\":null}}}\n"
    );
    let refusal = Response::from(Err(Refusal::new(RefusalWord::UnknownTunnel, "no tunnel is called `x`")));
    assert_eq!(
        String::from_utf8(encode_response(&refusal)).unwrap(),
        "{\"version\":1,\"outcome\":{\"refusal\":{\"word\":\"unknown-tunnel\",\"message\":\"no tunnel is called `x`\"}}}\n"
    );
    let done = Response::from(Ok(Answer::Done));
    assert_eq!(
        String::from_utf8(encode_response(&done)).unwrap(),
        "{\"version\":1,\"outcome\":{\"answer\":\"done\"}}\n"
    );
}

#[test] // F-34
fn whatever_changes_something_says_so() {
    let changing: Vec<String> = commands()
        .iter()
        .filter(|command| command.changes_state())
        .map(|command| format!("{command:?}").split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        changing,
        ["TunnelUp", "TunnelDown", "PolicyPull", "LeaseRelease", "ClientClose", "TedProbe", "StackAbort"]
    );
}

/// Whoever adds a field for a secret has to write its name, and this reads the names.
#[test] // F-33
fn no_field_of_any_answer_is_for_a_secret() {
    for answer in answers() {
        let line = String::from_utf8(encode_response(&Response::from(Ok(answer)))).unwrap();
        for word in ["secret", "password", "psk", "passphrase", "private", "\"key", "credential"] {
            assert!(!line.contains(word), "{word}: {line}");
        }
    }
}

#[test]
fn another_version_is_refused_as_such_whatever_else_the_line_holds() {
    for line in
        ["{\"version\":2,\"command\":\"explain\"}", "{\"version\":0}", "{\"version\":7,\"future\":[1,2]}"]
    {
        let refusal = decode_request(line.as_bytes()).unwrap_err();
        assert_eq!(refusal.word, RefusalWord::UnknownVersion, "{line}");
        assert!(refusal.message.contains(&VERSION.to_string()));
    }
}

#[test]
fn what_is_no_request_is_refused_without_being_repeated() {
    for line in [
        "",
        "hunter2",
        "{\"version\":1}",
        "{\"version\":1,\"command\":\"hunter2\"}",
        "{\"version\":1,\"command\":\"stats\",\"hunter2\":1}",
        "{\"version\":1,\"command\":{\"tunnel-up\":{\"name\":\"a\",\"hunter2\":1}}}",
        "{\"version\":-1,\"command\":\"stats\"}",
        "{\"version\":1,\"command\":\"stats\"} hunter2",
    ] {
        let refusal = decode_request(line.as_bytes()).unwrap_err();
        assert_eq!(refusal.word, RefusalWord::Malformed, "{line}");
        assert!(!refusal.message.contains("hunter2"), "{}", refusal.message);
    }
    let long = vec![b' '; REQUEST_OCTETS_MAX + 1];
    assert_eq!(decode_request(&long).unwrap_err().word, RefusalWord::TooLong);
}

/// Answers each request with what `answer` makes of it, for one connection; hangs up after what is no whole line.
fn serve(
    answer: impl Fn(Result<Request, Refusal>) -> Vec<u8> + Send + 'static,
) -> (tempfile::TempDir, PathBuf, JoinHandle<()>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).unwrap() > 0 {
            let answer = answer(decode_request(&line));
            if stream.write_all(&answer).is_err() || answer.last() != Some(&b'\n') {
                return;
            }
            line.clear();
        }
    });
    (directory, path, thread)
}

#[test]
fn calls_follow_each_other_on_one_connection() {
    let (_directory, path, thread) = serve(|request| {
        encode_response(&Response::from(match request.unwrap().command {
            Command::SaList => Ok(Answer::SaList(vec![sa()])),
            Command::TunnelUp { name } => Err(Refusal::new(RefusalWord::UnknownTunnel, name)),
            _ => Ok(Answer::Done),
        }))
    });
    let mut client = Client::connect(&path).unwrap();
    assert_eq!(client.call(Command::SaList).unwrap(), Answer::SaList(vec![sa()]));
    match client.call(Command::TunnelUp { name: "x".into() }) {
        Err(CallError::Refused(refusal)) => assert_eq!(refusal.word, RefusalWord::UnknownTunnel),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.call(Command::Drops).unwrap(), Answer::Done);
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_daemon_that_is_not_there_is_told_from_one_that_breaks_off() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    match Client::connect(&path) {
        Err(error @ CallError::NotRunning(_)) => assert!(error.to_string().contains("is it running?")),
        _ => panic!("nobody listens"),
    }
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path), Err(CallError::NotRunning(_))), "a socket left behind");

    let (_directory, path, thread) = serve(|_| b"{\"version\":1,\"outc".to_vec());
    let mut client = Client::connect(&path).unwrap();
    assert!(matches!(client.call(Command::Stats), Err(CallError::Broken(_))), "half a line");
    thread.join().unwrap();
}

#[test]
fn an_answer_longer_than_allowed_is_refused_and_not_swallowed() {
    let (_directory, path, thread) = serve(|_| vec![b' '; RESPONSE_OCTETS_MAX + 2]);
    let mut client = Client::connect(&path).unwrap();
    match client.call(Command::Stats) {
        Err(CallError::Refused(refusal)) => assert_eq!(refusal.word, RefusalWord::TooLong),
        other => panic!("{other:?}"),
    }
    drop(client);
    thread.join().unwrap();
}
