//! `dpctl intersect`: what two gateways protect in common, and why it may be nothing. Needs no daemon.
//!
//! ```text
//! two proxies, each through its own gateway's eyes ──> the second mirrored ──> flowcharts 3A, 3B, 3C ──> words
//! JSON lines on standard input ──────────────────────────────────────────────────────────────────────> JSON lines
//! ```

use crate::limits::LINE_OCTETS_MAX;
use crate::output::{Failure, Output};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read};
use std::net::IpAddr;
use warren_policy::proxy_walk::walk;
use warren_policy::{MaskedAddress, Protocol, Proxy};

/// Explains one intersection.
pub(crate) fn explain(ours: &Proxy, theirs: &Proxy, output: &mut Output) -> Result<(), Failure> {
    let mirrored = theirs.mirrored();
    output.write(&format!("the first            {ours}\nthe second, mirrored {mirrored}\n\n"))?;
    for walked in walk(ours, &mirrored) {
        output.write(&format!("{walked}\n"))?;
    }
    let verdict = match ours.intersection(&mirrored) {
        Ok(common) => format!("in common: {common}"),
        Err(emptiness) => {
            let fields: Vec<_> = emptiness.fields().collect();
            format!("nothing in common, because of {}", fields.join(", "))
        }
    };
    Ok(output.write(&format!("\n{verdict}\n"))?)
}

/// One line of standard input after the other.
pub(crate) fn batch(output: &mut Output) -> Result<(), Failure> {
    let mut input = io::stdin().lock();
    let mut number = 0_u64;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input).take(LINE_OCTETS_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::Said(format!("cannot read standard input: {error}")))? == 0 {
            return Ok(());
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = judge(&line).map_err(|why| Failure::Said(format!("line {number}: {why}")))?;
        output.write(&answer)?;
    }
}

fn judge(line: &[u8]) -> Result<String, String> {
    let question: Question = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let words = "an address and its mask are of one family, and both halves too";
    let ours = question.initiator.proxy(question.ip).ok_or(words)?;
    let theirs = question.responder.proxy(question.ip).ok_or(words)?;
    let answer = match ours.intersection(&theirs.mirrored()) {
        Ok(common) => {
            Answer { id: question.id, result: Found::Common(Common::of(&common)), empty_because: Vec::new() }
        }
        Err(emptiness) => Answer {
            id: question.id,
            result: Found::Empty("empty"),
            empty_because: emptiness.fields().collect(),
        },
    };
    serde_json::to_string(&answer).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Question {
    id: serde_json::Value,
    ip: u8,
    initiator: Initiator,
    responder: Responder,
}

/// As the initiator sees it: source is its side.
#[derive(Deserialize)]
struct Initiator {
    src: IpAddr,
    smask: IpAddr,
    dst: IpAddr,
    dmask: IpAddr,
    proto: NamedProtocol,
    sport: Option<u16>,
    dport: Option<u16>,
}

/// As the responder sees it: local is its side.
#[derive(Deserialize)]
struct Responder {
    local: IpAddr,
    lmask: IpAddr,
    remote: IpAddr,
    rmask: IpAddr,
    proto: NamedProtocol,
    lport: Option<u16>,
    rport: Option<u16>,
}

/// A number, or `ip` for any.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(untagged)]
enum NamedProtocol {
    Number(u8),
    Any(AnyProtocol),
}

#[derive(Clone, Copy, Deserialize, Serialize)]
enum AnyProtocol {
    #[serde(rename = "ip")]
    Ip,
}

impl From<NamedProtocol> for Protocol {
    fn from(named: NamedProtocol) -> Self {
        match named {
            NamedProtocol::Number(number) => Self::Is(number),
            NamedProtocol::Any(AnyProtocol::Ip) => Self::Any,
        }
    }
}

impl Initiator {
    fn proxy(&self, version: u8) -> Option<Proxy> {
        let source = half(version, self.src, self.smask)?;
        let destination = half(version, self.dst, self.dmask)?;
        Proxy::new((source, self.sport), (destination, self.dport), self.proto.into())
    }
}

impl Responder {
    fn proxy(&self, version: u8) -> Option<Proxy> {
        let local = half(version, self.local, self.lmask)?;
        let remote = half(version, self.remote, self.rmask)?;
        Proxy::new((local, self.lport), (remote, self.rport), self.proto.into())
    }
}

fn half(version: u8, address: IpAddr, mask: IpAddr) -> Option<MaskedAddress> {
    let family = if address.is_ipv6() { 6 } else { 4 };
    MaskedAddress::new(address, mask).filter(|_| family == version)
}

#[derive(Serialize)]
struct Answer {
    id: serde_json::Value,
    result: Found,
    empty_because: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Common(Common),
    Empty(&'static str),
}

#[derive(Serialize)]
struct Common {
    src: IpAddr,
    smask: IpAddr,
    dst: IpAddr,
    dmask: IpAddr,
    proto: NamedProtocol,
    sport: Option<u16>,
    dport: Option<u16>,
}

impl Common {
    const fn of(proxy: &Proxy) -> Self {
        Self {
            src: proxy.source().address(),
            smask: proxy.source().mask(),
            dst: proxy.destination().address(),
            dmask: proxy.destination().mask(),
            proto: match proxy.protocol() {
                Protocol::Any => NamedProtocol::Any(AnyProtocol::Ip),
                Protocol::Is(number) => NamedProtocol::Number(number),
            },
            sport: proxy.source_port(),
            dport: proxy.destination_port(),
        }
    }
}
