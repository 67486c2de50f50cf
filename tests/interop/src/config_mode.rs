//! Cases of config mode against strongSwan: Warren as the client that gets its policy, and as the server that has it.
//!
//! The client is a host of its own, at site A: what it sends comes from the address that it was leased.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::gateway::{Gateway, TEST_SECRET};
use xtask::home::Home;
use xtask::lab::{Lab, Namespace};
use xtask::listener::Listener;
use xtask::peer::StrongSwan;
use xtask::topology::{ANNEX, LEASES, SITE_A, SITE_B, Site, Topology, annex_port};
use xtask::traffic::{self, Sender, Server, Way};
use xtask::{Context, Failure, limits, repository};

use crate::strongswan::{concluded, pinged};

/// Who is Warren.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// One configuration and what happens under it.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The folder under `peers/conf`.
    pub(crate) name: &'static str,
    /// The server speaks first.
    is_pushed: bool,
    /// A user and a password on top of the key.
    has_xauth: bool,
    /// Networks behind the server.
    networks: &'static [Site],
    /// The server says which networks there are; a client need not know.
    names_networks: bool,
    ike: &'static str,
    esp: &'static str,
}

const IKE: &str = "aes128-sha256-modp2048";
const ESP: &str = "aes128gcm16";

const PULL: Scene = Scene {
    name: "ikev1-main-modecfg-pull",
    is_pushed: false,
    has_xauth: false,
    networks: &[SITE_B],
    names_networks: false,
    ike: IKE,
    esp: ESP,
};

pub(crate) const SCENES: &[Scene] = &[
    PULL,
    Scene { name: "ikev1-main-modecfg-push", is_pushed: true, ..PULL },
    Scene { name: "ikev1-main-xauth-pull", has_xauth: true, ..PULL },
    // Two networks in Cisco's attribute, both address families asked for, and long lists of proposals.
    Scene {
        name: "ikev1-main-unity-split",
        networks: &[SITE_B, ANNEX],
        names_networks: true,
        ike: "aes256-sha384-ecp384",
        esp: "aes256-sha256",
        ..PULL
    },
];

impl Scene {
    /// The configuration of a client.
    fn client(&self, home: &Home) -> String {
        let mut peer = format!(
            "address = \"{}\"\nlocal_identity = \"left.test\"\nidentity = \"right.test\"\nreceives = \"{}\"\n",
            SITE_B.outer(),
            if self.is_pushed { "push" } else { "pull" },
        );
        if !self.names_networks {
            let networks: Vec<_> = self.networks.iter().map(|site| site.network()).collect();
            peer.push_str(&format!("remote_networks = {networks:?}\n"));
        }
        if self.has_xauth {
            peer.push_str(
                "group_secret = true\nxauth = \"client\"\nxauth_user = \"alice\"\nxauth_password = \"alice.password\"\n",
            );
        }
        self.file(home, &["wan"], "server", &peer)
    }

    /// The configuration of a server.
    fn server(&self, home: &Home) -> String {
        let mut peer = format!(
            "address = \"{}\"\nlocal_identity = \"right.test\"\nidentity = \"left.test\"\nserves = \"visitors\"\npush = {}\n",
            SITE_A.outer(),
            self.is_pushed,
        );
        let mut rest = format!(
            "\n[[pool]]\nname = \"leases\"\naddresses = \"{first}-{last}\"\n\n[[policy]]\nname = \"visitors\"\n\
             pool = \"leases\"\ndns = [\"10.2.0.53\", \"10.2.0.54\"]\n",
            first = LEASES.host()[0],
            last = "10.3.0.20",
        );
        for site in self.networks {
            let (name, network, esp) = (format!("net{}", site.0), site.network(), self.esp);
            rest.push_str(&format!(
                "\n[[policy.set]]\nname = \"{name}\"\nsource = \"{network}\"\nesp = [\"{esp}\"]\n"
            ));
        }
        if self.has_xauth {
            peer.push_str("xauth = \"server\"\ngroup_secret = true\n");
            rest.push_str("\n[[user]]\nname = \"alice\"\npassword = \"alice.password\"\n");
        }
        let annex = annex_port(ANNEX);
        let ports: &[&str] = if self.networks.len() > 1 { &["wan", "lan", &annex] } else { &["wan", "lan"] };
        self.file(home, ports, "client", &peer) + &rest
    }

    fn file(&self, home: &Home, ports: &[&str], name: &str, peer: &str) -> String {
        let mut text = home.section();
        for interface in ports {
            let side = if *interface == "wan" { "outside" } else { "inside" };
            text.push_str(&format!("\n[[port]]\ninterface = \"{interface}\"\nside = \"{side}\"\n"));
        }
        let ike = self.ike;
        text.push_str(&format!(
            "\n[[peer]]\nname = \"{name}\"\nike = \"v1-main\"\nsecret = \"peer.psk\"\nproposals = [\"{ike}\"]\n{peer}"
        ));
        text
    }
}

/// Warren and strongSwan, one of them the client at site A, the other the server at site B.
struct Meeting {
    side: Side,
    gateway: Gateway,
    peer: Option<StrongSwan>,
    listener: Listener,
    annex: Option<Namespace>,
    topology: Topology,
    _lab: Lab,
}

/// Runs a scene; what went wrong is told with both daemons' last words.
pub(crate) fn run(scene: &Scene, side: Side) -> Result<String, Failure> {
    let mut meeting = Meeting::new(scene, side)?;
    match meeting.play(scene) {
        Ok(remark) => concluded(meeting.listener, &remark),
        Err(failure) => Err(Failure::new(format!(
            "{failure}\n── last words of warrend ──\n{}\ndropped: {:?}\n── last words of strongSwan ──\n{}",
            meeting.gateway.last_words(),
            meeting.gateway.drops().unwrap_or_default(),
            meeting.peer.as_ref().map(StrongSwan::last_words).unwrap_or_default(),
        ))),
    }
}

impl Meeting {
    fn new(scene: &Scene, side: Side) -> Result<Self, Failure> {
        let mut lab = Lab::new(&repository::target())?;
        let topology = Topology::new(&mut lab)?;
        let annex = match scene.networks.len() {
            1 => None,
            _ => Some(topology.b.annex(&mut lab, ANNEX)?),
        };
        let program = repository::own_program()?;
        let listener = Listener::start(&program, &topology.wide_area, traffic::MARKER, None)?;
        let home = Home::new(&lab, "warren")?;
        home.write("peer.psk", &format!("{TEST_SECRET}\n"))?;
        home.write("alice.password", "wonderland\n")?;
        let (ours, theirs, folder, text) = match side {
            Side::Client => (&topology.a, &topology.b, "right", scene.client(&home)),
            Side::Server => (&topology.b, &topology.a, "left", scene.server(&home)),
        };
        home.configure(&text)?;
        let start = || StrongSwan::start(&lab, &theirs.gateway, scene.name, folder);
        // A server is there before its client comes.
        let (mut gateway, peer) = match side {
            Side::Client => {
                let peer = start()?;
                (Gateway::run(&ours.gateway, &home)?, peer)
            }
            Side::Server => (Gateway::run(&ours.gateway, &home)?, start()?),
        };
        gateway.wait_until_ready()?;
        Ok(Self { side, gateway, peer: Some(peer), listener, annex, topology, _lab: lab })
    }

    fn play(&mut self, scene: &Scene) -> Result<String, Failure> {
        let client = self.topology.a.gateway.clone();
        if let (Side::Server, Some(peer)) = (self.side, &self.peer) {
            peer.initiate("net")?;
        }
        let lease = until("a lease shows on the client", || self.lease(&client))?;
        if lease != LEASES.host()[0] {
            return Err(Failure::new(format!("{lease} is not the first address of the pool")));
        }
        self.is_shown(lease)?;
        until("every tunnel is up", || Ok(self.is_up(scene.networks.len())?.then_some(())))?;
        let sender = Sender::at(&client, lease);
        let mut remark = format!("leased {lease}");
        for (site, host) in scene.networks.iter().zip([Some(&self.topology.b.host), self.annex.as_ref()]) {
            let host = host.ok_or_else(|| Failure::new("there is no host in that network"))?;
            remark.push_str(&traffic_between(sender, lease, *site, host)?);
        }
        self.part(&client, lease)?;
        Ok(remark)
    }

    /// The lease as the client has it: on Warren's tun device, or on strongSwan's.
    fn lease(&self, client: &Namespace) -> Result<Option<IpAddr>, Failure> {
        address_on(client, if self.side == Side::Client { "warren0" } else { "ipsec0" })
    }

    /// What `dpctl` says of the lease, as whichever side Warren is.
    fn is_shown(&self, lease: IpAddr) -> Result<(), Failure> {
        let views: &[&str] = if self.side == Side::Client { &["policy"] } else { &["lease", "client"] };
        for view in views {
            let answer = self.gateway.ask(&[view])?.to_string();
            if !answer.contains(&lease.to_string()) {
                return Err(Failure::new(format!("`dpctl {view}` does not show {lease}: {answer}")));
            }
        }
        Ok(())
    }

    /// Whether the client can reach so many networks. A server sees only how many tunnels its client chose to have: one
    /// for each network, or one for everything.
    fn is_up(&self, count: usize) -> Result<bool, Failure> {
        let rows = self.gateway.tunnels()?;
        let up = rows.iter().filter(|row| row["state"] == "up").count();
        Ok(match self.side {
            Side::Client => up == count && rows.len() == count,
            Side::Server => (up > 0) == (count > 0),
        })
    }

    /// strongSwan says good-bye: nothing of the policy may be left.
    fn part(&mut self, client: &Namespace, lease: IpAddr) -> Result<(), Failure> {
        // Its daemon deletes its SAs when it ends.
        drop(self.peer.take());
        until("the tunnels are gone", || Ok(self.is_up(0)?.then_some(())))?;
        match self.side {
            Side::Client => until("the lease is off the client", || {
                Ok(self.lease(client)?.is_none_or(|address| address != lease).then_some(()))
            }),
            Side::Server => {
                until("the client is gone", || Ok(self.gateway.rows(&["client"])?.is_empty().then_some(())))
            }
        }
    }
}

/// The first IPv4 address of a device, if both are there.
pub(crate) fn address_on(host: &Namespace, device: &str) -> Result<Option<IpAddr>, Failure> {
    let output =
        host.command("ip").args(["-j", "-4", "addr", "show", "dev", device]).output().context("ip")?;
    let links: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(links[0]["addr_info"][0]["local"].as_str().and_then(|text| text.parse().ok()))
}

/// Pings both ways, and a transfer each way.
pub(crate) fn traffic_between(
    from: Sender<'_>,
    lease: IpAddr,
    site: Site,
    host: &Namespace,
) -> Result<String, Failure> {
    let target = site.host()[0];
    traffic::wait_for_first_answer(from, target)?;
    pinged(from, target)?;
    pinged(host, lease)?;
    let _server = Server::start(host)?;
    let forth = traffic::transfer(from, target, Way::Forth, 2)?;
    let back = traffic::transfer(from, target, Way::Back, 2)?;
    if forth.octets == 0 || back.octets == 0 {
        return Err(Failure::new(format!("iperf3 moved nothing in one direction with {target}")));
    }
    Ok(format!(", iperf3 with {target} {:.2} and {:.2} Gbit/s", forth.gbit_s, back.gbit_s))
}

/// Asks again until there is an answer; `what` is the sentence that was not true in time.
pub(crate) fn until<T>(
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let started = Instant::now();
    while started.elapsed() < limits::TUNNEL_UP {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::new(format!("it did not come true in {} s that {what}", limits::TUNNEL_UP.as_secs())))
}
