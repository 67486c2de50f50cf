//! `dpctl ted`: what discovery does, and asking it for one packet.

use crate::ask::unexpected;
use crate::limits::{POLL_INTERVAL, PROBE_WAIT_MAX};
use crate::output::{Failure, Output};
use crate::show;
use crate::table::printable;
use clap::Args;
use std::net::IpAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::Instant;
use warren_api::client::Client;
use warren_api::{Answer, Command, TedFlow, TedPacket, TedStage};

/// Protocols with a name; others are told by their number.
const PROTOCOLS: [(&str, u8); 6] =
    [("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58), ("sctp", 132), ("gre", 47)];
/// What a ping would send, IPv4 and IPv6.
const PING: (u8, u8) = (1, 58);
/// What to look at when it takes longer.
const GOES_ON: &str = "`dpctl ted status` shows how it goes on";
/// Protocols with ports.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// The packet that is asked about.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Flow {
    /// Address of the end host behind us
    #[arg(value_name = "SOURCE")]
    source: IpAddr,
    /// Address of the end host that it wants to reach
    #[arg(value_name = "DESTINATION")]
    destination: IpAddr,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `gre` or a number; what a ping sends unless given
    #[arg(value_parser = protocol)]
    protocol: Option<u8>,
    /// Source port, for protocols that have some
    #[arg(requires = "destination_port", value_parser = clap::value_parser!(u16).range(1..))]
    source_port: Option<u16>,
    /// Destination port
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    destination_port: Option<u16>,
}

fn protocol(word: &str) -> Result<u8, String> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    named
        .or_else(|| word.parse().ok())
        .ok_or_else(|| "a name or a number from 0 to 255 is accepted".to_owned())
}

impl Flow {
    fn packet(self) -> Result<TedPacket, Failure> {
        let Self { source, destination, protocol, source_port, destination_port } = self;
        if source.is_ipv6() != destination.is_ipv6() {
            let message = format!("{source} and {destination} are of two families");
            return Err(Failure::Said(message));
        }
        let protocol = protocol.unwrap_or(if source.is_ipv6() { PING.1 } else { PING.0 });
        if source_port.is_some() && !WITH_PORTS.contains(&protocol) {
            return Err(Failure::Said(format!("packets of protocol {protocol} have no ports")));
        }
        Ok(TedPacket { source, destination, protocol, source_port, destination_port })
    }
}

/// Shows the probe that would be sent; nothing is.
pub(crate) fn preview(socket: &Path, flow: Flow, json: bool, output: &mut Output) -> Result<(), Failure> {
    let packet = flow.packet()?;
    crate::ask::show(socket, Command::TedPreview { packet }, json, output, show::ted_preview)
}

/// Asks, and waits until it has ended.
pub(crate) fn probe(socket: &Path, flow: Flow, json: bool, output: &mut Output) -> Result<(), Failure> {
    let packet = flow.packet()?;
    let mut client = Client::connect(socket)?;
    let started = Instant::now();
    let mut answer = client.call(Command::TedProbe { packet })?;
    loop {
        let Answer::TedFlow(flow) = &answer else { return Err(unexpected()) };
        let is_over = match &**flow {
            TedFlow::InFlight(_) => false,
            TedFlow::Found(found) => found.is_up,
            TedFlow::Resting(_) | TedFlow::Unasked { .. } | TedFlow::Refused { .. } => true,
        };
        if is_over || started.elapsed() >= PROBE_WAIT_MAX {
            return ended(flow, json, output);
        }
        sleep(POLL_INTERVAL);
        answer = client.call(Command::TedFlow { packet })?;
    }
}

/// Success is a tunnel that is up; everything else is a failure with its reason.
fn ended(flow: &TedFlow, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(flow).map_err(|error| Failure::Said(error.to_string()))?;
        output.write(&text)?;
    }
    match flow {
        TedFlow::Found(found) if found.is_up => {
            let text = format!("{}: tunnel up to {} for {}", found.tunnel, found.gateway, found.selector);
            if json { Ok(()) } else { Ok(output.write(&printable(&text))?) }
        }
        other => {
            // What was written before must not come after the reason.
            output.flush()?;
            Err(Failure::Said(printable(&unfinished(other))))
        }
    }
}

fn unfinished(flow: &TedFlow) -> String {
    let seconds = PROBE_WAIT_MAX.as_secs();
    match flow {
        TedFlow::InFlight(own) => match &own.stage {
            TedStage::Probing { sent } => {
                let probes = if *sent == 1 { "1 probe".to_owned() } else { format!("{sent} probes") };
                format!("no gateway has answered within {seconds} s, after {probes}; {GOES_ON}")
            }
            TedStage::Negotiating { gateway, selector } => format!(
                "{gateway} answered for {selector}, and the negotiation is not over after {seconds} s; {GOES_ON}"
            ),
        },
        TedFlow::Found(own) => format!(
            "{}: the tunnel to {} for {} is not up after {seconds} s; `dpctl tunnel` shows why",
            own.tunnel, own.gateway, own.selector
        ),
        TedFlow::Resting(own) => {
            format!(
                "{}; traffic does not ask again for {} s, `dpctl ted probe` does at once",
                own.why, own.for_s
            )
        }
        TedFlow::Unasked { rule } => format!("{rule}: the discovery ended without a result"),
        TedFlow::Refused { why } => why.clone(),
    }
}
