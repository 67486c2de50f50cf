//! Diffie-Hellman in the MODP groups (RFC 3526), constant-time in the exponent.

use super::comb::Comb;
use super::{Wiped, primes};
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize};
use std::sync::OnceLock;
use zeroize::{Zeroize, Zeroizing};

/// One group. All have the generator 2 and a safe prime, so that 1 < y < p-1 is the whole check (RFC 6989 §2.1).
pub(super) struct Modp {
    bits: u32,
    /// At least twice the strength of the group, so that the exponent is not the weak part: what finds an exponent of `n`
    /// bits in a group with a safe prime takes 2^(n/2) steps.
    exponent_octets: usize,
    prime: &'static str,
    params: OnceLock<BoxedMontyParams>,
    generator: OnceLock<Comb>,
}

/// 256 bits: NIST SP 800-56A rev. 3 §5.6.1.1 asks for 224 in a group of this size, RFC 7919 appendix A.1 for 225, RFC 3526 §8
/// for 220 to 320. The exponent's 128 bits of strength are 16 more than the group's, and as many as those of AES-128.
pub(super) static MODP_2048: Modp = Modp::new(2048, 32, primes::MODP_2048);
pub(super) static MODP_3072: Modp = Modp::new(3072, 48, primes::MODP_3072);
pub(super) static MODP_4096: Modp = Modp::new(4096, 56, primes::MODP_4096);
pub(super) static MODP_6144: Modp = Modp::new(6144, 64, primes::MODP_6144);
pub(super) static MODP_8192: Modp = Modp::new(8192, 64, primes::MODP_8192);

impl Modp {
    const fn new(bits: u32, exponent_octets: usize, prime: &'static str) -> Self {
        Self { bits, exponent_octets, prime, params: OnceLock::new(), generator: OnceLock::new() }
    }

    fn params(&self) -> &BoxedMontyParams {
        self.params.get_or_init(|| {
            let prime: Option<BoxedUint> = BoxedUint::from_be_hex(self.prime, self.bits).into();
            let odd: Option<Odd<BoxedUint>> = Odd::new(prime.expect("the constant is hexadecimal")).into();
            BoxedMontyParams::new_vartime(odd.expect("a prime above 2 is odd"))
        })
    }

    /// Made with the first exchange in the group; it costs about as much as that.
    fn generator(&self) -> &Comb {
        self.generator.get_or_init(|| {
            Comb::new(BoxedUint::from(2u8).resize(self.bits), self.exponent_octets, self.params())
        })
    }

    pub(super) const fn exponent_octets(&self) -> usize {
        self.exponent_octets
    }

    pub(super) const fn public_octets(&self) -> usize {
        self.bits as usize / 8
    }

    /// 2^exponent, left-padded to the length of the prime (RFC 2409 §5).
    pub(super) fn public(&self, exponent: &[u8]) -> Vec<u8> {
        octets(self.generator().power(exponent)).to_vec()
    }

    /// peer^exponent; `None` unless `peer` is an element.
    pub(super) fn agree(&self, exponent: &[u8], peer: &[u8]) -> Option<Wiped> {
        self.element(peer).map(|peer| octets(self.power(peer, exponent)))
    }

    /// The public value; `None` unless 1 < peer < p-1 and it has the length of the prime.
    pub(super) fn element(&self, peer: &[u8]) -> Option<BoxedUint> {
        if peer.len() != self.public_octets() {
            return None;
        }
        let peer = BoxedUint::from_be_slice(peer, self.bits).ok()?;
        let one = BoxedUint::one_with_precision(self.bits);
        let last = self.params().modulus().as_ref().wrapping_sub(&one);
        (peer > one && peer < last).then_some(peer)
    }

    fn power(&self, base: BoxedUint, exponent: &[u8]) -> BoxedMontyForm {
        let bits = u32::try_from(exponent.len() * 8).expect("exponents are short");
        let mut exponent = BoxedUint::from_be_slice(exponent, bits).expect("the precision is the length");
        let power = BoxedMontyForm::new(base, self.params()).pow(&exponent);
        exponent.zeroize();
        power
    }
}

/// The number in as many octets as the prime has.
fn octets(mut power: BoxedMontyForm) -> Wiped {
    let mut value = power.retrieve();
    let octets = Zeroizing::new(value.to_be_bytes().into_vec());
    power.zeroize();
    value.zeroize();
    octets
}
