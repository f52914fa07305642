//! Every format in which people have their rules, and the full path past interfaces.

mod policies;

use ctbench::conntrack::{Config, Profile};
use ctbench::engine::registry::Kind;
use ctbench::engine::{Decision, Verdict};
use ctbench::measure::Clock;
use ctbench::packet::{Direction, Inside, Packet, TcpFields, protocol, tcp_flags};
use ctbench::policy::path::{Attached, steps};
use ctbench::policy::{Inventory, LoadOptions, PolicyError, RuleSet, Unresolved, World, load_network_acl};
use ctbench::replay::{Mode, Pool, Workload};
use ctbench::table::Geometry;
use ctbench::trace::Trace;
use policies::{acl_of, file, group, load, load_acl, load_groups, permission};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::NamedTempFile;

fn listed(rules: &RuleSet, direction: Direction) -> Vec<String> {
    let ports = |ports: Option<(u16, u16)>| ports.map_or("all".into(), |(low, high)| format!("{low}-{high}"));
    let number = |protocol: Option<u8>| protocol.map_or("all".into(), |number| number.to_string());
    let line = |(_, r): (u32, &ctbench::policy::Rule)| {
        format!("{} {} {} {}", r.remote, number(r.protocol), ports(r.ports), r.name)
    };
    rules.rules(direction).map(line).collect()
}

fn as_file(document: &Value) -> NamedTempFile {
    file(document.to_string().as_bytes())
}

fn eni(id: &str, address: &str, groups: &[&str], subnet: &str) -> Value {
    let groups: Vec<Value> = groups.iter().map(|id| json!({"GroupId": id})).collect();
    json!({"NetworkInterfaceId": id, "PrivateIpAddress": address, "SubnetId": subnet, "VpcId": "vpc-1",
        "PrivateIpAddresses": [{"Primary": true, "PrivateIpAddress": address}], "Groups": groups})
}

fn with_inventory(files: &[PathBuf]) -> LoadOptions {
    let inventory = Inventory::load(files, Unresolved::Error).unwrap();
    LoadOptions { inventory: Some(Arc::new(inventory)), ..LoadOptions::default() }
}

#[track_caller]
fn fails<T>(result: Result<T, PolicyError>, parts: &[&str]) {
    let Err(error) = result else { panic!("must be refused") };
    let text = error.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is missing in: {text}"));
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
    fails(load(bad.path(), &LoadOptions::default()), &["SecurityGroupIngress[0].CidrIp", "Fn::ImportValue"]);
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

/// Three interfaces in two subnets. `web` in subnet 1 may open connections to `db` in subnet 2.
fn account() -> (Arc<Inventory>, Vec<NamedTempFile>) {
    let from_group = |id: &str| json!({"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": id}]});
    let rules = as_file(&json!({
        "SecurityGroups": [
            group("sg-web", [permission("tcp", json!([80, 80]), "0.0.0.0/0")], [permission("-1", json!([]), "10.0.0.0/16")]),
            group("sg-db", [from_group("sg-web")], []),
        ],
        "NetworkAcls": [
            acl_of("acl-1", json!([entry(100, true, 5432, 5432), entry(90, false, 1024, 65535), entry(80, false, 80, 80), entry(95, true, 1024, 65535)])),
            acl_of("acl-2", json!([entry(100, false, 5432, 5432), entry(100, true, 1024, 65535)])),
        ],
    }));
    let enis = as_file(&json!({"NetworkInterfaces": [eni("eni-web", "10.0.1.5", &["sg-web"], "subnet-of-acl-1"),
        eni("eni-near", "10.0.1.6", &["sg-db"], "subnet-of-acl-1"), eni("eni-db", "10.0.2.5", &["sg-db"], "subnet-of-acl-2")]}));
    let inventory = Inventory::load(&[rules.path().into(), enis.path().into()], Unresolved::Error).unwrap();
    (Arc::new(inventory), vec![rules, enis])
}

fn entry(number: u32, egress: bool, from: u16, to: u16) -> Value {
    json!({"RuleNumber": number, "Egress": egress, "RuleAction": "allow", "Protocol": "6", "CidrBlock": "0.0.0.0/0",
        "PortRange": {"From": from, "To": to}})
}

/// A TCP segment as the decoder would have it: between two protected ends, the lower one is local.
fn segment(from: (&str, u16), to: (&str, u16), flags: u8, time_ns: u64) -> Packet {
    let parse = |end: &str| -> IpAddr { end.parse().unwrap() };
    let (source, destination) = (parse(from.0), parse(to.0));
    let out = source.is_ipv4() && from.0.starts_with("10.") && (!to.0.starts_with("10.") || source <= destination);
    let packet = match out {
        true => Packet::new(source, destination, Direction::Out, protocol::TCP, time_ns).with_ports(from.1, to.1),
        false => Packet::new(destination, source, Direction::In, protocol::TCP, time_ns).with_ports(to.1, from.1),
    };
    packet.with_tcp(TcpFields { flags, seq: 1, ack: 1, window: 1000, ..TcpFields::default() })
}

#[test]
fn the_steps_between_interfaces_come_in_order() {
    let (inventory, _files) = account();
    let options = LoadOptions::default();
    let groups = Attached::security_groups(&inventory, &options).unwrap();
    let acls = Attached::network_acls(&inventory, &options).unwrap();
    let met = |packet: &Packet| -> Vec<String> {
        let line = |step: ctbench::policy::path::Step| {
            let attached = if step.world == World::NetworkAcl { &acls } else { &groups };
            let rule = step.matched.map_or("none", |found| &attached.sets[step.set].rule(found.rule).name);
            format!("{} {:?} {rule}", inventory.interfaces[step.interface].id, step.direction)
        };
        steps(Some(&groups), Some(&acls), packet).into_iter().map(line).collect()
    };
    assert_eq!(
        met(&segment(("10.0.1.5", 40000), ("10.0.2.5", 5432), tcp_flags::SYN, 0)),
        ["eni-web Out rule:sg-web#1", "eni-web Out acl:acl-1#95", "eni-db In acl:acl-2#100", "eni-db In rule:sg-db#1"]
    );
    assert_eq!(
        met(&segment(("10.0.2.5", 5432), ("10.0.1.5", 40000), tcp_flags::ACK, 0)),
        ["eni-db Out none", "eni-db Out acl:acl-2#100", "eni-web In acl:acl-1#90", "eni-web In none"]
    );
    assert_eq!(
        met(&segment(("10.0.1.5", 40000), ("10.0.1.6", 5432), tcp_flags::SYN, 0)),
        ["eni-web Out rule:sg-web#1", "eni-near In rule:sg-db#1"],
        "no ACL within a subnet"
    );
    assert_eq!(
        met(&segment(("198.51.100.1", 40000), ("10.0.1.5", 80), tcp_flags::SYN, 0)),
        ["eni-web In acl:acl-1#80", "eni-web In rule:sg-web#1"],
        "one end outside: that side only"
    );
}

#[test]
fn engines_and_reference_follow_the_path() {
    let (inventory, _files) = account();
    let options = LoadOptions::default();
    let ends = ["10.0.1.5", "10.0.1.6", "10.0.2.5", "198.51.100.1"];
    let mut trace = Trace::default();
    for (i, from) in ends.iter().enumerate() {
        for (j, to) in
            ends.iter().enumerate().filter(|(j, to)| *j != i && (from.starts_with("10.") || to.starts_with("10.")))
        {
            for (n, port) in [80u16, 5432, 9].into_iter().enumerate() {
                let client = 40_000 + (i * 100 + j * 10 + n) as u16;
                trace.packets.push(segment((from, client), (to, port), tcp_flags::SYN, 0));
                trace.packets.push(segment((to, port), (from, client), tcp_flags::SYN | tcp_flags::ACK, 0));
            }
        }
    }
    trace.frames = (1..=trace.packets.len() as u32).collect();
    trace.timestamps_ns = vec![0; trace.packets.len()];
    for profile in [Profile::Linux, Profile::Aws] {
        let config = Config::new(profile);
        let mut workload =
            Workload::new(trace.clone(), None, None, config, Geometry::with_capacity(1024, 16), 1, 2, 32);
        workload.attach(0, Attached::security_groups(&inventory, &options).unwrap());
        workload.attach(0, Attached::network_acls(&inventory, &options).unwrap());
        let (pool, clock) = (Pool::new(1).unwrap(), Clock::new());
        for (stateful, kinds) in [
            (true, &[Kind::StatefulPerCoreLinear, Kind::StatefulLockFreeCompiled][..]),
            (false, &[Kind::StatelessLinear, Kind::StatelessCompiled][..]),
        ] {
            let right = workload.reference(stateful).unwrap();
            for kind in kinds {
                let steered = workload.steered(*kind, 1);
                let mut variant = workload.variant(*kind, &steered, &pool, &clock, 32).unwrap();
                let pass = variant.pass(Mode::Throughput, Vec::new());
                assert_eq!(variant.gather(&pass.decisions), right, "{kind:?}, {profile:?}");
            }
            let passed = |d: &&Decision| d.verdict() == Verdict::Accept;
            let accepted = right.iter().filter(passed).count();
            // Stateful: web:80 from outside, web to near and to db on 5432, each with its reply.
            assert!(!stateful || accepted == 6, "{accepted}");
        }
    }
}

#[test]
fn an_interface_whose_rules_nobody_gave() {
    let enis = as_file(&json!({"NetworkInterfaces": [eni("eni-1", "10.0.1.5", &["sg-9"], "subnet-9")]}));
    let inventory = Arc::new(Inventory::load(&[enis.path().into()], Unresolved::Error).unwrap());
    let options = LoadOptions::default();
    fails(
        Attached::security_groups(&inventory, &options),
        &["NetworkInterfaces[0]", "eni-1", "sg-9", "--skip-unresolved"],
    );
    fails(Attached::network_acls(&inventory, &options), &["NetworkInterfaces[0]", "subnet-9"]);
    let warn = LoadOptions { unresolved: Unresolved::Warn, ..options };
    assert_eq!(Attached::network_acls(&inventory, &warn).unwrap().warnings.len(), 1);
}

#[test]
fn a_pair_has_the_lower_address_as_local_end_whoever_sends() {
    let pairs = Inside::new(&["10.0.0.0/8".parse().unwrap()]).with_pairs();
    let udp = |source: [u8; 4], destination: [u8; 4]| {
        let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
        bytes.extend(source.iter().chain(&destination));
        bytes.extend([0, 1, 0, 2, 0, 8, 0, 0]);
        ctbench::packet::decode_ip(&bytes, bytes.len(), 0, &pairs).unwrap()
    };
    let (there, back) = (udp([10, 0, 0, 1], [10, 0, 0, 2]), udp([10, 0, 0, 2], [10, 0, 0, 1]));
    assert_eq!((there.local, there.direction()), (back.local, Direction::Out));
    assert_eq!(back.direction(), Direction::In);
}
