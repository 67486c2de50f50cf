//! A few seeds with every test run; `cargo xtask sim --seeds N` plays any number.

use sim::{Seed, run};

#[test] // issue 1; F-17, F-24
fn the_first_seeds_keep_every_promise() {
    for seed in 0..12 {
        if let Err(broken) = run(Seed(seed)) {
            panic!("seed {seed}: {broken:?}");
        }
    }
}

#[test]
fn a_seed_reproduces_its_run() {
    assert_eq!(run(Seed(77)), run(Seed(77)));
}
