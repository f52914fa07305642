//! Whether verdicts are right: digests, packet by packet against the reference, and against Linux itself.

mod changes;
pub mod digest;
mod judge;
#[cfg(target_os = "linux")]
pub mod linux;
mod tally;

pub use changes::{Change, changes};
pub use judge::{Judge, first_difference};
pub use tally::{Tally, tracked_share};
