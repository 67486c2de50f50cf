//! Signatures over HASH_I and HASH_R (RFC 2409 §5.1, RFC 4754).
//!
//! IKEv1 signs the bare HASH: with RSA it stands in PKCS #1 padding without the DigestInfo that names a hash
//! function, with ECDSA it is what otherwise the digest of a message would be.

use crate::Entropy;
use crate::limits::RSA_BITS_MIN;
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{self as ecdsa, EcdsaKeyPair, KeyPair, ParsedPublicKey};
use rand_core::{TryCryptoRng, TryRng};
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey};
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use std::convert::Infallible;

/// The authentication method attribute of phase 1 for signatures (RFC 2409 App. A, RFC 4754 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AuthMethod {
    RsaSignatures = 3,
    Ecdsa256 = 9,
    Ecdsa384 = 10,
    Ecdsa521 = 11,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// Neither RSA nor a key on one of the three curves, or damaged.
    Unknown,
    /// RSA with fewer than [`RSA_BITS_MIN`] bits, or more than can be computed with.
    RsaBits(u32),
}

/// A curve of RFC 4754 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    const fn method(self) -> AuthMethod {
        match self {
            Self::P256 => AuthMethod::Ecdsa256,
            Self::P384 => AuthMethod::Ecdsa384,
            Self::P521 => AuthMethod::Ecdsa521,
        }
    }

    fn signing(self) -> &'static ecdsa::EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ecdsa::ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ecdsa::ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &ecdsa::ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }

    fn verifying(self) -> &'static ecdsa::EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ecdsa::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ecdsa::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ecdsa::ECDSA_P521_SHA512_FIXED,
        }
    }

    /// The HASH as ECDSA reads a digest: its leftmost bits as a number. The library wants the digest of one
    /// certain function; a shorter HASH is the same number with zeros in front, of a longer one the left part counts.
    fn digest(self, hash: &[u8]) -> Option<Digest> {
        let algorithm = match self {
            Self::P256 => &digest::SHA256,
            Self::P384 => &digest::SHA384,
            Self::P521 => &digest::SHA512,
        };
        let octets = algorithm.output_len();
        let hash = &hash[..hash.len().min(octets)];
        let padded = [&vec![0; octets - hash.len()][..], hash].concat();
        Digest::import_less_safe(&padded, algorithm).ok()
    }
}

/// Our private key. Both kinds wipe themselves.
pub(crate) enum PrivateKey {
    Rsa(Box<rsa::PrivateKey>),
    Ecdsa(Curve, EcdsaKeyPair),
}

impl PrivateKey {
    /// Reads PKCS #8, PKCS #1 or SEC 1 DER.
    pub(crate) fn decode(der: &[u8]) -> Result<Self, KeyError> {
        let rsa = rsa::PrivateKey::from_pkcs8_der(der).ok();
        if let Some(key) = rsa.or_else(|| rsa::PrivateKey::from_pkcs1_der(der).ok()) {
            check_bits(key.n().bit_width_vartime())?;
            return Ok(Self::Rsa(Box::new(key)));
        }
        let ecdsa = |curve: Curve| {
            let key = EcdsaKeyPair::from_private_key_der(curve.signing(), der).ok()?;
            Some(Self::Ecdsa(curve, key))
        };
        Curve::ALL.into_iter().find_map(ecdsa).ok_or(KeyError::Unknown)
    }

    pub(crate) const fn method(&self) -> AuthMethod {
        match self {
            Self::Rsa(_) => AuthMethod::RsaSignatures,
            Self::Ecdsa(curve, _) => curve.method(),
        }
    }

    /// Whether the other half is `public`.
    pub(crate) fn fits(&self, public: &PublicKey) -> bool {
        match (self, public) {
            (Self::Rsa(own), PublicKey::Rsa(public)) => own.as_public_key() == &**public,
            (Self::Ecdsa(curve, own), PublicKey::Ecdsa(other, public)) => {
                curve == other && own.public_key().as_ref() == public.as_ref()
            }
            _ => false,
        }
    }

    /// The signature; `None` when the HASH is none, or the computation went wrong.
    pub(crate) fn sign(&self, hash: &[u8], entropy: &mut dyn Entropy) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let padding = Pkcs1v15Sign::new_unprefixed();
                key.sign_with_rng(&mut Blinding(entropy), padding, hash).ok()
            }
            Self::Ecdsa(curve, key) => {
                let signature = key.sign_digest(&curve.digest(hash)?).ok()?;
                Some(signature.as_ref().to_vec())
            }
        }
    }
}

/// A peer's public key.
pub(crate) enum PublicKey {
    Rsa(Box<rsa::PublicKey>),
    Ecdsa(Curve, ParsedPublicKey),
}

impl PublicKey {
    /// An RSAPublicKey (RFC 8017 App. A.1.1).
    pub(crate) fn rsa(der: &[u8]) -> Result<Self, KeyError> {
        let key = rsa::PublicKey::from_pkcs1_der(der).map_err(|_| KeyError::Unknown)?;
        check_bits(key.n().bit_width_vartime())?;
        Ok(Self::Rsa(Box::new(key)))
    }

    /// A point on that curve, uncompressed (SEC 1 §2.3.3).
    pub(crate) fn ecdsa(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        let key = ParsedPublicKey::new(curve.verifying(), point).map_err(|_| KeyError::Unknown)?;
        Ok(Self::Ecdsa(curve, key))
    }

    pub(crate) const fn method(&self) -> AuthMethod {
        match self {
            Self::Rsa(_) => AuthMethod::RsaSignatures,
            Self::Ecdsa(curve, _) => curve.method(),
        }
    }

    pub(crate) fn verifies(&self, hash: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => {
                signature.len() == key.size()
                    && key.verify(Pkcs1v15Sign::new_unprefixed(), hash, signature).is_ok()
            }
            Self::Ecdsa(curve, key) => {
                curve.digest(hash).is_some_and(|digest| key.verify_digest_sig(&digest, signature).is_ok())
            }
        }
    }
}

fn check_bits(bits: u32) -> Result<(), KeyError> {
    let possible = RSA_BITS_MIN..=rsa::PublicKey::MAX_SIZE as u32;
    if possible.contains(&bits) { Ok(()) } else { Err(KeyError::RsaBits(bits)) }
}

/// Our randomness, for blinding what the private key is computed with.
struct Blinding<'a>(&'a mut dyn Entropy);

impl TryRng for Blinding<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(self.0.octets()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(self.0.octets()))
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(octets);
        Ok(())
    }
}

impl TryCryptoRng for Blinding<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest as hash_of;
    use crate::pem::private_key_from_pem;
    use crate::testing::{Seeded, vector, vector_octets};
    use proptest::prelude::*;
    use serde_json::Value;
    use warren_policy::Hash;

    fn key(name: &str) -> PrivateKey {
        let pem = vector_octets(&format!("certificates/{name}.key"));
        PrivateKey::decode(private_key_from_pem(&pem).unwrap().expose()).ok().unwrap()
    }

    fn public(key: &PrivateKey) -> PublicKey {
        match key {
            PrivateKey::Rsa(key) => PublicKey::Rsa(Box::new(key.to_public_key())),
            PrivateKey::Ecdsa(curve, key) => {
                PublicKey::ecdsa(*curve, key.public_key().as_ref()).ok().unwrap()
            }
        }
    }

    const KEYS: [(&str, AuthMethod, usize); 4] = [
        ("rsa-left", AuthMethod::RsaSignatures, 256),
        ("p256-left", AuthMethod::Ecdsa256, 64),
        ("p384-left", AuthMethod::Ecdsa384, 96),
        ("p521-left", AuthMethod::Ecdsa521, 132),
    ];

    #[test]
    fn every_kind_of_key_signs_every_length_of_hash() {
        for (name, method, octets) in KEYS {
            let own = key(name);
            let peer = public(&own);
            assert_eq!((own.method(), peer.method()), (method, method));
            assert!(own.fits(&peer));
            for hash in [20, 32, 48, 64].map(|length| (0..length).collect::<Vec<u8>>()) {
                let signature = own.sign(&hash, &mut Seeded::new(1)).unwrap();
                assert_eq!(signature.len(), octets, "{name}");
                assert!(peer.verifies(&hash, &signature), "{name}");
            }
        }
    }

    #[test]
    fn a_changed_hash_or_signature_or_key_does_not_verify() {
        let right = ["rsa-right", "p256-right", "p384-right", "p521-right"];
        for ((name, ..), other) in KEYS.into_iter().zip(right) {
            let (own, hash) = (key(name), [7; 32]);
            let (peer, signature) = (public(&own), own.sign(&hash, &mut Seeded::new(1)).unwrap());
            assert!(peer.verifies(&hash, &signature));
            assert!(!public(&key(other)).verifies(&hash, &signature), "{name}");
            assert!(!own.fits(&public(&key(other))), "{name}");
            for at in 0..32 {
                let mut changed = hash;
                changed[at] ^= 1;
                assert!(!peer.verifies(&changed, &signature), "{name}");
            }
            for at in (0..signature.len()).step_by(7) {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert!(!peer.verifies(&hash, &changed), "{name}, octet {at}");
            }
            for changed in [&signature[1..], &[&signature[..], &[0]].concat(), &[]] {
                assert!(!peer.verifies(&hash, changed), "{name}");
            }
        }
    }

    #[test]
    fn a_blinded_signature_is_the_signature() {
        let own = key("rsa-left");
        let sign = |seed| own.sign(&[3; 32], &mut Seeded::new(seed)).unwrap();
        assert_eq!(sign(1), sign(2));
    }

    #[test] // RFC 2409 §5.1: no DigestInfo
    fn rsa_signs_the_bare_hash() {
        let own = key("rsa-left");
        let hash = [b'Z'; 32];
        let signature = own.sign(&hash, &mut Seeded::new(1)).unwrap();
        let prefixed = [&digest_info(Hash::Sha256)[..], &hash].concat();
        assert!(!public(&own).verifies(&prefixed, &signature));
        // PKCS #1 signatures are determined: OpenSSL's `pkeyutl` without a digest makes the same one.
        assert_eq!(signature, vector_octets("certificates/rsa-left.signature"));
    }

    #[test] // RFC 4754
    fn ecdsa_takes_the_hash_for_the_digest_as_openssl_does() {
        for (name, width) in [("p256-left", 32), ("p384-left", 48), ("p521-left", 66)] {
            let signature = fixed(&vector_octets(&format!("certificates/{name}.signature")), width).unwrap();
            assert!(public(&key(name)).verifies(&[b'Z'; 32], &signature), "{name}");
            assert!(!public(&key(name)).verifies(&[b'Y'; 32], &signature), "{name}");
        }
    }

    /// What stands between padding and digest wherever else RSA signs (RFC 8017 §9.2, note 1).
    fn digest_info(hash: Hash) -> Vec<u8> {
        let (algorithm, octets) = match hash {
            Hash::Sha256 => (1, 32),
            Hash::Sha384 => (2, 48),
            _ => panic!("not among the vectors"),
        };
        let oid = [0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, algorithm];
        [&[0x30, 17 + octets, 0x30, 13][..], &oid, &[5, 0, 4, octets]].concat()
    }

    fn octets(value: &Value) -> Vec<u8> {
        hex::decode(value.as_str().unwrap()).unwrap()
    }

    fn groups(file: &str) -> Vec<Value> {
        vector(&format!("primitives/{file}_test.dev.json"))["testGroups"].as_array().unwrap().clone()
    }

    #[test]
    fn rsa_agrees_with_wycheproof() {
        let mut judged = 0;
        for (file, hash) in
            [("rsa_signature_2048_sha256", Hash::Sha256), ("rsa_signature_3072_sha384", Hash::Sha384)]
        {
            for group in groups(file) {
                let key = PublicKey::rsa(&octets(&group["publicKeyAsn"])).ok().unwrap();
                for test in group["tests"].as_array().unwrap() {
                    // A DigestInfo in front of the digest is a longer HASH to us.
                    let bare = [digest_info(hash), hash_of(hash, &[&octets(&test["msg"])]).to_vec()].concat();
                    let verifies = key.verifies(&bare, &octets(&test["sig"]));
                    if test["result"] != "acceptable" {
                        assert_eq!(verifies, test["result"] == "valid", "{file} {}", test["tcId"]);
                        judged += 1;
                    }
                }
            }
        }
        assert!(judged > 200, "{judged}");
    }

    /// r and s of strict DER at full width; `None` for what cannot be written so.
    fn fixed(der: &[u8], width: usize) -> Option<Vec<u8>> {
        let integer = |octets: &[u8]| -> Option<(Vec<u8>, Vec<u8>)> {
            let (&[2, length], rest) = octets.split_first_chunk::<2>()? else { return None };
            let (number, rest) = rest.split_at_checked(usize::from(length))?;
            let significant: Vec<u8> = number.iter().copied().skip_while(|octet| *octet == 0).collect();
            let negative = number.first()? & 0x80 != 0;
            let padded = [vec![0; width.checked_sub(significant.len())?], significant].concat();
            (!negative && length < 0x80).then(|| (padded, rest.to_vec()))
        };
        let content = match der {
            [0x30, length, content @ ..] if usize::from(*length) == content.len() && *length < 0x80 => {
                content
            }
            [0x30, 0x81, length, content @ ..] if usize::from(*length) == content.len() => content,
            _ => return None,
        };
        let (r, rest) = integer(content)?;
        let (s, rest) = integer(&rest)?;
        rest.is_empty().then(|| [r, s].concat())
    }

    #[test]
    fn ecdsa_agrees_with_wycheproof() {
        let mut judged = [0; 2];
        for (file, hash, curve, width) in [
            ("ecdsa_secp256r1_sha256", Hash::Sha256, Curve::P256, 32),
            ("ecdsa_secp384r1_sha384", Hash::Sha384, Curve::P384, 48),
            ("ecdsa_secp521r1_sha512", Hash::Sha512, Curve::P521, 66),
        ] {
            for group in groups(file) {
                let point = octets(&group["publicKey"]["uncompressed"]);
                let key = PublicKey::ecdsa(curve, &point).ok().unwrap();
                for test in group["tests"].as_array().unwrap() {
                    let Some(signature) = fixed(&octets(&test["sig"]), width) else { continue };
                    let verifies = key.verifies(&hash_of(hash, &[&octets(&test["msg"])]), &signature);
                    // A wrong encoding of a right signature cannot be told apart here.
                    let encoding =
                        test["flags"].as_array().unwrap().iter().any(|flag| flag == "BerEncodedSignature");
                    if !encoding {
                        assert_eq!(verifies, test["result"] == "valid", "{file} {}", test["tcId"]);
                        judged[usize::from(verifies)] += 1;
                    }
                }
            }
        }
        assert!(judged[0] > 60 && judged[1] > 200, "{judged:?}");
    }

    #[test]
    fn weak_and_unknown_keys_are_refused() {
        let pem = vector_octets("certificates/rsa-1024.key");
        let der = private_key_from_pem(&pem).unwrap();
        assert_eq!(PrivateKey::decode(der.expose()).err(), Some(KeyError::RsaBits(1024)));
        for der in [&[][..], &[0x30, 0], &der.expose()[..100]] {
            assert_eq!(PrivateKey::decode(der).err(), Some(KeyError::Unknown));
        }
        let off_the_curve = [&[4][..], &[1; 64]].concat();
        assert_eq!(PublicKey::ecdsa(Curve::P256, &off_the_curve).err(), Some(KeyError::Unknown));
        assert_eq!(PublicKey::rsa(&[0x30, 0]).err(), Some(KeyError::Unknown));
    }

    fn integer(octets: &[u8]) -> Vec<u8> {
        let length = octets.len() as u16;
        [&[2, 0x82][..], &length.to_be_bytes(), octets].concat()
    }

    proptest! {
        #[test] // F-36
        fn no_public_key_panics(
            modulus in prop::collection::vec(any::<u8>(), 128..1100),
            exponent in prop::collection::vec(any::<u8>(), 0..80),
            length in 0usize..1100,
        ) {
            let content = [integer(&modulus), integer(&exponent)].concat();
            let der = [&[0x30, 0x82][..], &(content.len() as u16).to_be_bytes(), &content].concat();
            if let Ok(key) = PublicKey::rsa(&der) {
                prop_assert!(!key.verifies(&[7; 32], &vec![0x55; length]));
                prop_assert!(!key.verifies(&[7; 32], &vec![0xff; modulus.len()]));
            }
            for curve in Curve::ALL {
                let _ = PublicKey::ecdsa(curve, &modulus[..length.min(modulus.len())]);
            }
        }

        #[test]
        fn odd_keys_of_the_right_size_do_not_panic(
            mut modulus in prop::collection::vec(any::<u8>(), 257), exponent in prop::collection::vec(any::<u8>(), 1..6)
        ) {
            // The shortest encodings, that a strict reader accepts.
            (modulus[0], modulus[1]) = (0, modulus[1] | 0x80);
            let exponent = [&[1], &exponent[..]].concat();
            let short = [&[2, exponent.len() as u8][..], &exponent].concat();
            let content = [integer(&modulus), short].concat();
            let der = [&[0x30, 0x82][..], &(content.len() as u16).to_be_bytes(), &content].concat();
            if let Ok(key) = PublicKey::rsa(&der) {
                prop_assert!(!key.verifies(&[7; 32], &[0x55; 256]));
            }
        }
    }
}
