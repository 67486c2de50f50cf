//! Where a peer is and who it is: both addresses, and both identities, which default to them.

use crate::field::Field;
use crate::report::{Report, Span};
use crate::section::Section;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::Identity;

const LOCAL_ACCEPTED: &str =
    "an IPv4 or IPv6 address of one host; `0.0.0.0` or `::` for any of ours of that family";
const ADDRESS_ACCEPTED: &str = "an IPv4 or IPv6 address of one host";
const REMOTE_ACCEPTED: &str = "an IPv4 or IPv6 address of one host, `any` or `discover`";
const LOCAL_IDENTITY_ACCEPTED: &str =
    "an address, a host name, `user@host`, `keyid:HEX` or a name as a certificate has it, `CN=gw, O=Example`";
const IDENTITY_ACCEPTED: &str = "an address, a host name, `user@host`, `keyid:HEX`, a name as a certificate has it, `CN=gw, O=Example`, or `any`";

/// Instead of a gateway's address: wherever discovery finds it.
pub(crate) const DISCOVER: &str = "discover";

/// What a `[[peer]]` says of addresses and identities. Each part is `None` only after an error.
pub(crate) struct Addresses {
    /// Ours, unspecified when left open; and the peer's, `None` for any.
    pub(crate) pair: Option<(IpAddr, Option<IpAddr>)>,
    /// The peer is wherever discovery finds it; its address is then that of any.
    pub(crate) is_discovered: bool,
    /// `None` for our address towards the peer, whichever that is.
    pub(crate) local_identity: Option<Option<Identity>>,
    /// `None` for any.
    pub(crate) identity: Option<Option<Identity>>,
    /// Of the peer's address.
    pub(crate) span: Span,
    /// Of the peer's identity, or of its address when it names none.
    pub(crate) identity_span: Span,
}

impl Addresses {
    pub(crate) fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let local_given = section.or("local", None, |field| {
            field.parsed(report, LOCAL_ACCEPTED, |text| host(text, true)).map(Some)
        });
        let field = section.required(report, "address", REMOTE_ACCEPTED);
        let span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let is_discovered = field.as_ref().is_some_and(|field| field.value.as_str() == Some(DISCOVER));
        let address = field.and_then(|field| remote_address(&field, report));
        let local = local_given.zip(address).map(|(local, address)| local.unwrap_or_else(|| open(address)));
        let local_identity = section.or("local_identity", local.and_then(of_local).map(Some), |field| {
            field.parsed(report, LOCAL_IDENTITY_ACCEPTED, str::parse).map(|identity| Some(Some(identity)))
        });
        let mut identity_span = span.clone();
        let default = address.map(|address| address.map(of_address));
        let identity = section.or("identity", default, |field| {
            identity_span = field.span.clone();
            field.parsed(report, IDENTITY_ACCEPTED, |text| match text {
                "any" => Ok(Some(None)),
                text => text.parse().map(|identity| Some(Some(identity))),
            })
        });
        let pair = local.zip(address);
        if let Some((local, Some(address))) = pair {
            if local.is_ipv4() != address.is_ipv4() {
                let message = format!("`{address}` is not of the family of `local = \"{local}\"`");
                report.error(&span, message, "two IPv4 or two IPv6 addresses");
            } else if local == address {
                report.error(&span, format!("`{address}` is also `local`"), "the address of another gateway");
            }
        }
        // An open local address without an identity of our own is told by the route.
        let local_identity = match local_identity {
            Some(Some(identity)) => Some(identity),
            Some(None) => local.map(|_| None),
            None => None,
        };
        Self { pair, is_discovered, local_identity, identity: identity.flatten(), span, identity_span }
    }
}

/// Left open: the unspecified address of the peer's family, IPv4 where that is open too.
fn open(address: Option<IpAddr>) -> IpAddr {
    match address {
        Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn of_local(local: IpAddr) -> Option<Identity> {
    (!local.is_unspecified()).then(|| of_address(local))
}

/// The identity that is an address.
pub(crate) const fn of_address(address: IpAddr) -> Identity {
    match address {
        IpAddr::V4(v4) => Identity::Ipv4(v4),
        IpAddr::V6(v6) => Identity::Ipv6(v6),
    }
}

fn remote_address(field: &Field<'_>, report: &mut Report<'_>) -> Option<Option<IpAddr>> {
    field.parsed(report, REMOTE_ACCEPTED, |text| match text {
        "any" | DISCOVER => Ok(None),
        text => host(text, false).map(Some),
    })
}

/// The address of one host.
pub(crate) fn host_address(field: &Field<'_>, report: &mut Report<'_>) -> Option<IpAddr> {
    field.parsed(report, ADDRESS_ACCEPTED, |text| host(text, false))
}

fn host(text: &str, may_be_open: bool) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| format!("`{text}` is no address"))?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let open = address.is_unspecified() && !may_be_open;
    match open || address.is_multicast() || broadcast {
        true => Err(format!("`{text}` is not the address of one host")),
        false => Ok(address),
    }
}
