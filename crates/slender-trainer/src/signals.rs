//! SIGTERM, SIGINT and SIGUSR1 ask for a checkpoint and a clean stop.
//!
//! The first signal sets a flag that the loop reads between micro-batches; a second SIGINT or
//! SIGTERM ends the process at once, for a user who does not want to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set when the run should checkpoint and stop.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that nothing but [`Self::stop`] sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag set by SIGTERM, SIGINT and SIGUSR1.
    ///
    /// # Errors
    /// The operating system's refusal to install a handler.
    pub fn from_signals() -> std::io::Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
        let flag = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Registered first, so that it acts only once the flag below is already set.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                crate::exit::INTERRUPTED,
                Arc::clone(&flag.0),
            )?;
        }
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            signal_hook::flag::register(signal, Arc::clone(&flag.0))?;
        }
        Ok(flag)
    }

    /// Asks for a stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
