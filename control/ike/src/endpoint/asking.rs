//! What a peer may ask for in quick mode: a child as it is configured, or a part of a divisible one, and nothing that its
//! identity is not authorised for.
//!
//! ```text
//! authentic first message -> wanted: a child     -> message ID claimed -> quick_first -> answer
//!                                    unacceptable -> message ID claimed -> quick_first -> refusal
//!                                    a part       -> ChildAsked … add_child, grant_child -> the same message again
//! ```
//!
//! Of a message that asks for a part nothing is kept, not even its message ID: lost, repeated or replayed, it is a new
//! one until it is granted, and from then on a repetition like any other.

use super::Endpoint;
use super::demux::Message;
use super::isakmp::Isakmp;
use crate::v1::quick;
use crate::wire::{Body, ExchangeType};
use crate::{Asked, ChildConfig, Discard, Notice, Output, Path};
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::selector::AddressRange;
use warren_policy::{PeerId, RuleId, SaMode, Selector};

/// What an authentic first message asks for; selectors as we see them, source is our side.
pub(super) enum Wanted {
    /// A child, to be negotiated.
    Child(Arc<ChildConfig>),
    /// A part of a divisible child, that it may have.
    Part { within: RuleId, selector: Selector },
    /// Networks that its identity is not authorised for.
    Unauthorised(Selector),
    /// What it cannot have.
    Nothing(Discard),
}

/// Whether the selector is for the two ends of the path and nobody else.
pub(super) fn is_from_end_to_end(isakmp: &Isakmp, selector: &Selector) -> bool {
    selector.source == AddressRange::single(isakmp.path.local.ip())
        && selector.destination == AddressRange::single(isakmp.path.remote.ip())
}

/// Whether transport mode may protect what an authentic first message asks for. Where ESP is in UDP, a NAT may have
/// changed an address, and the peer made its checksums with the one before: only identities that name the addresses
/// of the path show that it did not.
fn is_between_hosts(isakmp: &Isakmp, selector: &Selector, body: &Body<'_>) -> bool {
    is_from_end_to_end(isakmp, selector) && (!isakmp.nat().float || quick::names_traffic(body))
}

impl Endpoint {
    /// One more child that quick modes are looked up in. Not that of a peer that has gone: nobody would take it out again.
    pub(super) fn enter_child(&mut self, child: ChildConfig) {
        if !self.peers.contains_key(&child.peer) {
            return;
        }
        if child.is_divisible {
            self.divisible.entry(child.peer).or_default().push(child.rule);
        } else {
            let same = self.by_selector.entry((child.peer, child.selector, child.mode)).or_default();
            if let Err(place) = same.binary_search(&child.rule) {
                same.insert(place, child.rule);
            }
        }
        self.rules.insert(child.rule, Arc::new(child));
    }

    /// Takes a child out again.
    pub(super) fn leave_child(&mut self, rule: RuleId) {
        let Some(child) = self.rules.remove(&rule) else { return };
        if let Entry::Occupied(mut same) = self.by_selector.entry((child.peer, child.selector, child.mode)) {
            same.get_mut().retain(|other| *other != rule);
            if same.get().is_empty() {
                same.remove();
            }
        }
        if let Some(divisible) = self.divisible.get_mut(&child.peer) {
            divisible.retain(|other| *other != rule);
        }
    }

    /// What the first message under that ISAKMP SA asks for.
    pub(super) fn wanted(&self, isakmp: &Isakmp, body: &Body<'_>) -> Wanted {
        let hosts = (isakmp.path.remote.ip(), isakmp.path.local.ip());
        let Some(selector) = quick::asked(body, hosts) else {
            return Wanted::Nothing(Discard::InvalidIdInformation);
        };
        let exact = self.exactly(isakmp, selector, body);
        let child = exact.or_else(|| self.divisible_around(isakmp.peer, &selector));
        let Some(child) = child else { return Wanted::Nothing(Discard::InvalidIdInformation) };
        if child.mode == SaMode::Transport && !is_between_hosts(isakmp, &selector, body) {
            return Wanted::Nothing(Discard::NotBetweenHosts);
        }
        if !self.authorises(isakmp, &selector.destination) {
            return Wanted::Unauthorised(selector);
        }
        if !child.is_divisible {
            return Wanted::Child(Arc::clone(child));
        }
        // Nobody is to make a child for what would be refused as soon as it is there.
        if !quick::is_acceptable(body, child, isakmp.nat().float) {
            return Wanted::Nothing(Discard::NoProposalChosen);
        }
        Wanted::Part { within: child.rule, selector }
    }

    /// The child for exactly that traffic: the one whose mode and proposals are offered where there are two, in tunnel and
    /// in transport mode, and of those the one with the smaller identifier.
    fn exactly(&self, isakmp: &Isakmp, selector: Selector, body: &Body<'_>) -> Option<&Arc<ChildConfig>> {
        // The same selector is the same value, so that the table answers what `extent_in` would.
        let in_mode = |mode| {
            let first = self.by_selector.get(&(isakmp.peer, selector, mode))?.first()?;
            self.rules.get(first)
        };
        match (in_mode(SaMode::Tunnel), in_mode(SaMode::Transport)) {
            (Some(tunnel), Some(transport)) => {
                let in_udp = isakmp.nat().float;
                let (first, second) =
                    if tunnel.rule < transport.rule { (tunnel, transport) } else { (transport, tunnel) };
                let is_second =
                    !quick::is_acceptable(body, first, in_udp) && quick::is_acceptable(body, second, in_udp);
                Some(if is_second { second } else { first })
            }
            (tunnel, transport) => tunnel.or(transport),
        }
    }

    /// The first divisible child of the peer's template that the selector is a part of.
    fn divisible_around(&self, peer: PeerId, selector: &Selector) -> Option<&Arc<ChildConfig>> {
        let who = self.peer(peer).who.as_ref()?;
        let rules = self.divisible.get(&who.template)?.iter().filter_map(|rule| self.rules.get(rule));
        rules.into_iter().find(|child| selector.is_part_of(&child.selector))
    }

    /// Whether who the peer proved to be may protect that network (REQUIREMENTS F-7, TED-59). Peers without a peer
    /// authorisation database have none but configured children.
    pub(super) fn authorises(&self, isakmp: &Isakmp, network: &AddressRange) -> bool {
        let Some(pad) = &self.peer(isakmp.peer).config.pad else { return true };
        isakmp.sa().is_some_and(|sa| pad.authorises(&sa.identity, network))
    }

    /// Tells the operator whom something is refused.
    pub(super) fn log_unauthorised(&mut self, isakmp: &Isakmp, selector: &Selector) {
        let Some(identity) = isakmp.sa().map(|sa| sa.identity.clone()) else { return };
        let peer = self.name(isakmp.peer);
        self.log(Notice::Unauthorised { peer, identity, selector: *selector });
    }

    /// Says that a part is asked for. The message is authentic, but may be a replay of one that became a child long ago.
    pub(super) fn ask_for_child(
        &mut self,
        path: Path,
        isakmp: &Isakmp,
        message: &Message<'_>,
        (within, selector): (RuleId, Selector),
    ) -> Result<(), Discard> {
        let sa = isakmp.sa().ok_or(Discard::UnexpectedExchange)?;
        if sa.is_used(message.header.message_id) {
            return Err(Discard::MessageIdReused);
        }
        let asked = Asked { path, message: message.octets.to_vec() };
        self.outbox.push_back(Output::ChildAsked { peer: isakmp.peer, within, selector, asked });
        Ok(())
    }

    /// The child that `Output::ChildAsked` asked for exists: its quick mode goes on. Without it the peer is told that
    /// there is none.
    pub fn grant_child(&mut self, now: Duration, asked: Asked) {
        if let Err(discard) = self.grant(now, &asked) {
            self.counters.discard(discard);
        }
        self.sweep();
    }

    fn grant(&mut self, now: Duration, asked: &Asked) -> Result<(), Discard> {
        let message = Message::of(&asked.message)?;
        if message.header.exchange != ExchangeType::QUICK {
            return Err(Discard::UnexpectedExchange);
        }
        let isakmp = self.known_isakmp(message.cookies()).ok_or(Discard::UnknownCookies)?;
        if !isakmp.may_come_by(asked.path) {
            return Err(Discard::WrongPath);
        }
        self.take(now, asked.path, isakmp.id, &message, Self::granted_message)
    }
}
