//! The security association database of one worker (RFC 4301 §4.4.2): inbound by SPI, outbound by control's name.
//!
//! Every worker knows every SA's shape, so that it can say whose packet this is and how large a packet may be; only
//! the owner holds the keys. What each packet touches stands together, in front of what only events touch.

use crate::fast_path::{Door, FlowKey};
use crate::fib::Fib;
use crate::limits::{NAT_TRAVERSAL_PORT, PAYLOAD_OCTETS_END};
use crate::meter::{Meter, Stamp};
use crate::mtu::Shape;
use crate::packet::{Summary, isakmp};
use crate::replay::ReplayWindow;
use hashbrown::HashMap;
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use warren_aead::{OpeningKey, SealingKey};
use warren_port::{prefetch, prefetch_whole};
use warren_seam::{Carrier, Encapsulation, RuleId, SaId, SaMode, Selector, Spi, Volume};

/// An index into one of the tables; good for one turn of the worker.
pub(crate) type SaIndex = u32;

/// Which worker, by its place.
pub(crate) type WorkerIndex = u16;

/// An SA that protects what comes to us.
#[repr(align(64))]
pub(crate) struct Inbound {
    /// What the outer header of its packets looks like, where the fast path may open them.
    pub(crate) plain: Option<FlowKey>,
    /// Its number among all SAs that this worker ever had, from 1.
    pub(crate) serial: u32,
    /// Outer addresses and encapsulation that its packets must have.
    pub(crate) shape: Shape,
    /// Our SPI.
    pub(crate) spi: Spi,
    /// The rule it was made for.
    pub(crate) rule: RuleId,
    /// What its packets come out of.
    pub(crate) carrier: Carrier,
    /// Who has the keys.
    pub(crate) owner: WorkerIndex,
    /// Largest packet that the way back through the tunnel takes, for the MSS of TCP.
    pub(crate) mtu: usize,
    /// Control's name.
    pub(crate) id: SaId,
    /// Keys and state; only its owner has them.
    pub(crate) opener: Option<Box<Opener>>,
}

/// What the owner of an inbound SA works with: what each packet needs in two cache lines.
#[repr(C, align(64))]
pub(crate) struct Opener {
    /// The key, expanded.
    pub(crate) key: OpeningKey,
    /// The window of numbers seen.
    pub(crate) window: ReplayWindow,
    /// What it has done, and what it may still do.
    pub(crate) usage: Usage,
    /// Packets accepted.
    pub(crate) packets: u64,
    /// The first authentic packet has been reported.
    pub(crate) first_reported: bool,
    /// Where the last report said that the peer is.
    pub(crate) seen: SocketAddr,
    /// What may come out of it.
    pub(crate) selector: Selector,
}

/// An SA that protects what we send.
pub(crate) struct Outbound {
    /// Its number among all SAs that this worker ever had, from 1.
    pub(crate) serial: u32,
    /// Outer addresses, encapsulation, transform.
    pub(crate) shape: Shape,
    /// The peer's SPI.
    pub(crate) spi: Spi,
    /// Who has the keys.
    pub(crate) owner: WorkerIndex,
    /// Control's name.
    pub(crate) id: SaId,
    /// Packets of control's that are on their way to it, perhaps.
    pub(crate) holds: u32,
    /// It has been removed, and is here only for them.
    pub(crate) is_gone: bool,
    /// Keys and state; only its owner has them, and keeps them apart: [`Sad::sealer`].
    pub(crate) sealer: Option<Box<Sealer>>,
}

impl Opener {
    /// Tells the rest of the world what it has done.
    #[inline]
    pub(crate) fn publish(&self, stamp: Stamp) {
        self.usage.meter.publish(self.packets, self.usage.octets, self.window.highest(), stamp);
    }

    /// Asks for its memory, but for its key's.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(self);
        prefetch(&self.usage);
    }
}

/// What the owner of an outbound SA works with: what each packet needs in one cache line.
#[repr(C, align(64))]
pub(crate) struct Sealer {
    /// The key, expanded.
    pub(crate) key: SealingKey,
    /// Last sequence number used.
    pub(crate) sequence: u64,
    /// What it has done, and what it may still do.
    pub(crate) usage: Usage,
    /// What may go into it.
    pub(crate) selector: Selector,
}

/// Of other CPUs no key is expanded here, and nobody has measured.
const IS_MEASURED: bool = cfg!(target_arch = "x86_64");
const _: () = assert!(
    !IS_MEASURED || offset_of!(Sealer, usage) + offset_of!(Usage, volume) == 64,
    "a packet needs one line of the SA it goes into"
);
const _: () = assert!(
    !IS_MEASURED || offset_of!(Opener, usage) == 64,
    "a packet needs two lines of the SA it comes out of"
);

/// What an SA has protected, and its limits.
#[repr(C)]
pub(crate) struct Usage {
    octets: u64,
    /// What the rest of the world can see of it.
    pub(crate) meter: Arc<Meter>,
    /// Packets that bring it to no limit, however large they are. 0 is right at any time: then the limits are looked at.
    calm: u32,
    /// 64-bit sequence numbers.
    pub(crate) esn: bool,
    soft_reported: bool,
    hard_reported: bool,
    volume: Volume,
}

/// A limit that has to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Time for a successor.
    Soft,
    /// No further packet.
    Hard,
}

impl Usage {
    /// Nothing used yet.
    #[must_use]
    pub(crate) fn new(volume: Volume, esn: bool, meter: Arc<Meter>) -> Self {
        Self { octets: 0, meter, calm: 0, esn, soft_reported: false, hard_reported: false, volume }
    }

    /// Whether the volume is used up.
    #[inline]
    #[must_use]
    pub(crate) const fn is_exhausted(&self) -> bool {
        self.calm == 0 && self.octets >= self.volume.hard_octets
    }

    /// Takes note of a packet's payload. What has to be reported now, each once; an event that is lost is asked for again by
    /// [`Usage::forget`].
    #[inline]
    pub(crate) fn add(&mut self, octets: usize) -> Option<Limit> {
        self.octets = self.octets.saturating_add(octets as u64);
        if self.calm > 0 {
            self.calm -= 1;
            return None;
        }
        self.look(false, false, u64::MAX)
    }

    /// The same where a limit may be near: `soft` and `hard` say that the caller's own is reached, and until the next of those
    /// so many packets may come.
    #[cold]
    fn look(&mut self, soft: bool, hard: bool, packets: u64) -> Option<Limit> {
        let limit = self.due(soft, hard);
        let Volume { soft_octets, hard_octets } = self.volume;
        let next = match (self.hard_reported, self.soft_reported) {
            (true, _) => 0,
            (_, true) => hard_octets,
            _ => soft_octets.min(hard_octets),
        };
        let of_volume = next.saturating_sub(self.octets).saturating_sub(1) / PAYLOAD_OCTETS_END;
        self.calm = u32::try_from(of_volume.min(packets)).unwrap_or(u32::MAX);
        limit
    }

    fn due(&mut self, soft: bool, hard: bool) -> Option<Limit> {
        if !self.hard_reported && (hard || self.is_exhausted()) {
            self.hard_reported = true;
            // Nobody needs a warning of what has happened.
            self.soft_reported = true;
            return Some(Limit::Hard);
        }
        if !self.soft_reported && (soft || self.octets >= self.volume.soft_octets) {
            self.soft_reported = true;
            return Some(Limit::Soft);
        }
        None
    }

    /// The report did not get through: it is due again.
    pub(crate) fn forget(&mut self, limit: Limit) {
        match limit {
            Limit::Soft => self.soft_reported = false,
            Limit::Hard => self.hard_reported = false,
        }
        self.calm = 0;
    }
}

impl Inbound {
    /// Looks again whether the fast path may open its packets: whole IPv4 packets in tunnel mode under an AEAD, from where the
    /// peer is known to be, to an address that is ours.
    pub(crate) fn expect(&mut self, fib: &Fib) {
        self.plain = self.expected(fib);
    }

    fn expected(&self, fib: &Fib) -> Option<FlowKey> {
        let shape = &self.shape;
        let tuple = shape.arriving();
        let is_looked_for = match shape.encapsulation {
            Encapsulation::Raw => true,
            // Others than 4500 are looked for by the stages alone, and from 500 comes discovery.
            Encapsulation::Udp { local_port, remote_port } => {
                local_port == NAT_TRAVERSAL_PORT && remote_port != isakmp::PORT
            }
        };
        let is_plain = shape.mode == SaMode::Tunnel
            && shape.transform.is_aead()
            && is_looked_for
            && fib.is_local(shape.local)
            && !Summary::is_martian_tuple(&tuple)
            && !Summary::is_multicast_tuple(&tuple);
        FlowKey::of(&tuple, Door::Outside).filter(|_| is_plain)
    }
}

impl Sealer {
    /// Tells the rest of the world what it has done.
    #[inline]
    pub(crate) fn publish(&self, stamp: Stamp) {
        self.usage.meter.publish(self.sequence, self.usage.octets, self.sequence, stamp);
    }

    /// The last number this SA may use: it must never wrap (RFC 4303 §3.3.3, REQUIREMENTS F-17).
    #[must_use]
    pub(crate) const fn sequence_max(&self) -> u64 {
        if self.usage.esn { u64::MAX } else { u32::MAX as u64 }
    }

    /// The next number, for a packet with so many octets inside: none ever twice, and `None` when there is none left. And what
    /// has to be reported of the SA now. The caller tells the meter.
    #[inline]
    pub(crate) fn number(&mut self, octets: usize) -> (Option<u64>, Option<Limit>) {
        if self.usage.calm == 0 {
            return self.number_near_a_limit(octets);
        }
        self.usage.calm -= 1;
        self.usage.octets = self.usage.octets.saturating_add(octets as u64);
        self.sequence += 1;
        (Some(self.sequence), None)
    }

    #[cold]
    fn number_near_a_limit(&mut self, octets: usize) -> (Option<u64>, Option<Limit>) {
        let sequence = if self.is_hard() || self.usage.is_exhausted() {
            None
        } else {
            self.usage.octets = self.usage.octets.saturating_add(octets as u64);
            self.sequence += 1;
            Some(self.sequence)
        };
        let next = if self.is_soft() { self.sequence_max() } else { self.soft_sequence() };
        let packets = next.saturating_sub(self.sequence).saturating_sub(1);
        (sequence, self.usage.look(self.is_soft(), self.is_hard(), packets))
    }

    /// Whether three quarters of the numbers are used.
    #[must_use]
    pub(crate) const fn is_soft(&self) -> bool {
        self.sequence >= self.soft_sequence()
    }

    const fn soft_sequence(&self) -> u64 {
        self.sequence_max() / 4 * 3
    }

    /// Whether all numbers are used.
    #[must_use]
    pub(crate) const fn is_hard(&self) -> bool {
        self.sequence >= self.sequence_max()
    }
}

#[derive(Clone, Copy)]
enum Place {
    Inbound(SaIndex),
    Outbound(SaIndex),
}

/// A removed SA, on its way back to control, where dropping it wipes its keys.
#[expect(dead_code, reason = "they are carried to be dropped, never to be read")]
pub(crate) enum Removed {
    /// It protected what came to us.
    Inbound(Inbound),
    /// It protected what we sent.
    Outbound(Outbound),
}

/// All SAs, as one worker knows them.
#[derive(Default)]
pub(crate) struct Sad {
    inbound: Vec<Option<Inbound>>,
    outbound: Vec<Option<Outbound>>,
    /// Keys and state of outbound SAs that are ours, in the same places: what a packet needs without what only events need.
    sealers: Vec<Option<Box<Sealer>>>,
    by_spi: HashMap<Spi, SaIndex>,
    by_id: HashMap<SaId, Place>,
    free_inbound: Vec<SaIndex>,
    free_outbound: Vec<SaIndex>,
    /// SAs that there ever were.
    serial: u32,
    /// UDP ports of ours other than 4500 behind which ESP may stand, with the number of SAs that use them.
    ports: Vec<(u16, usize)>,
}

fn insert<T>(table: &mut Vec<Option<T>>, free: &mut Vec<SaIndex>, value: T) -> SaIndex {
    if let Some(index) = free.pop() {
        table[index as usize] = Some(value);
        return index;
    }
    table.push(Some(value));
    (table.len() - 1) as SaIndex
}

impl Sad {
    /// Adds an inbound SA. One of the same name or SPI makes way and is given back.
    pub(crate) fn install_inbound(&mut self, mut sa: Inbound) -> [Option<Removed>; 2] {
        sa.serial = self.next_serial();
        let same_name = self.remove(sa.id);
        let same_spi = self.by_spi.get(&sa.spi).and_then(|&index| self.inbound(index)).map(|old| old.id);
        let same_spi = same_spi.and_then(|id| self.remove(id));
        let (spi, id, encapsulation) = (sa.spi, sa.id, sa.shape.encapsulation);
        let index = insert(&mut self.inbound, &mut self.free_inbound, sa);
        self.by_spi.insert(spi, index);
        self.by_id.insert(id, Place::Inbound(index));
        self.listen(encapsulation);
        [same_name, same_spi]
    }

    /// Adds an outbound SA. One of the same name makes way and is given back.
    pub(crate) fn install_outbound(&mut self, mut sa: Outbound) -> Option<Removed> {
        sa.serial = self.next_serial();
        let same_name = self.remove(sa.id);
        let id = sa.id;
        let sealer = sa.sealer.take();
        let index = insert(&mut self.outbound, &mut self.free_outbound, sa);
        self.sealers.resize_with(self.outbound.len(), || None);
        self.sealers[index as usize] = sealer;
        self.by_id.insert(id, Place::Outbound(index));
        same_name
    }

    /// Flows remember which SA's selector they were held against, so that no two SAs may have one number while flows live.
    /// After 2^32 of them one could: [`FastPath`](crate::fast_path::FastPath) would have to have kept a flow all the time.
    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1).max(1);
        self.serial
    }

    /// Takes an SA out; `None` for one that is not there, or that is held: nobody finds it any more, and [`Sad::let_go`]
    /// gives it back.
    pub(crate) fn remove(&mut self, id: SaId) -> Option<Removed> {
        match self.by_id.remove(&id)? {
            Place::Inbound(index) => {
                let sa = self.inbound[index as usize].take()?;
                self.by_spi.remove(&sa.spi);
                self.free_inbound.push(index);
                self.ignore(sa.shape.encapsulation);
                Some(Removed::Inbound(sa))
            }
            Place::Outbound(index) => {
                let sa = self.outbound[index as usize].as_mut()?;
                sa.is_gone = true;
                self.take_out(index)
            }
        }
    }

    /// A packet is on its way to this outbound SA.
    pub(crate) fn hold(&mut self, index: SaIndex) {
        if let Some(sa) = self.outbound.get_mut(index as usize).and_then(Option::as_mut) {
            sa.holds += 1;
        }
    }

    /// The packet has arrived, or is lost. Returns the SA if it has been removed meanwhile and this was the last.
    pub(crate) fn let_go(&mut self, index: SaIndex) -> Option<Removed> {
        self.outbound.get_mut(index as usize)?.as_mut()?.holds -= 1;
        self.take_out(index)
    }

    fn take_out(&mut self, index: SaIndex) -> Option<Removed> {
        let mut sa = self.outbound[index as usize].take_if(|sa| sa.is_gone && sa.holds == 0)?;
        sa.sealer = self.sealers[index as usize].take();
        self.free_outbound.push(index);
        Some(Removed::Outbound(sa))
    }

    /// The peer is elsewhere from now on. Returns whether the SA is an outbound one, whose bindings must then be
    /// measured again.
    pub(crate) fn move_peer(&mut self, id: SaId, remote: IpAddr, encapsulation: Encapsulation) -> bool {
        match self.by_id.get(&id).copied() {
            Some(Place::Outbound(index)) => {
                if let Some(sa) = self.outbound[index as usize].as_mut() {
                    sa.shape.remote = remote;
                    sa.shape.encapsulation = encapsulation;
                }
                true
            }
            Some(Place::Inbound(index)) => {
                let Some(sa) = self.inbound[index as usize].as_mut() else { return false };
                let before = std::mem::replace(&mut sa.shape.encapsulation, encapsulation);
                sa.shape.remote = remote;
                let seen = peer_address(&sa.shape);
                if let Some(opener) = sa.opener.as_mut() {
                    opener.seen = seen;
                }
                self.ignore(before);
                self.listen(encapsulation);
                false
            }
            None => false,
        }
    }

    /// Finds the SA that a packet names.
    #[must_use]
    pub(crate) fn find_inbound(&self, spi: Spi) -> Option<(SaIndex, &Inbound)> {
        let index = *self.by_spi.get(&spi)?;
        Some((index, self.inbound(index)?))
    }

    /// Finds an outbound SA.
    #[must_use]
    pub(crate) fn find_outbound(&self, id: SaId) -> Option<SaIndex> {
        match self.by_id.get(&id) {
            Some(Place::Outbound(index)) => Some(*index),
            _ => None,
        }
    }

    /// An inbound SA.
    #[must_use]
    pub(crate) fn inbound(&self, index: SaIndex) -> Option<&Inbound> {
        self.inbound.get(index as usize)?.as_ref()
    }

    /// An inbound SA, to be changed.
    #[must_use]
    pub(crate) fn inbound_mut(&mut self, index: SaIndex) -> Option<&mut Inbound> {
        self.inbound.get_mut(index as usize)?.as_mut()
    }

    /// An outbound SA.
    #[must_use]
    pub(crate) fn outbound(&self, index: SaIndex) -> Option<&Outbound> {
        self.outbound.get(index as usize)?.as_ref()
    }

    /// Keys and state of an inbound SA of ours.
    #[must_use]
    pub(crate) fn opener(&self, index: SaIndex) -> Option<&Opener> {
        self.inbound(index)?.opener.as_deref()
    }

    /// Keys and state of an outbound SA of ours.
    #[must_use]
    pub(crate) fn sealer(&self, index: SaIndex) -> Option<&Sealer> {
        self.sealers.get(index as usize)?.as_deref()
    }

    /// Keys and state of an outbound SA of ours, to be changed.
    #[must_use]
    pub(crate) fn sealer_mut(&mut self, index: SaIndex) -> Option<&mut Sealer> {
        self.sealers.get_mut(index as usize)?.as_deref_mut()
    }

    /// Asks for the memory of an outbound SA that will be worked with soon, but for its key's.
    #[inline]
    pub(crate) fn prefetch_sealer(&self, index: SaIndex) {
        self.sealer(index).into_iter().for_each(prefetch);
    }

    /// Finds an inbound SA by what its packets name, and asks for its memory.
    #[inline]
    pub(crate) fn sight_inbound(&self, spi: Spi) -> Option<SaIndex> {
        let index = *self.by_spi.get(&spi)?;
        self.inbound.get(index as usize).into_iter().for_each(prefetch_whole);
        Some(index)
    }

    /// An inbound SA by control's name, to be measured again.
    pub(crate) fn inbound_by_id_mut(&mut self, id: SaId) -> Option<&mut Inbound> {
        match self.by_id.get(&id) {
            Some(&Place::Inbound(index)) => self.inbound_mut(index),
            _ => None,
        }
    }

    /// Every inbound SA, to be measured again.
    pub(crate) fn all_inbound_mut(&mut self) -> impl Iterator<Item = &mut Inbound> {
        self.inbound.iter_mut().flatten()
    }

    /// Whether ESP may stand behind this UDP port of ours.
    #[must_use]
    pub(crate) fn listens(&self, port: u16) -> bool {
        port == NAT_TRAVERSAL_PORT || self.ports.iter().any(|&(own, _)| own == port)
    }

    fn listen(&mut self, encapsulation: Encapsulation) {
        let Encapsulation::Udp { local_port, .. } = encapsulation else { return };
        match self.ports.iter_mut().find(|(own, _)| *own == local_port) {
            Some((_, users)) => *users += 1,
            None => self.ports.push((local_port, 1)),
        }
    }

    fn ignore(&mut self, encapsulation: Encapsulation) {
        let Encapsulation::Udp { local_port, .. } = encapsulation else { return };
        if let Some(at) = self.ports.iter().position(|&(own, _)| own == local_port) {
            self.ports[at].1 -= 1;
            if self.ports[at].1 == 0 {
                self.ports.swap_remove(at);
            }
        }
    }
}

/// Where an inbound SA's packets come from, as far as is known. Raw ESP has no port.
#[must_use]
pub(crate) fn peer_address(shape: &Shape) -> SocketAddr {
    let port = match shape.encapsulation {
        Encapsulation::Raw => 0,
        Encapsulation::Udp { remote_port, .. } => remote_port,
    };
    SocketAddr::new(shape.remote, port)
}
