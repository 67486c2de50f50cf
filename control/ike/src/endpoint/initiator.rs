//! Phase 1 as initiator: from our first message to the peer's last.

use super::Endpoint;
use super::demux::Message;
use super::isakmp::{Isakmp, Phase};
use crate::crypto::Cookies;
use crate::path::PORT_ISAKMP;
use crate::retransmit::{Answered, Retransmission};
use crate::v1::aggressive_mode::{ExpectAnswer, Refused};
use crate::v1::base_mode;
use crate::v1::initiator::ExpectSa;
use crate::v1::proof::Judges;
use crate::wire::ExchangeType;
use crate::{Discard, Failure, Mode, Notice, Path, PeerConfig, Role};
use std::mem;
use std::net::SocketAddr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{Identity, PeerId};

/// The exchange type of that mode.
pub(super) const fn exchange(mode: Mode) -> ExchangeType {
    match mode {
        Mode::Main => ExchangeType::MAIN,
        Mode::Aggressive => ExchangeType::AGGRESSIVE,
        Mode::Base => ExchangeType::BASE,
    }
}

impl Endpoint {
    /// Message 1. A template cannot be called, nor can most who came to us under one: they have no address of their own.
    pub(super) fn begin_phase_one(&mut self, now: Duration, peer: PeerId) {
        let config = Arc::clone(&self.peer(peer).config);
        let remote = config.remote.host().filter(|_| self.peer(peer).is_callable());
        let Some(remote) = remote else { return self.fail_pending(peer, Failure::PeerDown) };
        let path = Path {
            local: SocketAddr::new(config.local, PORT_ISAKMP),
            remote: SocketAddr::new(remote, PORT_ISAKMP),
        };
        let cookies = Cookies { initiator: self.fresh_cookie(), responder: [0; 8] };
        let (mode, retransmit) = (config.mode, config.retransmit);
        let Some((phase, message)) = self.first_state(config, cookies.initiator) else {
            return self.fail_pending(peer, Failure::NotConfigured);
        };
        let name = self.name(peer);
        self.log(Notice::PeerNegotiating { peer: name, role: Role::Initiator, mode, path });
        self.transmit(path, &message);
        let isakmp = Isakmp {
            id: self.next_isakmp(),
            peer,
            role: Role::Initiator,
            exchange: exchange(mode),
            path,
            cookies,
            started_at: now,
            phase,
            retransmission: Some(Retransmission::new(now, message, retransmit)),
            answered: Answered::default(),
            hint: None,
            is_suspicious: false,
            is_unconfirmed: false,
            is_nat_open: false,
            fragments: false,
            heard_at: now,
            is_silent: false,
            ends_at: None,
        };
        self.add_isakmp(isakmp);
    }

    fn first_state(&mut self, config: Arc<PeerConfig>, cookie: [u8; 8]) -> Option<(Phase, Vec<u8>)> {
        match config.mode {
            Mode::Main => {
                let (state, message) = ExpectSa::begin(config, cookie);
                Some((Phase::ExpectSa(state), message))
            }
            Mode::Aggressive => {
                let (state, message) = ExpectAnswer::begin(config, cookie, &mut *self.entropy)?;
                self.counters.key_exchanges += 1;
                Some((Phase::ExpectAnswer(Box::new(state)), message))
            }
            Mode::Base => {
                let (state, message) = base_mode::ExpectSa::begin(config, cookie, &mut *self.entropy);
                Some((Phase::ExpectBaseSa(Box::new(state)), message))
            }
        }
    }

    fn fresh_cookie(&mut self) -> [u8; 8] {
        loop {
            let cookie: [u8; 8] = self.entropy.octets();
            if cookie != [0; 8] {
                return cookie;
            }
        }
    }

    /// Whether the peer may have SAs from before a restart of ours: only then is INITIAL-CONTACT true.
    fn is_first_contact(&self, peer: PeerId) -> bool {
        self.established(peer).next().is_none() && self.peer(peer).children.is_empty()
    }

    /// Message 2 of main mode: we learn the responder's cookie.
    pub(super) fn second_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let Phase::ExpectSa(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let body = message.clear_body()?;
        let (next, response) = state.handle(&message.header, &body, path, &mut *self.entropy)?;
        self.counters.key_exchanges += 1;
        self.learn_cookie(isakmp, message);
        isakmp.phase = Phase::ExpectKe(Box::new(next));
        self.advance(now, path, isakmp, message, response);
        Ok(())
    }

    fn learn_cookie(&mut self, isakmp: &mut Isakmp, message: &Message<'_>) {
        self.by_cookies.remove(&isakmp.cookies);
        isakmp.cookies = message.cookies();
        self.by_cookies.insert(isakmp.cookies, isakmp.id);
        self.learn_fragmentation(isakmp, message);
    }

    /// Message 4 of main mode: keys, and whether to float.
    pub(super) fn fourth_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let is_first = self.is_first_contact(isakmp.peer);
        let Phase::ExpectKe(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let (next, response) = state.handle(&message.clear_body()?, path, is_first, &mut *self.entropy)?;
        let path = if next.nat().float { path.floated() } else { path };
        isakmp.phase = Phase::ExpectLast(Box::new(next));
        self.advance(now, path, isakmp, message, response);
        Ok(())
    }

    /// Our next message is out, and repeated until it is answered.
    fn advance(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
        response: Vec<u8>,
    ) {
        let retransmit = self.peer(isakmp.peer).config.retransmit;
        self.transmit(path, &response);
        isakmp.path = path;
        isakmp.answered = Answered::new(message.octets, None);
        isakmp.retransmission = Some(Retransmission::new(now, response, retransmit));
    }

    /// Message 6 of main mode.
    pub(super) fn sixth_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let config = Arc::clone(&self.peer(isakmp.peer).config);
        let judges = Judges { configs: slice::from_ref(&config), unix_time: self.unix_time(now) };
        let Phase::ExpectLast(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        // Both sides have floated; believing the other port would put ESP in UDP where nobody expects it.
        if state.nat().float && !path.has_marker() {
            return Err(Discard::WrongPath);
        }
        let opened = state.open(&message.header, message.octets, judges);
        let authentic = opened.map_err(|unproved| self.suspect(isakmp, unproved))?;
        let Phase::ExpectLast(state) = mem::replace(&mut isakmp.phase, Phase::Gone) else {
            return Err(Discard::UnexpectedExchange);
        };
        isakmp.retransmission = None;
        isakmp.answered = Answered::new(message.octets, None);
        match state.handle(authentic) {
            Ok(sa) => {
                isakmp.path = path;
                self.establish(now, isakmp, sa, false);
                Ok(())
            }
            Err(identity) => self.refuse_answer(now, isakmp, identity),
        }
    }

    /// The peer proved to be somebody else.
    fn refuse_answer(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        identity: Option<Identity>,
    ) -> Result<(), Discard> {
        let peer = self.name(isakmp.peer);
        self.log(Notice::IdentityMismatch { peer, identity });
        self.main_mode_failed(now, isakmp, Failure::UnacceptableAnswer);
        Err(Discard::IdentityMismatch)
    }

    /// Message 2 of aggressive mode: who answered, and message 3. Nothing answers that one, so it is repeated until
    /// the peer says anything under the SA.
    pub(super) fn aggressive_answer(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let config = Arc::clone(&self.peer(isakmp.peer).config);
        let judges = Judges { configs: slice::from_ref(&config), unix_time: self.unix_time(now) };
        let Phase::ExpectAnswer(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let opened = state.open(&message.header, &message.clear_body()?, path, judges);
        let answer = opened.map_err(|unproved| self.suspect(isakmp, unproved))?;
        let is_first = self.is_first_contact(isakmp.peer);
        let path = if answer.nat().float { path.floated() } else { path };
        match answer.handle(path, is_first, &mut *self.entropy) {
            Ok((sa, third)) => {
                self.learn_cookie(isakmp, message);
                isakmp.is_unconfirmed = true;
                self.advance(now, path, isakmp, message, third.clone());
                isakmp.answered = Answered::new(message.octets, Some(third));
                self.establish(now, isakmp, sa, false);
                Ok(())
            }
            Err(Refused::Identity(identity)) => self.refuse_answer(now, isakmp, identity),
            Err(Refused::Discard(discard)) => Err(discard),
        }
    }

    /// Message 2 of base mode: we learn the responder's cookie and nonce, and prove who we are.
    pub(super) fn base_second(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let Phase::ExpectBaseSa(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let body = message.clear_body()?;
        let (next, response) = state.handle(&message.header, &body, path, &mut *self.entropy)?;
        self.counters.key_exchanges += 1;
        self.learn_cookie(isakmp, message);
        isakmp.phase = Phase::ExpectBaseLast(Box::new(next));
        self.advance(now, path, isakmp, message, response);
        Ok(())
    }

    /// Message 4 of base mode: who answered. Both sides float now; the responder learns our port from what we say
    /// first, so we say something at once.
    pub(super) fn base_fourth(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let config = Arc::clone(&self.peer(isakmp.peer).config);
        let judges = Judges { configs: slice::from_ref(&config), unix_time: self.unix_time(now) };
        let Phase::ExpectBaseLast(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let opened = state.open(&message.clear_body()?, path, judges);
        let (secured, proved) = opened.map_err(|unproved| self.suspect(isakmp, unproved))?;
        let is_first = self.is_first_contact(isakmp.peer);
        isakmp.retransmission = None;
        isakmp.answered = Answered::new(message.octets, None);
        let (Some(identity), Some(_)) = (proved.identity.clone(), proved.config) else {
            return self.refuse_answer(now, isakmp, proved.identity);
        };
        isakmp.path = if secured.nat.float { path.floated() } else { path };
        let sa = secured.into_sa(Role::Initiator, identity);
        self.greet(now, isakmp, sa, is_first);
        Ok(())
    }
}
