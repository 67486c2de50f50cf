//! `interop bare`: an engine on the two ports of a gateway, with manual keys and nothing of control.
//!
//! It runs inside the gateway's namespace until its standard input ends, and then prints its counters. One worker,
//! one tunnel rule, one SA in each direction; routes and neighbours are asked of the kernel once, at the start.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use serde_json::Value;
use warren_bpf::{Attach, Locality, Steering};
use warren_engine::{EnginePort, Handle, Settings, Token, WorkerParts, build};
use warren_policy::{
    AddressRange, EspTransform, KeyBits, PeerId, RuleSet, Selector, TransportAction, TransportRule,
    TunnelRule,
};
use warren_port::af_xdp::{AfXdpConfig, AfXdpPort, interface_index};
use warren_port::{Umem, UmemConfig};
use warren_seam::{
    Command as Order, Encapsulation, ForwardingTable, InboundSa, MacAddress, Neighbour, OutboundSa,
    PortIndex, PortInfo, Route, RuleId, SaId, SaKeys, Side, Spi, Volume,
};
use xtask::arguments::Arguments;
use xtask::topology::{SITE_A, SITE_B};
use xtask::{Context, Failure, limits};

/// Frames of the one worker: both ports' rings and a good deal in hand.
const FRAMES: u32 = 16_384;
/// Nothing here lives long enough for a limit.
const NO_LIMIT: Volume = Volume { soft_octets: u64::MAX, hard_octets: u64::MAX };
const PORTS: [(&str, Side); 2] = [("lan", Side::Inside), ("wan", Side::Outside)];

/// The keys of both directions, as the peer prints them: cipher key, then salt.
struct Keys {
    transform: EspTransform,
    esn: bool,
    sequence: u64,
    outbound: (Spi, SaKeys),
    inbound: (Spi, SaKeys),
}

impl Keys {
    fn read(mut arguments: Arguments) -> Result<Self, Failure> {
        let mut want = |name: &str| -> Result<String, Failure> {
            arguments.value(name)?.ok_or_else(|| Failure::new(format!("bare wants {name}")))
        };
        let bits = want("--bits")?.parse().ok().and_then(KeyBits::from_bits);
        let transform = EspTransform::AesGcm16(bits.ok_or_else(|| Failure::new("no such key length"))?);
        let mut sa = |spi: &str, key: &str| -> Result<(Spi, SaKeys), Failure> {
            let number = u32::from_str_radix(&want(spi)?, 16).context(spi)?;
            let octets = octets(&want(key)?)?;
            let keys =
                SaKeys::from_keymat(transform, &octets).ok_or_else(|| Failure::new("wrong key length"))?;
            Ok((Spi(number), keys))
        };
        let outbound = sa("--spi-out", "--key-out")?;
        let inbound = sa("--spi-in", "--key-in")?;
        let sequence = want("--sequence")?.parse().context("--sequence")?;
        let esn = arguments.flag("--esn");
        arguments.finish()?;
        Ok(Self { transform, esn, sequence, outbound, inbound })
    }
}

fn octets(hex: &str) -> Result<Vec<u8>, Failure> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| {
            let text = std::str::from_utf8(pair).context("hexadecimal")?;
            u8::from_str_radix(text, 16).context("hexadecimal")
        })
        .collect()
}

/// Runs until standard input ends.
pub(crate) fn main(arguments: Arguments) -> Result<(), Failure> {
    let keys = Keys::read(arguments)?;
    let forwarding = forwarding()?;
    let mut umem =
        Umem::new(&UmemConfig { frames: FRAMES, frame_octets: 2048, headroom: 256, huge_pages: false })
            .context("frames")?;
    let addresses: BTreeSet<IpAddr> = forwarding.local.iter().copied().collect();
    let (mut ports, mut steerings) = (Vec::new(), Vec::new());
    for (at, info) in forwarding.ports.iter().enumerate() {
        let locality = Locality { mac: info.mac.0, addresses: addresses.clone() };
        let index = interface_index(&info.name).context(&info.name)?;
        let steering = Steering::attach(index, Attach::Best, &locality).context(&info.name)?;
        let queues = (0..queues(&info.name)).collect();
        let config = AfXdpConfig { queues, ..AfXdpConfig::new(&info.name, steering.mode()) };
        let port = AfXdpPort::open(&mut umem, &config).context(&info.name)?;
        for (queue, socket) in port.queue_fds() {
            steering.register(queue, socket).context(&info.name)?;
        }
        ports.push(EnginePort { index: PortIndex(at as u16), port: Box::new(port) });
        steerings.push(steering);
    }
    let (handle, workers) =
        build(vec![WorkerParts { umem, ports, tun: None }], &Settings::default()).context("the engine")?;
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                // As warrend's workers are: frames that one core after another sends overtake each other, further than
                // a peer's replay window on a busy machine. Where it cannot be had, the case may still succeed.
                let _ = stay_on_this_core();
                worker.run(&stop, Instant::now());
            })
        })
        .collect();
    let told = serve(handle, forwarding, keys);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| Failure::new("the worker panicked"))?;
    }
    told
}

fn stay_on_this_core() -> rustix::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(sched_getcpu());
    sched_setaffinity(None, &cores)
}

fn serve(mut handle: Handle, forwarding: ForwardingTable, keys: Keys) -> Result<(), Failure> {
    let mut last = Token::default();
    for order in orders(forwarding, keys)? {
        last = handle.submit(order).context("a command")?;
    }
    let asked = Instant::now();
    while handle.applied() < last {
        if asked.elapsed() > limits::READY {
            return Err(Failure::new("the worker does not apply its commands"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).context("standard input")?;
    for (reason, count) in handle.counters().drops() {
        println!("dropped {count} {}", reason.word());
    }
    Ok(())
}

fn orders(forwarding: ForwardingTable, keys: Keys) -> Result<Vec<Order>, Failure> {
    let range = |text: String| -> Result<AddressRange, Failure> {
        let (address, bits) = text.split_once('/').ok_or_else(|| Failure::new("a prefix has a slash"))?;
        AddressRange::from_prefix(address.parse().context("address")?, bits.parse().context("prefix")?)
            .ok_or_else(|| Failure::new("bits behind the prefix"))
    };
    let selector = Selector::between(range(SITE_A.network())?, range(SITE_B.network())?)
        .ok_or_else(|| Failure::new("both networks are IPv4"))?;
    let (local, remote) = (IpAddr::V4(SITE_A.outer()), IpAddr::V4(SITE_B.outer()));
    let rule = RuleId(0);
    let rules = RuleSet {
        transport: vec![TransportRule { name: "all".into(), selector, action: TransportAction::Permit }],
        tunnel: vec![TunnelRule {
            id: RuleId(0),
            name: "net".into(),
            selector,
            peer: PeerId(0),
            gateway: remote.into(),
        }],
    };
    let Keys { transform, esn, sequence, outbound, inbound } = keys;
    let inbound = InboundSa {
        id: SaId(1),
        spi: inbound.0,
        transform,
        keys: inbound.1,
        esn,
        window_packets: 4096,
        selector: selector.mirrored(),
        remote,
        local,
        encapsulation: Encapsulation::Raw,
        volume: NO_LIMIT,
        mode: warren_seam::SaMode::Tunnel,
        rule,
        lane: 0,
        carrier: warren_seam::Carrier::Network,
        sequence,
    };
    let outbound = OutboundSa {
        id: SaId(2),
        spi: outbound.0,
        transform,
        keys: outbound.1,
        esn,
        selector,
        local,
        remote,
        encapsulation: Encapsulation::Raw,
        volume: NO_LIMIT,
        mode: warren_seam::SaMode::Tunnel,
        rule,
        lane: 0,
        sequence,
    };
    Ok(vec![
        Order::Rules(rules),
        Order::Forwarding(forwarding),
        Order::InstallInbound(Box::new(inbound)),
        Order::InstallOutbound(Box::new(outbound)),
        Order::Bind { rule, stack: vec![SaId(2)] },
    ])
}

/// What the kernel of this namespace knows, for the two ports.
fn forwarding() -> Result<ForwardingTable, Failure> {
    let mut table = ForwardingTable::default();
    for (at, (name, side)) in PORTS.into_iter().enumerate() {
        let port = PortIndex(at as u16);
        let path = format!("/sys/class/net/{name}/address");
        let mac = mac_of(fs::read_to_string(&path).context(&path)?.trim())?;
        table.ports.push(PortInfo { name: name.into(), mac, mtu: 1500, side });
        for row in ip(&["neigh", "show", "dev", name])? {
            if let (Some(address), Some(lladdr)) = (row["dst"].as_str(), row["lladdr"].as_str()) {
                let address = address.parse().context("neighbour")?;
                table.neighbours.push(Neighbour { port, address, mac: mac_of(lladdr)? });
            }
        }
    }
    table.local = [SITE_A.inner()[0], IpAddr::V4(SITE_A.outer())].to_vec();
    let [inside, outside] = [PortIndex(0), PortIndex(1)];
    let gateway = IpAddr::V4(SITE_B.outer());
    let route = |destination: &str, via, port| -> Result<Route, Failure> {
        Ok(Route { destination: destination.parse().context("route")?, prefix_length: 24, via, port })
    };
    table.routes = vec![
        route("10.1.0.0", None, inside)?,
        route("10.2.0.0", Some(gateway), outside)?,
        route("198.51.100.0", None, outside)?,
    ];
    Ok(table)
}

fn ip(words: &[&str]) -> Result<Vec<Value>, Failure> {
    let output = Command::new("ip").arg("-j").args(words).output().context("ip")?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn mac_of(text: &str) -> Result<MacAddress, Failure> {
    let octets = octets(&text.replace(':', ""))?;
    octets.try_into().map(MacAddress).map_err(|_| Failure::new(format!("`{text}` is no MAC address")))
}

fn queues(interface: &str) -> u32 {
    let listed = fs::read_dir(format!("/sys/class/net/{interface}/queues"));
    let names =
        listed.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("rx-")).count().max(1) as u32
}
