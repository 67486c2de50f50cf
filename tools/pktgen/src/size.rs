//! How long frames are, one after the other.
//!
//! Sizes are those of RFC 2544: octets of the Ethernet frame with its check sequence, so a frame of 64 octets has 60 in
//! memory.

use std::fmt;
use std::str::FromStr;

use crate::limits::{FRAME_OCTETS_MAX, FRAME_OCTETS_MIN, PATTERN_FRAMES_MAX};

/// Octets of the check sequence, which the hardware adds and takes away.
pub(crate) const CHECK_SEQUENCE_OCTETS: u16 = 4;

/// The usual mixture: seven small frames, four middle ones, one full one. The mean is 353.8 octets.
const IMIX: &[(u16, usize)] = &[(64, 7), (570, 4), (1518, 1)];

/// A cycle of sizes that repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    name: String,
    pattern: Vec<u16>,
}

impl Sizes {
    /// Octets of the frame with `position` before it, check sequence included.
    #[must_use]
    pub fn at(&self, position: u64) -> u16 {
        self.pattern[(position % self.pattern.len() as u64) as usize]
    }

    /// Frames until it repeats.
    #[must_use]
    pub fn cycle(&self) -> u64 {
        self.pattern.len() as u64
    }

    /// The smallest.
    #[must_use]
    pub fn smallest(&self) -> u16 {
        self.pattern.iter().copied().min().unwrap_or(FRAME_OCTETS_MIN)
    }

    /// Makes every frame at least `octets` long, as IPv6 needs where a mixture begins with 64.
    #[must_use]
    pub fn at_least(mut self, octets: u16) -> Self {
        if self.smallest() < octets {
            self.pattern.iter_mut().for_each(|size| *size = (*size).max(octets));
            self.name = format!("{} (at least {octets})", self.name);
        }
        self
    }

    /// Whether all have the same size.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.pattern.len() == 1
    }

    fn new(name: &str, pattern: Vec<u16>) -> Result<Self, String> {
        if pattern.is_empty() || pattern.len() > PATTERN_FRAMES_MAX {
            return Err(format!("a mixture has between 1 and {PATTERN_FRAMES_MAX} frames"));
        }
        let fits = |size: &&u16| !(FRAME_OCTETS_MIN..=FRAME_OCTETS_MAX).contains(*size);
        if let Some(size) = pattern.iter().find(fits) {
            return Err(format!(
                "{size}: frames have between {FRAME_OCTETS_MIN} and {FRAME_OCTETS_MAX} octets, check sequence included"
            ));
        }
        Ok(Self { name: name.to_owned(), pattern })
    }
}

/// As it was asked for.
impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// `64`; `imix`; a mixture with weights, `64x7+570x4+1518x1`; or a genome, `genome:aaaabg`.
impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "imix" {
            return Self::new(text, spread(IMIX));
        }
        if let Some(genome) = text.strip_prefix("genome:") {
            return Self::new(text, genome.chars().map(gene).collect::<Result<_, _>>()?);
        }
        let weighed = |part: &str| {
            let (size, weight) = part.split_once('x').unwrap_or((part, "1"));
            match (size.trim().parse::<u16>(), weight.trim().parse::<usize>()) {
                (Ok(size), Ok(weight @ 1..=PATTERN_FRAMES_MAX)) => Ok((size, weight)),
                _ => Err(format!("`{part}` is no size of a frame")),
            }
        };
        let weights = text.split('+').map(weighed).collect::<Result<Vec<_>, _>>()?;
        if weights.iter().map(|(_, weight)| weight).sum::<usize>() > PATTERN_FRAMES_MAX {
            return Err(format!("a mixture has between 1 and {PATTERN_FRAMES_MAX} frames"));
        }
        // A single size has no need of a long cycle, whatever its weight.
        let weights = if let [(size, _)] = weights[..] { vec![(size, 1)] } else { weights };
        Self::new(text, spread(&weights))
    }
}

/// RFC 6985 §3: one letter for each frame, in the order in which they are sent.
fn gene(letter: char) -> Result<u16, String> {
    Ok(match letter {
        'a' => 64,
        'b' => 128,
        'c' => 256,
        'd' => 512,
        'e' => 1024,
        'f' => 1280,
        'g' => 1518,
        'h' | 'i' | 'j' => return Err(format!("`{letter}` is a jumbo frame, which is not sent")),
        'z' => return Err("`z` is the largest frame of the interface; name its size, 1518 is `g`".to_owned()),
        _ => return Err(format!("`{letter}` is no letter of RFC 6985")),
    })
}

/// Puts sizes into an order in which each comes as regularly as its weight allows: the one that is furthest behind its share
/// is next.
fn spread(weights: &[(u16, usize)]) -> Vec<u16> {
    let total: usize = weights.iter().map(|(_, weight)| weight).sum();
    let mut credit = vec![0i64; weights.len()];
    let mut order = Vec::with_capacity(total);
    for _ in 0..total {
        let mut best = 0;
        for (at, (_, weight)) in weights.iter().enumerate() {
            credit[at] += *weight as i64;
            if credit[at] > credit[best] {
                best = at;
            }
        }
        credit[best] -= total as i64;
        order.push(weights[best].0);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes(text: &str) -> Vec<u16> {
        let sizes: Sizes = text.parse().unwrap();
        (0..sizes.cycle()).map(|at| sizes.at(at)).collect()
    }

    #[test] // X-5, RFC 6985 §3
    fn the_usual_mixture_is_seven_to_four_to_one_and_evenly_spread() {
        let imix = sizes("imix");
        let count = |size| imix.iter().filter(|one| **one == size).count();
        assert_eq!((imix.len(), count(64), count(570), count(1518)), (12, 7, 4, 1));
        // No two full or middle frames stand side by side.
        assert!(imix.windows(2).all(|pair| pair[0] == 64 || pair[1] == 64 || pair[0] != pair[1]), "{imix:?}");
        let octets: u32 = imix.iter().map(|size| u32::from(*size)).sum();
        assert_eq!(octets, 4246);
    }

    #[test] // RFC 6985 §3
    fn a_genome_is_sent_in_the_order_in_which_it_is_written() {
        assert_eq!(sizes("genome:abcdefg"), [64, 128, 256, 512, 1024, 1280, 1518]);
        assert_eq!(sizes("genome:aag"), [64, 64, 1518]);
        let sizes: Sizes = "genome:ab".parse().unwrap();
        assert_eq!((sizes.at(0), sizes.at(1), sizes.at(2)), (64, 128, 64));
    }

    #[test]
    fn sizes_that_no_frame_has_are_refused() {
        for (text, said) in [
            ("63", "between 64"),
            ("1519", "between 64"),
            ("genome:ax", "no letter"),
            ("genome:ai", "jumbo"),
            ("genome:", "between 1"),
            ("64x0", "no size"),
            ("64x5000", "no size"),
            ("64x4000+128x4000", "between 1"),
            ("IMIX", "no size"),
            ("", "no size"),
        ] {
            let refused = text.parse::<Sizes>().expect_err(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn a_floor_is_said_in_the_name() {
        let sizes = "imix".parse::<Sizes>().unwrap();
        assert_eq!(sizes.clone().at_least(64), sizes);
        let raised = sizes.at_least(84);
        assert_eq!((raised.smallest(), raised.to_string().as_str()), (84, "imix (at least 84)"));
    }

    proptest! {
        #[test]
        fn every_weight_is_kept_and_never_far_from_its_share(
            weights in proptest::collection::vec((64u16..1518, 1usize..20), 1..6)
        ) {
            let order = spread(&weights);
            let total: usize = weights.iter().map(|(_, weight)| weight).sum();
            prop_assert_eq!(order.len(), total);
            let sum: usize = weights.iter().map(|(size, weight)| *size as usize * weight).sum();
            prop_assert_eq!(order.iter().map(|size| *size as usize).sum::<usize>(), sum);
        }
    }
}
