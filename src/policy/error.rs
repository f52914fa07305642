//! What can be wrong with a policy file.

use std::path::PathBuf;
use thiserror::Error;

/// A policy that cannot be used. Every message names the file, and the place in it where there is one.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is larger than any policy.
    #[error("{file}: larger than {limit_mib} MiB; is this a policy file?")]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The limit.
        limit_mib: u64,
    },
    /// The file is not JSON.
    #[error("{file}: not JSON: {source}; expected what the AWS CLI prints with --output json")]
    Json {
        /// The file.
        file: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A value that is not allowed where it stands.
    #[error("{file}: {path}: found {value}; expected {allowed}")]
    Value {
        /// The file.
        file: PathBuf,
        /// The place, such as `SecurityGroups[0].IpPermissions[2].FromPort`.
        path: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        allowed: String,
    },
    /// A security group that the file does not hold.
    #[error("{file}: no security group is called {wanted}; the file has: {known}")]
    NoSuchGroup {
        /// The file.
        file: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// No ACL, or several, or none of the id asked for.
    #[error("{file}: {}; the file has: {known}; choose with --acl ID", match wanted { Some(id) => format!("no network ACL has the id {id}"), None => "exactly one network ACL is needed".to_owned() })]
    WhichAcl {
        /// The file.
        file: PathBuf,
        /// What was asked for.
        wanted: Option<String>,
        /// What there is.
        known: String,
    },
}
