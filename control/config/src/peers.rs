//! What peers must not have in common (RFC 2409 §5.4, REQUIREMENTS F-13).

use crate::authentication::Xauth;
use crate::peer::{IkeMode, KnownPeers, Peer, ReadPeer};
use crate::report::Report;
use std::collections::HashMap;
use std::net::IpAddr;
use warren_policy::Identity;

/// By what a peer's first message is told from another's.
#[derive(PartialEq, Eq, Hash)]
enum Tell<'a> {
    /// Main mode finds the key by the addresses alone.
    Addresses(IpAddr, IpAddr),
    /// Of any address, or in a mode that shows the identity first.
    Identity(IpAddr, Option<IpAddr>, IkeMode, Option<&'a Identity>),
}

/// Refuses peers that nobody could tell apart, and main mode with several keys for peers of any address.
pub(crate) fn check(peers: &KnownPeers<'_>, report: &mut Report<'_>) {
    let whole = || peers.read.iter().filter_map(|read| Some((read, read.peer.as_ref()?)));
    let mut seen = HashMap::new();
    for (read, peer) in whole() {
        let tell = match (peer.mode, peer.address) {
            (IkeMode::Main, Some(address)) => Tell::Addresses(peer.local, address),
            (mode, address) => Tell::Identity(peer.local, address, mode, peer.identity.as_ref()),
        };
        let by_addresses = matches!(tell, Tell::Addresses(..));
        if let Some(first) = seen.insert(tell, read.name) {
            if by_addresses {
                let message = format!("`{}` is between the same two addresses as `{first}`", read.name);
                let accepted = "another pair of `local` and `address`, or `ike = \"v1-aggressive\"` or `\"v1-base\"` with another `identity`";
                report.error(&read.address_span, message, accepted);
            } else {
                let message = format!("nothing tells `{}` from `{first}`", read.name);
                report.error(&read.identity_span, message, "another `identity`, or other addresses");
            }
        }
        check_role(read, peer, report);
    }
    check_main_mode(whole(), report);
}

/// A template is answered, never called.
fn check_role(read: &ReadPeer<'_>, peer: &Peer, report: &mut Report<'_>) {
    if !peer.is_template() {
        return;
    }
    if peer.is_discovered() {
        check_discovered(read, peer, report);
        return;
    }
    let what = if peer.address.is_none() { "`address = \"any\"`" } else { "`identity = \"any\"`" };
    if peer.receives.is_some() {
        let message = format!("policy is not received from a peer with {what}: nobody knows whom to believe");
        report.error(&read.address_span, message, "one `address` and one `identity` with `receives`");
    } else if peer.serves.is_none() {
        let message = format!(
            "`{}` has {what} and serves no policy: no tunnel can name it, so who connects gets nothing",
            read.name
        );
        report.warning(&read.address_span, message);
    }
}

/// Gateways that find each other are equals: neither is the other's client, and either may begin.
fn check_discovered(read: &ReadPeer<'_>, peer: &Peer, report: &mut Report<'_>) {
    let mut refuse = |key: &str, why: &str| {
        let message = format!("`{key}` has no place in a peer with `address = \"discover\"`: {why}");
        report.error(&read.address_span, message, format!("the peer without `{key}`, or with an `address`"));
    };
    if peer.receives.is_some() {
        refuse("receives", "nobody knows whom to believe");
    }
    if peer.serves.is_some() {
        refuse("serves", "what is protected is said by both sides' rules");
    }
    if !matches!(peer.xauth, Xauth::Off) {
        refuse("xauth", "either side may begin, and there is nobody to ask for a user");
    }
}

/// The key of main mode is needed before the identity is known.
fn check_main_mode<'a>(peers: impl Iterator<Item = (&'a ReadPeer<'a>, &'a Peer)>, report: &mut Report<'_>) {
    let mut first: Option<(&str, &[u8])> = None;
    for (read, peer) in peers.filter(|(_, peer)| peer.mode == IkeMode::Main && peer.address.is_none()) {
        let Some(secret) = peer.authentication.secret() else { continue };
        match first {
            None => first = Some((read.name, secret.expose())),
            Some((_, own)) if own == secret.expose() => {}
            Some((name, _)) => {
                let message = format!(
                    "`{}` has another secret than `{name}`, and in main mode peers of any address can only share one",
                    read.name
                );
                let accepted = "the same secret, `ike = \"v1-aggressive\"` or `\"v1-base\"`, or certificates";
                report.error(&read.secret_span, message, accepted);
            }
        }
    }
}
