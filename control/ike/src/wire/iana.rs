//! The numbers of the ISAKMP and IPsec registries that IKEv1 uses, each once.

use std::fmt;

/// A registry of numbers that may grow: unknown ones stay numbers.
macro_rules! registry {
    ($(#[doc = $doc:literal])+ $name:ident($number:ty) { $($word:ident = $value:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $number);

        impl $name {
            $(
                #[doc = concat!("`", stringify!($word), "` (", stringify!($value), ").")]
                pub const $word: Self = Self($value);
            )+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($value => f.write_str(stringify!($word)),)+
                    number => write!(f, "{number}"),
                }
            }
        }
    };
}

registry! {
    /// Payload types (RFC 2408 §3.1; RFC 3947 §9 for the NAT payloads; 128–255 are private).
    PayloadType(u8) {
        NONE = 0, SA = 1, PROPOSAL = 2, TRANSFORM = 3, KEY_EXCHANGE = 4, IDENTIFICATION = 5, CERTIFICATE = 6,
        CERTIFICATE_REQUEST = 7, HASH = 8, SIGNATURE = 9, NONCE = 10, NOTIFY = 11, DELETE = 12, VENDOR_ID = 13,
        ATTRIBUTES = 14, NAT_D = 20, NAT_OA = 21, NAT_D_DRAFT = 130, NAT_OA_DRAFT = 131, FRAGMENT = 132,
    }
}

registry! {
    /// Exchange types (RFC 2408 §3.1, RFC 2409 App. A; 6 is the mode configuration drafts'; 240–255 are private).
    ExchangeType(u8) {
        BASE = 1, MAIN = 2, AUTHENTICATION_ONLY = 3, AGGRESSIVE = 4, INFORMATIONAL = 5, TRANSACTION = 6,
        QUICK = 32, NEW_GROUP = 33,
    }
}

registry! {
    /// Types of a configuration message (draft-dukes-ike-mode-cfg §3.2).
    ConfigType(u8) { REQUEST = 1, REPLY = 2, SET = 3, ACK = 4, }
}

registry! {
    /// Security protocol identifiers (RFC 2407 §4.4.1).
    ProtocolId(u8) { ISAKMP = 1, AH = 2, ESP = 3, IPCOMP = 4, }
}

registry! {
    /// Identification types (RFC 2407 §4.6.2.1).
    IdType(u8) {
        IPV4_ADDR = 1, FQDN = 2, USER_FQDN = 3, IPV4_ADDR_SUBNET = 4, IPV6_ADDR = 5, IPV6_ADDR_SUBNET = 6,
        IPV4_ADDR_RANGE = 7, IPV6_ADDR_RANGE = 8, DER_ASN1_DN = 9, DER_ASN1_GN = 10, KEY_ID = 11,
    }
}

registry! {
    /// Notify message types (RFC 2408 §3.14.1, RFC 2407 §4.6.3, RFC 3706 §5.3).
    NotifyType(u16) {
        INVALID_PAYLOAD_TYPE = 1, DOI_NOT_SUPPORTED = 2, SITUATION_NOT_SUPPORTED = 3, INVALID_COOKIE = 4,
        INVALID_MAJOR_VERSION = 5, INVALID_MINOR_VERSION = 6, INVALID_EXCHANGE_TYPE = 7, INVALID_FLAGS = 8,
        INVALID_MESSAGE_ID = 9, INVALID_PROTOCOL_ID = 10, INVALID_SPI = 11, INVALID_TRANSFORM_ID = 12,
        ATTRIBUTES_NOT_SUPPORTED = 13, NO_PROPOSAL_CHOSEN = 14, BAD_PROPOSAL_SYNTAX = 15, PAYLOAD_MALFORMED = 16,
        INVALID_KEY_INFORMATION = 17, INVALID_ID_INFORMATION = 18, INVALID_CERT_ENCODING = 19,
        INVALID_CERTIFICATE = 20, CERT_TYPE_UNSUPPORTED = 21, INVALID_CERT_AUTHORITY = 22,
        INVALID_HASH_INFORMATION = 23, AUTHENTICATION_FAILED = 24, INVALID_SIGNATURE = 25,
        ADDRESS_NOTIFICATION = 26, NOTIFY_SA_LIFETIME = 27, CERTIFICATE_UNAVAILABLE = 28,
        UNSUPPORTED_EXCHANGE_TYPE = 29, UNEQUAL_PAYLOAD_LENGTHS = 30, CONNECTED = 16384,
        RESPONDER_LIFETIME = 24576, REPLAY_STATUS = 24577, INITIAL_CONTACT = 24578,
        R_U_THERE = 36136, R_U_THERE_ACK = 36137,
    }
}

impl NotifyType {
    /// Whether it reports an error rather than a status (RFC 2408 §3.14.1: errors are 1–16383).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 16_384
    }
}

/// The IPsec DOI (RFC 2407 §4).
pub const DOI_IPSEC: u32 = 1;
/// SIT_IDENTITY_ONLY (RFC 2407 §4.2.1).
pub const SITUATION_IDENTITY_ONLY: u32 = 1;
/// KEY_IKE, the one transform of the ISAKMP protocol (RFC 2407 §4.4.2).
pub const TRANSFORM_KEY_IKE: u8 = 1;
/// Version 1.0, as it stands in the ISAKMP header.
pub const VERSION_1_0: u8 = 0x10;

/// Attributes of a phase 1 transform and their values (RFC 2409 App. A).
pub mod ike_attribute {
    /// Encryption algorithm.
    pub const ENCRYPTION: u16 = 1;
    /// Hash algorithm.
    pub const HASH: u16 = 2;
    /// Authentication method.
    pub const AUTHENTICATION: u16 = 3;
    /// Group description.
    pub const GROUP: u16 = 4;
    /// Group type; with it a peer spells out a group instead of naming it.
    pub const GROUP_TYPE: u16 = 5;
    /// Life type; says what the next life duration counts.
    pub const LIFE_TYPE: u16 = 11;
    /// Life duration.
    pub const LIFE_DURATION: u16 = 12;
    /// Pseudo-random function; without it the HMAC of the hash.
    pub const PRF: u16 = 13;
    /// Key length in bits.
    pub const KEY_LENGTH: u16 = 14;

    /// Encryption: AES-CBC (RFC 3602 §5.1).
    pub const AES_CBC: u16 = 7;
    /// Hash: SHA-1.
    pub const SHA1: u16 = 2;
    /// Hash: SHA2-256.
    pub const SHA2_256: u16 = 4;
    /// Hash: SHA2-384.
    pub const SHA2_384: u16 = 5;
    /// Hash: SHA2-512.
    pub const SHA2_512: u16 = 6;
    /// Authentication: pre-shared key.
    pub const PRE_SHARED_KEY: u16 = 1;
    /// Authentication: RSA signatures.
    pub const RSA_SIGNATURES: u16 = 3;
    /// Authentication: pre-shared key, then the responder asks for XAuth.
    pub const XAUTH_INIT_PRE_SHARED: u16 = 65_001;
    /// Authentication: pre-shared key, then the initiator asks for XAuth.
    pub const XAUTH_RESP_PRE_SHARED: u16 = 65_002;
    /// Authentication: RSA signatures, then the responder asks for XAuth.
    pub const XAUTH_INIT_RSA: u16 = 65_005;
    /// Authentication: RSA signatures, then the initiator asks for XAuth.
    pub const XAUTH_RESP_RSA: u16 = 65_006;
    /// Life type: seconds.
    pub const SECONDS: u16 = 1;
    /// Life type: kilobytes.
    pub const KILOBYTES: u16 = 2;
}

/// Attributes of a phase 2 transform and their values (RFC 2407 §4.5).
pub mod esp_attribute {
    /// Life type; says what the next life duration counts.
    pub const LIFE_TYPE: u16 = 1;
    /// Life duration.
    pub const LIFE_DURATION: u16 = 2;
    /// Group description of a fresh Diffie-Hellman exchange.
    pub const GROUP: u16 = 3;
    /// Encapsulation mode.
    pub const ENCAPSULATION: u16 = 4;
    /// Authentication algorithm.
    pub const AUTHENTICATION: u16 = 5;
    /// Key length in bits.
    pub const KEY_LENGTH: u16 = 6;
    /// Key rounds.
    pub const KEY_ROUNDS: u16 = 7;
    /// Extended sequence numbers (RFC 4304 §2).
    pub const EXTENDED_SEQUENCE_NUMBER: u16 = 11;

    /// Life type: seconds.
    pub const SECONDS: u16 = 1;
    /// Life type: kilobytes.
    pub const KILOBYTES: u16 = 2;
    /// Encapsulation: tunnel.
    pub const TUNNEL: u16 = 1;
    /// Encapsulation: transport.
    pub const TRANSPORT: u16 = 2;
    /// Encapsulation: tunnel in UDP (RFC 3947 §5.1).
    pub const UDP_TUNNEL: u16 = 3;
    /// Encapsulation: transport in UDP (RFC 3947 §5.1).
    pub const UDP_TRANSPORT: u16 = 4;
    /// Encapsulation: tunnel in UDP, as the drafts before RFC 3947 numbered it.
    pub const UDP_TUNNEL_DRAFT: u16 = 61_443;
    /// Encapsulation: transport in UDP, as the drafts before RFC 3947 numbered it.
    pub const UDP_TRANSPORT_DRAFT: u16 = 61_444;
    /// Authentication: HMAC-SHA-1-96 (RFC 2404).
    pub const HMAC_SHA1: u16 = 2;
    /// Authentication: HMAC-SHA2-256-128 (RFC 4868).
    pub const HMAC_SHA2_256: u16 = 5;
    /// Authentication: HMAC-SHA2-384-192 (RFC 4868).
    pub const HMAC_SHA2_384: u16 = 6;
    /// Authentication: HMAC-SHA2-512-256 (RFC 4868).
    pub const HMAC_SHA2_512: u16 = 7;
    /// Extended sequence numbers: 64 bits.
    pub const SEQUENCE_64_BITS: u16 = 1;
}

/// ESP transform identifiers (RFC 2407 §4.4.4).
pub mod esp_transform {
    /// 3DES-CBC.
    pub const TRIPLE_DES: u8 = 3;
    /// No encryption.
    pub const NULL: u8 = 11;
    /// AES-CBC (RFC 3602 §5.3).
    pub const AES_CBC: u8 = 12;
    /// AES-GCM with an 8-octet ICV (RFC 4106 §8).
    pub const AES_GCM_8: u8 = 18;
    /// AES-GCM with a 12-octet ICV (RFC 4106 §8).
    pub const AES_GCM_12: u8 = 19;
    /// AES-GCM with a 16-octet ICV (RFC 4106 §8).
    pub const AES_GCM_16: u8 = 20;
}

/// Attributes of the configuration exchange (draft-dukes-ike-mode-cfg §3.4 and its registry, Cisco Unity,
/// REQUIREMENTS W2).
pub mod config_class {
    /// INTERNAL_IP4_ADDRESS.
    pub const IP4_ADDRESS: u16 = 1;
    /// INTERNAL_IP4_NETMASK.
    pub const IP4_NETMASK: u16 = 2;
    /// INTERNAL_IP4_DNS.
    pub const IP4_DNS: u16 = 3;
    /// APPLICATION_VERSION.
    pub const APPLICATION_VERSION: u16 = 7;
    /// INTERNAL_IP6_ADDRESS.
    pub const IP6_ADDRESS: u16 = 8;
    /// INTERNAL_IP6_DNS.
    pub const IP6_DNS: u16 = 10;
    /// INTERNAL_IP4_SUBNET.
    pub const IP4_SUBNET: u16 = 13;
    /// SUPPORTED_ATTRIBUTES.
    pub const SUPPORTED_ATTRIBUTES: u16 = 14;
    /// INTERNAL_IP6_SUBNET.
    pub const IP6_SUBNET: u16 = 15;
    /// WARREN_POLICY_VERSION.
    pub const POLICY_VERSION: u16 = 24_576;
    /// WARREN_POLICY_SET.
    pub const POLICY_SET: u16 = 24_577;
    /// WARREN_POLICY_ERROR.
    pub const POLICY_ERROR: u16 = 24_578;
    /// UNITY_BANNER.
    pub const BANNER: u16 = 28_672;
    /// UNITY_DEF_DOMAIN.
    pub const DEFAULT_DOMAIN: u16 = 28_674;
    /// UNITY_SPLITDNS_NAME.
    pub const SPLIT_DNS: u16 = 28_675;
    /// UNITY_SPLIT_INCLUDE.
    pub const SPLIT_INCLUDE: u16 = 28_676;
}

/// Attributes inside a WARREN_POLICY_SET (REQUIREMENTS W2).
pub mod set_class {
    /// Number of the set.
    pub const ID: u16 = 1;
    /// Its name, UTF-8.
    pub const NAME: u16 = 2;
    /// A selector of the receiver's side.
    pub const LOCAL: u16 = 3;
    /// A selector of the far side.
    pub const REMOTE: u16 = 4;
    /// Security protocol, as in a proposal.
    pub const PROTOCOL: u16 = 5;
    /// Encapsulation mode: 1 tunnel, 2 transport.
    pub const MODE: u16 = 6;
    /// Transform ID, key length in bits, authentication algorithm.
    pub const TRANSFORM: u16 = 7;
    /// Group of a fresh Diffie-Hellman exchange; 0 for none.
    pub const PFS: u16 = 8;
    /// Lifetime in seconds.
    pub const SECONDS: u16 = 9;
    /// Lifetime in kilobytes.
    pub const KILOBYTES: u16 = 10;
    /// The gateway to negotiate with, where it is not the sender.
    pub const GATEWAY: u16 = 11;
    /// Number of the set through whose tunnel this one is negotiated.
    pub const PARENT: u16 = 12;
    /// In an ACK: why the set was refused, UTF-8.
    pub const REFUSAL: u16 = 13;
}

/// Attributes of extended authentication (draft-beaulieu-ike-xauth §4) and their values.
pub mod xauth_class {
    /// XAUTH_TYPE: the kind of authentication.
    pub const TYPE: u16 = 16_520;
    /// XAUTH_USER_NAME.
    pub const USER_NAME: u16 = 16_521;
    /// XAUTH_USER_PASSWORD.
    pub const USER_PASSWORD: u16 = 16_522;
    /// XAUTH_PASSCODE.
    pub const PASSCODE: u16 = 16_523;
    /// XAUTH_MESSAGE: words for the user.
    pub const MESSAGE: u16 = 16_524;
    /// XAUTH_STATUS.
    pub const STATUS: u16 = 16_527;
    /// XAUTH_ANSWER, the last of them.
    pub const ANSWER: u16 = 16_529;

    /// Type: generic, that is user name and password.
    pub const GENERIC: u16 = 0;
    /// Status: failed.
    pub const FAIL: u16 = 0;
    /// Status: succeeded.
    pub const OK: u16 = 1;
}
