//! Sweeps: train and evaluate many configurations, then say in words and pictures what came out.
//!
//! [`run_sweep`] starts `slender train` and `slender eval` as child processes, one run directory
//! each, so that one failed run cannot sink the rest and a kill at any moment costs at most the
//! work since the last checkpoint. [`collect`] reads the run directories back (they are the truth,
//! not the sweep's memory) and [`write_report`] turns them into `report.html`, `report.md`,
//! `results.json` and two pictures. The crate does not depend on Burn.

mod analysis;
mod chart;
mod child;
mod collect;
mod cost;
mod depth;
mod done;
mod error;
mod facts;
mod files;
mod format;
mod html;
mod leaderboard;
mod loss;
mod manifest;
mod markdown;
mod metrics;
pub mod paper;
mod plan;
mod planes;
mod png;
mod progress;
mod provenance;
mod report;
mod results;
mod rundir;
pub mod search;
mod summary;
mod sweep;
mod tables;
mod tidy;
mod verdict;

pub use analysis::{
    Basis, Comparison, Covers, DepthTrend, Front, FrontPoint, NoiseFloor, Spread, VariantResult,
    Verdict,
};
pub use child::Stop;
pub use collect::collect;
pub use cost::{PLAN_FORMAT, PlanCost, PlanTotal, RunCost};
pub use done::{DoneRuns, Elsewhere};
pub use error::{PlanProblem, SweepError};
pub use facts::RunFacts;
pub use leaderboard::{Board, Entry, LEADERBOARD_FORMAT, Leaderboard, Ranked, leaderboard};
pub use manifest::{Failure, Manifest, ManifestRun, SWEEP_FORMAT, Stage};
pub use metrics::{Curves, TrainPoint, ValidPoint};
pub use plan::{PlannedRun, SweepOptions, plan, read_plan};
pub use progress::{Event, Reporter};
pub use provenance::{EvalSettings, Provenance, TaskData};
pub use report::{ReportFiles, write_report};
pub use results::{
    Average, PaperNumbers, RESULTS_FORMAT, RunResult, RunState, SweepResults, TaskScore, Timing,
};
pub use rundir::{Status, StatusState, TaskFile};
pub use summary::{Sentence, SentenceKind};
pub use sweep::{RunOutcome, SweepOutcome, run_sweep};
pub use verdict::Certainty;
