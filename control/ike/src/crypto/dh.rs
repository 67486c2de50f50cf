//! One Diffie-Hellman exchange in any of the groups 14–21; its private value is used once and wiped.

use super::Wiped;
use super::modp::{MODP_2048, MODP_3072, MODP_4096, MODP_6144, MODP_8192, Modp};
use crate::Entropy;
use aws_lc_rs::agreement::{
    Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, ParsedPublicKey, PrivateKey, UnparsedPublicKey, agree,
};
use warren_policy::Group;
use zeroize::Zeroizing;

/// A public value that is not an element of the group, or one of its trivial elements (RFC 6989).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPublicValue;

/// How an uncompressed point begins in SEC 1. IKE sends x and y without it (RFC 5903 §7).
const UNCOMPRESSED: u8 = 4;

enum Private {
    Modp(&'static Modp, Wiped),
    Ecp(&'static Algorithm, PrivateKey),
}

/// Our half of an exchange.
pub(crate) struct KeyExchange {
    private: Private,
    public: Vec<u8>,
}

enum Kind {
    Modp(&'static Modp),
    /// The curve, the octets of a coordinate, and the mask for the highest octet of a private key.
    Ecp(&'static Algorithm, usize, u8),
}

const fn kind(group: Group) -> Kind {
    match group {
        Group::Modp2048 => Kind::Modp(&MODP_2048),
        Group::Modp3072 => Kind::Modp(&MODP_3072),
        Group::Modp4096 => Kind::Modp(&MODP_4096),
        Group::Modp6144 => Kind::Modp(&MODP_6144),
        Group::Modp8192 => Kind::Modp(&MODP_8192),
        Group::Ecp256 => Kind::Ecp(&ECDH_P256, 32, 0xff),
        Group::Ecp384 => Kind::Ecp(&ECDH_P384, 48, 0xff),
        // 521 bits are 65 octets and one bit.
        Group::Ecp521 => Kind::Ecp(&ECDH_P521, 66, 0x01),
    }
}

/// Whether a public value can be agreed with: the checks of RFC 6989, before any work is done for it.
pub(crate) fn is_public_value(group: Group, public: &[u8]) -> bool {
    match kind(group) {
        Kind::Modp(modp) => modp.element(public).is_some(),
        Kind::Ecp(algorithm, ..) => {
            let point = [&[UNCOMPRESSED], public].concat();
            public.len() == public_octets(group)
                && ParsedPublicKey::try_from(UnparsedPublicKey::new(algorithm, point)).is_ok()
        }
    }
}

/// Octets of a KE payload's body in that group.
pub(crate) const fn public_octets(group: Group) -> usize {
    match kind(group) {
        Kind::Modp(modp) => modp.public_octets(),
        Kind::Ecp(_, coordinate, _) => 2 * coordinate,
    }
}

impl KeyExchange {
    /// A fresh private value and its public one.
    pub(crate) fn generate(group: Group, entropy: &mut dyn Entropy) -> Self {
        match kind(group) {
            Kind::Modp(modp) => {
                let mut exponent = Zeroizing::new(vec![0; modp.exponent_octets()]);
                entropy.fill(&mut exponent);
                // A full-length exponent: the work, and the length of its logarithm, are always the same.
                exponent[0] |= 0x80;
                Self::from_exponent(modp, exponent)
            }
            Kind::Ecp(algorithm, coordinate, mask) => loop {
                let mut scalar = Zeroizing::new(vec![0; coordinate]);
                entropy.fill(&mut scalar);
                scalar[0] &= mask;
                // A scalar that is zero or not below the order is refused; the next one will do.
                if let Some(exchange) = Self::from_scalar(algorithm, &scalar) {
                    return exchange;
                }
            },
        }
    }

    fn from_exponent(modp: &'static Modp, exponent: Wiped) -> Self {
        let public = modp.public(&exponent);
        Self { private: Private::Modp(modp, exponent), public }
    }

    fn from_scalar(algorithm: &'static Algorithm, scalar: &[u8]) -> Option<Self> {
        let private = PrivateKey::from_private_key(algorithm, scalar).ok()?;
        let public = private.compute_public_key().ok()?.as_ref().strip_prefix(&[UNCOMPRESSED])?.to_vec();
        Some(Self { private: Private::Ecp(algorithm, private), public })
    }

    /// The body of our KE payload.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    /// g^xy: the left-padded power (RFC 2409 §5), or the x coordinate (RFC 5903 §7).
    pub(crate) fn agree(&self, peer: &[u8]) -> Result<Wiped, BadPublicValue> {
        match &self.private {
            Private::Modp(modp, exponent) => modp.agree(exponent, peer).ok_or(BadPublicValue),
            Private::Ecp(algorithm, private) => {
                if peer.len() != self.public.len() {
                    return Err(BadPublicValue);
                }
                let point = [&[UNCOMPRESSED], peer].concat();
                let peer = UnparsedPublicKey::new(algorithm, point);
                agree(private, peer, BadPublicValue, |x| Ok(Zeroizing::new(x.to_vec())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Seeded, vector};

    #[test] // RFC 3526
    fn the_primes_are_the_published_ones() {
        let groups = vector("kdf/modp_groups.json");
        let mut seen = 0;
        for row in groups.as_array().unwrap() {
            let prime = match row["group"].as_u64().unwrap() {
                14 => super::super::primes::MODP_2048,
                15 => super::super::primes::MODP_3072,
                16 => super::super::primes::MODP_4096,
                17 => super::super::primes::MODP_6144,
                18 => super::super::primes::MODP_8192,
                _ => continue,
            };
            assert_eq!(prime, row["p"].as_str().unwrap());
            seen += 1;
        }
        assert_eq!(seen, 5);
    }

    #[test] // F-21
    fn both_sides_agree_in_every_group_and_the_lengths_are_fixed() {
        let mut entropy = Seeded::new(1);
        for group in Group::ALL {
            let one = KeyExchange::generate(group, &mut entropy);
            let other = KeyExchange::generate(group, &mut entropy);
            assert_eq!(one.public().len(), public_octets(group), "{group}");
            let shared = one.agree(other.public()).unwrap();
            assert_eq!(shared, other.agree(one.public()).unwrap(), "{group}");
            let octets = if group.number() < 19 { public_octets(group) } else { public_octets(group) / 2 };
            assert_eq!(shared.len(), octets, "{group}");
        }
    }

    #[test] // RFC 3526, RFC 2409 §5
    fn powers_are_those_that_another_implementation_computes() {
        let mut seen = 0;
        for row in vector("kdf/modp_powers.json").as_array().unwrap() {
            let octets = |name: &str| hex::decode(row[name].as_str().unwrap()).unwrap();
            let group = Group::from_number(row["group"].as_u64().unwrap() as u16).unwrap();
            let Kind::Modp(modp) = kind(group) else { panic!("a MODP group") };
            let ours = KeyExchange::from_exponent(modp, Zeroizing::new(octets("exponent")));
            assert_eq!(ours.public(), octets("public"), "{group}: {}", row["what"]);
            assert_eq!(*ours.agree(&octets("peer")).unwrap(), octets("shared"), "{group}: {}", row["what"]);
            seen += 1;
        }
        assert_eq!(seen, 17);
    }

    #[test] // RFC 5903 §8
    fn the_published_curve_exchanges_come_out() {
        for row in vector("kdf/rfc5903_ecp_ke.json").as_array().unwrap() {
            let octets = |name: &str| hex::decode(row[name].as_str().unwrap()).unwrap();
            let group = Group::from_number(row["group"].as_u64().unwrap() as u16).unwrap();
            let Kind::Ecp(algorithm, coordinate, _) = kind(group) else { panic!("a curve") };
            let pad = |scalar: Vec<u8>| [vec![0; coordinate - scalar.len()], scalar].concat();
            let i = KeyExchange::from_scalar(algorithm, &pad(octets("i"))).unwrap();
            let r = KeyExchange::from_scalar(algorithm, &pad(octets("r"))).unwrap();
            assert_eq!(i.public(), octets("ke_i"));
            assert_eq!(r.public(), octets("ke_r"));
            assert_eq!(*i.agree(r.public()).unwrap(), pad(octets("shared_x")));
            assert_eq!(*r.agree(i.public()).unwrap(), pad(octets("shared_x")));
        }
    }

    #[test] // F-21, RFC 6989
    fn trivial_and_foreign_public_values_are_refused() {
        let mut entropy = Seeded::new(2);
        let ours = KeyExchange::generate(Group::Modp2048, &mut entropy);
        let prime = hex::decode(super::super::primes::MODP_2048).unwrap();
        let mut below = prime.clone();
        *below.last_mut().unwrap() -= 1;
        let mut accepted = prime.clone();
        *accepted.last_mut().unwrap() -= 2;
        let small = |last: u8| [vec![0; 255], vec![last]].concat();
        for refused in
            [small(0), small(1), below, prime.clone(), vec![0xff; 256], vec![2; 255], vec![2; 257], vec![]]
        {
            assert_eq!(ours.agree(&refused).unwrap_err(), BadPublicValue);
            assert!(!is_public_value(Group::Modp2048, &refused));
        }
        assert!(ours.agree(&small(2)).is_ok());
        assert!(ours.agree(&accepted).is_ok());
        for group in [Group::Ecp256, Group::Ecp384, Group::Ecp521] {
            let ours = KeyExchange::generate(group, &mut entropy);
            let mut off_curve = ours.public().to_vec();
            *off_curve.last_mut().unwrap() ^= 1;
            assert!(is_public_value(group, ours.public()) && !is_public_value(group, &off_curve), "{group}");
            assert!(ours.agree(&off_curve).is_err(), "{group}");
            assert!(ours.agree(&vec![0; off_curve.len()]).is_err(), "{group}");
            assert!(ours.agree(&vec![0xff; off_curve.len()]).is_err(), "{group}");
            assert!(ours.agree(&off_curve[1..]).is_err(), "{group}");
        }
    }

    #[test] // F-21, RFC 3526 §8, RFC 7919 appendix A
    fn exponents_are_at_least_twice_the_strength_and_have_all_of_their_bits() {
        let mut entropy = Seeded::new(3);
        for group in Group::ALL {
            let exchange = KeyExchange::generate(group, &mut entropy);
            let Private::Modp(modp, exponent) = &exchange.private else { continue };
            assert_eq!(exponent.len(), modp.exponent_octets());
            assert!(exponent.len() * 8 >= 2 * usize::from(group.strength_bits()), "{group}");
            assert!(exponent.len() * 8 >= 256, "{group}");
            assert_eq!(exponent[0] & 0x80, 0x80, "{group}");
        }
    }
}
