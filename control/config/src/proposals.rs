//! Lists of proposals: strongest first unless the operator insists (REQUIREMENTS DC-18).

use crate::field::Field;
use crate::report::Report;
use crate::section::Section;
use std::cmp::Reverse;
use std::fmt::Display;
use std::str::FromStr;
use warren_policy::limits::PROPOSALS_MAX;
use warren_policy::{EspProposal, EspTransform, Hash, IkeProposal, KeyBits};

const ORDERS: &[(&str, bool)] = &[("strongest-first", false), ("as-written", true)];

/// What both kinds of proposals have.
pub(crate) trait Proposal: Copy + PartialEq + Display + FromStr<Err: Display> {
    /// What a proposal looks like.
    const ACCEPTED: &'static str;
    /// Offered when the file names none, strongest first.
    const DEFAULT: &'static [&'static str];

    fn strength(&self) -> (u16, bool, KeyBits, Option<Hash>);
    fn names_sha1(&self) -> bool;
}

impl Proposal for IkeProposal {
    const ACCEPTED: &'static str =
        "AES, hash and group, such as `aes256-sha384-ecp384` or `aes128-sha256-modp3072`";
    // RFC 8247 without what is below 128 bits: elliptic curves first, MODP for peers without them.
    const DEFAULT: &'static [&'static str] = &[
        "aes256-sha384-ecp384",
        "aes256-sha256-ecp256",
        "aes256-sha256-modp3072",
        "aes128-sha256-ecp256",
        "aes128-sha256-modp3072",
    ];

    fn strength(&self) -> (u16, bool, KeyBits, Option<Hash>) {
        Self::strength(self)
    }

    fn names_sha1(&self) -> bool {
        self.hash == Hash::Sha1
    }
}

impl Proposal for EspProposal {
    const ACCEPTED: &'static str = "a transform, perhaps with a group and `esn`, such as `aes256gcm16`, `aes128gcm16-ecp256-esn` or `aes128-sha256`";
    // Each length with and without ESN: fast links need 64-bit numbers (F-18), old peers do not know them.
    const DEFAULT: &'static [&'static str] =
        &["aes256gcm16-esn", "aes256gcm16", "aes128gcm16-esn", "aes128gcm16"];

    fn strength(&self) -> (u16, bool, KeyBits, Option<Hash>) {
        Self::strength(self)
    }

    fn names_sha1(&self) -> bool {
        matches!(self.transform, EspTransform::AesCbcHmac(_, Hash::Sha1))
    }
}

/// Reads the list under `key` together with `proposal_order`. `None` only after an error.
pub(crate) fn read<P: Proposal>(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
    key: &'static str,
) -> Option<Vec<P>> {
    let as_written = section.or("proposal_order", false, |field| field.word(report, ORDERS));
    let Some(field) = section.optional(key) else { return as_written.map(|_| defaults()) };
    let written = listed::<P>(&field, report)?;
    let mut sorted = written.clone();
    sorted.sort_by_key(|proposal| Reverse(proposal.strength()));
    if as_written? {
        if sorted != written {
            let message = "weaker proposals are offered before stronger ones, as `proposal_order` asks for";
            report.warning(&field.span, message);
        }
        return Some(written);
    }
    if sorted != written {
        let order = sorted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let message = format!(
            "offered strongest first, not as written: {order}; `proposal_order = \"as-written\"` keeps the order"
        );
        report.warning(&field.span, message);
    }
    Some(sorted)
}

/// What is offered when the file names nothing.
pub(crate) fn defaults<P: Proposal>() -> Vec<P> {
    let parse = |text: &&str| text.parse().unwrap_or_else(|_| unreachable!("defaults are tested to parse"));
    P::DEFAULT.iter().map(parse).collect()
}

/// Every item, or `None` after at least one error.
fn listed<P: Proposal>(field: &Field<'_>, report: &mut Report<'_>) -> Option<Vec<P>> {
    let items = field.items(report, P::ACCEPTED)?;
    if items.len() > PROPOSALS_MAX {
        let message = format!("{} proposals are more than one message may carry", items.len());
        report.error(&field.span, message, format!("at most {PROPOSALS_MAX}"));
        return None;
    }
    let mut proposals = Vec::with_capacity(items.len());
    let mut complete = true;
    for item in items {
        let Some(proposal) = item.parsed(report, P::ACCEPTED, str::parse::<P>) else {
            complete = false;
            continue;
        };
        if proposals.contains(&proposal) {
            report.error(&item.span, format!("`{proposal}` is listed twice"), "each proposal once");
            complete = false;
        }
        if proposal.names_sha1() {
            report.warning(&item.span, format!("`{proposal}` uses SHA-1, which is kept for old peers only"));
        }
        proposals.push(proposal);
    }
    complete.then_some(proposals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strongest_first<P: Proposal>() {
        let defaults: Vec<P> =
            P::DEFAULT.iter().map(|text| text.parse().unwrap_or_else(|_| panic!("{text}"))).collect();
        assert!(defaults.is_sorted_by_key(|proposal| Reverse(proposal.strength())));
        assert!(defaults.iter().all(|proposal| !proposal.names_sha1()));
    }

    #[test] // DC-18
    fn the_defaults_parse_and_are_strongest_first_and_without_sha1() {
        strongest_first::<IkeProposal>();
        strongest_first::<EspProposal>();
    }
}
