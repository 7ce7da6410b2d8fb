//! What is to be done next: the question every worker asks, and the plain list's answer.
//!
//! A decision is a pure function of the plan and of what the run directories say. So any number of
//! processes on any number of machines may ask at once, each with a source of its own, and one that
//! is killed takes no knowledge with it. Two may be given the same job; the claim on the run
//! directory decides who does it, and the other asks again.

use crate::manifest::{Manifest, Stage};
use crate::search::SearchSource;
use crate::state::{RunView, SweepState};

/// A piece of work: one stage of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Name of the run.
    pub run: String,
    /// What is to be done.
    pub stage: Stage,
    /// Training pauses at this step; `None` goes to the end of the budget.
    pub until: Option<u64>,
}

impl Job {
    /// Whether the run directory shows that nothing is left to do.
    pub fn is_done(&self, run: &RunView) -> bool {
        match (self.stage, self.until) {
            (Stage::Train, None) => run.is_trained(),
            (Stage::Train, Some(until)) => run.is_trained() || run.is_paused_at(until),
            (Stage::Eval, _) => run.evaluated,
        }
    }
}

/// What a source answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Do this.
    Job(Job),
    /// Nothing can be done now, but others are at work whose results may change that.
    Wait,
    /// Nothing is left to do.
    Done,
}

/// Hands out the work of a sweep.
pub trait JobSource {
    /// The next job, given what the run directories say.
    ///
    /// It must not name a run that is [busy](RunView::busy), nor (unless that is its point) one
    /// that has [failed](RunView::failure), and has to end in [`Next::Done`] when the remaining
    /// runs have failed.
    fn next(&mut self, state: &SweepState) -> Next;
}

/// Every run, or a choice of them, in order: trained to its end, then evaluated.
#[derive(Clone, Debug, Default)]
pub struct ListSource {
    only: Option<Vec<String>>,
}

impl ListSource {
    /// All runs of the sweep.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only the runs of these names.
    pub fn only(names: Vec<String>) -> Self {
        Self { only: Some(names) }
    }
}

impl JobSource for ListSource {
    fn next(&mut self, state: &SweepState) -> Next {
        let mut waiting = false;
        for run in &state.runs {
            let wanted = |names: &Vec<String>| names.contains(&run.name);
            if !self.only.as_ref().is_none_or(wanted) || run.failure.is_some() || run.is_done() {
                continue;
            }
            if run.busy {
                waiting = true;
                continue;
            }
            let stage = if run.is_trained() {
                Stage::Eval
            } else {
                Stage::Train
            };
            return Next::Job(Job {
                run: run.name.clone(),
                stage,
                until: None,
            });
        }
        if waiting { Next::Wait } else { Next::Done }
    }
}

/// Whether nothing is left to do or being done, which a search alone can say of itself: its paused trials
/// are not going on.
pub fn is_over(source: &mut dyn JobSource, state: &SweepState) -> bool {
    source.next(state) == Next::Done && !state.runs.iter().any(|run| run.busy)
}

/// Whether the sweep is a search, whose source decides which runs are trained and how far.
pub fn is_search(manifest: &Manifest) -> bool {
    let search = manifest.other.get("search");
    search.is_some_and(|search| !search.is_null())
}

/// What hands out the work of a sweep: for its runs `names`, its search, or the plain list.
pub fn source_for(manifest: &Manifest, names: &[String]) -> Box<dyn JobSource> {
    match SearchSource::of_manifest(manifest) {
        Some(search) => Box::new(search.only(names)),
        None => Box::new(ListSource::only(names.to_vec())),
    }
}
