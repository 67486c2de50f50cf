//! `dpctl drops`.

use crate::numbers::count;
use crate::table::{Left, Right, table};
use warren_api::Answer;

/// The most frequent reason first; `all` shows also what never happened.
pub(crate) fn drops(answer: &Answer, all: bool, width: u16) -> Option<String> {
    let Answer::Drops(drops) = answer else { return None };
    let mut shown: Vec<_> = drops.iter().filter(|drop| all || drop.count > 0).collect();
    shown.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
    if shown.is_empty() {
        return Some("No packet was dropped.\n".to_owned());
    }
    let row = |drop: &&warren_api::DropCount| {
        vec![count(drop.count), drop.reason.clone(), drop.explanation.clone()]
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    Some(table(&[Right("PACKETS"), Left("REASON"), Left("MEANING")], &rows, width))
}
