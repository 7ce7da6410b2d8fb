//! Slurm: a sweep as job arrays, on clusters as they are.
//!
//! Only `sbatch`, `squeue`, `sacct`, `scontrol` and `scancel` are called, each with a time limit. What
//! they say is a hint, never the truth: accounting may be switched off or late, the controller may be
//! away. Whether a run is done is read from its directory, and two workers on one run cannot be,
//! whatever Slurm starts. All that Slurm is believed in is that a job it lists is one it may still run,
//! so that `resume` does not submit a run twice.
//!
//! The elements of a job array are the runs' places in `sweep.json`; an array whose numbers would go
//! beyond the cluster's `MaxArraySize` is submitted in blocks, each with an offset in its job name.

mod client;
mod queue;
mod script;
mod settings;
mod submit;

pub use client::{DEFAULT_MAX_ARRAY, SlurmClient};
pub use queue::{Element, QueueEntry};
pub(crate) use script::quoted;
pub use script::{SbatchScript, SlurmWork, job_prefix, printed, sbatch_scripts};
pub use settings::SlurmSettings;
pub use submit::{SLURM_JOBS_FORMAT, Submission, cover, end_hints, submissions, submit};
