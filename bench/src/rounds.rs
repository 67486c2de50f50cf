//! How many measurements become one figure, and when the machine was too noisy for it to mean anything.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where the middle half of the rounds lies further apart than this share of their median, something else used the machine
/// and the figure is not quoted. On a quiet machine rounds lie within two or three per cent.
pub(crate) const SPREAD_MAX: f64 = 0.10;

/// One figure for each round.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    pub(crate) fn median(&self) -> f64 {
        median(&self.0)
    }

    /// The middle half's width as a share of the median.
    pub(crate) fn spread(&self) -> f64 {
        let sorted = sorted(&self.0);
        match self.median() {
            0.0 => 0.0,
            median => (quantile(&sorted, 0.75) - quantile(&sorted, 0.25)) / median.abs(),
        }
    }

    /// Whether the rounds lie too far apart.
    pub(crate) fn are_noisy(&self) -> bool {
        self.spread() > SPREAD_MAX
    }

    /// Each figure by the other's of the same round: what the machine did in between was done to both.
    pub(crate) fn ratio_to(&self, other: &Self) -> Self {
        self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect()
    }

    /// Each figure less the other's of the same round.
    pub(crate) fn less(&self, other: &Self) -> Self {
        self.0.iter().zip(&other.0).map(|(own, other)| own - other).collect()
    }
}

impl FromIterator<f64> for Rounds {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// Processor time of this thread.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The middle one; of an even number, the mean of the middle two. Zero for none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let sorted = sorted(figures);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// A quarter of them lie below: for batches, of which some are always interrupted and none is ever too fast. Zero for none.
pub(crate) fn lower_quartile(figures: &[f64]) -> f64 {
    quantile(&sorted(figures), 0.25)
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Between the two that it falls between, in proportion. Zero for none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_quarter_lies_below_the_lower_quartile() {
        assert_eq!(lower_quartile(&[]), 0.0);
        assert_eq!(lower_quartile(&[5.0]), 5.0);
        assert_eq!(lower_quartile(&[50.0, 10.0, 30.0, 20.0, 40.0]), 20.0);
        assert_eq!(lower_quartile(&[1.0, 2.0]), 1.25);
    }

    #[test]
    fn one_disturbed_round_is_no_noise_and_several_are() {
        let one: Rounds = [100.0, 101.0, 102.0, 101.0, 900.0].into_iter().collect();
        assert!(!one.are_noisy(), "{}", one.spread());
        let several: Rounds = [100.0, 101.0, 150.0, 160.0, 900.0].into_iter().collect();
        assert!(several.are_noisy(), "{}", several.spread());
    }

    #[test]
    fn rounds_are_compared_with_those_of_the_same_time() {
        let ours: Rounds = [10.0, 30.0].into_iter().collect();
        let theirs: Rounds = [5.0, 10.0].into_iter().collect();
        assert_eq!(ours.ratio_to(&theirs), [2.0, 3.0].into_iter().collect());
        assert_eq!(ours.less(&theirs), [5.0, 20.0].into_iter().collect());
    }
}
