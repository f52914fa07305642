//! Where a rule was read: what an explanation shows, and what quotas count.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The place of a rule in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// The JSON path in it, as in `SecurityGroups[0].IpPermissions[2].IpRanges[0]`.
    pub path: String,
    /// Id of the security group or network ACL that holds the rule.
    pub owner: Arc<str>,
    /// How the file writes the rule's remote end.
    pub remote: Remote,
}

/// What a rule was written for. Several rules of a set can come of one that names a group or list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A CIDR block.
    Block,
    /// The members of a security group.
    Group,
    /// The entries of a prefix list.
    PrefixList {
        /// What it counts against quotas: a customer's list its MaxEntries, one of AWS its weight.
        /// `None` if no file says so.
        max_entries: Option<u32>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.path)
    }
}
