//! What time alone brings about: repetition, giving up, renewal, dead peer detection, keepalives, expiry.

use super::Endpoint;
use super::isakmp::{Isakmp, IsakmpId};
use crate::limits::{KEEPALIVE_INTERVAL, RETIRE_DELAY};
use crate::retransmit::Retransmission;
use crate::v1::dpd::Due;
use crate::v1::exchange::State;
use crate::{Discard, Down, Failure};
use std::time::Duration;

/// A NAT keepalive (RFC 3948 §2.3).
const KEEPALIVE: u8 = 0xff;

impl Endpoint {
    /// One of the clocks of this negotiation or SA has come.
    pub(super) fn isakmp_due(&mut self, now: Duration, id: IsakmpId) {
        self.with_isakmp(id, |endpoint, isakmp| {
            endpoint.repeat_phase_one(now, isakmp);
            endpoint.repeat_exchanges(now, isakmp);
            endpoint.xauth_due(now, isakmp);
            if isakmp.is_gone() {
                return;
            }
            endpoint.keep_alive(now, isakmp);
            endpoint.detect_dead_peer(now, isakmp);
            endpoint.renew(now, isakmp);
            endpoint.end_of_life(now, isakmp);
        });
    }

    fn repeat_phase_one(&mut self, now: Duration, isakmp: &mut Isakmp) {
        if isakmp.ends_at.is_some_and(|at| at <= now) {
            let peer = isakmp.peer;
            self.forget(isakmp);
            self.after_failed_main_mode(now, peer, Failure::NoAnswer);
            return;
        }
        let path = isakmp.path;
        let Some(message) = isakmp.retransmission.as_mut().filter(|message| message.deadline() <= now) else {
            return;
        };
        if let Some(octets) = message.repeat(now) {
            self.counters.retransmissions += 1;
            self.transmit(path, octets);
            return;
        }
        if isakmp.sa().is_some() {
            // The third message of aggressive mode: whether it arrived, the first exchange under the SA will show.
            isakmp.retransmission = None;
            return;
        }
        let reason = isakmp.hint.map_or(Failure::NoAnswer, Failure::Hinted);
        self.main_mode_failed(now, isakmp, reason);
    }

    fn repeat_exchanges(&mut self, now: Duration, isakmp: &mut Isakmp) {
        let (path, peer, is_unconfirmed) = (isakmp.path, isakmp.peer, isakmp.is_unconfirmed);
        let (heard_at, mut is_silent) = (isakmp.heard_at, isakmp.is_silent);
        let mut is_void = false;
        let Some(sa) = isakmp.sa_mut() else { return };
        let mut is_user_silent = false;
        let due = sa.exchanges.iter().filter(|(_, exchange)| exchange.deadline() <= now);
        for message_id in due.map(|(message_id, _)| *message_id).collect::<Vec<_>>() {
            let Some(exchange) = sa.exchanges.get_mut(&message_id) else { continue };
            if let Some(octets) = exchange.retransmission.as_mut().and_then(|message| message.repeat(now)) {
                self.counters.retransmissions += 1;
                self.transmit(path, octets);
                continue;
            }
            if let Some(exchange) = sa.exchanges.remove(&message_id) {
                if matches!(exchange.state, State::Responder { .. }) {
                    self.counters.discard(Discard::Unconfirmed);
                }
                let begun_at = exchange.retransmission.as_ref().map(Retransmission::begun_at);
                is_silent |= exchange.is_ours() && begun_at.is_some_and(|begun| heard_at <= begun);
                is_void |= is_unconfirmed && (exchange.is_ours() || exchange.awaits_answer());
                is_user_silent |= exchange.asks_user();
                self.end_exchange(peer, exchange.state, (Down::Unconfirmed, Failure::NoAnswer));
            }
        }
        isakmp.is_silent = is_silent;
        if is_void {
            // The peer may never have known of this SA.
            return self.close_isakmp(now, isakmp, Down::DeadPeer, false);
        }
        if is_user_silent {
            return self.user_refused(now, isakmp);
        }
        self.drain_pending(now, isakmp);
    }

    fn keep_alive(&mut self, now: Duration, isakmp: &mut Isakmp) {
        let (path, id, peer) = (isakmp.path, isakmp.id, isakmp.peer);
        let Some(established) = isakmp.established_mut() else { return };
        if established.keepalive_at.is_none_or(|at| at > now) {
            return;
        }
        established.keepalive_at = Some(now + KEEPALIVE_INTERVAL);
        // One SA's keepalives hold the mapping open for all.
        if self.peer(peer).current == Some(id) {
            self.send(path, vec![KEEPALIVE]);
        }
    }

    fn detect_dead_peer(&mut self, now: Duration, isakmp: &mut Isakmp) {
        let is_current = self.peer(isakmp.peer).current == Some(isakmp.id);
        let dpd = isakmp.established_mut().and_then(|established| established.dpd.as_mut());
        let Some(dpd) = dpd.filter(|dpd| dpd.deadline() <= now) else { return };
        if !is_current {
            // The ISAKMP SA in use asks; this one must only not become due again at once.
            dpd.heard(now);
            return;
        }
        match dpd.due(now) {
            Due::Nothing => {}
            Due::Ask(sequence) => self.ask(isakmp, sequence),
            Due::Dead => self.peer_dead(isakmp),
        }
    }

    /// A successor is negotiated while this SA still works; children do not notice.
    fn renew(&mut self, now: Duration, isakmp: &mut Isakmp) {
        let (id, peer) = (isakmp.id, isakmp.peer);
        let Some(established) = isakmp.established_mut() else { return };
        let is_worn = established.sa.is_worn() && established.renew_at.is_some();
        if !is_worn && established.renew_at.is_none_or(|at| at > now) {
            return;
        }
        if self.peer(peer).is_idle_gateway() {
            // Nobody would miss it. It may be put to use again before it ends.
            established.renew_at = Some(now + RETIRE_DELAY);
            return;
        }
        established.renew_at = None;
        if self.peer(peer).current == Some(id) && !self.is_initiating(peer) {
            self.begin_phase_one(now, peer);
        }
    }

    fn end_of_life(&mut self, now: Duration, isakmp: &mut Isakmp) {
        let Some(established) = isakmp.established() else { return };
        if established.retire_at.is_some_and(|at| at <= now) {
            self.close_isakmp(now, isakmp, Down::Replaced, true);
        } else if established.expires_at <= now {
            self.close_isakmp(now, isakmp, Down::Expired, true);
        }
    }
}
