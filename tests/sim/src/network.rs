//! The wide area between the gateways: loses, duplicates, reorders and corrupts frames as a seed tells it to.

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Frames under way at most; the network is a finite thing and drops the rest.
const FRAMES_MAX: usize = 4096;

/// Which end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The first gateway.
    West,
    /// The second gateway.
    East,
}

impl End {
    /// Both, for loops.
    pub const BOTH: [Self; 2] = [Self::West, Self::East];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::West => Self::East,
            Self::East => Self::West,
        }
    }

    /// Its place in an array of two.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How the network treats frames; chances are out of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Frames that vanish.
    pub loss: u32,
    /// Frames that arrive twice.
    pub duplicate: u32,
    /// Frames that take much longer than their neighbours.
    pub delay: u32,
    /// Frames that arrive with some octets changed.
    pub corrupt: u32,
}

impl Weather {
    /// Every frame arrives, once, in order, unchanged.
    pub const FAIR: Self = Self { loss: 0, duplicate: 0, delay: 0, corrupt: 0 };
}

type Flight<Place> = Reverse<(Duration, u64, Place, Vec<u8>)>;

/// The links between all places that frames go to.
pub(crate) struct Network<Place> {
    rng: ChaCha8Rng,
    weather: Weather,
    under_way: BinaryHeap<Flight<Place>>,
    sent: u64,
}

impl<Place: Copy + Ord> Network<Place> {
    /// A link whose faults follow from `rng`.
    #[must_use]
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, weather: Weather::FAIR, under_way: BinaryHeap::new(), sent: 0 }
    }

    /// Changes the weather for frames sent from now on.
    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Takes a frame on its way to `to`.
    pub(crate) fn send(&mut self, now: Duration, to: Place, mut frame: Vec<u8>) {
        if self.chance(self.weather.loss) {
            return;
        }
        if self.chance(self.weather.corrupt) {
            self.corrupt(&mut frame);
        }
        if self.chance(self.weather.duplicate) {
            self.launch(now, to, frame.clone());
        }
        self.launch(now, to, frame);
    }

    /// The next frame that has arrived by `now`.
    pub(crate) fn receive(&mut self, now: Duration) -> Option<(Place, Vec<u8>)> {
        if self.under_way.peek().is_none_or(|Reverse((due, ..))| *due > now) {
            return None;
        }
        self.under_way.pop().map(|Reverse((_, _, to, frame))| (to, frame))
    }

    /// When the next frame arrives.
    #[must_use]
    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        self.under_way.peek().map(|Reverse((due, ..))| *due)
    }

    fn launch(&mut self, now: Duration, to: Place, frame: Vec<u8>) {
        if self.under_way.len() >= FRAMES_MAX {
            return;
        }
        let late = if self.chance(self.weather.delay) { u64::from(self.rng.next_u32() % 400) } else { 0 };
        self.sent += 1;
        self.under_way.push(Reverse((now + Duration::from_millis(5 + late), self.sent, to, frame)));
    }

    /// Changes one to four octets behind the Ethernet header: a switch drops frames whose own check fails, so
    /// what reaches a gateway is damage that happened in some router's memory.
    fn corrupt(&mut self, frame: &mut [u8]) {
        for _ in 0..=self.rng.next_u32() % 4 {
            if let Some(room) = frame.len().checked_sub(14).filter(|room| *room > 0) {
                let at = 14 + self.rng.next_u32() as usize % room;
                frame[at] ^= (1 + self.rng.next_u32() % 255) as u8;
            }
        }
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.next_u32() % 1000 < per_mille
    }
}
