//! A few seeds with every test run; `cargo xtask sim --seeds N` plays any number.

use sim::{Disturbance, Plan, RowPlan, Seed, run};
use warren_ike::NatTraversal;
use warren_policy::Rematching;

#[test] // issue 1; F-17, F-24, NT-12, NT-13, NT-17, NT-31, NT-32, NT-34
fn the_first_seeds_keep_every_promise() {
    for seed in 0..12 {
        if let Err(broken) = run(Seed(seed)) {
            panic!("seed {seed}: {broken:?}");
        }
    }
}

#[test]
fn a_seed_reproduces_its_run() {
    for seed in [Seed(77), Seed(9)] {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn rows_are_of_every_kind() {
    let plans: Vec<_> = (0..300).step_by(3).map(|seed| RowPlan::draw(Seed(seed))).collect();
    let some = |is: &dyn Fn(&RowPlan) -> bool| plans.iter().any(is) && !plans.iter().all(is);
    assert!(some(&|plan| plan.depth == 3));
    assert!(some(&|plan| plan.rematch == Rematching::Wire));
    assert!(some(&|plan| plan.outer_ipv6) && some(&|plan| plan.outer_ipv6 != plan.inner_ipv6));
    assert!(some(&|plan| plan.receiver) && some(&|plan| plan.second_site.is_some()));
    assert!(some(&|plan| plan.nat_traversal == NatTraversal::Force));
    let troubles: Vec<_> = plans.iter().flat_map(|plan| &plan.troubles).map(|trouble| trouble.what).collect();
    for is in [
        |what: &Disturbance| matches!(what, Disturbance::Death(0)),
        |what: &Disturbance| matches!(what, Disturbance::Death(1..)),
        |what: &Disturbance| matches!(what, Disturbance::Closed(_)),
        |what: &Disturbance| matches!(what, Disturbance::ClosedAtSender(_)),
        |what: &Disturbance| matches!(what, Disturbance::Aborted),
    ] {
        assert!(troubles.iter().any(is));
    }
}

#[test] // F-17
fn tunnels_with_several_pairs_are_of_every_kind() {
    let plans: Vec<_> = (0..100).map(|seed| Plan::draw(Seed(seed))).collect();
    let some = |is: &dyn Fn(&Plan) -> bool| plans.iter().any(is) && !plans.iter().all(is);
    let lanes = |plan: &Plan| plan.parallel.map(std::num::NonZeroU16::get);
    assert!(some(&|plan| lanes(plan) == [1, 1]) && some(&|plan| lanes(plan) == [4, 4]));
    assert!(some(&|plan| lanes(plan)[0] > lanes(plan)[1]) && some(&|plan| lanes(plan)[0] < lanes(plan)[1]));
    assert!(some(&|plan| plan.workers[0] > 1 && plan.workers[0] < usize::from(lanes(plan)[0])));
    assert!(some(&|plan| plan.workers[0] > usize::from(lanes(plan)[0])));
    // The first seeds, which every test run plays, have some too.
    assert!(plans[..12].iter().any(|plan| lanes(plan)[0] > 1 && lanes(plan)[1] > 1 && plan.workers[1] > 1));
}
