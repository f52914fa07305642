//! Result files: found, bounded, checked for their version; what is wrong is said with its place.

use super::json::SCHEMA;
use super::lenient::plain;
use super::result::ResultDocument;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A longer file is no result: 256 MiB.
const MAX_BYTES: u64 = 256 << 20;

/// Why a result file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any result.
    #[error("{} has more than 256 MiB: no ctbench result", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The JSON ends too soon.
    #[error("{} ends in the middle (line {line}): was it cut short while written?", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its last line.
        line: usize,
    },
    /// No JSON at all.
    #[error("{} is not JSON", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// Some other JSON.
    #[error("{} is JSON, but no ctbench result: it has no `schema` and `ctbench`; `ctbench compare --json FILE` writes one", path.display())]
    NotAResult {
        /// The file.
        path: PathBuf,
    },
    /// A result of another schema version.
    #[error("{} has schema version {found}, and this ctbench reads version {SCHEMA}: use the release that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: Value,
    },
    /// Something is not as the schema says.
    #[error("{}: {at}: {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// JSON path.
        at: String,
        /// What is wrong.
        problem: String,
    },
}

/// A result file.
#[derive(Clone, Debug)]
pub struct ResultFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// The whole document, unknown fields included.
    pub json: Value,
    /// What this release knows of it.
    pub result: ResultDocument,
}

impl ResultFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ResultError> {
        let io = |source| ResultError::Read { path: path.to_owned(), source };
        let mut text = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text)).map_err(io)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(ResultError::TooLarge { path: path.to_owned() });
        }
        let json = serde_json::from_slice(&text).map_err(|error| match error.is_eof() {
            true => ResultError::Truncated { path: path.to_owned(), line: error.line() },
            false => ResultError::NotJson { path: path.to_owned(), source: error },
        })?;
        ResultFile::from_json(path, json)
    }

    /// From JSON that is already parsed; `path` names it in errors.
    pub fn from_json(path: &Path, json: Value) -> Result<Self, ResultError> {
        let path = path.to_owned();
        match json.get("schema") {
            Some(version) if json.get("ctbench").is_some() => {
                if *version != SCHEMA {
                    return Err(ResultError::Version { path, found: version.clone() });
                }
            }
            _ => return Err(ResultError::NotAResult { path }),
        }
        match serde_path_to_error::deserialize(&json) {
            Ok(result) => Ok(ResultFile { path, json, result }),
            Err(error) => {
                let at = error.path().to_string();
                Err(ResultError::Field { path, at, problem: error.into_inner().to_string() })
            }
        }
    }

    /// The same error that reading gives, for something found later.
    pub(super) fn wrong(&self, at: impl Into<String>, problem: impl Into<String>) -> ResultError {
        ResultError::Field { path: self.path.clone(), at: at.into(), problem: problem.into() }
    }

    /// The file's name, or the path where it has none.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        plain(&name.to_string_lossy())
    }
}
