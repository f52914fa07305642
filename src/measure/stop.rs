//! A wish to end a measurement early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by who wishes (Ctrl-C) and who measures. It is looked at between passes, never inside one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// What is set to ask: a signal handler can do no more.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Whether it was asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
