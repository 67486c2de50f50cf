//! What we give to the peers that connect to us (REQUIREMENTS DC-2, DC-7, DC-8, DC-10, DC-11, DC-22, DC-24).
//!
//! ```text
//! ConfigAsked, or Configurable where we push ──> leases ──> sets ──> rules, children ──> reply, or push
//! reload ──> the same again; what does not change stays ──> push
//! PeerDown ──> rules and children out, leases kept but inactive
//! ```

use crate::config::{ServerConfig, Start, TunnelsConfig};
use crate::dynamic::Wish;
use crate::grant::Grant;
use crate::leases::{Change, USER};
use crate::limits::{GUESTS_MAX, REFUSED_KEPT_MAX, REFUSED_LOGGED_MAX};
use crate::negotiator::Negotiator;
use crate::notice::Notice;
use crate::status::{RefusedSet, ServedStatus, SetStanding, SetStatus};
use crate::tunnels::{Output, Tunnels};
use std::net::IpAddr;
use std::time::Duration;
use warren_ike::wire::{ConfigAttribute, SetMessage};
use warren_ike::{ConfigExchange, Failure, Path};
use warren_policy::{AddressRange, CompiledSet, Identity, PeerId, Pool, Selector, ServedPolicy};

/// A peer that is connected to us.
pub(crate) struct Guest {
    pub(crate) peer: PeerId,
    /// Under which configured peer it authenticated.
    pub(crate) server: PeerId,
    /// The operator's name for that.
    pub(crate) name: String,
    /// The policy's name.
    pub(crate) policy: String,
    pub(crate) identity: Identity,
    pub(crate) user: Option<String>,
    /// Our address towards it, and its own.
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) speaks_policy: bool,
    pub(crate) since: Duration,
    pub(crate) served_at: Option<Duration>,
    /// In whose name its addresses are leased.
    pub(crate) holder: String,
    /// Pools that its addresses are of, in their order.
    pub(crate) pools: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) sets: Vec<SetStatus>,
    pub(crate) refused: Vec<RefusedSet>,
    pub(crate) error: Option<String>,
    /// What it is told.
    pub(crate) grant: Grant,
}

impl Guest {
    pub(crate) fn status(&self) -> ServedStatus {
        ServedStatus {
            peer: self.peer,
            server: self.server,
            name: self.name.clone(),
            policy: self.policy.clone(),
            identity: self.identity.clone(),
            user: self.user.clone(),
            remote: self.remote,
            speaks_policy: self.speaks_policy,
            since: self.since,
            served_at: self.served_at,
            addresses: self.addresses.clone(),
            sets: self.sets.clone(),
            refused: self.refused.clone(),
            error: self.error.clone(),
        }
    }
}

impl<N: Negotiator> Tunnels<N> {
    /// Forgets a lease; a holder that is connected is disconnected first. `false` when there is no such lease.
    pub fn release_lease(&mut self, now: Duration, pool: &str, holder: &str) -> bool {
        let connected = |guest: &&Guest| guest.holder == holder && guest.pools.iter().any(|own| own == pool);
        let guest = self.guests.values().find(connected).map(|guest| guest.peer);
        if let Some(peer) = guest {
            self.guest_down(now, peer);
            self.negotiator.close_peer(now, peer);
        }
        let released = self.leases.release(pool, holder);
        self.keep_leases();
        self.settle(now);
        released
    }

    /// Peers whose template is no server any more get nothing any more.
    pub(crate) fn drop_guests(&mut self, now: Duration, config: &TunnelsConfig) {
        let wanted = |guest: &&Guest| config.servers.iter().any(|server| server.peer == guest.server);
        let gone: Vec<PeerId> =
            self.guests.values().filter(|guest| !wanted(guest)).map(|guest| guest.peer).collect();
        for peer in gone {
            self.guest_down(now, peer);
        }
    }

    /// Everybody who was served is served anew; who speaks policy is told what became different.
    pub(crate) fn adopt_policies(
        &mut self,
        now: Duration,
        (servers, policies): (Vec<ServerConfig>, Vec<ServedPolicy>),
        pools: &[Pool],
    ) {
        self.servers = servers.into_iter().map(|server| (server.peer, server)).collect();
        self.policies = policies;
        self.leases.reconfigure(pools);
        self.keep_leases();
        let served = self.guests.values().filter(|guest| guest.served_at.is_some());
        let served: Vec<PeerId> = served.map(|guest| guest.peer).collect();
        for peer in served {
            let before = self.guests.get(&peer).map(|guest| guest.grant.clone());
            self.serve(now, peer);
            let Some(guest) = self.guests.get(&peer) else { continue };
            if guest.speaks_policy && before.as_ref() != Some(&guest.grant) {
                self.negotiator.push_config(now, peer, guest.grant.push(true));
            }
        }
    }

    pub(crate) fn guest_up(
        &mut self,
        now: Duration,
        (peer, server): (PeerId, PeerId),
        identity: Identity,
        path: Path,
    ) {
        if !self.servers.contains_key(&server) {
            return;
        }
        if self.guests.len() >= GUESTS_MAX {
            let peer = format!("{}/{identity}", self.peer_name(server));
            let error = "too many peers are connected".to_owned();
            return self.log(Notice::ServedLess { peer, error });
        }
        // A peer that came back before it was gone has lost what it was given.
        self.guest_down(now, peer);
        let guest = Guest {
            peer,
            server,
            name: self.peer_name(server),
            policy: String::new(),
            holder: holder(&identity, None),
            identity,
            user: None,
            local: path.local.ip(),
            remote: path.remote.ip(),
            speaks_policy: false,
            since: now,
            served_at: None,
            pools: Vec::new(),
            addresses: Vec::new(),
            sets: Vec::new(),
            refused: Vec::new(),
            error: None,
            grant: Grant::default(),
        };
        self.guests.insert(peer, guest);
    }

    pub(crate) fn guest_configurable(
        &mut self,
        now: Duration,
        peer: PeerId,
        speaks_policy: bool,
        user: Option<String>,
    ) {
        let Some(guest) = self.guests.get_mut(&peer) else { return };
        guest.speaks_policy = speaks_policy;
        guest.user = user;
        if self.servers.get(&guest.server).is_some_and(|server| server.pushes) {
            self.serve(now, peer);
            if let Some(guest) = self.guests.get(&peer) {
                self.negotiator.push_config(now, peer, guest.grant.push(speaks_policy));
            }
        }
    }

    /// The rules and the children are there before the answer is: the client negotiates at once (REQUIREMENTS DC-6).
    pub(crate) fn guest_asks(
        &mut self,
        now: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        asked: &[ConfigAttribute],
    ) {
        self.serve(now, peer);
        let reply = self.guests.get(&peer).map(|guest| guest.grant.reply(asked)).unwrap_or_default();
        self.negotiator.reply_config(now, peer, exchange, reply);
    }

    pub(crate) fn guest_acknowledges(&mut self, peer: PeerId, attributes: Vec<ConfigAttribute>) {
        let Some(guest) = self.guests.get_mut(&peer) else { return };
        guest.refused.clear();
        let mut notices = Vec::new();
        for attribute in attributes {
            let ConfigAttribute::PolicySet(SetMessage::Acknowledged { id, refusal: Some(reason) }) =
                attribute
            else {
                continue;
            };
            // What a peer does not know is not ours to show as one of its sets.
            let Some(set) = guest.sets.iter().find(|set| set.id == id) else { continue };
            let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            if guest.refused.len() < REFUSED_KEPT_MAX {
                guest.refused.push(RefusedSet {
                    id: Some(id),
                    name: set.name.clone(),
                    reason: reason.clone(),
                });
            }
            if notices.len() < REFUSED_LOGGED_MAX {
                notices.push((id, reason));
            }
        }
        let name = self.peer_name(peer);
        for (set, reason) in notices {
            self.log(Notice::SetNotTaken { peer: name.clone(), set, reason });
        }
    }

    pub(crate) fn guest_fails(&mut self, peer: PeerId, reason: Failure) {
        if self.guests.contains_key(&peer) {
            let peer = self.peer_name(peer);
            self.log(Notice::PushFailed { peer, reason });
        }
    }

    pub(crate) fn guest_down(&mut self, now: Duration, peer: PeerId) {
        let Some(guest) = self.guests.get(&peer) else { return };
        let (remote, was_served) = (guest.remote, guest.served_at.is_some());
        self.change_dynamic(now, (peer, remote), &[], Start::OnTraffic);
        let name = self.peer_name(peer);
        let Some(guest) = self.guests.remove(&peer) else { return };
        for pool in &guest.pools {
            self.leases.leave(pool, &guest.holder);
        }
        if was_served {
            self.log(Notice::ServedGone { peer: name });
        }
    }

    /// Leases, sets, rules and children, in this order.
    fn serve(&mut self, now: Duration, peer: PeerId) {
        let Some(guest) = self.guests.get(&peer) else { return };
        let Some(policy) = self.servers.get(&guest.server).and_then(|own| self.policies.get(own.policy))
        else {
            return;
        };
        let (remote, policy) = (guest.remote, policy.clone());
        let error = self.lease(peer, &policy);
        self.keep_leases();
        let addresses = self.guests.get(&peer).map(|guest| guest.addresses.clone()).unwrap_or_default();
        self.take_over(now, peer, &addresses);
        let compiled = policy.compile(&addresses);
        let name = self.peer_name(peer);
        let mut wishes: Vec<Wish> =
            compiled.iter().filter(|set| set.is_ours()).flat_map(|set| wish(&name, set)).collect();
        if self.guests.get(&peer).is_some_and(|guest| !guest.speaks_policy) {
            wishes.extend(everything(&name, &addresses, &wishes));
        }
        let changed = self.change_dynamic(now, (peer, remote), &wishes, Start::OnTraffic);
        let mut rules = changed.rules.iter();
        let mut sets: Vec<SetStatus> = compiled.iter().map(status_of).collect();
        for set in sets.iter_mut().filter(|set| set.standing == SetStanding::Executed) {
            set.rules = rules.by_ref().take(set.selectors.len()).flatten().copied().collect();
        }
        let Some(guest) = self.guests.get_mut(&peer) else { return };
        guest.grant = Grant::new(&policy, &addresses, &compiled, error.as_ref());
        guest.served_at = Some(now);
        guest.policy.clone_from(&policy.name);
        guest.sets = sets;
        guest.error.clone_from(&error);
        let (added, removed) = (changed.added, changed.removed);
        self.log(Notice::Served { peer: name.clone(), addresses, added, removed });
        if let Some(error) = error {
            self.log(Notice::ServedLess { peer: name, error });
        }
    }

    /// Leases of every pool of the policy, in the name of whoever the peer is by now. Returns what there was none of.
    fn lease(&mut self, peer: PeerId, policy: &ServedPolicy) -> Option<String> {
        let guest = self.guests.get_mut(&peer)?;
        let holder = holder(&guest.identity, guest.user.as_deref());
        let pools: Vec<String> = policy.pools.iter().filter_map(|place| self.leases.name(*place)).collect();
        for pool in guest.pools.iter().filter(|pool| holder != guest.holder || !pools.contains(pool)) {
            self.leases.leave(pool, &guest.holder);
        }
        (guest.pools, guest.addresses) = (Vec::new(), Vec::new());
        let mut errors = Vec::new();
        for (place, pool) in policy.pools.iter().zip(pools) {
            match self.leases.lease(*place, &holder) {
                Ok(address) => {
                    guest.pools.push(pool);
                    guest.addresses.push(address);
                }
                Err(exhausted) => errors.push(exhausted.to_string()),
            }
        }
        guest.holder = holder;
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    /// Whoever proved last to be the holder has the addresses; an older connection of the same user goes.
    fn take_over(&mut self, now: Duration, peer: PeerId, addresses: &[IpAddr]) {
        let shares = |guest: &&Guest| {
            guest.peer != peer && guest.addresses.iter().any(|address| addresses.contains(address))
        };
        let older: Vec<PeerId> = self.guests.values().filter(shares).map(|guest| guest.peer).collect();
        for older in older {
            if let Some(guest) = self.guests.get_mut(&older) {
                // They are leased to the same holder, who stays.
                guest.pools.clear();
            }
            self.guest_down(now, older);
            self.negotiator.close_peer(now, older);
        }
    }

    /// What is leased outlives the process before anybody hears of it.
    pub(crate) fn keep_leases(&mut self) {
        for change in self.leases.take_changes() {
            self.output(match change {
                Change::Keep(lease) => Output::KeepLease(lease),
                Change::Drop(lease) => Output::DropLease(lease),
            });
        }
    }
}

/// In whose name addresses are leased: the user's, where one proved to be it. No identity can pass for a user.
fn holder(identity: &Identity, user: Option<&str>) -> String {
    match user {
        Some(user) => format!("{USER}{user}"),
        None => {
            let identity = identity.to_string();
            if identity.starts_with(USER) { format!("identity:{identity}") } else { identity }
        }
    }
}

fn wish<'a>(name: &'a str, compiled: &'a CompiledSet) -> impl Iterator<Item = Wish> + 'a {
    compiled.selectors.iter().map(move |selector| Wish {
        name: format!("{name}/{}", compiled.set.name),
        selector: *selector,
        proposals: compiled.proposals.clone(),
        lifetime: compiled.set.lifetime,
        window_packets: compiled.window_packets,
        permits: true,
    })
}

/// Clients of Cisco's school take the networks that they are told of for routes, and negotiate one SA between their
/// address and 0.0.0.0/0 for all of them. It permits no more than the sets do, and none may be protected worse by it
/// than by itself.
fn everything(name: &str, addresses: &[IpAddr], wishes: &[Wish]) -> Option<Wish> {
    let address = *addresses.iter().find(|address| address.is_ipv4())?;
    let selector = Selector::between(AddressRange::any(false), AddressRange::single(address))?;
    if wishes.iter().any(|wish| wish.selector == selector) {
        return None;
    }
    let mut sets = wishes.iter().filter(|wish| wish.selector.destination == selector.destination);
    let first = sets.next()?;
    let (mut proposals, mut lifetime) = (first.proposals.clone(), first.lifetime);
    for set in sets {
        proposals.retain(|proposal| set.proposals.contains(proposal));
        lifetime.seconds = lifetime.seconds.min(set.lifetime.seconds);
        lifetime.kilobytes = match (lifetime.kilobytes, set.lifetime.kilobytes) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
    }
    let (name, window_packets) = (format!("{name}/everything"), first.window_packets);
    (!proposals.is_empty()).then_some(Wish {
        name,
        selector,
        proposals,
        lifetime,
        window_packets,
        permits: false,
    })
}

fn status_of(compiled: &CompiledSet) -> SetStatus {
    let set = &compiled.set;
    SetStatus {
        id: set.id,
        name: set.name.clone(),
        standing: match (set.parent, set.gateway) {
            (Some(_), _) => SetStanding::Nested,
            (None, Some(_)) => SetStanding::Elsewhere,
            (None, None) => SetStanding::Executed,
        },
        rules: Vec::new(),
        selectors: compiled.selectors.clone(),
        parent: set.parent,
        gateway: set.gateway,
    }
}
