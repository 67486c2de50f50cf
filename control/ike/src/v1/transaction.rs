//! The transaction exchange (draft-dukes-ike-mode-cfg §3): a question and its answer under one message ID.
//!
//! ```text
//! either  { HASH, ATTR(REQUEST or SET) }  -->
//!                                        <--  { HASH, ATTR(REPLY or ACK) }
//! ```
//!
//! HASH = prf(SKEYID_a, M-ID | Attributes payload). Either side may begin. Most peers take a new message ID for each
//! transaction; some ask again under the same one, and then the chain of IVs goes on. That is as safe: what was
//! recorded earlier does not decrypt under a later IV, and once the chain is forgotten its message ID is used up.

use super::exchange::{Exchange, State};
use super::isakmp_sa::IsakmpSa;
use crate::Discard;
use crate::crypto::Iv;
use crate::limits::{
    CONFIG_OCTETS_MAX, EXCHANGE_LINGER, TRANSACTIONS_PER_EXCHANGE_MAX, TRANSACTIONS_PER_WINDOW_MAX,
    TRANSACTIONS_WINDOW,
};
use crate::retransmit::Answered;
use crate::wire::{Chain, ConfigType, ExchangeType, PayloadType, Transaction};
use std::mem;
use std::time::Duration;
use zeroize::Zeroizing;

/// A question of ours.
pub(crate) enum Question {
    /// For our user's sake: what is our configuration?
    Pull,
    /// For our user's sake: this is yours.
    Push,
    /// Extended authentication: who is it?
    AskUser,
    /// Extended authentication: whether it is.
    TellUser(Option<String>),
}

impl Question {
    pub(crate) const fn kind(&self) -> ConfigType {
        match self {
            Self::Pull | Self::AskUser => ConfigType::REQUEST,
            Self::Push | Self::TellUser(_) => ConfigType::SET,
        }
    }
}

/// The type of the answer to a question.
pub(crate) const fn answer(question: ConfigType) -> ConfigType {
    match question {
        ConfigType::REQUEST => ConfigType::REPLY,
        _ => ConfigType::ACK,
    }
}

/// What an exchange waits for.
pub(crate) enum Awaits {
    /// The peer's answer to our question.
    Answer(Question),
    /// Our user's answer to the peer's question of that type.
    User(ConfigType),
    /// Nothing; the peer may ask once more where it began.
    Nothing,
}

/// A transaction exchange: one transaction after the other under one message ID.
pub(crate) struct Dialogue {
    pub(crate) awaits: Awaits,
    pub(crate) identifier: u16,
    /// Transactions that the peer began in it; none in one of ours.
    pub(crate) begun: u32,
}

/// A message of the peer's, verified.
pub(crate) struct Heard<'a> {
    pub(crate) message_id: u32,
    /// The whole message, for its repetition.
    pub(crate) octets: &'a [u8],
    pub(crate) iv: Iv,
    pub(crate) transaction: Transaction<'a>,
}

/// Events in a window of time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    since: Duration,
    count: u32,
}

impl Tally {
    /// How many there were in the window that `now` lies in.
    pub(crate) fn count(&self, now: Duration, window: Duration) -> u32 {
        if now < self.since + window { self.count } else { 0 }
    }

    pub(crate) fn add(&mut self, now: Duration, window: Duration) {
        let count = self.count(now, window);
        if count == 0 {
            self.since = now;
        }
        self.count = count.saturating_add(1);
    }
}

impl IsakmpSa {
    /// A whole message; `None` for one that is longer than a peer has to read.
    pub(crate) fn seal_transaction(
        &self,
        message_id: u32,
        iv: Iv,
        transaction: &Transaction<'_>,
    ) -> Option<(Vec<u8>, Iv)> {
        // There may be a password in it.
        let body = Zeroizing::new(transaction.encode());
        if body.len() > CONFIG_OCTETS_MAX {
            return None;
        }
        let chain = Chain::new().with(PayloadType::ATTRIBUTES, &body);
        let hash = self.keys().hash_1(message_id, chain.octets());
        let chain = chain.with_front(PayloadType::HASH, &hash);
        Some(self.seal(ExchangeType::TRANSACTION, message_id, iv, &chain))
    }

    /// The peer begins a transaction, perhaps in an exchange that it began earlier. Refused, it leaves no trace.
    pub(crate) fn take_question(&mut self, now: Duration, heard: &Heard<'_>) -> Result<(), Discard> {
        let message_id = heard.message_id;
        let begun = match self.exchanges.get(&message_id).map(|exchange| &exchange.state) {
            None if self.is_used(message_id) => return Err(Discard::MessageIdReused),
            None => 0,
            Some(State::Transaction(Dialogue { awaits: Awaits::Nothing, begun: begun @ 1.., .. })) => *begun,
            Some(_) => return Err(Discard::Unsolicited),
        };
        let busy = self.asked.count(now, TRANSACTIONS_WINDOW) >= TRANSACTIONS_PER_WINDOW_MAX;
        if busy || begun >= TRANSACTIONS_PER_EXCHANGE_MAX {
            return Err(Discard::RateLimited);
        }
        if begun == 0 {
            self.make_room()?;
            self.use_message_id(message_id)?;
        }
        self.asked.add(now, TRANSACTIONS_WINDOW);
        let (awaits, identifier) = (Awaits::Nothing, heard.transaction.identifier);
        let exchange = Exchange {
            iv: heard.iv,
            state: State::Transaction(Dialogue { awaits, identifier, begun: begun + 1 }),
            answered: Answered::new(heard.octets, None),
            retransmission: None,
            ends_at: now + EXCHANGE_LINGER,
        };
        self.exchanges.insert(message_id, exchange);
        Ok(())
    }

    /// The peer's question goes to our user, who has until `ends_at`.
    pub(crate) fn await_user(&mut self, heard: &Heard<'_>, ends_at: Duration) {
        let exchange = self.exchanges.get_mut(&heard.message_id);
        if let Some(exchange) = exchange
            && let State::Transaction(dialogue) = &mut exchange.state
        {
            dialogue.awaits = Awaits::User(heard.transaction.kind);
            exchange.ends_at = ends_at;
        }
    }

    /// Whether our user has a question of that type under that message ID.
    pub(crate) fn awaits_user(&self, message_id: u32, kind: ConfigType) -> bool {
        let state = self.exchanges.get(&message_id).map(|exchange| &exchange.state);
        matches!(state, Some(State::Transaction(Dialogue { awaits: Awaits::User(of), .. })) if *of == kind)
    }

    /// Our answer, stored for repetitions of the question. `None` when it is too long, or was given before.
    pub(crate) fn answer_transaction(
        &mut self,
        now: Duration,
        message_id: u32,
        kind: ConfigType,
        attributes: Vec<crate::wire::Attribute<'_>>,
    ) -> Option<Vec<u8>> {
        let exchange = self.exchanges.get(&message_id)?;
        let State::Transaction(dialogue) = &exchange.state else { return None };
        let transaction = Transaction { kind, identifier: dialogue.identifier, attributes };
        let (octets, iv) = self.seal_transaction(message_id, exchange.iv, &transaction)?;
        let exchange = self.exchanges.get_mut(&message_id)?;
        if let State::Transaction(dialogue) = &mut exchange.state {
            dialogue.awaits = Awaits::Nothing;
        }
        exchange.iv = iv;
        exchange.answered.respond(octets.clone());
        exchange.ends_at = now + EXCHANGE_LINGER;
        Some(octets)
    }

    /// The peer's answer to a question of ours. The message ID tells which one; the identifier is not looked at,
    /// because some peers always write zero.
    pub(crate) fn take_answer(&mut self, now: Duration, heard: &Heard<'_>) -> Result<Question, Discard> {
        let exchange = self.exchanges.get_mut(&heard.message_id).ok_or(Discard::Unsolicited)?;
        let State::Transaction(dialogue) = &mut exchange.state else { return Err(Discard::Unsolicited) };
        let Awaits::Answer(question) = &dialogue.awaits else { return Err(Discard::Unsolicited) };
        if heard.transaction.kind != answer(question.kind()) {
            return Err(Discard::Unsolicited);
        }
        let awaited = mem::replace(&mut dialogue.awaits, Awaits::Nothing);
        exchange.iv = heard.iv;
        exchange.answered = Answered::new(heard.octets, None);
        exchange.retransmission = None;
        exchange.ends_at = now + EXCHANGE_LINGER;
        match awaited {
            Awaits::Answer(question) => Ok(question),
            Awaits::User(_) | Awaits::Nothing => Err(Discard::Unsolicited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_forgets_what_was_before_its_window() {
        let (s, mut tally) = (Duration::from_secs, Tally::default());
        for second in 0..5 {
            tally.add(s(second), s(10));
        }
        assert_eq!((tally.count(s(9), s(10)), tally.count(s(10), s(10))), (5, 0));
        tally.add(s(12), s(10));
        assert_eq!((tally.count(s(21), s(10)), tally.count(s(22), s(10))), (1, 0));
    }
}
