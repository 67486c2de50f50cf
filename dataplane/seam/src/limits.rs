//! Every maximum of the seam, with its reason.

/// Commands on their way to one worker. A full ring refuses the command; control tries again.
pub const COMMANDS_MAX: usize = 1024;
/// Events on their way from one worker. A full ring drops the event and counts it; state repeats itself.
pub const EVENTS_MAX: usize = 1024;
/// Anti-replay window in packets, unless the configuration says otherwise (RFC 4303 §3.4.3).
pub const WINDOW_PACKETS_DEFAULT: u32 = 4096;
/// Largest anti-replay window: 8 KiB of bitmap for each inbound SA.
pub const WINDOW_PACKETS_MAX: u32 = 65_536;
/// AES blocks under one GCM key (REQUIREMENTS F-18): distinguishing advantage stays near 2^-51.
pub const GCM_BLOCKS_MAX: u64 = 1 << 39;
/// Octets of a packet that workers catch for control: the longest probe has 360 and an ICMP error at most 576 (RFC 1812
/// §4.3.2.3) or 1280 (RFC 4443 §2.4). What is longer is no probe of any version that exists.
pub const CAUGHT_OCTETS_MAX: usize = 1280;
/// Fragments of one packet that control sends through SAs: half of what a worker may have handed over to another, so that
/// one packet never fills the way between two. With 1280 octets each it is more than the longest packet of IP; where tunnels
/// leave only 576, it is about 70,000 octets.
pub const INJECTED_PIECES_MAX: usize = 128;
/// Identifiers of rules and levels stay below this: what is above belongs to the engine.
pub const RULE_IDS_END: u32 = 1 << 31;
/// Stacks over which the traffic of one rule spreads: one for each worker of the largest gateway.
pub const STACKS_MAX: usize = 64;
