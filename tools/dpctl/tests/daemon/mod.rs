//! A daemon that answers every connection with made-up numbers that grow with each look.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use warren_api::explain::{Asked, EspCost, Explanation, Level, Live, Matched, Matching};
use warren_api::{
    Answer, BatchCount, CeilingRow, Clients, Command, ConnectedClient, DropCount, Lease, LeaseState, Leases,
    LevelCount, LevelMode, Policies, PolicySetRow, Pool, Port, PullState, PulledPolicy, Refusal, RefusalWord,
    Response, Rule, RuleClass, Rules, Sa, SaDirection, ServedPolicyRow, ServedSetRow, SetState, Stack,
    StackFailure, StackLevel, StackState, StageAccounts, StageCost, Stages, Stats, TedField, TedFlow,
    TedFound, TedInFlight, TedPreview, TedResting, TedStage, TedStatus, Totals, Tunnel, TunnelState,
    VersionInfo, Worker, WorkerStages, decode_request, encode_response,
};

pub(crate) struct Daemon {
    directory: tempfile::TempDir,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let daemon = Self { directory: tempfile::tempdir().unwrap() };
        let listener = UnixListener::bind(daemon.socket()).unwrap();
        thread::spawn(move || {
            let looks = AtomicU64::new(0);
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                for line in BufReader::new(stream.try_clone().unwrap()).split(b'\n') {
                    let Ok(line) = line else { break };
                    let answer = decode_request(&line).and_then(|request| answer(&request.command, &looks));
                    if stream.write_all(&encode_response(&Response::from(answer))).is_err() {
                        break;
                    }
                }
            }
        });
        daemon
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("warrend.sock")
    }

    pub(crate) fn dpctl(&self, arguments: &[&str]) -> Output {
        dpctl(&self.socket(), arguments, "100")
    }
}

pub(crate) fn dpctl(socket: &Path, arguments: &[&str], columns: &str) -> Output {
    Process::new(env!("CARGO_BIN_EXE_dpctl"))
        .args(arguments)
        .env("WARREN_SOCKET", socket)
        .env("COLUMNS", columns)
        .output()
        .unwrap()
}

fn answer(command: &Command, looks: &AtomicU64) -> Result<Answer, Refusal> {
    let look = match command {
        Command::Stats | Command::Stages => looks.fetch_add(1, Ordering::SeqCst),
        _ => looks.load(Ordering::SeqCst).saturating_sub(1),
    };
    match command {
        Command::Version => Ok(Answer::Version(VersionInfo {
            warrend: "0.1.0".into(),
            pid: 4711,
            uptime_ms: 3_723_000,
            aead: "aws-lc".into(),
        })),
        Command::Stats => Ok(Answer::Stats(Box::new(stats(look)))),
        Command::Stages => Ok(Answer::Stages(Box::new(stages(look)))),
        Command::SaList => Ok(Answer::SaList(sas())),
        Command::TunnelList => Ok(Answer::TunnelList(tunnels())),
        Command::RuleList => Ok(Answer::RuleList(rules())),
        Command::Drops => Ok(Answer::Drops(drops(look))),
        Command::TunnelUp { name } | Command::TunnelDown { name } if name == "stranger" => {
            Err(Refusal::new(RefusalWord::UnknownTunnel, format!("no tunnel rule is called `{name}`")))
        }
        Command::TunnelUp { .. } | Command::TunnelDown { .. } => Ok(Answer::Done),
        Command::PolicyList => Ok(Answer::Policies(Box::new(policies()))),
        Command::LeaseList => Ok(Answer::Leases(leases())),
        Command::ClientList => Ok(Answer::Clients(Box::new(clients()))),
        Command::PolicyPull { name } | Command::ClientClose { name } if name != "server" => {
            Err(Refusal::new(RefusalWord::UnknownPeer, format!("there is no peer `{name}`")))
        }
        Command::LeaseRelease { pool, holder } if pool != "visitors" => {
            Err(Refusal::new(RefusalWord::UnknownLease, format!("pool `{pool}` has no lease of `{holder}`")))
        }
        Command::TedStatus => Ok(Answer::TedStatus(Box::new(ted_status()))),
        Command::TedPreview { .. } => Ok(Answer::TedPreview(Box::new(ted_preview()))),
        Command::TedProbe { packet } => match packet.destination.to_string().as_str() {
            "192.0.2.9" => Err(Refusal::new(RefusalWord::Unasked, "no rule discovers a gateway for it")),
            _ => Ok(Answer::TedFlow(Box::new(TedFlow::InFlight(ted_status().in_flight.remove(0))))),
        },
        // A tunnel after a look at the negotiation for one host, and nothing for the other.
        Command::TedFlow { packet } => {
            Ok(Answer::TedFlow(Box::new(match packet.destination.to_string().as_str() {
                "10.2.0.1" if looks.fetch_add(1, Ordering::SeqCst) == 0 => {
                    TedFlow::InFlight(ted_status().in_flight.remove(1))
                }
                "10.2.0.1" => TedFlow::Found(ted_status().found.remove(0)),
                _ => TedFlow::Resting(ted_status().resting.remove(0)),
            })))
        }
        Command::PolicyPull { .. } | Command::ClientClose { .. } | Command::LeaseRelease { .. } => {
            Ok(Answer::Done)
        }
        Command::StackList => Ok(Answer::Stacks(stacks())),
        Command::StackAbort { name } if name == "stranger" => {
            Err(Refusal::new(RefusalWord::UnknownStack, format!("`{name}` has no stack of tunnels")))
        }
        Command::StackAbort { .. } => Ok(Answer::Done),
        Command::Explain { rematch, mtu, .. } => {
            let rematch = match rematch {
                Some(Matching::Wire) => "wire",
                Some(Matching::Destination) | None => "destination",
            };
            let mtu = usize::from(mtu.unwrap_or(1500));
            Ok(Answer::Explained(Box::new(Explanation { rematch: rematch.into(), mtu, ..explained() })))
        }
    }
}

fn level(rule: &str, (peer, gateway): (&str, &str), state: TunnelState) -> StackLevel {
    let is_up = state == TunnelState::Up;
    StackLevel {
        rule: rule.into(),
        mode: LevelMode::Tunnel,
        peer: Some(peer.into()),
        gateway: Some(gateway.into()),
        traffic: "192.0.2.1/32 -> 203.0.113.3/32".into(),
        state: Some(state),
        rests_s: (state == TunnelState::HeldDown).then_some(12),
        spi_in: is_up.then(|| "c0ffee01".into()),
        spi_out: is_up.then(|| "9b1d0002".into()),
        transform: is_up.then(|| "aes256gcm16".into()),
        worker: is_up.then_some(1),
        users: u64::from(is_up) * 2,
    }
}

/// One in the middle of figure 7, one that was built, and one that a failure keeps down.
pub(crate) fn stacks() -> Vec<Stack> {
    let (sg1, sg2, sg3) = (("sg1", "192.0.2.254"), ("sg2", "198.51.100.2"), ("sg3", "203.0.113.3"));
    let permit = StackLevel {
        mode: LevelMode::Permit,
        peer: None,
        gateway: None,
        state: None,
        users: 1,
        ..level("between-sites", sg1, TunnelState::Down)
    };
    let protect =
        StackLevel { mode: LevelMode::Transport, ..level("to-b", ("b", "10.2.0.9"), TunnelState::Up) };
    let building = Stack {
        rule: "sites#1".into(),
        traffic: "10.1.0.0/16 -> 10.2.0.0/16".into(),
        state: StackState::Building,
        since_s: 3,
        rests_s: None,
        pending: vec![
            level("to-sg3", sg2, TunnelState::Negotiating),
            level("sites#1", sg3, TunnelState::Down),
            permit,
        ],
        completed: vec![level("to-sg2", sg1, TunnelState::Up)],
        failed: None,
    };
    let done = Stack {
        rule: "to-b".into(),
        traffic: "192.0.2.1/32 -> 10.2.0.9/32".into(),
        state: StackState::Done,
        since_s: 310,
        pending: Vec::new(),
        completed: vec![protect, level("to-sg2", sg1, TunnelState::Up)],
        ..building.clone()
    };
    let kept_down = Stack {
        rule: "printers".into(),
        traffic: "10.1.0.0/16 -> 10.3.0.0/16".into(),
        state: StackState::HeldDown,
        since_s: 18,
        rests_s: Some(12),
        pending: vec![level("to-sg3", sg2, TunnelState::HeldDown)],
        completed: Vec::new(),
        failed: Some(StackFailure {
            rule: "to-sg3".into(),
            why: Some("the peer does not answer\u{1b}[31m".into()),
        }),
    };
    vec![building, done, kept_down]
}

pub(crate) fn explained() -> Explanation {
    let esp = |in_udp, inner_mtu| EspCost {
        transform: "aes256gcm16".into(),
        in_udp,
        overhead_octets_min: if in_udp { 62 } else { 54 },
        overhead_octets_max: if in_udp { 65 } else { 57 },
        inner_mtu,
    };
    let level = |rule: &str, (peer, gateway): (&str, &str), esp, live| Level {
        rule: rule.into(),
        action: "tunnel".into(),
        peer: Some(peer.into()),
        gateway: Some(gateway.parse().unwrap()),
        traffic: "10.1.0.0/16 -> 198.51.100.2/32".into(),
        esp: Some(esp),
        live: Some(live),
    };
    let up = Live {
        state: "up".into(),
        gateway: Some("192.0.2.200".into()),
        spi_in: Some("c0ffee01".into()),
        spi_out: Some("9b1d0002".into()),
        worker: Some(1),
        users: 2,
        ..Live::default()
    };
    let rests = Live {
        state: "held-down".into(),
        rests_s: Some(12),
        last_error: Some("the peer does not answer\u{1b}[31m".into()),
        ..Live::default()
    };
    let permit = Level {
        rule: "between-sites".into(),
        action: "permit".into(),
        peer: None,
        gateway: None,
        traffic: "10.1.0.0/16 -> 198.51.100.2/32".into(),
        esp: None,
        live: None,
    };
    let asked = |rule: &str, does: &str, says: &str| Asked {
        about: "tcp 10.1.0.5 port 50000 -> 198.51.100.2 port 443".into(),
        tried: 1,
        missed: Vec::new(),
        matched: Some(Matched { rule: rule.into(), traffic: "any".into(), does: does.into() }),
        says: says.into(),
    };
    Explanation {
        packet: "tcp 10.1.0.5 port 50000 -> 198.51.100.2 port 443".into(),
        transport: asked("between-sites", "permit", "tunnel rules decide how it passes"),
        tunnel: vec![asked("to-sg3", "through sg2 198.51.100.2", "pushed\u{1b}[31m")],
        outcome: "protect".into(),
        protected_by: Some("to-sg3".into()),
        performed: vec![
            level("to-sg2", ("sg1", "192.0.2.254"), esp(true, 1438), up),
            level("to-sg3", ("sg2", "198.51.100.2"), esp(false, 1382), rests),
            permit,
        ],
        inner_mtu: Some(1382),
        missing: vec!["to-sg3".into()],
        next: Some("dropped: level 2, to-sg3 through sg2, is held down for 12 s more".into()),
        says: "passes inside 2 tunnels, or not at all".into(),
        ..Explanation::default()
    }
}

pub(crate) fn ted_status() -> TedStatus {
    let in_flight = |packet: &str, stage| TedInFlight {
        rule: "to-partners".into(),
        packet: packet.into(),
        cookie: "00112233445566aa".into(),
        since_ms: 1234,
        waiting: 1042,
        stage,
    };
    let negotiating = TedStage::Negotiating {
        gateway: "203.0.113.7".into(),
        selector: "10.1.0.0/16 -> 10.2.0.0/16".into(),
    };
    let found = TedFound {
        tunnel: "to-partners/203.0.113.7".into(),
        within: "to-partners".into(),
        peer: "partners/203.0.113.7".into(),
        gateway: "203.0.113.7".into(),
        selector: "10.1.0.0/16 -> 10.2.0.0/16".into(),
        is_up: true,
        is_ours: true,
        since_s: 310,
    };
    TedStatus {
        is_on: true,
        answer_on: vec!["wan".into()],
        in_flight: vec![
            in_flight("tcp 10.1.0.1 port 40000 -> 10.3.0.1 port 443", TedStage::Probing { sent: 2 }),
            in_flight("icmp 10.1.0.2 port - -> 10.2.0.1 port -", negotiating),
        ],
        resting: vec![TedResting {
            rule: "to-partners".into(),
            packet: "udp 10.1.0.1 port 5353 -> 10.4.0.1 port 53".into(),
            for_s: 77,
            failures: 2,
            why: "no gateway answered".into(),
        }],
        found: vec![
            found.clone(),
            TedFound {
                tunnel: "to-partners/198.51.100.2".into(),
                gateway: "198.51.100.2".into(),
                selector: "10.1.0.0/24 -> 10.9.0.0/16".into(),
                is_up: false,
                is_ours: false,
                since_s: 0,
                ..found
            },
        ],
        counters: counters(&[("probes-sent", 1234), ("response-unknown", 0), ("responses-sent", 7)]),
    }
}

pub(crate) fn ted_preview() -> TedPreview {
    let field = |(part, name, value): (&str, &str, &str)| TedField {
        part: part.into(),
        name: name.into(),
        value: value.into(),
    };
    let fields = [
        ("IP", "version", "4"),
        ("IP", "source", "10.1.0.1, the end host behind us"),
        ("UDP", "source port", "40000"),
        ("UDP", "destination port", "500"),
        ("ISAKMP", "exchange type", "240 (TED probe)"),
    ];
    TedPreview {
        rule: "to-partners".into(),
        fields: fields.map(field).into(),
        octets: "4500002c00010000401100000a0100010a0200019c4001f4001800000102".into(),
    }
}

fn counters(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

pub(crate) fn stats(look: u64) -> Stats {
    let port = |name: &str, interface: &str, side: &str, mode: &str| Port {
        name: name.into(),
        interface: interface.into(),
        side: side.into(),
        mode: mode.into(),
        queues: 1,
        flow_steering: String::new(),
        received: 1_234_567 + look * 1_000_000,
        received_octets: 1_850_000_000 + look * 1_250_000_000,
        transmitted: 1_200_000 + look * 990_000,
        transmitted_octets: 1_900_000_000 + look * 1_300_000_000,
        receive_dropped: 12 + look * 10_000,
        transmit_failed: 0,
    };
    let worker = Worker {
        id: 0,
        core: Some(2),
        received: 2_469_134 + look * 2_000_000,
        delivered: 2_469_000 + look * 1_980_000,
        held: 4,
        dropped: 130 + look * 20_000,
        sealed: 1_200_000 + look * 990_000,
        opened: 1_190_000,
        ..Worker::default()
    };
    Stats {
        uptime_ms: 3_723_000 + look * 1000,
        aead: "aws-lc".into(),
        ports: vec![
            port("lan", "eth1", "inside", "native XDP, zero-copy"),
            Port {
                queues: 4,
                flow_steering: "SPI rules 12 of 64".into(),
                ..port("wan", "eth0", "outside", "generic XDP, copy")
            },
            Port {
                name: "warren0".into(),
                interface: "warren0".into(),
                side: "local".into(),
                mode: "tun".into(),
                queues: 1,
                ..Port::default()
            },
        ],
        totals: Totals {
            received: worker.received,
            originated: 0,
            delivered: worker.delivered,
            held: worker.held,
            dropped: worker.dropped,
            sealed: worker.sealed,
            opened: worker.opened,
            sas: 4,
            tunnels_up: 2,
            tunnels: 3,
        },
        workers: vec![worker],
        tallies: counters(&[("flow-hit", 2_400_000), ("flow-miss", 120), ("icmp-sent", 0)]),
        ike: counters(&[("messages-received", 34), ("unknown-peer", 2)]),
        ted: counters(&[("probes-sent", 0), ("responses-sent", 7)]),
        steering: counters(&[("passed-to-kernel", 99), ("redirected", 2_469_134)]),
    }
}

/// Two workers, one of which has nothing to do; a look later the other has sealed as much again.
pub(crate) fn stages(look: u64) -> Stages {
    let cost = |(stage, explanation, cycles, packets, batches): (&str, &str, u64, u64, u64)| StageCost {
        stage: stage.into(),
        explanation: explanation.into(),
        cycles: cycles * (look + 1),
        packets: packets * (look + 1),
        batches: batches * (look + 1),
    };
    let costs = [
        ("poll", "Ports asked that had nothing.", 130_000, 0, 0),
        ("receive", "Frames taken from ports.", 1_200_000, 60_000, 1000),
        ("lookup", "The inbound SA found, its window asked.", 0, 0, 0),
        ("seal", "Encrypted and authenticated.", 4_200_000, 90_000, 1500),
        ("forward", "The next hop found, the Ethernet header written.", 2_400_000, 60_000, 1000),
    ];
    let batches = [(1, 1, 10), (2, 3, 0), (4, 7, 90), (64, 64, 900)];
    let busy = StageAccounts {
        turns: 1200 * (look + 1),
        idle_turns: 200 * (look + 1),
        idle_cycles: 60_000 * (look + 1),
        stages: costs.map(cost).into(),
        batches: batches
            .map(|(packets_min, packets_max, batches)| BatchCount {
                packets_min,
                packets_max,
                batches: batches * (look + 1),
            })
            .into(),
        levels: [(0, 0, 60_000), (1, 30_000, 0), (2, 30_000, 0), (3, 0, 0)]
            .map(|(levels, put_on, taken_off)| LevelCount {
                levels,
                put_on: put_on * (look + 1),
                taken_off: taken_off * (look + 1),
            })
            .into(),
    };
    let idle = StageAccounts {
        turns: 7,
        idle_turns: 7,
        idle_cycles: 2100,
        stages: busy
            .stages
            .iter()
            .map(|cost| StageCost { cycles: 0, packets: 0, batches: 0, ..cost.clone() })
            .collect(),
        ..StageAccounts::default()
    };
    let totals = StageAccounts {
        turns: busy.turns + idle.turns,
        idle_turns: busy.idle_turns + idle.idle_turns,
        idle_cycles: busy.idle_cycles + idle.idle_cycles,
        ..busy.clone()
    };
    Stages {
        uptime_ms: 3_723_000 + look * 1000,
        sample_every: 64,
        clock: "tsc".into(),
        cycles_per_second: 2_100_000_000,
        totals,
        workers: vec![
            WorkerStages { id: 0, core: Some(2), accounts: busy },
            WorkerStages { id: 1, core: None, accounts: idle },
        ],
    }
}

pub(crate) fn sas() -> Vec<Sa> {
    let sa = |id, spi: &str, direction, rule: &str| Sa {
        id,
        spi: spi.into(),
        direction,
        peer: "site2".into(),
        rule: rule.into(),
        is_transport: false,
        transform: "aes256gcm16".into(),
        esn: true,
        encapsulation: "raw".into(),
        local: "192.0.2.1".into(),
        remote: "198.51.100.2".into(),
        selector: "10.1.0.0/16 -> 10.2.0.0/16".into(),
        lane: 0,
        packets: 1_190_000,
        octets: 1_666_000_000,
        sequence: 1_190_000,
        age_s: 310,
        expires_in_s: 3290,
        last_used_s: Some(0),
        window_packets: (direction == SaDirection::Inbound).then_some(4096),
    };
    vec![
        sa(2, "9b1d0002", SaDirection::Outbound, "sites#1"),
        sa(1, "c0ffee01", SaDirection::Inbound, "sites#1"),
        Sa {
            esn: false,
            encapsulation: "udp 4500:61234".into(),
            packets: 0,
            octets: 0,
            last_used_s: None,
            ..sa(3, "0badcafe", SaDirection::Inbound, "printers")
        },
        Sa {
            esn: false,
            is_transport: true,
            remote: "10.2.0.9".into(),
            ..sa(4, "5ca1ab1e", SaDirection::Outbound, "to-b")
        },
        Sa { packets: 77, ..sa(5, "0ddba115", SaDirection::Outbound, "to-sg2 (around to-sg3)") },
    ]
}

pub(crate) fn tunnels() -> Vec<Tunnel> {
    let tunnel = |name: &str, state, selector: &str| Tunnel {
        name: name.into(),
        peer: "site2".into(),
        state,
        is_transport: false,
        selector: selector.into(),
        local: "192.0.2.1".into(),
        remote: "198.51.100.2".into(),
        since_s: 310,
        spi_in: Some("c0ffee01".into()),
        spi_out: Some("9b1d0002".into()),
        parallel: 1,
        lanes: Vec::new(),
        transform: Some("aes256gcm16-esn".into()),
        last_error: None,
    };
    vec![
        tunnel("sites#1", TunnelState::Up, "10.1.0.0/16 -> 10.2.0.0/16"),
        tunnel("sites#2", TunnelState::Rekeying, "2001:db8:1::/48 -> 2001:db8:2::/48"),
        Tunnel {
            peer: "site3".into(),
            spi_in: None,
            spi_out: None,
            transform: None,
            last_error: Some("no proposal was\u{1b}[31m chosen".into()),
            ..tunnel("printers", TunnelState::HeldDown, "10.1.9.0/24 -> 10.3.0.0/24 tcp port any -> 9100")
        },
        Tunnel {
            peer: "partners".into(),
            remote: "discover".into(),
            spi_in: None,
            spi_out: None,
            transform: None,
            ..tunnel("to-partners", TunnelState::Discovers, "10.1.0.0/16 -> 10.0.0.0/8")
        },
    ]
}

pub(crate) fn rules() -> Rules {
    let rule = |name: &str, class, action: &str, selector: &str| Rule {
        name: name.into(),
        class,
        selector: selector.into(),
        action: action.into(),
        peer: (class == RuleClass::Tunnel).then(|| "site2".into()),
        hits: (class == RuleClass::Tunnel).then_some(1_234_567),
    };
    Rules {
        transport: vec![
            rule(
                "no-telnet",
                RuleClass::Transport,
                "discard",
                "10.1.0.0/16 -> 10.2.0.0/16 tcp port any -> 23",
            ),
            rule("between-sites", RuleClass::Transport, "permit", "10.1.0.0/16 -> 10.2.0.0/16"),
        ],
        tunnel: vec![rule("sites", RuleClass::Tunnel, "protect", "10.1.0.0/16 -> 10.2.0.0/16")],
    }
}

pub(crate) fn drops(look: u64) -> Vec<DropCount> {
    let drop = |reason: &str, explanation: &str, count| DropCount {
        reason: reason.into(),
        explanation: explanation.into(),
        count,
    };
    let mismatch = "Decrypted fine, but outside the selectors the SA was negotiated for: the peer's policy differs from ours.";
    vec![
        drop(
            "no-sa",
            "A rule protects it and no SA is ready; a negotiation was asked for.",
            128 + look * 20_000,
        ),
        drop("replayed", "Seen before, or left of the window.", 2),
        drop("selector-mismatch", mismatch, 0),
    ]
}

fn set(id: u16, name: &str, state: SetState) -> PolicySetRow {
    PolicySetRow {
        id: Some(id),
        name: name.into(),
        state,
        selectors: vec![format!("10.99.0.1/32 -> 10.{id}.0.0/16")],
        transforms: vec!["aes256gcm16-esn".into()],
        lifetime_s: Some(3600),
        rules: vec![format!("server/{name}")],
        parent: None,
        gateway: None,
        reason: None,
    }
}

fn refused(id: u16, name: &str, reason: &str) -> PolicySetRow {
    PolicySetRow {
        selectors: Vec::new(),
        transforms: Vec::new(),
        lifetime_s: None,
        rules: Vec::new(),
        reason: Some(reason.into()),
        ..set(id, name, SetState::Refused)
    }
}

fn pulled() -> PulledPolicy {
    let nested = PolicySetRow {
        transforms: Vec::new(),
        lifetime_s: None,
        rules: Vec::new(),
        parent: Some(2),
        gateway: Some("203.0.113.9".into()),
        ..set(7, "inner", SetState::Nested)
    };
    PulledPolicy {
        peer: "server".into(),
        server: "198.51.100.2".into(),
        state: PullState::Configured,
        since_s: 310,
        speaks_policy: true,
        addresses: vec!["10.99.0.1".into()],
        dns: vec!["10.2.0.53".into()],
        domain: Some("example.net".into()),
        split_dns: vec!["example.net".into()],
        banner: Some("Be kind.\u{1b}[31m".into()),
        sets: vec![
            set(2, "offices", SetState::Executed),
            nested,
            refused(9, "everything", "0.0.0.0/0 is not inside what the ceiling allows\u{1b}[31m"),
        ],
        refused: 3,
        ceiling: CeilingRow {
            remote: vec!["10.0.0.0/8".into(), "fc00::/7".into()],
            local: Vec::new(),
            weakest: "aes128-sha256".into(),
            sets: 16,
        },
        shielded: Vec::new(),
        server_error: None,
        last_error: None,
    }
}

pub(crate) fn policies() -> Policies {
    let served = ServedSetRow {
        name: "offices".into(),
        source: vec!["10.2.0.0/16".into(), "10.3.0.0/16".into()],
        destination: vec!["lease".into()],
        traffic: "tcp port 443 -> any".into(),
        proposals: vec!["aes256gcm16-esn".into(), "aes256gcm16".into()],
        lifetime_s: 3600,
        parent: None,
        gateway: None,
    };
    let policy = ServedPolicyRow {
        name: "visitors".into(),
        peers: vec!["any".into()],
        pools: vec!["visitors".into()],
        dns: vec!["10.2.0.53".into()],
        domain: Some("example.net".into()),
        split_dns: Vec::new(),
        banner: None,
        sets: vec![
            served.clone(),
            ServedSetRow { parent: Some("offices".into()), name: "inner".into(), ..served },
        ],
        clients: 2,
    };
    Policies { served: vec![policy], pulled: vec![pulled()] }
}

pub(crate) fn leases() -> Leases {
    let lease = |holder: &str, address: &str, state, is_static| Lease {
        pool: "visitors".into(),
        holder: holder.into(),
        address: address.into(),
        state,
        is_static,
    };
    let pool = Pool {
        name: "visitors".into(),
        addresses: "10.99.0.0/24".into(),
        total: 254,
        used: 3,
        active: 2,
        exhausted: 0,
    };
    Leases {
        pools: vec![pool],
        leases: vec![
            lease("user:alice", "10.99.0.1", LeaseState::Active, false),
            lease("bob@right.test", "10.99.0.2", LeaseState::Inactive, false),
            lease("printer.right.test", "10.99.0.250", LeaseState::Active, true),
        ],
    }
}

pub(crate) fn clients() -> Clients {
    let alice = ConnectedClient {
        peer: "any/laptop.test".into(),
        identity: "laptop.test".into(),
        user: Some("alice".into()),
        remote: "203.0.113.77".into(),
        since_s: 310,
        policy: "visitors".into(),
        served: true,
        speaks_policy: true,
        addresses: vec!["10.99.0.1".into()],
        sets: vec![set(1, "offices", SetState::Executed), refused(2, "inner", "its parent is refused")],
        error: None,
    };
    let bob = ConnectedClient {
        identity: "bob@right.test".into(),
        user: None,
        served: false,
        addresses: Vec::new(),
        sets: Vec::new(),
        error: Some("pool visitors has no address left".into()),
        ..alice.clone()
    };
    Clients { connected: vec![alice, bob], own: vec![pulled()] }
}
