//! Histories as properties: the same as the simulator runs, with everything compared after each step.

use proptest::prelude::*;

use crate::history::History;
use crate::random::Random;
use crate::run::run;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_step_agrees_with_the_model(world in any::<u64>(), steps in proptest::collection::vec(any::<u64>(), 0..40)) {
        let outcome = run(&History { world, steps }, true);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

#[test]
fn a_seed_makes_the_same_history_every_time() {
    assert_eq!(History::of_seed(7), History::of_seed(7));
    assert_ne!(History::of_seed(7), History::of_seed(8));
    assert_eq!(run(&History::of_seed(7), true), run(&History::of_seed(7), true));
    assert_eq!(Random(0).next(), 0xe220_a839_7b1d_cdaf, "as published for SplitMix64");
}
