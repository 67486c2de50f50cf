//! The initiator by itself.

use super::lab::*;
use crate::ted::{TedCount, TedNotice, TedOutput};
use warren_seam::Catch;

#[test] // TED-1, TED-4, TED-5, TED-7, TED-54, TED-55, TED-56, TED-58, TED-60, Q-13
fn a_packet_is_asked_about_once_and_the_gateway_that_answers_is_found() {
    let (mut gi, mut gr) = (initiator(), responder());
    gi.acquire(s(10), RULE, p());
    gi.acquire(s(10), RULE, p());
    let probe = one_probe(&outputs(&mut gi));
    gr.handle_caught(s(10), super::lab::caught(Catch::Probe, probe));
    let (path, answer) = one_datagram(&outputs(&mut gr));
    assert_eq!((path.local.to_string(), path.remote.to_string()), (format!("{GR}:500"), format!("{GI}:500")));
    gi.handle_message(s(10), super::lab::path(GI, GR), &answer);
    let common = selector("10.1.0.0/16 10.2.0.0/16");
    let found = TedOutput::Found { rule: RULE, packet: p(), gateway: address(GR), selector: common };
    let answered = TedNotice::Answered { rule: RULE, gateway: address(GR), selector: common };
    assert_eq!(outputs(&mut gi), [TedOutput::Log(answered), found]);
    gi.conclude(s(11), RULE, &p(), true);
    assert!(gi.in_flight().is_empty() && gi.resting().is_empty());
    expect(
        &gi,
        &[(TedCount::Acquired, 2), (TedCount::Waiting, 1), (TedCount::Found, 1), (TedCount::TunnelsUp, 1)],
    );
}
