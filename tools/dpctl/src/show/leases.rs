//! `dpctl lease`.

use crate::numbers::count;
use crate::table::{Left, Right, table};
use warren_api::{Answer, Lease, Pool};

/// Pools, and below them what is leased.
pub(crate) fn leases(answer: &Answer, width: u16) -> Option<String> {
    let Answer::Leases(leases) = answer else { return None };
    if leases.pools.is_empty() {
        return Some("The configuration has no `[[pool]]`.\n".to_owned());
    }
    let pool = |pool: &Pool| {
        vec![
            pool.name.clone(),
            pool.addresses.clone(),
            count(pool.total),
            count(pool.used),
            count(pool.active),
            count(pool.exhausted),
        ]
    };
    let columns = [
        Left("POOL"),
        Left("ADDRESSES"),
        Right("TOTAL"),
        Right("LEASED"),
        Right("ACTIVE"),
        Right("EXHAUSTED"),
    ];
    let mut text = table(&columns, &leases.pools.iter().map(pool).collect::<Vec<_>>(), width);
    let lease = |lease: &Lease| {
        let kind = if lease.is_static { "static" } else { "dynamic" };
        vec![
            lease.address.clone(),
            lease.state.word().to_owned(),
            kind.to_owned(),
            lease.pool.clone(),
            lease.holder.clone(),
        ]
    };
    let columns = [Left("ADDRESS"), Left("STATE"), Left("KIND"), Left("POOL"), Left("HOLDER")];
    let rows: Vec<_> = leases.leases.iter().map(lease).collect();
    if !rows.is_empty() {
        text.push('\n');
    }
    text += &table(&columns, &rows, width);
    Some(text)
}
