//! Where the workers' cycles go (REQUIREMENTS X-4): what was measured up to one moment. All numbers only grow; rates and
//! shares of a while are differences of two readings.

use serde::{Deserialize, Serialize};

/// What was measured, by sampling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stages {
    /// Milliseconds since the daemon started.
    pub uptime_ms: u64,
    /// One turn of a worker in so many is measured, on average; 0: none.
    pub sample_every: u32,
    /// What a cycle is: `tsc`, or `ns` where there is no such counter.
    pub clock: String,
    /// Cycles in a second.
    pub cycles_per_second: u64,
    /// All workers together.
    pub totals: StageAccounts,
    /// By worker number.
    pub workers: Vec<WorkerStages>,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStages {
    /// Its number.
    pub id: u16,
    /// The core it is pinned to; none in tests.
    pub core: Option<u16>,
    /// What was measured of it.
    pub accounts: StageAccounts,
}

/// What was measured of one worker, or of all. Everything is of measured turns alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageAccounts {
    /// Turns that were measured.
    pub turns: u64,
    /// Of those, turns in which nothing moved …
    pub idle_turns: u64,
    /// … and what they took; no stage's.
    pub idle_cycles: u64,
    /// Every stage in the order in which packets pass them, those that had nothing to do too. Together their cycles are the
    /// busy time.
    pub stages: Vec<StageCost>,
    /// Batches of frames that ports gave, by size.
    pub batches: Vec<BatchCount>,
    /// Packets that left, by the levels of ESP put on and taken off here; none is the first.
    pub levels: Vec<LevelCount>,
}

/// What one stage has cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCost {
    /// Its word.
    pub stage: String,
    /// The sentence that explains it.
    pub explanation: String,
    /// In ticks of the clock.
    pub cycles: u64,
    /// Packets that came to it.
    pub packets: u64,
    /// How often it had packets at all.
    pub batches: u64,
}

/// Batches of about one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCount {
    /// Frames of the smallest …
    pub packets_min: u32,
    /// … and of the largest.
    pub packets_max: u32,
    /// How many there were.
    pub batches: u64,
}

/// Packets with so many levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelCount {
    /// How many levels.
    pub levels: u8,
    /// Packets on which they were put.
    pub put_on: u64,
    /// Packets from which they were taken.
    pub taken_off: u64,
}
