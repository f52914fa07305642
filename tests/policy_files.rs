//! Security groups and network ACLs as the AWS CLI prints them, and what their rules then say.

mod policies;

use ctbench::packet::{Direction, Packet, protocol};
use ctbench::policy::{LoadOptions, PolicyError, Rule, RuleSet, Unresolved};
use policies::{acl, acl_of, group, groups, load, load_acl, load_groups, permission};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::Path;

const IN: Direction = Direction::In;
const OUT: Direction = Direction::Out;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies").join(name)
}

fn asking_for(groups: &[&str]) -> LoadOptions {
    LoadOptions { groups: groups.iter().map(|g| g.to_string()).collect(), ..LoadOptions::default() }
}

/// Rules of one direction as `remote protocol ports action name`.
fn listed(rules: &RuleSet, direction: Direction) -> Vec<String> {
    let or_all = |text: Option<String>| text.unwrap_or("all".into());
    let line = |rule: &Rule| {
        let protocol = or_all(rule.protocol.map(|p| p.to_string()));
        let ports = or_all(rule.ports.map(|(low, high)| format!("{low}-{high}")));
        let action = if rule.allow { "allow" } else { "deny" };
        format!("{} {protocol} {ports} {action} {}", rule.remote, rule.name)
    };
    rules.rules(direction).map(|(_, rule)| line(rule)).collect()
}

/// The one rule of a group with this ingress permission.
fn single(permission: Value) -> Rule {
    let loaded = load_groups(&groups([group("sg-1", [permission], [])])).unwrap();
    assert_eq!(loaded.rules.len(), 1);
    loaded.rules.rule(0).clone()
}

fn ports(protocol: &str, ports: Value) -> Option<(u16, u16)> {
    single(permission(protocol, ports, "10.0.0.0/8")).ports
}

#[test]
fn a_group_by_name() {
    let loaded = load(&fixture("security-groups.json"), &asking_for(&["web"])).unwrap();
    assert_eq!(
        listed(&loaded.rules, IN),
        [
            "203.0.113.1/32 6 22-22 allow rule:sg-0a00000000000web1#1",
            "0.0.0.0/0 6 80-80 allow rule:sg-0a00000000000web1#2",
            "::/0 6 80-80 allow rule:sg-0a00000000000web1#2",
            "0.0.0.0/0 1 2048-2303 allow rule:sg-0a00000000000web1#3",
        ]
    );
    assert_eq!(
        listed(&loaded.rules, OUT),
        ["0.0.0.0/0 all all allow rule:sg-0a00000000000web1#1", "::/0 all all allow rule:sg-0a00000000000web1#1"]
    );
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.rules.implicit_deny(), "no-rule");
}

/// As where listings of several regions, or of one made twice, were put together.
#[test]
fn a_group_that_is_listed_twice() {
    let web = |port: u16| group("sg-1", [permission("tcp", json!([port, port]), "10.0.0.0/8")], []);
    let same = load_groups(&groups([web(80), web(80)])).unwrap();
    assert_eq!(listed(&same.rules, IN), ["10.0.0.0/8 6 80-80 allow rule:sg-1#1"]);
    assert!(!same.warnings.iter().any(|warning| warning.contains("sg-1 is also")), "{:?}", same.warnings);

    let mut other = web(443);
    other["GroupName"] = json!("another name");
    let document = groups([web(80), other, group("sg-2", [], [])]);
    for asked in [&[][..], &["sg-1"]] {
        let both = load(policies::file(document.to_string().as_bytes()).path(), &asking_for(asked)).unwrap();
        assert_eq!(
            listed(&both.rules, IN),
            ["10.0.0.0/8 6 80-80 allow rule:sg-1#1", "10.0.0.0/8 6 443-443 allow rule:sg-1#1"]
        );
        let told = "SecurityGroups[1]: group id sg-1 is also SecurityGroups[0], with other contents";
        assert!(both.warnings.iter().any(|warning| warning.contains(told)), "{:?}", both.warnings);
    }
    let one = load(policies::file(document.to_string().as_bytes()).path(), &asking_for(&["another name"])).unwrap();
    assert_eq!(listed(&one.rules, IN), ["10.0.0.0/8 6 443-443 allow rule:sg-1#1"]);
    assert_eq!(one.warnings, Vec::<String>::new());
}

#[test]
fn all_groups_are_a_union_with_a_warning() {
    let options = LoadOptions { unresolved: Unresolved::Warn, ..LoadOptions::default() };
    let loaded = load(&fixture("security-groups.json"), &options).unwrap();
    assert_eq!(
        listed(&loaded.rules, IN)[4..],
        [
            "2001:db8::/32 58 all allow rule:sg-0a000000000000db1#1",
            "10.0.0.0/16 6 5432-5433 allow rule:sg-0a000000000000db1#2",
        ]
    );
    let [union, pair, prefix_list] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(union.contains(r#"sg-0a00000000000web1 ("web"), sg-0a000000000000db1 ("db")"#), "{union}");
    assert!(pair.contains("SecurityGroups[1].IpPermissions[1].UserIdGroupPairs[0]: rule:sg-0a000000000000db1#2"));
    assert!(prefix_list.contains("prefix list pl-0b00000000000001"), "{prefix_list}");
}

#[test]
fn an_unresolved_reference_is_an_error_with_its_remedy() {
    let error = load(&fixture("security-groups.json"), &asking_for(&["db"])).unwrap_err();
    assert!(matches!(error, PolicyError::Unresolved { .. }));
    let text = error.to_string();
    for part in [
        "security-groups.json: SecurityGroups[1].IpPermissions[1].UserIdGroupPairs[0]:",
        "rule:sg-0a000000000000db1#2",
        "security group sg-0a00000000000web1",
        "CIDR blocks",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_list_or_one_group_may_be_cut_out() {
    let one = group("sg-1", [permission("tcp", json!([80, 80]), "10.0.0.0/8")], []);
    let whole = listed(&load_groups(&groups([one.clone()])).unwrap().rules, IN);
    assert_eq!(listed(&load_groups(&json!([one])).unwrap().rules, IN), whole);
    assert_eq!(listed(&load_groups(&one).unwrap().rules, IN), whole);
    let entries = json!([entry(100, "6", json!({"PortRange": {"From": 1, "To": 2}}))]);
    let one = acl_of("acl-1", entries);
    let whole = listed(&load_acl(&json!({"NetworkAcls": [one]})).unwrap().rules, IN);
    assert_eq!(whole, ["10.0.0.0/8 6 1-2 allow acl:100"]);
    assert_eq!(listed(&load_acl(&json!([one])).unwrap().rules, IN), whole);
    assert_eq!(listed(&load_acl(&one).unwrap().rules, IN), whole);
}

#[test]
fn every_spelling_of_a_protocol() {
    let number = |name| single(permission(name, json!([-1, -1]), "10.0.0.0/8")).protocol;
    for (name, expected) in [("tcp", 6), ("6", 6), ("udp", 17), ("17", 17), ("icmp", 1), ("1", 1)] {
        assert_eq!(number(name), Some(expected), "{name}");
    }
    for (name, expected) in [("icmpv6", 58), ("58", 58), ("0", 0), ("47", 47), ("255", 255)] {
        assert_eq!(number(name), Some(expected), "{name}");
    }
    assert_eq!(number("-1"), None);
    assert_eq!(number("all"), None);
}

#[test]
fn every_spelling_of_all_ports() {
    for protocol in ["tcp", "udp", "6", "17"] {
        for all in [json!([]), json!([null, null]), json!([-1, -1]), json!([0, 65535])] {
            assert_eq!(ports(protocol, all.clone()), None, "{protocol} {all}");
        }
        assert_eq!(ports(protocol, json!([0, 0])), Some((0, 0)), "port 0 alone is not all ports");
        assert_eq!(ports(protocol, json!([0, 65534])), Some((0, 65534)));
    }
    // With -1 and with protocols other than TCP, UDP and ICMP, ports are ignored, whatever they are.
    for protocol in ["-1", "47", "132"] {
        for any in [json!([]), json!([0, 0]), json!([80, 80]), json!([-1, 7])] {
            assert_eq!(ports(protocol, any), None, "{protocol}");
        }
    }
}

#[test]
fn icmp_types_and_codes_are_not_ports() {
    for protocol in ["icmp", "1", "icmpv6", "58"] {
        assert_eq!(ports(protocol, json!([8, -1])), Some((0x0800, 0x08ff)));
        assert_eq!(ports(protocol, json!([3, 4])), Some((0x0304, 0x0304)));
        assert_eq!(ports(protocol, json!([255, 255])), Some((0xffff, 0xffff)));
        assert_eq!(ports(protocol, json!([-1, -1])), None);
        assert_eq!(ports(protocol, json!([])), None);
    }
}

#[test]
fn host_bits_are_cleared_with_a_warning() {
    let loaded =
        load_groups(&groups([group("sg-1", [permission("tcp", json!([1, 1]), "100.68.0.18/18")], [])])).unwrap();
    assert_eq!(loaded.rules.rule(0).remote.to_string(), "100.68.0.0/18");
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("IpRanges[0].CidrIp: 100.68.0.18/18"), "{:?}", loaded.warnings);
}

#[test]
fn rules_that_never_match_are_told() {
    let icmp_v6 = json!({"IpProtocol": "icmp", "FromPort": 8, "ToPort": 0, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]});
    let nobody = json!({"IpProtocol": "tcp", "FromPort": 8, "ToPort": 8});
    let loaded = load_groups(&groups([group("sg-1", [icmp_v6, nobody], [])])).unwrap();
    assert_eq!(listed(&loaded.rules, IN), ["::/0 1 2048-2048 allow rule:sg-1#1"]);
    assert!(
        loaded.warnings[0].contains("rule:sg-1#1 matches no real traffic: ICMP for IPv4 with IPv6"),
        "{:?}",
        loaded.warnings
    );
    assert!(loaded.warnings[1].contains("rule:sg-1#2 can never match: it lists no addresses"), "{:?}", loaded.warnings);
}

#[test]
fn a_listing_cut_off_by_the_cli_is_told() {
    let mut document = groups([group("sg-1", [], [])]);
    document["NextToken"] = json!("eyJ");
    assert!(load_groups(&document).unwrap().warnings[0].contains("NextToken"));
}

#[test]
fn a_broken_group_does_not_matter_unless_asked_for() {
    let document =
        groups([group("sg-1", [], []), group("sg-2", [permission("tcp", json!([-1, 50]), "1.2.3.4/32")], [])]);
    assert!(policies::load_groups_with(&document, &asking_for(&["sg-1"])).is_ok());
    assert!(policies::load_groups_with(&document, &asking_for(&["sg-2"])).is_err());
}

fn entry(number: i64, protocol: &str, extra: Value) -> Value {
    let mut entry = json!({"RuleNumber": number, "Egress": false, "RuleAction": "allow", "Protocol": protocol, "CidrBlock": "10.0.0.0/8"});
    entry.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    entry
}

#[test]
fn an_acl_is_tried_by_rule_number() {
    let options = LoadOptions { acl: Some("acl-0d00000000000001".into()), ..LoadOptions::default() };
    let loaded = ctbench::policy::load_network_acl(&fixture("network-acls.json"), &options).unwrap();
    assert_eq!(
        listed(&loaded.rules, IN),
        [
            "0.0.0.0/0 6 3389-3389 deny acl:90",
            "0.0.0.0/0 6 80-80 allow acl:100",
            "::/0 6 80-80 allow acl:105",
            "0.0.0.0/0 1 772-772 allow acl:120",
            "192.0.2.0/24 17 all deny acl:130",
            "0.0.0.0/0 6 1024-65535 allow acl:140",
        ]
    );
    assert_eq!(listed(&loaded.rules, OUT), ["0.0.0.0/0 all all allow acl:100"]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.rules.implicit_deny(), "acl:*");

    let from = |remote: &str, port: u16| {
        let local = if remote.contains(':') { "2001:db8::1" } else { "10.0.0.1" };
        let ends: [IpAddr; 2] = [local.parse().unwrap(), remote.parse().unwrap()];
        let packet = Packet::new(ends[0], ends[1], IN, protocol::TCP, 0).with_ports(port, 50_000);
        loaded.rules.first_match_naive(&packet).map(|hit| (loaded.rules.rule(hit.rule).name.as_str(), hit.allow))
    };
    assert_eq!(from("198.51.100.1", 3389), Some(("acl:90", false)), "the deny stands before the allow");
    assert_eq!(from("198.51.100.1", 3390), Some(("acl:140", true)));
    assert_eq!(from("198.51.100.1", 81), None, "the final deny is implicit");
    assert_eq!(from("2001:db8:f::1", 80), Some(("acl:105", true)));
    assert_eq!(from("2001:db8:f::1", 3390), None, "rules for IPv4 do not match IPv6");
}

#[test]
fn an_acl_without_entries_drops_everything() {
    let options = LoadOptions { acl: Some("acl-0d00000000000002".into()), ..LoadOptions::default() };
    assert!(ctbench::policy::load_network_acl(&fixture("network-acls.json"), &options).unwrap().rules.is_empty());
}

#[test]
fn acl_rules_behind_a_wider_one_are_told() {
    let deny =
        entry(200, "6", json!({"RuleAction": "deny", "CidrBlock": "10.1.0.0/16", "PortRange": {"From": 5, "To": 9}}));
    let wider = entry(100, "6", json!({"PortRange": {"From": 1, "To": 9}}));
    let loaded = load_acl(&acl([deny.clone(), wider])).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("Entries[0]: acl:200 can never match: acl:100"), "{:?}", loaded.warnings);
    let narrower = entry(100, "6", json!({"PortRange": {"From": 6, "To": 9}}));
    assert_eq!(load_acl(&acl([deny, narrower])).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn acl_icmp_and_other_protocols() {
    let ports = |protocol: &str, extra: Value| load_acl(&acl([entry(1, protocol, extra)])).unwrap().rules.rule(0).ports;
    assert_eq!(ports("1", json!({"IcmpTypeCode": {"Type": -1, "Code": -1}})), None);
    assert_eq!(ports("1", json!({"IcmpTypeCode": {"Type": 8, "Code": -1}})), Some((0x800, 0x8ff)));
    assert_eq!(ports("58", json!({})), None, "with an IPv4 block AWS wants no type");
    assert_eq!(ports("6", json!({})), None);
    assert_eq!(ports("47", json!({"PortRange": {"From": 1, "To": 2}})), None);
    assert_eq!(ports("-1", json!({"PortRange": {"From": 0, "To": 0}})), None);
}
