//! Sends packets, counts what becomes of them, and searches how fast a device can be.
//!
//! ```text
//! arguments ──> interfaces (open) ──> a run, or many (search) ──> lines for people, rows for programs
//! ```
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage.

mod arguments;
mod commands;
mod interfaces;
mod output;
mod searching;

use std::process::ExitCode;

use arguments::{Arguments, Verb};
use clap::Parser;
use output::{Output, remark};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Output::new(arguments.json.as_deref()).and_then(|mut output| match &arguments.verb {
        Verb::Send(send) => commands::send(send, &mut output),
        Verb::Receive(receive) => commands::receive(receive, &mut output),
        Verb::Loop(both) => commands::both(both, &mut output),
        Verb::Replay(replay) => commands::replay(replay, &mut output),
        Verb::Search(search) => searching::search(search, &mut output),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            remark(&why);
            ExitCode::FAILURE
        }
    }
}
