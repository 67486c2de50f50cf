//! `[[peer]]`: another gateway, how it is known and what is agreed with it.

use crate::addresses::{Addresses, host_address, of_address};
use crate::amount::{DURATION_ACCEPTED, duration};
use crate::authentication::{Authentication, ReadProof, Xauth, pre_shared_key};
use crate::authorised;
use crate::field::Field;
use crate::limits::{IKE_LIFETIME_S_MAX, LIFETIME_S_MIN, RETRANSMIT_TRIES_MAX};
use crate::name::name;
use crate::policy::KnownPolicies;
use crate::proposals;
use crate::report::{Report, Span};
use crate::role::{Receives, Role, Serves};
use crate::secret::SecretSource;
use crate::section::Section;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;
use warren_policy::{Identity, IkeProposal, Pad, PeerId};

/// Which exchange opens the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IkeMode {
    /// IKEv1 main mode (RFC 2409 §5).
    Main,
    /// IKEv1 aggressive mode (RFC 2409 §5): identities in clear, and a hash of the key for whoever asks.
    Aggressive,
    /// IKEv1 base mode (draft-ietf-ipsec-ike-base-mode): identities in clear.
    Base,
}

/// Dead peer detection (RFC 3706).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpd {
    /// Silence after which the peer is asked.
    pub delay: Duration,
    /// Silence after which it is taken for dead; longer than `delay`.
    pub timeout: Duration,
}

/// Whether ESP travels inside UDP (RFC 3947, RFC 3948).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatTraversal {
    /// When a NAT is found on the path.
    Auto,
    /// Always.
    Force,
    /// Never.
    Off,
}

/// How often a message without an answer is sent again; the interval doubles each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmit {
    /// Time to the first repetition.
    pub first: Duration,
    /// Repetitions before the negotiation is given up.
    pub tries: u32,
}

/// Another gateway, or a template for all that prove to be one of many.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its place in the file.
    pub id: PeerId,
    /// The operator's name for it.
    pub name: String,
    /// Our address towards it; the unspecified one of the family when the file leaves it open.
    pub local: IpAddr,
    /// Its address, of the same family; `None` for any.
    pub address: Option<IpAddr>,
    /// Who we say we are; `None` is our address towards it.
    pub local_identity: Option<Identity>,
    /// Who it must prove to be; `None` for anybody whom the authentication believes.
    pub identity: Option<Identity>,
    /// How both sides prove who they are.
    pub authentication: Authentication,
    /// Who else must prove something.
    pub xauth: Xauth,
    /// How negotiation begins.
    pub mode: IkeMode,
    /// For phase 1, in the order in which they are offered; never empty.
    pub proposals: Vec<IkeProposal>,
    /// Lifetime of the ISAKMP SA in seconds.
    pub lifetime_s: u32,
    /// `None` when switched off.
    pub dpd: Option<Dpd>,
    /// Whether ESP travels inside UDP.
    pub nat_traversal: NatTraversal,
    /// Patience with lost messages.
    pub retransmit: Retransmit,
    /// Whether long messages go in IKE fragments when the peer understands them.
    pub fragmentation: bool,
    /// We receive policy from it.
    pub receives: Option<Receives>,
    /// We give policy to it.
    pub serves: Option<Serves>,
    /// What a gateway may protect that discovery found and that proved to be one of these (REQUIREMENTS F-7); `None`
    /// for peers that are not discovered.
    pub authorised: Option<Pad>,
}

impl Peer {
    /// Whether it stands for many: no tunnel can lead to it, unless it leads to whomever discovery finds.
    #[must_use]
    pub const fn is_template(&self) -> bool {
        self.address.is_none() || self.identity.is_none()
    }

    /// Whether it stands for gateways that discovery finds.
    #[must_use]
    pub const fn is_discovered(&self) -> bool {
        self.authorised.is_some()
    }

    /// Whether the kernel's route tells our address towards it.
    #[must_use]
    pub const fn is_local_open(&self) -> bool {
        self.local.is_unspecified()
    }
}

const IKE_ACCEPTED: &str = "`v1-main`, `v1-aggressive` or `v1-base`";
const IKE_LIFETIME_S_DEFAULT: u32 = 8 * 3600;
const DPD_DELAY_DEFAULT: Duration = Duration::from_secs(30);
/// Questions that may go without an answer before the peer is dead, unless the file says otherwise.
const DPD_DELAYS: u32 = 4;
const RETRANSMIT_DEFAULT: Retransmit = Retransmit { first: Duration::from_secs(1), tries: 5 };
/// How the peer of the short form is called.
const SERVER: &str = "server";

/// One `[[peer]]` as it was read. The name counts even when the rest is wrong, so that rules which name the peer
/// are not refused for it.
pub(crate) struct ReadPeer<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: Span,
    pub(crate) address_span: Span,
    pub(crate) identity_span: Span,
    pub(crate) secret_span: Span,
    pub(crate) peer: Option<Peer>,
}

/// All peers of the file, also those with errors.
pub(crate) struct KnownPeers<'a> {
    pub(crate) read: Vec<ReadPeer<'a>>,
    by_name: HashMap<&'a str, usize>,
}

impl<'a> KnownPeers<'a> {
    pub(crate) fn new(read: Vec<ReadPeer<'a>>) -> Self {
        let by_name = read.iter().enumerate().rev().map(|(at, peer)| (peer.name, at)).collect();
        Self { read, by_name }
    }

    /// The place of the first peer of that name.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Peer {
    /// Reads one `[[peer]]`. `None` when not even its name could be read.
    pub(crate) fn read<'a>(
        mut section: Section<'a>,
        id: PeerId,
        policies: &KnownPolicies<'_>,
        secrets: &dyn SecretSource,
        report: &mut Report<'_>,
    ) -> Option<ReadPeer<'a>> {
        let field = section.required(report, "name", "a name for rules to refer to");
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let mode = ike_mode(&mut section, report);
        let addresses = Addresses::read(&mut section, report);
        let proof = ReadProof::read(&mut section, mode, &addresses, secrets, report);
        let proposals = proposals::read::<IkeProposal>(&mut section, report, "proposals");
        let lifetime_s = section.or("lifetime", IKE_LIFETIME_S_DEFAULT, |field| {
            seconds(&field, report, LIFETIME_S_MIN..=IKE_LIFETIME_S_MAX)
        });
        let dpd = dpd(&mut section, report);
        let nats = [("auto", NatTraversal::Auto), ("force", NatTraversal::Force), ("off", NatTraversal::Off)];
        let nat_traversal =
            section.or("nat_traversal", NatTraversal::Auto, |field| field.word(report, &nats));
        let retransmit = retransmit(&mut section, report);
        let fragmentation = section.or("fragmentation", true, |field| field.boolean(report));
        let role = Role::read(&mut section, policies, report);
        if let (Some(role), true) = (&role, matches!(proof.xauth, Some(Xauth::Server))) {
            role.check_users(&section.span, report);
        }
        let authorised = authorised::read(&mut section, &addresses, report);
        section.finish(report);
        let name = name?;
        let (address_span, identity_span) = (addresses.span, addresses.identity_span);
        let whole = || {
            let (local, address) = addresses.pair?;
            let role = role?;
            Some(Self {
                id,
                name: name.to_owned(),
                local,
                address,
                local_identity: addresses.local_identity?,
                identity: addresses.identity?,
                authentication: proof.authentication?,
                xauth: proof.xauth?,
                mode: mode?,
                proposals: proposals?,
                lifetime_s: lifetime_s?,
                dpd: dpd?,
                nat_traversal: nat_traversal?,
                retransmit: retransmit?,
                fragmentation: fragmentation?,
                receives: role.receives,
                serves: role.serves,
                authorised: authorised?,
            })
        };
        let secret_span = proof.span.clone();
        Some(ReadPeer { name, name_span, address_span, identity_span, secret_span, peer: whole() })
    }

    /// The whole file of a client: `peer = "ADDRESS"` and `secret = "FILE"` (REQUIREMENTS DC-15, DC-16). Policy
    /// comes from the peer, everything else has defaults.
    pub(crate) fn read_short<'a>(
        top: &mut Section<'a>,
        field: &Field<'a>,
        secrets: &dyn SecretSource,
        report: &mut Report<'_>,
    ) -> ReadPeer<'a> {
        let address = host_address(field, report);
        warn_of_version_one(&field.span, report);
        let secret = top.required(report, "secret", "the name of the file with the key that both sides have");
        let secret_span = secret.as_ref().map_or_else(|| field.span.clone(), |field| field.span.clone());
        let secret =
            secret.and_then(|field| pre_shared_key(&field, false, Some(IkeMode::Main), secrets, report));
        let whole = || {
            let address = address?;
            let local = match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            Some(Self {
                id: PeerId(0),
                name: SERVER.to_owned(),
                local,
                address: Some(address),
                local_identity: None,
                identity: Some(of_address(address)),
                authentication: Authentication::PreSharedKey(secret?),
                xauth: Xauth::Off,
                mode: IkeMode::Main,
                proposals: proposals::defaults(),
                lifetime_s: IKE_LIFETIME_S_DEFAULT,
                dpd: Some(Dpd { delay: DPD_DELAY_DEFAULT, timeout: DPD_DELAY_DEFAULT * DPD_DELAYS }),
                nat_traversal: NatTraversal::Auto,
                retransmit: RETRANSMIT_DEFAULT,
                fragmentation: true,
                receives: Some(Receives::default()),
                serves: None,
                authorised: None,
            })
        };
        let span = || field.span.clone();
        ReadPeer {
            name: SERVER,
            name_span: span(),
            address_span: span(),
            identity_span: span(),
            secret_span,
            peer: whole(),
        }
    }
}

/// IKEv1 is deprecated: nobody gets it without asking for it.
fn ike_mode(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<IkeMode> {
    let field = section.required(report, "ike", IKE_ACCEPTED)?;
    let modes =
        [("v1-main", IkeMode::Main), ("v1-aggressive", IkeMode::Aggressive), ("v1-base", IkeMode::Base)];
    let mode = field.word(report, &modes)?;
    warn_of_version_one(&field.span, report);
    // REQUIREMENTS F-1.
    match mode {
        IkeMode::Main => {}
        IkeMode::Aggressive => report.warning(
            &field.span,
            "aggressive mode shows identities in clear and hands a hash of a pre-shared key to any stranger who asks",
        ),
        IkeMode::Base => report.warning(
            &field.span,
            "base mode shows identities in clear and a hash of a pre-shared key to whoever listens or pretends to be the gateway",
        ),
    }
    Some(mode)
}

fn warn_of_version_one(span: &Span, report: &mut Report<'_>) {
    report.warning(span, "IKEv1 is deprecated (RFC 9395): use it only for peers that have nothing newer");
}

fn dpd(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Option<Dpd>> {
    let delay = section.or("dpd_delay", Some(DPD_DELAY_DEFAULT), |field| match field.value.as_str() {
        Some("off") => Some(None),
        _ => seconds(&field, report, 1..=86_400).map(|delay| Some(Duration::from_secs(delay.into()))),
    });
    let field = section.optional("dpd_timeout");
    let Some(delay) = delay? else {
        return match field {
            Some(field) => {
                report.error(
                    &field.span,
                    "`dpd_timeout` says nothing when `dpd_delay` is off",
                    "one of the two",
                );
                None
            }
            None => Some(None),
        };
    };
    let Some(field) = field else { return Some(Some(Dpd { delay, timeout: delay * DPD_DELAYS })) };
    let timeout = Duration::from_secs(seconds(&field, report, 1..=604_800)?.into());
    if timeout <= delay {
        let message = format!("`dpd_timeout` is not longer than `dpd_delay`, {} s", delay.as_secs());
        report.error(&field.span, message, "time for at least one question and its answer");
        return None;
    }
    Some(Some(Dpd { delay, timeout }))
}

fn retransmit(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Retransmit> {
    let first = section.or("retransmit_first", RETRANSMIT_DEFAULT.first, |field| {
        let first = field.parsed(report, DURATION_ACCEPTED, duration)?;
        let fits = (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&first);
        if !fits {
            let message = format!("{} ms is out of range for `{}`", first.as_millis(), field.key);
            report.error(&field.span, message, "`50ms` to `60s`");
        }
        fits.then_some(first)
    });
    let tries = section.or("retransmit_tries", RETRANSMIT_DEFAULT.tries, |field| {
        field.integer(report, 1..=u64::from(RETRANSMIT_TRIES_MAX)).map(|tries| tries as u32)
    });
    Some(Retransmit { first: first?, tries: tries? })
}

/// A duration of whole seconds in a range.
pub(crate) fn seconds(field: &Field<'_>, report: &mut Report<'_>, range: RangeInclusive<u32>) -> Option<u32> {
    let length = field.parsed(report, DURATION_ACCEPTED, duration)?;
    let seconds = u32::try_from(length.as_secs()).ok().filter(|seconds| range.contains(seconds));
    if seconds.is_none() || length.subsec_millis() != 0 {
        let message = format!("`{}` is out of range for `{}`", field.value.as_str().unwrap_or(""), field.key);
        report.error(
            &field.span,
            message,
            format!("whole seconds from {} s to {} s", range.start(), range.end()),
        );
        return None;
    }
    seconds
}
