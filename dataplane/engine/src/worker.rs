//! The loop of one core: commands, packets of other workers, packets of ports, and out again.

use crate::accounting::Stage;
use crate::bindings::Binding;
use crate::core::Core;
use crate::drop_reason::DropReason;
use crate::handoff::{Parcel, Work};
use crate::limits::{BATCH_MAX, COMMANDS_PER_TURN_MAX, IDLE_TURNS_MAX, MTU_UNKNOWN, SLEEP_MAX, SLEEP_UNSENT};
use crate::meter::Stamp;
use crate::order::{Order, Retired};
use crate::passage::PassageId;
use crate::port_board::PortBoard;
use crate::sad::{Inbound, Removed};
use crate::slot::Lanes;
use crate::stages::{self, inject, receive, transmit};
use crate::wake::Bell;
use rtrb::{Consumer, Producer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use warren_port::Port;
use warren_seam::SaId;

/// One core's share of the engine. It shares nothing with other workers but rings.
pub struct Worker {
    core: Core,
    lanes: Lanes,
    link: Link,
    board: PortBoard,
}

/// What ties a worker to control.
pub(crate) struct Link {
    pub orders: Consumer<(u64, Order)>,
    pub retired: Producer<Retired>,
    pub applied: Arc<AtomicU64>,
    pub bell: Arc<Bell>,
}

impl Worker {
    pub(crate) fn new(core: Core, link: Link, board: PortBoard) -> Self {
        Self { core, lanes: Lanes::default(), link, board }
    }

    /// One turn at the time `now`: commands, packets, timers. Returns whether anything moved.
    pub fn poll(&mut self, now: Duration) -> bool {
        (self.core.now, self.core.stamp) = (now, Stamp::of(now));
        self.core.accounts.begin();
        let mut moved = self.apply_orders();
        moved |= self.adopt();
        for at in 0..self.core.berths.len() {
            if receive::from_port(&mut self.core, at, &mut self.lanes) > 0 {
                self.core.accounts.lap(Stage::Admit, self.lanes.arrived.len());
                stages::run(&mut self.core, &mut self.lanes);
                moved = true;
            }
        }
        if receive::from_tun(&mut self.core, &mut self.lanes) > 0 {
            self.core.accounts.lap(Stage::Admit, self.lanes.arrived.len());
            stages::run(&mut self.core, &mut self.lanes);
            moved = true;
        }
        while let Some(slot) = self.core.parking.expired(now) {
            self.core.discard(slot, DropReason::NoNeighbour);
        }
        while let Some(slot) = self.core.larval.expired(now) {
            self.core.discard(slot, DropReason::NoSa);
        }
        self.close_passages();
        let transmitted = transmit::flush(&mut self.core);
        self.core.accounts.lap(Stage::Transmit, transmitted);
        moved |= transmitted > 0;
        self.core.counters.hold(self.core.held());
        self.core.post.ring();
        self.core.events.ring();
        self.board.update(now, ports(&self.core));
        self.core.accounts.end(moved);
        moved
    }

    /// Turns until `stop` says so: without a pause while there is work, asleep in `poll(2)` when there was none for
    /// a while and nobody asked it to stay awake. A command alone does not keep it awake: a negotiation gives several, far
    /// apart, and each would cost a thousand turns. `started` is the moment from which all times in the process are counted.
    pub fn run(&mut self, stop: &AtomicBool, started: Instant) {
        let mut idle = 0;
        while !stop.load(Ordering::Relaxed) {
            let is_told = !self.link.orders.is_empty();
            if self.poll(started.elapsed()) && !is_told {
                idle = 0;
            } else if idle < IDLE_TURNS_MAX || self.core.settings.busy {
                idle = idle.saturating_add(1);
                std::hint::spin_loop();
            } else {
                self.sleep();
            }
        }
    }

    /// Waits for a packet, a command or a parcel.
    fn sleep(&self) {
        self.link.bell.doze();
        if self.link.orders.is_empty() && !self.core.post.is_waiting() {
            let mut fds: Vec<BorrowedFd<'_>> = vec![self.link.bell.fd()];
            let mut timeout = SLEEP_MAX;
            for port in ports(&self.core) {
                let own = port.fds();
                // A port that cannot be waited for, or that has to be asked again, is asked again soon.
                if own.is_empty() || port.unsent() > 0 {
                    timeout = SLEEP_UNSENT;
                }
                fds.extend(own);
            }
            if self.core.queued() > 0 {
                timeout = SLEEP_UNSENT;
            }
            let mut fds: Vec<_> =
                fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
            // Interrupted or refused: then the loop turns once more, which is what being woken means.
            let _ = poll(&mut fds, Some(&timeout));
        }
        self.link.bell.wake();
    }

    fn adopt(&mut self) -> bool {
        let mut adopted = 0;
        for at in 0..self.core.post.inboxes.len() {
            for _ in 0..BATCH_MAX {
                let inbox = self.core.post.inboxes[at].as_mut();
                let Some(parcel) = inbox.and_then(crate::handoff::Inbox::receive) else { break };
                self.catch_up(&parcel);
                receive::adopt(&mut self.core, &parcel, &mut self.lanes);
                if let Some(inbox) = self.core.post.inboxes[at].as_mut() {
                    inbox.give_back(parcel);
                }
                adopted += 1;
            }
        }
        if adopted > 0 {
            self.core.accounts.lap(Stage::Adopt, adopted);
            stages::run(&mut self.core, &mut self.lanes);
        }
        adopted > 0
    }

    /// A packet of control's may come by before its passage is open here: the other worker was faster with its commands.
    /// Ours with this one was sent before, so it is in the ring.
    fn catch_up(&mut self, parcel: &Parcel) {
        let Work::Protect { rule, .. } = parcel.work else { return };
        if PassageId::of(rule).is_some() {
            while self.core.bindings.of(rule).is_none() && self.apply_orders() {}
        }
    }

    fn apply_orders(&mut self) -> bool {
        let mut applied = None;
        for _ in 0..COMMANDS_PER_TURN_MAX {
            let Ok((token, order)) = self.link.orders.pop() else { break };
            self.core.applied = token;
            self.apply(order);
            applied = Some(token);
        }
        if let Some(token) = applied {
            self.core.accounts.spend(Stage::Commands);
            // What the change set free (parked packets, a datagram of control's) is on its way before anybody hears that it
            // was made.
            stages::run(&mut self.core, &mut self.lanes);
            transmit::flush(&mut self.core);
            self.link.applied.store(token, Ordering::Release);
        }
        applied.is_some()
    }

    fn apply(&mut self, order: Order) {
        let core = &mut self.core;
        match order {
            Order::Rules(spd, mut bindings, generation) => {
                let old = std::mem::replace(&mut core.spd, spd);
                bindings.inherit(&mut core.bindings);
                let gone = std::mem::replace(&mut core.bindings, bindings);
                core.generation = generation;
                core.flows.invalidate();
                core.fast.invalidate();
                // What waits in clear was judged by the old rules.
                core.parking.retry_clear(&mut self.lanes.judge);
                core.larval.release_all(&mut self.lanes.judge);
                self.retire(Retired::Rules(old, gone));
            }
            Order::Forwarding(fib) => {
                let old = std::mem::replace(&mut core.fib, fib);
                core.bindings.measure_all(&core.sad, &core.fib);
                let fib = Arc::clone(&core.fib);
                core.sad.all_inbound_mut().for_each(|sa| measure(sa, &fib));
                core.fast.invalidate();
                core.parking.retry(&mut self.lanes.forward);
                self.retire(Retired::Fib(old));
            }
            Order::InstallInbound(mut sa) => {
                measure(&mut sa, &core.fib);
                let (id, rule) = (sa.id, sa.rule);
                let replaced = core.sad.install_inbound(*sa);
                core.bindings.set_larval(rule, true);
                // Control never reuses a name; were it to, no rule may go on using what had to make way.
                core.bindings.refresh(id, &core.sad, &core.fib);
                replaced.into_iter().flatten().for_each(|sa| self.retire(Retired::Sa(Box::new(sa))));
            }
            Order::InstallOutbound(sa) => {
                let id = sa.id;
                let replaced = core.sad.install_outbound(*sa);
                core.bindings.refresh(id, &core.sad, &core.fib);
                replaced.into_iter().for_each(|sa| self.retire(Retired::Sa(Box::new(sa))));
            }
            Order::Bind(rule, stacks) => {
                let old = core.bindings.bind(rule, stacks, &core.sad, &core.fib);
                if core.bindings.of(rule).is_some_and(Binding::is_bound) {
                    // Judged anew: the rules may change again before it is their turn.
                    core.larval.release(rule, &mut self.lanes.judge);
                }
                self.retire(Retired::Stacks(old));
            }
            Order::Discovery(discovery) => {
                let old = core.lookout.look_for(discovery);
                core.fast.invalidate();
                self.retire(Retired::Discovery(old));
            }
            Order::Inject(injected) => {
                inject::inject(core, &mut self.lanes, &injected);
                self.retire(Retired::Injected(injected));
            }
            Order::Passage(id, stack, injected) => {
                core.bindings.passages.open(id, stack, &mut core.sad, &core.fib, core.now);
                if let Some(injected) = injected {
                    inject::through(core, &mut self.lanes, &injected.packet, id);
                    self.retire(Retired::Injected(injected));
                }
            }
            Order::Nothing => {}
            Order::Rearm(rule) => core.bindings.rearm(rule),
            Order::MovePeer(id, remote, encapsulation) => {
                if core.sad.move_peer(id, remote, encapsulation) {
                    core.bindings.refresh(id, &core.sad, &core.fib);
                } else if let Some(sa) = core.sad.inbound_by_id_mut(id) {
                    sa.expect(&core.fib);
                }
            }
            Order::Remove(id) => self.remove(id),
        }
    }

    fn remove(&mut self, id: SaId) {
        let core = &mut self.core;
        let removed = core.sad.remove(id);
        if let Some(Removed::Inbound(sa)) = &removed {
            core.bindings.set_larval(sa.rule, false);
        }
        core.bindings.refresh(id, &core.sad, &core.fib);
        removed.into_iter().for_each(|sa| self.retire(Retired::Sa(Box::new(sa))));
    }

    fn close_passages(&mut self) {
        let core = &mut self.core;
        while let Some((stacks, removed)) = core.bindings.passages.close(&mut core.sad, core.now) {
            drop(self.link.retired.push(Retired::Stacks(stacks)));
            for sa in removed {
                drop(self.link.retired.push(Retired::Sa(Box::new(sa))));
            }
        }
    }

    /// Gives memory back to control. Were the ring ever full, it would be freed here, which is only slower.
    fn retire(&mut self, retired: Retired) {
        drop(self.link.retired.push(retired));
    }
}

fn measure(sa: &mut Inbound, fib: &crate::fib::Fib) {
    sa.expect(fib);
    sa.mtu = sa.shape.inner_max(fib.mtu_towards(sa.shape.remote).unwrap_or(MTU_UNKNOWN).into());
}

fn ports(core: &Core) -> impl Iterator<Item = &dyn Port> {
    core.berths.iter().chain(&core.tun).map(|berth| &*berth.port as &dyn Port)
}

impl Drop for Worker {
    /// Frames that wait go home, so that the UMEM can be unmapped.
    fn drop(&mut self) {
        let core = &mut self.core;
        for berth in core.berths.iter_mut().chain(&mut core.tun) {
            berth.queue.drain(..).for_each(|frame| core.umem.release(frame));
        }
        core.parking.retry(&mut self.lanes.forward);
        core.larval.release_all(&mut self.lanes.forward);
        self.lanes.forward.drain(..).for_each(|slot| core.umem.release(slot.frame));
    }
}
