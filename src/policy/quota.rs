//! How much of AWS's quotas a rule set uses.
//!
//! VPC guide, "Amazon VPC quotas": 60 inbound and 60 outbound rules a security group, IPv4 and IPv6
//! counted apart; 5 security groups a network interface, 16 on request; the quota of rules times the
//! quota of groups at most 1,000; 20 rules a network ACL and direction, IPv4 and IPv6 apart and the
//! final deny included, 40 on request. "Security group rules": a block counts 1, a group 1, a
//! customer's prefix list its MaxEntries, a prefix list of AWS its weight.

use super::{Origin, Remote, RuleSet, World};
use crate::packet::Direction;
use ipnet::IpNet;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Rules of one security group and direction.
pub const RULES_PER_GROUP: u32 = 60;
/// Security groups of one network interface.
pub const GROUPS_PER_INTERFACE: u32 = 5;
/// Rules a group times groups an interface.
pub const RULES_TIMES_GROUPS: u32 = 1_000;
/// Rules of one network ACL and direction, unless more were asked for.
pub const RULES_PER_ACL: u32 = 20;
/// The most that can be asked for.
pub const RULES_PER_ACL_ON_REQUEST: u32 = 40;

/// What lists of AWS's own count (VPC guide, "AWS-managed prefix lists"), by the last part of their names.
const AWS_LISTS: [(&str, u32); 8] = [
    ("origin-facing", 55),
    ("dynamodb", 1),
    ("ec2-instance-connect", 2),
    ("groundstation", 5),
    ("route53-healthchecks", 25),
    ("s3", 1),
    ("s3express", 6),
    ("vpc-lattice", 10),
];

/// The weight of a prefix list of AWS's own, by its name. `None` for others, and for those that the guide did not list.
pub fn aws_weight(name: &str) -> Option<u32> {
    let (_, last) = name.strip_prefix("com.amazonaws.")?.rsplit_once('.')?;
    AWS_LISTS.iter().find(|(list, _)| *list == last).map(|(_, weight)| *weight)
}

/// One quota and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuotaUse {
    /// What is counted, in words.
    pub what: String,
    /// How many there are.
    pub used: u32,
    /// How many are allowed without asking AWS for more.
    pub quota: u32,
    /// The most that AWS grants on request, where it says so.
    pub on_request: Option<u32>,
    /// Prefix lists among them whose MaxEntries no file says: each was counted as 1.
    pub unknown_lists: u32,
}

impl QuotaUse {
    /// True if more is used than is allowed without asking.
    pub fn is_over(&self) -> bool {
        self.used > self.quota
    }
}

/// What one owner's rules of one direction count, by family.
#[derive(Default)]
struct Count {
    families: [u32; 2],
    unknown_lists: u32,
}

/// The quotas that a rule set counts against. Rules that were not read from a file are not counted.
///
/// `most_groups`: the interface with the most groups and how many, where interfaces are known; else all groups count
/// as of one.
pub fn quotas(rules: &RuleSet, most_groups: Option<(&str, u32)>) -> Vec<QuotaUse> {
    let mut counts: BTreeMap<(&str, bool), Count> = BTreeMap::new();
    // Of one reference come many rules; it counts once.
    let mut seen = BTreeSet::new();
    let all = (0..rules.len() as u32).filter_map(|i| {
        let family = Some(usize::from(matches!(rules.rule(i).remote, IpNet::V6(_))));
        Some((rules.direction(i), rules.origin(i)?, family))
    });
    let left_out = rules.left_out().iter().map(|(direction, origin)| (*direction, origin, None));
    for (direction, origin, family) in all.chain(left_out) {
        let count = counts.entry((&*origin.owner, direction == Direction::Out)).or_default();
        let (weight, unknown, families) = weight(origin, family);
        for family in families {
            if seen.insert((&*origin.file, origin.path.as_str(), family)) {
                count.families[family] += weight;
                count.unknown_lists += u32::from(unknown);
            }
        }
    }
    match rules.world {
        World::SecurityGroups => of_groups(&counts, most_groups),
        World::NetworkAcl => of_acls(&counts),
    }
}

/// What a rule counts, whether that is a guess, and in which families.
fn weight(origin: &Origin, family: Option<usize>) -> (u32, bool, Vec<usize>) {
    match (origin.remote, family) {
        (Remote::Block, family) => (1, false, family.into_iter().collect()),
        // A group has members of either family.
        (Remote::Group, _) => (1, false, vec![0, 1]),
        (Remote::PrefixList { max_entries }, Some(family)) => {
            (max_entries.unwrap_or(1), max_entries.is_none(), vec![family])
        }
        // A list is of one family; which, nobody said.
        (Remote::PrefixList { max_entries }, None) => (max_entries.unwrap_or(1), max_entries.is_none(), vec![0]),
    }
}

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

fn words(out: bool) -> &'static str {
    if out { "outbound" } else { "inbound" }
}

fn of_groups(counts: &BTreeMap<(&str, bool), Count>, most_groups: Option<(&str, u32)>) -> Vec<QuotaUse> {
    let mut all = Vec::new();
    for ((owner, out), count) in counts {
        for (family, used) in FAMILIES.iter().zip(count.families).filter(|(_, used)| *used > 0) {
            all.push(QuotaUse {
                what: format!("{owner}: {} {family} rules", words(*out)),
                used,
                quota: RULES_PER_GROUP,
                on_request: None,
                unknown_lists: if *family == FAMILIES[0] { count.unknown_lists } else { 0 },
            });
        }
    }
    let all_groups = counts.keys().map(|(owner, _)| owner).collect::<BTreeSet<_>>().len() as u32;
    let groups = most_groups.map_or(all_groups, |(_, groups)| groups);
    let largest = counts.values().flat_map(|count| count.families).max().unwrap_or(0);
    if groups > 0 {
        let what = match most_groups {
            Some((interface, _)) => format!("security groups on {interface}, the most of any network interface"),
            None => "security groups, if on one network interface".to_owned(),
        };
        all.push(QuotaUse { what, used: groups, quota: GROUPS_PER_INTERFACE, on_request: Some(16), unknown_lists: 0 });
        all.push(QuotaUse {
            what: format!("groups times rules of the largest ({groups} x {largest})"),
            used: groups.saturating_mul(largest),
            quota: RULES_TIMES_GROUPS,
            on_request: None,
            unknown_lists: 0,
        });
    }
    all
}

fn of_acls(counts: &BTreeMap<(&str, bool), Count>) -> Vec<QuotaUse> {
    let mut all = Vec::new();
    for ((owner, out), count) in counts {
        for (family, used) in FAMILIES.iter().zip(count.families).filter(|(_, used)| *used > 0) {
            all.push(QuotaUse {
                what: format!("{owner}: {} {family} rules, with the final deny", words(*out)),
                used: used + 1,
                quota: RULES_PER_ACL,
                on_request: Some(RULES_PER_ACL_ON_REQUEST),
                unknown_lists: 0,
            });
        }
    }
    all
}
