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
mod explain;
mod intersect;
mod limits;
mod numbers;
mod output;
mod psk;
mod show;
mod table;
mod ted;
mod watch;

use arguments::{
    Arguments, ClientVerb, Format, LeaseVerb, PolicyVerb, PskVerb, StackVerb, TedVerb, TunnelVerb, Verb,
};
use clap::Parser;
use output::{Failure, Output};
use show::policy::Half;
use std::path::Path;
use std::process::ExitCode;
use warren_api::{Answer, Command};
use watch::Pace;

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
        Verb::Stats { watch: true, interval, count, stages, workers, format } => {
            let pace = Pace { interval: *interval, looks: *count };
            match stages {
                true => watch::stages(socket, pace, *workers, format.json, output),
                false => watch::stats(socket, pace, format.json, output),
            }
        }
        Verb::Stats { stages: true, workers, format, .. } => {
            ask::show(socket, Command::Stages, format.json, output, |answer, width| match answer {
                Answer::Stages(now) => Some(show::stages(None, now, *workers, width)),
                _ => None,
            })
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
        Verb::Policy { verb, format } => policy(socket, verb.as_ref(), *format, output),
        Verb::Lease { verb, format } => lease(socket, verb.as_ref(), *format, output),
        Verb::Client { verb, format } => client(socket, verb.as_ref(), *format, output),
        Verb::Ted { verb: None, format } | Verb::Ted { verb: Some(TedVerb::Status { format }), .. } => {
            ask::show(socket, Command::TedStatus, format.json, output, show::ted_status)
        }
        Verb::Ted { verb: Some(TedVerb::Probe { dry_run: true, flow, format }), .. } => {
            ted::preview(socket, *flow, format.json, output)
        }
        Verb::Ted { verb: Some(TedVerb::Probe { flow, format, .. }), .. } => {
            ted::probe(socket, *flow, format.json, output)
        }
        Verb::Stack { verb: None, format } | Verb::Stack { verb: Some(StackVerb::List { format }), .. } => {
            ask::show(socket, Command::StackList, format.json, output, show::stacks)
        }
        Verb::Stack { verb: Some(StackVerb::Show { name, format }), .. } => {
            ask::stack(socket, name, format.json, output)
        }
        Verb::Stack { verb: Some(StackVerb::Abort { name }), .. } => {
            let command = Command::StackAbort { name: name.clone() };
            ask::change(socket, command, &format!("{name}: taken down; traffic may build it again"), output)
        }
        Verb::Rule { format } => ask::show(socket, Command::RuleList, format.json, output, show::rules),
        Verb::Drops { all, format } => {
            ask::show(socket, Command::Drops, format.json, output, |answer, width| {
                show::drops(answer, *all, width)
            })
        }
        Verb::Version { format } => ask::show(socket, Command::Version, format.json, output, show::version),
        Verb::Psk { verb: PskVerb::New { out, encoding } } => psk::new(out.as_deref(), *encoding, output),
        Verb::Explain(question) => explain::explain(question, socket, output),
        Verb::Check { file } => check::check(file, output),
        Verb::Intersect { batch: true, .. } => intersect::batch(output),
        Verb::Intersect { first: Some(first), second: Some(second), .. } => {
            intersect::explain(first, second, output)
        }
        Verb::Intersect { .. } => Err(Failure::Said("two proxies are wanted, or --batch".to_owned())),
    }
}

fn policy(
    socket: &Path,
    verb: Option<&PolicyVerb>,
    format: Format,
    output: &mut Output,
) -> Result<(), Failure> {
    match verb {
        None => ask::policies(socket, Half::Both, format.json, output),
        Some(PolicyVerb::List { format }) => ask::policies(socket, Half::Both, format.json, output),
        Some(PolicyVerb::Served { format }) => ask::policies(socket, Half::Served, format.json, output),
        Some(PolicyVerb::Pulled { format }) => ask::policies(socket, Half::Pulled, format.json, output),
        Some(PolicyVerb::Pull { name }) => {
            let said = format!("{name}: policy is pulled again; `dpctl policy pulled` shows what comes");
            ask::change(socket, Command::PolicyPull { name: name.clone() }, &said, output)
        }
    }
}

fn lease(
    socket: &Path,
    verb: Option<&LeaseVerb>,
    format: Format,
    output: &mut Output,
) -> Result<(), Failure> {
    match verb {
        None => ask::show(socket, Command::LeaseList, format.json, output, show::leases),
        Some(LeaseVerb::List { format }) => {
            ask::show(socket, Command::LeaseList, format.json, output, show::leases)
        }
        Some(LeaseVerb::Release { pool, holder }) => {
            let command = Command::LeaseRelease { pool: pool.clone(), holder: holder.clone() };
            ask::change(socket, command, &format!("{pool}: the lease of {holder} is forgotten"), output)
        }
    }
}

fn client(
    socket: &Path,
    verb: Option<&ClientVerb>,
    format: Format,
    output: &mut Output,
) -> Result<(), Failure> {
    match verb {
        None => ask::show(socket, Command::ClientList, format.json, output, show::clients),
        Some(ClientVerb::List { format }) => {
            ask::show(socket, Command::ClientList, format.json, output, show::clients)
        }
        Some(ClientVerb::Close { name }) => {
            let said = format!("{name}: what it gave us is withdrawn until `dpctl policy pull {name}`");
            ask::change(socket, Command::ClientClose { name: name.clone() }, &said, output)
        }
    }
}
