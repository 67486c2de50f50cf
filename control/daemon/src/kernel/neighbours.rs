//! Asking the kernel for Ethernet addresses, and keeping those in use confirmed.
//!
//! The kernel resolves neighbours for packets it sends; ours it never sees. `RTM_NEWNEIGH` with `NTF_USE` is what it
//! offers instead: the entry is made if there is none, keeps the state and the address it has, and is then treated as
//! if a packet had used it, so that a new one is asked for and a stale one is probed. Permanent entries are never
//! touched: `NTF_USE` would take their permanence away.

use super::Error;
use super::limits::{
    IN_USE_FOR, REFRESHES_APART, REFRESHES_MAX, RESOLUTIONS_APART, RESOLUTIONS_EACH_SECOND, RESOLUTIONS_MAX,
};
use super::mirror::{Roles, View};
use super::tables::Reachability;
use rtnetlink::Handle;
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;
use warren_seam::PortIndex;

/// A neighbour by interface index and address.
type Key = (u32, IpAddr);

/// Asks for neighbours, not too often.
pub(crate) struct Neighbours {
    handle: Handle,
    schedule: Schedule,
}

impl Neighbours {
    /// With a connection of [`connect`](super::connect).
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, schedule: Schedule::default() }
    }

    /// A packet waits for this next hop. `false` when nothing was asked: too soon, too much, already known, no such
    /// port, or no address that a neighbour can have.
    ///
    /// # Errors
    /// The kernel refused the request.
    pub(crate) async fn resolve(
        &mut self,
        now: Duration,
        view: &View,
        roles: &Roles,
        port: PortIndex,
        address: IpAddr,
    ) -> Result<bool, Error> {
        let Some(link) = view.tables.link_of(roles, port) else { return Ok(false) };
        let key = (link, address);
        let known = view.tables.neighbours.contains_key(&key);
        if known || !may_be_neighbour(view, address) || !self.schedule.admit(now, key) {
            return Ok(false);
        }
        self.ask(key).await?;
        Ok(true)
    }

    /// Has stale next hops in use confirmed; to be called every few seconds. How many were asked for.
    ///
    /// # Errors
    /// The kernel refused a request.
    pub(crate) async fn refresh(
        &mut self,
        now: Duration,
        view: &View,
        roles: &Roles,
    ) -> Result<usize, Error> {
        let due = self.schedule.due(now, view, roles);
        for key in &due {
            self.ask(*key).await?;
        }
        Ok(due.len())
    }

    async fn ask(&self, (link, address): Key) -> Result<(), Error> {
        let request = self.handle.neighbours().add(link, address).state(NeighbourState::None);
        let asked = request.flags(NeighbourFlags::Use).replace().execute().await;
        asked.map_err(|error| Error::request(format!("asking for neighbour {address}"), &error))
    }
}

/// An attacker may make the engine ask for anything that a route covers.
fn may_be_neighbour(view: &View, address: IpAddr) -> bool {
    let unicast = match address {
        IpAddr::V4(v4) => !v4.is_broadcast() && !v4.is_multicast(),
        IpAddr::V6(v6) => !v6.is_multicast(),
    };
    unicast
        && !address.is_unspecified()
        && !address.is_loopback()
        && view.steering.binary_search(&address).is_err()
}

/// When a neighbour was wanted and when it was last asked for.
struct Asked {
    wanted: Duration,
    asked: Duration,
}

/// Who may be asked for, and when; pure.
#[derive(Default)]
struct Schedule {
    asked: HashMap<Key, Asked>,
    second: Duration,
    in_second: u32,
}

impl Schedule {
    /// Whether to ask now.
    fn admit(&mut self, now: Duration, key: Key) -> bool {
        if now >= self.second + Duration::from_secs(1) {
            (self.second, self.in_second) = (now, 0);
        }
        if let Some(before) = self.asked.get_mut(&key) {
            before.wanted = now;
            if now < before.asked + RESOLUTIONS_APART || self.in_second >= RESOLUTIONS_EACH_SECOND {
                return false;
            }
            before.asked = now;
        } else {
            if self.in_second >= RESOLUTIONS_EACH_SECOND || !self.has_room(now) {
                return false;
            }
            self.asked.insert(key, Asked { wanted: now, asked: now });
        }
        self.in_second += 1;
        true
    }

    /// Those that nobody wants any more make room; when all are wanted, a new one must wait.
    fn has_room(&mut self, now: Duration) -> bool {
        if self.asked.len() >= RESOLUTIONS_MAX {
            self.asked.retain(|_, asked| now < asked.wanted + IN_USE_FOR);
        }
        self.asked.len() < RESOLUTIONS_MAX
    }

    /// Stale neighbours that are a route's next hop, or that a packet waited for lately.
    fn due(&mut self, now: Duration, view: &View, roles: &Roles) -> Vec<Key> {
        let link = |port| view.tables.link_of(roles, port);
        let hops = view.forwarding.routes.iter().filter_map(|route| Some((link(route.port)?, route.via?)));
        let mut used: BTreeSet<Key> = hops.collect();
        used.extend(
            self.asked.iter().filter(|(_, asked)| now < asked.wanted + IN_USE_FOR).map(|(key, _)| *key),
        );
        let stale = |key: &Key| {
            view.tables.neighbours.get(key).is_some_and(|known| known.reachability == Reachability::Stale)
        };
        let rested =
            |key: &Key| self.asked.get(key).is_none_or(|before| now >= before.asked + REFRESHES_APART);
        let due: Vec<_> =
            used.into_iter().filter(|key| stale(key) && rested(key)).take(REFRESHES_MAX).collect();
        for key in &due {
            if let Some(before) = self.asked.get_mut(key) {
                before.asked = now;
            } else if self.has_room(now) {
                // Wanted long ago: being a route's next hop is what keeps it, not this.
                self.asked.insert(*key, Asked { wanted: Duration::ZERO, asked: now });
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tables::{ConfiguredPort, Hop, KernelRoute, KnownNeighbour, Link, OwnAddress};
    use warren_seam::{MacAddress, Side};

    const SECOND: Duration = Duration::from_secs(1);

    fn roles() -> Roles {
        let port = ConfiguredPort { name: "out".to_owned(), side: Side::Outside };
        Roles { ports: vec![port], tun: "warren0".to_owned() }
    }

    fn address(last: u16) -> IpAddr {
        let [high, low] = last.to_be_bytes();
        IpAddr::from([10, 0, high, low])
    }

    fn view(neighbours: &[(u16, Reachability)]) -> View {
        let mut view = View::default();
        let mac = MacAddress([2; 6]);
        let link = Link { name: "out".to_owned(), mac, mtu: 1500, up: true, receive_queues: 1 };
        view.tables.links.insert(5, link);
        let own = OwnAddress { link: 5, address: address(1), prefix_length: 16 };
        view.tables.addresses.insert(own, None);
        let hops = vec![Hop { link: 5, via: Some(address(2)), dead: false }];
        let destination = IpAddr::from([0, 0, 0, 0]);
        view.tables.routes = vec![KernelRoute { destination, prefix_length: 0, metric: 0, hops }];
        for (last, reachability) in neighbours {
            view.tables
                .neighbours
                .insert((5, address(*last)), KnownNeighbour { mac, reachability: *reachability });
        }
        view.forwarding = view.tables.forwarding(&roles());
        view.steering = view.tables.local_for_steering();
        view
    }

    #[test]
    fn one_neighbour_is_asked_for_once_a_second() {
        let mut schedule = Schedule::default();
        assert!(schedule.admit(SECOND, (1, address(9))));
        assert!(!schedule.admit(SECOND * 3 / 2, (1, address(9))));
        assert!(schedule.admit(SECOND * 3 / 2, (2, address(9))), "on another link it is another one");
        assert!(schedule.admit(SECOND * 2, (1, address(9))));
    }

    #[test] // F-12
    fn a_scan_asks_for_a_bounded_number_each_second_and_keeps_a_bounded_number() {
        let mut schedule = Schedule::default();
        for second in 1..=40 {
            let now = SECOND * second;
            let first = u16::try_from(second).unwrap() * 1000;
            let admitted =
                (first..first + 1000).filter(|last| schedule.admit(now, (1, address(*last)))).count();
            let kept = schedule.asked.len();
            assert!(
                kept <= RESOLUTIONS_MAX && admitted <= RESOLUTIONS_EACH_SECOND as usize,
                "{admitted}, {kept}"
            );
        }
        assert_eq!(schedule.asked.len(), RESOLUTIONS_MAX);
        assert!(schedule.admit(SECOND * 40 + IN_USE_FOR, (1, address(7))), "those of long ago made room");
        assert_eq!(schedule.asked.len(), 1);
    }

    #[test]
    fn stale_next_hops_are_confirmed_and_nobody_else() {
        let mut schedule = Schedule::default();
        let now = IN_USE_FOR * 2;
        let stale = |last| (last, Reachability::Stale);
        let view =
            view(&[stale(2), stale(3), stale(4), (5, Reachability::Permanent), (6, Reachability::Fresh)]);
        for last in [4, 5, 6] {
            schedule.admit(now - SECOND * 60, (5, address(last)));
        }
        assert_eq!(schedule.due(now, &view, &roles()), [(5, address(2)), (5, address(4))]);
        assert_eq!(schedule.due(now + SECOND, &view, &roles()), [], "too soon");
        let later = now + REFRESHES_APART;
        assert_eq!(schedule.due(later, &view, &roles()), [(5, address(2)), (5, address(4))]);
        let late = now + IN_USE_FOR;
        assert_eq!(
            schedule.due(late, &view, &roles()),
            [(5, address(2))],
            "no packet wanted the other for long"
        );
    }

    #[test]
    fn addresses_that_no_neighbour_can_have_are_not_asked_for() {
        let view = view(&[]);
        let refused =
            ["0.0.0.0", "255.255.255.255", "224.0.0.5", "127.0.0.1", "::", "::1", "ff02::1", "10.0.0.1"];
        for text in refused.into_iter().chain(["10.0.255.255"]) {
            assert!(!may_be_neighbour(&view, text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.2", "fe80::2", "2001:db8::2"] {
            assert!(may_be_neighbour(&view, text.parse().unwrap()), "{text}");
        }
    }
}
