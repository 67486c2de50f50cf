//! Every maximum of this crate, with its reason.

use std::time::Duration;

/// Octets of one IKE message: UDP cannot carry more, and no exchange of ours comes near.
pub const MESSAGE_OCTETS_MAX: usize = 16 * 1024;
/// Half-open negotiations remembered in all. With [`SA_OCTETS_MAX`] the table stays below 12 MiB, whatever is sent; in
/// aggressive mode keys and public values add up to 4 KiB each.
pub const HALF_OPEN_MAX: usize = 1024;
/// Half-open negotiations remembered of one source address: a spoofer can use up only this share.
pub const HALF_OPEN_PER_SOURCE_MAX: usize = 16;
/// How long a half-open negotiation is remembered: longer than the usual first repetitions.
pub const HALF_OPEN_LIFE: Duration = Duration::from_secs(15);
/// Octets of SAi_b that are remembered: it enters the hashes, so that all of it is needed. Peers that list every
/// combination of their algorithms send two hundred transforms of 36 octets.
pub const SA_OCTETS_MAX: usize = 8192;
/// Octets of an Identification payload that are remembered: longer than any name that is one.
pub const IDENTITY_OCTETS_MAX: usize = 1024;
/// First messages answered in one second, over all sources: bounds the work that a flood causes.
pub const FIRST_MESSAGES_PER_SECOND: u32 = 2000;
/// Diffie-Hellman exchanges as responder begun in one second, over all sources, on a curve; one in a MODP group
/// counts for as many as it costs.
pub const KEY_EXCHANGES_PER_SECOND: u32 = 500;
/// The same for first messages of aggressive mode, whose source addresses nobody proved: a spoofer can use up only
/// this share of [`KEY_EXCHANGES_PER_SECOND`].
pub const UNPROVED_KEY_EXCHANGES_PER_SECOND: u32 = 100;
/// What a signature, or the verification of one with its certificates, counts for among those.
pub const SIGNATURE_WORK: u32 = 4;
/// Unprotected notifies sent in one second, over all destinations.
pub const NOTIFIES_PER_SECOND: u32 = 20;
/// Main modes as responder whose initiator proved its address and that are not finished, over all peers.
pub const NEGOTIATIONS_MAX: usize = 1024;
/// The same for one source address.
pub const NEGOTIATIONS_PER_SOURCE_MAX: usize = 16;
/// How long a responder waits for the fifth message.
pub const NEGOTIATION_LIFE: Duration = Duration::from_secs(30);
/// Exchanges under one ISAKMP SA that have state at a time, each with its IV (REQUIREMENTS F-6).
pub const EXCHANGES_MAX: usize = 256;
/// How long a finished exchange is kept to answer repetitions.
pub const EXCHANGE_LINGER: Duration = Duration::from_secs(60);
/// Message IDs remembered for one ISAKMP SA; it is renewed before they are used up.
pub const MESSAGE_IDS_MAX: usize = 16_384;
/// Stored responses sent again for one exchange: more than any honest peer asks for.
pub const RESENDS_MAX: u32 = 16;
/// Longest pause between repetitions of one message.
pub const RETRANSMIT_INTERVAL_MAX: Duration = Duration::from_secs(16);
/// Octets of one Attributes payload that we send: the rest of [`MESSAGE_OCTETS_MAX`] is header, HASH and padding.
pub const CONFIG_OCTETS_MAX: usize = MESSAGE_OCTETS_MAX - 256;
/// Transactions that a peer may begin under one message ID: extended authentication and its configuration, with
/// some to spare.
pub const TRANSACTIONS_PER_EXCHANGE_MAX: u32 = 8;
/// Transactions that a peer may begin under one ISAKMP SA within [`TRANSACTIONS_WINDOW`]: an honest one needs two or
/// three, and each becomes work for whoever has to answer.
pub const TRANSACTIONS_PER_WINDOW_MAX: u32 = 32;
/// See [`TRANSACTIONS_PER_WINDOW_MAX`].
pub const TRANSACTIONS_WINDOW: Duration = Duration::from_secs(60);
/// How long a peer's question waits for the answer of whoever uses the endpoint.
pub const CONFIG_ANSWER_LIFE: Duration = Duration::from_secs(30);
/// How long a client waits to be asked for its user before it goes on without: not every server asks again when
/// the ISAKMP SA is renewed.
pub const XAUTH_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client that gave its password waits for the judgement: servers may ask elsewhere.
pub const XAUTH_LIFE: Duration = Duration::from_secs(60);
/// Wrong passwords for one user within [`GUESSES_WINDOW`], after which the right one is refused too.
pub const GUESSES_PER_USER_MAX: u32 = 5;
/// The same for one source address; several users may share one behind a NAT.
pub const GUESSES_PER_SOURCE_MAX: u32 = 15;
/// How long a wrong password counts.
pub const GUESSES_WINDOW: Duration = Duration::from_secs(60);
/// Users and sources whose wrong passwords are remembered; whoever does not fit is not judged.
pub const GUESSERS_MAX: usize = 8192;
/// Quick modes that wait for an ISAKMP SA with one peer: one for each rule.
pub const PENDING_CHILDREN_MAX: usize = 100_000;
/// Quick modes that we begin under one ISAKMP SA at a time; others wait their turn.
pub const QUICK_MODES_MAX: usize = 64;
/// Peers that came into being because somebody authenticated under a template.
pub const DYNAMIC_PEERS_MAX: usize = 10_000;
/// ISAKMP SAs with one peer that are kept; the oldest gives way.
pub const ISAKMP_PER_PEER_MAX: usize = 8;
/// Two ISAKMP SAs that were established within this time were begun by both sides at once.
pub const SIMULTANEOUS: Duration = Duration::from_secs(10);
/// How long the ISAKMP SA that was replaced stays, so that exchanges under it can end.
pub const RETIRE_DELAY: Duration = Duration::from_secs(10);
/// Pause between keepalives when a NAT hides us (RFC 3948 §4).
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// SPIs that were removed and are not chosen again for now (REQUIREMENTS F-20).
pub const SPI_QUARANTINE_MAX: usize = 4096;
/// Nonces of this many octets are sent; RFC 2409 §5 allows 8 to 256.
pub const NONCE_OCTETS: usize = 32;
/// Shortest lifetime that is accepted from a peer: less would keep us busy renewing.
pub const LIFETIME_S_MIN: u32 = 10;
/// The same in kilobytes. None at all would be an SA that may not carry a packet.
pub const LIFETIME_KB_MIN: u64 = 64;
/// Certificates that a peer may send, and that a chain of ours may have: real chains have two or three, and each
/// costs a public-key operation.
pub const CERTIFICATES_MAX: usize = 8;
/// Octets of an IP packet that a message in fragments must fit: what every IPv6 path carries, and nearly every IPv4
/// path.
pub const FRAGMENT_PACKET_OCTETS: usize = 1280;
/// Fragments of one message: enough for the longest in packets of 300 octets.
pub const FRAGMENTS_MAX: u8 = 64;
/// Messages that are put together from fragments at a time: with [`MESSAGE_OCTETS_MAX`] below 4 MiB in all.
pub const REASSEMBLIES_MAX: usize = 256;
/// The same for one source address, which has proved itself.
pub const REASSEMBLIES_PER_SOURCE_MAX: usize = 16;
/// How long the fragments of one message may take: until the second or third repetition.
pub const REASSEMBLY_LIFE: Duration = Duration::from_secs(30);
/// Fewest bits of an RSA modulus; the chain of certificates is held to the same.
pub const RSA_BITS_MIN: u32 = 2048;
/// Discoveries under way for one source host: a scan uses up only this share of `in_flight_max`, and less than one
/// second's probes (REQUIREMENTS F-12).
pub const IN_FLIGHT_PER_SOURCE_MAX: u32 = 128;
/// Probes of one discovery in all, repetitions included, whatever the configuration says: waits double, so that the
/// tenth is already minutes away.
pub const PROBES_PER_DISCOVERY_MAX: u32 = 10;
/// Times that one discovery says a TED Cookie again: an honest responder asks once, or twice when its secret turns.
pub const CHALLENGES_PER_DISCOVERY_MAX: u32 = 2;
/// How long a gateway that was found may take until a tunnel is up or has failed: longer than phase 1 and quick mode with
/// all their repetitions.
pub const DISCOVERY_NEGOTIATION_MAX: Duration = Duration::from_secs(120);
/// Granules that are left alone for a while; with their index about 4 MiB. One more makes us forget a random one: that
/// costs a probe too many, and nobody can choose whose (REQUIREMENTS F-12).
pub const RESTS_MAX: usize = 16_384;
/// How long after a rest its failures still count.
pub const REST_MEMORY: Duration = Duration::from_secs(600);
/// Discoveries that ended and whose probes may still cause an error or an answer; with their indexes below 2 MiB.
pub const ENDED_DISCOVERIES_MAX: usize = 8192;
/// How long that is expected: longer than any packet travels.
pub const ENDED_DISCOVERY_LIFE: Duration = Duration::from_secs(60);
/// Which share of all answers may go to gateways of one prefix, and for sources of one prefix: a fourth, so that no
/// single one takes the place of all others (REQUIREMENTS F-8).
pub const ANSWERS_PREFIX_SHARE: u32 = 4;
/// Prefix lengths, IPv4 and IPv6, of what is one to those rates: networks that one site holds.
pub const ANSWERS_PREFIX_BITS: (u8, u8) = (24, 56);
/// Rates that are kept for prefixes, each of 8 octets. Prefixes that meet in one share it.
pub const ANSWER_RATES: usize = 8192;
/// How long the secret behind TED Cookies is one; the last one is still taken, so that a cookie lives for one to two
/// of these.
pub const ECHO_EPOCH: Duration = Duration::from_secs(60);
/// Lines about discovery in one second: a scan must not fill the log.
pub const TED_NOTICES_PER_SECOND: u32 = 20;
