//! Shows and explains a running `warrend`.
//!
//! ```text
//! arguments ──> one request on the control socket ──> answer ──> JSON, or a table and words for people
//! ```
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage.

mod arguments;
mod ask;
mod check;
mod intersect;
mod limits;
mod numbers;
mod output;
mod psk;
mod show;
mod table;
mod watch;

use arguments::{Arguments, PskVerb, TunnelVerb, Verb};
use clap::Parser;
use output::{Failure, Output};
use std::process::ExitCode;
use warren_api::Command;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::stdout();
    match run(&arguments, &mut output).and_then(|()| Ok(output.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads us has seen enough (`dpctl sa | head`).
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Said(message)) => {
            output::complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let socket = arguments.socket.as_path();
    match &arguments.verb {
        Verb::Stats { watch: true, interval, count, format } => {
            watch::watch(socket, *interval, *count, format.json, output)
        }
        Verb::Stats { format, .. } => ask::show(socket, Command::Stats, format.json, output, show::stats),
        Verb::Sa { format } => ask::show(socket, Command::SaList, format.json, output, show::sas),
        Verb::Tunnel { verb: None, format } => {
            ask::show(socket, Command::TunnelList, format.json, output, show::tunnels)
        }
        Verb::Tunnel { verb: Some(TunnelVerb::List { format }), .. } => {
            ask::show(socket, Command::TunnelList, format.json, output, show::tunnels)
        }
        Verb::Tunnel { verb: Some(TunnelVerb::Up { name, wait }), .. } => {
            ask::up(socket, name, *wait, output)
        }
        Verb::Tunnel { verb: Some(TunnelVerb::Down { name }), .. } => ask::down(socket, name, output),
        Verb::Rule { format } => ask::show(socket, Command::RuleList, format.json, output, show::rules),
        Verb::Drops { all, format } => {
            ask::show(socket, Command::Drops, format.json, output, |answer, width| {
                show::drops(answer, *all, width)
            })
        }
        Verb::Version { format } => ask::show(socket, Command::Version, format.json, output, show::version),
        Verb::Psk { verb: PskVerb::New { out, encoding } } => psk::new(out.as_deref(), *encoding, output),
        Verb::Check { file } => check::check(file, output),
        Verb::Intersect { batch: true, .. } => intersect::batch(output),
        Verb::Intersect { first: Some(first), second: Some(second), .. } => {
            intersect::explain(first, second, output)
        }
        Verb::Intersect { .. } => Err(Failure::Said("two proxies are wanted, or --batch".to_owned())),
    }
}
