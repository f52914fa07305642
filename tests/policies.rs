//! Policy files: what is read from them, and what is wrong with them.

mod common;

use common::{CLIENT, SERVER, write};
use ctbench::packet::{Direction, Packet, flags, protocol};
use ctbench::policy::{
    Evaluate, Linear, LoadOptions, Loaded, PolicyError, RuleSet, Unresolved, Untracked, World, load_network_acl,
    load_security_groups,
};
use serde_json::{Value, json};
use std::net::IpAddr;
use tempfile::tempdir;

fn groups_with(document: &Value, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    let folder = tempdir().unwrap();
    load_security_groups(&write(folder.path(), "sg.json", document.to_string()), options)
}

fn groups(document: &Value) -> Result<Loaded, PolicyError> {
    groups_with(document, &LoadOptions::default())
}

fn acl_with(document: &Value, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    let folder = tempdir().unwrap();
    load_network_acl(&write(folder.path(), "acl.json", document.to_string()), options)
}

fn acl(entries: Value) -> Result<Loaded, PolicyError> {
    acl_with(&json!({"NetworkAcls": [{"NetworkAclId": "acl-1", "Entries": entries}]}), &LoadOptions::default())
}

/// One group with these ingress permissions.
fn group(permissions: Value) -> Value {
    json!({"SecurityGroups": [{"GroupId": "sg-1", "GroupName": "web", "IpPermissions": permissions}]})
}

fn everyone() -> Value {
    json!([{"CidrIp": "0.0.0.0/0"}])
}

fn text(result: Result<Loaded, PolicyError>) -> String {
    format!("{:#}", result.map(|loaded| loaded.rules.len()).unwrap_err())
}

fn packet(direction: Direction, number: u8, local_port: u16, remote_port: u16) -> Packet {
    Packet::new(IpAddr::from(SERVER), IpAddr::from(CLIENT), direction, number, 0).with_ports(local_port, remote_port)
}

fn icmp(direction: Direction, kind: u8, code: u8) -> Packet {
    packet(direction, protocol::ICMP, 0, 0).with_icmp(kind, code, 1)
}

/// The name of the first rule that matches, and whether it allows.
fn first<'a>(rules: &'a RuleSet, packet: &Packet) -> Option<(&'a str, bool)> {
    let found = Linear::new(rules).first_match(packet)?;
    Some((&rules.rule(found.rule).name, found.allow))
}

#[test]
fn a_permission_becomes_a_rule_a_target_named_by_its_position() {
    let document = json!({"SecurityGroups": [
        {"GroupId": "sg-1", "GroupName": "web", "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.1/32"}]},
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 81, "IpRanges": everyone(), "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}],
         "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": everyone()}]},
        {"GroupId": "sg-2", "GroupName": "dns", "IpPermissions": [
            {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": everyone()}]},
    ]});
    let loaded = groups(&document).unwrap();
    assert_eq!(loaded.rules.len(), 5);
    assert_eq!(loaded.warnings.len(), 1, "two groups taken together: {:?}", loaded.warnings);
    let rules = &loaded.rules;
    assert_eq!(first(rules, &packet(Direction::In, protocol::TCP, 81, 5)), Some(("rule:sg-1#2", true)));
    assert_eq!(first(rules, &packet(Direction::In, protocol::UDP, 53, 5)), Some(("rule:sg-2#1", true)));
    assert_eq!(first(rules, &packet(Direction::Out, protocol::UDP, 9, 9)), Some(("rule:sg-1#1", true)));
    assert_eq!(first(rules, &packet(Direction::In, protocol::TCP, 22, 5)), None);

    let only = LoadOptions { groups: vec!["dns".into()], ..LoadOptions::default() };
    let loaded = groups_with(&document, &only).unwrap();
    assert_eq!((loaded.rules.len(), loaded.warnings.len()), (1, 0));
    let missing = LoadOptions { groups: vec!["db".into()], ..LoadOptions::default() };
    let message = text(groups_with(&document, &missing));
    assert!(
        message.contains("no security group is called db") && message.contains("sg-1 (web), sg-2 (dns)"),
        "{message}"
    );
}

#[test]
fn the_shapes_in_which_people_cut_the_output_are_read() {
    let one = json!({"GroupId": "sg-1", "IpPermissions": [{"IpProtocol": "-1", "IpRanges": everyone()}]});
    for document in [one.clone(), json!([one.clone()]), json!({"SecurityGroups": [one]})] {
        assert_eq!(groups(&document).unwrap().rules.len(), 1);
    }
}

#[test]
fn every_spelling_of_all_ports_matches_packets_without_ports() {
    let fragment = packet(Direction::In, protocol::TCP, 0, 0).with_flags(flags::NO_PORTS | flags::FRAGMENT);
    for ports in [
        json!({}),
        json!({"FromPort": null, "ToPort": null}),
        json!({"FromPort": -1, "ToPort": -1}),
        json!({"FromPort": 0, "ToPort": 65535}),
    ] {
        let mut permission = json!({"IpProtocol": "tcp", "IpRanges": everyone()});
        permission.as_object_mut().unwrap().extend(ports.as_object().unwrap().clone());
        let rules = groups(&group(json!([permission]))).unwrap().rules;
        assert!(first(&rules, &fragment).is_some(), "{ports}");
    }
    let narrow = json!([{"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65534, "IpRanges": everyone()}]);
    assert_eq!(first(&groups(&group(narrow)).unwrap().rules, &fragment), None);
    // Ports of other protocols, and of all protocols, do not count.
    let gre = json!([{"IpProtocol": "47", "FromPort": 5, "ToPort": 5, "IpRanges": everyone()}]);
    assert!(first(&groups(&group(gre)).unwrap().rules, &packet(Direction::In, protocol::GRE, 0, 0)).is_some());
}

#[test]
fn icmp_ports_are_type_and_code() {
    let permission =
        |from: i32, to: i32| json!([{"IpProtocol": "icmp", "FromPort": from, "ToPort": to, "IpRanges": everyone()}]);
    let matches =
        |from, to, packet: Packet| first(&groups(&group(permission(from, to))).unwrap().rules, &packet).is_some();
    assert!(matches(8, -1, icmp(Direction::In, 8, 0)) && matches(8, -1, icmp(Direction::In, 8, 200)));
    assert!(!matches(8, -1, icmp(Direction::In, 9, 0)));
    assert!(matches(3, 4, icmp(Direction::In, 3, 4)) && !matches(3, 4, icmp(Direction::In, 3, 5)));
    assert!(matches(-1, -1, icmp(Direction::In, 200, 7)));
    assert!(text(groups(&group(permission(-1, 4)))).contains("-1, since the type is -1"));
    assert!(text(groups(&group(permission(256, -1)))).contains("from -1 to 255"));
}

#[test]
fn references_are_errors_that_name_the_rule_or_warnings() {
    for (target, name) in [
        (json!({"UserIdGroupPairs": [{"GroupId": "sg-9"}]}), "security group sg-9"),
        (json!({"PrefixListIds": [{"PrefixListId": "pl-9"}]}), "prefix list pl-9"),
    ] {
        let mut permission = json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "IpRanges": everyone()});
        permission.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        let document = group(json!([permission]));
        let message = text(groups(&document));
        assert!(
            message.contains("rule:sg-1#1 refers to")
                && message.contains(name)
                && message.contains("--skip-unresolved"),
            "{message}"
        );
        let options = LoadOptions { unresolved: Unresolved::Warn, ..LoadOptions::default() };
        let loaded = groups_with(&document, &options).unwrap();
        assert_eq!(loaded.rules.len(), 1);
        assert!(loaded.warnings[0].contains(name) && loaded.warnings[0].contains("left out"), "{:?}", loaded.warnings);
    }
}

#[test]
fn acl_rules_are_tried_by_number_and_the_implicit_deny_is_implied() {
    let entry = |egress: bool, number: u32, action: &str, protocol: &str, from: u16, to: u16| json!({"Egress": egress, "RuleNumber": number, "RuleAction": action, "Protocol": protocol, "CidrBlock": "0.0.0.0/0", "PortRange": {"From": from, "To": to}});
    let loaded = acl(json!([
        entry(false, 140, "allow", "6", 1024, 65535),
        entry(false, 90, "deny", "6", 3389, 3389),
        entry(true, 100, "allow", "-1", 0, 0),
        {"Egress": false, "RuleNumber": 32767, "RuleAction": "deny", "Protocol": "-1", "CidrBlock": "0.0.0.0/0"},
        {"Egress": false, "RuleNumber": 32768, "RuleAction": "deny", "Protocol": "-1", "Ipv6CidrBlock": "::/0"},
    ]))
    .unwrap();
    assert_eq!((loaded.rules.len(), loaded.rules.world), (3, World::NetworkAcl));
    let rules = &loaded.rules;
    assert_eq!(first(rules, &packet(Direction::In, protocol::TCP, 3389, 1)), Some(("acl:90", false)));
    assert_eq!(first(rules, &packet(Direction::In, protocol::TCP, 3390, 1)), Some(("acl:140", true)));
    assert_eq!(first(rules, &packet(Direction::In, protocol::TCP, 80, 1)), None);
    assert_eq!(first(rules, &packet(Direction::Out, protocol::UDP, 80, 1)), Some(("acl:100", true)));
    assert_eq!(rules.implicit_deny(), "acl:*");
}

#[test]
fn acl_mistakes_name_the_place_and_what_is_allowed() {
    let entry = |change: Value| {
        let mut entry = json!({"Egress": false, "RuleNumber": 100, "RuleAction": "allow", "Protocol": "6", "CidrBlock": "0.0.0.0/0"});
        entry.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        text(acl(json!([entry])))
    };
    for (change, says) in [
        (json!({"RuleNumber": 0}), "Entries[0].RuleNumber: found 0; expected a whole number from 1"),
        (json!({"RuleNumber": 32767}), "found 32767; expected 1 to 32766"),
        (json!({"RuleAction": "permit"}), "Entries[0].RuleAction: found \"permit\"; expected allow or deny"),
        (json!({"Egress": "yes"}), "Entries[0].Egress: found \"yes\"; expected true or false"),
        (json!({"Protocol": "300"}), "expected tcp, udp, icmp, icmpv6, a protocol number from 0 to 255"),
        (json!({"CidrBlock": null}), "expected either a CidrBlock or an Ipv6CidrBlock"),
        (json!({"PortRange": {"From": 9, "To": 8}}), "PortRange.To: found 8; expected a last port that is not below"),
        (json!({"PortRange": {"From": 9}}), "PortRange: found {\"From\":9}; expected an object with a member To"),
        (json!({"Protocol": "1", "IcmpTypeCode": {"Type": 300, "Code": 0}}), "IcmpTypeCode.Type: found 300"),
    ] {
        let message = entry(change);
        assert!(message.contains(says), "no {says:?} in {message}");
    }
    let twice =
        json!({"Egress": false, "RuleNumber": 100, "RuleAction": "allow", "Protocol": "-1", "CidrBlock": "0.0.0.0/0"});
    assert!(
        text(acl(json!([twice.clone(), twice])))
            .contains("Entries[1].RuleNumber: found 100; expected a number that no other")
    );
}

#[test]
fn one_acl_is_chosen_or_the_choice_is_asked_for() {
    let document =
        json!({"NetworkAcls": [{"NetworkAclId": "acl-1", "Entries": []}, {"NetworkAclId": "acl-2", "Entries": []}]});
    let message = text(acl_with(&document, &LoadOptions::default()));
    assert!(
        message.contains("exactly one") && message.contains("acl-1, acl-2") && message.contains("--acl"),
        "{message}"
    );
    let wanted = LoadOptions { acl: Some("acl-2".into()), ..LoadOptions::default() };
    assert!(acl_with(&document, &wanted).unwrap().rules.is_empty());
}

#[test]
fn json_that_nests_without_end_is_refused() {
    let folder = tempdir().unwrap();
    let path = write(folder.path(), "deep.json", "[".repeat(100_000));
    let message = load_security_groups(&path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("not JSON") && message.contains("recursion"), "{message}");
}

/// The worked example of the EC2 user guide, "Security group connection tracking".
#[test]
fn untracked_flows_are_those_of_the_guide() {
    let ssh = json!({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.1/32"}]});
    let http = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": everyone(), "Ipv6Ranges": [{"CidrIpv6": "::/0"}]});
    let ping = json!({"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": everyone()});
    let with_egress = |egress: Value| {
        let document = json!({"SecurityGroups": [{"GroupId": "sg-1", "IpPermissions": [ssh, http, ping], "IpPermissionsEgress": egress}]});
        groups(&document).unwrap().rules
    };
    let v6 = |direction, local_port| {
        let ends = ["2001:db8:1::1", "2001:db8:2::1"].map(|text| text.parse::<IpAddr>().unwrap());
        Packet::new(ends[0], ends[1], direction, protocol::TCP, 0).with_ports(local_port, 50_000)
    };
    let v4 = |direction, local_port, remote_port| packet(direction, protocol::TCP, local_port, remote_port);

    let rules =
        with_egress(json!([{"IpProtocol": "-1", "IpRanges": everyone(), "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]));
    let untracked = Untracked::new(&rules, &[]);
    for direction in [Direction::In, Direction::Out] {
        assert!(!untracked.is_untracked(&v4(direction, 22, 50_000)), "ssh is tracked");
        assert!(untracked.is_untracked(&v4(direction, 80, 50_000)), "http is not");
        assert!(untracked.is_untracked(&v6(direction, 80)), "nor over IPv6");
        assert!(!untracked.is_untracked(&icmp(direction, 8, 0)), "ICMP always is");
        assert!(!untracked.is_untracked(&v4(direction, 40_000, 443)), "connections of its own are tracked");
    }
    let tracked_peer = Untracked::new(&rules, &["198.51.100.0/24".parse().unwrap()]);
    assert!(!tracked_peer.is_untracked(&v4(Direction::In, 80, 50_000)), "automatically tracked");

    // Without the IPv4 rule, all IPv4 is tracked; IPv6 stays as it is.
    let rules = with_egress(json!([{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]));
    let untracked = Untracked::new(&rules, &[]);
    assert!(!untracked.is_untracked(&v4(Direction::In, 80, 50_000)));
    assert!(untracked.is_untracked(&v6(Direction::In, 80)));
}
