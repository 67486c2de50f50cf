//! One exchange under an ISAKMP SA: its IV, what it waits for, and how it repeats itself.

use super::quick::{ExpectConfirmation, ExpectResponse};
use super::transaction::{Awaits, Dialogue};
use crate::crypto::Iv;
use crate::retransmit::{Answered, Retransmission};
use std::time::Duration;
use warren_policy::RuleId;
use warren_seam::SaId;

/// Where an exchange is.
pub(crate) enum State {
    /// Our quick mode waits for its second message.
    Initiator(Box<ExpectResponse>),
    /// The peer's quick mode waits for its third message; the inbound SA is installed already.
    Responder { state: Box<ExpectConfirmation>, inbound: SaId, outbound: SaId },
    /// Configuration or extended authentication.
    Transaction(Dialogue),
    /// Nothing is awaited; repetitions are answered.
    Done,
}

/// State under one message ID.
pub(crate) struct Exchange {
    pub(crate) iv: Iv,
    pub(crate) state: State,
    pub(crate) answered: Answered,
    pub(crate) retransmission: Option<Retransmission>,
    /// When the exchange is forgotten, unless its repetitions end it earlier.
    pub(crate) ends_at: Duration,
}

impl Exchange {
    pub(crate) fn deadline(&self) -> Duration {
        let repetition = self.retransmission.as_ref().map(Retransmission::deadline);
        repetition.map_or(self.ends_at, |at| at.min(self.ends_at))
    }

    /// The tunnel rule that an unfinished exchange is for.
    pub(crate) fn rule(&self) -> Option<RuleId> {
        match &self.state {
            State::Initiator(state) => Some(state.child().rule),
            State::Responder { state, .. } => Some(state.negotiated().child.rule),
            State::Transaction(_) | State::Done => None,
        }
    }

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Transaction(Dialogue { awaits: Awaits::Nothing, .. }))
    }

    /// Whether a question of ours has no answer yet.
    pub(crate) const fn awaits_answer(&self) -> bool {
        matches!(self.state, State::Transaction(Dialogue { awaits: Awaits::Answer(_), .. }))
    }

    /// Whether a question of extended authentication has no answer yet.
    pub(crate) const fn asks_user(&self) -> bool {
        use super::transaction::Question::{AskUser, TellUser};
        matches!(
            self.state,
            State::Transaction(Dialogue { awaits: Awaits::Answer(AskUser | TellUser(_)), .. })
        )
    }

    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self.state, State::Initiator(_))
    }
}
