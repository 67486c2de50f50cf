//! From a flow's plan to the port: number, wrap and seal level by level, or forward as it is.

use super::Batch;
use super::flows::{Flow, FlowIndex};
use super::packet::{Fate, Head, ICV_OCTETS, Packet, TEXT_AT};
use super::plan::{self, EgressIndex, PackedPlan, Plan};
use super::way::{HEADERS_OCTETS, Level};
use crate::accounting::Stage;
use crate::bindings::Bindings;
use crate::core::Core;
use crate::counters::Tally;
use crate::drop_reason::DropReason;
use crate::meter::Stamp;
use crate::packet::{checksum, esp, ipv4, ipv6, protocol, udp};
use crate::sad::{Limit, SaIndex, Sad, Sealer};
use crate::settings::OuterFragmentation;
use crate::slot::Origin;
use crate::stages::encap;
use warren_aead::SealJob;
use warren_port::Frame;

/// Decides what becomes of the packets whose headers have been read, and protects those that are to be.
pub(super) fn run(core: &mut Core, batch: &mut Batch<'_>, origin: Origin) {
    let packets = batch.packets.len();
    find(core, batch, origin);
    let levels = route(core, batch);
    core.accounts.lap(Stage::FastFind, packets);
    for level in 0..levels {
        number(core, batch, level);
        core.accounts.lap(Stage::FastNumber, packets);
        let sealed = seal(core, batch, level);
        core.accounts.lap(Stage::FastSeal, sealed);
    }
}

/// Where packets of one plan go: that of the last packet, because the next often has the same one.
#[derive(Clone, Copy)]
struct Route {
    plan: PackedPlan,
    /// The SA of the first level among all that ever were; 0 where nothing is protected.
    serial: u32,
    /// Octets of the largest packet that needs no stages.
    room: u32,
    berth: u16,
    levels: u8,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Slow,
    Clear(EgressIndex),
    Protect,
}

impl Route {
    /// To the stages.
    const SLOW: Self =
        Self { plan: PackedPlan::SLOW, serial: 0, room: 0, berth: 0, levels: 0, kind: Kind::Slow };

    /// What the tables say of a plan now. The memory of its first SA is asked for.
    fn of(plan: PackedPlan, core: &mut Core) -> Self {
        let slow = Self { plan, ..Self::SLOW };
        let Core { fast, sad, bindings, fib, berths, .. } = core;
        match plan.unpacked() {
            Plan::Slow => slow,
            Plan::Clear(index) => fast.egresses.get(index).map_or(slow, |egress| Self {
                room: egress.mtu as u32,
                berth: egress.berth,
                kind: Kind::Clear(index),
                ..slow
            }),
            Plan::Protect(rule) => bindings.ready_way(rule, sad, fib, berths).map_or(slow, |way| {
                way.prefetch_sas(sad);
                Self {
                    plan,
                    serial: way.serial,
                    room: way.room,
                    berth: way.berth,
                    levels: way.levels(),
                    kind: Kind::Protect,
                }
            }),
        }
    }

    #[inline]
    fn fits(&self, head: Head, clamps: bool) -> bool {
        u32::from(head.octets) <= self.room && head.ttl > 1 && !(head.is_syn && clamps)
    }
}

/// Finds each packet's plan. What its rule says is asked for.
fn find(core: &mut Core, batch: &mut Batch<'_>, origin: Origin) {
    let mut last = PackedPlan::SLOW;
    for packet in batch.packets.iter_mut().filter(|packet| packet.fate == Fate::Plain) {
        let found = core.fast.flows.find(packet.place, &packet.key);
        packet.is_new = found.is_none();
        let at = found.unwrap_or_else(|| make_plan(core, packet, origin));
        let Flow { plan, came_by, goes_by, .. } = *core.fast.flows.at(at);
        (packet.plan, packet.goes_by) = (plan, goes_by);
        if came_by != packet.came_by && !may_have_come(core, at, packet) {
            packet.fate = Fate::Dropped(DropReason::SelectorMismatch);
        } else if plan != last {
            last = plan;
            if let Plan::Protect(rule) = plan.unpacked() {
                core.bindings.prefetch_way(rule);
            }
        }
    }
}

/// Finds where each packet's plan leads, and leaves to the stages what leads nowhere from here. The others pay their hop.
/// Returns how many levels the deepest has.
fn route(core: &mut Core, batch: &mut Batch<'_>) -> u8 {
    let (mut levels, mut made, mut fast, mut clear) = (0, 0, 0, 0);
    let mut route = Route::SLOW;
    let clamps = core.settings.mss_clamp;
    for (frame, packet) in batch.iter_mut().filter(|(_, packet)| packet.fate == Fate::Plain) {
        packet.fate = Fate::Detour;
        if !core.fast.detours.is_empty() && core.fast.detours.contains(&packet.key) {
            continue;
        }
        if packet.plan != route.plan {
            route = Route::of(packet.plan, core);
        }
        if route.kind == Kind::Slow || packet.goes_by != route.serial && !may_go(core, packet, route) {
            continue;
        }
        if !route.fits(packet.head, clamps) {
            core.fast.detours.push(packet.key);
            continue;
        }
        ipv4::decrement_ttl(frame.bytes_mut());
        (packet.berth, packet.levels) = (route.berth, route.levels);
        packet.fate = match route.kind {
            Kind::Protect => {
                levels = levels.max(route.levels);
                Fate::Leaves
            }
            Kind::Clear(egress) => {
                clear += 1;
                address(core, frame, egress)
            }
            Kind::Slow => Fate::Detour,
        };
        // The stages count their own look-ups.
        fast += 1;
        made += usize::from(packet.is_new);
    }
    core.counters.add(Tally::FlowMiss, made);
    core.counters.add(Tally::FlowHit, fast - made);
    core.counters.add(Tally::Clear, clear);
    levels
}

/// What leaves in clear gets its link header.
fn address(core: &Core, frame: &mut Frame, egress: EgressIndex) -> Fate {
    let egress = core.fast.egresses.get(egress);
    match egress.is_some_and(|egress| frame.prepend(&egress.header, egress.octets)) {
        true => Fate::Leaves,
        false => Fate::Dropped(DropReason::NoRoom),
    }
}

/// Whether the SA that a packet came out of may carry its flow, which remembers that it may.
#[cold]
fn may_have_come(core: &mut Core, at: FlowIndex, packet: &Packet) -> bool {
    let opener = core.sad.opener(packet.sa);
    let may = opener.is_some_and(|opener| opener.selector.contains(&packet.key.tuple()));
    if may {
        core.fast.flows.at(at).came_by = packet.came_by;
    }
    may
}

/// The same of the SA that it is to go by. What that was not negotiated for is for the stages to refuse.
#[cold]
fn may_go(core: &mut Core, packet: &Packet, route: Route) -> bool {
    let Plan::Protect(rule) = packet.plan.unpacked() else { return true };
    let Core { fast, sad, bindings, .. } = core;
    let sealer = bindings.way(rule).and_then(|way| way.level(0)).and_then(|level| sad.sealer(level.sa));
    let may = sealer.is_some_and(|sealer| sealer.selector.contains(&packet.key.tuple()));
    // Others of this batch may have taken its place meanwhile.
    if let Some(at) = fast.flows.find(packet.place, &packet.key).filter(|_| may) {
        fast.flows.at(at).goes_by = route.serial;
    }
    may
}

#[cold]
fn make_plan(core: &mut Core, packet: &Packet, origin: Origin) -> FlowIndex {
    let plan = plan::make(core, &packet.key, packet.origin(origin));
    core.fast.flows.insert(packet.place, packet.key, plan)
}

/// Gives a number to every packet that has such a level, in their order, and wraps it. The memory of the keys is asked for.
fn number(core: &mut Core, batch: &mut Batch<'_>, level: u8) {
    let Core { bindings, sad, stamp, ipv4_id, settings, fast, .. } = core;
    let mut limits = std::mem::take(&mut fast.limits);
    // Of the last packet, because the next often has the same one.
    let mut last: Option<Numbering<'_>> = None;
    for (frame, packet) in batch.iter_mut() {
        if packet.levels <= level {
            continue;
        }
        if last.as_ref().is_none_or(|last| last.plan != packet.plan) {
            if let Some(last) = last.take() {
                last.publish(*stamp);
            }
            last = Numbering::begin(packet.plan, level, bindings, sad);
        }
        let Some(Numbering { level, sealer, has_begun, .. }) = &mut last else {
            // What has levels to be put on has all of these, or goes nowhere: it must not be sent without them.
            packet.drop_for(DropReason::NoSa);
            continue;
        };
        // Changed in a copy: what has just been written in part would be waited for when it is read whole.
        let mut head = packet.head;
        head.dont_fragment = level.is_ipv6
            || match settings.outer_fragmentation {
                OuterFragmentation::CopyDontFragment => head.dont_fragment,
                OuterFragmentation::SetDontFragment => true,
                OuterFragmentation::ClearDontFragment => false,
            };
        *ipv4_id = ipv4_id.wrapping_add(1);
        let (wrapped, limit) = wrap(frame, packet, (head, *ipv4_id), level, sealer);
        match wrapped {
            Ok(()) => *has_begun = true,
            Err(reason) => packet.drop_for(reason),
        }
        limits.extend(limit.map(|limit| (level.sa, limit)));
        packet.head.dont_fragment = head.dont_fragment;
    }
    if let Some(last) = last {
        last.publish(*stamp);
    }
    limits.drain(..).for_each(|(sa, limit)| encap::report_limit(core, sa, limit));
    core.fast.limits = limits;
}

/// A level, and the SA that gives the numbers there.
struct Numbering<'t> {
    plan: PackedPlan,
    level: &'t Level,
    sealer: &'t mut Sealer,
    /// It has given one.
    has_begun: bool,
}

impl<'t> Numbering<'t> {
    #[inline]
    fn begin(plan: PackedPlan, level: u8, bindings: &'t Bindings, sad: &'t mut Sad) -> Option<Self> {
        let Plan::Protect(rule) = plan.unpacked() else { return None };
        let level = bindings.way(rule)?.level(level)?;
        let sealer = sad.sealer_mut(level.sa)?;
        sealer.key.prefetch();
        Some(Self { plan, level, sealer, has_begun: false })
    }

    #[inline]
    fn publish(self, stamp: Stamp) {
        if self.has_begun {
            self.sealer.publish(stamp);
        }
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

/// Numbers a packet and puts headers and trailer around it. Either way what has to be reported of its SA.
#[inline]
fn wrap(
    frame: &mut Frame,
    packet: &mut Packet,
    (head, ipv4_id): (Head, u16),
    level: &Level,
    sealer: &mut Sealer,
) -> (Result<(), DropReason>, Option<Limit>) {
    let inner = frame.len();
    let pad = (inner + esp::TRAILER_OCTETS).wrapping_neg() % 4;
    let tail = &TAILS[usize::from(packet.is_ipv6)][pad];
    let headers = (&level.headers, usize::from(level.octets));
    // Before a number is spent on it.
    let enclosed = frame.enclose::<_, IV_OCTETS, _>(headers, (tail, pad + esp::TRAILER_OCTETS + ICV_OCTETS));
    let Some(headers) = enclosed else { return (Err(DropReason::NoRoom), None) };
    let (sequence, limit) = sealer.number(inner);
    let Some(sequence) = sequence else { return (Err(DropReason::SaExpired), limit) };
    packet.sequence = sequence;
    (packet.sa, packet.esp_at, packet.is_ipv6) = (level.sa, level.esp_at, level.is_ipv6);
    let esp_octets = inner + pad + esp::TRAILER_OCTETS + ICV_OCTETS + TEXT_AT;
    headers[NUMBER_AT..][..4].copy_from_slice(&(packet.sequence as u32).to_be_bytes());
    if level.is_ipv6 {
        fill_in_ipv6(headers, head, esp_octets);
    } else if level.in_udp {
        let octets = (esp_octets + udp::HEADER_OCTETS) as u16;
        headers[ESP_AT - 4..][..2].copy_from_slice(&octets.to_be_bytes());
        const END: usize = ESP_AT - udp::HEADER_OCTETS;
        fill_in_ipv4::<END>(headers, level.sum, head, esp_octets, ipv4_id);
    } else {
        fill_in_ipv4::<ESP_AT>(headers, level.sum, head, esp_octets, ipv4_id);
    }
    (Ok(()), limit)
}

/// Between them and the text.
const IV_OCTETS: usize = TEXT_AT - esp::HEADER_OCTETS;
/// Where ESP begins in headers made ready: they end where its IV begins.
const ESP_AT: usize = HEADERS_OCTETS - esp::HEADER_OCTETS;
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
    let total = (ESP_AT - END + ipv4::HEADER_OCTETS + esp_octets) as u16;
    let flags: u16 = if head.dont_fragment { 0x4000 } else { 0 };
    let sum = sum + u32::from(head.traffic_class) + u32::from(total) + u32::from(id) + u32::from(flags);
    let sum = checksum::of_sum(sum);
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
fn seal(core: &mut Core, batch: &mut Batch<'_>, level: u8) -> usize {
    let mut jobs = SealJob::recycle(std::mem::take(&mut core.fast.seal_jobs));
    let mut last: Option<(SaIndex, &Sealer)> = None;
    for (frame, packet) in batch.iter_mut() {
        if packet.levels <= level {
            continue;
        }
        let sealer = match last {
            Some((sa, sealer)) if sa == packet.sa => sealer,
            _ => core.sad.sealer(packet.sa).expect("wrap has taken a number of it in this batch"),
        };
        last = Some((packet.sa, sealer));
        let esn_high = sealer.usage.esn.then_some((packet.sequence >> 32) as u32);
        let esp = &mut frame.bytes_mut()[usize::from(packet.esp_at)..];
        jobs.push(SealJob::new(&sealer.key, packet.sequence, esn_high, esp));
    }
    warren_aead::seal(&mut jobs);
    let sealed = jobs.len();
    core.counters.add(Tally::Sealed, sealed);
    core.fast.seal_jobs = SealJob::recycle(jobs);
    sealed
}
