//! One question and its answer.

use crate::limits::POLL_INTERVAL;
use crate::output::{Failure, Output};
use crate::show;
use crate::show::policy::Half;
use crate::table::printable;
use serde::Serialize;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use warren_api::client::Client;
use warren_api::{Answer, Command, Tunnel, TunnelState};

/// Asks, and writes the answer as JSON or as `people` shows it.
pub(crate) fn show(
    socket: &Path,
    command: Command,
    json: bool,
    output: &mut Output,
    people: impl FnOnce(&Answer, u16) -> Option<String>,
) -> Result<(), Failure> {
    let answer = Client::connect(socket)?.call(command)?;
    let text = if json { json_of(&answer) } else { people(&answer, output.width()) };
    Ok(output.write(&text.ok_or_else(unexpected)?)?)
}

/// The answer to another question than was asked.
pub(crate) fn unexpected() -> Failure {
    Failure::Said("warrend answered something else than was asked".to_owned())
}

/// What the answer holds, without the word that says which answer it is.
fn json_of(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Version(version) => pretty(version),
        Answer::Stats(stats) => pretty(stats),
        Answer::Stages(stages) => pretty(stages),
        Answer::SaList(sas) => pretty(sas),
        Answer::TunnelList(tunnels) => pretty(tunnels),
        Answer::RuleList(rules) => pretty(rules),
        Answer::Drops(drops) => pretty(drops),
        Answer::Policies(policies) => pretty(policies),
        Answer::Leases(leases) => pretty(leases),
        Answer::Clients(clients) => pretty(clients),
        Answer::TedStatus(status) => pretty(status),
        Answer::TedFlow(flow) => pretty(flow),
        Answer::TedPreview(preview) => pretty(preview),
        Answer::Stacks(stacks) => pretty(stacks),
        Answer::Explained(explanation) => pretty(explanation),
        Answer::Done => Some("{}".to_owned()),
    }
}

fn pretty(value: &impl Serialize) -> Option<String> {
    serde_json::to_string_pretty(value).ok()
}

/// Negotiates a tunnel, and perhaps waits for it.
pub(crate) fn up(
    socket: &Path,
    name: &str,
    wait: Option<Duration>,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = Client::connect(socket)?;
    done(client.call(Command::TunnelUp { name: name.to_owned() })?)?;
    if discovers(&mut client, name)? {
        let text = format!("{name}: open; its traffic looks for gateways, and so does `dpctl ted probe`");
        return Ok(output.write(&text)?);
    }
    let Some(wait) = wait else {
        let text = format!("{name}: negotiation started; `dpctl tunnel` shows how it goes");
        return Ok(output.write(&text)?);
    };
    let started = Instant::now();
    loop {
        let Answer::TunnelList(tunnels) = client.call(Command::TunnelList)? else { return Err(unexpected()) };
        let asked: Vec<&Tunnel> = tunnels.iter().filter(|tunnel| is_part(&tunnel.name, name)).collect();
        let is_up = |tunnel: &Tunnel| matches!(tunnel.state, TunnelState::Up | TunnelState::Rekeying);
        let Some(waiting) = asked.iter().find(|tunnel| !is_up(tunnel)) else {
            return Ok(output.write(&format!("{name}: up after {:.1} s", started.elapsed().as_secs_f64()))?);
        };
        if started.elapsed() >= wait {
            let why = waiting.last_error.as_deref().unwrap_or("no answer yet");
            let state = waiting.state.word();
            return Err(Failure::Said(printable(&format!("{} is not up but {state}: {why}", waiting.name))));
        }
        sleep(POLL_INTERVAL);
    }
}

/// Whether there is nothing to wait for: such a rule is never up itself.
fn discovers(client: &mut Client, name: &str) -> Result<bool, Failure> {
    let Answer::TunnelList(tunnels) = client.call(Command::TunnelList)? else { return Err(unexpected()) };
    let mut asked = tunnels.iter().filter(|tunnel| is_part(&tunnel.name, name)).peekable();
    Ok(asked.peek().is_some() && asked.all(|tunnel| tunnel.state == TunnelState::Discovers))
}

/// Takes a tunnel down.
pub(crate) fn down(socket: &Path, name: &str, output: &mut Output) -> Result<(), Failure> {
    done(Client::connect(socket)?.call(Command::TunnelDown { name: name.to_owned() })?)?;
    Ok(output.write(&format!("{name}: taken down"))?)
}

/// Asks for a change, and says so when it is on its way.
pub(crate) fn change(
    socket: &Path,
    command: Command,
    said: &str,
    output: &mut Output,
) -> Result<(), Failure> {
    done(Client::connect(socket)?.call(command)?)?;
    Ok(output.write(&printable(said))?)
}

/// The stacks of one rule, or of all its parts.
pub(crate) fn stack(socket: &Path, name: &str, json: bool, output: &mut Output) -> Result<(), Failure> {
    let Answer::Stacks(mut stacks) = Client::connect(socket)?.call(Command::StackList)? else {
        return Err(unexpected());
    };
    stacks.retain(|stack| is_part(&stack.rule, name));
    if stacks.is_empty() {
        let why = "none is built, under way or kept down; `dpctl explain` says what traffic would build";
        return Err(Failure::Said(printable(&format!("{name} has no stack of tunnels: {why}"))));
    }
    if json {
        return Ok(output.write(&pretty(&stacks).ok_or_else(unexpected)?)?);
    }
    let shown: Vec<_> = stacks.iter().map(|stack| show::stack(stack, output.width())).collect();
    Ok(output.write(&shown.join("\n"))?)
}

/// One half of the policies, as JSON or for people.
pub(crate) fn policies(socket: &Path, half: Half, json: bool, output: &mut Output) -> Result<(), Failure> {
    let answer = Client::connect(socket)?.call(Command::PolicyList)?;
    let Answer::Policies(policies) = &answer else { return Err(unexpected()) };
    let text = match (json, half) {
        (false, half) => show::policies(&answer, half, output.width()),
        (true, Half::Both) => pretty(policies),
        (true, Half::Served) => pretty(&policies.served),
        (true, Half::Pulled) => pretty(&policies.pulled),
    };
    Ok(output.write(&text.ok_or_else(unexpected)?)?)
}

fn done(answer: Answer) -> Result<(), Failure> {
    match answer {
        Answer::Done => Ok(()),
        _ => Err(unexpected()),
    }
}

/// Whether a rule is the one of that name, or one of its parts `NAME#1`, `NAME#2`, …
fn is_part(rule: &str, name: &str) -> bool {
    rule.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}
