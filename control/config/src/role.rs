//! Which part we take in a configuration exchange with a peer: policy is received from it, or served to it.

use crate::field::{Field, listed, with_suggestion};
use crate::limits::{ESP_LIFETIME_S_DEFAULT, RANGES_MAX, SETS_MAX, WINDOW_PACKETS_DEFAULT};
use crate::nearest::nearest;
use crate::policy::KnownPolicies;
use crate::proposals::{self, Proposal};
use crate::report::{Report, Span};
use crate::section::Section;
use crate::traffic::{ADDRESSES_ACCEPTED, addresses, list, range};
use std::cmp::Reverse;
use toml::de::DeValue;
use warren_policy::{AddressRange, Ceiling, EspProposal, Lifetime};

/// We receive policy (REQUIREMENTS DC-1…DC-12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receives {
    /// We wait for it instead of asking.
    pub is_pushed: bool,
    /// Networks behind a server that names none.
    pub remote_networks: Vec<AddressRange>,
    /// What it may at most ask for.
    pub ceiling: Ceiling,
    /// For SAs of a server that sends no sets, strongest first; never empty.
    pub proposals: Vec<EspProposal>,
    /// The same.
    pub lifetime: Lifetime,
    /// Anti-replay window of inbound SAs.
    pub window_packets: u32,
}

/// We give policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serves {
    /// Place of the policy.
    pub policy: usize,
    /// At once, instead of when asked.
    pub pushes: bool,
}

/// Where pulled SAs may lead unless the file says otherwise: private networks, and nothing of the Internet.
const REMOTE_DEFAULT: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
/// No transform is weaker unless the file says so.
const WEAKEST_DEFAULT: &str = "aes128-sha256";
/// SAs that a server may ask for unless the file says otherwise.
const SETS_DEFAULT: usize = 16;

impl Default for Receives {
    fn default() -> Self {
        Self::under(false, Vec::new(), default_ceiling())
    }
}

impl Receives {
    fn under(is_pushed: bool, remote_networks: Vec<AddressRange>, ceiling: Ceiling) -> Self {
        let proposals = offered(&ceiling.weakest);
        let lifetime = Lifetime { seconds: ESP_LIFETIME_S_DEFAULT, kilobytes: None };
        Self {
            is_pushed,
            remote_networks,
            ceiling,
            proposals,
            lifetime,
            window_packets: WINDOW_PACKETS_DEFAULT,
        }
    }
}

/// The ceiling of a client whose file names none (REQUIREMENTS DC-25).
fn default_ceiling() -> Ceiling {
    let range = |text: &&str| range(text).unwrap_or_else(|_| unreachable!("defaults are tested to parse"));
    Ceiling {
        remote: REMOTE_DEFAULT.iter().map(range).collect(),
        local: Vec::new(),
        weakest: weakest_default(),
        sas_max: SETS_DEFAULT,
        is_remote_named: false,
    }
}

fn weakest_default() -> EspProposal {
    WEAKEST_DEFAULT.parse().unwrap_or_else(|_| unreachable!("defaults are tested to parse"))
}

/// What is offered to a server that sends no sets: what the ceiling allows of our defaults and of what old servers
/// know, and the weakest itself. All with the weakest one's group, because quick mode carries one.
fn offered(weakest: &EspProposal) -> Vec<EspProposal> {
    let old = ["aes256-sha256", WEAKEST_DEFAULT].iter().filter_map(|text| text.parse().ok());
    let known = proposals::defaults::<EspProposal>().into_iter().chain(old);
    let mut offered: Vec<_> = known
        .map(|proposal| EspProposal { pfs: weakest.pfs, ..proposal })
        .filter(|proposal| proposal.strength() >= weakest.strength())
        .collect();
    if !offered.contains(weakest) {
        offered.push(*weakest);
    }
    offered.sort_by_key(|proposal| Reverse(proposal.strength()));
    offered
}

/// Both parts of one `[[peer]]`; at most one of them is there.
pub(crate) struct Role {
    pub(crate) receives: Option<Receives>,
    pub(crate) serves: Option<Serves>,
}

impl Role {
    /// `None` only after an error.
    pub(crate) fn read(
        section: &mut Section<'_>,
        policies: &KnownPolicies<'_>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let receives_field = section.optional("receives");
        let client_fields = ["remote_networks", "ceiling"].map(|key| section.optional(key));
        let serves_field = section.optional("serves");
        let push_field = section.optional("push");

        let how = [("pull", false), ("push", true)];
        let is_pushed = receives_field.as_ref().map(|field| field.word(report, &how));
        let policy = serves_field.as_ref().map(|field| policies.named(field, report));
        if let (Some(field), Some(_)) = (&serves_field, &receives_field) {
            let message = "a peer that we receive policy from is served none";
            report.error(&field.span, message, "`serves` or `receives`, not both");
            return None;
        }
        if receives_field.is_none() {
            for field in client_fields.iter().flatten() {
                useless(field, "receives", report);
            }
        }
        if let (Some(field), None) = (&push_field, &serves_field) {
            useless(field, "serves", report);
        }
        let pushes = push_field.map_or(Some(false), |field| field.boolean(report));
        let receives = match is_pushed {
            None => None,
            Some(is_pushed) => {
                let [networks, ceiling] = client_fields;
                let networks = networks.map_or(Some(Vec::new()), |field| ranges(&field, report));
                let ceiling = ceiling.map_or(Some(default_ceiling()), |field| read_ceiling(&field, report));
                Some(Receives::under(is_pushed?, networks?, ceiling?))
            }
        };
        let serves = match policy {
            None => None,
            Some(policy) => Some(Serves { policy: policy?, pushes: pushes? }),
        };
        Some(Self { receives, serves })
    }
}

fn useless(field: &Field<'_>, without: &str, report: &mut Report<'_>) {
    let message = format!("`{}` says nothing without `{without}`", field.key);
    report.error(&field.span, message, "both of them or neither");
}

impl KnownPolicies<'_> {
    /// The place of the policy of that name.
    fn named(&self, field: &Field<'_>, report: &mut Report<'_>) -> Option<usize> {
        let accepted = match self.names.len() {
            0 => "the name of a `[[policy]]`; there is none in this file".to_owned(),
            1..=8 => listed(self.names.iter().copied()),
            count => format!("the name of one of {count} `[[policy]]`s"),
        };
        let name = field.text(report, &accepted)?;
        let found = self.names.iter().position(|known| *known == name);
        if found.is_none() {
            let message =
                with_suggestion(format!("`{name}` is no policy"), nearest(name, self.names.iter().copied()));
            report.error(&field.span, message, accepted);
        }
        found
    }
}

fn read_ceiling(field: &Field<'_>, report: &mut Report<'_>) -> Option<Ceiling> {
    let DeValue::Table(entries) = field.value else {
        report.error(&field.span, "`ceiling` is not a table here", "one `[peer.ceiling]`");
        return None;
    };
    let default = default_ceiling();
    let mut section = Section::new("[peer.ceiling]", field.span.clone(), entries);
    let remote_field = section.optional("remote");
    let is_remote_named = remote_field.is_some();
    let remote = remote_field.map_or(Some(default.remote), |field| ranges(&field, report));
    let local = section.or("local", default.local, |field| ranges(&field, report));
    let weakest = section.or("weakest", default.weakest, |field| {
        field.parsed(report, EspProposal::ACCEPTED, str::parse::<EspProposal>)
    });
    let sas_max = section.or("sets", default.sas_max, |field| {
        field.integer(report, 1..=SETS_MAX as u64).map(|sets| sets as usize)
    });
    section.finish(report);
    Some(Ceiling { remote: remote?, local: local?, weakest: weakest?, sas_max: sas_max?, is_remote_named })
}

/// A list of networks; `any` is both families.
pub(crate) fn ranges(field: &Field<'_>, report: &mut Report<'_>) -> Option<Vec<AddressRange>> {
    let read = list(field, report, ADDRESSES_ACCEPTED, addresses)?;
    if read.len() > RANGES_MAX {
        report.error(
            &field.span,
            format!("{} entries are too many", read.len()),
            format!("at most {RANGES_MAX}"),
        );
        return None;
    }
    let both = |range: Option<AddressRange>| match range {
        Some(range) => vec![range],
        None => vec![AddressRange::any(false), AddressRange::any(true)],
    };
    Some(read.into_iter().flat_map(|(range, _)| both(range)).collect())
}

impl Role {
    /// Extended authentication asks whoever initiates; a client that asks its server for a password is a mistake.
    pub(crate) fn check_users(&self, span: &Span, report: &mut Report<'_>) {
        if self.receives.is_some() {
            let message = "`xauth = \"server\"` asks a peer for a password from which we receive policy";
            report.error(span, message, "`xauth = \"client\"` with `receives`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // DC-25
    fn what_is_offered_without_sets_is_never_below_the_ceiling_and_has_one_group() {
        for weakest in
            ["aes128-sha256", "aes256gcm16", "aes128-sha1", "aes128gcm16-ecp256", "aes256-sha512-esn"]
        {
            let weakest: EspProposal = weakest.parse().unwrap();
            let offered = offered(&weakest);
            assert!(offered.contains(&weakest));
            assert!(offered.is_sorted_by_key(|proposal| Reverse(proposal.strength())));
            assert!(offered.iter().all(|own| own.strength() >= weakest.strength() && own.pfs == weakest.pfs));
        }
        assert!(Receives::default().proposals.iter().any(|own| own.to_string() == "aes256gcm16"));
        assert_eq!(default_ceiling().remote.len(), REMOTE_DEFAULT.len());
    }
}
