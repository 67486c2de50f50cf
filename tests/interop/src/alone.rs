//! Cases that need no foreign peer, only what a simulator does not have: real processes that die.

use xtask::gateway::{Gateway, Settings};
use xtask::lab::Lab;
use xtask::listener::Listener;
use xtask::topology::{SITE_A, SITE_B, Topology};
use xtask::{Failure, repository, traffic};

use crate::strongswan::pinged;

/// A gateway is killed in full flight. Nothing may pass in clear while it is gone (F-24), and when it is back its
/// peer, which still has the old SAs, must talk to it again.
pub(crate) fn killed() -> Result<String, Failure> {
    let mut lab = Lab::new(&repository::target())?;
    let topology = Topology::new(&mut lab)?;
    let program = repository::own_program()?;
    let listener = Listener::start(&program, &topology.wide_area, traffic::MARKER, None)?;
    let settings = Settings::default();
    let mut a = Gateway::start(&lab, &topology.a, SITE_B, &settings)?;
    let mut b = Gateway::start(&lab, &topology.b, SITE_A, &settings)?;
    a.wait_until_ready()?;
    b.wait_until_ready()?;
    let targets = SITE_B.host();
    for target in targets {
        traffic::wait_for_first_answer(&topology.a.host, target)?;
    }
    a.kill()?;
    let mut gone = traffic::Pings::default();
    for (host, targets) in [(&topology.a.host, SITE_B.host()), (&topology.b.host, SITE_A.host())] {
        for target in targets {
            gone += traffic::pings_in_vain(host, target, 20)?;
        }
    }
    if gone.received > 0 {
        return Err(Failure::new(format!("{} pings were answered without a gateway", gone.received)));
    }
    let mut again = Gateway::start(&lab, &topology.a, SITE_B, &settings)?;
    again.wait_until_ready()?;
    for target in targets {
        let waited = traffic::wait_for_first_answer(&topology.a.host, target);
        waited.map_err(|failure| {
            Failure::new(format!("{failure}\n{}\n{}", again.last_words(), b.last_words()))
        })?;
        pinged(&topology.a.host, target)?;
    }
    let wire = listener.finish()?;
    match wire.clear_text_leaks {
        0 => Ok(format!("{} pings into a dead gateway, none in clear", gone.sent)),
        leaks => {
            let first = wire.first_leak.unwrap_or_default();
            Err(Failure::new(format!("{leaks} frames in clear, the first: {first}")))
        }
    }
}
