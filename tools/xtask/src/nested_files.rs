//! The configuration files of the scene of tunnels inside tunnels.
//!
//! What the sender gateway has is docs/examples/nested/gateway.toml, with three lines for each peer that make a lost one
//! known in seconds, and with what it takes to say something to B itself.

use std::net::IpAddr;

use crate::chain::{FAR_NETWORK, LAST_TRANSFER_NETWORK, NEAR_NETWORK, Outer, RECEIVER, SENDER_INSIDE};

/// Who SG2 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    Warren,
    StrongSwan,
}

/// A lost peer is known after three seconds without a word, and an answer that does not come after about four.
const IMPATIENT: &str =
    "dpd_delay = \"1s\"\ndpd_timeout = \"3s\"\nretransmit_first = \"300ms\"\nretransmit_tries = 3\n";

/// What strongSwan's configuration in `tests/interop/peers/conf/nested-sg2` has, and nothing else.
const STRONGSWAN_IKE: &str = "proposals = [\"aes128-sha256-modp2048\"]\n";

/// A port.
fn port(interface: &str, side: &str) -> String {
    format!("\n[[port]]\ninterface = \"{interface}\"\nside = \"{side}\"\n")
}

fn peer(name: &str, local: IpAddr, address: IpAddr, more: &str) -> String {
    format!(
        "\n[[peer]]\nname = \"{name}\"\nike = \"v1-main\"\nlocal = \"{local}\"\naddress = \"{address}\"\nsecret = \"{name}.psk\"\n{IMPATIENT}{more}"
    )
}

/// A rule that lets pass what a tunnel rule protects, and the tunnel rule.
fn pair(name: &str, source: &str, destination: &str, peer: &str, esp: &str) -> String {
    let traffic = format!("name = \"{name}\"\nsource = \"{source}\"\ndestination = \"{destination}\"\n");
    format!(
        "\n[[transport]]\n{traffic}action = \"permit\"\n\n[[tunnel]]\n{traffic}peer = \"{peer}\"\nesp = \"{esp}\"\n"
    )
}

/// The names of the three tunnels, nearest first, as the sender's file has them.
pub(crate) const TUNNELS: [&str; 3] = ["to-sg2", "to-sg3", "to-site2"];

/// ESP of each tunnel, nearest first.
const ESP: [&str; 3] = ["aes256gcm16", "aes256-sha256", "aes256gcm16"];

/// The name of the rule for what the sender gateway itself says.
pub(crate) const OWN: &str = "own";

/// Ports and peers of the sender gateway.
fn acquaintances(far: Far, outer: Outer) -> String {
    let mut text = port("eth1", "inside") + &port("eth0", "outside");
    for (at, address) in outer.gateways.into_iter().enumerate() {
        let more = if far == Far::StrongSwan && at == 1 { STRONGSWAN_IKE } else { "" };
        text.push_str(&peer(&format!("sg{}", at + 1), outer.sender, address, more));
    }
    text + &peer("receiver", SENDER_INSIDE, RECEIVER, "")
}

/// What lies behind SG2, as the tunnel to it has it. SG3 alone would be enough, and is with Warren. strongSwan's ESP in user
/// space wants a network in which it has an address of its own.
fn around_sg3(far: Far, outer: Outer) -> String {
    match far {
        Far::Warren => outer.gateways[2].to_string(),
        Far::StrongSwan => LAST_TRANSFER_NETWORK.to_owned(),
    }
}

/// The sender gateway, behind its first section, with a rule for each level that can be negotiated by name: rules that are
/// about what is on the wire. The other gateways cannot tell it from [`sender`].
pub(crate) fn sender_by_the_wire(far: Far, outer: Outer) -> String {
    let mut text = "\n[stack]\nrematch = \"wire\"\n".to_owned() + &acquaintances(far, outer);
    text.push_str(&format!(
        "\n[[transport]]\nname = \"{OWN}\"\naction = \"protect\"\npeer = \"receiver\"\nesp = \"aes256gcm16\"\n"
    ));
    let (sender, around_sg3) = (outer.sender.to_string(), around_sg3(far, outer));
    let traffic = [
        (sender.as_str(), outer.gateways[1].to_string()),
        (sender.as_str(), around_sg3),
        (NEAR_NETWORK, FAR_NETWORK.to_owned()),
    ];
    for (at, (source, destination)) in traffic.iter().enumerate() {
        text.push_str(&pair(TUNNELS[at], source, destination, &format!("sg{}", at + 1), ESP[at]));
    }
    text
}

/// The sender gateway, behind its first section.
pub(crate) fn sender(far: Far, outer: Outer) -> String {
    let around_sg3 = around_sg3(far, outer);
    let mut text = acquaintances(far, outer);
    text.push_str(&format!(
        r#"
# What this gateway itself says to B comes from its address in A's network. It is protected up to B, and because its source
# is in that network, the rules for A's packets put the same tunnels around it.
[[transport]]
name = "{OWN}"
action = "protect"
peer = "receiver"
esp = "aes256gcm16"

[[transport]]
name = "sites"
source = "{NEAR_NETWORK}"
destination = "{FAR_NETWORK}"
action = "permit"

[[tunnel]]
name = "to-site2"
source = "{NEAR_NETWORK}"
destination = "{FAR_NETWORK}"
peer = "sg3"
esp = "{}"

# Only the destination is replaced from level to level, so the source is still the host's.
[[tunnel]]
name = "to-sg3"
source = "{NEAR_NETWORK}"
destination = "{around_sg3}"
peer = "sg2"
esp = "{}"

[[tunnel]]
name = "to-sg2"
source = "{NEAR_NETWORK}"
destination = "{}"
peer = "sg1"
esp = "{}"
"#,
        ESP[2], ESP[1], outer.gateways[1], ESP[0],
    ));
    text
}

/// A gateway on the way, behind its first section; the nearest has number 0. It knows the sender and what is behind itself,
/// and nothing of any tunnel in or around its own.
pub(crate) fn gate(number: usize, outer: Outer) -> String {
    let (source, destination) = match outer.gateways.get(number + 1) {
        Some(next) => (next.to_string(), outer.sender.to_string()),
        None => (FAR_NETWORK.to_owned(), NEAR_NETWORK.to_owned()),
    };
    let mut text = port("near", "outside") + &port("far", "inside");
    text.push_str(&peer("sender", outer.gateways[number], outer.sender, ""));
    text.push_str(&pair("to-sender", &source, &destination, "sender", ESP[number]));
    text
}

/// Host B, behind its first section: what the sender gateway says comes protected, what A says as A sent it.
pub(crate) fn receiver() -> String {
    let mut text = port("eth0", "outside");
    text.push_str(&peer("sender", RECEIVER, SENDER_INSIDE, ""));
    text.push_str(&format!(
        r#"
[[transport]]
name = "to-sender"
action = "protect"
peer = "sender"
esp = "aes256gcm16"

[[transport]]
name = "to-a"
source = "{RECEIVER}"
destination = "{NEAR_NETWORK}"
action = "bypass"
"#
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{OUTER_V4, OUTER_V6};

    const EXAMPLE: &str = include_str!("../../../docs/examples/nested/gateway.toml");

    /// The sections of that kind, without comments.
    fn sections(text: &str, kind: &str) -> Vec<String> {
        let head = format!("[[{kind}]]\n");
        let sections = text.split("\n\n").map(|section| {
            section.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
        });
        sections.filter(|section: &String| section.starts_with(&head)).collect()
    }

    #[test] // NT-7, V-9
    fn sender_has_the_tunnels_of_the_example_in_the_docs() {
        let (ours, theirs) =
            (sections(&sender(Far::Warren, OUTER_V4), "tunnel"), sections(EXAMPLE, "tunnel"));
        let names = |sections: &[String]| {
            sections.iter().map(|section| section.trim_end().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(theirs.len(), 3);
        assert_eq!(names(&ours), names(&theirs));
    }

    #[test] // NT-23
    fn no_gateway_on_the_way_knows_another_but_the_one_whose_packets_it_carries() {
        for (outer, number) in
            [OUTER_V4, OUTER_V6].into_iter().flat_map(|outer| [(outer, 0), (outer, 1), (outer, 2)])
        {
            let text = gate(number, outer);
            for (other, address) in outer.gateways.iter().enumerate() {
                let names = text.contains(&format!("\"{address}\""));
                assert_eq!(names, other == number || other == number + 1, "{number}, {address}");
            }
        }
    }
}
