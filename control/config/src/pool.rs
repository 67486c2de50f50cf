//! `[[pool]]`: addresses to lease.

use crate::addresses::host_address;
use crate::field::{Field, listed, with_suggestion};
use crate::limits::{POOL_ADDRESSES_MAX, STATICS_MAX};
use crate::name::name;
use crate::nearest::nearest;
use crate::report::{Report, Span};
use crate::section::Section;
use crate::traffic::range;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::{AddressRange, Identity, Pool};

const ADDRESSES_ACCEPTED: &str = "a prefix such as `10.99.0.0/24` or a range `10.99.0.10-10.99.0.99`";
const IDENTITY_ACCEPTED: &str = "an identity as the peer proves it, or the name of a user";

/// One `[[pool]]` as it was read. The name counts even when the rest is wrong.
pub(crate) struct ReadPool<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: Span,
    addresses_span: Span,
    statics: Vec<Span>,
    pool: Option<Pool>,
}

impl<'a> ReadPool<'a> {
    /// `None` when not even its name could be read.
    pub(crate) fn read(mut section: Section<'a>, report: &mut Report<'_>) -> Option<Self> {
        let field = section.required(report, "name", "a name for policies to refer to");
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let field = section.required(report, "addresses", ADDRESSES_ACCEPTED);
        let addresses_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let addresses = field.and_then(|field| leasable(&field, report));
        let tables = section.tables(report, "static", "[[pool.static]]");
        section.finish(report);
        if tables.len() > STATICS_MAX {
            report.error(
                &name_span,
                "there are too many `[[pool.static]]`s",
                format!("at most {STATICS_MAX}"),
            );
            return None;
        }
        let mut statics = Vec::with_capacity(tables.len());
        let wanted = tables.len();
        for table in tables {
            statics.extend(read_static(table, addresses.as_ref(), report));
        }
        let mut holders = HashSet::new();
        for (identity, _, span) in &statics {
            if !holders.insert(identity) {
                let message = format!("`{identity}` has a static address in this pool already");
                report.error(span, message, "one address for each identity");
            }
        }
        drop(holders);
        let name = name?;
        let complete = statics.len() == wanted;
        let (spans, statics) = statics.into_iter().map(|(who, at, span)| (span, (who, at))).unzip();
        let pool = addresses.filter(|_| complete).map(|addresses| Pool {
            name: name.to_owned(),
            addresses,
            statics,
        });
        Some(Self { name, name_span, addresses_span, statics: spans, pool })
    }
}

fn read_static(
    mut section: Section<'_>,
    pool: Option<&AddressRange>,
    report: &mut Report<'_>,
) -> Option<(Identity, IpAddr, Span)> {
    let field = section.required(report, "identity", IDENTITY_ACCEPTED);
    let span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
    let identity = field.and_then(|field| field.parsed(report, IDENTITY_ACCEPTED, str::parse));
    let field = section.required(report, "address", "an address of the pool's family");
    let address = field.and_then(|field| {
        let address = host_address(&field, report)?;
        if pool.is_some_and(|pool| pool.is_ipv6() != address.is_ipv6()) {
            let message = format!("`{address}` is not of the pool's family");
            report.error(&field.span, message, "an address of the pool's family");
            return None;
        }
        Some(address)
    });
    section.finish(report);
    Some((identity?, address?, span))
}

/// What is leased of a range: as many as a daemon keeps in mind.
fn leasable(field: &Field<'_>, report: &mut Report<'_>) -> Option<AddressRange> {
    let range = field.parsed(report, ADDRESSES_ACCEPTED, range)?;
    let special =
        |address: IpAddr| address.is_multicast() || address.is_loopback() || address.is_unspecified();
    if special(range.first()) || special(range.last()) {
        report.error(&field.span, format!("`{range}` has addresses that no host has"), ADDRESSES_ACCEPTED);
        return None;
    }
    let last = match range.first() {
        IpAddr::V4(first) => {
            IpAddr::V4(Ipv4Addr::from(u32::from(first).saturating_add(POOL_ADDRESSES_MAX - 1)))
        }
        IpAddr::V6(first) => {
            IpAddr::V6(Ipv6Addr::from(u128::from(first).saturating_add(u128::from(POOL_ADDRESSES_MAX) - 1)))
        }
    };
    if last >= range.last() {
        return Some(range);
    }
    report.warning(
        &field.span,
        format!("the pool has more addresses than are leased: the first {POOL_ADDRESSES_MAX} are"),
    );
    AddressRange::new(range.first(), last)
}

/// All pools of the file, also those with errors.
pub(crate) struct KnownPools<'a> {
    pub(crate) read: Vec<ReadPool<'a>>,
}

impl KnownPools<'_> {
    /// An address belongs to one pool, and a static one to one holder.
    pub(crate) fn check(&self, report: &mut Report<'_>) {
        let whole = || self.read.iter().filter_map(|read| Some((read, read.pool.as_ref()?)));
        let mut ordered: Vec<_> = whole().collect();
        ordered.sort_by_key(|(_, pool)| (pool.addresses.first(), pool.addresses.last()));
        for pair in ordered.windows(2) {
            let [(first, one), (second, other)] = pair else { continue };
            if one.addresses.overlaps(&other.addresses) {
                let message =
                    format!("the addresses of `{}` are also those of `{}`", second.name, first.name);
                report.error(&second.addresses_span, message, "addresses that no other pool has");
            }
        }
        let mut taken = HashSet::new();
        for (read, pool) in whole() {
            for ((_, address), span) in pool.statics.iter().zip(&read.statics) {
                if !taken.insert(*address) {
                    let message = format!("{address} belongs to somebody already");
                    report.error(span, message, "an address that no other `[[pool.static]]` has");
                }
                let stranger = ordered
                    .iter()
                    .find(|(_, other)| other.name != pool.name && other.addresses.contains(*address));
                if let Some((other, _)) = stranger {
                    let message = format!("{address} is an address of the pool `{}`", other.name);
                    report.error(span, message, "an address that no other pool has");
                }
            }
        }
    }

    /// The place of the pool of that name, and its family where it could be read.
    pub(crate) fn named(&self, field: &Field<'_>, report: &mut Report<'_>) -> Option<(usize, Option<bool>)> {
        let names = || self.read.iter().map(|pool| pool.name);
        let accepted = match self.read.len() {
            0 => "the name of a `[[pool]]`; there is none in this file".to_owned(),
            1..=8 => listed(names()),
            count => format!("the name of one of {count} `[[pool]]`s"),
        };
        let name = field.text(report, &accepted)?;
        let Some(at) = names().position(|known| known == name) else {
            let message = with_suggestion(format!("`{name}` is no pool"), nearest(name, names()));
            report.error(&field.span, message, accepted);
            return None;
        };
        Some((at, self.read[at].pool.as_ref().map(|pool| pool.addresses.is_ipv6())))
    }

    /// All of them; `None` after an error in any.
    pub(crate) fn whole(self) -> Option<Vec<Pool>> {
        self.read.into_iter().map(|read| read.pool).collect()
    }
}
