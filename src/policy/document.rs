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
    /// How an id begins.
    prefix: &'static str,
    /// The command that prints those whose ids follow.
    of_ids: &'static str,
}

/// What `aws ec2 describe-security-groups` prints.
pub(super) const SECURITY_GROUPS: Kind = Kind {
    list: "SecurityGroups",
    mark: "IpPermissions",
    name: "security groups (aws ec2 describe-security-groups)",
    one: "security group",
    prefix: "sg-",
    of_ids: "aws ec2 describe-security-groups --group-ids",
};

/// What `aws ec2 describe-network-acls` prints.
pub(super) const NETWORK_ACLS: Kind = Kind {
    list: "NetworkAcls",
    mark: "NetworkAclId",
    name: "network ACLs (aws ec2 describe-network-acls)",
    one: "network ACL",
    prefix: "acl-",
    of_ids: "aws ec2 describe-network-acls --network-acl-ids",
};

/// Other files that people have at hand, by a key that tells them.
const OTHERS: [(&str, &str); 10] = [
    ("Vpcs", "VPCs (aws ec2 describe-vpcs)"),
    ("InstanceTypes", "instance types (aws ec2 describe-instance-types)"),
    ("FlowLogs", "settings of flow logs (aws ec2 describe-flow-logs)"),
    ("lineage", "a raw Terraform state, which `terraform show -json` prints in the form that is read"),
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
        let problem = error.to_string().replace(&place, "") + hint(file, text);
        PolicyError::NotJson { file: file.into(), line: error.line(), column: error.column(), problem }
    })?;
    formats::normalise(file, document)
}

/// What to do about a file of Terraform's that is not JSON.
fn hint(file: &Path, text: &[u8]) -> &'static str {
    let is_source = file.extension().is_some_and(|extension| extension == "tf");
    match text {
        [b'P', b'K', 3, 4, ..] => "; if it is a plan of Terraform, give what `terraform show -json FILE` prints",
        _ if is_source => "; of Terraform's sources, give what `terraform show -json` prints of their plan or state",
        _ => "",
    }
}

/// The records of a document: a wrapped list, a bare list, or a single record. At least one.
pub(super) fn records<'a>(top: &Cursor<'a>, kind: &Kind) -> Result<Vec<Cursor<'a>>, PolicyError> {
    let has = |value: &Value, key: &str| value.get(key).is_some();
    let list = match top.value() {
        object if has(object, kind.list) => top.field(kind.list)?,
        object if has(object, kind.mark) => return Ok(vec![top.clone()]),
        Value::Array(items) if items.first().is_none_or(|first| has(first, kind.mark)) => top.clone(),
        other => {
            let ids = ids_of(other, kind);
            if !ids.is_empty() && describe(other) == OTHER {
                let command = format!("{} {}", kind.of_ids, ids.join(" "));
                return Err(PolicyError::IdsOnly { file: top.file().into(), what: kind.one, command });
            }
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

/// Ids of this kind, wherever they stand, the first few: what `--query` leaves of a listing is of any shape.
fn ids_of<'a>(value: &'a Value, kind: &Kind) -> Vec<&'a str> {
    const SHOWN: usize = 20;
    let mut ids = Vec::new();
    let mut rest = vec![value];
    while let Some(value) = rest.pop().filter(|_| ids.len() < SHOWN) {
        match value {
            Value::Array(items) => rest.extend(items.iter().rev()),
            Value::Object(fields) => rest.extend(fields.values()),
            Value::String(text) if is_id(text, kind.prefix) && !ids.contains(&text.as_str()) => ids.push(text),
            _ => {}
        }
    }
    ids
}

/// AWS's ids: a prefix and hexadecimal digits.
fn is_id(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).filter(|digits| !digits.is_empty() && digits.len() <= 17);
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
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
        .unwrap_or(OTHER)
}

const OTHER: &str = "JSON of another kind";

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
