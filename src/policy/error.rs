//! What can be wrong with a policy file: each error names the file, the place in it, and what is allowed there.

use std::path::PathBuf;
use thiserror::Error;

/// A policy file that cannot be used, and why.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read the policy file", file.display())]
    Read {
        /// The policy file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any sensible listing.
    #[error("{}: larger than {limit_mib} MiB, the most that is read; list only what is needed, by the CLI's --filters or --query", file.display())]
    TooLarge {
        /// The policy file.
        file: PathBuf,
        /// The largest size that is read, in MiB.
        limit_mib: usize,
    },
    /// The file is not UTF-8 JSON.
    #[error("{}: line {line}, column {column}: not JSON: {problem}", file.display())]
    NotJson {
        /// The policy file.
        file: PathBuf,
        /// Line of the first offending byte, from 1.
        line: usize,
        /// Column of the first offending byte, from 1; 0 before the first one.
        column: usize,
        /// What the parser said.
        problem: String,
    },
    /// JSON, but not the listing that is needed.
    #[error("{}: holds {found}; needed here: {expected}", file.display())]
    WrongKind {
        /// The policy file.
        file: PathBuf,
        /// What the file holds.
        found: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// Names and ids, as `--query` leaves them of a listing, and no rules.
    #[error("{}: names {what}s, but holds no rules, as a --query result does; the rules are what this prints: {command}", file.display())]
    IdsOnly {
        /// The policy file.
        file: PathBuf,
        /// "security group" or "network ACL".
        what: &'static str,
        /// What prints the rules of those that are named.
        command: String,
    },
    /// A filter of a ClassBench filter set that cannot be read.
    #[error("{}: line {line}: {field}: {value:?} is not allowed; allowed: {allowed}", file.display())]
    Filter {
        /// The policy file.
        file: PathBuf,
        /// Line of the filter, from 1.
        line: usize,
        /// Which part of it.
        field: &'static str,
        /// What stands there, shortened.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The listing is empty.
    #[error("{}: {path}: the list is empty; list at least one {what}", file.display())]
    Empty {
        /// The policy file.
        file: PathBuf,
        /// JSON path of the list.
        path: String,
        /// What is listed.
        what: &'static str,
    },
    /// A field that must be there is not.
    #[error("{}: {path}: missing; {allowed}", file.display())]
    Missing {
        /// The policy file.
        file: PathBuf,
        /// JSON path of the missing field.
        path: String,
        /// When and why it is needed.
        allowed: String,
    },
    /// A value of the wrong type or out of range.
    #[error("{}: {path}: {value} is not allowed; allowed: {allowed}", file.display())]
    Value {
        /// The policy file.
        file: PathBuf,
        /// JSON path of the value.
        path: String,
        /// The value, shortened.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A rule for the members of a security group or prefix list, whose addresses no file holds.
    #[error(
        "{}: {path}: {rule} is for the addresses of {target}, which no file holds; \
         add them with --inventory (network interfaces, prefix lists), write them as CIDR blocks in IpRanges or Ipv6Ranges, or leave such rules out with --skip-unresolved",
        file.display()
    )]
    Unresolved {
        /// The policy file.
        file: PathBuf,
        /// JSON path of the reference.
        path: String,
        /// The rule's name, which starts with its group.
        rule: String,
        /// The security group or prefix list referred to.
        target: String,
    },
    /// A rule that its template does not determine.
    #[error(
        "{}: {path}: {rule} depends on {what}, which the template does not determine; \
         give its parameters a Default, or leave such rules out with --skip-unresolved",
        file.display()
    )]
    Undetermined {
        /// The policy file.
        file: PathBuf,
        /// JSON path of the rule.
        path: String,
        /// The rule's name.
        rule: String,
        /// The function or condition.
        what: String,
    },
    /// A security group or network ACL was asked for that is not in the file.
    #[error("{}: no {what} is called {wanted:?}; the file holds {known}", file.display())]
    Unknown {
        /// The policy file.
        file: PathBuf,
        /// "security group" or "network ACL".
        what: &'static str,
        /// The name asked for.
        wanted: String,
        /// What the file holds.
        known: String,
    },
    /// Several security groups or network ACLs where only one can be meant.
    #[error("{}: {problem}; ask for one of them by its id: {known}", file.display())]
    Ambiguous {
        /// The policy file.
        file: PathBuf,
        /// What is ambiguous.
        problem: String,
        /// What the file holds.
        known: String,
    },
    /// Two entries with the same number.
    #[error("{}: {path}: {what} is also {first}; each must be unique", file.display())]
    Duplicate {
        /// The policy file.
        file: PathBuf,
        /// JSON path of the later one.
        path: String,
        /// The number.
        what: String,
        /// JSON path of the earlier one.
        first: String,
    },
}
