//! Errors and messages that a probe of ours causes at the end host in whose name it went.

use super::lab::*;
use crate::ted::{Ted, TedConfig, TedCount, TedOutput};
use crate::wire::{Chain, ExchangeType, Header, PayloadType};
use std::net::IpAddr;
use warren_seam::{Catch, Entry, Injected};

/// GI with its probe under way.
fn asking(is_ipv6: bool) -> (Ted, Vec<u8>) {
    let (rule, packet) = if is_ipv6 {
        (
            rule(GI, &["2001:db8:1::/48 2001:db8::/32"], &["2001:db8:2::/48"]),
            packet("2001:db8:1::4", "2001:db8:2::6"),
        )
    } else {
        (rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"]), p())
    };
    let mut gi = ted(TedConfig::default(), vec![rule], 1);
    gi.acquire(s(1), RULE, packet);
    let probe = one_probe(&outputs(&mut gi));
    (gi, probe)
}

/// An IP packet of that protocol; nobody looks at checksums of errors.
fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (20 + payload.len()) as u16;
            let [high, low] = total.to_be_bytes();
            let header = [0x45, 0, high, low, 0, 0, 0, 0, 60, protocol, 0, 0];
            [&header[..], &source.octets(), &destination.octets(), payload].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [high, low] = (payload.len() as u16).to_be_bytes();
            let header = [0x60, 0, 0, 0, high, low, protocol, 60];
            [&header[..], &source.octets(), &destination.octets(), payload].concat()
        }
        _ => panic!("two families"),
    }
}

/// An ICMP error from a router on the way, about that packet.
fn error(kind: u8, quoted: &[u8]) -> Vec<u8> {
    let is_ipv6 = quoted[0] >> 4 == 6;
    let to = caught(Catch::Stray, [quoted, &[0; 8]].concat()).tuple.source;
    let message = [&[kind, 3, 0, 0, 0, 0, 0, 0][..], quoted].concat();
    let router = if is_ipv6 { "2001:db8:ffff::1" } else { "192.0.2.254" };
    ip(address(router), to, if is_ipv6 { 58 } else { 1 }, &message)
}

fn offer(gi: &mut Ted, packet: &[u8]) -> Vec<TedOutput> {
    gi.handle_caught(s(1), caught(Catch::Stray, packet.to_vec()));
    outputs(gi)
}

#[track_caller]
fn goes_on(gi: &mut Ted, packet: &[u8]) {
    let expected = Injected { entry: Entry::Judge(PORT), packet: packet.to_vec() };
    assert_eq!(offer(gi, packet), [TedOutput::Inject(expected)]);
}

#[test] // TED-28
fn errors_about_our_probes_are_swallowed_however_little_they_quote() {
    for (is_ipv6, kinds) in [(false, [3, 4, 11, 12]), (true, [1, 2, 3, 4])] {
        let (mut gi, probe) = asking(is_ipv6);
        let udp_end = payload_at(&probe);
        let mut swallowed = 0;
        for kind in kinds {
            for octets in udp_end..=probe.len() {
                assert!(offer(&mut gi, &error(kind, &probe[..octets])).is_empty(), "{kind} {octets}");
                swallowed += 1;
            }
        }
        expect(&gi, &[(TedCount::ErrorsSwallowed, swallowed), (TedCount::StraysPassed, 0)]);
        assert_eq!(gi.in_flight().len(), 1, "anybody can send one: the discovery goes on");
        for octets in udp_end - 8..udp_end - 4 {
            goes_on(&mut gi, &error(kinds[0], &probe[..octets]));
        }
    }
}

#[test] // TED-28
fn errors_about_anything_else_are_judged_as_if_nobody_had_looked() {
    for is_ipv6 in [false, true] {
        let (mut gi, probe) = asking(is_ipv6);
        let at = payload_at(&probe);
        let with = |at: usize, octet: u8| {
            let mut probe = probe.clone();
            probe[at] ^= octet;
            probe
        };
        goes_on(&mut gi, &error(3, &with(at, 1)));
        goes_on(&mut gi, &error(3, &with(at - 7, 1)));
        goes_on(&mut gi, &error(3, &with(at - 5, 1)));
        goes_on(&mut gi, &error(3, &with(at - 9, 1)));
        goes_on(&mut gi, &error(8, &probe));
        goes_on(&mut gi, &error(128, &probe));
        goes_on(&mut gi, &error(3, &with(if is_ipv6 { 6 } else { 9 }, 1)));
        let not_to_us = error(3, &probe);
        let mut elsewhere = not_to_us.clone();
        elsewhere[if is_ipv6 { 39 } else { 19 }] ^= 1;
        goes_on(&mut gi, &elsewhere);
        let cut = if is_ipv6 { 48..92 } else { 28..52 };
        for octets in cut {
            goes_on(&mut gi, &not_to_us[..octets]);
        }
        expect(&gi, &[(TedCount::ErrorsSwallowed, 0)]);
    }
}

#[test] // TED-28
fn an_end_host_that_speaks_ike_answers_in_vain_and_other_ike_passes() {
    let (mut gi, probe) = asking(false);
    let cookie = decoded(&probe).cookie;
    let message = |cookie: [u8; 8], exchange: u8| {
        let chain = Chain::new().with(PayloadType::NOTIFY, &[0, 0, 0, 1, 1, 0, 0, 7]);
        Header::new(cookie, [0; 8], ExchangeType(exchange), 0, 5).encode(&chain)
    };
    let from_b = |source_port: u16, to_port: u16, octets: &[u8]| {
        let udp_octets = (8 + octets.len()) as u16;
        let fields = [source_port, to_port, udp_octets, 0];
        let header: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
        ip(address(B), address(A), 17, &[&header[..], octets].concat())
    };
    assert!(offer(&mut gi, &from_b(500, 49_152, &message(cookie, 5))).is_empty());
    expect(&gi, &[(TedCount::MessagesSwallowed, 1)]);
    goes_on(&mut gi, &from_b(500, 49_152, &message([1; 8], 5)));
    goes_on(&mut gi, &from_b(501, 49_152, &message(cookie, 5)));
    goes_on(&mut gi, &from_b(500, 49_153, &message(cookie, 5)));
    goes_on(&mut gi, &from_b(500, 49_152, &message(cookie, 241)));
    goes_on(&mut gi, &from_b(500, 49_152, b"short"));
    let mut from_c = from_b(500, 49_152, &message(cookie, 5));
    from_c[15] ^= 1;
    goes_on(&mut gi, &from_c);
    expect(&gi, &[(TedCount::StraysPassed, 6)]);
}

#[test] // TED-28
fn errors_that_come_after_the_end_are_swallowed_for_a_while() {
    let (mut gi, probe) = asking(false);
    for at in [2, 4, 8] {
        gi.handle_timeout(s(at));
    }
    outputs(&mut gi);
    assert!(gi.in_flight().is_empty());
    assert!(offer(&mut gi, &error(3, &probe)).is_empty());
    gi.handle_timeout(s(8) + crate::limits::ENDED_DISCOVERY_LIFE);
    goes_on(&mut gi, &error(3, &probe));
    expect(&gi, &[(TedCount::ErrorsSwallowed, 1), (TedCount::StraysPassed, 1)]);
}
