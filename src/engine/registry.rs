//! The variants that users compare, by name: `<tracking>-<table>-<rules>`.

use crate::own::{Follows, Registration};
use std::sync::OnceLock;

/// What an engine is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Accepts everything.
    Null,
    /// The judge.
    Reference,
    /// Network ACL, linear rules.
    StatelessLinear,
    /// Network ACL, compiled rules.
    StatelessCompiled,
    /// Security groups, hashbrown a core, compiled rules.
    StatefulPerCoreCompiled,
    /// Security groups, the shared lock-free table, compiled rules.
    StatefulLockFreeCompiled,
    /// Security groups, hashbrown a core, linear rules.
    StatefulPerCoreLinear,
    /// Security groups, the shared lock-free table, linear rules.
    StatefulLockFreeLinear,
    /// Security groups, our own table unsynchronised, one a core, linear rules.
    StatefulOwnerLinear,
    /// Security groups, our own table with a lock a bucket, linear rules.
    StatefulBucketLockLinear,
    /// Security groups, hashbrown in shards behind mutexes, linear rules.
    StatefulLockedLinear,
    /// Security groups, crate papaya, linear rules.
    #[cfg(feature = "contenders")]
    StatefulPapayaLinear,
    /// Security groups, crate dashmap, linear rules.
    #[cfg(feature = "contenders")]
    StatefulDashMapLinear,
    /// Security groups, crate scc, linear rules.
    #[cfg(feature = "contenders")]
    StatefulSccLinear,
    /// An engine from another crate.
    Own(Own),
}

/// An engine from another crate: the same if its name is.
#[derive(Clone, Copy, Debug)]
pub struct Own(pub(crate) &'static Registration);

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Own {}

/// One line of `ctbench engines`.
#[derive(Clone, Copy, Debug)]
pub struct EngineInfo {
    /// What it is made of.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
}

/// All engines that are built in, in the order in which they are shown.
pub const ENGINES: &[EngineInfo] = &[
    EngineInfo {
        kind: Kind::Null,
        name: "null",
        about: "accepts every packet without looking at rules: the floor of the harness itself",
    },
    EngineInfo {
        kind: Kind::Reference,
        name: "reference",
        about: "stateful, written for plainness: one thread, standard map; its verdicts judge the others",
    },
    EngineInfo {
        kind: Kind::StatelessLinear,
        name: "stateless-linear",
        about: "network ACL on every packet, rules tried one by one",
    },
    EngineInfo {
        kind: Kind::StatelessCompiled,
        name: "stateless-compiled",
        about: "network ACL on every packet, rules compiled: all at once if few, else by address and port",
    },
    EngineInfo {
        kind: Kind::StatefulPerCoreLinear,
        name: "stateful-percore-linear",
        about: "security groups over a hashbrown table a core, nothing shared; rules tried one by one",
    },
    EngineInfo {
        kind: Kind::StatefulLockFreeLinear,
        name: "stateful-lockfree-linear",
        about: "security groups over the sharded lock-free table that all cores share; rules tried one by one",
    },
    EngineInfo {
        kind: Kind::StatefulPerCoreCompiled,
        name: "stateful-percore-compiled",
        about: "as stateful-percore-linear, with compiled rules",
    },
    EngineInfo {
        kind: Kind::StatefulLockFreeCompiled,
        name: "stateful-lockfree-compiled",
        about: "as stateful-lockfree-linear, with compiled rules",
    },
    EngineInfo {
        kind: Kind::StatefulOwnerLinear,
        name: "stateful-owner-linear",
        about: "as lockfree, but a table a core and no synchronisation: what the atomics cost",
    },
    EngineInfo {
        kind: Kind::StatefulBucketLockLinear,
        name: "stateful-bucketlock-linear",
        about: "as lockfree, but with a lock in each bucket: what freedom from locks is worth",
    },
    EngineInfo {
        kind: Kind::StatefulLockedLinear,
        name: "stateful-locked-linear",
        about: "the hashbrown shards of percore, shared by all cores, each behind a mutex",
    },
    #[cfg(feature = "contenders")]
    EngineInfo {
        kind: Kind::StatefulPapayaLinear,
        name: "stateful-papaya-linear",
        about: "the concurrent map of crate papaya, one a shard; a mutex in each value makes updates atomic",
    },
    #[cfg(feature = "contenders")]
    EngineInfo {
        kind: Kind::StatefulDashMapLinear,
        name: "stateful-dashmap-linear",
        about: "the concurrent map of crate dashmap, one a shard",
    },
    #[cfg(feature = "contenders")]
    EngineInfo {
        kind: Kind::StatefulSccLinear,
        name: "stateful-scc-linear",
        about: "the concurrent map of crate scc, one a shard",
    },
];

/// Engines from other crates.
static OWN: OnceLock<Vec<EngineInfo>> = OnceLock::new();

/// Adds engines from another crate. Once a process.
pub(crate) fn add(engines: Vec<EngineInfo>) -> Result<(), String> {
    OWN.set(engines).map_err(|_| "engines of your own are registered once a process, all together".into())
}

/// All engines: those that are built in, then those from another crate.
pub fn engines() -> impl Iterator<Item = &'static EngineInfo> {
    ENGINES.iter().chain(OWN.get().into_iter().flatten())
}

impl Kind {
    /// True if the engine follows security groups and remembers connections.
    pub fn is_stateful(self) -> bool {
        self != Kind::Null && !self.is_stateless()
    }

    /// True if the engine follows a network ACL.
    pub fn is_stateless(self) -> bool {
        match self {
            Kind::StatelessLinear | Kind::StatelessCompiled => true,
            Kind::Own(own) => own.0.follows == Follows::NetworkAcl,
            _ => false,
        }
    }

    /// True if any core may be handed any packet: the engine remembers nothing, or in a table that all
    /// cores share, or it runs on one core anyway.
    pub fn is_shared(self) -> bool {
        use Kind::*;
        match self {
            StatefulPerCoreLinear | StatefulPerCoreCompiled | StatefulOwnerLinear => false,
            Own(own) => own.0.shared,
            _ => true,
        }
    }

    /// True if a comparison runs it unasked. The others answer questions about tables: name them.
    pub fn is_default(self) -> bool {
        use Kind::*;
        matches!(self, Null | Reference | StatelessLinear | StatefulPerCoreLinear | StatefulLockFreeLinear | Own(_))
    }

    /// True if it can follow rules that differ by interface.
    pub fn follows_interfaces(self) -> bool {
        match self {
            Kind::Own(own) => own.0.by_interface,
            _ => true,
        }
    }

    /// True if it runs on one core only.
    pub fn is_single_core(self) -> bool {
        self == Kind::Reference
    }

    /// The engine's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Own(own) => own.0.name,
            _ => ENGINES.iter().find(|engine| engine.kind == self).map_or("", |engine| engine.name),
        }
    }
}

/// The engines whose names match one of the patterns (`*` and `?` as in a shell), in the order of
/// [`engines`]. A pattern that matches nothing is the error.
pub fn select(patterns: &[String]) -> Result<Vec<Kind>, String> {
    if let Some(pattern) = patterns.iter().find(|p| !engines().any(|e| glob(p.as_bytes(), e.name.as_bytes()))) {
        return Err(pattern.clone());
    }
    let wanted = |name: &str| patterns.iter().any(|p| glob(p.as_bytes(), name.as_bytes()));
    Ok(engines().filter(|engine| wanted(engine.name)).map(|engine| engine.kind).collect())
}

/// Whether a name matches a pattern with `*` and `?`.
pub(crate) fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => glob(rest, name) || (!name.is_empty() && glob(pattern, &name[1..])),
        (Some((b'?', rest)), Some((_, name))) => glob(rest, name),
        (Some((a, rest)), Some((b, name))) => a == b && glob(rest, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[&str]) -> Result<Vec<&'static str>, String> {
        let patterns: Vec<String> = patterns.iter().map(|p| p.to_string()).collect();
        Ok(select(&patterns)?.into_iter().map(Kind::name).collect())
    }

    #[test]
    fn globs_select_in_registry_order() {
        assert_eq!(
            names(&["stateful-*rcore-l*", "stateful-lockf*-linear", "null"]).unwrap(),
            ["null", "stateful-percore-linear", "stateful-lockfree-linear"]
        );
        assert_eq!(names(&["*lockfree*"]).unwrap(), ["stateful-lockfree-linear", "stateful-lockfree-compiled"]);
        assert_eq!(names(&["state????-linear"]).unwrap(), ["stateless-linear"]);
        assert_eq!(names(&["stateless?linear", "nul*l"]).unwrap(), ["null", "stateless-linear"]);
        assert_eq!(names(&["state?-linear", "null*"]).unwrap_err(), "state?-linear");
    }
}
