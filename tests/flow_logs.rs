//! VPC flow logs: the guide's own records read and written, what is recorded of a trace, and what differs from a log.

mod common;

use common::frames::ip;
use common::write;
use common::*;
use ctbench::conntrack::{Config, Profile};
use ctbench::flow_log::*;
use ctbench::packet::{Direction, Inside};
use ctbench::policy::{Rule, RuleSet, World};
use ctbench::replay::Workload;
use ctbench::trace::{Capture, Trace};
use proptest::prelude::*;
use std::path::Path;
use tempfile::tempdir;

const RAW: PcapStyle = PcapStyle { link_type: 101, ..PLAIN };
const S: u64 = 1_000_000_000;

/// Values of the guide's examples ("Flow log record examples"), each with its format.
const GUIDE: &[(&str, &[&str])] = &[
    (
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status",
        &[
            "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK",
            "2 123456789010 eni-1235b8ca123456789 172.31.9.69 172.31.9.12 49761 3389 6 20 4249 1418530010 1418530070 REJECT OK",
            "2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA",
            "2 123456789010 eni-11111111aaaaaaaaa - - - - - - - 1431280876 1431280934 - SKIPDATA",
            "2 123456789010 eni-1235b8ca123456789 203.0.113.12 172.31.16.139 0 0 1 4 336 1432917027 1432917142 ACCEPT OK",
            "2 123456789010 eni-1235b8ca123456789 172.31.16.139 203.0.113.12 0 0 1 4 336 1432917094 1432917142 REJECT OK",
            "2 123456789010 eni-1235b8ca123456789 2001:db8:1234:a100:8d6e:3477:df66:f105 2001:db8:1234:a102:3304:8879:34cf:4071 34892 22 6 54 8855 1477913708 1477913820 ACCEPT OK",
        ],
    ),
    (
        // TCP flags: SYN and FIN of one side, SYN-ACK and FIN of the other.
        "version vpc-id subnet-id instance-id interface-id account-id type srcaddr dstaddr srcport dstport pkt-srcaddr pkt-dstaddr protocol bytes packets start end action tcp-flags log-status",
        &[
            "3 vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-01234567890123456 eni-1235b8ca123456789 123456789010 IPv4 52.213.180.42 10.0.0.62 43416 5001 52.213.180.42 10.0.0.62 6 568 8 1566848875 1566848933 ACCEPT 2 OK",
            "3 vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-01234567890123456 eni-1235b8ca123456789 123456789010 IPv4 10.0.0.62 52.213.180.42 5001 43416 10.0.0.62 52.213.180.42 6 376 7 1566848875 1566848933 ACCEPT 18 OK",
        ],
    ),
    (
        // A NAT gateway's interface: the packet's own address beside the one shown.
        "instance-id interface-id srcaddr dstaddr pkt-srcaddr pkt-dstaddr",
        &[
            "- eni-1235b8ca123456789 10.0.1.5 10.0.0.220 10.0.1.5 203.0.113.5",
            "- eni-1235b8ca123456789 203.0.113.5 10.0.0.220 203.0.113.5 10.0.0.220",
        ],
    ),
    (
        "version srcaddr dstaddr srcport dstport protocol start end type packets bytes account-id vpc-id subnet-id instance-id interface-id region az-id sublocation-type sublocation-id action tcp-flags pkt-srcaddr pkt-dstaddr pkt-src-aws-service pkt-dst-aws-service traffic-path flow-direction log-status",
        &[
            "5 52.95.128.179 10.0.0.71 80 34210 6 1616729292 1616729349 IPv4 14 15044 123456789012 vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-0c50d5961bcb2d47b eni-1235b8ca123456789 ap-southeast-2 apse2-az3 - - ACCEPT 19 52.95.128.179 10.0.0.71 S3 - - ingress OK",
            "5 10.0.0.71 52.95.128.179 34210 80 6 1616729292 1616729349 IPv4 7 471 123456789012 vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-0c50d5961bcb2d47b eni-1235b8ca123456789 ap-southeast-2 apse2-az3 - - ACCEPT 3 10.0.0.71 52.95.128.179 - S3 8 egress OK",
        ],
    ),
];

fn line(record: &Record, format: &Format) -> String {
    let word = |field: &Field| {
        let mut word = String::new();
        record.word(*field, format.version(), &Labels::new(), &mut word);
        word
    };
    format.fields().iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_guides_records_read_and_write_as_they_stand() {
    for (header, lines) in GUIDE {
        let format = Format::parse(header).unwrap();
        let aws = header.split(' ').map(|name| format!("${{{name}}}")).collect::<Vec<_>>().join(" ");
        assert_eq!(Format::parse(&aws).unwrap(), format);
        assert_eq!(format.header(), *header);
        for text in *lines {
            let mut record = Record::empty(LogStatus::Ok, 0, 0);
            for (field, word) in format.fields().iter().zip(text.split(' ')) {
                record.set(*field, word).unwrap();
            }
            assert_eq!(line(&record, &format), *text);
        }
    }
}

fn all(path: &Path, format: Option<&Format>, on_bad: OnBadRecord) -> Result<(Vec<Record>, ReadCounts), FlowLogError> {
    let mut records = Vec::new();
    let counts = read(path, format, on_bad, |_, record| records.push(record))?;
    Ok((records, counts))
}

#[test]
fn every_shape_of_a_file_holds_the_same_records() {
    let folder = tempdir().unwrap();
    let (header, lines) = GUIDE[0];
    let plain = write(folder.path(), "plain.log", format!("{header}\n{}\n", lines.join("\n")));
    let expected = all(&plain, None, OnBadRecord::Stop).unwrap().0;
    assert_eq!(expected.len(), lines.len());
    let gzip = |text: &str| {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let export: String = lines.iter().map(|line| format!("2014-12-14T04:07:50.000Z {line}\n")).collect();
    let events: Vec<_> = lines.iter().map(|line| serde_json::json!({"timestamp": 1, "message": line})).collect();
    // Two members, as concatenated exports have.
    let two = [gzip(&format!("{header}\n{}\n", lines[0])), gzip(&format!("{header}\n{}\n", lines[1..].join("\n")))];
    for (name, bytes) in [
        ("no-header.log", lines.join("\n").into_bytes()),
        ("crlf.log", format!("\u{feff}{header}\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()),
        ("export.gz", gzip(&export)),
        ("two.log.gz", two.concat()),
        ("events.json", serde_json::json!({ "events": events }).to_string().into_bytes()),
    ] {
        let path = write(folder.path(), name, bytes);
        assert_eq!(all(&path, None, OnBadRecord::Stop).unwrap().0, expected, "{name}");
    }
}

#[test]
fn what_is_wrong_is_named_with_file_line_field_and_what_is_allowed() {
    let folder = tempdir().unwrap();
    let good = GUIDE[0].1[0];
    for (bad, says) in [
        (good.replace(" 22 ", " 70000 "), ["line 2: dstport", "70000", "0 to 65535"]),
        (good.replace("ACCEPT", "MAYBE"), ["line 2: action", "MAYBE", "ACCEPT, REJECT"]),
        (good.replace("172.31.16.21", "172.31.16"), ["line 2: dstaddr", "172.31.16", "an IPv4 or IPv6 address"]),
        (good.replace(" 4249 ", " -1 "), ["line 2: bytes", "-1", "a whole number"]),
        (good.replace(" OK", ""), ["line 2: 13 fields", "14", "--flow-log-format"]),
    ] {
        let path = write(folder.path(), "bad.log", format!("{good}\n{bad}\n{good}\n"));
        let error = all(&path, None, OnBadRecord::Stop).unwrap_err();
        assert!(error.is_of_one_record());
        let text = error.to_string();
        assert!(text.contains("bad.log") && says.iter().all(|word| text.contains(word)), "{text}");
        let (records, counts) = all(&path, None, OnBadRecord::Skip).unwrap();
        assert_eq!((records.len(), counts.records, counts.bad), (2, 2, 1));
        assert_eq!(counts.first_bad, Some(text));
    }
    for (text, says) in [
        ("version srcaddr dstaddr action\n", "hold no srcport"),
        ("{\"logs\": []}", "no `events`"),
        ("{\"events\": [{}]}", "events[0].message"),
        ("version version\n", "stands twice"),
    ] {
        let path = write(folder.path(), "wrong.log", text);
        let error = all(&path, None, OnBadRecord::Skip).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let path = write(folder.path(), "long.log", "x".repeat(1 << 20));
    assert!(matches!(all(&path, None, OnBadRecord::Skip), Err(FlowLogError::TooLong { .. })));
    assert!(Format::parse("${version} ${nonsense}").unwrap_err().to_string().contains("nonsense"));
    assert!(Settings::new(Format::parse("${reject-reason}").unwrap(), 600, Labels::new()).is_err());
}

/// A capture with times in ns, its workload, and the frames' file.
fn captured(
    folder: &Path,
    frames: &[(u64, Vec<u8>)],
    inside: &str,
    rules: [Option<RuleSet>; 2],
) -> (Capture, Workload) {
    let path = write(folder, "trace.pcap", pcap_at(frames.iter().map(|(time, frame)| (*time, frame)), RAW));
    let capture = Capture::open(&path).unwrap();
    let frames = capture.frames().unwrap();
    let decoded = frames.decode(&Inside::new(&[inside.parse().unwrap()]));
    let trace = Trace::sequence(&frames, decoded, Profile::Aws);
    drop(frames);
    let [groups, acl] = rules;
    (capture, workload(trace, groups, acl, Config::new(Profile::Aws), 1000))
}

/// The lines of its flow log.
fn logged(capture: &Capture, workload: &Workload, interval_s: u64, format: &Format) -> Vec<String> {
    let frames = capture.frames().unwrap();
    let rulings = rulings(workload);
    let mut lines = Vec::new();
    let observations = Observations::new(&workload.trace, &frames, &rulings);
    aggregate(observations, interval_s, |record| {
        lines.push(line(record, format));
        Ok::<_, ()>(())
    })
    .unwrap();
    lines
}

/// Direction, remote block, protocol, ports, allow.
type Line<'a> = (Direction, &'a str, Option<u8>, Option<(u16, u16)>, bool);

fn rule_set(world: World, rules: &[Line]) -> RuleSet {
    let mut set = RuleSet::new(world);
    for (direction, remote, protocol, ports, allow) in rules {
        let rule = Rule {
            remote: remote.parse().unwrap(),
            protocol: *protocol,
            ports: *ports,
            allow: *allow,
            name: "r".into(),
        };
        set.push(*direction, rule);
    }
    set
}

const ALL: &str = "0.0.0.0/0";

/// The guide's case "security group and network ACL rules": a ping that the groups let in, and answers that only the
/// stateless filter stops.
#[test]
fn the_guides_ping() {
    let folder = tempdir().unwrap();
    let (peer, host) = ([203, 0, 113, 12].into(), [172, 31, 16, 139].into());
    let echo = |kind| [vec![kind, 0, 0, 0, 0, 7, 0, 1], vec![0; 56]].concat();
    let request = |s: u64| (s * S, ip(peer, host, 1, &echo(8)));
    let reply = |s: u64| (s * S + 1, ip(host, peer, 1, &echo(0)));
    let t = 1_432_917_000;
    let frames = [
        request(t + 27),
        request(t + 94),
        reply(t + 94),
        reply(t + 94),
        request(t + 120),
        reply(t + 120),
        request(t + 142),
        reply(t + 142),
    ];
    let groups = |allow_in: bool| {
        let ingress = (Direction::In, ALL, Some(1), None, true);
        rule_set(World::SecurityGroups, if allow_in { std::slice::from_ref(&ingress) } else { &[] })
    };
    let acl = |out: bool| {
        rule_set(World::NetworkAcl, &[(Direction::In, ALL, None, None, true), (Direction::Out, ALL, None, None, out)])
    };
    let inside = "172.31.16.139/32";
    let log = |groups, acl, frames: &[_]| {
        let (capture, workload) = captured(folder.path(), frames, inside, [Some(groups), Some(acl)]);
        logged(&capture, &workload, 600, &Format::default())
    };
    let accepted = "2 - - 203.0.113.12 172.31.16.139 0 0 1 4 336 1432917027 1432917142 ACCEPT OK";
    let answer = |action| format!("2 - - 172.31.16.139 203.0.113.12 0 0 1 4 336 1432917094 1432917142 {action} OK");
    assert_eq!(log(groups(true), acl(false), &frames), [accepted, &answer("REJECT")]);
    assert_eq!(log(groups(true), acl(true), &frames), [accepted, &answer("ACCEPT")]);
    // What never gets in is never answered: a single record.
    let asked: Vec<_> = frames.iter().filter(|(time, _)| time % S == 0).cloned().collect();
    assert_eq!(log(groups(false), acl(true), &asked), [accepted.replace("ACCEPT", "REJECT")]);
}

fn visit(t: u64, gap: u64) -> Vec<(u64, Vec<u8>)> {
    let frames = connection((CLIENT, 51_334), (SERVER, 80));
    (0u64..).zip(frames).map(|(n, frame)| (t + n * gap, frame[14..].to_vec())).collect()
}

/// What the network ACL stops on its way in, security groups never see: the answer has no connection to belong to.
#[test]
fn groups_know_nothing_of_what_the_acl_dropped() {
    let folder = tempdir().unwrap();
    let groups = rule_set(World::SecurityGroups, &[(Direction::In, ALL, Some(6), Some((80, 80)), true)]);
    let acl = rule_set(
        World::NetworkAcl,
        &[(Direction::In, ALL, Some(6), Some((80, 80)), false), (Direction::Out, ALL, None, None, true)],
    );
    let (_, alone) = captured(folder.path(), &visit(S, 1), INSIDE, [Some(groups.clone()), None]);
    assert!(rulings(&alone).iter().all(|ruling| ruling.action() == Action::Accept));
    let (_, both) = captured(folder.path(), &visit(S, 1), INSIDE, [Some(groups), Some(acl)]);
    for (ruling, packet) in rulings(&both).iter().zip(&both.trace.packets) {
        let filter = if packet.direction() == Direction::In { World::NetworkAcl } else { World::SecurityGroups };
        assert_eq!((ruling.action(), ruling.filter), (Action::Reject, filter));
    }
}

#[test]
fn windows_flags_lengths_and_gaps() {
    let folder = tempdir().unwrap();
    let acl = || rule_set(World::NetworkAcl, &[(Direction::In, ALL, None, None, true)]);
    // Nine segments 10 s apart: six in the first minute. Then silence, and one more visit.
    let t = 1_000_000 * S + S / 2;
    let mut frames = visit(t, 10 * S);
    frames.extend(visit(t + 300 * S, 1));
    let (capture, workload) = captured(folder.path(), &frames, INSIDE, [None, Some(acl())]);
    let format = Format::parse("srcport packets bytes start end action tcp-flags flow-direction log-status").unwrap();
    assert_eq!(
        logged(&capture, &workload, 60, &format),
        [
            "51334 4 168 1000000 1000050 ACCEPT 2 ingress OK",
            "80 2 88 1000010 1000040 REJECT 18 egress OK",
            "51334 2 80 1000060 1000080 ACCEPT 1 ingress OK",
            "80 1 40 1000070 1000070 REJECT 1 egress OK",
            "- - - 1000120 1000180 - - - NODATA",
            "- - - 1000180 1000240 - - - NODATA",
            "- - - 1000240 1000300 - - - NODATA",
            "51334 6 248 1000300 1000300 ACCEPT 3 ingress OK",
            "80 3 128 1000300 1000300 REJECT 19 egress OK",
        ]
    );
    // A frame from another century: the rest of the gap is one record.
    frames.push((3_000_000_000 * S, frames[0].1.clone()));
    let (capture, workload) = captured(folder.path(), &frames, INSIDE, [None, Some(acl())]);
    assert!(logged(&capture, &workload, 60, &format).len() < 1_100);
}

#[test]
fn pieces_belong_to_the_flow_of_their_datagram() {
    let folder = tempdir().unwrap();
    let whole = ip(CLIENT.into(), SERVER.into(), 17, &common::frames::udp(5353, 53, 40));
    let piece = |from: usize, to: usize| {
        let mut bytes = whole[..20].to_vec();
        bytes.extend(&whole[20 + from..20 + to]);
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let offset = (from / 8) as u16 | if to < 48 { 0x2000 } else { 0 };
        bytes[6..8].copy_from_slice(&offset.to_be_bytes());
        bytes
    };
    let groups = rule_set(World::SecurityGroups, &[(Direction::In, ALL, Some(17), Some((53, 53)), true)]);
    let frames = [(S, piece(0, 24)), (S, piece(24, 48))];
    let (capture, workload) = captured(folder.path(), &frames, INSIDE, [Some(groups), None]);
    let format = Format::parse("srcport dstport protocol packets bytes action").unwrap();
    assert_eq!(logged(&capture, &workload, 600, &format), ["5353 53 17 2 88 ACCEPT"]);
    assert_eq!(format.version(), 2);
}

/// A log of the trace, one of its records turned around, and records of other things.
#[test]
fn a_log_is_compared_record_by_record() {
    let folder = tempdir().unwrap();
    let acl = rule_set(World::NetworkAcl, &[(Direction::In, ALL, None, None, true)]);
    let (capture, workload) = captured(folder.path(), &visit(1_000 * S, 1), INSIDE, [None, Some(acl)]);
    let frames = capture.frames().unwrap();
    let rulings = rulings(&workload);
    let check = || Check::new(Observations::new(&workload.trace, &frames, &rulings));
    let record = |text: &str| {
        let mut record = Record::empty(LogStatus::Ok, 0, 0);
        for (field, word) in Format::default().fields().iter().zip(text.split(' ')) {
            record.set(*field, word).unwrap();
        }
        record
    };
    let good = "2 1 e 198.51.100.7 10.0.1.10 51334 80 6 6 248 1000 1000 ACCEPT OK";
    let mut log = check();
    assert_eq!(log.record(&record(good)), None);
    assert_eq!(log.unrecorded(), (9, 3));
    // AWS may see a packet a minute later.
    assert_eq!(log.record(&record(&good.replace("1000 1000", "1059 1059"))), None);
    let difference = log.record(&record(&good.replace("ACCEPT", "REJECT"))).unwrap();
    assert_eq!((difference.recorded, difference.position), (Action::Reject, 0));
    assert_eq!((log.agreed, log.differing), (2, 1));
    for (text, reason) in [
        (good.replace("1000 1000", "2000 2001"), NotComparable::OtherTime),
        (good.replace("1000 1000", "1000 900"), NotComparable::OtherTime),
        (good.replace("51334", "51335"), NotComparable::NoPacket),
        ("2 1 e - - - - - - - 1000 1060 - NODATA".into(), NotComparable::NoData),
        ("2 1 e - - - - - - - 1000 1060 - SKIPDATA".into(), NotComparable::SkipData),
        (good.replace("ACCEPT", "-"), NotComparable::Incomplete),
    ] {
        let mut log = check();
        assert_eq!(log.record(&record(&text)), None);
        assert_eq!(log.not_comparable.into_iter().collect::<Vec<_>>(), [(reason, 1)], "{text}");
    }
    let mut blocked = record(good);
    blocked.set(Field::RejectReason, "BPA").unwrap();
    let mut log = check();
    log.record(&blocked);
    assert_eq!(log.not_comparable[&NotComparable::PublicAccessBlocked], 1);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_holds_what_text_holds() {
    let folder = tempdir().unwrap();
    let acl = rule_set(World::NetworkAcl, &[(Direction::In, ALL, None, None, true)]);
    let mut frames = visit(1_000 * S, 1);
    frames.extend(visit(3_000 * S, 1));
    let (capture, workload) = captured(folder.path(), &frames, INSIDE, [None, Some(acl)]);
    let frames = capture.frames().unwrap();
    let rulings = rulings(&workload);
    let names: Vec<&str> = FIELDS.iter().filter(|field| field.version() <= 5).map(|field| field.name()).collect();
    let labels = Labels::from([(Field::AccountId, "123456789012".to_owned()), (Field::TrafficPath, "8".to_owned())]);
    let settings = Settings::new(Format::parse(&names.join(" ")).unwrap(), 600, labels).unwrap();
    let read = |name: &str| {
        let path = folder.path().join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        let observations = Observations::new(&workload.trace, &frames, &rulings);
        ctbench::flow_log::write(&path, &mut file, observations, &settings).unwrap();
        all(&path, None, OnBadRecord::Stop).unwrap().0
    };
    assert_eq!(read("log.parquet"), read("log.gz"));
    assert!(read("log.parquet").len() > 4);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "([0-9a-zA-Z:.\\- ${}]|version |\n){0,60}".prop_map(String::into_bytes),
        "\\{\"events\": \\[[{}\"a-z:, ]{0,20}\\]\\}".prop_map(String::into_bytes),
    ]) {
        let folder = tempdir().unwrap();
        let path = write(folder.path(), "any.log", bytes);
        let _ = all(&path, None, OnBadRecord::Skip);
        let _ = all(&path, None, OnBadRecord::Stop);
    }
}
