//! Phase 1 as responder: from the peer's first message to its last.

use super::Endpoint;
use super::demux::Message;
use super::initiator::exchange;
use super::isakmp::{Isakmp, Phase};
use crate::admission::{HalfOpen, Waiting};
use crate::crypto::Cookies;
use crate::limits::{NEGOTIATION_LIFE, NEGOTIATIONS_MAX, NEGOTIATIONS_PER_SOURCE_MAX, RESENDS_MAX};
use crate::retransmit::{Answered, fingerprint};
use crate::v1::isakmp_sa::IsakmpSa;
use crate::v1::main_mode::header;
use crate::v1::proof::{Judges, Proved, Unproved};
use crate::v1::secured::{Setup, identity_of};
use crate::v1::{aggressive_mode, base_mode, responder};
use crate::wire::{Body, Chain, ExchangeType, Identification, Notify, NotifyType, PayloadType, ProtocolId};
use crate::{Authentication, Discard, Failure, Mode, Notice, Path, PeerConfig, RemoteIdentity, Role};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{Identity, PeerId};

impl Endpoint {
    /// Message 1: a record in a fixed table, and message 2.
    pub(super) fn first_message(
        &mut self,
        now: Duration,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let mode = [Mode::Main, Mode::Aggressive, Mode::Base]
            .into_iter()
            .find(|mode| exchange(*mode) == message.header.exchange)
            .ok_or(Discard::UnexpectedExchange)?;
        if self.candidates(path).next().is_none() {
            return Err(Discard::UnknownPeer);
        }
        let first = self.candidates(path).find(|config| config.mode == mode);
        let first = first.ok_or(Discard::UnexpectedExchange)?.id;
        let initiator = message.header.cookie_i;
        if let Some(record) = self.admission.record(path, initiator) {
            if record.request != fingerprint(message.octets) || record.resends >= RESENDS_MAX {
                return Err(Discard::Duplicate);
            }
            record.resends += 1;
            let (response, fragments) = (record.response.to_vec(), record.fragments());
            self.transmit_in_pieces(path, fragments, &response);
            return Err(Discard::Retransmitted);
        }
        let cookies = Cookies { initiator, responder: self.admission.responder_cookie(path, initiator) };
        if self.by_cookies.contains_key(&cookies) {
            return Err(Discard::Duplicate);
        }
        if !self.admission.take_first_message(now) {
            return Err(Discard::RateLimited);
        }
        let body = message.clear_body()?;
        let candidates = match mode {
            Mode::Main => self.candidates(path).filter(|config| config.mode == mode).cloned().collect(),
            Mode::Aggressive | Mode::Base => self.addressees(path, mode, &body)?,
        };
        let mut refused = Discard::NoProposalChosen;
        for config in candidates {
            let peer = config.id;
            match self.answer(now, (path, cookies), config, &body) {
                Ok((state, response)) => {
                    let record = HalfOpen {
                        path,
                        peer,
                        cookies,
                        state,
                        request: fingerprint(message.octets),
                        response: response.clone().into(),
                        resends: 0,
                        is_suspicious: false,
                        started_at: now,
                    };
                    let fragments = record.fragments();
                    self.admission.insert(now, record, &mut self.counters);
                    self.transmit_in_pieces(path, fragments, &response);
                    return Ok(());
                }
                Err(discard) => refused = discard,
            }
        }
        self.refuse_first_message(now, path, cookies, (first, refused));
        Err(refused)
    }

    fn answer(
        &mut self,
        now: Duration,
        (path, cookies): (Path, Cookies),
        config: Arc<PeerConfig>,
        body: &Body<'_>,
    ) -> Result<(Waiting, Vec<u8>), Discard> {
        match config.mode {
            Mode::Main => {
                let (state, message) = responder::ExpectKe::answer(config, cookies, body)?;
                Ok((Waiting::Main(Box::new(state)), message))
            }
            Mode::Base => {
                let entropy = &mut *self.entropy;
                let (state, message) = base_mode::ExpectProof::answer(config, cookies, body, entropy)?;
                Ok((Waiting::Base(Box::new(state)), message))
            }
            Mode::Aggressive => {
                let opening = aggressive_mode::Opening::of(&config, body)?;
                let signs = matches!(config.authentication, Authentication::Signature(_));
                if !self.admission.take_unproved(now, opening.group(), signs) {
                    return Err(Discard::RateLimited);
                }
                self.counters.key_exchanges += 1;
                let entropy = &mut *self.entropy;
                let (state, message) =
                    aggressive_mode::ExpectProof::begin(config, (path, cookies), &opening, entropy)?;
                Ok((Waiting::Aggressive(Box::new(state)), message))
            }
        }
    }

    /// Says why in clear, seldom: the answer is smaller than the question and the rate is bounded, so that
    /// nobody gains by spoofing one.
    fn refuse_first_message(
        &mut self,
        now: Duration,
        path: Path,
        cookies: Cookies,
        (peer, reason): (PeerId, Discard),
    ) {
        if reason != Discard::NoProposalChosen || !self.admission.take_notify(now) {
            return;
        }
        let notify = Notify {
            protocol: ProtocolId::ISAKMP,
            ..Notify::isakmp(NotifyType::NO_PROPOSAL_CHOSEN, cookies.initiator, cookies.responder, &[])
        };
        let message_id = self.entropy.nonzero_u32();
        let chain = Chain::new().with(PayloadType::NOTIFY, &notify.encode());
        let message = header(cookies, ExchangeType::INFORMATIONAL, message_id).encode(&chain);
        self.transmit(path, &message);
        let peer = self.name(peer);
        self.log(Notice::Refused { peer, reason });
    }

    /// Peers that may speak from that address to that one of ours: those with just this address, then those with
    /// any; among them, those of an exact identity before those of any.
    fn candidates(&self, path: Path) -> impl Iterator<Item = &Arc<PeerConfig>> {
        let here = self.by_remote.get(&path.remote.ip()).into_iter().flatten();
        let local = path.local.ip();
        here.chain(&self.from_anywhere)
            .filter(move |config| config.local == local || config.local.is_unspecified())
    }

    /// Whom the identity in the first message means. One that we do not know gets an answer all the same: the first
    /// candidate's, under a secret that nobody has, so that nobody learns from it who is known, and can guess at the
    /// secret of none (REQUIREMENTS F-1).
    fn addressees(&self, path: Path, mode: Mode, body: &Body<'_>) -> Result<Vec<Arc<PeerConfig>>, Discard> {
        let identity = identity_of(body)?;
        let named = Identification::decode(identity).and_then(|identity| identity.identity()).ok();
        // Made for everybody, so that it takes everybody the same time.
        let fake = Authentication::PreSharedKey(self.admission.fake_secret(identity));
        let candidates = || self.candidates(path).filter(|config| config.mode == mode);
        let persona = candidates().next().map(|config| {
            let mut persona = PeerConfig::clone(config);
            if persona.authentication.secret().is_some() {
                persona.authentication = fake;
            }
            Arc::new(persona)
        });
        let known: Vec<_> = candidates()
            .filter(|config| named.as_ref().is_some_and(|identity| config.remote_identity.accepts(identity)))
            .cloned()
            .collect();
        Ok(if known.is_empty() { persona.into_iter().collect() } else { known })
    }

    /// Message 3. The cookie proves that the sender gets what we send to its address.
    pub(super) fn third_message(
        &mut self,
        now: Duration,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        if message.header.exchange == ExchangeType::INFORMATIONAL && !message.header.is_encrypted() {
            return Err(Discard::UnprotectedInformational);
        }
        let initiator = message.header.cookie_i;
        let first_path = match path.has_marker() {
            true => self.admission.floated(message.cookies()).unwrap_or(path),
            false => path,
        };
        let record = self.admission.record(first_path, initiator).ok_or(Discard::UnknownCookies)?;
        let (wanted, peer) = match &record.state {
            Waiting::Main(_) => (ExchangeType::MAIN, record.peer),
            Waiting::Base(_) => (ExchangeType::BASE, record.peer),
            Waiting::Aggressive(_) => (ExchangeType::AGGRESSIVE, record.peer),
        };
        if message.header.exchange != wanted {
            return Err(Discard::UnexpectedExchange);
        }
        match wanted {
            ExchangeType::MAIN => self.main_third(now, path, peer, message),
            ExchangeType::BASE => self.base_third(now, path, peer, message),
            _ => self.aggressive_third(now, (first_path, path), peer, message),
        }
    }

    fn main_third(
        &mut self,
        now: Duration,
        path: Path,
        peer: PeerId,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let initiator = message.header.cookie_i;
        let body = message.clear_body()?;
        let record = self.admission.record(path, initiator).ok_or(Discard::UnknownCookies)?;
        let Waiting::Main(state) = &record.state else { return Err(Discard::UnexpectedExchange) };
        let (half, group) = (state.check(&body)?, state.agreed().proposal.group);
        let source = path.remote.ip();
        let unfinished = self.unfinished.iter().filter_map(|id| self.isakmps.get(id));
        let of_source = unfinished.filter(|isakmp| isakmp.path.remote.ip() == source).count();
        if self.unfinished.len() >= NEGOTIATIONS_MAX || of_source >= NEGOTIATIONS_PER_SOURCE_MAX {
            return Err(Discard::NegotiationsFull);
        }
        if !self.admission.take_key_exchange(now, group) {
            return Err(Discard::RateLimited);
        }
        self.counters.key_exchanges += 1;
        let record = self.admission.record(path, initiator).ok_or(Discard::UnknownCookies)?;
        let Waiting::Main(state) = &record.state else { return Err(Discard::UnexpectedExchange) };
        let (state, response) = state.handle(&half, path, &mut *self.entropy)?;
        let record = self.admission.remove(path, initiator).ok_or(Discard::UnknownCookies)?;
        let name = self.name(peer);
        self.log(Notice::PeerNegotiating { peer: name, role: Role::Responder, mode: Mode::Main, path });
        self.transmit_in_pieces(path, record.fragments(), &response);
        let answered = Answered::new(message.octets, Some(response));
        let mut isakmp = self.responding(peer, (ExchangeType::MAIN, path), &record, answered);
        isakmp.phase = Phase::ExpectAuth(Box::new(state));
        isakmp.ends_at = Some(now + NEGOTIATION_LIFE);
        self.unfinished.insert(isakmp.id);
        self.add_isakmp(isakmp);
        Ok(())
    }

    fn responding(
        &mut self,
        peer: PeerId,
        (exchange, path): (ExchangeType, Path),
        record: &HalfOpen,
        answered: Answered,
    ) -> Isakmp {
        Isakmp {
            id: self.next_isakmp(),
            peer,
            role: Role::Responder,
            exchange,
            path,
            cookies: record.cookies,
            started_at: record.started_at,
            phase: Phase::Gone,
            retransmission: None,
            answered,
            hint: None,
            is_suspicious: false,
            is_unconfirmed: false,
            is_nat_open: false,
            fragments: record.fragments().is_some(),
            heard_at: record.started_at,
            is_silent: false,
            ends_at: None,
        }
    }

    /// Who may be the peer of a negotiation: it has the secret, or our certificate, that the negotiation used.
    fn judges(&self, path: Path, setup: &Setup) -> Vec<Arc<PeerConfig>> {
        // The address chose the secret; a NAT may have changed it since.
        let home = setup.config.remote.host();
        let home = home.map_or(path, |host| Path { remote: SocketAddr::new(host, 0), ..path });
        let may_be = |config: &&Arc<PeerConfig>| {
            config.mode == setup.config.mode
                && config.shares_secret_with(&setup.config)
                && config.proposals.contains(&setup.agreed.proposal)
        };
        // An exact identity wins over any, wherever it may come from.
        let mut configs: Vec<_> = self.candidates(home).filter(may_be).cloned().collect();
        configs.sort_by_key(|config| config.remote_identity == RemoteIdentity::Any);
        configs
    }

    /// Message 3 of base mode: who the peer is, and only then the first Diffie-Hellman work and message 4.
    fn base_third(
        &mut self,
        now: Duration,
        path: Path,
        peer: PeerId,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let initiator = message.header.cookie_i;
        let body = message.clear_body()?;
        let setup = match self.admission.record(path, initiator).map(|record| &record.state) {
            Some(Waiting::Base(state)) => state.setup().clone(),
            _ => return Err(Discard::UnknownCookies),
        };
        let signed = matches!(setup.config.authentication, Authentication::Signature(_));
        if signed && !self.admission.take_signature(now) {
            return Err(Discard::RateLimited);
        }
        let configs = self.judges(path, &setup);
        let judges = Judges { configs: &configs, unix_time: self.unix_time(now) };
        let record = self.admission.record(path, initiator).ok_or(Discard::UnknownCookies)?;
        let Waiting::Base(state) = &record.state else { return Err(Discard::UnexpectedExchange) };
        let opened = state.open(&body, judges);
        let proved = opened.map_err(|unproved| self.suspect_record((path, initiator), &configs, unproved))?;
        if !self.admission.take_key_exchange(now, setup.agreed.proposal.group) {
            return Err(Discard::RateLimited);
        }
        self.counters.key_exchanges += 1;
        // From here on the message is the peer's.
        let record = self.admission.remove(path, initiator).ok_or(Discard::UnknownCookies)?;
        let (config, identity) = self.recognise(peer, path, proved)?;
        let answered = Answered::default();
        let fragments = record.fragments();
        let mut isakmp = self.responding(config.id, (ExchangeType::BASE, path), &record, answered);
        let Waiting::Base(state) = record.state else { return Err(Discard::UnexpectedExchange) };
        let (sa, response) = state.handle(&body, (config, identity), path, &mut *self.entropy)?;
        self.transmit_in_pieces(path, fragments, &response);
        isakmp.answered = Answered::new(message.octets, Some(response));
        isakmp.is_nat_open = true;
        if sa.nat.float {
            isakmp.path = path.floated();
        }
        self.establish_new(now, isakmp, sa, false);
        Ok(())
    }

    /// Message 3 of aggressive mode: who the peer is.
    fn aggressive_third(
        &mut self,
        now: Duration,
        (first_path, path): (Path, Path),
        peer: PeerId,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let initiator = message.header.cookie_i;
        let setup = match self.admission.record(first_path, initiator).map(|record| &record.state) {
            Some(Waiting::Aggressive(state)) => state.setup().clone(),
            _ => return Err(Discard::UnknownCookies),
        };
        let signed = matches!(setup.config.authentication, Authentication::Signature(_));
        if signed && !self.admission.take_signature(now) {
            return Err(Discard::RateLimited);
        }
        let configs = self.judges(first_path, &setup);
        let judges = Judges { configs: &configs, unix_time: self.unix_time(now) };
        let record = self.admission.record(first_path, initiator).ok_or(Discard::UnknownCookies)?;
        let Waiting::Aggressive(state) = &record.state else { return Err(Discard::UnexpectedExchange) };
        let opened = state.open((&message.header, message.octets), path, judges);
        let (mut authentic, nat) =
            opened.map_err(|unproved| self.suspect_record((first_path, initiator), &configs, unproved))?;
        let record = self.admission.remove(first_path, initiator).ok_or(Discard::UnknownCookies)?;
        let proved = mem::replace(&mut authentic.proved, Proved { identity: None, config: None });
        let (config, identity) = self.recognise(peer, path, proved)?;
        let answered = Answered::new(message.octets, None);
        let isakmp = self.responding(config.id, (ExchangeType::AGGRESSIVE, path), &record, answered);
        let Waiting::Aggressive(state) = record.state else { return Err(Discard::UnexpectedExchange) };
        let sa = state.handle((&authentic, nat), (config, identity), path);
        self.establish_new(now, isakmp, sa, authentic.initial_contact);
        Ok(())
    }

    /// The peer behind a proof: a configured one, or one of its own under a template.
    fn recognise(
        &mut self,
        addressed: PeerId,
        path: Path,
        proved: Proved,
    ) -> Result<(Arc<PeerConfig>, Identity), Discard> {
        match (proved.config, proved.identity) {
            (Some(config), Some(identity)) => Ok((self.settle(config, &identity, path)?, identity)),
            (_, identity) => {
                let peer = self.name(addressed);
                self.log(Notice::IdentityMismatch { peer, identity });
                Err(Discard::IdentityMismatch)
            }
        }
    }

    /// A negotiation that is finished with the message that makes it known.
    fn establish_new(&mut self, now: Duration, isakmp: Isakmp, sa: IsakmpSa, initial_contact: bool) {
        let (id, mode) = (isakmp.id, sa.config.mode);
        let (peer, path) = (self.name(isakmp.peer), isakmp.path);
        self.log(Notice::PeerNegotiating { peer, role: Role::Responder, mode, path });
        self.add_isakmp(isakmp);
        self.with_isakmp(id, |endpoint, isakmp| endpoint.establish(now, isakmp, sa, initial_contact));
    }

    /// Message 5 of main mode: who the peer is, and message 6.
    pub(super) fn fifth_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let Phase::ExpectAuth(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let signed = matches!(state.setup().config.authentication, Authentication::Signature(_));
        if signed && !self.admission.take_signature(now) {
            return Err(Discard::RateLimited);
        }
        let configs = self.judges(path, state.setup());
        let judges = Judges { configs: &configs, unix_time: self.unix_time(now) };
        let opened = state.open(&message.header, message.octets, judges);
        let mut authentic = opened.map_err(|unproved| self.suspect(isakmp, unproved))?;
        let proved = mem::replace(&mut authentic.proved, Proved { identity: None, config: None });
        let (config, identity) = match self.recognise(isakmp.peer, path, proved) {
            Ok(recognised) => recognised,
            Err(discard) => {
                let peer = isakmp.peer;
                self.forget(isakmp);
                self.after_failed_main_mode(now, peer, Failure::UnacceptableAnswer);
                return Err(discard);
            }
        };
        if config.id != isakmp.peer {
            self.peer_mut(isakmp.peer).isakmps.retain(|id| *id != isakmp.id);
            isakmp.peer = config.id;
            self.peer_mut(isakmp.peer).isakmps.push(isakmp.id);
        }
        let Phase::ExpectAuth(state) = mem::replace(&mut isakmp.phase, Phase::Gone) else {
            return Err(Discard::UnexpectedExchange);
        };
        let (sa, response) = match state.handle(&authentic, (config, identity), path, &mut *self.entropy) {
            Ok(handled) => handled,
            Err(discard) => {
                self.forget(isakmp);
                return Err(discard);
            }
        };
        isakmp.path = path;
        isakmp.ends_at = None;
        self.unfinished.remove(&isakmp.id);
        self.transmit(path, &response);
        isakmp.answered = Answered::new(message.octets, Some(response));
        self.establish(now, isakmp, sa, authentic.initial_contact);
        Ok(())
    }

    /// The first proof does not hold: most likely the secrets differ. Said once a negotiation.
    pub(super) fn suspect(&mut self, isakmp: &mut Isakmp, unproved: Unproved) -> Discard {
        if !isakmp.is_suspicious {
            isakmp.is_suspicious = self.say_why(isakmp.peer, &unproved);
        }
        unproved.discard
    }

    /// The same where there is only a record; one that nobody can judge is a stranger's.
    fn suspect_record(
        &mut self,
        (path, initiator): (Path, [u8; 8]),
        judges: &[Arc<PeerConfig>],
        unproved: Unproved,
    ) -> Discard {
        let record = self.admission.record(path, initiator);
        let Some(record) = record.filter(|record| !record.is_suspicious) else { return unproved.discard };
        record.is_suspicious = true;
        let (peer, identity) = (record.peer, record.identity());
        if judges.is_empty() {
            let peer = self.name(peer);
            self.log(Notice::IdentityMismatch { peer, identity });
        } else {
            self.say_why(peer, &unproved);
        }
        unproved.discard
    }

    fn say_why(&mut self, peer: PeerId, unproved: &Unproved) -> bool {
        let peer = self.name(peer);
        let notice = match (&unproved.reason, unproved.discard) {
            (Some(reason), _) => Notice::SignatureRefused { peer, reason: reason.clone() },
            (None, Discard::Undecryptable | Discard::BadHash) => Notice::SecretsDiffer { peer },
            _ => return false,
        };
        self.log(notice);
        true
    }
}
