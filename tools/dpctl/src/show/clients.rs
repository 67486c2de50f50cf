//! `dpctl client`: who is connected to us, and what we are as a client of others.

use super::policy::facts;
use crate::numbers::duration;
use crate::table::{Left, Right, printable, table};
use warren_api::{Answer, ConnectedClient, PulledPolicy, SetState};

pub(crate) fn clients(answer: &Answer, width: u16) -> Option<String> {
    let Answer::Clients(clients) = answer else { return None };
    let mut parts = Vec::new();
    if !clients.connected.is_empty() || clients.own.is_empty() {
        parts.push(connected(&clients.connected, width));
    }
    parts.extend(clients.own.iter().map(own));
    Some(parts.join("\n"))
}

fn connected(clients: &[ConnectedClient], width: u16) -> String {
    if clients.is_empty() {
        return "No client is connected.\n".to_owned();
    }
    let dash = || "-".to_owned();
    let row = |client: &ConnectedClient| {
        let refused = client.sets.iter().filter(|set| set.state == SetState::Refused).count();
        let sets = match refused {
            0 => client.sets.len().to_string(),
            refused => format!("{} ({refused} refused)", client.sets.len()),
        };
        let addresses = client.addresses.join(" ");
        vec![
            client.identity.clone(),
            client.user.clone().unwrap_or_else(dash),
            client.remote.clone(),
            if addresses.is_empty() { dash() } else { addresses },
            client.policy.clone(),
            sets,
            duration(client.since_s),
        ]
    };
    let columns = [
        Left("IDENTITY"),
        Left("USER"),
        Left("REMOTE"),
        Left("LEASED"),
        Left("POLICY"),
        Left("SETS"),
        Right("SINCE"),
    ];
    let mut text = table(&columns, &clients.iter().map(row).collect::<Vec<_>>(), width);
    for client in clients {
        let names = |name: &str| if name.is_empty() { "without a name".to_owned() } else { name.to_owned() };
        for set in &client.sets {
            if let Some(reason) = &set.reason {
                let line = format!("{}: refused set {}: {reason}", client.identity, names(&set.name));
                text += &printable(&line);
                text.push('\n');
            }
        }
        if let Some(error) = &client.error {
            text += &printable(&format!("{}: gets less than it should: {error}", client.identity));
            text.push('\n');
        }
        if !client.served {
            text += &printable(&format!("{}: has not asked for its policy yet", client.identity));
            text.push('\n');
        }
    }
    text
}

fn own(policy: &PulledPolicy) -> String {
    let mut text = printable(&format!(
        "We are a client of {} ({}): {} for {}.",
        policy.peer,
        policy.server,
        policy.state.word(),
        duration(policy.since_s)
    ));
    text.push('\n');
    let accepted = policy.sets.iter().filter(|set| set.state != SetState::Refused);
    let lines = [
        ("leased to us", policy.addresses.join(", ")),
        ("name servers", policy.dns.join(", ")),
        ("domain", policy.domain.clone().unwrap_or_default()),
        ("split DNS", policy.split_dns.join(", ")),
        ("banner", policy.banner.clone().unwrap_or_default()),
        ("sets", format!("{} accepted, {} refused", accepted.count(), policy.refused)),
        ("the server says", policy.server_error.clone().unwrap_or_default()),
        ("last failure", policy.last_error.clone().unwrap_or_default()),
    ];
    text + &facts(&lines)
}
