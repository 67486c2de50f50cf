//! Messages in fragments, in and out.

use super::Endpoint;
use super::demux::Message;
use super::isakmp::Isakmp;
use crate::crypto::Cookies;
use crate::v1::fragment::{room, split};
use crate::v1::vendors::Vendors;
use crate::wire::{Body, ExchangeType, Fragment, HEADER_OCTETS, PayloadType};
use crate::{Discard, Path};
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
        // The third message of an aggressive mode may come from the ports it has floated to.
        let floated = if path.has_marker() { self.admission.floated(cookies) } else { None };
        if floated.is_none() && !self.admission.is_ours(path, cookies) {
            return Err(Discard::UnknownCookies);
        }
        let record = self.admission.record(floated.unwrap_or(path), cookies.initiator);
        record.map(|record| record.peer).ok_or(Discard::UnknownCookies)
    }

    /// As initiator: the first answer promises to put fragments together, and we may send them.
    pub(super) fn learn_fragmentation(&mut self, isakmp: &mut Isakmp, message: &Message<'_>) {
        let config = &self.peer(isakmp.peer).config;
        let promised =
            message.clear_body().is_ok_and(|body| Vendors::of(&body).for_config(config).fragmentation);
        if promised {
            isakmp.fragments = true;
            self.fragmenting.insert(isakmp.id, isakmp.exchange);
        }
    }

    /// The exchange of fragments to the reader of this message, where it takes any. Fragments travel under the
    /// exchange of phase 1, also long after it.
    pub(super) fn fragments_of(&self, message: &[u8]) -> Option<ExchangeType> {
        let cookies = Message::of(message).ok()?.cookies();
        self.fragmenting.get(self.by_cookies.get(&cookies)?).copied()
    }

    /// Sends the message, in as many pieces as the path to its reader needs.
    pub(super) fn transmit_in_pieces(&mut self, path: Path, fragments: Option<ExchangeType>, message: &[u8]) {
        let marker: &[u8] = if path.has_marker() { &[0; 4] } else { &[] };
        let room = room(path, self.packet_octets);
        let pieces = match (fragments, Message::of(message)) {
            (Some(exchange), Ok(of)) => split(of.cookies(), exchange, message, room),
            _ => vec![message.to_vec()],
        };
        for piece in pieces {
            self.send(path, [marker, &piece].concat());
        }
    }
}
