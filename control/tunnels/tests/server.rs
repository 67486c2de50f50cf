//! A server, with clients that say what the test wants them to say.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use support::configured::*;
use support::puppet::{Call, Effect, Theatre};
use support::world::seconds;
use warren_ike::wire::{ConfigAttribute, SetMessage};
use warren_ike::{ConfigExchange, Down, Output};
use warren_policy::{PeerId, RuleId};
use warren_tunnels::{Lease, Notice, TunnelsConfig};

/// The first peer that no file names.
const FIRST: u32 = 1 << 31;

fn theatre(config: TunnelsConfig) -> Theatre {
    Theatre::new(config, Vec::new())
}

fn office() -> TunnelsConfig {
    server(vec![served("office", &["10.1.0.0/16"]), served("lab", &["10.2.0.0/16"])], "10.99.0.0/24")
}

/// A client comes, authenticates as `identity` and asks. Returns the peer and what it was told.
fn ask(
    theatre: &mut Theatre,
    number: u32,
    identity: &str,
    user: Option<&str>,
) -> (PeerId, Vec<ConfigAttribute>) {
    let peer = PeerId(FIRST + number);
    let remote = format!("203.0.{}.{}", number / 200, number % 200 + 1);
    theatre.stage.borrow_mut().come(peer, Some(PEER), identity, &remote);
    theatre.say(Output::Configurable { peer, speaks_policy: true, user: user.map(str::to_owned) });
    let attributes = vec![ConfigAttribute::PolicyVersion(Some(1)), ConfigAttribute::Ip4Address(None)];
    theatre.calls();
    theatre.say(Output::ConfigAsked { peer, exchange: ConfigExchange(number), attributes });
    let calls = theatre.calls();
    let reply = calls.iter().find_map(|call| match call {
        Call::Reply(to, exchange, reply) if (*to, exchange.0) == (peer, number) => Some(reply.clone()),
        _ => None,
    });
    (peer, reply.unwrap())
}

fn address_in(reply: &[ConfigAttribute]) -> Option<String> {
    reply.iter().find_map(|attribute| match attribute {
        ConfigAttribute::Ip4Address(Some(address)) => Some(address.to_string()),
        _ => None,
    })
}

fn sets_in(reply: &[ConfigAttribute]) -> Vec<String> {
    let name = |attribute: &ConfigAttribute| match attribute {
        ConfigAttribute::PolicySet(SetMessage::Offered(set)) => Some(set.name.clone()),
        _ => None,
    };
    reply.iter().filter_map(name).collect()
}

fn error_in(reply: &[ConfigAttribute]) -> Option<String> {
    reply.iter().find_map(|attribute| match attribute {
        ConfigAttribute::PolicyError(error) => error.clone(),
        _ => None,
    })
}

#[test] // DC-2, DC-6, DC-7, DC-11, DC-22
fn the_answer_leaves_when_lease_rules_and_children_are_there() {
    let mut theatre = theatre(office());
    theatre.effects();
    let peer = PeerId(FIRST);
    theatre.stage.borrow_mut().come(peer, Some(PEER), "alice@corp.test", "203.0.113.7");
    theatre.say(Output::Configurable { peer, speaks_policy: true, user: None });
    let attributes = vec![ConfigAttribute::PolicyVersion(Some(1))];
    theatre.say(Output::ConfigAsked { peer, exchange: ConfigExchange(9), attributes });
    let calls = theatre.calls();
    let [Call::Add(office), Call::Add(lab), Call::Reply(to, ConfigExchange(9), reply)] = &calls[..] else {
        panic!("{calls:?}")
    };
    assert_eq!(*to, peer);
    assert_eq!(office.selector.to_string(), "10.1.0.0/16 -> 10.99.0.1/32");
    assert_eq!((office.peer, lab.rule), (peer, RuleId(1)));
    assert_eq!(sets_in(reply), ["office", "lab"]);
    assert_eq!(address_in(reply).unwrap(), "10.99.0.1");
    let effects = theatre.effects();
    assert!(matches!(effects[..2], [Effect::Keep(_), Effect::Engine("rules")]), "{effects:?}");
    let rule = &theatre.tunnels.rules().tunnel[0];
    assert_eq!((rule.peer, rule.gateway), (peer, ip("203.0.113.7").into()));
    let served = theatre.tunnels.served().remove(0);
    assert_eq!((served.server, served.policy.as_str()), (PEER, "warriors"));
    assert_eq!(served.sets[1].rules, [RuleId(1)]);
    assert_eq!(served.addresses, [ip("10.99.0.1")]);
}

#[test] // DC-24
fn a_client_that_is_not_warren_gets_addresses_and_networks_and_the_same_children() {
    let mut theatre = theatre(office());
    let peer = PeerId(FIRST);
    theatre.stage.borrow_mut().come(peer, Some(PEER), "bob@corp.test", "203.0.113.7");
    theatre.say(Output::Configurable { peer, speaks_policy: false, user: None });
    let attributes = vec![
        ConfigAttribute::Ip4Address(None),
        ConfigAttribute::Ip4Dns(None),
        ConfigAttribute::Ip4Subnet(None),
        ConfigAttribute::ApplicationVersion(None),
        ConfigAttribute::SupportedAttributes(None),
    ];
    theatre.say(Output::ConfigAsked { peer, exchange: ConfigExchange(9), attributes });
    let calls = theatre.calls();
    let Some(Call::Reply(_, _, reply)) = calls.last() else { panic!("{calls:?}") };
    assert!(sets_in(reply).is_empty());
    assert_eq!(address_in(reply).unwrap(), "10.99.0.1");
    let subnets = reply.iter().filter(|attribute| matches!(attribute, ConfigAttribute::Ip4Subnet(Some(_))));
    assert_eq!(subnets.count(), 2);
    assert!(!reply.iter().any(|attribute| matches!(attribute, ConfigAttribute::Banner(_))), "not asked for");
    // Besides the sets' there is one SA for everything, which permits nothing that they do not.
    let rules = theatre.tunnels.rules();
    let selectors: Vec<_> = rules.tunnel.iter().map(|rule| rule.selector.to_string()).collect();
    assert_eq!(selectors.len(), 3);
    assert_eq!(selectors[2], "0.0.0.0/0 -> 10.99.0.1/32", "tried last while it is not up");
    let permits = |rule: &&warren_policy::TransportRule| rule.selector.to_string() == selectors[2];
    assert!(!rules.transport.iter().any(|rule| permits(&rule)));
    let sets = theatre.tunnels.served().remove(0).sets;
    assert_eq!(sets.iter().flat_map(|set| set.rules.clone()).collect::<Vec<_>>(), [RuleId(0), RuleId(1)]);
}

#[test] // DC-24
fn one_sa_for_everything_is_tried_first_while_it_is_up_and_permits_no_more_than_the_sets() {
    let mut theatre = theatre(office());
    let peer = PeerId(FIRST);
    theatre.stage.borrow_mut().come(peer, Some(PEER), "bob@corp.test", "203.0.113.7");
    theatre.say(Output::Configurable { peer, speaks_policy: false, user: None });
    let attributes = vec![ConfigAttribute::SplitInclude(None)];
    theatre.say(Output::ConfigAsked { peer, exchange: ConfigExchange(9), attributes });
    let order = |theatre: &Theatre| {
        let rules = theatre.tunnels.rules();
        let sources = |rule: &warren_policy::TunnelRule| rule.selector.source.to_string();
        (rules.tunnel.iter().map(sources).collect::<Vec<_>>(), rules.transport.len())
    };
    let own = theatre.tunnels.rules().transport.len() - 2;
    let whole = RuleId(2);
    assert_eq!(theatre.tunnels.child(whole).unwrap().selector.to_string(), "0.0.0.0/0 -> 10.99.0.1/32");
    let (office, lab, any) = ("10.1.0.0/16".to_owned(), "10.2.0.0/16".to_owned(), "0.0.0.0/0".to_owned());
    let last = (vec![office.clone(), lab.clone(), any.clone()], own + 2);
    assert_eq!(order(&theatre), last);
    assert!(theatre.tunnels.up(theatre.now, whole));
    theatre.drain();
    assert_eq!(order(&theatre), (vec![any, office, lab], own + 2));
    assert!(theatre.tunnels.down(theatre.now, whole));
    theatre.drain();
    assert_eq!(order(&theatre), last);
}

#[test] // DC-24
fn who_speaks_policy_gets_no_sa_for_everything() {
    let mut theatre = theatre(office());
    ask(&mut theatre, 0, "alice@corp.test", None);
    assert_eq!(theatre.tunnels.rules().tunnel.len(), 2);
}

#[test]
fn a_peer_that_is_nobodys_client_is_told_nothing() {
    let mut theatre = theatre(support::world::config(1, 0, warren_tunnels::Start::OnTraffic));
    theatre.stage.borrow_mut().come(PEER, None, "left.test", "198.51.100.1");
    let attributes = vec![ConfigAttribute::Ip4Address(None)];
    theatre.say(Output::ConfigAsked { peer: PEER, exchange: ConfigExchange(1), attributes });
    assert_eq!(theatre.calls(), [Call::Reply(PEER, ConfigExchange(1), Vec::new())]);
    assert!(theatre.tunnels.served().is_empty());
}

#[test] // DC-8
fn where_we_push_the_policy_goes_out_as_soon_as_phase_1_is_over() {
    let mut config = office();
    config.servers[0].pushes = true;
    let mut theatre = theatre(config);
    let peer = PeerId(FIRST);
    theatre.stage.borrow_mut().come(peer, Some(PEER), "alice@corp.test", "203.0.113.7");
    theatre.say(Output::Configurable { peer, speaks_policy: true, user: None });
    let calls = theatre.calls();
    let [Call::Add(_), Call::Add(_), Call::Push(to, pushed)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((*to, sets_in(pushed)), (peer, vec!["office".to_owned(), "lab".to_owned()]));
    let refusal = |id, why: Option<&str>| {
        let refusal = why.map(str::to_owned);
        ConfigAttribute::PolicySet(SetMessage::Acknowledged { id, refusal })
    };
    let attributes = vec![refusal(1, None), refusal(2, Some("too\u{7} wide")), refusal(77, Some("unknown"))];
    theatre.say(Output::ConfigAcknowledged { peer, attributes });
    let refused = theatre.tunnels.served().remove(0).refused;
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].name.as_str(), refused[0].reason.as_str()), ("lab", "too  wide"));
}

#[test] // DC-26
fn a_reload_pushes_what_is_different_and_keeps_what_is_not() {
    let mut theatre = theatre(office());
    let (alice, _) = ask(&mut theatre, 0, "alice@corp.test", None);
    let (bob, _) = ask(&mut theatre, 1, "bob@corp.test", None);
    // Alice's first tunnel is up.
    let packet = warren_policy::FiveTuple {
        source: ip("10.1.0.1"),
        destination: ip("10.99.0.1"),
        protocol: 17,
        source_port: None,
        destination_port: None,
    };
    let event = warren_seam::Event::Acquire { rule: RuleId(0), packet };
    theatre.tunnels.handle_event(theatre.now, event);
    theatre.drain();
    let bound = theatre.engine.bound.clone();
    assert_eq!(bound.len(), 1);
    theatre.calls();
    theatre.tunnels.reconfigure(theatre.now, office());
    theatre.drain();
    assert_eq!(theatre.calls(), [Call::Reconfigure], "nothing is different");
    let mut other = office();
    other.policies[0].sets[1] = served("labs", &["10.2.0.0/16", "10.3.0.0/16"]);
    theatre.effects();
    theatre.tunnels.reconfigure(theatre.now, other);
    theatre.drain();
    let calls = theatre.calls();
    let pushed: Vec<_> = calls.iter().filter(|call| matches!(call, Call::Push(..))).collect();
    assert_eq!(pushed.len(), 2);
    let Call::Push(to, attributes) = pushed[0] else { panic!() };
    assert_eq!((*to, sets_in(attributes)), (alice, vec!["office".to_owned(), "labs".to_owned()]));
    assert!(matches!(pushed[1], Call::Push(to, _) if *to == bob));
    assert_eq!(theatre.engine.bound, bound, "the unchanged SA carries traffic all the time");
    assert!(!theatre.effects().contains(&Effect::Engine("unbind")));
    assert_eq!(theatre.tunnels.rules().tunnel.len(), 6);
}

#[test]
fn a_server_that_is_no_server_any_more_lets_its_clients_go() {
    let mut theatre = theatre(office());
    ask(&mut theatre, 0, "alice@corp.test", None);
    let mut none = office();
    none.servers.clear();
    theatre.tunnels.reconfigure(theatre.now, none);
    theatre.drain();
    assert!(theatre.tunnels.served().is_empty() && theatre.tunnels.rules().tunnel.is_empty());
}

#[test] // DC-26
fn a_client_that_goes_leaves_no_rule_behind_and_finds_its_address_again() {
    let mut theatre = theatre(office());
    let (alice, reply) = ask(&mut theatre, 0, "alice@corp.test", None);
    let (_, other) = ask(&mut theatre, 1, "bob@corp.test", None);
    assert_ne!(address_in(&reply), address_in(&other));
    theatre.stage.borrow_mut().lose(alice, Down::DeadPeer);
    theatre.play();
    assert_eq!(theatre.tunnels.rules().tunnel.len(), 2);
    assert_eq!(theatre.tunnels.served().len(), 1);
    let leases = theatre.tunnels.leases();
    assert_eq!(leases.iter().map(|lease| lease.active).collect::<Vec<_>>(), [false, true]);
    let (_, again) = ask(&mut theatre, 2, "alice@corp.test", None);
    assert_eq!(address_in(&reply), address_in(&again));
    let ids: BTreeSet<_> = theatre.tunnels.rules().tunnel.iter().map(|rule| rule.id.0).collect();
    assert_eq!(ids, (0..4).collect(), "identifiers stay dense");
}

#[test] // DC-24
fn a_full_pool_takes_back_what_was_away_the_longest_and_then_says_that_it_is_full() {
    let mut theatre = theatre(server(vec![served("office", &["10.1.0.0/16"])], "10.99.0.0/29"));
    let peers: Vec<_> =
        (0..6).map(|at| ask(&mut theatre, at, &format!("user{at}@corp.test"), None)).collect();
    let addresses: BTreeSet<_> = peers.iter().filter_map(|(_, reply)| address_in(reply)).collect();
    assert_eq!(addresses.len(), 6, "neither the network's address nor the broadcast");
    assert!(!addresses.contains("10.99.0.0") && !addresses.contains("10.99.0.7"));
    let (_, refused) = ask(&mut theatre, 6, "late@corp.test", None);
    assert_eq!((address_in(&refused), sets_in(&refused)), (None, Vec::new()));
    assert_eq!(error_in(&refused).unwrap(), "pool road has no address left");
    assert!(theatre.notices.iter().any(|notice| matches!(notice, Notice::ServedLess { .. })));
    for at in [3, 1] {
        theatre.stage.borrow_mut().lose(peers[at].0, Down::DeadPeer);
        theatre.play();
    }
    theatre.effects();
    let (_, late) = ask(&mut theatre, 7, "late@corp.test", None);
    assert_eq!(address_in(&late), address_in(&peers[1].1), "user1 used its own before user3 did");
    let effects = theatre.effects();
    let drop_at = effects.iter().position(|effect| matches!(effect, Effect::Drop(_))).unwrap();
    let keep_at = effects.iter().position(|effect| matches!(effect, Effect::Keep(_))).unwrap();
    assert!(drop_at < keep_at);
    let pool = theatre.tunnels.pools().remove(0);
    assert_eq!((pool.total, pool.used, pool.active, pool.exhausted), (6, 6, 5, 1));
}

#[test] // DC-24
fn ten_thousand_clients_at_a_small_pool_leave_nothing_behind_but_a_count() {
    let mut theatre = theatre(server(vec![served("office", &["10.1.0.0/16"])], "10.99.0.0/30"));
    for at in 0..10_000 {
        let (peer, _) = ask(&mut theatre, at, &format!("user{at}@corp.test"), None);
        if at > 1 {
            theatre.stage.borrow_mut().lose(peer, Down::DeletedByPeer);
            theatre.play();
        }
        theatre.effects.clear();
        theatre.notices.clear();
    }
    let pool = theatre.tunnels.pools().remove(0);
    assert_eq!((pool.used, pool.exhausted), (2, 9998));
    assert_eq!((theatre.tunnels.served().len(), theatre.tunnels.rules().tunnel.len()), (2, 2));
    assert_eq!(theatre.tunnels.leases().len(), 2);
}

#[test] // DC-24
fn leases_of_an_earlier_life_are_found_again_and_strange_ones_dropped() {
    let lease = |pool: &str, holder: &str, address: &str, used| Lease {
        pool: pool.to_owned(),
        holder: holder.to_owned(),
        address: ip(address),
        used,
    };
    let strange = [
        lease("gone", "x.test", "10.98.0.1", 1),
        lease("road", "y.test", "10.98.0.1", 1),
        lease("road", "z.test", "10.99.0.255", 1),
        lease("road", "other.test", "10.99.0.44", 9),
        lease("road", "eve.test", "10.99.0.5", 9),
    ];
    let mut config = office();
    config.pools[0].statics = vec![("carol@corp.test".parse().unwrap(), ip("10.99.0.5"))];
    let mut leases = vec![lease("road", "alice@corp.test", "10.99.0.44", 7)];
    leases.extend(strange.clone());
    let mut theatre = Theatre::new(config, leases);
    let dropped: Vec<_> = theatre.effects();
    assert!(strange.iter().all(|lease| dropped.contains(&Effect::Drop(lease.clone()))), "{dropped:?}");
    let (_, alice) = ask(&mut theatre, 0, "alice@corp.test", None);
    assert_eq!(address_in(&alice).unwrap(), "10.99.0.44");
    let keep = Effect::Keep(lease("road", "alice@corp.test", "10.99.0.44", 10));
    assert!(theatre.effects().contains(&keep), "its use is kept");
    let (_, carol) = ask(&mut theatre, 1, "carol@corp.test", None);
    assert_eq!(address_in(&carol).unwrap(), "10.99.0.5");
    for at in 2..60 {
        let (_, reply) = ask(&mut theatre, at, &format!("user{at}.test"), None);
        let address = address_in(&reply).unwrap();
        assert!(!["10.99.0.5", "10.99.0.44", "10.99.0.0"].contains(&address.as_str()));
    }
}

#[test]
fn a_user_is_not_an_identity_of_the_same_name_and_the_newest_connection_of_a_user_counts() {
    let mut theatre = theatre(office());
    let (_, identity) = ask(&mut theatre, 0, "alice", None);
    let (first, user) = ask(&mut theatre, 1, "laptop.test", Some("alice"));
    assert_ne!(address_in(&identity), address_in(&user));
    let holders: Vec<_> = theatre.tunnels.leases().iter().map(|lease| lease.holder.clone()).collect();
    assert_eq!(holders, ["alice", "user:alice"]);
    let (second, again) = ask(&mut theatre, 2, "phone.test", Some("alice"));
    assert_eq!(address_in(&user), address_in(&again));
    let peers: Vec<_> = theatre.tunnels.served().iter().map(|served| served.peer).collect();
    assert!(!peers.contains(&first) && peers.contains(&second));
    assert!(theatre.tunnels.leases().iter().all(|lease| lease.active));
    assert_eq!(theatre.tunnels.rules().tunnel.len(), 4);
}

#[test]
fn a_released_lease_disconnects_its_holder_and_is_free_again() {
    let mut theatre = theatre(office());
    let (alice, reply) = ask(&mut theatre, 0, "alice@corp.test", None);
    assert!(!theatre.tunnels.release_lease(theatre.now, "road", "nobody"));
    assert!(theatre.tunnels.release_lease(theatre.now, "road", "alice@corp.test"));
    theatre.drain();
    assert!(theatre.calls().contains(&Call::ClosePeer(alice)));
    assert!(theatre.tunnels.served().is_empty() && theatre.tunnels.leases().is_empty());
    assert!(theatre.effects().iter().any(|effect| matches!(effect, Effect::Drop(_))));
    let (_, bob) = ask(&mut theatre, 1, "bob@corp.test", None);
    assert_eq!(address_in(&reply), address_in(&bob));
}

#[test] // DC-24
fn another_pool_brings_another_address_and_the_old_one_is_forgotten() {
    let mut theatre = theatre(office());
    let (alice, _) = ask(&mut theatre, 0, "alice@corp.test", None);
    let mut other = office();
    other.pools[0].addresses = range("10.98.0.0/24");
    theatre.calls();
    theatre.effects();
    theatre.tunnels.reconfigure(theatre.now, other);
    theatre.drain();
    let calls = theatre.calls();
    let push = calls.iter().find_map(|call| match call {
        Call::Push(to, attributes) if *to == alice => address_in(attributes),
        _ => None,
    });
    assert_eq!(push.unwrap(), "10.98.0.1");
    assert!(
        theatre
            .effects()
            .iter()
            .any(|effect| matches!(effect, Effect::Drop(lease) if lease.address == ip("10.99.0.1")))
    );
    assert_eq!(theatre.tunnels.leases().len(), 1);
    theatre.run(seconds(1));
    let sources: BTreeSet<_> =
        theatre.tunnels.rules().tunnel.iter().map(|rule| rule.selector.destination.to_string()).collect();
    assert_eq!(sources, BTreeSet::from(["10.98.0.1/32".to_owned()]));
}
