//! What one seed plays: which addresses and algorithms, how bad the weather gets, who restarts when.

use crate::network::{End, Weather};
use crate::seed::{Seed, below, pick};
use rand_chacha::ChaCha8Rng;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;
use warren_ike::NatTraversal;
use warren_policy::{EspProposal, IkeProposal};
use warren_tunnels::Start;

/// A run, drawn by lot.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From which it was drawn.
    pub seed: Seed,
    /// Outer addresses of the gateways.
    pub gateways: [IpAddr; 2],
    /// Inner addresses of the hosts.
    pub hosts: [IpAddr; 2],
    /// Phase 1.
    pub ike: IkeProposal,
    /// Phase 2.
    pub esp: EspProposal,
    /// Lifetime of a child in seconds: short, so that a run sees several rekeys.
    pub lifetime_s: u32,
    /// Lifetime of an ISAKMP SA in seconds.
    pub isakmp_lifetime_s: u32,
    /// ESP in UDP or raw.
    pub nat_traversal: NatTraversal,
    /// When each gateway opens the tunnel.
    pub start: [Start; 2],
    /// How bad it gets.
    pub weather: Weather,
    /// How long that lasts.
    pub storm: Duration,
    /// A gateway that loses its memory, and when.
    pub restart: Option<(Duration, End)>,
    /// Mean pause between two packets of a host.
    pub pause: Duration,
    /// Workers of each gateway.
    pub workers: [usize; 2],
    /// Pairs of SAs that each gateway has the tunnel have side by side.
    pub parallel: [NonZeroU16; 2],
}

impl Plan {
    /// The run that `seed` stands for.
    #[must_use]
    pub fn draw(seed: Seed) -> Self {
        let rng = &mut seed.stream("plan");
        let outer_ipv6 = below(rng, 4) == 0;
        let inner_ipv6 = below(rng, 4) == 0;
        let storm = Duration::from_secs(30 + below(rng, 120));
        let (workers, parallel) = lanes(&mut seed.stream("lanes"));
        Self {
            seed,
            gateways: if outer_ipv6 {
                ["2001:db8::1", "2001:db8::2"]
            } else {
                ["198.51.100.1", "198.51.100.2"]
            }
            .map(address),
            hosts: if inner_ipv6 { ["fd00:1::10", "fd00:2::10"] } else { ["10.1.0.10", "10.2.0.10"] }
                .map(address),
            ike: ike(rng),
            esp: esp(rng),
            lifetime_s: 20 + below(rng, 60) as u32,
            isakmp_lifetime_s: 40 + below(rng, 200) as u32,
            nat_traversal: pick(rng, &[NatTraversal::Auto, NatTraversal::Force]),
            start: [0; 2].map(|_| pick(rng, &[Start::OnTraffic, Start::Immediately])),
            weather: weather(rng),
            storm,
            restart: (below(rng, 3) == 0)
                .then(|| (storm.mul_f64(below(rng, 100) as f64 / 100.0), pick(rng, &End::BOTH))),
            pause: Duration::from_millis(20 + below(rng, 800)),
            workers,
            parallel,
        }
    }
}

/// With every second seed the tunnel has several pairs side by side, and mostly as many at either end.
fn lanes(rng: &mut ChaCha8Rng) -> ([usize; 2], [NonZeroU16; 2]) {
    if below(rng, 2) == 0 {
        return ([1; 2], [NonZeroU16::MIN; 2]);
    }
    let workers = [0; 2].map(|_| 1 + below(rng, 4) as usize);
    let lanes = NonZeroU16::MIN.saturating_add(1 + below(rng, 3) as u16);
    let other = if below(rng, 4) == 0 { NonZeroU16::MIN } else { lanes };
    (workers, if below(rng, 2) == 0 { [lanes, other] } else { [other, lanes] })
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("addresses of the plan are well-formed")
}

/// Mostly the cheap group, so that many seeds can be played.
pub(crate) fn ike(rng: &mut ChaCha8Rng) -> IkeProposal {
    let texts = [
        "aes128-sha256-ecp256",
        "aes256-sha256-ecp256",
        "aes256-sha384-ecp384",
        "aes256-sha512-ecp256",
        "aes128-sha1-ecp256",
        "aes128-sha256-modp2048",
    ];
    pick(rng, &texts).parse().expect("proposals of the plan are well-formed")
}

pub(crate) fn esp(rng: &mut ChaCha8Rng) -> EspProposal {
    let texts = [
        "aes128gcm16",
        "aes256gcm16",
        "aes256gcm16-esn",
        "aes128gcm16-ecp256",
        "aes128-sha256",
        "aes256-sha512-ecp256",
    ];
    pick(rng, &texts).parse().expect("proposals of the plan are well-formed")
}

pub(crate) fn weather(rng: &mut ChaCha8Rng) -> Weather {
    let chance = |rng: &mut ChaCha8Rng| pick(rng, &[0, 0, 20, 100, 300]);
    Weather { loss: chance(rng), duplicate: chance(rng), delay: chance(rng), corrupt: chance(rng) }
}
