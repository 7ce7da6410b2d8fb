//! Sweeps: train and evaluate many configurations, then say in words and pictures what came out.
//!
//! [`run_sweep`] starts `slender train` and `slender eval` as child processes, one run directory
//! each, so that one failed run cannot sink the rest and a kill at any moment costs at most the
//! work since the last checkpoint. [`collect`] reads the run directories back (they are the truth,
//! not the sweep's memory) and [`write_report`] turns them into `report.html`, `report.md`,
//! `results.json` and two pictures. The crate does not depend on Burn.

mod analysis;
mod attempts;
mod chart;
mod child;
mod claim;
mod collect;
mod cost;
mod decode;
mod depth;
mod done;
mod error;
mod facts;
mod files;
mod format;
mod holder;
mod html;
mod jobs;
mod kubernetes;
mod leaderboard;
mod local;
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
mod slots;
pub mod slurm;
mod state;
mod status;
mod summary;
mod sweep;
mod tables;
mod tidy;
mod verdict;
mod worker;

pub use analysis::{
    AlikeSet, Basis, Comparison, Covers, DepthTrend, Front, FrontPoint, MeasuredApart, NoiseFloor,
    Spread, VariantResult, Verdict,
};
pub use attempts::{ATTEMPTS_FORMAT, AttemptLine, Attempts, Ending};
pub use child::Stop;
pub use claim::{CLAIM_FORMAT, ClaimFile, ClaimOptions, FileClock};
pub use collect::collect;
pub use cost::{PLAN_FORMAT, PlanCost, PlanTotal, RunCost};
pub use decode::{
    DECODE_FORMAT, DecodeCandidate, DecodeConflict, DecodeFile, DecodeSetting, DecodeWish,
    DecodeWork, decode_work,
};
pub use done::{DoneRuns, Elsewhere};
pub use error::{PlanProblem, SweepError};
pub use facts::RunFacts;
pub use holder::Holder;
pub use jobs::{Job, JobSource, ListSource, Next, is_over, is_search, source_for};
pub use kubernetes::{KubernetesWork, indexed_job};
pub use leaderboard::{Board, Entry, LEADERBOARD_FORMAT, Leaderboard, Ranked, leaderboard};
pub use local::{LocalOptions, finish_report, refresh_report, run_local};
pub use manifest::{Failure, Manifest, ManifestRun, SWEEP_FORMAT, Stage};
pub use metrics::{Curves, TrainPoint, ValidPoint};
pub use plan::{PlannedRun, SweepOptions, plan, planned_search, read_plan};
pub use progress::{Event, Reporter};
pub use provenance::{EvalSettings, Provenance, TaskData, Validation};
pub use report::{ReportFiles, write_report};
pub use results::{
    Average, PaperNumbers, RESULTS_FORMAT, RunResult, RunState, SweepResults, TaskScore, Timing,
};
pub use rundir::{Status, StatusState, TaskFile};
pub use slots::{Slot, visible_gpus};
pub use state::{Phase, RunView, StateReader, SweepState};
pub use status::{SWEEP_STATUS_FORMAT, StatusReport};
pub use summary::{Sentence, SentenceKind};
pub use sweep::{RunOutcome, SweepOutcome, continue_sweep, prepare_sweep, run_sweep};
pub use verdict::Certainty;
pub use worker::{WorkEnd, Worker, WorkerOptions, cancel_workers, retry_failed};
