//! The full path past interfaces: its order, its engines, and what `explain`, `derive` and the kernel make of it.

mod common;
mod policies;

use assert_cmd::Command;
use common::{PLAIN, pcap_at, tcp, write};
use ctbench::conntrack::{Config, Profile};
use ctbench::engine::registry::Kind;
use ctbench::engine::{Decision, Verdict};
use ctbench::measure::Clock;
use ctbench::packet::{Direction, Inside, Packet, TcpFields, protocol, tcp_flags};
use ctbench::policy::compiled::Compiled;
use ctbench::policy::path::{Attached, Ends, Paths, steps};
use ctbench::policy::untracked::Untracked;
use ctbench::policy::{Evaluate, Inventory, LoadOptions, Unresolved, World};
use ctbench::replay::{Mode, Pool, Workload};
use ctbench::table::Geometry;
use ctbench::trace::Trace;
use policies::{acl_of, as_file, eni, fails, group, permission};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use tempfile::{NamedTempFile, TempDir};

/// Three interfaces in two subnets. `web` in subnet 1 may open connections to `db` in subnet 2.
fn account() -> (Arc<Inventory>, Vec<NamedTempFile>) {
    let (rules, enis) = documents();
    let (rules, enis) = (as_file(&rules), as_file(&enis));
    let inventory = Inventory::load(&[rules.path().into(), enis.path().into()], Unresolved::Error).unwrap();
    (Arc::new(inventory), vec![rules, enis])
}

/// Its rules and its interfaces.
fn documents() -> (Value, Value) {
    let from_group = |id: &str| json!({"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": id}]});
    let rules = json!({
        "SecurityGroups": [
            group("sg-web", [permission("tcp", json!([80, 80]), "0.0.0.0/0")], [permission("-1", json!([]), "10.0.0.0/16")]),
            group("sg-db", [from_group("sg-web")], []),
        ],
        "NetworkAcls": [
            acl_of("acl-1", json!([entry(100, true, 5432, 5432), entry(90, false, 1024, 65535), entry(80, false, 80, 80), entry(95, true, 1024, 65535)])),
            acl_of("acl-2", json!([entry(100, false, 5432, 5432), entry(100, true, 1024, 65535)])),
        ],
    });
    let enis = json!({"NetworkInterfaces": [eni("eni-web", "10.0.1.5", &["sg-web"], "subnet-of-acl-1"),
        eni("eni-near", "10.0.1.6", &["sg-db"], "subnet-of-acl-1"), eni("eni-db", "10.0.2.5", &["sg-db"], "subnet-of-acl-2")]});
    (rules, enis)
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
fn an_interface_has_the_rules_of_every_record_of_its_group() {
    let web = |port: u16| group("sg-web", [permission("tcp", json!([port, port]), "0.0.0.0/0")], []);
    let enis = json!([eni("eni-web", "10.0.1.5", &["sg-web"], "subnet-1")]);
    let once = as_file(&json!({"SecurityGroups": [web(80), web(80), web(443)], "NetworkInterfaces": enis}));
    let again = as_file(&json!({"SecurityGroups": [web(22)]}));
    let inventory = Inventory::load(&[once.path().into(), again.path().into()], Unresolved::Error).unwrap();
    let groups = Attached::security_groups(&Arc::new(inventory), &LoadOptions::default()).unwrap();
    let ports: Vec<_> = groups.sets[0].rules(Direction::In).map(|(_, rule)| rule.ports).collect();
    assert_eq!(ports, [Some((80, 80)), Some((443, 443))], "of several files the first counts");
    assert!(groups.warnings[0].contains("group id sg-web is also SecurityGroups[0]"), "{:?}", groups.warnings);
}

#[test]
fn idle_timeouts_of_an_interface_are_told() {
    let mut eni = eni("eni-web", "10.0.1.5", &[], "subnet-1");
    eni["ConnectionTrackingConfiguration"] = json!({"TcpEstablishedTimeout": 350, "UdpTimeout": 30});
    let load = |eni: &Value| {
        let file = as_file(&json!({"NetworkInterfaces": [eni]}));
        Inventory::load(&[file.path().into()], Unresolved::Error)
    };
    let warnings = load(&eni).unwrap().warnings;
    let told = "NetworkInterfaces[0].ConnectionTrackingConfiguration: eni-web has idle timeouts of its own";
    assert!(warnings[0].contains(told) && warnings[0].ends_with("tcp_established = 350, udp = 30"), "{warnings:?}");
    eni["ConnectionTrackingConfiguration"]["UdpTimeout"] = json!(0);
    let error = load(&eni).unwrap_err().to_string();
    assert!(error.contains("ConnectionTrackingConfiguration.UdpTimeout: 0"), "{error}");
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

#[test]
fn sets_found_before_are_those_looked_up() {
    let (inventory, _files) = account();
    let ends = ["10.0.1.5", "10.0.1.6", "10.0.2.5", "10.0.2.9", "198.51.100.1"];
    for attached in [Attached::security_groups, Attached::network_acls] {
        let attached = attached(&inventory, &LoadOptions::default()).unwrap();
        let paths = Paths::new(&attached, 7, Compiled::numbered_from, Untracked::new);
        let mut filtered = 0;
        for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to))) {
            for port in [80, 5432, 40_000] {
                let packet = segment((from, 40_000), (to, port), tcp_flags::SYN, 0);
                let (known, unknown) = (paths.ends(&packet), Ends::default());
                assert_eq!(paths.first_match_between(&packet, known), paths.first_match(&packet), "{packet:?}");
                assert_eq!(paths.first_match_between(&packet, unknown), paths.first_match(&packet), "{packet:?}");
                assert_eq!(paths.is_untracked_between(&packet, known), paths.is_untracked(&packet), "{packet:?}");
                filtered += usize::from(paths.first_match(&packet).is_none_or(|found| found.rule > 7));
            }
        }
        assert!(filtered > 20, "{filtered}");
    }
}

/// A folder with rules, interfaces and a capture: web opens to db, whose answers the ACLs lose; somebody outside
/// tries db's port; web speaks to its neighbour.
fn folder() -> TempDir {
    const WEB: [u8; 4] = [10, 0, 1, 5];
    const NEAR: [u8; 4] = [10, 0, 1, 6];
    const DB: [u8; 4] = [10, 0, 2, 5];
    const OUTSIDE: [u8; 4] = [198, 51, 100, 1];
    let folder = tempfile::tempdir().unwrap();
    let (mut rules, enis) = documents();
    // No way back into subnet 1 for answers to ports from 40000 on.
    rules["NetworkAcls"][0]["Entries"][1]["PortRange"]["To"] = json!(39_999);
    write(folder.path(), "rules.json", rules.to_string());
    write(folder.path(), "enis.json", enis.to_string());
    let both = |from, to| [tcp(from, to, "S", 100, 0, b""), tcp(to, from, "SA", 500, 101, b"")];
    let frames = [
        both((WEB, 40_000), (DB, 5432)),
        both((WEB, 30_000), (DB, 5432)),
        both((WEB, 40_001), (NEAR, 5432)),
        both((OUTSIDE, 50_000), (WEB, 80)),
        both((OUTSIDE, 50_001), (DB, 9)),
        both((DB, 41_000), (WEB, 80)),
    ];
    let frames: Vec<Vec<u8>> = frames.into_iter().flatten().collect();
    write(folder.path(), "t.pcap", pcap_at((0..).map(|n| 1_000_000_000 + n * 1_000_000).zip(&frames), PLAIN));
    folder
}

fn ctbench(folder: &Path, verb: &[&str]) -> (i32, String, String) {
    let files = ["--security-groups", "rules.json", "--network-acls", "rules.json", "--inventory", "enis.json"];
    let mut command = Command::cargo_bin("ctbench").unwrap();
    let output =
        command.current_dir(folder).args(&verb[..1]).arg("t.pcap").args(files).args(&verb[1..]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn explain_names_the_step_that_decides() {
    let folder = folder();
    let (code, text, errors) = ctbench(folder.path(), &["explain", "--show", "20"]);
    assert_eq!(code, 0, "{errors}");
    for part in [
        // Only the ACL of subnet 1 drops the answer, on its way in.
        "1 inbound TCP replies to port 40000: the network ACL alone drops: no inbound ACL rule of acl-1 (step 3) covers them",
        "reply from 10.0.2.5:5432 to port 40000 dropped: no inbound ACL rule of acl-1 for destination port 40000 at eni-web (step 3); a stateful group would pass it",
        // Both sides' rules let the request pass.
        "rule:sg-web#1 (rules.json: SecurityGroups[0].IpPermissionsEgress[0].IpRanges[0]) at eni-web (step 1) and rule:sg-db#1 (rules.json: SecurityGroups[1].IpPermissions[0].UserIdGroupPairs[0]) at eni-db (step 4)",
        "acl:acl-1#95 (rules.json: NetworkAcls[0].Entries[3]) at eni-web (step 2) and acl:acl-2#100",
        "no network ACL is on its way",
        // What db sends unasked, its own group drops.
        "no outbound security group rule of sg-db for IPv4 at all at eni-db (step 1)",
        "TCP port 5432 outside: inbound destination ports 40000",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(text.contains("1 of 5, 16 on request  security groups on eni-"), "{text}");
    assert!(!text.contains("no-step") && !text.contains("#*"), "{text}");
    // The rules that let requests out count as used, as do those that let them in.
    let used = |rule: &str| text.lines().any(|line| line.contains(" packets") && line.contains(rule));
    assert!(used("out rule:sg-web#1") && used("in rule:sg-db#1"), "{text}");

    let (code, csv, _) = ctbench(folder.path(), &["explain", "--format", "csv"]);
    let drop = "network-acl,in,reply,drop,-,acl:acl-1#*,,,1,2,true,";
    assert!(code == 0 && csv.lines().any(|line| line.contains(drop) && line.ends_with(",3,eni-web,acl-1")), "{csv}");
    let (_, json, _) = ctbench(folder.path(), &["explain", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let way = &json["flows"][0]["steps"][0]["way"];
    assert_eq!(
        (&way[0]["step"], &way[0]["interface"], &way[0]["set"]),
        (&json!(1), &json!("eni-web"), &json!("sg-web"))
    );
    assert_eq!(
        (&way[1]["step"], &way[1]["rule"], &way[1]["verdict"]),
        (&json!(4), &json!("rule:sg-db#1"), &json!("accept"))
    );
}

#[test]
fn a_streamed_replay_goes_the_same_way() {
    let folder = folder();
    let counted = |more: &[&str]| {
        let quick = ["--time", "0.01", "--cores", "1,2", "--capacity", "65536", "--json", "-"];
        let engines = ["stateless-linear", "stateless-compiled", "stateful-percore-compiled"];
        let engines = engines.map(|engine| ["--engine", engine]).concat();
        let (code, json, errors) = ctbench(folder.path(), &[&["compare"], &quick[..], &engines, more].concat());
        assert_eq!(code, 0, "{errors}");
        let json: Value = serde_json::from_str(&json).unwrap();
        let facts = |run: &Value| (run["engine"].clone(), run["verdicts"].clone(), run["digest"].clone());
        json["runs"].as_array().unwrap().iter().map(facts).collect::<Vec<_>>()
    };
    let preloaded = counted(&[]);
    assert_eq!(preloaded.len(), 6);
    assert_eq!(counted(&["--stream"]), preloaded);
}

#[test]
fn derive_makes_a_twin_for_each_subnet() {
    let folder = folder();
    let (code, text, errors) = ctbench(
        folder.path(),
        &["derive", "--ephemeral", "documented", "-o", "twins.json", "--entries", "e", "--json", "x.json"],
    );
    assert_eq!(code, 0, "{errors}");
    for part in [
        "The stateless twin of subnet-of-acl-1, acl-twin-subnet-of-acl-1",
        "The stateless twin of subnet-of-acl-2, acl-twin-subnet-of-acl-2",
        "What the twin lets pass that the rules of sg-web at eni-web do not, exactly:",
        // The neighbour's port is open to all, since web's is: an ACL does not tell them apart.
        "at eni-near do not, exactly:\n  in  ICMP type 0 from 10.0.0.0/16\n  in  ICMP type 3 code 4 from 0.0.0.0/0\n  in  TCP port 80 from 0.0.0.0/0",
        "groups and twin differ on 0 of 12 packets",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let twins: Value = serde_json::from_slice(&std::fs::read(folder.path().join("twins.json")).unwrap()).unwrap();
    assert_eq!(twins["NetworkAcls"][1]["Associations"][0]["SubnetId"], json!("subnet-of-acl-2"));
    let entries = std::fs::read_to_string(folder.path().join("e")).unwrap();
    assert!(entries.lines().any(|line| line.contains("\"NetworkAclId\":\"acl-twin-subnet-of-acl-2\"")), "{entries}");
    let exposed: Value = serde_json::from_slice(&std::fs::read(folder.path().join("x.json")).unwrap()).unwrap();
    assert_eq!(exposed["twins"].as_array().unwrap().len(), 2);
    // Read back, they lose nothing that the groups let pass.
    let twin = ["explain", "--differing", "--network-acls", "twins.json", "--format", "json"];
    let mut command = Command::cargo_bin("ctbench").unwrap();
    let arguments = ["t.pcap", "--security-groups", "rules.json", "--inventory", "enis.json"];
    let output = command.current_dir(folder.path()).arg(twin[0]).args(arguments).args(&twin[1..]).output().unwrap();
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["lost_replies"], json!([]), "{read}");
    assert!(read["network_acl"]["accept"].as_u64() >= read["security_groups"]["accept"].as_u64(), "{read}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_kernel_goes_the_same_way() {
    use std::io::Write;
    let folder = folder();
    let (code, text, errors) = ctbench(folder.path(), &["verify", "--against", "linux"]);
    if let Err(error) = ctbench::verify::linux::available() {
        let _ = std::io::stderr().write_all(format!("SKIPPED: the_kernel_goes_the_same_way: {error}\n").as_bytes());
        assert_eq!(code, 1, "{errors}");
        return;
    }
    assert_eq!((code, text.matches("12 of 12; 0 differ").count()), (0, 2), "{text}{errors}");
}
