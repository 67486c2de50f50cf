//! A client, with a server that says what the test wants it to say.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;
use support::configured::*;
use support::puppet::{Call, Effect, Theatre};
use support::world::{config, seconds};
use warren_ike::wire::{ConfigAttribute, SetMessage, SplitNetwork};
use warren_ike::{ConfigExchange, Down, Failure, Output};
use warren_policy::{FiveTuple, PolicySet, RuleId, TransportAction, TransportRule, Verdict, evaluate};
use warren_seam::Event;
use warren_tunnels::{ClientState, Notice, SetStanding, Start, State, TunnelsConfig};

const LEASE: &str = "10.99.0.7/32";

fn connected(config: TunnelsConfig, speaks_policy: bool) -> Theatre {
    let mut theatre = Theatre::new(config, Vec::new());
    theatre.stage.borrow_mut().come(PEER, None, "right.test", &server_address());
    theatre.say(Output::Configurable { peer: PEER, speaks_policy, user: None });
    theatre
}

fn received(attributes: Vec<ConfigAttribute>) -> Output {
    Output::ConfigReceived { peer: PEER, exchange: None, attributes }
}

fn pushed(number: u32, attributes: Vec<ConfigAttribute>) -> Output {
    Output::ConfigReceived { peer: PEER, exchange: Some(ConfigExchange(number)), attributes }
}

fn two_sets() -> Vec<ConfigAttribute> {
    vec![
        ConfigAttribute::PolicyVersion(Some(1)),
        leased("10.99.0.7"),
        ConfigAttribute::Ip4Dns(Some("10.1.0.53".parse().unwrap())),
        ConfigAttribute::Banner(Some("wel\u{1b}come".to_owned())),
        offered(set(1, LEASE, "10.1.0.0/16")),
        offered(set(2, LEASE, "10.2.0.0/16")),
    ]
}

fn packet(from: &str, to: &str) -> FiveTuple {
    FiveTuple {
        source: ip(from),
        destination: ip(to),
        protocol: 17,
        source_port: Some(1),
        destination_port: Some(2),
    }
}

fn is_up(theatre: &Theatre, at: usize) -> bool {
    matches!(theatre.tunnels.status()[at].state, State::Up { .. })
}

/// A rule that lets everything pass that no tunnel takes: the worst case for a lost policy.
fn open_gateway() -> TunnelsConfig {
    let mut config = client();
    let selector = warren_policy::Selector::between(range("0.0.0.0/0"), range("0.0.0.0/0")).unwrap();
    let (name, action) = ("all".to_owned(), TransportAction::Permit);
    config.rules.transport.push(TransportRule { name, selector, action });
    config
}

#[test] // DC-1, DC-6, DC-7, DC-9, DC-10, DC-15, DC-16
fn a_client_with_nothing_but_a_peer_asks_and_negotiates_what_it_was_told_and_nothing_before() {
    let mut theatre = connected(client(), true);
    let calls = theatre.calls();
    assert_eq!(calls[0], Call::Connect(PEER));
    let Call::Pull(PEER, asked) = &calls[1] else { panic!("{calls:?}") };
    assert_eq!(asked[0], ConfigAttribute::PolicyVersion(Some(1)));
    assert_eq!(calls.len(), 2, "no quick mode before the policy");
    assert_eq!(theatre.tunnels.clients()[0].state, ClientState::Waiting);
    theatre.effects();
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    let calls = theatre.calls();
    assert!(matches!(calls[..], [Call::Add(_), Call::Add(_), Call::Open(_), Call::Open(_)]), "{calls:?}");
    assert_eq!(theatre.effects()[..2], [Effect::Add(ip("10.99.0.7")), Effect::Engine("rules")]);
    assert!(is_up(&theatre, 0) && is_up(&theatre, 1));
    let status = theatre.tunnels.clients().remove(0);
    assert_eq!(status.state, ClientState::Configured);
    assert_eq!((status.addresses, status.dns), (vec![ip("10.99.0.7")], vec![ip("10.1.0.53")]));
    assert_eq!(status.banner.unwrap(), "wel come", "nothing that steers a terminal");
    assert_eq!(
        status.sets.iter().map(|set| set.rules.clone()).collect::<Vec<_>>(),
        [[RuleId(0)], [RuleId(1)]]
    );
    let rules = theatre.tunnels.rules();
    assert_eq!(evaluate(rules, &packet("10.99.0.7", "10.2.0.1")), Verdict::Protect(RuleId(1)));
    assert_eq!(evaluate(rules, &packet("10.99.0.8", "10.2.0.1")), Verdict::NoRule);
}

#[test] // DC-4, DC-12, DC-13, DC-14
fn the_children_are_what_the_sets_say() {
    let mut theatre = connected(client(), true);
    let mut given = set(1, LEASE, "10.1.0.0/16");
    given.transforms = vec![esp("aes256gcm16").transform, esp("aes256-sha512").transform];
    given.pfs = Some(warren_policy::Group::Ecp384);
    given.lifetime.seconds = 1234;
    theatre.calls();
    theatre.say(received(vec![leased("10.99.0.7"), offered(given)]));
    let calls = theatre.calls();
    let Call::Add(child) = &calls[0] else { panic!("{calls:?}") };
    let proposals: Vec<_> = child.proposals.iter().map(ToString::to_string).collect();
    let expected =
        ["aes256gcm16-ecp384-esn", "aes256gcm16-ecp384", "aes256-sha512-ecp384-esn", "aes256-sha512-ecp384"];
    assert_eq!(proposals, expected);
    assert_eq!((child.lifetime.seconds, child.peer), (1234, PEER));
}

#[test] // DC-3, DC-25, F-11
fn each_set_of_a_hostile_server_is_refused_alone_with_its_reason() {
    let mut theatre = connected(client(), true);
    let mut weak = set(2, LEASE, "10.2.0.0/16");
    weak.transforms = vec![esp("aes128-sha1").transform];
    let nested =
        |id, parent| PolicySet { parent: Some(parent), ..set(id, LEASE, &format!("10.{id}.0.0/16")) };
    let refused = SetMessage::Refused { id: Some(9), reason: "a transform is not known".to_owned() };
    theatre.say(received(vec![
        leased("10.99.0.7"),
        offered(set(1, LEASE, "0.0.0.0/0")),
        offered(weak),
        offered(set(3, LEASE, "203.0.113.0/24")),
        offered(set(4, "10.5.0.0/16", "10.4.0.0/16")),
        offered(nested(5, 6)),
        offered(nested(6, 5)),
        offered(set(7, LEASE, "10.7.0.0/16")),
        offered(nested(8, 7)),
        ConfigAttribute::PolicySet(refused),
    ]));
    theatre.run(seconds(1));
    let status = theatre.tunnels.clients().remove(0);
    let reasons: Vec<_> = status.refused.iter().map(|set| (set.id.unwrap(), set.reason.as_str())).collect();
    assert_eq!(reasons.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [9, 1, 2, 3, 4, 5, 6, 8]);
    assert_eq!(reasons[1].1, "0.0.0.0/0 is a default route");
    assert_eq!(reasons[7].1, "the way to its gateway 198.51.100.2 does not lead through its parent 7");
    assert_eq!(status.refused_total, 8);
    let standing: Vec<_> = status.sets.iter().map(|set| (set.id, set.standing)).collect();
    assert_eq!(standing, [(7, SetStanding::Executed)]);
    assert_eq!(theatre.tunnels.status().len(), 1);
    let logged = |notice: &&Notice| matches!(notice, Notice::SetRefused { .. });
    assert_eq!(theatre.notices.iter().filter(logged).count(), 8);
}

#[test] // F-11
fn ten_thousand_sets_again_and_again_leave_no_more_behind_than_one_message() {
    let mut theatre = connected(client(), true);
    for round in 0..20u16 {
        let many = (0..10_000u16).map(|id| {
            let [high, low] = id.wrapping_add(round).to_be_bytes();
            offered(set(id, LEASE, &format!("10.{}.{low}.0/24", 100 + high % 100)))
        });
        theatre.say(received([leased("10.99.0.7")].into_iter().chain(many).collect()));
        theatre.run(seconds(1));
        let status = theatre.tunnels.clients().remove(0);
        assert_eq!((status.sets.len(), status.refused_total), (16, 9984));
        assert!(status.refused.len() <= warren_tunnels::limits::REFUSED_KEPT_MAX);
        assert_eq!(theatre.tunnels.rules().tunnel.len(), 16);
        assert!(theatre.tunnels.rules().tunnel.iter().all(|rule| rule.id.0 < 64), "identifiers stay dense");
        assert_eq!((theatre.engine.outbound.len(), theatre.engine.bound.len()), (16, 16));
        theatre.calls();
        theatre.effects();
        theatre.notices.clear();
    }
}

#[test] // DC-8, DC-26
fn what_is_pushed_is_acknowledged_set_by_set_and_changes_only_what_differs() {
    let mut theatre = connected(client(), true);
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    let bound = theatre.engine.bound.clone();
    theatre.calls();
    theatre.effects();
    // The numbers change, the second set goes, another comes in front, one is too much.
    let attributes = vec![
        leased("10.99.0.7"),
        offered(set(5, LEASE, "10.3.0.0/16")),
        offered(set(6, LEASE, "10.1.0.0/16")),
        offered(set(7, LEASE, "8.8.8.0/24")),
    ];
    theatre.say(pushed(4711, attributes));
    theatre.run(seconds(1));
    let calls = theatre.calls();
    let acknowledged = |id, refusal: Option<&str>| {
        let refusal = refusal.map(str::to_owned);
        ConfigAttribute::PolicySet(SetMessage::Acknowledged { id, refusal })
    };
    let reason = "8.8.8.0/24 is outside of the remote networks that its ceiling allows";
    let expected = Call::Acknowledge(
        PEER,
        ConfigExchange(4711),
        vec![
            ConfigAttribute::Ip4Address(None),
            acknowledged(5, None),
            acknowledged(6, None),
            acknowledged(7, Some(reason)),
        ],
    );
    assert!(calls.contains(&expected), "{calls:?}");
    assert_eq!(theatre.engine.bound.get(&RuleId(0)), bound.get(&RuleId(0)), "the same SA");
    let order: Vec<_> = theatre.tunnels.rules().tunnel.iter().map(|rule| rule.id).collect();
    assert_eq!(order, [RuleId(2), RuleId(0)], "in the server's order");
    let effects = theatre.effects();
    assert_eq!(effects[..4], ["unbind", "rules", "remove", "remove"].map(Effect::Engine));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Add(_) | Effect::Remove(_))));
    assert!(is_up(&theatre, 0) && is_up(&theatre, 1));
}

#[test] // DC-26
fn every_new_isakmp_sa_pulls_again_and_the_same_answer_changes_nothing() {
    let mut theatre = connected(client(), true);
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    theatre.calls();
    theatre.effects();
    theatre.say(Output::Configurable { peer: PEER, speaks_policy: true, user: None });
    assert!(matches!(theatre.calls()[..], [Call::Pull(..)]));
    assert_eq!(theatre.tunnels.clients()[0].state, ClientState::Configured);
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    assert_eq!((theatre.calls(), theatre.effects()), (vec![], vec![]));
}

#[test] // DC-26, F-24
fn what_a_lost_server_protected_leaves_neither_in_clear_nor_otherwise_until_it_is_back() {
    let mut theatre = connected(open_gateway(), true);
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    theatre.effects();
    theatre.stage.borrow_mut().lose(PEER, Down::DeadPeer);
    theatre.play();
    let effects = theatre.effects();
    let at = |effect: &Effect| effects.iter().position(|own| own == effect).unwrap();
    let last_unbind = effects.iter().rposition(|own| *own == Effect::Engine("unbind")).unwrap();
    assert!(last_unbind < at(&Effect::Engine("rules")), "{effects:?}");
    assert!(at(&Effect::Engine("rules")) < at(&Effect::Remove(ip("10.99.0.7"))));
    assert!(theatre.engine.is_empty() && theatre.addresses.is_empty());
    assert_eq!(theatre.tunnels.shielded(), [range("10.1.0.0/16"), range("10.2.0.0/16")]);
    // From whatever address, by whatever rule of the operator's: protected by nothing, so dropped.
    for source in ["10.99.0.7", "192.0.2.9"] {
        let verdict = evaluate(theatre.tunnels.rules(), &packet(source, "10.2.3.4"));
        let Verdict::Protect(rule) = verdict else { panic!("{verdict:?}") };
        assert!(theatre.engine.send(rule).is_err());
        theatre
            .tunnels
            .handle_event(theatre.now, Event::Acquire { rule, packet: packet(source, "10.2.3.4") });
        theatre.drain();
    }
    assert_eq!(evaluate(theatre.tunnels.rules(), &packet("192.0.2.9", "10.3.0.1")), Verdict::Clear);
    theatre.calls();
    theatre.run(seconds(3));
    assert_eq!(theatre.calls(), [Call::Connect(PEER)], "it is tried again, and nothing else is negotiated");
    theatre.stage.borrow_mut().come(PEER, None, "right.test", &server_address());
    theatre.say(Output::Configurable { peer: PEER, speaks_policy: true, user: None });
    assert!(!theatre.tunnels.shielded().is_empty(), "not before there is policy again");
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    assert!(theatre.tunnels.shielded().is_empty());
    assert!(is_up(&theatre, 0) && is_up(&theatre, 1));
    assert_eq!(evaluate(theatre.tunnels.rules(), &packet("192.0.2.9", "10.2.3.4")), Verdict::Clear);
}

#[test] // F-24
fn a_shield_falls_when_the_operator_closes_the_client_or_the_configuration_drops_it() {
    for closes in [true, false] {
        let mut theatre = connected(open_gateway(), true);
        theatre.say(received(two_sets()));
        theatre.stage.borrow_mut().lose(PEER, Down::DeadPeer);
        theatre.play();
        assert_eq!(theatre.tunnels.shielded().len(), 2);
        if closes {
            assert!(theatre.tunnels.close_client(theatre.now, PEER));
            theatre.drain();
            assert_eq!(theatre.tunnels.clients()[0].state, ClientState::Closed);
            theatre.calls();
            theatre.run(seconds(600));
            assert_eq!(theatre.calls(), [], "closed means closed");
            assert!(theatre.tunnels.pull_again(theatre.now, PEER));
            theatre.drain();
            assert_eq!(theatre.calls(), [Call::Connect(PEER)]);
        } else {
            theatre.tunnels.reconfigure(theatre.now, config(0, 0, Start::OnTraffic));
            theatre.drain();
            assert!(theatre.tunnels.clients().is_empty());
        }
        assert!(theatre.tunnels.shielded().is_empty());
        assert!(theatre.tunnels.rules().tunnel.is_empty());
    }
}

#[test] // F-24
fn a_server_that_cannot_be_reached_is_tried_ever_more_seldom() {
    let mut theatre = Theatre::new(client(), Vec::new());
    let mut tries = 0;
    let mut pauses = Vec::new();
    while theatre.now < seconds(1200) {
        tries += theatre.calls().iter().filter(|call| matches!(call, Call::Connect(_))).count();
        theatre.say(Output::ConfigFailed { peer: PEER, reason: Failure::NoAnswer });
        let ClientState::Resting { until } = theatre.tunnels.clients()[0].state else { panic!() };
        pauses.push(until - theatre.now);
        theatre.now = until;
        theatre.play();
    }
    assert!((8..=16).contains(&tries), "{tries}");
    assert!(pauses[0] < seconds(2) && *pauses.last().unwrap() > seconds(100));
    assert_eq!(theatre.tunnels.clients()[0].last_failure, Some(Failure::NoAnswer));
}

#[test] // F-24
fn a_server_that_throws_us_out_again_and_again_is_not_asked_in_a_storm() {
    let mut theatre = Theatre::new(client(), Vec::new());
    let mut tries = 0;
    while theatre.now < seconds(600) {
        if theatre.calls().contains(&Call::Connect(PEER)) {
            tries += 1;
            theatre.stage.borrow_mut().come(PEER, None, "right.test", &server_address());
            theatre.say(Output::Configurable { peer: PEER, speaks_policy: true, user: None });
            if tries % 2 == 0 {
                theatre.say(received(two_sets()));
            }
            theatre.stage.borrow_mut().lose(PEER, Down::DeletedByPeer);
            theatre.play();
        }
        theatre.run(Duration::from_millis(100));
    }
    assert!((4..=12).contains(&tries), "{tries}");
}

#[test] // DC-24
fn the_networks_of_a_foreign_server_become_sets_each_judged_for_itself() {
    let mut theatre = connected(client(), false);
    let Call::Pull(_, asked) = &theatre.calls()[1] else { panic!() };
    assert!(!asked.contains(&ConfigAttribute::PolicyVersion(Some(1))), "not in a language it does not speak");
    let mask = std::net::Ipv4Addr::new(255, 255, 0, 0);
    let split = |address: &str| SplitNetwork {
        address: address.parse().unwrap(),
        mask,
        protocol: 6,
        source_port: 0,
        destination_port: 443,
    };
    theatre.say(received(vec![
        leased("10.99.0.7"),
        ConfigAttribute::Ip4Subnet(Some(("10.1.0.0".parse().unwrap(), mask))),
        ConfigAttribute::Ip4Subnet(Some(("8.8.0.0".parse().unwrap(), mask))),
        ConfigAttribute::Ip4Subnet(Some(("10.4.0.0".parse().unwrap(), "255.0.255.0".parse().unwrap()))),
        ConfigAttribute::Ip6Subnet(Some(("fd01::".parse().unwrap(), 64))),
        ConfigAttribute::SplitInclude(Some(vec![split("10.3.0.0")])),
        offered(set(1, LEASE, "10.5.0.0/16")),
    ]));
    theatre.run(seconds(1));
    let status = theatre.tunnels.clients().remove(0);
    let selectors: Vec<_> = status.sets.iter().map(|set| set.selectors[0].to_string()).collect();
    assert_eq!(selectors, ["10.99.0.7/32 -> 10.1.0.0/16", "10.99.0.7/32 -> 10.3.0.0/16 tcp port any -> 443"]);
    assert_eq!(status.refused_total, 3);
    assert_eq!(theatre.tunnels.status().len(), 2);
}

#[test] // DC-24
fn a_foreign_server_that_names_no_networks_is_asked_for_what_the_operator_named() {
    let mut config = client();
    config.clients[0].remote_networks = vec![range("10.1.0.0/16"), range("10.2.0.0/16")];
    let mut theatre = connected(config, false);
    theatre.say(received(vec![leased("10.99.0.7")]));
    theatre.run(seconds(1));
    assert!(is_up(&theatre, 0) && is_up(&theatre, 1));
    // A SET that is about a name server takes nothing away.
    theatre.calls();
    theatre.say(pushed(1, vec![ConfigAttribute::Ip4Dns(Some("10.1.0.53".parse().unwrap()))]));
    theatre.run(seconds(1));
    assert_eq!(theatre.tunnels.clients()[0].sets.len(), 2);
    assert!(is_up(&theatre, 0) && is_up(&theatre, 1));
    // Another address takes the place of the old one, without a gap in the order.
    theatre.effects();
    theatre.say(pushed(2, vec![leased("10.99.0.8")]));
    let effects = theatre.effects();
    assert_eq!(effects[0], Effect::Add(ip("10.99.0.8")));
    let gone = effects.iter().position(|effect| *effect == Effect::Remove(ip("10.99.0.7"))).unwrap();
    let closed = effects.iter().rposition(|effect| *effect == Effect::Engine("remove")).unwrap();
    assert!(effects[..closed].contains(&Effect::Engine("rules")) && closed < gone);
}

#[test] // DC-25
fn an_address_that_is_no_hosts_or_somebody_elses_is_not_taken() {
    for bad in ["127.0.0.1", "224.0.0.1", &server_address(), "192.168.1.5"] {
        let mut config = client();
        config.attached = vec![range("192.168.1.0/24")];
        let mut theatre = connected(config, true);
        theatre.say(received(vec![leased(bad), offered(set(1, &format!("{bad}/32"), "10.1.0.0/16"))]));
        assert!(theatre.addresses.is_empty() && theatre.tunnels.rules().tunnel.is_empty(), "{bad}");
        assert_eq!(theatre.tunnels.clients()[0].refused_total, 2);
    }
}

#[test] // DC-25
fn a_lower_ceiling_is_in_force_with_the_reload_that_brings_it() {
    let mut theatre = connected(client(), true);
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    let bound = theatre.engine.bound.clone();
    let mut lower = client();
    lower.clients[0].ceiling.remote = vec![range("10.1.0.0/16")];
    theatre.tunnels.reconfigure(theatre.now, lower);
    theatre.drain();
    assert_eq!(theatre.engine.bound.len(), 1);
    assert_eq!(theatre.engine.bound.get(&RuleId(0)), bound.get(&RuleId(0)));
    assert_eq!(theatre.tunnels.clients()[0].refused_total, 1);
}

#[test] // F-24
fn the_operators_tunnels_come_first_and_an_inserted_one_renegotiates_nothing() {
    let mut own = config(0, 2, Start::Immediately);
    own.peers[0].config_mode = client().peers[0].config_mode;
    own.clients = client().clients;
    let mut theatre = connected(own.clone(), true);
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    let bound = theatre.engine.bound.clone();
    assert_eq!(bound.len(), 4);
    let mut more = config(0, 3, Start::Immediately);
    (more.peers, more.clients) = (own.peers, own.clients);
    more.tunnels.rotate_right(1);
    more.rules.tunnel.rotate_right(1);
    for at in 0..3 {
        let id = RuleId(at as u32);
        (more.tunnels[at].child.rule, more.rules.tunnel[at].id) = (id, id);
    }
    theatre.calls();
    theatre.effects();
    theatre.tunnels.reconfigure(theatre.now, more);
    theatre.drain();
    let effects = theatre.effects();
    assert!(!effects.contains(&Effect::Engine("unbind")) && !effects.contains(&Effect::Engine("remove")));
    theatre.run(seconds(1));
    assert!(bound.iter().all(|(rule, sa)| theatre.engine.bound.get(rule) == Some(sa)));
    let names: Vec<_> = theatre.tunnels.rules().tunnel.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["net-2", "net-0", "net-1", "other/set-1", "other/set-2"]);
    assert_eq!(theatre.engine.bound.len(), 5);
    assert_eq!(theatre.tunnels.rules_named("net-2"), [RuleId(4)]);
}

#[test]
fn the_operators_own_traffic_is_not_given_a_second_tunnel() {
    let mut own = config(0, 1, Start::OnTraffic);
    own.clients = client().clients;
    own.clients[0].ceiling.local = vec![range("10.0.0.0/8")];
    let taken = own.rules.tunnel[0].selector;
    let mut theatre = connected(own, true);
    let given = set(1, &taken.source.to_string(), &taken.destination.to_string());
    theatre.say(received(vec![offered(given)]));
    assert_eq!(theatre.tunnels.rules().tunnel.len(), 1);
    assert!(theatre.tunnels.clients()[0].refused[0].reason.contains("has a tunnel already"));
}

#[test] // DC-24
fn what_a_server_cannot_give_is_asked_for_again_later() {
    let mut theatre = connected(client(), true);
    theatre.calls();
    let error = ConfigAttribute::PolicyError(Some("pool road has no address left".to_owned()));
    theatre.say(received(vec![error]));
    assert_eq!(theatre.tunnels.clients()[0].error.as_deref(), Some("pool road has no address left"));
    theatre.run(seconds(5));
    assert!(matches!(theatre.calls()[..], [Call::Pull(..)]));
}

#[test]
fn shutdown_takes_everything_out_and_asks_nobody_any_more() {
    let mut theatre = connected(client(), true);
    theatre.say(received(two_sets()));
    theatre.run(seconds(1));
    theatre.tunnels.shutdown(theatre.now);
    theatre.drain();
    theatre.calls();
    theatre.run(seconds(600));
    assert!(theatre.engine.is_empty() && theatre.addresses.is_empty());
    assert_eq!(theatre.calls(), []);
}
