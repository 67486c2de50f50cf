//! Which address of a pool is whose (REQUIREMENTS DC-24): sticky for its holder, reserved where the configuration says so,
//! taken back from whoever was away the longest when nothing else is left.

use crate::config::Lease;
use crate::limits::LEASES_PER_POOL_MAX;
use crate::status::{LeaseStatus, PoolStatus};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::{AddressRange, Pool};

/// What stands in front of the name of an XAuth user that holds a lease: nobody's identity may pass for one.
pub(crate) const USER: &str = "user:";

/// What has to be remembered, or forgotten, beyond the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Keep(Lease),
    Drop(Lease),
}

/// No address is left, and every holder is connected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pool {pool} has no address left")]
pub(crate) struct Exhausted {
    pub(crate) pool: String,
}

/// All pools with their leases. Pools are known by their place in the configuration, leases by their names.
#[derive(Default)]
pub(crate) struct Leases {
    pools: Vec<Ledger>,
    /// Counts uses, so that the least recent is known.
    uses: u64,
    changes: Vec<Change>,
}

/// One pool.
struct Ledger {
    pool: Pool,
    held: HashMap<String, Held>,
    holders: BTreeMap<IpAddr, String>,
    /// Holders that are away, by their last use; without those of static addresses.
    away: BTreeSet<(u64, String)>,
    /// Addresses that were given back.
    returned: BTreeSet<IpAddr>,
    /// Places of the range from here on were never leased, save for those in `holders`.
    fresh: u128,
    /// Addresses that are static for somebody.
    reserved: HashSet<IpAddr>,
    exhausted: u64,
}

#[derive(Clone, Copy)]
struct Held {
    address: IpAddr,
    used: u64,
    active: bool,
    is_static: bool,
}

impl Leases {
    /// Pools with the leases of an earlier life. Leases that no pool takes any more are dropped.
    pub(crate) fn new(pools: &[Pool], restored: Vec<Lease>) -> Self {
        let mut leases = Self { pools: pools.iter().map(Ledger::new).collect(), ..Self::default() };
        leases.restore(restored, false);
        leases
    }

    fn restore(&mut self, leases: Vec<Lease>, active: bool) {
        for lease in leases {
            self.uses = self.uses.max(lease.used);
            let ledger = self.pools.iter_mut().find(|ledger| ledger.pool.name == lease.pool);
            if !ledger.is_some_and(|ledger| ledger.take_back(&lease, active)) {
                self.changes.push(Change::Drop(lease));
            }
        }
    }

    /// Other pools. Leases that still fit stay, and stay active.
    pub(crate) fn reconfigure(&mut self, pools: &[Pool]) {
        let mut old = std::mem::take(&mut self.pools);
        self.pools = pools.iter().map(Ledger::new).collect();
        for ledger in &mut self.pools {
            let before = old.iter().find(|before| before.pool.name == ledger.pool.name);
            ledger.exhausted = before.map_or(0, |before| before.exhausted);
        }
        for ledger in &mut old {
            let (active, away): (Vec<_>, Vec<_>) = ledger.leases().partition(|(_, held)| held.active);
            let name = ledger.pool.name.clone();
            let lease = |(holder, held): (&String, &Held)| Lease {
                pool: name.clone(),
                holder: holder.clone(),
                address: held.address,
                used: held.used,
            };
            let (active, away) =
                (active.into_iter().map(lease).collect(), away.into_iter().map(lease).collect());
            self.restore(active, true);
            self.restore(away, false);
        }
    }

    /// An address for `holder`: the one it had, the one that is reserved for it, a fresh one, or one whose holder has
    /// been away the longest.
    pub(crate) fn lease(&mut self, pool: usize, holder: &str) -> Result<IpAddr, Exhausted> {
        self.uses += 1;
        let used = self.uses;
        let Some(ledger) = self.pools.get_mut(pool) else {
            return Err(Exhausted { pool: format!("#{pool}") });
        };
        let name = ledger.pool.name.clone();
        let (address, evicted) = ledger.lease(holder, used).ok_or_else(|| {
            ledger.exhausted += 1;
            Exhausted { pool: name.clone() }
        })?;
        self.changes.extend(evicted.map(Change::Drop));
        let lease = Lease { pool: name, holder: holder.to_owned(), address, used };
        self.changes.push(Change::Keep(lease));
        Ok(address)
    }

    /// The name of a pool.
    pub(crate) fn name(&self, pool: usize) -> Option<String> {
        self.pools.get(pool).map(|ledger| ledger.pool.name.clone())
    }

    /// The holder is gone; its address stays its own as long as nobody needs it.
    pub(crate) fn leave(&mut self, pool: &str, holder: &str) {
        if let Some(ledger) = self.pools.iter_mut().find(|ledger| ledger.pool.name == pool) {
            ledger.leave(holder);
        }
    }

    /// Forgets a lease. `false` when there is none.
    pub(crate) fn release(&mut self, pool: &str, holder: &str) -> bool {
        let ledger = self.pools.iter_mut().find(|ledger| ledger.pool.name == pool);
        let released = ledger.and_then(|ledger| ledger.release(holder));
        let known = released.is_some();
        self.changes.extend(released.map(Change::Drop));
        known
    }

    /// What happened since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn status(&self) -> Vec<LeaseStatus> {
        let of = |ledger: &Ledger| {
            let row = |(address, holder): (&IpAddr, &String)| {
                let held = &ledger.held[holder];
                LeaseStatus {
                    pool: ledger.pool.name.clone(),
                    holder: holder.clone(),
                    address: *address,
                    active: held.active,
                    is_static: held.is_static,
                }
            };
            ledger.holders.iter().map(row).collect::<Vec<_>>()
        };
        self.pools.iter().flat_map(of).collect()
    }

    pub(crate) fn pools(&self) -> Vec<PoolStatus> {
        let row = |ledger: &Ledger| PoolStatus {
            name: ledger.pool.name.clone(),
            total: ledger.total(),
            used: ledger.held.len() as u64,
            active: ledger.held.values().filter(|held| held.active).count() as u64,
            exhausted: ledger.exhausted,
        };
        self.pools.iter().map(row).collect()
    }
}

impl Ledger {
    fn new(pool: &Pool) -> Self {
        Self {
            held: HashMap::new(),
            holders: BTreeMap::new(),
            away: BTreeSet::new(),
            returned: BTreeSet::new(),
            fresh: 0,
            reserved: pool.statics.iter().map(|(_, address)| *address).collect(),
            exhausted: 0,
            pool: pool.clone(),
        }
    }

    fn leases(&self) -> impl Iterator<Item = (&String, &Held)> {
        self.holders.values().map(|holder| (holder, &self.held[holder]))
    }

    fn static_of(&self, holder: &str) -> Option<IpAddr> {
        let name = holder.strip_prefix(USER).unwrap_or(holder);
        self.pool
            .statics
            .iter()
            .find(|(identity, _)| identity.to_string() == name)
            .map(|(_, address)| *address)
    }

    /// Whether `address` may be leased to anybody.
    fn is_common(&self, address: IpAddr) -> bool {
        let [first, last] = ends(&self.pool.addresses);
        self.pool.addresses.contains(address)
            && (first..=last).contains(&number(address))
            && !self.reserved.contains(&address)
    }

    /// Places that may be leased, static ones among them.
    fn total(&self) -> u64 {
        let [first, last] = ends(&self.pool.addresses);
        let places = last.checked_sub(first).map_or(0, |span| span.saturating_add(1));
        u64::try_from(places).unwrap_or(u64::MAX).min(LEASES_PER_POOL_MAX)
    }

    fn take_back(&mut self, lease: &Lease, active: bool) -> bool {
        let own = self.static_of(&lease.holder);
        let fits = own.map_or_else(|| self.is_common(lease.address), |own| own == lease.address);
        let is_free = !self.held.contains_key(&lease.holder) && !self.holders.contains_key(&lease.address);
        if fits && is_free && (self.held.len() as u64) < LEASES_PER_POOL_MAX {
            let is_static = own.is_some();
            self.hold(
                &lease.holder,
                Held { address: lease.address, used: lease.used, active: true, is_static },
            );
            if !active {
                self.leave(&lease.holder);
            }
            return true;
        }
        false
    }

    fn hold(&mut self, holder: &str, held: Held) {
        self.returned.remove(&held.address);
        self.holders.insert(held.address, holder.to_owned());
        self.held.insert(holder.to_owned(), held);
    }

    fn lease(&mut self, holder: &str, used: u64) -> Option<(IpAddr, Option<Lease>)> {
        if let Some(held) = self.held.get_mut(holder) {
            self.away.remove(&(held.used, holder.to_owned()));
            held.active = true;
            held.used = used;
            return Some((held.address, None));
        }
        let own = self.static_of(holder);
        let (address, evicted) = match own {
            // Whoever else had it lost it when it was reserved.
            Some(own) => (own, None),
            None => match self.unused() {
                Some(address) => (address, None),
                None => {
                    let (_, longest) = self.away.first()?.clone();
                    let evicted = self.release(&longest)?;
                    (evicted.address, Some(evicted))
                }
            },
        };
        if self.holders.contains_key(&address) {
            return None;
        }
        self.hold(holder, Held { address, used, active: true, is_static: own.is_some() });
        Some((address, evicted))
    }

    /// An address that nobody holds: one that was given back, or else the next one that was never leased.
    fn unused(&mut self) -> Option<IpAddr> {
        if self.held.len() as u64 >= LEASES_PER_POOL_MAX {
            return None;
        }
        if let Some(address) = self.returned.pop_first() {
            return Some(address);
        }
        let [first, last] = ends(&self.pool.addresses);
        while let Some(at) = first.checked_add(self.fresh).filter(|at| *at <= last) {
            self.fresh += 1;
            let address = address(at, self.pool.addresses.is_ipv6());
            if self.is_common(address) && !self.holders.contains_key(&address) {
                return Some(address);
            }
        }
        None
    }

    fn leave(&mut self, holder: &str) {
        if let Some(held) = self.held.get_mut(holder) {
            held.active = false;
            if !held.is_static {
                self.away.insert((held.used, holder.to_owned()));
            }
        }
    }

    fn release(&mut self, holder: &str) -> Option<Lease> {
        let held = self.held.remove(holder)?;
        self.holders.remove(&held.address);
        self.away.remove(&(held.used, holder.to_owned()));
        let [first, _] = ends(&self.pool.addresses);
        // What lies beyond `fresh` is found again by itself.
        let was_fresh = number(held.address).checked_sub(first).is_some_and(|at| at >= self.fresh);
        if self.is_common(held.address) && !was_fresh {
            self.returned.insert(held.address);
        }
        let (pool, holder) = (self.pool.name.clone(), holder.to_owned());
        Some(Lease { pool, holder, address: held.address, used: held.used })
    }
}

/// First and last address that a host may have: of a prefix neither the network's own address (in IPv6 the subnet
/// routers' anycast, RFC 4291 §2.6.1) nor the IPv4 broadcast.
fn ends(range: &AddressRange) -> [u128; 2] {
    let (first, last) = (number(range.first()), number(range.last()));
    match (range.prefix_length(), range.is_ipv6()) {
        (Some(0..=30), false) => [first + 1, last - 1],
        (Some(0..=126), true) => [first + 1, last],
        _ => [first, last],
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn address(number: u128, ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::from(number).into() } else { Ipv4Addr::from(number as u32).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        let (address, length) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn pool(addresses: &str, statics: &[(&str, &str)]) -> Pool {
        let reserve = |(who, address): &(&str, &str)| (who.parse().unwrap(), address.parse().unwrap());
        Pool {
            name: "road".to_owned(),
            addresses: range(addresses),
            statics: statics.iter().map(reserve).collect(),
        }
    }

    fn all(leases: &mut Leases, holders: usize) -> Vec<String> {
        let mut lease = |at| leases.lease(0, &format!("h{at}")).map(|address| address.to_string());
        (0..holders).map_while(|at| lease(at).ok()).collect()
    }

    #[test]
    fn neither_end_of_a_prefix_is_a_hosts_and_a_range_has_no_ends() {
        for (addresses, expected) in [
            ("10.0.0.0/30", vec!["10.0.0.1", "10.0.0.2"]),
            ("10.0.0.4/31", vec!["10.0.0.4", "10.0.0.5"]),
            ("10.0.0.4/32", vec!["10.0.0.4"]),
            ("fd00::/126", vec!["fd00::1", "fd00::2", "fd00::3"]),
        ] {
            let mut leases = Leases::new(&[pool(addresses, &[])], Vec::new());
            assert_eq!(all(&mut leases, 9), expected, "{addresses}");
            assert_eq!(leases.pools()[0].total, expected.len() as u64);
        }
        let (first, last) = ("10.0.0.255".parse().unwrap(), "10.0.1.0".parse().unwrap());
        let odd = Pool { addresses: AddressRange::new(first, last).unwrap(), ..pool("10.0.0.0/24", &[]) };
        assert_eq!(all(&mut Leases::new(&[odd], Vec::new()), 9), ["10.0.0.255", "10.0.1.0"]);
    }

    #[test]
    fn a_huge_pool_has_an_end_too() {
        let mut leases = Leases::new(&[pool("fd00::/64", &[])], Vec::new());
        let taken = all(&mut leases, LEASES_PER_POOL_MAX as usize + 10);
        assert_eq!(taken.len() as u64, LEASES_PER_POOL_MAX);
        assert_eq!(leases.pools()[0].exhausted, 1);
    }

    /// What holds whatever happens, looked at in the slowest way.
    fn check(leases: &Leases, statics: &[(&str, &str)]) {
        let rows = leases.status();
        for (at, row) in rows.iter().enumerate() {
            let others = || rows.iter().skip(at + 1);
            assert!(others().all(|other| other.address != row.address && other.holder != row.holder));
            let reserved = statics.iter().find(|(_, address)| row.address.to_string() == *address);
            assert!(reserved.is_none_or(|(who, _)| *who == row.holder), "{row:?}");
            let own = statics.iter().find(|(who, _)| *who == row.holder);
            assert!(own.is_none_or(|(_, address)| row.address.to_string() == *address), "{row:?}");
            assert_eq!(row.is_static, own.is_some());
        }
        assert_eq!(leases.pools()[0].used, rows.len() as u64);
    }

    #[test] // DC-24
    fn nobody_ever_gets_anothers_address_and_a_full_pool_is_full_of_holders() {
        let statics = [("h1", "10.0.0.3"), ("h2", "10.9.0.1")];
        let mut number = 1u64;
        let mut chance = |end: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % end
        };
        let mut leases = Leases::new(&[pool("10.0.0.0/28", &statics)], Vec::new());
        let mut kept: Vec<Lease> = Vec::new();
        for _ in 0..20_000 {
            let holder = format!("h{}", chance(30));
            let held = leases.status().into_iter().find(|row| row.holder == holder);
            match chance(8) {
                0..=3 => match leases.lease(0, &holder) {
                    Ok(address) => assert!(held.is_none_or(|held| held.address == address), "sticky"),
                    Err(_) => {
                        let common = leases.status().into_iter().filter(|row| !row.is_static);
                        assert!(common.clone().all(|row| row.active));
                        assert_eq!(common.count(), 13, "14 hosts, one of them reserved");
                    }
                },
                4..=5 => leases.leave("road", &holder),
                6 => assert_eq!(leases.release("road", &holder), held.is_some()),
                _ if chance(20) == 0 => leases.reconfigure(&[pool("10.0.0.0/28", &statics)]),
                _ => {}
            }
            check(&leases, &statics);
            for change in leases.take_changes() {
                let (Change::Keep(lease) | Change::Drop(lease)) = &change;
                kept.retain(|own| own.holder != lease.holder);
                if let Change::Keep(lease) = change {
                    assert!(kept.iter().all(|own| own.address != lease.address), "dropped before it is kept");
                    kept.push(lease);
                }
            }
            assert_eq!(kept.len(), leases.status().len(), "what is kept is what is leased");
        }
        // A new process knows all of it, and who came last.
        let mut before: Vec<_> = leases.status().into_iter().map(|row| (row.holder, row.address)).collect();
        before.sort();
        let restored = Leases::new(&[pool("10.0.0.0/28", &statics)], kept);
        let mut after: Vec<_> = restored.status().into_iter().map(|row| (row.holder, row.address)).collect();
        after.sort();
        assert_eq!(before, after);
    }
}
