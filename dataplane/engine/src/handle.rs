//! Control's half of the engine: commands in, events and numbers out.
//!
//! What is costly about a command (compiling rules, expanding keys, freeing what they replace) happens here, on
//! control's core.

use crate::accounting::{StageSnapshot, WorkerAccounts};
use crate::bindings::{Bindings, Stack, bound_rules};
use crate::counters::{CounterSnapshot, WorkerCounters};
use crate::fib::Fib;
use crate::limits::RULE_IDS_MAX;
use crate::meter::{Meter, SaCounters};
use crate::mtu::Shape;
use crate::order::{Order, Report, Retired};
use crate::passage::PassageId;
use crate::port_board::{PortBoard, PortStatus};
use crate::replay::ReplayWindow;
use crate::sad::{Inbound, Opener, Outbound, Sealer, Usage, WorkerIndex, peer_address};
use crate::spd::Spd;
use crate::wake::Bell;
use hashbrown::{HashMap, HashSet};
use rtrb::{Consumer, Producer};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use warren_aead::{Backend, BadKey, Integrity, KeyLength, KeyMaterial, OpeningKey, SealingKey, Transform};
use warren_policy::{EspTransform, Hash, KeyBits, RuleId};
use warren_seam::limits::{RULE_IDS_END, STACKS_MAX};
use warren_seam::{Command, Entry, Event, InboundSa, Injected, OutboundSa, SaId, SaKeys};

/// A command's number: they count up from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A worker, by its place in what [`build`](crate::build) was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u16);

/// Why a command was not taken.
#[derive(thiserror::Error)]
pub enum Refused {
    /// A worker has too many commands before it; try this one again later.
    #[error("a worker has too many commands before it")]
    Full(Box<Command>),
    /// The keys do not fit the transform.
    #[error("{why}")]
    BadKey {
        /// Whose keys.
        sa: SaId,
        /// What is wrong with them.
        why: BadKey,
    },
    /// A rule's identifier is beyond [`RULE_IDS_MAX`], or an SA's beyond [`RULE_IDS_END`].
    #[error("the tunnel rule {0} is beyond every table")]
    BadRule(u32),
}

impl std::fmt::Debug for Refused {
    /// A command may hold keys, so it is named and not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full"),
            Self::BadRule(rule) => f.debug_tuple("BadRule").field(rule).finish(),
            Self::BadKey { sa, why } => f.debug_struct("BadKey").field("sa", sa).field("why", why).finish(),
        }
    }
}

/// What ties control to one worker.
pub(crate) struct Line {
    pub orders: Producer<(u64, Order)>,
    pub retired: Consumer<Retired>,
    pub reports: Consumer<Report>,
    pub applied: Arc<AtomicU64>,
    pub bell: Arc<Bell>,
    pub counters: Arc<WorkerCounters>,
    pub accounts: Arc<WorkerAccounts>,
    pub board: PortBoard,
}

/// Control's half. There is one, whatever the number of workers.
pub struct Handle {
    lines: Vec<Line>,
    backend: Backend,
    /// Rings when a worker has an event for us.
    bell: Arc<Bell>,
    submitted: u64,
    generation: u32,
    meters: HashMap<SaId, Arc<Meter>>,
    /// Rules for which an `Acquire` has gone out: several workers may see their packets.
    asked: HashSet<RuleId>,
    /// The last command about a rule. An `Acquire` from before it is answered already.
    answered: HashMap<RuleId, u64>,
    /// Packets that have been sent through SAs.
    passages: u32,
    /// Rules in force, and whether they discover.
    rules: HashMap<RuleId, bool>,
    /// Whose events are looked at next.
    turn: usize,
}

impl Handle {
    pub(crate) fn new(lines: Vec<Line>, backend: Backend, bell: Arc<Bell>) -> Self {
        Self {
            lines,
            backend,
            bell,
            submitted: 0,
            generation: 0,
            meters: HashMap::new(),
            asked: HashSet::new(),
            answered: HashMap::new(),
            passages: 0,
            rules: HashMap::new(),
            turn: 0,
        }
    }

    /// Gives a command to every worker. It counts as applied when [`Handle::applied`] has reached the token.
    ///
    /// # Errors
    /// A worker's ring is full, and the command comes back; or its keys are no keys.
    pub fn submit(&mut self, command: Command) -> Result<Token, Refused> {
        self.free_retired();
        if self.lines.iter().any(|line| line.orders.is_full()) {
            return Err(Refused::Full(Box::new(command)));
        }
        let orders = self.orders(command)?;
        self.submitted += 1;
        // The first worker last: what it then hands over to another finds the same command there.
        for (line, order) in self.lines.iter_mut().zip(orders).rev() {
            // There was room a moment ago, and only we fill the ring.
            let _ = line.orders.push((self.submitted, order));
            line.bell.ring_if_asleep();
        }
        Ok(Token(self.submitted))
    }

    /// The highest token that every worker has applied. Frees what the workers gave back.
    pub fn applied(&mut self) -> Token {
        self.free_retired();
        let lowest = self.lines.iter().map(|line| line.applied.load(Ordering::Acquire)).min();
        Token(lowest.unwrap_or(self.submitted))
    }

    /// The next event, and whose it is.
    pub fn poll_event(&mut self) -> Option<(WorkerId, Event)> {
        for _ in 0..self.lines.len() {
            while let Ok(report) = self.lines[self.turn].reports.pop() {
                if self.is_news(&report) {
                    return Some((WorkerId(self.turn as u16), report.event));
                }
            }
            self.turn = (self.turn + 1) % self.lines.len();
        }
        self.bell.hush();
        // What was pushed between the last look and the hush would else wait for the next event.
        if self.lines.iter().any(|line| !line.reports.is_empty()) {
            self.bell.ring();
        }
        None
    }

    /// Readable while events wait.
    #[must_use]
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.bell.fd()
    }

    /// The counters of all workers together.
    #[must_use]
    pub fn counters(&self) -> CounterSnapshot {
        let mut sum = CounterSnapshot::default();
        self.lines.iter().for_each(|line| sum.add(&line.counters.snapshot()));
        sum
    }

    /// The counters of each worker.
    #[must_use]
    pub fn worker_counters(&self) -> Vec<CounterSnapshot> {
        self.lines.iter().map(|line| line.counters.snapshot()).collect()
    }

    /// What the stages have cost, all workers together.
    #[must_use]
    pub fn stages(&self) -> StageSnapshot {
        let mut sum = StageSnapshot::default();
        self.lines.iter().for_each(|line| sum.add(&line.accounts.snapshot()));
        sum
    }

    /// What they have cost each worker.
    #[must_use]
    pub fn worker_stages(&self) -> Vec<StageSnapshot> {
        self.lines.iter().map(|line| line.accounts.snapshot()).collect()
    }

    /// What an SA has done; `None` for one that is not installed.
    #[must_use]
    pub fn sa_counters(&self, sa: SaId) -> Option<SaCounters> {
        self.meters.get(&sa).map(|meter| meter.snapshot())
    }

    /// The ports of each worker, as they were up to a tenth of a second ago.
    #[must_use]
    pub fn ports(&self) -> Vec<(WorkerId, PortStatus)> {
        let of = |(at, line): (usize, &Line)| {
            line.board.read().into_iter().map(move |status| (WorkerId(at as u16), status)).collect::<Vec<_>>()
        };
        self.lines.iter().enumerate().flat_map(of).collect()
    }

    /// The worker that owns the SAs of a rule, those of its first lane: round robin, so that a rule's two directions meet on
    /// one core.
    #[must_use]
    pub fn owner(&self, rule: RuleId) -> WorkerId {
        self.owner_of_lane(rule, 0)
    }

    /// The worker that owns the SAs of a rule's lane: neighbouring lanes belong to neighbouring workers.
    #[must_use]
    pub fn owner_of_lane(&self, rule: RuleId, lane: u16) -> WorkerId {
        WorkerId(((rule.0 as usize + usize::from(lane)) % self.lines.len().max(1)) as u16)
    }

    fn free_retired(&mut self) {
        for line in &mut self.lines {
            while line.retired.pop().is_ok() {}
        }
    }

    /// Of several workers' wishes for one rule the first is enough, and one that was written down before the rule's
    /// last command is answered already. A rule that discovers has as many wishes as there are destinations, and their
    /// repetitions say that there is traffic still: they all are news.
    fn is_news(&mut self, report: &Report) -> bool {
        match report.event {
            Event::Acquire { rule, .. } => {
                let Some(&discovers) = self.rules.get(&rule) else { return false };
                let since = self.answered.get(&rule).copied().unwrap_or(0);
                report.applied >= since && (discovers || self.asked.insert(rule))
            }
            _ => true,
        }
    }

    fn may_ask_again(&mut self, rule: RuleId) {
        self.asked.remove(&rule);
        self.answered.insert(rule, self.submitted + 1);
    }

    /// An identifier may come back as another rule's: what was asked for the old one is no question of the new one.
    fn adopt(&mut self, rules: HashMap<RuleId, bool>) {
        let stays = |rule: &RuleId| rules.get(rule).is_some_and(|now| self.rules.get(rule) == Some(now));
        self.asked.retain(stays);
        self.answered.retain(|rule, _| stays(rule));
        for &new in rules.keys().filter(|&rule| !stays(rule)) {
            self.answered.insert(new, self.submitted + 1);
        }
        self.rules = rules;
    }

    fn orders(&mut self, command: Command) -> Result<Vec<Order>, Refused> {
        let everyone = |order: &dyn Fn() -> Order| (0..self.lines.len()).map(|_| order()).collect::<Vec<_>>();
        Ok(match command {
            Command::Rules(rules) => {
                if let Some((beyond, _)) =
                    bound_rules(&rules).find(|(rule, _)| rule.0 as usize >= RULE_IDS_MAX)
                {
                    return Err(Refused::BadRule(beyond.0));
                }
                let spd = Arc::new(Spd::new(&rules));
                let generation = self.generation.wrapping_add(1);
                let bindings = || Box::new(Bindings::new(&rules));
                let orders = everyone(&|| Order::Rules(Arc::clone(&spd), bindings(), generation));
                self.generation = generation;
                self.adopt(bound_rules(&rules).collect());
                orders
            }
            Command::Forwarding(table) => {
                let fib = Arc::new(Fib::new(table));
                everyone(&|| Order::Forwarding(Arc::clone(&fib)))
            }
            Command::InstallInbound(sa) => self.install_inbound(&sa)?,
            Command::InstallOutbound(sa) => self.install_outbound(&sa)?,
            Command::Bind { rule, stack } => self.bind(rule, &[stack]),
            Command::Spread { rule, stacks } => self.bind(rule, &stacks),
            Command::Discovery(discovery) => {
                let discovery = Arc::new(discovery);
                everyone(&|| Order::Discovery(Arc::clone(&discovery)))
            }
            Command::Inject(injected) if matches!(injected.entry, Entry::Through(_)) => {
                self.passage(injected)
            }
            Command::Inject(injected) => {
                let mut orders = everyone(&|| Order::Nothing);
                // Any worker will do: it hands on what is to leave by another's port.
                if let Some(first) = orders.first_mut() {
                    *first = Order::Inject(injected);
                }
                orders
            }
            Command::Rearm(rule) => {
                let orders = everyone(&|| Order::Rearm(rule));
                self.may_ask_again(rule);
                orders
            }
            Command::MovePeer { sa, remote, encapsulation } => {
                everyone(&|| Order::MovePeer(sa, remote, encapsulation))
            }
            Command::Remove(id) => {
                let orders = everyone(&|| Order::Remove(id));
                self.meters.remove(&id);
                orders
            }
        })
    }

    /// Stacks without an SA are none.
    fn bind(&mut self, rule: RuleId, stacks: &[Vec<SaId>]) -> Vec<Order> {
        let stacks = stacks.iter().filter(|stack| !stack.is_empty()).take(STACKS_MAX);
        let stacks: Vec<_> = stacks.collect();
        self.may_ask_again(rule);
        let made = || stacks.iter().map(|names| Stack::new((*names).clone())).collect();
        self.lines.iter().map(|_| Order::Bind(rule, made())).collect()
    }

    /// Every worker opens the passage, because the packet may come by; the first one sends it.
    fn passage(&mut self, injected: Box<Injected>) -> Vec<Order> {
        let stack = match &injected.entry {
            Entry::Through(stack) => stack.clone(),
            Entry::Originate | Entry::Resume(_) | Entry::Judge(_) => Vec::new(),
        };
        let id = PassageId::nth(self.passages);
        self.passages = self.passages.wrapping_add(1);
        let mut injected = Some(injected);
        self.lines.iter().map(|_| Order::Passage(id, stack.clone(), injected.take())).collect()
    }

    /// The owner gets the keys, the others only learn whose SA it is.
    fn install_inbound(&mut self, sa: &InboundSa) -> Result<Vec<Order>, Refused> {
        check_rule(sa.rule)?;
        let transform = transform_of(sa.transform);
        let key = OpeningKey::new(self.backend.serving(transform), transform, material(&sa.keys));
        let key = key.map_err(|why| Refused::BadKey { sa: sa.id, why })?;
        let owner: WorkerIndex = self.owner_of_lane(sa.rule, sa.lane).0;
        let (mode, encapsulation) = (sa.mode, sa.encapsulation);
        let shape = Shape { transform, mode, encapsulation, local: sa.local, remote: sa.remote };
        let meter = Arc::new(Meter::default());
        self.meters.insert(sa.id, Arc::clone(&meter));
        let mut opener = Some(Box::new(Opener {
            window: ReplayWindow::new(
                sa.window_packets.min(warren_seam::limits::WINDOW_PACKETS_MAX),
                sa.sequence,
            ),
            usage: Usage::new(sa.volume, sa.esn, meter),
            selector: sa.selector,
            key,
            seen: peer_address(&shape),
            packets: 0,
            first_reported: false,
        }));
        let entry = |at: usize| {
            let opener = if at == usize::from(owner) { opener.take() } else { None };
            let (spi, id, rule, carrier) = (sa.spi, sa.id, sa.rule, sa.carrier);
            let inbound =
                Inbound { plain: None, serial: 0, shape, spi, rule, carrier, owner, mtu: 0, id, opener };
            Order::InstallInbound(Box::new(inbound))
        };
        Ok((0..self.lines.len()).map(entry).collect())
    }

    fn install_outbound(&mut self, sa: &OutboundSa) -> Result<Vec<Order>, Refused> {
        check_rule(sa.rule)?;
        let transform = transform_of(sa.transform);
        let key = SealingKey::new(self.backend.serving(transform), transform, material(&sa.keys));
        let key = key.map_err(|why| Refused::BadKey { sa: sa.id, why })?;
        let owner: WorkerIndex = self.owner_of_lane(sa.rule, sa.lane).0;
        let (mode, encapsulation) = (sa.mode, sa.encapsulation);
        let shape = Shape { transform, mode, encapsulation, local: sa.local, remote: sa.remote };
        let meter = Arc::new(Meter::from(sa.sequence));
        self.meters.insert(sa.id, Arc::clone(&meter));
        let mut sealer = Some(Box::new(Sealer {
            sequence: sa.sequence,
            usage: Usage::new(sa.volume, sa.esn, meter),
            selector: sa.selector,
            key,
        }));
        let entry = |at: usize| {
            let sealer = if at == usize::from(owner) { sealer.take() } else { None };
            Order::InstallOutbound(Box::new(Outbound {
                serial: 0,
                shape,
                spi: sa.spi,
                owner,
                id: sa.id,
                holds: 0,
                is_gone: false,
                sealer,
            }))
        };
        Ok((0..self.lines.len()).map(entry).collect())
    }
}

/// An SA may be of a rule that is in no rule set (a level around others), but not of a number that is no rule's.
fn check_rule(rule: RuleId) -> Result<(), Refused> {
    if rule.0 < RULE_IDS_END { Ok(()) } else { Err(Refused::BadRule(rule.0)) }
}

fn material(keys: &SaKeys) -> KeyMaterial<'_> {
    KeyMaterial { encryption: keys.encryption.expose(), salt: keys.salt, integrity: keys.integrity.expose() }
}

/// What control calls a transform, in the words of the AEAD crate.
fn transform_of(transform: EspTransform) -> Transform {
    let length = |bits| match bits {
        KeyBits::B128 => KeyLength::B128,
        KeyBits::B192 => KeyLength::B192,
        KeyBits::B256 => KeyLength::B256,
    };
    match transform {
        EspTransform::AesGcm16(bits) => Transform::AesGcm16(length(bits)),
        EspTransform::AesCbcHmac(bits, hash) => Transform::AesCbcHmac(
            length(bits),
            match hash {
                Hash::Sha1 => Integrity::Sha1,
                Hash::Sha256 => Integrity::Sha256,
                Hash::Sha384 => Integrity::Sha384,
                Hash::Sha512 => Integrity::Sha512,
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_crates_mean_the_same_transform() {
        for bits in [KeyBits::B128, KeyBits::B192, KeyBits::B256] {
            let cbc = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
            let all = cbc.map(|hash| EspTransform::AesCbcHmac(bits, hash)).into_iter();
            for transform in all.chain([EspTransform::AesGcm16(bits)]) {
                let ours = transform_of(transform);
                assert_eq!(ours.iv_octets(), transform.iv_octets());
                assert_eq!(ours.icv_octets(), transform.icv_octets());
                assert_eq!(ours.block_octets().max(4), transform.alignment());
            }
        }
    }
}
