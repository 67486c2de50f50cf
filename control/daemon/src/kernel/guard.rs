//! A routing rule for each port: what arrives there and is not for the gateway itself goes nowhere in the kernel.
//!
//! This is what keeps a host that forwards for other interfaces from forwarding between ours, in both families, while
//! warrend is not running (REQUIREMENTS F-24). Packets for the gateway's own addresses are found in the table `local`
//! first; packets that the kernel sends itself do not arrive anywhere and never meet the rule.
//!
//! Like the variables of `sysctl` the rules stay when the daemon ends. To take Warren off a host:
//! `ip rule del pref 219 iif PORT` and `ip -6 rule del pref 219 iif PORT`.

use super::{Error, errno};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, RuleAddRequest};

/// Marks rules and routes as Warren's. No number that `/etc/iproute2/rt_protos` gives to another.
pub(crate) const PROTOCOL: RouteProtocol = RouteProtocol::Other(87);
/// Before the table of the tun device, behind the table `local`.
const PREFERENCE: u32 = 219;
/// `EEXIST`.
const EXISTS: i32 = 17;

/// Closes the port for transit through the kernel. Doing it twice changes nothing.
///
/// # Errors
/// The kernel refused the rule; then the port must not be used.
pub(crate) async fn close_port(handle: &Handle, port: &str) -> Result<(), Error> {
    add(guarding(handle.rule().add().v4(), port), port).await?;
    add(guarding(handle.rule().add().v6(), port), port).await
}

fn guarding<T>(request: RuleAddRequest<T>, port: &str) -> RuleAddRequest<T> {
    let mut request =
        request.input_interface(port).priority(PREFERENCE).action(RuleAction::Blackhole).table_id(0);
    mark(request.message_mut());
    request
}

/// Makes the rule ours.
pub(crate) fn mark(rule: &mut RuleMessage) {
    rule.attributes.push(RuleAttribute::Protocol(PROTOCOL));
}

async fn add<T>(request: RuleAddRequest<T>, port: &str) -> Result<(), Error> {
    match request.execute().await {
        Err(error) if errno(&error) != EXISTS => Err(Error::request(format!("guarding port {port}"), &error)),
        _ => Ok(()),
    }
}
