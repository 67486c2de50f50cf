//! What both roles of discovery have in common: rules, own addresses, randomness, counters, and effects in order.

use super::config::{DiscoverRule, TedConfig};
use super::rates::Bucket;
use super::status::{TedCount, TedCounters, TedNotice};
use super::{TedOutput, address};
use crate::Entropy;
use crate::limits::TED_NOTICES_PER_SECOND;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::RuleId;
use warren_seam::{Entry, Injected};

pub(super) struct Around {
    pub(super) config: TedConfig,
    /// In the order in which they are tried.
    pub(super) rules: Vec<DiscoverRule>,
    /// Where each stands in `rules`; of two under one name the first.
    at: BTreeMap<RuleId, usize>,
    pub(super) own: BTreeSet<IpAddr>,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) counters: TedCounters,
    pub(super) outputs: VecDeque<TedOutput>,
    notices: Bucket,
}

impl Around {
    pub(super) fn new(config: TedConfig, rules: Vec<DiscoverRule>, entropy: Box<dyn Entropy>) -> Self {
        let at = places(&rules);
        Self {
            config,
            rules,
            at,
            own: BTreeSet::new(),
            entropy,
            counters: TedCounters::default(),
            outputs: VecDeque::new(),
            notices: Bucket::new(TED_NOTICES_PER_SECOND),
        }
    }

    /// Other rules and another configuration. Returns the rules that are as they were.
    pub(super) fn replace(&mut self, config: TedConfig, rules: Vec<DiscoverRule>) -> BTreeSet<RuleId> {
        let at = places(&rules);
        let same = |rule: &&DiscoverRule| self.rule(rule.rule) == Some(*rule);
        let unchanged = rules.iter().filter(same).map(|rule| rule.rule).collect();
        (self.config, self.rules, self.at) = (config, rules, at);
        unchanged
    }

    pub(super) fn rule(&self, rule: RuleId) -> Option<&DiscoverRule> {
        self.rules.get(*self.at.get(&rule)?)
    }

    /// Whether the address is ours: one of the gateway's, or one that a rule speaks from.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || self.rules.iter().any(|rule| rule.local == address)
    }

    /// Whether a host of that address may be asked about, or ask.
    pub(super) fn is_askable(&self, source: IpAddr, destination: IpAddr) -> bool {
        source.is_ipv6() == destination.is_ipv6()
            && source != destination
            && address::is_host(source)
            && address::is_host(destination)
    }

    pub(super) fn count(&mut self, count: TedCount) {
        self.counters.count(count);
    }

    pub(super) fn log(&mut self, now: Duration, notice: TedNotice) {
        if self.notices.take(now) {
            self.outputs.push_back(TedOutput::Log(notice));
        } else {
            self.count(TedCount::NoticesSuppressed);
        }
    }

    pub(super) fn inject(&mut self, entry: Entry, packet: Vec<u8>) {
        self.outputs.push_back(TedOutput::Inject(Injected { entry, packet }));
    }

    /// A cookie that is not zero, which would mean *none*.
    pub(super) fn cookie(&mut self) -> [u8; 8] {
        loop {
            let cookie = self.entropy.octets();
            if cookie != [0; 8] {
                return cookie;
            }
        }
    }
}

fn places(rules: &[DiscoverRule]) -> BTreeMap<RuleId, usize> {
    rules.iter().enumerate().rev().map(|(at, rule)| (rule.rule, at)).collect()
}
