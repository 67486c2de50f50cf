//! `dpctl policy`: what is served, and what servers gave us.

use crate::limits::WIDTH_WIDE;
use crate::numbers::duration;
use crate::table::{Left, Right, printable, table};
use warren_api::{Answer, PolicySetRow, PulledPolicy, ServedPolicyRow, ServedSetRow, SetState};

/// Which half of the answer is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Both,
    Served,
    Pulled,
}

pub(crate) fn policies(answer: &Answer, half: Half, width: u16) -> Option<String> {
    let Answer::Policies(policies) = answer else { return None };
    let mut parts = Vec::new();
    if half != Half::Pulled {
        parts.push(match policies.served.is_empty() {
            true => "No policy is served: the configuration has no `[[policy]]`.\n".to_owned(),
            false => {
                policies.served.iter().map(|policy| served(policy, width)).collect::<Vec<_>>().join("\n")
            }
        });
    }
    if half != Half::Served {
        parts.push(match policies.pulled.is_empty() {
            true => "No policy is received: no `[[peer]]` has `receives`.\n".to_owned(),
            false => {
                policies.pulled.iter().map(|policy| pulled(policy, width)).collect::<Vec<_>>().join("\n")
            }
        });
    }
    Some(parts.join("\n"))
}

fn served(policy: &ServedPolicyRow, width: u16) -> String {
    let mut text = format!("Policy {} is served to {}", policy.name, listed(&policy.peers, "no peer"));
    text += &format!("; clients that have it now: {}.\n", policy.clients);
    let lines = [
        ("pools", listed(&policy.pools, "")),
        ("name servers", listed(&policy.dns, "")),
        ("domain", policy.domain.clone().unwrap_or_default()),
        ("split DNS", listed(&policy.split_dns, "")),
        ("banner", policy.banner.clone().unwrap_or_default()),
    ];
    text += &facts(&lines);
    let row = |set: &ServedSetRow| {
        vec![
            set.name.clone(),
            set.source.join(" "),
            set.destination.join(" "),
            set.traffic.clone(),
            set.proposals.join(" "),
            duration(set.lifetime_s.into()),
            beyond(set.parent.as_deref(), set.gateway.as_deref()),
        ]
    };
    let columns = [
        Left("SET"),
        Left("OUR SIDE"),
        Left("CLIENT'S SIDE"),
        Left("TRAFFIC"),
        Left("TRANSFORMS"),
        Right("LIFETIME"),
        Left("BELOW, VIA"),
    ];
    text.push('\n');
    text + &table(&columns, &policy.sets.iter().map(row).collect::<Vec<_>>(), width)
}

fn pulled(policy: &PulledPolicy, width: u16) -> String {
    let mut text = printable(&format!(
        "Policy from {} ({}): {} for {}.",
        policy.peer,
        policy.server,
        policy.state.word(),
        duration(policy.since_s)
    ));
    text.push('\n');
    let ceiling = &policy.ceiling;
    let local = match ceiling.local.is_empty() {
        true => "leased addresses only".to_owned(),
        false => format!("leased addresses, {}", ceiling.local.join(", ")),
    };
    let lines = [
        ("leased to us", listed(&policy.addresses, "")),
        ("at most to", listed(&ceiling.remote, "nowhere")),
        ("at most from", local),
        ("at least", format!("{}, at most {} SAs", ceiling.weakest, ceiling.sets)),
        ("shielded", listed(&policy.shielded, "")),
        ("the server says", policy.server_error.clone().unwrap_or_default()),
        ("last failure", policy.last_error.clone().unwrap_or_default()),
    ];
    text += &facts(&lines);
    text.push('\n');
    text += &sets(&policy.sets, width);
    let shown = policy.sets.iter().filter(|set| set.state == SetState::Refused).count() as u64;
    if policy.refused > shown {
        text += &format!("{} more sets were refused.\n", policy.refused - shown);
    }
    text
}

/// A table of sets, and below it why some were refused. Narrow terminals leave out what SAs agree to.
fn sets(sets: &[PolicySetRow], width: u16) -> String {
    let wide = width >= WIDTH_WIDE;
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let row = |set: &PolicySetRow| {
        let parent = set.parent.map(|parent| format!("set {parent}"));
        let mut row = vec![
            set.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            or_dash(set.name.clone()),
            set.state.word().to_owned(),
            or_dash(set.selectors.join(" ")),
        ];
        if wide {
            row.push(or_dash(set.transforms.join(" ")));
            row.push(set.lifetime_s.map_or_else(|| "-".to_owned(), |lifetime| duration(lifetime.into())));
        }
        row.push(or_dash(set.rules.join(" ")));
        row.push(beyond(parent.as_deref(), set.gateway.as_deref()));
        row
    };
    let mut columns = vec![Right("ID"), Left("SET"), Left("STATE"), Left("TRAFFIC")];
    if wide {
        columns.extend([Left("TRANSFORMS"), Right("LIFETIME")]);
    }
    columns.extend([Left("RULES"), Left("BELOW, VIA")]);
    let mut text = table(&columns, &sets.iter().map(row).collect::<Vec<_>>(), width);
    for set in sets {
        let Some(reason) = &set.reason else { continue };
        let name = match (set.name.is_empty(), set.id) {
            (false, _) => set.name.clone(),
            (true, Some(id)) => id.to_string(),
            (true, None) => "without a number".to_owned(),
        };
        text += &printable(&format!("set {name} was refused: {reason}"));
        text.push('\n');
    }
    text
}

/// Where a set lies, when that is not simply between the two.
fn beyond(parent: Option<&str>, gateway: Option<&str>) -> String {
    match (parent, gateway) {
        (None, None) => "-".to_owned(),
        (parent, gateway) => [parent, gateway].into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

fn listed(items: &[String], none: &str) -> String {
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}

/// Names and values; what is empty is left out.
pub(crate) fn facts(lines: &[(&str, String)]) -> String {
    let shown = lines.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("  {name}: {}\n", printable(value))).collect()
}
