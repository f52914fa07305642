//! The twin as the AWS CLI reads it.

use crate::packet::{Direction, protocol};
use crate::policy::{Rule, RuleSet};
use ipnet::IpNet;
use serde_json::{Value, json};

/// The highest rule number that AWS takes.
const LAST_NUMBER: usize = 32_766;

/// Rule numbers, ten apart while they last, so that a rule fits in between.
pub(super) struct Numbers {
    next: usize,
    step: usize,
}

impl Numbers {
    /// For at most so many rules.
    pub fn new(rules: usize) -> Self {
        let step = if 100 + 10 * rules <= LAST_NUMBER { 10 } else { 1 };
        Numbers { next: if step == 10 { 100 } else { 1 }, step }
    }

    pub fn next(&mut self) -> usize {
        let number = self.next;
        self.next += self.step;
        number
    }
}

/// The number in a rule's name, `acl:<number>` or `acl:<id>#<number>`.
fn number(rule: &Rule) -> Option<usize> {
    rule.name.rsplit([':', '#']).next()?.parse().ok()
}

/// True if AWS can number all the rules.
pub(crate) fn can_be_numbered(twin: &RuleSet) -> bool {
    twin.len() <= LAST_NUMBER
}

/// One entry, without the id of its ACL.
fn entry(direction: Direction, rule: &Rule) -> Value {
    let mut entry = json!({
        "RuleNumber": number(rule).unwrap_or_default(),
        "Protocol": rule.protocol.map_or("-1".to_owned(), |number| number.to_string()),
        "RuleAction": if rule.allow { "allow" } else { "deny" },
        "Egress": direction == Direction::Out,
    });
    match rule.remote {
        IpNet::V4(block) => entry["CidrBlock"] = block.to_string().into(),
        IpNet::V6(block) => entry["Ipv6CidrBlock"] = block.to_string().into(),
    }
    match (rule.protocol, rule.ports) {
        (Some(protocol::ICMP | protocol::ICMPV6), ports) => {
            let (icmp_type, code) = match ports {
                None => (-1, -1),
                Some((low, high)) if low == high => ((low >> 8).into(), (low & 0xff).into()),
                Some((low, _)) => ((low >> 8).into(), -1),
            };
            entry["IcmpTypeCode"] = json!({"Type": icmp_type, "Code": code});
        }
        (Some(protocol::TCP | protocol::UDP), ports) => {
            let (low, high) = ports.unwrap_or((0, u16::MAX));
            entry["PortRange"] = json!({"From": low, "To": high});
        }
        _ => {}
    }
    entry
}

fn all(twin: &RuleSet) -> impl Iterator<Item = Value> {
    let directions = [Direction::In, Direction::Out].into_iter();
    directions.flat_map(|direction| twin.rules(direction).map(move |(_, rule)| entry(direction, rule)))
}

/// Twins as `aws ec2 describe-network-acls` would print them: each with its id and, if it is for one, its subnet.
pub fn describe<'a>(twins: impl IntoIterator<Item = (&'a RuleSet, &'a str, Option<&'a str>)>) -> Value {
    let acls: Vec<Value> = twins.into_iter().map(|(twin, id, subnet)| acl(twin, id, subnet)).collect();
    json!({"NetworkAcls": acls})
}

fn acl(twin: &RuleSet, id: &str, subnet: Option<&str>) -> Value {
    let mut entries: Vec<Value> = all(twin).collect();
    for egress in [false, true] {
        for (number, field, block) in [(32_767, "CidrBlock", "0.0.0.0/0"), (32_768, "Ipv6CidrBlock", "::/0")] {
            entries.push(json!({
                "RuleNumber": number, "Protocol": "-1", "RuleAction": "deny", "Egress": egress, (field): block,
            }));
        }
    }
    let association = |subnet: &str| json!({"NetworkAclId": id, "SubnetId": subnet});
    let associations: Vec<Value> = subnet.into_iter().map(association).collect();
    json!({"NetworkAclId": id, "IsDefault": false, "Associations": associations, "Entries": entries})
}

/// What `aws ec2 create-network-acl-entry --cli-input-json` takes, entry by entry.
pub fn entries(twin: &RuleSet, id: &str) -> impl Iterator<Item = Value> {
    all(twin).map(move |mut entry| {
        entry["NetworkAclId"] = id.into();
        entry
    })
}
