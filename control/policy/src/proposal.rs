//! Proposals for phase 1 and phase 2, and the published order of their strength (REQUIREMENTS DC-18, Q-26).

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// Length of an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyBits {
    /// 128 bits.
    B128,
    /// 192 bits.
    B192,
    /// 256 bits.
    B256,
}

impl KeyBits {
    /// The length in bits, as it stands in a Key Length attribute.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::B128 => 128,
            Self::B192 => 192,
            Self::B256 => 256,
        }
    }

    /// The length in octets.
    #[must_use]
    pub const fn octets(self) -> usize {
        self.bits() as usize / 8
    }

    /// The key length of that many bits, where AES has it.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            128 => Some(Self::B128),
            192 => Some(Self::B192),
            256 => Some(Self::B256),
            _ => None,
        }
    }
}

/// Hash functions; in phase 1 also the PRF (as HMAC), in ESP the integrity algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-1: only for peers that name it, never a default.
    Sha1,
    /// SHA2-256.
    Sha256,
    /// SHA2-384.
    Sha384,
    /// SHA2-512.
    Sha512,
}

impl Hash {
    /// Octets of the digest.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// Diffie-Hellman groups (RFC 3526 and RFC 5903), by their IANA number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Group {
    /// 2048-bit MODP.
    Modp2048 = 14,
    /// 3072-bit MODP.
    Modp3072 = 15,
    /// 4096-bit MODP.
    Modp4096 = 16,
    /// 6144-bit MODP.
    Modp6144 = 17,
    /// 8192-bit MODP.
    Modp8192 = 18,
    /// NIST P-256.
    Ecp256 = 19,
    /// NIST P-384.
    Ecp384 = 20,
    /// NIST P-521.
    Ecp521 = 21,
}

impl Group {
    /// Every group, by number.
    pub const ALL: [Self; 8] = [
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Modp6144,
        Self::Modp8192,
        Self::Ecp256,
        Self::Ecp384,
        Self::Ecp521,
    ];

    /// The IANA number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The group of that number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.number() == number)
    }

    /// Security strength in bits (NIST SP 800-57 part 1, table 2; RFC 3526 §8 for the larger MODP groups).
    #[must_use]
    pub const fn strength_bits(self) -> u16 {
        match self {
            Self::Modp2048 => 112,
            Self::Modp3072 | Self::Ecp256 => 128,
            Self::Modp4096 => 152,
            Self::Modp6144 => 176,
            Self::Ecp384 => 192,
            Self::Modp8192 => 200,
            Self::Ecp521 => 256,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Modp2048 => "modp2048",
            Self::Modp3072 => "modp3072",
            Self::Modp4096 => "modp4096",
            Self::Modp6144 => "modp6144",
            Self::Modp8192 => "modp8192",
            Self::Ecp256 => "ecp256",
            Self::Ecp384 => "ecp384",
            Self::Ecp521 => "ecp521",
        }
    }
}

/// One phase 1 proposal: AES-CBC, a hash that is also the PRF, a group. Written `aes256-sha384-ecp384`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IkeProposal {
    /// AES-CBC key length.
    pub encryption: KeyBits,
    /// Hash and PRF.
    pub hash: Hash,
    /// Diffie-Hellman group.
    pub group: Group,
}

/// What ESP does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EspTransform {
    /// AES-GCM with a 16-octet ICV (RFC 4106). Written `aes128gcm16`.
    AesGcm16(KeyBits),
    /// AES-CBC (RFC 3602) with HMAC-SHA-2 (RFC 4868). Written `aes128-sha256`.
    AesCbcHmac(KeyBits, Hash),
}

impl EspTransform {
    /// Octets of the initialisation vector on the wire.
    #[must_use]
    pub const fn iv_octets(self) -> usize {
        match self {
            Self::AesGcm16(_) => 8,
            Self::AesCbcHmac(..) => 16,
        }
    }

    /// Octets of the integrity check value.
    #[must_use]
    pub const fn icv_octets(self) -> usize {
        match self {
            Self::AesGcm16(_) => 16,
            Self::AesCbcHmac(_, Hash::Sha1) => 12,
            Self::AesCbcHmac(_, hash) => hash.octets() / 2,
        }
    }

    /// What the ciphertext's length must be a multiple of (RFC 4303 §2.4: at least 4).
    #[must_use]
    pub const fn alignment(self) -> usize {
        match self {
            Self::AesGcm16(_) => 4,
            Self::AesCbcHmac(..) => 16,
        }
    }

    /// Octets of keying material: cipher key, then salt (RFC 4106 §8.1) or integrity key (RFC 4868 §2.6).
    #[must_use]
    pub const fn keymat_octets(self) -> usize {
        match self {
            Self::AesGcm16(bits) => bits.octets() + 4,
            Self::AesCbcHmac(bits, hash) => bits.octets() + hash.octets(),
        }
    }
}

/// One phase 2 proposal: a transform, perhaps with a fresh Diffie-Hellman exchange (PFS).
/// Written `aes128gcm16`, `aes256-sha512`, `aes128gcm16-modp2048`, `aes256gcm16-esn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EspProposal {
    /// What ESP does.
    pub transform: EspTransform,
    /// The group of the fresh exchange; `None` without PFS.
    pub pfs: Option<Group>,
    /// 64-bit sequence numbers (RFC 4304).
    pub esn: bool,
}

/// How long an SA may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Seconds until the hard limit.
    pub seconds: u32,
    /// Kilobytes (1024 octets) until the hard limit; `None` leaves the volume to the cipher's own bound.
    pub kilobytes: Option<u64>,
}

/// A strength key: larger is stronger. Order of fields = order of importance.
type Strength = (u16, bool, KeyBits, Option<Hash>);

impl IkeProposal {
    /// KE strength, then key length, then hash.
    #[must_use]
    pub fn strength(&self) -> Strength {
        (self.group.strength_bits(), false, self.encryption, Some(self.hash))
    }
}

impl EspProposal {
    /// KE strength (none = 0), AEAD before CBC with HMAC, key length, hash.
    #[must_use]
    pub fn strength(&self) -> Strength {
        let ke = self.pfs.map_or(0, Group::strength_bits);
        match self.transform {
            EspTransform::AesGcm16(bits) => (ke, true, bits, None),
            EspTransform::AesCbcHmac(bits, hash) => (ke, false, bits, Some(hash)),
        }
    }
}

/// Strongest first; equals keep the operator's order (REQUIREMENTS DC-18).
pub fn sort_ike_proposals(proposals: &mut [IkeProposal]) {
    proposals.sort_by_key(|proposal| Reverse(proposal.strength()));
}

/// Strongest first; equals keep the operator's order (REQUIREMENTS DC-18).
pub fn sort_esp_proposals(proposals: &mut [EspProposal]) {
    proposals.sort_by_key(|proposal| Reverse(proposal.strength()));
}

/// Text that is no proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind} proposal, `{word}` is not understood; for example {example}")]
pub struct NotAProposal {
    text: String,
    kind: &'static str,
    word: String,
    example: &'static str,
}

/// The words of a proposal, each to be taken once.
struct Words<'a>(Vec<&'a str>);

impl Words<'_> {
    fn take<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, value) = self.0.iter().enumerate().find_map(|(at, word)| Some((at, parse(word)?)))?;
        self.0.remove(at);
        Some(value)
    }
}

fn aes_cbc(word: &str) -> Option<KeyBits> {
    KeyBits::from_bits(word.strip_prefix("aes")?.parse().ok()?)
}

fn aes_gcm16(word: &str) -> Option<KeyBits> {
    aes_cbc(word.strip_suffix("gcm16")?)
}

fn hash(word: &str) -> Option<Hash> {
    [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter().find(|hash| hash.word() == word)
}

fn group(word: &str) -> Option<Group> {
    Group::ALL.into_iter().find(|group| group.word() == word)
}

fn parse<T>(
    text: &str,
    kind: &'static str,
    example: &'static str,
    build: impl FnOnce(&mut Words<'_>) -> Option<T>,
) -> Result<T, NotAProposal> {
    let mut words = Words(text.split('-').collect());
    let value = build(&mut words);
    match (value, words.0.first()) {
        (Some(value), None) => Ok(value),
        (_, left) => Err(NotAProposal {
            text: text.to_owned(),
            kind,
            word: left.map_or_else(|| text.to_owned(), |word| (*word).to_owned()),
            example,
        }),
    }
}

impl FromStr for IkeProposal {
    type Err = NotAProposal;

    fn from_str(text: &str) -> Result<Self, NotAProposal> {
        parse(text, "IKE", "aes128-sha256-modp2048, aes256-sha384-ecp384", |words| {
            let (encryption, hash, group) = (words.take(aes_cbc), words.take(hash), words.take(group));
            Some(Self { encryption: encryption?, hash: hash?, group: group? })
        })
    }
}

impl FromStr for EspProposal {
    type Err = NotAProposal;

    fn from_str(text: &str) -> Result<Self, NotAProposal> {
        parse(text, "ESP", "aes128gcm16, aes256gcm16-ecp256, aes128-sha256, aes256gcm16-esn", |words| {
            let esn = words.take(|word| (word == "esn").then_some(())).is_some();
            let pfs = words.take(group);
            let transform = match words.take(aes_gcm16) {
                Some(bits) => Some(EspTransform::AesGcm16(bits)),
                None => {
                    let (bits, hash) = (words.take(aes_cbc), words.take(hash));
                    bits.zip(hash).map(|(bits, hash)| EspTransform::AesCbcHmac(bits, hash))
                }
            };
            Some(Self { transform: transform?, pfs, esn })
        })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for IkeProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aes{}-{}-{}", self.encryption.bits(), self.hash, self.group)
    }
}

impl fmt::Display for EspTransform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesGcm16(bits) => write!(f, "aes{}gcm16", bits.bits()),
            Self::AesCbcHmac(bits, hash) => write!(f, "aes{}-{hash}", bits.bits()),
        }
    }
}

impl fmt::Display for EspProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.transform)?;
        if let Some(group) = self.pfs {
            write!(f, "-{group}")?;
        }
        if self.esn { f.write_str("-esn") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_form_survives_the_round_trip() {
        for text in ["aes128-sha256-modp2048", "aes256-sha512-ecp521", "aes256-sha1-modp8192"] {
            assert_eq!(text.parse::<IkeProposal>().unwrap().to_string(), text);
        }
        for text in ["aes128gcm16", "aes256gcm16-ecp256", "aes256-sha512-modp3072-esn", "aes128-sha256"] {
            assert_eq!(text.parse::<EspProposal>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_refused_proposal_names_the_word() {
        let refused = "aes128-md5-modp2048".parse::<IkeProposal>().unwrap_err().to_string();
        assert!(refused.contains("`md5`"), "{refused}");
        let refused = "3des-sha256".parse::<EspProposal>().unwrap_err().to_string();
        assert!(refused.contains("`3des`"), "{refused}");
        assert!("aes128-sha256-modp2048-modp3072".parse::<IkeProposal>().is_err());
        assert!("aes128".parse::<EspProposal>().is_err());
    }

    #[test] // DC-18, Q-26
    fn a_stronger_proposal_comes_first_and_equals_keep_their_order() {
        let parse = |text: &&str| text.parse::<IkeProposal>().unwrap();
        let mut proposals: Vec<_> = [
            "aes128-sha1-modp2048",
            "aes256-sha256-modp2048",
            "aes128-sha256-ecp256",
            "aes128-sha256-modp3072",
        ]
        .iter()
        .map(parse)
        .collect();
        sort_ike_proposals(&mut proposals);
        let sorted: Vec<_> = proposals.iter().map(ToString::to_string).collect();
        assert_eq!(
            sorted,
            [
                "aes128-sha256-ecp256",
                "aes128-sha256-modp3072",
                "aes256-sha256-modp2048",
                "aes128-sha1-modp2048"
            ]
        );
    }

    #[test] // DC-18, Q-26
    fn aead_comes_before_cbc_with_hmac() {
        let mut proposals: Vec<EspProposal> = ["aes256-sha512", "aes128gcm16", "aes256gcm16"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        sort_esp_proposals(&mut proposals);
        let sorted: Vec<_> = proposals.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["aes256gcm16", "aes128gcm16", "aes256-sha512"]);
    }

    #[test] // DC-18, Q-26
    fn the_order_of_strength_is_a_total_preorder_over_all_proposals() {
        let bits = [KeyBits::B128, KeyBits::B192, KeyBits::B256];
        let hashes = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
        let transforms = bits.into_iter().flat_map(|bits| {
            let cbc = hashes.map(|hash| EspTransform::AesCbcHmac(bits, hash));
            cbc.into_iter().chain([EspTransform::AesGcm16(bits)])
        });
        let groups = || Group::ALL.map(Some).into_iter().chain([None]);
        let esp: Vec<_> = transforms
            .flat_map(|transform| groups().map(move |pfs| (transform, pfs)))
            .flat_map(|(transform, pfs)| [true, false].map(|esn| EspProposal { transform, pfs, esn }))
            .collect();
        assert_total_preorder(&esp, |a, b| a.strength() >= b.strength());
        let ike: Vec<_> = bits
            .into_iter()
            .flat_map(|encryption| hashes.map(|hash| (encryption, hash)))
            .flat_map(|(encryption, hash)| Group::ALL.map(|group| IkeProposal { encryption, hash, group }))
            .collect();
        assert_total_preorder(&ike, |a, b| a.strength() >= b.strength());
        // What is stronger in one respect and weaker in none is stronger.
        let dominates = |a: &IkeProposal, b: &IkeProposal| {
            let key = |p: &IkeProposal| (p.group.strength_bits(), p.encryption, p.hash);
            let (a, b) = (key(a), key(b));
            a != b && a.0 >= b.0 && a.1 >= b.1 && a.2 >= b.2
        };
        for (a, b) in ike.iter().flat_map(|a| ike.iter().map(move |b| (a, b))) {
            assert!(!dominates(a, b) || a.strength() > b.strength(), "{a} and {b}");
        }
    }

    /// Any two are comparable, and whoever is at least as strong as another is so as all that it beats.
    fn assert_total_preorder<T>(all: &[T], at_least: impl Fn(&T, &T) -> bool) {
        let row = |a: &T| all.iter().map(|b| at_least(a, b)).collect::<Vec<_>>();
        let rows: Vec<_> = all.iter().map(row).collect();
        for (a, row) in rows.iter().enumerate() {
            assert!(row[a], "reflexive");
            for b in 0..all.len() {
                assert!(row[b] || rows[b][a], "total");
                let implied = |c: usize| !rows[b][c] || row[c];
                assert!(!row[b] || (0..all.len()).all(implied), "transitive");
            }
        }
    }
}
