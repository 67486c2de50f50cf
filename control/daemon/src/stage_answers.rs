//! Where the workers' cycles go, as `dpctl` is told.

use crate::answers::Sources;
use warren_api::{BatchCount, LevelCount, StageAccounts, StageCost, Stages, WorkerStages};
use warren_engine::limits::BATCH_MAX;
use warren_engine::{Stage, StageSnapshot};
use warren_port::cycles;

impl Sources<'_> {
    pub(crate) fn stages(&self) -> Stages {
        let worker = |(at, snapshot): (usize, &StageSnapshot)| WorkerStages {
            id: at as u16,
            core: self.cores.get(at).copied().flatten(),
            accounts: accounts(snapshot),
        };
        Stages {
            uptime_ms: self.now.as_millis() as u64,
            // What the file says now is what the workers were built with: a change needs a restart.
            sample_every: self.config.gateway.stage_sampling,
            clock: if cycles::IS_TSC { "tsc" } else { "ns" }.to_owned(),
            cycles_per_second: cycles::per_second() as u64,
            totals: accounts(&self.engine.stages()),
            workers: self.engine.worker_stages().iter().enumerate().map(worker).collect(),
        }
    }
}

fn accounts(snapshot: &StageSnapshot) -> StageAccounts {
    let cost = |&stage: &Stage| {
        let spent = snapshot.of(stage);
        StageCost {
            stage: stage.word().to_owned(),
            explanation: stage.meaning().to_owned(),
            cycles: spent.cycles,
            packets: spent.packets,
            batches: spent.batches,
        }
    };
    let batches = |(place, &batches): (u32, &u64)| BatchCount {
        packets_min: 1 << place,
        packets_max: ((2 << place) - 1).min(BATCH_MAX as u32),
        batches,
    };
    let levels =
        |(levels, (&put_on, &taken_off)): (u8, (&u64, &u64))| LevelCount { levels, put_on, taken_off };
    StageAccounts {
        turns: snapshot.turns,
        idle_turns: snapshot.idle_turns,
        idle_cycles: snapshot.idle_cycles,
        stages: Stage::ALL.iter().map(cost).collect(),
        batches: (0..).zip(&snapshot.batches).map(batches).collect(),
        levels: (0..).zip(snapshot.put_on.iter().zip(&snapshot.taken_off)).map(levels).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_and_every_size_of_a_batch_has_a_row() {
        let mut snapshot = StageSnapshot::default();
        (snapshot.turns, snapshot.idle_turns, snapshot.idle_cycles) = (9, 4, 70);
        (snapshot.batches[0], snapshot.batches[6]) = (3, 5);
        (snapshot.put_on[2], snapshot.taken_off[0]) = (11, 12);
        let told = accounts(&snapshot);
        assert_eq!((told.turns, told.idle_turns, told.idle_cycles), (9, 4, 70));
        let words: Vec<_> = told.stages.iter().map(|cost| cost.stage.as_str()).collect();
        assert_eq!(words, Stage::ALL.iter().map(|stage| stage.word()).collect::<Vec<_>>());
        let sizes: Vec<_> = told.batches.iter().map(|row| (row.packets_min, row.packets_max)).collect();
        assert_eq!(sizes, [(1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 63), (64, 64)]);
        assert_eq!((told.batches[0].batches, told.batches[6].batches), (3, 5));
        assert_eq!(told.levels[2], LevelCount { levels: 2, put_on: 11, taken_off: 0 });
        assert_eq!(told.levels[0].taken_off, 12);
    }

    #[test]
    fn the_file_and_the_engine_agree_on_how_many_turns_are_measured() {
        let default = warren_config::Gateway::default().stage_sampling;
        assert_eq!(default, warren_engine::limits::SAMPLE_EVERY);
        assert_eq!(warren_config::limits::STAGE_SAMPLING_MAX, warren_engine::limits::SAMPLE_EVERY_MAX);
    }
}
