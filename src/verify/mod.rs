//! Whether verdicts are right: digests, packet by packet against the reference, and against Linux itself.

mod changes;
pub mod digest;
mod flow_check;
mod judge;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod reordering;
mod tally;

pub use changes::{Change, changes};
pub use flow_check::{FlowCheck, FlowTally};
pub use judge::{Judge, first_difference};
pub use tally::{Counts, PART, Tally, tracked_share};
