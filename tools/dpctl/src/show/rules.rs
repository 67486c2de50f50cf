//! `dpctl rule`.

use crate::numbers::count;
use crate::table::{Left, Right, table};
use warren_api::{Answer, Rule};

/// Both classes in the order in which they are tried.
pub(crate) fn rules(answer: &Answer, width: u16) -> Option<String> {
    let Answer::RuleList(rules) = answer else { return None };
    let hits = |rule: &Rule| rule.hits.map_or_else(|| "-".to_owned(), count);
    let transport: Vec<_> = rules
        .transport
        .iter()
        .map(|rule| {
            let with = rule.peer.as_ref().map(|peer| format!(" with {peer}")).unwrap_or_default();
            vec![rule.name.clone(), rule.action.clone() + &with, rule.selector.clone(), hits(rule)]
        })
        .collect();
    let tunnel: Vec<_> = rules
        .tunnel
        .iter()
        .map(|rule| {
            let peer = rule.peer.clone().unwrap_or_else(|| "-".to_owned());
            vec![rule.name.clone(), peer, rule.selector.clone(), hits(rule)]
        })
        .collect();
    let mut text =
        String::from("Transport rules: whether a flow may pass. First match wins, no match drops.\n");
    text += &table(&[Left("NAME"), Left("ACTION"), Left("TRAFFIC"), Right("PACKETS")], &transport, width);
    text += "\nTunnel rules: what of it must be protected, and by whom. First match wins, no match passes in clear.\n";
    text += &table(&[Left("NAME"), Left("PEER"), Left("TRAFFIC"), Right("PACKETS")], &tunnel, width);
    Some(text)
}
