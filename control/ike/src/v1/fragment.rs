//! Messages that are too long for one packet (the fragmentation of Cisco, racoon, Windows and strongSwan).
//!
//! ```text
//! message ── split ──► header, fragment 1 │ header, fragment 2 │ … ── Reassembler::add ──► message
//! ```
//!
//! Fragments are not authenticated, the message in them is. Whoever sees the cookies on the path can spoil a
//! reassembly, as it could drop the packets; whoever does not can do nothing, and nobody can make the table grow.

use super::main_mode::header;
use crate::crypto::Cookies;
use crate::limits::{
    FRAGMENTS_MAX, MESSAGE_OCTETS_MAX, REASSEMBLIES_MAX, REASSEMBLIES_PER_SOURCE_MAX, REASSEMBLY_LIFE,
};
use crate::retransmit::fingerprint;
use crate::wire::fragment::Fragment;
use crate::wire::{Chain, ExchangeType, HEADER_OCTETS, PayloadType};
use crate::{Counters, Discard, Path};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Octets of UDP's header.
const UDP_OCTETS: usize = 8;
/// Octets of a header and a fragment payload around their part of a message.
const AROUND_OCTETS: usize = HEADER_OCTETS + 4 + Fragment::FIXED_OCTETS;

/// Octets that a message may have on that path to fit one packet of `packet_octets`.
pub(crate) const fn room(path: Path, packet_octets: usize) -> usize {
    let ip = if path.remote.is_ipv4() { 20 } else { 40 };
    let marker = if path.has_marker() { 4 } else { 0 };
    packet_octets.saturating_sub(ip + UDP_OCTETS + marker)
}

/// The message as messages of at most `room` octets; as it is where it fits, or could not be numbered.
///
/// The header of a fragment is that of an exchange of phase 1 with the message ID zero, whatever is inside: others
/// send nothing else. The number of the whole is made of its content, so that a repetition fills the gaps of the
/// first attempt, and the next message does not.
pub(crate) fn split(cookies: Cookies, exchange: ExchangeType, message: &[u8], room: usize) -> Vec<Vec<u8>> {
    let part = room.saturating_sub(AROUND_OCTETS);
    if message.len() <= room || part == 0 || message.len().div_ceil(part) > usize::from(FRAGMENTS_MAX) {
        return vec![message.to_vec()];
    }
    let [high, low, ..] = fingerprint(message);
    let id = u16::from_be_bytes([high, low]).max(1);
    let parts: Vec<&[u8]> = message.chunks(part).collect();
    let last = parts.len();
    let fragments = (1..).zip(parts).map(|(number, data)| {
        let fragment = Fragment { id, number, is_last: usize::from(number) == last, data };
        let chain = Chain::new().with(PayloadType::FRAGMENT, &fragment.encode());
        header(cookies, exchange, 0).encode(&chain)
    });
    fragments.collect()
}

/// One message of which fragments are missing.
struct Reassembly {
    remote: SocketAddr,
    cookies: Cookies,
    id: u16,
    parts: BTreeMap<u8, Box<[u8]>>,
    last: Option<u8>,
    started_at: Duration,
}

impl Reassembly {
    fn new(now: Duration, remote: SocketAddr, cookies: Cookies, id: u16) -> Self {
        Self { remote, cookies, id, parts: BTreeMap::new(), last: None, started_at: now }
    }

    fn octets(&self) -> usize {
        self.parts.values().map(|part| part.len()).sum()
    }

    /// Whether the fragment can belong to the same message as what is here.
    fn agrees_with(&self, fragment: &Fragment<'_>) -> bool {
        let highest = self.parts.last_key_value().map_or(0, |(number, _)| *number);
        let in_order = match self.last {
            Some(last) => fragment.number <= last && fragment.is_last == (fragment.number == last),
            None => !fragment.is_last || highest <= fragment.number,
        };
        let same = self.parts.get(&fragment.number).is_none_or(|part| **part == *fragment.data);
        self.id == fragment.id && in_order && same
    }

    fn take(&mut self, fragment: &Fragment<'_>) {
        if fragment.is_last {
            self.last = Some(fragment.number);
        }
        self.parts.insert(fragment.number, fragment.data.into());
    }

    fn is_complete(&self) -> bool {
        self.last.is_some_and(|last| self.parts.len() == usize::from(last))
    }
}

/// Every reassembly under way: one message at a time for a negotiation and the socket that speaks for it.
#[derive(Default)]
pub(crate) struct Reassembler {
    running: Vec<Reassembly>,
}

impl Reassembler {
    /// One more fragment of somebody whose cookies are known. Gives the message when it is the last that was missing.
    pub(crate) fn add(
        &mut self,
        now: Duration,
        (remote, cookies): (SocketAddr, Cookies),
        fragment: &Fragment<'_>,
        counters: &mut Counters,
    ) -> Result<Option<Vec<u8>>, Discard> {
        self.expire(now, counters);
        if fragment.number > FRAGMENTS_MAX {
            return Err(Discard::BadFragment);
        }
        let is_it = |running: &Reassembly| running.remote == remote && running.cookies == cookies;
        let at = match self.running.iter().position(is_it) {
            Some(at) => at,
            None => self.begin(Reassembly::new(now, remote, cookies, fragment.id), counters)?,
        };
        let running = &mut self.running[at];
        if !running.agrees_with(fragment) {
            // The peer has given up one message and begun another, perhaps under the same number.
            counters.discard(Discard::FragmentsAbandoned);
            *running = Reassembly::new(now, remote, cookies, fragment.id);
        } else if running.parts.contains_key(&fragment.number) {
            return Err(Discard::Duplicate);
        }
        if running.octets() + fragment.data.len() > MESSAGE_OCTETS_MAX {
            self.running.swap_remove(at);
            return Err(Discard::BadFragment);
        }
        running.take(fragment);
        if !running.is_complete() {
            return Ok(None);
        }
        let complete = self.running.swap_remove(at);
        Ok(Some(complete.parts.into_values().collect::<Vec<_>>().concat()))
    }

    fn begin(&mut self, new: Reassembly, counters: &mut Counters) -> Result<usize, Discard> {
        let source = new.remote.ip();
        let of_source = || {
            let all = self.running.iter().enumerate();
            all.filter(|(_, running)| running.remote.ip() == source)
        };
        if of_source().count() >= REASSEMBLIES_PER_SOURCE_MAX {
            // It is only its own that a source pushes out.
            if let Some((at, _)) = of_source().min_by_key(|(_, running)| running.started_at) {
                counters.discard(Discard::FragmentsAbandoned);
                self.running.swap_remove(at);
            }
        }
        if self.running.len() >= REASSEMBLIES_MAX {
            return Err(Discard::FragmentsFull);
        }
        self.running.push(new);
        Ok(self.running.len() - 1)
    }

    fn expire(&mut self, now: Duration, counters: &mut Counters) {
        self.running.retain(|running| {
            let alive = now < running.started_at + REASSEMBLY_LIFE;
            if !alive {
                counters.discard(Discard::FragmentsAbandoned);
            }
            alive
        });
    }

    #[cfg(test)]
    pub(crate) fn octets(&self) -> usize {
        self.running.iter().map(Reassembly::octets).sum()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Body, Header};
    use proptest::prelude::*;

    const COOKIES: Cookies = Cookies { initiator: [1; 8], responder: [2; 8] };

    fn source(number: u32) -> SocketAddr {
        (std::net::Ipv4Addr::from(0x0a00_0000 + number), 500).into()
    }

    /// One source's view of a reassembler at a time.
    struct Bench {
        reassembler: Reassembler,
        counters: Counters,
        now: Duration,
    }

    impl Bench {
        fn new() -> Self {
            Self { reassembler: Reassembler::default(), counters: Counters::default(), now: Duration::ZERO }
        }

        fn add(
            &mut self,
            from: u32,
            cookies: Cookies,
            fragment: &Fragment<'_>,
        ) -> Result<Option<Vec<u8>>, Discard> {
            self.reassembler.add(self.now, (source(from), cookies), fragment, &mut self.counters)
        }

        fn take(&mut self, number: u8, is_last: bool, data: &[u8]) -> Result<Option<Vec<u8>>, Discard> {
            self.add(1, COOKIES, &Fragment { id: 1, number, is_last, data })
        }
    }

    /// The body of the only payload of a fragment's message.
    fn body(message: &[u8]) -> Vec<u8> {
        let (header, body) = Header::decode(message).unwrap();
        assert_eq!((header.next_payload, header.message_id, header.flags), (PayloadType::FRAGMENT, 0, 0));
        assert_eq!((header.cookie_i, header.cookie_r), (COOKIES.initiator, COOKIES.responder));
        let body = Body::decode(header.next_payload, body).unwrap();
        assert_eq!((body.payloads().len(), body.padding().len()), (1, 0));
        body.payloads()[0].body.to_vec()
    }

    #[test]
    fn a_packet_with_a_fragment_has_the_size_that_strongswan_means() {
        // `fragment_size = 600` gave packets of 600 octets on port 4500, fragments of 532 octets in them.
        let path = |local: &str, remote: &str| Path {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        let floated = path("192.0.2.1:4500", "192.0.2.2:4500");
        assert_eq!(room(floated, 600), 568);
        let pieces = split(COOKIES, ExchangeType::MAIN, &[9; 1336], room(floated, 600));
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [568, 568, 308]);
        assert_eq!(room(path("192.0.2.1:500", "192.0.2.2:500"), 1280), 1252);
        assert_eq!(room(path("[2001:db8::1]:500", "[2001:db8::2]:500"), 1280), 1232);
    }

    #[test]
    fn a_message_that_fits_or_that_cannot_be_numbered_stays_whole() {
        let message = [5; 1000];
        for room in [1000, 5000, AROUND_OCTETS, AROUND_OCTETS + 10, 0] {
            assert_eq!(split(COOKIES, ExchangeType::MAIN, &message, room), [message.to_vec()], "{room}");
        }
        assert_eq!(split(COOKIES, ExchangeType::MAIN, &message, 999).len(), 2);
    }

    #[test]
    fn a_repetition_has_the_number_of_the_first_attempt_and_another_message_has_not() {
        let ids = |octet| -> Vec<[u8; 2]> {
            let pieces = split(COOKIES, ExchangeType::MAIN, &[octet; 900], 400);
            pieces.iter().map(|piece| body(piece)[..2].try_into().unwrap()).collect()
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1)[0], ids(2)[0]);
    }

    #[test]
    fn duplicates_change_nothing() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(2, true, b"cd"), Ok(None));
        assert_eq!(bench.take(2, true, b"cd"), Err(Discard::Duplicate));
        assert_eq!(bench.take(1, false, b"ab"), Ok(Some(b"abcd".to_vec())));
        assert_eq!(bench.reassembler.len(), 0);
    }

    #[test]
    fn the_next_message_under_the_same_number_begins_anew() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(1, false, b"old"), Ok(None));
        assert_eq!(bench.take(1, false, b"new"), Ok(None));
        assert_eq!(bench.take(2, true, b"er"), Ok(Some(b"newer".to_vec())));
        assert_eq!(bench.counters.discarded(Discard::FragmentsAbandoned), 1);
    }

    #[test]
    fn another_number_begins_anew() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(1, false, b"old"), Ok(None));
        let other = Fragment { id: 2, number: 2, is_last: true, data: b"er" };
        assert_eq!(bench.add(1, COOKIES, &other), Ok(None));
        let first = Fragment { id: 2, number: 1, is_last: false, data: b"new" };
        assert_eq!(bench.add(1, COOKIES, &first), Ok(Some(b"newer".to_vec())));
    }

    #[test]
    fn fragments_that_contradict_each_other_are_never_put_together() {
        // Beyond the last one, two last ones, a last one before others.
        for pair in
            [[(2, true), (3, false)], [(2, true), (3, true)], [(2, true), (1, true)], [(3, false), (2, true)]]
        {
            let mut bench = Bench::new();
            for (number, is_last) in pair {
                let added = bench.take(number, is_last, &[number]);
                assert!(matches!(added, Ok(None)) || pair[1] == (1, true), "{pair:?}");
            }
            assert_eq!(bench.counters.discarded(Discard::FragmentsAbandoned), 1, "{pair:?}");
        }
    }

    #[test] // F-5
    fn a_message_has_a_longest_length_a_highest_number_and_a_time() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(FRAGMENTS_MAX + 1, true, b"x"), Err(Discard::BadFragment));
        assert_eq!(bench.reassembler.len(), 0);
        let part = [0; MESSAGE_OCTETS_MAX / 2];
        assert_eq!(bench.take(1, false, &part), Ok(None));
        assert_eq!(bench.take(2, false, &part), Ok(None));
        assert_eq!(bench.take(3, true, b"x"), Err(Discard::BadFragment));
        assert_eq!(bench.reassembler.octets(), 0);
        assert_eq!(bench.take(1, false, b"slow"), Ok(None));
        bench.now = REASSEMBLY_LIFE;
        assert_eq!(bench.take(2, true, b"est"), Ok(None));
        assert_eq!(bench.counters.discarded(Discard::FragmentsAbandoned), 1);
    }

    #[test] // F-5
    fn a_flood_pushes_out_only_its_own() {
        let mut bench = Bench::new();
        assert_eq!(bench.take(1, false, b"hon"), Ok(None));
        for number in 0..2000u64 {
            let cookies = Cookies { initiator: number.to_be_bytes(), ..COOKIES };
            let fragment = Fragment { id: 1, number: 1, is_last: false, data: &[0; 1200] };
            let _ = bench.add(2 + number as u32 % 100, cookies, &fragment);
            assert!(bench.reassembler.len() <= REASSEMBLIES_MAX);
        }
        assert!(
            bench.counters.discarded(Discard::FragmentsAbandoned) > 0
                || bench.reassembler.len() == REASSEMBLIES_MAX
        );
        // Others' cookies, or ours from elsewhere, do not disturb.
        let foreign = Fragment { id: 1, number: 2, is_last: true, data: b"evil" };
        let _ = bench.add(3, COOKIES, &foreign);
        assert_eq!(bench.take(2, true, b"est"), Ok(Some(b"honest".to_vec())));
    }

    #[test] // F-5
    fn one_source_holds_no_more_than_its_share() {
        let mut bench = Bench::new();
        for number in 0..100u64 {
            let cookies = Cookies { initiator: number.to_be_bytes(), ..COOKIES };
            let fragment = Fragment { id: 1, number: 1, is_last: false, data: b"x" };
            assert_eq!(bench.add(7, cookies, &fragment), Ok(None));
        }
        assert_eq!(bench.reassembler.len(), REASSEMBLIES_PER_SOURCE_MAX);
    }

    proptest! {
        #[test]
        fn what_was_split_comes_together_in_any_order(
            message in prop::collection::vec(any::<u8>(), 1..4000),
            room in 80usize..1400,
            keys in prop::collection::vec(any::<(u32, bool)>(), 64),
        ) {
            let pieces = split(COOKIES, ExchangeType::MAIN, &message, room);
            prop_assume!(pieces.len() > 1);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= room));
            // Some twice, all in an order that the keys give.
            let mut order: Vec<(u32, Vec<u8>)> = Vec::new();
            for (piece, (key, twice)) in pieces.iter().zip(&keys) {
                order.push((*key, body(piece)));
                if *twice {
                    order.push((key.rotate_left(7), body(piece)));
                }
            }
            order.sort();
            let mut bench = Bench::new();
            let mut whole: Vec<Vec<u8>> = Vec::new();
            for (_, body) in &order {
                let fragment = Fragment::decode(body).unwrap();
                whole.extend(bench.add(1, COOKIES, &fragment).ok().flatten());
            }
            prop_assert!(!whole.is_empty());
            prop_assert!(whole.iter().all(|whole| *whole == message));
        }

        #[test] // F-5, F-36
        fn no_fragments_panic_or_stay_for_ever(
            fragments in prop::collection::vec((0u16..3, 1u8..70, any::<bool>(), 1usize..3000), 0..200)
        ) {
            let mut bench = Bench::new();
            for (id, number, is_last, octets) in fragments {
                let data = vec![number; octets];
                let whole = bench.add(1, COOKIES, &Fragment { id, number, is_last, data: &data });
                if let Ok(Some(whole)) = whole {
                    prop_assert!(whole.len() <= MESSAGE_OCTETS_MAX);
                }
                prop_assert!(bench.reassembler.octets() <= MESSAGE_OCTETS_MAX);
                prop_assert!(bench.reassembler.len() <= 1);
            }
        }
    }
}
