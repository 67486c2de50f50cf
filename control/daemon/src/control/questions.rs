//! What `dpctl` asks of the control loop, and what comes of it: looked up, or done by the tunnels.

use super::Control;
use crate::answers::Sources;
use crate::server::Question;
use crate::ted_answers;
use std::time::Duration;
use warren_api::{Answer, Refusal, RefusalWord, VersionInfo};
use warren_policy::{FiveTuple, PeerId, RuleId};
use warren_seam::Side;
use warren_tunnels::Tunnels;

/// Octets of the largest packet on Ethernet (RFC 894).
const MTU_USUAL: u16 = 1500;

impl Control {
    /// Answers one question, whoever still waits for it.
    pub(super) fn answer(&mut self, now: Duration, question: Question) {
        use warren_api::Command as Wanted;
        let answer = match question.command {
            Wanted::TunnelUp { name } => self.with_tunnel(&name, |tunnels, rule| tunnels.up(now, rule)),
            Wanted::TunnelDown { name } => self.with_tunnel(&name, |tunnels, rule| tunnels.down(now, rule)),
            Wanted::Version => Ok(Answer::Version(VersionInfo {
                warrend: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime_ms: now.as_millis() as u64,
                aead: self.parts.aead.clone(),
            })),
            Wanted::Stats => Ok(Answer::Stats(Box::new(self.sources(now).stats()))),
            Wanted::Stages => Ok(Answer::Stages(Box::new(self.sources(now).stages()))),
            Wanted::SaList => Ok(Answer::SaList(self.sources(now).sas())),
            Wanted::TunnelList => Ok(Answer::TunnelList(self.sources(now).tunnels())),
            Wanted::RuleList => Ok(Answer::RuleList(self.sources(now).rules())),
            Wanted::Drops => Ok(Answer::Drops(self.sources(now).drops())),
            Wanted::PolicyList => Ok(Answer::Policies(Box::new(self.sources(now).policies()))),
            Wanted::LeaseList => Ok(Answer::Leases(self.sources(now).leases())),
            Wanted::ClientList => Ok(Answer::Clients(Box::new(self.sources(now).clients()))),
            Wanted::PolicyPull { name } => {
                self.with_server(&name, |tunnels, peer| tunnels.pull_again(now, peer))
            }
            Wanted::ClientClose { name } => {
                self.with_server(&name, |tunnels, peer| tunnels.close_client(now, peer))
            }
            Wanted::LeaseRelease { pool, holder } => self.release(now, &pool, &holder),
            Wanted::TedStatus => Ok(Answer::TedStatus(Box::new(self.sources(now).ted().status()))),
            Wanted::TedFlow { packet } => ted_answers::packet(packet).map(|packet| self.flow(now, &packet)),
            Wanted::TedProbe { packet } => {
                ted_answers::packet(packet).and_then(|packet| self.probe(now, packet))
            }
            Wanted::TedPreview { packet } => {
                ted_answers::packet(packet).and_then(|packet| self.sources(now).ted().preview(packet))
            }
            Wanted::StackList => Ok(Answer::Stacks(self.sources(now).stacks())),
            Wanted::StackAbort { name } => self.abort(now, &name),
            Wanted::Explain { packet, rematch, mtu } => ted_answers::packet(packet).map(|packet| {
                let mtu = mtu.unwrap_or_else(|| self.path_mtu());
                Answer::Explained(Box::new(self.sources(now).explanation(&packet, rematch, mtu)))
            }),
        };
        // Refused only when the one who asked is gone.
        let _ = question.reply.send(answer);
    }

    /// A tunnel of the file may have become several rules; all of them are meant.
    fn with_tunnel(
        &mut self,
        name: &str,
        change: impl Fn(&mut Tunnels, RuleId) -> bool,
    ) -> Result<Answer, Refusal> {
        let mut rules = self.parts.tunnels.rules_named(name);
        let protections = self.parts.tunnels.rules().protections();
        rules.extend(protections.filter(|(rule, _)| is_part(&rule.name, name)).map(|(_, own)| own.rule));
        rules.sort_unstable();
        rules.dedup();
        if rules.is_empty() {
            return Err(Refusal::new(RefusalWord::UnknownTunnel, format!("there is no tunnel `{name}`")));
        }
        for rule in rules {
            change(&mut self.parts.tunnels, rule);
        }
        Ok(Answer::Done)
    }

    /// A peer that we receive policy from.
    fn with_server(
        &mut self,
        name: &str,
        change: impl Fn(&mut Tunnels, PeerId) -> bool,
    ) -> Result<Answer, Refusal> {
        let peer = self.parts.config.peers.iter().find(|peer| peer.name == name);
        match peer.map(|peer| peer.id) {
            Some(peer) if change(&mut self.parts.tunnels, peer) => Ok(Answer::Done),
            found => {
                let what = if found.is_some() { "policy is not received from" } else { "there is no peer" };
                Err(Refusal::new(RefusalWord::UnknownPeer, format!("{what} `{name}`")))
            }
        }
    }

    fn release(&mut self, now: Duration, pool: &str, holder: &str) -> Result<Answer, Refusal> {
        if self.parts.tunnels.release_lease(now, pool, holder) {
            return Ok(Answer::Done);
        }
        let message = format!("pool `{pool}` has no lease of `{holder}`");
        Err(Refusal::new(RefusalWord::UnknownLease, message))
    }

    /// Takes down what stands on a rule's stacks; other stacks keep what they share with it.
    fn abort(&mut self, now: Duration, name: &str) -> Result<Answer, Refusal> {
        let named = self.sources(now).named();
        let called = |rule: &RuleId| named.get(rule).is_some_and(|own| is_part(&own.name, name));
        let stacks = self.parts.tunnels.stacks();
        let rules: Vec<_> = stacks.iter().map(|stack| stack.rule).filter(called).collect();
        let mut any = false;
        for rule in rules {
            any |= self.parts.tunnels.abort_stack(now, rule);
        }
        let none = || Refusal::new(RefusalWord::UnknownStack, format!("`{name}` has no stack of tunnels"));
        if any { Ok(Answer::Done) } else { Err(none()) }
    }

    /// Octets of the largest packet that every outside port carries.
    fn path_mtu(&self) -> u16 {
        let ports = self.view.forwarding.ports.iter();
        let outside = ports.filter(|port| port.side == Side::Outside && port.mtu > 0);
        outside.map(|port| port.mtu).min().unwrap_or(MTU_USUAL)
    }

    fn flow(&self, now: Duration, packet: &FiveTuple) -> Answer {
        Answer::TedFlow(Box::new(self.sources(now).ted().flow(packet)))
    }

    /// Asks for a gateway. What is under way or there already is what was wanted.
    fn probe(&mut self, now: Duration, packet: FiveTuple) -> Result<Answer, Refusal> {
        match self.parts.tunnels.ted_probe(now, packet).err().and_then(|why| ted_answers::refused(&why)) {
            Some(refusal) => Err(refusal),
            None => Ok(self.flow(now, &packet)),
        }
    }

    fn sources(&self, now: Duration) -> Sources<'_> {
        Sources {
            now,
            config: &self.parts.config,
            tunnels: &self.parts.tunnels,
            engine: &self.parts.engine,
            ports: &self.parts.facts,
            steering: &self.parts.steering,
            flow_steering: &self.parts.flow_steering,
            cores: &self.parts.crew.cores,
            aead: &self.parts.aead,
        }
    }
}

/// Whether a rule is the one of that name, or one of its parts `NAME#1`, `NAME#2`, …
fn is_part(rule: &str, name: &str) -> bool {
    rule.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}
