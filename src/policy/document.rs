//! A policy file to the list of AWS records in it, recognised by content.

use super::PolicyError;
use super::cursor::Cursor;
use super::formats;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest file that is read: thousands of groups. Parsed, the worst file of this size (many tiny
/// objects) takes a hundred times its size, and the largest rule set has two million rules.
const MAX_MIB: usize = 32;

/// What a listing holds and how it is recognised.
pub(super) struct Kind {
    /// The key around the list, as the CLI prints it.
    pub list: &'static str,
    /// The field by which one record is recognised when it was cut out of the list.
    pub mark: &'static str,
    /// In words, with the command that prints it.
    pub name: &'static str,
    /// One record, in words.
    pub one: &'static str,
}

/// What `aws ec2 describe-security-groups` prints.
pub(super) const SECURITY_GROUPS: Kind = Kind {
    list: "SecurityGroups",
    mark: "IpPermissions",
    name: "security groups (aws ec2 describe-security-groups)",
    one: "security group",
};

/// What `aws ec2 describe-network-acls` prints.
pub(super) const NETWORK_ACLS: Kind = Kind {
    list: "NetworkAcls",
    mark: "NetworkAclId",
    name: "network ACLs (aws ec2 describe-network-acls)",
    one: "network ACL",
};

/// Other files that people have at hand, by a key that tells them.
const OTHERS: [(&str, &str); 6] = [
    ("NetworkInterfaces", "network interfaces (aws ec2 describe-network-interfaces)"),
    ("PrefixLists", "prefix lists (aws ec2 describe-managed-prefix-lists)"),
    ("Subnets", "subnets (aws ec2 describe-subnets)"),
    ("IpProtocol", "permissions cut out of their security group"),
    ("RuleNumber", "entries cut out of their network ACL"),
    ("Entries", "entries without the id of a network ACL, as those of a prefix list"),
];

/// Reads a file, in any of the formats, as the CLI would have printed it.
pub(super) fn read(file: &Path) -> Result<Value, PolicyError> {
    let mut bytes = Vec::new();
    let limit = MAX_MIB << 20;
    File::open(file)
        .and_then(|opened| opened.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| PolicyError::Read { file: file.into(), source })?;
    if bytes.len() > limit {
        return Err(PolicyError::TooLarge { file: file.into(), limit_mib: MAX_MIB });
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let problem = "the file is UTF-16, as PowerShell's `>` writes it; save it as UTF-8".into();
        return Err(PolicyError::NotJson { file: file.into(), line: 1, column: 1, problem });
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    // JSON documents that hold rules begin with a bracket; a flow mapping is YAML, but nobody's template.
    let start = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if start.is_some_and(|byte| !b"{[".contains(byte)) && text.windows(10).any(|window| window == b"Resources:") {
        return formats::parse_yaml(file, text).and_then(|document| formats::normalise(file, document));
    }
    let document = serde_json::from_slice(text).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let problem = error.to_string().replace(&place, "");
        PolicyError::NotJson { file: file.into(), line: error.line(), column: error.column(), problem }
    })?;
    formats::normalise(file, document)
}

/// The records of a document: a wrapped list, a bare list, or a single record. At least one.
pub(super) fn records<'a>(top: &Cursor<'a>, kind: &Kind) -> Result<Vec<Cursor<'a>>, PolicyError> {
    let has = |value: &Value, key: &str| value.get(key).is_some();
    let list = match top.value() {
        object if has(object, kind.list) => top.field(kind.list)?,
        object if has(object, kind.mark) => return Ok(vec![top.clone()]),
        Value::Array(items) if items.first().is_none_or(|first| has(first, kind.mark)) => top.clone(),
        other => {
            return Err(PolicyError::WrongKind {
                file: top.file().into(),
                found: describe(other),
                expected: kind.name,
            });
        }
    };
    let records: Vec<_> = list.items()?.collect();
    if records.is_empty() {
        return Err(PolicyError::Empty { file: top.file().into(), path: list.path().into(), what: kind.one });
    }
    Ok(records)
}

/// A warning if the CLI stopped before the end of the list (`--max-items`).
pub(super) fn truncation(top: &Cursor, kind: &Kind) -> Option<String> {
    top.value()
        .get("NextToken")
        .filter(|token| !token.is_null())
        .map(|_| format!("{}: holds a NextToken: {} were cut off at --max-items", top.file().display(), kind.name))
}

/// What a document is, by its keys.
fn describe(value: &Value) -> &'static str {
    let sample = match value {
        Value::Array(items) => items.first().unwrap_or(value),
        _ => value,
    };
    let has = |key: &str| sample.get(key).is_some();
    [&SECURITY_GROUPS, &NETWORK_ACLS]
        .iter()
        .find(|kind| has(kind.list) || has(kind.mark))
        .map(|kind| kind.name)
        .or_else(|| OTHERS.iter().find(|(key, _)| has(key)).map(|(_, name)| *name))
        .unwrap_or("JSON of another kind")
}

/// Ids for an error to list, cut short.
pub(super) fn listing(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 20;
    let more = names.len().saturating_sub(SHOWN);
    let mut text = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}
