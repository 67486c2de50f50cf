//! From a configuration to a running gateway, in an order that never lets clear text through:
//!
//! ```text
//! kernel forwarding off ─> mirror ─> XDP programs ─> sockets ─> engine, rules, routes ─> workers ─> tun routes ─> IKE
//! ```
//!
//! Whatever fails on the way, what was opened is dropped in reverse; the kernel's forwarding stays off.

use crate::clock::Clock;
use crate::control::Control;
use crate::crew::Crew;
use crate::desired::{self, Undesirable};
use crate::discovery;
use crate::entropy::KernelEntropy;
use crate::flow_steering::{FlowSteering, PortSteering};
use crate::kernel::links::{self, Found};
use crate::kernel::mirror::{Mirror, Roles, View};
use crate::kernel::sysctl::Sysctl;
use crate::kernel::tables::ConfiguredPort;
use crate::kernel::tun_addresses::TunAddresses;
use crate::kernel::tun_routes::{self, Tun, TunRoutes};
use crate::kernel::{self, guard};
use crate::ports::{self, OpenPort, PortError, PortFacts};
use crate::resolver::Resolver;
use crate::server::Server;
use crate::signals::Signals;
use crate::sockets::{ListenError, Sockets};
use crate::store::{Keeper, StoreError};
use crate::surroundings::{self, Surroundings, Unknown};
use crate::tun::TunSide;
use rtnetlink::Handle;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use warren_aead::Backend;
use warren_bpf::{Steering, XdpAttach};
use warren_config::{Config, Poll, PortConfig, Side};
use warren_engine::{EnginePort, Settings, WorkerParts};
use warren_ike::Entropy;

use warren_port::{EthtoolFlows, FlowTable, Port, TunPort, Umem, cycles};
use warren_seam::PortIndex;
use warren_tunnels::Tunnels;

/// `SO_MARK` of IKE's sockets: the routing rules keep what carries it out of the tunnels.
pub(crate) const MARK: u32 = 0x5761_7272;
/// Outer headers, IV, padding and ICV of the largest tunnel: IPv6, UDP, ESP with AES-CBC and HMAC-SHA2-512.
const TUNNEL_OVERHEAD_MAX: u32 = 40 + 8 + 8 + 16 + 17 + 32;
/// Smaller than this no link may be (RFC 8200 §5).
const MTU_MIN: u32 = 1280;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A UDP socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Something that the file leaves open.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// Certificates.
    #[error(transparent)]
    Undesirable(#[from] Undesirable),
    /// The store of leases.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The AEAD code computes something else than it should.
    #[error("AEAD self-test: {0}")]
    SelfTest(#[from] warren_aead::SelfTestFailure),
    /// No such AEAD code.
    #[error("gateway.aead: {0}")]
    Backend(String),
    /// Anything else.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl StartError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

/// Everything of the data plane that control keeps.
struct DataPlane {
    facts: Vec<PortFacts>,
    steering: Vec<Steering>,
    flow_steering: FlowSteering,
    parts: Vec<WorkerParts>,
}

/// Whose AEAD code runs: the one asked for, else the fastest. A CPU that cannot run what was asked for is an error: who
/// names one wants no other.
fn backend(name: Option<&str>) -> Result<Backend, StartError> {
    let Some(name) = name else { return Ok(Backend::best()) };
    let backend = name.parse::<Backend>().map_err(|error| StartError::Backend(error.to_string()))?;
    if !backend.is_available() {
        return Err(StartError::Backend(format!("this CPU cannot run {backend}")));
    }
    Ok(backend)
}

/// Starts everything. The runtime must be running.
pub(crate) async fn start(file: PathBuf, mut config: Config, clock: Clock) -> Result<Control, StartError> {
    let signals = Signals::open().map_err(StartError::io("signals"))?;
    warren_aead::self_test()?;
    let backend = backend(config.gateway.aead.as_deref())?;
    tracing::info!("AES-GCM by {backend}");
    let netlink = kernel::connect()?;
    if config.automatic_ports {
        config.ports = surroundings::automatic_ports(&config, &netlink, MARK).await?;
    }
    let found = close_ports(&config, &netlink).await?;
    let roles = roles(&config);
    let mirror = Mirror::start(roles.clone()).await?;
    let view = mirror.view();
    let surroundings = surroundings::look(&config, &view, MARK, &Surroundings::default())?;
    let wanted = desired::tunnels(&config, &surroundings)?;
    let (keeper, leases) = Keeper::open(&config.gateway.state, !config.pools.is_empty())?;
    let plane = open_ports(&config, &found, &view)?;
    let tun = TunPort::open(&config.gateway.tun)
        .map_err(StartError::io(format!("tun device {}", config.gateway.tun)))?;
    let sysctl = Sysctl::default().open_tun(&config.gateway.tun)?;
    sysctl.iter().for_each(|change| tracing::debug!("{change}"));
    let DataPlane { mut facts, steering, flow_steering, mut parts } = plane;
    facts.push(tun_facts(&config.gateway.tun, &tun));
    parts[0].tun = Some(Box::new(tun));
    let settings = Settings {
        backend,
        mss_clamp: config.gateway.mss_clamp,
        sample_every: config.gateway.stage_sampling,
        hash_seed: random_u64(),
        busy: config.gateway.poll == Poll::Busy,
        ..Settings::default()
    };
    if settings.sample_every > 0 {
        // The first time it waits; nobody waits for us yet.
        tracing::debug!("cycles are counted at {:.0} Hz", cycles::per_second());
    }
    let (engine, workers) = warren_engine::build(parts, &settings).map_err(StartError::io("the engine"))?;
    let mut tunnels =
        Tunnels::new(clock.now(), wanted, leases, (Box::new(KernelEntropy), Box::new(KernelEntropy)));
    tunnels.set_unix_time(clock.now(), Clock::unix());
    let crew = Crew::start(workers, clock.started()).map_err(StartError::io("worker threads"))?;
    let tun = route_tun(&config, &found, &view, netlink.clone()).await?;
    let sockets = listen(&config, &view, &surroundings)?;
    let path = &config.gateway.control_socket;
    let (server, questions) = Server::open(path).map_err(StartError::io(path.display().to_string()))?;
    Control::new(crate::control::Parts {
        clock,
        file,
        config,
        aead: backend.to_string(),
        tunnels,
        engine,
        crew,
        facts,
        steering,
        flow_steering,
        mirror,
        resolver: Resolver::start(netlink, roles),
        tun,
        keeper,
        surroundings,
        sockets,
        server,
        questions,
        signals,
    })
    .map_err(StartError::io("waiting for the workers"))
}

fn roles(config: &Config) -> Roles {
    let port = |port: &PortConfig| ConfiguredPort {
        name: port.interface.clone(),
        side: match port.side {
            Side::Inside => warren_seam::Side::Inside,
            Side::Outside => warren_seam::Side::Outside,
        },
    };
    Roles { ports: config.ports.iter().map(port).collect(), tun: config.gateway.tun.clone() }
}

/// The kernel stops forwarding between the ports before anything else happens (REQUIREMENTS F-24).
async fn close_ports(config: &Config, netlink: &Handle) -> Result<Vec<Found>, StartError> {
    let mut found = Vec::new();
    for port in &config.ports {
        let interface = &port.interface;
        found.push(links::find(netlink, interface).await?);
        guard::close_port(netlink, interface).await?;
        for change in Sysctl::default().close_port(interface)? {
            tracing::info!("port {}: {change}", port.name);
        }
        if found.last().is_some_and(|found| !found.link.up) {
            tracing::warn!("port {}: {interface} is down", port.name);
        }
    }
    Ok(found)
}

fn open_ports(config: &Config, found: &[Found], view: &View) -> Result<DataPlane, StartError> {
    let workers = usize::from(config.gateway.workers);
    let queues: Vec<_> =
        config.ports.iter().zip(found).map(|(port, found)| ports::queues_of(port, found)).collect();
    if queues.iter().all(|queues| (*queues as usize) < workers) {
        tracing::warn!(
            "{workers} workers, but no port has so many queues: some only protect, none of their own packets come"
        );
    }
    let mtu_max = found.iter().map(|found| found.link.mtu).max().unwrap_or(0);
    let mut memories = Vec::new();
    for memory in ports::memory(&queues, mtu_max, workers) {
        memories.push(Umem::new(&memory).map_err(StartError::io("memory for packets"))?);
    }
    let steering = ports::attach(&config.ports, found, &view.steering)?;
    let mut facts = Vec::new();
    let flow_steering = steer_flows(&config.ports, &queues, workers);
    let mut berths: Vec<Vec<EnginePort>> = (0..workers).map(|_| Vec::new()).collect();
    for (at, (port, found)) in config.ports.iter().zip(found).enumerate() {
        let program = &steering[at];
        let OpenPort { facts: own, parts } = ports::open(port, found, program, &mut memories)?;
        tracing::info!("port {}: {} on {}, {} queues", own.name, own.mode, own.interface, own.queues);
        let generic = program.mode() == XdpAttach::Generic;
        for words in links::harmful_offloads(&own.interface, generic) {
            tracing::warn!("port {}: {words} (`ethtool -K {} … off`)", own.name, own.interface);
        }
        for (berths, part) in berths.iter_mut().zip(parts) {
            let port = part.map(|part| Box::new(part) as Box<dyn Port>);
            berths.extend(port.map(|port| EnginePort { index: PortIndex(at as u16), port }));
        }
        facts.push(own);
    }
    let parts = memories.into_iter().zip(berths);
    let parts = parts.map(|(umem, ports)| WorkerParts { umem, ports, tun: None }).collect();
    Ok(DataPlane { facts, steering, flow_steering, parts })
}

/// What the cards of the outside can do about it that an SA comes to the worker that owns it.
fn steer_flows(ports: &[PortConfig], queues: &[u32], workers: usize) -> FlowSteering {
    let steer = |(port, queues): (&PortConfig, &u32)| {
        let table = |interface: &str| Ok(Box::new(EthtoolFlows::open(interface)?) as Box<dyn FlowTable>);
        let steering = (port.side == Side::Outside)
            .then(|| PortSteering::open(table(&port.interface), *queues, workers))?;
        tracing::info!("port {}: steering of flows: {}", port.name, steering.words());
        Some(steering)
    };
    FlowSteering::new(ports.iter().zip(queues).map(steer).collect())
}

fn tun_facts(name: &str, tun: &TunPort) -> PortFacts {
    PortFacts {
        name: name.to_owned(),
        interface: name.to_owned(),
        side: "local",
        mode: tun.mode().to_string(),
        queues: 1,
    }
}

async fn route_tun(
    config: &Config,
    found: &[Found],
    view: &View,
    netlink: Handle,
) -> Result<TunSide, StartError> {
    let smallest = found.iter().map(|found| found.link.mtu).min().unwrap_or(MTU_MIN);
    let mtu = smallest.saturating_sub(TUNNEL_OVERHEAD_MAX).max(MTU_MIN);
    let tun = Tun { name: config.gateway.tun.clone(), mtu, mark: MARK };
    let plan = tun_routes::plan(&config.rules, &[], &view.forwarding.local)?;
    let routes = TunRoutes::install(netlink.clone(), &tun, plan).await?;
    let addresses = TunAddresses::clean(netlink, routes.link()).await?;
    Ok(TunSide::new(routes, addresses, MARK))
}

fn listen(config: &Config, view: &View, surroundings: &Surroundings) -> Result<Sockets, StartError> {
    let mut sockets = Sockets::default();
    for error in sockets.listen(ike_addresses(config, view, surroundings), MARK) {
        if !error.may_pass() {
            return Err(error.into());
        }
        tracing::warn!("{error}; it is tried again when an address comes");
    }
    for address in sockets.addresses() {
        tracing::debug!("IKE listens on {address}");
    }
    Ok(sockets)
}

/// Our addresses that peers are configured with; all of the family for those that leave it open, unless it is for
/// discovery, which has one to name. And those at which probes may ask for ourselves.
pub(crate) fn ike_addresses(config: &Config, view: &View, surroundings: &Surroundings) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = discovery::end_host_addresses(config, &view.forwarding.local).collect();
    for peer in &config.peers {
        if peer.is_discovered() && peer.is_local_open() {
            addresses.extend(surroundings.own.get(&peer.id));
        } else if peer.local.is_unspecified() {
            let family = |own: &&IpAddr| own.is_ipv4() == peer.local.is_ipv4() && !own.is_loopback();
            addresses.extend(view.forwarding.local.iter().filter(family));
        } else {
            addresses.push(peer.local);
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

pub(crate) fn random_u64() -> u64 {
    let mut octets = [0; 8];
    KernelEntropy.fill(&mut octets);
    u64::from_be_bytes(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_policy::{PeerId, Secret};

    #[test] // TED-6, TED-34
    fn for_discovery_one_address_is_listened_on_and_those_that_may_be_asked_for() {
        let config = |ted: &str| {
            let key = |_: &std::path::Path| Ok(Secret::new(b"00112233445566778899aabbccddeeff".to_vec()));
            let text = format!(
                "[[port]]\ninterface = \"out\"\nside = \"outside\"\n[ted]\n{ted}\n[[peer]]\nname = \"p\"\n\
                 ike = \"v1-main\"\naddress = \"discover\"\nsecret = \"x\"\ngroup_secret = true\n\
                 authorised = [{{ networks = \"10.0.0.0/8\" }}]\n[[tunnel]]\nname = \"t\"\nsource = \"10.1.0.0/16\"\n\
                 destination = \"10.0.0.0/8\"\ngateway = \"discover\"\npeer = \"p\"\n"
            );
            warren_config::parse(&text, "gw.toml", &key).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut view = View::default();
        view.forwarding.local = ["10.1.0.1", "192.0.2.1", "192.0.2.7", "198.51.100.1"].map(ip).into();
        let known = Surroundings { own: [(PeerId(0), ip("192.0.2.7"))].into(), attached: Vec::new() };
        assert_eq!(ike_addresses(&config(""), &view, &known), [ip("192.0.2.7")]);
        let answering = ike_addresses(&config("answer_on = \"out\""), &view, &known);
        assert_eq!(answering, [ip("10.1.0.1"), ip("192.0.2.7")]);
    }

    #[test]
    fn every_number_of_workers_that_a_file_may_name_is_one_the_engine_takes() {
        let (file, engine) = (warren_config::limits::WORKERS_MAX, warren_engine::limits::WORKERS_MAX);
        assert!(usize::from(file) <= engine);
    }

    #[test]
    fn aead_code_is_the_one_asked_for_or_an_error_and_else_the_fastest() {
        assert_eq!(backend(None).unwrap(), Backend::best());
        for asked in Backend::ALL {
            let found = backend(Some(&asked.to_string()));
            match asked.is_available() {
                true => assert_eq!(found.unwrap(), asked),
                false => assert!(found.unwrap_err().to_string().contains("this CPU cannot run")),
            }
        }
        assert!(backend(Some("openssl")).is_err());
    }
}
