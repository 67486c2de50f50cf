//! What is counted: each function here is one row of the table, by its name. None may be inlined, for callgrind knows
//! functions only. Each says whether it did its work, so that a shortcut does not look like progress; and each says it in
//! other words than its neighbour, because the compiler makes one function of two that are the same.

use warren_aead::{OpenJob, OpeningKey, SealJob, SealingKey, Verdict as Opened};
use warren_engine::fib::Fib;
use warren_engine::flow_cache::FlowCache;
use warren_engine::packet::Summary;
use warren_engine::packet::checksum;
use warren_engine::packet::esp::{Esp, Trailer};
use warren_engine::packet::isakmp::Isakmp;
use warren_engine::replay::ReplayWindow;
use warren_engine::spd::{Direction, Spd};
use warren_ike::wire::ted::{Probe, Response};
use warren_ike::wire::{Body, Chain, Header, Identification, Notify, PayloadType, Sa};
use warren_policy::{FiveTuple, Verdict};

/// Octets of ESP around inner packets of 64 and 1420: header, IV, trailer and ICV with them.
pub(crate) const SMALL_OCTETS: usize = 100;
pub(crate) const LARGE_OCTETS: usize = 1456;

/// Reads the headers of an IP packet.
#[inline(never)]
pub(crate) fn summary_ipv4(packet: &[u8]) -> bool {
    Summary::of(packet).is_ok_and(|summary| summary.upper_at == 20)
}

/// The same for IPv6 behind an extension header.
#[inline(never)]
pub(crate) fn summary_ipv6(packet: &[u8]) -> bool {
    Summary::of(packet).is_ok_and(|summary| summary.upper_at == 48)
}

/// SPI, sequence number, and the trailer of what was decrypted.
#[inline(never)]
pub(crate) fn esp_header_and_trailer(packet: &[u8], text: &[u8]) -> bool {
    let header = Esp::new_checked(packet).is_ok_and(|esp| esp.sequence_low() == 7 && esp.spi().0 == 0x1234);
    header && Trailer::of(text).is_ok_and(|trailer| trailer.next_header == 4)
}

/// What the data plane looks at in a message for the control plane.
#[inline(never)]
pub(crate) fn isakmp_header(message: &[u8]) -> bool {
    Isakmp::new_checked(message).is_ok_and(|header| header.major_version() == 1 && !header.is_encrypted())
}

/// An incremental checksum over four changes.
#[inline(never)]
pub(crate) fn checksum_update(sum: u16) -> bool {
    (0..4).fold(sum, |sum, word| checksum::update(sum, word, word + 1)) != sum
}

/// A batch of packets, each with a number that it has to be new under.
#[inline(never)]
pub(crate) fn replay_batch(window: &mut ReplayWindow, numbers: &[u64]) -> bool {
    numbers.iter().all(|&number| window.check(number)) && numbers.iter().all(|&number| window.accept(number))
}

/// A batch of packets by rules for IPv4.
#[inline(never)]
pub(crate) fn rules_ipv4_batch(spd: &Spd, packets: &[FiveTuple], verdicts: &mut Vec<Verdict>) -> bool {
    spd.classify(Direction::Outbound, packets, verdicts);
    packets.last().is_some_and(|packet| packet.source.is_ipv4()) && verdicts.len() == packets.len()
}

/// A batch of packets by rules for IPv6.
#[inline(never)]
pub(crate) fn rules_ipv6_batch(spd: &Spd, packets: &[FiveTuple], verdicts: &mut Vec<Verdict>) -> bool {
    spd.classify(Direction::Outbound, packets, verdicts);
    packets.last().is_some_and(|packet| packet.source.is_ipv6()) && verdicts.len() == packets.len()
}

/// A batch of flows that the cache knows.
#[inline(never)]
pub(crate) fn flow_cache_batch(cache: &FlowCache, packets: &[FiveTuple]) -> bool {
    packets.iter().all(|packet| cache.lookup(Direction::Outbound, packet).is_some())
}

/// A batch of destinations.
#[inline(never)]
pub(crate) fn routes_batch(fib: &Fib, packets: &[FiveTuple]) -> bool {
    packets.iter().all(|packet| fib.route(packet.destination).is_some())
}

/// The header of a message and the chain behind it.
#[inline(never)]
pub(crate) fn ike_message_decode(message: &[u8]) -> bool {
    let decoded = Header::decode(message).and_then(|(header, octets)| {
        Body::decode(header.next_payload, octets).map(|body| body.payloads().len())
    });
    decoded == Ok(5)
}

/// A message from its payloads.
#[inline(never)]
pub(crate) fn ike_message_encode(header: &Header, payloads: &[(PayloadType, Vec<u8>)]) -> bool {
    let chain = payloads.iter().fold(Chain::new(), |chain, (kind, body)| chain.with(*kind, body));
    header.encode(&chain).len() > 100
}

/// Proposals, their transforms and attributes.
#[inline(never)]
pub(crate) fn ike_sa_decode(body: &[u8]) -> bool {
    Sa::decode(body).is_ok_and(|sa| sa.proposals.len() == 1)
}

/// The same the other way.
#[inline(never)]
pub(crate) fn ike_sa_encode(sa: &Sa<'_>, octets: usize) -> bool {
    sa.encode().len() == octets
}

/// A proxy identity and what traffic it names.
#[inline(never)]
pub(crate) fn ike_identification(body: &[u8]) -> bool {
    Identification::decode(body)
        .and_then(|identification| identification.traffic())
        .is_ok_and(|traffic| Identification::of_traffic(&traffic).is_some_and(|again| again.encode() == body))
}

/// A notification, read and written.
#[inline(never)]
pub(crate) fn ike_notify(body: &[u8]) -> bool {
    Notify::decode(body).is_ok_and(|notify| notify.cookies().is_some() && notify.encode() == body)
}

/// A probe of tunnel endpoint discovery.
#[inline(never)]
pub(crate) fn ted_probe_decode(message: &[u8]) -> bool {
    Probe::decode(message).is_ok_and(|probe| probe.source.is_none())
}

/// The answer to one.
#[inline(never)]
pub(crate) fn ted_response_encode(response: &Response, octets: usize) -> bool {
    response.encode().len() == octets
}

/// AES-GCM by RustCrypto, a small packet.
#[inline(never)]
pub(crate) fn rustcrypto_seal_64(key: &SealingKey, number: u64, packet: &mut [u8]) -> bool {
    warren_aead::seal(&mut [SealJob::new(key, number, None, packet)]);
    packet.len() == SMALL_OCTETS
}

/// AES-GCM by RustCrypto, a large packet.
#[inline(never)]
pub(crate) fn rustcrypto_seal_1420(key: &SealingKey, number: u64, packet: &mut [u8]) -> bool {
    warren_aead::seal(&mut [SealJob::new(key, number, None, packet)]);
    packet.len() == LARGE_OCTETS
}

/// The same the other way, small.
#[inline(never)]
pub(crate) fn rustcrypto_open_64(key: &OpeningKey, packet: &mut [u8]) -> bool {
    let mut jobs = [OpenJob::new(key, None, packet)];
    warren_aead::open(&mut jobs);
    jobs[0].verdict == Opened::Authentic && jobs[0].packet.len() == SMALL_OCTETS
}

/// The same the other way, large.
#[inline(never)]
pub(crate) fn rustcrypto_open_1420(key: &OpeningKey, packet: &mut [u8]) -> bool {
    let mut jobs = [OpenJob::new(key, None, packet)];
    warren_aead::open(&mut jobs);
    jobs[0].verdict == Opened::Authentic && jobs[0].packet.len() == LARGE_OCTETS
}
