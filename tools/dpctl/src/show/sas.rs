//! `dpctl sa`.

use crate::limits::WIDTH_WIDE;
use crate::numbers::{count, duration, octets};
use crate::table::{Left, Right, table};
use warren_api::{Answer, Sa, SaDirection};

/// SAs of one tunnel together, inbound before outbound, the youngest first.
pub(crate) fn sas(answer: &Answer, width: u16) -> Option<String> {
    let Answer::SaList(sas) = answer else { return None };
    if sas.is_empty() {
        return Some("No SA is installed: no tunnel is up.\n".to_owned());
    }
    let mut sas: Vec<&Sa> = sas.iter().collect();
    let outbound = |sa: &Sa| sa.direction == SaDirection::Outbound;
    sas.sort_by(|a, b| (&a.rule, outbound(a), a.age_s, a.id).cmp(&(&b.rule, outbound(b), b.age_s, b.id)));
    let wide = width >= WIDTH_WIDE;
    let mut columns = vec![Left("TUNNEL"), Left("PEER"), Left("DIR"), Left("SPI"), Left("TRANSFORM")];
    columns.extend([Right("PACKETS"), Right("OCTETS"), Right("AGE"), Right("LEFT"), Right("IDLE")]);
    if wide {
        columns.extend([Left("REMOTE"), Left("ESP IN")]);
    }
    let rows: Vec<_> = sas.iter().map(|sa| row(sa, wide)).collect();
    Some(table(&columns, &rows, width))
}

fn row(sa: &Sa, wide: bool) -> Vec<String> {
    let mut cells = vec![
        sa.rule.clone(),
        sa.peer.clone(),
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
    ];
    if wide {
        cells.extend([sa.remote.clone(), sa.encapsulation.clone()]);
    }
    cells
}
