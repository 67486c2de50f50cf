//! Which negotiation a datagram belongs to, cheapest question first.

use super::isakmp::{Isakmp, IsakmpId, Phase};
use super::{Endpoint, Handler};
use crate::crypto::Cookies;
use crate::limits::MESSAGE_OCTETS_MAX;
use crate::retransmit::Repetition;
use crate::wire::{Body, ExchangeType, Header, Notify, PayloadType};
use crate::{Discard, Notice, Path};
use std::time::Duration;

/// One message, its header decoded.
pub(super) struct Message<'a> {
    pub(super) header: Header,
    /// Header and body, without the non-ESP marker.
    pub(super) octets: &'a [u8],
}

impl<'a> Message<'a> {
    fn decode(path: Path, octets: &'a [u8]) -> Result<Self, Discard> {
        let octets = if path.has_marker() {
            match octets {
                [0xff] => return Err(Discard::Keepalive),
                [0, 0, 0, 0, message @ ..] => message,
                _ => return Err(Discard::NoMarker),
            }
        } else {
            octets
        };
        Self::of(octets)
    }

    /// One message without a marker.
    pub(super) fn of(octets: &'a [u8]) -> Result<Self, Discard> {
        let (header, _) = Header::decode(octets).map_err(|_| Discard::Malformed)?;
        if header.major() != 1 {
            return Err(Discard::UnsupportedVersion);
        }
        if octets.len() > MESSAGE_OCTETS_MAX {
            return Err(Discard::Malformed);
        }
        // What lies behind the message is not part of it, and must not make a repetition look new.
        let length = usize::try_from(header.length).map_err(|_| Discard::Malformed)?;
        Ok(Self { header, octets: octets.get(..length).ok_or(Discard::Malformed)? })
    }

    pub(super) const fn cookies(&self) -> Cookies {
        Cookies { initiator: self.header.cookie_i, responder: self.header.cookie_r }
    }

    /// The payloads of a message of phase 1 that travels in clear.
    pub(super) fn clear_body(&self) -> Result<Body<'a>, Discard> {
        if self.header.is_encrypted() {
            return Err(Discard::UnexpectedEncryption);
        }
        let (_, body) = Header::decode(self.octets).map_err(|_| Discard::Malformed)?;
        Body::decode(self.header.next_payload, body).map_err(|_| Discard::Malformed)
    }
}

impl Endpoint {
    pub(super) fn receive(&mut self, now: Duration, path: Path, octets: &[u8]) -> Result<(), Discard> {
        let message = Message::decode(path, octets)?;
        match message.header.next_payload {
            PayloadType::FRAGMENT => self.fragment(now, path, &message),
            _ => self.dispatch(now, path, &message),
        }
    }

    /// A whole message, as it came or put together from fragments.
    pub(super) fn dispatch(
        &mut self,
        now: Duration,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let cookies = message.cookies();
        if cookies.initiator == [0; 8] {
            return Err(Discard::UnknownCookies);
        }
        if cookies.responder == [0; 8] {
            // Our own first message, reflected.
            if self.by_cookies.contains_key(&cookies) {
                return Err(Discard::Duplicate);
            }
            return self.first_message(now, path, message);
        }
        match self.known_isakmp(cookies).map(|isakmp| isakmp.id) {
            Some(id) => self.known(now, path, id, message),
            None if self.admission.is_ours(path, cookies) || self.is_floated(path, message) => {
                self.third_message(now, path, message)
            }
            None if message.header.exchange == ExchangeType::INFORMATIONAL
                && !message.header.is_encrypted() =>
            {
                Err(Discard::UnprotectedInformational)
            }
            None => Err(Discard::UnknownCookies),
        }
    }

    /// The negotiation of these cookies, also while we wait for the responder's.
    pub(super) fn known_isakmp(&self, cookies: Cookies) -> Option<&Isakmp> {
        let awaiting_responder = Cookies { responder: [0; 8], ..cookies };
        let id = self.by_cookies.get(&cookies).or_else(|| self.by_cookies.get(&awaiting_responder))?;
        self.isakmps.get(id)
    }

    /// Whether it is the third message of an aggressive mode that floated with it.
    fn is_floated(&self, path: Path, message: &Message<'_>) -> bool {
        path.has_marker()
            && message.header.exchange == ExchangeType::AGGRESSIVE
            && self.admission.floated(message.cookies()).is_some()
    }

    fn known(
        &mut self,
        now: Duration,
        path: Path,
        id: IsakmpId,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let isakmp = self.isakmps.get(&id).ok_or(Discard::UnknownCookies)?;
        if !isakmp.may_come_by(path) {
            return Err(Discard::WrongPath);
        }
        let is_established = isakmp.sa().is_some();
        match message.header.exchange {
            exchange if exchange == isakmp.exchange && message.header.message_id == 0 => {
                self.phase_one_message(now, path, id, message)
            }
            ExchangeType::INFORMATIONAL if !message.header.is_encrypted() => self.hint(id, message),
            ExchangeType::INFORMATIONAL if is_established => {
                self.take(now, path, id, message, Self::informational_message)
            }
            ExchangeType::TRANSACTION if is_established => {
                self.take(now, path, id, message, Self::transaction_message)
            }
            ExchangeType::QUICK if is_established => self.take(now, path, id, message, Self::quick_message),
            _ => Err(Discard::UnexpectedExchange),
        }
    }

    /// A message under an established SA: never the zero message ID, and repetitions are not looked into.
    pub(super) fn take(
        &mut self,
        now: Duration,
        path: Path,
        id: IsakmpId,
        message: &Message<'_>,
        handle: Handler,
    ) -> Result<(), Discard> {
        if message.header.message_id == 0 {
            return Err(Discard::Malformed);
        }
        if !message.header.is_encrypted() {
            return Err(Discard::NotEncrypted);
        }
        let result = self.with_isakmp(id, |endpoint, isakmp| {
            let sa = isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?;
            if let Some(exchange) = sa.exchanges.get_mut(&message.header.message_id) {
                match exchange.answered.repetition(message.octets) {
                    Repetition::New => {}
                    Repetition::Silence => return Err(Discard::Duplicate),
                    Repetition::Answer(response) => {
                        let response = response.to_vec();
                        endpoint.transmit(isakmp.path, &response);
                        return Err(Discard::Retransmitted);
                    }
                }
            }
            handle(endpoint, now, path, isakmp, message)
        });
        result.unwrap_or(Err(Discard::UnknownCookies))
    }

    fn phase_one_message(
        &mut self,
        now: Duration,
        path: Path,
        id: IsakmpId,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let result = self.with_isakmp(id, |endpoint, isakmp| {
            match isakmp.answered.repetition(message.octets) {
                Repetition::New => {}
                Repetition::Silence => return Err(Discard::Duplicate),
                Repetition::Answer(response) => {
                    let response = response.to_vec();
                    // Base mode ends before both sides float.
                    let is_base = isakmp.exchange == ExchangeType::BASE;
                    let back = if is_base { path } else { isakmp.path };
                    endpoint.transmit(back, &response);
                    return Err(Discard::Retransmitted);
                }
            }
            match isakmp.phase {
                Phase::ExpectSa(_) => endpoint.second_message(now, path, isakmp, message),
                Phase::ExpectKe(_) => endpoint.fourth_message(now, path, isakmp, message),
                Phase::ExpectAuth(_) => endpoint.fifth_message(now, path, isakmp, message),
                Phase::ExpectLast(_) => endpoint.sixth_message(now, path, isakmp, message),
                Phase::ExpectAnswer(_) => endpoint.aggressive_answer(now, path, isakmp, message),
                Phase::ExpectBaseSa(_) => endpoint.base_second(now, path, isakmp, message),
                Phase::ExpectBaseLast(_) => endpoint.base_fourth(now, path, isakmp, message),
                Phase::Established(_) | Phase::Gone => Err(Discard::UnexpectedExchange),
            }
        });
        result.unwrap_or(Err(Discard::UnknownCookies))
    }

    /// A Notify or Delete in clear changes nothing (REQUIREMENTS F-3). An error notify is remembered, so that
    /// the failure of an unanswered negotiation can say what the peer may have meant.
    fn hint(&mut self, id: IsakmpId, message: &Message<'_>) -> Result<(), Discard> {
        let isakmp =
            self.isakmps.get_mut(&id).filter(|isakmp| isakmp.is_initiating() && isakmp.hint.is_none());
        if let (Some(isakmp), Ok(body)) = (isakmp, message.clear_body()) {
            let notify =
                body.first(PayloadType::NOTIFY).and_then(|payload| Notify::decode(payload.body).ok());
            if let Some(notify) = notify.filter(|notify| notify.kind.is_error()) {
                isakmp.hint = Some(notify.kind.0);
                let peer = isakmp.peer;
                let peer = self.name(peer);
                self.log(Notice::Notified { peer, notify: notify.kind.0, authentic: false });
            }
        }
        Err(Discard::UnprotectedInformational)
    }
}
