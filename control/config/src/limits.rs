//! Every maximum of this crate, with its reason.

use std::time::Duration;

/// Octets of a configuration file: room for 100 000 rules of each class, well below what a start-up can hold.
pub const FILE_OCTETS_MAX: u64 = 64 << 20;
/// Diagnostics shown at once; a file with more is beyond one sitting.
pub const DIAGNOSTICS_MAX: usize = 50;
/// Characters of a source line quoted in a diagnostic: one terminal line.
pub const SOURCE_CHARS_MAX: usize = 100;
/// Workers: cores of the largest machine this is meant for; the engine has the same number.
pub const WORKERS_MAX: u16 = 64;
/// Turns of a worker of which one at least is measured, if any; the engine has the same number.
pub const STAGE_SAMPLING_MAX: u32 = 65_536;
/// Ports; each has a UMEM share on every worker.
pub const PORTS_MAX: usize = 64;
/// Peers; IKE keeps a state for each.
pub const PEERS_MAX: usize = 65_536;
/// Characters of a name; it must fit a column of `dpctl`.
pub const NAME_CHARS_MAX: usize = 64;
/// Characters of a Linux interface name (IFNAMSIZ less the NUL).
pub const INTERFACE_CHARS_MAX: usize = 15;
/// Octets of a Unix socket path (`sun_path` less the NUL).
pub const SOCKET_PATH_OCTETS_MAX: usize = 107;
/// Bits of entropy a pre-shared key must be able to hold (REQUIREMENTS F-1).
pub const SECRET_BITS_MIN: usize = 128;
/// Receive queues of one port that may be named.
pub const QUEUES_MAX: u16 = 256;
/// Shortest SA lifetime in seconds: below it, rekeying never rests.
pub const LIFETIME_S_MIN: u32 = 60;
/// Longest lifetime of an SA that carries traffic: one day.
pub const ESP_LIFETIME_S_MAX: u32 = 86_400;
/// Lifetime of an SA that carries traffic unless the file says otherwise: no key protects for longer than an hour.
pub const ESP_LIFETIME_S_DEFAULT: u32 = 3600;
/// Longest lifetime of an ISAKMP SA: one week.
pub const IKE_LIFETIME_S_MAX: u32 = 604_800;
/// Smallest volume of an SA in kilobytes: below it, rekeying never rests.
pub const LIFETIME_KILOBYTES_MIN: u64 = 1024;
/// Repetitions of a message; with doubling intervals more would be hours.
pub const RETRANSMIT_TRIES_MAX: u32 = 12;
/// Smallest anti-replay window, and the step between sizes: one word of the bitmap.
pub const WINDOW_PACKETS_STEP: u32 = 64;
/// Anti-replay window unless the file says otherwise (RFC 4303 §3.4.3); the seam has the same number.
pub const WINDOW_PACKETS_DEFAULT: u32 = 4096;
/// Largest anti-replay window; the seam has the same number.
pub const WINDOW_PACKETS_MAX: u32 = 65_536;
/// Pairs of SAs of one tunnel side by side: one for each worker of the largest gateway; the seam has the same number.
pub const PARALLEL_MAX: u16 = 64;
/// Pairs of rules compared to find rules that never match. Beyond it the comparison would take longer than the
/// rest of the start; it yields warnings only, so leaving it out makes nothing unsafe.
pub const RULE_PAIRS_MAX: usize = 4_000_000;
/// Octets of a private key's file: a PEM file with an RSA key of 8192 bits has about 6400.
pub const PRIVATE_KEY_OCTETS_MAX: usize = 16 << 10;
/// Octets of a file of certificates: a chain, or some hundred authorities.
pub const CERTIFICATE_OCTETS_MAX: usize = 512 << 10;
/// Certificates in one file; a longer chain fits no IKE message.
pub const CERTIFICATES_MAX: usize = 256;
/// Policies; each can have as many sets as one message carries.
pub const POLICIES_MAX: usize = 1024;
/// Sets of one policy, and SAs that a client's ceiling may allow: one quick mode for each.
pub const SETS_MAX: usize = 256;
/// Pools.
pub const POOLS_MAX: usize = 1024;
/// Addresses of one pool that are leased: each lease is a row in memory and on disk.
pub const POOL_ADDRESSES_MAX: u32 = 65_536;
/// Addresses of one pool that belong to somebody for good.
pub const STATICS_MAX: usize = 65_536;
/// Users for extended authentication.
pub const USERS_MAX: usize = 65_536;
/// Name servers of one policy; resolvers look at the first three.
pub const DNS_MAX: usize = 8;
/// Domains of one policy's split DNS.
pub const SPLIT_DNS_MAX: usize = 64;
/// Octets of a greeting: it travels in one message with everything else.
pub const BANNER_OCTETS_MAX: usize = 1024;
/// Entries of an address list that is no rule: remote networks, ceilings, sides of a set.
pub const RANGES_MAX: usize = 1024;
/// Octets of a directory that the daemon keeps its state in (`PATH_MAX` less what it adds).
pub const STATE_PATH_OCTETS_MAX: usize = 4000;
/// Entries of one peer's `authorised`: they are gone through in order at each negotiation with it.
pub const AUTHORISED_MAX: usize = 4096;
/// Shortest wait for the answer to a first probe: below it, an answer from the other side of the world comes too late.
pub const FIRST_WAIT_MIN: Duration = Duration::from_millis(100);
/// Longest wait for the answer to a first probe; it doubles with each further one.
pub const FIRST_WAIT_MAX: Duration = Duration::from_secs(10);
/// Probes of one discovery; with doubling waits more would be minutes.
pub const PROBE_TRIES_MAX: u32 = 6;
/// Shortest rest after a discovery that found nothing: below it, a scan behind us becomes a stream of probes.
pub const REST_MIN: Duration = Duration::from_secs(1);
/// Longest rest: a gateway that is built today is found tomorrow.
pub const REST_MAX: Duration = Duration::from_secs(86_400);
/// Discoveries under way; each is a row in memory, and a scan fills them (REQUIREMENTS F-12).
pub const DISCOVERIES_MAX: u32 = 100_000;
/// Probes in a second: more would be a flood in the names of others.
pub const PROBES_PER_SECOND_MAX: u32 = 10_000;
/// Answers in a second: each goes to an address that nobody proved (REQUIREMENTS F-8).
pub const ANSWERS_PER_SECOND_MAX: u32 = 10_000;
/// Shortest prefix of IPv4 destinations that are one to discovery: a larger one has many gateways, and only one is asked
/// for at a time.
pub const GRANULE_IPV4_MIN: u8 = 8;
/// The same for IPv6.
pub const GRANULE_IPV6_MIN: u8 = 16;
/// Shortest time without traffic after which a discovered tunnel, or a stack, is let go.
pub const IDLE_MIN: Duration = Duration::from_secs(1);
/// The longest: no SA lives longer.
pub const IDLE_MAX: Duration = Duration::from_secs(86_400);
