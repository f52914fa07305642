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
    /// A folder where a file is expected.
    #[error("{0} is a folder; name a capture file, or a folder with a scenario.toml")]
    Folder(PathBuf),
    /// No bytes.
    #[error("{0} is empty: not a capture")]
    Empty(PathBuf),
    /// A compressed file.
    #[error("{path} is compressed with {format}; decompress it first, for example with `{command}`")]
    Compressed {
        /// The file.
        path: PathBuf,
        /// gzip, zstd or lz4.
        format: &'static str,
        /// What decompresses it.
        command: &'static str,
    },
    /// Not a format that is known.
    #[error("{path} is neither pcap nor pcapng: it begins with the bytes {magic}")]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// Its first bytes in hexadecimal.
        magic: String,
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
    /// More frames than frame numbers.
    #[error("{0} holds more than 4,294,967,295 packets; split it, for example with editcap")]
    TooManyPackets(PathBuf),
}
