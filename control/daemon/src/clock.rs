//! The one place that reads the time: everything below is told it.

use std::time::{Duration, Instant};

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

    /// That moment as the timers of the runtime want it.
    pub(crate) fn instant(&self, at: Duration) -> tokio::time::Instant {
        (self.started + at).into()
    }
}
