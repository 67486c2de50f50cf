//! Every maximum of the codec, with its reason. What exceeds one is refused as [`Malformed`](super::Malformed).

/// Payloads in one message. Real first messages carry up to about twenty, most of them Vendor IDs; the bound
/// keeps a datagram of empty payloads from costing 16,000 steps.
pub const PAYLOADS_MAX: usize = 64;
/// Proposals in one SA payload: their number is one octet.
pub const PROPOSALS_MAX: usize = 255;
/// Transforms in all proposals of one SA payload. Peers that list every combination of their algorithms send
/// some two hundred; comparing each with each of ours must stay cheap.
pub const TRANSFORMS_MAX: usize = 1024;
/// Attributes in one transform or notification. The registries hold fewer than twenty classes.
pub const ATTRIBUTES_MAX: usize = 32;
/// Identification payloads in one message: both proxy identities of quick mode.
pub const IDENTIFICATIONS_MAX: usize = 2;
/// Shortest and longest nonce (RFC 2409 §5).
pub const NONCE_OCTETS_MIN: usize = 8;
/// See [`NONCE_OCTETS_MIN`].
pub const NONCE_OCTETS_MAX: usize = 256;
/// Octets of one payload with its generic header: the length field has 16 bits.
pub const PAYLOAD_OCTETS_MAX: usize = 65_535;

/// Attributes in one configuration message: every policy set and as many networks, and room for what we do not know.
pub const CONFIG_ATTRIBUTES_MAX: usize = 1024;
/// Policy sets in one configuration message: no client is allowed to take more (REQUIREMENTS DC-25).
pub const SETS_MAX: usize = 256;
/// Attributes in one policy set: the selectors of both sides, the transforms, and each of the others once.
pub const SET_ATTRIBUTES_MAX: usize = 2 * SELECTORS_MAX + SET_TRANSFORMS_MAX + 9;
/// Selectors of one side of one policy set. An SA is negotiated for each pair of both sides.
pub const SELECTORS_MAX: usize = 32;
/// Transforms in one policy set: the order of strength knows fewer.
pub const SET_TRANSFORMS_MAX: usize = 32;
/// Octets of a policy set's name: it stands in every line that the operator reads about it.
pub const NAME_OCTETS_MAX: usize = 64;
/// Octets of a reason in an ACK: one line of a log.
pub const REASON_OCTETS_MAX: usize = 256;
/// Octets of a text such as a banner: a screen full, not a book.
pub const TEXT_OCTETS_MAX: usize = 2048;
/// Names in one UNITY_SPLITDNS_NAME.
pub const SPLIT_NAMES_MAX: usize = 64;
/// Networks in one UNITY_SPLIT_INCLUDE.
pub const SPLIT_NETWORKS_MAX: usize = 256;
/// Attribute types in one SUPPORTED_ATTRIBUTES.
pub const SUPPORTED_MAX: usize = 256;
