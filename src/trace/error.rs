//! What can be wrong with a trace file.

use std::path::PathBuf;
use thiserror::Error;

/// A file that cannot be read as a capture. Every message names the file and says what to do.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file cannot be opened or mapped.
    #[error("{path}: cannot be read as a file")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A folder without captures.
    #[error("{0} is a folder without a capture file and without a scenario.toml; name one that has either")]
    NoCaptures(PathBuf),
    /// No bytes.
    #[error("{0} is empty: not a capture")]
    Empty(PathBuf),
    /// What cannot be mapped does not fit into memory.
    #[error(
        "{path}: its bytes need more than half of the free memory ({limit} bytes); replay, compare and verify take any \
         amount with --stream; else write them to a plain capture file, which need not fit"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that may be held.
        limit: u64,
    },
    /// Not a format that is known.
    #[error("{path} is neither pcap nor pcapng: it begins with the bytes {magic}{packed}")]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// Its first bytes in hexadecimal.
        magic: String,
        /// How it was decompressed; empty if it was not.
        packed: String,
    },
    /// The header of the file is cut off or wrong.
    #[error("{path}: the {format} header is not valid: {reason}")]
    Header {
        /// The file.
        path: PathBuf,
        /// pcap or pcapng.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A line of a header trace that is no header.
    #[error("{path}: line {line}: {problem}")]
    HeaderLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what is allowed.
        problem: &'static str,
    },
    /// A header trace is made a capture in memory.
    #[error("{0} is a list of packet headers, which cannot be streamed: leave out --stream")]
    HeadersStreamed(PathBuf),
    /// More frames than frame numbers.
    #[error("{0} holds more than 4,294,967,295 packets; split it, for example with editcap")]
    TooManyPackets(PathBuf),
}
