//! What can be wrong with a flow log.

use std::path::PathBuf;
use thiserror::Error;

/// A flow log that cannot be used, and why.
#[derive(Debug, Error)]
pub enum FlowLogError {
    /// The file cannot be opened, read or unpacked.
    #[error("{}: cannot read the flow log", file.display())]
    Read {
        /// The flow log.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A list of fields that is none.
    #[error("the flow log format is not valid: {problem}")]
    Format {
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// A field that is needed for comparing is not in the format.
    #[error("{}: {place}: the records hold no {field}, which comparing needs; fields: {format}", file.display())]
    Needs {
        /// The flow log.
        file: PathBuf,
        /// Where the format is told.
        place: String,
        /// The missing field.
        field: String,
        /// The format.
        format: String,
    },
    /// Too few or too many words in a line.
    #[error(
        "{}: {place}: {found} fields where the format has {wanted} ({format}); name another with --flow-log-format, \
         or skip such records with --skip-bad-records",
        file.display()
    )]
    Columns {
        /// The flow log.
        file: PathBuf,
        /// Line, or event.
        place: String,
        /// Words in the line.
        found: usize,
        /// Fields in the format.
        wanted: usize,
        /// The format.
        format: String,
    },
    /// A value that the field cannot have.
    #[error(
        "{}: {place}: {field}: {value:?} is not allowed; allowed: {allowed}; --skip-bad-records leaves such records out",
        file.display()
    )]
    Value {
        /// The flow log.
        file: PathBuf,
        /// Line, or event.
        place: String,
        /// The field.
        field: &'static str,
        /// The value, shortened.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A line longer than any record.
    #[error("{}: {place}: longer than {limit} bytes: not a flow log record", file.display())]
    TooLong {
        /// The flow log.
        file: PathBuf,
        /// Line, or event.
        place: String,
        /// The most that is read of a line.
        limit: usize,
    },
    /// JSON that is no list of log events, or too much of it.
    #[error("{}: not what `aws logs filter-log-events` or `get-log-events` prints: {problem}", file.display())]
    NotEvents {
        /// The flow log.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Parquet that cannot be read, or not by this build.
    #[error("{}: Parquet: {problem}", file.display())]
    Parquet {
        /// The flow log.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl FlowLogError {
    /// True if only this record is spoilt, and the next may be read.
    pub fn is_of_one_record(&self) -> bool {
        matches!(self, FlowLogError::Columns { .. } | FlowLogError::Value { .. })
    }
}
