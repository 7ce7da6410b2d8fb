//! Training: our own step loop, because Burn's learner thinks in epochs and cannot resume exactly.
//!
//! One rule shapes the crate: everything that influences a number is either in the checkpoint or a
//! pure function of the configuration. Batches are computed from the batch number, initial weights
//! from the seed and the weight's name, dropout masks from a stream whose state is saved, sums are
//! taken in fixed order. A run that is killed and resumed therefore ends in the same bytes as one
//! that was not.

mod bench;
mod checkpoint;
mod coord;
mod error;
mod estimate;
mod inherit;
mod metrics;
mod optimizer;
mod progress;
mod rundir;
mod session;
mod signals;
mod tensorboard;
mod train_loop;
mod validate;

pub use bench::{Speed, Spread, bench};
pub use checkpoint::{Checkpoint, CheckpointState, checkpoint_steps, newest_checkpoint};
pub use coord::{Activation, CoordPlan, CoordRun, Grow, coord_run, exponent, grown};
pub use error::{TrainError, exit};
pub use estimate::{Estimate, matmul_peak};
pub use metrics::{MetricsWriter, TaskMetric};
pub use optimizer::{Gradients, Optimizer};
pub use progress::{Progress, Verbosity};
pub use rundir::{Provenance, RunDir, RunLock, RunState, Status, cpu_name};
pub use session::{TrainHooks, TrainOptions, TrainOutcome, shape_for, train};
pub use signals::StopFlag;
pub use validate::{ValidLoss, validation_loss};
