//! Made-up security groups and network ACLs of any size, such as real accounts have: for scale tests.
//!
//! The mix is ours, after what the AWS guides show as typical: mostly single ports of well-known services for a
//! partner's network or a single host, some for everybody, a few port ranges, a few for all traffic, one in ten IPv6.
//! One seed gives the same rules on every machine ([`Random`] is SplitMix64).

use crate::measure::statistics::Random;
use crate::packet::{Direction, protocol};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Most rules that are made at once.
pub const MOST_RULES: usize = 100_000;

/// Most rules of a network ACL: numbers 1 to 32,766 in each direction (EC2 API, `CreateNetworkAclEntry`).
pub const MOST_ACL_RULES: usize = 2 * LAST_NUMBER;

const LAST_NUMBER: usize = 32_766;

/// Rules a direction that a security group may hold by default (VPC guide, "Amazon VPC quotas").
const GROUP_QUOTA: usize = 60;

/// What a made-up rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The addresses.
    pub remote: IpNet,
    /// `None` for all traffic.
    pub protocol: Option<u8>,
    /// TCP and UDP: lowest and highest port. ICMP: all types.
    pub ports: Option<(u16, u16)>,
}

/// So many different rules, in random order.
pub fn lines(count: usize, seed: u64) -> Vec<Line> {
    let mut random = Random::new(seed);
    let mut seen = HashSet::with_capacity(count);
    let mut lines = Vec::with_capacity(count);
    while lines.len() < count {
        let line = line(&mut random);
        // EC2 refuses a rule that the group has already.
        if seen.insert(line) {
            lines.push(line);
        }
    }
    lines
}

/// One of the values, as likely as its weight.
fn pick<T: Copy>(random: &mut Random, weighted: &[(usize, T)]) -> T {
    let mut at = random.below(weighted.iter().map(|(weight, _)| weight).sum());
    for (weight, value) in weighted {
        if at < *weight {
            return *value;
        }
        at -= weight;
    }
    weighted[0].1
}

/// TCP services: weight and port.
const TCP: &[(usize, u16)] = &[
    (25, 443),
    (15, 80),
    (12, 22),
    (6, 5432),
    (6, 3306),
    (4, 3389),
    (4, 8080),
    (4, 8443),
    (3, 6379),
    (3, 9092),
    (3, 27_017),
    (2, 1433),
    (2, 2049),
    (2, 9200),
    (2, 25),
    (1, 636),
];

/// UDP services.
const UDP: &[(usize, u16)] = &[(6, 53), (3, 123), (2, 514), (2, 161), (1, 500), (1, 4500), (1, 1812)];

/// Lengths of IPv4 and IPv6 blocks.
const V4_LENGTHS: &[(usize, u8)] =
    &[(35, 32), (8, 28), (6, 26), (24, 24), (3, 22), (6, 20), (10, 16), (2, 12), (2, 8), (4, 0)];
const V6_LENGTHS: &[(usize, u8)] = &[(30, 128), (35, 64), (15, 56), (12, 48), (4, 32), (4, 0)];

fn line(random: &mut Random) -> Line {
    let v6 = random.below(10) == 0;
    let icmp = if v6 { protocol::ICMPV6 } else { protocol::ICMP };
    let one = |port| Some((port, port));
    let (protocol, ports) = match random.below(100) {
        0..72 => (Some(protocol::TCP), one(pick(random, TCP))),
        72..78 => {
            // An application's own range.
            let low = 1024 + random.below(60_000) as u16;
            (Some(protocol::TCP), Some((low, low + random.below(1000) as u16)))
        }
        78..81 => (Some(protocol::TCP), Some((1024, u16::MAX))),
        81..83 => (Some(protocol::TCP), Some((0, u16::MAX))),
        83..93 => (Some(protocol::UDP), one(pick(random, UDP))),
        93..97 => (Some(icmp), None),
        _ => (None, None),
    };
    let remote = if v6 { v6_block(random) } else { v4_block(random) };
    Line { remote, protocol, ports }
}

fn v4_block(random: &mut Random) -> IpNet {
    let length = pick(random, V4_LENGTHS);
    let bits = random.bits() as u32;
    let private = [(0x0a00_0000, 8), (0xac10_0000, 12), (0xc0a8_0000, 16)];
    let address = match random.below(2) {
        0 => {
            let (net, net_length) = private[random.below(private.len())];
            net | bits >> net_length
        }
        // 1.0.0.0 to 223.255.255.255: what can be a source.
        _ => (1 + random.below(223) as u32) << 24 | bits >> 8,
    };
    // The lengths are at most 32.
    Ipv4Net::new_assert(Ipv4Addr::from_bits(address), length).trunc().into()
}

fn v6_block(random: &mut Random) -> IpNet {
    let length = pick(random, V6_LENGTHS);
    let bits = u128::from(random.bits()) << 64 | u128::from(random.bits());
    // Global unicast, 2000::/3.
    let address = 0x2 << 124 | bits >> 4;
    Ipv6Net::new_assert(Ipv6Addr::from_bits(address), length).trunc().into()
}

/// How many of so many rules are for packets on their way in; at least one, if there is any.
fn ingress(rules: usize) -> usize {
    rules - rules / 5
}

/// Security groups with so many rules, four in five of them inbound, as `aws ec2 describe-security-groups` prints them:
/// as many groups as the quota of 60 rules a direction makes necessary.
pub fn security_groups(rules: usize, seed: u64) -> Value {
    let lines = lines(rules, seed);
    let (inbound, outbound) = lines.split_at(ingress(rules));
    groups(inbound, outbound, seed)
}

fn groups(inbound: &[Line], outbound: &[Line], seed: u64) -> Value {
    let mut outbound = outbound.chunks(GROUP_QUOTA);
    let groups: Vec<Value> = inbound
        .chunks(GROUP_QUOTA)
        .enumerate()
        .map(|(n, inbound)| {
            let id = format!("sg-{:017x}", n + 1);
            json!({
                "GroupId": id,
                "GroupName": format!("generated-{}", n + 1),
                "Description": format!("seed {seed}"),
                "OwnerId": "123456789012",
                "VpcId": "vpc-00000000000000001",
                "IpPermissions": permissions(inbound),
                "IpPermissionsEgress": permissions(outbound.next().unwrap_or_default()),
            })
        })
        .collect();
    json!({ "SecurityGroups": groups })
}

/// Rules of the same protocol and ports share a permission, as EC2 lists them.
fn permissions(lines: &[Line]) -> Vec<Value> {
    type Key = (Option<u8>, Option<(u16, u16)>);
    let mut permissions: Vec<(Key, Vec<Value>, Vec<Value>)> = Vec::new();
    for Line { remote, protocol, ports } in lines {
        let key = (*protocol, *ports);
        let at = permissions.iter().position(|(found, ..)| *found == key).unwrap_or_else(|| {
            permissions.push((key, Vec::new(), Vec::new()));
            permissions.len() - 1
        });
        match remote {
            IpNet::V4(_) => permissions[at].1.push(json!({"CidrIp": remote.to_string()})),
            IpNet::V6(_) => permissions[at].2.push(json!({"CidrIpv6": remote.to_string()})),
        }
    }
    let permission = |((protocol, ports), v4, v6): (Key, Vec<Value>, Vec<Value>)| {
        let mut permission = json!({
            "IpProtocol": protocol_name(protocol),
            "IpRanges": v4,
            "Ipv6Ranges": v6,
            "PrefixListIds": [],
            "UserIdGroupPairs": [],
        });
        // All traffic has no ports; all types of ICMP are -1.
        let ports = match (protocol, ports) {
            (None, _) => None,
            (_, Some((low, high))) => Some((i32::from(low), i32::from(high))),
            (_, None) => Some((-1, -1)),
        };
        if let Some((low, high)) = ports {
            permission["FromPort"] = low.into();
            permission["ToPort"] = high.into();
        }
        permission
    };
    permissions.into_iter().map(permission).collect()
}

fn protocol_name(number: Option<u8>) -> &'static str {
    match number {
        None => "-1",
        Some(protocol::TCP) => "tcp",
        Some(protocol::UDP) => "udp",
        Some(protocol::ICMP) => "icmp",
        Some(_) => "icmpv6",
    }
}

/// A network ACL with so many rules, four in five of them inbound, as `aws ec2 describe-network-acls` prints it, the
/// final denies included, which do not count. One rule in eight denies. `None` beyond [`MOST_ACL_RULES`].
pub fn network_acl(rules: usize, seed: u64) -> Option<Value> {
    if rules > MOST_ACL_RULES {
        return None;
    }
    let mut random = Random::new(!seed);
    let lines = lines(rules, seed);
    let inbound = ingress(rules).min(LAST_NUMBER);
    Some(acl(&lines[..inbound], &lines[inbound..], || random.below(8) == 0))
}

fn acl(inbound: &[Line], outbound: &[Line], mut denies: impl FnMut() -> bool) -> Value {
    let mut entries = Vec::with_capacity(inbound.len() + outbound.len() + 4);
    for (direction, lines) in [(Direction::In, inbound), (Direction::Out, outbound)] {
        let egress = direction == Direction::Out;
        // Room between the numbers, as the guide advises, while there is room.
        let step = (LAST_NUMBER / lines.len().max(1)).clamp(1, 10);
        for (n, line) in lines.iter().enumerate() {
            let action = if denies() { "deny" } else { "allow" };
            entries.push(entry(egress, (n + 1) * step, action, line));
        }
        for (number, remote) in [(LAST_NUMBER + 1, "0.0.0.0/0"), (LAST_NUMBER + 2, "::/0")] {
            let key = if remote.contains(':') { "Ipv6CidrBlock" } else { "CidrBlock" };
            entries.push(json!({
                "Egress": egress, "RuleNumber": number, "RuleAction": "deny", "Protocol": "-1", key: remote,
            }));
        }
    }
    json!({"NetworkAcls": [{
        "NetworkAclId": "acl-00000000000000001",
        "VpcId": "vpc-00000000000000001",
        "OwnerId": "123456789012",
        "IsDefault": false,
        "Associations": [],
        "Entries": entries,
        "Tags": [],
    }]})
}

/// Most rules of [`passing`]: as many as a network ACL has numbers in a direction.
pub const MOST_PASSING_RULES: usize = LAST_NUMBER;

/// Security groups and a network ACL that let everything pass, with the same rules, so many in each direction: how costs
/// grow with the number of rules can be measured on any traffic. The last two (one of a single rule) let all IPv4 and all
/// IPv6 pass: what no other rule matches tries them all. `None` beyond [`MOST_PASSING_RULES`].
pub fn passing(rules: usize, seed: u64) -> Option<[Value; 2]> {
    if rules > MOST_PASSING_RULES {
        return None;
    }
    let mut lines = lines(rules, seed);
    let all = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    for (line, remote) in lines.iter_mut().skip(rules.saturating_sub(2)).zip(all) {
        *line = Line { remote, protocol: None, ports: None };
    }
    Some([groups(&lines, &lines, seed), acl(&lines, &lines, || false)])
}

fn entry(egress: bool, number: usize, action: &str, line: &Line) -> Value {
    let Line { remote, protocol, ports } = line;
    let name = protocol.map_or("-1".into(), |protocol| protocol.to_string());
    let mut entry = json!({"Egress": egress, "RuleNumber": number, "RuleAction": action, "Protocol": name});
    let block = if matches!(remote, IpNet::V6(_)) { "Ipv6CidrBlock" } else { "CidrBlock" };
    entry[block] = remote.to_string().into();
    match (protocol, ports) {
        (Some(protocol::ICMP | protocol::ICMPV6), _) => entry["IcmpTypeCode"] = json!({"Type": -1, "Code": -1}),
        (_, Some((low, high))) => entry["PortRange"] = json!({"From": low, "To": high}),
        _ => {}
    }
    entry
}
