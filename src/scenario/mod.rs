//! Scenarios: a trace, its policies and what is expected of them, in one `scenario.toml`.

mod instant;

pub use instant::Instant;

use crate::conntrack::{Config, MAX_TIMEOUT_S, Profile};
use crate::trace::synthesis::Recipe;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// `scenario.toml`. Paths are relative to the file. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, in a line.
    pub title: String,
    /// The capture.
    pub trace: PathBuf,
    /// How the capture is made where it does not exist: for traces too large to be kept.
    pub r#gen: Option<Recipe>,
    /// The protected addresses. With interfaces in the inventory: those of them that count.
    #[serde(default)]
    pub inside: Vec<IpNet>,
    /// What `aws ec2 describe-security-groups` prints.
    pub security_groups: Option<PathBuf>,
    /// What `aws ec2 describe-network-acls` prints.
    pub network_acls: Option<PathBuf>,
    /// Interfaces, subnets, prefix lists: see [`Inventory`](crate::policy::Inventory).
    #[serde(default)]
    pub inventory: Vec<PathBuf>,
    /// Use only these groups of the file, by id or name.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Use this ACL of the file, by id.
    pub acl: Option<String>,
    /// Timeouts, tracking and full-table policy.
    #[serde(default = "linux")]
    pub profile: Profile,
    /// Overrides of the profile, key by key.
    #[serde(default)]
    pub conntrack: toml::Table,
    /// Size of the flow tables.
    #[serde(default)]
    pub table: TableSettings,
    /// Rules that change in mid-replay, in any order.
    #[serde(default, rename = "change")]
    pub changes: Vec<RuleChange>,
    /// Counts that every run must reach.
    pub expect: Option<Expect>,
}

/// `[[change]]` of a scenario: from an instant on, other rules. A world that is not named keeps its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleChange {
    /// When, in packet time.
    pub at: Instant,
    /// What `aws ec2 describe-security-groups` printed then.
    pub security_groups: Option<PathBuf>,
    /// What `aws ec2 describe-network-acls` printed then.
    pub network_acls: Option<PathBuf>,
}

fn linux() -> Profile {
    Profile::Linux
}

/// `[table]` of a scenario.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSettings {
    /// Entries in all; by default twice the trace's flows, at least 65,536.
    pub capacity: Option<u64>,
    /// Shards, 1 to 65,536.
    pub shards: Option<u32>,
    /// Key of the hash that chooses shards.
    pub key: Option<u64>,
}

/// `[expect]` of a scenario: `ctbench verify --bless` writes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Packets in the trace.
    pub packets: u64,
    /// What stateful engines say.
    pub stateful: Option<Counts>,
    /// What stateless engines say.
    pub stateless: Option<Counts>,
}

/// Verdicts of one world.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Packets accepted.
    pub accept: u64,
    /// Packets dropped.
    pub drop: u64,
    /// The digest of all verdicts and states, 16 hexadecimal digits.
    pub digest: String,
}

/// A scenario that cannot be used.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file cannot be read or written.
    #[error("{path}: cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not a scenario.
    #[error("{path}: not a scenario")]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, column and key.
        source: Box<toml::de::Error>,
    },
    /// A key of `[conntrack]` that does not exist.
    #[error("{path}: [conntrack] has no key `{key}`; it has: {known}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// All keys.
        known: String,
    },
    /// A value that is out of range.
    #[error("{path}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is allowed.
        what: String,
    },
}

impl Scenario {
    /// Reads a scenario. `path` is the file, or the folder that holds `scenario.toml`.
    pub fn read(path: &Path) -> Result<(Self, PathBuf), ScenarioError> {
        let path = if path.is_dir() { path.join("scenario.toml") } else { path.to_owned() };
        let text = fs::read_to_string(&path).map_err(|source| ScenarioError::Io { path: path.clone(), source })?;
        let scenario: Scenario = toml::from_str(&text)
            .map_err(|source| ScenarioError::Toml { path: path.clone(), source: source.into() })?;
        let shards = scenario.table.shards.unwrap_or(1);
        if !(1..=65_536).contains(&shards) {
            let what = format!("[table] shards = {shards} is out of range: 1 to 65,536");
            return Err(ScenarioError::Value { path, what });
        }
        if scenario.security_groups.is_none() && scenario.network_acls.is_none() {
            let what = "no rules: give `security_groups`, `network_acls` or both".to_owned();
            return Err(ScenarioError::Value { path, what });
        }
        if scenario.inside.is_empty() && scenario.inventory.is_empty() {
            let what = "nothing to protect: give `inside`, or interfaces in `inventory`".to_owned();
            return Err(ScenarioError::Value { path, what });
        }
        for (n, change) in (1..).zip(&scenario.changes) {
            let what = if change.security_groups.is_none() && change.network_acls.is_none() {
                format!("[[change]] number {n} changes nothing: give `security_groups`, `network_acls` or both")
            } else if change.security_groups.is_some() && scenario.security_groups.is_none() {
                format!("[[change]] number {n}: the scenario has no `security_groups` that could change")
            } else if change.network_acls.is_some() && scenario.network_acls.is_none() {
                format!("[[change]] number {n}: the scenario has no `network_acls` that could change")
            } else {
                continue;
            };
            return Err(ScenarioError::Value { path, what });
        }
        Ok((scenario, path))
    }

    /// The profile with the scenario's overrides.
    pub fn config(&self, path: &Path) -> Result<Config, ScenarioError> {
        overridden(&Config::new(self.profile), &self.conntrack, path)
    }
}

/// Lays `[conntrack]` over a configuration. Timeouts stand beside the switches, as in the file.
fn overridden(base: &Config, keys: &toml::Table, path: &Path) -> Result<Config, ScenarioError> {
    let toml_error = |source: toml::de::Error| ScenarioError::Toml { path: path.to_owned(), source: Box::new(source) };
    let value_error = |what: String| ScenarioError::Value { path: path.to_owned(), what };
    let mut all = toml::Table::try_from(base).map_err(|e| value_error(e.to_string()))?;
    let mut timeouts = toml::Table::try_from(&base.timeouts).map_err(|e| value_error(e.to_string()))?;
    all.remove("timeouts");
    let profile = all.remove("profile");
    for (key, value) in keys {
        if timeouts.contains_key(key) && value.as_integer().is_some_and(|s| !(0..=MAX_TIMEOUT_S as i64).contains(&s)) {
            return Err(value_error(format!(
                "[conntrack] {key} = {value} is out of range: 0 to {MAX_TIMEOUT_S} seconds"
            )));
        }
        let place = if all.contains_key(key) { &mut all } else { &mut timeouts };
        if !place.contains_key(key) {
            let known: Vec<&str> = all.keys().chain(timeouts.keys()).map(String::as_str).collect();
            return Err(ScenarioError::UnknownKey { path: path.to_owned(), key: key.clone(), known: known.join(", ") });
        }
        place.insert(key.clone(), value.clone());
    }
    all.insert("timeouts".into(), toml::Value::Table(timeouts));
    all.extend(profile.map(|profile| ("profile".to_owned(), profile)));
    toml::Value::Table(all).try_into().map_err(toml_error)
}

/// Writes `[expect]` into a scenario file and leaves the rest of its text as it is.
pub fn bless(path: &Path, expect: &Expect) -> Result<(), ScenarioError> {
    let io = |source| ScenarioError::Io { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(io)?;
    fs::write(path, with_expect(&text, expect)).map_err(io)
}

fn with_expect(text: &str, expect: &Expect) -> String {
    let mut kept = String::new();
    let mut inside_expect = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside_expect = line.trim_end() == "[expect]";
        }
        if !inside_expect {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    let world = |name: &str, counts: &Option<Counts>| match counts {
        Some(c) => format!("{name} = {{ accept = {}, drop = {}, digest = \"{}\" }}\n", c.accept, c.drop, c.digest),
        None => String::new(),
    };
    format!(
        "{}\n\n[expect]\npackets = {}\n{}{}",
        kept.trim_end(),
        expect.packets,
        world("stateful", &expect.stateful),
        world("stateless", &expect.stateless)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, ScenarioError> {
        overridden(&Config::new(Profile::Aws), &text.parse().unwrap(), Path::new("s.toml"))
    }

    #[test]
    fn overrides_reach_switches_and_timeouts() {
        let config = config("tcp_established = 350\nloose = false\ntcp_window = 'off'").unwrap();
        assert_eq!(config.timeouts.tcp_established, 350);
        assert_eq!(config.timeouts.udp_stream, 180);
        assert!(!config.loose);
        assert_eq!(config.profile, Profile::Aws);
    }

    #[test]
    fn a_misspelt_key_is_named_with_what_is_allowed() {
        let error = config("tcp_establish = 1").unwrap_err().to_string();
        assert!(error.contains("no key `tcp_establish`") && error.contains("tcp_established"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_an_error() {
        assert!(config("udp = 'soon'").is_err());
        assert!(config("udp = -1").is_err());
    }

    #[test]
    fn blessing_replaces_only_its_table() {
        let expect = Expect {
            packets: 3,
            stateful: Some(Counts { accept: 2, drop: 1, digest: "00ff".into() }),
            stateless: None,
        };
        let text = "title = \"x\" # why\n[expect]\npackets = 0\n\n[table]\nshards = 2\n";
        let first = with_expect(text, &expect);
        assert_eq!(
            first,
            "title = \"x\" # why\n[table]\nshards = 2\n\n[expect]\npackets = 3\nstateful = { accept = 2, drop = 1, digest = \"00ff\" }\n"
        );
        assert_eq!(with_expect(&first, &expect), first);
    }
}
