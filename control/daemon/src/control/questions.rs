//! What `dpctl` asks of the control loop, and what comes of it: looked up, or done by the tunnels.

use super::Control;
use crate::answers::Sources;
use crate::server::Question;
use crate::ted_answers;
use std::time::Duration;
use warren_api::{Answer, Refusal, RefusalWord, VersionInfo};
use warren_policy::{FiveTuple, PeerId, RuleId};
use warren_tunnels::Tunnels;

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
        let rules = self.parts.tunnels.rules_named(name);
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
            cores: &self.parts.crew.cores,
            aead: &self.parts.aead,
        }
    }
}
