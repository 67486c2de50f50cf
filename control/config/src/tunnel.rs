//! `[[tunnel]]`: what is protected, through which peer and how.

use crate::addresses::DISCOVER;
use crate::amount::{VOLUME_ACCEPTED, volume};
use crate::discovery;
use crate::field::{Field, listed, with_suggestion};
use crate::limits::{
    ESP_LIFETIME_S_DEFAULT, ESP_LIFETIME_S_MAX, LIFETIME_KILOBYTES_MIN, LIFETIME_S_MIN, PARALLEL_MAX,
    WINDOW_PACKETS_DEFAULT, WINDOW_PACKETS_MAX, WINDOW_PACKETS_STEP,
};
use crate::name::{name, part_name};
use crate::nearest::nearest;
use crate::peer::{KnownPeers, Peer, seconds};
use crate::proposals;
use crate::report::{Report, Span};
use crate::section::Section;
use crate::traffic::Traffic;
use std::num::NonZeroU16;
use warren_policy::{
    EspProposal, Gateway, Lifetime, PeerId, PortRange, Protocol, RuleId, Selector, TunnelRule,
};

/// When the tunnel is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// When the first packet wants it.
    OnTraffic,
    /// As soon as the daemon runs, and again whenever it is lost.
    Immediately,
}

/// [`Start`] as it is written.
pub(crate) const STARTS: &[(&str, Start)] =
    &[("traffic", Start::OnTraffic), ("immediately", Start::Immediately)];

/// What a rule alone does not say of the SAs that it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPolicy {
    /// The rule: of a tunnel rule its place in `RuleSet::tunnel`; base rules that protect have the numbers behind.
    pub rule: RuleId,
    /// Whose tunnel it is; the same as the rule's.
    pub peer: PeerId,
    /// For phase 2, in the order in which they are offered; never empty.
    pub esp: Vec<EspProposal>,
    /// Hard limits of each SA.
    pub lifetime: Lifetime,
    /// Anti-replay window in packets, a multiple of 64.
    pub window_packets: u32,
    /// When it is negotiated.
    pub start: Start,
    /// Pairs of SAs side by side, each on a worker of its own; 1 unless the file says otherwise.
    pub parallel: NonZeroU16,
    /// No probe may tell of its traffic: it answers, and never asks (REQUIREMENTS F-10). Only of rules that discover.
    pub is_concealed: bool,
}

/// One `[[tunnel]]` as it was read.
pub(crate) struct ReadTunnel<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: Span,
    pub(crate) destination_span: Span,
    /// Through whichever gateway discovery finds.
    pub(crate) is_discovered: bool,
    /// Where more than one pair is asked for.
    pub(crate) parallel_span: Option<Span>,
    pub(crate) selectors: Vec<Selector>,
    /// The peer's place among those read.
    pub(crate) peer: usize,
    /// For every rule it stands for; the rule's number is still to be filled in.
    pub(crate) policy: TunnelPolicy,
}

impl<'a> ReadTunnel<'a> {
    /// `None` only after an error.
    pub(crate) fn read(
        mut section: Section<'a>,
        peers: &KnownPeers<'_>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let field = section.required(report, "name", "a name for `dpctl tunnel` to show");
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let traffic = Traffic::read(&mut section, report);
        if let Some(traffic) = &traffic {
            check_negotiable(traffic, report);
        }
        let gateway = GatewayKeys::read(&mut section, report);
        if let Some(traffic) = traffic.as_ref().filter(|_| gateway.is_discovered()) {
            discovery::check_traffic(traffic, report);
        }
        let peer = peer(&mut section, peers, &gateway, report);
        let esp = esp(&mut section, report);
        let lifetime = lifetime(&mut section, report);
        let window = window(&mut section, report);
        let start = section.or("start", Start::OnTraffic, |field| {
            let start = field.word(report, STARTS)?;
            if start == Start::Immediately && gateway.is_discovered() {
                let message =
                    "nothing is negotiated immediately where a gateway is discovered: traffic says for whom";
                report.error(&field.span, message, "`traffic`");
            }
            Some(start)
        });
        let parallel_span = section.optional("parallel").map(|field| field.span);
        let parallel = section.or("parallel", NonZeroU16::MIN, |field| {
            let parallel = parallel(&field, report)?;
            if parallel > NonZeroU16::MIN && gateway.is_discovered() {
                let message = "what discovery finds has one pair of SAs: it comes and goes with its traffic";
                report.error(&field.span, message, "a `peer` with one `address`, or no `parallel`");
            }
            Some(parallel)
        });
        section.finish(report);
        let traffic = traffic?;
        let peer = peer?;
        let policy = TunnelPolicy {
            rule: RuleId(0),
            peer: PeerId(peer as u32),
            esp: esp?,
            lifetime: lifetime?,
            window_packets: window?,
            start: start?,
            parallel: parallel?,
            is_concealed: gateway.is_concealed?,
        };
        Some(Self {
            name: name?,
            name_span,
            destination_span: traffic.destination_span,
            is_discovered: gateway.is_discovered(),
            parallel_span: parallel_span.filter(|_| policy.parallel > NonZeroU16::MIN),
            selectors: traffic.selectors,
            peer,
            policy,
        })
    }
}

impl ReadTunnel<'_> {
    /// The rules it stands for, towards that gateway.
    pub(crate) fn rules(&self, gateway: Gateway) -> impl Iterator<Item = TunnelRule> {
        let several = self.selectors.len() > 1;
        self.selectors.iter().enumerate().map(move |(at, selector)| TunnelRule {
            id: RuleId(0),
            name: part_name(self.name, at, several),
            selector: *selector,
            peer: self.policy.peer,
            gateway,
        })
    }
}

/// An IKEv1 identification holds one protocol and one port, where zero means any (RFC 2407 §4.6.2).
pub(crate) fn check_negotiable(traffic: &Traffic, report: &mut Report<'_>) {
    let one_port = |range: PortRange| range == PortRange::ANY || range.first() == range.last();
    let whole = |selector: &Selector| one_port(selector.source_port) && one_port(selector.destination_port);
    if !traffic.selectors.iter().all(whole) {
        let message = "IKEv1 cannot negotiate a range of ports";
        report.error(&traffic.source_span, message, "one port, a list of single ports, or all of them");
    }
    if traffic.selectors.iter().any(|selector| selector.protocol == Protocol::Is(0)) {
        let message = "IKEv1 cannot negotiate protocol 0: there it means any protocol";
        report.error(&traffic.source_span, message, "`any`, or a protocol from 1 to 255");
    }
}

/// `gateway` and `conceal`.
struct GatewayKeys<'a> {
    /// `gateway = "discover"`.
    discover: Option<Field<'a>>,
    /// `None` only after an error.
    is_concealed: Option<bool>,
}

impl<'a> GatewayKeys<'a> {
    fn read(section: &mut Section<'a>, report: &mut Report<'_>) -> Self {
        let accepted = "`discover`; without `gateway`, the tunnel leads to the `address` of its `peer`";
        let discover = section.optional("gateway").filter(|field| {
            let text = field.text(report, accepted);
            if let Some(text) = text.filter(|text| *text != DISCOVER) {
                let message = with_suggestion(
                    format!("`{text}` is not known for `gateway`"),
                    nearest(text, [DISCOVER]),
                );
                report.error(&field.span, message, accepted);
            }
            text == Some(DISCOVER)
        });
        let is_concealed = section.or("conceal", false, |field| {
            let is_concealed = field.boolean(report);
            if discover.is_none() {
                let message = "`conceal` has no effect here: only for `gateway = \"discover\"` is anything asked in clear";
                report.error(&field.span, message, "both of them or neither");
            }
            is_concealed
        });
        Self { discover, is_concealed }
    }

    const fn is_discovered(&self) -> bool {
        self.discover.is_some()
    }
}

/// `peer`: the value, the name in it, and that peer's place, where there is one.
pub(crate) fn named<'a>(
    section: &mut Section<'a>,
    peers: &KnownPeers<'_>,
    report: &mut Report<'_>,
) -> Option<(Field<'a>, &'a str, Option<usize>)> {
    let names = || peers.read.iter().map(|peer| peer.name);
    let accepted = match peers.read.len() {
        0 => "the name of a `[[peer]]`; there is none in this file".to_owned(),
        1..=8 => listed(names()),
        count => format!("the name of one of {count} `[[peer]]`s"),
    };
    let field = section.required(report, "peer", &accepted)?;
    let name = field.text(report, &accepted)?;
    let found = peers.index(name);
    if found.is_none() {
        let message = with_suggestion(format!("`{name}` is no peer"), nearest(name, names()));
        report.error(&field.span, message, accepted);
    }
    Some((field, name, found))
}

fn peer(
    section: &mut Section<'_>,
    peers: &KnownPeers<'_>,
    gateway: &GatewayKeys<'_>,
    report: &mut Report<'_>,
) -> Option<usize> {
    let (field, name, found) = named(section, peers, report)?;
    let peer = found.and_then(|at| peers.read[at].peer.as_ref());
    match (&gateway.discover, peer.is_some_and(Peer::is_discovered)) {
        (Some(discover), false) if peer.is_some() => {
            let message = format!("`{name}` is not discovered: it has an `address` of its own");
            let accepted = "a `peer` with `address = \"discover\"`, or no `gateway`";
            report.error(&discover.span, message, accepted);
            return None;
        }
        (None, true) => {
            let message = format!("`{name}` is wherever discovery finds it, and this tunnel does not say so");
            let accepted = "`gateway = \"discover\"` in this `[[tunnel]]`, or a peer with one `address`";
            report.error(&field.span, message, accepted);
            return None;
        }
        _ => {}
    }
    if !gateway.is_discovered() && peer.is_some_and(Peer::is_template) {
        let message = format!("`{name}` stands for peers of any address or identity: no tunnel leads to it");
        report.error(
            &field.span,
            message,
            "a peer with one `address` and one `identity`, or a `[[policy]]` for the template to serve",
        );
    }
    found
}

/// How many pairs of SAs side by side.
pub(crate) fn parallel(field: &Field<'_>, report: &mut Report<'_>) -> Option<NonZeroU16> {
    let parallel = field.integer(report, 1..=u64::from(PARALLEL_MAX))?;
    NonZeroU16::new(u16::try_from(parallel).ok()?)
}

/// Anti-replay window in packets.
pub(crate) fn window(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<u32> {
    section.or("window", WINDOW_PACKETS_DEFAULT, |field| {
        let step = u64::from(WINDOW_PACKETS_STEP);
        let window = field.integer(report, step..=u64::from(WINDOW_PACKETS_MAX))?;
        if window % step != 0 {
            let message = format!("{window} is no multiple of {step}");
            report.error(&field.span, message, format!("a multiple of {step} up to {WINDOW_PACKETS_MAX}"));
        }
        Some(window as u32)
    })
}

/// What is offered and accepted in phase 2.
pub(crate) fn esp(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Vec<EspProposal>> {
    let span = section.optional("esp").map_or_else(|| section.span.clone(), |field| field.span);
    let proposals = proposals::read::<EspProposal>(section, report, "esp")?;
    // Quick mode carries one key exchange payload for all proposals (RFC 2409 §5.5).
    if proposals.iter().any(|proposal| proposal.pfs != proposals[0].pfs) {
        let message = "IKEv1 cannot offer different groups for one tunnel";
        report.error(&span, message, "the same group in every proposal, or in none");
        return None;
    }
    Some(proposals)
}

/// Hard limits of each SA.
pub(crate) fn lifetime(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Lifetime> {
    let seconds = section.or("lifetime", ESP_LIFETIME_S_DEFAULT, |field| {
        seconds(&field, report, LIFETIME_S_MIN..=ESP_LIFETIME_S_MAX)
    });
    let kilobytes = section.or("lifetime_volume", None, |field| {
        let kilobytes = field.parsed(report, VOLUME_ACCEPTED, volume)? / 1024;
        // The attribute has 32 bits in every implementation we know of.
        let fits = (LIFETIME_KILOBYTES_MIN..=u64::from(u32::MAX)).contains(&kilobytes);
        if !fits {
            let message = format!("{kilobytes} KiB are out of range for `{}`", field.key);
            report.error(&field.span, message, "`1MiB` to `4095GiB`");
        }
        fits.then_some(Some(kilobytes))
    });
    Some(Lifetime { seconds: seconds?, kilobytes: kilobytes? })
}
