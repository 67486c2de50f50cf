//! Extended authentication under an ISAKMP SA, both roles; configuration begins when it is over.

use super::Endpoint;
use super::isakmp::Isakmp;
use crate::limits::{XAUTH_LIFE, XAUTH_PATIENCE};
use crate::v1::transaction::{Heard, Question};
use crate::v1::xauth::{self, Progress};
use crate::wire::{ConfigType, NotifyType, Transaction};
use crate::{ConfigMode, Discard, Down, Failure, Notice, Output, Xauth};
use std::sync::Arc;
use std::time::Duration;

impl Endpoint {
    /// Phase 1 is over.
    pub(super) fn begin_configuration(&mut self, now: Duration, isakmp: &mut Isakmp) {
        self.connecting.remove(&isakmp.peer);
        let Some(sa) = isakmp.sa_mut() else { return };
        match &sa.config.xauth {
            Xauth::Off => self.configurable(now, isakmp, None),
            Xauth::Client { .. } => sa.xauth = Progress::Expecting(now + XAUTH_PATIENCE),
            Xauth::Server(_) => {
                sa.xauth = Progress::Asking;
                let asked = self.pose(now, isakmp, Question::AskUser, xauth::question());
                if asked.is_err() {
                    self.user_refused(now, isakmp);
                }
            }
        }
    }

    /// Nothing stands between the peer and its configuration any more.
    fn configurable(&mut self, now: Duration, isakmp: &mut Isakmp, user: Option<String>) {
        let peer = isakmp.peer;
        let Some(sa) = isakmp.sa_mut() else { return };
        sa.xauth = Progress::Over;
        if sa.config.config_mode != ConfigMode::Off {
            let speaks_policy = sa.vendors.policy;
            self.outbox.push_back(Output::Configurable { peer, speaks_policy, user });
        }
        self.drain_pending(now, isakmp);
    }

    /// As client: a server that configures us without asking will not ask.
    pub(super) fn skip_user(&mut self, now: Duration, isakmp: &mut Isakmp) {
        if isakmp.sa().is_some_and(|sa| matches!(sa.xauth, Progress::Expecting(_))) {
            self.configurable(now, isakmp, None);
        }
    }

    /// As client: the server asks who we are, or says what it thinks of it.
    pub(super) fn asked_for_user(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        heard: &Heard<'_>,
    ) -> Result<(), Discard> {
        let config = Arc::clone(&isakmp.sa().ok_or(Discard::UnexpectedExchange)?.config);
        let Xauth::Client { user, password } = &config.xauth else { return Err(Discard::UnexpectedExchange) };
        let judged = xauth::judged(&heard.transaction);
        let attributes = match heard.transaction.kind {
            ConfigType::REQUEST => xauth::answer(&heard.transaction, user, password),
            _ => xauth::acknowledgement(),
        };
        self.respond(now, isakmp, heard, attributes);
        let sa = isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?;
        match (heard.transaction.kind, judged) {
            (ConfigType::REQUEST, _) if !sa.xauth.is_over() => {
                sa.xauth = Progress::Answered(now + XAUTH_LIFE);
            }
            (ConfigType::SET, Some(true)) if !sa.xauth.is_over() => self.configurable(now, isakmp, None),
            (ConfigType::SET, Some(false)) => {
                let peer = self.name(isakmp.peer);
                self.log(Notice::UserRefused { peer, reason: None });
                self.user_refused(now, isakmp);
            }
            _ => {}
        }
        Ok(())
    }

    /// As server: who the client says it is. Whatever was wrong, it learns the same, in the same way.
    pub(super) fn user_answered(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        reply: &Transaction<'_>,
    ) -> Result<(), Discard> {
        let config = Arc::clone(&isakmp.sa().ok_or(Discard::UnexpectedExchange)?.config);
        let Xauth::Server(users) = &config.xauth else { return Err(Discard::UnexpectedExchange) };
        let source = isakmp.path.remote.ip();
        let judged = if !self.guesses.may_guess(now, reply, source) {
            Err(Discard::XauthGuessing)
        } else {
            xauth::judge(users, reply).ok_or(Discard::XauthRefused)
        };
        if judged == Err(Discard::XauthRefused) {
            self.guesses.failed(now, reply, source);
        }
        if let Err(reason) = judged {
            let peer = self.name(isakmp.peer);
            self.log(Notice::UserRefused { peer, reason: Some(reason) });
        }
        let user = judged.clone().ok();
        let judgement = xauth::judgement(user.is_some());
        if self.pose(now, isakmp, Question::TellUser(user), judgement).is_err() {
            self.user_refused(now, isakmp);
        }
        judged.map(|_| ())
    }

    /// As server: the client knows our judgement.
    pub(super) fn user_told(&mut self, now: Duration, isakmp: &mut Isakmp, user: Option<String>) {
        match user {
            Some(user) => {
                let peer = self.name(isakmp.peer);
                self.log(Notice::UserAccepted { peer, user: user.clone() });
                self.configurable(now, isakmp, Some(user));
            }
            None => self.user_refused(now, isakmp),
        }
    }

    /// Nobody may use this ISAKMP SA. One that the peer had before, and its children, stay. What waits for this one
    /// must not bring up the next at once: that would try the same password for ever.
    pub(super) fn user_refused(&mut self, now: Duration, isakmp: &mut Isakmp) {
        if self.successor(isakmp.peer, isakmp.id).is_none() {
            self.fail_pending(isakmp.peer, Failure::Refused(NotifyType::AUTHENTICATION_FAILED.0));
        }
        self.close_isakmp(now, isakmp, Down::Unauthenticated, true);
    }

    /// As client: the server did not ask, or does not say what it thinks.
    pub(super) fn xauth_due(&mut self, now: Duration, isakmp: &mut Isakmp) {
        let Some(sa) = isakmp.sa() else { return };
        match sa.xauth {
            Progress::Expecting(until) if until <= now => self.configurable(now, isakmp, None),
            Progress::Answered(until) if until <= now => self.user_refused(now, isakmp),
            _ => {}
        }
    }
}
