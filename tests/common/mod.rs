//! Captures and policies made by code.
#![allow(dead_code)] // Each test program uses its part.

pub mod arbitrary;
pub mod conversation;
pub mod facts;
pub mod frames;
pub mod results;
pub mod script;
pub mod strategies;

use ctbench::conntrack::{Config, Profile};
use ctbench::engine::registry::{ENGINES, Kind};
use ctbench::engine::{Decision, Verdict};
use ctbench::measure::Clock;
use ctbench::packet::{Direction, Inside};
use ctbench::policy::{Rule, RuleSet, World};
use ctbench::replay::{Mode, Pool, Workload};
use ctbench::table::Geometry;
use ctbench::trace::{Capture, Trace};
use etherparse::PacketBuilder;
use std::fs;
use std::path::{Path, PathBuf};

/// The protected server and a client in all hand-made captures.
pub const SERVER: [u8; 4] = [10, 0, 1, 10];
pub const CLIENT: [u8; 4] = [198, 51, 100, 7];
pub const INSIDE: &str = "10.0.1.0/24";

/// TCP segment with the flags in `flags`: a word of S, A, F, R, P.
pub fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: &str, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let mut builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.0, to.0, 64).tcp(from.1, to.1, seq, 64_000);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(ack),
            'F' => builder.fin(),
            'R' => builder.rst(),
            'P' => builder.psh(),
            other => panic!("no flag {other}"),
        };
    }
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// UDP datagram.
pub fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.0, to.0, 64).udp(from.1, to.1);
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// A whole connection: handshake, request, response, close by the client. 10 segments.
pub fn connection(client: ([u8; 4], u16), server: ([u8; 4], u16)) -> Vec<Vec<u8>> {
    vec![
        tcp(client, server, "S", 100, 0, b""),
        tcp(server, client, "SA", 500, 101, b""),
        tcp(client, server, "A", 101, 501, b""),
        tcp(client, server, "PA", 101, 501, b"request!"),
        tcp(server, client, "PA", 501, 109, b"response"),
        tcp(client, server, "A", 109, 509, b""),
        tcp(client, server, "FA", 109, 509, b""),
        tcp(server, client, "FA", 509, 110, b""),
        tcp(client, server, "A", 110, 510, b""),
    ]
}

/// How a pcap file is written.
#[derive(Clone, Copy)]
pub struct PcapStyle {
    pub big_endian: bool,
    pub nanoseconds: bool,
    pub link_type: u32,
}

pub const PLAIN: PcapStyle = PcapStyle { big_endian: false, nanoseconds: true, link_type: 1 };

/// A pcap file; frames one millisecond apart, from 1,000 s on.
pub fn pcap(frames: &[Vec<u8>], style: PcapStyle) -> Vec<u8> {
    let times = (0..frames.len() as u64).map(|i| 1_000_000_000_000 + i * 1_000_000);
    pcap_at(times.zip(frames), style)
}

/// A pcap file; each frame with its time in ns.
pub fn pcap_at<'a>(frames: impl IntoIterator<Item = (u64, &'a Vec<u8>)>, style: PcapStyle) -> Vec<u8> {
    let word = |n: u32| if style.big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let half = |n: u16| if style.big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let magic = if style.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = Vec::new();
    file.extend(word(magic));
    file.extend(half(2));
    file.extend(half(4));
    file.extend([word(0), word(0), word(65_535), word(style.link_type)].concat());
    for (time_ns, frame) in frames {
        let (seconds, ns) = ((time_ns / 1_000_000_000) as u32, (time_ns % 1_000_000_000) as u32);
        let fraction = if style.nanoseconds { ns } else { ns / 1000 };
        let len = frame.len() as u32;
        file.extend([word(seconds), word(fraction), word(len), word(len)].concat());
        file.extend(frame);
    }
    file
}

/// Writes a file into a folder.
pub fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// `describe-security-groups` with one group. Rules are `(protocol, from, to, cidr)`.
pub fn security_groups(ingress: &[(&str, i32, i32, &str)], egress: &[(&str, i32, i32, &str)]) -> String {
    let permissions = |rules: &[(&str, i32, i32, &str)]| -> Vec<serde_json::Value> {
        let permission = |(protocol, from, to, cidr): &(&str, i32, i32, &str)| {
            let v6 = cidr.contains(':');
            serde_json::json!({
                "IpProtocol": protocol, "FromPort": from, "ToPort": to,
                "IpRanges": if v6 { vec![] } else { vec![serde_json::json!({"CidrIp": cidr})] },
                "Ipv6Ranges": if v6 { vec![serde_json::json!({"CidrIpv6": cidr})] } else { vec![] },
                "PrefixListIds": [], "UserIdGroupPairs": [],
            })
        };
        rules.iter().map(permission).collect()
    };
    serde_json::json!({"SecurityGroups": [{
        "GroupId": "sg-1", "GroupName": "test",
        "IpPermissions": permissions(ingress), "IpPermissionsEgress": permissions(egress),
    }]})
    .to_string()
}

/// `describe-network-acls` with one ACL. Entries are `(egress, number, allow, protocol, from, to)`, for everyone.
pub fn network_acl(entries: &[(bool, u16, bool, &str, u16, u16)]) -> String {
    let entry = |(egress, number, allow, protocol, from, to): &(bool, u16, bool, &str, u16, u16)| {
        serde_json::json!({
            "Egress": egress, "RuleNumber": number, "RuleAction": if *allow { "allow" } else { "deny" },
            "Protocol": protocol, "CidrBlock": "0.0.0.0/0", "PortRange": {"From": from, "To": to},
        })
    };
    serde_json::json!({"NetworkAcls": [{
        "NetworkAclId": "acl-1", "Entries": entries.iter().map(entry).collect::<Vec<_>>(),
    }]})
    .to_string()
}

/// Reads a capture as the program does.
pub fn load(path: &Path, inside: &str, profile: Profile) -> Trace {
    let capture = Capture::open(path).unwrap();
    let frames = capture.frames().unwrap();
    let decoded = frames.decode(&Inside::new(&[inside.parse().unwrap()]));
    Trace::sequence(&frames, decoded, profile)
}

/// Rules that accept what the peers of [`strategies::peer`] send and get.
pub fn everything_passes() -> RuleSet {
    let mut groups = RuleSet::new(World::SecurityGroups);
    for remote in ["198.51.100.0/24", "2001:db8:2::/64"] {
        for direction in [Direction::In, Direction::Out] {
            let remote = remote.parse().unwrap();
            groups.push(direction, Rule { remote, protocol: None, ports: None, allow: true, name: "r".into() });
        }
    }
    groups
}

/// A workload over a trace with tables of so many entries.
pub fn workload(trace: Trace, groups: Option<RuleSet>, acl: Option<RuleSet>, config: Config, entries: u64) -> Workload {
    Workload::new(trace, groups, acl, config, Geometry::with_capacity(entries, 16), 1, 2, 32)
}

/// The decisions of one engine.
pub fn decisions(workload: &Workload, kind: Kind, cores: usize, burst: usize) -> Vec<Decision> {
    let pool = Pool::new(cores).unwrap();
    let clock = Clock::new();
    let steered = workload.steered(kind, cores);
    let mut variant = workload.variant(kind, &steered, &pool, &clock, burst).expect("its rules were given");
    let pass = variant.pass(Mode::Throughput, Vec::new());
    variant.gather(&pass.decisions)
}

/// The decisions of every stateful engine on 1, 2 and 3 cores, which must all be the reference's.
#[track_caller]
pub fn agreed(workload: &Workload) -> Vec<Decision> {
    let right = workload.reference(true).expect("security groups were given");
    for engine in ENGINES.iter().filter(|engine| engine.kind.is_stateful() && engine.kind != Kind::Reference) {
        for cores in [1, 2, 3] {
            assert_same(&decisions(workload, engine.kind, cores, 32), &right, &workload.trace, engine.name);
        }
    }
    right
}

/// Verdict, state and deciding rule: nothing may differ.
#[track_caller]
pub fn assert_same(ours: &[Decision], right: &[Decision], trace: &Trace, what: &str) {
    for (i, (a, b)) in ours.iter().zip(right).enumerate() {
        assert_eq!(
            a,
            b,
            "{what}: packet {i}: {:?}\nbefore: {:#?}",
            trace.packets[i],
            &trace.packets[i.saturating_sub(8)..i]
        );
    }
    assert_eq!(ours.len(), right.len());
}

/// The verdicts of every engine that follows the given rules, on 1 and 2 cores: all must be the same.
pub fn verdicts(workload: &Workload, stateful: bool) -> Vec<Verdict> {
    let mut all: Vec<Vec<Verdict>> = Vec::new();
    for engine in ENGINES {
        if engine.kind == Kind::Null || engine.kind.is_stateful() != stateful {
            continue;
        }
        for cores in [1, 2] {
            if cores == 1 || !engine.kind.is_single_core() {
                let found = decisions(workload, engine.kind, cores, 32);
                all.push(found.iter().map(|d| d.verdict()).collect());
            }
        }
    }
    assert!(all.len() >= 2);
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "engines disagree: {all:?}");
    all.swap_remove(0)
}

/// A result follows `results/schema.json`.
pub fn assert_valid(result: &serde_json::Value) {
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("results/schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(result).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
