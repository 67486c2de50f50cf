//! Messages in fragments, in and out.

use super::Endpoint;
use super::demux::Message;
use super::isakmp::Isakmp;
use crate::crypto::Cookies;
use crate::v1::fragment::{room, split};
use crate::wire::{Body, ExchangeType, Fragment, HEADER_OCTETS, PayloadType};
use crate::{Discard, Mode, Path};
use std::time::Duration;
use warren_policy::PeerId;

impl Endpoint {
    /// One fragment. The last one that was missing brings the message, which then is treated like any other.
    pub(super) fn fragment(
        &mut self,
        now: Duration,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let cookies = message.cookies();
        let peer = self.fragmenting_peer(path, cookies)?;
        if !self.peer(peer).config.fragmentation {
            return Err(Discard::BadFragment);
        }
        // racoon sets the encryption flag; what it says is true of the message, not of its fragments.
        let octets = message.octets.get(HEADER_OCTETS..).ok_or(Discard::Malformed)?;
        let body = Body::decode(PayloadType::FRAGMENT, octets).map_err(|_| Discard::Malformed)?;
        let payload = body.first(PayloadType::FRAGMENT).ok_or(Discard::Malformed)?;
        let fragment = Fragment::decode(payload.body).map_err(|_| Discard::Malformed)?;
        let whole = self.reassembler.add(now, (path.remote, cookies), &fragment, &mut self.counters)?;
        let Some(whole) = whole else { return Ok(()) };
        let message = Message::of(&whole)?;
        if message.cookies() != cookies || message.header.next_payload == PayloadType::FRAGMENT {
            return Err(Discard::BadFragment);
        }
        self.dispatch(now, path, &message)
    }

    /// Whose fragment it is. Nothing is kept for somebody who does not know the cookies of a negotiation.
    fn fragmenting_peer(&mut self, path: Path, cookies: Cookies) -> Result<PeerId, Discard> {
        if cookies.responder == [0; 8] {
            return Err(Discard::UnknownCookies);
        }
        if let Some(isakmp) = self.known_isakmp(cookies) {
            return if isakmp.may_come_by(path) { Ok(isakmp.peer) } else { Err(Discard::WrongPath) };
        }
        if !self.admission.is_ours(path, cookies) {
            return Err(Discard::UnknownCookies);
        }
        let record = self.admission.record(path, cookies.initiator);
        record.map(|record| record.peer).ok_or(Discard::UnknownCookies)
    }

    /// The peer promised to put fragments together, and we may send them.
    pub(super) fn learn_fragmentation(&mut self, isakmp: &Isakmp, is_promised: bool) {
        let config = &self.peer(isakmp.peer).config;
        if is_promised && config.fragmentation {
            let exchange = exchange_of(config.mode);
            self.fragmenting.insert(isakmp.id, exchange);
        }
    }

    /// The message in as many pieces as the path to its reader needs.
    pub(super) fn pieces(&self, path: Path, message: &[u8]) -> Vec<Vec<u8>> {
        let room = room(path, self.packet_octets);
        let whole = || vec![message.to_vec()];
        if message.len() <= room {
            return whole();
        }
        let Ok(of) = Message::of(message) else { return whole() };
        let exchange = self.by_cookies.get(&of.cookies()).and_then(|id| self.fragmenting.get(id));
        exchange.map_or_else(whole, |exchange| split(of.cookies(), *exchange, message, room))
    }
}

/// Fragments travel under the exchange of phase 1, also long after it.
const fn exchange_of(mode: Mode) -> ExchangeType {
    match mode {
        Mode::Main => ExchangeType::MAIN,
        Mode::Aggressive => ExchangeType::AGGRESSIVE,
        Mode::Base => ExchangeType::BASE,
    }
}
