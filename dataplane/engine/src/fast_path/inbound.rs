//! ESP to us, level by level: what comes out is another packet to find a plan for, or ESP to us again.

use super::Slow;
use super::flows::{Door, FlowKey};
use super::packet::{self, Found, ICV_OCTETS, Packet, TEXT_AT};
use crate::accounting::Stage;
use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::limits::STACK_DEPTH_MAX;
use crate::packet::esp::Trailer;
use crate::packet::{Summary, ipv4, protocol};
use crate::stages::{decap, open};
use std::net::SocketAddr;
use warren_aead::{OpenJob, Verdict};
use warren_seam::{Carrier, Spi};

/// Takes ESP off everything that is plainly ours.
pub(super) fn run(core: &mut Core) {
    for _ in 0..STACK_DEPTH_MAX {
        if core.fast.esp.is_empty() {
            break;
        }
        let mut packets = std::mem::take(&mut core.fast.esp);
        lookup(core, &mut packets);
        open(core, &mut packets);
        let opened = packets.len();
        unwrap(core, &mut packets);
        core.accounts.lap(Stage::FastOpen, opened);
        core.fast.esp = std::mem::replace(&mut core.fast.inner, packets);
    }
    // Deeper than any stack may be: the stages refuse it.
    let mut deep = std::mem::take(&mut core.fast.esp);
    deep.drain(..).for_each(|packet| core.fast.detour(packet));
    core.fast.esp = deep;
}

/// Keeps what an SA of ours is made for, and whose number may be new.
fn lookup(core: &mut Core, packets: &mut Vec<Packet>) {
    let mut others = 0;
    for packet in packets.iter_mut() {
        packet.found = find(core, packet);
        others += usize::from(packet.found != Found::Ours);
    }
    if others > 0 {
        for packet in packets.extract_if(.., |packet| packet.found != Found::Ours) {
            if packet.found == Found::Transit { core.fast.seek(packet) } else { core.fast.detour(packet) }
        }
    }
}

#[inline]
fn find(core: &Core, packet: &mut Packet) -> Found {
    let Some((at, spi, low)) = packet.esp_header() else { return Found::Transit };
    let Some((index, sa)) = core.sad.find_inbound(Spi(spi)) else { return Found::Transit };
    let carrier = if packet.depth == 0 { Carrier::Network } else { Carrier::Rule(packet.rule) };
    if !sa.plain.is_some_and(|plain| plain.is_headed_like(&packet.key)) {
        return Found::Transit;
    }
    let Some(opener) = sa.opener.as_deref() else { return Found::Doubtful };
    if sa.carrier != carrier || opener.usage.is_exhausted() {
        return Found::Doubtful;
    }
    let sequence = if opener.esn { opener.window.infer(low) } else { Some(low.into()) };
    let Some(sequence) = sequence.filter(|&sequence| opener.window.check(sequence)) else {
        return Found::Doubtful;
    };
    opener.key.prefetch();
    (packet.sa, packet.sequence, packet.esp_at) = (index, sequence, at as u8);
    Found::Ours
}

/// Integrity check and decryption, then the second look at the window.
fn open(core: &mut Core, packets: &mut Vec<Packet>) {
    let mut jobs = OpenJob::recycle(std::mem::take(&mut core.fast.open_jobs));
    for packet in packets.iter_mut() {
        let opener = core.sad.opener(packet.sa).expect("lookup keeps only packets of our own SAs");
        let esn_high = opener.esn.then_some((packet.sequence >> 32) as u32);
        let at = usize::from(packet.esp_at);
        jobs.push(OpenJob::new(&opener.key, esn_high, &mut packet.frame.bytes_mut()[at..]));
    }
    warren_aead::open(&mut jobs);
    core.bench.opened.clear();
    core.bench.opened.extend(jobs.iter().map(|job| job.verdict));
    core.fast.open_jobs = OpenJob::recycle(jobs);
    let verdicts = std::mem::take(&mut core.bench.opened);
    let mut failed = false;
    for (packet, &verdict) in packets.iter_mut().zip(&verdicts) {
        packet.failure = judge(core, packet, verdict).err();
        failed |= packet.failure.is_some();
    }
    core.bench.opened = verdicts;
    if failed {
        core.sweep_packets(packets);
    }
}

#[inline]
fn judge(core: &mut Core, packet: &Packet, verdict: Verdict) -> Result<(), DropReason> {
    open::proven(core, packet.sa, verdict)?;
    let esp_octets = packet.frame.len() - usize::from(packet.esp_at);
    let from = || SocketAddr::new(packet.key.source().into(), packet.key.source_port());
    open::accept_number(core, packet.sa, packet.sequence, esp_octets, from)
}

/// Takes the outer headers off. What is not a plain packet inside goes on in the stages, behind `accept`.
fn unwrap(core: &mut Core, packets: &mut Vec<Packet>) {
    for mut packet in packets.drain(..) {
        if unwrap_one(core, &mut packet) {
            if packet.key.may_be_esp() {
                core.fast.inner.push(packet);
            } else {
                core.fast.seek(packet);
            }
            continue;
        }
        core.fast.detours.extend(inner_flow(&packet));
        core.fast.slow.push((packet.at, Slow::Opened(packet)));
    }
}

/// The flow of what an opened packet holds, where it can be seen.
fn inner_flow(packet: &Packet) -> Option<FlowKey> {
    let text = packet.frame.bytes().get(usize::from(packet.esp_at) + TEXT_AT..)?;
    FlowKey::of(&Summary::of(text).ok()?.tuple, Door::Sa)
}

/// Whether it was done; else nothing is changed.
#[inline]
fn unwrap_one(core: &mut Core, packet: &mut Packet) -> bool {
    let head = usize::from(packet.esp_at) + TEXT_AT;
    let text_end = packet.frame.len().saturating_sub(ICV_OCTETS);
    let Some(text) = packet.frame.bytes().get(head..text_end) else { return false };
    let Ok(trailer) = Trailer::of(text) else { return false };
    if trailer.next_header != protocol::IPV4 {
        return false;
    }
    let Some((key, inner)) = packet::read(&text[..trailer.payload_octets], Door::Sa) else { return false };
    let Some(ecn) = decap::arriving_ecn(packet.head.traffic_class & 3, inner.traffic_class & 3) else {
        return false;
    };
    let Some(sa) = core.sad.inbound(packet.sa) else { return false };
    // The stages clamp it to what the way back takes.
    if inner.is_syn && core.settings.mss_clamp || !may_carry(core, packet, &key) {
        return false;
    }
    if !packet.frame.pop_front(head) {
        return false;
    }
    // RFC 4303 §2.7: what lies beyond the inner packet's own length is TFC padding.
    packet.frame.truncate(inner.octets.into());
    (packet.key, packet.head) = (key, inner);
    if ecn != inner.traffic_class & 3 {
        packet.head.traffic_class = inner.traffic_class & !3 | ecn;
        ipv4::set_ecn(packet.frame.bytes_mut(), ecn);
    }
    packet.depth = packet.depth.saturating_add(1);
    (packet.rule, packet.came_by) = (sa.rule, sa.serial);
    true
}

/// Flows remember which SA may carry them; ESP to us is no flow, and asked about packet by packet.
fn may_carry(core: &Core, packet: &Packet, inner: &FlowKey) -> bool {
    !inner.may_be_esp()
        || core.sad.opener(packet.sa).is_some_and(|opener| opener.selector.contains(&inner.tuple()))
}
