//! Another configuration: what stays the same keeps its identifiers and its SAs, wherever it stands in the file now.

use crate::config::{TunnelConfig, TunnelsConfig};
use crate::negotiator::Negotiator;
use crate::tunnel::Tunnel;
use crate::tunnels::Tunnels;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use warren_ike::ChildConfig;
use warren_policy::{PeerId, RuleId, SaMode, Selector};
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
        self.take_out_of_use(now, &going);
        self.own_rules = config.rules.clone();
        self.attached.clone_from(&config.attached);
        self.stack_idle = config.stack_idle;
        let names = self.own_names();
        self.renew_rules();
        for rule in &going {
            self.close_all(now, *rule);
        }
        self.settle_closing(now);
        let children = self.all_children(config.children());
        self.hosts = config.peers.iter().filter_map(|peer| Some((peer.id, peer.remote.host()?))).collect();
        self.nesting.adopt(&config);
        self.negotiator.reconfigure(now, config.peers.clone(), children);
        self.drain(now);
        for rule in going {
            self.forget(rule);
        }
        self.reconfigure_discovery(now, &config);
        self.adopt(now, config.tunnels.into_iter().chain(config.protections).collect(), names);
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
        let tunnels = config.tunnels.iter_mut().chain(&mut config.protections);
        tunnels.for_each(|tunnel| rename(&mut tunnel.child.peer));
        config.rules.tunnel.iter_mut().for_each(|rule| rename(&mut rule.peer));
        config.rules.protections_mut().for_each(|own| rename(&mut own.peer));
        config.clients.iter_mut().for_each(|client| rename(&mut client.peer));
        config.servers.iter_mut().for_each(|server| rename(&mut server.peer));
        self.peers = config.peers.iter().map(|peer| (peer.id, peer.name.clone())).collect();
    }

    /// The same for tunnel rules, which are known by what they negotiate. Returns those that do not stay; their
    /// identifiers may have gone to new ones already.
    fn rename_rules(&mut self, config: &mut TunnelsConfig) -> Vec<RuleId> {
        let mut known: HashMap<(PeerId, Selector, bool), RuleId> = HashMap::new();
        let old = self.own_rules.tunnel.iter().map(|rule| rule.id);
        let old: Vec<RuleId> = old.chain(self.own_rules.protections().map(|(_, own)| own.rule)).collect();
        let key = |child: &ChildConfig| (child.peer, child.selector, child.mode == SaMode::Transport);
        for rule in &old {
            known.insert(key(&self.tunnels[rule].config.child), *rule);
        }
        let mut kept = Vec::new();
        for tunnel in config.of_rules() {
            let key = key(&tunnel.child);
            let same = |rule: &RuleId| {
                let child = &self.tunnels[rule].config.child;
                // What is around it is found out from all rules, below.
                let (rule, carrier) = (tunnel.child.rule, tunnel.child.carrier);
                tunnel.child == ChildConfig { rule, carrier, ..child.clone() }
            };
            let own = known.get(&key).copied().filter(same);
            if own.is_some() {
                known.remove(&key);
            }
            kept.push(own);
        }
        let stays: BTreeSet<RuleId> = kept.iter().flatten().copied().collect();
        let going: Vec<RuleId> = old.into_iter().filter(|rule| !stays.contains(rule)).collect();
        going.iter().for_each(|rule| self.identifiers.give_back(*rule));
        // A configuration with more rules than there may be is refused before it comes here.
        let mut own = |kept: Option<RuleId>| {
            kept.or_else(|| self.identifiers.take()).expect("fewer rules than identifiers")
        };
        let ids: Vec<RuleId> = kept.into_iter().map(&mut own).collect();
        let TunnelsConfig { tunnels, protections, rules, .. } = config;
        for (tunnel, id) in tunnels.iter_mut().chain(protections).zip(&ids) {
            tunnel.child.rule = *id;
            let kept = self.tunnels.get(id).filter(|_| stays.contains(id));
            tunnel.child.carrier = kept.map_or(tunnel.child.carrier, |kept| kept.config.child.carrier);
        }
        let tunnels = rules.tunnel.len();
        rules.tunnel.iter_mut().zip(&ids).for_each(|(rule, id)| rule.id = *id);
        rules.protections_mut().zip(&ids[tunnels..]).for_each(|(own, id)| own.rule = *id);
        going
    }

    fn adopt(&mut self, now: Duration, wanted: Vec<TunnelConfig>, names: Vec<String>) {
        let mut resized = Vec::new();
        for (config, name) in wanted.into_iter().zip(names) {
            let rule = config.child.rule;
            let kept = self.tunnels.remove(&rule);
            if kept.as_ref().is_some_and(|kept| kept.config.parallel != config.parallel) {
                resized.push(rule);
            }
            if kept.is_none() {
                // The identifier may have been another rule's, which had asked for SAs.
                self.command(Command::Rearm(rule));
            }
            let mut tunnel = kept.unwrap_or_else(|| Tunnel::new(now, name.clone(), config.clone()));
            (tunnel.config, tunnel.name) = (config, name);
            self.tunnels.insert(rule, tunnel);
            self.touched.push(rule);
        }
        for rule in resized {
            self.fit_lanes(now, rule);
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
