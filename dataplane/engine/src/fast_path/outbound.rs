//! From a flow's plan to the port: number, wrap and seal level by level, or forward as it is.

use super::packet::Packet;
use super::plan::{self, Plan};
use super::way::{HEADERS_OCTETS, Level, Way};
use crate::accounting::Stage;
use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::limits::TRANSMIT_QUEUE_MAX;
use crate::packet::{esp, ipv4, ipv6, protocol, udp};
use crate::settings::OuterFragmentation;
use crate::stages::encap;
use warren_aead::SealJob;
use warren_policy::RuleId;

/// Takes the packets whose headers have been read to the queues of their ports.
pub(super) fn run(core: &mut Core) {
    let mut packets = std::mem::take(&mut core.fast.plain);
    if !packets.is_empty() {
        let levels = find(core, &mut packets);
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

/// Finds each packet's plan, and leaves to the stages what has none. Returns how many levels the deepest has.
fn find(core: &mut Core, packets: &mut Vec<Packet>) -> usize {
    let (mut levels, mut made, mut others) = (0, 0, 0);
    for packet in packets.iter_mut() {
        let before = core.fast.plans_made;
        packet.plan = look_up(core, packet);
        // The stages count their own look-ups.
        let counts = usize::from(core.fast.plans_made != before);
        match packet.plan {
            Plan::Protect(rule) => {
                made += counts;
                packet.rule = rule;
                levels = levels.max(core.bindings.way(rule).map_or(0, Way::levels));
            }
            Plan::Clear(_) => made += counts,
            Plan::Slow | Plan::Refused => others += 1,
        }
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
    levels
}

fn look_up(core: &mut Core, packet: &Packet) -> Plan {
    if !core.fast.detours.is_empty() && core.fast.detours.contains(&packet.key) {
        return Plan::Slow;
    }
    let Core { fast, sad, bindings, fib, berths, settings, .. } = core;
    let Some(flow) = fast.flows.find(packet.place, &packet.key) else {
        let plan = plan::make(core, &packet.key, packet.origin);
        core.fast.flows.insert(packet.place, packet.key, plan);
        core.fast.plans_made = core.fast.plans_made.wrapping_add(1);
        return look_up(core, packet);
    };
    if flow.came_by != packet.came_by {
        let opener = sad.opener(packet.sa);
        if !opener.is_some_and(|opener| opener.selector.contains(&packet.key.tuple())) {
            return Plan::Refused;
        }
        flow.came_by = packet.came_by;
    }
    let room = match flow.plan {
        Plan::Slow | Plan::Refused => return Plan::Slow,
        Plan::Clear(egress) => fast.egresses.get(egress).map_or(0, |egress| egress.mtu),
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
    flow.plan
}

/// Gives a number to every packet that has such a level, in their order, and wraps it. At the first level each packet,
/// protected or not, pays its hop.
fn number(core: &mut Core, packets: &mut Vec<Packet>, level: usize) {
    let mut failed = None;
    for (at, packet) in packets.iter_mut().enumerate() {
        let Plan::Protect(rule) = packet.plan else { continue };
        if level == 0 {
            pay_hop(packet);
        }
        if let Err(reason) = wrap(core, packet, rule, level) {
            failed.get_or_insert(Vec::new()).push((at, reason));
        }
    }
    // Rare enough to pay for memory: an SA at its end.
    for (at, reason) in failed.into_iter().flatten().rev() {
        let packet = packets.remove(at);
        core.discard_frame(packet.frame, reason);
    }
}

/// RFC 1812 §5.3.1, with the checksum kept right (RFC 1624): the time to live is the upper octet of its word.
#[inline]
fn pay_hop(packet: &mut Packet) {
    if packet.origin.is_transit()
        && let Some(header) = packet.frame.bytes_mut().first_chunk_mut::<{ ipv4::HEADER_OCTETS }>()
    {
        header[8] = header[8].wrapping_sub(1);
        let sum = u32::from(u16::from_be_bytes([header[10], header[11]])) + 0x100;
        header[10..12].copy_from_slice(&((sum + (sum >> 16)) as u16).to_be_bytes());
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
/// Octets of the ICV of every AEAD of RFC 4106 and RFC 7634.
const ICV_OCTETS: usize = 16;

fn wrap(core: &mut Core, packet: &mut Packet, rule: RuleId, at: usize) -> Result<(), DropReason> {
    let Core { bindings, sad, settings, .. } = core;
    let Some(level) = bindings.way(rule).and_then(|way| way.level(at)) else { return Ok(()) };
    // Checked before a number is spent on it.
    if packet.frame.headroom() < HEADERS_OCTETS || packet.frame.tailroom() < TAIL_OCTETS {
        return Err(DropReason::NoRoom);
    }
    let sealer = sad.sealer_mut(level.sa).ok_or(DropReason::NoSa)?;
    let inner = packet.frame.len();
    let sequence = sealer.number(inner, core.stamp);
    packet.sequence = sequence.unwrap_or_default();
    packet.sa = level.sa;
    packet.esp_at = level.esp_at.into();
    let pad = (inner + esp::TRAILER_OCTETS).wrapping_neg() % 4;
    let tail = &TAILS[usize::from(packet.is_ipv6)][pad];
    let wrapped = packet.frame.append(tail, pad + esp::TRAILER_OCTETS + ICV_OCTETS)
        && packet.frame.prepend(&level.headers, level.octets.into());
    if !wrapped {
        return Err(DropReason::NoRoom);
    }
    packet.head.dont_fragment = level.is_ipv6
        || match settings.outer_fragmentation {
            OuterFragmentation::CopyDontFragment => packet.head.dont_fragment,
            OuterFragmentation::SetDontFragment => true,
            OuterFragmentation::ClearDontFragment => false,
        };
    packet.is_ipv6 = level.is_ipv6;
    if !level.is_ipv6 {
        core.ipv4_id = core.ipv4_id.wrapping_add(1);
    }
    packet.level += 1;
    fill_in(packet, level, core.ipv4_id);
    let limit = sealer.due();
    if let Some(limit) = limit {
        encap::report_limit(core, packet.sa, limit);
    }
    sequence.map(|_| ()).ok_or(DropReason::SaExpired)
}

/// What differs from packet to packet: lengths, identification, DF, traffic class, checksum, and the sequence number.
fn fill_in(packet: &mut Packet, level: &Level, id: u16) {
    let (ip_at, esp_at) = (usize::from(level.ip_at), usize::from(level.esp_at));
    let octets = packet.frame.bytes_mut();
    let total = octets.len() - ip_at;
    let Some((head, esp_header)) = octets.split_at_mut_checked(esp_at) else { return };
    if let Some(number) = esp_header.get_mut(4..8) {
        number.copy_from_slice(&(packet.sequence as u32).to_be_bytes());
    }
    let Some(ip) = head.get_mut(ip_at..) else { return };
    if level.is_ipv6 {
        let Some(header) = ip.first_chunk_mut::<{ ipv6::HEADER_OCTETS }>() else { return };
        ipv6::set_traffic_class(header, packet.head.traffic_class);
        header[4..6].copy_from_slice(&((total - ipv6::HEADER_OCTETS) as u16).to_be_bytes());
        return;
    }
    if level.in_udp
        && let Some(header) =
            ip.get_mut(ipv4::HEADER_OCTETS..).and_then(<[u8]>::first_chunk_mut::<{ udp::HEADER_OCTETS }>)
    {
        header[4..6].copy_from_slice(&((total - ipv4::HEADER_OCTETS) as u16).to_be_bytes());
    }
    let Some(header) = ip.first_chunk_mut::<{ ipv4::HEADER_OCTETS }>() else { return };
    let flags: u16 = if packet.head.dont_fragment { 0x4000 } else { 0 };
    let sum =
        level.sum + u32::from(packet.head.traffic_class) + total as u32 + u32::from(id) + u32::from(flags);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[1] = packet.head.traffic_class;
    header[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[6..8].copy_from_slice(&flags.to_be_bytes());
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The AEAD over all packets that have such a level. Returns how many they were.
fn seal(core: &mut Core, packets: &mut [Packet], level: usize) -> usize {
    let mut jobs = SealJob::recycle(std::mem::take(&mut core.fast.seal_jobs));
    for packet in packets.iter_mut() {
        let Plan::Protect(rule) = packet.plan else { continue };
        if core.bindings.way(rule).is_none_or(|way| way.levels() <= level) {
            continue;
        }
        let Some(sealer) = core.sad.sealer(packet.sa) else { continue };
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
    let mut clear = 0;
    for mut packet in packets.drain(..) {
        let berth = match packet.plan {
            Plan::Protect(rule) => core.bindings.way(rule).map(|way| way.berth),
            Plan::Clear(egress) => {
                clear += 1;
                pay_hop(&mut packet);
                core.fast.egresses.get(egress).and_then(|egress| {
                    packet.frame.prepend(&egress.header, egress.octets).then_some(egress.berth)
                })
            }
            Plan::Slow | Plan::Refused => None,
        };
        match berth.and_then(|at| core.berths.get_mut(at)) {
            Some(berth) if berth.queue.len() < TRANSMIT_QUEUE_MAX => berth.queue.push(packet.frame),
            Some(_) => core.discard_frame(packet.frame, DropReason::TransmitFull),
            None => core.discard_frame(packet.frame, DropReason::NoRoom),
        }
    }
    core.counters.add(Tally::Clear, clear);
}
