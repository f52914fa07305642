//! Every format in which people have their rules.

mod policies;

use ctbench::packet::Direction;
use ctbench::policy::quota::quotas;
use ctbench::policy::{Inventory, LoadOptions, RuleSet, Unresolved, load_network_acl};
use policies::{as_file, eni, fails, file, group, load, load_acl, load_groups};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

fn listed(rules: &RuleSet, direction: Direction) -> Vec<String> {
    let ports = |ports: Option<(u16, u16)>| ports.map_or("all".into(), |(low, high)| format!("{low}-{high}"));
    let number = |protocol: Option<u8>| protocol.map_or("all".into(), |number| number.to_string());
    let line = |(_, r): (u32, &ctbench::policy::Rule)| {
        format!("{} {} {} {}", r.remote, number(r.protocol), ports(r.ports), r.name)
    };
    rules.rules(direction).map(line).collect()
}

fn with_inventory(files: &[PathBuf]) -> LoadOptions {
    let inventory = Inventory::load(files, Unresolved::Error).unwrap();
    LoadOptions { inventory: Some(Arc::new(inventory)), ..LoadOptions::default() }
}

#[test]
fn single_rules_keep_their_ids() {
    let rule = |id: &str, egress: bool, extra: Value| {
        let mut rule = json!({"SecurityGroupRuleId": id, "GroupId": "sg-1", "IsEgress": egress, "IpProtocol": "tcp",
            "FromPort": 80, "ToPort": 81});
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        rule
    };
    let all = json!({"CidrIpv6": "::/0", "IpProtocol": "-1", "FromPort": -1, "ToPort": -1});
    let rules = [rule("sgr-1", false, json!({"CidrIpv4": "10.0.0.0/8"})), rule("sgr-2", true, all)];
    let loaded = load_groups(&json!({"SecurityGroupRules": rules})).unwrap();
    assert_eq!(listed(&loaded.rules, Direction::In), ["10.0.0.0/8 6 80-81 rule:sg-1#sgr-1"]);
    assert_eq!(listed(&loaded.rules, Direction::Out), ["::/0 all all rule:sg-1#sgr-2"]);
    let bad = json!({"SecurityGroupRules": [rule("sgr-1", false, json!({"CidrIpv4": "10.0.0.0/99"}))]});
    fails(load_groups(&bad), &["SecurityGroupRules[0].CidrIpv4: \"10.0.0.0/99\"", "an IPv4 CIDR block"]);
    let bad = json!({"SecurityGroupRules": [rule("sgr-1", false, json!({"FromPort": 70000}))]});
    fails(load_groups(&bad), &["SecurityGroupRules[0].FromPort: 70000", "0 to 65535"]);
}

#[test]
fn references_resolve_to_members_and_entries() {
    let rule = json!({"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432,
        "UserIdGroupPairs": [{"GroupId": "sg-web"}, {"GroupId": "sg-db"}, {"GroupId": "sg-unused"}],
        "PrefixListIds": [{"PrefixListId": "pl-1"}]});
    // Each group refers to the other, which is no circle: references are never followed.
    let back = json!({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-db"}]});
    let groups = json!({"SecurityGroups": [group("sg-db", [rule], []), group("sg-web", [back], []),
        group("sg-unused", [], [])]});
    let sg = as_file(&groups);
    let enis = as_file(&json!({"NetworkInterfaces": [eni("eni-1", "10.0.1.5", &["sg-web"], "subnet-1"),
        eni("eni-2", "10.0.2.5", &["sg-web", "sg-db"], "subnet-2")]}));
    let entries = as_file(&json!({"Entries": [{"Cidr": "192.0.2.0/24"}, {"Cidr": "198.51.100.7/24"}]}));
    let named = PathBuf::from(format!("pl-1={}", entries.path().display()));
    fails(load(sg.path(), &LoadOptions::default()), &["UserIdGroupPairs[0]", "rule:sg-db#1", "security group sg-web"]);
    let options = LoadOptions { groups: vec!["sg-db".into()], ..with_inventory(&[enis.path().into(), named]) };
    assert_eq!(
        listed(&load(sg.path(), &options).unwrap().rules, Direction::In),
        [
            "10.0.1.5/32 6 5432-5432 rule:sg-db#1",
            "10.0.2.5/32 6 5432-5432 rule:sg-db#1",
            "10.0.2.5/32 6 5432-5432 rule:sg-db#1",
            "192.0.2.0/24 6 5432-5432 rule:sg-db#1",
            "198.51.100.0/24 6 5432-5432 rule:sg-db#1",
        ]
    );
    fails(Inventory::load(&[entries.path().into()], Unresolved::Error), &["PrefixListId: missing", "pl-ID=FILE"]);
    let bad = as_file(&json!({"NetworkInterfaces": [eni("eni-1", "10.0.1.999", &[], "subnet-1")]}));
    fails(
        Inventory::load(&[bad.path().into()], Unresolved::Error),
        &["PrivateIpAddress: \"10.0.1.999\"", "an IP address"],
    );
}

const TEMPLATE: &str = r#"
Parameters:
  Office: {Type: String, Default: 192.0.2.0/24}
Resources:
  Web:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: !Sub "${Office}"
      SecurityGroupIngress:
        - {IpProtocol: tcp, FromPort: 443, ToPort: '443', CidrIp: !Ref Office}
        - {IpProtocol: icmp, FromPort: 8, ToPort: -1, CidrIp: 0.0.0.0/0}
  Own:
    Type: AWS::EC2::SecurityGroupIngress
    Properties:
      {GroupId: !GetAtt Web.GroupId, IpProtocol: tcp, FromPort: 1, ToPort: 2, SourceSecurityGroupId: !Ref Web}
  Card:
    Type: AWS::EC2::NetworkInterface
    Properties: {PrivateIpAddress: 10.0.0.9, SubnetId: !Ref Net, GroupSet: [!GetAtt Web.GroupId]}
  Net: {Type: AWS::EC2::Subnet, Properties: {CidrBlock: 10.0.0.0/24}}
  Acl: {Type: AWS::EC2::NetworkAcl, Properties: {}}
  In:
    Type: AWS::EC2::NetworkAclEntry
    Properties: {NetworkAclId: !Ref Acl, RuleNumber: 100, Protocol: 6, RuleAction: allow, CidrBlock: 0.0.0.0/0,
      PortRange: {From: 80, To: 90}}
"#;

#[test]
fn a_template_in_yaml_with_short_tags() {
    let template = file(TEMPLATE.as_bytes());
    let loaded = load(template.path(), &LoadOptions::default()).unwrap();
    assert_eq!(
        listed(&loaded.rules, Direction::In),
        ["192.0.2.0/24 6 443-443 rule:Web#1", "0.0.0.0/0 1 2048-2303 rule:Web#2", "10.0.0.9/32 6 1-2 rule:Web#3",]
    );
    assert_eq!(loaded.rules.rules(Direction::Out).count(), 2, "no egress given: AWS allows all");
    let acl = load_network_acl(template.path(), &LoadOptions::default()).unwrap();
    assert_eq!(listed(&acl.rules, Direction::In), ["0.0.0.0/0 6 80-90 acl:100"]);
    let bad = file(TEMPLATE.replace("ToPort: '443'", "ToPort: 70000").as_bytes());
    fails(
        load(bad.path(), &LoadOptions::default()),
        &["Resources.Web.Properties.SecurityGroupIngress[0].ToPort: 70000"],
    );
    let bad = file(TEMPLATE.replace("CidrIp: !Ref Office", "CidrIp: !ImportValue x").as_bytes());
    fails(load(bad.path(), &LoadOptions::default()), &["SecurityGroupIngress[0]: rule:Web#1", "Fn::ImportValue \"x\""]);
    let laughs = "Resources:\n  a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &(1..12)
            .map(|i| {
                format!(
                    "  k{i}: &k{i} [{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]\n",
                    if i == 1 { "*a".into() } else { format!("*k{}", i - 1) }
                )
            })
            .collect::<String>();
    fails(load(file(laughs.as_bytes()).path(), &LoadOptions::default()), &["YAML", "repetition limit"]);
    fails(
        load(file(format!("Resources:\n  a: {}", "[".repeat(1_000_000)).as_bytes()).path(), &LoadOptions::default()),
        &["YAML"],
    );
}

#[test]
fn resolved_references_count_as_what_was_written() {
    let rules = json!({"SecurityGroups": [group("sg-1", [json!({"IpProtocol": "-1",
        "UserIdGroupPairs": [{"GroupId": "sg-1"}],
        "PrefixListIds": [{"PrefixListId": "pl-own"}, {"PrefixListId": "pl-aws"}, {"PrefixListId": "pl-odd"}]})], [])]});
    let members = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        .map(|address| eni(&format!("eni-{address}"), address, &["sg-1"], "subnet-1"));
    let list =
        |id: &str, name: &str, blocks: Value| json!({"PrefixListId": id, "PrefixListName": name, "Cidrs": blocks});
    let mut own = list("pl-own", "offices", json!(["192.0.2.0/24", "198.51.100.0/24"]));
    own["MaxEntries"] = json!(10);
    let lists = json!({"NetworkInterfaces": members, "PrefixLists": [own,
        list("pl-aws", "com.amazonaws.global.cloudfront.origin-facing", json!(["203.0.113.0/24"])),
        list("pl-odd", "com.amazonaws.eu-central-1.new-service", json!(["203.0.113.0/25"]))]});
    let (rules, lists) = (as_file(&rules), as_file(&lists));
    let loaded = load(rules.path(), &with_inventory(&[lists.path().into()])).unwrap();
    assert_eq!(loaded.rules.len(), 3 + 2 + 1 + 1);
    let used: Vec<_> = quotas(&loaded.rules, None).iter().map(|q| (q.used, q.quota, q.unknown_lists)).collect();
    // A group counts 1 in either family, whatever its members; the lists 10, 55, and 1 for want of knowledge.
    assert_eq!(used, [(1 + 10 + 55 + 1, 60, 1), (1, 60, 0), (1, 5, 0), (67, 1_000, 0)]);
}

/// A template with this group's ingress, some parameters, and conditions about them.
fn template(ingress: Value) -> Value {
    json!({
        "Parameters": {
            "Stage": {"Type": "String", "Default": "prod"}, "Open": {"Type": "String"},
            "Offices": {"Type": "CommaDelimitedList", "Default": "192.0.2.0/24, 198.51.100.0/24"},
            "Stored": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/office/block"},
        },
        "Mappings": {"Ports": {"prod": {"Web": 443}, "test": {"Web": 8443}}},
        "Conditions": {
            "IsProd": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]},
            "IsTest": {"Fn::Not": [{"Condition": "IsProd"}]},
            "Never": {"Fn::And": [{"Condition": "IsTest"}, {"Condition": "IsOpen"}]},
            "IsOpen": {"Fn::Equals": [{"Ref": "Open"}, "yes"]},
            "Round": {"Fn::Or": [{"Condition": "Round"}, {"Condition": "IsTest"}]},
        },
        "Resources": {
            "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.1.0.0/16"}},
            "Web": {"Type": "AWS::EC2::SecurityGroup",
                "Properties": {"SecurityGroupIngress": ingress, "SecurityGroupEgress": []}},
        },
    })
}

#[test]
fn functions_of_a_template_are_evaluated() {
    let rule = |block: Value, port: Value| {
        json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": block,
        "Description": {"Fn::Sub": "of ${AWS::StackName}"}})
    };
    let ingress = json!([
        {"Fn::If": ["IsProd", rule(json!("192.0.2.1/32"), json!(1)), rule(json!("192.0.2.2/32"), json!(1))]},
        {"Fn::If": ["IsTest", rule(json!("192.0.2.3/32"), json!(2)), {"Ref": "AWS::NoValue"}]},
        rule(json!({"Fn::Select": [1, {"Ref": "Offices"}]}), json!({"Fn::FindInMap": ["Ports", {"Ref": "Stage"}, "Web"]})),
        rule(json!({"Fn::GetAtt": ["Vpc", "CidrBlock"]}), json!(4)),
        rule(json!({"Fn::Select": ["1", {"Fn::Cidr": [{"Fn::GetAtt": "Vpc.CidrBlock"}, 4, "8"]}]}), json!(5)),
        rule(json!({"Fn::Sub": ["${Start}.0/${Bits}", {"Start": {"Fn::Join": [".", ["203", "0", "113"]]}, "Bits": 24}]}), json!(6)),
        rule(json!({"Fn::Join": ["/", [{"Fn::Select": [0, {"Fn::Split": ["|", "198.51.100.9|x"]}]}, "32"]]}), json!(7)),
        rule(json!({"Fn::If": ["Never", {"Ref": "Open"}, "10.9.0.0/16"]}), json!(8)),
    ]);
    let loaded = load_groups(&template(ingress)).unwrap();
    assert_eq!(
        listed(&loaded.rules, Direction::In),
        [
            "192.0.2.1/32 6 1-1 rule:Web#1",
            "198.51.100.0/24 6 443-443 rule:Web#2",
            "10.1.0.0/16 6 4-4 rule:Web#3",
            "10.1.1.0/24 6 5-5 rule:Web#4",
            "203.0.113.0/24 6 6-6 rule:Web#5",
            "198.51.100.9/32 6 7-7 rule:Web#6",
            "10.9.0.0/16 6 8-8 rule:Web#7",
        ]
    );
}

#[test]
fn what_a_template_does_not_determine_is_an_error_or_left_out() {
    let rule = |block: Value| json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "CidrIp": block});
    let block = || rule(json!("10.0.0.0/8"));
    let skip = LoadOptions { unresolved: Unresolved::Warn, ..LoadOptions::default() };
    for (ingress, place, what) in [
        (json!([{"Fn::If": ["IsOpen", block(), block()]}]), "SecurityGroupIngress[0]", "Fn::If \"IsOpen\""),
        (json!([{"Fn::If": ["Round", block(), block()]}]), "SecurityGroupIngress[0]", "Fn::If \"Round\""),
        (json!({"Fn::If": ["Open", [block()], []]}), "SecurityGroupIngress[0]", "Fn::If"),
        (json!([rule(json!({"Ref": "Open"}))]), "SecurityGroupIngress[0]", "Ref \"Open\""),
        (json!([rule(json!({"Ref": "Stored"}))]), "SecurityGroupIngress[0]", "Ref \"Stored\""),
        (json!([rule(json!({"Fn::ImportValue": "x"}))]), "SecurityGroupIngress[0]", "Fn::ImportValue"),
        (json!([rule(json!({"Fn::Select": [7, {"Ref": "Offices"}]}))]), "SecurityGroupIngress[0]", "Fn::Select"),
        (json!([{"IpProtocol": "-1", "SourceSecurityGroupName": "db"}]), "SecurityGroupIngress[0]", "\"db\""),
    ] {
        let document = template(ingress);
        fails(
            load_groups(&document),
            &[&format!("Resources.Web.Properties.{place}"), "rule:Web#1", what, "--skip-unresolved"],
        );
        let loaded = policies::load_groups_with(&document, &skip).unwrap();
        assert_eq!((loaded.rules.len(), loaded.warnings.len()), (0, 1), "{:?}", loaded.warnings);
        assert!(loaded.warnings[0].contains("rule:Web#1 is left out"), "{:?}", loaded.warnings);
    }
    // Resources with a condition: one that does not hold, one that nobody knows, and rules of a group elsewhere.
    let mut document = template(json!([block()]));
    let alone = |group: Value, condition: &str| {
        json!({"Type": "AWS::EC2::SecurityGroupIngress", "Condition": condition,
        "Properties": {"GroupId": group, "IpProtocol": "udp", "FromPort": 1, "ToPort": 1, "CidrIp": "0.0.0.0/0"}})
    };
    document["Resources"]["No"] = alone(json!({"Ref": "Web"}), "IsTest");
    assert_eq!(load_groups(&document).unwrap().rules.len(), 1);
    document["Resources"]["Perhaps"] = alone(json!({"Ref": "Web"}), "IsOpen");
    fails(load_groups(&document), &["Resources.Perhaps.Properties", "condition \"IsOpen\""]);
    document["Resources"]["Perhaps"] = alone(json!({"Fn::ImportValue": "group"}), "IsProd");
    fails(load_groups(&document), &["Resources.Perhaps.Properties", "Fn::ImportValue"]);
    // An entry of an ACL.
    document["Resources"]["Acl"] = json!({"Type": "AWS::EC2::NetworkAcl", "Properties": {}});
    document["Resources"]["Entry"] = json!({"Type": "AWS::EC2::NetworkAclEntry", "Properties": {"NetworkAclId": {"Ref": "Acl"},
        "RuleNumber": 1, "Protocol": -1, "RuleAction": "deny", "CidrBlock": {"Ref": "Open"}}});
    fails(policies::load_acl(&document), &["Resources.Entry.Properties", "Ref \"Open\""]);
    let acl = load_network_acl(as_file(&document).path(), &skip).unwrap();
    assert_eq!((acl.rules.len(), acl.warnings.len()), (0, 1));
    // A template that has to be expanded first, attributes that name each other, and texts that grow.
    document["Resources"]["Fn::ForEach::Loop"] = json!(["x", ["a"], {}]);
    fails(load_groups(&document), &["Resources.Fn::ForEach::Loop", "Processed"]);
    let mut circle = template(json!([rule(json!({"Fn::GetAtt": ["Vpc", "CidrBlock"]}))]));
    circle["Resources"]["Vpc"]["Properties"]["CidrBlock"] = json!({"Fn::GetAtt": ["Vpc", "CidrBlock"]});
    fails(load_groups(&circle), &["rule:Web#1", "Fn::GetAtt \"Vpc\""]);
    let grown = (0..30).fold(json!("x"), |inner, _| json!({"Fn::Sub": ["${a}${a}", {"a": inner}]}));
    fails(load_groups(&template(json!([rule(grown)]))), &["rule:Web#1", "Fn::Sub"]);
}

fn terraform(key: &str, resources: Value, configuration: Value) -> Value {
    let root = json!({"root_module": {"resources": resources}});
    json!({"format_version": "1.0", key: root, "configuration": {"root_module": {"resources": configuration}}})
}

fn resource(kind: &str, name: &str, values: Value) -> Value {
    json!({"address": format!("{kind}.{name}"), "mode": "managed", "type": kind, "name": name, "values": values})
}

#[test]
fn terraform_state_and_plan() {
    let inline = json!({"protocol": "tcp", "from_port": 80, "to_port": 80, "cidr_blocks": ["0.0.0.0/0"],
        "ipv6_cidr_blocks": ["::/0"], "prefix_list_ids": [], "security_groups": [], "self": true});
    let state = terraform(
        "values",
        json!([
            resource(
                "aws_security_group",
                "a",
                json!({"id": "sg-a", "ingress": [inline], "egress": [
            {"protocol": "-1", "from_port": 0, "to_port": 0, "cidr_blocks": ["0.0.0.0/0"]}]})
            ),
            resource(
                "aws_security_group_rule",
                "r",
                json!({"type": "ingress", "security_group_id": "sg-a",
            "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": ["192.0.2.0/24"], "self": false})
            ),
            resource(
                "aws_network_interface",
                "n",
                json!({"id": "eni-1", "private_ips": ["10.0.0.7"],
            "security_groups": ["sg-a"], "subnet_id": "subnet-1"})
            ),
            resource(
                "aws_network_acl",
                "x",
                json!({"id": "acl-x", "subnet_ids": ["subnet-1"], "egress": [], "ingress": [
            {"rule_no": 200, "action": "deny", "protocol": "6", "from_port": 22, "to_port": 22, "cidr_block": "0.0.0.0/0", "ipv6_cidr_block": ""}]})
            ),
            resource(
                "aws_network_acl_rule",
                "y",
                json!({"network_acl_id": "acl-x", "rule_number": 100, "egress": false,
            "rule_action": "allow", "protocol": "1", "icmp_type": 8, "icmp_code": -1, "cidr_block": "10.0.0.0/8"})
            ),
        ]),
        json!([]),
    );
    let loaded = load_groups(&state).unwrap();
    assert_eq!(
        listed(&loaded.rules, Direction::In),
        [
            "0.0.0.0/0 6 80-80 rule:sg-a#1",
            "::/0 6 80-80 rule:sg-a#1",
            "10.0.0.7/32 6 80-80 rule:sg-a#1",
            "192.0.2.0/24 17 53-53 rule:sg-a#2",
        ]
    );
    assert_eq!(listed(&loaded.rules, Direction::Out), ["0.0.0.0/0 all all rule:sg-a#1"]);
    let acl = load_acl(&state).unwrap();
    assert_eq!(listed(&acl.rules, Direction::In), ["10.0.0.0/8 1 2048-2303 acl:100", "0.0.0.0/0 6 22-22 acl:200"]);

    let plan = |port: Value| {
        terraform(
            "planned_values",
            json!([
                resource("aws_security_group", "a", json!({})),
                resource(
                    "aws_vpc_security_group_ingress_rule",
                    "r",
                    json!({"ip_protocol": "tcp", "from_port": port,
            "to_port": 90, "cidr_ipv4": "203.0.113.0/24"})
                ),
            ]),
            json!([
                {"address": "aws_vpc_security_group_ingress_rule.r", "expressions":
                    {"security_group_id": {"references": ["aws_security_group.a.id", "aws_security_group.a"]}}},
            ]),
        )
    };
    let loaded = load_groups(&plan(json!(90))).unwrap();
    assert_eq!(listed(&loaded.rules, Direction::In), ["203.0.113.0/24 6 90-90 rule:aws_security_group.a#1"]);
    fails(load_groups(&plan(json!(91))), &["planned_values.root_module.resources[1].values.from_port: 91", "at most"]);
}
