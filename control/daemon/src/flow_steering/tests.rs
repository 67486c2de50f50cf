//! Cards of all kinds, without one.

use super::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use warren_port::Places;

/// What a card holds, and how it behaves.
#[derive(Default)]
struct Card {
    capacity: u32,
    /// `None` for a rule that is none of ours.
    rules: BTreeMap<u32, Option<FlowRule>>,
    hash: Option<u64>,
    knows_esp: bool,
    /// Takes no more than so many rules, whatever it says.
    room: usize,
    asked: usize,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Card>>);

fn unsupported() -> io::Error {
    io::Error::from_raw_os_error(95)
}

impl FlowTable for Fake {
    fn places(&mut self) -> io::Result<Places> {
        let card = self.0.lock().unwrap();
        match card.capacity {
            0 => Err(unsupported()),
            capacity => Ok(Places { capacity, taken: card.rules.keys().copied().collect() }),
        }
    }

    fn rule(&mut self, location: u32) -> io::Result<Option<FlowRule>> {
        self.0.lock().unwrap().rules.get(&location).copied().ok_or_else(unsupported)
    }

    fn insert(&mut self, rule: &FlowRule) -> io::Result<()> {
        let mut card = self.0.lock().unwrap();
        card.asked += 1;
        if !card.knows_esp && matches!(rule.matches, FlowMatch::Esp { .. }) {
            return Err(unsupported());
        }
        if card.rules.len() >= card.room {
            return Err(io::Error::from_raw_os_error(28));
        }
        assert!(card.rules.insert(rule.location, Some(*rule)).is_none(), "a place that is taken");
        Ok(())
    }

    fn remove(&mut self, location: u32) -> io::Result<()> {
        self.0.lock().unwrap().rules.remove(&location).map(drop).ok_or_else(unsupported)
    }

    fn esp_hash(&mut self, _: bool) -> io::Result<u64> {
        self.0.lock().unwrap().hash.ok_or_else(unsupported)
    }

    fn set_esp_hash(&mut self, _: bool, fields: u64) -> io::Result<()> {
        self.0.lock().unwrap().hash.replace(fields).map(drop).ok_or_else(unsupported)
    }
}

fn card(capacity: u32) -> Fake {
    Fake(Arc::new(Mutex::new(Card { capacity, knows_esp: true, room: usize::MAX, ..Card::default() })))
}

fn steering(card: &Fake, queues: u32, workers: usize) -> FlowSteering {
    FlowSteering::new(vec![Some(PortSteering::open(Ok(Box::new(card.clone())), queues, workers))])
}

fn esp(spi: u32, owner: u16) -> Steered {
    Steered { matches: FlowMatch::Esp { ipv6: false, spi }, owner }
}

fn udp(remote: &str, owner: u16) -> Steered {
    let local = "198.51.100.1:4500".parse().unwrap();
    Steered { matches: FlowMatch::Udp { remote: remote.parse().unwrap(), local }, owner }
}

/// Places, SPIs and queues.
fn held(card: &Fake) -> Vec<(u32, FlowMatch, u32)> {
    let card = card.0.lock().unwrap();
    card.rules.values().flatten().map(|rule| (rule.location, rule.matches, rule.queue)).collect()
}

#[test] // DESIGN 2
fn an_sa_comes_to_a_queue_of_its_owner_and_leaves_nothing_behind() {
    let fake = card(64);
    let mut steering = steering(&fake, 5, 3);
    assert_eq!(steering.words(0), "SPI rules 0 of 32");
    // Worker 0 has the queues 0 and 3, worker 1 has 1 and 4, worker 2 only 2.
    for (spi, owner, queue) in [(4, 0, 0), (5, 0, 3), (6, 1, 1), (7, 1, 4), (8, 2, 2), (9, 2, 2)] {
        steering.install(SaId(spi.into()), esp(spi, owner));
        assert!(held(&fake).iter().any(|rule| rule.1 == esp(spi, owner).matches && rule.2 == queue), "{spi}");
    }
    assert_eq!(steering.words(0), "SPI rules 6 of 32");
    steering.remove(SaId(5));
    steering.remove(SaId(77));
    assert_eq!(steering.words(0), "SPI rules 5 of 32");
    drop(steering);
    assert_eq!(held(&fake), []);
}

#[test]
fn a_worker_without_a_queue_gets_its_packets_by_others_and_costs_no_rule() {
    let fake = card(64);
    let mut steering = steering(&fake, 2, 4);
    steering.install(SaId(1), esp(300, 3));
    steering.install(SaId(2), esp(301, 1));
    assert_eq!(held(&fake), [(0, esp(301, 1).matches, 1)]);
    assert_eq!(steering.words(0), "SPI rules 1 of 32");
}

#[test] // F-12
fn a_full_table_costs_speed_and_nothing_else_and_a_place_that_comes_free_is_used() {
    let fake = card(8);
    let mut steering = steering(&fake, 2, 2);
    for sa in 0..6 {
        steering.install(SaId(sa), esp(1000 + sa as u32, 0));
    }
    assert_eq!(steering.words(0), "SPI rules 4 of 4, 2 refused");
    steering.remove(SaId(5));
    steering.remove(SaId(0));
    steering.install(SaId(9), esp(2000, 1));
    assert_eq!(steering.words(0), "SPI rules 4 of 4, 2 refused");
    // A card that is full earlier than it says.
    let fake = card(1 << 20);
    fake.0.lock().unwrap().room = 1;
    let mut steering = self::steering(&fake, 2, 2);
    steering.install(SaId(1), esp(1, 0));
    steering.install(SaId(2), esp(2, 0));
    assert_eq!(steering.words(0), format!("SPI rules 1 of {FLOW_RULES_MAX}, 1 refused"));
    steering.remove(SaId(1));
    steering.install(SaId(3), esp(3, 0));
    assert_eq!(held(&fake).len(), 1);
}

#[test]
fn what_a_crashed_run_left_is_removed_and_what_the_operator_made_stays() {
    let fake = card(8);
    let left =
        |location| Some(FlowRule { matches: FlowMatch::Esp { ipv6: true, spi: 9 }, queue: 1, location });
    // Ours are the places 0 to 3.
    fake.0.lock().unwrap().rules = [(0, left(0)), (1, None), (3, left(3)), (5, left(5))].into();
    let mut steering = steering(&fake, 2, 2);
    let taken = |fake: &Fake| fake.0.lock().unwrap().rules.keys().copied().collect::<Vec<_>>();
    assert_eq!(taken(&fake), [1, 5]);
    assert_eq!(steering.words(0), "SPI rules 0 of 3");
    for sa in 0..4 {
        steering.install(SaId(sa), esp(1000 + sa as u32, 0));
    }
    assert_eq!(taken(&fake), [0, 1, 2, 3, 5]);
    drop(steering);
    assert_eq!(taken(&fake), [1, 5]);
    // Also where the next run has nothing to steer: a rule would lead to a queue that is not served any more.
    fake.0.lock().unwrap().rules.insert(2, left(2));
    assert_eq!(self::steering(&fake, 1, 1).words(0), "none: one queue");
    assert_eq!(taken(&fake), [1, 5]);
}

#[test]
fn a_card_that_cannot_says_so_and_is_not_asked_again() {
    let fake = card(0);
    assert_eq!(steering(&fake, 4, 4).words(0), "none: the driver cannot");
    assert_eq!(steering(&card(64), 1, 4).words(0), "none: one queue");
    assert_eq!(steering(&card(64), 4, 1).words(0), "none: one worker");
    let broken = PortSteering::open(Err(io::Error::from_raw_os_error(24)), 4, 4);
    assert!(broken.words().starts_with("none: "), "{}", broken.words());
    // A table, but not for ESP.
    let fake = card(64);
    fake.0.lock().unwrap().knows_esp = false;
    let mut steering = steering(&fake, 4, 4);
    for sa in 0..5 {
        steering.install(SaId(sa), esp(1000 + sa as u32, 0));
    }
    assert_eq!(steering.words(0), "none: the driver cannot");
    assert_eq!(fake.0.lock().unwrap().asked, 1);
}

#[test]
fn where_only_the_hash_can_be_chosen_it_takes_the_spi_and_is_put_back() {
    let fake = card(0);
    fake.0.lock().unwrap().hash = Some(HASH_ADDRESSES);
    let steering = steering(&fake, 4, 4);
    assert_eq!(steering.words(0), "hash of the SPI");
    assert_eq!(fake.0.lock().unwrap().hash, Some(HASH_ADDRESSES | HASH_SPI));
    drop(steering);
    assert_eq!(fake.0.lock().unwrap().hash, Some(HASH_ADDRESSES));
}

#[test] // NT-7
fn behind_one_udp_port_the_oldest_sa_decides_and_then_the_next() {
    let fake = card(64);
    let mut steering = steering(&fake, 3, 3);
    steering.install(SaId(1), udp("192.0.2.7:4500", 1));
    steering.install(SaId(2), udp("192.0.2.7:4500", 2));
    assert_eq!(held(&fake).iter().map(|rule| rule.2).collect::<Vec<_>>(), [1]);
    steering.remove(SaId(1));
    assert_eq!(held(&fake).iter().map(|rule| rule.2).collect::<Vec<_>>(), [2]);
    // The peer moves.
    let encapsulation = Encapsulation::Udp { local_port: 4500, remote_port: 61_000 };
    steering.move_peer(SaId(2), "203.0.113.9".parse().unwrap(), encapsulation);
    assert_eq!(held(&fake), [(0, udp("203.0.113.9:61000", 2).matches, 2)]);
    steering.remove(SaId(2));
    assert_eq!(held(&fake), []);
}
