//! Security associations as values: what control knows and a worker needs.

use std::fmt;
use std::net::IpAddr;
use warren_policy::{EspTransform, RuleId, SaMode, Secret, Selector};

/// Control's name for one SA in one direction; never used twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaId(pub u64);

/// Security parameter index (RFC 4303 §2.1). 0–255 are reserved and never chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(pub u32);

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi({self})")
    }
}

/// Keys of one SA, split as the transform needs them. No `Debug`: they would end in a log.
#[derive(Clone)]
pub struct SaKeys {
    /// Cipher key.
    pub encryption: Secret,
    /// AES-GCM salt (RFC 4106 §4); zero for CBC.
    pub salt: [u8; 4],
    /// HMAC key; empty for an AEAD.
    pub integrity: Secret,
}

impl SaKeys {
    /// Splits `keymat` (RFC 4106 §8.1, RFC 4868): cipher key, then salt or integrity key. `None` unless the
    /// length is exactly [`EspTransform::keymat_octets`].
    #[must_use]
    pub fn from_keymat(transform: EspTransform, keymat: &[u8]) -> Option<Self> {
        if keymat.len() != transform.keymat_octets() {
            return None;
        }
        Some(match transform {
            EspTransform::AesGcm16(bits) => {
                let (key, salt) = keymat.split_at(bits.octets());
                Self {
                    encryption: Secret::new(key.to_vec()),
                    salt: salt.try_into().ok()?,
                    integrity: Secret::new(Vec::new()),
                }
            }
            EspTransform::AesCbcHmac(bits, _) => {
                let (key, integrity) = keymat.split_at(bits.octets());
                Self {
                    encryption: Secret::new(key.to_vec()),
                    salt: [0; 4],
                    integrity: Secret::new(integrity.to_vec()),
                }
            }
        })
    }
}

/// How ESP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// IP protocol 50.
    Raw,
    /// Inside UDP (RFC 3948); ports as seen from here.
    Udp {
        /// Our port, usually 4500.
        local_port: u16,
        /// The peer's port, perhaps chosen by a NAT.
        remote_port: u16,
    },
}

/// What brings the packets of an inbound SA to us: which SA's packet each of them comes out of (REQUIREMENTS NT-34).
///
/// Every SA names only the one around it; the chain of names is the whole sequence. It names the rule and not the SA, so
/// that an outer SA can have a successor without the inner ones being touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// The network: the SA is the outermost, and its packets come out of no other.
    #[default]
    Network,
    /// An SA of this tunnel rule, and nothing else.
    Rule(RuleId),
}

/// Limits that a worker counts, in octets of protected payload. Each is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// `Event::SoftExpire` from here on.
    pub soft_octets: u64,
    /// No further packet from here on; `Event::HardExpire`.
    pub hard_octets: u64,
}

/// An SA that protects what comes to us.
#[derive(Clone)]
pub struct InboundSa {
    /// Control's name.
    pub id: SaId,
    /// Our SPI, by which packets find it.
    pub spi: Spi,
    /// What ESP does.
    pub transform: EspTransform,
    /// With which keys.
    pub keys: SaKeys,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// Anti-replay window in packets, a multiple of 64; 0 switches the check off (manual keys only).
    pub window_packets: u32,
    /// What may come out of it, in the direction of travel: source is the peer's side.
    pub selector: Selector,
    /// Outer source.
    pub remote: IpAddr,
    /// Outer destination: ours.
    pub local: IpAddr,
    /// Raw or in UDP.
    pub encapsulation: Encapsulation,
    /// Limits by volume.
    pub volume: Volume,
    /// Whether a whole packet is inside, or only what follows its IP header. Transport mode protects only what goes between
    /// `local` and `remote` themselves.
    pub mode: SaMode,
    /// The tunnel rule it was negotiated for.
    pub rule: RuleId,
    /// Which of the rule's parallel pairs it is of, 0 where there is one: each lane belongs to a worker of its own, both
    /// directions to the same one (in the spirit of RFC 9611).
    pub lane: u16,
    /// What its packets come out of; those that come any other way are refused.
    pub carrier: Carrier,
    /// Highest sequence number seen before this SA was installed: 0, except with manual keys.
    pub sequence: u64,
}

/// An SA that protects what we send.
#[derive(Clone)]
pub struct OutboundSa {
    /// Control's name.
    pub id: SaId,
    /// The peer's SPI.
    pub spi: Spi,
    /// What ESP does.
    pub transform: EspTransform,
    /// With which keys.
    pub keys: SaKeys,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// What may go into it, in the direction of travel: source is our side.
    pub selector: Selector,
    /// Outer source: ours.
    pub local: IpAddr,
    /// Outer destination.
    pub remote: IpAddr,
    /// Raw or in UDP.
    pub encapsulation: Encapsulation,
    /// Limits by volume.
    pub volume: Volume,
    /// Whether a whole packet is inside, or only what follows its IP header. Transport mode protects only what goes between
    /// `local` and `remote` themselves.
    pub mode: SaMode,
    /// The tunnel rule it was negotiated for.
    pub rule: RuleId,
    /// Which of the rule's parallel pairs it is of, 0 where there is one: each lane belongs to a worker of its own, both
    /// directions to the same one (in the spirit of RFC 9611).
    pub lane: u16,
    /// Last sequence number used before this SA was installed: 0, except with manual keys (DESIGN 7: a sequence
    /// is never resumed).
    pub sequence: u64,
}
