//! The decision: a table of packets with the answer that is meant, and the program in the kernel compared with the model
//! on that table and on random packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use warren_bpf::{Decision, Locality, Program, model};

use crate::packets::*;

fn locality() -> Locality {
    let addresses = [IpAddr::V4(LOCAL), IpAddr::V4(SUBNET_BROADCAST), IpAddr::V6(LOCAL6)];
    Locality { mac: MAC, addresses: addresses.into_iter().collect() }
}

fn table_of_ipv4() -> Vec<(&'static str, Vec<u8>, Decision)> {
    use Decision::{Esp, Pass, SourceRouted, Transit, UdpEsp};
    let with_protocol = |protocol| ipv4(LOCAL, protocol, &[8; 40]);
    vec![
        ("ESP to us", ipv4(LOCAL, 50, &ESP_HEAD), Esp),
        ("ESP to us behind options", ipv4_with(LOCAL, 50, 0, &[1, 1, 1, 0], &ESP_HEAD), Esp),
        ("first fragment of ESP", ipv4_with(LOCAL, 50, 0x2000, &[], &ESP_HEAD), Esp),
        ("later fragment of ESP", ipv4_with(LOCAL, 50, 0x0010, &[], &ESP_HEAD), Esp),
        ("ESP in UDP", ipv4(LOCAL, 17, &udp(4500, &ESP_HEAD.map(|o| o | 1))), UdpEsp),
        ("ESP in UDP behind options", ipv4_with(LOCAL, 17, 0, &[7, 3, 4, 0], &udp(4500, &[1; 20])), UdpEsp),
        ("five octets on 4500", ipv4(LOCAL, 17, &udp(4500, &[1; 5])), UdpEsp),
        ("four octets on 4500", ipv4(LOCAL, 17, &udp(4500, &[1; 4])), Pass),
        ("keepalive", ipv4(LOCAL, 17, &udp(4500, &[0xff])), Pass),
        ("IKE on 4500", ipv4(LOCAL, 17, &udp(4500, &[0, 0, 0, 0, 1, 2, 3, 4])), Pass),
        ("IKE on 500", ipv4(LOCAL, 17, &udp(500, &[1; 40])), Pass),
        ("fragment of UDP 4500", ipv4_with(LOCAL, 17, 0x2000, &[], &udp(4500, &[1; 40])), Pass),
        ("later fragment of UDP", ipv4_with(LOCAL, 17, 3, &[], &[1; 40]), Pass),
        ("do not fragment is no fragment", ipv4_with(LOCAL, 17, 0x4000, &[], &udp(4500, &[1; 40])), UdpEsp),
        ("ping to us", with_protocol(1), Pass),
        ("TCP to us", with_protocol(6), Pass),
        ("AH to us", with_protocol(51), Pass),
        ("subnet broadcast", ipv4(SUBNET_BROADCAST, 17, &udp(67, &[1; 40])), Pass),
        ("broadcast", ipv4(Ipv4Addr::BROADCAST, 17, &udp(67, &[1; 40])), Pass),
        ("multicast", ipv4(Ipv4Addr::new(224, 0, 0, 5), 89, &[1; 40]), Pass),
        ("loopback", ipv4(Ipv4Addr::LOCALHOST, 6, &[1; 40]), Pass),
        ("unspecified", ipv4(Ipv4Addr::UNSPECIFIED, 6, &[1; 40]), Pass),
        ("transit TCP", ipv4(REMOTE, 6, &[1; 40]), Transit),
        ("transit IKE", ipv4(REMOTE, 17, &udp(500, &[1; 40])), Transit),
        ("transit ESP", ipv4(REMOTE, 50, &ESP_HEAD), Transit),
        ("transit fragment", ipv4_with(REMOTE, 17, 3, &[], &[1; 40]), Transit),
        ("transit with a source route", ipv4_with(REMOTE, 6, 0, &[131, 3, 4, 0], &[1; 40]), Transit),
        ("link-local, which the kernel forwards", ipv4(Ipv4Addr::new(169, 254, 1, 1), 6, &[1; 40]), Transit),
        ("class E, which the kernel forwards", ipv4(Ipv4Addr::new(240, 0, 0, 1), 6, &[1; 40]), Transit),
        ("network zero, which the kernel forwards", ipv4(Ipv4Addr::new(0, 0, 0, 1), 6, &[1; 40]), Transit),
        (
            "loose source route",
            ipv4_with(LOCAL, 6, 0, &[1, 131, 7, 4, 198, 51, 100, 7], &[1; 40]),
            SourceRouted,
        ),
        (
            "strict source route of ESP",
            ipv4_with(LOCAL, 50, 0, &[137, 7, 4, 198, 51, 100, 7, 0], &[1; 40]),
            SourceRouted,
        ),
        (
            "source route behind a timestamp",
            ipv4_with(LOCAL, 6, 0, &[68, 4, 5, 0, 131, 3, 4, 0], &[1; 9]),
            SourceRouted,
        ),
        ("source route behind the end", ipv4_with(LOCAL, 6, 0, &[0, 131, 3, 4], &[1; 40]), Pass),
        ("option that overruns", ipv4_with(LOCAL, 50, 0, &[7, 200, 131, 131], &ESP_HEAD), Esp),
        ("option without length", ipv4_with(LOCAL, 50, 0, &[7, 0, 131, 3], &ESP_HEAD), Esp),
    ]
}

fn table_of_ipv6() -> Vec<(&'static str, Vec<u8>, Decision)> {
    use Decision::{Esp, Pass, SourceRouted, Transit, UdpEsp};
    let nat_t = udp(4500, &[1; 20]);
    let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    vec![
        ("ESP to us", ipv6(LOCAL6, 50, &ESP_HEAD), Esp),
        ("ESP to link-local", ipv6(LINK_LOCAL6, 50, &ESP_HEAD), Esp),
        ("ESP behind hop-by-hop options", ipv6(LOCAL6, 0, &extension(50, 0, 0, &ESP_HEAD)), Esp),
        ("ESP in an atomic fragment", ipv6(LOCAL6, 44, &extension(50, 0, 0, &ESP_HEAD)), Esp),
        ("first fragment of ESP", ipv6(LOCAL6, 44, &extension(50, 0, 1, &ESP_HEAD)), Esp),
        ("later fragment of ESP", ipv6(LOCAL6, 44, &extension(50, 1, 0, &ESP_HEAD)), Esp),
        ("fragment of UDP", ipv6(LOCAL6, 44, &extension(17, 0, 1, &nat_t)), Pass),
        ("atomic fragment of UDP", ipv6(LOCAL6, 44, &extension(17, 0, 0, &nat_t)), UdpEsp),
        ("ESP in UDP", ipv6(LOCAL6, 17, &nat_t), UdpEsp),
        (
            "ESP in UDP behind two headers",
            ipv6(LOCAL6, 60, &extension(43, 0, 0, &extension(17, 4, 0, &nat_t))),
            UdpEsp,
        ),
        ("ESP in UDP behind AH", ipv6(LOCAL6, 51, &extension(17, 0, 0, &nat_t)), UdpEsp),
        ("IKE on 4500", ipv6(LOCAL6, 17, &udp(4500, &[0; 20])), Pass),
        ("ping to us", ipv6(LOCAL6, 58, &[128; 20]), Pass),
        ("neighbour advertisement to us", ipv6(LOCAL6, 58, &[136; 24]), Pass),
        ("neighbour advertisement to link-local", ipv6(LINK_LOCAL6, 58, &[136; 24]), Pass),
        ("neighbour solicitation", ipv6(solicited, 58, &[135; 24]), Pass),
        ("MLD query", ipv6(all_nodes, 0, &extension(58, 5, 2, &[130; 24])), Pass),
        ("what calls itself neighbour discovery", ipv6(REMOTE6, 58, &[135; 24]), Transit),
        ("transit TCP", ipv6(REMOTE6, 6, &[1; 20]), Transit),
        ("transit ESP", ipv6(REMOTE6, 50, &ESP_HEAD), Transit),
        ("transit fragment", ipv6(REMOTE6, 44, &extension(50, 1, 0, &ESP_HEAD)), Transit),
        ("loopback", ipv6(Ipv6Addr::LOCALHOST, 6, &[1; 20]), Pass),
        ("unspecified", ipv6(Ipv6Addr::UNSPECIFIED, 6, &[1; 20]), Pass),
        ("routing header that is not done", ipv6(LOCAL6, 43, &extension(50, 4, 1, &ESP_HEAD)), SourceRouted),
        ("no next header", ipv6(LOCAL6, 59, &[]), Pass),
    ]
}

fn table_of_links() -> Vec<(&'static str, Vec<u8>, Decision)> {
    let transit = ipv4(REMOTE, 6, &[1; 40]);
    let to = |mac: [u8; 6]| [&mac[..], &transit[6..]].concat();
    let of_kind = |kind| ethernet(MAC, kind, &transit[14..]);
    let tagged = |kind, priority_id: u16, ether_type: u16| {
        let tag = [priority_id.to_be_bytes(), ether_type.to_be_bytes()].concat();
        ethernet(MAC, kind, &[&tag, &transit[14..]].concat())
    };
    vec![
        ("another MAC address", to(OTHER_MAC), Decision::Pass),
        ("broadcast MAC address", to([0xff; 6]), Decision::Pass),
        ("ARP", of_kind(0x0806), Decision::Pass),
        ("VLAN tag", tagged(0x8100, 0x2005, 0x0800), Decision::Pass),
        ("priority in front of transit", tagged(0x8100, 0xa000, 0x0800), Decision::Transit),
        ("priority in front of a service tag", tagged(0x88a8, 0x0000, 0x8100), Decision::Transit),
        ("priority in front of ARP", tagged(0x8100, 0x2000, 0x0806), Decision::Pass),
        ("802.1ad tag", tagged(0x88a8, 0x0001, 0x8100), Decision::Pass),
        ("IPv4 that says 6", ethernet(MAC, 0x0800, &[0x65; 60]), Decision::Pass),
        ("IPv6 that says 4", ethernet(MAC, 0x86dd, &[0x45; 60]), Decision::Pass),
        ("IPv4 with a header of 16", ethernet(MAC, 0x0800, &[0x44; 60]), Decision::Pass),
        (
            "IPv4 cut off in its options",
            transit[..14].iter().copied().chain([0x4f; 20]).collect(),
            Decision::Pass,
        ),
        ("Ethernet header only", transit[..14].to_vec(), Decision::Pass),
    ]
}

fn tables() -> Vec<(&'static str, Vec<u8>, Decision)> {
    [table_of_ipv4(), table_of_ipv6(), table_of_links()].concat()
}

/// The program in the kernel, or the reason why there is none.
fn program() -> Option<Program> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because loading a BPF program needs root");
        return None;
    }
    match Program::load(&locality()) {
        Ok(program) => Some(program),
        Err(error) => panic!("root, and yet: {error}"),
    }
}

#[test] // F-24, F-38
fn the_model_decides_as_the_table_says() {
    for (name, frame, decision) in tables() {
        assert_eq!(model::decide(&frame, &locality()), decision, "{name}");
    }
}

#[test] // F-24, F-38
fn the_program_decides_as_the_table_says() {
    let Some(program) = program() else { return };
    for (name, frame, decision) in tables() {
        assert_eq!(program.test_run(&frame).unwrap(), decision, "{name}");
    }
}

#[test]
fn a_redirection_without_a_socket_drops() {
    let Some(program) = program() else { return };
    for (_, frame, _) in tables() {
        program.test_run(&frame).unwrap();
    }
    let counters = program.counters().unwrap();
    assert_eq!(counters.unserved, counters.esp + counters.udp_esp + counters.transit);
    assert!(counters.unserved > 10);
}

#[test]
fn local_addresses_can_be_changed_while_it_runs() {
    let Some(mut program) = program() else { return };
    let ping = |to| ipv4(to, 1, &[8; 40]);
    assert_eq!(program.test_run(&ping(LOCAL)).unwrap(), Decision::Pass);
    assert_eq!(program.test_run(&ping(REMOTE)).unwrap(), Decision::Transit);
    let addresses = [IpAddr::V4(REMOTE)].into_iter().collect();
    program.set_locality(&Locality { mac: MAC, addresses }).unwrap();
    assert_eq!(program.test_run(&ping(LOCAL)).unwrap(), Decision::Transit);
    assert_eq!(program.test_run(&ping(REMOTE)).unwrap(), Decision::Pass);
    program.set_locality(&Locality { mac: OTHER_MAC, ..locality() }).unwrap();
    assert_eq!(program.test_run(&ping(REMOTE)).unwrap(), Decision::Pass);
}

#[test]
fn more_addresses_than_the_maps_hold_are_refused() {
    let Some(mut program) = program() else { return };
    let many = |from: u32, count: u32| -> Locality {
        let addresses = (from..from + count).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))).collect();
        Locality { mac: MAC, addresses }
    };
    program.set_locality(&many(0x0a00_0000, 4096)).unwrap();
    assert!(program.set_locality(&many(0x0a00_0000, 4097)).is_err());
    program.set_locality(&many(0x0b00_0000, 4096)).unwrap();
    assert_eq!(program.test_run(&ipv4(Ipv4Addr::new(11, 0, 0, 9), 1, &[8; 9])).unwrap(), Decision::Pass);
    assert_eq!(program.test_run(&ipv4(Ipv4Addr::new(10, 0, 0, 9), 1, &[8; 9])).unwrap(), Decision::Transit);
}

/// Any packet of the table, with some octets changed and perhaps cut: near every branch there is.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let frames: Vec<Vec<u8>> = tables().into_iter().map(|(_, frame, _)| frame).collect();
    let change = (0usize..100, any::<u8>());
    (0..frames.len(), proptest::collection::vec(change, 0..4), 14usize..120).prop_map(
        move |(which, changes, octets)| {
            let mut frame = frames[which].clone();
            for (at, octet) in changes {
                if let Some(changed) = frame.get_mut(at) {
                    *changed = octet;
                }
            }
            frame.truncate(octets);
            frame
        },
    )
}

/// A packet to us with headers of which every octet is drawn, so that long chains and odd options come up.
fn any_local_packet() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        3 => prop_oneof![Just(0u8), Just(1), Just(17), Just(43), Just(44), Just(50), Just(51), Just(60), Just(131)],
        1 => any::<u8>(),
    ];
    let next = prop_oneof![Just(0u8), Just(17), Just(43), Just(44), Just(50), Just(51), Just(60)];
    let octets = proptest::collection::vec(octet, 0..200);
    (any::<bool>(), next, 0usize..=10, octets).prop_map(|(is_ipv6, next, words, mut octets)| {
        if is_ipv6 {
            return ipv6(LOCAL6, next, &octets);
        }
        octets.resize(octets.len().max(words * 4), 0);
        let (options, payload) = octets.split_at(words * 4);
        ipv4_with(LOCAL, next, 0, options, payload)
    })
}

#[test]
fn the_program_and_the_model_agree_on_random_packets() {
    let Some(program) = program() else { return };
    let config = ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(frame in prop_oneof![any_frame(), any_local_packet()])| {
        prop_assert_eq!(program.test_run(&frame).unwrap(), model::decide(&frame, &locality()));
    });
}
