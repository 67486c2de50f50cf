//! Every maximum of this crate, with its reason.

/// Levels of one action stack (REQUIREMENTS NT-28): deeper stacks leave no room for payload at MTU 1280.
pub const STACK_DEPTH_MAX: usize = 8;
/// Pairs of rules that are looked at for circles through their gateways: those of a thousand rules whose destinations
/// contain gateways, which takes a fraction of a second.
pub const LOOP_PAIRS_MAX: usize = 1 << 20;
/// Looks at rules while the ways to all gateways are found: eighty for each of a hundred thousand rules, which takes
/// about a second. Rules that lie beside each other need a few dozen.
pub const WAY_STEPS_MAX: usize = 1 << 23;
/// Rules of each class in one rule set; the classifier's memory is sized for it.
pub const RULES_MAX: usize = 100_000;
/// Octets of a pre-shared key: longer than any HMAC block gains nothing.
pub const SECRET_OCTETS_MAX: usize = 1024;
/// Proposals offered to one peer; each becomes a transform in one ISAKMP SA payload.
pub const PROPOSALS_MAX: usize = 32;
/// Shortest lifetime of an SA that policy from elsewhere may ask for: less would keep us busy renewing.
pub const SET_SECONDS_MIN: u32 = 60;
/// The same in kilobytes: at line rate even this lasts no more than a fraction of a second.
pub const SET_KILOBYTES_MIN: u64 = 1024;
/// Octets of a distinguished name as text: real ones have a tenth of it.
pub const NAME_OCTETS_MAX: usize = 4096;
