//! Errors at the program's edge, each with its exit code.

use slender_trainer::exit;

/// Anything a command can fail with.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Configuration.
    #[error(transparent)]
    Config(#[from] slender_config::ConfigError),
    /// Device name.
    #[error(transparent)]
    DeviceName(#[from] slender_config::DeviceParseError),
    /// Device.
    #[error(transparent)]
    Device(#[from] slender_kernels::DeviceError),
    /// Data.
    #[error(transparent)]
    Data(#[from] slender_data::DataError),
    /// Model.
    #[error(transparent)]
    Model(#[from] slender_model::ModelError),
    /// A model in another format, or its folder.
    #[error(transparent)]
    Format(#[from] slender_formats::FormatError),
    /// Inference.
    #[error(transparent)]
    Infer(#[from] slender_model::infer::InferError),
    /// Training.
    #[error(transparent)]
    Train(#[from] slender_trainer::TrainError),
    /// Evaluation.
    #[error(transparent)]
    Eval(#[from] slender_eval::EvalError),
    /// Sweep.
    #[error(transparent)]
    Sweep(#[from] slender_sweep::SweepError),
    /// A source that is no file or folder here, nor can be had from a hub.
    #[error(
        "there is no file or folder {0} here, and as a hub repository: {1}\n  hint: check the path if something here was meant"
    )]
    NeitherHereNorThere(String, slender_data::hub::HubError),
    /// A wrong combination of arguments.
    #[error("{0}")]
    Usage(String),
    /// The operating system.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
}

impl CliError {
    /// The exit code.
    pub fn exit_code(&self) -> i32 {
        match self {
            CliError::Train(error) => error.exit_code(),
            CliError::Data(error) if error.is_usage() => exit::USAGE,
            CliError::Format(error) | CliError::Model(slender_model::ModelError::Format(error))
                if error.is_usage() =>
            {
                exit::USAGE
            }
            CliError::Eval(
                slender_eval::EvalError::MissingData { .. }
                | slender_eval::EvalError::Altered { .. }
                | slender_eval::EvalError::NoFixture { .. }
                | slender_eval::EvalError::Shots { .. }
                | slender_eval::EvalError::Output(_)
                | slender_eval::EvalError::Compare(_),
            ) => exit::USAGE,
            CliError::Config(_)
            | CliError::DeviceName(_)
            | CliError::Device(_)
            | CliError::Usage(_)
            | CliError::Infer(
                slender_model::infer::InferError::EmptyPrompt
                | slender_model::infer::InferError::Context { .. }
                | slender_model::infer::InferError::Setting(_),
            )
            | CliError::Model(slender_model::ModelError::NotAModel { .. })
            | CliError::Eval(
                slender_eval::EvalError::UnknownTask { .. } | slender_eval::EvalError::NoTasks,
            )
            | CliError::Sweep(
                slender_sweep::SweepError::Plan { .. }
                | slender_sweep::SweepError::NoConfigs
                | slender_sweep::SweepError::NotASweep { .. }
                | slender_sweep::SweepError::Dir { .. }
                | slender_sweep::SweepError::NoResults { .. },
            ) => exit::USAGE,
            _ => exit::FAILED,
        }
    }
}
