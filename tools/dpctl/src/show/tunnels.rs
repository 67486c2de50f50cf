//! `dpctl tunnel`.

use crate::numbers::duration;
use crate::table::{Left, Right, printable, table};
use warren_api::{Answer, Tunnel};

/// In the order of the rules, and below the table why a negotiation failed.
pub(crate) fn tunnels(answer: &Answer, width: u16) -> Option<String> {
    let Answer::TunnelList(tunnels) = answer else { return None };
    if tunnels.is_empty() {
        return Some("The configuration has no `[[tunnel]]`.\n".to_owned());
    }
    let row = |tunnel: &Tunnel| {
        vec![
            tunnel.name.clone(),
            tunnel.state.word().to_owned(),
            duration(tunnel.since_s),
            tunnel.peer.clone(),
            tunnel.remote.clone(),
            tunnel.selector.clone(),
            match (tunnel.transform.as_deref().unwrap_or("-"), tunnel.is_transport) {
                (transform, false) => transform.to_owned(),
                ("-", true) => "transport".to_owned(),
                (transform, true) => format!("{transform}, transport"),
            },
        ]
    };
    let columns = [
        Left("NAME"),
        Left("STATE"),
        Right("SINCE"),
        Left("PEER"),
        Left("REMOTE"),
        Left("TRAFFIC"),
        Left("TRANSFORM"),
    ];
    let mut text = table(&columns, &tunnels.iter().map(row).collect::<Vec<_>>(), width);
    let mut failed =
        tunnels.iter().filter_map(|tunnel| Some((tunnel, tunnel.last_error.as_ref()?))).peekable();
    if failed.peek().is_some() {
        text.push('\n');
    }
    for (tunnel, why) in failed {
        text += &printable(&format!("{}: the last negotiation failed: {why}", tunnel.name));
        text.push('\n');
    }
    Some(text)
}
