//! The load search: the highest rate at which a goal is met, by MLRsearch (draft-ietf-bmwg-mlrsearch-15, "Multiple Loss
//! Ratio Search").
//!
//! ```text
//! goal        what is searched for, and the stages that lead there
//! loads       the trials so far: which loads are lower or upper bounds, as the draft defines it
//! controller  which trial next: asks, is told, asks; no clock, no randomness
//! drive       the trials themselves: open loops of all engines in turn
//! ```
//!
//! What a bound is, which bounds are relevant, and the conditional throughput are the draft's definitions to the letter.
//! Which load is tried when is left to implementations; here goals advance together from coarse to fine, each stage begins
//! at the bounds of the one before, steps out where a bound is missing, and halves what lies between.
//!
//! ```
//! use ctbench::measure::search::{Criterion, Goal, Search, Trial};
//!
//! let no_loss = Goal {
//!     name: "NDR".into(),
//!     criterion: Criterion::Lost,
//!     loss_ratio: 0.0,
//!     exceed_ratio: 0.5,
//!     width: 0.01,
//!     initial_trial_s: 0.1,
//!     final_trial_s: 0.1,
//!     duration_sum_s: 1.0,
//!     preceding_targets: 2,
//! };
//! let mut search = Search::new(vec![no_loss], 1e3, 1e7)?;
//! // Something that handles 1,234,567 packets a second.
//! while let Some(ask) = search.ask() {
//!     let lost = (1.0 - 1_234_567.0 / ask.load).max(0.0);
//!     search.add(Trial { load: ask.load, intended_s: ask.seconds, lasted_s: ask.seconds, bad: vec![lost] });
//! }
//! let found = search.outcomes()[0];
//! let (lower, upper) = (found.bounds.lower.unwrap(), found.bounds.upper.unwrap());
//! assert!(lower <= 1_234_567.0 && upper > 1_234_567.0 && upper - lower <= 0.01 * upper);
//! # Ok::<(), ctbench::measure::search::SearchError>(())
//! ```

mod controller;
mod drive;
mod goal;
mod loads;

pub use controller::{Outcome, Request, Search, SearchError, Status};
pub use drive::{SearchPlan, Searched, Step, UnderLoad};
pub use goal::{Criterion, Goal};
pub use loads::{Bounds, Trial};
