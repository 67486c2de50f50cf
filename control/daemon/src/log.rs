//! The log: one line for people on standard error. Packets appear at TRACE only, secrets never (REQUIREMENTS F-33).

use std::io::IsTerminal;
use std::time::Instant;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use warren_config::LogLevel;

/// Filter that overrides the configuration, for example `warrend=debug`.
const FILTER_VARIABLE: &str = "WARREN_LOG";

/// Seconds since the start. A log daemon adds the time of day, which here would only disagree with it.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:10.3}", self.0.elapsed().as_secs_f64())
    }
}

/// Everything from here on is written. Called once.
pub(crate) fn open(level: LogLevel, started: Instant) {
    let words = format!("warn,warrend={}", level.word());
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(words));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(SinceStart(started))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
