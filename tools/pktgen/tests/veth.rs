//! Generator and sink over `AF_XDP` and a veth pair, in namespaces of their own. Without root everything here says why it is
//! skipped.
#![allow(clippy::print_stdout)] // Whoever runs the tests must see what was skipped, and why.
#![allow(clippy::unwrap_used)] // Everything here is a test, also what is called by one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use warren_bpf::Attach;
use warren_pktgen::next_hop::{interface, next_hop};
use warren_pktgen::{
    Endpoints, Ethernet, Expect, Opening, Ports, Rate, RunConfig, Sink, Station, Workload, WorkloadConfig,
    catch, run,
};
use warren_port::CaptureWriter;

#[path = "../../../bpf/tests/kernel/lab.rs"]
mod lab;

use lab::{End, Namespace, cable};

const LEFT_MAC: [u8; 6] = [0x02, 0, 0, 0, 9, 0x01];
const RIGHT_MAC: [u8; 6] = [0x02, 0, 0, 0, 9, 0x02];
const PKTGEN: &str = env!("CARGO_BIN_EXE_pktgen");

/// ```text
///   left: v0 10.98.1.1 ~~~~~~ v1 10.98.1.2 :right
/// ```
struct Lab {
    left: Namespace,
    right: Namespace,
}

impl Lab {
    /// `None`, with the reason printed, where there can be no namespaces or no sockets.
    fn new(label: &str) -> Option<Self> {
        let lab = Self::try_new(label).and_then(|lab| lab.probe().map(|()| lab));
        lab.map_err(|why| println!("skipped, because {why}")).ok()
    }

    fn try_new(label: &str) -> Result<Self, String> {
        let namespace = |side| Namespace::new(&format!("{label}_{side}"));
        let lab = Self { left: namespace("l")?, right: namespace("r")? };
        let end = |namespace, interface, mac, address| End { namespace, interface, mac, address };
        cable(
            &end(&lab.left, "v0", LEFT_MAC, "10.98.1.1/24"),
            &end(&lab.right, "v1", RIGHT_MAC, "10.98.1.2/24"),
            2,
        )?;
        for (namespace, name, address) in
            [(&lab.left, "v0", "2001:db8:98::1/64"), (&lab.right, "v1", "2001:db8:98::2/64")]
        {
            namespace.ip(&["address", "add", address, "dev", name, "nodad"])?;
        }
        Ok(lab)
    }

    /// Whether the kernel has `AF_XDP` at all. Only its absence is a reason to skip; that ours fails on it is not.
    fn probe(&self) -> Result<(), String> {
        use rustix::net::{AddressFamily, SocketType, socket};
        let probed = self.left.enter(|| socket(AddressFamily::XDP, SocketType::RAW, None));
        probed.map(drop).map_err(|error| format!("this kernel has no AF_XDP ({error})"))
    }
}

fn opening(name: &str, takes_local: bool) -> Opening {
    // All queues: veth chooses one by the sender's.
    Opening {
        sends_only: false,
        interface: name.to_owned(),
        queues: vec![0, 1],
        attach: Attach::Best,
        takes_local,
        ring_entries: 2048,
    }
}

fn open(namespace: &Namespace, name: &str, takes_local: bool) -> Station {
    namespace.enter(|| Station::open(&opening(name, takes_local), &interface(name).unwrap()).unwrap())
}

fn workload(to: &str, from: &str, sizes: &str, destination: [u8; 6]) -> Workload {
    let endpoints = Endpoints {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        source_ports: "1024-65535".parse().unwrap(),
        destination_ports: "9".parse().unwrap(),
    };
    Workload::new(&WorkloadConfig {
        endpoints,
        flows: 50,
        sizes: sizes.parse().unwrap(),
        rules: None,
        miss_percent: 0,
        ethernet: Ethernet { source: LEFT_MAC, destination },
        stream: 5,
    })
    .unwrap()
}

#[test] // X-5
fn at_a_modest_rate_everything_comes_once_and_in_order_and_is_timed() {
    let Some(lab) = Lab::new("pkt_run") else { return };
    let hop = lab.left.enter(|| next_hop("v0", "10.98.1.2".parse().unwrap())).unwrap();
    assert_eq!(hop, RIGHT_MAC);
    let hop = lab.left.enter(|| next_hop("v0", "2001:db8:98::2".parse().unwrap())).unwrap();
    assert_eq!(hop, RIGHT_MAC);
    let own = lab.left.enter(|| next_hop("v0", "10.98.1.1".parse().unwrap()));
    assert!(own.is_err_and(|error| error.to_string().contains("--via")));
    for (to, from, sizes, takes_local) in [
        ("10.98.77.0/24", "10.98.1.1", "imix", false),
        // To the sink's own address.
        ("10.98.1.2", "10.98.1.1", "64", true),
        ("2001:db8:77::/64", "2001:db8:98::1", "84x7+1518x1", false),
    ] {
        let mut ports = Ports::Apart(open(&lab.left, "v0", false), open(&lab.right, "v1", takes_local));
        let config = RunConfig {
            rate: Rate::Packets(4_000),
            span: Duration::from_secs(20),
            count: 4_000,
            drain: Duration::from_secs(2),
            expect: Expect::Stream(5),
            cores: None,
            gentle: true,
        };
        let ran = run(&mut ports, workload(to, from, sizes, hop), &config).unwrap();
        let caught = ran.caught.unwrap();
        assert_eq!((ran.sent.frames, caught.counts.arrived, caught.missing), (4_000, 4_000, 0), "{to}");
        let counts = &caught.counts;
        assert_eq!((counts.duplicates, counts.reordered, counts.damaged), (0, 0, 0), "{to}");
        assert_eq!((caught.flows, caught.latency.len()), (50, 4_000), "{to}");
        assert!(caught.latency.min() > 0 && caught.latency.max() < 10_000_000_000, "{to}");
        // 4000 packets at 4000 a second; a busy machine may take longer, none may take less.
        assert!(ran.sent.elapsed_ns >= 999_000_000, "{}", ran.sent.elapsed_ns);
    }
}

#[test]
fn two_generators_share_an_interface_by_its_queues() {
    let Some(lab) = Lab::new("pkt_q") else { return };
    let mut sink = open(&lab.right, "v1", false);
    let sender = |queue| {
        let opening = Opening { queues: vec![queue], sends_only: true, ..opening("v0", false) };
        lab.left.enter(|| Station::open(&opening, &interface("v0").unwrap()))
    };
    let first = sender(0).unwrap();
    let second = sender(1).unwrap();
    // Who receives needs a program of its own.
    let receiver = lab.left.enter(|| Station::open(&opening("v0", false), &interface("v0").unwrap()));
    assert!(receiver.is_err_and(|error| error.to_string().contains("attached")));
    for station in [first, second] {
        let config = RunConfig {
            rate: Rate::Packets(2_000),
            span: Duration::from_secs(20),
            count: 500,
            drain: Duration::ZERO,
            expect: Expect::All,
            cores: None,
            gentle: true,
        };
        let workload = workload("10.98.77.1", "10.98.1.1", "64", RIGHT_MAC);
        let sent = run(&mut Ports::Out(station), workload, &config).unwrap().sent;
        assert_eq!(sent.frames, 500);
        let until = Instant::now() + Duration::from_secs(5);
        let caught = catch(Sink::new(Expect::All), &mut sink, true, |sink| {
            sink.counts().arrived == 500 || Instant::now() > until
        });
        assert_eq!((caught.counts.arrived, caught.missing), (500, 0));
    }
}

fn pktgen(namespace: &Namespace, arguments: &[&str]) -> Child {
    let command = ["netns", "exec", namespace.name(), PKTGEN];
    let mut child = Command::new("ip");
    child.args(command).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    child.spawn().unwrap()
}

/// Standard output, standard error, and whether it ended well.
fn ended(child: Child) -> (String, String, bool) {
    let output = child.wait_with_output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

fn rows(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test] // X-5
fn two_processes_count_and_time_together() {
    let Some(lab) = Lab::new("pkt_two") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (there, here) = (scratch.path().join("receive.json"), scratch.path().join("send.json"));
    let sink = ["receive", "--in", "v1", "--seconds", "60", "--idle", "1", "--gentle", "--json"];
    let mut sink = pktgen(&lab.right, &[&sink[..], &[there.to_str().unwrap()]].concat());
    // It says on standard error that it waits.
    let mut said = std::io::BufReader::new(sink.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting") {
        line.clear();
        let octets = std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        assert!(octets > 0, "the sink ended: {:?}", ended(sink));
    }
    let send = [
        "send",
        "--out",
        "v0",
        "--to",
        "10.98.1.9",
        "--via",
        "10.98.1.2",
        "--rate",
        "2kpps",
        "--count",
        "2000",
    ];
    let rest = ["--flows", "10", "--size", "imix", "--gentle", "--json", here.to_str().unwrap()];
    let (out, said, is_good) = ended(pktgen(&lab.left, &[&send[..], &rest].concat()));
    assert!(is_good, "{out}{said}");
    assert!(out.contains("2000 packets"), "{out}");
    let (out, _, is_good) = ended(sink);
    assert!(is_good, "{out}");
    let (sent, caught) = (&rows(&here)[0], &rows(&there)[0]);
    assert_eq!(
        (&sent["sent"], &sent["name"], &sent["size"]),
        (&2000.into(), &"pktgen.send".into(), &"imix".into())
    );
    assert_eq!(
        (&caught["received"], &caught["lost"], &caught["flows_seen"]),
        (&2000.into(), &0.into(), &10.into())
    );
    assert_eq!(caught["latency_ns"]["packets"], 2000);
    assert!(out.contains("latency   p50"), "{out}");
}

#[test] // X-5, RFC 2544 §26.1
fn a_search_shows_every_trial_and_confirms_what_it_finds() {
    let Some(lab) = Lab::new("pkt_srch") else { return };
    // Both ends in one namespace: the cable is the device.
    lab.right.ip(&["link", "set", "v1", "netns", lab.left.name()]).unwrap();
    lab.left.ip(&["link", "set", "v1", "up"]).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("rows.json");
    let what = ["search", "--out", "v0", "--in", "v1", "--to", "10.98.77.1", "--mac", "02:00:00:00:09:02"];
    let how = [
        "--max-rate",
        "2kpps",
        "--seconds",
        "0.5",
        "--confirm",
        "1",
        "--rest",
        "0",
        "--repeats",
        "3",
        "--gentle",
    ];
    let (out, said, is_good) =
        ended(pktgen(&lab.left, &[&what[..], &how, &["--json", file.to_str().unwrap()]].concat()));
    assert!(is_good, "{out}{said}");
    let rows = rows(&file);
    let (found, trials) = rows.split_last().unwrap();
    assert_eq!(
        (&found["name"], found["trials"].as_u64()),
        (&"pktgen.throughput".into(), Some(trials.len() as u64))
    );
    assert!(trials.len() >= 2 && trials.iter().all(|row| row["name"] == "pktgen.trial"), "{out}");
    let throughput = found["throughput_pps"].as_f64().unwrap();
    assert!(throughput > 100.0 && throughput <= 2000.0, "{out}");
    let last = trials.last().unwrap();
    assert!(last["lost"] == 0 && last["seconds"].as_f64().unwrap() >= 0.99, "{last}");
    assert!(out.contains("passed") && out.contains("throughput of 64"), "{out}");
}

#[test] // X-5
fn a_capture_is_replayed_and_counted_and_nothing_received_is_refused() {
    let Some(lab) = Lab::new("pkt_play") else { return };
    lab.right.ip(&["link", "set", "v1", "netns", lab.left.name()]).unwrap();
    lab.left.ip(&["link", "set", "v1", "up"]).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (capture, file) = (scratch.path().join("some.pcap"), scratch.path().join("rows.json"));
    let mut writer =
        CaptureWriter::new(std::fs::File::create(&capture).unwrap(), warren_port::Link::Ip).unwrap();
    for number in 0..20u8 {
        // An empty UDP packet to somebody behind.
        let packet = [
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 98, 1, 1, 10, 98, 77, number, 0, 9, 0, 9, 0, 8, 0,
            0,
        ];
        writer.packet(u64::from(number) * 10_000, &packet).unwrap();
    }
    writer.flush().unwrap();
    let common = ["--out", "v0", "--in", "v1", "--mac", "02:00:00:00:09:02", "--gentle", "--drain", "1"];
    let replay =
        ["replay", capture.to_str().unwrap(), "--timed", "--loops", "2", "--json", file.to_str().unwrap()];
    let (out, said, is_good) = ended(pktgen(&lab.left, &[&replay[..], &common].concat()));
    assert!(is_good, "{out}{said}");
    let row = &rows(&file)[0];
    assert_eq!((&row["sent"], &row["frames"], &row["lost"]), (&40.into(), &40.into(), &0.into()), "{row}");
    // Two rounds of 20 packets, 10 ms apart.
    assert!(row["seconds"].as_f64().unwrap() >= 0.38, "{row}");

    // To an Ethernet address that is not the sink's.
    let lost = ["loop", "--to", "10.98.77.1", "--count", "10", "--mac", "02:00:00:00:09:77"];
    let common =
        ["--out", "v0", "--in", "v1", "--gentle", "--drain", "0.2", "--json", file.to_str().unwrap()];
    let (_, said, is_good) = ended(pktgen(&lab.left, &[&lost[..], &common].concat()));
    assert!(!is_good && said.contains("nothing was received"), "{said}");
    assert!(rows(&file).is_empty());
}
