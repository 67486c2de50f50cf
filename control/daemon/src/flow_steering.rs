//! Inbound SAs to the queues of the workers that own them, where the network card can: then nothing is handed over.
//!
//! ```text
//!   card ── rule "SPI 1a2b3c4d → queue 2" ──▶ queue 2 ──▶ worker 2, which owns the SA
//!      └── no rule, no room, no such card ──▶ any queue ─▶ worker 0 ──handoff──▶ worker 2
//! ```
//!
//! It only saves work: whatever a driver refuses is counted, shown and done without. Rules of ours stand in the first
//! places of a card's table and have a shape that is recognised, so that those of a run that crashed are found and removed.

use crate::limits::FLOW_RULES_MAX;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use warren_policy::RuleId;
use warren_port::{FlowMatch, FlowRule, FlowTable, HASH_ADDRESSES, HASH_SPI, is_unsupported};
use warren_seam::{Carrier, Command, Encapsulation, InboundSa, SaId};

/// What decides to which queue an inbound SA's packets should come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steered {
    matches: FlowMatch,
    owner: u16,
}

impl Steered {
    /// `None` for an SA inside another one: a card does not see what is encrypted.
    pub(crate) fn of(sa: &InboundSa, owner: u16) -> Option<Self> {
        let matches = Self::matches(sa.spi.0, (sa.remote, sa.local), sa.encapsulation);
        (sa.carrier == Carrier::Network).then_some(Self { matches, owner })
    }

    fn matches(spi: u32, (remote, local): (IpAddr, IpAddr), encapsulation: Encapsulation) -> FlowMatch {
        match encapsulation {
            Encapsulation::Raw => FlowMatch::Esp { ipv6: remote.is_ipv6(), spi },
            // No card looks for an SPI there; the ports say at least which peer it is.
            Encapsulation::Udp { local_port, remote_port } => FlowMatch::Udp {
                remote: SocketAddr::new(remote, remote_port),
                local: SocketAddr::new(local, local_port),
            },
        }
    }

    /// Where its packets come from after the peer has moved.
    fn moved(self, to: IpAddr, encapsulation: Encapsulation) -> Self {
        let matches = match self.matches {
            FlowMatch::Udp { local, .. } => Self::matches(0, (to, local.ip()), encapsulation),
            esp @ FlowMatch::Esp { .. } => esp,
        };
        Self { matches, ..self }
    }
}

/// What a card can do for us.
#[derive(Debug, PartialEq, Eq)]
enum Ability {
    /// It takes rules, into these places of ours.
    Rules { places: u32 },
    /// It chooses a queue by the SPI, though not which.
    Hash,
    /// Nothing, and why.
    Nothing(String),
}

/// One rule, and the SAs that it is good for: several behind one UDP port.
struct Entry {
    location: u32,
    queue: u32,
    users: Vec<(SaId, u16)>,
}

/// One card.
pub(crate) struct PortSteering {
    table: Option<Box<dyn FlowTable>>,
    ability: Ability,
    queues: u32,
    workers: u32,
    entries: HashMap<FlowMatch, Entry>,
    free: Vec<u32>,
    /// Fields of ESP that were hashed before we came.
    hashed: Vec<(bool, u64)>,
    refused: u64,
}

impl PortSteering {
    /// A port for which nothing is to be steered.
    pub(crate) fn idle(why: &str) -> Self {
        Self {
            table: None,
            ability: Ability::Nothing(why.to_owned()),
            queues: 0,
            workers: 0,
            entries: HashMap::new(),
            free: Vec::new(),
            hashed: Vec::new(),
            refused: 0,
        }
    }

    /// Looks what a card can do, and removes what a run before has left. `queues` of them are served by `workers` in turn
    /// ([`crate::ports::shares`]).
    pub(crate) fn open(table: io::Result<Box<dyn FlowTable>>, queues: u32, workers: usize) -> Self {
        let table = match table {
            Ok(table) => table,
            Err(error) => return Self::idle(&error.to_string()),
        };
        let mut port = Self::idle("");
        port.table = Some(table);
        (port.queues, port.workers) = (queues, u32::try_from(workers).unwrap_or(u32::MAX));
        let places = port.take_places();
        // What was left over is gone now: it may lead to queues that nobody serves any more.
        match (queues, workers) {
            (..2, _) => return Self::idle("one queue"),
            (_, ..2) => return Self::idle("one worker"),
            _ => {}
        }
        match places {
            Ok(places) => port.ability = Ability::Rules { places },
            Err(error) => port.fall_back(&error),
        }
        port
    }

    /// The lower half of the card's table, but for the places where the operator has rules. A half is his.
    fn take_places(&mut self) -> io::Result<u32> {
        let Some(table) = self.table.as_mut() else { return Ok(0) };
        let places = table.places()?;
        let ours = (places.capacity / 2).min(FLOW_RULES_MAX);
        if ours == 0 {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        let mut theirs = Vec::new();
        for location in places.taken.into_iter().filter(|location| *location < ours) {
            let is_left_over = matches!(table.rule(location), Ok(Some(_)));
            if !is_left_over || table.remove(location).is_err() {
                theirs.push(location);
            }
        }
        self.free = (0..ours).rev().filter(|location| !theirs.contains(location)).collect();
        Ok(self.free.len() as u32)
    }

    /// Without rules the SPI may at least be hashed, so that SAs of one peer spread over the queues.
    fn fall_back(&mut self, why: &io::Error) {
        self.ability =
            Ability::Nothing(match is_unsupported(why) || why.kind() == io::ErrorKind::Unsupported {
                true => "the driver cannot".to_owned(),
                false => why.to_string(),
            });
        let Some(table) = self.table.as_mut() else { return };
        for ipv6 in [false, true] {
            let Ok(before) = table.esp_hash(ipv6) else { continue };
            let wanted = HASH_ADDRESSES | HASH_SPI;
            if before & wanted == wanted {
                self.ability = Ability::Hash;
            } else if table.set_esp_hash(ipv6, wanted).is_ok() {
                self.hashed.push((ipv6, before));
                self.ability = Ability::Hash;
            }
        }
    }

    /// The queue of a worker; `None` when it has none of this port.
    fn queue(&self, owner: u16, matches: FlowMatch) -> Option<u32> {
        let owner = u32::from(owner);
        let own = self.queues.checked_sub(owner + 1)? / self.workers + 1;
        // A worker with several gets its SAs by all of them.
        let turn = match matches {
            FlowMatch::Esp { spi, .. } => spi,
            FlowMatch::Udp { remote, .. } => remote.port().into(),
        };
        Some(owner + turn % own * self.workers)
    }

    fn install(&mut self, sa: SaId, steered: Steered) {
        let Ability::Rules { .. } = self.ability else { return };
        if let Some(entry) = self.entries.get_mut(&steered.matches) {
            return entry.users.push((sa, steered.owner));
        }
        let Some(queue) = self.queue(steered.owner, steered.matches) else { return };
        let Some(location) = self.free.pop() else {
            self.refused += 1;
            return;
        };
        if self.write(steered.matches, queue, location) {
            let users = vec![(sa, steered.owner)];
            self.entries.insert(steered.matches, Entry { location, queue, users });
        } else {
            self.free.push(location);
        }
    }

    /// Whether the card took the rule. One that has never taken any and says that it cannot is not asked again.
    fn write(&mut self, matches: FlowMatch, queue: u32, location: u32) -> bool {
        let Some(table) = self.table.as_mut() else { return false };
        let Err(error) = table.insert(&FlowRule { matches, queue, location }) else { return true };
        self.refused += 1;
        tracing::debug!("a rule for a card's queue {queue} was refused: {error}");
        // Cards differ in what they match: one that does not know UDP may know ESP.
        if self.entries.is_empty() && is_unsupported(&error) && matches!(matches, FlowMatch::Esp { .. }) {
            self.fall_back(&error);
        }
        false
    }

    fn remove(&mut self, sa: SaId, matches: FlowMatch) {
        let Some(entry) = self.entries.get_mut(&matches) else { return };
        entry.users.retain(|(user, _)| *user != sa);
        let next = entry.users.first().copied();
        let (location, before) = (entry.location, entry.queue);
        // The SAs that are left behind this port may have another owner.
        let queue = next.and_then(|(_, owner)| self.queue(owner, matches));
        if queue == Some(before) {
            return;
        }
        let users = self.entries.remove(&matches).map(|entry| entry.users).unwrap_or_default();
        if let Some(table) = self.table.as_mut()
            && let Err(error) = table.remove(location)
        {
            tracing::debug!("a rule of a card is gone already: {error}");
        }
        match queue {
            Some(queue) if self.write(matches, queue, location) => {
                self.entries.insert(matches, Entry { location, queue, users });
            }
            _ => self.free.push(location),
        }
    }

    /// What `dpctl` shows.
    pub(crate) fn words(&self) -> String {
        let mut words = match &self.ability {
            Ability::Rules { places } => format!("SPI rules {} of {places}", self.entries.len()),
            Ability::Hash => "hash of the SPI".to_owned(),
            Ability::Nothing(why) => format!("none: {why}"),
        };
        if self.refused > 0 && matches!(self.ability, Ability::Rules { .. }) {
            words += &format!(", {} refused", self.refused);
        }
        words
    }
}

impl Drop for PortSteering {
    /// The card is left as it was found.
    fn drop(&mut self) {
        let Some(mut table) = self.table.take() else { return };
        for entry in self.entries.values() {
            // Whoever has removed it before us wanted the same.
            drop(table.remove(entry.location));
        }
        for (ipv6, before) in &self.hashed {
            if let Err(error) = table.set_esp_hash(*ipv6, *before) {
                tracing::warn!("what a card hashes of ESP could not be put back: {error}");
            }
        }
    }
}

/// All ports, and the SAs that are steered.
#[derive(Default)]
pub(crate) struct FlowSteering {
    ports: Vec<Option<PortSteering>>,
    sas: HashMap<SaId, Steered>,
}

impl FlowSteering {
    /// In the order of the ports; `None` for those by which no ESP comes.
    pub(crate) fn new(ports: Vec<Option<PortSteering>>) -> Self {
        Self { ports, sas: HashMap::new() }
    }

    /// What a command to the workers means for the cards. `owner` is the worker that owns the SAs of
    /// a rule's lane.
    pub(crate) fn heed(&mut self, command: &Command, owner: impl Fn(RuleId, u16) -> u16) {
        match command {
            Command::InstallInbound(sa) => {
                if let Some(steered) = Steered::of(sa, owner(sa.rule, sa.lane)) {
                    self.install(sa.id, steered);
                }
            }
            Command::MovePeer { sa, remote, encapsulation } => self.move_peer(*sa, *remote, *encapsulation),
            Command::Remove(sa) => self.remove(*sa),
            _ => {}
        }
    }

    /// An inbound SA is there.
    pub(crate) fn install(&mut self, sa: SaId, steered: Steered) {
        self.remove(sa);
        self.sas.insert(sa, steered);
        self.ports.iter_mut().flatten().for_each(|port| port.install(sa, steered));
    }

    /// An SA is gone, of whatever direction.
    pub(crate) fn remove(&mut self, sa: SaId) {
        let Some(steered) = self.sas.remove(&sa) else { return };
        self.ports.iter_mut().flatten().for_each(|port| port.remove(sa, steered.matches));
    }

    /// The peer is elsewhere.
    pub(crate) fn move_peer(&mut self, sa: SaId, to: IpAddr, encapsulation: Encapsulation) {
        let Some(&before) = self.sas.get(&sa) else { return };
        let after = before.moved(to, encapsulation);
        if after != before {
            self.install(sa, after);
        }
    }

    /// What `dpctl` shows of a port; nothing of those by which no ESP comes.
    pub(crate) fn words(&self, port: usize) -> String {
        self.ports.get(port).and_then(Option::as_ref).map(PortSteering::words).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
