//! ASHA: asynchronous successive halving (Li et al. 2018, arXiv 1810.05934, Algorithm 2).
//!
//! Rung `k` is a share of the budget, `eta` times that of the rung below. Whoever asks gets a trial
//! that is among the best `1/eta` of all that have reached its rung and has not been promoted yet,
//! from the highest rung that has one; else a new trial for the lowest rung. Nobody waits for a rung
//! to fill, so a straggler or a failed trial blocks nothing. Promotion goes on from the checkpoint
//! at which the trial paused.
//!
//! Three things are added. Work that somebody began and nobody is at (its process was killed) comes
//! first: it was decided already. A failed trial stays in its rung as the worst, so that failing
//! costs the others nothing. And when all is quiet and no trial has seen the whole budget, which
//! happens with fewer than `eta^rungs` trials, the best of the highest rung goes on: a search ends with
//! at least one trained model.

use super::pareto::order;
use super::trial::{Decision, Trial};

/// The rungs, and how many of each are promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asha {
    /// One of so many is promoted, and gets so many times the budget; at least 2.
    pub eta: u64,
    /// Number of rungs, the whole budget included; at least 1.
    pub rungs: u32,
}

impl Asha {
    /// As many rungs as fit between `min_share` of the budget and all of it.
    pub fn new(eta: u64, min_share: f64) -> Self {
        let eta = eta.max(2);
        let mut rungs = 1;
        // A share written as 0.1111 is meant as a ninth.
        while rungs < 32 && (eta as f64).powi(-(rungs as i32)) >= min_share * 0.999 {
            rungs += 1;
        }
        Self { eta, rungs }
    }

    /// Step of rung `rung` (0 is the lowest) of a budget of `total` steps.
    pub fn step(&self, rung: u32, total: u64) -> u64 {
        let below = self.rungs - 1 - rung.min(self.rungs - 1);
        total.div_ceil(self.eta.saturating_pow(below)).max(1)
    }

    /// The highest rung whose loss is known.
    fn highest(&self, trial: &Trial) -> Option<u32> {
        let known = |rung: &u32| trial.losses.contains_key(&self.step(*rung, trial.total));
        (0..self.rungs).rev().find(known)
    }

    /// The rung that a trial is to reach next, if there is one.
    fn next_rung(&self, trial: &Trial) -> Option<u32> {
        let next = self.highest(trial).map_or(0, |rung| rung + 1);
        (next < self.rungs && !trial.failed).then_some(next)
    }

    /// Trials of rung `rung`, best first, with the number of those to be promoted.
    pub fn standing(&self, trials: &[Trial], rung: u32) -> (Vec<usize>, usize) {
        let settled = |trial: &Trial| {
            let reached = self.highest(trial) >= Some(rung);
            // A trial that failed on its way to this rung counts here as the worst.
            let fell = trial.failed && self.highest(trial).map_or(0, |rung| rung + 1) >= rung;
            reached || fell
        };
        let entries = trials.iter().enumerate();
        let entries = entries.filter(|(_, trial)| settled(trial));
        let values: Vec<(usize, Vec<f64>)> = entries
            .map(|(index, trial)| {
                let loss = trial.loss(self.step(rung, trial.total));
                let costs = trial.costs.iter().copied();
                (index, std::iter::once(loss).chain(costs).collect())
            })
            .collect();
        let count = values.len() / self.eta as usize;
        (order(&values), count)
    }

    /// What to do next.
    pub fn decide(&self, trials: &[Trial]) -> Decision {
        let step = |index: usize, rung| self.step(rung, trials[index].total);
        let train = |index: usize, rung| Decision::Train {
            trial: index,
            until: step(index, rung),
        };
        let open = |index: usize, rung| {
            let trial = &trials[index];
            self.next_rung(trial) == Some(rung) && !trial.busy
        };
        let every = 0..trials.len();
        for rung in (0..self.rungs).rev() {
            let mut orphans = every.clone().filter(|index| open(*index, rung));
            if let Some(index) = orphans.find(|index| trials[*index].orphaned(step(*index, rung))) {
                return train(index, rung);
            }
        }
        for rung in (1..self.rungs).rev() {
            let (best, count) = self.standing(trials, rung - 1);
            if let Some(index) = best
                .into_iter()
                .take(count)
                .find(|index| open(*index, rung))
            {
                return train(index, rung);
            }
        }
        if let Some(index) = every.clone().find(|index| open(*index, 0)) {
            return train(index, 0);
        }
        if trials.iter().any(|trial| trial.busy && !trial.failed) {
            return Decision::Wait;
        }
        let at_the_end = |index: &usize| trials[*index].losses.contains_key(&trials[*index].total);
        if every.clone().any(|index| at_the_end(&index)) {
            return Decision::Done;
        }
        for rung in (1..self.rungs).rev() {
            let (best, _) = self.standing(trials, rung - 1);
            if let Some(index) = best.into_iter().find(|index| open(*index, rung)) {
                return train(index, rung);
            }
        }
        Decision::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(losses: &[(u64, f64)]) -> Trial {
        Trial {
            losses: losses.iter().copied().collect(),
            target: losses.last().map(|(step, _)| *step),
            ..Trial::new(90)
        }
    }

    const ASHA: Asha = Asha { eta: 3, rungs: 3 };

    #[test]
    fn rungs_are_shares_of_the_budget_rounded_up() {
        assert_eq!(Asha::new(3, 0.1), ASHA);
        assert_eq!(Asha::new(3, 0.1111), ASHA);
        assert_eq!(Asha::new(4, 1.0).rungs, 1);
        assert_eq!([0, 1, 2].map(|rung| ASHA.step(rung, 100)), [12, 34, 100]);
    }

    #[test]
    fn the_best_third_of_a_rung_is_promoted_and_nobody_twice() {
        let mut trials = vec![
            at(&[(10, 3.0)]),
            at(&[(10, 2.0)]),
            at(&[(10, 4.0)]),
            Trial::new(90),
        ];
        let promote = Decision::Train {
            trial: 1,
            until: 30,
        };
        assert_eq!(ASHA.decide(&trials), promote);
        trials[1].busy = true;
        trials[1].target = Some(30);
        let fresh = Decision::Train {
            trial: 3,
            until: 10,
        };
        assert_eq!(ASHA.decide(&trials), fresh);
        // Its process dies: what was decided is done first.
        trials[1].busy = false;
        assert_eq!(ASHA.decide(&trials), promote);
        trials[1].losses.insert(30, 1.5);
        assert_eq!(ASHA.decide(&trials), fresh);
    }

    #[test]
    fn a_failed_trial_counts_as_the_worst_and_blocks_nothing() {
        let failed = Trial {
            failed: true,
            target: Some(10),
            ..Trial::new(90)
        };
        let mut trials = vec![at(&[(10, 3.0)]), failed.clone(), failed];
        assert_eq!(
            ASHA.decide(&trials),
            Decision::Train {
                trial: 0,
                until: 30
            }
        );
        trials[0] = trials[1].clone();
        assert_eq!(ASHA.decide(&trials), Decision::Done);
        // Not a number is as bad as failing.
        trials[0] = at(&[(10, f64::NAN)]);
        trials[1] = at(&[(10, 5.0)]);
        assert_eq!(
            ASHA.decide(&trials),
            Decision::Train {
                trial: 1,
                until: 30
            }
        );
    }

    #[test]
    fn a_search_too_small_for_its_rungs_still_trains_one_to_the_end() {
        let mut trials = vec![at(&[(10, 3.0)]), at(&[(10, 2.0)])];
        assert_eq!(
            ASHA.decide(&trials),
            Decision::Train {
                trial: 1,
                until: 30
            }
        );
        trials[1].losses.insert(30, 1.9);
        assert_eq!(
            ASHA.decide(&trials),
            Decision::Train {
                trial: 1,
                until: 90
            }
        );
        trials[1].busy = true;
        assert_eq!(ASHA.decide(&trials), Decision::Wait);
        trials[1].busy = false;
        trials[1].losses.insert(90, 1.8);
        assert_eq!(ASHA.decide(&trials), Decision::Done);
    }
}
