//! Peers that no configuration names.

use super::harness::{Side, peer_configs};
use super::secs;
use crate::limits::DYNAMIC_PEERS_MAX;
use crate::{
    ChildConfig, Discard, Down, Mode, NatTraversal, Path, PeerConfig, Remote, RemoteIdentity, Xauth,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{Lifetime, PeerId, Secret};

const SERVER: [u8; 4] = [192, 0, 2, 2];
const MODES: [Mode; 3] = [Mode::Main, Mode::Aggressive, Mode::Base];

fn template(mode: Mode) -> PeerConfig {
    let [_, right] = peer_configs();
    PeerConfig {
        mode,
        name: "staff".to_owned(),
        remote: Remote::Any,
        remote_identity: RemoteIdentity::Any,
        ..right
    }
}

fn client(mode: Mode, address: [u8; 4], identity: &str) -> PeerConfig {
    let [left, _] = peer_configs();
    PeerConfig { mode, local: address.into(), local_identity: identity.parse().unwrap(), ..left }
}

/// One client, and how the world sees it: a NAT may change its address and ports.
struct Client {
    side: Side,
    inside: IpAddr,
    outside: IpAddr,
    offset: u16,
}

/// A server and its clients, on a network without delay.
struct World {
    now: Duration,
    server: Side,
    clients: Vec<Client>,
}

impl World {
    fn new(peers: Vec<PeerConfig>) -> Self {
        Self { now: secs(1), server: Side::new(peers, Vec::new(), 99), clients: Vec::new() }
    }

    /// A client that the server sees at that address, with its ports moved up.
    fn join(&mut self, config: PeerConfig, outside: [u8; 4], offset: u16) -> usize {
        let inside = config.local;
        let side = Side::new(vec![config], Vec::new(), self.clients.len() as u64 + 1);
        self.clients.push(Client { side, inside, outside: outside.into(), offset });
        self.clients.len() - 1
    }

    fn connect(&mut self, client: usize) {
        let now = self.now;
        self.clients[client].side.endpoint.begin_phase_one(now, PeerId(0));
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            let mut quiet = true;
            for client in &mut self.clients {
                for (path, octets) in client.side.drain() {
                    quiet = false;
                    let remote = SocketAddr::new(client.outside, path.local.port() + client.offset);
                    let seen = Path { local: path.remote, remote };
                    self.server.endpoint.handle_datagram(self.now, seen, &octets);
                }
            }
            for (path, octets) in self.server.drain() {
                quiet = false;
                for client in &mut self.clients {
                    let Some(port) = path.remote.port().checked_sub(client.offset) else { continue };
                    if path.remote.ip() == client.outside && [500, 4500].contains(&port) {
                        let local = SocketAddr::new(client.inside, port);
                        let seen = Path { local, remote: path.local };
                        client.side.endpoint.handle_datagram(self.now, seen, &octets);
                    }
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the conversation does not come to rest");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.endpoint.handle_timeout(self.now);
        for client in &mut self.clients {
            client.side.endpoint.handle_timeout(self.now);
        }
        self.settle();
    }

    /// Peers of the server that came under a template.
    fn dynamic(&self) -> Vec<PeerId> {
        self.server
            .endpoint
            .peers
            .values()
            .filter(|held| held.who.is_some())
            .map(|held| held.config.id)
            .collect()
    }
}

fn address(number: u8) -> [u8; 4] {
    [198, 51, 100, number]
}

#[test] // DC-2, DC-21
fn everybody_who_authenticates_under_a_template_is_a_peer_of_its_own() {
    for mode in MODES {
        let mut world = World::new(vec![template(mode)]);
        for number in 1..=3 {
            let config = client(mode, address(number), &format!("client{number}.test"));
            let client = world.join(config, address(number), 0);
            world.connect(client);
        }
        let came = &world.server.came;
        assert_eq!(came.len(), 3, "{mode}");
        for ((peer, template, identity), number) in came.iter().zip(1u8..) {
            assert_eq!(*peer, PeerId((1 << 31) + u32::from(number) - 1), "{mode}");
            assert_eq!(*template, Some(PeerId(0)), "{mode}");
            assert_eq!(identity.to_string(), format!("client{number}.test"), "{mode}");
            let held = world.server.endpoint.peer(*peer);
            assert_eq!(held.config.remote, Remote::Host(address(number).into()));
            assert_eq!(held.config.name, format!("staff/client{number}.test"));
            assert!(held.current.is_some(), "{mode}");
        }
        assert!(world.server.endpoint.peer(PeerId(0)).isakmps.is_empty(), "{mode}");
        for client in &world.clients {
            // The client configured its server: that is one peer.
            assert_eq!((client.side.came[0].0, client.side.came[0].1), (PeerId(0), None), "{mode}");
        }
    }
}

#[test]
fn the_same_identity_is_the_same_peer_wherever_it_comes_from() {
    for mode in MODES {
        let mut world = World::new(vec![template(mode)]);
        let first = world.join(client(mode, address(1), "client.test"), address(1), 0);
        world.connect(first);
        world.pass(secs(20));
        // It renews, and later comes from elsewhere.
        world.connect(first);
        let moved = world.join(client(mode, address(7), "client.test"), address(7), 0);
        world.connect(moved);
        assert_eq!(world.server.came.len(), 1, "{mode}");
        assert_eq!(world.dynamic(), [PeerId(1 << 31)], "{mode}");
        let held = world.server.endpoint.peer(PeerId(1 << 31));
        assert_eq!(held.config.remote, Remote::Host(address(7).into()), "{mode}");
    }
}

#[test] // DC-24
fn members_of_a_group_that_share_one_identity_are_peers_of_their_own() {
    let password = || Secret::new(b"wonderland".to_vec());
    for mode in MODES {
        let users = ["alice", "bob"].map(|user| (user.to_owned(), password()));
        let group = PeerConfig { xauth: Xauth::Server(Arc::new(users.into())), ..template(mode) };
        let mut world = World::new(vec![group]);
        for (number, user) in [(1, "alice"), (2, "bob")] {
            let xauth = Xauth::Client { user: user.to_owned(), password: password() };
            let config = PeerConfig { xauth, ..client(mode, address(number), "group.test") };
            let client = world.join(config, address(number), 0);
            world.connect(client);
        }
        assert_eq!(world.dynamic().len(), 2, "{mode}");
        // One of them renews: it is known again.
        world.pass(secs(20));
        world.connect(0);
        assert_eq!(world.dynamic().len(), 2, "{mode}");
        assert!(world.server.went.is_empty(), "{mode}");
        let name = &world.server.endpoint.peer(world.server.came[0].0).config.name;
        assert!(name.starts_with("staff/group.test/198.51.100.1:"), "{mode}: {name}");
    }
}

#[test] // F-3
fn clients_behind_one_address_do_not_disturb_each_other() {
    for mode in MODES {
        let mut world = World::new(vec![template(mode)]);
        let outside = [203, 0, 113, 5];
        for number in 1..=4u8 {
            let config = client(mode, [10, 0, 0, number], &format!("client{number}.test"));
            let client = world.join(config, outside, u16::from(number) * 100);
            // Each says INITIAL-CONTACT.
            world.connect(client);
            world.pass(secs(1));
        }
        assert_eq!(world.server.came.len(), 4, "{mode}");
        assert!(world.server.went.is_empty(), "{mode}");
        for (number, (peer, ..)) in world.server.came.iter().enumerate() {
            let current = world.server.endpoint.peer(*peer).current.unwrap();
            let isakmp = &world.server.endpoint.isakmps[&current];
            let port = 4500 + (number as u16 + 1) * 100;
            assert_eq!(isakmp.path.remote, SocketAddr::new(outside.into(), port), "{mode}");
            assert!(isakmp.nat().float && isakmp.nat().remote, "{mode}");
        }
        // One goes, by its own word; the others stay.
        let now = world.now;
        world.clients[1].side.endpoint.close_peer(now, PeerId(0));
        world.settle();
        assert_eq!(world.server.went, [world.server.came[1].0], "{mode}");
        assert_eq!(world.dynamic().len(), 3, "{mode}");
        // One restarts and says so: only its own SA is replaced.
        let again = world.join(client(mode, [10, 0, 0, 1], "client1.test"), outside, 900);
        world.pass(secs(1));
        world.connect(again);
        assert_eq!(world.dynamic().len(), 3, "{mode}");
        assert_eq!(world.server.endpoint.isakmps.len(), 3, "{mode}");
    }
}

fn child(rule: u32, peer: PeerId) -> ChildConfig {
    ChildConfig {
        rule: super::rule(rule),
        peer,
        selector: super::harness::selector(rule).mirrored(),
        proposals: vec!["aes128gcm16".parse().unwrap()],
        lifetime: Lifetime { seconds: 1200, kilobytes: None },
        window_packets: 4096,
        is_divisible: false,
        mode: warren_policy::SaMode::Tunnel,
        carrier: warren_seam::Carrier::Network,
    }
}

/// What a server does once it knows the policy of a client.
fn serve(side: &mut Side, child: ChildConfig) {
    let endpoint = &mut side.endpoint;
    endpoint.by_selector.insert((child.peer, child.selector, child.mode), vec![child.rule]);
    endpoint.rules.insert(child.rule, Arc::new(child));
}

#[test]
fn a_peer_of_a_template_goes_with_its_last_sa_and_comes_back_as_another() {
    for mode in MODES {
        let mut world = World::new(vec![template(mode)]);
        let first = world.join(client(mode, address(1), "client.test"), address(1), 0);
        world.connect(first);
        let peer = world.server.came[0].0;
        serve(&mut world.server, child(5, peer));
        let now = world.now;
        world.clients[first].side.endpoint.close_peer(now, PeerId(0));
        world.settle();
        assert_eq!(
            (world.server.went.clone(), world.server.peer_downs.clone()),
            (vec![peer], vec![Down::DeletedByPeer])
        );
        let endpoint = &world.server.endpoint;
        assert!(world.dynamic().is_empty() && endpoint.dynamic.is_empty() && endpoint.isakmps.is_empty());
        assert!(endpoint.rules.is_empty() && endpoint.by_selector.is_empty() && endpoint.leaving.is_empty());
        // Who is gone cannot be called.
        world.server.endpoint.open_child(now, super::rule(5));
        world.settle();
        assert_eq!(world.server.failed.len(), 1);
        world.connect(first);
        assert_ne!(world.server.came[1].0, peer, "{mode}");
    }
}

#[test]
fn a_server_does_not_call_whom_no_address_is_configured_for() {
    let mut world = World::new(vec![template(Mode::Main)]);
    let first = world.join(client(Mode::Main, address(1), "client.test"), address(1), 0);
    world.connect(first);
    let sent = world.server.counters().transmitted;
    // Near the end of the lifetime; the client is silent.
    world.clients.clear();
    for _ in 0..40 {
        world.pass(secs(95));
    }
    let peer = world.server.came[0].0;
    assert_eq!(
        (world.server.went.clone(), world.server.peer_downs.clone()),
        (vec![peer], vec![Down::Expired])
    );
    // The Delete, and nothing else.
    assert_eq!(world.server.counters().transmitted, sent + 1);
    assert!(world.server.endpoint.poll_timeout().is_none());
    world.server.endpoint.begin_phase_one(world.now, PeerId(0));
    assert!(world.server.drain().is_empty());
}

#[test]
fn closing_a_template_closes_all_under_it() {
    let mut world = World::new(vec![template(Mode::Main)]);
    for number in 1..=3 {
        let config = client(Mode::Main, address(number), &format!("client{number}.test"));
        let client = world.join(config, address(number), 0);
        world.connect(client);
    }
    let now = world.now;
    world.server.endpoint.close_peer(now, PeerId(0));
    world.settle();
    assert_eq!(world.server.went.len(), 3);
    assert!(world.dynamic().is_empty());
    assert!(world.clients.iter().all(|client| client.side.peer_downs == [Down::DeletedByPeer]));
}

#[test]
fn a_new_configuration_keeps_whoever_came_under_an_unchanged_template() {
    let other = PeerConfig {
        id: PeerId(1),
        name: "guests".to_owned(),
        local: [192, 0, 2, 3].into(),
        ..template(Mode::Main)
    };
    let mut world = World::new(vec![template(Mode::Main), other.clone()]);
    let staff = world.join(client(Mode::Main, address(1), "client1.test"), address(1), 0);
    let mut config = client(Mode::Main, address(2), "client2.test");
    config.remote = Remote::Host([192, 0, 2, 3].into());
    let guest = world.join(config, address(2), 0);
    world.connect(staff);
    world.connect(guest);
    assert_eq!(
        world.server.came.iter().map(|came| came.1).collect::<Vec<_>>(),
        [Some(PeerId(0)), Some(PeerId(1))]
    );
    let (kept, gone) = (world.server.came[0].0, world.server.came[1].0);
    serve(&mut world.server, child(5, kept));
    serve(&mut world.server, child(6, gone));
    let now = world.now;
    let changed = PeerConfig { lifetime: 777, ..other };
    world.server.endpoint.reconfigure(now, vec![template(Mode::Main), changed], Vec::new());
    world.settle();
    assert_eq!(world.server.went, [gone]);
    assert_eq!(world.dynamic(), [kept]);
    let rules: Vec<_> = world.server.endpoint.rules.keys().copied().collect();
    assert_eq!(rules, [super::rule(5)]);
    assert_eq!(world.server.endpoint.by_selector.len(), 1);
    assert!(world.clients[staff].side.peer_downs.is_empty());
    // And without the template nobody stays.
    world.server.endpoint.reconfigure(now, Vec::new(), Vec::new());
    world.settle();
    assert_eq!(world.server.went, [gone, kept]);
    assert!(world.server.endpoint.peers.is_empty() && world.server.endpoint.dynamic.is_empty());
}

#[test]
fn a_peer_of_one_address_comes_before_a_template() {
    for mode in MODES {
        let [_, right] = peer_configs();
        let own = PeerConfig {
            id: PeerId(1),
            mode,
            remote: Remote::Host(address(1).into()),
            remote_identity: RemoteIdentity::Exactly("client1.test".parse().unwrap()),
            ..right
        };
        let mut world = World::new(vec![template(mode), own]);
        // Another at the same address: behind a NAT, say.
        for (identity, peer, offset) in
            [("client1.test", PeerId(1), 0), ("client2.test", PeerId(1 << 31), 100)]
        {
            let client = world.join(client(mode, address(1), identity), address(1), offset);
            world.connect(client);
            assert_eq!(world.server.came.last().unwrap().0, peer, "{mode}");
        }
    }
}

#[test]
fn more_peers_than_the_limit_are_refused_and_those_that_are_there_stay() {
    let mut world = World::new(vec![template(Mode::Main)]);
    let first = world.join(client(Mode::Main, address(1), "client.test"), address(1), 0);
    world.connect(first);
    let config = Arc::clone(&world.server.endpoint.peer(PeerId(0)).config);
    let path = Path { local: (SERVER, 500).into(), remote: (address(9), 500).into() };
    for number in 1..DYNAMIC_PEERS_MAX {
        let identity = format!("filler{number}.test").parse().unwrap();
        world.server.endpoint.settle(Arc::clone(&config), &identity, path).unwrap();
    }
    for mode in MODES {
        let refused = world.server.endpoint.settle(Arc::clone(&config), &"one.more".parse().unwrap(), path);
        assert_eq!(refused.err(), Some(Discard::PeersFull), "{mode}");
    }
    let late = world.join(client(Mode::Main, address(2), "late.test"), address(2), 0);
    // Who was only announced and has no SA goes with the next message.
    world.connect(late);
    assert_eq!(world.dynamic().len(), 2);
    assert!(world.server.went.is_empty());
}

#[test]
fn a_client_takes_whoever_holds_the_secret_for_its_one_server() {
    let mut world = World::new(vec![template(Mode::Main)]);
    let mut config = client(Mode::Main, address(1), "client.test");
    config.remote_identity = RemoteIdentity::Any;
    config.config_mode = crate::ConfigMode::Client;
    config.nat_traversal = NatTraversal::Auto;
    let first = world.join(config, address(1), 0);
    world.connect(first);
    let came = &world.clients[first].side.came;
    assert_eq!((came[0].0, came[0].1, came[0].2.to_string()), (PeerId(0), None, "right.test".to_owned()));
    assert!(world.clients[first].side.endpoint.dynamic.is_empty());
}
