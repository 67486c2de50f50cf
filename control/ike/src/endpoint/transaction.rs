//! The transaction exchange (exchange type 6): configuration pulled and pushed, extended authentication.

use super::Endpoint;
use crate::wire::ConfigAttribute;
use crate::{ChildConfig, ConfigExchange, Failure, Output};
use std::time::Duration;
use warren_policy::{PeerId, RuleId};

impl Endpoint {
    /// Brings up an ISAKMP SA with the peer if there is none. Ends in `PeerUp`, or in `ConfigFailed`.
    pub fn connect(&mut self, _now: Duration, peer: PeerId) {
        self.outbox.push_back(Output::ConfigFailed { peer, reason: Failure::NotConfigured });
    }

    /// Asks the peer (CFG_REQUEST) under its current ISAKMP SA. Ends in `ConfigReceived` or `ConfigFailed`.
    pub fn pull_config(&mut self, _now: Duration, peer: PeerId, _attributes: Vec<ConfigAttribute>) {
        self.outbox.push_back(Output::ConfigFailed { peer, reason: Failure::NotConfigured });
    }

    /// Tells the peer (CFG_SET) under its current ISAKMP SA. Ends in `ConfigAcknowledged` or `ConfigFailed`.
    pub fn push_config(&mut self, _now: Duration, peer: PeerId, _attributes: Vec<ConfigAttribute>) {
        self.outbox.push_back(Output::ConfigFailed { peer, reason: Failure::NotConfigured });
    }

    /// Answers `ConfigAsked` (CFG_REPLY).
    pub fn reply_config(
        &mut self,
        _now: Duration,
        _peer: PeerId,
        _exchange: ConfigExchange,
        _attributes: Vec<ConfigAttribute>,
    ) {
    }

    /// Answers a pushed `ConfigReceived` (CFG_ACK).
    pub fn acknowledge_config(
        &mut self,
        _now: Duration,
        _peer: PeerId,
        _exchange: ConfigExchange,
        _attributes: Vec<ConfigAttribute>,
    ) {
    }

    /// One more child that may be negotiated from now on, in either role.
    pub fn add_child(&mut self, _now: Duration, _child: ChildConfig) {}

    /// A child that may not be negotiated any more; its pairs are closed.
    pub fn remove_child(&mut self, _now: Duration, _rule: RuleId) {}
}
