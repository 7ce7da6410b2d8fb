//! The schedulers at work without training: many workers on synthetic learning curves.
//!
//! Curves are `floor + height · (share of the budget)^-power` plus noise, drawn for each trial, so that some
//! cross: a trial that starts well may end badly. Workers run at speeds of their own, decide on what
//! they saw a moment ago, and may die in the middle of a job, as processes do; trials may fail. Time is
//! simulated, so a search of days takes milliseconds.

use super::asha::Asha;
use super::trial::{Decision, Trial};
use super::tune::Tune;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug)]
struct World {
    trials: usize,
    workers: usize,
    total: u64,
    seed: u64,
    noise: f64,
    /// Probability that a trial fails on the way to a step.
    fails: f64,
    /// Probability that a worker dies in a job.
    dies: f64,
    /// Slowest worker over fastest.
    spread: f64,
}

const CALM: World = World {
    trials: 81,
    workers: 8,
    total: 8100,
    seed: 1,
    noise: 0.0,
    fails: 0.0,
    dies: 0.0,
    spread: 1.0,
};

struct Curve {
    floor: f64,
    height: f64,
    power: f64,
}

impl Curve {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self {
            floor: rng.random_range(2.0..3.0),
            height: rng.random_range(0.2..0.8),
            power: rng.random_range(0.3..0.6),
        }
    }

    fn at(&self, share: f64) -> f64 {
        self.floor + self.height * share.powf(-self.power)
    }
}

/// A job that a worker is at.
struct Work {
    trial: usize,
    until: u64,
    ends: f64,
    /// Steps the job adds to what the trial had.
    steps: u64,
    dies: bool,
    fails: bool,
}

/// What came out.
struct Outcome {
    trials: Vec<Trial>,
    /// Jobs that reached their step, in order.
    done: Vec<(usize, u64)>,
    /// Steps trained by all workers together, repeated ones too.
    steps: u64,
    curves: Vec<Curve>,
}

impl Outcome {
    fn true_loss(&self, trial: usize) -> f64 {
        self.curves[trial].at(1.0)
    }

    /// True final loss of the trial that the search found best at the end of its budget.
    fn found(&self) -> f64 {
        let ended = (0..self.trials.len()).filter(|index| {
            let trial = &self.trials[*index];
            trial.losses.contains_key(&trial.total)
        });
        let best = ended.min_by(|a, b| {
            let loss = |index: &usize| self.trials[*index].loss(self.trials[*index].total);
            loss(a).total_cmp(&loss(b))
        });
        self.true_loss(best.expect("some trial is trained to its end"))
    }

    fn best(&self) -> f64 {
        let all = (0..self.trials.len()).map(|index| self.true_loss(index));
        all.fold(f64::INFINITY, f64::min)
    }
}

/// Runs `decide` to its end in `world`.
fn simulate(world: World, groups: usize, decide: &dyn Fn(&[Trial]) -> Decision) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(world.seed);
    let curves: Vec<Curve> = (0..world.trials).map(|_| Curve::draw(&mut rng)).collect();
    let trial = |index: usize| Trial {
        group: index * groups / world.trials,
        ..Trial::new(world.total)
    };
    let mut trials: Vec<Trial> = (0..world.trials).map(trial).collect();
    // What a worker saw when it last looked; it decides on that, as on a slow file system.
    let mut seen: Vec<Vec<Trial>> = vec![trials.clone(); world.workers];
    let mut works: Vec<Option<Work>> = (0..world.workers).map(|_| None).collect();
    let speed: Vec<f64> = (0..world.workers)
        .map(|_| rng.random_range(1.0..=world.spread.max(1.0)))
        .collect();
    let (mut now, mut steps, mut asked, mut done) = (0.0, 0, 0, Vec::new());
    loop {
        let mut idle_and_over = 0;
        for worker in 0..world.workers {
            if works[worker].is_some() {
                continue;
            }
            // Two looks at most: a stale one and a fresh one.
            for _ in 0..2 {
                asked += 1;
                assert!(asked < 1_000_000, "the search does not end");
                let decision = decide(&seen[worker]);
                assert_eq!(
                    decision,
                    decide(&seen[worker]),
                    "the same sight, the same decision"
                );
                let fresh = seen[worker] == trials;
                seen[worker] = trials.clone();
                match decision {
                    Decision::Train { trial, until } => {
                        let target = &mut trials[trial];
                        // The claim: whoever comes second, or late, asks again.
                        if target.busy || target.settled(until) {
                            assert!(!fresh, "busy or settled work was handed out");
                            continue;
                        }
                        assert!(until <= target.total, "beyond the budget");
                        let from = target.losses.keys().next_back().copied().unwrap_or(0);
                        assert!(until > from, "backwards");
                        target.busy = true;
                        target.target = Some(until);
                        let share = (until - from) as f64;
                        works[worker] = Some(Work {
                            trial,
                            until,
                            steps: until - from,
                            ends: now + share * speed[worker] * rng.random_range(0.9..1.1),
                            dies: rng.random_bool(world.dies),
                            fails: rng.random_bool(world.fails),
                        });
                        break;
                    }
                    Decision::Wait if fresh => break,
                    Decision::Done if fresh => {
                        idle_and_over += 1;
                        break;
                    }
                    _ => {}
                }
            }
        }
        let ending = (0..world.workers)
            .filter(|worker| works[*worker].is_some())
            .min_by(|a, b| {
                let ends = |worker: &usize| works[*worker].as_ref().map_or(0.0, |work| work.ends);
                ends(a).total_cmp(&ends(b))
            });
        let Some(worker) = ending else {
            if idle_and_over == world.workers {
                break;
            }
            continue;
        };
        let work = works[worker].take().expect("it is at work");
        now = work.ends;
        steps += work.steps;
        let trial = &mut trials[work.trial];
        trial.busy = false;
        if work.dies {
            continue;
        }
        if work.fails {
            trial.failed = true;
            continue;
        }
        let share = work.until as f64 / world.total as f64;
        let noise = world.noise * rng.random_range(-1.0..1.0);
        trial
            .losses
            .insert(work.until, curves[work.trial].at(share) + noise);
        done.push((work.trial, work.until));
    }
    Outcome {
        trials,
        done,
        steps,
        curves,
    }
}

#[test]
fn asha_finds_nearly_the_best_for_a_fraction_of_the_cost() {
    let asha = Asha::new(3, 1.0 / 27.0);
    let mut regrets = Vec::new();
    for seed in 0..20 {
        let world = World {
            seed,
            noise: 0.01,
            spread: 3.0,
            ..CALM
        };
        let outcome = simulate(world, 1, &|trials| asha.decide(trials));
        let everything = world.trials as u64 * world.total;
        assert!(
            outcome.steps * 5 < everything,
            "{} of {everything}",
            outcome.steps
        );
        regrets.push(outcome.found() - outcome.best());
    }
    regrets.sort_by(f64::total_cmp);
    // Final losses range over 1.5; random choice of as many full trainings is far worse.
    assert!(regrets[10] < 0.06 && regrets[19] < 0.3, "{regrets:?}");
}

#[test]
fn with_one_worker_the_decisions_do_not_depend_on_kills() {
    let asha = Asha::new(3, 0.1);
    let alone = World {
        workers: 1,
        trials: 20,
        ..CALM
    };
    let quiet = simulate(alone, 1, &|trials| asha.decide(trials));
    let killed = World { dies: 0.4, ..alone };
    let killed = simulate(killed, 1, &|trials| asha.decide(trials));
    assert_eq!(quiet.done, killed.done);
    assert!(killed.steps > quiet.steps);
}

#[test]
fn tuning_trains_one_winner_a_group_whatever_happens() {
    let tune = Tune { share: 0.25 };
    for seed in 0..50 {
        let world = World {
            trials: 24,
            seed,
            fails: 0.1,
            dies: 0.2,
            spread: 10.0,
            ..CALM
        };
        let outcome = simulate(world, 6, &|trials| tune.decide(trials));
        for group in 0..6 {
            let members: Vec<&Trial> = (outcome.trials.iter())
                .filter(|trial| trial.group == group)
                .collect();
            let ended = (members.iter()).filter(|trial| trial.losses.contains_key(&trial.total));
            let sound = members.iter().any(|trial| !trial.failed);
            assert!(ended.count() <= 1);
            let winner = tune.winner(&outcome.trials, group);
            assert_eq!(winner.is_some(), sound);
            if let Some(winner) = winner {
                let winner = &outcome.trials[winner];
                assert!(winner.losses.contains_key(&winner.total));
            }
        }
    }
}

#[test]
fn several_objectives_keep_models_of_every_size() {
    let asha = Asha::new(3, 0.1);
    let size = |index: usize| (index + 1) as f64;
    // Larger is better, a little by luck, at every rung alike.
    let luck = |index: usize| (index * 7 % 27) as f64 / 270.0;
    let loss = |index: usize| 4.0 - 0.5 * size(index).ln() + luck(index);
    let sizes_that_end = |costs: bool| -> Vec<f64> {
        let trial = |index: usize| Trial {
            costs: if costs { vec![size(index)] } else { Vec::new() },
            ..Trial::new(900)
        };
        let mut trials: Vec<Trial> = (0..27).map(trial).collect();
        for (index, trial) in trials.iter_mut().enumerate() {
            trial.losses.insert(asha.step(0, 900), loss(index));
        }
        while let Decision::Train { trial, until } = asha.decide(&trials) {
            trials[trial].losses.insert(until, loss(trial));
        }
        let ended = |index: &usize| trials[*index].losses.contains_key(&900);
        (0..27).filter(ended).map(size).collect()
    };
    let (low, high) = (f64::min, f64::max);
    let by_loss = sizes_that_end(false);
    assert!(
        by_loss.iter().copied().fold(27.0, low) > 13.0,
        "{by_loss:?}"
    );
    let by_both = sizes_that_end(true);
    assert_eq!(by_both.len(), 3);
    let spread = by_both.iter().copied().fold(0.0, high) / by_both.iter().copied().fold(27.0, low);
    assert!(spread > 8.0, "{by_both:?}");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn worlds() -> impl Strategy<Value = World> {
        (
            1_usize..40,
            1_usize..9,
            1_u64..3000,
            any::<u64>(),
            0.0..0.3,
            0.0..0.5,
            1.0..50.0,
        )
            .prop_map(
                |(trials, workers, total, seed, fails, dies, spread)| World {
                    trials,
                    workers,
                    total,
                    seed,
                    noise: 0.2,
                    fails,
                    dies,
                    spread,
                },
            )
    }

    /// Whether a promotion names a trial of the best `1/eta` of the rung below, counted without the
    /// scheduler's own sorting, or is one of the two exceptions: begun already, or the last one left.
    fn promotion_is_due(asha: &Asha, trials: &[Trial], decision: Decision) -> bool {
        let Decision::Train { trial, until } = decision else {
            return true;
        };
        let (this, total) = (&trials[trial], trials[trial].total);
        // Where rungs coincide, the lowest of them is meant.
        let step = |rung| asha.step(rung, total);
        let below = (1..asha.rungs).find(|rung| step(*rung) == until && step(rung - 1) < until);
        let Some(below) = below.map(|rung| step(rung - 1)) else {
            return true;
        };
        let begun = this.target.is_some_and(|target| target >= until);
        let quiet = !(trials.iter())
            .any(|trial| trial.busy && !trial.failed || trial.losses.contains_key(&total));
        let reached = |trial: &&Trial| trial.losses.keys().any(|step| *step >= below);
        let better = (trials.iter())
            .filter(|other| other.loss(below) < this.loss(below))
            .count();
        let most = (trials.iter())
            .filter(|other| other.failed || reached(other))
            .count();
        begun || quiet || better < most / asha.eta as usize
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_interleaving_of_asha_is_valid(world in worlds(), eta in 2_u64..5, rungs in 1_u32..5) {
            let asha = Asha { eta, rungs };
            let outcome = simulate(world, 1, &|trials| {
                let decision = asha.decide(trials);
                assert!(promotion_is_due(&asha, trials, decision));
                decision
            });
            // Nothing is done twice.
            let mut once = outcome.done.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), outcome.done.len());
            // Nobody is forgotten.
            for trial in &outcome.trials {
                prop_assert!(trial.settled(asha.step(0, trial.total)));
            }
            let sound = outcome.trials.iter().filter(|trial| !trial.failed).count();
            // A search with a sound trial ends with a trained model.
            let ended = (outcome.trials.iter()).any(|trial| trial.losses.contains_key(&trial.total));
            prop_assert!(ended || sound == 0);
        }

        #[test]
        fn any_interleaving_of_tuning_is_valid(world in worlds(), groups in 1_usize..5) {
            let tune = Tune { share: 0.3 };
            let outcome = simulate(world, groups, &|trials| tune.decide(trials));
            let mut once = outcome.done.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), outcome.done.len());
            for trial in &outcome.trials {
                prop_assert!(trial.settled(tune.step(trial.total)));
            }
        }

        #[test]
        fn a_decision_never_names_what_is_busy_failed_or_done(
            rows in prop::collection::vec(
                (0_u32..4, any::<bool>(), any::<bool>(), prop::option::of(0_u64..60), 0.0..9.0),
                0..20,
            ),
        ) {
            // Sights that no history need explain: a directory may say anything.
            let asha = Asha { eta: 3, rungs: 3 };
            let trials: Vec<Trial> = rows
                .into_iter()
                .map(|(measured, busy, failed, target, loss)| Trial {
                    losses: (0..measured.min(3))
                        .map(|rung| (asha.step(rung, 54), loss - f64::from(rung)))
                        .collect(),
                    busy,
                    failed,
                    target,
                    ..Trial::new(54)
                })
                .collect();
            if let Decision::Train { trial, until } = asha.decide(&trials) {
                let trial = &trials[trial];
                prop_assert!(!trial.busy && !trial.failed && !trial.losses.contains_key(&until));
            } else if asha.decide(&trials) == Decision::Wait {
                prop_assert!(trials.iter().any(|trial| trial.busy));
            }
        }
    }
}
