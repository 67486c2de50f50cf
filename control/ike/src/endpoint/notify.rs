//! Informational exchanges under an ISAKMP SA: Notify, Delete, dead peer detection.

use super::Endpoint;
use super::demux::Message;
use super::isakmp::Isakmp;
use crate::crypto::Cookies;
use crate::limits::LIFETIME_S_MIN;
use crate::v1::exchange::State;
use crate::v1::phase_one;
use crate::wire::{Body, Delete, Notify, NotifyType, PayloadType, ProtocolId};
use crate::{Discard, Down, Failure, Notice, Path};
use std::time::Duration;
use warren_seam::{SaId, Spi};

impl Endpoint {
    /// A message of an informational exchange: one message, authenticated before anything is believed.
    pub(super) fn informational_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let message_id = message.header.message_id;
        let sa = isakmp.sa().ok_or(Discard::UnexpectedExchange)?;
        if sa.exchanges.contains_key(&message_id) {
            return Err(Discard::MessageIdReused);
        }
        let opened = sa.open(&message.header, message.octets)?;
        let body =
            Body::decode(message.header.next_payload, &opened.plain).map_err(|_| Discard::Undecryptable)?;
        sa.verify_hash_1(message_id, &body)?;
        // Questions and answers of DPD carry a sequence number against replay; remembering the message ID of
        // each would use up the table of a long-lived SA.
        if is_dpd(&body) {
            if dpd_messages(&body).any(|(kind, sequence)| sa.is_reflected(message_id, kind, sequence)) {
                return Err(Discard::Reflected);
            }
        } else {
            isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?.use_message_id(message_id)?;
            isakmp.heard(now);
            self.adopt_path(isakmp, path);
        }
        let mut result = Ok(());
        for payload in body.payloads() {
            let handled = match payload.kind {
                PayloadType::NOTIFY => match Notify::decode(payload.body) {
                    Ok(notify) => self.notified(now, path, isakmp, &notify),
                    Err(_) => Err(Discard::Malformed),
                },
                PayloadType::DELETE => match Delete::decode(payload.body) {
                    Ok(delete) => self.deleted(now, isakmp, &delete),
                    Err(_) => Err(Discard::Malformed),
                },
                _ => Ok(()),
            };
            result = result.and(handled);
        }
        result
    }

    fn notified(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        notify: &Notify<'_>,
    ) -> Result<(), Discard> {
        match notify.kind {
            NotifyType::R_U_THERE => self.asked(now, path, isakmp, notify),
            NotifyType::R_U_THERE_ACK => self.answered(now, path, isakmp, notify),
            NotifyType::INITIAL_CONTACT => {
                if let Some(identity) = isakmp.sa().map(|sa| sa.identity.clone()) {
                    self.initial_contact(isakmp, &identity);
                }
                Ok(())
            }
            // That it came, and from where, is all it says.
            NotifyType::CONNECTED => Ok(()),
            NotifyType::RESPONDER_LIFETIME => {
                self.lifetime_notified(now, isakmp, notify);
                Ok(())
            }
            kind => {
                let peer = self.name(isakmp.peer);
                self.log(Notice::Notified { peer, notify: kind.0, authentic: true });
                if kind.is_error() && self.quick_mode_refused(now, isakmp, notify) {
                    return Ok(());
                }
                Err(Discard::UnknownNotify)
            }
        }
    }

    /// R-U-THERE: answered at once, whatever we think of dead peer detection ourselves (RFC 3706 §5.2).
    fn asked(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        notify: &Notify<'_>,
    ) -> Result<(), Discard> {
        let sequence = notify.sequence().ok_or(Discard::Malformed)?;
        let sa = isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?;
        if sa.peer_sequence.is_some_and(|last| sequence <= last) {
            return Err(Discard::BadDpdSequence);
        }
        sa.peer_sequence = Some(sequence);
        let answer = sa.seal_dpd(NotifyType::R_U_THERE_ACK, sequence);
        isakmp.heard(now);
        self.adopt_path(isakmp, path);
        self.transmit(isakmp.path, &answer);
        Ok(())
    }

    fn answered(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        notify: &Notify<'_>,
    ) -> Result<(), Discard> {
        let sequence = notify.sequence().ok_or(Discard::Malformed)?;
        let dpd = isakmp.established().and_then(|established| established.dpd.as_ref());
        if !dpd.is_some_and(|dpd| dpd.is_answer(sequence)) {
            return Err(Discard::BadDpdSequence);
        }
        isakmp.heard(now);
        self.adopt_path(isakmp, path);
        Ok(())
    }

    /// Our question.
    pub(super) fn ask(&mut self, isakmp: &mut Isakmp, sequence: u32) {
        let path = isakmp.path;
        let Some(sa) = isakmp.sa() else { return };
        let question = sa.seal_dpd(NotifyType::R_U_THERE, sequence);
        self.transmit(path, &question);
    }

    /// The peer ends the ISAKMP SA earlier than we agreed to; it may not make it longer.
    fn lifetime_notified(&self, now: Duration, isakmp: &mut Isakmp, notify: &Notify<'_>) {
        if notify.protocol != ProtocolId::ISAKMP {
            return;
        }
        let seconds =
            notify.attributes().ok().and_then(|attributes| phase_one::notified_seconds(&attributes));
        let (Some(seconds), Some(established)) = (seconds, isakmp.established_mut()) else { return };
        // The attribute may hold any 64-bit number: beyond 32 bits it cannot shorten anything.
        let seconds = seconds.clamp(u64::from(LIFETIME_S_MIN), u64::from(u32::MAX));
        let life = Duration::from_secs(seconds);
        let expires_at = established.at + life;
        if expires_at < established.expires_at {
            established.expires_at = expires_at;
            let renew_at = established.at + life * 3 / 4;
            established.renew_at = established.renew_at.map(|at| at.min(renew_at).max(now));
        }
    }

    /// An error notify that names the SPI of a quick mode of ours ends it; one without an SPI ends the only one.
    fn quick_mode_refused(&mut self, now: Duration, isakmp: &mut Isakmp, notify: &Notify<'_>) -> bool {
        let Some(sa) = isakmp.sa_mut() else { return false };
        let spi = notify.spi_u32().filter(|spi| *spi != 0);
        let ours: Vec<u32> = (sa.exchanges.iter())
            .filter_map(|(message_id, exchange)| match &exchange.state {
                State::Initiator(state) if spi.is_none_or(|spi| state.spi() == Spi(spi)) => Some(*message_id),
                _ => None,
            })
            .collect();
        let [message_id] = ours[..] else { return false };
        let Some(exchange) = sa.exchanges.remove(&message_id) else { return false };
        let State::Initiator(state) = exchange.state else { return false };
        self.names.release(state.spi());
        self.child_failed(isakmp.peer, state.child().rule, Failure::Refused(notify.kind.0));
        self.drain_pending(now, isakmp);
        true
    }

    fn deleted(&mut self, now: Duration, isakmp: &mut Isakmp, delete: &Delete<'_>) -> Result<(), Discard> {
        match delete.protocol() {
            ProtocolId::ESP => self.children_deleted(isakmp, delete),
            ProtocolId::ISAKMP => self.isakmp_deleted(now, isakmp, delete),
            _ => Err(Discard::UnknownDelete),
        }
    }

    /// The SPIs are the peer's inbound ones: our outbound ones. A pair goes as a whole.
    fn children_deleted(&mut self, isakmp: &Isakmp, delete: &Delete<'_>) -> Result<(), Discard> {
        let mut result = Err(Discard::UnknownDelete);
        for spi in delete.esp_spis() {
            let of_peer = self.peer(isakmp.peer).children.iter().copied();
            let found: Vec<SaId> = of_peer
                .filter(|id| self.children.get(id).is_some_and(|child| child.outbound_spi == Spi(spi)))
                .collect();
            for id in found {
                self.forget_child(id, Down::DeletedByPeer);
                result = Ok(());
            }
        }
        result
    }

    fn isakmp_deleted(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        delete: &Delete<'_>,
    ) -> Result<(), Discard> {
        let mut result = Err(Discard::UnknownDelete);
        let named: Vec<Cookies> =
            delete.cookies().map(|(initiator, responder)| Cookies { initiator, responder }).collect();
        for cookies in named {
            if cookies == isakmp.cookies {
                if !isakmp.is_gone() {
                    self.close_isakmp(now, isakmp, Down::DeletedByPeer, false);
                }
                result = Ok(());
            } else if let Some(id) = self.by_cookies.get(&cookies).copied() {
                let peer = isakmp.peer;
                let closed = self.with_isakmp(id, |endpoint, other| {
                    // One peer must not delete another's.
                    let may = other.peer == peer && other.sa().is_some();
                    if may {
                        endpoint.close_isakmp(now, other, Down::DeletedByPeer, false);
                    }
                    may
                });
                if closed == Some(true) {
                    result = Ok(());
                }
            }
        }
        result
    }
}

fn is_dpd(body: &Body<'_>) -> bool {
    let kinds = [NotifyType::R_U_THERE, NotifyType::R_U_THERE_ACK];
    body.payloads().iter().skip(1).all(|payload| {
        payload.kind == PayloadType::NOTIFY
            && Notify::decode(payload.body).is_ok_and(|notify| kinds.contains(&notify.kind))
    })
}

fn dpd_messages<'a>(body: &'a Body<'_>) -> impl Iterator<Item = (NotifyType, u32)> + 'a {
    let notifies = body.all(PayloadType::NOTIFY).filter_map(|payload| Notify::decode(payload.body).ok());
    notifies.filter_map(|notify| Some((notify.kind, notify.sequence()?)))
}
