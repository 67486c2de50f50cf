//! `[[transport]]`: whether a flow may pass at all, and whether it is protected from end to end.

use crate::name::{name, part_name};
use crate::peer::{KnownPeers, Peer};
use crate::report::{Report, Span};
use crate::section::Section;
use crate::traffic::Traffic;
use crate::tunnel::{self, STARTS, Start, TunnelPolicy};
use std::net::IpAddr;
use std::num::NonZeroU16;
use warren_policy::{AddressRange, PeerId, Protection, RuleId, Selector, TransportAction, TransportRule};

/// `action` as it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Plain(TransportAction),
    Protect,
}

/// One `[[transport]]` as it was read.
pub(crate) struct ReadTransport<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: Span,
    pub(crate) source_span: Span,
    pub(crate) destination_span: Span,
    pub(crate) selectors: Vec<Selector>,
    /// Of a rule that protects without its number, which is still to be filled in.
    pub(crate) action: TransportAction,
    /// Of a rule that protects: what its SAs are, for every rule it stands for.
    pub(crate) policy: Option<TunnelPolicy>,
}

impl<'a> ReadTransport<'a> {
    /// `None` only after an error.
    pub(crate) fn read(
        mut section: Section<'a>,
        peers: &KnownPeers<'_>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let field = section.required(report, "name", "a name for `dpctl rule` to show");
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let words = [
            ("permit", Word::Plain(TransportAction::Permit)),
            ("bypass", Word::Plain(TransportAction::Bypass)),
            ("discard", Word::Plain(TransportAction::Discard)),
            ("protect", Word::Protect),
        ];
        let word = section
            .required(report, "action", "`permit`, `bypass`, `discard` or `protect`")
            .and_then(|field| field.word(report, &words));
        let read = match word {
            Some(Word::Protect) => protect(&mut section, peers, report),
            // Without a word nobody knows which keys belong here, and one error is enough.
            None => Some((Traffic::read(&mut section, report)?, TransportAction::Discard, None)),
            Some(Word::Plain(action)) => {
                Traffic::read(&mut section, report).map(|traffic| (traffic, action, None))
            }
        };
        if word.is_some() {
            section.finish(report);
        }
        word?;
        let (traffic, action, policy) = read?;
        Some(Self {
            name: name?,
            name_span,
            source_span: traffic.source_span,
            destination_span: traffic.destination_span,
            selectors: traffic.selectors,
            action,
            policy,
        })
    }

    /// The rules it stands for.
    pub(crate) fn rules(&self) -> impl Iterator<Item = TransportRule> {
        let several = self.selectors.len() > 1;
        self.selectors.iter().enumerate().map(move |(at, selector)| TransportRule {
            name: part_name(self.name, at, several),
            selector: *selector,
            action: self.action,
        })
    }
}

/// What is between us and one host, in transport mode (RFC 4301 §4.1).
fn protect(
    section: &mut Section<'_>,
    peers: &KnownPeers<'_>,
    report: &mut Report<'_>,
) -> Option<(Traffic, TransportAction, Option<TunnelPolicy>)> {
    let host = host(section, peers, report);
    let ends = host.as_ref().map(|host| (host.local, host.address));
    // After an error of the peer, what is missing is not said to be missing.
    let nobody = || (IpAddr::from([0; 4]), IpAddr::from([0; 4]));
    let traffic = Traffic::read_between(section, Some(ends.unwrap_or_else(nobody)), report);
    if let Some(traffic) = &traffic {
        tunnel::check_negotiable(traffic, report);
    }
    let esp = tunnel::esp(section, report);
    let lifetime = tunnel::lifetime(section, report);
    let window = tunnel::window(section, report);
    let start = section.or("start", Start::OnTraffic, |field| field.word(report, STARTS));
    refuse_parallel(section, report);
    let (host, traffic) = (host?, traffic?);
    check_ends(&host, &traffic, report)?;
    let policy = TunnelPolicy {
        rule: RuleId(0),
        peer: host.peer,
        esp: esp?,
        lifetime: lifetime?,
        window_packets: window?,
        start: start?,
        parallel: NonZeroU16::MIN,
        is_concealed: false,
    };
    let protection = Protection { rule: RuleId(0), peer: host.peer, host: host.address };
    Some((traffic, TransportAction::Protect(protection), Some(policy)))
}

/// Transport mode is for what the gateway itself says, which comes from its kernel by one way: other workers would have no
/// part in it.
fn refuse_parallel(section: &mut Section<'_>, report: &mut Report<'_>) {
    let Some(field) = section.optional("parallel") else { return };
    if tunnel::parallel(&field, report).is_some_and(|parallel| parallel > NonZeroU16::MIN) {
        let message = "what is protected from end to end in transport mode has one pair of SAs";
        report.error(&field.span, message, "a `[[tunnel]]` with `parallel`, or none");
    }
}

/// With whom, and between which addresses.
struct Host<'a> {
    name: &'a str,
    peer: PeerId,
    local: IpAddr,
    address: IpAddr,
}

fn host<'a>(section: &mut Section<'a>, peers: &KnownPeers<'_>, report: &mut Report<'_>) -> Option<Host<'a>> {
    let (field, name, found) = tunnel::named(section, peers, report)?;
    let at = found?;
    let peer = peers.read[at].peer.as_ref()?;
    let address = peer.address.filter(|_| !peer.is_template() && !peer.is_discovered());
    let Some(address) = address else {
        let message = format!("`{name}` is no host of one address: `protect` leads to one");
        report.error(&field.span, message, "a peer with one `address` and one `identity`");
        return None;
    };
    if Peer::is_local_open(peer) {
        let message =
            format!("our address towards `{name}` is left open, and `protect` is for what comes from it");
        report.error(&field.span, message, "a peer with `local`");
        return None;
    }
    Some(Host { name, peer: PeerId(at as u32), local: peer.local, address })
}

/// Transit traffic is never in transport mode: whoever sends it would find no SA of his own (RFC 4301 §4.1).
fn check_ends(host: &Host<'_>, traffic: &Traffic, report: &mut Report<'_>) -> Option<()> {
    let name = host.name;
    let mut is_right = true;
    let mut check =
        |range: fn(&Selector) -> AddressRange, end: IpAddr, span: &Span, key: &str, what: String| {
            let wrong = traffic.selectors.iter().map(range).find(|range| *range != AddressRange::single(end));
            if let Some(range) = wrong {
                is_right = false;
                let message = format!(
                    "`protect` is for what we ourselves say to `{name}`, and {range} is not {what} {end}"
                );
                report.error(span, message, format!("`{end}`, or no `{key}`"));
            }
        };
    let ours = format!("our address towards `{name}`,");
    check(|selector| selector.source, host.local, &traffic.source_span, "source", ours);
    let theirs = format!("the address of `{name}`,");
    check(|selector| selector.destination, host.address, &traffic.destination_span, "destination", theirs);
    is_right.then_some(())
}
