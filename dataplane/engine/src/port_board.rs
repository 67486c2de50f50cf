//! What a worker lets control see of its ports: written now and then, read whenever somebody asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use warren_port::{Port, PortCounters, PortMode};
use warren_seam::PortIndex;

/// Pause between two updates; nobody looks more often.
const UPDATE_EVERY: Duration = Duration::from_millis(100);

/// One port of one worker, as it was when the worker last wrote it down.
#[derive(Clone, Debug)]
pub struct PortStatus {
    /// Which one; `None` for the tun port.
    pub index: Option<PortIndex>,
    /// Its name.
    pub name: String,
    /// How it works.
    pub mode: PortMode,
    /// What happened there.
    pub counters: PortCounters,
}

/// The board of one worker.
#[derive(Clone)]
pub struct PortBoard {
    entries: Arc<Mutex<Vec<PortStatus>>>,
    updated: Duration,
}

impl PortBoard {
    /// A board with the ports as they are now.
    #[must_use]
    pub fn new<'a>(ports: impl Iterator<Item = (Option<PortIndex>, &'a dyn Port)>) -> Self {
        let entries = ports.map(|(index, port)| PortStatus {
            index,
            name: port.name().to_owned(),
            mode: port.mode(),
            counters: port.counters(),
        });
        Self { entries: Arc::new(Mutex::new(entries.collect())), updated: Duration::ZERO }
    }

    /// Writes the ports' numbers down when it is time to. A reader in the way only delays it.
    pub fn update<'a>(&mut self, now: Duration, ports: impl Iterator<Item = &'a dyn Port>) {
        if now < self.updated + UPDATE_EVERY {
            return;
        }
        if let Ok(mut entries) = self.entries.try_lock() {
            for (entry, port) in entries.iter_mut().zip(ports) {
                (entry.mode, entry.counters) = (port.mode(), port.counters());
            }
            self.updated = now;
        }
    }

    /// What is written there.
    #[must_use]
    pub fn read(&self) -> Vec<PortStatus> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
