//! `dpctl sa`.

use crate::limits::WIDTH_WIDE;
use crate::numbers::{count, duration, octets};
use crate::table::{Left, Right, table};
use warren_api::{Answer, Sa, SaDirection};

/// SAs of one tunnel together, lane after lane, inbound before outbound, the youngest first.
pub(crate) fn sas(answer: &Answer, width: u16) -> Option<String> {
    let Answer::SaList(sas) = answer else { return None };
    if sas.is_empty() {
        return Some("No SA is installed: no tunnel is up.\n".to_owned());
    }
    let mut sas: Vec<&Sa> = sas.iter().collect();
    let outbound = |sa: &Sa| sa.direction == SaDirection::Outbound;
    sas.sort_by(|a, b| {
        let key = |sa| (outbound(sa), sa.age_s, sa.id);
        (&a.rule, a.lane, key(a)).cmp(&(&b.rule, b.lane, key(b)))
    });
    // One pair for each tunnel is the rule, and then nobody asks which.
    let has_lanes = sas.iter().any(|sa| sa.lane > 0);
    let wide = width >= WIDTH_WIDE;
    let mut columns = vec![Left("TUNNEL"), Left("PEER")];
    columns.extend(has_lanes.then_some(Right("LANE")));
    columns.extend([Left("DIR"), Left("SPI"), Left("TRANSFORM")]);
    columns.extend([Right("PACKETS"), Right("OCTETS"), Right("AGE"), Right("LEFT"), Right("IDLE")]);
    if wide {
        columns.extend([Left("REMOTE"), Left("ESP IN")]);
    }
    let rows: Vec<_> = sas.iter().map(|sa| row(sa, has_lanes, wide)).collect();
    Some(table(&columns, &rows, width))
}

fn row(sa: &Sa, has_lanes: bool, wide: bool) -> Vec<String> {
    let mut cells = vec![sa.rule.clone(), sa.peer.clone()];
    cells.extend(has_lanes.then(|| sa.lane.to_string()));
    cells.extend([
        if sa.direction == SaDirection::Inbound { "in" } else { "out" }.to_owned(),
        sa.spi.clone(),
        format!(
            "{}{}{}",
            sa.transform,
            if sa.esn { "-esn" } else { "" },
            if sa.is_transport { ", transport" } else { "" }
        ),
        count(sa.packets),
        octets(sa.octets),
        duration(sa.age_s),
        duration(sa.expires_in_s),
        sa.last_used_s.map_or_else(|| "never".to_owned(), duration),
    ]);
    if wide {
        cells.extend([sa.remote.clone(), sa.encapsulation.clone()]);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sa(rule: &str, lane: u16, direction: SaDirection) -> Sa {
        Sa {
            id: 0,
            spi: "c0ffee01".to_owned(),
            direction,
            peer: "b".to_owned(),
            rule: rule.to_owned(),
            is_transport: false,
            transform: "aes256gcm16".to_owned(),
            esn: false,
            encapsulation: "raw".to_owned(),
            local: String::new(),
            remote: String::new(),
            selector: String::new(),
            lane,
            packets: 0,
            octets: 0,
            sequence: 0,
            age_s: 0,
            expires_in_s: 0,
            last_used_s: None,
            window_packets: None,
        }
    }

    #[test] // F-17
    fn lanes_are_told_apart_where_there_are_several_and_not_mentioned_where_there_are_none() {
        let (inbound, outbound) = (SaDirection::Inbound, SaDirection::Outbound);
        let shown = |rows: Vec<Sa>| sas(&Answer::SaList(rows), 100).unwrap_or_default();
        let several = shown(vec![
            sa("net", 1, outbound),
            sa("net", 0, outbound),
            sa("net", 1, inbound),
            sa("net", 0, inbound),
            sa("other", 0, inbound),
        ]);
        let cells = |row: &str| row.split_whitespace().take(4).map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<_> = several.lines().map(cells).collect();
        assert_eq!(rows[0], ["TUNNEL", "PEER", "LANE", "DIR"]);
        assert_eq!(rows[1..3], [["net", "b", "0", "in"], ["net", "b", "0", "out"]]);
        assert_eq!(rows[3..5], [["net", "b", "1", "in"], ["net", "b", "1", "out"]]);
        assert!(!shown(vec![sa("net", 0, inbound)]).contains("LANE"));
    }
}
