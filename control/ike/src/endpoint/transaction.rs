//! The transaction exchange (exchange type 6): configuration pulled and pushed, and what it configures.

use super::Endpoint;
use super::demux::Message;
use super::isakmp::{Isakmp, IsakmpId};
use crate::limits::CONFIG_ANSWER_LIFE;
use crate::retransmit::{Answered, Retransmission};
use crate::v1::exchange::{Exchange, State};
use crate::v1::isakmp_sa::IsakmpSa;
use crate::v1::transaction::{Awaits, Dialogue, Heard, Question, answer};
use crate::v1::xauth::{self, Progress};
use crate::wire::{Attribute, Body, ConfigAttribute, ConfigType, PayloadType, SplitForm, Transaction};
use crate::{ChildConfig, ConfigExchange, ConfigMode, Discard, Failure, Output, Path, Xauth};
use std::time::Duration;
use warren_policy::{PeerId, RuleId};

impl Endpoint {
    /// Brings up an ISAKMP SA with the peer if there is none. Ends in `PeerUp`, or in `ConfigFailed`.
    pub fn connect(&mut self, now: Duration, peer: PeerId) {
        let held = self.peers.get(&peer).filter(|held| held.config.remote.host().is_some());
        let Some(held) = held else {
            self.outbox.push_back(Output::ConfigFailed { peer, reason: Failure::NotConfigured });
            return;
        };
        if held.current.is_none() {
            self.connecting.insert(peer);
            if !self.is_initiating(peer) {
                self.begin_phase_one(now, peer);
            }
        }
    }

    /// Asks the peer (CFG_REQUEST) under its current ISAKMP SA. Ends in `ConfigReceived` or `ConfigFailed`.
    pub fn pull_config(&mut self, now: Duration, peer: PeerId, attributes: Vec<ConfigAttribute>) {
        self.begin_transaction(now, peer, Question::Pull, &attributes);
    }

    /// Tells the peer (CFG_SET) under its current ISAKMP SA. Ends in `ConfigAcknowledged` or `ConfigFailed`.
    pub fn push_config(&mut self, now: Duration, peer: PeerId, attributes: Vec<ConfigAttribute>) {
        self.begin_transaction(now, peer, Question::Push, &attributes);
    }

    /// Answers `ConfigAsked` (CFG_REPLY). Ignored when the question is not open any more.
    pub fn reply_config(
        &mut self,
        now: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        attributes: Vec<ConfigAttribute>,
    ) {
        self.answer_user(now, (peer, exchange), ConfigType::REQUEST, &attributes);
    }

    /// Answers a pushed `ConfigReceived` (CFG_ACK). Ignored when the question is not open any more.
    pub fn acknowledge_config(
        &mut self,
        now: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        attributes: Vec<ConfigAttribute>,
    ) {
        self.answer_user(now, (peer, exchange), ConfigType::SET, &attributes);
    }

    /// One more child that may be negotiated from now on, in either role. Replaces the one of the same rule, whose
    /// pairs are closed if it was another. Ignored when there is no such peer.
    pub fn add_child(&mut self, now: Duration, child: ChildConfig) {
        if self.rules.get(&child.rule).is_some_and(|old| **old == child) {
            return;
        }
        self.remove_child(now, child.rule);
        self.enter_child(child);
    }

    /// A child that may not be negotiated any more; its pairs are closed.
    pub fn remove_child(&mut self, _now: Duration, rule: RuleId) {
        self.end_rule(rule);
        self.leave_child(rule);
    }

    fn begin_transaction(
        &mut self,
        now: Duration,
        peer: PeerId,
        question: Question,
        attributes: &[ConfigAttribute],
    ) {
        let begun = match self.open_for_config(peer) {
            None if self.peers.contains_key(&peer) => Err(Failure::PeerDown),
            None => Err(Failure::NotConfigured),
            Some(id) => self
                .with_isakmp(id, |endpoint, isakmp| {
                    let form = isakmp.sa().map_or(SplitForm::Short, split_form);
                    let attributes = ConfigAttribute::encode_all(attributes, form);
                    endpoint.pose(now, isakmp, question, attributes.ok_or(Failure::TooLong)?)
                })
                .unwrap_or(Err(Failure::PeerDown)),
        };
        if let Err(reason) = begun {
            self.outbox.push_back(Output::ConfigFailed { peer, reason });
        }
    }

    /// The ISAKMP SA that carries configuration: the current one, or an older one while extended authentication
    /// under the current one is not over.
    fn open_for_config(&self, peer: PeerId) -> Option<IsakmpId> {
        let current = self.peers.get(&peer)?.current;
        let is_open = |isakmp: &&Isakmp| isakmp.sa().is_some_and(|sa| sa.xauth.is_over());
        let ids = self.established(peer).filter(is_open).map(|isakmp| isakmp.id);
        ids.max_by_key(|id| (Some(*id) == current, *id))
    }

    /// A question of ours, under a new message ID and repeated until it is answered.
    pub(super) fn pose(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        question: Question,
        attributes: Vec<Attribute<'_>>,
    ) -> Result<(), Failure> {
        let path = isakmp.path;
        let retransmit = self.peer(isakmp.peer).config.retransmit;
        let identifier = u16::from_be_bytes(self.entropy.octets());
        let sa = isakmp.sa_mut().ok_or(Failure::PeerDown)?;
        sa.make_room().map_err(|_| Failure::Busy)?;
        let message_id = sa.fresh_message_id(&mut *self.entropy);
        let transaction = Transaction { kind: question.kind(), identifier, attributes };
        let sealed = sa.seal_transaction(message_id, sa.first_iv(message_id), &transaction);
        let (octets, iv) = sealed.ok_or(Failure::TooLong)?;
        let exchange = Exchange {
            iv,
            state: State::Transaction(Dialogue { awaits: Awaits::Answer(question), identifier, begun: 0 }),
            answered: Answered::default(),
            retransmission: Some(Retransmission::new(now, octets.clone(), retransmit)),
            ends_at: Duration::MAX,
        };
        sa.exchanges.insert(message_id, exchange);
        self.transmit(path, &octets);
        Ok(())
    }

    /// What our user says to a question of the peer's.
    fn answer_user(
        &mut self,
        now: Duration,
        (peer, ConfigExchange(message_id)): (PeerId, ConfigExchange),
        kind: ConfigType,
        attributes: &[ConfigAttribute],
    ) {
        if !self.peers.contains_key(&peer) {
            return;
        }
        let is_asked = |isakmp: &&Isakmp| isakmp.sa().is_some_and(|sa| sa.awaits_user(message_id, kind));
        let Some(id) = self.established(peer).find(is_asked).map(|isakmp| isakmp.id) else { return };
        self.with_isakmp(id, |endpoint, isakmp| {
            let path = isakmp.path;
            let Some(sa) = isakmp.sa_mut() else { return };
            let form = split_form(sa);
            let mut answered = ConfigAttribute::encode_all(attributes, form)
                .and_then(|attributes| sa.answer_transaction(now, message_id, answer(kind), attributes));
            if answered.is_none() {
                // Half of an answer would look like a whole one.
                let attributes =
                    ConfigAttribute::encode_all(&without_sets(attributes), form).unwrap_or_default();
                answered = sa.answer_transaction(now, message_id, answer(kind), attributes);
            }
            if let Some(octets) = answered {
                endpoint.transmit(path, &octets);
            }
        });
    }

    /// Our own answer to a question of the peer's.
    pub(super) fn respond(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        heard: &Heard<'_>,
        attributes: Vec<Attribute<'_>>,
    ) {
        let (path, kind) = (isakmp.path, answer(heard.transaction.kind));
        let Some(sa) = isakmp.sa_mut() else { return };
        if let Some(octets) = sa.answer_transaction(now, heard.message_id, kind, attributes) {
            self.transmit(path, &octets);
        }
    }

    /// A message of a transaction exchange: authenticated before anything is believed.
    pub(super) fn transaction_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let message_id = message.header.message_id;
        let sa = isakmp.sa().ok_or(Discard::UnexpectedExchange)?;
        let opened = sa.open(&message.header, message.octets)?;
        let body =
            Body::decode(message.header.next_payload, &opened.plain).map_err(|_| Discard::Undecryptable)?;
        sa.verify_hash_1(message_id, &body)?;
        let attributes = body.first(PayloadType::ATTRIBUTES).ok_or(Discard::MissingPayload)?;
        let transaction = Transaction::decode(attributes.body).map_err(|_| Discard::Malformed)?;
        let heard = Heard { message_id, octets: message.octets, iv: opened.iv, transaction };
        match sa.exchanges.get(&message_id).map(|exchange| &exchange.state) {
            None | Some(State::Transaction(Dialogue { awaits: Awaits::Nothing, .. })) => {
                self.peer_asks(now, path, isakmp, &heard)
            }
            Some(State::Transaction(Dialogue { awaits: Awaits::Answer(_), .. })) => {
                self.peer_answers(now, path, isakmp, &heard)
            }
            Some(_) => Err(Discard::UnexpectedExchange),
        }
    }

    fn peer_asks(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        heard: &Heard<'_>,
    ) -> Result<(), Discard> {
        let sa = isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?;
        let (kind, is_xauth) = (heard.transaction.kind, xauth::is_in(&heard.transaction));
        may_ask(sa, kind, is_xauth)?;
        let attributes = ConfigAttribute::decode_all(kind, &heard.transaction.attributes)
            .map_err(|_| Discard::Malformed)?;
        sa.take_question(now, heard)?;
        isakmp.heard(now);
        self.adopt_path(isakmp, path);
        if is_xauth {
            return self.asked_for_user(now, isakmp, heard);
        }
        self.skip_user(now, isakmp);
        self.count_unknown(&attributes);
        let (peer, exchange) = (isakmp.peer, ConfigExchange(heard.message_id));
        isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?.await_user(heard, now + CONFIG_ANSWER_LIFE);
        self.outbox.push_back(match kind {
            ConfigType::REQUEST => Output::ConfigAsked { peer, exchange, attributes },
            _ => Output::ConfigReceived { peer, exchange: Some(exchange), attributes },
        });
        Ok(())
    }

    fn peer_answers(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        heard: &Heard<'_>,
    ) -> Result<(), Discard> {
        let question = isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?.take_answer(now, heard)?;
        isakmp.heard(now);
        self.adopt_path(isakmp, path);
        let peer = isakmp.peer;
        let is_pull = match question {
            Question::AskUser => return self.user_answered(now, isakmp, &heard.transaction),
            Question::TellUser(user) => {
                self.user_told(now, isakmp, user);
                return Ok(());
            }
            Question::Pull => true,
            Question::Push => false,
        };
        let Transaction { kind, attributes, .. } = &heard.transaction;
        let Ok(attributes) = ConfigAttribute::decode_all(*kind, attributes) else {
            self.outbox.push_back(Output::ConfigFailed { peer, reason: Failure::UnacceptableAnswer });
            return Err(Discard::Malformed);
        };
        self.count_unknown(&attributes);
        self.outbox.push_back(match is_pull {
            true => Output::ConfigReceived { peer, exchange: None, attributes },
            false => Output::ConfigAcknowledged { peer, attributes },
        });
        Ok(())
    }

    fn count_unknown(&mut self, attributes: &[ConfigAttribute]) {
        let unknown = |attribute: &&ConfigAttribute| matches!(attribute, ConfigAttribute::Unknown { .. });
        self.counters.unknown_attributes += attributes.iter().filter(unknown).count() as u64;
    }
}

/// Whether it is the peer's part to ask that now.
fn may_ask(sa: &IsakmpSa, kind: ConfigType, is_xauth: bool) -> Result<(), Discard> {
    let is_client = matches!(sa.config.xauth, Xauth::Client { .. });
    match (kind, sa.config.config_mode) {
        (ConfigType::REPLY | ConfigType::ACK, _) => Err(Discard::Unsolicited),
        (ConfigType::REQUEST | ConfigType::SET, _) if is_xauth && is_client => Ok(()),
        (ConfigType::REQUEST, ConfigMode::Server) | (ConfigType::SET, ConfigMode::Client) if !is_xauth => {
            match sa.xauth {
                Progress::Over => Ok(()),
                Progress::Expecting(_) if kind == ConfigType::SET => Ok(()),
                _ => Err(Discard::XauthPending),
            }
        }
        _ => Err(Discard::UnexpectedExchange),
    }
}

const fn split_form(sa: &IsakmpSa) -> SplitForm {
    if sa.vendors.unity { SplitForm::Long } else { SplitForm::Short }
}

/// An answer that does not fit one message, without what makes it long, and with the reason.
fn without_sets(attributes: &[ConfigAttribute]) -> Vec<ConfigAttribute> {
    let is_set = |attribute: &&ConfigAttribute| matches!(attribute, ConfigAttribute::PolicySet(_));
    if !attributes.iter().any(|attribute| is_set(&attribute)) {
        return Vec::new();
    }
    let error = ConfigAttribute::PolicyError(Some("the policy does not fit one message".to_owned()));
    attributes.iter().filter(|attribute| !is_set(attribute)).cloned().chain([error]).collect()
}
