//! The search of RFC 2544 §26.1 for the throughput: the highest rate at which nothing is lost.
//!
//! Trials halve the interval between the highest rate that passed and the lowest that failed. They may be short; the rate that
//! is found is tried once more for the full length (RFC 2544 §24), and when it then fails, the search goes on below it.
//! Here is only what to try next; whoever tries it tells what came out.

use serde::Serialize;

use crate::limits::TRIALS_MAX;

/// What is searched, and how closely.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchConfig {
    /// The highest rate that is tried, in packets per second.
    pub rate_max: f64,
    /// The search ends when passed and failed rates are closer than this share of `rate_max`.
    pub resolution: f64,
    /// Trials at most.
    pub trials_max: u32,
    /// How often a trial that lost packets is repeated before it counts as failed. RFC 2544 knows no second chance; a machine
    /// that others use needs one.
    pub repeats: u32,
    /// Whether the last trial is longer than the others.
    pub confirms: bool,
}

/// What to try.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// Packets per second.
    pub rate: f64,
    /// Of the full length.
    pub is_full: bool,
}

/// What came out of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outcome {
    /// What the generator really sent, in packets per second.
    pub sent_pps: f64,
    /// Whether that is what it was asked for.
    pub kept_rate: bool,
    /// Packets sent.
    pub sent: u64,
    /// Packets that did not come back.
    pub lost: u64,
    /// Of those, packets that our own sink had no room for.
    pub overrun: u64,
}

impl Outcome {
    /// What it says of the device: `None` when the trial was none, because we could not send or take what was wanted.
    #[must_use]
    pub fn verdict(&self) -> Option<bool> {
        if self.lost > self.overrun {
            return Some(false);
        }
        (self.kept_rate && self.sent > 0 && self.lost == 0).then_some(true)
    }
}

/// Why the search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// A rate that passes, and one above it, no further than the resolution, that does not.
    Found,
    /// Above what passes, we cannot send or take the packets ourselves: the device may do more.
    PktgenLimit,
    /// The highest rate that was to be tried passes.
    RateMax,
    /// The trials were used up before the resolution was reached.
    TrialsMax,
    /// Not even the lowest rate passed.
    NothingPasses,
}

/// Why a rate is too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// The device loses packets.
    Device,
    /// We cannot try it.
    Ours,
}

/// A search under way.
#[derive(Debug, Clone)]
pub struct Search {
    config: SearchConfig,
    /// Rates that passed, rising, none above `failed`.
    passed: Vec<f64>,
    failed: f64,
    /// Why `failed` is one; `None` as long as it is only the highest rate to try.
    bound: Option<Bound>,
    confirmed: Option<f64>,
    trials: u32,
    repeated: u32,
    ending: Option<Ending>,
}

impl Search {
    /// Begins at the highest rate.
    #[must_use]
    pub fn new(config: SearchConfig) -> Self {
        let failed = config.rate_max;
        Self {
            config,
            passed: Vec::new(),
            failed,
            bound: None,
            confirmed: None,
            trials: 0,
            repeated: 0,
            ending: None,
        }
    }

    /// What to try next; `None` when the search is over.
    #[must_use]
    pub fn next_trial(&self) -> Option<Trial> {
        if self.ending.is_some() {
            return None;
        }
        let highest = self.passed.last().copied();
        if highest.is_none() && self.bound.is_none() {
            return Some(Trial { rate: self.failed, is_full: false });
        }
        match highest {
            Some(rate) if self.is_close(rate) => Some(Trial { rate, is_full: true }),
            _ => Some(Trial { rate: f64::midpoint(highest.unwrap_or(0.0), self.failed), is_full: false }),
        }
    }

    /// Tells what came out of the trial that [`next_trial`](Self::next_trial) wanted.
    pub fn enter(&mut self, trial: Trial, outcome: &Outcome) {
        self.trials += 1;
        match outcome.verdict() {
            Some(true) => {
                self.repeated = 0;
                self.enter_passed(trial);
            }
            _ if self.repeated < self.config.repeats => self.repeated += 1,
            verdict => {
                self.repeated = 0;
                self.enter_failed(trial, if verdict.is_none() { Bound::Ours } else { Bound::Device });
            }
        }
        let is_out = self.trials >= self.config.trials_max.min(TRIALS_MAX);
        if self.ending.is_none() && is_out {
            self.ending = Some(Ending::TrialsMax);
        }
    }

    fn enter_passed(&mut self, trial: Trial) {
        if trial.is_full {
            self.confirm(trial.rate);
            return;
        }
        self.passed.push(trial.rate);
        if self.is_close(trial.rate) && !self.config.confirms {
            self.confirm(trial.rate);
        }
    }

    fn enter_failed(&mut self, trial: Trial, bound: Bound) {
        self.bound = Some(bound);
        self.failed = trial.rate;
        self.passed.retain(|passed| *passed < trial.rate);
        match self.passed.last().copied() {
            None if trial.rate <= self.step() => {
                self.ending =
                    Some(if bound == Bound::Ours { Ending::PktgenLimit } else { Ending::NothingPasses });
            }
            Some(highest) if self.is_close(highest) && !self.config.confirms => self.confirm(highest),
            _ => {}
        }
    }

    fn confirm(&mut self, rate: f64) {
        self.confirmed = Some(rate);
        self.ending = Some(match self.bound {
            None => Ending::RateMax,
            Some(Bound::Device) => Ending::Found,
            Some(Bound::Ours) => Ending::PktgenLimit,
        });
    }

    fn is_close(&self, rate: f64) -> bool {
        self.failed - rate <= self.step()
    }

    fn step(&self) -> f64 {
        // A packet per second is the finest rate there is.
        (self.config.rate_max * self.config.resolution).max(1.0)
    }

    /// The throughput: a rate that a trial of the full length passed.
    #[must_use]
    pub fn throughput(&self) -> Option<f64> {
        self.confirmed
    }

    /// The highest rate that any trial passed, and none failed below.
    #[must_use]
    pub fn highest_passed(&self) -> Option<f64> {
        self.confirmed.or(self.passed.last().copied())
    }

    /// Why it ended, once it has.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Trials so far.
    #[must_use]
    pub fn trials(&self) -> u32 {
        self.trials
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> SearchConfig {
        SearchConfig { rate_max: 1e6, resolution: 0.005, trials_max: 40, repeats: 0, confirms: true }
    }

    /// A device that loses above its capacity, behind a generator with a limit of its own.
    struct Device {
        capacity: f64,
        generator: f64,
        sink: f64,
        /// Trials that lose a packet whatever the rate.
        unlucky: Vec<bool>,
        trials: Vec<(Trial, Outcome)>,
    }

    impl Device {
        fn new(capacity: f64) -> Self {
            Self { capacity, generator: f64::MAX, sink: f64::MAX, unlucky: Vec::new(), trials: Vec::new() }
        }

        fn search(&mut self, config: SearchConfig) -> Search {
            let mut search = Search::new(config);
            while let Some(trial) = search.next_trial() {
                assert!(self.trials.len() < 1_000, "the search does not end");
                let sent_pps = trial.rate.min(self.generator);
                let unlucky = self.unlucky.get(self.trials.len()).copied().unwrap_or(false);
                let excess = (sent_pps - self.capacity).max(0.0).ceil() as u64;
                let lost = excess + u64::from(unlucky);
                let kept_rate = sent_pps >= trial.rate;
                let overrun = (sent_pps - self.sink).max(0.0).ceil() as u64;
                let lost = lost + overrun;
                let outcome = Outcome { sent_pps, kept_rate, sent: 1 + sent_pps as u64, lost, overrun };
                search.enter(trial, &outcome);
                self.trials.push((trial, outcome));
            }
            search
        }
    }

    #[test] // X-5, RFC 2544 §26.1
    fn the_capacity_is_found_within_the_resolution_and_confirmed_for_the_full_length() {
        let mut device = Device::new(437_000.0);
        let search = device.search(config());
        let found = search.throughput().unwrap();
        assert!((432_000.0..=437_000.0).contains(&found), "{found}");
        assert_eq!(search.ending(), Some(Ending::Found));
        let (last, outcome) = device.trials.last().unwrap();
        assert!(last.is_full && last.rate == found && outcome.lost == 0);
        assert!(device.trials.iter().rev().skip(1).all(|(trial, _)| !trial.is_full));
        assert!(search.trials() <= 11, "{}", search.trials());
    }

    #[test]
    fn a_device_that_loses_nothing_ends_at_the_highest_rate() {
        let mut device = Device::new(f64::MAX);
        let search = device.search(config());
        assert_eq!((search.throughput(), search.ending()), (Some(1e6), Some(Ending::RateMax)));
        assert_eq!(search.trials(), 2);
    }

    #[test]
    fn what_we_cannot_send_or_take_is_neither_claimed_nor_held_against_the_device() {
        for limit in [
            Device { generator: 700_000.0, ..Device::new(f64::MAX) },
            Device { sink: 700_000.0, ..Device::new(f64::MAX) },
        ] {
            let mut device = limit;
            let search = device.search(config());
            assert_eq!(search.ending(), Some(Ending::PktgenLimit));
            assert!((695_000.0..=700_000.0).contains(&search.throughput().unwrap()));
        }
        // With a device below that limit, the limit is no excuse.
        let mut device = Device { generator: 700_000.0, sink: 600_000.0, ..Device::new(300_000.0) };
        let search = device.search(config());
        assert_eq!(search.ending(), Some(Ending::Found));
        assert!((295_000.0..=300_000.0).contains(&search.throughput().unwrap()));
        // A generator that can send nothing finds nothing.
        let mut device = Device { generator: 0.5, ..Device::new(f64::MAX) };
        let search = device.search(config());
        assert_eq!((search.throughput(), search.ending()), (None, Some(Ending::PktgenLimit)));
    }

    #[test]
    fn a_device_that_always_loses_passes_nothing() {
        let mut device = Device::new(0.0);
        let search = device.search(config());
        assert_eq!((search.throughput(), search.ending()), (None, Some(Ending::NothingPasses)));
    }

    #[test]
    fn a_search_that_runs_out_of_trials_says_so_and_claims_nothing() {
        let mut device = Device::new(437_000.0);
        let search = device.search(SearchConfig { trials_max: 4, ..config() });
        assert_eq!((search.throughput(), search.ending()), (None, Some(Ending::TrialsMax)));
        assert_eq!(search.highest_passed(), Some(375_000.0));
        assert_eq!(search.trials(), 4);
    }

    #[test]
    fn a_rate_that_fails_when_it_is_confirmed_is_searched_below() {
        let mut device = Device::new(437_000.0);
        let trials = device.search(config()).trials() as usize;
        let mut unlucky = vec![false; trials];
        unlucky[trials - 1] = true;
        let mut device = Device { unlucky, ..Device::new(437_000.0) };
        let search = device.search(config());
        let found = search.throughput().unwrap();
        let failed = device.trials[trials - 1].0.rate;
        assert!(found < failed && failed - found <= 5_000.0, "{found} {failed}");
        assert!(device.trials.last().unwrap().0.is_full);
    }

    #[test]
    fn a_second_chance_is_given_only_where_it_was_asked_for() {
        let unlucky = vec![true, false, true, false];
        let mut once = Device { unlucky: unlucky.clone(), ..Device::new(f64::MAX) };
        assert!(once.search(config()).throughput().unwrap() < 1e6);
        let mut twice = Device { unlucky, ..Device::new(f64::MAX) };
        let search = twice.search(SearchConfig { repeats: 1, ..config() });
        assert_eq!((search.throughput(), search.trials()), (Some(1e6), 4));
    }

    proptest! {
        #[test]
        fn what_is_found_is_never_above_the_capacity_and_close_below_it(
            capacity in 10_000.0f64..2e6, generator in 10_000.0f64..2e6, sink in 10_000.0f64..2e6, confirms: bool
        ) {
            let mut device = Device { generator, sink, ..Device::new(capacity) };
            let search = device.search(SearchConfig { confirms, ..config() });
            let truth = capacity.min(generator).min(sink).min(1e6);
            let found = search.throughput().unwrap();
            prop_assert!(found <= truth && truth - found <= 5_001.0, "{} of {}", found, truth);
        }

        #[test]
        fn noise_can_only_make_the_result_smaller(
            capacity in 10_000.0f64..1e6, unlucky in proptest::collection::vec(any::<bool>(), 40), repeats in 0u32..3
        ) {
            let mut device = Device { unlucky, ..Device::new(capacity) };
            let search = device.search(SearchConfig { repeats, ..config() });
            prop_assert!(search.trials() <= 40);
            if let Some(found) = search.throughput() {
                prop_assert!(found <= capacity);
                // A trial of the full length at that rate passed.
                let passed = |(trial, outcome): &(Trial, Outcome)| trial.is_full && trial.rate == found && outcome.lost == 0;
                prop_assert!(device.trials.iter().any(passed));
            }
        }
    }
}
