//! Bad policy files: every error names the file, the place, the value and what is allowed.

mod policies;

use ctbench::policy::{LoadOptions, Loaded, PolicyError, Unresolved, load_network_acl, load_security_groups};
use policies::{acl, acl_of, file, group, groups, load_acl, load_groups, load_groups_with, permission};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;

/// Asserts that loading failed with a message that has all these parts.
#[track_caller]
fn fails(result: Result<Loaded, PolicyError>, parts: &[&str]) {
    let text = result.expect_err("must be refused").to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

/// A document with one good ingress permission, changed by `edit`.
fn edited(edit: impl FnOnce(&mut Value)) -> Value {
    let mut document = groups([group("sg-1", [permission("tcp", json!([80, 80]), "10.0.0.0/8")], [])]);
    edit(&mut document["SecurityGroups"][0]["IpPermissions"][0]);
    document
}

/// A document with one good ACL entry, changed by `edit`.
fn edited_acl(edit: impl FnOnce(&mut Value)) -> Value {
    let mut document = acl([json!({
        "RuleNumber": 100, "Egress": false, "RuleAction": "allow", "Protocol": "6",
        "CidrBlock": "10.0.0.0/8", "PortRange": {"From": 80, "To": 80},
    })]);
    edit(&mut document["NetworkAcls"][0]["Entries"][0]);
    document
}

fn remove(object: &mut Value, key: &str) {
    object.as_object_mut().unwrap().remove(key).unwrap();
}

#[test]
fn the_unchanged_documents_are_good() {
    assert!(load_groups(&edited(|_| ())).is_ok());
    assert!(load_acl(&edited_acl(|_| ())).is_ok());
}

#[test]
fn a_file_that_is_not_there() {
    let error = load_security_groups(Path::new("no/such/file.json"), &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("no/such/file.json: cannot read"));
    assert!(error.source().is_some(), "the system's own message is the source");
}

#[test]
fn not_json_with_line_and_column() {
    let broken = file(b"{\n  \"SecurityGroups\": [,]\n}");
    let name = broken.path().display().to_string();
    fails(load_security_groups(broken.path(), &LoadOptions::default()), &[&name, "line 2, column 22", "not JSON"]);
    fails(load_security_groups(file(b"").path(), &LoadOptions::default()), &["line 1, column 0", "EOF"]);
    fails(
        load_security_groups(file(b"\xff\xfe{\0}\0").path(), &LoadOptions::default()),
        &["UTF-16", "save it as UTF-8"],
    );
    fails(load_security_groups(file(b"{\"a\": \"\xff\"}").path(), &LoadOptions::default()), &["line 1", "not JSON"]);
}

#[test]
fn a_byte_order_mark_is_no_error() {
    let text = format!("\u{feff}{}", edited(|_| ()));
    assert!(load_security_groups(file(text.as_bytes()).path(), &LoadOptions::default()).is_ok());
}

#[test]
fn too_large() {
    let large = file(b"");
    large.as_file().set_len((32 << 20) + 1).unwrap();
    fails(load_security_groups(large.path(), &LoadOptions::default()), &["larger than 32 MiB", "--filters"]);
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = "[".repeat(1_000_000);
    fails(load_network_acl(file(deep.as_bytes()).path(), &LoadOptions::default()), &["line 1", "recursion limit"]);
}

#[test]
fn another_kind_of_file_is_recognised() {
    let sg = edited(|_| ());
    let acls = edited_acl(|_| ());
    fails(
        load_groups(&acls),
        &["holds network ACLs", "needed here: security groups (aws ec2 describe-security-groups)"],
    );
    fails(load_groups(&acls["NetworkAcls"]), &["holds network ACLs"]);
    fails(load_groups(&acls["NetworkAcls"][0]), &["holds network ACLs"]);
    fails(load_acl(&sg), &["holds security groups", "needed here: network ACLs (aws ec2 describe-network-acls)"]);
    fails(load_acl(&sg["SecurityGroups"]), &["holds security groups"]);
    fails(load_groups(&json!({"SecurityGroupRules": []})), &["SecurityGroups: the list is empty"]);
    fails(load_groups(&json!({"format_version": "1.0", "values": {}})), &["JSON of another kind", "security groups"]);
    fails(load_groups(&json!({"Resources": {}})), &["JSON of another kind", "security groups"]);
    fails(load_groups(&sg["SecurityGroups"][0]["IpPermissions"]), &["cut out of their security group"]);
    fails(load_acl(&acls["NetworkAcls"][0]["Entries"]), &["cut out of their network ACL"]);
    fails(load_acl(&json!({"Entries": [{"Cidr": "10.0.0.0/8"}]})), &["prefix list"]);
    fails(load_groups(&json!([{"Name": "web", "ID": "eni-1"}])), &["JSON of another kind"]);
    fails(load_groups(&json!(7)), &["JSON of another kind"]);
    fails(load_groups(&json!({"Vpcs": []})), &["holds VPCs"]);
    fails(load_groups(&json!({"FlowLogs": []})), &["holds settings of flow logs"]);
    fails(load_groups(&json!({"InstanceTypes": []})), &["holds instance types"]);
    fails(load_groups(&json!({"version": 4, "lineage": "x", "resources": []})), &["raw Terraform state", "show -json"]);
    let plan = file(b"PK\x03\x04\0\0");
    fails(load_security_groups(plan.path(), &LoadOptions::default()), &["not JSON", "terraform show -json FILE"]);
    let source = tempfile::Builder::new().suffix(".tf").tempfile().unwrap();
    std::fs::write(source.path(), "resource \"aws_security_group\" \"web\" {}").unwrap();
    fails(load_security_groups(source.path(), &LoadOptions::default()), &["not JSON", "terraform show -json"]);
}

#[test]
fn nothing_listed() {
    fails(load_groups(&json!({"SecurityGroups": []})), &["SecurityGroups: the list is empty", "one security group"]);
    fails(load_acl(&json!([])), &["top level: the list is empty", "one network ACL"]);
}

#[test]
fn wrong_types() {
    fails(load_groups(&json!({"SecurityGroups": {}})), &["SecurityGroups: an object is not allowed; allowed: a list"]);
    fails(load_groups(&json!({"SecurityGroups": [1]})), &["SecurityGroups[0]: 1 is", "an object"]);
    let place = "SecurityGroups[0].IpPermissions[0]";
    let from = |value: Value| load_groups(&edited(|p| p["FromPort"] = value));
    fails(from(json!("80")), &[place, ".FromPort: \"80\" is not allowed", "a port from 0 to 65535"]);
    fails(from(json!(80.5)), &[".FromPort: 80.5"]);
    fails(from(json!([])), &[".FromPort: a list"]);
    fails(load_groups(&edited(|p| p["IpProtocol"] = json!(6))), &[place, ".IpProtocol: 6 is", "a string"]);
    fails(load_groups(&edited(|p| p["IpRanges"] = json!("10.0.0.0/8"))), &[".IpRanges: \"10.0.0.0/8\"", "a list"]);
    fails(
        load_acl(&edited_acl(|e| e["Egress"] = json!("true"))),
        &["NetworkAcls[0].Entries[0].Egress", "true or false"],
    );
}

#[test]
fn missing_fields() {
    fails(load_groups(&edited(|p| remove(p, "IpProtocol"))), &["IpPermissions[0].IpProtocol: missing"]);
    fails(load_groups(&edited(|p| remove(p, "ToPort"))), &["IpPermissions[0].ToPort: missing; needed with FromPort"]);
    fails(load_groups(&edited(|p| remove(p, "FromPort"))), &["IpPermissions[0].FromPort: missing; needed with ToPort"]);
    fails(load_groups(&edited(|p| p["IpRanges"] = json!([{}]))), &["IpRanges[0].CidrIp: missing"]);
    for key in ["GroupId", "IpPermissions", "IpPermissionsEgress"] {
        let mut document = edited(|_| ());
        remove(&mut document["SecurityGroups"][0], key);
        fails(load_groups(&document), &[&format!("SecurityGroups[0].{key}: missing")]);
    }
    for key in ["RuleNumber", "Egress", "RuleAction", "Protocol", "CidrBlock"] {
        fails(load_acl(&edited_acl(|e| remove(e, key))), &[&format!("NetworkAcls[0].Entries[0].{key}: missing")]);
    }
}

#[test]
fn bad_blocks() {
    let cidr = |text: &str| load_groups(&edited(|p| p["IpRanges"] = json!([{"CidrIp": text}])));
    for text in ["10.0.0.0/33", "10.0.0.0", "10.0.0/8", "any", "", "2001:db8::/32"] {
        fails(cidr(text), &["IpPermissions[0].IpRanges[0].CidrIp", &format!("{text:?}"), "an IPv4 CIDR block"]);
    }
    let v6 = |text: &str| load_groups(&edited(|p| p["Ipv6Ranges"] = json!([{"CidrIpv6": text}])));
    fails(v6("2001:db8::/129"), &["Ipv6Ranges[0].CidrIpv6", "an IPv6 CIDR block"]);
    fails(v6("10.0.0.0/8"), &["an IPv6 CIDR block"]);
    fails(load_acl(&edited_acl(|e| e["CidrBlock"] = json!("::/0"))), &["Entries[0].CidrBlock: \"::/0\""]);
    fails(load_acl(&edited_acl(|e| e["Ipv6CidrBlock"] = json!("::/0"))), &["Entries[0].Ipv6CidrBlock", "CidrBlock"]);
}

#[test]
fn bad_ports() {
    let ports = |from: i64, to: i64| {
        load_groups(&edited(|p| {
            p["FromPort"] = json!(from);
            p["ToPort"] = json!(to);
        }))
    };
    fails(ports(80, 65_536), &["IpPermissions[0].ToPort: 65536", "0 to 65535"]);
    fails(ports(-2, 80), &["IpPermissions[0].FromPort: -2", "0 to 65535"]);
    fails(ports(-1, 50), &["IpPermissions[0].FromPort: -1", "-1 in both"]);
    fails(ports(30, -1), &["IpPermissions[0].ToPort: -1", "-1 in both"]);
    fails(ports(81, 80), &["IpPermissions[0].FromPort: 81", "at most ToPort, which is 80"]);
    let range = |range: Value| load_acl(&edited_acl(|e| e["PortRange"] = range));
    fails(range(json!({"From": 2, "To": 1})), &["Entries[0].PortRange.From: 2", "at most To, which is 1"]);
    fails(range(json!({"From": 2})), &["Entries[0].PortRange.To: missing"]);
    fails(range(json!(80)), &["Entries[0].PortRange: 80", "an object"]);
}

#[test]
fn bad_icmp() {
    let icmp = |icmp_type: i64, code: i64| {
        load_groups(&edited(|p| {
            p["IpProtocol"] = json!("icmp");
            p["FromPort"] = json!(icmp_type);
            p["ToPort"] = json!(code);
        }))
    };
    fails(icmp(256, 0), &["IpPermissions[0].FromPort: 256", "an ICMP type from 0 to 255"]);
    fails(icmp(8, 256), &["IpPermissions[0].ToPort: 256", "an ICMP code from 0 to 255"]);
    fails(icmp(-1, 9), &["IpPermissions[0].ToPort: 9", "-1, since the type is -1"]);
    let entry = |protocol: &str, icmp: Value| {
        load_acl(&edited_acl(|e| {
            e["Protocol"] = json!(protocol);
            e["IcmpTypeCode"] = icmp;
        }))
    };
    fails(entry("1", Value::Null), &["Entries[0].IcmpTypeCode: missing", "a type and a code"]);
    fails(entry("1", json!({})), &["Entries[0].IcmpTypeCode.Type: missing"]);
    fails(entry("1", json!({"Type": 8})), &["Entries[0].IcmpTypeCode.Code: missing"]);
    fails(entry("58", json!({"Type": 256, "Code": 0})), &["IcmpTypeCode.Type: 256"]);
    let mut v6 = edited_acl(|e| {
        e["Protocol"] = json!("58");
        e["Ipv6CidrBlock"] = json!("::/0");
    });
    remove(&mut v6["NetworkAcls"][0]["Entries"][0], "CidrBlock");
    fails(load_acl(&v6), &["Entries[0].IcmpTypeCode: missing"]);
}

#[test]
fn a_listing_that_lost_icmp_types_can_be_read_on_request() {
    let lost = acl([
        json!({"RuleNumber": 7, "Egress": false, "RuleAction": "allow", "Protocol": "1", "CidrBlock": "0.0.0.0/0"}),
    ]);
    let options = LoadOptions { unresolved: Unresolved::Warn, ..LoadOptions::default() };
    let load = |document: &Value| load_network_acl(file(document.to_string().as_bytes()).path(), &options);
    let loaded = load(&lost).unwrap();
    assert_eq!((loaded.rules.len(), loaded.rules.rule(0).ports), (1, None));
    let told = "Entries[0].IcmpTypeCode: missing";
    assert!(loaded.warnings[0].contains(told) && loaded.warnings[0].ends_with("acl:7 is read as one for all types"));
    let mut half = lost.clone();
    half["NetworkAcls"][0]["Entries"][0]["IcmpTypeCode"] = json!({"Type": 8});
    fails(load(&half), &["IcmpTypeCode.Code: missing"]);
}

#[test]
fn unknown_protocols() {
    for name in ["sctp", "TCP", "", "-2", "+6", "256", "99999999999999999999"] {
        let named = load_groups(&edited(|p| p["IpProtocol"] = json!(name)));
        fails(named, &["IpPermissions[0].IpProtocol", &format!("{name:?}"), "\"tcp\""]);
    }
    fails(load_acl(&edited_acl(|e| e["Protocol"] = json!("gre"))), &["Entries[0].Protocol: \"gre\""]);
}

#[test]
fn unknown_and_ambiguous_groups() {
    let mut document = groups([group("sg-1", [], []), group("sg-2", [], []), group("sg-3", [], [])]);
    document["SecurityGroups"][1]["GroupName"] = json!("default");
    document["SecurityGroups"][2]["GroupName"] = json!("default");
    let ask = |document: &Value, name: &str| {
        load_groups_with(document, &LoadOptions { groups: vec![name.into()], ..LoadOptions::default() })
    };
    fails(
        ask(&document, "sg-9"),
        &["no security group is called \"sg-9\"", "sg-1 (\"name of sg-1\"), sg-2 (\"default\")"],
    );
    fails(ask(&document, "default"), &["several security groups are called \"default\"", "sg-2 (\"default\"), sg-3"]);
    assert!(ask(&document, "sg-3").is_ok());
}

/// What `--query` leaves of a listing, in the shapes of the CLI's own examples.
#[test]
fn names_without_rules_get_the_command_that_prints_the_rules() {
    for names in [
        json!([{"Name": "web", "ID": "sg-33bb22aa"}, {"Name": "db", "ID": "sg-1a2b3c4d"}]),
        json!([["web", "sg-33bb22aa"], ["db", "sg-1a2b3c4d"], ["db again", "sg-1a2b3c4d"]]),
        json!(["sg-33bb22aa", "sg-1a2b3c4d"]),
        json!({"Groups": [{"Id": "sg-33bb22aa"}, {"Id": "sg-1a2b3c4d"}]}),
    ] {
        let command = "aws ec2 describe-security-groups --group-ids sg-33bb22aa sg-1a2b3c4d";
        fails(load_groups(&names), &["names security groups, but holds no rules", "--query", command]);
    }
    let command = "aws ec2 describe-network-acls --network-acl-ids acl-0b7c";
    fails(load_acl(&json!([{"ID": "acl-0b7c"}])), &["names network ACLs, but holds no rules", command]);
    fails(load_acl(&json!(["sg-33bb22aa"])), &["JSON of another kind"]);
}

#[test]
fn rules_with_ports_that_aws_does_not_allow_can_be_left_out() {
    let document = edited(|p| p["FromPort"] = json!(-1));
    let options = LoadOptions { unresolved: Unresolved::Warn, ..LoadOptions::default() };
    let loaded = load_groups_with(&document, &options).unwrap();
    assert!(loaded.rules.is_empty());
    assert_eq!(loaded.rules.left_out().len(), 1, "it counts against the quota");
    let place = "SecurityGroups[0].IpPermissions[0].FromPort: -1 is not allowed";
    let told = |warning: &String| warning.contains(place) && warning.ends_with("rule:sg-1#1 is left out");
    assert!(loaded.warnings.iter().any(told), "{:?}", loaded.warnings);
    fails(load_groups_with(&edited(|p| p["FromPort"] = json!("80")), &LoadOptions::default()), &["\"80\""]);
}

#[test]
fn ids_fit_the_verdict_table() {
    let mut document = edited(|_| ());
    document["SecurityGroups"][0]["GroupId"] = json!("sg-1,\u{1b}[2J");
    fails(load_groups(&document), &["SecurityGroups[0].GroupId: \"sg-1,\\u{1b}[2J\"", "letters, digits"]);
}

#[test]
fn long_values_are_shortened() {
    let text = load_groups(&edited(|p| p["IpProtocol"] = json!("x".repeat(1 << 20)))).unwrap_err().to_string();
    assert!(text.len() < 500, "{} bytes", text.len());
}

#[test]
fn several_acls_need_a_choice() {
    let document = json!([acl_of("acl-1", json!([])), acl_of("acl-2", json!([]))]);
    fails(load_acl(&document), &["holds 2 network ACLs", "acl-1 (subnet-of-acl-1), acl-2 (subnet-of-acl-2)"]);
    let ask = |document: &Value, id: &str| {
        let options = LoadOptions { acl: Some(id.into()), ..LoadOptions::default() };
        load_network_acl(file(document.to_string().as_bytes()).path(), &options)
    };
    assert!(ask(&document, "acl-2").is_ok());
    fails(ask(&document, "acl-3"), &["no network ACL is called \"acl-3\"", "acl-2 (subnet-of-acl-2)"]);
    let mut other = document[0].clone();
    other["Associations"] = json!([]);
    fails(ask(&json!([document[0], other]), "acl-1"), &["several network ACLs have the id \"acl-1\""]);
    assert!(load_acl(&json!([document[0], document[0]])).is_ok(), "listed twice in the same words");
}

#[test]
fn bad_rule_numbers_and_actions() {
    for number in [0, -1, 32_769] {
        let numbered = load_acl(&edited_acl(|e| e["RuleNumber"] = json!(number)));
        fails(numbered, &[&format!("Entries[0].RuleNumber: {number}"), "1 to 32766"]);
    }
    fails(
        load_acl(&edited_acl(|e| e["RuleAction"] = json!("permit"))),
        &["Entries[0].RuleAction: \"permit\"", "\"deny\""],
    );
    fails(
        load_acl(&edited_acl(|e| e["RuleNumber"] = json!(32_767))),
        &["RuleAction: \"allow\"", "deny, for rule 32767"],
    );
}

#[test]
fn a_rule_number_twice_in_one_direction() {
    let document = edited_acl(|_| ());
    let first = document["NetworkAcls"][0]["Entries"][0].clone();
    let mut second = first.clone();
    second["Egress"] = json!(true);
    assert!(load_acl(&acl([first.clone(), second])).is_ok());
    fails(
        load_acl(&acl([first.clone(), first])),
        &["Entries[1].RuleNumber: rule number 100", "is also NetworkAcls[0].Entries[0].RuleNumber"],
    );
}
