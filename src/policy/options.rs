//! What to load out of a policy file, and what comes of it.

use super::{Inventory, RuleSet};
use std::sync::Arc;

/// What to load, and how strictly.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Security groups to use together, by id or name, as if attached to one network interface.
    /// None means all of the file.
    pub groups: Vec<String>,
    /// The network ACL to use, by id. Needed if the file holds several.
    pub acl: Option<String>,
    /// What to do with rules whose addresses are not in the file.
    pub unresolved: Unresolved,
    /// What group and prefix list references resolve to, beside what the file itself holds.
    pub inventory: Option<Arc<Inventory>>,
}

/// What to do with rules for the members of a security group or prefix list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unresolved {
    /// Refuse the file.
    #[default]
    Error,
    /// Leave them out, with a warning for each.
    Warn,
}

/// A policy that was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The rules.
    pub rules: RuleSet,
    /// What the user should know: rules left out, rules that can never match, blocks read
    /// differently from how they are written.
    pub warnings: Vec<String>,
}
