//! Measurement: the clock, recorders, trials, statistics. Nothing else in the crate reads a clock.

mod busy;
mod clock;
mod cpu_time;
pub mod fitness;
mod host;
mod instructions;
mod intervals;
mod noise;
mod probe;
mod recorder;
mod run;
pub mod search;
pub mod statistics;
mod stop;
mod streamed;
mod trials;

pub use busy::Busy;
pub use clock::{Clock, ClockFloor};
pub use fitness::Unfit;
pub use host::Host;
pub use instructions::Instructions;
pub use intervals::{INTERVALS, Intervals, Slots, Span};
pub use noise::{Noise, Watch};
pub use probe::{Probe, ProbeCost};
pub use recorder::{Latencies, Recorder, Recording, Stamping};
pub use run::{Checked, Control, Plan, Results, Run, RunError, check, run};
pub use stop::Stop;
pub use streamed::{StageTimes, StreamPlan, Streamed, run_streamed};
pub use trials::{Budget, Expected, Measured, Trials, Variant};
