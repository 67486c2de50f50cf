//! NAT detection (RFC 3947 §3.2): each side hashes the addresses it sees; a NAT changes what the other sees.

use crate::crypto::{Cookies, digest, is_equal};
use crate::{NatTraversal, Path};
use std::net::{IpAddr, SocketAddr};
use warren_policy::Hash;

/// What the NAT-D payloads said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nat {
    /// A NAT hides us: the peer sees another address than ours.
    pub(crate) local: bool,
    /// A NAT hides the peer.
    pub(crate) remote: bool,
    /// Both sides send IKE on port 4500 and ESP in UDP from message 5 on.
    pub(crate) float: bool,
}

impl Nat {
    /// What remains once the initiator has decided whether to float.
    pub(crate) fn settled(self, float: bool) -> Self {
        if float { Self { float, ..self } } else { Self::default() }
    }
}

/// HASH(CKY-I | CKY-R | IP | Port) with the hash of phase 1.
fn hash(algorithm: Hash, cookies: Cookies, socket: SocketAddr) -> Vec<u8> {
    let port = socket.port().to_be_bytes();
    let parts = |address: &[u8]| digest(algorithm, &[&cookies.initiator, &cookies.responder, address, &port]);
    match socket.ip() {
        IpAddr::V4(address) => parts(&address.octets()),
        IpAddr::V6(address) => parts(&address.octets()),
    }
}

/// Our NAT-D payloads: where the message goes to, then where it comes from.
pub(crate) fn payloads(algorithm: Hash, cookies: Cookies, path: Path, config: NatTraversal) -> [Vec<u8>; 2] {
    let mut source = path.local;
    if config == NatTraversal::Force {
        // No datagram comes from port 0, so this is never what the peer sees.
        source.set_port(0);
    }
    [hash(algorithm, cookies, path.remote), hash(algorithm, cookies, source)]
}

/// Compares the peer's NAT-D payloads with what we see. Fewer than two payloads detect nothing.
pub(crate) fn detect(
    algorithm: Hash,
    cookies: Cookies,
    path: Path,
    config: NatTraversal,
    payloads: &[&[u8]],
) -> Nat {
    let Some((destination, sources)) = payloads.split_first().filter(|(_, sources)| !sources.is_empty())
    else {
        return Nat::default();
    };
    let local = !is_equal(destination, &hash(algorithm, cookies, path.local));
    let seen = hash(algorithm, cookies, path.remote);
    let remote = !sources.iter().any(|source| is_equal(source, &seen));
    Nat { local, remote, float: local || remote || config == NatTraversal::Force }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIES: Cookies = Cookies { initiator: [1; 8], responder: [2; 8] };

    fn path(local: &str, remote: &str) -> Path {
        Path { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    fn between(ours: Path, theirs: Path, our_config: NatTraversal) -> (Nat, Nat) {
        let from = |path, config| payloads(Hash::Sha256, COOKIES, path, config);
        let (sent, received) = (from(ours, our_config), from(theirs, NatTraversal::Auto));
        let see = |path, config, [one, two]: &[Vec<u8>; 2]| {
            detect(Hash::Sha256, COOKIES, path, config, &[one, two])
        };
        (see(ours, our_config, &received), see(theirs, NatTraversal::Auto, &sent))
    }

    #[test] // RFC 3947 §3.2
    fn without_a_nat_nothing_is_detected() {
        let (ours, theirs) = (path("192.0.2.1:500", "192.0.2.2:500"), path("192.0.2.2:500", "192.0.2.1:500"));
        assert_eq!(between(ours, theirs, NatTraversal::Auto), (Nat::default(), Nat::default()));
        let (ours, theirs) =
            (path("[2001:db8::1]:500", "[2001:db8::2]:500"), path("[2001:db8::2]:500", "[2001:db8::1]:500"));
        assert_eq!(between(ours, theirs, NatTraversal::Auto), (Nat::default(), Nat::default()));
    }

    #[test] // RFC 3947 §3.2
    fn both_sides_agree_on_who_is_behind_the_nat() {
        let (ours, theirs) =
            (path("10.0.0.1:500", "192.0.2.2:500"), path("192.0.2.2:500", "198.51.100.7:1024"));
        let (we, they) = between(ours, theirs, NatTraversal::Auto);
        assert_eq!(we, Nat { local: true, remote: false, float: true });
        assert_eq!(they, Nat { local: false, remote: true, float: true });
    }

    #[test]
    fn force_makes_both_sides_float() {
        let (ours, theirs) = (path("192.0.2.1:500", "192.0.2.2:500"), path("192.0.2.2:500", "192.0.2.1:500"));
        let (we, they) = between(ours, theirs, NatTraversal::Force);
        assert_eq!(we, Nat { local: false, remote: false, float: true });
        assert_eq!(they, Nat { local: false, remote: true, float: true });
    }

    #[test]
    fn too_few_payloads_detect_nothing() {
        let path = path("192.0.2.1:500", "192.0.2.2:500");
        assert_eq!(detect(Hash::Sha1, COOKIES, path, NatTraversal::Auto, &[]), Nat::default());
        assert_eq!(detect(Hash::Sha1, COOKIES, path, NatTraversal::Auto, &[b"one"]), Nat::default());
    }
}
