//! Every maximum of this crate, with its reason.

use std::time::Duration;
use warren_policy::limits::STACK_DEPTH_MAX;

/// Pairs of SAs of each lane that one tunnel holds at a time: the one in use, and its successor or its predecessor. The
/// oldest beyond that are closed.
pub const PAIRS_PER_LANE_MAX: usize = 2;
/// The same for all lanes together: room for simultaneous negotiations.
pub const PAIRS_SPARE_MAX: usize = 6;
/// Between a pair that is complete and the next lane that is opened: both sides then know the same pairs, unless the
/// way there takes longer, and a peer is not asked for many at once.
pub const FURTHER_SPACING: Duration = Duration::from_millis(200);
/// Lanes that were all up for this long were a success: the first that is lost is opened again at once. Longer than [`SUPERSEDED_MAX`]: a peer that holds it for the
/// successor of another pair deletes one of them by then.
pub const FURTHER_STABLE_AFTER: Duration = Duration::from_secs(60);
/// No further lane is opened later than this before the end of one that is up, or in the last quarter of a short life:
/// the repetitions of a quick mode take about a minute, and its successor would have to wait for them.
pub const FURTHER_CLEARANCE: Duration = Duration::from_secs(120);
/// First pause after a failed negotiation; it doubles with each further failure.
pub const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// Longest pause: a peer that comes back is found again within a few minutes.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// Doublings until the longest pause; further failures change nothing.
pub const BACK_OFF_DOUBLINGS_MAX: u32 = 9;
/// A tunnel that lived this long was a success: the next failure starts with the shortest pause again.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);
/// From the first authentic packet on the new pair to the Delete of the old: packets of both overtake each other.
pub const GRACE_MIN: Duration = Duration::from_secs(2);
/// The same without any packet on the new pair: some peers send on the old one until it is deleted.
pub const GRACE_MAX: Duration = Duration::from_secs(6);
/// How long a pair that the peer renewed is left for the peer to delete, when nothing arrives on the new one.
pub const SUPERSEDED_MAX: Duration = Duration::from_secs(30);
/// How long a deleted pair's inbound SA still opens what was in flight when the peer read the Delete.
pub const LINGER: Duration = Duration::from_secs(4);
/// Inbound SAs that linger at a time; the oldest go early.
pub const LINGERING_MAX: usize = 1024;
/// How long a responder leaves the rekey on a soft volume limit to the initiator, who sees the same limit.
pub const RESPONDER_PATIENCE: Duration = Duration::from_secs(3);
/// Between the first negotiations of tunnels that start immediately, so that a thousand do not start at once.
pub const START_SPACING: Duration = Duration::from_millis(5);
/// Outputs that wait for the caller, who drains after every call; beyond that something is wrong with it.
pub const OUTPUTS_MAX: usize = 1 << 20;
/// Refused sets of one server whose reasons are kept to be shown; the others are counted.
pub const REFUSED_KEPT_MAX: usize = 256;
/// Peers connected to us as a server at a time: as many as one pool can lease addresses to.
pub const GUESTS_MAX: usize = 65_536;
/// Addresses that one pool leases at a time: its table stays below 16 MiB.
pub const LEASES_PER_POOL_MAX: u64 = 65_536;
/// Name servers and split domains taken from one server; each.
pub const NAMES_MAX: usize = 64;
/// Networks of a foreign server that become sets of their own.
pub const NETWORKS_MAX: usize = 1024;
/// How long a server may leave us without a word before we ask again: longer than all repetitions of a phase 1.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Times that the sets of one message are looked at again because one of them was refused: a chain of parents is no
/// longer than a stack is deep, and who needs more than that is not looked at further.
pub const PLACING_ROUNDS_MAX: usize = STACK_DEPTH_MAX + 1;
/// Refused sets of one message that are logged one by one; the others are counted.
pub const REFUSED_LOGGED_MAX: usize = 16;
/// Discovered tunnels at a time: each is a rule that every worker classifies by.
pub const DISCOVERED_MAX: usize = 4096;
/// How long a discovered tunnel that a peer asked for may take to come up; a quick mode whose messages are all lost is
/// given up after half of that.
pub const GRANT_PATIENCE: Duration = Duration::from_secs(120);
/// Port of IKE (RFC 2408 §2.5.1), and of discovery with it.
pub const PORT_ISAKMP: u16 = 500;
/// Levels of all stacks together that are there, coming or going: as many as guests with a tunnel each. Beyond that a
/// stack is not built, so that traffic to many gateways cannot take all memory.
pub const LEVELS_MAX: usize = 65_536;
/// How often a stack is looked at in the time that it may be idle: it goes at most an eighth of that too late.
pub const STACK_LOOKS_PER_IDLE: u32 = 8;
/// The least time between two looks: workers report traffic about every second.
pub const STACK_LOOK_MIN: Duration = Duration::from_secs(1);
/// How long a rule whose way contradicts another one's is left alone before its traffic may ask again: only other rules
/// change that, and they end the pause.
pub const CONTRADICTION_PAUSE: Duration = Duration::from_secs(60);
