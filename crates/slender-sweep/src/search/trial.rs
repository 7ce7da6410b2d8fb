//! What a scheduler sees and what it answers.
//!
//! A scheduler is a pure function from the trials, as their run directories show them, to the next
//! piece of work. It keeps nothing, so any number of processes may ask at once, a killed one takes
//! no knowledge with it, and the same directories give the same answer.

use std::collections::BTreeMap;

/// One trial, as its run directory shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// What is tuned together: trials of one group compete with each other alone.
    pub group: usize,
    /// Steps of the whole budget.
    pub total: u64,
    /// Loss at each step where training paused, and at the end; smaller is better.
    pub losses: BTreeMap<u64, f64>,
    /// Further quantities to be kept small, known before training.
    pub costs: Vec<f64>,
    /// Step at which the latest start was to stop; `None` if it was never started.
    pub target: Option<u64>,
    /// A process is at work on it.
    pub busy: bool,
    /// It failed and is not to be started again.
    pub failed: bool,
}

impl Trial {
    /// A trial that nobody has started.
    pub fn new(total: u64) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    /// Whether the loss at `step` is known, or will never be.
    pub(crate) fn settled(&self, step: u64) -> bool {
        self.failed || self.losses.contains_key(&step)
    }

    /// The loss at `step`; infinite where there is none or it is no number.
    pub(crate) fn loss(&self, step: u64) -> f64 {
        let loss = self.losses.get(&step).copied();
        loss.filter(|loss| !loss.is_nan()).unwrap_or(f64::INFINITY)
    }

    /// Whether a start was made for `step` that has not come to it, and no process is at it now.
    pub(crate) fn orphaned(&self, step: u64) -> bool {
        let begun = self.target.is_some_and(|target| target >= step);
        begun && !self.busy && !self.settled(step)
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Train this trial to this step of its budget.
    Train {
        /// Index of the trial.
        trial: usize,
        /// Step of the whole budget; equal to it for the end.
        until: u64,
    },
    /// Nothing now, but what others are at may change that.
    Wait,
    /// Nothing is left to do.
    Done,
}
