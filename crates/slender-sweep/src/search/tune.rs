//! A value tuned for each group, such as the learning rate of every shape: all candidates of a group
//! train for a share of the budget, then the best one of each goes on to the end.
//!
//! The candidates pause inside the whole schedule, so the winner's start is not thrown away. A rate
//! measured before the schedule has decayed looks a little better the lower it is; a share of a
//! quarter or more, and a grid in factors of two, keep that below the grid's own coarseness.

use super::trial::{Decision, Trial};

/// Trains every candidate to a share of its budget, then the best of each group to the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tune {
    /// Share of the budget, above 0 and below 1.
    pub share: f64,
}

impl Tune {
    /// Step at which candidates of a budget of `total` steps are compared.
    pub fn step(&self, total: u64) -> u64 {
        ((total as f64 * self.share).ceil() as u64).clamp(1, total.max(1))
    }

    /// The best candidate of `group`, once all of its candidates are measured or have failed.
    pub fn winner(&self, trials: &[Trial], group: usize) -> Option<usize> {
        let members = || (0..trials.len()).filter(|index| trials[*index].group == group);
        let loss = |index: usize| trials[index].loss(self.step(trials[index].total));
        if !members().all(|index| trials[index].settled(self.step(trials[index].total))) {
            return None;
        }
        // Whoever failed later on leaves the way to the next best.
        let sound = members().filter(|index| !trials[*index].failed && loss(*index).is_finite());
        sound.min_by(|a, b| loss(*a).total_cmp(&loss(*b)).then(a.cmp(b)))
    }

    /// What to do next.
    pub fn decide(&self, trials: &[Trial]) -> Decision {
        let half_way = |index: usize| self.step(trials[index].total);
        let free = |index: &usize| !trials[*index].busy && !trials[*index].failed;
        let train = |trial: usize, until: u64| Decision::Train { trial, until };
        let every = 0..trials.len();
        let groups: std::collections::BTreeSet<usize> =
            trials.iter().map(|trial| trial.group).collect();
        // Finish what is begun, then what is decided, then begin.
        let orphans = every.clone().filter(free);
        if let Some(index) = { orphans }.find(|index| trials[*index].orphaned(half_way(*index))) {
            return train(index, half_way(index));
        }
        let winners = groups
            .iter()
            .filter_map(|group| self.winner(trials, *group));
        let unfinished = |index: &usize| !trials[*index].losses.contains_key(&trials[*index].total);
        let mut winners = winners.filter(free).filter(unfinished);
        if let Some(index) = winners.next() {
            return train(index, trials[index].total);
        }
        let fresh = |index: &usize| free(index) && !trials[*index].settled(half_way(*index));
        if let Some(index) = every.clone().find(fresh) {
            return train(index, half_way(index));
        }
        match trials.iter().any(|trial| trial.busy && !trial.failed) {
            true => Decision::Wait,
            false => Decision::Done,
        }
    }
}

/// A parabola through losses over the logarithm of the tuned value.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Parabola {
    /// Where it is lowest.
    pub at: f64,
    /// Its height there.
    pub loss: f64,
}

/// Fits a parabola in `ln value` to the lowest point and its neighbours.
///
/// `None` if the lowest is the first or the last (the optimum may lie beyond the grid), or if there are
/// fewer than three points.
pub fn parabola(points: &[(f64, f64)]) -> Option<Parabola> {
    let mut points: Vec<(f64, f64)> = (points.iter().copied())
        .filter(|(value, loss)| *value > 0.0 && loss.is_finite())
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup_by(|a, b| a.0 == b.0);
    let lowest = (0..points.len()).min_by(|a, b| points[*a].1.total_cmp(&points[*b].1))?;
    if lowest == 0 || lowest + 1 == points.len() {
        return None;
    }
    let [a, b, c] = [-1, 0, 1].map(|offset| points[(lowest as isize + offset) as usize]);
    // Newton's form around the middle: exact for any spacing.
    let (left, right) = (a.0.ln() - b.0.ln(), c.0.ln() - b.0.ln());
    let (rise_left, rise_right) = ((a.1 - b.1) / left, (c.1 - b.1) / right);
    let curvature = (rise_right - rise_left) / (right - left);
    if curvature <= 0.0 {
        return None;
    }
    let slope = rise_left - curvature * left;
    let shift = -slope / (2.0 * curvature);
    Some(Parabola {
        at: (b.0.ln() + shift).exp(),
        loss: b.1 + slope * shift + curvature * shift * shift,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials() -> Vec<Trial> {
        let trial = |group| Trial {
            group,
            ..Trial::new(100)
        };
        [0, 0, 0, 1, 1, 1].map(trial).to_vec()
    }

    #[test]
    fn each_group_is_measured_and_its_winner_goes_on() {
        let tune = Tune { share: 0.2 };
        let mut trials = trials();
        let losses = [3.0, 2.0, 2.5, 1.0, 1.5, f64::NAN];
        let mut done = Vec::new();
        loop {
            match tune.decide(&trials) {
                Decision::Train { trial, until } => {
                    done.push((trial, until));
                    trials[trial].target = Some(until);
                    if trial == 4 {
                        trials[trial].failed = true;
                    } else {
                        trials[trial].losses.insert(until, losses[trial]);
                    }
                }
                Decision::Wait => panic!("nobody is at work"),
                Decision::Done => break,
            }
        }
        let expected = [
            (0, 20),
            (1, 20),
            (2, 20),
            (1, 100),
            (3, 20),
            (4, 20),
            (5, 20),
            (3, 100),
        ];
        assert_eq!(done, expected);
    }

    #[test]
    fn a_winner_that_fails_leaves_the_way_to_the_next_and_an_orphan_comes_first() {
        let tune = Tune { share: 0.2 };
        let mut trials = trials();
        for (trial, loss) in trials.iter_mut().zip([3.0, 2.0, 2.5]) {
            trial.losses.insert(20, loss);
            trial.target = Some(20);
        }
        assert_eq!(tune.winner(&trials, 0), Some(1));
        trials[1].failed = true;
        assert_eq!(tune.winner(&trials, 0), Some(2));
        trials[5].target = Some(20);
        assert_eq!(
            tune.decide(&trials),
            Decision::Train {
                trial: 5,
                until: 20
            }
        );
        assert_eq!(tune.winner(&trials, 1), None);
    }

    #[test]
    fn a_parabola_is_found_again_and_an_edge_is_not_trusted() {
        let curve = |lr: f64| 2.0 + 0.3 * (lr / 3e-3).ln().powi(2);
        let points = [1e-3, 2e-3, 4.5e-3, 9e-3].map(|lr| (lr, curve(lr)));
        let fit = parabola(&points).unwrap();
        assert!((fit.at / 3e-3 - 1.0).abs() < 1e-9 && (fit.loss - 2.0).abs() < 1e-9);
        assert_eq!(parabola(&points[2..]), None);
        assert_eq!(parabola(&[(1e-3, 1.0), (2e-3, 2.0), (4e-3, 3.0)]), None);
    }
}
