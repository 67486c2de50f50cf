//! `dpctl tunnel`.

use crate::numbers::duration;
use crate::table::{Left, Right, printable, table};
use warren_api::{Answer, Tunnel};

/// How it stands; of one with several pairs side by side, also how many of them are there.
fn standing(tunnel: &Tunnel) -> String {
    let word = tunnel.state.word();
    match (tunnel.parallel, tunnel.lanes.len()) {
        (0 | 1, _) | (_, 0) => word.to_owned(),
        (parallel, up) => format!("{word}, {up} of {parallel} lanes"),
    }
}

/// In the order of the rules, and below the table why a negotiation failed.
pub(crate) fn tunnels(answer: &Answer, width: u16) -> Option<String> {
    let Answer::TunnelList(tunnels) = answer else { return None };
    if tunnels.is_empty() {
        return Some("The configuration has no `[[tunnel]]`.\n".to_owned());
    }
    let row = |tunnel: &Tunnel| {
        vec![
            tunnel.name.clone(),
            standing(tunnel),
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

#[cfg(test)]
mod tests {
    use super::*;
    use warren_api::{Lane, TunnelState};

    #[test] // F-17
    fn how_many_lanes_are_up_is_said_where_several_are_wanted() {
        let lane = |lane| Lane { lane, spi_in: String::new(), spi_out: String::new(), worker: 0 };
        let shown = |state, parallel, up| {
            standing(&Tunnel {
                name: String::new(),
                peer: String::new(),
                state,
                is_transport: false,
                selector: String::new(),
                local: String::new(),
                remote: String::new(),
                since_s: 0,
                spi_in: None,
                spi_out: None,
                parallel,
                lanes: (0..up).map(lane).collect(),
                transform: None,
                last_error: None,
            })
        };
        assert_eq!(shown(TunnelState::Up, 4, 3), "up, 3 of 4 lanes");
        assert_eq!(shown(TunnelState::Rekeying, 4, 4), "rekeying, 4 of 4 lanes");
        assert_eq!(
            (shown(TunnelState::Up, 1, 1), shown(TunnelState::Down, 4, 0)),
            ("up".into(), "down".into())
        );
    }
}
