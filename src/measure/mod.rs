//! Measurement: the clock, recorders, trials, statistics. Nothing else in the crate reads a clock.

mod clock;
mod host;
mod recorder;
mod run;
pub mod statistics;
mod trials;

pub use clock::{Clock, ClockFloor};
pub use host::Host;
pub use recorder::{Latencies, PacketStamps};
pub use run::{Checked, Plan, Results, Run, check, run};
pub use trials::{Budget, Expected, Measured, Trials, Variant};
