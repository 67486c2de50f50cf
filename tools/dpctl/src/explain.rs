//! `dpctl explain`: rule by rule, how a packet comes to its stack of tunnels, what is performed in which order, and
//! what that costs in octets. A running daemon also says how each level stands; a file needs no daemon.
//!
//! ```text
//! file ──> rules ──> the walk of figure 7 ──┐
//! packet ──> warrend, which walks its own ──┴──> explanation ──> JSON, or tables and words
//! ```

use crate::arguments::Format;
use crate::ask::unexpected;
use crate::numbers::duration;
use crate::output::{Failure, Output};
use crate::table::{Left, Right, printable, table};
use clap::{Args, ValueEnum};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use warren_api::client::Client;
use warren_api::explain::{Asked, Explanation, Level, Live, Matching, Sealing, Subject};
use warren_api::limits::{MTU_MAX, MTU_MIN};
use warren_api::{Answer, Command, Lane, TedPacket};
use warren_config::Config;
use warren_policy::{EspTransform, FiveTuple, PeerId, Rematching, RuleId};

/// Octets of the largest packet on Ethernet (RFC 894).
const MTU_USUAL: u16 = 1500;

/// The packet, and how it is judged.
#[derive(Debug, Args)]
pub(crate) struct Question {
    /// Source address, of our side
    #[arg(value_name = "SRC")]
    source: IpAddr,
    /// Destination address, of the same family
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `gre`, or a number
    #[arg(value_name = "PROTO", value_parser = protocol)]
    protocol: u8,
    /// Source port; without ports the packet is one whose ports cannot be seen, such as a later fragment
    #[arg(value_name = "SPORT", requires = "destination_port")]
    source_port: Option<u16>,
    /// Destination port
    #[arg(value_name = "DPORT")]
    destination_port: Option<u16>,
    /// The configuration file whose rules are asked; without it the running daemon is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As what a packet is looked up once it is inside a tunnel: with only its destination replaced by the gateway, or
    /// as the ESP packet that it then is; as `[stack]` says unless given
    #[arg(long, value_enum)]
    rematch: Option<Lookup>,
    /// Octets of the largest packet on the path to the nearest gateway; what the daemon's outside ports carry, or 1500
    /// for a file, unless given
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u16).range(i64::from(MTU_MIN)..=i64::from(MTU_MAX)))]
    mtu: Option<u16>,
    #[command(flatten)]
    format: Format,
}

/// [`Rematching`] as it is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lookup {
    Destination,
    Wire,
}

impl From<Lookup> for Matching {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Destination => Self::Destination,
            Lookup::Wire => Self::Wire,
        }
    }
}

fn protocol(text: &str) -> Result<u8, String> {
    match text {
        "tcp" => Ok(6),
        "udp" => Ok(17),
        "icmp" => Ok(1),
        "icmpv6" => Ok(58),
        "sctp" => Ok(132),
        "gre" => Ok(47),
        number => number.parse().map_err(|_| "a protocol is a name or 0 to 255".to_owned()),
    }
}

/// Answers one question.
pub(crate) fn explain(question: &Question, socket: &Path, output: &mut Output) -> Result<(), Failure> {
    if question.source.is_ipv6() != question.destination.is_ipv6() {
        return Err(Failure::Said("source and destination are addresses of one family".to_owned()));
    }
    let explanation = match &question.config {
        Some(file) => of_file(question, file)?,
        None => of_daemon(question, socket)?,
    };
    if question.format.json {
        let json = serde_json::to_string_pretty(&explanation);
        return Ok(output.write(&json.map_err(|error| Failure::Said(error.to_string()))?)?);
    }
    let width = output.width();
    Ok(output.write(&text(&explanation, width))?)
}

fn of_daemon(question: &Question, socket: &Path) -> Result<Explanation, Failure> {
    let packet = TedPacket {
        source: question.source,
        destination: question.destination,
        protocol: question.protocol,
        source_port: question.source_port,
        destination_port: question.destination_port,
    };
    let rematch = question.rematch.map(Matching::from);
    let command = Command::Explain { packet, rematch, mtu: question.mtu };
    match Client::connect(socket)?.call(command)? {
        Answer::Explained(explanation) => Ok(*explanation),
        _ => Err(unexpected()),
    }
}

fn of_file(question: &Question, file: &Path) -> Result<Explanation, Failure> {
    let config = warren_config::load(file).map_err(|diagnostics| {
        Failure::Said(format!("{} cannot be used\n\n{diagnostics}", file.display()))
    })?;
    let packet = FiveTuple {
        source: question.source,
        destination: question.destination,
        protocol: question.protocol,
        source_port: question.source_port,
        destination_port: question.destination_port,
    };
    let local = |peer| local_address(&config, peer);
    let asked = question.rematch.map(Matching::from).map(Rematching::from);
    let subject = Subject {
        rules: &config.rules,
        rematching: asked.unwrap_or(config.stack.rematch),
        local: &local,
        within: &|_| None,
        peer: &|peer| config.peer(peer).map_or_else(String::new, |peer| peer.name.clone()),
        sealing: &|place| first_transform(&config, place.rule).map(Sealing::from),
        live: &|_| None,
    };
    Ok(subject.explanation(&packet, usize::from(question.mtu.unwrap_or(MTU_USUAL))))
}

/// Ours towards the peer, as far as the file says.
fn local_address(config: &Config, peer: PeerId) -> Option<IpAddr> {
    config.peer(peer).filter(|peer| !peer.is_local_open()).map(|peer| peer.local)
}

/// What a tunnel is offered with first; what comes of it is negotiated.
fn first_transform(config: &Config, rule: RuleId) -> Option<EspTransform> {
    config.policy(rule)?.esp.first().map(|proposal| proposal.transform)
}

fn text(of: &Explanation, width: u16) -> String {
    let mut text = printable(&of.packet) + &format!("\nrematch = {}\n", printable(&of.rematch));
    text += &asked(&of.transport, "transport", width);
    for round in &of.tunnel {
        text += &asked(round, "tunnel", width);
    }
    if !of.performed.is_empty() {
        text += "\nperformed in this order\n";
        text += &levels(&of.performed, width);
    }
    if let Some(inner_mtu) = of.inner_mtu {
        let costs = || of.performed.iter().filter_map(|level| level.esp.as_ref());
        let least: usize = costs().map(|cost| cost.overhead_octets_min).sum();
        let most: usize = costs().map(|cost| cost.overhead_octets_max).sum();
        text += &format!(
            "\n{least} to {most} octets are added in all; of {} octets on the path, {inner_mtu} are left for a \
                 packet\n",
            of.mtu
        );
    }
    for circle in &of.circles {
        let circle = printable(&circle.join(", "));
        text += &format!("\nrules that may lead through their own gateways: {circle}\n");
    }
    if of.circles_unknown {
        text += "\ntoo many rules lead to gateways to look for some that lead through their own\n";
    }
    text += &format!("\n{}\n", printable(&of.says));
    if let Some(next) = &of.next {
        text += &format!("now: {}\n", printable(next));
    }
    text
}

fn asked(of: &Asked, class: &str, width: u16) -> String {
    let row = |rule: &str, traffic: &str, result: String| vec![rule.to_owned(), traffic.to_owned(), result];
    let mut rows: Vec<_> = of
        .missed
        .iter()
        .map(|missed| row(&missed.rule, &missed.traffic, format!("no: {}", missed.because)))
        .collect();
    let left_out = of.tried - usize::from(of.matched.is_some()) - of.missed.len();
    if left_out > 0 {
        rows.push(row("…", &format!("{left_out} more rules"), "no".to_owned()));
    }
    if let Some(matched) = &of.matched {
        rows.push(row(&matched.rule, &matched.traffic, format!("yes: {}", matched.does)));
    }
    let rules = table(&[Left("RULE"), Left("TRAFFIC"), Left("MATCHES")], &rows, width);
    format!("\n{class} rules are asked about {}\n{rules}=> {}\n", printable(&of.about), printable(&of.says))
}

fn levels(performed: &[Level], width: u16) -> String {
    let row = |(at, level): (usize, &Level)| {
        let gateway = match (&level.peer, level.gateway) {
            (Some(peer), Some(gateway)) => format!("{peer} {gateway}"),
            _ => String::new(),
        };
        let (esp, adds, inner) = level.esp.as_ref().map_or_else(Default::default, |cost| {
            let adds = format!("{}-{}", cost.overhead_octets_min, cost.overhead_octets_max);
            let in_udp = if cost.in_udp { " in UDP" } else { "" };
            (cost.transform.clone() + in_udp, adds, cost.inner_mtu.to_string())
        });
        let number = (at + 1).to_string();
        vec![number, level.action.clone(), level.rule.clone(), gateway, esp, adds, inner]
    };
    let columns = [
        Right("#"),
        Left("ACTION"),
        Left("RULE"),
        Left("GATEWAY"),
        Left("ESP"),
        Right("ADDS"),
        Right("INNER MTU"),
    ];
    let costs = table(&columns, &performed.iter().enumerate().map(row).collect::<Vec<_>>(), width);
    costs + &standings(performed, width)
}

/// How the levels stand; nothing where nobody knows.
fn standings(performed: &[Level], width: u16) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |at: usize, live: &Live| {
        vec![
            (at + 1).to_string(),
            match live.rests_s {
                Some(rests) => format!("{}, {} left", live.state, duration(rests)),
                None => live.state.clone(),
            },
            or_none(&live.gateway),
            or_none(&live.spi_in),
            or_none(&live.spi_out),
            or_none(&live.worker.map(|worker| worker.to_string())),
            live.users.to_string(),
        ]
    };
    // A flow takes one of several that are side by side.
    let lane = |lane: &Lane| {
        let (state, at) = (format!("lane {}", lane.lane), String::new());
        let (spi_in, spi_out) = (lane.spi_in.clone(), lane.spi_out.clone());
        vec![String::new(), state, at, spi_in, spi_out, lane.worker.to_string(), String::new()]
    };
    let mut rows = Vec::new();
    for (at, live) in performed.iter().enumerate().filter_map(|(at, level)| Some((at, level.live.as_ref()?)))
    {
        rows.push(row(at, live));
        rows.extend(live.lanes.iter().map(lane));
    }
    if rows.is_empty() {
        return String::new();
    }
    let columns = [
        Right("#"),
        Left("STATE"),
        Left("AT"),
        Left("SPI IN"),
        Left("SPI OUT"),
        Right("WORKER"),
        Right("USERS"),
    ];
    let failed = performed.iter().filter_map(|level| {
        let why = level.live.as_ref()?.last_error.as_ref()?;
        Some(printable(&format!("{}: the last negotiation failed: {why}", level.rule)) + "\n")
    });
    format!("\nhow they stand\n{}{}", table(&columns, &rows, width), failed.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // V-12
    fn what_was_not_looked_for_is_not_said_to_be_absent() {
        for circles_unknown in [false, true] {
            let said = Explanation { circles_unknown, ..Explanation::default() };
            assert_eq!(text(&said, 100).contains("too many rules lead to gateways"), circles_unknown);
        }
    }

    #[test]
    fn how_levels_stand_is_said_where_somebody_knows() {
        let level = |live| Level {
            rule: "to-sg2".to_owned(),
            action: "tunnel".to_owned(),
            peer: None,
            gateway: None,
            traffic: String::new(),
            esp: None,
            live,
        };
        let live =
            Live { state: "up".to_owned(), spi_in: Some("c0ffee00".to_owned()), users: 2, ..Live::default() };
        let mut said = Explanation { performed: vec![level(None)], ..Explanation::default() };
        assert!(!text(&said, 100).contains("STATE"));
        said.performed.push(level(Some(live)));
        let text = text(&said, 100);
        let row = text.lines().find(|line| line.contains("c0ffee00")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["2", "up", "-", "c0ffee00", "-", "-", "2"]);
    }

    #[test] // F-17
    fn pairs_side_by_side_are_listed_each_with_its_worker() {
        let lane = |lane: u16| Lane {
            lane,
            spi_in: format!("c0ffee0{lane}"),
            spi_out: format!("9b1d000{lane}"),
            worker: lane + 3,
        };
        let lanes = vec![lane(0), lane(1)];
        let live = Live { state: "up".to_owned(), lanes, users: 1, ..Live::default() };
        let level = Level {
            rule: "net".to_owned(),
            action: "tunnel".to_owned(),
            peer: None,
            gateway: None,
            traffic: String::new(),
            esp: None,
            live: Some(live),
        };
        let text = text(&Explanation { performed: vec![level], ..Explanation::default() }, 100);
        let rows: Vec<Vec<_>> = text
            .lines()
            .skip_while(|line| !line.starts_with("how they stand"))
            .skip(2)
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0], ["1", "up", "-", "-", "-", "-", "1"]);
        assert_eq!(rows[1], ["lane", "0", "c0ffee00", "9b1d0000", "3"]);
        assert_eq!(rows[2], ["lane", "1", "c0ffee01", "9b1d0001", "4"]);
    }

    #[test]
    fn rules_that_do_not_match_and_are_not_listed_are_counted() {
        let mut said = Explanation::default();
        said.transport.tried = 1000;
        assert!(text(&said, 100).contains("1000 more rules"));
    }
}
