//! VPC Flow Logs: what AWS would have recorded of this trace, and what it did record.
//!
//! ```text
//! rulings      every packet's verdict by both filters, in the order in which a packet meets them
//! observe      every packet as a flow log names it: who sends what to whom, and how long it is
//! aggregate    one record a flow direction, verdict and window
//! Format       the fields of a line, in any order; [`write()`] and [`read()`] go by it
//! check        recorded ACCEPT and REJECT, beside what the rules say
//! ```
//!
//! Source throughout: VPC guide, "Flow log records"
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>), "Flow log record examples" and
//! "Flow log limitations".

mod aggregate;
mod check;
mod error;
mod field;
mod observe;
#[cfg(feature = "parquet")]
mod parquet;
mod read;
mod record;
mod rulings;
mod write;

pub use aggregate::aggregate;
pub use check::{Check, Difference, NotComparable};
pub use error::FlowLogError;
pub use field::{FIELDS, Field, Format, Kind, Labels};
pub use observe::{FiveTuple, FlowDirection, Observation, Observations};
pub use read::{OnBadRecord, ReadCounts, read};
pub use record::{Action, LogStatus, Record};
pub use rulings::{Ruling, rulings};
pub use write::{Settings, write};
