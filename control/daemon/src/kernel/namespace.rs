//! The kernel's view against a real kernel: three namespaces in a row, `h1 — gw — h2`, made and removed by each test.

use super::mirror::{Mirror, Roles, View};
use super::neighbours::Neighbours;
use super::sysctl::Sysctl;
use super::tables::{ConfiguredPort, Reachability};
use super::tun_addresses::TunAddresses;
use super::tun_routes::{Fate, Prefix, Tun, TunRoutes};
use super::{connect, guard, links, way};
use crate::flow_steering::PortSteering;
use crate::sockets::Sockets;
use crate::through::Packets;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use warren_ike::Path;
use warren_port::{EthtoolFlows, Port, TunPort, Umem, UmemConfig};
use warren_seam::{PortIndex, Side};

/// The kernel probes a stale neighbour five seconds after it was used, and tells only then.
const PATIENCE: Duration = Duration::from_secs(12);

/// Three namespaces that go when the test ends, however it ends.
struct Lab {
    prefix: String,
}

impl Lab {
    /// `None`, with the reason printed, where no namespaces can be made.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: namespaces need root");
            return None;
        }
        let lab = Self { prefix: format!("wnl_{}_{name}", std::process::id()) };
        for host in ["h1", "gw", "h2"] {
            if !ip(&format!("netns add {}_{host}", lab.prefix)).status.success() {
                eprintln!("skipped: no network namespaces here");
                return None;
            }
            lab.ip(host, "link set lo up");
        }
        for (host, port, net) in [("h1", "in", 1), ("h2", "out", 2)] {
            let (p, far) = (&lab.prefix, "far");
            done(&ip(&format!("link add {port} netns {p}_gw type veth peer name {far} netns {p}_{host}")));
            for (place, link, last) in [("gw", port, 1), (host, far, 2)] {
                lab.ip(place, &format!("addr add 10.{net}.0.{last}/16 dev {link}"));
                lab.ip(place, &format!("-6 addr add 2001:db8:{net}::{last}/64 dev {link} nodad"));
                lab.ip(place, &format!("link set {link} up"));
            }
            lab.ip(host, &format!("route add default via 10.{net}.0.1"));
            lab.ip(host, &format!("-6 route add default via 2001:db8:{net}::1"));
        }
        Some(lab)
    }

    /// Runs `ip` there; it must succeed.
    fn ip(&self, host: &str, arguments: &str) -> String {
        done(&ip(&format!("-n {}_{host} {arguments}", self.prefix)))
    }

    /// Whether a command there succeeds, and what it says.
    fn run(&self, host: &str, command: &str) -> (bool, String) {
        let output = ip(&format!("netns exec {}_{host} {command}", self.prefix));
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    /// Writes down what happens to rules and routes there.
    fn watch(&self, host: &str) -> Child {
        let namespace = format!("{}_{host}", self.prefix);
        let mut command = Command::new("ip");
        command.args(["-n", &namespace, "monitor", "rule", "route"]).stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        child
    }

    fn pings(&self, host: &str, to: &str) -> bool {
        (0..3).any(|_| self.run(host, &format!("ping -n -c 1 -W 1 {to}")).0)
    }

    /// Runs a test's body in the gateway's namespace, on a tokio runtime of one thread.
    fn in_gateway(&self, body: impl AsyncFnOnce(Mirror) + Send) {
        let namespace = File::open(format!("/run/netns/{}_gw", self.prefix)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { body(Mirror::start(roles()).await.unwrap()).await });
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in ["h1", "gw", "h2"] {
            ip(&format!("netns del {}_{host}", self.prefix));
        }
    }
}

fn ip(arguments: &str) -> Output {
    Command::new("ip").args(arguments.split_whitespace()).stdin(Stdio::null()).output().unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn roles() -> Roles {
    let port = |name: &str, side| ConfiguredPort { name: name.to_owned(), side };
    Roles { ports: vec![port("in", Side::Inside), port("out", Side::Outside)], tun: "warren0".to_owned() }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Waits until the view is as wanted; fails with the last one.
async fn until(mirror: &mut Mirror, what: &str, wanted: impl Fn(&View) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(&mirror.view()) {
        assert!(Instant::now() < deadline, "{what}: {:#?}", mirror.view());
        // A neighbour's ageing wakes nobody, so look again now and then.
        let _ = timeout(Duration::from_millis(50), mirror.changed()).await;
    }
}

fn way(view: &View, destination: &str, prefix_length: u8) -> Option<(PortIndex, Option<IpAddr>)> {
    let destination = address(destination);
    let mut routes = view.forwarding.routes.iter();
    let route =
        routes.find(|route| (route.destination, route.prefix_length) == (destination, prefix_length))?;
    Some((route.port, route.via))
}

#[test]
fn the_mirror_starts_with_everything_and_follows_every_change() {
    let Some(lab) = Lab::new("mirror") else { return };
    lab.ip("gw", "route add default via 10.2.0.2");
    lab.in_gateway(async |mut mirror| {
        let view = mirror.view();
        assert_eq!(way(&view, "10.1.0.0", 16), Some((PortIndex(0), None)));
        assert_eq!(way(&view, "2001:db8:2::", 64), Some((PortIndex(1), None)));
        assert_eq!(way(&view, "0.0.0.0", 0), Some((PortIndex(1), Some(address("10.2.0.2")))));
        assert_eq!(view.forwarding.ports[1].mtu, 1500);
        assert_ne!(view.forwarding.ports[0].mac, view.forwarding.ports[1].mac);
        assert!(view.forwarding.local.contains(&address("10.1.0.1")));
        assert!(view.steering.contains(&address("10.2.255.255")));

        lab.ip("gw", "route add 10.77.0.0/16 via 10.1.0.2 metric 5");
        lab.ip("gw", "-6 route add 2001:db8:77::/48 via 2001:db8:1::2");
        lab.ip("gw", "route add blackhole 10.78.0.0/16");
        until(&mut mirror, "routes come", |view| {
            way(view, "10.77.0.0", 16) == Some((PortIndex(0), Some(address("10.1.0.2"))))
                && way(view, "2001:db8:77::", 48) == Some((PortIndex(0), Some(address("2001:db8:1::2"))))
                && way(view, "10.78.0.0", 16) == Some((PortIndex::NOWHERE, None))
        })
        .await;
        lab.ip("gw", "route replace 10.77.0.0/16 via 10.2.0.2 metric 5");
        until(&mut mirror, "a route is replaced", |view| {
            way(view, "10.77.0.0", 16) == Some((PortIndex(1), Some(address("10.2.0.2"))))
        })
        .await;
        lab.ip("gw", "link set out mtu 1400");
        lab.ip("gw", "addr add 192.0.2.9/32 dev lo");
        until(&mut mirror, "MTU and address", |view| {
            view.forwarding.ports[1].mtu == 1400 && view.forwarding.local.contains(&address("192.0.2.9"))
        })
        .await;
        // The kernel drops the IPv4 routes of a link that goes down without a word.
        lab.ip("gw", "link set out down");
        until(&mut mirror, "routes go with their link", |view| {
            way(view, "0.0.0.0", 0).is_none() && way(view, "10.77.0.0", 16).is_none()
        })
        .await;
        lab.ip("gw", "link del in");
        until(&mut mirror, "a port goes", |view| view.forwarding.ports[0].mtu == 0).await;
        assert_eq!(mirror.view().resyncs, 0);
    });
}

#[test]
fn lost_notifications_are_noticed_and_everything_is_read_again() {
    let Some(lab) = Lab::new("overrun") else { return };
    let batch = tempfile::NamedTempFile::new().unwrap();
    const ROUTES: u32 = 30_000;
    let lines = |at: u32| format!("route add 172.{}.{}.0/24 via 10.1.0.2\n", at / 250, at % 250);
    std::fs::write(batch.path(), (0..ROUTES).map(lines).collect::<String>()).unwrap();
    lab.in_gateway(async |mut mirror| {
        // Nothing runs on this thread meanwhile: the socket's buffer fills up.
        lab.ip("gw", &format!("-batch {}", batch.path().display()));
        until(&mut mirror, "every route arrives", |view| {
            view.forwarding.routes.iter().filter(|route| route.prefix_length == 24).count() == ROUTES as usize
        })
        .await;
        assert!(mirror.view().resyncs >= 1, "the batch should have been more than the buffer holds");
        lab.ip("gw", "route add 10.77.0.0/16 via 10.1.0.2");
        until(&mut mirror, "it still follows", |view| way(view, "10.77.0.0", 16).is_some()).await;
    });
}

#[test]
fn the_kernel_resolves_and_confirms_neighbours_that_it_sends_nothing_to() {
    let Some(lab) = Lab::new("neigh") else { return };
    lab.ip("gw", "route add default via 10.2.0.2");
    lab.in_gateway(async |mut mirror| {
        let roles = roles();
        let mut neighbours = Neighbours::new(connect().unwrap());
        let link = mirror.view().tables.link_of(&roles, PortIndex(1)).unwrap();
        let second = |count| Duration::from_secs(count);
        let known = |view: &View, text: &str| view.tables.neighbours.get(&(link, address(text))).copied();

        for text in ["10.2.0.2", "2001:db8:2::2"] {
            assert_eq!(known(&mirror.view(), text), None);
            let (view, hop) = (mirror.view(), address(text));
            assert!(neighbours.resolve(second(1), &view, &roles, PortIndex(1), hop).await.unwrap(), "{text}");
            until(&mut mirror, "it is resolved", |view| known(view, text).is_some()).await;
            let far = links::find(&connect().unwrap(), "out").await.unwrap().link.mac;
            assert_ne!(known(&mirror.view(), text).unwrap().mac, far);
            let again = neighbours.resolve(second(9), &mirror.view(), &roles, PortIndex(1), hop).await;
            assert!(!again.unwrap(), "known already");
        }
        // Nobody has this address: asking is no error, and nothing comes of it.
        let silent = address("10.2.0.99");
        assert!(neighbours.resolve(second(1), &mirror.view(), &roles, PortIndex(1), silent).await.unwrap());

        for text in ["10.2.0.2", "2001:db8:2::2"] {
            lab.ip("gw", &format!("neigh change {text} dev out nud stale"));
        }
        lab.ip("gw", "neigh add 10.2.0.50 dev out lladdr 02:00:00:00:00:50 nud permanent");
        let is = |view: &View, text: &str, wanted| {
            known(view, text).is_some_and(|known| known.reachability == wanted)
        };
        until(&mut mirror, "they age", |view| {
            is(view, "10.2.0.2", Reachability::Stale) && is(view, "2001:db8:2::2", Reachability::Stale)
        })
        .await;
        assert_eq!(neighbours.refresh(second(60), &mirror.view(), &roles).await.unwrap(), 2);
        until(&mut mirror, "they are confirmed", |view| {
            is(view, "10.2.0.2", Reachability::Fresh) && is(view, "2001:db8:2::2", Reachability::Fresh)
        })
        .await;
        sleep(Duration::from_millis(500)).await;
        for text in ["10.2.0.2", "2001:db8:2::2"] {
            let shown = lab.ip("gw", &format!("neigh show {text} dev out"));
            assert!(shown.contains("REACHABLE"), "{shown}");
        }
        assert!(lab.ip("gw", "neigh show 10.2.0.50").contains("PERMANENT"));
        assert_eq!(known(&mirror.view(), "10.2.0.99"), None);
    });
}

#[test] // F-24
fn own_traffic_enters_the_tunnel_unless_it_is_marked_and_never_leaves_in_clear_after_a_crash_or_a_stop() {
    let Some(lab) = Lab::new("tun") else { return };
    let tunnel = || lab.ip("gw", "tuntap add dev warren0 mode tun");
    tunnel();
    lab.ip("gw", "route add default via 10.2.0.2");
    lab.ip("gw", "-6 route add default via 2001:db8:2::2");
    lab.ip("gw", "rule add pref 220 table 220 fwmark 7");
    lab.ip("gw", "route add 192.0.2.0/24 via 10.2.0.2 table 220");
    let tun = Tun { name: "warren0".to_owned(), mtu: 1380, mark: 0x57 };
    let prefix = |text: &str, length| Prefix { address: address(text), length };
    let plan = [
        (prefix("10.9.0.0", 16), Fate::Tunnel(Some(address("10.1.0.1")))),
        (prefix("10.10.0.0", 16), Fate::Tunnel(None)),
        (prefix("2001:db8:9::", 48), Fate::Tunnel(Some(address("2001:db8:1::1")))),
    ];
    let route = |to: &str| lab.run("gw", &format!("ip route get {to}")).1;
    lab.in_gateway(async |_| {
        let mut installed = TunRoutes::install(connect().unwrap(), &tun, plan.into()).await.unwrap();
        Sysctl::default().open_tun("warren0").unwrap();
        assert_eq!(Sysctl::default().open_tun("warren0").unwrap(), Vec::<String>::new());
        let shown = lab.ip("gw", "link show warren0");
        assert!(shown.contains("mtu 1380") && shown.contains(",UP"), "{shown}");
        assert!(route("10.9.1.1").contains("dev warren0 table 220 src 10.1.0.1"), "{}", route("10.9.1.1"));
        assert!(route("10.10.1.1").contains("dev warren0"), "{}", route("10.10.1.1"));
        assert!(route("2001:db8:9::1").contains("dev warren0 table 220"), "{}", route("2001:db8:9::1"));
        assert!(route("2001:db8:9::1").contains("src 2001:db8:1::1"), "{}", route("2001:db8:9::1"));
        for to in ["10.9.1.1 mark 0x57", "2001:db8:9::1 mark 0x57", "203.0.113.1"] {
            assert!(route(to).contains("dev out"), "{}", route(to));
        }

        installed
            .update([plan[1], plan[2], (prefix("10.11.0.0", 16), Fate::Tunnel(None))].into())
            .await
            .unwrap();
        assert!(route("10.11.1.1").contains("dev warren0") && route("10.10.1.1").contains("dev warren0"));
        assert!(route("10.9.1.1").contains("dev out") && route("2001:db8:9::1").contains("dev warren0"));

        lab.ip("gw", "link del warren0");
        for to in ["10.11.1.1", "2001:db8:9::1"] {
            assert!(route(to).contains("No route to host"), "{}", route(to));
        }
        assert!(route("10.11.1.1 mark 0x57").contains("dev out"));

        // The next start finds what the last one left, and takes nothing away before it has its own.
        tunnel();
        let mut watching = lab.watch("gw");
        let installed = TunRoutes::install(connect().unwrap(), &tun, plan.into()).await.unwrap();
        assert!(route("10.11.1.1").contains("No route to host"), "kept until somebody sweeps");
        installed.sweep(tun.mark).await.unwrap();
        assert!(route("10.9.1.1").contains("dev warren0") && route("10.11.1.1").contains("dev out"));
        sleep(Duration::from_millis(300)).await;
        watching.kill().unwrap();
        let seen = String::from_utf8(watching.wait_with_output().unwrap().stdout).unwrap();
        assert!(seen.contains("10.9.0.0/16"), "the watch saw the routes come: {seen}");
        assert!(!seen.lines().any(|line| line.contains("Deleted") && line.contains("lookup 220")), "{seen}");
        assert!(!seen.contains("Deleted unreachable 10.10.0.0/16"), "{seen}");

        // Being told to stop is no reason to let clear text out.
        drop(installed);
        lab.ip("gw", "link del warren0");
        for to in ["10.9.1.1", "10.10.1.1", "2001:db8:9::1"] {
            assert!(route(to).contains("No route to host"), "{}", route(to));
        }
        for family in ["", "-6 "] {
            let rules = lab.ip("gw", &format!("{family}rule show"));
            assert_eq!(rules.matches("0x57").count(), 1, "{rules}");
        }
        assert!(lab.ip("gw", "rule show").contains("0x7"), "somebody else's rule stays");
        assert!(lab.ip("gw", "route show table 220").contains("192.0.2.0/24 via 10.2.0.2 dev out"));
    });
}

#[test] // NT-12
fn a_message_that_came_out_of_a_tunnel_reaches_the_socket_although_its_address_is_on_another_interface() {
    let Some(lab) = Lab::new("ike") else { return };
    for scope in ["all", "default"] {
        assert!(lab.run("gw", &format!("sysctl -qw net.ipv4.conf.{scope}.rp_filter=1")).0);
    }
    lab.ip("gw", "route add default via 10.2.0.2");
    lab.ip("gw", "-6 route add default via 2001:db8:2::2");
    let filter = |interface: &str| lab.run("gw", &format!("sysctl -n net.ipv4.conf.{interface}.rp_filter")).1;
    let before: BTreeMap<_, _> =
        ["in", "out", "all", "default"].map(|interface| (interface, filter(interface))).into();
    let tun = Tun { name: "warren0".to_owned(), mtu: 1380, mark: 0x57 };
    // What rules around the far gateways make of their destinations.
    let prefix = |text: &str, length| Prefix { address: address(text), length };
    let plan = [
        (prefix("198.51.100.2", 32), Fate::Tunnel(Some(address("10.1.0.1")))),
        (prefix("203.0.113.0", 24), Fate::Tunnel(None)),
        (prefix("2001:db8:9::2", 128), Fate::Tunnel(None)),
    ];
    lab.in_gateway(async |_| {
        let mut device = TunPort::open("warren0").unwrap();
        assert_eq!(filter("warren0").trim(), "1", "strict to begin with");
        let _installed = TunRoutes::install(connect().unwrap(), &tun, plan.into()).await.unwrap();
        Sysctl::default().open_tun("warren0").unwrap();
        let mut umem =
            Umem::new(&UmemConfig { frames: 64, frame_octets: 2048, headroom: 256, huge_pages: false })
                .unwrap();
        let mut sockets = Sockets::default();
        assert!(sockets.listen(["10.2.0.1", "2001:db8:2::1"].map(address), tun.mark).is_empty());
        let mut packets = Packets::new(1);
        for (far, near) in [
            ("198.51.100.2:500", "10.2.0.1:500"),
            ("203.0.113.9:61234", "10.2.0.1:4500"),
            ("[2001:db8:9::2]:500", "[2001:db8:2::1]:500"),
        ] {
            for octets in [vec![1; 333], vec![2; 1400]] {
                let sent = Path { local: far.parse().unwrap(), remote: near.parse().unwrap() };
                let packet = packets.of(&sent, &octets).unwrap();
                let mut frame = umem.allocate().unwrap();
                frame.push_back(packet.len()).unwrap().copy_from_slice(&packet);
                device.transmit(&mut umem, &mut vec![frame]);
                let (mut buffer, mut taken) = (Vec::new(), Vec::new());
                let take = |path: Path, octets: &[u8]| taken.push((path, octets.to_vec()));
                let received = timeout(Duration::from_secs(3), sockets.receive(&mut buffer, take)).await;
                assert!(received.is_ok(), "{far}, {} octets", octets.len());
                let way_back = Path { local: sent.remote, remote: sent.local };
                assert_eq!(taken, [(way_back, octets)]);
            }
        }
        // It is the route into the tunnel that lets them in: nobody else writes to the device, and still not everything
        // that might come out of an SA is taken for the sender that it names.
        let stranger =
            Path { local: "192.0.2.66:500".parse().unwrap(), remote: "10.2.0.1:500".parse().unwrap() };
        let mut frame = umem.allocate().unwrap();
        let packet = packets.of(&stranger, b"x").unwrap();
        frame.push_back(packet.len()).unwrap().copy_from_slice(&packet);
        device.transmit(&mut umem, &mut vec![frame]);
        let mut buffer = Vec::new();
        let received = timeout(Duration::from_millis(300), sockets.receive(&mut buffer, |_, _| {})).await;
        assert!(received.is_err(), "its route leads by another interface");
        for interface in ["in", "out", "all", "default"] {
            assert_eq!(
                filter(interface),
                before[interface],
                "{interface} is none of the tun device's business"
            );
        }
    });
}

#[test] // DC-24
fn leased_addresses_are_on_the_device_alone_and_what_a_dead_daemon_left_goes() {
    let Some(lab) = Lab::new("lease") else { return };
    lab.ip("gw", "tuntap add dev warren0 mode tun");
    lab.ip("gw", "link set warren0 up");
    lab.ip("gw", "addr add 10.77.0.1/32 dev warren0");
    let shown = || lab.ip("gw", "addr show dev warren0");
    lab.in_gateway(async |_| {
        let handle = connect().unwrap();
        let link = links::find(&handle, "warren0").await.unwrap().index;
        let mut addresses = TunAddresses::clean(handle.clone(), link).await.unwrap();
        for text in ["10.99.0.7", "2001:db8:99::7", "10.99.0.7"] {
            addresses.add(address(text)).await.unwrap();
        }
        assert!(shown().contains("inet 10.99.0.7/32") && shown().contains("inet6 2001:db8:99::7/128"));
        assert!(!shown().contains("tentative"), "usable at once: {}", shown());
        addresses.remove(address("10.99.0.7")).await.unwrap();
        addresses.remove(address("10.77.0.1")).await.unwrap();
        assert!(!shown().contains("10.99.0.7") && shown().contains("10.77.0.1"), "{}", shown());
        assert_eq!(addresses.addresses().collect::<Vec<_>>(), [address("2001:db8:99::7")]);

        drop(addresses);
        let next = TunAddresses::clean(handle, link).await.unwrap();
        assert!(!shown().contains("2001:db8:99::7"), "a killed daemon's: {}", shown());
        assert!(shown().contains("10.77.0.1"), "the operator's: {}", shown());
        assert_eq!(next.addresses().count(), 0);
    });
}

#[test]
fn the_way_to_a_peer_is_the_one_of_what_never_enters_a_tunnel() {
    let Some(lab) = Lab::new("way") else { return };
    lab.ip("gw", "tuntap add dev warren0 mode tun");
    lab.ip("gw", "link set warren0 up");
    lab.ip("gw", "route add default via 10.2.0.2");
    lab.ip("gw", "rule add not fwmark 0x57 pref 220 table 220");
    lab.ip("gw", "route add 198.51.100.0/24 dev warren0 table 220");
    lab.in_gateway(async |_| {
        let handle = connect().unwrap();
        let interface =
            async |to: &str, mark| way::interface_towards(&handle, address(to), mark).await.unwrap();
        assert_eq!(interface("198.51.100.2", 0x57).await.as_deref(), Some("out"));
        assert_eq!(interface("198.51.100.2", 0).await.as_deref(), Some("warren0"), "without the mark");
        assert_eq!(interface("10.1.0.2", 0x57).await.as_deref(), Some("in"));
        assert_eq!(interface("2001:db8:2::2", 0x57).await.as_deref(), Some("out"));
        assert_eq!(interface("10.1.0.1", 0x57).await.as_deref(), Some("lo"), "ourselves");
        assert_eq!(interface("2001:db8:77::1", 0x57).await, None);
        assert_eq!(way::source_towards(address("198.51.100.2"), 0x57).unwrap(), address("10.2.0.1"));
        assert_eq!(way::source_towards(address("2001:db8:1::2"), 0x57).unwrap(), address("2001:db8:1::1"));
        assert!(way::source_towards(address("2001:db8:77::1"), 0x57).is_err());
    });
}

#[test]
fn a_veth_refuses_flow_rules_cleanly_and_it_is_said() {
    let Some(lab) = Lab::new("flows") else { return };
    lab.in_gateway(async |_| {
        let table = EthtoolFlows::open("out").unwrap();
        let steering = PortSteering::open(Ok(Box::new(table)), 2, 2);
        assert_eq!(steering.words(), "none: the driver cannot");
        let none = EthtoolFlows::open("gone").unwrap();
        let words = PortSteering::open(Ok(Box::new(none)), 2, 2).words();
        assert!(words.starts_with("none: ") && !words.contains("driver"), "{words}");
    });
}

#[test] // F-24
fn a_closed_port_forwards_nothing_in_either_family_and_still_reaches_the_gateway() {
    let Some(lab) = Lab::new("guard") else { return };
    for variable in
        ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=1"]
    {
        assert!(lab.run("gw", &format!("sysctl -qw {variable}")).0);
    }
    assert!(lab.pings("h1", "10.2.0.2") && lab.pings("h1", "2001:db8:2::2"), "it forwards to begin with");
    lab.in_gateway(async |_| {
        let handle = connect().unwrap();
        for _ in 0..2 {
            for port in ["in", "out"] {
                Sysctl::default().close_port(port).unwrap();
                guard::close_port(&handle, port).await.unwrap();
            }
        }
        let rules = lab.ip("gw", "-6 rule show");
        assert_eq!(rules.matches("blackhole").count(), 2, "{rules}");
    });
    let read = |name: &str| lab.run("gw", &format!("sysctl -n {name}")).1.trim().to_owned();
    assert_eq!(
        (read("net.ipv4.conf.in.forwarding"), read("net.ipv6.conf.out.forwarding")),
        ("0".into(), "0".into())
    );
    assert_eq!(
        (read("net.ipv4.conf.in.rp_filter"), read("net.ipv6.conf.in.accept_ra")),
        ("2".into(), "0".into())
    );
    for (host, far) in [("h1", 2), ("h2", 1)] {
        assert!(!lab.pings(host, &format!("10.{far}.0.2")), "{host}: IPv4 in clear");
        assert!(!lab.pings(host, &format!("2001:db8:{far}::2")), "{host}: IPv6 in clear");
    }
    for (host, near) in [("h1", 1), ("h2", 2)] {
        assert!(
            lab.pings(host, &format!("10.{near}.0.1")) && lab.pings(host, &format!("2001:db8:{near}::1"))
        );
        assert!(
            lab.pings("gw", &format!("10.{near}.0.2")) && lab.pings("gw", &format!("2001:db8:{near}::2"))
        );
    }
}

#[test]
fn an_interface_is_found_by_its_name_or_said_to_be_missing() {
    let Some(lab) = Lab::new("links") else { return };
    lab.in_gateway(async |mirror| {
        let (view, roles) = (mirror.view(), roles());
        let found = links::find(&connect().unwrap(), "out").await.unwrap();
        assert_eq!(Some(found.index), view.tables.link_of(&roles, PortIndex(1)));
        assert_eq!((found.link.mac, found.link.mtu), (view.forwarding.ports[1].mac, 1500));
        assert!(found.queues >= 1);
        assert_eq!(links::harmful_offloads("nothing", true), Vec::<&str>::new());
        let missing = links::find(&connect().unwrap(), "nothing").await.unwrap_err().to_string();
        assert_eq!(missing, "there is no interface `nothing`");
    });
}
