//! The Warren gateway daemon: everything that touches the world.
//!
//! ```text
//!   UDP 500, 4500 ─┐                                 ┌─> UDP
//!   worker events ─┤                                 ├─> commands to the workers
//!   netlink mirror ┼─> control loop: tunnels (IKE) ──┼─> log
//!   control socket ┤                                 └─> answers
//!   timers, signals┘
//! ```

mod answers;
mod arguments;
mod clock;
mod control;
mod crew;
mod desired;
mod discovery;
mod entropy;
mod explain_answers;
mod flow_steering;
mod hardening;
mod kernel;
mod levels;
mod limits;
mod log;
mod notify;
mod policy_answers;
mod ports;
mod probe_fields;
mod resolver;
mod server;
mod signals;
mod sockets;
mod stack_answers;
mod stage_answers;
mod start;
mod store;
mod surroundings;
mod ted_answers;
mod through;
mod tun;

use arguments::Arguments;
use clap::Parser;
use clock::Clock;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use warren_config::Config;

fn main() -> ExitCode {
    let clock = Clock::start();
    let arguments = Arguments::parse();
    let file = arguments.file();
    let config = match warren_config::load(&file) {
        Ok(config) => config,
        Err(errors) => {
            say(&mut std::io::stderr(), &errors.to_string());
            return ExitCode::FAILURE;
        }
    };
    if arguments.check {
        if let Err(why) = desired::check(&config) {
            say(&mut std::io::stderr(), &format!("error: {}: {why}", file.display()));
            return ExitCode::FAILURE;
        }
        report(&file, &config);
        return ExitCode::SUCCESS;
    }
    log::open(config.gateway.log, clock.started());
    config.warnings.iter().for_each(|warning| tracing::warn!("{}", warning.one_line()));
    match run(file, config, clock) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: std::path::PathBuf, config: Config, clock: Clock) -> Result<(), String> {
    if let Err(error) = hardening::forbid_core_dumps() {
        tracing::warn!("core dumps cannot be switched off: {error}");
    }
    let missing = hardening::missing_capabilities();
    if !missing.is_empty() {
        return Err(missing.join("; "));
    }
    hardening::raise_locked_memory();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime: {error}"))?;
    runtime.block_on(async {
        let mut control = start::start(file, config, clock).await.map_err(|error| error.to_string())?;
        notify::notify("READY=1");
        tracing::info!("warrend {} is ready", env!("CARGO_PKG_VERSION"));
        let ended = control.run().await;
        notify::notify("STOPPING=1");
        control.stop();
        tracing::info!("stopped");
        ended.map_err(|why| why.to_string())
    })
}

fn report(file: &Path, config: &Config) {
    for warning in &config.warnings {
        say(&mut std::io::stderr(), &warning.to_string());
    }
    let counts = format!(
        "{}: good: {} ports, {} peers, {} transport rules, {} tunnels",
        file.display(),
        config.ports.len(),
        config.peers.len(),
        config.rules.transport.len(),
        config.rules.tunnel.len(),
    );
    say(&mut std::io::stdout(), &counts);
}

/// Before the log is open. A reader that is gone is no reason to fail.
fn say(to: &mut dyn Write, text: &str) {
    let _ = writeln!(to, "{text}");
}
