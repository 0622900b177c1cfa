//! The seeded simulator: short random histories, as many as the time allows, the ledger against the model.
//!
//! `IRON_SIM_SECONDS` says for how long (5 by default), `IRON_SIM_SEED` where to start. Every history has its own seed; one
//! that fails is printed with it, cut down to the steps that matter.
//!
//! ```text
//! IRON_SIM_SECONDS=600 cargo test -p ledger --release --test it simulate -- --nocapture
//! IRON_SIM_SEED=<the seed printed> cargo test -p ledger --test it simulate
//! ```

use std::time::Duration;

use crate::history::History;
use crate::random::Random;
use crate::run::{EVERY_ANSWER, Tally, run};

#[test]
fn random_histories_agree_with_the_model() {
    let seconds = setting("IRON_SIM_SECONDS").unwrap_or(5);
    let given = setting("IRON_SIM_SEED");
    let first = given.unwrap_or_else(seed_of_the_day);
    eprintln!("simulating for {seconds} s from IRON_SIM_SEED={first}");
    #[expect(clippy::disallowed_methods, reason = "a simulation is as long as it is given real time")]
    let start = std::time::Instant::now();
    let mut seeds = Random(first);
    let (mut seed, mut histories, mut tally) = (first, 0_u64, Tally::new());
    while start.elapsed() < Duration::from_secs(seconds) {
        match run(&History::of_seed(seed), false) {
            Ok(answers) => answers.into_iter().for_each(|(name, n)| *tally.entry(name).or_default() += n),
            Err(_) => fail(seed),
        }
        histories += 1;
        seed = seeds.next();
    }
    let elapsed = start.elapsed().as_millis().max(1);
    let commands: u64 = tally.values().sum();
    eprintln!("{histories} histories, {commands} commands, {} histories/s", u128::from(histories) * 1_000 / elapsed);
    eprintln!("{tally:?}");
    if histories >= 5_000 {
        let missed: Vec<&str> = EVERY_ANSWER.into_iter().filter(|name| !tally.contains_key(name)).collect();
        assert!(missed.is_empty(), "the histories never led to {missed:?}");
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// A different seed for each run, so that runs add up.
fn seed_of_the_day() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "any number will do as long as it is printed")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

/// Drops steps as long as the history still fails, and panics with what is left.
fn fail(seed: u64) -> ! {
    let mut history = History::of_seed(seed);
    let mut what = run(&history, true).expect_err("it failed before");
    loop {
        let shorter = (0..history.steps.len()).find_map(|n| {
            let mut steps = history.steps.clone();
            steps.remove(n);
            let shorter = History { world: history.world, steps };
            run(&shorter, true).err().map(|what| (shorter, what))
        });
        match shorter {
            Some((shorter, why)) => (history, what) = (shorter, why),
            None => panic!("IRON_SIM_SEED={seed} fails; the least of it is {history:?}:\n{what}"),
        }
    }
}
