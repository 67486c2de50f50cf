//! ESP to us, level by level: what comes out is another packet to find a plan for, or ESP to us again.

use super::flows::{Door, FlowKey, Place};
use super::packet::{self, Fate, ICV_OCTETS, Packet, TEXT_AT};
use super::{Batch, FastPath};
use crate::accounting::Stage;
use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::limits::STACK_DEPTH_MAX;
use crate::packet::esp::Trailer;
use crate::packet::{Summary, ipv4, protocol};
use crate::sad::{Inbound, Opener, SaIndex};
use crate::stages::{decap, open};
use std::net::SocketAddr;
use warren_aead::{OpenJob, Verdict};
use warren_port::Frame;
use warren_seam::{Carrier, Spi};

/// Takes ESP off everything that is plainly ours. What is still wrapped then is deeper than any stack may be, and the stages
/// refuse it.
pub(super) fn run(core: &mut Core, batch: &mut Batch<'_>) {
    for _ in 0..STACK_DEPTH_MAX {
        lookup(core, batch);
        let opened = open(core, batch);
        if opened == 0 {
            break;
        }
        let inner = accept(core, batch);
        core.accounts.lap(Stage::FastOpen, opened);
        if inner == 0 {
            break;
        }
    }
}

/// Leaves in the batch as ESP what an SA of ours is made for, and whose number may be new.
fn lookup(core: &mut Core, batch: &mut Batch<'_>) {
    sight(core, batch);
    recognise(core, batch);
    let mut last: Option<(SaIndex, &Inbound)> = None;
    for packet in batch.packets.iter_mut().filter(|packet| packet.fate == Fate::Esp) {
        let sa = match last {
            Some((index, sa)) if index == packet.sa => Some(sa),
            _ => {
                let found = core.sad.inbound(packet.sa);
                found
                    .and_then(|sa| sa.opener.as_deref())
                    .into_iter()
                    .for_each(|opener| opener.key.prefetch());
                found
            }
        };
        last = sa.map(|sa| (packet.sa, sa));
        match sa.and_then(|sa| number_of(sa, packet)) {
            Some(sequence) => packet.sequence = sequence,
            None => packet.fate = Fate::Detour,
        }
    }
}

/// Finds the SA that each packet names, and asks for its memory. What names none is a flow like others.
fn sight(core: &mut Core, batch: &mut Batch<'_>) {
    let Core { sad, fast, .. } = core;
    let mut last = None;
    for (frame, packet) in batch.iter_mut().filter(|(_, packet)| packet.fate == Fate::Esp) {
        let header = packet::esp_header(frame.bytes(), packet.key.protocol());
        let sighted = header.and_then(|(at, spi, low)| {
            let index = match last {
                Some((known, index)) if known == spi => index,
                _ => sad.sight_inbound(Spi(spi))?,
            };
            last = Some((spi, index));
            Some((at, low, index))
        });
        match sighted {
            Some((at, low, index)) => {
                (packet.esp_at, packet.sequence, packet.sa) = (at, low.into(), index);
            }
            None => pass(fast, packet),
        }
    }
}

/// Holds what each packet looks like from outside against what packets of that SA do, and asks for the memory of its state. What
/// looks otherwise is a flow like others.
fn recognise(core: &mut Core, batch: &mut Batch<'_>) {
    let Core { sad, fast, .. } = core;
    let mut last = None;
    for packet in batch.packets.iter_mut().filter(|packet| packet.fate == Fate::Esp) {
        let sighting = (packet.key, packet.sa);
        if last != Some(sighting) {
            let sa = sad.inbound(packet.sa);
            let sa = sa.filter(|sa| sa.plain.is_some_and(|plain| plain.is_headed_like(&packet.key)));
            let Some(sa) = sa else {
                if packet.depth == 0 {
                    pass(fast, packet);
                } else {
                    // Which SA it came out of is not known any more, and the stages do not need it.
                    packet.fate = Fate::Detour;
                }
                continue;
            };
            sa.opener.as_deref().into_iter().for_each(Opener::prefetch);
            last = Some(sighting);
        }
    }
}

/// Not for us: a flow like others.
fn pass(fast: &FastPath, packet: &mut Packet) {
    packet.place = fast.flows.locate(&packet.key);
    packet.fate = Fate::Plain;
}

/// The whole number of a packet; `None` when the stages have to say why it may not be opened.
#[inline]
fn number_of(sa: &Inbound, packet: &Packet) -> Option<u64> {
    let carrier = if packet.depth == 0 { Carrier::Network } else { Carrier::Rule(packet.rule) };
    let opener = sa.opener.as_deref()?;
    if sa.carrier != carrier || opener.usage.is_exhausted() {
        return None;
    }
    // What was read of it is its lower half.
    let low = packet.sequence;
    let sequence = if opener.usage.esn { opener.window.infer(low as u32) } else { Some(low) };
    sequence.filter(|&sequence| opener.window.check(sequence))
}

/// Integrity check and decryption. Returns how many packets were opened.
fn open(core: &mut Core, batch: &mut Batch<'_>) -> usize {
    let mut jobs = OpenJob::recycle(std::mem::take(&mut core.fast.open_jobs));
    let mut last: Option<(SaIndex, &Opener)> = None;
    let ours = batch.frames.iter_mut().zip(batch.packets.iter());
    for (frame, packet) in ours.filter(|(_, packet)| packet.fate == Fate::Esp) {
        let opener = match last {
            Some((sa, opener)) if sa == packet.sa => opener,
            _ => core.sad.opener(packet.sa).expect("lookup keeps only packets of our own SAs"),
        };
        last = Some((packet.sa, opener));
        let esn_high = opener.usage.esn.then_some((packet.sequence >> 32) as u32);
        let at = usize::from(packet.esp_at);
        jobs.push(OpenJob::new(&opener.key, esn_high, &mut frame.bytes_mut()[at..]));
    }
    warren_aead::open(&mut jobs);
    let count = jobs.len();
    let opened = batch.packets.iter_mut().filter(|packet| packet.fate == Fate::Esp);
    opened.zip(&jobs).for_each(|(packet, job)| packet.verdict = job.verdict);
    core.fast.open_jobs = OpenJob::recycle(jobs);
    count
}

/// The second look at the window. Then the outer headers come off; what is not a plain packet inside goes on in the stages,
/// behind their own `accept`. Returns how many packets may be ESP to us again.
fn accept(core: &mut Core, batch: &mut Batch<'_>) -> usize {
    let (mut inner, mut accepted) = (0, 0);
    let (mut last, mut place) = (FlowKey::NONE, Place::NONE);
    for (frame, packet) in batch.iter_mut().filter(|(_, packet)| packet.fate == Fate::Esp) {
        if let Err(reason) = judge(core, frame.len(), packet) {
            packet.fate = Fate::Dropped(reason);
            continue;
        }
        accepted += 1;
        if !unwrap(core, frame, packet) {
            core.fast.detours.extend(inner_flow(frame, packet));
            packet.fate = Fate::Opened;
        } else if packet.key.may_be_esp() {
            inner += 1;
        } else {
            if packet.key != last {
                (last, place) = (packet.key, core.fast.flows.locate(&packet.key));
            }
            (packet.place, packet.fate) = (place, Fate::Plain);
        }
    }
    core.counters.add(Tally::Opened, accepted);
    inner
}

#[inline]
fn judge(core: &mut Core, octets: usize, packet: &Packet) -> Result<(), DropReason> {
    if packet.verdict != Verdict::Authentic {
        open::proven(core, packet.sa, packet.verdict)?;
    }
    let from = || SocketAddr::new(packet.key.source().into(), packet.key.source_port());
    // What is no such packet, the AEAD has found malformed.
    let octets = octets.saturating_sub(usize::from(packet.esp_at) + TEXT_AT + ICV_OCTETS);
    open::accept_number(core, packet.sa, packet.sequence, octets, from)
}

/// The flow of what an opened packet holds, where it can be seen.
fn inner_flow(frame: &Frame, packet: &Packet) -> Option<FlowKey> {
    let text = frame.bytes().get(usize::from(packet.esp_at) + TEXT_AT..)?;
    FlowKey::of(&Summary::of(text).ok()?.tuple, Door::Sa)
}

/// Whether it was done; else nothing is changed.
#[inline]
fn unwrap(core: &Core, frame: &mut Frame, packet: &mut Packet) -> bool {
    let head = usize::from(packet.esp_at) + TEXT_AT;
    let text_end = frame.len().saturating_sub(ICV_OCTETS);
    let Some(text) = frame.bytes().get(head..text_end) else { return false };
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
    // RFC 4303 §2.7: what lies beyond the inner packet's own length is TFC padding.
    if !frame.crop(head, inner.octets.into()) {
        return false;
    }
    (packet.key, packet.head) = (key, inner);
    if ecn != inner.traffic_class & 3 {
        packet.head.traffic_class = inner.traffic_class & !3 | ecn;
        ipv4::set_ecn(frame.bytes_mut(), ecn);
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
