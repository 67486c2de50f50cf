//! How much memory discoveries take: the resident pages of this process before and after, as the kernel counts them, so
//! that whatever the allocator adds is in it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;
use warren_ike::Entropy;
use warren_ike::ted::{DiscoverRule, Granularity, Ted, TedConfig, TedOutput};
use warren_policy::{FiveTuple, Pad, RuleId};

/// So many at a time, by default.
const DISCOVERIES: u32 = 10_000;
/// Octets that they may take.
const OCTETS_MAX: usize = 16 << 20;

struct Seeded(ChaCha8Rng);

impl Entropy for Seeded {
    fn fill(&mut self, octets: &mut [u8]) {
        self.0.fill_bytes(octets);
    }
}

/// Octets of this process that are in memory. `smaps_rollup` walks the pages; the counters of `statm` lag behind.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux has it");
    let kilobytes = |line: &str| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok();
    text.lines().find_map(kilobytes).expect("one line of it says how much is resident") * 1024
}

/// Of the longest kind: IPv6, and each flow by itself.
fn packet(at: u32) -> FiveTuple {
    let address =
        |side: u16, host: u32| Ipv6Addr::new(0x2001, 0xdb8, side, 0, 0, 0, (host >> 16) as u16, host as u16);
    FiveTuple {
        source: address(1, at % 100).into(),
        destination: address(2, at).into(),
        protocol: 6,
        source_port: Some(at as u16),
        destination_port: Some(443),
    }
}

#[test] // TED-7, F-12
fn ten_thousand_discoveries_hold_less_than_16_mib() {
    let config = TedConfig {
        granularity: Granularity::Packet,
        in_flight_max: DISCOVERIES as usize,
        probes_per_second: 1_000_000,
        ..TedConfig::default()
    };
    let rule = DiscoverRule {
        rule: RuleId(1),
        proxies: vec!["2001:db8:1::/48 2001:db8:2::/48".parse().unwrap()],
        local: "2001:db8:a::1".parse().unwrap(),
        pad: Arc::new(Pad::default()),
        is_concealed: false,
    };
    let mut ted = Ted::new(config, vec![rule], Box::new(Seeded(ChaCha8Rng::seed_from_u64(1))));
    let before = resident();
    let mut probes = 0;
    for at in 0..DISCOVERIES + 100 {
        ted.acquire(Duration::from_secs(1), RuleId(1), packet(at));
        while let Some(output) = ted.poll_output() {
            probes += u32::from(matches!(output, TedOutput::Inject(_)));
        }
    }
    let held = resident() - before;
    println!("{DISCOVERIES} discoveries hold {held} octets, {} each", held / DISCOVERIES as usize);
    assert_eq!((probes, ted.in_flight().len()), (DISCOVERIES, DISCOVERIES as usize));
    assert!(held > 1 << 20, "{held}: so little that nothing was measured");
    assert!(held < OCTETS_MAX, "{held}");
    // What they leave behind when they all come to nothing is bounded too.
    for second in [2, 4, 8, 9] {
        ted.handle_timeout(Duration::from_secs(second));
        while ted.poll_output().is_some() {}
    }
    assert!(ted.in_flight().is_empty() && ted.resting().len() == DISCOVERIES as usize);
    let kept = resident() - before;
    println!("their rests hold {kept} octets");
    assert!(kept < 2 * OCTETS_MAX, "{kept}");
}
