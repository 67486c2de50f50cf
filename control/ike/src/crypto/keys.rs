//! What RFC 2409 derives: SKEYID and its family, Ka, the IVs, the HASH payloads and KEYMAT.

use super::prf::{digest, prf};
use super::{BLOCK_OCTETS, Cipher, Iv, Wiped};
use warren_policy::{Hash, IkeProposal};
use zeroize::Zeroizing;

/// CKY-I and CKY-R: the name of an ISAKMP SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cookies {
    /// CKY-I.
    pub(crate) initiator: [u8; 8],
    /// CKY-R; zero in the first message.
    pub(crate) responder: [u8; 8],
}

/// What enters the HASH payloads of phase 1 besides the identity (RFC 2409 §5).
pub(crate) struct PhaseOneParts<'a> {
    /// g^xi as in the KE payload.
    pub(crate) initiator_public: &'a [u8],
    /// g^xr as in the KE payload.
    pub(crate) responder_public: &'a [u8],
    /// The body of the initiator's SA payload.
    pub(crate) sa: &'a [u8],
    /// Both cookies.
    pub(crate) cookies: Cookies,
}

/// SKEYID, SKEYID_d, SKEYID_a and the cipher under Ka.
pub(crate) struct PhaseOneKeys {
    hash: Hash,
    skeyid: Wiped,
    skeyid_d: Wiped,
    skeyid_a: Wiped,
    cipher: Cipher,
    #[cfg(test)]
    pub(crate) skeyid_e: Wiped,
}

impl PhaseOneKeys {
    /// SKEYID = prf(pre-shared-key, Ni_b | Nr_b), and what follows from it (RFC 2409 §5).
    pub(crate) fn from_secret(
        proposal: IkeProposal,
        secret: &[u8],
        (initiator_nonce, responder_nonce): (&[u8], &[u8]),
        shared: &[u8],
        cookies: Cookies,
    ) -> Self {
        let skeyid = prf(proposal.hash, secret, &[initiator_nonce, responder_nonce]);
        Self::from_skeyid(proposal, skeyid, shared, cookies)
    }

    /// SKEYID = prf(Ni_b | Nr_b, g^xy): authentication with signatures.
    pub(crate) fn from_signature_nonces(
        proposal: IkeProposal,
        (initiator_nonce, responder_nonce): (&[u8], &[u8]),
        shared: &[u8],
        cookies: Cookies,
    ) -> Self {
        let nonces = [initiator_nonce, responder_nonce].concat();
        Self::from_skeyid(proposal, prf(proposal.hash, &nonces, &[shared]), shared, cookies)
    }

    fn from_skeyid(proposal: IkeProposal, skeyid: Wiped, shared: &[u8], cookies: Cookies) -> Self {
        let hash = proposal.hash;
        let (i, r) = (&cookies.initiator, &cookies.responder);
        let skeyid_d = prf(hash, &skeyid, &[shared, i, r, &[0]]);
        let skeyid_a = prf(hash, &skeyid, &[&skeyid_d, shared, i, r, &[1]]);
        let skeyid_e = prf(hash, &skeyid, &[&skeyid_a, shared, i, r, &[2]]);
        let ka = expand(hash, &skeyid_e, proposal.encryption.octets());
        Self {
            hash,
            skeyid,
            skeyid_d,
            skeyid_a,
            cipher: Cipher::new(proposal.encryption, ka),
            #[cfg(test)]
            skeyid_e,
        }
    }

    pub(crate) const fn hash(&self) -> Hash {
        self.hash
    }

    pub(crate) const fn cipher(&self) -> &Cipher {
        &self.cipher
    }

    /// HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b).
    pub(crate) fn hash_i(&self, parts: &PhaseOneParts<'_>, identity: &[u8]) -> Wiped {
        let (i, r) = (&parts.cookies.initiator, &parts.cookies.responder);
        prf(
            self.hash,
            &self.skeyid,
            &[parts.initiator_public, parts.responder_public, i, r, parts.sa, identity],
        )
    }

    /// HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b).
    pub(crate) fn hash_r(&self, parts: &PhaseOneParts<'_>, identity: &[u8]) -> Wiped {
        let (i, r) = (&parts.cookies.initiator, &parts.cookies.responder);
        prf(
            self.hash,
            &self.skeyid,
            &[parts.responder_public, parts.initiator_public, r, i, parts.sa, identity],
        )
    }

    /// HASH(1) = prf(SKEYID_a, M-ID | everything after the HASH payload); also the HASH of an informational
    /// exchange (RFC 2409 §5.5, §5.7).
    pub(crate) fn hash_1(&self, message_id: u32, rest: &[u8]) -> Wiped {
        prf(self.hash, &self.skeyid_a, &[&message_id.to_be_bytes(), rest])
    }

    /// HASH(2) = prf(SKEYID_a, M-ID | Ni_b | everything after the HASH payload).
    pub(crate) fn hash_2(&self, message_id: u32, initiator_nonce: &[u8], rest: &[u8]) -> Wiped {
        prf(self.hash, &self.skeyid_a, &[&message_id.to_be_bytes(), initiator_nonce, rest])
    }

    /// A message ID that only `label` has, and that an eavesdropper can neither foresee nor attribute. No HASH is
    /// computed over input as short as a label. Zero is not a message ID of phase 2.
    pub(crate) fn message_id(&self, label: [u8; 7]) -> u32 {
        let mac = prf(self.hash, &self.skeyid_a, &[&label]);
        u32::from_be_bytes(mac[..4].try_into().expect("a digest is longer")).max(1)
    }

    /// HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b).
    pub(crate) fn hash_3(&self, message_id: u32, initiator_nonce: &[u8], responder_nonce: &[u8]) -> Wiped {
        prf(self.hash, &self.skeyid_a, &[&[0], &message_id.to_be_bytes(), initiator_nonce, responder_nonce])
    }
}

/// The key of the proofs of base mode that are computed without g^xy (REQUIREMENTS A1).
pub(crate) struct BaseKey {
    hash: Hash,
    key: Wiped,
}

impl BaseKey {
    /// SKEYID = prf(pre-shared-key, Ni_b | Nr_b).
    pub(crate) fn from_secret(hash: Hash, secret: &[u8], (initiator, responder): (&[u8], &[u8])) -> Self {
        Self { hash, key: prf(hash, secret, &[initiator, responder]) }
    }

    /// hash(Ni_b | Nr_b): authentication with signatures.
    pub(crate) fn from_nonces(hash: Hash, (initiator, responder): (&[u8], &[u8])) -> Self {
        Self { hash, key: Zeroizing::new(digest(hash, &[initiator, responder])) }
    }

    /// HASH_I = prf(key, g^xi | CKY-I | CKY-R | SAi_b | IDii_b).
    pub(crate) fn hash_i(
        &self,
        initiator_public: &[u8],
        cookies: Cookies,
        sa: &[u8],
        identity: &[u8],
    ) -> Wiped {
        let (i, r) = (&cookies.initiator, &cookies.responder);
        prf(self.hash, &self.key, &[initiator_public, i, r, sa, identity])
    }

    /// With signatures HASH_R = prf(key, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b): the initiator's identity,
    /// for the responder's stands in its certificate.
    pub(crate) fn signed_hash_r(&self, parts: &PhaseOneParts<'_>, initiator_identity: &[u8]) -> Wiped {
        let (i, r) = (&parts.cookies.initiator, &parts.cookies.responder);
        prf(
            self.hash,
            &self.key,
            &[parts.initiator_public, parts.responder_public, i, r, parts.sa, initiator_identity],
        )
    }
}

/// Ka (RFC 2409 appendix B): the first octets of SKEYID_e, or of K1 | K2 | … where that is too short.
fn expand(hash: Hash, skeyid_e: &[u8], octets: usize) -> Wiped {
    let mut key = Zeroizing::new(Vec::with_capacity(octets + hash.octets()));
    if skeyid_e.len() >= octets {
        key.extend_from_slice(&skeyid_e[..octets]);
        return key;
    }
    let mut block = prf(hash, skeyid_e, &[&[0]]);
    loop {
        key.extend_from_slice(&block);
        if key.len() >= octets {
            key.truncate(octets);
            return key;
        }
        block = prf(hash, skeyid_e, &[&block]);
    }
}

fn cut(digest: &[u8]) -> Iv {
    digest[..BLOCK_OCTETS].try_into().expect("every hash is longer than a block")
}

/// The IV of message 5: hash(g^xi | g^xr) (RFC 2409 appendix B).
pub(crate) fn initial_iv(hash: Hash, initiator_public: &[u8], responder_public: &[u8]) -> Iv {
    cut(&digest(hash, &[initiator_public, responder_public]))
}

/// The first IV of a phase 2 or informational exchange: hash(last block of phase 1 | M-ID).
pub(crate) fn message_iv(hash: Hash, last_block: &Iv, message_id: u32) -> Iv {
    cut(&digest(hash, &[last_block, &message_id.to_be_bytes()]))
}

/// KEYMAT = K1 | K2 | …, K1 = prf(SKEYID_d, [g(qm)^xy |] protocol | SPI | Ni_b | Nr_b),
/// Kn = prf(SKEYID_d, Kn-1 | the same) (RFC 2409 §5.5).
pub(crate) fn keymat(
    keys: &PhaseOneKeys,
    shared: Option<&[u8]>,
    protocol: u8,
    spi: u32,
    (initiator_nonce, responder_nonce): (&[u8], &[u8]),
    octets: usize,
) -> Wiped {
    let shared = shared.unwrap_or_default();
    let (protocol, spi) = ([protocol], spi.to_be_bytes());
    let mut material = Zeroizing::new(Vec::with_capacity(octets + keys.hash.octets()));
    let mut block = Zeroizing::new(Vec::new());
    while material.len() < octets {
        let seed: [&[u8]; 6] = [&block, shared, &protocol, &spi, initiator_nonce, responder_nonce];
        block = prf(keys.hash, &keys.skeyid_d, &seed);
        material.extend_from_slice(&block);
    }
    material.truncate(octets);
    material
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{vector, vector_lines};
    use warren_policy::{Group, KeyBits};

    fn hash_named(name: &str) -> Hash {
        match name {
            "sha1" => Hash::Sha1,
            "sha256" => Hash::Sha256,
            "sha384" => Hash::Sha384,
            "sha512" => Hash::Sha512,
            other => panic!("{other}"),
        }
    }

    fn check_nist(file: &str) -> usize {
        let mut seen = 0;
        for row in vector_lines(file) {
            let octets = |name: &str| hex::decode(row[name].as_str().unwrap()).unwrap();
            let hash = hash_named(row["hash"].as_str().unwrap());
            let proposal = IkeProposal { encryption: KeyBits::B256, hash, group: Group::Modp2048 };
            let cookies = Cookies {
                initiator: octets("cky_i").try_into().unwrap(),
                responder: octets("cky_r").try_into().unwrap(),
            };
            let (ni, nr, shared) = (octets("ni"), octets("nr"), octets("gxy"));
            let keys = match row["auth"].as_str().unwrap() {
                "psk" => PhaseOneKeys::from_secret(proposal, &octets("psk"), (&ni, &nr), &shared, cookies),
                "sig" => PhaseOneKeys::from_signature_nonces(proposal, (&ni, &nr), &shared, cookies),
                _ => continue,
            };
            assert_eq!(*keys.skeyid, octets("skeyid"));
            assert_eq!(*keys.skeyid_d, octets("skeyid_d"));
            assert_eq!(*keys.skeyid_a, octets("skeyid_a"));
            assert_eq!(*keys.skeyid_e, octets("skeyid_e"));
            seen += 1;
        }
        seen
    }

    #[test] // NIST SP 800-135, CAVS 12.0
    fn the_published_skeyid_families_come_out() {
        assert!(check_nist("kdf/nist_ikev1_psk.jsonl") >= 100);
        assert!(check_nist("kdf/nist_ikev1_dsa.jsonl") >= 100);
    }

    #[test] // RFC 4868 §2.7.2
    fn the_published_prf_values_come_out() {
        let mut seen = 0;
        for row in vector("kdf/rfc4868_hmac.json").as_array().unwrap() {
            let octets = |name: &str| hex::decode(row[name].as_str().unwrap()).unwrap();
            let value = prf(hash_named(row["hash"].as_str().unwrap()), &octets("key"), &[&octets("data")]);
            if row["prf"].is_string() {
                assert_eq!(*value, octets("prf"));
                seen += 1;
            } else if let Some(auth) = row["auth"].as_str() {
                assert_eq!(hex::encode(&value[..auth.len() / 2]), auth);
                seen += 1;
            }
        }
        assert!(seen >= 20, "{seen}");
    }

    #[test] // RFC 2409 appendix B
    fn a_short_skeyid_e_is_expanded_and_a_long_one_is_cut() {
        let skeyid_e = [3; 20];
        let first = prf(Hash::Sha1, &skeyid_e, &[&[0]]);
        let second = prf(Hash::Sha1, &skeyid_e, &[&first]);
        let expected = [&first[..], &second[..12]].concat();
        assert_eq!(*expand(Hash::Sha1, &skeyid_e, 32), expected);
        assert_eq!(*expand(Hash::Sha1, &skeyid_e, 16), [3; 16]);
    }
}
