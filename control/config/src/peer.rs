//! `[[peer]]`: another gateway, how it is known and what is agreed with it.

use crate::amount::{DURATION_ACCEPTED, duration};
use crate::field::Field;
use crate::limits::{IKE_LIFETIME_S_MAX, LIFETIME_S_MIN, RETRANSMIT_TRIES_MAX};
use crate::name::name;
use crate::proposals;
use crate::report::{Report, Span};
use crate::secret::{SecretError, SecretSource, Weakness, weakness, without_line_end};
use crate::section::Section;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use warren_policy::{Identity, IkeProposal, PeerId, Secret};

/// Which exchange opens the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IkeMode {
    /// IKEv1 main mode (RFC 2409 §5).
    Main,
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

/// Another gateway.
#[derive(Clone)]
pub struct Peer {
    /// Its place in the file.
    pub id: PeerId,
    /// The operator's name for it.
    pub name: String,
    /// Our address towards it.
    pub local: IpAddr,
    /// Its address, of the same family.
    pub address: IpAddr,
    /// Who we say we are.
    pub local_identity: Identity,
    /// Who it must prove to be.
    pub identity: Identity,
    /// The pre-shared key.
    pub secret: Secret,
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
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("local", &self.local)
            .field("address", &self.address)
            .field("local_identity", &self.local_identity)
            .field("identity", &self.identity)
            .field("mode", &self.mode)
            .field("proposals", &self.proposals)
            .field("lifetime_s", &self.lifetime_s)
            .field("dpd", &self.dpd)
            .field("nat_traversal", &self.nat_traversal)
            .field("retransmit", &self.retransmit)
            .finish_non_exhaustive()
    }
}

const ADDRESS_ACCEPTED: &str = "an IPv4 or IPv6 address of one host";
const IDENTITY_ACCEPTED: &str = "an address, a host name, `user@host` or `keyid:HEX`";
const IKE_ACCEPTED: &str = "`v1-main`";
const SECRET_ACCEPTED: &str =
    "the name of a file that only its owner can read; `dpctl psk new --out FILE` makes one";
const STRONG_ACCEPTED: &str = "a generated key of at least 128 bits, as `dpctl psk new` makes, or `weak_secret = true` to use it all the same";

/// One `[[peer]]` as it was read. The name counts even when the rest is wrong, so that rules which name the peer
/// are not refused for it.
pub(crate) struct ReadPeer<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: Span,
    pub(crate) address_span: Span,
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
        secrets: &dyn SecretSource,
        report: &mut Report<'_>,
    ) -> Option<ReadPeer<'a>> {
        let field = section.required(report, "name", "a name for rules to refer to");
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let mode = ike_mode(&mut section, report);
        let addresses = Addresses::read(&mut section, report);
        let secret = secret(&mut section, secrets, report);
        let proposals = proposals::read::<IkeProposal>(&mut section, report, "proposals");
        let lifetime_s = section
            .or("lifetime", 8 * 3600, |field| seconds(&field, report, LIFETIME_S_MIN..=IKE_LIFETIME_S_MAX));
        let dpd = dpd(&mut section, report);
        let nats = [("auto", NatTraversal::Auto), ("force", NatTraversal::Force), ("off", NatTraversal::Off)];
        let nat_traversal =
            section.or("nat_traversal", NatTraversal::Auto, |field| field.word(report, &nats));
        let retransmit = retransmit(&mut section, report);
        let address_span = addresses.span.clone();
        section.finish(report);
        let name = name?;
        let whole = || {
            let (local, address) = addresses.pair?;
            Some(Self {
                id,
                name: name.to_owned(),
                local,
                address,
                local_identity: addresses.local_identity?,
                identity: addresses.identity?,
                secret: secret?,
                mode: mode?,
                proposals: proposals?,
                lifetime_s: lifetime_s?,
                dpd: dpd?,
                nat_traversal: nat_traversal?,
                retransmit: retransmit?,
            })
        };
        Some(ReadPeer { name, name_span, address_span, peer: whole() })
    }
}

/// IKEv1 is deprecated: nobody gets it without asking for it.
fn ike_mode(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<IkeMode> {
    let field = section.required(report, "ike", IKE_ACCEPTED)?;
    let mode = field.word(report, &[("v1-main", IkeMode::Main)])?;
    report.warning(
        &field.span,
        "IKEv1 is deprecated (RFC 9395): use it only for peers that have nothing newer",
    );
    Some(mode)
}

/// Both addresses and both identities, which default to them.
struct Addresses {
    pair: Option<(IpAddr, IpAddr)>,
    local_identity: Option<Identity>,
    identity: Option<Identity>,
    span: Span,
}

impl Addresses {
    fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let local_field = section.required(report, "local", ADDRESS_ACCEPTED);
        let local = local_field.and_then(|field| host_address(&field, report));
        let field = section.required(report, "address", ADDRESS_ACCEPTED);
        let span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let address = field.and_then(|field| host_address(&field, report));
        let mut identity = |key, default: Option<IpAddr>| {
            section.or(key, default.map(of_address), |field| {
                field.parsed(report, IDENTITY_ACCEPTED, str::parse).map(Some)
            })?
        };
        let local_identity = identity("local_identity", local);
        let identity = identity("identity", address);
        let pair = local.zip(address);
        if let Some((local, address)) = pair {
            if local.is_ipv4() != address.is_ipv4() {
                let message = format!("`{address}` is not of the family of `local = \"{local}\"`");
                report.error(&span, message, "two IPv4 or two IPv6 addresses");
            } else if local == address {
                report.error(&span, format!("`{address}` is also `local`"), "the address of another gateway");
            }
        }
        Self { pair, local_identity, identity, span }
    }
}

const fn of_address(address: IpAddr) -> Identity {
    match address {
        IpAddr::V4(v4) => Identity::Ipv4(v4),
        IpAddr::V6(v6) => Identity::Ipv6(v6),
    }
}

fn host_address(field: &Field<'_>, report: &mut Report<'_>) -> Option<IpAddr> {
    field.parsed(report, ADDRESS_ACCEPTED, |text| {
        let address: IpAddr = text.parse().map_err(|_| format!("`{text}` is no address"))?;
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        match address.is_unspecified() || address.is_multicast() || broadcast {
            true => Err(format!("`{text}` is not the address of one host")),
            false => Ok(address),
        }
    })
}

/// The pre-shared key. What goes wrong is told without the name when that could be the key itself.
fn secret(section: &mut Section<'_>, secrets: &dyn SecretSource, report: &mut Report<'_>) -> Option<Secret> {
    let weak_allowed = section.or("weak_secret", false, |field| field.boolean(report));
    let field = section.required(report, "secret", SECRET_ACCEPTED)?;
    let name = field.text(report, SECRET_ACCEPTED)?;
    let secret = match secrets.secret(Path::new(name)) {
        Ok(secret) => without_line_end(&secret),
        Err(SecretError::Missing) => {
            let message = "`secret` names no file; what it says is not repeated, for it may be a key";
            report.error(&field.span, message, SECRET_ACCEPTED);
            return None;
        }
        Err(SecretError::Refused(why)) => {
            report.error(&field.span, why, SECRET_ACCEPTED);
            return None;
        }
    };
    match (weakness(&secret), weak_allowed?) {
        (None, _) => Some(secret),
        (Some(Weakness::Empty), _) => {
            report.error(&field.span, "the key file is empty", STRONG_ACCEPTED);
            None
        }
        (Some(Weakness::TooLong), _) => {
            report.error(&field.span, "the key is too long", SECRET_ACCEPTED);
            None
        }
        (Some(Weakness::Guessable), false) => {
            let message = "the key cannot hold 128 bits of chance: one listener could guess it at leisure";
            report.error(&field.span, message, STRONG_ACCEPTED);
            None
        }
        (Some(Weakness::Guessable), true) => {
            report.warning(&field.span, "the key is weak and used all the same, as `weak_secret` asks for");
            Some(secret)
        }
    }
}

fn dpd(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Option<Dpd>> {
    let delay = section.or("dpd_delay", Some(Duration::from_secs(30)), |field| match field.value.as_str() {
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
    let Some(field) = field else { return Some(Some(Dpd { delay, timeout: delay * 4 })) };
    let timeout = Duration::from_secs(seconds(&field, report, 1..=604_800)?.into());
    if timeout <= delay {
        let message = format!("`dpd_timeout` is not longer than `dpd_delay`, {} s", delay.as_secs());
        report.error(&field.span, message, "time for at least one question and its answer");
        return None;
    }
    Some(Some(Dpd { delay, timeout }))
}

fn retransmit(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Retransmit> {
    let first = section.or("retransmit_first", Duration::from_secs(1), |field| {
        let first = field.parsed(report, DURATION_ACCEPTED, duration)?;
        let fits = (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&first);
        if !fits {
            let message = format!("{} ms is out of range for `{}`", first.as_millis(), field.key);
            report.error(&field.span, message, "`50ms` to `60s`");
        }
        fits.then_some(first)
    });
    let tries = section.or("retransmit_tries", 5, |field| {
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
