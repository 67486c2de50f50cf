//! `authorised` of a `[[peer]]` that is discovered: who may protect what (RFC 4301 §4.4.3, REQUIREMENTS F-7).
//!
//! Discovery believes anybody, so there is no default: a file that does not say whom it trusts with which networks
//! trusts nobody.

use crate::addresses::Addresses;
use crate::limits::AUTHORISED_MAX;
use crate::report::{Report, Span};
use crate::role::ranges;
use crate::section::Section;
use crate::traffic::ADDRESSES_ACCEPTED;
use warren_policy::{AddressRange, Identity, Pad, PadEntry};

const ACCEPTED: &str = "a list of `{ identity = \"b.example.net\", networks = [\"10.2.0.0/16\"] }`; without `identity`, for everybody else";
const IDENTITY_ACCEPTED: &str =
    "the identity that a peer proves, as in `identity` of a `[[peer]]`; left out, any";

/// The entries, in order; nothing for a peer that is not discovered. `None` only after an error.
pub(crate) fn read(
    section: &mut Section<'_>,
    addresses: &Addresses,
    report: &mut Report<'_>,
) -> Option<Option<Pad>> {
    if !addresses.is_discovered {
        if let Some(field) = section.optional("authorised") {
            let message = "`authorised` says nothing without `address = \"discover\"`";
            report.error(&field.span, message, "both of them or neither");
        }
        return Some(None);
    }
    let span = section.required(report, "authorised", ACCEPTED)?.span;
    let tables = section.tables(report, "authorised", "[[peer.authorised]]");
    if tables.len() > AUTHORISED_MAX {
        let message = format!("{} entries are too many", tables.len());
        report.error(&span, message, format!("at most {AUTHORISED_MAX}"));
        return None;
    }
    let wanted = tables.len();
    let read: Vec<_> = tables.into_iter().filter_map(|table| entry(table, report)).collect();
    if wanted == 0 || read.len() < wanted {
        return None;
    }
    check(&read, addresses, &span, report);
    Some(Some(Pad::new(read.into_iter().map(|(entry, _)| entry).collect())))
}

fn entry(mut section: Section<'_>, report: &mut Report<'_>) -> Option<(PadEntry, Span)> {
    let span = section.span.clone();
    let identity = section.or("identity", None, |field| {
        field.parsed(report, IDENTITY_ACCEPTED, |text| match text {
            "any" => Ok(None),
            text => text.parse::<Identity>().map(Some),
        })
    });
    let networks =
        section.required(report, "networks", ADDRESSES_ACCEPTED).and_then(|field| ranges(&field, report));
    section.finish(report);
    Some((PadEntry { identity: identity?, networks: networks? }, span))
}

/// Entries that never decide, and those that decide too much.
fn check(read: &[(PadEntry, Span)], addresses: &Addresses, span: &Span, report: &mut Report<'_>) {
    for (at, (entry, span)) in read.iter().enumerate() {
        let decided = |before: &PadEntry| before.identity.is_none() || before.identity == entry.identity;
        if read[..at].iter().any(|(before, _)| decided(before)) {
            let whom = written(entry.identity.as_ref());
            let message = format!("this entry never decides: one before it does, for {whom}");
            report.warning(span, message);
        }
        let is_all = |range: &AddressRange| range.prefix_length() == Some(0);
        if entry.identity.is_none() && entry.networks.iter().any(is_all) {
            let message =
                "whoever authenticates may stand in front of every network, and read what is sent there";
            report.warning(span, message);
        }
    }
    let Some(Some(only)) = &addresses.identity else { return };
    let is_for = |entry: &PadEntry| entry.identity.as_ref().is_none_or(|identity| identity == only);
    if !read.iter().any(|(entry, _)| is_for(entry)) {
        let message =
            format!("no entry is for `{only}`, which the peer must prove to be: it may protect nothing");
        report.warning(span, message);
    }
}

fn written(identity: Option<&Identity>) -> String {
    identity.map_or_else(|| "everybody".to_owned(), |identity| format!("`{identity}`"))
}
