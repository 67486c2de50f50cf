//! From a flow's plan to the port: number, wrap and seal level by level, or forward as it is.

use super::flows::FlowIndex;
use super::packet::{Head, ICV_OCTETS, Packet, TEXT_AT};
use super::plan::{self, Plan};
use super::way::HEADERS_OCTETS;
use crate::accounting::Stage;
use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::limits::TRANSMIT_QUEUE_MAX;
use crate::packet::{checksum, esp, ipv4, ipv6, protocol, udp};
use crate::settings::OuterFragmentation;
use crate::slot::Origin;
use crate::stages::encap;
use warren_aead::SealJob;

/// Takes the packets whose headers have been read to the queues of their ports.
pub(super) fn run(core: &mut Core, origin: Origin) {
    let mut packets = std::mem::take(&mut core.fast.plain);
    if !packets.is_empty() {
        let levels = find(core, &mut packets, origin);
        core.accounts.lap(Stage::FastFind, packets.len());
        for level in 0..levels {
            number(core, &mut packets, level);
            core.accounts.lap(Stage::FastNumber, packets.len());
            let sealed = seal(core, &mut packets, level);
            core.accounts.lap(Stage::FastSeal, sealed);
        }
        let sent = packets.len();
        send(core, &mut packets);
        core.accounts.lap(Stage::FastSend, sent);
    }
    core.fast.plain = packets;
}

/// Finds each packet's plan, and leaves to the stages what has none. The others pay their hop. Returns how many levels the
/// deepest has.
fn find(core: &mut Core, packets: &mut Vec<Packet>, origin: Origin) -> u8 {
    let (mut levels, mut made, mut others, mut clear) = (0, 0, 0, 0);
    for packet in packets.iter_mut() {
        let before = core.fast.plans_made;
        packet.plan = look_up(core, packet, origin);
        match packet.plan {
            Plan::Protect(_) => levels = levels.max(packet.levels),
            Plan::Clear(_) => clear += 1,
            Plan::Slow | Plan::Refused => {
                // The stages count their own look-ups.
                others += 1;
                continue;
            }
        }
        made += usize::from(core.fast.plans_made != before);
        ipv4::decrement_ttl(packet.frame.bytes_mut());
    }
    if others > 0 {
        for packet in packets.extract_if(.., |packet| matches!(packet.plan, Plan::Slow | Plan::Refused)) {
            match packet.plan {
                Plan::Refused => core.discard_frame(packet.frame, DropReason::SelectorMismatch),
                _ => core.fast.detour(packet),
            }
        }
    }
    core.counters.add(Tally::FlowMiss, made);
    core.counters.add(Tally::FlowHit, packets.len().saturating_sub(made));
    core.counters.add(Tally::Clear, clear);
    levels
}

#[inline]
fn look_up(core: &mut Core, packet: &mut Packet, origin: Origin) -> Plan {
    if !core.fast.detours.is_empty() && core.fast.detours.contains(&packet.key) {
        return Plan::Slow;
    }
    let at = match core.fast.flows.find(packet.place, &packet.key) {
        Some(at) => at,
        None => make_plan(core, packet, origin),
    };
    let Core { fast, sad, bindings, fib, berths, settings, .. } = core;
    let flow = fast.flows.at(at);
    if flow.came_by != packet.came_by {
        let opener = sad.opener(packet.sa);
        if !opener.is_some_and(|opener| opener.selector.contains(&packet.key.tuple())) {
            return Plan::Refused;
        }
        flow.came_by = packet.came_by;
    }
    let plan = flow.plan();
    let room = match plan {
        Plan::Slow | Plan::Refused => return Plan::Slow,
        Plan::Clear(egress) => {
            let Some(egress) = fast.egresses.get(egress) else { return Plan::Slow };
            packet.berth = egress.berth;
            egress.mtu
        }
        Plan::Protect(rule) => {
            let Some(way) = bindings.ready_way(rule, sad, fib, berths) else { return Plan::Slow };
            if flow.goes_by != way.serial {
                let sealer = way.level(0).and_then(|level| sad.sealer(level.sa));
                if !sealer.is_some_and(|sealer| sealer.selector.contains(&packet.key.tuple())) {
                    return Plan::Slow;
                }
                flow.goes_by = way.serial;
            }
            way.prefetch(sad);
            (packet.berth, packet.levels) = (way.berth, way.levels());
            way.room
        }
    };
    let needs_stages = packet.head.ttl <= 1
        || usize::from(packet.head.octets) > room
        || packet.head.is_syn && settings.mss_clamp;
    if needs_stages {
        fast.detours.push(packet.key);
        return Plan::Slow;
    }
    plan
}

#[cold]
fn make_plan(core: &mut Core, packet: &Packet, origin: Origin) -> FlowIndex {
    let plan = plan::make(core, &packet.key, packet.origin(origin));
    core.fast.plans_made = core.fast.plans_made.wrapping_add(1);
    core.fast.flows.insert(packet.place, packet.key, plan)
}

/// Gives a number to every packet that has such a level, in their order, and wraps it.
fn number(core: &mut Core, packets: &mut Vec<Packet>, level: u8) {
    let mut failed = false;
    for packet in packets.iter_mut().filter(|packet| packet.levels > level) {
        packet.failure = wrap(core, packet).err();
        failed |= packet.failure.is_some();
    }
    if failed {
        core.sweep_packets(packets);
    }
}

/// What is written behind a text: padding for 4-octet alignment, trailer, and room for the ICV. For IPv4 and IPv6 inside, and
/// for every length of padding; not put together for each packet, because a copy of what has just been written waits for it.
static TAILS: [[[u8; TAIL_OCTETS]; 4]; 2] = [tails(protocol::IPV4), tails(protocol::IPV6)];

const fn tails(next_header: u8) -> [[u8; TAIL_OCTETS]; 4] {
    let mut tails = [[0; TAIL_OCTETS]; 4];
    let mut pad = 0;
    while pad < 4 {
        let mut at = 0;
        while at < pad {
            tails[pad][at] = at as u8 + 1;
            at += 1;
        }
        tails[pad][pad] = pad as u8;
        tails[pad][pad + 1] = next_header;
        pad += 1;
    }
    tails
}

/// Octets written behind a text: padding, trailer and ICV, rounded up.
const TAIL_OCTETS: usize = 24;

fn wrap(core: &mut Core, packet: &mut Packet) -> Result<(), DropReason> {
    // What has levels to be put on has all of these, or goes nowhere: it must not be sent without them.
    let Plan::Protect(rule) = packet.plan else { return Err(DropReason::NoSa) };
    let Core { bindings, sad, .. } = core;
    let level = bindings.way(rule).and_then(|way| way.level(packet.level)).ok_or(DropReason::NoSa)?;
    let sealer = sad.sealer_mut(level.sa).ok_or(DropReason::NoSa)?;
    let inner = packet.frame.len();
    let pad = (inner + esp::TRAILER_OCTETS).wrapping_neg() % 4;
    let tail = &TAILS[usize::from(packet.is_ipv6)][pad];
    let headers = (&level.headers, usize::from(level.octets));
    // Before a number is spent on it.
    let enclosed = packet.frame.enclose(headers, (tail, pad + esp::TRAILER_OCTETS + ICV_OCTETS));
    let headers = enclosed.ok_or(DropReason::NoRoom)?;
    let (sequence, limit) = sealer.number(inner, core.stamp);
    packet.sequence = sequence.unwrap_or_default();
    (packet.sa, packet.esp_at) = (level.sa, level.esp_at);
    packet.level += 1;
    packet.is_ipv6 = level.is_ipv6;
    packet.head.dont_fragment = level.is_ipv6
        || match core.settings.outer_fragmentation {
            OuterFragmentation::CopyDontFragment => packet.head.dont_fragment,
            OuterFragmentation::SetDontFragment => true,
            OuterFragmentation::ClearDontFragment => false,
        };
    let esp_octets = inner + pad + esp::TRAILER_OCTETS + ICV_OCTETS + TEXT_AT;
    headers[NUMBER_AT..][..4].copy_from_slice(&(packet.sequence as u32).to_be_bytes());
    if level.is_ipv6 {
        fill_in_ipv6(headers, packet.head, esp_octets);
    } else {
        core.ipv4_id = core.ipv4_id.wrapping_add(1);
        if level.in_udp {
            let octets = (esp_octets + udp::HEADER_OCTETS) as u16;
            headers[ESP_AT - 4..][..2].copy_from_slice(&octets.to_be_bytes());
            fill_in_ipv4::<{ ESP_AT - udp::HEADER_OCTETS }>(
                headers,
                level.sum,
                packet.head,
                esp_octets,
                core.ipv4_id,
            );
        } else {
            fill_in_ipv4::<ESP_AT>(headers, level.sum, packet.head, esp_octets, core.ipv4_id);
        }
    }
    if let Some(limit) = limit {
        encap::report_limit(core, packet.sa, limit);
    }
    if sequence.is_some() { Ok(()) } else { Err(DropReason::SaExpired) }
}

/// Where ESP begins in headers made ready: they end where the text begins.
const ESP_AT: usize = HEADERS_OCTETS - TEXT_AT;
/// Where its sequence number is.
const NUMBER_AT: usize = ESP_AT + 4;

/// What differs from packet to packet in an IPv4 header that ends there: length, identification, DF, traffic class, checksum.
#[inline]
fn fill_in_ipv4<const END: usize>(
    headers: &mut [u8; HEADERS_OCTETS],
    sum: u32,
    head: Head,
    esp_octets: usize,
    id: u16,
) {
    let total = (HEADERS_OCTETS - TEXT_AT - END + ipv4::HEADER_OCTETS + esp_octets) as u16;
    let flags: u16 = if head.dont_fragment { 0x4000 } else { 0 };
    let sum = sum + u32::from(head.traffic_class) + u32::from(total) + u32::from(id) + u32::from(flags);
    let sum = checksum::of_sum(sum.into());
    let header = &mut headers[END - ipv4::HEADER_OCTETS..END];
    header[1] = head.traffic_class;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[6..8].copy_from_slice(&flags.to_be_bytes());
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The same of an IPv6 header right in front of ESP: length and traffic class.
fn fill_in_ipv6(headers: &mut [u8; HEADERS_OCTETS], head: Head, esp_octets: usize) {
    let header = headers[..ESP_AT].last_chunk_mut::<{ ipv6::HEADER_OCTETS }>();
    let header = header.expect("headers made ready are longer than one of IPv6");
    ipv6::set_traffic_class(header, head.traffic_class);
    header[4..6].copy_from_slice(&(esp_octets as u16).to_be_bytes());
}

/// The AEAD over all packets that have such a level. Returns how many they were.
fn seal(core: &mut Core, packets: &mut [Packet], level: u8) -> usize {
    let mut jobs = SealJob::recycle(std::mem::take(&mut core.fast.seal_jobs));
    for packet in packets.iter_mut().filter(|packet| packet.levels > level) {
        let sealer = core.sad.sealer(packet.sa).expect("wrap has taken a number of it in this batch");
        let esn_high = sealer.esn.then_some((packet.sequence >> 32) as u32);
        let at = usize::from(packet.esp_at);
        jobs.push(SealJob::new(&sealer.key, packet.sequence, esn_high, &mut packet.frame.bytes_mut()[at..]));
    }
    warren_aead::seal(&mut jobs);
    let sealed = jobs.len();
    core.counters.add(Tally::Sealed, sealed);
    core.fast.seal_jobs = SealJob::recycle(jobs);
    sealed
}

/// Into the queues of the ports, in the order in which they came.
fn send(core: &mut Core, packets: &mut Vec<Packet>) {
    if core.accounts.is_sampled() {
        for packet in packets.iter() {
            core.accounts.levels(packet.level.into(), packet.depth.into(), 1);
        }
    }
    for mut packet in packets.drain(..) {
        let addressed = match packet.plan {
            Plan::Clear(egress) => core
                .fast
                .egresses
                .get(egress)
                .is_some_and(|egress| packet.frame.prepend(&egress.header, egress.octets)),
            // Its outermost level has the link header.
            _ => true,
        };
        match core.berths.get_mut(usize::from(packet.berth)) {
            Some(berth) if addressed && berth.queue.len() < TRANSMIT_QUEUE_MAX => {
                berth.queue.push(packet.frame);
            }
            Some(_) if addressed => core.discard_frame(packet.frame, DropReason::TransmitFull),
            _ => core.discard_frame(packet.frame, DropReason::NoRoom),
        }
    }
}
