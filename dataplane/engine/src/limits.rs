//! Every maximum of the engine, with its reason.

use std::time::Duration;

/// Frames taken from one port in one turn: large enough to pay for a table's cache misses once, small enough that
/// a batch of frames stays in the second-level cache.
pub const BATCH_MAX: usize = 64;
/// Slots of one lane: a batch, and what fragmentation and ICMP may add to it.
pub const LANE_MAX: usize = 4 * BATCH_MAX;
/// IPv6 extension headers walked in one packet. Hop-by-hop, destination, routing, fragment, destination again and
/// authentication are all RFC 8200 §4.1 knows; two more for the curious.
pub const EXTENSIONS_MAX: usize = 8;
/// More octets than any packet has: its length is 16 bits, and 40 more of a header for IPv6.
pub const PAYLOAD_OCTETS_END: u64 = 1 << 17;
/// Levels of ESP taken off one packet (REQUIREMENTS F-27).
pub const STACK_DEPTH_MAX: usize = warren_policy::limits::STACK_DEPTH_MAX;
/// Frames that wait for a neighbour's Ethernet address: a few flows' first packets, not a buffer for a scan.
pub const PARKED_MAX: usize = 64;
/// How long a frame waits for one: the kernel's own first ARP retransmission comes after a second.
pub const PARKED_FOR: Duration = Duration::from_secs(1);
/// Packets that wait for the second half of a pair of SAs: the answers to what a peer says first in a new tunnel.
pub const LARVAL_MAX: usize = 64;
/// How long one waits: the last message of a quick mode is hardly behind what it is for, and when it was lost, the first
/// repetition comes within this.
pub const LARVAL_FOR: Duration = Duration::from_secs(1);
/// Pause between two `UnresolvedNeighbour` events for the same neighbour.
pub const UNRESOLVED_EVERY: Duration = Duration::from_secs(1);
/// Neighbours for which that pause is remembered.
pub const UNRESOLVED_MAX: usize = 64;
/// Frames that wait in front of one port for room in its ring: a burst; more would be standing delay.
pub const TRANSMIT_QUEUE_MAX: usize = 1024;
/// Packets on their way from one worker to another. Full means drop, never wait.
pub const HANDOFF_MAX: usize = 256;
/// Tokens of the ICMP rate limiter: a burst of errors …
pub const ICMP_BURST: u32 = 50;
/// … and how many come back each second (RFC 1812 §4.3.2.8 asks for a limit, RFC 4443 §2.4 too).
pub const ICMP_PER_SECOND: u32 = 100;
/// Octets of an ICMPv4 error message in all (RFC 1812 §4.3.2.3).
pub const ICMPV4_ERROR_OCTETS_MAX: usize = 576;
/// Octets of an ICMPv6 error message in all: the minimum MTU (RFC 4443 §2.4).
pub const ICMPV6_ERROR_OCTETS_MAX: usize = 1280;
/// The smallest MTU an IPv6 link may have (RFC 8200 §5).
pub const IPV6_MTU_MIN: usize = 1280;
/// The smallest MTU an IPv4 link may have (RFC 791): below it no sender is told to go.
pub const IPV4_MTU_MIN: usize = 68;
/// MTU of a path that no route describes: such packets end as `no-route`, so the value only has to be harmless.
pub const MTU_UNKNOWN: u16 = 1500;
/// Sets of the flow cache. With 4 ways, 16 Ki flows in about 1 MiB for each worker.
pub const FLOW_CACHE_SETS: usize = 4096;
/// Ways of one set of the flow cache.
pub const FLOW_CACHE_WAYS: usize = 4;
/// Sets of the fast path's flows …
pub const FAST_FLOW_SETS: usize = 1 << 14;
/// … and flows of a set, two cache lines: 64 Ki flows in 2 MiB for each worker.
pub const FAST_FLOW_WAYS: usize = 4;
/// Neighbours that the fast path forwards to: more than a link has, and 3 MiB at most.
pub const FAST_EGRESSES_MAX: usize = 1 << 16;
/// Workers of one engine; a handoff ring lies between any two.
pub const WORKERS_MAX: usize = 64;
/// Turns without a packet before a worker sleeps in `poll(2)`.
pub const IDLE_TURNS_MAX: u32 = 2000;
/// Longest sleep: parked frames have to expire although nothing happens.
pub const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Sleep while a port still has frames that it must be asked again to send.
pub const SLEEP_UNSENT: Duration = Duration::from_millis(1);
/// One turn in so many is measured unless the operator says otherwise: a measured turn costs some hundreds of cycles more,
/// which so is less than a hundredth of the whole, and thousands of turns in each second are measured all the same.
pub const SAMPLE_EVERY: u32 = 64;
/// One turn in so many is measured at least, if any: with fewer the numbers of a minute would be chance.
pub const SAMPLE_EVERY_MAX: u32 = 65_536;
/// Commands applied in one turn, so that a reload does not hold up packets.
pub const COMMANDS_PER_TURN_MAX: usize = 64;
/// Probes shown to control: a burst, as after an outage, when every gateway discovers anew …
pub const PROBES_BURST: u32 = 128;
/// … and how many each second and worker (REQUIREMENTS F-8): ten times what a responder answers, and little enough for
/// control to read while it negotiates.
pub const PROBES_PER_SECOND: u32 = 500;
/// Discovery messages of others that pass in clear whatever the rules say: a burst …
pub const PASSING_BURST: u32 = 128;
/// … and how many each second and worker. It is a way past the rules, so it is narrow: at most 1280 octets each, about
/// 2.5 Mbit/s (REQUIREMENTS TED-31, F-14).
pub const PASSING_PER_SECOND: u32 = 250;
/// Errors shown to control, because they may be about a probe of ours: a burst …
pub const STRAYS_BURST: u32 = 64;
/// … and how many each second and worker: a probe causes one or two of them (REQUIREMENTS TED-28).
pub const STRAYS_PER_SECOND: u32 = 200;
/// Wishes for discovery told to control: a burst …
pub const SOUGHT_BURST: u32 = 128;
/// … and how many each second and worker (REQUIREMENTS F-12): a scan of addresses behind a rule asks no more.
pub const SOUGHT_PER_SECOND: u32 = 500;
/// Destinations for which it is remembered that control has just been told. Two that share a place only repeat
/// themselves, so that the table need not hold everything.
pub const SOUGHT_MAX: usize = 1024;
/// How long they are not told again. Control sends probes a second apart and repeats one only while there is traffic, so
/// it has to hear several times in each second.
pub const SOUGHT_AGAIN: Duration = Duration::from_millis(250);
/// How long a packet that control sends through SAs may be on its way from worker to worker. Its SAs are kept for so long
/// when they are removed behind it; a worker that needs longer loses more than this packet.
pub const PASSAGE_OPEN_FOR: Duration = Duration::from_secs(1);
/// Packets on their way so: as many as there may be commands.
pub const PASSAGES_MAX: usize = warren_seam::limits::COMMANDS_MAX;
/// What a length field can say (RFC 791 §3.1). A fragment that lies beyond is of no packet (RFC 8200 §4.5), and cut into
/// smaller ones its place would wrap to the front.
pub const PACKET_OCTETS_MAX: usize = u16::MAX as usize;
/// UDP port of encapsulated ESP (RFC 3948 §2.1).
pub const NAT_TRAVERSAL_PORT: u16 = 4500;
/// Identifiers of tunnel rules, which index tables: as many as there may be rules, and as many again while old ones go.
pub const RULE_IDS_MAX: usize = 2 * warren_policy::limits::RULES_MAX;
/// Packets that go through the rules together, so that their cache misses overlap: a batch.
pub const SPD_GROUP: usize = BATCH_MAX;
/// Copies of each rule that the leaves of one tree may hold on average, because a rule may be about many of them. With
/// 100,000 rules of IPv4 that is at most 26 MB for each tree, and trees of real rules need a third of it.
pub const SPD_COPIES_MAX: usize = 8;
/// Places in a tree's tables for each rule, 8 octets each.
pub const SPD_ENTRIES_PER_RULE_MAX: usize = 16;
/// How often each rule may be put into a list on average while a tree is built: what bounds the time that takes. Real
/// rules need thirty.
pub const SPD_LISTED_PER_RULE_MAX: usize = 256;
/// Blocks and places that a tree of few rules may have besides.
pub const SPD_SPARE: usize = 512;
/// Levels of a tree, which recursion over it and the time to build it depend on. Real rules need five.
pub const SPD_DEPTH_MAX: u32 = 16;
/// Bits that one node of a tree looks at: 4,096 children are 32 KiB.
pub const SPD_CUT_BITS_MAX: u32 = 12;
/// Rules by which a cut is chosen; more of them would say the same.
pub const SPD_CUT_SAMPLE: usize = 256;
/// Rules by which is chosen how a set is divided into trees, each way being tried with them.
pub const SPD_PLAN_SAMPLE: usize = 2048;
/// Rules of one list with which the ones behind are compared, in the search for those that can never match.
pub const SPD_SHADOW_RULES_MAX: usize = 32;
/// Trees of one classifier: a packet walks all of them.
pub const SPD_TREES_MAX: usize = 4;
