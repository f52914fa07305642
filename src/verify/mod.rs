//! Whether verdicts are right: digests, and packet by packet against the reference.

mod changes;
pub mod digest;
mod judge;
mod tally;

pub use changes::{Change, changes};
pub use judge::{Judge, first_difference};
pub use tally::{Tally, tracked_share};
