//! The one place that reads the time: everything below is told it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time since 1970, as certificates count it. A clock before that counts as 1970, when no certificate is valid.
    pub(crate) fn unix() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// That moment as the timers of the runtime want it.
    pub(crate) fn instant(&self, at: Duration) -> tokio::time::Instant {
        (self.started + at).into()
    }
}
