//! Answering the probes of others (REQUIREMENTS TED-29 … TED-37, F-8, F-9). No state is kept.
//!
//! ```text
//! probe ─► well-formed ─► tells the packet's own addresses ─► gateway may be answered ─► rules, mirrored ─► disclosed
//!       ─► never longer than the question ─► rates ─► [has said our cookie] ─► response
//! ```
//!
//! Until a rule matches, the probe is somebody else's and goes on untouched. From there on it ends here, answered or not.

use super::around::Around;
use super::initiator::CAPABILITIES;
use super::packet::packet_octets;
use super::rates::{AnswerRates, Exceeded, address_octets};
use super::status::TedCount;
use super::{TedNotice, TedOutput, address};
use crate::Path;
use crate::crypto::{is_equal, prf};
use crate::limits::ECHO_EPOCH;
use crate::path::PORT_ISAKMP;
use crate::wire::Malformed;
use crate::wire::ted::{ENTRIES_MAX, Echo, Probe, Response, Summary, number};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{AddressRange, Hash, MaskedAddress, Proxy};

/// A probe and the packet that brought it.
pub(super) struct Heard {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Octets of the whole IP packet.
    pub(super) packet_octets: usize,
    pub(super) probe: Probe,
}

/// What becomes of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was for us, answered or not.
    Consumed,
    /// It is not for us.
    PassOn,
}

pub(super) struct Responder {
    rates: AnswerRates,
    /// Behind our cookies.
    secret: [u8; 32],
}

/// Why a probe gets no answer; the second says whether it goes on.
struct Refused(TedCount, Verdict);

const fn pass_on<T>(count: TedCount) -> Result<T, Refused> {
    Err(Refused(count, Verdict::PassOn))
}

const fn consume<T>(count: TedCount) -> Result<T, Refused> {
    Err(Refused(count, Verdict::Consumed))
}

impl Responder {
    pub(super) fn new(around: &mut Around) -> Self {
        let rates = AnswerRates::new(around.config.answers_per_second, around.entropy.octets());
        Self { rates, secret: around.entropy.octets() }
    }

    pub(super) const fn set_rate(&mut self, per_second: u32) {
        self.rates.set_rate(per_second);
    }

    /// Answers the probe, or says why not.
    pub(super) fn handle(&mut self, now: Duration, around: &mut Around, heard: &Heard) -> Verdict {
        match self.answer(now, around, heard) {
            Ok((path, response)) => {
                let is_challenge = response.entries.is_empty();
                around.outputs.push_back(TedOutput::Transmit { path, octets: response.encode() });
                if is_challenge {
                    around.count(TedCount::ChallengesSent);
                } else {
                    around.count(TedCount::ResponsesSent);
                    let selectors = response.entries.iter().map(ToString::to_string).collect();
                    around.log(now, TedNotice::Disclosed { gateway: path.remote.ip(), selectors });
                }
                Verdict::Consumed
            }
            Err(Refused(count, verdict)) => {
                around.count(count);
                verdict
            }
        }
    }

    fn answer(
        &mut self,
        now: Duration,
        around: &mut Around,
        heard: &Heard,
    ) -> Result<(Path, Response), Refused> {
        let probe = &heard.probe;
        check(around, heard)?;
        let (local, entries) = entries(around, probe)?;
        let mut response = Response {
            initiator: probe.cookie,
            responder: [0; 8],
            capabilities: CAPABILITIES,
            gateway: local,
            entries,
            challenge: None,
        };
        if around.config.cookie_echo && !self.is_heard(now, probe) {
            if probe.capabilities & number::COOKIE_ECHO == 0 {
                return consume(TedCount::ProbeNoEcho);
            }
            response.challenge = Some(self.echo(epoch(now), probe));
            response.entries.clear();
        }
        // F-8: as IP packets, headers included, for the gateways may speak another family than the end hosts.
        let longest = heard.packet_octets;
        while packet_octets(local.is_ipv6(), response.encode().len()) > longest {
            if response.entries.pop().is_none() {
                return consume(TedCount::ProbeTooShort);
            }
        }
        if response.entries.is_empty() && response.challenge.is_none() {
            return consume(TedCount::ProbeTooShort);
        }
        match self.rates.take(now, probe.gateway, heard.source) {
            Ok(()) => {}
            Err(Exceeded::Gateway) => return consume(TedCount::ProbesOverGatewayRate),
            Err(Exceeded::Source) => return consume(TedCount::ProbesOverSourceRate),
            Err(Exceeded::All) => return consume(TedCount::ProbesOverAnswerRate),
        }
        response.responder = around.cookie();
        // Q-1: always to port 500 of the address in the probe, never to where its packet seems to come from.
        let remote = (probe.gateway, PORT_ISAKMP).into();
        Ok((Path { local: (local, PORT_ISAKMP).into(), remote }, response))
    }

    /// Whether the sender said our cookie, of this or the last epoch.
    fn is_heard(&self, now: Duration, probe: &Probe) -> bool {
        let epoch = epoch(now);
        let is_of = |epoch, echo: &Echo| is_equal(&self.echo(epoch, probe), echo);
        probe.echo.is_some_and(|echo| {
            is_of(epoch, &echo) | epoch.checked_sub(1).is_some_and(|last| is_of(last, &echo))
        })
    }

    /// The cookie of that probe: whoever says it has heard what was sent to the gateway's address, not long ago.
    fn echo(&self, epoch: u64, probe: &Probe) -> Echo {
        let parts: [&[u8]; 3] = [&epoch.to_be_bytes(), &probe.cookie, &address_octets(probe.gateway)];
        let mac = prf(Hash::Sha256, &self.secret, &parts);
        *mac.first_chunk().expect("a digest is longer")
    }
}

const fn epoch(now: Duration) -> u64 {
    now.as_secs() / ECHO_EPOCH.as_secs()
}

/// The octets as a probe, or what is wrong with them.
///
/// # Errors
/// What is counted.
pub(super) fn decode(octets: &[u8]) -> Result<Probe, TedCount> {
    Probe::decode(octets).map_err(|malformed| match malformed {
        Malformed::TedVersion => TedCount::ProbeVersion,
        _ => TedCount::ProbeMalformed,
    })
}

/// Whether the probe is about what its packet is about, and its sender one whom we answer.
fn check(around: &Around, heard: &Heard) -> Result<(), Refused> {
    let Probe { gateway, summary, .. } = &heard.probe;
    let accepted = &around.config.accept_from;
    let is_accepted = if accepted.is_empty() {
        address::is_public(*gateway)
    } else {
        address::is_host(*gateway) && address::is_in(accepted, *gateway)
    };
    if (summary.source, summary.destination) != (heard.source, heard.destination) {
        pass_on(TedCount::ProbeAddresses)
    } else if !around.is_askable(summary.source, summary.destination) {
        pass_on(TedCount::ProbeNotUnicast)
    } else if around.is_own(*gateway) || around.is_own(summary.source) {
        pass_on(TedCount::ProbeOwnAddress)
    } else if !is_accepted || *gateway == summary.destination {
        // B cannot be the gateway of A: an answer to it would be one to the host that we protect.
        pass_on(TedCount::ProbeNotAllowed)
    } else {
        Ok(())
    }
}

/// What is told to the sender, largest first, and from which address of ours.
fn entries(around: &Around, probe: &Probe) -> Result<(IpAddr, Vec<Proxy>), Refused> {
    let Some(asked) = as_we_see_it(&probe.summary) else { return pass_on(TedCount::ProbeUnmatched) };
    let of_family = around.rules.iter().filter(|rule| rule.local.is_ipv6() == probe.gateway.is_ipv6());
    let matching = of_family.flat_map(|rule| rule.proxies.iter().map(move |proxy| (rule.local, proxy)));
    let mut matching = matching.filter(|(_, proxy)| proxy.intersection(&asked).is_ok()).peekable();
    let Some(local) = matching.peek().map(|(local, _)| *local) else {
        return pass_on(TedCount::ProbeUnmatched);
    };
    let mut entries: Vec<Proxy> = Vec::new();
    let of_local = matching.filter(|(of, _)| *of == local);
    for entry in of_local.filter_map(|(_, proxy)| disclosed(&around.config.disclose, proxy, &probe.summary)) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    if entries.is_empty() {
        return pass_on(TedCount::ProbeUndisclosed);
    }
    entries.sort_by_key(Proxy::pinned);
    entries.truncate(if probe.capabilities & number::SEVERAL == 0 { 1 } else { ENTRIES_MAX });
    Ok((local, entries))
}

/// The traffic of a summary from our side: its destination is what we protect (REQUIREMENTS TED-30, Q-4).
fn as_we_see_it(summary: &Summary) -> Option<Proxy> {
    let host = |address| MaskedAddress::from_range(&AddressRange::single(address));
    let source = (host(summary.source)?, summary.source_port);
    let destination = (host(summary.destination)?, summary.destination_port);
    Some(Proxy::new(source, destination, summary.protocol)?.mirrored())
}

/// As much of the entry as may be told about that destination (REQUIREMENTS F-9).
fn disclosed(disclose: &[AddressRange], entry: &Proxy, summary: &Summary) -> Option<Proxy> {
    if disclose.is_empty() {
        return Some(*entry);
    }
    let around = disclose.iter().filter_map(|range| largest_prefix(range, summary.destination));
    let widest = around.min_by_key(MaskedAddress::mask)?;
    let local = entry.source().intersection(&widest)?;
    Proxy::new(
        (local, entry.source_port()),
        (*entry.destination(), entry.destination_port()),
        entry.protocol(),
    )
}

/// The largest prefix around the address that lies inside the range: the range itself, where it is one.
fn largest_prefix(range: &AddressRange, address: IpAddr) -> Option<MaskedAddress> {
    let bits = if address.is_ipv6() { 128 } else { 32 };
    let prefixes = (0..=bits).filter_map(|length| AddressRange::from_prefix(address, length));
    let mut inside = prefixes.filter(|prefix| range.contains_range(prefix));
    inside.next().and_then(|prefix| MaskedAddress::from_range(&prefix))
}
