//! Another configuration: what stays the same keeps its identifiers and its SAs, wherever it stands in the file now.

use crate::config::{TunnelConfig, TunnelsConfig};
use crate::negotiator::Negotiator;
use crate::tunnel::Tunnel;
use crate::tunnels::Tunnels;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use warren_policy::{PeerId, RuleId, Selector};
use warren_seam::Command;

impl<N: Negotiator> Tunnels<N> {
    /// Replaces the configuration. Tunnels that are configured as before keep their SAs, and none of their packets is
    /// lost; peers are the same when they have the same name. What changes is unbound before the rules do.
    ///
    /// # Panics
    /// When tunnels and rules of `config` do not belong together.
    pub fn reconfigure(&mut self, now: Duration, mut config: TunnelsConfig) {
        assert!(config.is_consistent(), "every tunnel rule has its tunnel, in the same order");
        self.rename_peers(&mut config);
        self.drop_clients(now, &config);
        self.drop_guests(now, &config);
        let going = self.rename_rules(&mut config);
        self.remove_parts(now, &going);
        self.take_out_of_use(&going);
        self.own_rules = config.rules.clone();
        self.attached.clone_from(&config.attached);
        let names: Vec<String> = self.own_rules.tunnel.iter().map(|rule| rule.name.clone()).collect();
        self.renew_rules();
        for rule in &going {
            self.close_all(now, *rule);
        }
        self.settle_closing(now);
        let children = config.tunnels.iter().map(|tunnel| tunnel.child.clone()).collect();
        let children = self.all_children(children);
        self.locals = config.peers.iter().map(|peer| (peer.id, peer.local)).collect();
        self.rematch = config.rematch;
        self.hosts = config.peers.iter().filter_map(|peer| Some((peer.id, peer.remote.host()?))).collect();
        self.negotiator.reconfigure(now, config.peers.clone(), children);
        self.drain(now);
        for rule in going {
            self.forget(rule);
        }
        self.reconfigure_discovery(now, &config);
        self.adopt(now, config.tunnels, names);
        self.plan_starts(now);
        // Peers that went with their configuration are gone before anything is made of the new one.
        self.answer_remarks(now);
        self.adopt_clients(now, config.clients);
        self.adopt_policies(now, (config.servers, config.policies), &config.pools);
        self.settle(now);
    }

    /// Puts the identifiers that peers have here in the place of those that they have in the file.
    fn rename_peers(&mut self, config: &mut TunnelsConfig) {
        let known: HashMap<&str, PeerId> = self.peers.iter().map(|(id, name)| (name.as_str(), *id)).collect();
        let mut taken = BTreeSet::new();
        let mut kept: Vec<Option<PeerId>> = Vec::new();
        for peer in &config.peers {
            let own = known.get(peer.name.as_str()).copied();
            kept.push(own.filter(|own| taken.insert(*own)));
        }
        let mut next = 0;
        let mut smallest_free = || {
            while !taken.insert(PeerId(next)) {
                next += 1;
            }
            PeerId(next)
        };
        let kept: Vec<PeerId> = kept.into_iter().map(|own| own.unwrap_or_else(&mut smallest_free)).collect();
        let renamed: HashMap<PeerId, PeerId> =
            config.peers.iter().zip(&kept).map(|(peer, own)| (peer.id, *own)).collect();
        let rename = |peer: &mut PeerId| *peer = renamed.get(peer).copied().unwrap_or(*peer);
        config.peers.iter_mut().for_each(|peer| rename(&mut peer.id));
        config.tunnels.iter_mut().for_each(|tunnel| rename(&mut tunnel.child.peer));
        config.rules.tunnel.iter_mut().for_each(|rule| rename(&mut rule.peer));
        config.clients.iter_mut().for_each(|client| rename(&mut client.peer));
        config.servers.iter_mut().for_each(|server| rename(&mut server.peer));
        self.peers = config.peers.iter().map(|peer| (peer.id, peer.name.clone())).collect();
    }

    /// The same for tunnel rules, which are known by what they negotiate. Returns those that do not stay; their
    /// identifiers may have gone to new ones already.
    fn rename_rules(&mut self, config: &mut TunnelsConfig) -> Vec<RuleId> {
        let mut known: HashMap<(PeerId, Selector), RuleId> = HashMap::new();
        for rule in &self.own_rules.tunnel {
            let child = &self.tunnels[&rule.id].config.child;
            known.insert((child.peer, child.selector), rule.id);
        }
        let mut kept = Vec::new();
        for tunnel in &config.tunnels {
            let key = (tunnel.child.peer, tunnel.child.selector);
            let same = |rule: &RuleId| {
                let child = &self.tunnels[rule].config.child;
                tunnel.child == warren_ike::ChildConfig { rule: tunnel.child.rule, ..child.clone() }
            };
            let own = known.get(&key).copied().filter(same);
            if own.is_some() {
                known.remove(&key);
            }
            kept.push(own);
        }
        let stays: BTreeSet<RuleId> = kept.iter().flatten().copied().collect();
        let old = self.own_rules.tunnel.iter().map(|rule| rule.id);
        let going: Vec<RuleId> = old.filter(|rule| !stays.contains(rule)).collect();
        going.iter().for_each(|rule| self.identifiers.give_back(*rule));
        for ((tunnel, rule), kept) in config.tunnels.iter_mut().zip(&mut config.rules.tunnel).zip(kept) {
            // A configuration with more rules than there may be is refused before it comes here.
            let own = kept.or_else(|| self.identifiers.take()).expect("fewer rules than identifiers");
            tunnel.child.rule = own;
            rule.id = own;
        }
        going
    }

    fn adopt(&mut self, now: Duration, wanted: Vec<TunnelConfig>, names: Vec<String>) {
        for (config, name) in wanted.into_iter().zip(names) {
            let rule = config.child.rule;
            let kept = self.tunnels.remove(&rule);
            if kept.is_none() {
                // The identifier may have been another rule's, which had asked for SAs.
                self.command(Command::Rearm(rule));
            }
            let mut tunnel = kept.unwrap_or_else(|| Tunnel::new(now, name.clone(), config.clone()));
            (tunnel.config, tunnel.name) = (config, name);
            self.tunnels.insert(rule, tunnel);
            self.touched.push(rule);
        }
    }

    /// The operator's name for a peer; who it is, for one that no file names.
    #[must_use]
    pub fn peer_name(&self, peer: PeerId) -> String {
        let discovered = || {
            let (within, gateway) = self.discovery.whereabouts(peer)?;
            let template = self.own_rules.tunnel_rule(within)?.peer;
            Some(format!("{}/{gateway}", self.peers.get(&template)?))
        };
        let guest = || self.guests.get(&peer).map(|guest| format!("{}/{}", guest.name, guest.identity));
        self.peers
            .get(&peer)
            .cloned()
            .or_else(guest)
            .or_else(discovered)
            .unwrap_or_else(|| format!("#{}", peer.0))
    }

    /// Names of configured peers.
    pub(crate) fn names(config: &TunnelsConfig) -> BTreeMap<PeerId, String> {
        config.peers.iter().map(|peer| (peer.id, peer.name.clone())).collect()
    }
}
