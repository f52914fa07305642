//! `aws ec2 describe-security-group-rules`: rules one by one, each with its own id, put together by group.

use super::{NAMES, PATH, RULE_ID, append};
use crate::policy::PolicyError;
use crate::policy::cursor::Cursor;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// The groups that the rules belong to, in order of appearance.
pub fn shape(file: &Path, document: &Value) -> Result<Value, PolicyError> {
    let top = Cursor::top(file, document);
    let list = if document.is_array() { top } else { top.field("SecurityGroupRules")? };
    let mut groups: Vec<Value> = Vec::new();
    let mut number_of = HashMap::new();
    for rule in list.items()? {
        let group = rule.field("GroupId")?.id()?;
        let number = *number_of.entry(group).or_insert(groups.len());
        if number == groups.len() {
            let empty = json!({"GroupId": group, "IpPermissions": [], "IpPermissionsEgress": [], PATH: rule.path()});
            groups.push(empty);
        }
        let egress = rule.field("IsEgress")?.boolean()?;
        let list = if egress { "IpPermissionsEgress" } else { "IpPermissions" };
        append(&mut groups[number], list, permission(&rule)?);
    }
    Ok(json!({"SecurityGroups": groups}))
}

fn permission(rule: &Cursor) -> Result<Value, PolicyError> {
    let mut permission = rule.value().clone();
    let path = rule.path();
    permission[PATH] = path.into();
    permission[RULE_ID] = rule.field("SecurityGroupRuleId")?.id()?.into();
    let one = |theirs: &str, here: &str, value: &Value| json!([{PATH: path, NAMES: {here: theirs}, here: value}]);
    for (theirs, list, here) in [
        ("CidrIpv4", "IpRanges", "CidrIp"),
        ("CidrIpv6", "Ipv6Ranges", "CidrIpv6"),
        ("PrefixListId", "PrefixListIds", "PrefixListId"),
    ] {
        if let Some(value) = rule.optional(theirs)? {
            permission[list] = one(theirs, here, value.value());
        }
    }
    if let Some(group) = rule.optional("ReferencedGroupInfo")? {
        permission["UserIdGroupPairs"] = json!([{PATH: group.path(), "GroupId": group.field("GroupId")?.id()?}]);
    }
    Ok(permission)
}
