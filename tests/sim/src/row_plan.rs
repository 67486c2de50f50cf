//! What one seed plays in a row of gateways: which rules nest in what way, and what happens to whom.
//!
//! ```text
//! host ── sender ── gateway 1 ── gateway 2 ── (gateway 3) ── host
//!                       └ perhaps a second site behind one      └ perhaps a receiver in transport mode
//! ```

use crate::network::Weather;
use crate::plan::{esp, ike, weather};
use crate::seed::{Seed, below, pick};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;
use warren_ike::NatTraversal;
use warren_policy::{EspProposal, IkeProposal, Rematching};

/// Disturbances of one run at most.
const DISTURBANCES_MAX: u64 = 4;

/// Something that happens to one gateway, and is over later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// It dies and comes back without its memory; the sender is number 0.
    Death(usize),
    /// Its operator closes its tunnel to the sender, and opens it again.
    Closed(usize),
    /// The sender's operator closes the tunnel around what goes to that gateway, and opens it again.
    ClosedAtSender(usize),
    /// The sender's operator aborts the stack.
    Aborted,
}

/// When a disturbance begins and when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub what: Disturbance,
    /// Begin.
    pub from: Duration,
    /// End.
    pub until: Duration,
}

/// A run in a row, drawn by lot.
#[derive(Clone, Debug)]
pub struct RowPlan {
    /// From which it was drawn.
    pub seed: Seed,
    /// Gateways behind the sender, each reached through those in front of it: two or three.
    pub depth: usize,
    /// As what a packet is looked up once it is inside a tunnel.
    pub rematch: Rematching,
    /// Whether gateways have IPv6 addresses.
    pub outer_ipv6: bool,
    /// Whether hosts have; another family than the gateways' needs `Rematching::Wire`.
    pub inner_ipv6: bool,
    /// A second site behind that gateway, whose tunnel shares what is around it with the first one's.
    pub second_site: Option<usize>,
    /// Behind the last gateway is a host to which the sender itself speaks in transport mode.
    pub receiver: bool,
    /// Phase 1.
    pub ike: IkeProposal,
    /// Phase 2.
    pub esp: EspProposal,
    /// Lifetime of a child in seconds: short, so that every level is rekeyed several times.
    pub lifetime_s: u32,
    /// Lifetime of an ISAKMP SA in seconds.
    pub isakmp_lifetime_s: u32,
    /// ESP in UDP or raw.
    pub nat_traversal: NatTraversal,
    /// How bad every link gets.
    pub weather: Weather,
    /// How long that lasts.
    pub storm: Duration,
    /// What happens meanwhile.
    pub troubles: Vec<Trouble>,
    /// Mean pause between two packets of a flow in one direction.
    pub pause: Duration,
}

impl RowPlan {
    /// The run that `seed` stands for.
    #[must_use]
    pub fn draw(seed: Seed) -> Self {
        let rng = &mut seed.stream("row plan");
        let depth = 2 + below(rng, 2) as usize;
        let rematch = pick(rng, &[Rematching::Destination, Rematching::Wire]);
        let outer_ipv6 = below(rng, 4) == 0;
        // By the letter no rule matches a source of one family and a gateway of the other.
        let other_family = rematch == Rematching::Wire && below(rng, 3) == 0;
        let storm = Duration::from_secs(40 + below(rng, 80));
        let troubles = (0..below(rng, DISTURBANCES_MAX)).map(|_| trouble(rng, depth, storm)).collect();
        let nat_traversal = pick(rng, &[NatTraversal::Auto, NatTraversal::Force]);
        let mut weather = weather(rng);
        if outer_ipv6 && nat_traversal == NatTraversal::Force {
            // Neither IPv6 nor ESP in UDP has a checksum over addresses: damage to them is as good as a NAT's work, and
            // an SA's peer follows it (RFC 3948 §4).
            weather.corrupt = 0;
        }
        Self {
            seed,
            depth,
            rematch,
            outer_ipv6,
            inner_ipv6: outer_ipv6 != other_family,
            second_site: (below(rng, 2) == 0).then(|| 1 + below(rng, depth as u64) as usize),
            receiver: below(rng, 3) == 0,
            ike: ike(rng),
            esp: esp(rng),
            lifetime_s: 30 + below(rng, 50) as u32,
            isakmp_lifetime_s: 60 + below(rng, 200) as u32,
            nat_traversal,
            weather,
            storm,
            troubles,
            pause: Duration::from_millis(100 + below(rng, 900)),
        }
    }
}

fn trouble(rng: &mut ChaCha8Rng, depth: usize, storm: Duration) -> Trouble {
    let gateway = 1 + below(rng, depth as u64) as usize;
    let what = match below(rng, 6) {
        0 => Disturbance::Death(0),
        1 | 2 => Disturbance::Death(gateway),
        3 => Disturbance::Closed(gateway),
        4 => Disturbance::ClosedAtSender(gateway.max(2)),
        _ => Disturbance::Aborted,
    };
    let from = storm.mul_f64(below(rng, 100) as f64 / 100.0);
    let until = (from + Duration::from_secs(1 + below(rng, 40))).min(storm);
    Trouble { what, from, until }
}
